//! How an integration is connected on a subject's behalf: the steps of `authority`'s flow, with posture, registry and store at hand.
//!
//! The pages that a subject sees are another module's; they call [`Connect::show`], [`Connect::shown`], [`Connect::agree`] and
//! [`Connect::decline`]. What is cut off, not approved, or asks while onboarding is frozen obtains nothing, at whatever step it is.

use crate::consents::Kept;
use crate::tokens::Registered;
use arc_swap::ArcSwap;
use authority::consent::{Consent, Ending, NotRefreshed, Refresh, RefreshToken, Verdict};
use authority::details::Details;
use authority::flows::{BadCode, Flows, NoFlow, Pushed, Redirection};
use authority::{
    Applicant, Asked, Inquiry, Proven, Reason, Standing, TokenEndpoint, TokenError, TokenRequest,
    TokenResponse,
};
use credential::ClientTrust;
use model::{
    ConsentId, CredentialId, Digest, GrantId, IntegrationId, IntegrationState, Micros, SubjectId,
    UnixMicros, VendorId,
};
use serde_json::{Value, json};
use sever::Target;
use std::sync::Arc;
use storage::clock;
use storage::consents::ConsentsError;
use storage::embedded::Keeper;
use tracing::{error, warn};

/// What the authority knows when it is asked.
pub type CurrentRegistered = Arc<dyn Fn() -> Arc<Registered> + Send + Sync>;

/// The authority of a node: tokens, consents and what leads to them.
pub struct Connect {
    /// Issues tokens.
    pub endpoint: Arc<TokenEndpoint>,
    /// Authorizations under way.
    pub flows: Flows,
    /// What subjects agreed to.
    pub consents: Kept,
    /// Posture: what is cut off obtains nothing.
    pub keeper: Arc<Keeper>,
    /// Which CAs are trusted for client certificates, and what they revoked.
    pub client_trust: Arc<ArcSwap<ClientTrust>>,
    /// Who is registered.
    pub registered: CurrentRegistered,
    /// Where subjects' browsers go, as they name it; none if subjects connect nothing.
    pub portal: Option<String>,
}

/// What a subject is asked.
pub struct Ask {
    /// The request.
    pub pushed: Pushed,
    /// The vendor's legal name.
    pub vendor: String,
    /// The integration's alias.
    pub integration: String,
    /// Why it reads.
    pub purpose: String,
    /// The data classes it asks for, by name.
    pub classes: Vec<String>,
    /// The classes of the deployment that it does not ask for, by name.
    pub withheld: Vec<String>,
}

/// Why a subject cannot be asked, or its answer not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotConnected {
    /// There is no such flow.
    #[error(transparent)]
    NoFlow(#[from] NoFlow),
    /// The integration may not obtain anything: it is cut off, not approved, its grant is over, or onboarding is frozen.
    #[error("this application cannot be connected")]
    NotAdmitted,
    /// Whoever agreed is not signed in any more.
    #[error("the session ended meanwhile")]
    SignedOut,
    /// The answer is more than the question.
    #[error("more was agreed to than was asked for")]
    TooMuch,
    /// It could not be stored.
    #[error("the consent could not be stored")]
    NotStored(#[from] ConsentsError),
}

impl Connect {
    /// Takes a pushed request. Returns the body of the answer, 201.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn push(&self, request: &TokenRequest<'_>, now: UnixMicros) -> Result<Value, TokenError> {
        self.admit_network(request)?;
        let registered = (self.registered)();
        let (directory, classes) = (&registered.directory, &registered.classes);
        let standing = |credential: &CredentialId| standing_of(&self.keeper, credential);
        let pushed = self.endpoint.push(request, directory, classes, &standing, now)?;
        let by_it = |reason| TokenError { reason, integration: Some(pushed.integration) };
        self.admit(&registered, &pushed, now).map_err(|_| by_it(Reason::NotAdmitted))?;
        let integration = Some(pushed.integration);
        let uri = self.flows.push(pushed, clock::random(), up());
        let uri = uri.map_err(|_| TokenError { reason: Reason::Unavailable, integration })?;
        let expires_in = authority::flows::PUSHED_FOR.0 / 1_000_000;
        Ok(json!({ "request_uri": uri, "expires_in": expires_in }))
    }

    /// A browser comes with a pushed request. Returns the handle of what it is to be shown.
    ///
    /// # Errors
    /// [`NotConnected`].
    pub fn show(
        &self,
        request_uri: &str,
        client_id: &str,
        browser: Digest,
    ) -> Result<String, NotConnected> {
        Ok(self.flows.show(request_uri, client_id, browser, clock::random(), up())?)
    }

    /// What this browser's subject is asked.
    ///
    /// # Errors
    /// [`NotConnected`].
    pub fn shown(
        &self,
        handle: &str,
        browser: &Digest,
        now: UnixMicros,
    ) -> Result<Ask, NotConnected> {
        let registered = (self.registered)();
        let pushed = self.flows.shown(handle, browser, up())?;
        self.admit(&registered, &pushed, now)?;
        let integration = registered.directory.integrations.get(&pushed.integration);
        let integration = integration.ok_or(NotConnected::NotAdmitted)?;
        // Redirect addresses may have been taken back since the request was pushed.
        let back = &pushed.redirect_uri;
        if !integration.redirects.iter().any(|ours| authority::redirect::is_same(ours, back)) {
            return Err(NotConnected::NotAdmitted);
        }
        let grant = registered.directory.grants.get(&pushed.details.grant);
        let vendor = registered.directory.vendors.get(&integration.vendor);
        let asked = registered.classes.names(&pushed.details.classes);
        let asked: Vec<String> = asked.into_iter().map(str::to_owned).collect();
        let all = registered.classes.classes().iter().map(|class| class.as_str().to_owned());
        let withheld = all.filter(|class| !asked.contains(class)).collect();
        Ok(Ask {
            vendor: vendor.map(|vendor| vendor.name.clone()).unwrap_or_default(),
            integration: integration.slug.clone(),
            purpose: grant.map(|grant| grant.purpose.to_string()).unwrap_or_default(),
            classes: asked,
            withheld,
            pushed,
        })
    }

    /// The subject agreed to `details`, which may be less than it was asked. Returns where its browser goes. `is_there`: whether it is signed
    /// in, asked once the consent is stored; if it is not, this consent is taken back and nothing else.
    ///
    /// # Errors
    /// [`NotConnected`].
    pub async fn agree(
        &self,
        handle: &str,
        browser: &Digest,
        subject: SubjectId,
        details: Details,
        is_there: impl FnOnce() -> bool,
        now: UnixMicros,
    ) -> Result<Redirection, NotConnected> {
        let asked = self.shown(handle, browser, now)?;
        //= RFC 9396 section 3: what is granted is what the subject agreed to
        if !details.is_within(&asked.pushed.details) || details.operations.is_empty() {
            return Err(NotConnected::TooMuch);
        }
        let id = ConsentId::new(now, clock::random());
        let integration = asked.pushed.integration;
        let consent = Consent {
            id,
            integration,
            subject,
            details,
            given: now,
            used: now,
            refresh: None,
            ended: None,
        };
        self.consents.give(&consent).await?;
        if !is_there() {
            self.consents.take_back(&id).await?;
            return Err(NotConnected::SignedOut);
        }
        let issuer = self.endpoint.issuer();
        match self.flows.agree(handle, browser, id, issuer, clock::random(), up()) {
            Ok(to) => Ok(to),
            // It was answered twice, and the other answer came first.
            Err(gone) => {
                self.consents.end(&id, Ending::Subject, now).await?;
                Err(gone.into())
            }
        }
    }

    /// The subject declined. Returns where its browser goes.
    ///
    /// # Errors
    /// [`NotConnected::NoFlow`].
    pub fn decline(&self, handle: &str, browser: &Digest) -> Result<Redirection, NotConnected> {
        let issuer = self.endpoint.issuer();
        //= RFC 6749 section 4.1.2.1: access_denied
        Ok(self.flows.decline(handle, browser, "access_denied", issuer, up())?)
    }

    /// Answers a token request, whatever its grant type.
    ///
    /// The token is made before the code or refresh token is used up in the store, so that who obtains nothing loses nothing; of two requests
    /// with one of them one gets to the store first, and the other's token was never sent.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn token(
        &self,
        request: &TokenRequest<'_>,
        now: UnixMicros,
    ) -> Result<TokenResponse, TokenError> {
        self.admit_network(request)?;
        let registered = (self.registered)();
        let directory = &registered.directory;
        let standing = |applicant: &Applicant| standing(&self.keeper, applicant);
        let proven = self.endpoint.prove(request, directory, now)?;
        let refused = |reason| proven.refused(reason);
        let consent = match &proven.asked {
            Asked::Own { scope } => {
                let scope = scope.as_deref();
                let jti = clock::random();
                return self.endpoint.issue_own(&proven, scope, directory, &standing, now, jti);
            }
            Asked::Code { .. } => {
                self.redeemed(&proven, &registered, now).await.map_err(refused)?
            }
            Asked::Refresh { token } => {
                self.refreshed(&proven, token, now).await.map_err(refused)?
            }
        };
        let (grant, jti) = (consent.details.grant, clock::random());
        let endpoint = &self.endpoint;
        let issued = endpoint.issue(&proven, grant, Some(&consent), directory, &standing, now, jti);
        let issued = issued.inspect_err(|_| self.not_issued(&proven))?;
        let next = RefreshToken::new(&consent.id, clock::random());
        let (bound_to, current) = (*proven.binding(), next.digest());
        let stored = match &proven.asked {
            Asked::Refresh { token } => {
                let from = credential::sha256(token.as_bytes());
                self.consents.rotate(&consent.id, &from, &current, now).await
            }
            Asked::Code { .. } | Asked::Own { .. } => {
                let first = Refresh { bound_to, current, before: None, issued: now };
                self.consents.redeem(&consent, &first).await
            }
        };
        //= RFC 9700 section 4.14.2: the rotation is stored before the token is sent
        let stored = stored.map_err(unavailable).inspect_err(|_| self.not_issued(&proven));
        if !stored.map_err(refused)? {
            return Err(refused(Reason::NotRefreshed(NotRefreshed::JustReplaced)));
        }
        // Storing took time: who was cut off or frozen meanwhile obtains nothing.
        let (registered, integration) = ((self.registered)(), consent.integration);
        let admitted = match &proven.asked {
            Asked::Code { .. } => {
                self.admit_details(&registered, integration, &consent.details, now)
            }
            Asked::Refresh { .. } | Asked::Own { .. } => {
                self.admit_grant(&registered, integration, &grant, now)
            }
        };
        if admitted.is_err() {
            if matches!(proven.asked, Asked::Code { .. }) {
                let ended = self.consents.end(&consent.id, Ending::Operator, now).await;
                ended.map_err(unavailable).map_err(refused)?;
            }
            return Err(refused(Reason::NotAdmitted));
        }
        let directory = &registered.directory;
        let details = consent.details.to_json(directory, &registered.classes, endpoint.resource());
        Ok(TokenResponse { refresh_token: Some(next), details: Some(details), ..issued })
    }

    /// Nothing was issued and nothing stored: the code, if it was one, may come once more.
    fn not_issued(&self, proven: &Proven) {
        if let Asked::Code { code, .. } = &proven.asked {
            self.flows.not_issued(code);
        }
    }

    /// Refuses a severed network, whoever asks from there.
    fn admit_network(&self, request: &TokenRequest<'_>) -> Result<(), TokenError> {
        let posture = self.keeper.switch().posture();
        let cut = posture.severed().any(|(target, _)| match target {
            Target::Network(network) => network.contains(&request.network.addr()),
            Target::Vendor(_)
            | Target::Integration(_)
            | Target::Credential(_)
            | Target::Grant(_)
            | Target::Operation(_) => false,
        });
        let refused = TokenError { reason: Reason::NotAdmitted, integration: None };
        if cut { Err(refused) } else { Ok(()) }
    }

    /// The consent that a code stands for.
    async fn redeemed(
        &self,
        proven: &Proven,
        registered: &Registered,
        now: UnixMicros,
    ) -> Result<Consent, Reason> {
        let Asked::Code { code, redirect_uri, verifier } = &proven.asked else {
            return Err(Reason::GrantType);
        };
        let (redirect_uri, verifier) = (redirect_uri.as_deref(), verifier.as_deref());
        let (integration, binding) = (proven.integration(), proven.binding());
        let redeemed = self.flows.redeem(code, integration, redirect_uri, verifier, binding, up());
        let id = match redeemed {
            Ok(id) => id,
            Err(BadCode::Reused(consent)) => {
                self.end_stolen(&consent, integration, now).await?;
                return Err(Reason::UsedTwice);
            }
            Err(BadCode::Unknown | BadCode::Redirect | BadCode::Verifier | BadCode::Key) => {
                return Err(Reason::Code);
            }
        };
        let found = self.consents.find(&id).await.map_err(unavailable);
        let consent = found.inspect_err(|_| self.flows.not_issued(code))?.ok_or(Reason::Code)?;
        // Who was cut off or frozen since the subject agreed obtains nothing.
        self.admit_details(registered, integration, &consent.details, now)
            .map_err(|_| Reason::NotAdmitted)?;
        Ok(consent)
    }

    /// The consent that a refresh token is of, if it is the present one.
    async fn refreshed(
        &self,
        proven: &Proven,
        presented: &str,
        now: UnixMicros,
    ) -> Result<Consent, Reason> {
        let integration = proven.integration();
        let id = RefreshToken::consent_of(presented).ok_or(Reason::Code)?;
        let consent = self.consents.find(&id).await.map_err(unavailable)?.ok_or(Reason::Code)?;
        let digest = credential::sha256(presented.as_bytes());
        match consent.weigh(&digest, integration, proven.binding(), now) {
            Verdict::Rotate => Ok(consent),
            Verdict::Refuse(why) => Err(Reason::NotRefreshed(why)),
            Verdict::End(_) => {
                self.end_stolen(&id, integration, now).await?;
                Err(Reason::UsedTwice)
            }
        }
    }

    async fn end_stolen(
        &self,
        consent: &ConsentId,
        integration: IntegrationId,
        now: UnixMicros,
    ) -> Result<(), Reason> {
        warn!(%consent, %integration, "a code or refresh token came twice: the consent is over");
        self.consents.end(consent, Ending::Reused, now).await.map_err(unavailable)?;
        Ok(())
    }

    /// Answers an introspection request.
    ///
    /// # Errors
    /// [`TokenError`] if the client is not proved, or the store cannot be read.
    ///
    /// Source: RFC 7662.
    pub async fn introspect(
        &self,
        request: &TokenRequest<'_>,
        now: UnixMicros,
    ) -> Result<Value, TokenError> {
        self.admit_network(request)?;
        let registered = (self.registered)();
        let standing = |credential: &CredentialId| standing_of(&self.keeper, credential);
        let inactive = json!({ "active": false });
        let (integration, consent, facts) =
            match self.endpoint.inquire(request, &registered.directory, &standing, now)? {
                Inquiry::Nothing => return Ok(inactive),
                Inquiry::Access { facts, digest } => {
                    //= RFC 7662 section 2.2: active also means that it would be accepted
                    let holds = |holder| standing(&holder) == Standing::Admitted;
                    if !self.endpoint.holders(&facts, &registered.directory, now).any(holds) {
                        return Ok(inactive);
                    }
                    if self.consents.is_revoked(&digest, now).await.map_err(unjudged)? {
                        return Ok(inactive);
                    }
                    (facts.integration, facts.consent, Some(facts))
                }
                Inquiry::Refresh { integration, consent, digest } => {
                    let kept = self.consents.find(&consent).await.map_err(unjudged)?;
                    let present = kept.and_then(|kept| kept.refresh);
                    //= RFC 7662 section 4: not a word about a token that is another client's
                    if present.is_none_or(|refresh| refresh.current != digest) {
                        return Ok(inactive);
                    }
                    (integration, Some(consent), None)
                }
            };
        let grant = match (&facts, consent) {
            (facts, Some(id)) => {
                let Some(kept) = self.consents.find(&id).await.map_err(unjudged)? else {
                    return Ok(inactive);
                };
                if kept.integration != integration || kept.is_over(now) {
                    return Ok(inactive);
                }
                let mut described = match facts {
                    Some(facts) => self.endpoint.describe(facts),
                    None => json!({ "active": true, "client_id": integration.to_string() }),
                };
                let details = kept.details.to_json(
                    &registered.directory,
                    &registered.classes,
                    self.endpoint.resource(),
                );
                if let Some(members) = described.as_object_mut() {
                    members.insert("authorization_details".to_owned(), details);
                }
                (kept.details.grant, described)
            }
            (Some(facts), None) => (facts.grant, self.endpoint.describe(facts)),
            (None, None) => return Ok(inactive),
        };
        let (grant, described) = grant;
        let admitted = self.admit_grant(&registered, integration, &grant, now).is_ok();
        Ok(if admitted { described } else { inactive })
    }

    /// Takes a token back. There is nothing to answer: an unknown token is as good as revoked.
    ///
    /// # Errors
    /// [`TokenError`] if the client is not proved, or it could not be made to last.
    ///
    /// Source: RFC 7009 section 2.1: a refresh token takes its access tokens with it.
    pub async fn revoke(
        &self,
        request: &TokenRequest<'_>,
        now: UnixMicros,
    ) -> Result<(), TokenError> {
        self.admit_network(request)?;
        let registered = (self.registered)();
        let standing = |credential: &CredentialId| standing_of(&self.keeper, credential);
        match self.endpoint.inquire(request, &registered.directory, &standing, now)? {
            Inquiry::Nothing => Ok(()),
            Inquiry::Access { facts, digest } => {
                //= RFC 7009 section 2.1: invalid from the answer on
                self.consents.revoke(digest, &facts).await.map_err(unjudged)
            }
            Inquiry::Refresh { integration, consent, digest } => {
                let kept = self.consents.find(&consent).await.map_err(unjudged)?;
                let theirs = kept.filter(|kept| kept.integration == integration);
                let refresh = theirs.and_then(|kept| kept.refresh);
                let known = refresh.is_some_and(|refresh| {
                    refresh.current == digest || refresh.before == Some(digest)
                });
                if known {
                    //= RFC 7009 section 2.1: a refresh token takes what was issued on it along
                    let ended = self.consents.end(&consent, Ending::Integration, now).await;
                    ended.map_err(unjudged)?;
                }
                Ok(())
            }
        }
    }

    /// Whether the request's integration may be connected at `now`.
    fn admit(
        &self,
        registered: &Registered,
        pushed: &Pushed,
        now: UnixMicros,
    ) -> Result<(), NotConnected> {
        self.admit_details(registered, pushed.integration, &pushed.details, now)
    }

    fn admit_details(
        &self,
        registered: &Registered,
        integration: IntegrationId,
        details: &Details,
        now: UnixMicros,
    ) -> Result<(), NotConnected> {
        // What is in the sandbox reads synthetic subjects, who agree to nothing.
        let known = registered.directory.integrations.get(&integration);
        let in_sandbox =
            known.is_some_and(|known| matches!(known.state, IntegrationState::Sandbox { .. }));
        if registered.frozen || in_sandbox {
            return Err(NotConnected::NotAdmitted);
        }
        self.admit_grant(registered, integration, &details.grant, now)
    }

    fn admit_grant(
        &self,
        registered: &Registered,
        integration: IntegrationId,
        grant: &GrantId,
        now: UnixMicros,
    ) -> Result<(), NotConnected> {
        let directory = &registered.directory;
        let known = directory.integrations.get(&integration).ok_or(NotConnected::NotAdmitted)?;
        let runs = match known.state {
            IntegrationState::Approved { until }
            | IntegrationState::Sandbox { until }
            | IntegrationState::Restricted { until } => now < until,
            IntegrationState::Applied | IntegrationState::Severed | IntegrationState::Expired => {
                false
            }
        };
        let granted = directory
            .grants
            .get(grant)
            .is_some_and(|grant| grant.integration == integration && now < grant.expires);
        let cut = is_cut(&self.keeper, known.vendor, integration, grant);
        if runs && granted && !cut { Ok(()) } else { Err(NotConnected::NotAdmitted) }
    }
}

fn unavailable(error: ConsentsError) -> Reason {
    error!(%error, "consents cannot be read or written");
    Reason::Unavailable
}

fn unjudged(error: ConsentsError) -> TokenError {
    TokenError { reason: unavailable(error), integration: None }
}

/// Whether posture cut off the vendor, the integration or the grant, or cannot be confirmed.
fn is_cut(keeper: &Keeper, vendor: VendorId, integration: IntegrationId, grant: &GrantId) -> bool {
    let switch = keeper.switch();
    !switch.lease.holds(clock::boot_now())
        || switch.posture().severed().any(|(target, _)| match target {
            Target::Vendor(id) => *id == vendor,
            Target::Integration(id) => *id == integration,
            Target::Grant(id) => id == grant,
            Target::Credential(_) | Target::Operation(_) | Target::Network(_) => false,
        })
}

/// How long the machine has been up.
fn up() -> Micros {
    Micros(clock::boot_now().0)
}

/// What posture says of one credential, by itself.
fn standing_of(keeper: &Keeper, credential: &CredentialId) -> Standing {
    let switch = keeper.switch();
    if !switch.lease.holds(clock::boot_now()) {
        return Standing::Unconfirmed;
    }
    let posture = switch.posture();
    let cut = posture.severed().any(|(target, _)| *target == Target::Credential(*credential));
    if cut { Standing::Cut } else { Standing::Admitted }
}

/// Whether posture lets an applicant obtain anything at all.
fn standing(keeper: &Keeper, applicant: &Applicant) -> Standing {
    let switch = keeper.switch();
    if !switch.lease.holds(clock::boot_now()) {
        return Standing::Unconfirmed;
    }
    let posture = switch.posture();
    let cut = posture.severed().any(|(target, _)| match target {
        Target::Vendor(id) => *id == applicant.vendor,
        Target::Integration(id) => *id == applicant.integration,
        Target::Credential(id) => *id == applicant.asserted_by || *id == applicant.bound_to,
        Target::Grant(id) => *id == applicant.grant,
        Target::Operation(_) | Target::Network(_) => false,
    });
    if cut { Standing::Cut } else { Standing::Admitted }
}

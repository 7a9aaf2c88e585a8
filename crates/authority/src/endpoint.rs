//! The token endpoint: an integration proves itself and gets a token for one grant, bound to one of its keys.

use crate::consent::{Consent, RefreshToken};
use crate::error::{Reason, TokenError};
use crate::form::Form;
use crate::keys::Keys;
use crate::metadata::{PUSH_PATH, TOKEN_PATH};
use credential::assertion::{self, Asserted};
use credential::authenticate::may_come_from;
use credential::certificate::{Fault, Shown};
use credential::dpop::{self, Expected, Proved, Unproved};
use credential::replay::{FirstUse, NotFirst, holder_of};
use credential::token::{self, Binding, CLOCK_AHEAD, Facts};
use credential::{AccessToken, BadProof, Nonce, NonceKey, SigningKey};
use model::{
    ClientIp, Credential, CredentialId, CredentialState, Digest, Directory, Grant, GrantId,
    Integration, IntegrationId, IntegrationState, Means, UnixMicros, VendorId,
};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;

//= RFC 7523 section 2.2: the value of client_assertion_type
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Assertions and proofs remembered for one integration or key: 50 requests a second for the five minutes an assertion lives.
const USES_MAX: usize = 1 << 14;

/// The token endpoint's keys, names and memory. One for each node, shared by its threads.
///
/// After a restart the assertions seen before it are forgotten. At the token endpoint an assertion must come with a proof that carries a
/// nonce of this start, or over a connection with the client's certificate; elsewhere one that may be from before the start is refused.
pub struct TokenEndpoint {
    pub(crate) issuer: String,
    token_url: String,
    pub(crate) push_url: String,
    pub(crate) resource: String,
    pub(crate) keys: Keys,
    pub(crate) nonces: NonceKey,
    proofs: FirstUse,
    assertions: FirstUse,
    /// When this node began to remember assertions.
    began: UnixMicros,
}

/// An issuer identifier we do not serve; the configuration is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the issuer is not `http(s)://host[:port]` without path, query or trailing slash")]
pub struct BadIssuer;

/// One request to the token endpoint. `Debug` does not print body and headers.
#[derive(Clone, Copy)]
pub struct TokenRequest<'a> {
    /// The body of a POST with the content type `application/x-www-form-urlencoded`.
    pub body: &'a [u8],
    /// The value of every `DPoP` header received.
    pub dpop: &'a [&'a [u8]],
    /// The peer of the socket.
    pub network: ClientIp,
    /// The client certificate of this very connection, never of a header.
    pub client_certificate: Option<&'a Shown<'a>>,
}

impl fmt::Debug for TokenRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRequest({} bytes from {})", self.body.len(), self.network)
    }
}

/// Who asks for a token, as posture must judge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applicant {
    /// The integration's owner.
    pub vendor: VendorId,
    /// The client.
    pub integration: IntegrationId,
    /// The credential that signed the assertion.
    pub asserted_by: CredentialId,
    /// The credential that the token would be bound to; often the same.
    pub bound_to: CredentialId,
    /// The grant the token would be for.
    pub grant: GrantId,
}

/// What posture says of an applicant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing that names it is severed or frozen.
    Admitted,
    /// Something is: it obtains nothing.
    Cut,
    /// This node cannot confirm its view: it obtains nothing for the moment.
    Unconfirmed,
}

impl Standing {
    pub(crate) fn admitted(self) -> Result<(), Reason> {
        match self {
            Self::Admitted => Ok(()),
            Self::Cut => Err(Reason::NotAdmitted),
            Self::Unconfirmed => Err(Reason::Unavailable),
        }
    }
}

/// How the token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// With a proof by the key it is bound to.
    Dpop,
    /// Over a connection with the certificate it is bound to (RFC 8705 keeps the name Bearer).
    Bearer,
}

/// A token that was issued.
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// The token.
    pub access_token: AccessToken,
    /// How it is presented.
    pub token_type: TokenType,
    /// When it ends.
    pub expires: UnixMicros,
    /// Seconds from now until then, rounded down.
    pub expires_in: u64,
    /// Who it was issued to and for what; for the record.
    pub applicant: Applicant,
    /// For the `DPoP-Nonce` header, so that the client's next request needs no challenge.
    pub nonce: Nonce,
    /// The refresh token, if it speaks for a subject; put in by whoever stored it.
    pub refresh_token: Option<RefreshToken>,
    /// What was agreed to (RFC 9396 section 7).
    pub details: Option<Value>,
}

impl TokenResponse {
    /// The body, `application/json` (RFC 6749 section 5.1). It holds the token: it goes to the socket and nowhere else.
    pub fn to_json(&self) -> String {
        //= RFC 9449 section 5: the token_type of a token bound to a key is DPoP
        let token_type = match self.token_type {
            TokenType::Dpop => "DPoP",
            TokenType::Bearer => "Bearer",
        };
        let mut body = json!({
            "access_token": self.access_token.expose(),
            "token_type": token_type,
            "expires_in": self.expires_in,
            //= RFC 6749 section 3.3: the client is told which scope it got
            "scope": self.applicant.grant.to_string(),
        });
        if let Some(members) = body.as_object_mut() {
            if let Some(refresh) = &self.refresh_token {
                members.insert("refresh_token".to_owned(), refresh.expose().into());
            }
            if let Some(details) = &self.details {
                //= RFC 9396 section 7: the response holds the details as granted
                members.insert("authorization_details".to_owned(), details.clone());
            }
        }
        body.to_string()
    }
}

impl TokenEndpoint {
    /// `issuer`: our origin as clients see it. `resource`: the gateway's, the only audience of our tokens.
    /// `key`: signs the tokens, until [`TokenEndpoint::replace_keys`]. `nonce_random`: 32 bytes, fresh at each start.
    ///
    /// # Errors
    /// [`BadIssuer`] if the issuer is anything but an origin.
    pub fn new(
        issuer: &str,
        resource: &str,
        key: impl Into<Arc<SigningKey>>,
        nonce_random: [u8; 32],
    ) -> Result<Self, BadIssuer> {
        let host = issuer.strip_prefix("https://").or_else(|| issuer.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@'])) {
            return Err(BadIssuer);
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            token_url: format!("{issuer}{TOKEN_PATH}"),
            push_url: format!("{issuer}{PUSH_PATH}"),
            resource: resource.to_owned(),
            keys: Keys::new(key.into()),
            nonces: NonceKey::new(nonce_random),
            proofs: FirstUse::new(USES_MAX),
            assertions: FirstUse::new(USES_MAX),
            began: UnixMicros(0),
        })
    }

    /// An endpoint that began to remember at `now`: what may have been used before that is not accepted by its assertion alone.
    #[must_use]
    pub fn beginning(self, now: UnixMicros) -> Self {
        Self { began: now, ..self }
    }

    /// The issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The gateway, as its callers name it: the only audience of our tokens.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Answers one token request of an integration on its own account.
    ///
    /// # Errors
    /// As for [`TokenEndpoint::prove`] and [`TokenEndpoint::issue`]; a request for another grant type is refused.
    ///
    /// Source: RFC 6749 section 4.4.
    pub fn token(
        &self,
        request: &TokenRequest<'_>,
        directory: &Directory,
        standing: &dyn Fn(&Applicant) -> Standing,
        now: UnixMicros,
        jti: [u8; 16],
    ) -> Result<TokenResponse, TokenError> {
        let proven = self.prove(request, directory, now)?;
        let Asked::Own { scope } = &proven.asked else {
            return Err(proven.refused(Reason::GrantType));
        };
        self.issue_own(&proven, scope.as_deref(), directory, standing, now, jti)
    }

    /// Issues a token on the integration's own account. `scope`: the id of the grant, needed if there are many.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn issue_own(
        &self,
        proven: &Proven,
        scope: Option<&str>,
        directory: &Directory,
        standing: &dyn Fn(&Applicant) -> Standing,
        now: UnixMicros,
        jti: [u8; 16],
    ) -> Result<TokenResponse, TokenError> {
        let client = Client { integration: proven.integration, directory, now };
        let grant = client.grant(scope).map_err(|reason| proven.refused(reason))?;
        self.issue(proven, grant.id, None, directory, standing, now, jti)
    }

    /// Establishes who asks and with which key, and uses both up: the assertion and the proof are good for this one request.
    ///
    /// The assertion may be signed by any active credential of the integration and the token is bound to the key of the
    /// proof, which must be an active credential of it too, the same or another: an integration may keep the key that
    /// signs assertions apart from the keys on its workers.
    ///
    /// # Errors
    /// [`TokenError`]. A request that is asked to repeat with a nonce has used up neither its assertion nor its proof.
    ///
    /// Source: RFC 7523 section 2.2, RFC 9449 section 5, RFC 8705 sections 2 and 3.
    pub fn prove(
        &self,
        request: &TokenRequest<'_>,
        directory: &Directory,
        now: UnixMicros,
    ) -> Result<Proven, TokenError> {
        let by_nobody = |reason| TokenError { reason, integration: None };
        let form = Form::parse(request.body).ok_or(by_nobody(Reason::Form))?;
        let asked = Asked::read(&form).map_err(by_nobody)?;
        let proof = self.client(&form, request, directory, now).map_err(by_nobody)?;
        let integration = proof.integration();
        let by_it = |reason| TokenError { reason, integration: Some(integration) };
        let possession = self.possession(request, &self.token_url, now).map_err(by_it)?;
        let client = Client { integration, directory, now };
        let (bound_to, bound_until) = client.holder(&possession).map_err(by_it)?;
        let asserted_by = client.by_id(proof.credential()).map_err(by_it)?.0.id;
        self.use_up(Some(&possession), &proof, now).map_err(by_it)?;
        //= RFC 8707 section 2: invalid_target for a resource we do not issue tokens for
        if form.get("resource").is_some_and(|resource| resource != self.resource) {
            return Err(by_it(Reason::Resource));
        }
        Ok(Proven {
            asked,
            asserted_by,
            bound_to: bound_to.id,
            bound_until,
            integration,
            binding: possession.binding(),
            token_type: possession.token_type(),
            network: request.network,
        })
    }

    /// Issues a token for one grant to who was proved. `consent`: what it rests on, if it speaks for a subject; its details are in the
    /// answer. `standing`: what posture says, asked last and once. `jti`: 16 random bytes.
    ///
    /// # Errors
    /// [`TokenError`].
    ///
    /// Source: RFC 6749 section 5.1, RFC 9396 section 7.
    #[expect(
        clippy::too_many_arguments,
        reason = "who, what, and the surroundings that a pure function is handed"
    )]
    pub fn issue(
        &self,
        proven: &Proven,
        grant: GrantId,
        consent: Option<&Consent>,
        directory: &Directory,
        standing: &dyn Fn(&Applicant) -> Standing,
        now: UnixMicros,
        jti: [u8; 16],
    ) -> Result<TokenResponse, TokenError> {
        self.token_for(proven, grant, consent, directory, standing, now, jti)
            .map_err(|reason| proven.refused(reason))
    }

    pub(crate) fn client(
        &self,
        form: &Form,
        request: &TokenRequest<'_>,
        directory: &Directory,
        now: UnixMicros,
    ) -> Result<ClientProof, Reason> {
        //= RFC 6749 section 2.3: the client must not use more than one authentication method
        if form.get("client_secret").is_some() {
            return Err(Reason::TwoClients);
        }
        //= RFC 6749 section 3.2.1: a client authenticates at the token endpoint, with more than its identifier
        let client_id = form.get("client_id");
        if let Some(client_id) = client_id
            && form.get("client_assertion_type").is_none()
            && form.get("client_assertion").is_none()
        {
            let proof = by_certificate(client_id, request, directory, now)?;
            return from_its_network(proof, request, directory, now);
        }
        if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(Reason::Parameter("client_assertion_type"));
        }
        let text = form.get("client_assertion").ok_or(Reason::Parameter("client_assertion"))?;
        let asserted =
            assertion::verify(text, &self.issuer, directory, now).map_err(Reason::Assertion)?;
        //= RFC 7521 section 4.2: client_id, if present, must identify the same client as the assertion
        if client_id.is_some_and(|id| id != asserted.integration.to_string()) {
            return Err(Reason::TwoClients);
        }
        from_its_network(ClientProof::Assertion(asserted), request, directory, now)
    }

    #[expect(clippy::too_many_arguments, reason = "as for `issue`")]
    fn token_for(
        &self,
        proven: &Proven,
        grant: GrantId,
        consent: Option<&Consent>,
        directory: &Directory,
        standing: &dyn Fn(&Applicant) -> Standing,
        now: UnixMicros,
        jti: [u8; 16],
    ) -> Result<TokenResponse, Reason> {
        let client = Client { integration: proven.integration, directory, now };
        let (asserted_by, asserted_until) = client.by_id(proven.asserted_by)?;
        let (bound_to, _) = client.by_id(proven.bound_to)?;
        let bound_until = proven.bound_until;
        for credential in [asserted_by, bound_to] {
            if !may_come_from(credential, proven.network) {
                return Err(Reason::Network);
            }
        }
        let (integration, approved_until) = client.approved()?;
        let grant = client.running(grant)?;
        let consented_until = match consent {
            None => grant.expires,
            Some(consent) if consent.integration != integration.id => return Err(Reason::Code),
            Some(consent) if consent.details.grant != grant.id => return Err(Reason::Code),
            Some(consent) if consent.is_over(now) => return Err(Reason::Code),
            Some(consent) => consent.details.expires,
        };

        let applicant = Applicant {
            vendor: integration.vendor,
            integration: integration.id,
            asserted_by: asserted_by.id,
            bound_to: bound_to.id,
            grant: grant.id,
        };
        standing(&applicant).admitted()?;

        // INVARIANT: a token outlives nothing that it rests on.
        let ends = [grant.expires, consented_until, asserted_until, bound_until, approved_until];
        let expires = ends.into_iter().fold(now + token::LIFETIME, UnixMicros::min);
        let expires = UnixMicros::from_secs(expires.secs());
        let expires_in = expires.since(now).0 / 1_000_000;
        if expires_in == 0 {
            return Err(Reason::Scope);
        }
        let facts = Facts {
            integration: integration.id,
            grant: grant.id,
            subject: consent.map(|consent| consent.subject.clone()),
            consent: consent.map(|consent| consent.id),
            binding: proven.binding,
            issued: now,
            expires,
        };
        let (key, kid) = self.keys.signing();
        //= RFC 8707 section 2.2: the token is for the resource and no other
        let access_token = token::sign(&facts, &self.issuer, &self.resource, &key, &kid, jti);
        let nonce = self.nonces.current(now);
        let token_type = proven.token_type;
        let (refresh_token, details) = (None, None);
        Ok(TokenResponse {
            access_token,
            token_type,
            expires,
            expires_in,
            applicant,
            nonce,
            refresh_token,
            details,
        })
    }

    pub(crate) fn possession<'r>(
        &self,
        request: &TokenRequest<'r>,
        url: &str,
        now: UnixMicros,
    ) -> Result<Possession<'r>, Reason> {
        if let Some(certificate) = request.client_certificate
            && request.dpop.is_empty()
        {
            return Ok(Possession::Certificate(certificate));
        }
        //= RFC 9449 section 5: the proof is for a POST to this endpoint and has no ath
        let expected = Expected { method: "POST", url, token: None, key: None };
        dpop::verify(request.dpop, &expected, &self.nonces, now).map(Possession::Key).map_err(
            |unproved| match unproved {
                Unproved::Bad(reason) => Reason::Proof(reason),
                Unproved::NonceNeeded(nonce) => Reason::NonceNeeded(nonce),
            },
        )
    }

    /// After the keys were found registered, so that a client cannot make up holders to fill memory with.
    pub(crate) fn use_up(
        &self,
        possession: Option<&Possession<'_>>,
        client: &ClientProof,
        now: UnixMicros,
    ) -> Result<(), Reason> {
        let refused = |not_first, replayed| match not_first {
            NotFirst::Replayed => replayed,
            NotFirst::Forgotten | NotFirst::Full => Reason::Unavailable,
        };
        if let Some(Possession::Key(proved)) = possession {
            self.proofs
                .observe(holder_of(&proved.thumbprint), proved.used, proved.until, now)
                .map_err(|not_first| refused(not_first, Reason::Proof(BadProof::Replayed)))?;
        }
        let ClientProof::Assertion(asserted) = client else { return Ok(()) };
        // An issue date may be ahead by as much as is accepted; without one, the end says that it was made after the start.
        let made_since = asserted.issued.is_some_and(|it| it >= self.began + CLOCK_AHEAD)
            || asserted.until > self.began + assertion::LIFETIME;
        if possession.is_none() && !made_since {
            return Err(Reason::Unavailable);
        }
        //= RFC 7523 section 3: the jti is kept until exp, so that the assertion is used once
        self.assertions
            .observe(*asserted.integration.as_bytes(), asserted.used, asserted.until, now)
            .map_err(|not_first| refused(not_first, Reason::AssertionReplayed))
    }
}

/// What a token request asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum Asked {
    /// A token on the integration's own account (RFC 6749 section 4.4).
    Own {
        /// The id of the grant, needed if there are many.
        scope: Option<String>,
    },
    /// The tokens that a code stands for (RFC 6749 section 4.1.3).
    Code {
        /// The code.
        code: String,
        /// Where the browser had been sent back to.
        redirect_uri: Option<String>,
        /// What hashes to the request's challenge (RFC 7636 section 4.5).
        verifier: Option<String>,
    },
    /// The next token of a consent (RFC 6749 section 6).
    Refresh {
        /// The refresh token.
        token: String,
    },
}

impl Asked {
    fn read(form: &Form) -> Result<Self, Reason> {
        let own = |name: &str| form.get(name).map(str::to_owned);
        //= RFC 9700 section 2.4: the password grant must not be used; nor is any other that is not named here
        match form.get("grant_type") {
            Some("client_credentials") => Ok(Self::Own { scope: own("scope") }),
            Some("authorization_code") => Ok(Self::Code {
                code: own("code").ok_or(Reason::Parameter("code"))?,
                redirect_uri: own("redirect_uri"),
                verifier: own("code_verifier"),
            }),
            Some("refresh_token") => {
                let token = own("refresh_token").ok_or(Reason::Parameter("refresh_token"))?;
                Ok(Self::Refresh { token })
            }
            Some(_) => Err(Reason::GrantType),
            None => Err(Reason::Parameter("grant_type")),
        }
    }
}

/// Proof that a registered client made this request, once, and holds a registered key. Minted only by [`TokenEndpoint::prove`].
pub struct Proven {
    /// What it asks for.
    pub asked: Asked,
    integration: IntegrationId,
    asserted_by: CredentialId,
    bound_to: CredentialId,
    /// When the credential that it is bound to ends, or the certificate that proves it.
    bound_until: UnixMicros,
    binding: Binding,
    token_type: TokenType,
    network: ClientIp,
}

impl Proven {
    /// Who asks.
    pub fn integration(&self) -> IntegrationId {
        self.integration
    }

    /// The key or certificate it proved that it holds.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The answer to this client, if it gets nothing.
    pub fn refused(&self, reason: Reason) -> TokenError {
        TokenError { reason, integration: Some(self.integration) }
    }
}

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proven({})", self.integration)
    }
}

/// How the client proved who it is.
pub(crate) enum ClientProof {
    Assertion(Asserted),
    /// The connection's certificate (RFC 8705 section 2).
    Certificate {
        integration: IntegrationId,
        credential: CredentialId,
    },
}

impl ClientProof {
    pub(crate) fn integration(&self) -> IntegrationId {
        match self {
            Self::Assertion(asserted) => asserted.integration,
            Self::Certificate { integration, .. } => *integration,
        }
    }

    pub(crate) fn credential(&self) -> CredentialId {
        match self {
            Self::Assertion(asserted) => asserted.credential,
            Self::Certificate { credential, .. } => *credential,
        }
    }
}

/// Authenticates the client that calls itself `client_id` by the connection's certificate.
//= RFC 8705 section 2: client_id is required, so that the certificate is compared with one client's
fn by_certificate(
    client_id: &str,
    request: &TokenRequest<'_>,
    directory: &Directory,
    now: UnixMicros,
) -> Result<ClientProof, Reason> {
    let shown = request.client_certificate.ok_or(Reason::NoClientProof)?;
    let integration = client_id.parse().map_err(|_| Reason::Certificate(Fault::Other))?;
    let client = Client { integration, directory, now };
    let (credential, _) = client.by_certificate(shown)?;
    Ok(ClientProof::Certificate { integration, credential: credential.id })
}

/// Whoever is proved, if its credential may be used from there.
fn from_its_network(
    proof: ClientProof,
    request: &TokenRequest<'_>,
    directory: &Directory,
    now: UnixMicros,
) -> Result<ClientProof, Reason> {
    let client = Client { integration: proof.integration(), directory, now };
    let (credential, _) = client.by_id(proof.credential())?;
    if may_come_from(credential, request.network) { Ok(proof) } else { Err(Reason::Network) }
}

/// What the client proved that it holds.
pub(crate) enum Possession<'r> {
    Key(Proved),
    Certificate(&'r Shown<'r>),
}

impl Possession<'_> {
    pub(crate) fn binding(&self) -> Binding {
        match self {
            Self::Key(proved) => Binding::Key(proved.thumbprint),
            Self::Certificate(shown) => Binding::Certificate(shown.thumbprint()),
        }
    }

    fn token_type(&self) -> TokenType {
        match self {
            Self::Key(_) => TokenType::Dpop,
            Self::Certificate(_) => TokenType::Bearer,
        }
    }
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenEndpoint(issuer {}, key {})", self.issuer, self.keys.signing().1)
    }
}

/// What the directory holds for one integration at one moment. Each answer comes with the moment it stops being true.
pub(crate) struct Client<'d> {
    pub(crate) integration: IntegrationId,
    pub(crate) directory: &'d Directory,
    pub(crate) now: UnixMicros,
}

impl<'d> Client<'d> {
    pub(crate) fn approved(&self) -> Result<(&'d Integration, UnixMicros), Reason> {
        let integration = self.directory.integrations.get(&self.integration);
        let integration = integration.ok_or(Reason::NotAdmitted)?;
        match integration.state {
            IntegrationState::Sandbox { until }
            | IntegrationState::Approved { until }
            | IntegrationState::Restricted { until }
                if self.now < until =>
            {
                Ok((integration, until))
            }
            IntegrationState::Sandbox { .. }
            | IntegrationState::Approved { .. }
            | IntegrationState::Restricted { .. }
            | IntegrationState::Applied
            | IntegrationState::Severed
            | IntegrationState::Expired => Err(Reason::NotAdmitted),
        }
    }

    fn by_id(&self, id: CredentialId) -> Result<(&'d Credential, UnixMicros), Reason> {
        let credential = self.directory.credentials.get(&id);
        credential.and_then(|credential| self.active(credential)).ok_or(Reason::UnknownKey)
    }

    /// The credential behind what was proved, and until when it is good.
    pub(crate) fn holder(
        &self,
        possession: &Possession<'_>,
    ) -> Result<(&'d Credential, UnixMicros), Reason> {
        match possession {
            Possession::Key(proved) => self.by_key(&proved.thumbprint),
            Possession::Certificate(shown) => self.by_certificate(shown),
        }
    }

    fn by_key(&self, bound: &Digest) -> Result<(&'d Credential, UnixMicros), Reason> {
        let is_it = |credential: &&Credential| matches!(&credential.means, Means::Key { thumbprint, .. } if thumbprint == bound);
        let mut credentials = self.directory.credentials.values().filter(is_it);
        credentials.find_map(|credential| self.active(credential)).ok_or(Reason::UnknownKey)
    }

    /// The credential that the certificate proves; otherwise, why one that it might have been does not count.
    fn by_certificate(&self, shown: &Shown<'_>) -> Result<(&'d Credential, UnixMicros), Reason> {
        let mut fault = Fault::Other;
        let active = self.directory.credentials.values().filter_map(|it| self.active(it));
        for (credential, until) in active {
            match shown.proves(credential) {
                Ok(()) => return Ok((credential, until.min(shown.ends()))),
                Err(Fault::Other) => {}
                Err(why) => fault = why,
            }
        }
        Err(Reason::Certificate(fault))
    }

    pub(crate) fn active(
        &self,
        credential: &'d Credential,
    ) -> Option<(&'d Credential, UnixMicros)> {
        match credential.state {
            CredentialState::Active { until }
                if self.now < until && credential.integration == self.integration =>
            {
                Some((credential, until))
            }
            CredentialState::Active { .. } | CredentialState::Retired => None,
        }
    }

    /// A grant of this client that runs.
    fn running(&self, id: GrantId) -> Result<&'d Grant, Reason> {
        let runs =
            |grant: &&Grant| grant.integration == self.integration && self.now < grant.expires;
        self.directory.grants.get(&id).filter(runs).ok_or(Reason::Scope)
    }

    /// The one grant that `scope` names or, without a scope, the only one that runs.
    fn grant(&self, scope: Option<&str>) -> Result<&'d Grant, Reason> {
        let runs =
            |grant: &&Grant| grant.integration == self.integration && self.now < grant.expires;
        if let Some(scope) = scope {
            return self.running(scope.parse().map_err(|_| Reason::Scope)?);
        }
        let mut running = self.directory.grants.values().filter(runs);
        match (running.next(), running.next()) {
            (Some(grant), None) => Ok(grant),
            _ => Err(Reason::Scope),
        }
    }
}

//! The token endpoint: an integration proves itself and gets a token for one grant, bound to one of its keys.

use crate::error::{Reason, TokenError};
use crate::form::Form;
use crate::metadata::TOKEN_PATH;
use credential::assertion::{self, Asserted};
use credential::authenticate::may_come_from;
use credential::certificate::{Fault, Shown};
use credential::dpop::{self, Expected, Proved, Unproved};
use credential::replay::{FirstUse, NotFirst, holder_of};
use credential::token::{self, Binding, Facts};
use credential::{AccessToken, BadProof, Nonce, NonceKey, PublicKey, SigningKey};
use model::{
    ClientIp, Credential, CredentialId, CredentialState, Digest, Directory, Grant, GrantId,
    Integration, IntegrationId, IntegrationState, Means, UnixMicros, VendorId,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;

//= RFC 7523 section 2.2
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Assertions and proofs remembered for one integration or key: 50 requests a second for the five minutes an assertion lives.
const USES_MAX: usize = 1 << 14;

/// The token endpoint's keys, names and memory. One for each node, shared by its threads.
///
/// After a restart the assertions seen before it are forgotten. An assertion alone obtains nothing: it must come with a
/// proof that carries a nonce of this start, or over a connection with the client's certificate.
pub struct TokenEndpoint {
    issuer: String,
    token_url: String,
    resource: String,
    key: SigningKey,
    kid: String,
    nonces: NonceKey,
    proofs: FirstUse,
    assertions: FirstUse,
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
    /// The credential that signed the assertion, or whose certificate the connection has.
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
}

impl TokenResponse {
    /// The body, `application/json` (RFC 6749 section 5.1). It holds the token: it goes to the socket and nowhere else.
    pub fn to_json(&self) -> String {
        let token_type = match self.token_type {
            TokenType::Dpop => "DPoP",
            TokenType::Bearer => "Bearer",
        };
        json!({
            "access_token": self.access_token.expose(),
            "token_type": token_type,
            "expires_in": self.expires_in,
            "scope": self.applicant.grant.to_string(),
        })
        .to_string()
    }
}

impl TokenEndpoint {
    /// `issuer`: our origin as clients see it. `resource`: the gateway's, the only audience of our tokens.
    /// `key`: signs the tokens. `nonce_random`: 32 bytes, fresh at each start.
    ///
    /// # Errors
    /// [`BadIssuer`] if the issuer is anything but an origin.
    pub fn new(
        issuer: &str,
        resource: &str,
        key: SigningKey,
        nonce_random: [u8; 32],
    ) -> Result<Self, BadIssuer> {
        let host = issuer.strip_prefix("https://").or_else(|| issuer.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@'])) {
            return Err(BadIssuer);
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            token_url: format!("{issuer}{TOKEN_PATH}"),
            resource: resource.to_owned(),
            kid: key.public().thumbprint_text(),
            key,
            nonces: NonceKey::new(nonce_random),
            proofs: FirstUse::new(USES_MAX),
            assertions: FirstUse::new(USES_MAX),
        })
    }

    /// The issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public keys of our tokens by `kid`, as [`credential::Verifier::new`] takes them.
    pub fn issuer_keys(&self) -> BTreeMap<String, PublicKey> {
        BTreeMap::from([(self.kid.clone(), self.key.public().clone())])
    }

    /// Answers one token request.
    ///
    /// The assertion may be signed by any active credential of the integration and the token is bound to the key of the
    /// proof, which must be an active credential of it too, the same or another: an integration may keep the key that
    /// signs assertions apart from the keys on its workers. `standing`: what posture says, asked last and once.
    /// `jti`: 16 random bytes.
    ///
    /// # Errors
    /// [`TokenError`]. A request that is asked to repeat with a nonce has used up neither its assertion nor its proof.
    ///
    /// Source: RFC 6749 section 4.4, RFC 7523 section 2.2, RFC 9449 section 5, RFC 8705 sections 2 and 3.
    pub fn token(
        &self,
        request: &TokenRequest<'_>,
        directory: &Directory,
        standing: &dyn Fn(&Applicant) -> Standing,
        now: UnixMicros,
        jti: [u8; 16],
    ) -> Result<TokenResponse, TokenError> {
        let by_nobody = |reason| TokenError { reason, integration: None };
        let form = Form::parse(request.body).ok_or(by_nobody(Reason::Form))?;
        let proved = self.client(&form, request, directory, now).map_err(by_nobody)?;
        let integration = proved.integration();
        let client = Client { integration, directory, now };
        self.token_for(&form, request, &proved, &client, standing, jti)
            .map_err(|reason| TokenError { reason, integration: Some(integration) })
    }

    fn client(
        &self,
        form: &Form,
        request: &TokenRequest<'_>,
        directory: &Directory,
        now: UnixMicros,
    ) -> Result<ClientProof, Reason> {
        match form.get("grant_type") {
            Some("client_credentials") => {}
            Some(_) => return Err(Reason::GrantType),
            None => return Err(Reason::Parameter("grant_type")),
        }
        //= RFC 6749 section 2.3: the client must not use more than one authentication method
        if form.get("client_secret").is_some() {
            return Err(Reason::TwoClients);
        }
        let client_id = form.get("client_id");
        if let Some(client_id) = client_id
            && form.get("client_assertion_type").is_none()
            && form.get("client_assertion").is_none()
        {
            return by_certificate(client_id, request, directory, now);
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
        Ok(ClientProof::Assertion(asserted))
    }

    fn token_for(
        &self,
        form: &Form,
        request: &TokenRequest<'_>,
        proved: &ClientProof,
        client: &Client<'_>,
        standing: &dyn Fn(&Applicant) -> Standing,
        jti: [u8; 16],
    ) -> Result<TokenResponse, Reason> {
        let now = client.now;
        let possession = self.possession(request, now)?;
        let binding = possession.binding();
        let (asserted_by, asserted_until) = client.by_id(proved.credential())?;
        let (bound_to, bound_until) = match &possession {
            Possession::Key(proved) => client.by_key(&proved.thumbprint)?,
            Possession::Certificate(shown) => client.by_certificate(shown)?,
        };
        self.use_up(&possession, proved, now)?;
        for credential in [asserted_by, bound_to] {
            if !may_come_from(credential, request.network) {
                return Err(Reason::Network);
            }
        }
        let (integration, approved_until) = client.approved()?;
        //= RFC 8707 section 2: invalid_target for a resource we do not issue tokens for
        if form.get("resource").is_some_and(|resource| resource != self.resource) {
            return Err(Reason::Resource);
        }
        let grant = client.grant(form.get("scope"))?;

        let applicant = Applicant {
            vendor: integration.vendor,
            integration: integration.id,
            asserted_by: asserted_by.id,
            bound_to: bound_to.id,
            grant: grant.id,
        };
        match standing(&applicant) {
            Standing::Admitted => {}
            Standing::Cut => return Err(Reason::NotAdmitted),
            Standing::Unconfirmed => return Err(Reason::Unavailable),
        }

        // INVARIANT: a token outlives nothing that it rests on.
        let ends = [grant.expires, asserted_until, bound_until, approved_until];
        let expires = ends.into_iter().fold(now + token::LIFETIME, UnixMicros::min);
        let expires = UnixMicros::from_secs(expires.secs());
        let expires_in = expires.since(now).0 / 1_000_000;
        if expires_in == 0 {
            return Err(Reason::Scope);
        }
        let facts = Facts {
            integration: integration.id,
            grant: grant.id,
            subject: None,
            binding,
            issued: now,
            expires,
        };
        let access_token =
            token::sign(&facts, &self.issuer, &self.resource, &self.key, &self.kid, jti);
        let nonce = self.nonces.current(now);
        let token_type = possession.token_type();
        Ok(TokenResponse { access_token, token_type, expires, expires_in, applicant, nonce })
    }

    fn possession<'r>(
        &self,
        request: &TokenRequest<'r>,
        now: UnixMicros,
    ) -> Result<Possession<'r>, Reason> {
        if let Some(certificate) = request.client_certificate
            && request.dpop.is_empty()
        {
            return Ok(Possession::Certificate(certificate));
        }
        //= RFC 9449 section 5: the proof is for a POST to the token endpoint and has no ath
        let expected = Expected { method: "POST", url: &self.token_url, token: None, key: None };
        dpop::verify(request.dpop, &expected, &self.nonces, now).map(Possession::Key).map_err(
            |unproved| match unproved {
                Unproved::Bad(reason) => Reason::Proof(reason),
                Unproved::NonceNeeded(nonce) => Reason::NonceNeeded(nonce),
            },
        )
    }

    /// After the keys were found registered, so that a client cannot make up holders to fill memory with.
    fn use_up(
        &self,
        possession: &Possession<'_>,
        client: &ClientProof,
        now: UnixMicros,
    ) -> Result<(), Reason> {
        let refused = |not_first, replayed| match not_first {
            NotFirst::Replayed => replayed,
            NotFirst::Forgotten | NotFirst::Full => Reason::Unavailable,
        };
        if let Possession::Key(proved) = possession {
            self.proofs
                .observe(holder_of(&proved.thumbprint), proved.used, proved.until, now)
                .map_err(|not_first| refused(not_first, Reason::Proof(BadProof::Replayed)))?;
        }
        let ClientProof::Assertion(asserted) = client else { return Ok(()) };
        //= RFC 7523 section 3: the jti is kept until exp, so that the assertion is used once
        self.assertions
            .observe(*asserted.integration.as_bytes(), asserted.used, asserted.until, now)
            .map_err(|not_first| refused(not_first, Reason::AssertionReplayed))
    }
}

/// How the client proved who it is.
enum ClientProof {
    Assertion(Asserted),
    /// The connection's certificate (RFC 8705 section 2).
    Certificate {
        integration: IntegrationId,
        credential: CredentialId,
    },
}

impl ClientProof {
    fn integration(&self) -> IntegrationId {
        match self {
            Self::Assertion(asserted) => asserted.integration,
            Self::Certificate { integration, .. } => *integration,
        }
    }

    fn credential(&self) -> CredentialId {
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

/// What the client proved that it holds.
enum Possession<'r> {
    Key(Proved),
    Certificate(&'r Shown<'r>),
}

impl Possession<'_> {
    fn binding(&self) -> Binding {
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
        write!(f, "TokenEndpoint(issuer {}, key {})", self.issuer, self.kid)
    }
}

/// What the directory holds for one integration at one moment. Each answer comes with the moment it stops being true.
struct Client<'d> {
    integration: IntegrationId,
    directory: &'d Directory,
    now: UnixMicros,
}

impl<'d> Client<'d> {
    fn approved(&self) -> Result<(&'d Integration, UnixMicros), Reason> {
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

    fn active(&self, credential: &'d Credential) -> Option<(&'d Credential, UnixMicros)> {
        match credential.state {
            CredentialState::Active { until }
                if self.now < until && credential.integration == self.integration =>
            {
                Some((credential, until))
            }
            CredentialState::Active { .. } | CredentialState::Retired => None,
        }
    }

    /// The one grant that `scope` names or, without a scope, the only one that runs.
    fn grant(&self, scope: Option<&str>) -> Result<&'d Grant, Reason> {
        let runs =
            |grant: &&Grant| grant.integration == self.integration && self.now < grant.expires;
        if let Some(scope) = scope {
            let id: GrantId = scope.parse().map_err(|_| Reason::Scope)?;
            return self.directory.grants.get(&id).filter(runs).ok_or(Reason::Scope);
        }
        let mut running = self.directory.grants.values().filter(runs);
        match (running.next(), running.next()) {
            (Some(grant), None) => Ok(grant),
            _ => Err(Reason::Scope),
        }
    }
}

//! Introspection (RFC 7662) and revocation (RFC 7009): what a client may learn of its own tokens, and how it gives them back.

use crate::consent::RefreshToken;
use crate::endpoint::{Client, Standing, TokenEndpoint, TokenRequest};
use crate::error::{Reason, TokenError};
use crate::form::Form;
use credential::base64url;
use credential::sha256;
use credential::token::{self, Binding, Facts};
use model::{ConsentId, CredentialId, Digest, Directory, IntegrationId, Means, UnixMicros};
use serde_json::{Value, json};

/// A token that an authenticated client asks about. Whose token it is, is for the caller to compare where it asks the store.
#[derive(Clone, PartialEq, Eq)]
pub enum Inquiry {
    /// An access token of this client that our signature and its dates hold for.
    Access {
        /// What it says.
        facts: Facts,
        /// SHA-256 of the token.
        digest: Digest,
    },
    /// It may be a refresh token: of this consent, if it is of this client.
    Refresh {
        /// Who asks.
        integration: IntegrationId,
        /// The consent that the token names.
        consent: ConsentId,
        /// SHA-256 of the token.
        digest: Digest,
    },
    /// Nothing of ours, or nothing of this client's.
    Nothing,
}

impl TokenEndpoint {
    /// Reads a request to introspect or revoke: authenticates the client, uses its assertion up, and looks at the token.
    ///
    /// `standing`: what posture says of the credential that the client authenticates with; one that is cut off learns and changes nothing.
    /// `token_type_hint` is not needed to tell the two kinds apart, so it is not looked at.
    ///
    /// # Errors
    /// [`TokenError`] if the client is not proved. A token that is not its own is [`Inquiry::Nothing`], as one that never was.
    ///
    /// Source: RFC 7662 sections 2.1 and 2.2, RFC 7009 section 2.1.
    pub fn inquire(
        &self,
        request: &TokenRequest<'_>,
        directory: &Directory,
        standing: &dyn Fn(&CredentialId) -> Standing,
        now: UnixMicros,
    ) -> Result<Inquiry, TokenError> {
        let by_nobody = |reason| TokenError { reason, integration: None };
        let form = Form::parse(request.body).ok_or(by_nobody(Reason::Form))?;
        let proof = self.client(&form, request, directory, now).map_err(by_nobody)?;
        let integration = proof.integration();
        let by_it = |reason| TokenError { reason, integration: Some(integration) };
        standing(&proof.credential()).admitted().map_err(by_it)?;
        //= RFC 7662 section 2.1: whoever asks is authenticated
        self.use_up(None, &proof, now).map_err(by_it)?;
        //= RFC 7009 section 2.1: the token must be sent
        let text = form.get("token").ok_or(by_it(Reason::Parameter("token")))?;
        let digest = sha256(text.as_bytes());
        //= RFC 7009 section 2.1: the hint is only a hint
        if let Some(consent) = RefreshToken::consent_of(text) {
            return Ok(Inquiry::Refresh { integration, consent, digest });
        }
        let keys = self.issuer_keys();
        //= RFC 7662 section 4: signature and dates are checked
        let facts = token::read(text, &self.issuer, &self.resource, &keys, now);
        //= RFC 7662 section 4: a client must not learn of tokens that are not its own
        let facts = facts.filter(|facts| facts.integration == integration);
        Ok(facts.map_or(Inquiry::Nothing, |facts| Inquiry::Access { facts, digest }))
    }

    /// The credentials in use that a token may be presented with. Which certificate of a CA it is bound to is not known before it is shown, so
    /// each credential of that kind may be the one.
    pub fn holders(
        &self,
        facts: &Facts,
        directory: &Directory,
        now: UnixMicros,
    ) -> impl Iterator<Item = CredentialId> {
        let client = Client { integration: facts.integration, directory, now };
        let active = directory.credentials.values().filter_map(move |it| client.active(it));
        active.filter_map(|(credential, _)| {
            let is_it = match (&facts.binding, &credential.means) {
                (Binding::Key(bound), Means::Key { thumbprint, .. })
                | (Binding::Certificate(bound), Means::Certificate { thumbprint, .. }) => {
                    bound == thumbprint
                }
                (Binding::Certificate(_), Means::Ca { .. }) => true,
                (Binding::Key(_), Means::Certificate { .. } | Means::Ca { .. })
                | (Binding::Certificate(_), Means::Key { .. }) => false,
            };
            is_it.then_some(credential.id)
        })
    }

    /// The answer about an active access token.
    ///
    /// Source: RFC 7662 section 2.2, RFC 9449 section 6.2, RFC 8705 section 3.2.
    pub fn describe(&self, facts: &Facts) -> Value {
        let cnf = match &facts.binding {
            Binding::Key(jkt) => json!({ "jkt": base64url::encode(jkt) }),
            Binding::Certificate(x5t) => json!({ "x5t#S256": base64url::encode(x5t) }),
        };
        //= RFC 9449 section 6.2: the key is named in cnf.jkt, as in the token
        let token_type = match &facts.binding {
            Binding::Key(_) => "DPoP",
            Binding::Certificate(_) => "Bearer",
        };
        json!({
            "active": true,
            "iss": self.issuer,
            "aud": self.resource,
            "client_id": facts.integration.to_string(),
            "sub": facts.integration.to_string(),
            "scope": facts.grant.to_string(),
            "token_type": token_type,
            "iat": facts.issued.secs(),
            "exp": facts.expires.secs(),
            "cnf": cnf,
        })
    }
}

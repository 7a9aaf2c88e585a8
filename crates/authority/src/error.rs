//! Why no token was issued: the OAuth error for the client, the reason for the operator.

use crate::consent::NotRefreshed;
use crate::details::BadDetails;
use credential::assertion::BadAssertion;
use credential::certificate::Fault;
use credential::{BadProof, Nonce};
use model::IntegrationId;
use serde_json::json;

/// A token request that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct TokenError {
    /// Why.
    pub reason: Reason,
    /// Who asked, once its assertion had been verified.
    pub integration: Option<IntegrationId>,
}

/// Why a token request was refused. The client is at fault, except where a variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The body is not a form with each parameter once.
    #[error("the form is malformed or repeats a parameter")]
    Form,
    /// A parameter is missing or has a value that cannot be right.
    #[error("parameter `{0}` is missing or wrong")]
    Parameter(&'static str),
    /// A grant type that is not served here.
    #[error("the grant type is not supported")]
    GrantType,
    /// The client assertion.
    #[error("{0}")]
    Assertion(BadAssertion),
    /// The assertion was used before.
    #[error("the assertion was used before")]
    AssertionReplayed,
    /// `client_id` names another client than the assertion, or a secret was sent too.
    #[error("the client is named or authenticated in two ways")]
    TwoClients,
    /// The connection's certificate.
    #[error("{0}")]
    Certificate(Fault),
    /// The client names itself and proves it by nothing: no assertion, and no certificate on the connection.
    #[error("the client is not authenticated")]
    NoClientProof,
    /// The proof.
    #[error("{0}")]
    Proof(BadProof),
    /// The proof lacks a current nonce: repeat with this one.
    #[error("the proof has no current nonce")]
    NonceNeeded(Nonce),
    /// The proof holds, but its key is not an active credential of this client.
    #[error("the key to bind to is not an active credential of the client")]
    UnknownKey,
    /// From outside the networks that one of the credentials is pinned to.
    #[error("the network is not one the credential is pinned to")]
    Network,
    /// The integration is not approved, its approval has run out, or posture cut it off.
    #[error("the integration may not obtain tokens")]
    NotAdmitted,
    /// The code, its verifier or its redirect address.
    #[error("the code is not good, or not for this request")]
    Code,
    /// The refresh token.
    #[error("{0}")]
    NotRefreshed(NotRefreshed),
    /// A refresh token or code came twice; what it was issued for is over.
    #[error("it was used before, and what it was issued for is over")]
    UsedTwice,
    /// `authorization_details`.
    #[error("{0}")]
    Details(BadDetails),
    /// `redirect_uri` is none of those registered for the client.
    #[error("the redirect address is not registered for this client")]
    Redirect,
    /// A parameter that is not served here, such as `request` or another response type.
    #[error("the request asks for what is not served here: {0}")]
    NotServed(&'static str),
    /// `resource` is not the one these tokens are for.
    #[error("the resource is not served here")]
    Resource,
    /// `scope` is not the id of one grant of the integration that still runs, or is needed because there are many.
    #[error("the scope is not one running grant of the integration")]
    Scope,
    /// Not the client's fault: posture could not be confirmed, or first use not be remembered. Repeat later.
    #[error("the request cannot be judged at the moment")]
    Unavailable,
}

impl TokenError {
    /// The `error` member: RFC 6749 section 5.2, RFC 8707 section 2, RFC 9449 sections 5 and 8.
    pub fn code(&self) -> &'static str {
        match self.reason {
            Reason::Form | Reason::Parameter(_) => "invalid_request",
            Reason::NotServed("response_type") => "unsupported_response_type",
            Reason::NotServed("request") => "request_not_supported",
            Reason::NotServed(_) | Reason::Redirect => "invalid_request",
            Reason::Code | Reason::NotRefreshed(_) | Reason::UsedTwice => "invalid_grant",
            Reason::Details(_) => "invalid_authorization_details",
            Reason::GrantType => "unsupported_grant_type",
            Reason::Assertion(_)
            | Reason::AssertionReplayed
            | Reason::TwoClients
            | Reason::Certificate(_)
            | Reason::NoClientProof => "invalid_client",
            //= RFC 9449 section 5: the error of a bad proof
            Reason::Proof(_) | Reason::UnknownKey => "invalid_dpop_proof",
            //= RFC 9449 section 8: 400 with use_dpop_nonce
            Reason::NonceNeeded(_) => "use_dpop_nonce",
            Reason::Network | Reason::NotAdmitted => "unauthorized_client",
            Reason::Resource => "invalid_target",
            Reason::Scope => "invalid_scope",
            Reason::Unavailable => "temporarily_unavailable",
        }
    }

    /// The HTTP status. 400 for `invalid_client` too: no header authentication was tried that a 401 could ask to repeat.
    pub const fn status(&self) -> u16 {
        //= RFC 6749 section 5.2: 400, and 401 only where an Authorization header was tried
        if matches!(self.reason, Reason::Unavailable) { 503 } else { 400 }
    }

    /// The nonce that the `DPoP-Nonce` header must carry, if the client is asked to repeat with one.
    pub fn challenge(&self) -> Option<&Nonce> {
        if let Reason::NonceNeeded(nonce) = &self.reason { Some(nonce) } else { None }
    }

    /// The body, `application/json`. The description is the reason's own text, which names no keys, ids or dates; what
    /// concerns the integration's standing is no more exact than `NotAdmitted`.
    pub fn to_json(&self) -> String {
        json!({ "error": self.code(), "error_description": self.description() }).to_string()
    }

    //= RFC 6749 section 5.2: characters of error_description must not include '"' and '\'
    fn description(&self) -> String {
        self.reason.to_string().replace('`', "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_hold_the_characters_that_they_may() {
        let reasons = [
            Reason::Form,
            Reason::Parameter("code_challenge"),
            Reason::GrantType,
            Reason::Assertion(BadAssertion::Audience),
            Reason::TwoClients,
            Reason::Proof(BadProof::Several),
            Reason::NotRefreshed(NotRefreshed::Asleep),
            Reason::Details(BadDetails::Grant),
            Reason::NotServed("request"),
            Reason::Unavailable,
        ];
        for reason in reasons {
            let refused = TokenError { reason, integration: None };
            let description = refused.description();
            let is_allowed = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '`');
            assert!(description.chars().all(is_allowed), "{description}");
            let is_ours = matches!(refused.reason, Reason::Unavailable);
            assert_eq!(refused.status(), if is_ours { 503 } else { 400 }, "{description}");
        }
    }
}

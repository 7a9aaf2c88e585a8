//! What the authority publishes about itself: RFC 8414 metadata and its key set.

use crate::{TokenEndpoint, details};
use credential::Algorithm;
use serde_json::{Value, json};

/// Path of the token endpoint below the issuer.
pub const TOKEN_PATH: &str = "/token";

/// Path of the endpoint that requests are pushed to.
pub const PUSH_PATH: &str = "/par";

/// Path of token introspection.
pub const INTROSPECT_PATH: &str = "/introspect";

/// Path of token revocation.
pub const REVOKE_PATH: &str = "/revoke";

/// Path of dynamic registration; what was registered is at the client's id below it.
pub const REGISTER_PATH: &str = "/register";

/// Path below the portal's address where a browser begins.
pub const AUTHORIZE_PATH: &str = "/authorize";

/// Path of the key set below the issuer.
pub const JWKS_PATH: &str = "/jwks.json";

/// Path of the metadata document. An issuer of ours has no path, so nothing follows it (RFC 8414 section 3.1).
pub const METADATA_PATH: &str = "/.well-known/oauth-authorization-server";

impl TokenEndpoint {
    /// The metadata document (RFC 8414 section 2, RFC 8705 section 3.3, RFC 9126 section 5, RFC 9207 section 3, RFC 9396 section 10,
    /// RFC 9449 section 5.1). `portal`: where subjects agree, if they can; there is no endpoint for browsers then.
    pub fn metadata(&self, portal: Option<&str>) -> Value {
        let issuer = self.issuer();
        let mut document = json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}{TOKEN_PATH}"),
            "jwks_uri": format!("{issuer}{JWKS_PATH}"),
            "introspection_endpoint": format!("{issuer}{INTROSPECT_PATH}"),
            "revocation_endpoint": format!("{issuer}{REVOKE_PATH}"),
            "registration_endpoint": format!("{issuer}{REGISTER_PATH}"),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": Algorithm::NAMES,
            "dpop_signing_alg_values_supported": Algorithm::NAMES,
            "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
            "introspection_endpoint_auth_signing_alg_values_supported": Algorithm::NAMES,
            "revocation_endpoint_auth_methods_supported": ["private_key_jwt"],
            "revocation_endpoint_auth_signing_alg_values_supported": Algorithm::NAMES,
            "tls_client_certificate_bound_access_tokens": true,
        });
        if let (Some(portal), Some(members)) = (portal, document.as_object_mut()) {
            let browsers = json!({
                "authorization_endpoint": format!("{portal}{AUTHORIZE_PATH}"),
                "pushed_authorization_request_endpoint": format!("{issuer}{PUSH_PATH}"),
                "require_pushed_authorization_requests": true,
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_details_types_supported": [details::TYPE],
                "authorization_response_iss_parameter_supported": true,
            });
            if let Value::Object(browsers) = browsers {
                members.extend(browsers);
            }
        }
        document
    }

    /// The key set (RFC 7517 section 5): the public keys that our tokens verify with.
    pub fn jwks(&self) -> Value {
        let keys = self.issuer_keys().into_iter().map(|(kid, key)| {
            let mut jwk: Value = serde_json::from_str(key.canonical_jwk()).unwrap_or_default();
            if let Some(members) = jwk.as_object_mut() {
                members.insert("kid".to_owned(), kid.into());
                members.insert("use".to_owned(), "sig".into());
                members.insert("alg".to_owned(), key.algorithm().name().into());
            }
            jwk
        });
        json!({ "keys": keys.collect::<Vec<_>>() })
    }
}

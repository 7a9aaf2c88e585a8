//! What the authority publishes about itself: RFC 8414 metadata and its key set.

use crate::TokenEndpoint;
use credential::Algorithm;
use serde_json::{Value, json};

/// Path of the token endpoint below the issuer.
pub const TOKEN_PATH: &str = "/token";

/// Path of the key set below the issuer.
pub const JWKS_PATH: &str = "/jwks.json";

/// Path of the metadata document. An issuer of ours has no path, so nothing follows it (RFC 8414 section 3.1).
pub const METADATA_PATH: &str = "/.well-known/oauth-authorization-server";

impl TokenEndpoint {
    /// The metadata document (RFC 8414 section 2, RFC 8705 section 3.3, RFC 9449 section 5.1).
    pub fn metadata(&self) -> Value {
        let issuer = self.issuer();
        // Without TLS there is no certificate to be authenticated by or bound to.
        let tls = issuer.starts_with("https://");
        let methods = ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"];
        //= RFC 8705 section 5: without `mtls_endpoint_aliases`, certificates are taken at the endpoints themselves
        json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}{TOKEN_PATH}"),
            "jwks_uri": format!("{issuer}{JWKS_PATH}"),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": methods.get(..if tls { 3 } else { 1 }),
            "token_endpoint_auth_signing_alg_values_supported": Algorithm::NAMES,
            "dpop_signing_alg_values_supported": Algorithm::NAMES,
            "tls_client_certificate_bound_access_tokens": tls,
        })
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

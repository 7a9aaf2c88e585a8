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

/// Path of the description of all of these for clients that are made from one.
pub const OPENAPI_PATH: &str = "/openapi.json";

/// Path of the metadata document. An issuer of ours has no path, so nothing follows it (RFC 8414 section 3.1).
pub const METADATA_PATH: &str = "/.well-known/oauth-authorization-server";

impl TokenEndpoint {
    /// The metadata document (RFC 8414 section 2, RFC 8705 section 3.3, RFC 9126 section 5, RFC 9207 section 3, RFC 9396 section 10,
    /// RFC 9449 section 5.1). `portal`: where subjects agree, if they can; there is no endpoint for browsers then.
    pub fn metadata(&self, portal: Option<&str>) -> Value {
        let issuer = self.issuer();
        // Without TLS there is no certificate to be authenticated by or bound to.
        let tls = issuer.starts_with("https://");
        let methods = ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"];
        let methods = methods.get(..if tls { 3 } else { 1 }).unwrap_or_default();
        //= RFC 8705 section 5: without `mtls_endpoint_aliases`, certificates are taken at the endpoints themselves
        let mut document = json!({
            //= RFC 8414 section 2: what the document has to have
            "issuer": issuer,
            "token_endpoint": format!("{issuer}{TOKEN_PATH}"),
            "jwks_uri": format!("{issuer}{JWKS_PATH}"),
            "introspection_endpoint": format!("{issuer}{INTROSPECT_PATH}"),
            "revocation_endpoint": format!("{issuer}{REVOKE_PATH}"),
            "registration_endpoint": format!("{issuer}{REGISTER_PATH}"),
            "service_documentation": format!("{issuer}{OPENAPI_PATH}"),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": methods,
            "token_endpoint_auth_signing_alg_values_supported": Algorithm::NAMES,
            //= RFC 9449 section 5.1: the algorithms of proofs
            "dpop_signing_alg_values_supported": Algorithm::NAMES,
            "introspection_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_signing_alg_values_supported": Algorithm::NAMES,
            "revocation_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_signing_alg_values_supported": Algorithm::NAMES,
            //= RFC 8705 section 3.3: says that tokens can be bound to certificates
            "tls_client_certificate_bound_access_tokens": tls,
        });
        if let (Some(portal), Some(members)) = (portal, document.as_object_mut()) {
            let browsers = json!({
                "authorization_endpoint": format!("{portal}{AUTHORIZE_PATH}"),
                "pushed_authorization_request_endpoint": format!("{issuer}{PUSH_PATH}"),
                "require_pushed_authorization_requests": true,
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token"],
                //= RFC 9700 section 2.1.1: clients can find out that PKCE is supported
                "code_challenge_methods_supported": ["S256"],
                //= RFC 9396 section 10: the types that are served
                "authorization_details_types_supported": [details::TYPE],
                //= RFC 9207 section 3: says that iss is in every response
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
                //= RFC 8414 section 2: keys say what they are for
                members.insert("use".to_owned(), "sig".into());
                members.insert("alg".to_owned(), key.algorithm().name().into());
            }
            jwk
        });
        json!({ "keys": keys.collect::<Vec<_>>() })
    }
}

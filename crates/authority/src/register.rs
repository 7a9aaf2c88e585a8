//! Dynamic registration (RFC 7591, RFC 7592): what a client may ask for about itself, and how it is told what stands.
//!
//! Of all client metadata two things are the client's to say: its keys and its redirect addresses. The rest follows from the profile and is
//! answered as it is. Whether anything of it takes effect is decided by operators; nothing here stores or approves.

use crate::metadata::REGISTER_PATH;
use crate::redirect::{self, BadRedirect};
use credential::{BadKey, PublicKey};
use model::{Digest, IntegrationId};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Longest request, in bytes: sixteen RSA keys and 32 addresses fit.
pub const BYTES_MAX: usize = 64 * 1024;
/// Keys of one client.
pub const KEYS_MAX: usize = 16;
/// Redirect addresses of one client.
pub const REDIRECTS_MAX: usize = 32;

/// Keys and redirect addresses of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientMetadata {
    /// Public keys by RFC 7638 thumbprint, as JWK with the required members only.
    pub keys: BTreeMap<Digest, String>,
    /// Redirect addresses, each of them registrable.
    pub redirects: BTreeSet<String>,
}

/// Why metadata cannot be registered; whoever sent it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMetadata {
    /// Not a JSON object, or a member of another type than the standard gives it.
    #[error("`{0}` is missing or of another type")]
    Malformed(&'static str),
    /// Keys by reference.
    #[error("jwks_uri is not fetched here: send the keys in jwks")]
    JwksUri,
    /// A key.
    #[error("a key in jwks cannot be used: {0}")]
    Key(BadKey),
    /// A key twice.
    #[error("a key stands twice in jwks")]
    KeyTwice,
    /// A redirect address.
    #[error("a redirect address cannot be registered: {0}")]
    Redirect(BadRedirect),
    /// More keys or addresses than one client may have.
    #[error("more than {KEYS_MAX} keys or {REDIRECTS_MAX} redirect addresses")]
    TooMany,
    /// A way of authenticating, grant type or response type that is not served.
    #[error("`{0}` asks for what is not served here")]
    NotServed(&'static str),
    /// The object names another client than the address it was sent to, or none.
    #[error("client_id is not the client's")]
    OtherClient,
    /// A key that is, or was, registered already: one key is one credential of one client, for ever.
    #[error("a key in jwks was registered before: make another one")]
    KeyTaken,
}

impl BadMetadata {
    /// The `error` member: RFC 7591 section 3.2.2.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Redirect(_) => "invalid_redirect_uri",
            Self::Malformed(_)
            | Self::JwksUri
            | Self::Key(_)
            | Self::KeyTwice
            | Self::TooMany
            | Self::NotServed(_)
            | Self::OtherClient
            | Self::KeyTaken => "invalid_client_metadata",
        }
    }

    /// The body, `application/json`.
    pub fn to_json(&self) -> Value {
        //= RFC 7591 section 3.2.2: error_description is human-readable ASCII text
        let description = self.to_string().replace('`', "");
        json!({ "error": self.code(), "error_description": description })
    }
}

impl ClientMetadata {
    /// Reads what a client asks for. `named`: the client that the object must name, in an update (RFC 7592 section 2.2).
    ///
    /// Members that are not understood are ignored, as RFC 7591 section 2 has it; `dpop_bound_access_tokens` and others that could only
    /// weaken the profile are answered as they are.
    ///
    /// # Errors
    /// [`BadMetadata`].
    pub fn parse(body: &[u8], named: Option<IntegrationId>) -> Result<Self, BadMetadata> {
        let members: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| BadMetadata::Malformed("body"))?;
        if let Some(client) = named {
            //= RFC 7592 section 2.2: client_id must be included and must match
            let client_id = members.get("client_id").and_then(Value::as_str);
            if client_id != Some(&*client.to_string()) {
                return Err(BadMetadata::OtherClient);
            }
        }
        // Fetching keys on a stranger's word is a request of ours to an address of theirs.
        if members.contains_key("jwks_uri") {
            return Err(BadMetadata::JwksUri);
        }
        check_served(&members)?;
        let keys = members.get("jwks").map_or_else(|| Ok(BTreeMap::new()), read_keys)?;
        let mut redirects = BTreeSet::new();
        for uri in texts(&members, "redirect_uris")? {
            redirect::registrable(uri).map_err(BadMetadata::Redirect)?;
            redirects.insert(uri.to_owned());
        }
        if keys.len() > KEYS_MAX || redirects.len() > REDIRECTS_MAX {
            return Err(BadMetadata::TooMany);
        }
        Ok(Self { keys, redirects })
    }

    /// Whether it is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.redirects.is_empty()
    }

    /// `jwks` and `redirect_uris`, which [`ClientMetadata::parse`] reads back.
    pub fn to_json(&self) -> Value {
        let key = |text: &String| serde_json::from_str::<Value>(text).unwrap_or_default();
        let keys: Vec<_> = self.keys.values().map(key).collect();
        json!({ "jwks": { "keys": keys }, "redirect_uris": self.redirects })
    }

    /// The answer to a client: what is in effect, and beside it, in `pending`, what waits for operators.
    ///
    /// `self`: in effect. `access`: the token for the next use of the registration, which is good once.
    ///
    /// Source: RFC 7591 section 3.2.1, RFC 7592 section 3.
    pub fn answer(
        &self,
        client: IntegrationId,
        pending: &Self,
        issuer: &str,
        access: &str,
    ) -> Value {
        let mut answer = self.to_json();
        let grant_types: &[&str] = if self.redirects.is_empty() {
            &["client_credentials"]
        } else {
            &["client_credentials", "authorization_code", "refresh_token"]
        };
        let response_types: &[&str] = if self.redirects.is_empty() { &[] } else { &["code"] };
        if let Some(members) = answer.as_object_mut() {
            let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
            add("client_id", client.to_string().into());
            add("registration_client_uri", format!("{issuer}{REGISTER_PATH}/{client}").into());
            add("registration_access_token", access.into());
            add("token_endpoint_auth_method", "private_key_jwt".into());
            add("dpop_bound_access_tokens", true.into());
            add("grant_types", grant_types.into());
            add("response_types", response_types.into());
            if !pending.is_empty() {
                add("pending", pending.to_json());
            }
        }
        answer
    }
}

/// What a client says of itself that can only be so: anything else is refused, because answering it differently would be found out late.
fn check_served(members: &Map<String, Value>) -> Result<(), BadMetadata> {
    let method = members.get("token_endpoint_auth_method");
    if method.is_some_and(|method| method != "private_key_jwt") {
        return Err(BadMetadata::NotServed("token_endpoint_auth_method"));
    }
    for (name, served) in [
        ("grant_types", &["client_credentials", "authorization_code", "refresh_token"][..]),
        ("response_types", &["code"]),
    ] {
        if !texts(members, name)?.iter().all(|asked| served.contains(asked)) {
            return Err(BadMetadata::NotServed(name));
        }
    }
    Ok(())
}

fn read_keys(jwks: &Value) -> Result<BTreeMap<Digest, String>, BadMetadata> {
    let keys = jwks.get("keys").and_then(Value::as_array).ok_or(BadMetadata::Malformed("jwks"))?;
    if keys.len() > KEYS_MAX {
        return Err(BadMetadata::TooMany);
    }
    let mut read = BTreeMap::new();
    for key in keys {
        let key = PublicKey::from_jwk(&key.to_string()).map_err(BadMetadata::Key)?;
        if read.insert(key.thumbprint(), key.canonical_jwk().to_owned()).is_some() {
            return Err(BadMetadata::KeyTwice);
        }
    }
    Ok(read)
}

/// The strings of a list; none if the member is missing.
fn texts<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Vec<&'a str>, BadMetadata> {
    let Some(value) = members.get(name) else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or(BadMetadata::Malformed(name))?;
    let text = |item: &'a Value| item.as_str().ok_or(BadMetadata::Malformed(name));
    list.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const CLIENT: IntegrationId = IntegrationId::from_bytes([2; 16]);

    fn refused(body: &str, named: Option<IntegrationId>) -> &'static str {
        ClientMetadata::parse(body.as_bytes(), named).unwrap_err().code()
    }

    #[test]
    fn keys_and_addresses_are_read_and_the_rest_is_left() {
        let body = format!(
            r#"{{"jwks":{{"keys":[{KEY}]}},"redirect_uris":["https://a.example/cb"],"client_name":"x",
               "token_endpoint_auth_method":"private_key_jwt","grant_types":["client_credentials"],"dpop_bound_access_tokens":false}}"#
        );
        let asked = ClientMetadata::parse(body.as_bytes(), None).unwrap();
        assert_eq!((asked.keys.len(), asked.redirects.len()), (1, 1));
        let answer = ClientMetadata::default().answer(CLIENT, &asked, "https://as", "t");
        assert_eq!(answer["redirect_uris"], json!([]), "nothing is in effect");
        assert_eq!(answer["pending"]["redirect_uris"], json!(["https://a.example/cb"]));
        assert_eq!(answer["dpop_bound_access_tokens"], true);
        assert_eq!(answer["registration_client_uri"], format!("https://as/register/{CLIENT}"));
    }

    #[test]
    fn what_cannot_be_registered_is_named_by_its_code() {
        for body in [
            "",
            "[]",
            "{",
            r#"{"jwks_uri":"https://a/keys"}"#,
            r#"{"jwks_uri":"http://169.254.169.254/","jwks":{"keys":[]}}"#,
            r#"{"jwks":[]}"#,
            r#"{"jwks":{"keys":[1]}}"#,
            r#"{"jwks":{"keys":[{"kty":"oct","k":"AAAA"}]}}"#,
            r#"{"redirect_uris":"https://a.example"}"#,
            r#"{"redirect_uris":[1]}"#,
            r#"{"token_endpoint_auth_method":"none"}"#,
            r#"{"token_endpoint_auth_method":"client_secret_basic"}"#,
            r#"{"grant_types":["implicit"]}"#,
            r#"{"grant_types":["password"]}"#,
            r#"{"response_types":["token"]}"#,
        ] {
            assert_eq!(refused(body, None), "invalid_client_metadata", "{body}");
        }
        for uri in ["http://a.example/", "https://a.example/#f", "https://*.a/", "app:/x", ""] {
            let body = json!({ "redirect_uris": [uri] }).to_string();
            assert_eq!(refused(&body, None), "invalid_redirect_uri", "{uri}");
        }
        let twice = format!(r#"{{"jwks":{{"keys":[{KEY},{KEY}]}}}}"#);
        assert_eq!(refused(&twice, None), "invalid_client_metadata");
        let private = KEY.replace(r#""x""#, r#""d":"AAAA","x""#);
        let private = format!(r#"{{"jwks":{{"keys":[{private}]}}}}"#);
        assert_eq!(refused(&private, None), "invalid_client_metadata");
    }

    #[test]
    fn an_update_names_the_client_it_is_of() {
        let other = IntegrationId::from_bytes([3; 16]);
        let body = json!({ "client_id": CLIENT.to_string() }).to_string();
        assert_eq!(ClientMetadata::parse(body.as_bytes(), Some(CLIENT)), Ok(Default::default()));
        for (body, named) in [(&*body, other), ("{}", CLIENT), (r#"{"client_id":1}"#, CLIENT)] {
            let refused = ClientMetadata::parse(body.as_bytes(), Some(named));
            assert_eq!(refused, Err(BadMetadata::OtherClient));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_registrable_and_reads_back(body in any::<Vec<u8>>(), paths in prop::collection::btree_set("[ -~]{0,12}", 0..6)) {
            let _whatever = ClientMetadata::parse(&body, None);
            let uris: Vec<_> = paths.iter().map(|path| format!("https://a.example/{path}")).collect();
            if let Ok(read) = ClientMetadata::parse(json!({ "redirect_uris": uris }).to_string().as_bytes(), None) {
                prop_assert!(read.redirects.iter().all(|uri| redirect::registrable(uri).is_ok()));
                prop_assert_eq!(ClientMetadata::parse(read.to_json().to_string().as_bytes(), None), Ok(read));
            }
        }
    }
}

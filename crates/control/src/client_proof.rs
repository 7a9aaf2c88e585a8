//! How we prove to somebody else's authorization server that we are the client that it knows.

use crate::outbound::{Question, encoded};
use axum::http::header::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use credential::SigningKey;
use credential::client::sign_assertion;
use storage::clock;
use zeroize::Zeroizing;

/// What a server registered of us.
pub enum ClientProof {
    /// A secret that both know (RFC 6749 section 2.3.1).
    Secret(Zeroizing<String>),
    /// A key whose public half is registered there (RFC 7523).
    Key(Box<SigningKey>),
}

impl ClientProof {
    /// A form with these parameters for an endpoint of `issuer`, which knows us as `client_id`, and our proof in it or before it.
    /// `takes_basic`: whether a secret goes into a header. `None` if the secret cannot.
    pub(crate) fn question(
        &self,
        parameters: &[(&str, &str)],
        issuer: &str,
        client_id: &str,
        takes_basic: bool,
    ) -> Option<Question> {
        let mut form = parameters.to_vec();
        let assertion;
        let mut authorization = None;
        match self {
            Self::Secret(secret) if takes_basic => {
                //= RFC 6749 section 2.3.1: both are form-encoded before they are joined
                let both = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(secret)));
                let value = Zeroizing::new(format!("Basic {}", BASE64.encode(&*both)));
                let mut value = HeaderValue::from_str(&value).ok()?;
                value.set_sensitive(true);
                authorization = Some(value);
            }
            Self::Secret(secret) => {
                form.extend([("client_id", client_id), ("client_secret", secret)]);
            }
            Self::Key(key) => {
                // The issuer and no endpoint is the audience, so that no endpoint named by somebody else can use it.
                let now = clock::unix_now();
                assertion = sign_assertion(key, client_id, issuer, clock::random(), now);
                form.extend([
                    ("client_id", client_id),
                    (
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    ),
                    ("client_assertion", &assertion),
                ]);
            }
        }
        Some(Question { form: Some(form_of(&form)), authorization, ..Question::default() })
    }
}

/// Parameters as `application/x-www-form-urlencoded`.
pub(crate) fn form_of(parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

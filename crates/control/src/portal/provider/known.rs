//! What a provider says of itself: its documents and keys, fetched when they are needed and kept for an hour.

use super::NotSignedIn;
use crate::outbound::{Address, BadAddress, Place, Question, ask};
use credential::id_token::ProviderKeys;
use serde::Deserialize;
use sever::BootMicros;
use std::sync::Arc;
use storage::clock;
use tokio::sync::Mutex;

/// How long documents and keys are kept, microseconds.
const KEPT_FOR: u64 = 60 * 60 * 1_000_000;

/// How long after one look at the keys there is none because of a key that is not known, and after one in vain none at all, microseconds.
/// Who sends made-up tokens, or clicks while the provider is down, causes no more requests than that.
const LOOK_AGAIN: u64 = 5 * 1_000_000;

/// Of a provider's metadata, what is used (OpenID Connect Discovery 1.0 section 3). Addresses were checked.
pub(super) struct Metadata {
    /// Where browsers are sent.
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: Address,
    jwks_uri: Address,
    /// Where browsers are sent that sign out.
    pub(super) end_session_endpoint: Option<String>,
    /// Whether it says in its answers whose they are.
    pub(super) names_itself: bool,
    /// Whether a client's secret goes into a header.
    pub(super) takes_basic: bool,
}

#[derive(Deserialize)]
struct MetadataFile {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    end_session_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// A provider's documents and keys.
pub(super) struct Known {
    issuer: String,
    /// The issuer's own address, whose place may be inside.
    at: Address,
    document: Address,
    clear_text: bool,
    // Held while one asks, so that however many wait there is one request.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    metadata: Option<(Arc<Metadata>, BootMicros)>,
    keys: Option<(Arc<ProviderKeys>, BootMicros)>,
    in_vain: Option<BootMicros>,
}

impl Known {
    pub(super) fn new(issuer: &str, clear_text: bool) -> Result<Self, BadAddress> {
        let at = Address::parse(issuer, clear_text)?;
        //= OpenID Connect Discovery section 4: the path is appended to the issuer, without its last slash
        let document = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = Address::parse(&document, clear_text)?;
        Ok(Self { issuer: issuer.to_owned(), at, document, clear_text, kept: Mutex::default() })
    }

    /// Where the operator said that the provider is.
    pub(super) fn place(&self) -> &Place {
        self.at.place()
    }

    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, NotSignedIn> {
        let mut kept = self.kept.lock().await;
        if let Some((metadata, at)) = &kept.metadata
            && since(*at) < KEPT_FOR
        {
            return Ok(Arc::clone(metadata));
        }
        let body = self.fetch(&mut kept, &self.document).await?;
        let metadata = Arc::new(self.read(&body)?);
        kept.metadata = Some((Arc::clone(&metadata), clock::boot_now()));
        Ok(metadata)
    }

    pub(super) async fn keys(&self, metadata: &Metadata) -> Result<Arc<ProviderKeys>, NotSignedIn> {
        self.keys_not_older_than(metadata, KEPT_FOR).await
    }

    /// As [`Known::keys`], for somebody who met a key that is not among them.
    pub(super) async fn changed_keys(
        &self,
        metadata: &Metadata,
    ) -> Result<Arc<ProviderKeys>, NotSignedIn> {
        self.keys_not_older_than(metadata, LOOK_AGAIN).await
    }

    async fn keys_not_older_than(
        &self,
        metadata: &Metadata,
        age_max: u64,
    ) -> Result<Arc<ProviderKeys>, NotSignedIn> {
        let mut kept = self.kept.lock().await;
        if let Some((keys, at)) = &kept.keys
            && since(*at) < age_max
        {
            return Ok(Arc::clone(keys));
        }
        let body = self.fetch(&mut kept, &metadata.jwks_uri).await?;
        let keys = std::str::from_utf8(&body).ok().and_then(|t| ProviderKeys::from_jwks(t).ok());
        let keys = Arc::new(keys.ok_or(NotSignedIn::Documents("its keys"))?);
        kept.keys = Some((Arc::clone(&keys), clock::boot_now()));
        Ok(keys)
    }

    async fn fetch(&self, kept: &mut Kept, from: &Address) -> Result<Vec<u8>, NotSignedIn> {
        if kept.in_vain.is_some_and(|at| since(at) < LOOK_AGAIN) {
            return Err(NotSignedIn::Documents("it did not answer a moment ago"));
        }
        match ask(from, self.place(), Question::default()).await {
            Ok(body) => {
                kept.in_vain = None;
                Ok(body.to_vec())
            }
            Err(why) => {
                kept.in_vain = Some(clock::boot_now());
                Err(why.into())
            }
        }
    }

    fn read(&self, body: &[u8]) -> Result<Metadata, NotSignedIn> {
        let unusable = NotSignedIn::Documents;
        let file: MetadataFile =
            serde_json::from_slice(body).map_err(|_| unusable("its metadata"))?;
        //= OpenID Connect Discovery section 4.3: the issuer in the document is exactly the one asked for
        if file.issuer != self.issuer {
            return Err(unusable("the issuer in its metadata"));
        }
        let address = |text: &str, what| {
            Address::parse(text, self.clear_text).map_err(|_| NotSignedIn::Documents(what))
        };
        address(&file.authorization_endpoint, "`authorization_endpoint`")?;
        if let Some(end) = &file.end_session_endpoint {
            address(end, "`end_session_endpoint`")?;
        }
        //= OpenID Connect Discovery section 3: without the member, client_secret_basic
        let methods = file.token_endpoint_auth_methods_supported;
        let takes_basic =
            methods.is_none_or(|methods| methods.iter().any(|one| one == "client_secret_basic"));
        Ok(Metadata {
            token_endpoint: address(&file.token_endpoint, "`token_endpoint`")?,
            jwks_uri: address(&file.jwks_uri, "`jwks_uri`")?,
            authorization_endpoint: file.authorization_endpoint,
            end_session_endpoint: file.end_session_endpoint,
            names_itself: file.authorization_response_iss_parameter_supported,
            takes_basic,
        })
    }
}

fn since(then: BootMicros) -> u64 {
    clock::boot_now().0.saturating_sub(then.0)
}

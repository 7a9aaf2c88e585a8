//! What an authorization server or OpenID provider says of itself: its documents and keys, fetched when they are needed and kept.

use crate::outbound::{Address, BadAddress, NotAsked, Place, Question, ask};
use axum::body::Bytes;
use credential::BadKey;
use serde::Deserialize;
use sever::BootMicros;
use std::sync::Arc;
use storage::clock;
use tokio::sync::Mutex;

/// How long documents are kept, microseconds.
const KEPT_FOR: u64 = 60 * 60 * 1_000_000;

/// How long after one look at the keys there is none because of a key that is not known, and after one in vain none at all, microseconds.
/// Who sends made-up tokens, or clicks while the provider is down, causes no more requests than that.
const LOOK_AGAIN: u64 = 5 * 1_000_000;

/// Why there are no documents or keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKnown {
    /// The server cannot be asked.
    #[error("it cannot be asked")]
    Down(#[from] NotAsked),
    /// What it says cannot be used.
    #[error("what it says of itself cannot be used: {0}")]
    Documents(&'static str),
    /// It was asked a moment ago, in vain.
    #[error("it did not answer a moment ago")]
    Lately,
}

/// Of a server's metadata, what is used (RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3). Addresses were checked.
pub(crate) struct Metadata {
    /// Where browsers are sent.
    pub(crate) authorization_endpoint: Option<String>,
    pub(crate) token_endpoint: Option<Address>,
    jwks_uri: Address,
    /// Where it is asked about tokens.
    pub(crate) introspection_endpoint: Option<Address>,
    /// Where browsers are sent that sign out.
    pub(crate) end_session_endpoint: Option<String>,
    /// Whether it says in its answers whose they are.
    pub(crate) names_itself: bool,
    /// Whether a client's secret goes into a header.
    pub(crate) takes_basic: bool,
}

/// Where a server's metadata is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// Of an OpenID provider.
    OpenId,
    /// Of an authorization server.
    OAuth,
}

impl Document {
    fn of(self, issuer: &str) -> String {
        let suffix = match self {
            //= OpenID Connect Discovery section 4: the path is appended to the issuer, without its last slash
            Self::OpenId => {
                let issuer = issuer.trim_end_matches('/');
                return format!("{issuer}/.well-known/openid-configuration");
            }
            Self::OAuth => "/.well-known/oauth-authorization-server",
        };
        //= RFC 8414 section 3: between host and path, without the last slash
        let host = issuer.find("://").map_or(0, |at| at + 3);
        let path = issuer.get(host..).and_then(|rest| rest.find('/')).map(|at| host + at);
        let (origin, path) = issuer.split_at(path.unwrap_or(issuer.len()));
        format!("{origin}{suffix}{}", path.trim_end_matches('/'))
    }
}

#[derive(Deserialize)]
struct MetadataFile {
    issuer: String,
    #[serde(default)]
    authorization_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint: Option<String>,
    jwks_uri: String,
    #[serde(default)]
    introspection_endpoint: Option<String>,
    #[serde(default)]
    end_session_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// A server's documents and keys. `K`: its keys as somebody reads them.
pub(crate) struct Known<K> {
    issuer: String,
    /// The issuer's own address, whose place may be inside.
    at: Address,
    /// Where its metadata may be, in the order in which it is looked for.
    documents: Vec<Address>,
    clear_text: bool,
    read_keys: fn(&str) -> Result<K, BadKey>,
    // Held while one asks, so that however many wait there is one request.
    kept: Mutex<Kept<K>>,
}

struct Kept<K> {
    metadata: Option<(Arc<Metadata>, BootMicros)>,
    keys: Option<(Arc<K>, BootMicros)>,
    in_vain: Option<BootMicros>,
}

impl<K> Known<K> {
    /// The server with this issuer identifier. `documents`: where its metadata may be; the next is asked for if one is not there.
    /// `clear_text`: whether it may be asked in the clear, which is then for loopback only.
    pub(crate) fn new(
        issuer: &str,
        documents: &[Document],
        clear_text: bool,
        read_keys: fn(&str) -> Result<K, BadKey>,
    ) -> Result<Self, BadAddress> {
        let at = Address::parse(issuer, clear_text)?;
        let documents =
            documents.iter().map(|document| Address::parse(&document.of(issuer), clear_text));
        let documents = documents.collect::<Result<_, _>>()?;
        let kept = Mutex::new(Kept { metadata: None, keys: None, in_vain: None });
        Ok(Self { issuer: issuer.to_owned(), at, documents, clear_text, read_keys, kept })
    }

    /// Where the operator said that the server is.
    pub(crate) fn place(&self) -> &Place {
        self.at.place()
    }

    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, NotKnown> {
        let mut kept = self.kept.lock().await;
        if let Some((metadata, at)) = &kept.metadata
            && since(*at) < KEPT_FOR
        {
            return Ok(Arc::clone(metadata));
        }
        check_patience(&kept)?;
        let asked = self.document().await;
        let body = note(&mut kept, asked)?;
        let read = self.read(&body).inspect_err(|_| kept.in_vain = Some(clock::boot_now()));
        let metadata = Arc::new(read?);
        kept.metadata = Some((Arc::clone(&metadata), clock::boot_now()));
        Ok(metadata)
    }

    async fn document(&self) -> Result<Bytes, NotAsked> {
        let mut answer = Err(NotAsked::Status(404));
        for document in &self.documents {
            answer = ask(document, self.place(), Question::default()).await;
            if !matches!(answer, Err(NotAsked::Status(404))) {
                break;
            }
        }
        answer
    }

    pub(crate) async fn keys(&self, metadata: &Metadata) -> Result<Arc<K>, NotKnown> {
        self.keys_not_older_than(metadata, KEPT_FOR).await
    }

    /// As [`Known::keys`], for somebody who met a key that is not among them.
    pub(crate) async fn changed_keys(&self, metadata: &Metadata) -> Result<Arc<K>, NotKnown> {
        self.keys_not_older_than(metadata, LOOK_AGAIN).await
    }

    /// Its keys, asked for at most `age_max` microseconds ago.
    pub(crate) async fn keys_not_older_than(
        &self,
        metadata: &Metadata,
        age_max: u64,
    ) -> Result<Arc<K>, NotKnown> {
        let mut kept = self.kept.lock().await;
        if let Some((keys, at)) = &kept.keys
            && since(*at) < age_max
        {
            return Ok(Arc::clone(keys));
        }
        check_patience(&kept)?;
        let asked = ask(&metadata.jwks_uri, self.place(), Question::default()).await;
        let body = note(&mut kept, asked)?;
        let keys = std::str::from_utf8(&body).ok().and_then(|text| (self.read_keys)(text).ok());
        let Some(keys) = keys.map(Arc::new) else {
            kept.in_vain = Some(clock::boot_now());
            return Err(NotKnown::Documents("its keys"));
        };
        kept.keys = Some((Arc::clone(&keys), clock::boot_now()));
        Ok(keys)
    }

    /// Asks one of its endpoints, unless a question just went in vain.
    pub(crate) async fn ask(
        &self,
        endpoint: &Address,
        question: Question,
    ) -> Result<Vec<u8>, NotKnown> {
        {
            let kept = self.kept.lock().await;
            check_patience(&kept)?;
        }
        // Not under the lock: one slow answer would hold up all others.
        let asked = ask(endpoint, self.place(), question).await;
        // Such an answer is about what was asked, and whoever had it asked must not keep others from asking; so is a 500, which an odd token may
        // cause. A 401 is about us, and 502 to 504 say that nobody is there.
        if let Err(NotAsked::Status(status)) = asked
            && !matches!(status, 401 | 502..=504)
        {
            return Err(NotAsked::Status(status).into());
        }
        let mut kept = self.kept.lock().await;
        note(&mut kept, asked)
    }

    fn read(&self, body: &[u8]) -> Result<Metadata, NotKnown> {
        let unusable = NotKnown::Documents;
        let file: MetadataFile =
            serde_json::from_slice(body).map_err(|_| unusable("its metadata"))?;
        //= OpenID Connect Discovery section 4.3: the issuer in the document is exactly the one asked for
        if file.issuer != self.issuer {
            return Err(unusable("the issuer in its metadata"));
        }
        let address = |text: &str, what| {
            Address::parse(text, self.clear_text).map_err(|_| NotKnown::Documents(what))
        };
        let if_there =
            |text: Option<&String>, what| text.map(|text| address(text, what)).transpose();
        if_there(file.authorization_endpoint.as_ref(), "`authorization_endpoint`")?;
        if_there(file.end_session_endpoint.as_ref(), "`end_session_endpoint`")?;
        //= OpenID Connect Discovery section 3: without the member, client_secret_basic
        let methods = file.token_endpoint_auth_methods_supported;
        let takes_basic =
            methods.is_none_or(|methods| methods.iter().any(|one| one == "client_secret_basic"));
        Ok(Metadata {
            token_endpoint: if_there(file.token_endpoint.as_ref(), "`token_endpoint`")?,
            introspection_endpoint: if_there(
                file.introspection_endpoint.as_ref(),
                "`introspection_endpoint`",
            )?,
            jwks_uri: address(&file.jwks_uri, "`jwks_uri`")?,
            authorization_endpoint: file.authorization_endpoint,
            end_session_endpoint: file.end_session_endpoint,
            names_itself: file.authorization_response_iss_parameter_supported,
            takes_basic,
        })
    }
}

fn check_patience<K>(kept: &Kept<K>) -> Result<(), NotKnown> {
    if kept.in_vain.is_some_and(|at| since(at) < LOOK_AGAIN) {
        return Err(NotKnown::Lately);
    }
    Ok(())
}

fn note<K>(kept: &mut Kept<K>, asked: Result<Bytes, NotAsked>) -> Result<Vec<u8>, NotKnown> {
    kept.in_vain = asked.is_err().then(clock::boot_now);
    Ok(asked?.to_vec())
}

fn since(then: BootMicros) -> u64 {
    clock::boot_now().0.saturating_sub(then.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_documents_of_a_server_are() {
        let oauth = |issuer: &str| Document::OAuth.of(issuer);
        let known = "https://a.example/.well-known/oauth-authorization-server";
        assert_eq!(oauth("https://a.example"), known);
        assert_eq!(oauth("https://a.example/"), known);
        assert_eq!(oauth("https://a.example/t/1"), format!("{known}/t/1"));
        assert_eq!(oauth("https://a.example/t/1/"), format!("{known}/t/1"));
        let connect = |issuer: &str| Document::OpenId.of(issuer);
        let path = "/.well-known/openid-configuration";
        assert_eq!(connect("https://a.example/t/"), format!("https://a.example/t{path}"));
    }

    #[tokio::test]
    async fn an_authorization_server_that_is_an_openid_provider_only_is_found_too() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let document =
            serde_json::json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4_096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let is_there = head[..read].starts_with(b"GET /.well-known/openid-configuration ");
                let (status, body) = if is_there {
                    ("200 OK", document.to_string())
                } else {
                    ("404 Not Found", String::new())
                };
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        });
        let known =
            |documents: &[Document]| Known::new(&issuer, documents, true, |_| Ok(())).unwrap();
        let both = known(&[Document::OAuth, Document::OpenId]).metadata().await.unwrap();
        assert!(both.introspection_endpoint.is_none());
        let one = known(&[Document::OAuth]);
        assert!(matches!(one.metadata().await, Err(NotKnown::Down(NotAsked::Status(404)))));
        assert!(matches!(one.metadata().await, Err(NotKnown::Lately)), "after one in vain");
    }

    #[tokio::test]
    async fn an_answer_about_one_question_keeps_nobody_from_asking() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        // Answers the status that is asked for.
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4_096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let status = std::str::from_utf8(&head[..read]).unwrap_or("");
                let status = status.get("GET /".len()..).and_then(|rest| rest.get(..3));
                let status = status.unwrap_or("500");
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        });
        for (status, is_in_vain) in [
            (302, false),
            (400, false),
            (403, false),
            (413, false),
            (429, false),
            (401, true),
            (500, false),
            (503, true),
        ] {
            let known = Known::new(&issuer, &[Document::OAuth], true, |_| Ok(())).unwrap();
            let ask = async |status: u16| {
                let endpoint = Address::parse(&format!("{issuer}/{status}"), true).unwrap();
                known.ask(&endpoint, Question::default()).await
            };
            let Err(NotKnown::Down(NotAsked::Status(answered))) = ask(status).await else {
                panic!("{status}")
            };
            assert_eq!(answered, status);
            assert_eq!(matches!(ask(200).await, Err(NotKnown::Lately)), is_in_vain, "{status}");
        }
    }
}

//! One request as the data path sees it, whichever HTTP version carried it.

use crate::connection::Connection;
use crate::http1::{Fields, Method, RequestTarget};
use credential::{RequestProof, Shown};

/// A request whose framing and target were already found to have one meaning.
#[derive(Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) target: RequestTarget,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// Whether the client can tell the end of a stream from a broken one; with HTTP/1.0 it cannot.
    pub(crate) can_stream: bool,
}

/// The fields as they were received.
#[derive(Debug)]
pub(crate) enum Headers {
    /// From an HTTP/1.1 head.
    Http1(Fields),
    /// From an HTTP/2 header block.
    Http2(http::HeaderMap),
}

impl Headers {
    /// Every field, in the order received.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (&str, &[u8])> + Send + '_> {
        match self {
            Self::Http1(fields) => Box::new(fields.iter()),
            Self::Http2(map) => {
                Box::new(map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
            }
        }
    }

    fn all(&self, name: &str) -> Vec<&[u8]> {
        match self {
            Self::Http1(fields) => fields.all(name).collect(),
            Self::Http2(map) => map.get_all(name).iter().map(http::HeaderValue::as_bytes).collect(),
        }
    }
}

/// The header values that prove the sender, gathered once.
pub(crate) struct Proofs<'a> {
    authorization: Vec<&'a [u8]>,
    dpop: Vec<&'a [u8]>,
    /// Every field, if there is a signature to cover some of them.
    fields: Vec<(&'a str, &'a [u8])>,
    url: String,
}

impl Request {
    /// The method an operation is found by: `HEAD` asks for what `GET` would, without its body.
    pub(crate) fn method_of_operation(&self) -> &'static str {
        if self.method == Method::Head { Method::Get.as_str() } else { self.method.as_str() }
    }

    /// Gathers what proves the sender. `external_url`: scheme and authority that integrations know us by.
    pub(crate) fn proofs(&self, external_url: &str) -> Proofs<'_> {
        //= RFC 9449 section 4.3 check 9: the URL without query and fragment, as the client sees it
        let url = [external_url, self.target.path_as_sent()].concat();
        let is_signed = !self.headers.all("signature-input").is_empty();
        Proofs {
            authorization: self.headers.all("authorization"),
            dpop: self.headers.all("dpop"),
            fields: if is_signed { self.headers.iter().collect() } else { Vec::new() },
            url,
        }
    }
}

impl Proofs<'_> {
    /// What `credential` checks.
    pub(crate) fn of<'a>(
        &'a self,
        request: &'a Request,
        connection: &Connection,
        shown: Option<&'a Shown<'a>>,
    ) -> RequestProof<'a> {
        RequestProof {
            method: request.method.as_str(),
            url: &self.url,
            query: request.target.query(),
            fields: &self.fields,
            body: &request.body,
            authorization: &self.authorization,
            dpop: &self.dpop,
            network: connection.peer,
            client_certificate: shown,
        }
    }
}

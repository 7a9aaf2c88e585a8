//! The only place where subject data becomes bytes for a caller.

use crate::node::Node;
use crate::serve::Rest;
use disclosure::Disclosed;
use ledger::Receipt;
use model::Digest;
use sever::Passage;

/// An answer on its way to the caller: either released data with its passage, or a refusal that holds none.
///
/// Of a stream it is one batch: the first comes with what brings the others, and each of those is a `Reply` of its own, released by the
/// same three proofs.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    release: Option<Release>,
    rest: Option<Box<Rest>>,
}

/// What a released reply holds until the socket has its last byte.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) passage: Passage,
    /// The record that would have to be taken back if no byte reaches the socket.
    leaf: Digest,
}

impl Release {
    /// Takes the record back of what was never handed to the socket.
    pub(crate) async fn take_back(self, node: &Node) {
        let (integration, request) = (self.passage.integration(), self.passage.request());
        node.not_released(integration, request, self.leaf).await;
    }
}

impl Reply {
    /// Releases what was disclosed, recorded and let pass.
    ///
    /// # Panics
    /// If the three proofs do not speak of the same release: our own bug, and going on would disclose data unrecorded.
    pub fn release(disclosed: Disclosed, receipt: Receipt, passage: Passage) -> Self {
        assert_eq!(receipt.request(), Some(passage.request()), "a passage of another request");
        let root = ledger::touches_root(disclosed.touches(), receipt.salt());
        assert_eq!(*receipt.touches_root(), root, "a receipt of another disclosure");
        let receipt_header = ("portcullis-receipt".to_owned(), receipt.header_value().into_bytes());
        let id = passage.request().to_string();
        let (status, mut headers, body) = disclosed.into_parts();
        headers.push(receipt_header);
        headers.push(("portcullis-request".to_owned(), id.into_bytes()));
        let release = Release { passage, leaf: *receipt.leaf_hash() };
        Self { status, headers, body, release: Some(release), rest: None }
    }

    /// Says what follows this batch, the first of a stream.
    pub(crate) fn followed_by(self, rest: Rest) -> Self {
        Self { rest: Some(Box::new(rest)), ..self }
    }

    /// An answer that holds nothing of any subject's: built from fixed words, the configuration and a request id.
    pub(crate) fn refusal(status: u16, headers: Vec<(String, Vec<u8>)>, body: String) -> Self {
        Self { status, headers, body: body.into_bytes(), release: None, rest: None }
    }

    /// The reply, for the connection that writes it.
    pub(crate) fn into_outgoing(self) -> Outgoing {
        let Self { status, headers, body, release, rest } = self;
        Outgoing { status, headers, body, release, rest }
    }
}

/// A reply that is being written. Having one proves nothing: it comes from a [`Reply`], and nothing can be made of it but bytes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// To be held until the socket has the last byte; none for a refusal.
    pub(crate) release: Option<Release>,
    /// What brings the batches that follow, if this is the first one of a stream.
    pub(crate) rest: Option<Box<Rest>>,
}

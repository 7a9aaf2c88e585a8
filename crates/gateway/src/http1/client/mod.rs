//! The origin side: a request written from parts that were decided on, and a reply believed only if it is unambiguous.
//!
//! A connection to the origin may be used again only if the reply's head says so, its content was decoded to the end, and
//! nothing was left in the buffer: left-over bytes would be taken for the reply to somebody else's request.

mod reply;
mod request;

pub use reply::{BadReply, OriginReplyHead, ReplyReader};
pub use request::{AllowList, NeverForwarded, NotForwardable, UpstreamRequest};

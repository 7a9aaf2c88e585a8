// The caller's own spelling of a path, sent on to the origin.

use gateway::http1::client::{AllowList, UpstreamRequest};
use gateway::http1::{Authority, Method, RequestTarget};

type Target = RequestTarget;

fn ask<'a>(target: &'a Target, host: Authority<'a>, allow: &'a AllowList) -> UpstreamRequest<'a> {
    UpstreamRequest { method: Method::Get, target, host, allow, ours: &[], body: b"" }
}

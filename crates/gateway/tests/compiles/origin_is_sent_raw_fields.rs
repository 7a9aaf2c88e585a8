// The caller's fields, sent on to the origin without a list of those that may be.

use gateway::http1::client::{AllowList, UpstreamRequest};
use gateway::http1::{Authority, Fields, Method, RequestTarget};

type Passing = AllowList;

fn ask<'a>(
    target: &'a RequestTarget,
    host: Authority<'a>,
    allow: &'a Passing,
) -> UpstreamRequest<'a> {
    UpstreamRequest { method: Method::Get, target, host, allow, ours: &[], body: b"" }
}

// A filter that is not told what may leave.

use disclosure::{Disclosed, Guards, Match, OriginReply, Withheld, disclose};
use policy::Permit;

fn filter(
    reply: OriginReply,
    matched: &Match<'_>,
    permit: &Permit,
    guards: &mut Guards<'_>,
) -> Result<Disclosed, Withheld> {
    disclose(reply, matched, guards)
}

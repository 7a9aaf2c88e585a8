// One disclosure, released again under the record of another request.

use disclosure::Disclosed;
use gateway::release::Reply;
use ledger::Receipt;
use sever::Passage;

fn release(
    first: (Disclosed, Receipt, Passage),
    second: (Disclosed, Receipt, Passage),
) -> [Reply; 2] {
    let one = Reply::release(first.0, first.1, first.2);
    let other = Reply::release(second.0, second.1, second.2);
    [one, other]
}

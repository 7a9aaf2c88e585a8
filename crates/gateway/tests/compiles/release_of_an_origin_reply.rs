// A release of what the origin said, unfiltered.

use gateway::release::Reply;
use ledger::Receipt;
use sever::Passage;

type Answer = disclosure::Disclosed;

fn release(answer: Answer, receipt: Receipt, passage: Passage) -> Reply {
    Reply::release(answer, receipt, passage)
}

// A release without its record.

use disclosure::Disclosed;
use gateway::release::Reply;
use ledger::Receipt;
use sever::Passage;

fn release(disclosed: Disclosed, receipt: Receipt, passage: Passage) -> Reply {
    Reply::release(disclosed, receipt, passage)
}

// A `Receipt` that no record stands behind.

use ledger::Receipt;

fn another(proved: Receipt) -> Receipt {
    proved
}

// A `Caller` whom nothing proves.

use credential::Caller;

fn another(proved: Caller) -> Caller {
    proved
}

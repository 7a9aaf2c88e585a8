// A `Permit` that nobody decided.

use policy::Permit;

fn another(proved: Permit) -> Permit {
    Permit { ..proved }
}

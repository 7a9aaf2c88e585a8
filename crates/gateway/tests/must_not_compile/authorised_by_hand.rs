// An `Authorised` that no operator signed.

use storage::registry::signed::Authorised;

fn another(proved: Authorised) -> Authorised {
    Authorised { ..proved }
}

// An `Authorised` that no operator signed.

use storage::registry::command::Authorised;

fn another(proved: Authorised) -> Authorised {
    Authorised { ..proved }
}

// A decision about nobody who was authenticated.

use credential::Caller;
use model::{Directory, UnixMicros};
use policy::{ConsentBook, OperationFacts, Permit, Policies, Refused, decide};

fn rule(
    caller: &Caller,
    facts: &OperationFacts<'_>,
    directory: &Directory,
    policies: &Policies,
    consents: &ConsentBook,
    restricted: bool,
    now: UnixMicros,
) -> Result<Permit, Refused> {
    decide(facts, directory, policies, consents, restricted, now)
}

//! What vendors hear of being contained: in which state which thing of theirs is, since when, and whom to write to. Never why in numbers,
//! never anything of another's.
//!
//! What posture and registry say is compared with what vendors were told last, so that nothing is forgotten over a restart and a cut that
//! an operator made is told as one that a rule made.

use super::{Pager, Registered, fresh_id};
use model::{IntegrationId, IntegrationState, UnixMicros, VendorId};
use serde_json::json;
use sever::{Posture, Target};
use std::collections::BTreeMap;
use storage::clock;
use storage::signals::{Delivery, SignalsError};

/// A state that a vendor is told of, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// A tenth of a grant's budget.
    Throttled,
    /// A tenth of every budget, nothing in bulk, no sensitive classes.
    Restricted,
    /// A key or grant is not served.
    Suspended,
    /// Nothing of it is served.
    Severed,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Restricted => "restricted",
            Self::Suspended => "suspended",
            Self::Severed => "severed",
        }
    }
}

/// One thing that is contained, and whose it is.
struct Contained {
    state: State,
    since: Option<UnixMicros>,
    vendor: VendorId,
    integration: Option<IntegrationId>,
}

impl Pager {
    /// Queues what vendors have not heard yet. `seen`: the number of posture and the registry's revision that were compared last.
    pub(super) async fn tell_vendors(
        &self,
        seen: &mut Option<(u64, u64)>,
    ) -> Result<(), SignalsError> {
        let (posture, registered) = (self.keeper.switch().posture(), self.registered.load_full());
        let stand = (posture.number(), registered.directory.revision);
        if *seen == Some(stand) {
            return Ok(());
        }
        let stands = contained(&posture, &registered);
        let told = self.signals.told().await?;
        let now = clock::unix_now();
        for (target, contained) in &stands {
            let state = contained.state.name();
            if told.get(target).map(String::as_str) == Some(state) {
                continue;
            }
            let message = self.event(target, state, contained, &registered, now);
            self.signals.tell(target, Some(state), message.as_slice()).await?;
        }
        for target in told.keys().filter(|target| !stands.contains_key(*target)) {
            let owner = Target::parse(target).and_then(|target| owner(&target, &registered));
            let message = owner.and_then(|(vendor, integration)| {
                let restored =
                    Contained { state: State::Throttled, since: Some(now), vendor, integration };
                self.event(target, "restored", &restored, &registered, now)
            });
            self.signals.tell(target, None, message.as_slice()).await?;
        }
        *seen = Some(stand);
        Ok(())
    }

    fn event(
        &self,
        target: &str,
        state: &str,
        contained: &Contained,
        registered: &Registered,
        now: UnixMicros,
    ) -> Option<Delivery> {
        registered.webhooks.get(&contained.vendor)?;
        let slug = contained.integration.and_then(|id| registered.directory.integrations.get(&id));
        let id = fresh_id();
        let body = json!({
            "schema": "portcullis.vendor-event/1",
            "id": id,
            "made": now.to_string(),
            "state": state,
            "target": target,
            "integration": slug.map(|integration| &integration.slug),
            "since": contained.since.map(|since| since.to_string()),
            "appeal": self.settings.load().appeal,
        });
        let destination = format!("vendor:{}", contained.vendor);
        Some(Delivery { id, destination, body: body.to_string(), made: now, attempts: 0 })
    }
}

/// Everything of vendors' that is contained, by target. Operations and networks are nobody's: a caller learns of them when it is refused.
fn contained(posture: &Posture, registered: &Registered) -> BTreeMap<String, Contained> {
    let mut stands: BTreeMap<String, Contained> = BTreeMap::new();
    let mut add = |target: &Target, state: State, since: Option<UnixMicros>| {
        let Some((vendor, integration)) = owner(target, registered) else { return };
        let this = Contained { state, since, vendor, integration };
        let stands = stands.entry(target.to_string()).or_insert(this);
        if state > stands.state {
            (stands.state, stands.since) = (state, since);
        }
    };
    for (id, integration) in &registered.directory.integrations {
        if let IntegrationState::Restricted { .. } = integration.state {
            add(&Target::Integration(*id), State::Restricted, None);
        }
    }
    for (target, containment) in posture.restricted() {
        let is_grant = matches!(target, Target::Grant(_));
        let state = if is_grant { State::Throttled } else { State::Restricted };
        add(target, state, Some(containment.since));
    }
    for (target, containment) in posture.severed() {
        let is_whole = matches!(target, Target::Vendor(_) | Target::Integration(_));
        let state = if is_whole { State::Severed } else { State::Suspended };
        add(target, state, Some(containment.since));
    }
    stands
}

fn owner(target: &Target, registered: &Registered) -> Option<(VendorId, Option<IntegrationId>)> {
    let directory = &registered.directory;
    let integration = match target {
        Target::Vendor(vendor) => return Some((*vendor, None)),
        Target::Integration(id) => *id,
        Target::Credential(id) => directory.credentials.get(id)?.integration,
        Target::Grant(id) => directory.grants.get(id)?.integration,
        Target::Operation(_) | Target::Network(_) => return None,
    };
    Some((directory.integrations.get(&integration)?.vendor, Some(integration)))
}

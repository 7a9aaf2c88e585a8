//! How often one alarm that goes on is a person's business.

use crate::NetworkGroup;
use crate::lru::Lru;
use crate::signal::{Cause, Containment, Signal};
use crate::statistic::Stream;
use crate::stream::{Secs, secs};
use model::{CredentialId, GrantId, OperationId};

/// An alarm that was silent for so long is another one. Chosen: the budget's middle window.
const SILENCE: Secs = 3_600;
/// One that never was is paged again after so long. Chosen: a day.
const AGAIN: Secs = 86_400;
/// Alarms remembered, the least recent forgotten first. One that is forgotten pages again.
const ALARMS_MAX: usize = 4_096;

/// Alarms about which people were paged.
#[derive(Debug)]
pub(crate) struct Paging(Lru<About, Alarm>);

/// What an alarm is about. Whatever throttles one grant is one alarm: what a second rule finds of it is in the signals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum About {
    Throttled(GrantId),
    Caller(CredentialId, NetworkGroup, &'static str),
    Operation(OperationId, &'static str),
    Network(NetworkGroup),
}

#[derive(Clone, Copy, Debug)]
struct Alarm {
    last: Secs,
    paged: Secs,
}

impl Default for Paging {
    fn default() -> Self {
        Self(Lru::new(ALARMS_MAX))
    }
}

impl Paging {
    /// Takes the page from a signal that says again what a person was told while it goes on; the signal itself stays, and what it contains.
    pub(crate) fn calm(&mut self, signal: &mut Signal) {
        if !signal.containment.contains(&Containment::Page) {
            return;
        }
        let Some(about) = about(signal) else { return };
        let now = secs(signal.at);
        let alarm = self.0.touch(&about, || Alarm { last: 0, paged: 0 });
        let goes_on = alarm.last > 0 && now.saturating_sub(alarm.last) < SILENCE;
        alarm.last = alarm.last.max(now);
        if goes_on && now.saturating_sub(alarm.paged) < AGAIN {
            signal.containment.retain(|containment| *containment != Containment::Page);
        } else {
            alarm.paged = now;
        }
    }
}

fn about(signal: &Signal) -> Option<About> {
    let throttled = signal.containment.iter().find_map(|containment| {
        if let Containment::Throttle(grant) = containment {
            Some(About::Throttled(*grant))
        } else {
            None
        }
    });
    let of = |stream: &Stream, rule| match stream {
        Stream::Caller { credential, network, .. } => About::Caller(*credential, *network, rule),
        Stream::Fleet { operation } => About::Operation(operation.clone(), rule),
    };
    match &signal.cause {
        Cause::BudgetHolds { .. } => throttled,
        Cause::Statistic(found) => throttled.or(Some(of(&found.stream, found.family.rule()))),
        Cause::Volume { stream, .. } => Some(of(stream, signal.rule())),
        Cause::ManyTokens { network, .. } => Some(About::Network(*network)),
        // Of these each is news, or told once by itself.
        Cause::BadProofs { .. }
        | Cause::ListedNetwork { .. }
        | Cause::OutsidePins { .. }
        | Cause::NewNetwork { .. }
        | Cause::NewNetworkAndMore { .. }
        | Cause::Dormant { .. }
        | Cause::UnknownOperation { .. }
        | Cause::OutOfContract { .. }
        | Cause::ForeignSubjects { .. }
        | Cause::BudgetHold { .. }
        | Cause::Honey { .. }
        | Cause::Secret { .. }
        | Cause::BearerElsewhere { .. }
        | Cause::Spread { .. }
        | Cause::Recon { .. }
        | Cause::FirstSeen { .. }
        | Cause::Families { .. }
        | Cause::Drift { .. } => None,
    }
}

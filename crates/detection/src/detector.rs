//! What follows a guard: folds what happened into signals, by the table of guards.
//!
//! Nothing unauthenticated contains more than its own network: [`Event::BadProof`] and a listed network without a proof
//! name no integration, and no containment of theirs can.

use crate::Hold;
use crate::signal::{Cause, Containment, NetworkGroup, Signal};
use crate::strikes::{Rule, Strikes};
use model::{ClientIp, CredentialId, GrantId, IntegrationId, Micros, OperationId, UnixMicros};
use std::collections::{BTreeMap, BTreeSet};

/// 65,536 networks are about 8 MiB. An attacker who strikes from more within five minutes makes us forget the first, and
/// has been refused each time.
const BAD_PROOFS: Rule = Rule { strikes: 3, within: Micros::from_secs(300), keys_max: 65_536 };
/// Operations are the contract's; 4,096 is above the largest contract measured (Box, 296) by an order of magnitude.
const FOREIGN: Rule = Rule { strikes: 3, within: Micros::from_secs(60), keys_max: 4_096 };
/// "Two holds" without a time would page for two busy Mondays; an hour is the budget's middle window.
const HOLDS: Rule = Rule { strikes: 2, within: Micros::from_secs(3_600), keys_max: 65_536 };
/// How close a new network and another finding must be: the window in which two families of statistics count together.
const TOGETHER: Micros = Micros::from_secs(900);
const CREDENTIALS_MAX: usize = 65_536;

/// Something that happened on the data path. All but the first, and the second without a credential, passed authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A proof, token or binding that did not hold.
    BadProof {
        /// Where from.
        network: ClientIp,
    },
    /// A request from a listed network.
    ListedNetwork {
        /// Where from.
        network: ClientIp,
        /// The list's name.
        list: String,
        /// The credential, only if its proof held.
        credential: Option<CredentialId>,
    },
    /// A request from outside its credential's pinned networks.
    OutsidePins {
        /// Whose.
        credential: CredentialId,
        /// Where from.
        network: ClientIp,
    },
    /// A network never seen for this credential, which has no pins.
    NewNetwork {
        /// Whose.
        credential: CredentialId,
        /// Where from.
        network: ClientIp,
    },
    /// A token that came without proof, as its integration's bearer exception allows, from a network never seen for its credential. Refused.
    BearerElsewhere {
        /// Whose.
        integration: IntegrationId,
        /// Bound to which key.
        credential: CredentialId,
        /// For which grant.
        grant: GrantId,
        /// Where from.
        network: ClientIp,
        /// [`crate::KeyedHash`] of the subject or consent that it speaks for.
        token: Option<u64>,
    },
    /// A credential or grant unused for 30 days or more.
    Dormant {
        /// Whose.
        credential: CredentialId,
        /// Days since its last use.
        idle_days: u32,
    },
    /// A request that fits no operation.
    UnknownOperation {
        /// Whose.
        credential: CredentialId,
    },
    /// Fields withheld because the contract does not know them.
    OutOfContract {
        /// Whose request.
        credential: CredentialId,
        /// Which operation.
        operation: OperationId,
        /// How many.
        fields: u32,
    },
    /// Records withheld because they are of other subjects.
    Foreign {
        /// Whose request.
        credential: CredentialId,
        /// Which operation.
        operation: OperationId,
        /// How many.
        records: u32,
    },
    /// A response held by the exposure budget.
    BudgetHold {
        /// Whose request.
        credential: CredentialId,
        /// Whose budget.
        grant: GrantId,
        /// The hold.
        hold: Hold,
    },
    /// A honey subject in an answer.
    Honey {
        /// Who asked.
        integration: IntegrationId,
        /// With which key.
        credential: CredentialId,
        /// Through which operation.
        operation: OperationId,
    },
    /// Secrets masked in free text.
    Secret {
        /// Whose request.
        credential: CredentialId,
        /// Which operation.
        operation: OperationId,
        /// How many.
        count: u32,
    },
}

/// The state of the folds. One per node; memory is bounded whatever is folded.
#[derive(Debug)]
pub struct Detector {
    bad_proofs: Strikes<NetworkGroup>,
    foreign: Strikes<OperationId>,
    holds: Strikes<GrantId>,
    recent: BTreeMap<CredentialId, Recent>,
    shadow: BTreeSet<&'static str>,
}

/// What was last found about one credential.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    new_network: Option<UnixMicros>,
    other: Option<(UnixMicros, &'static str)>,
    /// Whether what would be done about this new network was told.
    told_in_shadow: bool,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            bad_proofs: Strikes::new(BAD_PROOFS),
            foreign: Strikes::new(FOREIGN),
            holds: Strikes::new(HOLDS),
            recent: BTreeMap::new(),
            shadow: BTreeSet::new(),
        }
    }
}

impl Detector {
    /// Puts exactly these rules in shadow, so that what rests on one of them spends nothing that another finding needs.
    pub fn shadow(&mut self, rules: BTreeSet<&'static str>) {
        self.shadow = rules;
    }

    /// Folds one event in; the signals it completes, most often one or none.
    pub fn fold(&mut self, event: &Event, now: UnixMicros) -> Vec<Signal> {
        let mut signals: Vec<Signal> = self.signal(event, now).into_iter().collect();
        if let Some(credential) = holder(event)
            && let Some(first) = signals.first()
        {
            let rule = first.rule();
            let is_new_network = matches!(event, Event::NewNetwork { .. });
            signals.extend(self.together(credential, is_new_network, rule, now));
        }
        signals
    }

    /// Forgets what led to a containment that people lifted, so that the next finding begins anew.
    pub fn lifted(&mut self, containment: &Containment) {
        match containment {
            Containment::Throttle(grant) => self.holds.forget(grant),
            Containment::SuspendCredential(credential) => {
                self.recent.remove(credential);
            }
            Containment::SuspendOperation(operation) => self.foreign.forget(operation),
            Containment::RefuseNetwork(network) => self.bad_proofs.forget(network),
            // Whoever has its keys and grants says so of each.
            Containment::Restrict(_)
            | Containment::Sever(_)
            | Containment::Page
            | Containment::OpenCase => {}
        }
    }

    fn signal(&mut self, event: &Event, now: UnixMicros) -> Option<Signal> {
        let (cause, containment) = match event.clone() {
            Event::BadProof { network } => {
                let network = NetworkGroup::of(network);
                let count = self.bad_proofs.strike(&network, now)?;
                let within = BAD_PROOFS.within;
                (Cause::BadProofs { network, count, within }, vec![Containment::OpenCase])
            }
            Event::ListedNetwork { network, list, credential } => {
                (Cause::ListedNetwork { network, list, credential }, vec![])
            }
            Event::OutsidePins { credential, network } => {
                (Cause::OutsidePins { credential, network }, vec![])
            }
            Event::NewNetwork { credential, network } => {
                (Cause::NewNetwork { credential, network }, vec![])
            }
            Event::BearerElsewhere { credential, grant, network, .. } => {
                (Cause::BearerElsewhere { credential, grant, network }, vec![Containment::Page])
            }
            Event::Dormant { credential, idle_days } => {
                (Cause::Dormant { credential, idle_days }, vec![])
            }
            Event::UnknownOperation { credential } => {
                (Cause::UnknownOperation { credential }, vec![])
            }
            Event::OutOfContract { operation, fields, credential: _ } => {
                (Cause::OutOfContract { operation, fields }, vec![])
            }
            Event::Foreign { operation, records, credential: _ } => {
                self.foreign(operation, records, now)
            }
            Event::BudgetHold { grant, hold, credential: _ } => {
                match self.holds.strike(&grant, now) {
                    None => (Cause::BudgetHold { grant, hold }, vec![]),
                    Some(count) => (
                        Cause::BudgetHolds { grant, count, within: HOLDS.within, hold },
                        vec![Containment::Throttle(grant), Containment::Page],
                    ),
                }
            }
            Event::Honey { integration, credential, operation } => (
                Cause::Honey { integration, credential, operation },
                vec![Containment::Sever(integration), Containment::OpenCase],
            ),
            Event::Secret { operation, count, credential: _ } => {
                (Cause::Secret { operation, count }, vec![])
            }
        };
        Some(Signal { at: now, cause, containment, shadow: false })
    }

    /// Each withheld record is a strike, so one answer with three is enough.
    fn foreign(
        &mut self,
        operation: OperationId,
        records: u32,
        now: UnixMicros,
    ) -> (Cause, Vec<Containment>) {
        let strikes_max = u32::try_from(FOREIGN.strikes).unwrap_or(u32::MAX);
        let reached = (0..records.min(strikes_max))
            .filter_map(|_| self.foreign.strike(&operation, now))
            .last();
        match reached {
            None => {
                let records = u64::from(records);
                (Cause::ForeignSubjects { operation, records, within: None }, vec![])
            }
            Some(count) => {
                let records = u64::from(records).max(u64::try_from(count).unwrap_or(u64::MAX));
                let within = Some(FOREIGN.within);
                let suspend = Containment::SuspendOperation(operation.clone());
                let cause = Cause::ForeignSubjects { operation, records, within };
                (cause, vec![suspend, Containment::OpenCase])
            }
        }
    }

    /// A new network alone is a vendor that moved; with any other finding it is not.
    fn together(
        &mut self,
        credential: CredentialId,
        is_new_network: bool,
        rule: &'static str,
        now: UnixMicros,
    ) -> Option<Signal> {
        let near = |at: UnixMicros| now.since(at) < TOGETHER;
        if self.recent.len() >= CREDENTIALS_MAX && !self.recent.contains_key(&credential) {
            self.recent.retain(|_, recent| {
                recent.new_network.is_some_and(near) || recent.other.is_some_and(|(at, _)| near(at))
            });
            if self.recent.len() >= CREDENTIALS_MAX {
                self.recent.pop_first();
            }
        }
        let is_shadowed = |rule| self.shadow.contains(rule);
        let recent = self.recent.entry(credential).or_default();
        let holds = recent.other.is_some_and(|(at, rule)| near(at) && !is_shadowed(rule));
        if is_new_network {
            (recent.new_network, recent.told_in_shadow) = (Some(now), false);
        } else if !(holds && is_shadowed(rule)) {
            recent.other = Some((now, rule));
        }
        let (new_network, (other_at, other)) = (recent.new_network?, recent.other?);
        if !near(new_network) || !near(other_at) {
            return None;
        }
        // Both are spent: the next suspension needs both again. What only would have been done is told once and spends nothing else.
        if is_shadowed(other) {
            recent.other = None;
            if std::mem::replace(&mut recent.told_in_shadow, true) {
                return None;
            }
        } else {
            *recent = Recent::default();
        }
        let cause = Cause::NewNetworkAndMore { credential, other, within: TOGETHER };
        let containment = vec![Containment::SuspendCredential(credential), Containment::Page];
        Some(Signal { at: now, cause, containment, shadow: false })
    }
}

/// The credential whose holder did this: nobody, where no key was proved, and where the origin's answer is at fault.
fn holder(event: &Event) -> Option<CredentialId> {
    match event {
        Event::BadProof { .. }
        | Event::BearerElsewhere { .. }
        | Event::OutOfContract { .. }
        | Event::Foreign { .. }
        | Event::Secret { .. } => None,
        Event::ListedNetwork { credential, .. } => *credential,
        Event::OutsidePins { credential, .. }
        | Event::NewNetwork { credential, .. }
        | Event::Dormant { credential, .. }
        | Event::UnknownOperation { credential }
        | Event::BudgetHold { credential, .. }
        | Event::Honey { credential, .. } => Some(*credential),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CREDENTIAL: CredentialId = CredentialId::from_bytes([1; 16]);
    const INTEGRATION: IntegrationId = IntegrationId::from_bytes([2; 16]);
    const GRANT: GrantId = GrantId::from_bytes([3; 16]);

    fn ip(text: &str) -> ClientIp {
        ClientIp::from_peer(text.parse().unwrap())
    }

    fn operation() -> OperationId {
        OperationId::new("getAccount").unwrap()
    }

    fn hold() -> Event {
        let hold = Hold { window: Micros::from_secs(60), limit: 10, counted: 10, asked: 5 };
        Event::BudgetHold { credential: CREDENTIAL, grant: GRANT, hold }
    }

    fn foreign(records: u32) -> Event {
        Event::Foreign { credential: CREDENTIAL, operation: operation(), records }
    }

    /// Folds the events, one a second (or at the given pause), into sentences.
    fn sentences(pause: u64, events: &[Event]) -> Vec<String> {
        let mut detector = Detector::default();
        (1..)
            .zip(events)
            .flat_map(|(n, event)| detector.fold(event, UnixMicros::from_secs(1_000 + n * pause)))
            .map(|signal| signal.to_string())
            .collect()
    }

    #[test]
    fn three_bad_proofs_from_one_network_in_five_minutes_open_a_case() {
        let bad = |text| Event::BadProof { network: ip(text) };
        assert_eq!(
            sentences(100, &[bad("203.0.113.9"), bad("203.0.113.200"), bad("203.0.113.1")]),
            ["3 bad proofs came from 203.0.113.0/24 within 300 s: open a case"]
        );
        assert!(
            sentences(150, &[bad("203.0.113.9"), bad("203.0.113.9"), bad("203.0.113.9")])
                .is_empty()
        );
        assert!(
            sentences(1, &[bad("203.0.113.9"), bad("203.0.114.9"), bad("203.0.115.9")]).is_empty()
        );
        assert_eq!(
            sentences(1, &[bad("2001:db8:1::1"), bad("2001:db8:1:2::1"), bad("2001:db8:1::3")]),
            ["3 bad proofs came from 2001:db8:1::/48 within 300 s: open a case"]
        );
    }

    #[test]
    fn a_finding_in_shadow_spends_no_new_network_and_hides_no_other_finding() {
        let (unknown, moved) = (
            Event::UnknownOperation { credential: CREDENTIAL },
            Event::NewNetwork { credential: CREDENTIAL, network: ip("203.0.113.9") },
        );
        let pins = Event::OutsidePins { credential: CREDENTIAL, network: ip("203.0.113.9") };
        let pairs = |events: &[&Event]| {
            let mut detector = Detector::default();
            detector.shadow(["pins"].into());
            let found = (1..).zip(events);
            let found = found.flat_map(|(n, event)| detector.fold(event, UnixMicros::from_secs(n)));
            let found = found.filter_map(|signal| {
                let Cause::NewNetworkAndMore { other, .. } = signal.cause else { return None };
                Some(other)
            });
            found.collect::<Vec<_>>()
        };
        assert_eq!(pairs(&[&moved, &pins, &pins, &unknown]), ["pins", "unknown_operation"]);
        assert_eq!(pairs(&[&unknown, &pins, &moved]), ["unknown_operation"]);
        assert_eq!(pairs(&[&moved, &unknown, &pins]), ["unknown_operation"]);
    }

    #[test]
    fn three_foreign_records_in_a_minute_suspend_the_operation() {
        let suspended = "`getAccount` answered with records of other subjects, 3 of them within 60 s: suspend \
                         `getAccount`, open a case";
        assert_eq!(
            sentences(20, &[foreign(1), foreign(1), foreign(1)]),
            [
                "`getAccount` answered with records of other subjects, 1 of them",
                "`getAccount` answered with records of other subjects, 1 of them",
                suspended
            ]
        );
        assert_eq!(sentences(20, &[foreign(3)]), [suspended]);
        assert!(
            sentences(30, &[foreign(1), foreign(1), foreign(1)]).iter().all(|s| s != suspended)
        );
    }

    #[test]
    fn the_second_hold_throttles_and_pages() {
        let because =
            "10 subjects were read in the last 60 s and 5 more were asked for; the budget is 10";
        assert_eq!(
            sentences(60, &[hold(), hold()]),
            [
                format!("{GRANT} was held: {because}"),
                format!(
                    "{GRANT} was held 2 times within 3600 s, last because {because}: throttle {GRANT}, page"
                ),
            ]
        );
    }

    #[test]
    fn what_people_lifted_begins_anew() {
        let mut detector = Detector::default();
        let mut contained = |events: &[Event], lifted: Option<Containment>| {
            for event in events {
                detector.fold(event, UnixMicros::from_secs(1_000));
            }
            if let Some(lifted) = lifted {
                detector.lifted(&lifted);
            }
            let last = events.last().unwrap();
            let signals = detector.fold(last, UnixMicros::from_secs(1_001));
            signals.iter().any(|signal| !signal.containment.is_empty())
        };
        assert!(contained(&[hold()], None));
        assert!(!contained(&[hold()], Some(Containment::Throttle(GRANT))));
        let suspended = Some(Containment::SuspendOperation(operation()));
        assert!(!contained(&[foreign(1), foreign(1)], suspended));
        let elsewhere = Event::NewNetwork { credential: CREDENTIAL, network: ip("198.51.100.7") };
        let unknown = Event::UnknownOperation { credential: CREDENTIAL };
        let mut detector = Detector::default();
        detector.fold(&elsewhere, UnixMicros::from_secs(1_000));
        detector.lifted(&Containment::SuspendCredential(CREDENTIAL));
        let signals = detector.fold(&unknown, UnixMicros::from_secs(1_001));
        assert!(signals.iter().all(|signal| signal.containment.is_empty()), "{signals:?}");
    }

    #[test]
    fn a_decoy_severs() {
        let honey = Event::Honey {
            integration: INTEGRATION,
            credential: CREDENTIAL,
            operation: operation(),
        };
        let signals = Detector::default().fold(&honey, UnixMicros(1));
        assert_eq!(
            signals[0].containment,
            [Containment::Sever(INTEGRATION), Containment::OpenCase]
        );
    }

    #[test]
    fn a_network_never_seen_suspends_with_any_other_finding_in_either_order() {
        let new = Event::NewNetwork { credential: CREDENTIAL, network: ip("198.51.100.7") };
        let unknown = Event::UnknownOperation { credential: CREDENTIAL };
        let suspended = |events: &[Event], pause| {
            sentences(pause, events)
                .iter()
                .filter(|s| s.ends_with(&format!("suspend {CREDENTIAL}, page")))
                .count()
        };
        assert_eq!(suspended(std::slice::from_ref(&new), 1), 0);
        assert_eq!(suspended(&[new.clone(), new.clone()], 1), 0);
        assert_eq!(suspended(&[new.clone(), unknown.clone()], 1), 1);
        assert_eq!(suspended(&[unknown.clone(), new.clone()], 1), 1);
        assert_eq!(suspended(&[new.clone(), unknown.clone(), unknown.clone()], 1), 1);
        assert_eq!(suspended(&[new.clone(), unknown.clone()], 900), 0);
        // What the origin answers with, and what is tried with a token alone, are not its holder's doing.
        assert_eq!(suspended(&[new.clone(), foreign(1)], 1), 0);
        let secret = Event::Secret { credential: CREDENTIAL, operation: operation(), count: 1 };
        assert_eq!(suspended(&[new.clone(), secret], 1), 0);
        let elsewhere = Event::BearerElsewhere {
            integration: INTEGRATION,
            credential: CREDENTIAL,
            grant: GRANT,
            network: ip("203.0.113.9"),
            token: None,
        };
        assert_eq!(suspended(&[elsewhere, unknown], 1), 0);
        let elsewhere = Event::UnknownOperation { credential: CredentialId::from_bytes([9; 16]) };
        assert_eq!(suspended(&[new, elsewhere], 1), 0);
    }

    proptest! {
        #[test]
        fn nothing_unauthenticated_contains_more_than_its_own_network(
            events in proptest::collection::vec((any::<u8>(), any::<bool>()), 1..300),
        ) {
            let mut detector = Detector::default();
            // An authenticated finding stands by, to be drawn into something.
            detector.fold(&Event::NewNetwork { credential: CREDENTIAL, network: ip("192.0.2.1") }, UnixMicros(1));
            for (n, (last, listed)) in (1..).zip(events) {
                let network = ip(&format!("192.0.{}.{last}", last % 3));
                let event = if listed {
                    Event::ListedNetwork { network, list: "feed".into(), credential: None }
                } else {
                    Event::BadProof { network }
                };
                for signal in detector.fold(&event, UnixMicros::from_secs(n)) {
                    prop_assert!(signal.containment.iter().all(|c| *c == Containment::OpenCase));
                }
            }
        }
    }
}

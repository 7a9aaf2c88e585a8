//! Posture: the severances and restrictions in force, as the outcome of a chain of entries.

use crate::{Authority, Bearing, Change, Entry, Target};
use model::{Digest, UnixMicros};
use std::collections::BTreeMap;
use thiserror::Error;

/// What is cut off or restricted, and the head of the chain it follows from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posture {
    number: u64,
    head: Digest,
    severed: Covered,
    restricted: Covered,
}

/// Targets under one kind of containment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Covered {
    targets: BTreeMap<Target, Containment>,
    // Networks are few and need a containment test; everything else is looked up by its own key.
    networks: Vec<Target>,
}

/// One severance or restriction in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containment {
    /// The entry that made it.
    pub number: u64,
    /// Since when.
    pub since: UnixMicros,
    /// Why.
    pub reason: String,
    /// On whose word.
    pub authority: Authority,
}

impl Covered {
    fn add(&mut self, target: &Target, entry: &Entry) {
        self.targets.entry(target.clone()).or_insert_with(|| Containment {
            number: entry.number,
            since: entry.time,
            reason: entry.reason.clone(),
            authority: entry.authority.clone(),
        });
        self.index_networks();
    }

    fn lift(&mut self, target: &Target) {
        self.targets.remove(target);
        self.index_networks();
    }

    fn index_networks(&mut self) {
        let networks = self.targets.keys().filter(|target| matches!(target, Target::Network(_)));
        self.networks = networks.cloned().collect();
    }

    fn find(&self, bearing: &Bearing) -> Option<(&Target, &Containment)> {
        if self.targets.is_empty() {
            return None;
        }
        let named = [
            Target::Vendor(bearing.vendor),
            Target::Integration(bearing.integration),
            Target::Credential(bearing.credential),
            Target::Grant(bearing.grant),
            Target::Operation(bearing.operation.clone()),
        ];
        let network = self.networks.iter().find(|target| target.covers(bearing));
        named.iter().chain(network).find_map(|target| self.targets.get_key_value(target))
    }
}

/// An entry that posture does not take. It is left as it was.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum NotTaken {
    /// Another writer, a restored copy of the file, or a bug. Stop and compare.
    #[error("posture entry {number} does not follow entry {head_number}")]
    NotNext {
        /// The entry's number.
        number: u64,
        /// Where posture stands.
        head_number: u64,
    },
    /// Posture moved on since the signers looked.
    #[error("posture moved on since this was signed; look again and sign again")]
    OtherHead,
    /// What widens needs two operators; a rule only narrows.
    #[error("posture entry {number} widens on the word of fewer than two operators")]
    WidensAlone {
        /// The entry's number.
        number: u64,
    },
}

impl Posture {
    /// How many entries led here.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Hash of the last entry; 32 zero bytes before the first.
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// The next entry, for this change.
    pub fn next_entry(
        &self,
        change: Change,
        reason: &str,
        authority: Authority,
        now: UnixMicros,
    ) -> Entry {
        let mut reason = reason.to_owned();
        while reason.len() > crate::entry::REASON_BYTES_MAX {
            reason.pop();
        }
        Entry { number: self.number + 1, previous: self.head, time: now, change, reason, authority }
    }

    /// Takes one step along the chain.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing changes then.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), NotTaken> {
        let number = entry.number;
        if number != self.number + 1 || entry.previous != self.head {
            return Err(NotTaken::NotNext { number, head_number: self.number });
        }
        if matches!(entry.change, Change::Restore(_)) && entry.authority.operators() < 2 {
            return Err(NotTaken::WidensAlone { number });
        }
        match &entry.change {
            Change::Sever(target) => self.severed.add(target, entry),
            Change::Restrict(target) => self.restricted.add(target, entry),
            Change::Restore(target) => {
                self.severed.lift(target);
                self.restricted.lift(target);
            }
        }
        self.number = entry.number;
        self.head = entry.hash();
        Ok(())
    }

    /// Whether a change would change nothing: the same target is already contained as much or more.
    pub fn holds(&self, change: &Change) -> bool {
        match change {
            Change::Sever(target) => self.severed.targets.contains_key(target),
            Change::Restrict(target) => {
                self.restricted.targets.contains_key(target)
                    || self.severed.targets.contains_key(target)
            }
            Change::Restore(target) => {
                !self.severed.targets.contains_key(target)
                    && !self.restricted.targets.contains_key(target)
            }
        }
    }

    /// The severance that covers this request, if any does.
    pub fn severance_of(&self, bearing: &Bearing) -> Option<&Containment> {
        self.severed.find(bearing).map(|(_, containment)| containment)
    }

    /// As [`Posture::severance_of`], with what was severed: the widest thing that covers the request.
    pub fn severance(&self, bearing: &Bearing) -> Option<(&Target, &Containment)> {
        self.severed.find(bearing)
    }

    /// The restriction that covers this request, if any does.
    pub fn restriction_of(&self, bearing: &Bearing) -> Option<&Containment> {
        self.restricted.find(bearing).map(|(_, containment)| containment)
    }

    /// As [`Posture::restriction_of`], with what was restricted: the widest thing that covers the request.
    pub fn restriction(&self, bearing: &Bearing) -> Option<(&Target, &Containment)> {
        self.restricted.find(bearing)
    }

    /// What is severed, in order of target.
    pub fn severed(&self) -> impl Iterator<Item = (&Target, &Containment)> {
        self.severed.targets.iter()
    }

    /// What is restricted, in order of target.
    pub fn restricted(&self) -> impl Iterator<Item = (&Target, &Containment)> {
        self.restricted.targets.iter()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use model::{ClientIp, ConsentId, CredentialId, GrantId, IntegrationId, OperationId, VendorId};
    use proptest::prelude::*;

    pub(crate) fn bearing(n: u8) -> Bearing {
        Bearing {
            vendor: VendorId::from_bytes([n / 8; 16]),
            integration: IntegrationId::from_bytes([n / 4; 16]),
            credential: CredentialId::from_bytes([n / 2; 16]),
            grant: GrantId::from_bytes([n; 16]),
            operation: OperationId::new(&format!("op{}", n % 3)).unwrap(),
            network: ClientIp::from_peer([10, 0, n % 4, n].into()),
            consent: n.is_multiple_of(5).then_some(ConsentId::from_bytes([n; 16])),
        }
    }

    pub(crate) fn target(kind: u8, n: u8) -> Target {
        let b = bearing(n);
        match kind % 6 {
            0 => Target::Vendor(b.vendor),
            1 => Target::Integration(b.integration),
            2 => Target::Credential(b.credential),
            3 => Target::Grant(b.grant),
            4 => Target::Operation(b.operation),
            _ => Target::parse(&format!("network:10.0.{}.0/24", n % 4)).unwrap(),
        }
    }

    pub(crate) fn two_operators() -> Authority {
        let signers = [1, 2].map(|n| model::OperatorId::from_bytes([n; 16])).to_vec();
        Authority::Operators { signers, command: Vec::new() }
    }

    #[test]
    fn entries_that_do_not_follow_are_refused() {
        let mut posture = Posture::default();
        let first = posture.next_entry(
            Change::Sever(target(0, 1)),
            "",
            Authority::Rule("test".into()),
            UnixMicros(1),
        );
        posture.apply(&first).unwrap();
        let before = posture.clone();
        assert!(posture.apply(&first).is_err());
        let alone = posture.next_entry(
            Change::Restore(target(0, 1)),
            "",
            Authority::Rule("test".into()),
            UnixMicros(1),
        );
        assert_eq!(posture.apply(&alone), Err(NotTaken::WidensAlone { number: 2 }));
        let forged = Entry { previous: [9; 32], number: 2, ..first };
        assert!(posture.apply(&forged).is_err());
        assert_eq!(posture, before);
    }

    proptest! {
        /// The indexed lookup answers as a scan over every severed target does.
        #[test]
        fn lookup_agrees_with_a_scan(steps in proptest::collection::vec((0_u8..6, 0_u8..32, any::<bool>()), 0..40), who in 0_u8..32) {
            let mut posture = Posture::default();
            for (kind, n, sever) in steps {
                let change = if sever { Change::Sever(target(kind, n)) } else { Change::Restore(target(kind, n)) };
                let entry = posture.next_entry(change, "why", two_operators(), UnixMicros(1));
                posture.apply(&entry).unwrap();
            }
            let naive = posture.severed().any(|(target, _)| target.covers(&bearing(who)));
            prop_assert_eq!(posture.severance_of(&bearing(who)).is_some(), naive);
        }
    }
}

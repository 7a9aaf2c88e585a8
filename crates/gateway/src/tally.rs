//! What each rule found, did, and would have done, and what operators made of it.

use detection::{Containment, Signal};
use model::Directory;
use sever::{Authority, Change, Posture, Target};
use std::collections::{BTreeMap, VecDeque};

/// The numbers of one rule since this start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Signals.
    pub signals: u64,
    /// Containments that its signals called for in shadow, and that were not carried out.
    pub would_contain: u64,
    /// Containments that took effect; those that were in force already are not counted.
    pub contained: u64,
    /// Of both, those whose target, or its integration, operators severed afterwards: they agreed.
    pub severed_after: u64,
    /// Of those that took effect, those that operators lifted: they did not, or the cause is gone.
    pub restored_after: u64,
}

/// The tallies, and containments whose end is awaited.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    by_rule: BTreeMap<&'static str, Tally>,
    followed: VecDeque<Followed>,
}

#[derive(Debug)]
struct Followed {
    rule: &'static str,
    change: Change,
    is_shadow: bool,
    is_agreed: bool,
}

/// Containments followed at once; the oldest is followed no further.
const FOLLOWED_MAX: usize = 1_000;

impl Tallies {
    pub(crate) fn signal(&mut self, signal: &Signal) {
        self.by_rule.entry(signal.rule()).or_default().signals += 1;
    }

    /// Counts a change that took effect, or in shadow would have, and follows it.
    pub(crate) fn follow(&mut self, signal: &Signal, change: Change) {
        let (rule, is_shadow) = (signal.rule(), signal.shadow);
        let tally = self.by_rule.entry(rule).or_default();
        if is_shadow {
            tally.would_contain += 1;
        } else {
            tally.contained += 1;
        }
        if self.followed.len() == FOLLOWED_MAX {
            self.followed.pop_front();
        }
        self.followed.push_back(Followed { rule, change, is_shadow, is_agreed: false });
    }

    /// Looks what became of what is followed.
    pub(crate) fn settle(&mut self, posture: &Posture, directory: &Directory) {
        let by_rule = &mut self.by_rule;
        self.followed.retain_mut(|followed| {
            let tally = by_rule.entry(followed.rule).or_default();
            let (Change::Sever(target) | Change::Restrict(target) | Change::Restore(target)) =
                &followed.change;
            let integration = integration_of(target, directory).map(Target::Integration);
            let agreed = posture.severed().any(|(severed, containment)| {
                let is_theirs = matches!(containment.authority, Authority::Operators { .. });
                is_theirs && (severed == target || Some(severed) == integration.as_ref())
            });
            if agreed && !followed.is_agreed {
                followed.is_agreed = true;
                tally.severed_after += 1;
            }
            let is_lifted = !followed.is_shadow && !posture.holds(&followed.change);
            tally.restored_after += u64::from(is_lifted && !followed.is_agreed);
            !(is_lifted || followed.is_agreed && followed.is_shadow)
        });
    }

    pub(crate) fn by_rule(&self) -> BTreeMap<&'static str, Tally> {
        self.by_rule.clone()
    }
}

fn integration_of(target: &Target, directory: &Directory) -> Option<model::IntegrationId> {
    match target {
        Target::Integration(id) => Some(*id),
        Target::Credential(id) => directory.credentials.get(id).map(|of| of.integration),
        Target::Grant(id) => directory.grants.get(id).map(|of| of.integration),
        Target::Vendor(_) | Target::Operation(_) | Target::Network(_) => None,
    }
}

/// The change of posture that a containment is; none if it is for people.
pub(crate) fn change(containment: &Containment) -> Option<Change> {
    Some(match containment {
        Containment::Throttle(grant) => Change::Restrict(Target::Grant(*grant)),
        Containment::Restrict(integration) => Change::Restrict(Target::Integration(*integration)),
        Containment::SuspendCredential(credential) => {
            Change::Sever(Target::Credential(*credential))
        }
        Containment::SuspendOperation(operation) => {
            Change::Sever(Target::Operation(operation.clone()))
        }
        Containment::Sever(integration) => Change::Sever(Target::Integration(*integration)),
        Containment::RefuseNetwork(network) => Change::Sever(Target::Network(network.net())),
        Containment::Page | Containment::OpenCase => return None,
    })
}

//! What a credential and a grant usually do: from where they are used, and when they last were.
//!
//! It knows only what it was told, by requests and, after a start, by the log. It decides nothing: a network never seen
//! before is a finding, a long sleep a refusal, and both are the caller's to act on.

use crate::hasher::Keyed;
use crate::signal::NetworkGroup;
use model::{ClientIp, CredentialId, GrantId, Micros, UnixMicros};
use std::collections::HashMap;

/// After this long without use, a credential or grant is asleep.
pub const SLEEP: Micros = Micros::from_secs(30 * 86_400);

/// Networks remembered for one credential; the one seen longest ago is forgotten first. Fleets of common vendors leave from
/// a handful of /24s.
const NETWORKS_MAX: usize = 64;

/// The habits of every credential and grant of a node. One entry each, so bounded by the registry.
#[derive(Debug, Default)]
pub struct Habits {
    credentials: HashMap<CredentialId, Habit, Keyed>,
    grants: HashMap<GrantId, UnixMicros, Keyed>,
}

#[derive(Debug, Default)]
struct Habit {
    last: Option<UnixMicros>,
    /// [`NetworkGroup::number`] of each, the one seen last at the end.
    networks: Vec<u64>,
}

impl Habit {
    fn remember(&mut self, network: u64, at: UnixMicros) {
        self.last = self.last.max(Some(at));
        match self.networks.iter().rposition(|known| *known == network) {
            Some(known) => {
                if let Some(since) = self.networks.get_mut(known..) {
                    since.rotate_left(1);
                }
            }
            None => {
                if self.networks.len() >= NETWORKS_MAX {
                    self.networks.remove(0);
                }
                self.networks.push(network);
            }
        }
    }
}

/// A use that is not as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusual {
    /// The credential was used before, and never from this /24 or /48.
    NewNetwork,
    /// Credential or grant were not used for [`SLEEP`] or longer, nor made since.
    Asleep {
        /// Whole days since.
        idle_days: u32,
    },
}

/// One use, as a request or a record shows it.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// With which key.
    pub credential: CredentialId,
    /// Under which grant.
    pub grant: GrantId,
    /// From where.
    pub network: ClientIp,
    /// When.
    pub at: UnixMicros,
}

impl Habits {
    /// Remembers a use that the log tells of.
    pub fn replay(&mut self, seen: &Use) {
        let habit = self.credentials.entry(seen.credential).or_default();
        habit.remember(NetworkGroup::number(seen.network), seen.at);
        self.wake_grant(seen.grant, seen.at);
    }

    /// Compares a use with what is usual, and remembers it unless the credential or grant is asleep: waking is not the caller's to do. Nor
    /// is it to make a network usual without a proof.
    pub fn observe(&mut self, seen: &Use, is_proved: bool) -> Option<Unusual> {
        let habit = self.credentials.get_mut(&seen.credential);
        let last_of_key = habit.as_ref().and_then(|habit| habit.last);
        let last_of_grant = self.grants.get_mut(&seen.grant);
        // Ids are UUIDv7: the moment of registration counts as a use.
        let awake_since = [
            last_of_key.unwrap_or(UnixMicros(0)).max(seen.credential.made()),
            last_of_grant.as_deref().copied().unwrap_or(UnixMicros(0)).max(seen.grant.made()),
        ];
        let idle = awake_since.map(|since| seen.at.since(since)).into_iter().max();
        if let Some(idle) = idle.filter(|idle| *idle >= SLEEP) {
            let idle_days = u32::try_from(idle.0 / Micros::from_secs(86_400).0).unwrap_or(u32::MAX);
            return Some(Unusual::Asleep { idle_days });
        }
        let network = NetworkGroup::number(seen.network);
        let is_new = habit.as_ref().is_some_and(|habit| !habit.networks.contains(&network));
        if !is_proved && is_new {
            return Some(Unusual::NewNetwork);
        }
        match (habit, last_of_grant) {
            (Some(habit), Some(last)) => {
                habit.remember(network, seen.at);
                *last = (*last).max(seen.at);
            }
            _ => self.replay(seen),
        }
        is_new.then_some(Unusual::NewNetwork)
    }

    /// Wakes a credential: two operators looked at it.
    pub fn wake(&mut self, credential: CredentialId, now: UnixMicros) {
        let habit = self.credentials.entry(credential).or_default();
        habit.last = habit.last.max(Some(now));
    }

    /// As [`Habits::wake`], of a grant.
    pub fn wake_grant(&mut self, grant: GrantId, now: UnixMicros) {
        let last = self.grants.entry(grant).or_insert(now);
        *last = (*last).max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn used(network: [u8; 4], day: u64) -> Use {
        let at = UnixMicros::from_secs(day * DAY);
        Use {
            credential: CredentialId::new(UnixMicros::from_secs(1_000 * DAY), [1; 10]),
            grant: GrantId::new(UnixMicros::from_secs(1_000 * DAY), [1; 10]),
            network: ClientIp::from_peer(network.into()),
            at,
        }
    }

    #[test]
    fn the_first_network_is_usual_and_the_second_is_new_once() {
        let mut habits = Habits::default();
        assert_eq!(habits.observe(&used([10, 0, 0, 1], 1_001), true), None);
        assert_eq!(habits.observe(&used([10, 0, 0, 200], 1_002), true), None, "the same /24");
        assert_eq!(habits.observe(&used([10, 0, 1, 1], 1_003), true), Some(Unusual::NewNetwork));
        assert_eq!(habits.observe(&used([10, 0, 1, 2], 1_003), true), None);
    }

    #[test]
    fn a_network_does_not_become_usual_without_a_proof() {
        let mut habits = Habits::default();
        assert_eq!(habits.observe(&used([10, 0, 0, 1], 1_001), false), None);
        for _ in 0..2 {
            let elsewhere = used([10, 0, 1, 1], 1_002);
            assert_eq!(habits.observe(&elsewhere, false), Some(Unusual::NewNetwork));
        }
        assert_eq!(habits.observe(&used([10, 0, 1, 1], 1_003), true), Some(Unusual::NewNetwork));
        assert_eq!(habits.observe(&used([10, 0, 1, 1], 1_004), false), None);
    }

    #[test]
    fn what_the_log_tells_is_usual() {
        let mut habits = Habits::default();
        habits.replay(&used([10, 0, 0, 1], 1_001));
        habits.replay(&used([10, 0, 1, 1], 1_001));
        assert_eq!(habits.observe(&used([10, 0, 1, 1], 1_002), true), None);
    }

    #[test]
    fn what_slept_for_thirty_days_stays_asleep() {
        let mut habits = Habits::default();
        assert_eq!(habits.observe(&used([10, 0, 0, 1], 1_029), true), None, "made 29 days before");
        let asleep = used([10, 0, 0, 1], 1_059);
        assert_eq!(habits.observe(&asleep, true), Some(Unusual::Asleep { idle_days: 30 }));
        assert_eq!(
            habits.observe(&asleep, true),
            Some(Unusual::Asleep { idle_days: 30 }),
            "asking does not wake it"
        );
        habits.wake(asleep.credential, asleep.at);
        assert!(habits.observe(&asleep, true).is_some(), "the grant sleeps still");
        habits.wake_grant(asleep.grant, asleep.at);
        assert_eq!(habits.observe(&asleep, true), None, "operators woke both");
        assert_eq!(
            Habits::default().observe(&used([10, 0, 0, 1], 1_030), true),
            Some(Unusual::Asleep { idle_days: 30 }),
            "never used"
        );
    }

    #[test]
    fn memory_is_bounded_by_the_networks_remembered() {
        let mut habits = Habits::default();
        for n in 0..=255 {
            habits.observe(&used([10, 0, n, 1], 1_001), true);
        }
        assert!(habits.credentials.values().all(|habit| habit.networks.len() == NETWORKS_MAX));
    }
}

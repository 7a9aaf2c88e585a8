//! The requests of an attack, in order, from a seed; and which of them are made once they are refused.

use crate::dice::{Dice, micros};
use crate::scenario::{Attack, Order, SUBJECT, Subjects};
use model::Micros;

/// Refusals in a row after which an attack is thinned out.
const PATIENCE: u64 = 50;

/// One request of an attacker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How long after the attack's beginning.
    pub at: Micros,
    /// Path and query.
    pub path: String,
    /// Whom it asks for, if it asks for one.
    pub subject: Option<String>,
    /// From which of its networks, and from which address there, both from 0.
    pub from: (u32, u32),
    /// With which grant, from 0.
    pub grant: u32,
}

/// The requests of one attack.
pub struct Probes<'a> {
    attack: &'a Attack,
    subjects: &'a Subjects,
    grants: u32,
    dice: Dice,
    next: u64,
    passed_over: u64,
    refused: u64,
    planned: u64,
}

impl<'a> Probes<'a> {
    /// Those of `attack`, upon a tool with so many grants.
    pub fn new(attack: &'a Attack, subjects: &'a Subjects, grants: u32, seed: u64) -> Self {
        let planned = micros(attack.planned() / 1e6).0.max(1);
        let dice = Dice::new(seed, &attack.name);
        Self { attack, subjects, grants, dice, next: 0, passed_over: 0, refused: 0, planned }
    }

    /// How many there are in the scenario.
    pub fn planned(&self) -> u64 {
        self.planned
    }

    /// How many were passed over.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Says what came of the last one.
    ///
    /// An attack that was refused fifty times in a row is thinned out: of two requests one is made, then of four, and so on; until
    /// one is answered with data, from which on each is made again.
    pub fn came_of_it(&mut self, data: bool) {
        self.refused = if data { 0 } else { self.refused + 1 };
    }

    /// Which of the requests are made at the moment: one in so many.
    pub fn thinned(&self) -> u64 {
        1_u64 << (self.refused / PATIENCE).min(40)
    }

    fn probe(&mut self, number: u64) -> Probe {
        let Attack { gets, order, stride, hits, known, networks, addresses, per_grant, .. } =
            self.attack;
        let Subjects { count, related, .. } = *self.subjects;
        let at = micros(number as f64 / self.attack.rate());
        let subject = match order {
            Order::Sequential => number * stride % count,
            Order::Random => self.dice.below(count),
        };
        let subject = if self.dice.chance(*known) { self.dice.below(related) } else { subject };
        let exists = self.dice.chance(*hits);
        let subject = if exists { subject } else { count + self.dice.below(count) };
        let id = self.subjects.id(subject);
        let turn = usize::try_from(number % gets.len().max(1) as u64).unwrap_or(0);
        let path = gets.get(turn).cloned().unwrap_or_default();
        let subject = path.contains(SUBJECT).then(|| id.clone());
        let draw =
            |dice: &mut Dice, below: u32| u32::try_from(dice.below(below.into())).unwrap_or(0);
        let from = (draw(&mut self.dice, *networks), draw(&mut self.dice, *addresses));
        let grant = per_grant.map_or(0, |each| number / each % u64::from(self.grants));
        let grant = u32::try_from(grant).unwrap_or(0);
        Probe { at, path: path.replace(SUBJECT, &id), subject, from, grant }
    }
}

impl Iterator for Probes<'_> {
    type Item = Probe;

    fn next(&mut self) -> Option<Probe> {
        let skip = self.thinned() - 1;
        let last = self.planned - 1;
        if self.next > last {
            return None;
        }
        // The last is always made: it says how the attack stood when it ended.
        let number = self.next.saturating_add(skip).min(last);
        self.passed_over += number - self.next;
        self.next = number + 1;
        Some(self.probe(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{BUILT_IN, Scenario};
    use proptest::prelude::*;

    fn polls() -> Scenario {
        Scenario::parse(BUILT_IN.iter().find(|(id, _)| *id == "R02").unwrap().1).unwrap()
    }

    #[test]
    fn an_attack_that_is_refused_is_thinned_and_ends_on_time() {
        let scenario = polls();
        let attack = scenario.attacks().next().unwrap();
        let mut probes = Probes::new(attack, &scenario.subjects, 1, 1);
        assert_eq!(probes.planned(), 43_200);
        let mut made = 0;
        let mut last = Micros(0);
        while let Some(probe) = probes.next() {
            assert!(probe.at >= last);
            last = probe.at;
            made += 1;
            probes.came_of_it(false);
        }
        assert_eq!(made + probes.passed_over(), 43_200);
        assert!((400..700).contains(&made), "{made}");
        assert_eq!(last, Micros(21_599_500_000));
    }

    #[test]
    fn an_attack_that_is_answered_is_made_whole() {
        let scenario = polls();
        let attack = scenario.attacks().next().unwrap();
        let mut probes = Probes::new(attack, &scenario.subjects, 1, 1);
        for number in 0..2_000_u64 {
            assert_eq!(probes.next().unwrap().at, Micros(number * 500_000));
            probes.came_of_it(number % 40 == 0);
        }
        assert_eq!(probes.passed_over(), 0);
    }

    proptest! {
        #[test]
        fn a_seed_replays_an_attack(seed: u64) {
            for (_, text) in BUILT_IN {
                let scenario = Scenario::parse(text).unwrap();
                for attack in scenario.attacks() {
                    let some = || Probes::new(attack, &scenario.subjects, scenario.tool.grants, seed)
                        .take(50).collect::<Vec<_>>();
                    prop_assert_eq!(some(), some());
                    for probe in some() {
                        let is_path = probe.path.starts_with('/') && !probe.path.contains('{');
                        prop_assert!(is_path, "a path without a place to fill");
                        prop_assert!(probe.from.0 < attack.networks && probe.from.1 < attack.addresses);
                        prop_assert!(probe.grant < scenario.tool.grants);
                    }
                }
            }
        }
    }
}

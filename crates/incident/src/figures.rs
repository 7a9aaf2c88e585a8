//! Every number that is said about an incident, computed from one frozen scope and one state of the addresses, and from nothing else.

use crate::frozen::FrozenScope;
use crate::people::People;
use model::{Digest, UnixMicros};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The country of those whose country is not known.
pub const UNKNOWN: &str = "unknown";

/// The numbers of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The scope's name, version and hash.
    pub scope: (String, u64, Digest),
    /// Digest of the addresses.
    pub people: Digest,
    /// How many subjects, those that were erased since included.
    pub subjects: u64,
    /// Of these, pseudonyms that stand for nobody any more.
    pub erased: u64,
    /// In how many records.
    pub records: u64,
    /// By class: subjects, records.
    pub classes: BTreeMap<String, (u64, u64)>,
    /// By country: subjects. Sums to `subjects`.
    pub countries: BTreeMap<String, u64>,
    /// By integration's id: records, first, last.
    pub integrations: BTreeMap<String, (u64, UnixMicros, UnixMicros)>,
    /// First and last access; none if nobody was read.
    pub span: Option<(UnixMicros, UnixMicros)>,
    /// Subjects that can be written to.
    pub with_address: u64,
}

impl Figures {
    /// Counts.
    pub fn count(scope: &FrozenScope, people: &People) -> Self {
        let (mut countries, mut with_address) = (BTreeMap::<String, u64>::new(), 0);
        for subject in scope.subjects.keys() {
            let person = people.get(subject);
            let country = person.and_then(|person| person.country.as_deref()).unwrap_or(UNKNOWN);
            *countries.entry(country.to_owned()).or_default() += 1;
            with_address += u64::from(person.is_some_and(|person| person.email.is_some()));
        }
        if scope.erased > 0 {
            *countries.entry(UNKNOWN.to_owned()).or_default() += scope.erased;
        }
        Self {
            scope: (scope.name.clone(), scope.version, scope.hash),
            people: *people.digest(),
            subjects: scope.subjects.len() as u64 + scope.erased,
            erased: scope.erased,
            records: scope.records,
            classes: scope.classes.clone(),
            countries,
            integrations: scope.integrations.clone(),
            span: scope.span(),
            with_address,
        }
    }

    /// As documents show them.
    pub fn to_json(&self) -> Value {
        let (name, version, hash) = &self.scope;
        let classes = self.classes.iter().map(|(class, (subjects, records))| {
            json!({ "class": class, "subjects": subjects, "records": records })
        });
        let countries = self
            .countries
            .iter()
            .map(|(country, subjects)| json!({ "country": country, "subjects": subjects }));
        let integrations = self.integrations.iter().map(|(id, (records, first, last))| {
            json!({ "integration": id, "records": records, "first": first.to_string(), "last": last.to_string() })
        });
        json!({
            "scope": { "name": name, "version": version, "sha256": hex(hash) },
            "addresses_sha256": hex(&self.people),
            "subjects": self.subjects,
            "erased": self.erased,
            "records": self.records,
            "with_address": self.with_address,
            "first": self.span.map(|(first, _)| first.to_string()),
            "last": self.span.map(|(_, last)| last.to_string()),
            "classes": classes.collect::<Vec<_>>(),
            "countries": countries.collect::<Vec<_>>(),
            "integrations": integrations.collect::<Vec<_>>(),
        })
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use proptest::prelude::*;

    #[test]
    fn each_figure_is_counted_from_the_scope() {
        let figures = Figures::count(&sample::scope(1, &[]), &sample::people());
        assert_eq!((figures.subjects, figures.records, figures.with_address), (3, 4, 2));
        let countries = [("DE".to_owned(), 1), ("FR".to_owned(), 1), (UNKNOWN.to_owned(), 1)];
        assert_eq!(figures.countries, countries.into());
        assert_eq!(figures.classes["user.contact.email"], (3, 4));
        assert_eq!(figures.classes["user.financial.card_last_four"], (1, 1));
    }

    proptest! {
        #[test]
        fn countries_sum_to_the_subjects_and_another_scope_has_another_hash(more in 0_usize..40) {
            let names: Vec<String> = (0..more).map(|n| format!("more-{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (scope, people) = (sample::scope(1, &names), sample::people());
            let figures = Figures::count(&scope, &people);
            prop_assert_eq!(figures.countries.values().sum::<u64>(), figures.subjects);
            prop_assert_eq!(figures.subjects, 3 + more as u64);
            let first = sample::scope(1, &[]);
            prop_assert_eq!(more == 0, first.hash == scope.hash);
        }
    }
}

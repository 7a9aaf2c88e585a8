//! Names for the numbers of data classes, checked against the class table that each record names by its hash.

use ledger::record::class_table_hash;
use model::{ClassSet, ClassTable, DataClass, Digest};
use std::collections::BTreeMap;

/// The registry's class table with all it ever was: classes are only added, so an earlier table is a beginning of this one.
#[derive(Clone, Debug)]
pub struct ClassNames {
    table: ClassTable,
    /// How long the table was, by its hash.
    lengths: BTreeMap<Digest, usize>,
}

impl ClassNames {
    /// Of the registry's table as it is.
    pub fn new(table: ClassTable) -> Self {
        let classes = table.classes();
        let begin =
            |length: usize| classes.iter().take(length).cloned().collect::<Vec<DataClass>>();
        let lengths = (0..=classes.len())
            .filter_map(|length| Some((class_table_hash(&ClassTable::new(begin(length))?), length)))
            .collect();
        Self { table, lengths }
    }

    /// The names of `set` in the table with this hash, in order of number. `None` if the hash is of no table that this one continues,
    /// or the set holds a number that table did not have: a wrong name is worse than none.
    pub fn of(&self, table: &Digest, set: &ClassSet) -> Option<Vec<&str>> {
        let length = *self.lengths.get(table)?;
        set.iter().all(|class| class.index() < length).then(|| self.table.names(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ClassNumber;

    #[test]
    fn a_record_is_named_by_the_table_it_was_made_under_or_not_at_all() {
        let table = |names: &[&str]| {
            ClassTable::new(names.iter().map(|name| DataClass::new(name).unwrap()).collect())
                .unwrap()
        };
        let names = ClassNames::new(table(&["user.identity", "user.contact", "user.content"]));
        let of = |made_under: &[&str], numbers: &[u8]| {
            let set = numbers.iter().map(|&number| ClassNumber::new(number)).collect();
            names.of(&class_table_hash(&table(made_under)), &set).map(|names| names.join(" "))
        };
        assert_eq!(
            of(&["user.identity", "user.contact"], &[0, 1]).as_deref(),
            Some("user.identity user.contact")
        );
        assert_eq!(of(&["user.identity"], &[1]), None, "that table had no such number");
        assert_eq!(
            of(&["user.contact", "user.identity"], &[0]),
            None,
            "another deployment's table"
        );
        assert_eq!(of(&[], &[]).as_deref(), Some(""));
    }
}

//! Which data classes a purpose needs, and how sensitive each class is: two small tables, checked in so that changing one is reviewed.
//!
//! Names are prefixes of dotted class names in the manner of Fideslang. Where two prefixes fit, the longer one holds.

use model::{DataClass, Purpose};

/// How much it hurts if a class leaks; the addend it gives to the score of [`crate::tier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sensitivity {
    /// About nobody, or meant for everybody.
    Public,
    /// About somebody whom only the company can name.
    Pseudonymous,
    /// Names or reaches a person.
    Contact,
    /// Lets another pay or act in a person's name, or follow them.
    PaymentOrIdentity,
    /// What a person wrote or keeps, special categories (GDPR art. 9 and 10), and whatever is not in the table.
    ContentOrSpecial,
}

impl Sensitivity {
    /// Its addend, 0 to 4.
    pub const fn addend(self) -> u8 {
        match self {
            Self::Public => 0,
            Self::Pseudonymous => 1,
            Self::Contact => 2,
            Self::PaymentOrIdentity => 3,
            Self::ContentOrSpecial => 4,
        }
    }

    /// How a message calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Pseudonymous => "pseudonymous",
            Self::Contact => "contact",
            Self::PaymentOrIdentity => "payment or identity",
            Self::ContentOrSpecial => "content or special",
        }
    }

    /// How sensitive `class` is, with all that is below it: granting a class grants its children.
    ///
    /// A class that is not in the table counts as [`Sensitivity::ContentOrSpecial`]: nobody has looked at it, so it may be anything.
    pub fn of(class: &DataClass) -> Self {
        let named = TABLE
            .iter()
            .filter(|(prefix, _)| is_below(class.as_str(), prefix))
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or(Self::ContentOrSpecial, |&(_, sensitivity)| sensitivity);
        let below = TABLE.iter().filter(|(prefix, _)| is_below(prefix, class.as_str()));
        below.fold(named, |most, &(_, sensitivity)| most.max(sensitivity))
    }
}

/// Whether `purpose` needs `class`.
///
/// What is public or pseudonymous suits every purpose. Beyond that a purpose needs what its row says, and a purpose that has no
/// row needs nothing: somebody has to write down why first.
pub fn needs(purpose: &Purpose, class: &DataClass) -> bool {
    if Sensitivity::of(class) <= Sensitivity::Pseudonymous {
        return true;
    }
    let rows = NEEDS.iter().filter(|(name, _)| *name == purpose.as_str());
    rows.flat_map(|(_, prefixes)| *prefixes).any(|prefix| is_below(class.as_str(), prefix))
}

/// Whether the dotted `name` is `prefix` or below it.
fn is_below(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Sorted by name.
const TABLE: &[(&str, Sensitivity)] = &[
    ("account.plan", Sensitivity::Pseudonymous),
    ("account.usage", Sensitivity::Pseudonymous),
    ("public", Sensitivity::Public),
    ("system", Sensitivity::Public),
    ("user.account", Sensitivity::Contact),
    ("user.account.plan", Sensitivity::Pseudonymous),
    ("user.account.settings", Sensitivity::Pseudonymous),
    ("user.account.usage", Sensitivity::Pseudonymous),
    ("user.authorizing", Sensitivity::ContentOrSpecial),
    ("user.behavior", Sensitivity::Pseudonymous),
    ("user.biometric", Sensitivity::ContentOrSpecial),
    ("user.contact", Sensitivity::Contact),
    ("user.content", Sensitivity::ContentOrSpecial),
    ("user.content.public", Sensitivity::Public),
    ("user.criminal_history", Sensitivity::ContentOrSpecial),
    ("user.demographic", Sensitivity::ContentOrSpecial),
    ("user.device", Sensitivity::Pseudonymous),
    ("user.device.ip_address", Sensitivity::Contact),
    ("user.financial", Sensitivity::PaymentOrIdentity),
    ("user.genetic", Sensitivity::ContentOrSpecial),
    ("user.government_id", Sensitivity::PaymentOrIdentity),
    ("user.health_and_medical", Sensitivity::ContentOrSpecial),
    ("user.id", Sensitivity::Pseudonymous),
    ("user.identity", Sensitivity::PaymentOrIdentity),
    ("user.location", Sensitivity::PaymentOrIdentity),
    ("user.location.country", Sensitivity::Pseudonymous),
    ("user.name", Sensitivity::Contact),
    ("user.payment", Sensitivity::PaymentOrIdentity),
    ("user.telemetry", Sensitivity::Pseudonymous),
    ("user.unique_id", Sensitivity::Pseudonymous),
];

/// Purpose, and the prefixes it needs beyond what is public or pseudonymous. Sorted by purpose.
const NEEDS: &[(&str, &[&str])] = &[
    ("accounting", &["user.name", "user.contact", "user.financial.billing", "user.payment"]),
    ("analytics", &[]),
    ("billing", &["user.account", "user.name", "user.contact", "user.financial", "user.payment"]),
    ("document_management", &["user.name", "user.contact", "user.content", "user.identity"]),
    (
        "fraud",
        &[
            "user.account",
            "user.name",
            "user.contact",
            "user.device",
            "user.financial",
            "user.identity",
            "user.location",
            "user.payment",
        ],
    ),
    (
        "identity_verification",
        &["user.name", "user.contact", "user.government_id", "user.identity"],
    ),
    ("marketing", &["user.name", "user.contact"]),
    ("security", &["user.account", "user.contact.email", "user.device"]),
    ("shipping", &["user.name", "user.contact"]),
    // What people wrote to a help desk is what it answers.
    ("support", &["user.account", "user.name", "user.contact", "user.content"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> DataClass {
        DataClass::new(name).unwrap()
    }

    #[test]
    fn the_longest_prefix_says_how_sensitive_a_class_is() {
        for (name, addend) in [
            ("system.operations", 0),
            ("user.content.public", 0),
            ("user.id", 1),
            ("user.account.usage.daily", 1),
            ("user.contact.email", 2),
            ("user.account.username", 2),
            ("user.financial.card", 3),
            ("user.content.messages", 4),
        ] {
            assert_eq!(Sensitivity::of(&class(name)).addend(), addend, "{name}");
        }
    }

    #[test]
    fn an_unknown_class_counts_as_the_most_sensitive() {
        for name in ["shoe_size", "user.contacts", "users", "user.idea"] {
            assert_eq!(Sensitivity::of(&class(name)), Sensitivity::ContentOrSpecial, "{name}");
        }
    }

    #[test]
    fn a_parent_is_as_sensitive_as_what_it_grants() {
        assert_eq!(Sensitivity::of(&class("user")), Sensitivity::ContentOrSpecial);
        assert_eq!(Sensitivity::of(&class("user.device")), Sensitivity::Contact);
        assert_eq!(Sensitivity::of(&class("user.device.model")), Sensitivity::Pseudonymous);
    }

    #[test]
    fn a_purpose_needs_what_its_row_says() {
        let needs =
            |purpose: &str, name: &str| needs(&Purpose::new(purpose).unwrap(), &class(name));
        assert!(needs("support", "user.contact.email"));
        assert!(needs("support", "user.content.support"));
        assert!(needs("support", "user.content"));
        assert!(!needs("support", "user.financial.card"));
        assert!(needs("billing", "user.financial.card"));
        assert!(!needs("analytics", "user.contact.email"));
        assert!(needs("analytics", "user.behavior"));
        assert!(!needs("security", "user.contact"));
        assert!(needs("security", "user.contact.email"));
    }

    #[test]
    fn an_unknown_purpose_needs_nothing_beyond_pseudonyms() {
        let purpose = Purpose::new("astrology").unwrap();
        assert!(needs(&purpose, &class("user.id")));
        assert!(!needs(&purpose, &class("user.name")));
    }

    #[test]
    fn both_tables_are_sorted_and_well_formed() {
        assert!(TABLE.is_sorted_by(|(a, _), (b, _)| a < b));
        assert!(NEEDS.is_sorted_by(|(a, _), (b, _)| a < b));
        assert!(TABLE.iter().all(|(name, _)| DataClass::new(name).is_some()));
        for (purpose, prefixes) in NEEDS {
            assert!(Purpose::new(purpose).is_some());
            assert!(prefixes.iter().all(|name| DataClass::new(name).is_some()));
        }
    }
}

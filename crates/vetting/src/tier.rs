//! How carefully an integration must be vetted: a sum of four addends, computed and never chosen.

use crate::evidence::{AskedClasses, CredentialKind, DocumentKind, Evidence, Mode, Reach};
use crate::purpose::Sensitivity;
use std::fmt;

/// How carefully an integration must be vetted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Score 0 to 2.
    T0,
    /// Score 3 to 5.
    T1,
    /// Score 6 to 8.
    T2,
    /// Score 9 and more.
    T3,
}

/// The addend of reaching everybody.
const REACH_ALL: u8 = 3;

/// Where a tier comes from. The names say what the vendor asked for, the numbers what each adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// The most sensitive class asked for: 0 to 4.
    pub class: u8,
    /// How many subjects: 0 to 3.
    pub reach: u8,
    /// How it reads: 0 to 2.
    pub mode: u8,
    /// How it proves itself: 0 or 2.
    pub credential: u8,
}

/// Who must approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Approver {
    /// Who answers for the integration.
    Owner,
    /// Who answers for security.
    Security,
    /// Who answers for privacy.
    Privacy,
    /// Who answers for the company.
    Executive,
}

impl Score {
    /// The score of an application.
    pub fn of(evidence: &Evidence) -> Self {
        let sensitivity = match &evidence.classes {
            AskedClasses::Everything => Some(Sensitivity::ContentOrSpecial),
            AskedClasses::Named(classes) => classes.iter().map(Sensitivity::of).max(),
        };
        Self {
            class: sensitivity.map_or(0, Sensitivity::addend),
            reach: match evidence.reach {
                Reach::OwnUsers => 0,
                Reach::Under1k => 1,
                Reach::Under100k => 2,
                Reach::All => REACH_ALL,
            },
            mode: match evidence.mode {
                Mode::UserPresent => 0,
                Mode::Scheduled => 1,
                Mode::Bulk | Mode::Write => 2,
            },
            credential: match evidence.credential {
                CredentialKind::Bound => 0,
                CredentialKind::Bearer => 2,
            },
        }
    }

    /// The sum, 0 to 11.
    pub const fn sum(self) -> u8 {
        self.class + self.reach + self.mode + self.credential
    }

    /// The tier this sum falls in. Who reaches everybody is in the highest, whatever the sum: policy grants all subjects to that
    /// tier only.
    pub const fn tier(self) -> Tier {
        if self.reach == REACH_ALL {
            return Tier::T3;
        }
        match self.sum() {
            0..=2 => Tier::T0,
            3..=5 => Tier::T1,
            6..=8 => Tier::T2,
            _ => Tier::T3,
        }
    }
}

impl fmt::Display for Score {
    /// `tier 2: 6 = data class 2 + reach 2 + mode 2 + credential 0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, reach, mode, credential } = self;
        write!(
            f,
            "tier {}: {} = data class {class} + reach {reach} + mode {mode} + credential {credential}",
            self.tier().number(),
            self.sum()
        )?;
        if *reach == REACH_ALL { f.write_str("; everybody is reached") } else { Ok(()) }
    }
}

impl Tier {
    /// 0 to 3.
    pub const fn number(self) -> u8 {
        match self {
            Self::T0 => 0,
            Self::T1 => 1,
            Self::T2 => 2,
            Self::T3 => 3,
        }
    }

    /// The documents it takes: one of each list.
    pub const fn documents(self) -> &'static [&'static [DocumentKind]] {
        const MVSP: &[DocumentKind] = &[DocumentKind::Mvsp];
        const TESTED: &[DocumentKind] =
            &[DocumentKind::PenTest, DocumentKind::Soc2, DocumentKind::Iso27001];
        const AGREED: &[DocumentKind] = &[DocumentKind::Dpa];
        const TESTED_OUTSIDE: &[DocumentKind] = &[DocumentKind::ExternalTest];
        const KEY_KEPT: &[DocumentKind] = &[DocumentKind::KeyAttestation];
        match self {
            Self::T0 => &[],
            Self::T1 => &[MVSP],
            Self::T2 => &[MVSP, TESTED, AGREED],
            Self::T3 => &[MVSP, TESTED, AGREED, TESTED_OUTSIDE, KEY_KEPT],
        }
    }

    /// Whether it takes an SBOM.
    pub const fn takes_sbom(self) -> bool {
        self.number() >= 1
    }

    /// Whether a bearer token may be used, as an exception of at most 30 days.
    pub const fn takes_bearer(self) -> bool {
        matches!(self, Self::T2)
    }

    /// Longest time until vetting starts over, in months.
    pub const fn approval_months_max(self) -> u32 {
        match self {
            Self::T0 | Self::T1 => 12,
            Self::T2 => 6,
            Self::T3 => 3,
        }
    }

    /// Who must approve.
    pub const fn approvers(self) -> &'static [Approver] {
        match self {
            Self::T0 => &[Approver::Owner],
            Self::T1 => &[Approver::Owner, Approver::Security],
            Self::T2 => &[Approver::Security, Approver::Privacy],
            Self::T3 => &[Approver::Security, Approver::Privacy, Approver::Executive],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::tests::application;
    use model::DataClass;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const REACHES: [Reach; 4] = [Reach::OwnUsers, Reach::Under1k, Reach::Under100k, Reach::All];
    const MODES: [Mode; 4] = [Mode::UserPresent, Mode::Scheduled, Mode::Bulk, Mode::Write];
    const KINDS: [CredentialKind; 2] = [CredentialKind::Bound, CredentialKind::Bearer];

    fn asking(classes: &[&str], reach: usize, mode: usize, credential: usize) -> Evidence {
        let classes: BTreeSet<DataClass> =
            classes.iter().map(|name| DataClass::new(name).unwrap()).collect();
        Evidence {
            classes: AskedClasses::Named(classes),
            reach: REACHES[reach],
            mode: MODES[mode],
            credential: KINDS[credential],
            ..application()
        }
    }

    #[test]
    fn each_boundary_of_the_table_of_tiers() {
        for (classes, reach, mode, credential, sum, tier) in [
            (&["system.status"][..], 0, 0, 0, 0, Tier::T0),
            (&["user.contact.email"], 0, 0, 0, 2, Tier::T0),
            (&["user.contact.email"], 1, 0, 0, 3, Tier::T1),
            (&["user.contact.email"], 1, 0, 1, 5, Tier::T1),
            (&["user.contact.email"], 2, 2, 0, 6, Tier::T2),
            (&["user.contact.email"], 2, 2, 1, 8, Tier::T2),
            (&["user.contact.email", "user.content"], 3, 3, 0, 9, Tier::T3),
            (&["user.content"], 3, 3, 1, 11, Tier::T3),
        ] {
            let score = Score::of(&asking(classes, reach, mode, credential));
            assert_eq!((score.sum(), score.tier()), (sum, tier), "{score}");
        }
    }

    #[test]
    fn a_score_explains_itself() {
        let score = Score::of(&asking(&["user.contact.email"], 2, 2, 0));
        assert_eq!(score.to_string(), "tier 2: 6 = data class 2 + reach 2 + mode 2 + credential 0");
    }

    #[test]
    fn asking_for_everything_is_most_sensitive() {
        let evidence = Evidence { classes: AskedClasses::Everything, ..application() };
        assert_eq!(Score::of(&evidence).class, 4);
    }

    #[test]
    fn a_higher_tier_takes_more_and_lasts_shorter() {
        let tiers = [Tier::T0, Tier::T1, Tier::T2, Tier::T3];
        assert_eq!(tiers.map(Tier::approval_months_max), [12, 12, 6, 3]);
        assert_eq!(tiers.map(Tier::takes_sbom), [false, true, true, true]);
        assert_eq!(tiers.map(Tier::takes_bearer), [false, false, true, false]);
        assert_eq!(tiers.map(|tier| tier.approvers().len()), [1, 2, 2, 3]);
        for pair in tiers.windows(2) {
            assert!(pair[0].documents().iter().all(|kinds| pair[1].documents().contains(kinds)));
        }
    }

    proptest! {
        #[test]
        fn asking_for_more_never_lowers_the_tier(
            names in prop::collection::vec(prop::sample::select(vec!["system", "user", "user.id", "user.contact.email", "user.financial.card", "user.content.public", "user.content", "odd"]), 0..5),
            more in prop::sample::select(vec!["system", "user.id", "user.name", "user.content", "odd", "public.x"]),
            (reach, wider) in (0_usize..4, 0_usize..4), (mode, wilder) in (0_usize..4, 0_usize..4), credential in 0_usize..2,
        ) {
            let tier = |names: &[&str], reach, mode, credential| Score::of(&asking(names, reach, mode, credential)).tier();
            let before = tier(&names, reach, mode, credential);
            let mut larger = names.clone();
            larger.push(more);
            prop_assert!(tier(&larger, reach, mode, credential) >= before);
            prop_assert!(tier(&names, reach.max(wider), mode, credential) >= before);
            prop_assert!(tier(&names, reach, mode.max(wilder), credential) >= before);
            prop_assert!(tier(&names, reach, mode, 1) >= before);
        }
    }
}

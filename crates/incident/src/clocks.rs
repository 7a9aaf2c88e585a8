//! Regulators' clocks. The law is data (`data/deadlines.toml`): dated rows with their sources; this is the arithmetic over it.
//!
//! Clocks run in parallel, each from its own trigger. A row says that it applies, does not, or that counsel has to be asked and what
//! about; it never stays silent.

use crate::case::Case;
use crate::date;
use crate::figures::{Figures, UNKNOWN};
use model::{Micros, UnixMicros};
use serde::Deserialize;
use serde_json::{Value, json};

/// The table that comes with the program.
pub const BUILT_IN: &str = include_str!("../data/deadlines.toml");

/// Members of the European Economic Area, where the GDPR holds, and territories of theirs with a code of their own that belong to it
/// (TFEU article 355).
const EEA: [&str; 37] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS",
    "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK", "AX", "GF",
    "GP", "MF", "MQ", "RE", "YT",
];

/// The table of deadlines.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// Of which day the table is.
    pub version: String,
    regimes: Vec<Regime>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    version: String,
    regime: Vec<Regime>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Regime {
    id: String,
    law: String,
    trigger: Trigger,
    #[serde(default)]
    clock: Option<Clock>,
    to: String,
    /// Whether it is met by writing to each subject.
    #[serde(default)]
    letters: bool,
    /// Hours ahead of UTC of whom it is owed to, by standard time: days are counted there.
    #[serde(default)]
    utc_offset: i8,
    places: Vec<String>,
    #[serde(default)]
    company: Vec<String>,
    #[serde(default)]
    least: u64,
    asks: String,
    default: Default,
    effective: String,
    #[serde(default)]
    until: Option<String>,
    source: String,
    mark: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Trigger {
    Aware,
    Determined,
    Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Clock {
    Hours(u32),
    Days(u32),
    BusinessDays(u32),
    Months(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Default {
    Applies,
    Ask,
}

/// The table cannot be used; whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDeadlines {
    /// It is not TOML of this form.
    #[error("the table of deadlines cannot be read: {0}")]
    Malformed(String),
    /// A date is none.
    #[error("regime `{0}` has a date that is none")]
    Date(String),
}

/// What holds of one regime for one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The row's name.
    pub regime: String,
    /// The law, as lawyers cite it.
    pub law: String,
    /// To whom.
    pub to: String,
    /// Whether it applies.
    pub applies: Applies,
    /// Why, in one sentence.
    pub because: String,
    /// When the clock began; none if its trigger has not come.
    pub starts: Option<UnixMicros>,
    /// The last moment; none if the law says "without undue delay", or the clock has not begun.
    pub due: Option<UnixMicros>,
    /// Where it stands.
    pub state: Standing,
    /// Where the row comes from, and how well it was checked.
    pub source: String,
}

/// Whether a regime applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// By what the figures show.
    Yes,
    /// By what the figures show.
    No,
    /// The figures cannot tell.
    AskCounsel,
}

/// Where one regime's duty stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    NotDue,
    /// Its trigger has not come.
    Waiting,
    /// There is time left, microseconds; none if there is no fixed time.
    Running(Option<Micros>),
    /// The last moment has passed.
    Overdue,
    /// Done, at this moment, in time or not.
    Met {
        /// When.
        at: UnixMicros,
        /// Whether that was too late.
        late: bool,
    },
    /// It was decided not to notify.
    DecidedAgainst {
        /// Who decided, operators' ids.
        by: Vec<String>,
        /// Why.
        reason: String,
    },
}

impl Deadlines {
    /// Reads a table of the form of `data/deadlines.toml`.
    ///
    /// # Errors
    /// [`BadDeadlines`].
    pub fn read(text: &str) -> Result<Self, BadDeadlines> {
        let table: Table =
            toml::from_str(text).map_err(|error| BadDeadlines::Malformed(error.to_string()))?;
        for regime in &table.regime {
            let dates = [Some(&regime.effective), regime.until.as_ref()];
            if dates.into_iter().flatten().any(|day| start_of(day).is_none()) {
                return Err(BadDeadlines::Date(regime.id.clone()));
            }
        }
        Ok(Self { version: table.version, regimes: table.regime })
    }

    /// Every regime that was in force when the company became aware, and where it stands at `now`.
    ///
    /// `company`: the country it is established in. `figures`: of the scope in force; without them nothing is known of the subjects.
    pub fn of(
        &self,
        case: &Case,
        figures: Option<&Figures>,
        company: Option<&str>,
        now: UnixMicros,
    ) -> Vec<Deadline> {
        let in_force = |regime: &&Regime| {
            let after = |day: &str| start_of(day).is_some_and(|start| case.aware >= start);
            after(&regime.effective) && !regime.until.as_deref().is_some_and(after)
        };
        let of = |regime: &Regime| regime.of(case, figures, company, now);
        self.regimes.iter().filter(in_force).filter_map(of).collect()
    }
}

impl Regime {
    fn of(
        &self,
        case: &Case,
        figures: Option<&Figures>,
        company: Option<&str>,
        now: UnixMicros,
    ) -> Option<Deadline> {
        let starts = match self.trigger {
            Trigger::Aware => Some(case.aware),
            Trigger::Determined => {
                let decision = case.decisions.get(&self.id);
                decision.filter(|decision| decision.notify).map(|decision| decision.at)
            }
            // A vendor that has nothing to do with the case owes no account of it.
            Trigger::Asked => Some(case.vendor_asked?),
        };
        let due = starts.zip(self.clock).map(|(starts, clock)| match clock {
            Clock::Hours(hours) => starts + Micros::from_secs(u64::from(hours) * 3_600),
            Clock::Days(days) => self.there(starts, |at| date::days_after(at, days)),
            Clock::BusinessDays(days) => {
                self.there(starts, |at| date::business_days_after(at, days))
            }
            Clock::Months(months) => self.there(starts, |at| date::months_after(at, months)),
        });
        let (applies, because) = match case.decisions.get(&self.id) {
            Some(decision) if decision.notify => {
                (Applies::Yes, format!("it was decided so: {}", decision.reason))
            }
            Some(_) | None => self.applies(figures, company),
        };
        let state = self.standing(case, applies, starts, due, now);
        Some(Deadline {
            regime: self.id.clone(),
            law: self.law.clone(),
            to: self.to.clone(),
            applies,
            because,
            starts,
            due,
            state,
            source: format!("{} ({})", self.source, self.mark),
        })
    }

    /// Counts days on the calendar of whom it is owed to.
    fn there(&self, at: UnixMicros, count: impl Fn(UnixMicros) -> UnixMicros) -> UnixMicros {
        let hours = u64::from(self.utc_offset.unsigned_abs()) * 3_600_000_000;
        if self.utc_offset < 0 {
            UnixMicros(count(UnixMicros(at.0.saturating_sub(hours))).0 + hours)
        } else {
            UnixMicros(count(UnixMicros(at.0 + hours)).0.saturating_sub(hours))
        }
    }

    fn applies(&self, figures: Option<&Figures>, company: Option<&str>) -> (Applies, String) {
        if !self.company.is_empty() {
            let established = company.is_some_and(|country| among(country, &self.company));
            if company.is_some() && !established {
                return (Applies::No, "the company is established elsewhere".to_owned());
            }
        }
        let counted = match (self.places.is_empty(), figures) {
            (true, _) => None,
            (false, None) => {
                return (Applies::AskCounsel, "who was read is not established".to_owned());
            }
            (false, Some(figures)) => {
                let of = |country: &str| figures.countries.get(country).copied().unwrap_or(0);
                // GDPR article 3(1), and its like: what is established there answers there for everybody.
                let established = company.is_some_and(|country| among(country, &self.places));
                let known: u64 = figures
                    .countries
                    .iter()
                    .filter(|(country, _)| established || among(country, &self.places))
                    .map(|(_, subjects)| subjects)
                    .sum();
                Some((known, if established { 0 } else { of(UNKNOWN) }))
            }
        };
        match counted {
            Some((0, 0)) => (Applies::No, format!("nobody in {} was read", self.places.join(", "))),
            Some((known, unknown)) if known + unknown < self.least => {
                (Applies::No, format!("fewer than {} people there were read", self.least))
            }
            Some((0, unknown)) => {
                (Applies::AskCounsel, format!("the country of {unknown} people is not known"))
            }
            Some((known, _)) if self.default == Default::Applies => {
                (Applies::Yes, format!("{known} people were read for whom it holds; {}", self.asks))
            }
            Some((known, _)) => (
                Applies::AskCounsel,
                format!("{known} people were read for whom it may hold; {}", self.asks),
            ),
            None if self.default == Default::Applies => (Applies::Yes, self.asks.clone()),
            None => (Applies::AskCounsel, self.asks.clone()),
        }
    }

    fn standing(
        &self,
        case: &Case,
        applies: Applies,
        starts: Option<UnixMicros>,
        due: Option<UnixMicros>,
        now: UnixMicros,
    ) -> Standing {
        let met = match self.trigger {
            Trigger::Asked => case.vendor_acknowledged,
            Trigger::Aware | Trigger::Determined => {
                let filed = case.filings.get(&self.id).and_then(|filed| filed.submitted);
                // Letters are what article 34 and its like ask for, if they reached everybody.
                let told = case.letters.settled.filter(|_| self.letters && case.letters.all_told());
                filed.or(told)
            }
        };
        if let Some(at) = met {
            return Standing::Met { at, late: due.is_some_and(|due| at > due) };
        }
        if let Some(decision) = case.decisions.get(&self.id).filter(|decision| !decision.notify) {
            let (by, reason) = (decision.by.clone(), decision.reason.clone());
            return Standing::DecidedAgainst { by, reason };
        }
        match (applies, starts, due) {
            (Applies::No, ..) => Standing::NotDue,
            (_, None, _) => Standing::Waiting,
            (_, Some(_), None) => Standing::Running(None),
            (_, Some(_), Some(due)) if now > due => Standing::Overdue,
            (_, Some(_), Some(due)) => Standing::Running(Some(due.since(now))),
        }
    }
}

impl Deadline {
    /// Whether the case may not be closed while this stands open.
    pub fn holds_open(&self) -> bool {
        self.applies == Applies::Yes
            && matches!(self.state, Standing::Running(_) | Standing::Overdue | Standing::Waiting)
    }

    /// As lists show it.
    pub fn to_json(&self) -> Value {
        let text = |time: Option<UnixMicros>| time.map(|time| time.to_string());
        let (state, left, more) = match &self.state {
            Standing::NotDue => ("not due", None, Value::Null),
            Standing::Waiting => ("waiting", None, Value::Null),
            Standing::Running(left) => {
                ("running", left.map(|left| left.0 / 1_000_000), Value::Null)
            }
            Standing::Overdue => ("overdue", None, Value::Null),
            Standing::Met { at, late } => {
                ("met", None, json!({ "at": at.to_string(), "late": late }))
            }
            Standing::DecidedAgainst { by, reason } => {
                ("decided against", None, json!({ "by": by, "reason": reason }))
            }
        };
        json!({
            "regime": self.regime,
            "law": self.law,
            "to": self.to,
            "applies": match self.applies {
                Applies::Yes => "yes",
                Applies::No => "no",
                Applies::AskCounsel => "ask counsel",
            },
            "because": self.because,
            "starts": text(self.starts),
            "due": text(self.due),
            "state": state,
            "left_s": left,
            "outcome": more,
            "source": self.source,
        })
    }
}

/// Whether a country is one of these, where EU stands for the European Economic Area.
fn among(country: &str, places: &[String]) -> bool {
    places.iter().any(|place| place == country || place == "EU" && EEA.contains(&country))
}

fn start_of(day: &str) -> Option<UnixMicros> {
    UnixMicros::parse(&format!("{day}T00:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Event, What};
    use crate::sample::{self, T};

    fn of(
        case: &Case,
        figures: Option<&Figures>,
        now: UnixMicros,
        regime: &str,
    ) -> Option<Deadline> {
        let all = Deadlines::read(BUILT_IN).unwrap().of(case, figures, Some("DE"), now);
        all.into_iter().find(|deadline| deadline.regime == regime)
    }

    fn figures() -> Figures {
        Figures::count(&sample::scope(1, &[]), &sample::people())
    }

    fn add(case: Case, hours: u64, what: What) -> Case {
        let at = UnixMicros(T.0 + hours * 3_600_000_000);
        case.after(Event { at, by: vec!["opr_ana".into(), "opr_ben".into()], what }).unwrap()
    }

    #[test]
    fn the_table_is_whole_and_its_rows_have_sources_and_dates() {
        let table = Deadlines::read(BUILT_IN).unwrap();
        let ids: std::collections::BTreeSet<_> = table.regimes.iter().map(|r| &r.id).collect();
        assert_eq!(ids.len(), table.regimes.len());
        for wanted in [
            "eu-gdpr-33",
            "eu-gdpr-34",
            "us-ftc-safeguards",
            "us-sec-8k",
            "us-ca-subjects",
            "us-ny-subjects",
            "us-ny-authorities",
        ] {
            assert!(ids.iter().any(|id| *id == wanted), "{wanted}");
        }
        assert!(
            table
                .regimes
                .iter()
                .all(|regime| regime.source.len() > 8 && "SK".contains(&regime.mark))
        );
    }

    #[test]
    fn seventy_two_hours_run_from_awareness_to_the_second() {
        let (case, figures) = (sample::case(&sample::scope(1, &[])), figures());
        let due = UnixMicros(T.0 + 74 * 3_600_000_000);
        let at = |now| of(&case, Some(&figures), now, "eu-gdpr-33").unwrap();
        assert_eq!(at(T).due, Some(due));
        assert_eq!(at(due).state, Standing::Running(Some(Micros(0))));
        assert_eq!(at(UnixMicros(due.0 + 1)).state, Standing::Overdue);
        assert_eq!(at(T).applies, Applies::Yes);
        let (regime, document) = ("eu-gdpr-33".to_owned(), String::new());
        let filed =
            What::Filed { regime, version: 1, document, submitted: Some(due), reference: None };
        let filed = of(&add(case.clone(), 80, filed), Some(&figures), T, "eu-gdpr-33").unwrap();
        assert_eq!(filed.state, Standing::Met { at: due, late: false });
    }

    #[test]
    fn clocks_run_in_parallel_and_none_is_silent() {
        let (case, figures) = (sample::case(&sample::scope(1, &[])), figures());
        let all = Deadlines::read(BUILT_IN).unwrap().of(&case, Some(&figures), Some("DE"), T);
        assert!(all.len() > 12);
        assert!(all.iter().all(|deadline| !deadline.because.is_empty()));
        let row = |regime: &str| all.iter().find(|deadline| deadline.regime == regime).unwrap();
        // One of the three has no known country, so nobody can say that Americans are not concerned.
        assert_eq!(row("us-ny-subjects").applies, Applies::AskCounsel);
        assert_eq!(row("us-ftc-safeguards").applies, Applies::No);
        assert_eq!(row("us-sec-8k").state, Standing::Waiting);
        assert_eq!(row("eu-gdpr-34").state, Standing::Running(None));
        assert!(all.iter().filter(|deadline| deadline.due.is_some()).count() > 6);
    }

    #[test]
    fn a_decision_not_to_notify_says_by_whom_and_why() {
        let case = sample::case(&sample::scope(1, &[]));
        let decided = |notify| What::Decided {
            regime: "eu-gdpr-33".into(),
            notify,
            reason: "no risk".into(),
        };
        let row =
            of(&add(case.clone(), 5, decided(false)), Some(&figures()), T, "eu-gdpr-33").unwrap();
        let by = vec!["opr_ana".to_owned(), "opr_ben".to_owned()];
        assert_eq!(row.state, Standing::DecidedAgainst { by, reason: "no risk".into() });
        assert!(!row.holds_open());
        let row = of(&add(case, 5, decided(true)), Some(&figures()), T, "eu-gdpr-33").unwrap();
        assert!(row.holds_open());
    }

    #[test]
    fn materiality_starts_four_working_days() {
        let case = sample::case(&sample::scope(1, &[]));
        let determined =
            What::Decided { regime: "us-sec-8k".into(), notify: true, reason: "material".into() };
        let row = of(&add(case, 5, determined), Some(&figures()), T, "us-sec-8k").unwrap();
        assert_eq!(row.due.unwrap().to_string(), "2026-12-01T04:59:59.999999Z");
    }

    #[test]
    fn days_are_counted_where_they_are_owed() {
        let case = sample::case(&sample::scope(1, &[]));
        let determined =
            What::Decided { regime: "us-sec-8k".into(), notify: true, reason: "material".into() };
        // Monday 2026-11-23, eight in the evening in New York, is Tuesday in UTC already. Friday is the last day.
        let at = UnixMicros::parse("2026-11-24T01:00:00Z").unwrap();
        let case = case.after(Event { at, by: Vec::new(), what: determined }).unwrap();
        let row = of(&case, Some(&figures()), T, "us-sec-8k").unwrap();
        assert_eq!(row.due.unwrap().to_string(), "2026-11-28T04:59:59.999999Z");
        assert!(row.holds_open(), "what was decided to be notified keeps the case open");
    }

    #[test]
    fn a_company_of_the_union_answers_there_for_everybody_who_was_read() {
        let case = sample::case(&sample::scope(1, &[]));
        let figures = Figures { countries: [("US".to_owned(), 3)].into(), ..figures() };
        let applies = |company| {
            let all = Deadlines::read(BUILT_IN).unwrap().of(&case, Some(&figures), company, T);
            all.into_iter().find(|row| row.regime == "eu-gdpr-33").unwrap().applies
        };
        assert_eq!(applies(Some("DE")), Applies::Yes);
        assert_eq!(applies(Some("US")), Applies::No);
    }

    #[test]
    fn letters_meet_what_is_owed_to_subjects_only_if_everybody_has_one() {
        let case = sample::case(&sample::scope(1, &[]));
        let started = |without_address| What::NotifyingStarted {
            version: 1,
            letters: 3 - without_address,
            without_address,
            people: String::new(),
        };
        let settled = |accepted, refused, given_up, in_doubt| What::Notified {
            accepted,
            refused,
            given_up,
            in_doubt,
        };
        let state = |without_address, settled| {
            let case = add(add(case.clone(), 4, started(without_address)), 5, settled);
            of(&case, Some(&figures()), T, "eu-gdpr-34").unwrap().state
        };
        assert!(matches!(state(0, settled(3, 0, 0, 0)), Standing::Met { .. }));
        for (without_address, settled) in [
            (0, settled(2, 1, 0, 0)),
            (0, settled(2, 0, 1, 0)),
            (0, settled(2, 0, 0, 1)),
            (1, settled(2, 0, 0, 0)),
            (3, settled(0, 0, 0, 0)),
        ] {
            assert_eq!(state(without_address, settled), Standing::Running(None));
        }
    }

    #[test]
    fn a_vendors_clock_runs_from_the_question_to_the_answer() {
        let case = sample::case(&sample::scope(1, &[]));
        assert_eq!(of(&case, None, T, "contract-vendor"), None);
        let case = add(case, 6, What::VendorAsked { words: "what was taken?".into() });
        let late = UnixMicros(T.0 + 31 * 3_600_000_000);
        assert_eq!(of(&case, None, late, "contract-vendor").unwrap().state, Standing::Overdue);
        let case = add(case, 30, What::VendorAcknowledged { words: "a list".into() });
        let state = of(&case, None, late, "contract-vendor").unwrap().state;
        assert_eq!(state, Standing::Met { at: UnixMicros(T.0 + 30 * 3_600_000_000), late: false });
    }

    #[test]
    fn law_that_was_not_in_force_is_not_applied() {
        let text = BUILT_IN.replace("effective = \"2018-05-25\"", "effective = \"2027-01-01\"");
        let case = sample::case(&sample::scope(1, &[]));
        let all = Deadlines::read(&text).unwrap().of(&case, None, None, T);
        assert!(!all.iter().any(|deadline| deadline.regime == "eu-gdpr-33"));
        assert!(Deadlines::read(&BUILT_IN.replace("2018-05-25", "2018-05-32")).is_err());
    }
}

//! What a rehearsal came to: figures, what was expected of them, and whether it held.

use crate::quiet::Alarms;
use crate::scenario::{Expect, Mode};
use crate::trial::rate_interval;
use serde_json::{Value, json};

/// What `schema` of the JSON says.
pub const SCHEMA: &str = "portcullis.rehearsal/1";

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Scoreboard {
    /// The scenario's id.
    pub scenario: String,
    /// The scenario's title.
    pub title: String,
    /// What the attacker had.
    pub mode: Mode,
    /// Replays the traffic.
    pub seed: u64,
    /// Seconds of the scenario's time from the attacker's first request to the first signal; none if there was none.
    pub time_to_detect_s: Option<f64>,
    /// The attacker's requests until then.
    pub requests_to_detect: Option<u64>,
    /// Seconds from the attacker's first request to the first containment; none if nothing was contained.
    pub time_to_contain_s: Option<f64>,
    /// Distinct subjects whose data the attacker received.
    pub subjects: u64,
    /// Records that the attacker received: subjects, each as often as it was in an answer.
    pub records: u64,
    /// Fields that the attacker received, as paths in an answer.
    pub fields: Vec<String>,
    /// Grants that the attacker received data under.
    pub grants: u64,
    /// Records that somebody received of a subject that was not asked for.
    pub foreign: u64,
    /// The attacker's requests.
    pub attack: Requests,
    /// Whether it was still answered when so many requests were made that no more were.
    pub cut_short: bool,
    /// Honest requests.
    pub honest: Requests,
    /// Which share of the honest requests of the model were made: of the tool's own, and of others'.
    pub density: [f64; 2],
    /// What the scope is off by.
    pub scope_error: u64,
    /// Whether the evidence bundle of the scope verifies with the log's public key alone, and says the same.
    pub proof_verified: bool,
    /// Milliseconds until the record answered who was read.
    pub answer_ms: f64,
    /// Whether a second answer to the same question, asked later, was the same.
    pub second_answer_equal: bool,
    /// Seconds, by the wall clock, from the opening of the case to the first complete draft of a notice; none if nobody was read.
    pub first_draft_s: Option<f64>,
    /// Subjects in the scope that notices are drafted from.
    pub notices: u64,
    /// Milliseconds until the slowest cut by an operator was acknowledged; none if there was none.
    pub cut_ms: Option<f64>,
    /// Whether the clock of a vendor that does not answer ran out; none if no vendor was asked.
    pub vendor_late: Option<bool>,
    /// What detectors said of honest weeks they were told of: with changes announced, and without.
    pub quiet: Option<[Alarms; 2]>,
    /// Signals since the attack began, each with its seconds.
    pub signals: Vec<(f64, String)>,
    /// Signals in the honest traffic before it.
    pub false_signals: u64,
    /// What was contained, each with its seconds.
    pub contained: Vec<(f64, String)>,
    /// Seconds that passed in the scenario, and by the wall clock.
    pub lasted_s: (f64, f64),
    /// What was expected, and whether it held.
    pub verdicts: Vec<Verdict>,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// In the scenario.
    pub planned: u64,
    /// Really made.
    pub made: u64,
    /// Answered with data.
    pub data: u64,
    /// Refused. What the origin does not have is neither.
    pub refused: u64,
}

/// One expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whether it held.
    pub held: bool,
}

impl Scoreboard {
    /// Whether all that was expected held.
    pub fn held(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.held)
    }

    /// Holds the figures against what was expected.
    pub fn judge(&mut self, expect: &Expect) {
        let mut verdicts = vec![
            Verdict {
                expected: "the scope equals the truth".into(),
                seen: format!("off by {}", self.scope_error),
                held: self.scope_error == 0,
            },
            Verdict {
                expected: "its proof verifies".into(),
                seen: if self.proof_verified { "it does" } else { "it does not" }.into(),
                held: self.proof_verified,
            },
            Verdict {
                expected: "the second answer equals the first".into(),
                seen: if self.second_answer_equal { "it does" } else { "it does not" }.into(),
                held: self.second_answer_equal,
            },
        ];
        let count = |n: u64| n as f64;
        let quiet = self.quiet.as_ref();
        let severed = quiet.map(|both| both.iter().map(|alarms| count(alarms.severed)).sum());
        // One alarm too many may be chance, so limits are held against the lower end of the 95 % interval.
        let [announced, unannounced] = [0, 1].map(|at| {
            let alarms = quiet?.get(at)?;
            let thousands = alarms.integration_days as f64 / 1_000.0;
            let [low, _] = rate_interval(alarms.throttled, thousands);
            Some(low)
        });
        let pages = quiet.map(|[alarms, _]| {
            let [low, _] = rate_interval(alarms.pages, alarms.integration_days as f64 / 350.0);
            low
        });
        let limits = [
            ("subjects", expect.subjects_max.map(count), Some(count(self.subjects))),
            ("foreign records", expect.foreign_max.map(count), Some(count(self.foreign))),
            ("grants", expect.grants_max.map(count), Some(count(self.grants))),
            ("seconds to detect", expect.detect_s_max, self.time_to_detect_s),
            (
                "requests to detect",
                expect.detect_requests_max.map(count),
                self.requests_to_detect.map(count),
            ),
            ("seconds to contain", expect.contain_s_max, self.time_to_contain_s),
            ("milliseconds to answer", expect.answer_ms_max, Some(self.answer_ms)),
            ("milliseconds to cut", expect.cut_ms_max, self.cut_ms),
            ("severances", expect.severed_max.map(count), severed),
            (
                "throttles in 1,000 integration-days, announced (95 % above)",
                expect.throttled_max,
                announced,
            ),
            (
                "throttles in 1,000 integration-days, unannounced (95 % above)",
                expect.throttled_unannounced_max,
                unannounced,
            ),
            ("pages in a week of 50 integrations, announced (95 % above)", expect.pages_max, pages),
            (
                "honest requests refused",
                expect.honest_refused_max.map(count),
                Some(count(self.honest.refused)),
            ),
        ];
        for (what, max, seen) in limits {
            let Some(max) = max else { continue };
            // What was refused throughout left nothing to contain.
            let nothing = what == "seconds to contain" && seen.is_none() && self.attack.data == 0;
            let never = if nothing { "nothing was left to contain" } else { "never" };
            verdicts.push(Verdict {
                expected: format!("{what}: {} at most", round(max)),
                seen: seen.map_or(never.to_owned(), round),
                held: nothing || seen.is_some_and(|seen| seen <= max),
            });
        }
        if let Some(words) = &expect.signal {
            let said = self.signals.iter().find(|(_, signal)| signal.contains(words));
            verdicts.push(Verdict {
                expected: format!("a signal says `{words}`"),
                seen: said.map_or("none does".to_owned(), |(_, signal)| signal.clone()),
                held: said.is_some(),
            });
        }
        if let Some(late) = expect.vendor_late {
            let held = self.vendor_late == Some(late);
            let seen = match self.vendor_late {
                Some(true) => "it ran out",
                Some(false) => "it did not",
                None => "no vendor was asked",
            };
            let expected =
                format!("the vendor's clock {}", if late { "runs out" } else { "holds" });
            verdicts.push(Verdict { expected, seen: seen.into(), held });
        }
        self.verdicts = verdicts;
    }

    /// The scoreboard as JSON, `portcullis.rehearsal/1`.
    pub fn to_json(&self) -> Value {
        let requests = |of: &Requests| json!({ "planned": of.planned, "made": of.made, "data": of.data, "refused": of.refused });
        let said = |list: &[(f64, String)]| -> Vec<Value> {
            list.iter().map(|(at, what)| json!({ "at_s": at, "what": what })).collect()
        };
        let [tool, others] = self.density;
        json!({
            "schema": SCHEMA,
            "scenario": self.scenario,
            "title": self.title,
            "mode": self.mode.as_str(),
            "seed": self.seed,
            "held": self.held(),
            "time_to_detect_s": self.time_to_detect_s,
            "requests_to_detect": self.requests_to_detect,
            "time_to_contain_s": self.time_to_contain_s,
            "subjects": self.subjects,
            "records": self.records,
            "fields": self.fields.len(),
            "field_names": self.fields,
            "grants": self.grants,
            "foreign": self.foreign,
            "honest_refused": self.honest.refused,
            "scope_error": self.scope_error,
            "proof_verified": self.proof_verified,
            "answer_ms": self.answer_ms,
            "second_answer_equal": self.second_answer_equal,
            "first_draft_s": self.first_draft_s,
            "notices": self.notices,
            "cut_ms": self.cut_ms,
            "vendor_late": self.vendor_late,
            "attack": requests(&self.attack),
            "attack_cut_short": self.cut_short,
            "honest": { "made": self.honest.made, "data": self.honest.data, "refused": self.honest.refused },
            "honest_density": { "tool": tool, "others": others },
            "quiet": self.quiet.as_ref().map(|[announced, unannounced]| {
                json!({ "announced": announced.to_json(), "unannounced": unannounced.to_json() })
            }),
            "signals": said(&self.signals),
            "false_signals": self.false_signals,
            "contained": said(&self.contained),
            "scenario_s": self.lasted_s.0,
            "wall_s": self.lasted_s.1,
            "verdicts": self.verdicts.iter().map(|v| json!({ "expected": v.expected, "seen": v.seen, "held": v.held })).collect::<Vec<_>>(),
        })
    }

    /// The scoreboard as lines for a terminal.
    pub fn lines(&self) -> Vec<String> {
        let [tool, others] = self.density;
        let time = |secs: Option<f64>| secs.map_or("never".to_owned(), span);
        let of = |r: &Requests| {
            format!("{} made of {}: {} with data, {} refused", r.made, r.planned, r.data, r.refused)
        };
        let mut lines = vec![
            format!("{} {}: {}", self.scenario, self.mode, self.title),
            format!(
                "  detected after   {:<14} contained after  {}",
                time(self.time_to_detect_s),
                time(self.time_to_contain_s)
            ),
            format!(
                "  exposed          {} subjects, {} records, {} fields",
                self.subjects,
                self.records,
                self.fields.len()
            ),
            format!(
                "  the attack       {}{}",
                of(&self.attack),
                if self.cut_short { "; still answered when no more was made" } else { "" }
            ),
            format!(
                "  honest traffic   {} requests: {} with data, {} refused (the tool's own at {} of the model's, others at {})",
                self.honest.made, self.honest.data, self.honest.refused, tool, others,
            ),
            format!(
                "  the record       off by {}, proof {}, answered in {:.1} ms, {}",
                self.scope_error,
                if self.proof_verified { "verified" } else { "NOT verified" },
                self.answer_ms,
                match self.first_draft_s {
                    Some(secs) =>
                        format!("first draft for {} people after {secs:.2} s", self.notices),
                    None => "nobody to write to".to_owned(),
                }
            ),
            format!(
                "  played           {} in {:.1} s, seed {}",
                span(self.lasted_s.0),
                self.lasted_s.1,
                self.seed
            ),
        ];
        for (alarms, how) in self.quiet.iter().flatten().zip(["announced", "unannounced"]) {
            lines.push(format!(
                "  told, {how:<11} {} requests of {} integration-days: {} severed, {:.1} throttled per 1,000, {:.1} pages a week per 50",
                alarms.requests,
                alarms.integration_days,
                alarms.severed,
                alarms.rate(alarms.throttled),
                alarms.pages_a_week(),
            ));
        }
        for verdict in &self.verdicts {
            let word = if verdict.held { "held  " } else { "BROKEN" };
            lines.push(format!("  {word} {}: {}", verdict.expected, verdict.seen));
        }
        lines
    }
}

/// A number without needless digits.
fn round(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds as a person says them.
pub fn span(secs: f64) -> String {
    match secs {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.1} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use expect_test::expect;

    pub(crate) fn board() -> Scoreboard {
        Scoreboard {
            scenario: "R02".into(),
            title: "polled".into(),
            mode: Mode::Inside,
            seed: 1,
            time_to_detect_s: Some(17.5),
            requests_to_detect: Some(36),
            time_to_contain_s: Some(18.0),
            subjects: 36,
            records: 36,
            fields: vec!["email".into(), "id".into()],
            grants: 1,
            foreign: 0,
            attack: Requests { planned: 43_200, made: 500, data: 36, refused: 464 },
            cut_short: false,
            honest: Requests { planned: 1_000, made: 100, data: 98, refused: 0 },
            density: [0.1, 0.05],
            scope_error: 0,
            proof_verified: true,
            answer_ms: 1.25,
            second_answer_equal: true,
            first_draft_s: Some(0.2),
            notices: 36,
            cut_ms: None,
            vendor_late: None,
            quiet: None,
            signals: vec![(17.5, "a budget was exhausted: throttle".into())],
            false_signals: 0,
            contained: vec![(18.0, "restricted grant:x".into())],
            lasted_s: (21_600.0, 9.0),
            verdicts: Vec::new(),
        }
    }

    #[test]
    fn what_is_over_its_limit_or_never_came_is_broken() {
        let judged = |expect: Expect| {
            let mut board = board();
            board.judge(&expect);
            board.held()
        };
        assert!(judged(Expect::default()));
        assert!(judged(Expect { subjects_max: Some(36), ..Expect::default() }));
        assert!(!judged(Expect { subjects_max: Some(35), ..Expect::default() }));
        assert!(judged(Expect { detect_s_max: Some(30.0), ..Expect::default() }));
        assert!(!judged(Expect { contain_s_max: Some(17.9), ..Expect::default() }));
        assert!(!judged(Expect { cut_ms_max: Some(1_000.0), ..Expect::default() }), "never cut");
        assert!(judged(Expect { signal: Some("budget".into()), ..Expect::default() }));
        assert!(!judged(Expect { signal: Some("decoy".into()), ..Expect::default() }));
        assert!(!judged(Expect { vendor_late: Some(true), ..Expect::default() }));
        for broken in [
            Scoreboard { scope_error: 1, ..board() },
            Scoreboard { proof_verified: false, ..board() },
            Scoreboard { second_answer_equal: false, ..board() },
        ] {
            let mut broken = broken;
            broken.judge(&Expect::default());
            assert!(!broken.held());
        }
    }

    #[test]
    fn a_person_reads_this() {
        let mut board = board();
        board.judge(&Expect { subjects_max: Some(30), ..Expect::default() });
        expect![[r#"
            R02 inside: polled
              detected after   17.5 s         contained after  18.0 s
              exposed          36 subjects, 36 records, 2 fields
              the attack       500 made of 43200: 36 with data, 464 refused
              honest traffic   100 requests: 98 with data, 0 refused (the tool's own at 0.1 of the model's, others at 0.05)
              the record       off by 0, proof verified, answered in 1.2 ms, first draft for 36 people after 0.20 s
              played           6.0 h in 9.0 s, seed 1
              held   the scope equals the truth: off by 0
              held   its proof verifies: it does
              held   the second answer equals the first: it does
              BROKEN subjects: 30 at most: 36"#]]
        .assert_eq(&board.lines().join("\n"));
    }
}

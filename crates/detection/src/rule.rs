//! The names of rules: what configuration, metrics, posture entries and pages call a finding.

use crate::signal::{Cause, Signal};
use crate::statistic::{Family, Stream};

/// Every rule, in the order of the table of guards and then of detectors.
pub const RULES: [&str; 23] = [
    "proof",
    "listed",
    "pins",
    "new_network",
    "new_network_and_more",
    "dormant",
    "unknown_operation",
    "out_of_contract",
    "foreign",
    "budget",
    "honey",
    "secret",
    "novelty",
    "shift",
    "enumeration",
    "misses",
    "fleet",
    "volume",
    "recon",
    "first_seen",
    "tokens",
    "families",
    "drift",
];

/// A number or a word that made a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// How many.
    Count(u64),
    /// Thousandths: a share, or a score.
    Permille(u64),
    /// An id, a network, an operation, the name of a list or a rule. Never a subject.
    Text(String),
}

impl Signal {
    /// The stable name of the rule that found it: one of [`RULES`].
    pub fn rule(&self) -> &'static str {
        match &self.cause {
            Cause::BadProofs { .. } => "proof",
            Cause::ListedNetwork { .. } => "listed",
            Cause::OutsidePins { .. } => "pins",
            Cause::NewNetwork { .. } | Cause::BearerElsewhere { .. } => "new_network",
            Cause::NewNetworkAndMore { .. } | Cause::Spread { .. } => "new_network_and_more",
            Cause::Dormant { .. } => "dormant",
            Cause::UnknownOperation { .. } => "unknown_operation",
            Cause::OutOfContract { .. } => "out_of_contract",
            Cause::ForeignSubjects { .. } => "foreign",
            Cause::BudgetHold { .. } | Cause::BudgetHolds { .. } => "budget",
            Cause::Honey { .. } => "honey",
            Cause::Secret { .. } => "secret",
            Cause::Statistic(statistic) => match statistic.stream {
                Stream::Fleet { .. } => "fleet",
                Stream::Caller { .. } => statistic.family.rule(),
            },
            Cause::Volume { .. } => "volume",
            Cause::Recon { .. } => "recon",
            Cause::FirstSeen { .. } => "first_seen",
            Cause::ManyTokens { .. } => "tokens",
            Cause::Families { .. } => "families",
            Cause::Drift { .. } => "drift",
        }
    }

    /// The rules it rests on, its own among them: if one of these is in shadow, so is the signal.
    pub fn rests_on(&self) -> Vec<&'static str> {
        let mut rules = vec![self.rule()];
        match &self.cause {
            Cause::NewNetworkAndMore { other, .. } => rules.extend(["new_network", other]),
            Cause::Spread { finding, .. } => rules.extend(["new_network", finding]),
            Cause::Families { families, .. } => rules.extend(families.map(Family::rule)),
            Cause::Statistic(found) if found.family.rule() != self.rule() => {
                rules.push(found.family.rule());
            }
            Cause::BadProofs { .. }
            | Cause::ListedNetwork { .. }
            | Cause::OutsidePins { .. }
            | Cause::NewNetwork { .. }
            | Cause::BearerElsewhere { .. }
            | Cause::Dormant { .. }
            | Cause::UnknownOperation { .. }
            | Cause::OutOfContract { .. }
            | Cause::ForeignSubjects { .. }
            | Cause::BudgetHold { .. }
            | Cause::BudgetHolds { .. }
            | Cause::Honey { .. }
            | Cause::Secret { .. }
            | Cause::Statistic(_)
            | Cause::Volume { .. }
            | Cause::Recon { .. }
            | Cause::FirstSeen { .. }
            | Cause::ManyTokens { .. }
            | Cause::Drift { .. } => {}
        }
        rules
    }

    /// The numbers that made it, by name, in a fixed order.
    pub fn evidence(&self) -> Vec<(&'static str, Evidence)> {
        let count = |n: u64| Evidence::Count(n);
        let number = |n: u32| Evidence::Count(u64::from(n));
        let many = |n: usize| Evidence::Count(u64::try_from(n).unwrap_or(u64::MAX));
        let text = |what: &dyn std::fmt::Display| Evidence::Text(what.to_string());
        match &self.cause {
            Cause::BadProofs { network, count, within } => vec![
                ("network", text(&network.net())),
                ("proofs", many(*count)),
                ("within_s", Evidence::Count(within.0 / 1_000_000)),
            ],
            Cause::ListedNetwork { network, list, credential } => {
                let mut all = vec![("network", text(network)), ("list", text(list))];
                all.extend(credential.map(|credential| ("credential", text(&credential))));
                all
            }
            Cause::OutsidePins { credential, network }
            | Cause::NewNetwork { credential, network } => {
                vec![("credential", text(credential)), ("network", text(network))]
            }
            Cause::BearerElsewhere { credential, grant, network } => vec![
                ("credential", text(credential)),
                ("grant", text(grant)),
                ("network", text(network)),
            ],
            Cause::NewNetworkAndMore { credential, other, within } => vec![
                ("credential", text(credential)),
                ("other", text(other)),
                ("within_s", count(within.0 / 1_000_000)),
            ],
            Cause::Spread { integration, finding, holders, within } => vec![
                ("integration", text(integration)),
                ("finding", text(finding)),
                ("holders", number(*holders)),
                ("within_s", count(within.0 / 1_000_000)),
            ],
            Cause::Dormant { credential, idle_days } => {
                vec![("credential", text(credential)), ("idle_days", number(*idle_days))]
            }
            Cause::UnknownOperation { credential } => vec![("credential", text(credential))],
            Cause::OutOfContract { operation, fields } => {
                vec![("operation", text(operation)), ("fields", number(*fields))]
            }
            Cause::ForeignSubjects { operation, records, within } => {
                let mut all = vec![("operation", text(operation)), ("records", count(*records))];
                all.extend(within.map(|within| ("within_s", count(within.0 / 1_000_000))));
                all
            }
            Cause::BudgetHold { grant, hold } => budget(grant, hold).into(),
            Cause::BudgetHolds { grant, count: holds, within, hold } => {
                let mut all = Vec::from(budget(grant, hold));
                all.push(("holds", many(*holds)));
                all.push(("within_s", count(within.0 / 1_000_000)));
                all
            }
            Cause::Honey { integration, credential, operation } => vec![
                ("integration", text(integration)),
                ("credential", text(credential)),
                ("operation", text(operation)),
            ],
            Cause::Secret { operation, count } => {
                vec![("operation", text(operation)), ("secrets", number(*count))]
            }
            Cause::Statistic(of) => {
                let mut all = stream(&of.stream);
                all.extend([
                    ("family", text(&of.family.rule())),
                    ("hits", number(of.hits)),
                    ("of", number(of.of)),
                    ("usual", Evidence::Permille(u64::from(of.usual_permille))),
                    ("hits_in_all", number(of.hits_in_all)),
                    ("score", Evidence::Permille(u64::from(of.score_centi) * 10)),
                    ("limit", Evidence::Permille(u64::from(of.limit_centi) * 10)),
                ]);
                all
            }
            Cause::Volume { stream: of, subjects, expected, within } => {
                let mut all = stream(of);
                all.extend([
                    ("subjects", number(*subjects)),
                    ("expected", number(*expected)),
                    ("within_s", count(within.0 / 1_000_000)),
                ]);
                all
            }
            Cause::Recon { integration, credential, kinds, within } => vec![
                ("integration", text(integration)),
                ("credential", text(credential)),
                ("kinds", Evidence::Text(kinds.join(" "))),
                ("within_s", count(within.0 / 1_000_000)),
            ],
            Cause::FirstSeen { credential, operation, classes } => vec![
                ("credential", text(credential)),
                ("operation", text(operation)),
                ("classes", number(*classes)),
            ],
            Cause::ManyTokens { network, tokens, usual, within } => vec![
                ("network", text(&network.net())),
                ("tokens", number(*tokens)),
                ("usual", number(*usual)),
                ("within_s", count(within.0 / 1_000_000)),
            ],
            Cause::Families { integration, stream: of, families, within } => {
                let [first, second] = families.map(|family| text(&family.rule()));
                let mut all = vec![("integration", text(integration))];
                all.extend(stream(of));
                all.dedup_by_key(|(name, _)| *name);
                all.extend([
                    ("first", first),
                    ("second", second),
                    ("within_s", count(within.0 / 1_000_000)),
                ]);
                all
            }
            Cause::Drift { integration, permille, limit_permille } => vec![
                ("integration", text(integration)),
                ("divergence", Evidence::Permille(u64::from(*permille))),
                ("limit", Evidence::Permille(u64::from(*limit_permille))),
            ],
        }
    }
}

fn budget(grant: &model::GrantId, hold: &crate::Hold) -> [(&'static str, Evidence); 5] {
    [
        ("grant", Evidence::Text(grant.to_string())),
        ("window_s", Evidence::Count(hold.window.0 / 1_000_000)),
        ("limit", Evidence::Count(u64::from(hold.limit))),
        ("counted", Evidence::Count(u64::from(hold.counted))),
        ("asked", Evidence::Count(u64::from(hold.asked))),
    ]
}

fn stream(stream: &Stream) -> Vec<(&'static str, Evidence)> {
    match stream {
        Stream::Caller { integration, credential, network } => vec![
            ("integration", Evidence::Text(integration.to_string())),
            ("credential", Evidence::Text(credential.to_string())),
            ("network", Evidence::Text(network.net().to_string())),
        ],
        Stream::Fleet { operation } => vec![("operation", Evidence::Text(operation.to_string()))],
    }
}

/// A finding in a few words, by its rule.
pub(crate) fn words(rule: &str) -> &'static str {
    match rule {
        "proof" => "bad proofs",
        "listed" => "a listed network",
        "pins" => "a network outside the pins",
        "new_network" | "new_network_and_more" => "a network never seen before",
        "dormant" => "a long silence",
        "unknown_operation" => "an unknown operation",
        "out_of_contract" => "fields out of contract",
        "foreign" => "foreign subjects",
        "budget" => "an exhausted budget",
        "honey" => "a decoy",
        "secret" => "secrets in free text",
        "novelty" => "subjects without a relationship",
        "shift" => "more strangers than usual",
        "enumeration" => "ids in order",
        "misses" => "lookups that find nothing",
        "recon" => "looking around",
        "first_seen" => "something it never did before",
        "tokens" => "many users' tokens",
        _ => "something unusual",
    }
}

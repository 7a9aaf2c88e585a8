//! After a scenario: who was read, by the record and by the truth; whether it is proved; and the first draft of a notice.

use super::play::{Run, network_of};
use super::stage::{TOOL, attackers_address};
use crate::{keys, node, verify};
use anyhow::{Context, Result};
use model::{IncidentId, Micros, UnixMicros};
use rehearsal::truth::{Seen, Truth};
use rehearsal::{Mode, Scoreboard};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use storage::clock;
use storage::registry::Command;
use storage::registry::command::{CaseStep, Cause};

/// What the answer is frozen as.
const SCOPE: &str = "rehearsal";

/// How much later the same question is asked again.
const LATER: Micros = Micros::from_secs(3_600);

/// How long a checkpoint is waited for. A quiet log needs none.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(5);

/// What was answered.
pub(crate) struct Answered {
    scope_error: u64,
    proof_verified: bool,
    took: Duration,
    second_equal: bool,
    first_draft: Option<Duration>,
    notices: u64,
}

/// Asks the record, and holds it against the truth.
///
/// # Errors
/// If something of the rehearsal's own cannot be read. A refusal of the node is no error, but an answer that is wrong.
pub(crate) async fn answer(run: &Run<'_>) -> Result<Answered> {
    let seen = &run.seen;
    let from = seen.began.or(seen.started).context("it began")?;
    let to = clock::unix_now();
    let log = std::fs::read_to_string(&run.stage.loopback.origin_log)
        .context("cannot read the origin's log")?;
    let truth = |of: &Seen| Truth::join(&log, of, &seen.all);

    // Everything the tool read since, honest or not.
    let asked = |more: Value| {
        let mut asked =
            json!({ "integration": TOOL, "from": from.to_string(), "to": to.to_string() });
        if let (Some(asked), Value::Object(more)) = (asked.as_object_mut(), more) {
            asked.extend(more);
        }
        asked
    };
    let began = Instant::now();
    let first = exposure(run, asked(json!({}))).await?;
    let mut took = began.elapsed();
    let whole = exposure(run, asked(json!({ "scope": SCOPE }))).await?;
    let whole_truth = truth(&seen.tool_since(from))?;
    let mut scope_error = whole_truth.error_of(&counts(&whole)).sum();

    // What the attacker's network read, where that is a network of its own.
    let mut scope = asked(json!({}));
    let mut scoped = whole_truth.clone();
    if let Some(network) = own_network(run) {
        scope = asked(json!({ "network": network }));
        let began = Instant::now();
        let theirs = exposure(run, scope.clone()).await?;
        took = took.max(began.elapsed());
        scoped = truth(&seen.attacker)?;
        scope_error += scoped.error_of(&counts(&theirs)).sum();
    }

    published(run).await;
    // A bundle counts pseudonyms, and a person has another one each quarter.
    let mut pseudonyms = 0;
    for (from, to) in quarters(from, to) {
        let part = json!({ "from": from.to_string(), "to": to.to_string() });
        pseudonyms += counts(&exposure(run, asked(part)).await?).len() as u64;
    }
    let proof_verified = prove(run, &whole, pseudonyms).await?;
    run.pace.until(clock::unix_now() + LATER).await;
    let second = exposure(run, asked(json!({}))).await?;
    let (first_draft, notices) = draft(run, &scope, &scoped, from).await?;
    Ok(Answered {
        scope_error,
        proof_verified,
        took,
        second_equal: [&second, &whole]
            .iter()
            .all(|later| later.get("subjects") == first.get("subjects")),
        first_draft,
        notices,
    })
}

/// A window, cut where quarters begin.
fn quarters(from: UnixMicros, to: UnixMicros) -> Vec<(UnixMicros, UnixMicros)> {
    let day = Micros::from_secs(86_400);
    let (mut parts, mut begin, mut midnight) =
        (Vec::new(), from, UnixMicros(from.0 - from.0 % day.0));
    while midnight + day < to {
        midnight = midnight + day;
        if midnight.quarter() != begin.quarter() {
            parts.push((begin, midnight));
            begin = midnight;
        }
    }
    parts.push((begin, to));
    parts
}

/// The attacker's network, if it has one, and one only.
fn own_network(run: &Run<'_>) -> Option<String> {
    let mut attacks = run.scenario.attacks().peekable();
    let only = attacks.peek().is_some() && attacks.all(|attack| attack.networks == 1);
    (only && run.mode != Mode::Inside).then(|| network_of(attackers_address((0, 0))))
}

async fn exposure(run: &Run<'_>, question: Value) -> Result<Value> {
    let query = Command::ExposureQuery { question: question.to_string() };
    run.stage.loopback.command(query, false).await.context("the record gives no answer")
}

/// By subject, the answers in which a scope says that it was.
fn counts(exposure: &Value) -> BTreeMap<String, u64> {
    let rows = exposure.get("subjects").and_then(Value::as_array).into_iter().flatten();
    let row =
        |row: &Value| Some((row.get("id")?.as_str()?.to_owned(), row.get("count")?.as_u64()?));
    rows.filter_map(row).collect()
}

/// Waits until what was recorded up to here is under a checkpoint. On a machine with much else to do that takes longer than the node waits
/// for it, and its bundle then rightly says that it reaches less far than was asked.
async fn published(run: &Run<'_>) {
    let recorder = &run.pace.node.recorder;
    let (asked, before) = (Instant::now(), recorder.checkpoint());
    while recorder.checkpoint() == before && asked.elapsed() < PUBLISHED_WITHIN {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the bundle of the frozen scope verifies with the log's public key alone, and says as much as the answer did.
async fn prove(run: &Run<'_>, whole: &Value, pseudonyms: u64) -> Result<bool> {
    let loopback = &run.stage.loopback;
    let keys = [node::log_key(&loopback.config)?];
    let file = loopback.directory.join("evidence.pcl");
    let [ana, _] = &loopback.operators;
    let asked = json!({ "scope": SCOPE });
    crate::commands::write_bundle(loopback.running.control, &asked, &[ana], &file)
        .await
        .context("no evidence")?;
    let verified = match verify::evidence(&file, &keys, &[]) {
        Ok(verified) => verified,
        Err(reason) => {
            super::progress(&format!("the evidence does not verify: {reason:#}"));
            return Ok(false);
        }
    };
    let said = whole.pointer("/totals/records").and_then(Value::as_u64);
    let (proved, records) = (verified.answer.subjects.len() as u64, verified.answer.records);
    let same = proved == pseudonyms && Some(records) == said;
    if !same {
        super::progress(&format!(
            "the evidence proves {proved} pseudonyms in {records} records, the answer says {pseudonyms} in {said:?}"
        ));
    }
    Ok(same)
}

/// From the opening of a case to the first complete letter; and for how many people.
async fn draft(
    run: &Run<'_>,
    scope: &Value,
    truth: &Truth,
    began: UnixMicros,
) -> Result<(Option<Duration>, u64)> {
    if truth.received.is_empty() {
        return Ok((None, 0));
    }
    let started = Instant::now();
    let step = async |incident: IncidentId, step: CaseStep| {
        run.stage.loopback.command(Command::IncidentStep { incident, step }, false).await
    };
    let incident = match run.seen.case {
        Some(incident) => incident,
        None => {
            let now = clock::unix_now();
            let incident = IncidentId::new(now, keys::random()?);
            let sentence = run.seen.signals.first().map(|(_, sentence)| sentence.clone());
            let open = Command::IncidentOpen {
                incident,
                name: "case".into(),
                title: run.scenario.title.clone(),
                cause: Cause::Signal { sentence: sentence.unwrap_or("a customer called".into()) },
                began: Some(began),
                aware: now,
            };
            run.stage.loopback.command(open, false).await?;
            step(incident, CaseStep::Scope { question: scope.to_string() }).await?;
            incident
        }
    };
    let drafts = step(incident, CaseStep::Draft { version: 1, show: 1 }).await?;
    let took = started.elapsed();
    let number = |name: &str| drafts.get(name).and_then(Value::as_u64).unwrap_or(0);
    Ok((Some(took), number("with_address") + number("without_address")))
}

impl Answered {
    /// The scoreboard of a run and this answer, judged.
    ///
    /// `wall`: how long it took.
    pub(crate) fn scoreboard(self, run: &Run<'_>, seed: u64, wall: Duration) -> Scoreboard {
        let seen = &run.seen;
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        let said = |list: &[(UnixMicros, String)]| {
            list.iter().map(|(at, what)| (seen.seconds(*at), what.clone())).collect()
        };
        let lasted = clock::unix_now().since(seen.started.unwrap_or(UnixMicros(0)));
        let mut honest = seen.honest;
        honest.planned = honest.made;
        let mut board = Scoreboard {
            scenario: run.scenario.id.clone(),
            title: run.scenario.title.clone(),
            mode: run.mode,
            seed,
            time_to_detect_s: seen.detected.map(|(at, _)| seen.seconds(at)),
            requests_to_detect: seen.detected.map(|(_, requests)| requests),
            // What was contained before it began is contained from the first moment on.
            time_to_contain_s: seen.contained.first().map(|(at, _)| seen.seconds(*at).max(0.0)),
            subjects: seen.subjects.len() as u64,
            records: seen.records,
            fields: seen.fields.iter().cloned().collect(),
            grants: seen.grants.len() as u64,
            foreign: seen.foreign,
            attack: seen.attack,
            cut_short: seen.cut_short,
            honest,
            density: [run.scenario.honest.of_tool(), run.scenario.honest.density],
            scope_error: self.scope_error,
            proof_verified: self.proof_verified,
            answer_ms: ms(self.took),
            second_answer_equal: self.second_equal,
            first_draft_s: self.first_draft.map(|span| span.as_secs_f64()),
            notices: self.notices,
            cut_ms: seen.cut.map(ms),
            vendor_late: seen.vendor_late,
            quiet: seen.quiet.clone(),
            signals: said(&seen.signals),
            false_signals: seen.false_signals,
            contained: said(&seen.contained),
            lasted_s: (rehearsal::span::seconds(lasted), wall.as_secs_f64()),
            verdicts: Vec::new(),
        };
        if let Some(expect) = run.scenario.expect.get(&run.mode) {
            board.judge(expect);
        }
        board
    }
}

//! Acts 6 and 7: what comes after the cut. Exactly those who were read get a letter, the regulator's form is filled, and every
//! integration is vetted anew.

use super::acts::{self, Abuse, Read};
use super::people;
use super::report::{Report, Story, ground_truth};
use super::stage::Stage;
use crate::{keys, operator};
use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use model::{IncidentId, IntegrationId, Micros, VendorId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use storage::clock;
use storage::registry::Command;
use storage::registry::command::{CaseStep, Cause};

/// What the demo's case is called.
const CASE: &str = "ledgerly-abuse";

/// How long letters may take to arrive in a folder on this machine.
const LETTERS_WITHIN: Duration = Duration::from_secs(60);

/// How long after its opening the demo's re-certification is due. In earnest it is weeks.
const DUE_AFTER: Duration = Duration::from_secs(4);

/// What the answer came to.
pub(crate) struct Answer {
    /// From the cut until the first letter was ready to be read.
    first_draft: Duration,
    /// Whom letters went to, each with the data it names, as they lie in the mailbox.
    letters: Vec<Letter>,
    /// From the command until the last letter lay there.
    letters_took: Duration,
    case: Value,
    filing: Value,
    form: PathBuf,
    postmortem: PathBuf,
    postmortem_lines: usize,
}

struct Letter {
    to: String,
    body: String,
}

/// Act 6: the vendor is cut off; the case is opened, its scope frozen, letters written, the form filled, the post-mortem drafted.
///
/// `lose`: take one letter out of the mailbox afterwards, to see that the report notices.
pub(crate) async fn answer(stage: &Stage, abuse: &Abuse, lose: bool) -> Result<Answer> {
    let [ana, _] = &stage.loopback.operators;
    let cut = Command::Sever {
        target: "vendor:ledgerly".parse()?,
        reason: "its tool reads every account in turn".to_owned(),
    };
    let began = Instant::now();
    operator::send_to_sever_socket(&stage.loopback.directory.join("run/sever.sock"), cut, &[ana])?;
    let incident = IncidentId::new(clock::unix_now(), keys::random()?);
    let sentence =
        "the exposure budget of ledgerly-billing held it twice within a minute".to_owned();
    stage
        .loopback
        .command(
            Command::IncidentOpen {
                incident,
                name: CASE.to_owned(),
                title: "Ledgerly's billing tool read accounts one after another".to_owned(),
                cause: Cause::Signal { sentence },
                began: Some(abuse.from),
                aware: clock::unix_now(),
            },
            false,
        )
        .await?;
    let step = async |step: CaseStep, both: bool| {
        stage.loopback.command(Command::IncidentStep { incident, step }, both).await
    };
    let question = json!({ "integration": stage.billing.name, "from": abuse.from.to_string(), "to": abuse.to.to_string() });
    step(CaseStep::Scope { question: question.to_string() }, false).await?;
    step(CaseStep::Draft { version: 1, show: 1 }, false).await?;
    let first_draft = began.elapsed();

    let sent = Instant::now();
    step(CaseStep::Notify { version: 1, in_doubt: false }, true).await?;
    settled(stage, incident).await?;
    let letters_took = sent.elapsed();
    let mailbox = stage.loopback.directory.join("mail/letters/new");
    if lose {
        let first = std::fs::read_dir(&mailbox)?.next().context("there is a letter")??;
        std::fs::remove_file(first.path())?;
    }
    let letters = read_mailbox(&mailbox)?;

    let file = CaseStep::File {
        regime: "eu-gdpr-33".to_owned(),
        version: 1,
        submitted: None,
        reference: None,
    };
    let filed = step(file, false).await?;
    let drafted = step(CaseStep::Postmortem { version: 1 }, false).await?;
    let text = |answer: &Value, name: &str| {
        answer.get(name).and_then(Value::as_str).map(str::to_owned).context(name.to_owned())
    };
    let (form, postmortem) = (
        stage.loopback.directory.join("eu-gdpr-33.html"),
        stage.loopback.directory.join("post-mortem.md"),
    );
    std::fs::write(&form, text(&filed, "html")?)?;
    let markdown = text(&drafted, "markdown")?;
    std::fs::write(&postmortem, &markdown)?;
    let case = step(CaseStep::Show {}, false).await?;
    let filing = filed.get("json").cloned().context("a filing")?;
    let postmortem_lines = markdown.lines().count();
    Ok(Answer {
        first_draft,
        letters,
        letters_took,
        case,
        filing,
        form,
        postmortem,
        postmortem_lines,
    })
}

/// Fields of an account, and how a letter names them.
const WORDS: [(&str, &str); 6] = [
    ("email", "your e-mail address"),
    ("plan", "which plan you have"),
    ("card", "the last four digits of your card"),
    ("phone", "your telephone number"),
    ("country", "which country you are in"),
    ("items", "what you wrote"),
];

/// Which of these fields the vendor's sockets received, by subject.
fn received(abuse: &Abuse) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut received: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for read in &abuse.reads {
        let Some(data) = read.data() else { continue };
        let fields =
            WORDS.iter().map(|(field, _)| *field).filter(|field| data.get(*field).is_some());
        received.entry(read.asked.clone()).or_default().extend(fields);
    }
    received
}

/// Waits until every letter is settled.
async fn settled(stage: &Stage, incident: IncidentId) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < LETTERS_WITHIN {
        let progress =
            operator::letters(stage.loopback.running.control, &incident.to_string()).await?;
        if progress.get("running").and_then(Value::as_bool) == Some(false) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("letters were not out within {LETTERS_WITHIN:?}")
}

/// Every letter in a mailbox folder, as a mail program would show it.
fn read_mailbox(folder: &Path) -> Result<Vec<Letter>> {
    let mut letters = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let text = std::fs::read_to_string(entry?.path())?;
        let (head, body) = text.split_once("\r\n\r\n").context("a message has a head")?;
        let to = head.lines().find_map(|line| line.strip_prefix("To: ")).context("a recipient")?;
        let body: String = body.split_whitespace().collect();
        let body = String::from_utf8(BASE64_STANDARD.decode(body)?)?;
        letters.push(Letter { to: to.trim_matches(['<', '>']).to_owned(), body });
    }
    Ok(letters)
}

/// What freeze and re-certification came to.
pub(crate) struct Vetting {
    /// The node's refusal of a newcomer while onboarding was frozen.
    refused: Option<String>,
    /// Integrations that are to be approved anew.
    due: usize,
    before: Read,
    /// After the date, without an approval.
    after: Read,
    /// After two operators approved it anew.
    again: Read,
}

/// Act 7: nothing new comes in, and everybody who is there is looked at again.
pub(crate) async fn vet_anew(stage: &Stage) -> Result<Vetting> {
    let freeze = Command::Freeze { reason: CASE.to_owned() };
    stage.loopback.command(freeze, false).await?;
    let now = clock::unix_now();
    let vendor = VendorId::new(now, keys::random()?);
    let slug = "newcomer".to_owned();
    stage
        .loopback
        .command(Command::VendorAdd { vendor, slug: slug.clone(), name: "Newcomer".into() }, false)
        .await?;
    let integration = IntegrationId::new(now, keys::random()?);
    let apply = Command::IntegrationApply { integration, slug, vendor };
    let refused =
        stage.loopback.command(apply, false).await.err().map(|error| format!("{error:#}"));

    // First, because nothing is issued that would outlive the date.
    let mut insights = stage.client(&stage.insights).await?;
    let by = clock::unix_now() + Micros(u64::try_from(DUE_AFTER.as_micros()).unwrap_or(0));
    let review = Command::ReviewAll { by, reason: CASE.to_owned() };
    let opened = Instant::now();
    stage.loopback.command(review, false).await?;
    let list = Command::List { what: storage::registry::command::Listing::Integrations };
    let list = stage.loopback.command(list, false).await?;
    let rows = list.get("rows").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let due =
        rows.iter().filter(|row| row.get("recertify_by").is_some_and(Value::is_string)).count();

    let before = acts::read(&mut insights, "acc_000010", "/v1/accounts?limit=5&after={}").await?;
    tokio::time::sleep(DUE_AFTER.saturating_sub(opened.elapsed()) + Duration::from_millis(50))
        .await;
    let after = acts::read(&mut insights, "acc_000010", "/v1/accounts?limit=5&after={}").await?;
    stage.loopback.command(Command::Unfreeze {}, true).await?;
    let until = clock::unix_now() + Micros::from_secs(30 * 86_400);
    let integration = stage.insights.integration;
    stage.loopback.command(Command::IntegrationApprove { integration, until }, true).await?;
    let mut insights = stage.client(&stage.insights).await?;
    let again = acts::read(&mut insights, "acc_000010", "/v1/accounts?limit=5&after={}").await?;
    Ok(Vetting { refused, due, before, after, again })
}

impl Report {
    /// Exactly those who were read got a letter, each about their own data, and the form has the same figures.
    pub(crate) fn answer(
        &mut self,
        story: &Story,
        stage: &Stage,
        abuse: &Abuse,
        answer: &Answer,
    ) -> Result<()> {
        story.scene("6  The answer", "the vendor is cut off as a whole; a case is opened, its scope frozen, and those who were read are told");
        story.line(&format!(
            "{} ms from the cut to the first complete letter, ready to be read by a person",
            answer.first_draft.as_millis()
        ));
        let truth = ground_truth(stage, abuse)?;
        let by_address: BTreeMap<String, String> = truth
            .iter()
            .filter_map(|id| Some((people::person(people::account_number(id)?).email, id.clone())))
            .collect();
        let written: BTreeSet<&String> =
            answer.letters.iter().filter_map(|letter| by_address.get(&letter.to)).collect();
        let lost = truth.iter().filter(|id| !written.contains(id)).count();
        let wrong =
            answer.letters.iter().filter(|letter| !by_address.contains_key(&letter.to)).count();
        let doubled = answer.letters.len().saturating_sub(written.len() + wrong);
        story.line(&format!(
            "{} letters in {}, written and synced in {:.1} s",
            answer.letters.len(),
            stage.loopback.directory.join("mail/letters").display(),
            answer.letters_took.as_secs_f64()
        ));
        self.judge(
            "P7 exact and complete",
            lost == 0 && wrong == 0 && doubled == 0 && !answer.letters.is_empty(),
            format!("exactly those who were read got a letter: {lost} lost, {wrong} wrong, {doubled} doubled"),
        );
        let received = received(abuse);
        let named = |letter: &Letter| -> BTreeSet<&'static str> {
            let words = WORDS.iter().filter(|(_, words)| letter.body.contains(words));
            words.map(|(field, _)| *field).collect()
        };
        let right = answer.letters.iter().filter(|letter| {
            let subject = by_address.get(&letter.to);
            subject.and_then(|id| received.get(id)) == Some(&named(letter))
        });
        let right = right.count();
        self.judge(
            "P7 exact and complete",
            right == answer.letters.len(),
            format!(
                "{right} of {} letters name exactly the data that was read",
                answer.letters.len()
            ),
        );
        let figure = |pointer: &str| answer.filing.pointer(pointer).and_then(Value::as_u64);
        story.line(&format!(
            "form of GDPR article 33, due {}: {} subjects, {} records, {} countries: {}",
            answer.filing.pointer("/clock/due").and_then(Value::as_str).unwrap_or("?"),
            figure("/figures/subjects").unwrap_or(0),
            figure("/figures/records").unwrap_or(0),
            answer
                .filing
                .pointer("/figures/countries")
                .and_then(Value::as_array)
                .map_or(0, Vec::len),
            answer.form.display()
        ));
        story.line(&format!(
            "post-mortem drafted from the record, {} lines: {}",
            answer.postmortem_lines,
            answer.postmortem.display()
        ));
        let clocks = answer.case.get("clocks").and_then(Value::as_array).map_or(0, Vec::len);
        story.line(&format!("{clocks} regulators' clocks looked at, each with its reason"));
        self.judge(
            "P7 exact and complete",
            figure("/figures/subjects") == u64::try_from(truth.len()).ok(),
            "the regulator's form has the figures of the same scope".to_owned(),
        );
        Ok(())
    }

    /// Nobody new came in, and nobody goes on without being approved anew.
    pub(crate) fn vetted_anew(&mut self, story: &Story, stage: &Stage, vetting: &Vetting) {
        story.scene("7  Vetting anew", "onboarding is frozen, and every integration is to be approved again by a date, here three seconds away");
        story.line(&format!(
            "a newcomer's application: {}",
            vetting.refused.as_deref().unwrap_or("was taken")
        ));
        story.line(&format!("{} integrations are to be approved anew", vetting.due));
        story.line(&format!(
            "{}: {} before the date, {} after it, {} once two operators approved it anew",
            stage.insights.name,
            vetting.before.status(),
            vetting.after.status(),
            vetting.again.status()
        ));
        let frozen = vetting.refused.as_ref().is_some_and(|refused| refused.contains("frozen"));
        let expired = vetting.before.data().is_some()
            && vetting.after.data().is_none()
            && vetting.again.data().is_some();
        self.judge(
            "P9 fails closed",
            frozen && expired && vetting.due == 3,
            "nothing was onboarded while frozen; who was not approved anew read nothing after the date"
                .to_owned(),
        );
    }
}

//! The acts. Each plays its part over real sockets and says what was seen there; the judgement is the report's.

use super::people::{self, Dice};
use super::stage::{BAD_ADDRESS, Registered, Stage};
use crate::client::{Answer, Vendor};
use crate::{keys, operator};
use anyhow::{Context, Result};
use credential::{Algorithm, SigningKey};
use model::UnixMicros;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use storage::clock;
use storage::registry::Command;
use tokio::sync::Mutex;

/// How much traffic an act makes.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Reads of each vendor's honest software.
    pub(crate) honest: usize,
    /// How long the abuse from inside goes on.
    pub(crate) abuse: Duration,
    /// Connections of load when the cut comes.
    pub(crate) connections: usize,
}

/// One request and what came over the socket for it.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) asked: String,
    pub(crate) at: Instant,
    /// None if the connection was refused or reset.
    pub(crate) answer: Option<Answer>,
}

impl Read {
    /// The body, if data came.
    pub(crate) fn data(&self) -> Option<Value> {
        let answer = self.answer.as_ref().filter(|answer| answer.status == 200)?;
        serde_json::from_slice(&answer.body).ok()
    }

    pub(crate) fn status(&self) -> u16 {
        self.answer.as_ref().map_or(0, |answer| answer.status)
    }

    /// Every subject in the body, by whatever field names one.
    pub(crate) fn subjects(&self) -> BTreeSet<String> {
        let mut subjects = BTreeSet::new();
        self.data().iter().for_each(|data| subjects_of(data, &mut subjects));
        subjects
    }
}

/// Every subject in a body, by whatever field names one.
pub(crate) fn subjects_of(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(id) if name == "id" && id.starts_with("acc_") || name == "account_id" => {
                        into.insert(id.to_owned());
                    }
                    _ => subjects_of(member, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| subjects_of(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Honest software of all three vendors, reading as it always does.
pub(crate) async fn honest(stage: &Stage, pace: Pace) -> Result<BTreeMap<&'static str, Vec<Read>>> {
    let mut reads = BTreeMap::new();
    for (of, path) in [
        (&stage.billing, "/v1/accounts/{}"),
        (&stage.support, "/v1/accounts/{}/conversations"),
        (&stage.insights, "/v1/accounts?limit=5&after={}"),
    ] {
        let mut vendor = stage.client(of).await?;
        let mut dice = Dice(of.name.len() as u64);
        let mut theirs = Vec::new();
        for _ in 0..pace.honest {
            let asked = anybody(&mut dice);
            theirs.push(read(&mut vendor, &asked, path).await?);
        }
        reads.insert(of.name, theirs);
    }
    Ok(reads)
}

/// Act 1: the billing vendor's token was copied. The thief tries it from a listed address and from another one, with a key
/// of its own, as a bearer token, and with a proof it overheard.
pub(crate) async fn stolen_token(stage: &Stage, pace: Pace) -> Result<Vec<Read>> {
    let victim = stage.client(&stage.billing).await?;
    let secret =
        SigningKey::pkcs8(Algorithm::Es256, keys::random()?).context("ES256 signs proofs")?;
    let own_key = Arc::new(SigningKey::from_pkcs8(&secret)?);
    let elsewhere = IpAddr::from([127, 77, 1, 1]);
    let mut listed = victim.stolen(Arc::clone(&own_key), BAD_ADDRESS);
    let mut unlisted = victim.stolen(own_key, elsewhere);
    // The thief that has the victim's own key too is still at a listed address.
    let mut with_key = victim.stolen(Arc::clone(&stage.billing.key), BAD_ADDRESS);
    let mut dice = Dice(1);
    let mut reads = Vec::new();
    for _ in 0..pace.honest / 4 {
        let asked = anybody(&mut dice);
        reads.push(read(&mut listed, &asked, "/v1/accounts/{}").await?);
        reads.push(read(&mut with_key, &asked, "/v1/accounts/{}").await?);
        reads.push(read(&mut unlisted, &asked, "/v1/accounts/{}").await?);
        let path = format!("/v1/accounts/{asked}");
        let at = Instant::now();
        reads.push(Read { asked, at, answer: unlisted.get_as_bearer(&path).await? });
    }
    let mut victim = victim;
    for _ in 0..pace.honest / 4 {
        let asked = anybody(&mut dice);
        let at = Instant::now();
        let answers = victim.get_twice_with_one_proof(&format!("/v1/accounts/{asked}")).await?;
        reads.extend(answers.into_iter().skip(1).map(|answer| Read {
            asked: asked.clone(),
            at,
            answer,
        }));
    }
    Ok(reads)
}

/// What the abuse from inside came to.
pub(crate) struct Abuse {
    pub(crate) reads: Vec<Read>,
    pub(crate) from: UnixMicros,
    pub(crate) to: UnixMicros,
    /// From the first response that was held until posture shows the containment.
    pub(crate) contained_after: Option<Duration>,
}

/// Abuse that nobody contained ends then.
const ABUSE_MAX: Duration = Duration::from_secs(30);

/// Act 2: the same tool, abused from inside the vendor: its own key, its own network, every account in turn, full speed.
pub(crate) async fn inside(stage: &Stage, pace: Pace) -> Result<Abuse> {
    let mut vendors = Vec::new();
    for _ in 0..16 {
        vendors.push(stage.client(&stage.billing).await?);
    }
    let from = clock::unix_now();
    let started = Instant::now();
    let next = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let is_contained = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(Mutex::new(Vec::new()));
    let mut workers = tokio::task::JoinSet::new();
    for mut vendor in vendors {
        let (next, reads) = (Arc::clone(&next), Arc::clone(&reads));
        let is_contained = Arc::clone(&is_contained);
        workers.spawn(async move {
            // A slow machine may need longer to use the budget up.
            while started.elapsed() < pace.abuse
                || !is_contained.load(Ordering::Relaxed) && started.elapsed() < ABUSE_MAX
            {
                let asked =
                    people::account_id(next.fetch_add(1, Ordering::Relaxed) % people::POPULATION);
                let done = read(&mut vendor, &asked, "/v1/accounts/{}").await?;
                reads.lock().await.push(done);
            }
            anyhow::Ok(())
        });
    }
    let target = format!("grant:{}", stage.billing.grant);
    let mut contained = None;
    while contained.is_none() && started.elapsed() < ABUSE_MAX {
        let posture = operator::posture(stage.loopback.running.control).await?;
        contained = lists(&posture, "restricted", &target).then(Instant::now);
        is_contained.store(contained.is_some(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let mut reads = std::mem::take(&mut *reads.lock().await);
    reads.sort_by_key(|read| read.at);
    let held = reads.iter().find(|read| read.status() == 429).map(|read| read.at);
    let contained_after =
        held.zip(contained).map(|(held, contained)| contained.saturating_duration_since(held));
    Ok(Abuse { reads, from, to: clock::unix_now(), contained_after })
}

/// What the mix-up came to.
pub(crate) struct MixUp {
    pub(crate) reads: Vec<Read>,
    /// Whether posture came to show the operation as cut off.
    pub(crate) suspended: bool,
    /// A read after the origin was mended and two operators restored the operation.
    pub(crate) restored: Read,
    /// The node's refusal of a restore that one operator signed alone.
    pub(crate) alone_refused: bool,
}

/// Act 3: the origin's cache answers one connection late, so that callers get other people's records.
pub(crate) async fn mixed_up(stage: &mut Stage, pace: Pace) -> Result<MixUp> {
    let mut vendor = stage.client(&stage.support).await?;
    let mut dice = Dice(3);
    stage.loopback.mix_up(4).await?;
    let mut reads = Vec::new();
    for _ in 0..pace.honest {
        let asked = anybody(&mut dice);
        reads.push(read(&mut vendor, &asked, "/v1/accounts/{}").await?);
    }
    stage.loopback.mix_up(0).await?;
    let posture = operator::posture(stage.loopback.running.control).await?;
    let suspended = lists(&posture, "severed", "operation:getAccount");
    let restore = || -> Result<Command> {
        Ok(Command::Restore {
            target: "operation:getAccount".parse()?,
            reason: "the origin's cache was mended".to_owned(),
        })
    };
    let alone_refused = stage.loopback.command(restore()?, false).await.is_err();
    if suspended {
        stage.loopback.command(restore()?, true).await?;
    }
    let restored = read(&mut vendor, &anybody(&mut dice), "/v1/accounts/{}").await?;
    Ok(MixUp { reads, suspended, restored, alone_refused })
}

/// What the cut came to.
pub(crate) struct Cut {
    pub(crate) receipt: Value,
    pub(crate) acknowledged_after: Duration,
    /// Data that came for a request sent after the acknowledgement.
    pub(crate) late: usize,
    /// Requests under load before the cut, and refused or reset after it.
    pub(crate) before: usize,
    pub(crate) refused: usize,
}

/// Act 4: one operator cuts the support tool off while it is under load on many connections.
pub(crate) async fn sever(stage: &Stage, pace: Pace) -> Result<Cut> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = tokio::task::JoinSet::new();
    for n in 0..pace.connections {
        let mut vendor = stage.client(&stage.support).await?;
        let stop = Arc::clone(&stop);
        workers.spawn(async move {
            let mut dice = Dice(n as u64 + 100);
            let mut reads = Vec::new();
            while !stop.load(Ordering::Relaxed) && reads.len() < 5_000 {
                reads.push(
                    read(&mut vendor, &anybody(&mut dice), "/v1/accounts/{}/conversations").await?,
                );
            }
            anyhow::Ok(reads)
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let socket = stage.loopback.directory.join("run/sever.sock");
    let cut = Command::Sever {
        target: format!("integration:{}", stage.support.name).parse()?,
        reason: "polls accounts".to_owned(),
    };
    let started = Instant::now();
    let [ana, _] = &stage.loopback.operators;
    let receipt = operator::send_to_sever_socket(&socket, cut, &[ana])?;
    let acknowledged = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut reads = Vec::new();
    while let Some(worker) = workers.join_next().await {
        reads.extend(worker??);
    }
    let after = |read: &&Read| read.at > acknowledged;
    Ok(Cut {
        receipt,
        acknowledged_after: acknowledged - started,
        late: reads.iter().filter(after).filter(|read| read.status() == 200).count(),
        before: reads.iter().filter(|read| read.at <= acknowledged && read.status() == 200).count(),
        refused: reads.iter().filter(after).filter(|read| read.status() != 200).count(),
    })
}

/// Reads `path` with the account id in place of `{}`.
pub(crate) async fn read(vendor: &mut Vendor, asked: &str, path: &str) -> Result<Read> {
    let at = Instant::now();
    let answer = vendor.get(&path.replace("{}", asked)).await?;
    Ok(Read { asked: asked.to_owned(), at, answer })
}

fn anybody(dice: &mut Dice) -> String {
    people::account_id(u32::try_from(dice.below(u64::from(people::POPULATION))).unwrap_or(0))
}

fn lists(posture: &Value, kind: &str, target: &str) -> bool {
    let rows = posture.get(kind).and_then(Value::as_array);
    rows.is_some_and(|rows| {
        rows.iter().any(|row| row.get("target").and_then(Value::as_str) == Some(target))
    })
}

/// Who stands behind a name in the acts, for the report.
pub(crate) fn fields_of(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path =
                    if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                fields_of(member, &path, into);
                into.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields_of(item, prefix, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The fields of `reads` that were not promised to `of`.
pub(crate) fn beyond(of: &Registered, reads: &[Read]) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    reads.iter().filter_map(Read::data).for_each(|data| fields_of(&data, "", &mut fields));
    fields.retain(|field| !of.fields.contains(&field.as_str()));
    fields
}

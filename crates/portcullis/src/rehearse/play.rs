//! Plays a scenario, step by step and one request at a time, and writes down what sockets delivered and what the gateway signalled.

use super::pace::Pace;
use super::software::{Shows, Software};
use super::stage::{Stage, TOOL, attackers_address};
use crate::client::{Answer, Vendor};
use crate::loopback::Onboarded;
use crate::{keys, operator};
use anyhow::{Context, Result};
use credential::{Algorithm, SigningKey};
use detection::{Containment, Defaults};
use gateway::watch::{Contained, Told};
use model::{ClientIp, IncidentId, UnixMicros};
use rehearsal::attack::{Probe, Probes};
use rehearsal::benign::Ask;
use rehearsal::picture::Mark;
use rehearsal::quiet::{self, Alarms, Quiet};
use rehearsal::scenario::{Attack, MixUp, Weeks};
use rehearsal::scoreboard::Requests;
use rehearsal::span::seconds;
use rehearsal::truth::Seen;
use rehearsal::{Mode, Scenario, Step};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::clock;
use storage::registry::Command;
use storage::registry::command::{CaseStep, Cause};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

/// Requests of one attack that are really made at most. One that is still answered after so many has shown what it does.
const MADE_MAX: u64 = 3_000;

/// The attacker's connections that are kept.
const CONNECTIONS_MAX: usize = 64;

/// How long a containment that was called for may take.
const CONTAINED_WITHIN: Duration = Duration::from_secs(5);

/// A run of a scenario, and what was seen in it.
pub(crate) struct Run<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) mode: Mode,
    seed: u64,
    pub(crate) stage: Stage,
    pub(crate) pace: Pace,
    told: Receiver<Arc<Told>>,
    told_of_strangers: Receiver<Arc<Told>>,
    own_key: Arc<SigningKey>,
    thieves: BTreeMap<IpAddr, Vendor>,
    insiders: BTreeMap<u32, Software>,
    pub(crate) seen: Record,
}

/// What was seen.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) started: Option<UnixMicros>,
    /// The attacker's first request, or what else the scenario is about.
    pub(crate) began: Option<UnixMicros>,
    pub(crate) attack: Requests,
    /// The attack was still answered when no more of it was made.
    pub(crate) cut_short: bool,
    pub(crate) honest: Requests,
    /// By request id, what the attacker's clients saw, and what every client saw.
    pub(crate) attacker: Seen,
    pub(crate) all: Seen,
    /// When whoever uses the tool's credentials had an answer with data, and its request id.
    tool: Vec<(UnixMicros, String)>,
    pub(crate) subjects: BTreeSet<String>,
    pub(crate) records: u64,
    pub(crate) fields: BTreeSet<String>,
    pub(crate) grants: BTreeSet<u32>,
    pub(crate) foreign: u64,
    pub(crate) marks: Vec<(Mark, UnixMicros)>,
    pub(crate) signals: Vec<(UnixMicros, String)>,
    pub(crate) contained: Vec<(UnixMicros, String)>,
    pub(crate) detected: Option<(UnixMicros, u64)>,
    pub(crate) false_signals: u64,
    /// The last signal that was taken in.
    newest: Option<detection::Signal>,
    /// When a person who was paged is to cut the tool off.
    due: Option<UnixMicros>,
    pub(crate) cut: Option<Duration>,
    /// A case that the scenario opened.
    pub(crate) case: Option<IncidentId>,
    pub(crate) vendor_late: Option<bool>,
    pub(crate) quiet: Option<[Alarms; 2]>,
}

impl<'a> Run<'a> {
    /// Everybody in place, nothing asked yet.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(crate) fn new(
        scenario: &'a Scenario,
        mode: Mode,
        seed: u64,
        stage: Stage,
        pace: Pace,
    ) -> Result<Self> {
        let secret =
            SigningKey::pkcs8(Algorithm::Es256, keys::random()?).context("ES256 signs proofs")?;
        let told = pace.node.watch.subscribe();
        let told_of_strangers = pace.node.watch.subscribe_to_strangers();
        // What was signalled while the stage was set is not told again.
        let newest = pace.node.watch.signals().last().cloned();
        Ok(Self {
            scenario,
            mode,
            seed,
            stage,
            pace,
            told,
            told_of_strangers,
            own_key: Arc::new(SigningKey::from_pkcs8(&secret)?),
            thieves: BTreeMap::new(),
            insiders: BTreeMap::new(),
            seen: Record { newest, ..Record::default() },
        })
    }

    /// Plays all of it.
    ///
    /// # Errors
    /// If the rehearsal itself cannot go on; what the gateway does wrong is no error.
    pub(crate) async fn play(&mut self) -> Result<()> {
        let start = clock::unix_now();
        self.seen.started = Some(start);
        // Whatever comes, the tool has a token that can be stolen.
        let Stage { loopback, crowd, .. } = &mut self.stage;
        crowd.tool_mut()?.software(loopback, 0, 0).freshen().await;
        self.honest_until(start + self.scenario.honest.before.0, 1.0, 1.0).await?;
        for step in &self.scenario.steps {
            if self.stage.exception_ran_out() {
                self.stage.keep_exception().await?;
            }
            let begin = clock::unix_now();
            match step {
                Step::Idle(idle) => {
                    let end = begin + idle.lasts.0;
                    self.pace.until(end).await;
                    self.stage.crowd.skip_to(end);
                }
                Step::Honest(honest) => self.honest_until(begin + honest.lasts.0, 1.0, 1.0).await?,
                Step::Attack(attack) => self.attack(attack).await?,
                Step::MixUp(mix) => self.mix_up(mix).await?,
                Step::SeverVendor(sever) => {
                    self.cut("vendor:target", &sever.reason)?;
                }
                Step::Quiet(weeks) => self.seen.quiet = Some(told_alone(*weeks, self.seed).await?),
                Step::VendorNotice(notice) => {
                    self.notice(begin, notice.since.0, notice.waits.0).await?
                }
            }
        }
        Ok(())
    }

    /// Honest traffic up to a moment; `share` of it, and of the tool's own so much more.
    async fn honest_until(&mut self, end: UnixMicros, share: f64, tool: f64) -> Result<()> {
        let honest = &self.scenario.honest;
        let (density, tool) = (honest.density * share, honest.of_tool() * share * tool);
        while let Some((who, ask)) = self.stage.crowd.next(end, density, tool) {
            self.pace.until(ask.at).await;
            self.cut_if_due()?;
            self.ask(who, &ask).await?;
            self.listen().await?;
        }
        self.pace.until(end).await;
        self.cut_if_due()
    }

    /// One honest request.
    async fn ask(&mut self, who: usize, ask: &Ask) -> Result<()> {
        let Stage { loopback, crowd, .. } = &mut self.stage;
        let player = crowd.players.get_mut(who).context("a player")?;
        let (grant, path) = (player.grant_of(ask.subject), player.path(self.scenario, ask));
        let shows =
            if who == 0 && self.mode == Mode::Legacy { Shows::Bearer } else { Shows::Proof };
        let software = player.software(loopback, grant, ask.network);
        software.freshen().await;
        let answer = software.get(&path, shows).await?;
        let now = clock::unix_now();
        let (outcome, received) = Outcome::of(answer.as_ref());
        self.seen.honest.made += 1;
        self.seen.honest.data += u64::from(outcome == Outcome::Data);
        self.seen.honest.refused += u64::from(outcome == Outcome::Refused);
        let mark = if outcome == Outcome::Refused { Mark::Harmed } else { Mark::Served };
        self.seen.marks.push((mark, now));
        let asked = self.scenario.subjects.id(ask.subject);
        self.seen.foreign += received.foreign_to(&path, &asked);
        if let Some(answer) = &answer {
            self.seen.heard(answer, outcome, who == 0, false);
        }
        Ok(())
    }

    async fn attack(&mut self, attack: &Attack) -> Result<()> {
        let begin = clock::unix_now();
        self.seen.begin(begin);
        let grants = u32::try_from(self.stage.crowd.tool()?.grants.len()).unwrap_or(1);
        let mut probes = Probes::new(attack, &self.scenario.subjects, grants, self.seed);
        self.seen.attack.planned += probes.planned();
        let mut made = 0;
        while let Some(probe) = probes.next() {
            if made == MADE_MAX {
                self.seen.cut_short = true;
                break;
            }
            let at = begin + probe.at;
            self.honest_until(at, 1.0 / probes.thinned() as f64, 1.0).await?;
            let outcome = self.probe(attack, &probe, made).await?;
            made += 1;
            // Where most of what is asked for is not there, an answer that says so is an answer.
            let answered = outcome == Outcome::Data
                || outcome == Outcome::NotThere && attack.hits < 1.0 && !attack.anonymous;
            probes.came_of_it(answered);
            self.listen().await?;
        }
        let end = begin + attack.lasts.0;
        if self.seen.cut_short {
            self.stage.crowd.skip_to(end);
        }
        self.honest_until(end, 1.0 / probes.thinned() as f64, 1.0).await
    }

    /// One request of the attacker, with what the mode gives it.
    async fn probe(&mut self, attack: &Attack, probe: &Probe, made: u64) -> Result<Outcome> {
        let shows = match self.mode {
            _ if attack.anonymous => Shows::Nothing,
            Mode::Legacy => Shows::Bearer,
            Mode::Inside => Shows::Proof,
            // A copied token, as it is and with a proof by a key that it is not bound to.
            Mode::Outside if made.is_multiple_of(2) => Shows::Bearer,
            Mode::Outside => Shows::Proof,
        };
        let at = clock::unix_now();
        let answer = if self.mode == Mode::Inside && !attack.anonymous {
            let tool = self.stage.crowd.tool()?;
            let grant = usize::try_from(probe.grant).ok().and_then(|at| tool.grants.get(at));
            let of = Onboarded {
                grant: grant.copied().unwrap_or(tool.onboarded.grant),
                ..tool.onboarded.clone()
            };
            let loopback = &self.stage.loopback;
            let insider = self
                .insiders
                .entry(probe.grant)
                .or_insert_with(|| Software::new(loopback.software(&of)));
            insider.freshen().await;
            insider.get(&probe.path, shows).await?
        } else {
            let mut thief = self.thief(probe).await?;
            let answer = match shows {
                Shows::Nothing => thief.get_anonymous(&probe.path).await?,
                _ if !thief.has_token() => None,
                Shows::Bearer => thief.get_as_bearer(&probe.path).await?,
                Shows::Proof => thief.get(&probe.path).await?,
            };
            self.thieves.insert(attackers_address(probe.from), thief);
            answer
        };
        let (outcome, received) = Outcome::of(answer.as_ref());
        let seen = &mut self.seen;
        seen.attack.made += 1;
        seen.attack.refused += u64::from(outcome == Outcome::Refused);
        if outcome == Outcome::Data {
            seen.attack.data += 1;
            seen.records += received.subjects.len() as u64;
            seen.grants.insert(probe.grant);
            seen.fields.extend(received.fields.iter().cloned());
        }
        if let Some(asked) = &probe.subject {
            seen.foreign += received.foreign_to(&probe.path, asked);
        }
        seen.subjects.extend(received.subjects);
        let mark = if outcome == Outcome::Data { Mark::Taken } else { Mark::Refused };
        seen.marks.push((mark, at));
        if let Some(answer) = &answer {
            seen.heard(answer, outcome, true, true);
        }
        Ok(outcome)
    }

    /// Whoever has a copy of the tool's newest token, at the address that the probe comes from.
    async fn thief(&mut self, probe: &Probe) -> Result<Vendor> {
        let Stage { loopback, crowd, .. } = &mut self.stage;
        let grant = usize::try_from(probe.grant).unwrap_or(0);
        let victim = crowd.tool_mut()?.software(loopback, grant, 0);
        victim.freshen().await;
        let from = attackers_address(probe.from);
        while self.thieves.len() >= CONNECTIONS_MAX {
            self.thieves.pop_first();
        }
        let mut thief = match self.thieves.remove(&from) {
            Some(thief) => thief,
            None => victim.vendor.stolen(Arc::clone(&self.own_key), from),
        };
        thief.copy_token(&victim.vendor);
        Ok(thief)
    }

    async fn mix_up(&mut self, mix: &MixUp) -> Result<()> {
        let begin = clock::unix_now();
        self.seen.begin(begin);
        self.stage.loopback.mix_up(mix.one_in).await?;
        self.honest_until(begin + mix.lasts.0, 1.0, mix.traffic).await?;
        self.stage.loopback.mix_up(0).await
    }

    /// The vendor says that its store was broken into: a case is opened, and the vendor does not answer.
    async fn notice(
        &mut self,
        now: UnixMicros,
        since: model::Micros,
        waits: model::Micros,
    ) -> Result<()> {
        let began = self.seen.started.unwrap_or(now);
        self.seen.begin(began);
        let incident = IncidentId::new(now, keys::random()?);
        let open = Command::IncidentOpen {
            incident,
            name: "vendor-breach".into(),
            title: "The vendor's own store was broken into".into(),
            cause: Cause::VendorBreach { vendor: "target".into(), since: now - since },
            began: None,
            aware: now,
        };
        self.stage.loopback.command(open, false).await?;
        self.seen.case = Some(incident);
        self.pace.until(now + waits).await;
        self.stage.crowd.skip_to(now + waits);
        let show = Command::IncidentStep { incident, step: CaseStep::Show {} };
        let shown = self.stage.loopback.command(show, false).await?;
        let clocks = shown.get("clocks").and_then(Value::as_array).into_iter().flatten();
        let late = clocks.filter(|clock| clock.get("regime") == Some(&"contract-vendor".into()));
        let late = late.filter(|clock| clock.get("state") == Some(&"overdue".into()));
        self.seen.vendor_late = Some(late.count() > 0);
        Ok(())
    }

    /// A person who was paged cuts the tool off.
    fn cut_if_due(&mut self) -> Result<()> {
        if self.seen.due.is_none_or(|due| due > clock::unix_now()) {
            return Ok(());
        }
        self.seen.due = None;
        // Whoever looks sees that nothing left: an attacker who is refused must not get the tool cut off.
        if self.seen.attack.data == 0 {
            return Ok(());
        }
        self.cut(&format!("integration:{TOOL}"), "somebody was paged, and looked")
    }

    /// An operator's cut, down the sever path.
    fn cut(&mut self, target: &str, reason: &str) -> Result<()> {
        let sever = Command::Sever { target: target.parse()?, reason: reason.to_owned() };
        let [ana, _] = &self.stage.loopback.operators;
        let socket = self.stage.loopback.directory.join("run/sever.sock");
        let started = Instant::now();
        operator::send_to_sever_socket(&socket, sever, &[ana])?;
        let took = started.elapsed();
        self.seen.cut = self.seen.cut.max(Some(took));
        let now = clock::unix_now();
        self.seen.marks.push((Mark::Contained, now));
        self.seen.contained.push((now, format!("{target} severed by an operator")));
        Ok(())
    }

    /// Takes in what was signalled, once what it called for was done: the time until the next request belongs to the gateway.
    async fn listen(&mut self) -> Result<()> {
        let newest = self.pace.node.watch.signals().last().cloned();
        let began = Instant::now();
        loop {
            let heard = match self.told.try_recv() {
                Err(TryRecvError::Empty) => self.told_of_strangers.try_recv(),
                heard => heard,
            };
            match heard {
                Ok(told) => {
                    let is_newest = newest.as_ref() == Some(&told.signal);
                    self.seen.signalled(&told, self.scenario.operator_after.map(|span| span.0));
                    if is_newest {
                        self.seen.newest = Some(told.signal.clone());
                    }
                }
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Closed) => return Ok(()),
                Err(TryRecvError::Empty) => {
                    if newest == self.seen.newest || began.elapsed() > CONTAINED_WITHIN {
                        return Ok(());
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }
}

impl Record {
    fn begin(&mut self, at: UnixMicros) {
        self.began.get_or_insert(at);
    }

    /// What a client received for a request.
    fn heard(&mut self, answer: &Answer, outcome: Outcome, is_tools: bool, is_attackers: bool) {
        let data = outcome == Outcome::Data;
        if data && is_tools {
            self.tool.push((clock::unix_now(), answer.request.clone()));
        }
        for (into, is_theirs) in [(&mut self.all, true), (&mut self.attacker, is_attackers)] {
            if is_theirs {
                let set = if data { &mut into.data } else { &mut into.refused };
                set.insert(answer.request.clone());
            }
        }
    }

    /// What clients of the tool received from a moment on.
    pub(crate) fn tool_since(&self, from: UnixMicros) -> Seen {
        let since = self.tool.iter().filter(|(at, _)| *at >= from);
        Seen { data: since.map(|(_, request)| request.clone()).collect(), ..Seen::default() }
    }

    fn signalled(&mut self, told: &Told, operator_after: Option<model::Micros>) {
        let Told { signal, contained, at } = told;
        if self.began.is_none_or(|began| signal.at < began) {
            self.false_signals += 1;
            return;
        }
        self.detected.get_or_insert((signal.at, self.attack.made));
        self.signals.push((signal.at, signal.to_string()));
        self.marks.push((Mark::Signal, signal.at));
        for (containment, what) in contained {
            match what {
                Contained::Entry(_) => {
                    self.marks.push((Mark::Contained, *at));
                    self.contained.push((*at, containment.to_string()));
                }
                Contained::People => {
                    if let (Some(after), Containment::Page, None) =
                        (operator_after, containment, self.cut)
                    {
                        self.due.get_or_insert(signal.at + after);
                    }
                }
                Contained::Already | Contained::Shadow => {}
            }
        }
    }

    /// Seconds from the beginning of the attack.
    pub(crate) fn seconds(&self, at: UnixMicros) -> f64 {
        let began = self.began.or(self.started).unwrap_or(at);
        if at >= began { seconds(at.since(began)) } else { -seconds(began.since(at)) }
    }
}

/// What came of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Data,
    /// Neither data nor a refusal: nobody there.
    NotThere,
    Refused,
}

/// What an answer held.
#[derive(Default)]
struct Received {
    subjects: BTreeSet<String>,
    fields: BTreeSet<String>,
}

impl Outcome {
    fn of(answer: Option<&Answer>) -> (Self, Received) {
        let Some(answer) = answer else { return (Self::Refused, Received::default()) };
        match answer.status {
            200 => {
                let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
                let mut received = Received::default();
                crate::demo::acts::subjects_of(&body, &mut received.subjects);
                crate::demo::acts::fields_of(&body, "", &mut received.fields);
                (Self::Data, received)
            }
            404 => (Self::NotThere, Received::default()),
            _ => (Self::Refused, Received::default()),
        }
    }
}

impl Received {
    /// How many of the subjects are others than the one that was asked for. Of a page, none.
    fn foreign_to(&self, path: &str, asked: &str) -> u64 {
        if path.contains("after=") {
            return 0;
        }
        self.subjects.iter().filter(|subject| *subject != asked).count() as u64
    }
}

/// Tells detectors of honest weeks, once with changes announced and once without, on a thread each.
async fn told_alone(weeks: Weeks, seed: u64) -> Result<[Alarms; 2]> {
    let Weeks { integrations, days } = weeks;
    let told = |windows| {
        let quiet = Quiet { seed, integrations, days, windows, events: true };
        tokio::task::spawn_blocking(move || quiet::play(&quiet, &Defaults::default()))
    };
    let (announced, unannounced) = (told(true), told(false));
    let what = "the operation has a name";
    Ok([announced.await?.context(what)?, unannounced.await?.context(what)?])
}

/// The address of a client, as posture and questions name its network.
pub(crate) fn network_of(from: IpAddr) -> String {
    detection::NetworkGroup::of(ClientIp::from_peer(from)).net().to_string()
}

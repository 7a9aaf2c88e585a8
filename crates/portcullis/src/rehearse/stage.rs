//! Sets the stage of a scenario: a deployment on loopback, the integration that is attacked, honest ones beside it.

use super::software::Software;
use crate::demo::people;
use crate::loopback::{Loopback, Onboarded, Setting};
use crate::onboarding::{self, Application};
use anyhow::{Context, Result, ensure};
use model::{GrantId, Micros, SubjectId, UnixMicros};
use rehearsal::benign::{Ask, Load, MINUTE, People};
use rehearsal::scenario::{Budget, Tool};
use rehearsal::{Class, Mode, Scenario};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use storage::clock;
use storage::registry::Command;
use storage::registry::command::{Limits, Scope, SubjectText};

const OPENAPI: &str = include_str!("../../assets/rehearsal-openapi.yaml");
const OVERLAY: &str = include_str!("../../assets/rehearsal-overlay.yaml");

/// How long approvals, keys and grants last: longer than any built-in scenario, and shorter than the ninety days after which a key is old.
const DAYS: u64 = 85;

/// Longest bearer exception, and how long before its end another is asked for.
const EXCEPTION: Micros = Micros::from_secs(29 * 86_400);

/// The tool's slug.
pub(crate) const TOOL: &str = "target-tool";

/// Everything a rehearsal plays with.
pub(crate) struct Stage {
    pub(crate) loopback: Loopback,
    pub(crate) crowd: Crowd,
    exception_until: UnixMicros,
}

/// The honest integrations. The first is the tool.
pub(crate) struct Crowd {
    pub(crate) players: Vec<Player>,
    queue: VecDeque<(usize, Ask)>,
    next_minute: UnixMicros,
}

/// An honest integration.
pub(crate) struct Player {
    pub(crate) onboarded: Onboarded,
    /// Its grants; of several each is of an equal part of the related subjects.
    pub(crate) grants: Vec<GrantId>,
    path: String,
    load: Load,
    pub(crate) people: People,
    software: BTreeMap<(usize, u32), Software>,
}

/// The address of the attacker's `(network, address)`.
pub(crate) fn attackers_address((network, address): (u32, u32)) -> IpAddr {
    let part = |n: u32| u8::try_from(n % 250).unwrap_or(0);
    // 127.64 to 127.104 are the attacker's; 10,000 networks fit.
    IpAddr::V4(Ipv4Addr::new(127, 64 + part(network / 250), part(network), 1 + part(address)))
}

impl Stage {
    /// Starts everything.
    ///
    /// # Errors
    /// Whatever part did not start, or of the scenario was not taken.
    pub(crate) async fn set(scenario: &Scenario, mode: Mode, seed: u64) -> Result<Self> {
        let subjects = &scenario.subjects;
        ensure!(
            (0..3).all(|n| subjects.id(n) == people::account_id(u32::try_from(n).unwrap_or(0)))
                && subjects.count == u64::from(people::POPULATION),
            "the rehearsal's own origin keeps {} people, `acc_000000` and on; others are for `--against`",
            people::POPULATION
        );
        let listed: Vec<IpAddr> = if scenario.attacks().any(|attack| attack.listed) {
            vec![attackers_address((0, 0))]
        } else {
            Vec::new()
        };
        let loopback = Loopback::set(&Setting {
            deployment: "rehearsal",
            openapi: OPENAPI,
            overlay: OVERLAY,
            listed: &listed,
            directory: &people::directory(),
        })
        .await?;
        let mut players = vec![player(&loopback, scenario, seed).await?];
        for (class, count) in &scenario.beside {
            for n in 0..*count {
                let at = players.len();
                players.push(bystander(&loopback, scenario, *class, n, at, seed).await?);
            }
        }
        // What the company's own systems would import: whom each integration has to do with.
        let now = clock::unix_now();
        for player in &players {
            let People { first, related, count } = player.people;
            let pairs = (first..first + related).map(|number| {
                let id = SubjectId::new(&subjects.id(number % count));
                Some((player.onboarded.integration, id?))
            });
            let pairs = pairs.collect::<Option<Vec<_>>>().context("a subject's id")?;
            loopback.running.node.watch.import(&pairs, now);
        }
        let next_minute = UnixMicros(now.0 - now.0 % MINUTE.0) + MINUTE;
        let crowd = Crowd { players, queue: VecDeque::new(), next_minute };
        let mut stage = Self { loopback, crowd, exception_until: UnixMicros(0) };
        if mode == Mode::Legacy {
            stage.keep_exception().await?;
        }
        Ok(stage)
    }

    /// In legacy mode: has the tool's tokens taken without proof, for as long as such an exception may last.
    ///
    /// # Errors
    /// The node's refusal.
    pub(crate) async fn keep_exception(&mut self) -> Result<()> {
        let until = clock::unix_now() + EXCEPTION;
        let exception = Command::BearerException {
            integration: self.crowd.tool()?.onboarded.integration,
            owner: "ana".into(),
            reason: "the tool cannot make proofs".into(),
            until,
        };
        self.loopback.command(exception, true).await?;
        self.exception_until = until;
        Ok(())
    }

    /// Whether there is an exception, and it has run out.
    pub(crate) fn exception_ran_out(&self) -> bool {
        self.exception_until.0 > 0 && self.exception_until <= clock::unix_now()
    }
}

impl Crowd {
    /// The integration that is attacked.
    ///
    /// # Errors
    /// None: there always is one.
    pub(crate) fn tool(&self) -> Result<&Player> {
        self.players.first().context("the tool is the first player")
    }

    /// As [`Crowd::tool`].
    ///
    /// # Errors
    /// None: there always is one.
    pub(crate) fn tool_mut(&mut self) -> Result<&mut Player> {
        self.players.first_mut().context("the tool is the first player")
    }

    /// The next honest request before `until`, of the player with the number. `density`: which share of the model's are made; `tool`: of the
    /// tool's.
    pub(crate) fn next(
        &mut self,
        until: UnixMicros,
        density: f64,
        tool: f64,
    ) -> Option<(usize, Ask)> {
        while self.queue.is_empty() && self.next_minute < until {
            let mut asks = Vec::new();
            for (at, player) in self.players.iter_mut().enumerate() {
                let density = if at == 0 { tool } else { density };
                let minute = player.load.minute(self.next_minute, density);
                asks.extend(minute.into_iter().map(|ask| (at, ask)));
            }
            asks.sort_by_key(|(_, ask)| ask.at);
            self.queue.extend(asks);
            self.next_minute = self.next_minute + MINUTE;
        }
        if self.queue.front().is_none_or(|(_, ask)| ask.at >= until) {
            return None;
        }
        self.queue.pop_front()
    }

    /// Nobody asks for anything until `at`.
    pub(crate) fn skip_to(&mut self, at: UnixMicros) {
        self.queue.clear();
        self.next_minute = UnixMicros(at.0 - at.0 % MINUTE.0) + MINUTE;
    }
}

impl Player {
    /// The path its software asks for.
    pub(crate) fn path(&self, scenario: &Scenario, ask: &Ask) -> String {
        self.path.replace(rehearsal::scenario::SUBJECT, &scenario.subjects.id(ask.subject))
    }

    /// The grant under which a subject is asked for.
    pub(crate) fn grant_of(&self, subject: u64) -> usize {
        let grants = self.grants.len() as u64;
        let part = (self.people.related / grants.max(1)).max(1);
        usize::try_from(subject / part % grants.max(1)).unwrap_or(0)
    }

    /// Its software that uses one of its grants from one of its networks.
    pub(crate) fn software(
        &mut self,
        loopback: &Loopback,
        grant: usize,
        network: u32,
    ) -> &mut Software {
        let id = self.grants.get(grant).copied().unwrap_or(self.onboarded.grant);
        let onboarded = Onboarded {
            grant: id,
            from: moved(self.onboarded.from, network),
            ..self.onboarded.clone()
        };
        self.software
            .entry((grant, network))
            .or_insert_with(|| Software::new(loopback.software(&onboarded)))
    }
}

/// The integration's address after so many moves to another network.
fn moved(from: IpAddr, times: u32) -> IpAddr {
    match from {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            let times = u8::try_from(times % 100).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::new(a, b, c.wrapping_add(times), d))
        }
        IpAddr::V6(_) => from,
    }
}

async fn player(loopback: &Loopback, scenario: &Scenario, seed: u64) -> Result<Player> {
    let Tool { class, get, operations, classes, purpose, budget, grants } = &scenario.tool;
    let related = scenario.subjects.related;
    let people = People { first: 0, related, count: scenario.subjects.count };
    let operations: Vec<&str> = operations.iter().map(String::as_str).collect();
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    let first = scenario.subjects.id(0);
    let tried = get.replace(rehearsal::scenario::SUBJECT, &first);
    let application = Application {
        slug: TOOL,
        vendor: "Target Ltd.",
        operations: &operations,
        classes: &classes,
        purpose,
        budget: limits(budget),
        days: DAYS,
        // A page after the first subject holds the second.
        sandbox: (&tried, &scenario.subjects.id(u64::from(get.contains("after=")))),
    };
    let from = IpAddr::from([127, 10, 1, 1]);
    let onboarded = loopback.onboard(&application, from).await.context(scenario.id.clone())?;
    let mut all = vec![onboarded.grant];
    if *grants > 1 {
        all.clear();
        let withdraw = Command::GrantWithdraw { grant: onboarded.grant };
        loopback.command(withdraw, false).await?;
        let part = related / u64::from(*grants);
        let expires = clock::unix_now() + Micros::from_secs(DAYS * 86_400);
        for n in 0..u64::from(*grants) {
            let subjects = (n * part..(n + 1) * part)
                .map(|number| SubjectId::new(&scenario.subjects.id(number)).map(SubjectText));
            let subjects = subjects.collect::<Option<Vec<_>>>().context("a subject's id")?;
            let scope = Scope::Consenting { subjects };
            let add = onboarding::grant(&application, onboarded.integration, scope, expires)?;
            all.push(onboarding::id_of(&add));
            loopback.command(add, true).await?;
        }
    }
    let load = Load::new(*class, "tool", seed, people, (UnixMicros(0), UnixMicros(0)));
    let (path, software) = (get.clone(), BTreeMap::new());
    Ok(Player { onboarded, grants: all, path, load, people, software })
}

/// An honest integration beside the tool: it reads what billing needs.
async fn bystander(
    loopback: &Loopback,
    scenario: &Scenario,
    class: Class,
    number: u32,
    at: usize,
    seed: u64,
) -> Result<Player> {
    let slug = format!("honest{at}-{}", class.as_str());
    let related = 10_000;
    let people = People { first: 10_000 * at as u64, related, count: scenario.subjects.count };
    let first = scenario.subjects.id(0);
    let application = Application {
        slug: &slug,
        vendor: "Honest Ltd.",
        operations: &["getAccount"],
        classes: &["user.unique_id", "user.contact.email", "user.account.plan"],
        purpose: "billing",
        budget: Limits { burst: 5_000, hour: 50_000, day: 100_000 },
        days: DAYS,
        sandbox: (&format!("/v1/accounts/{first}"), &first),
    };
    let place = u8::try_from(at % 200).unwrap_or(0);
    let from = IpAddr::from([127, 20 + place, 1, 1]);
    let onboarded = loopback.onboard(&application, from).await?;
    let name = format!("{} {number}", class.as_str());
    let load = Load::new(class, &name, seed, people, (UnixMicros(0), UnixMicros(0)));
    let (path, software) = ("/v1/accounts/{subject}".to_owned(), BTreeMap::new());
    Ok(Player { grants: vec![onboarded.grant], onboarded, path, load, people, software })
}

fn limits(budget: &Budget) -> Limits {
    Limits { burst: budget.burst, hour: budget.hour, day: budget.day }
}

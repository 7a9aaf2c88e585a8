//! The detectors after release: folds observations of proved callers into signals, in bounded memory, told the time.
//!
//! The guards' own findings come in as [`Event`]s, because what a guard found and what a statistic found may be two facts about one
//! caller. One statistic throttles and pages; two families in one stream sever; nothing else here does.

use crate::NetworkGroup;
use crate::baseline::{Baseline, Tokens};
use crate::contributors::Contributors;
use crate::cusum::centi;
use crate::defaults::Defaults;
use crate::detector::{Detector, Event};
use crate::lru::Lru;
use crate::observation::{Asked, Inner, Observation};
use crate::paging::Paging;
use crate::relationships::{Relationships, mix};
use crate::signal::{Cause, Containment, Signal};
use crate::statistic::{self, Family, Statistic};
use crate::stream::{Judge, Secs, Standing, Stream, Subject, Told, secs, span_secs};
use crate::windows::Windows;
use model::{
    ClassSet, CredentialId, GrantId, IntegrationId, OperationId, OperationKind, UnixMicros,
};
use std::collections::BTreeSet;

/// The state of every detector of a node.
///
/// Bounded by [`Defaults`]: 5,000 credentials in 20 networks each take 63 MiB, relationships, habits and budgets included
/// (`cargo run --release -p detection --example detection_speed`). Full, it forgets what was active least recently. A holder of a valid
/// key who comes from a hundred thousand networks can so make every stream begin anew; those of operations stay.
#[derive(Debug)]
pub struct Detectors {
    defaults: Defaults,
    guards: Detector,
    relationships: Relationships,
    streams: Lru<(CredentialId, Group), Stream>,
    operations: Lru<OperationId, Fleet>,
    operations_made: u32,
    integrations: Lru<IntegrationId, Baseline>,
    callers: Lru<CredentialId, Caller>,
    uses: Lru<(CredentialId, u32), Used>,
    /// By integration too, so that no neighbour behind one address can make another look bad.
    networks: Lru<(IntegrationId, NetworkGroup), Tokens>,
    /// When a bearer's token was last told of, by whose it is and where it came from.
    elsewhere: Lru<(CredentialId, GrantId, NetworkGroup), Secs>,
    /// When a rule was last told of a network whose requests proved nothing.
    strangers: Lru<(NetworkGroup, &'static str), Secs>,
    spreads: Lru<IntegrationId, Spread>,
    /// The streams that throttled a grant.
    throttled: Lru<(GrantId, CredentialId, Group), ()>,
    /// Holds the subjects of a request; kept to spare an allocation each time.
    subjects: Vec<Subject>,
    paging: Paging,
    shadow: BTreeSet<&'static str>,
}

/// [`NetworkGroup::number`].
type Group = u64;

/// What everybody does through one operation.
#[derive(Debug, Default)]
struct Fleet {
    number: u32,
    stream: Stream,
    learned: Baseline,
    /// Who made the strangers since their scores were last zero, and who the misses.
    strangers: Contributors,
    misses: Contributors,
}

/// What one credential did, as far as kinds of operations go.
#[derive(Clone, Copy, Debug)]
struct Caller {
    integration: IntegrationId,
    first: Secs,
    /// First use of list, count and export.
    kinds: [Secs; 3],
    recon_told: Secs,
}

/// The last use of an operation by a credential, and the classes it ever got.
#[derive(Clone, Copy, Debug)]
struct Used {
    last: Secs,
    classes: ClassSet,
}

/// The last credential of an integration with a finding from a new network.
#[derive(Clone, Copy, Debug)]
struct Spread {
    at: UnixMicros,
    credential: CredentialId,
    finding: &'static str,
}

/// Where what a request is about stands in each map. Nothing is added to those before its fold is over.
#[derive(Clone, Copy, Debug)]
struct Places {
    fleet: u32,
    integration: u32,
    caller: u32,
    stream: u32,
}

const KINDS: [OperationKind; 3] =
    [OperationKind::List, OperationKind::Count, OperationKind::Export];
/// Findings from new networks remembered, tokens from elsewhere, and streams that throttled.
const ELSEWHERE_MAX: usize = 4_096;

impl Detectors {
    /// Detectors that have seen nothing yet.
    pub fn new(defaults: &Defaults) -> Self {
        Self {
            defaults: *defaults,
            guards: Detector::default(),
            relationships: Relationships::for_pairs(0),
            streams: Lru::new(defaults.streams_max),
            operations: Lru::new(defaults.operations_max),
            operations_made: 0,
            integrations: Lru::new(defaults.integrations_max),
            callers: Lru::new(defaults.credentials_max),
            uses: Lru::new(defaults.uses_max),
            networks: Lru::new(defaults.networks_max),
            elsewhere: Lru::new(ELSEWHERE_MAX),
            strangers: Lru::new(defaults.networks_max),
            spreads: Lru::new(ELSEWHERE_MAX),
            throttled: Lru::new(ELSEWHERE_MAX),
            subjects: Vec::new(),
            paging: Paging::default(),
            shadow: BTreeSet::new(),
        }
    }

    /// Puts exactly these rules in shadow: what rests on one of them is told as what would have been done.
    pub fn shadow(&mut self, rules: BTreeSet<&'static str>) {
        self.guards.shadow(rules.clone());
        self.shadow = rules;
    }

    /// Folds one observation in; the signals it completes, most often none.
    pub fn fold(&mut self, seen: &Observation<'_>, windows: &Windows) -> Vec<Signal> {
        let signals = self.find(seen, windows);
        self.finish(signals)
    }

    fn finish(&mut self, mut signals: Vec<Signal>) -> Vec<Signal> {
        for signal in &mut signals {
            signal.shadow = signal.rests_on().iter().any(|rule| self.shadow.contains(rule));
            // What pages nobody is no page that another signal would repeat.
            if !signal.shadow {
                self.paging.calm(signal);
            }
        }
        signals
    }

    fn find(&mut self, seen: &Observation<'_>, windows: &Windows) -> Vec<Signal> {
        let mut causes = Causes { at: seen.at, signals: Vec::new() };
        let fleet = self.operation(seen.operation);
        let operation = self.operations.at(fleet).number;
        let integration = self.integrations.place(&seen.integration, Baseline::default);
        let now = secs(seen.at);
        let made =
            Caller { integration: seen.integration, first: now, kinds: [0; 3], recon_told: 0 };
        let caller = self.callers.place(&seen.credential, || made);
        let of = (seen.credential, NetworkGroup::number(seen.network));
        let stream = self.streams.place(&of, Stream::default);
        // All are looked for before any is read, so that the processor fetches them together.
        let at = Places { fleet, integration, caller, stream };
        let recon = self.firsts(seen, at, operation, windows, &mut causes);
        self.tokens(seen, windows, &mut causes);
        if seen.outcome == Inner::Released {
            let learned = self.integrations.at(integration);
            if let Some(permille) = learned.drift(operation, &seen.classes, seen.at, &self.defaults)
            {
                let limit_permille = self.defaults.drift_permille;
                if permille > limit_permille {
                    causes.push(
                        Cause::Drift { integration: seen.integration, permille, limit_permille },
                        vec![],
                    );
                }
            }
        }
        let is_known = self.relationships.know(seen.integration);
        if seen.names_subjects && is_known {
            for asked in seen.subjects {
                self.relationships.relate(seen.integration, asked.key, seen.at);
            }
        }
        let backfills = windows.backfills(seen.integration, seen.operation, seen.at);
        let is_judged = is_known && !backfills && !seen.names_subjects;
        let mut subjects = std::mem::take(&mut self.subjects);
        subjects.extend(seen.subjects.iter().map(|asked| Subject {
            place: asked.place,
            is_stranger: is_judged.then(|| !self.relationships.are(seen.integration, asked.key)),
            is_chosen: seen.kind.chooses() && !backfills,
        }));
        self.caller_stream(seen, at, &subjects, recon, backfills, &mut causes);
        self.fleet_stream(seen, at, &subjects, &mut causes);
        subjects.clear();
        self.subjects = subjects;
        causes.signals
    }

    /// Takes in what a record of the log says, oldest first: as [`Detectors::fold`], without signals.
    pub fn replay(&mut self, seen: &Observation<'_>, windows: &Windows) {
        self.find(seen, windows);
    }

    /// Folds in what a guard found.
    pub fn event(&mut self, event: &Event, now: UnixMicros) -> Vec<Signal> {
        let signals = self.find_of(event, now);
        self.finish(signals)
    }

    fn find_of(&mut self, event: &Event, now: UnixMicros) -> Vec<Signal> {
        if let Event::NewNetwork { credential, network } = event {
            let stream =
                self.streams.touch(&(*credential, NetworkGroup::number(*network)), Stream::default);
            stream.new_until = secs(now + self.defaults.new_for);
        }
        let mut causes = Causes { at: now, signals: Vec::new() };
        if let Event::BearerElsewhere { integration, credential, grant, network, token } = event {
            let group = NetworkGroup::of(*network);
            if let Some(token) = token {
                let of_network = self.networks.touch(&(*integration, group), Tokens::default);
                if let Some((tokens, usual)) = of_network.add(*token, true, now, &self.defaults) {
                    let within = self.defaults.tokens_within;
                    let cause = Cause::ManyTokens { network: group, tokens, usual, within };
                    // Nobody proved a key: nothing but the network itself can be cut for it.
                    causes.push(cause, vec![Containment::RefuseNetwork(group), Containment::Page]);
                }
            }
            let told = self.elsewhere.touch(&(*credential, *grant, group), || 0);
            if *told > 0 && secs(now).saturating_sub(*told) < span_secs(self.defaults.told_every) {
                return causes.signals;
            }
            *told = secs(now);
        }
        let mut found = self.guards.fold(event, now);
        if let Event::BadProof { network }
        | Event::ListedNetwork { network, credential: None, .. } = event
        {
            // Whoever sends requests without a key says how many there are.
            let (group, told_every) =
                (NetworkGroup::of(*network), span_secs(self.defaults.told_every));
            found.retain(|signal| {
                let told = self.strangers.touch(&(group, signal.rule()), || 0);
                let is_due = *told == 0 || secs(now).saturating_sub(*told) >= told_every;
                if is_due {
                    *told = secs(now);
                }
                is_due
            });
        }
        let suspended = found.iter().find_map(|signal| {
            let Cause::NewNetworkAndMore { credential, other, .. } = signal.cause else {
                return None;
            };
            Some((credential, other))
        });
        causes.signals.splice(0..0, found);
        if let Some((credential, other)) = suspended
            && let Some(integration) =
                self.callers.get(&credential).map(|caller| caller.integration)
        {
            self.spread(integration, credential, other, &mut causes);
        }
        causes.signals
    }

    /// Forgets what led to containments that people lifted, so that they do not come back at once: [`Detector::lifted`], and what streams
    /// hold against the credentials, grants and operations. What was learned stays.
    ///
    /// Looks through every stream once, which takes milliseconds.
    pub fn lifted(&mut self, containments: &[Containment]) {
        self.paging = Paging::default();
        let (mut credentials, mut grants) = (BTreeSet::new(), BTreeSet::new());
        for containment in containments {
            self.guards.lifted(containment);
            match containment {
                Containment::SuspendCredential(credential) => {
                    credentials.insert(*credential);
                }
                Containment::Throttle(grant) => {
                    grants.insert(*grant);
                }
                Containment::SuspendOperation(operation) => {
                    let fleet = self.operations.place(operation, Fleet::default);
                    let Fleet { stream, strangers, misses, .. } = self.operations.at(fleet);
                    stream.forgive();
                    (*strangers, *misses) = Default::default();
                }
                Containment::Sever(integration) | Containment::Restrict(integration) => {
                    let of = self.spreads.iter_mut().find(|(of, _)| *of == integration);
                    if let Some((_, last)) = of {
                        last.at = UnixMicros(0);
                    }
                }
                Containment::RefuseNetwork(network) => {
                    let there = self.networks.iter_mut().filter(|((_, of), _)| of == network);
                    there.for_each(|(_, tokens)| tokens.forgive());
                }
                Containment::Page | Containment::OpenCase => {}
            }
        }
        for fleet in self.operations.iter_mut().map(|(_, fleet)| fleet) {
            for grant in &grants {
                fleet.strangers.forgive(*grant);
                fleet.misses.forgive(*grant);
            }
        }
        let throttled: BTreeSet<_> = (self.throttled.iter_mut())
            .filter(|((grant, ..), ())| grants.contains(grant))
            .map(|((_, credential, group), ())| (*credential, *group))
            .collect();
        for (of, stream) in self.streams.iter_mut() {
            if credentials.contains(&of.0) || throttled.contains(of) {
                stream.forgive();
            }
        }
    }

    /// Makes room for so many relationships, and forgets those there are: [`Relationships::for_pairs`].
    pub fn make_room(&mut self, pairs: usize) {
        self.relationships = Relationships::for_pairs(pairs);
    }

    /// Takes in pairs of an integration and the hash of a subject's id, from an import: [`Relationships::import`].
    pub fn import(&mut self, pairs: &[(IntegrationId, u64)], now: UnixMicros) {
        for (integration, key) in pairs {
            self.relationships.import(*integration, *key, now);
        }
    }

    /// Which integration has to do with which subject.
    pub fn relationships(&self) -> &Relationships {
        &self.relationships
    }

    /// Streams of (credential, network) that are remembered.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// The operation's place. It has its number from first sight on.
    fn operation(&mut self, id: &OperationId) -> u32 {
        let made = self.operations_made;
        let place = self.operations.place(id, || Fleet { number: made, ..Fleet::default() });
        if self.operations.at(place).number == made {
            self.operations_made = made.wrapping_add(1);
        }
        place
    }

    /// What the credential does for the first time. Whether it looks around.
    fn firsts(
        &mut self,
        seen: &Observation<'_>,
        places: Places,
        operation: u32,
        windows: &Windows,
        causes: &mut Causes,
    ) -> bool {
        let now = secs(seen.at);
        let defaults = &self.defaults;
        let caller = self.callers.at(places.caller);
        let age = now.saturating_sub(caller.first);

        let mut is_first = false;
        let got = if seen.outcome == Inner::Released { seen.classes } else { ClassSet::EMPTY };
        let used = self.uses.touch(&(seen.credential, operation), || {
            is_first = true;
            Used { last: now, classes: got }
        });
        is_first |= now.saturating_sub(used.last) >= span_secs(defaults.first_seen_within);
        let union = used.classes.union(&got);
        let classes = if is_first { 0 } else { union.len() - used.classes.len() };
        (used.last, used.classes) = (used.last.max(now), union);
        if age >= span_secs(defaults.first_seen_after)
            && (is_first || classes > 0)
            && !windows.announce_operation(seen.integration, seen.operation, seen.at)
        {
            let page = if is_first && seen.kind == OperationKind::Export {
                vec![Containment::Page]
            } else {
                vec![]
            };
            let (credential, operation) = (seen.credential, seen.operation.clone());
            causes.push(Cause::FirstSeen { credential, operation, classes }, page);
        }

        let within = span_secs(defaults.recon_within);
        if let Some(first) =
            KINDS.iter().position(|kind| *kind == seen.kind).and_then(|at| caller.kinds.get_mut(at))
            && *first == 0
        {
            *first = now;
        }
        let kinds: Vec<&'static str> = if age < within {
            Vec::new()
        } else {
            let lately = |first: Secs| {
                first >= caller.first.saturating_add(within) && now.saturating_sub(first) < within
            };
            KINDS
                .iter()
                .zip(caller.kinds)
                .filter(|(_, first)| lately(*first))
                .map(|(kind, _)| kind.as_str())
                .collect()
        };
        let looks_around = u32::try_from(kinds.len()).unwrap_or(u32::MAX) >= defaults.recon_kinds;
        if looks_around
            && (caller.recon_told == 0 || now.saturating_sub(caller.recon_told) >= within)
        {
            caller.recon_told = now;
            let (integration, credential) = (seen.integration, seen.credential);
            let cause =
                Cause::Recon { integration, credential, kinds, within: defaults.recon_within };
            causes.push(cause, vec![Containment::Page]);
        }
        looks_around
    }

    fn tokens(&mut self, seen: &Observation<'_>, windows: &Windows, causes: &mut Causes) {
        let Some(token) = seen.token else { return };
        let group = NetworkGroup::of(seen.network);
        let of_network = self.networks.touch(&(seen.integration, group), Tokens::default);
        if let Some((tokens, usual)) = of_network.add(token, false, seen.at, &self.defaults)
            && !windows.announce_network(seen.integration, seen.network, seen.at)
        {
            let within = self.defaults.tokens_within;
            let cause = Cause::ManyTokens { network: group, tokens, usual, within };
            // Others may share the network; the key is its holder's alone.
            let suspend = Containment::SuspendCredential(seen.credential);
            causes.push(cause, vec![suspend, Containment::Page]);
        }
    }

    /// The statistics of what this credential does from this network.
    fn caller_stream(
        &mut self,
        seen: &Observation<'_>,
        places: Places,
        subjects: &[Subject],
        recon: bool,
        backfills: bool,
        causes: &mut Causes,
    ) {
        let group = NetworkGroup::number(seen.network);
        let stream = self.streams.at(places.stream);
        let learned = self.integrations.at(places.integration);
        let defaults = &self.defaults;
        let is_new = stream.is_new(seen.at);
        let judge =
            Judge { defaults, at: seen.at, halved: is_new || seen.is_doubtful, hits_min: 0 };
        let name = || statistic::Stream::Caller {
            integration: seen.integration,
            credential: seen.credential,
            network: NetworkGroup::of(seen.network),
        };

        let [novelty, enumeration, shift] =
            stream.judge_subjects(subjects, seen.outcome == Inner::Held, learned, &judge);
        let lookup = lookup(seen).and_then(|(probe, is_miss)| match probe {
            Some(probe) => stream.judge_lookup(probe, is_miss, &mut learned.misses, &judge),
            None => {
                learned.misses.teach(is_miss, false, seen.at, defaults);
                None
            }
        });
        if recon {
            stream.mark_strong(Family::Recon, seen.at);
        }
        let mut suspended: Option<&'static str> = None;
        for standing in [novelty, enumeration, shift, lookup].into_iter().flatten() {
            // Misses are told when they alarm, and once more when nearly all miss: only then do they throttle.
            let throttles = standing.family != Family::Misses || standing.is_strong;
            if !stream.may_tell(
                Told::Family(standing.family, standing.family == Family::Misses && throttles),
                &judge,
            ) {
                continue;
            }
            if throttles {
                self.throttled.touch(&(seen.grant, seen.credential, group), || ());
            }
            let throttle = throttles.then_some(Containment::Throttle(seen.grant));
            // A bug with bad ids is the vendor's business; misses from somewhere new, or nearly nothing else, are ours.
            let page = (throttles || judge.halved).then_some(Containment::Page);
            let containment = throttle.into_iter().chain(page).collect();
            causes.push(Cause::Statistic(told(&standing, name())), containment);
            if is_new && throttles {
                suspended = first_live(&self.shadow, suspended, standing.family.rule());
            }
        }
        let is_shadowed = |family: Family| self.shadow.contains(family.rule());
        if let Some(families) = stream.two_families(is_shadowed, &judge) {
            let (integration, within) = (seen.integration, defaults.together);
            let cause = Cause::Families { integration, stream: name(), families, within };
            causes.push(cause, vec![Containment::Sever(integration), Containment::OpenCase]);
        }
        if seen.outcome == Inner::Released && !backfills && !seen.subjects.is_empty() {
            let hashes = seen.subjects.iter().map(hash);
            if let Some((subjects, expected)) = stream.count_volume(hashes, learned, &judge) {
                let within = defaults.volume_span;
                // Campaigns and month ends are much, too: alone it wakes nobody.
                let page = judge.halved.then_some(Containment::Page);
                causes.push(
                    Cause::Volume { stream: name(), subjects, expected, within },
                    page.into_iter().collect(),
                );
            }
        }
        if let Some(other) = suspended {
            let (credential, within) = (seen.credential, defaults.new_for);
            let cause = Cause::NewNetworkAndMore { credential, other, within };
            causes.push(cause, vec![Containment::SuspendCredential(credential), Containment::Page]);
            self.spread(seen.integration, credential, other, causes);
        }
    }

    /// The statistics of what everybody does through this operation: finds who divides an attack among keys or networks.
    fn fleet_stream(
        &mut self,
        seen: &Observation<'_>,
        places: Places,
        subjects: &[Subject],
        causes: &mut Causes,
    ) {
        let defaults = &self.defaults;
        let Fleet { stream, learned, strangers, misses, .. } = self.operations.at(places.fleet);
        let judge =
            Judge { defaults, at: seen.at, halved: false, hits_min: defaults.fleet_hits_min };
        // An alarm is made of the hits since its score was zero, so those are whose makers count.
        if stream.is_calm_about_strangers() {
            *strangers = Contributors::default();
        }
        if stream.is_calm_about_misses() {
            *misses = Contributors::default();
        }
        if subjects.iter().any(|subject| subject.is_stranger == Some(true)) {
            strangers.add(seen.credential, seen.grant);
        }
        let [novelty, enumeration, shift] = stream.judge_subjects(subjects, false, learned, &judge);
        let mut lookup_found = None;
        if let Some((Some(probe), is_miss)) = lookup(seen) {
            if is_miss {
                misses.add(seen.credential, seen.grant);
            }
            lookup_found = stream.judge_lookup(probe, is_miss, &mut learned.misses, &judge);
        }
        let mut suspects: Option<(CredentialId, &'static str)> = None;
        for standing in [novelty, enumeration, shift, lookup_found].into_iter().flatten() {
            if !stream.may_tell(
                Told::Family(
                    standing.family,
                    standing.family == Family::Misses && standing.is_strong,
                ),
                &judge,
            ) {
                continue;
            }
            let makers = match standing.family {
                Family::Novelty | Family::Shift => strangers.most(),
                Family::Misses => misses.most(),
                Family::Enumeration | Family::Recon | Family::Budget => None,
            };
            let most = makers.filter(|_| standing.is_strong);
            let throttle = most.map(|(_, grant)| Containment::Throttle(grant));
            // Where one caller makes most of it, its own stream says what it is worth; divided among many, nobody else does.
            let page = (makers.is_none() || standing.is_strong).then_some(Containment::Page);
            let containment = throttle.into_iter().chain(page).collect();
            let name = statistic::Stream::Fleet { operation: seen.operation.clone() };
            causes.push(Cause::Statistic(told(&standing, name)), containment);
            if let Some((credential, _)) = most {
                let held = suspects.filter(|(held, _)| *held == credential).map(|(_, rule)| rule);
                let rule = first_live(&self.shadow, held, standing.family.rule());
                suspects = rule.map(|rule| (credential, rule));
            }
        }
        // Whoever makes most of it, from a network that is new, shows two findings of his own.
        let group = NetworkGroup::number(seen.network);
        if let Some((credential, other)) = suspects
            && credential == seen.credential
            && self.streams.get(&(credential, group)).is_some_and(|stream| stream.is_new(seen.at))
        {
            let within = self.defaults.new_for;
            let cause = Cause::NewNetworkAndMore { credential, other, within };
            causes.push(cause, vec![Containment::SuspendCredential(credential), Containment::Page]);
            self.spread(seen.integration, credential, other, causes);
        }
    }

    /// A finding from a new network about one credential or grant; about a second one of the same integration, it is the integration's.
    fn spread(
        &mut self,
        integration: IntegrationId,
        credential: CredentialId,
        finding: &'static str,
        causes: &mut Causes,
    ) {
        let this = Spread { at: causes.at, credential, finding };
        let within = self.defaults.together;
        let is_shadowed = |of: &Spread| self.shadow.contains(of.finding);
        let kept = self.spreads.touch(&integration, || this);
        let last = *kept;
        let is_near = causes.at.since(last.at) < within;
        // What only would have been done takes the place of nothing that was.
        if !is_near || is_shadowed(&last) || !is_shadowed(&this) {
            *kept = this;
        }
        if is_near && last.credential != credential {
            let finding = if is_shadowed(&last) { last.finding } else { finding };
            let cause = Cause::Spread { integration, finding, holders: 2, within };
            causes.push(cause, vec![Containment::Sever(integration), Containment::OpenCase]);
        }
    }
}

/// What one fold found.
struct Causes {
    at: UnixMicros,
    signals: Vec<Signal>,
}

impl Causes {
    fn push(&mut self, cause: Cause, containment: Vec<Containment>) {
        self.signals.push(Signal { at: self.at, cause, containment, shadow: false });
    }
}

/// Of two rules that found the same, the first that is not in shadow.
fn first_live(
    shadow: &BTreeSet<&'static str>,
    held: Option<&'static str>,
    rule: &'static str,
) -> Option<&'static str> {
    held.filter(|held| !shadow.contains(held)).or(Some(rule))
}

/// What was looked up, if that is left of it, and whether nothing was found; none if it was no lookup.
fn lookup(seen: &Observation<'_>) -> Option<(Option<u64>, bool)> {
    let is_miss = match seen.outcome {
        Inner::NotFound | Inner::Denied => true,
        Inner::Released => seen.kind == OperationKind::Search && seen.subjects.is_empty(),
        Inner::Held => return None,
    };
    seen.kind.chooses().then_some((seen.probe, is_miss))
}

fn told(standing: &Standing, stream: statistic::Stream) -> Statistic {
    Statistic {
        family: standing.family,
        stream,
        hits: standing.hits,
        of: standing.of,
        usual_permille: centi(standing.usual * 10.0),
        hits_in_all: standing.hits_in_all,
        score_centi: standing.score_centi,
        limit_centi: centi(standing.h),
    }
}

fn hash(asked: &Asked) -> u64 {
    mix(u64::from(asked.ordinal.0))
}

#[cfg(test)]
mod tests;

use super::*;
use crate::{Evidence, KeyedHash, RULES, Window, WindowKind};
use model::{ClientIp, Micros, SubjectOrdinal};
use proptest::prelude::*;

const CRM: IntegrationId = IntegrationId::from_bytes([1; 16]);
const KEY: CredentialId = CredentialId::from_bytes([2; 16]);
const GRANT: GrantId = GrantId::from_bytes([3; 16]);
/// A network where nobody was seen.
const ELSEWHERE: [u8; 4] = [203, 0, 113, 9];
/// A Monday at noon.
const NOON: u64 = 20_000 * 86_400 + 4 * 86_400 + 43_200;
/// Subjects that have a relationship.
const KNOWN: std::ops::Range<u64> = 0..1_000_000;

fn asked(id: u64) -> Asked {
    let ordinal = SubjectOrdinal(u32::try_from(id % 0xffff_ffff).unwrap());
    Asked { ordinal, place: id, key: KeyedHash::new([9; 16]).of(&id.to_le_bytes()) }
}

/// Ids that are nobody's neighbours; from `KNOWN` or beyond it.
fn far(n: u64, is_stranger: bool) -> u64 {
    let id = n.wrapping_mul(7_919) % 900_000;
    if is_stranger { KNOWN.end + id * 1_000 } else { id }
}

/// A node of the detectors' kind: a clock, one integration whose relationships are imported, and what was signalled.
struct Scene {
    detectors: Detectors,
    windows: Windows,
    micros: u64,
    told: Vec<Signal>,
    operation: OperationId,
}

/// One request, as a test wants it.
#[derive(Clone, Debug)]
struct Request {
    credential: CredentialId,
    integration: IntegrationId,
    grant: GrantId,
    network: [u8; 4],
    kind: OperationKind,
    outcome: Inner,
    subjects: Vec<u64>,
    probe: Option<u64>,
    token: Option<u64>,
}

fn reads(id: u64) -> Request {
    Request {
        credential: KEY,
        integration: CRM,
        grant: GRANT,
        network: [10, 0, 0, 1],
        kind: OperationKind::Read,
        outcome: Inner::Released,
        subjects: vec![id],
        probe: Some(id),
        token: None,
    }
}

fn misses(probe: u64) -> Request {
    Request { outcome: Inner::NotFound, subjects: vec![], ..reads(probe) }
}

impl Scene {
    fn new() -> Self {
        Self::with_strangers(0, &mut Coin(0))
    }

    /// So many in a thousand are strangers, as is usual here.
    fn with_strangers(permille: u64, coin: &mut Coin) -> Self {
        let mut detectors = Detectors::new(&Defaults::default());
        // Every subject of `far` that is no stranger.
        let pairs: Vec<_> = (0..21_000).map(|n| (CRM, asked(far(n, false)).key)).collect();
        detectors.import(&pairs, UnixMicros::from_secs(NOON));
        let mut scene = Self {
            detectors,
            windows: Windows::default(),
            micros: (NOON - 900) * 1_000_000,
            told: Vec::new(),
            operation: OperationId::new("getPerson").unwrap(),
        };
        // What is usual: a subject a second, each with a relationship. Too few for a shift to be judged.
        for n in 20_000..20_900 {
            let is_stranger = coin.permille() < permille;
            assert!(scene.after(1.0, &reads(far(n, is_stranger))).is_empty());
        }
        scene
    }

    /// Folds a request in after so many seconds; the rules that told.
    fn after(&mut self, secs: f64, request: &Request) -> Vec<&'static str> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds of a test"
        )]
        let pause = (secs * 1e6) as u64;
        self.micros += pause;
        let subjects: Vec<_> = request.subjects.iter().map(|id| asked(*id)).collect();
        let seen = Observation {
            at: UnixMicros(self.micros),
            integration: request.integration,
            credential: request.credential,
            grant: request.grant,
            network: ClientIp::from_peer(request.network.into()),
            token: request.token,
            is_bearer: false,
            is_doubtful: false,
            names_subjects: false,
            operation: &self.operation,
            kind: request.kind,
            outcome: request.outcome,
            subjects: &subjects,
            classes: ClassSet::EMPTY,
            probe: request.probe,
        };
        let signals = self.detectors.fold(&seen, &self.windows);
        let rules = signals.iter().map(Signal::rule).collect();
        self.told.extend(signals);
        rules
    }

    fn event(&mut self, event: &Event) -> Vec<Signal> {
        self.detectors.event(event, UnixMicros(self.micros))
    }

    /// A second later a user's token comes without proof from [`ELSEWHERE`].
    fn stolen_token(&mut self, token: u64) -> Vec<Signal> {
        self.micros += 1_000_000;
        let network = ClientIp::from_peer(ELSEWHERE.into());
        let (integration, credential, grant) = (CRM, KEY, GRANT);
        let token = Some(token);
        self.event(&Event::BearerElsewhere { integration, credential, grant, network, token })
    }

    fn elapsed(&self) -> u64 {
        self.micros / 1_000_000 - NOON
    }

    fn severs(&self) -> usize {
        self.told
            .iter()
            .flat_map(|signal| &signal.containment)
            .filter(|it| matches!(it, Containment::Sever(_)))
            .count()
    }
}

/// A repeatable coin.
struct Coin(u64);

impl Coin {
    fn permille(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % 1_000
    }
}

#[test]
fn subjects_without_a_relationship_throttle_and_page_once() {
    let mut scene = Scene::new();
    for n in 0..29 {
        assert!(scene.after(0.5, &reads(far(n, true))).is_empty(), "{n}");
    }
    assert_eq!(scene.after(0.5, &reads(far(29, true))), ["novelty", "fleet"]);
    let signal = &scene.told[0];
    assert_eq!(signal.containment, [Containment::Throttle(GRANT), Containment::Page]);
    assert_eq!(
        signal.to_string(),
        format!(
            "30 of the last 32 subjects of {KEY} from 10.0.0.0/24 have no relationship with {CRM}, 1 in 32 is usual: throttle {GRANT}, page"
        )
    );
    assert!(signal.evidence().contains(&("hits_in_all", Evidence::Count(30))));
    for n in 30..60 {
        assert!(scene.after(0.5, &reads(far(n, true))).is_empty(), "{n}");
    }
}

#[test]
fn a_few_more_strangers_than_usual_are_a_shift_and_as_many_as_usual_are_none() {
    let mut coin = Coin(5);
    let mut scene = Scene::with_strangers(30, &mut coin);
    let mut read = |scene: &mut Scene, n, strangers| {
        let is_stranger = coin.permille() < strangers;
        scene.after(1.0, &reads(far(n, is_stranger)))
    };
    // Thirty in a thousand, of which novelty and shift learn, and as many again.
    for n in 0..20_000 {
        let told = read(&mut scene, n, 30);
        assert!(told.is_empty(), "{n} {told:?} {}", scene.told[0]);
    }
    // A stranger in nine is below what novelty can see.
    let found = (20_000..20_500).find(|n| !read(&mut scene, *n, 110).is_empty());
    assert!(found.is_some_and(|n| n < 20_400), "{found:?}");
    let signal = &scene.told[0];
    assert_eq!(signal.rule(), "shift");
    assert_eq!(signal.containment, [Containment::Throttle(GRANT), Containment::Page]);
    let sentence = signal.cause.to_string();
    assert!(sentence.contains("have no relationship with"), "{sentence}");
    assert_eq!(scene.severs(), 0);
}

#[test]
fn a_walk_through_ids_is_not_hidden_by_those_who_come_back() {
    let walks = |returns: u64| {
        let mut scene = Scene::new();
        let mut found = None;
        for n in 0..400 {
            let mut told = scene.after(0.5, &reads(500_000 + n));
            for _ in 0..returns {
                told.extend(scene.after(0.1, &reads(500_000)));
            }
            if told.contains(&"enumeration") {
                found = Some(n);
                break;
            }
        }
        found
    };
    assert!(walks(0).is_some_and(|n| n < 60));
    // However many come back between two steps, they are one that is no neighbour.
    assert!(walks(1).is_some_and(|n| n < 120));
    assert_eq!(walks(1), walks(5));
}

#[test]
fn a_page_that_ends_with_acquaintances_alarms_by_its_strangers() {
    let mut scene = Scene::new();
    let subjects = (0..60).map(|n| far(n, n < 50)).collect();
    let page = Request { kind: OperationKind::List, subjects, ..reads(0) };
    assert_eq!(scene.after(1.0, &page), ["novelty", "fleet"]);
}

#[test]
fn an_integration_whose_relationships_nobody_imported_is_not_judged_by_them() {
    let mut scene = Scene::new();
    let other = IntegrationId::from_bytes([8; 16]);
    for n in 0..500 {
        assert!(
            scene.after(1.0, &Request { integration: other, ..reads(far(n, true)) }).is_empty()
        );
    }
}

#[test]
fn a_subject_read_again_is_not_judged_again() {
    let mut scene = Scene::new();
    for n in 0..2_000 {
        assert!(scene.after(0.1, &reads(far(n % 20, true))).is_empty());
    }
}

#[test]
fn ids_in_order_throttle_and_the_order_of_a_list_is_the_origins() {
    let list = |id| Request { kind: OperationKind::List, ..reads(id) };
    let mut scene = Scene::new();
    let found =
        (0..300).find(|n| scene.after(1.0, &reads(2_000_000 + n * 3)).contains(&"enumeration"));
    assert!(found.is_some_and(|n| (50..60).contains(&n)), "{found:?}");
    let mut scene = Scene::new();
    assert!((0..300).all(|n| !scene.after(1.0, &list(n * 3)).contains(&"enumeration")));
}

#[test]
fn an_oracle_alarms_after_nine_lookups_and_throttles_when_nearly_all_miss() {
    let mut scene = Scene::new();
    let alarm = (1..100).find(|n| scene.after(5.0, &misses(n * 1_000)).contains(&"misses"));
    assert_eq!(alarm, Some(8));
    assert_eq!(scene.told[0].containment, [], "it may be a bug with bad ids");
    let throttle = (100..200).find(|n| scene.after(5.0, &misses(n * 1_000)).contains(&"misses"));
    assert_eq!(throttle, Some(122), "the thirty-first");
    let all = |what: Containment| {
        scene.told.iter().filter(|signal| signal.containment.contains(&what)).count()
    };
    assert!(all(Containment::Throttle(GRANT)) >= 1);
    assert_eq!(all(Containment::Page), 1, "{:?}", scene.told);
}

#[test]
fn a_bug_that_asks_for_the_same_record_again_is_one_miss_and_one_of_bad_ids_wakes_nobody() {
    let mut scene = Scene::new();
    assert!((0..1_000).all(|_| scene.after(0.1, &misses(7)).is_empty()));
    let mut coin = Coin(1);
    for n in 0..2_700 {
        let request = if coin.permille() < 600 { misses(n * 77) } else { reads(far(n, false)) };
        scene.after(0.33, &request);
    }
    assert!(scene.told.iter().any(|signal| signal.rule() == "misses"));
    assert!(scene.told.iter().all(|signal| signal.containment.is_empty()), "{:?}", scene.told);
}

#[test]
fn misses_from_a_new_network_page_before_they_are_strong() {
    let mut scene = Scene::new();
    let network = [192, 0, 2, 1];
    let event = Event::NewNetwork { credential: KEY, network: ClientIp::from_peer(network.into()) };
    scene.detectors.event(&event, UnixMicros(scene.micros));
    let mut coin = Coin(1);
    let found = (0..200).any(|n| {
        let request = if coin.permille() < 600 { misses(n * 77) } else { reads(far(n, false)) };
        scene.after(60.0, &Request { network, ..request }).contains(&"misses")
    });
    assert!(found);
    let first = scene.told.iter().find(|signal| signal.rule() == "misses").unwrap();
    assert_eq!(first.containment, [Containment::Page]);
}

#[test]
fn an_alarm_that_goes_on_throttles_again_and_pages_once_a_day() {
    let mut scene = Scene::new();
    let hold = crate::Hold { window: Micros::from_secs(60), limit: 60, counted: 60, asked: 1 };
    let held = Event::BudgetHold { credential: KEY, grant: GRANT, hold };
    let holds = |scene: &mut Scene, times: u32, pause_secs: u64| {
        let mut counts = [0, 0];
        for _ in 0..times {
            scene.micros += pause_secs * 1_000_000;
            for signal in scene.detectors.event(&held, UnixMicros(scene.micros)) {
                for (count, what) in
                    counts.iter_mut().zip([Containment::Throttle(GRANT), Containment::Page])
                {
                    *count += u32::from(signal.containment.contains(&what));
                }
            }
        }
        counts
    };
    assert_eq!(holds(&mut scene, 120, 60), [60, 1], "two hours of it");
    // Another rule that throttles the same grant is no news to whoever was told.
    let novel =
        (0..40).map(|n| scene.after(1.0, &reads(far(n, true)))).collect::<Vec<_>>().concat();
    assert!(novel.contains(&"novelty"));
    let novelty = scene.told.iter().find(|signal| signal.rule() == "novelty").unwrap();
    assert_eq!(novelty.containment, [Containment::Throttle(GRANT)]);
    assert_eq!(holds(&mut scene, 1_440, 60), [720, 1], "a day of it");
    scene.micros += 3_600 * 1_000_000;
    assert_eq!(holds(&mut scene, 2, 1), [1, 1], "after an hour's silence it is another");
    scene.detectors.lifted(&[Containment::Throttle(GRANT)]);
    assert_eq!(holds(&mut scene, 2, 1), [1, 1], "and what people lifted");
}

#[test]
fn a_thousand_proxies_are_found_by_what_all_of_them_ask() {
    let mut scene = Scene::new();
    let mut hits = 0;
    let mut coin = Coin(2);
    for n in 0..5_800_u64 {
        let hit = coin.permille() < 30;
        let [.., high, low] = (n % 1_000).to_be_bytes();
        let network = [100, high, low, 1];
        let request = if hit { reads(far(n, false)) } else { misses(n * 1_000) };
        let rules = scene.after(1.0 / 193.0, &Request { network, ..request });
        hits += u32::from(hit);
        let throttled = scene
            .told
            .iter()
            .any(|signal| signal.containment.contains(&Containment::Throttle(GRANT)));
        if rules.contains(&"fleet") && throttled {
            assert!(hits <= 300 && scene.elapsed() <= 30, "{hits} {}", scene.elapsed());
            return;
        }
    }
    panic!("not found");
}

/// R02, inside: an attacker with the vendor's own key and network on a ticket tool.
fn polled(rate: f64, base: f64, limit_secs: u64) -> (Scene, Option<u64>, Option<u64>, u32) {
    let mut scene = Scene::new();
    let mut coin = Coin(3);
    let (mut throttled, mut severed, mut lost) = (None, None, 0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
    let share = (rate / (rate + base) * 1_000.0) as u64;
    let mut n = 0;
    while scene.elapsed() < limit_secs && severed.is_none() {
        n += 1;
        let attacks = coin.permille() < share;
        let is_stranger = if attacks { coin.permille() >= 30 } else { coin.permille() < 30 };
        // Once throttled, a tenth of the budget is used up, and who was not read yet is held.
        let outcome = if throttled.is_some() && attacks { Inner::Held } else { Inner::Released };
        lost += u32::from(attacks && outcome == Inner::Released);
        scene.after(1.0 / (rate + base), &Request { outcome, ..reads(far(n, is_stranger)) });
        let now = scene.elapsed();
        let did = |what: fn(&Containment) -> bool| {
            scene.told.iter().flat_map(|it| &it.containment).any(what)
        };
        throttled = throttled.or(did(|it| matches!(it, Containment::Throttle(_))).then_some(now));
        severed = did(|it| matches!(it, Containment::Sever(_))).then_some(now);
    }
    (scene, throttled, severed, lost)
}

#[test]
fn an_inside_attacker_is_throttled_and_then_severed() {
    for (rate, base, contained_within, severed_within, lost_max) in
        [(2.0, 0.3, 20, 40, 60), (10.4, 3.0, 10, 30, 60)]
    {
        let (scene, throttled, severed, lost) = polled(rate, base, 600);
        assert!(throttled.is_some_and(|at| at <= contained_within), "{throttled:?}");
        assert!(severed.is_some_and(|at| at <= severed_within), "{severed:?} {:?}", scene.told);
        assert!(lost <= lost_max, "{lost}");
        let last = scene.told.iter().find(|signal| signal.rule() == "families").unwrap();
        assert!(last.to_string().contains(
            "shows subjects without a relationship and a budget that is held again and again"
        ));
    }
}

#[test]
fn an_undeclared_backfill_may_throttle_and_never_severs() {
    for seed in 0..4 {
        let mut scene = Scene::new();
        let mut coin = Coin(seed << 32);
        for n in 0..20_000 {
            let is_stranger = coin.permille() < 300;
            // As if the budget held most of it.
            let outcome = if coin.permille() < 700 { Inner::Held } else { Inner::Released };
            // In order of ids, as backfills go.
            let id = if is_stranger { KNOWN.end + n } else { far(n, false) };
            scene.after(0.17, &Request { outcome, ..reads(id) });
        }
        assert_eq!(scene.severs(), 0, "{seed}");
    }
}

#[test]
fn a_declared_backfill_is_not_judged() {
    let mut scene = Scene::new();
    let at = UnixMicros::from_secs(NOON);
    let kind = WindowKind::Backfill { operation: scene.operation.clone(), subjects_max: 5_000 };
    let window = Window {
        id: "w".into(),
        integration: CRM,
        kind,
        from: at,
        to: at + Micros::from_secs(7_200),
    };
    scene.windows = Windows::new(vec![window]);
    assert!((0..5_000).all(|n| scene.after(0.2, &reads(KNOWN.end + n)).is_empty()));
    scene.micros += 7_200 * 1_000_000;
    assert!(
        (0..100).any(|n| scene.after(0.2, &reads(KNOWN.end + 10_000 + n)).contains(&"novelty"))
    );
}

#[test]
fn strangers_in_order_of_their_ids_are_two_families() {
    let mut scene = Scene::new();
    let n = (0..500).find(|n| scene.after(0.5, &reads(KNOWN.end + n * 3)).contains(&"families"));
    assert!(n.is_some_and(|n| n < 60), "{n:?}");
    assert_eq!(scene.severs(), 1);
    let families = scene.told.iter().find(|signal| signal.rule() == "families").unwrap();
    assert_eq!(families.rests_on(), ["families", "novelty", "enumeration"]);
}

#[test]
fn a_rule_in_shadow_keeps_no_two_others_from_severing() {
    let mut scene = Scene::new();
    scene.detectors.shadow(["novelty"].into());
    for n in 0..60 {
        scene.after(0.5, &reads(KNOWN.end + n * 3));
    }
    let pair = |signal: &&Signal| signal.rule() == "families";
    assert!(scene.told.iter().find(pair).is_some_and(|signal| signal.shadow));
    for probe in 0..60 {
        scene.after(0.5, &misses(2_000_000 + probe * 1_000));
    }
    let last = scene.told.iter().rfind(pair).unwrap();
    assert_eq!(last.rests_on(), ["families", "enumeration", "misses"]);
    assert!(!last.shadow);
}

#[test]
fn a_new_network_halves_the_thresholds_and_suspends_with_a_statistic() {
    let mut scene = Scene::new();
    let network = ClientIp::from_peer([203, 0, 113, 9].into());
    scene.event(&Event::NewNetwork { credential: KEY, network });
    let strange = |n| Request { network: [203, 0, 113, 9], ..reads(far(n, true)) };
    let found =
        (1..100).find(|n| scene.after(60.0, &strange(*n)).contains(&"new_network_and_more"));
    assert_eq!(found, Some(15), "one a minute is found in a quarter of an hour");
    let suspend = Containment::SuspendCredential(KEY);
    assert!(scene.told.iter().any(|signal| signal.containment.contains(&suspend)));
}

/// Whatever was lifted, the next stranger or miss throttles nobody, and so many as at first do again.
#[test]
fn what_people_lifted_is_not_throttled_by_its_old_score() {
    let elsewhere = Request { network: [10, 9, 9, 1], ..reads(0) };
    for lifted in [
        vec![Containment::SuspendCredential(KEY), Containment::Throttle(GRANT)],
        vec![Containment::Throttle(GRANT)],
        vec![Containment::Sever(CRM), Containment::SuspendCredential(KEY)],
    ] {
        let mut scene = Scene::new();
        let mut throttles = |n: u64, lifted: Option<&[Containment]>| {
            if let Some(lifted) = lifted {
                scene.micros += 901 * 1_000_000;
                scene.detectors.lifted(lifted);
            }
            let subjects = vec![far(n, true)];
            let of_key = scene.after(0.5, &Request { subjects, ..elsewhere.clone() });
            of_key.contains(&"novelty")
        };
        assert_eq!((0..40).filter(|n| throttles(*n, None)).count(), 1);
        assert!(!throttles(40, Some(&lifted)), "{lifted:?}");
        assert_eq!((41..80).filter(|n| throttles(*n, None)).count(), 1, "anew");
    }
    // Were nothing lifted, the score would throttle again at once.
    let mut scene = Scene::new();
    (0..40).for_each(|n| drop(scene.after(0.5, &reads(far(n, true)))));
    assert!(scene.after(901.0, &reads(far(40, true))).contains(&"novelty"));
}

#[test]
fn what_people_lifted_of_an_operation_or_a_network_begins_anew() {
    let mut scene = Scene::new();
    let misses_of =
        |n: u64| Request { network: [100, 0, u8::try_from(n).unwrap(), 1], ..misses(n * 1_000) };
    (0..100).for_each(|n| drop(scene.after(0.1, &misses_of(n))));
    let fleet = |told: &[Signal]| told.iter().filter(|it| it.rule() == "fleet").count();
    let before = fleet(&scene.told);
    assert!(before > 0);
    scene.micros += 901 * 1_000_000;
    scene.detectors.lifted(&[Containment::SuspendOperation(scene.operation.clone())]);
    (100..120).for_each(|n| drop(scene.after(0.1, &misses_of(n))));
    assert_eq!(fleet(&scene.told), before);
    (120..200).for_each(|n| drop(scene.after(0.1, &misses_of(n))));
    assert!(fleet(&scene.told) > before, "anew");

    let network = ClientIp::from_peer([203, 0, 113, 9].into());
    let event = |token| Event::BearerElsewhere {
        integration: CRM,
        credential: KEY,
        grant: GRANT,
        network,
        token: Some(token),
    };
    let refuse = Containment::RefuseNetwork(NetworkGroup::of(network));
    let mut refused = |tokens: std::ops::Range<u64>| {
        let signals: Vec<_> = tokens.flat_map(|token| scene.event(&event(token))).collect();
        let refused = signals.iter().any(|it| it.containment.contains(&refuse));
        scene.detectors.lifted(std::slice::from_ref(&refuse));
        refused
    };
    assert!(refused(0..60));
    assert!(!refused(60..70));
    assert!(refused(70..130));
}

#[test]
fn stolen_tokens_of_two_grants_contain_nobody_whose_they_are() {
    let mut scene = Scene::new();
    let event = |grant: u8, token| Event::BearerElsewhere {
        integration: CRM,
        credential: KEY,
        grant: GrantId::from_bytes([grant; 16]),
        network: ClientIp::from_peer([203, 0, 113, grant].into()),
        token: Some(token),
    };
    let pages = |signals: Vec<Signal>| {
        signals.iter().all(|signal| signal.containment == [Containment::Page])
    };
    let first = scene.event(&event(1, 1));
    assert_eq!(first.len(), 1);
    assert!(pages(first));
    assert!(scene.event(&event(1, 1)).is_empty(), "told once");
    assert!(pages(scene.event(&event(2, 2))));
    let unknown = Event::UnknownOperation { credential: KEY };
    assert!(scene.event(&unknown).iter().all(|signal| signal.containment.is_empty()));
}

#[test]
fn many_users_of_one_integration_do_not_count_against_its_neighbour() {
    let mut scene = Scene::new();
    let event = |n: u8| Event::BearerElsewhere {
        integration: IntegrationId::from_bytes([n % 10; 16]),
        credential: CredentialId::from_bytes([n % 10; 16]),
        grant: GRANT,
        network: ClientIp::from_peer([203, 0, 113, 9].into()),
        token: Some(u64::from(n)),
    };
    let refuses =
        |it: &Signal| matches!(it.containment.first(), Some(Containment::RefuseNetwork(_)));
    assert!((0..100).all(|n| !scene.event(&event(n)).iter().any(refuses)));
}

#[test]
fn tokens_of_many_users_from_a_network_that_is_refused_shut_that_network() {
    let mut scene = Scene::new();
    let mut shut = None;
    for n in 0..60 {
        let signals = scene.stolen_token(n);
        let network = NetworkGroup::of(ClientIp::from_peer(ELSEWHERE.into()));
        if signals.iter().any(|it| it.containment.contains(&Containment::RefuseNetwork(network))) {
            shut = Some(n);
            break;
        }
    }
    assert!(shut.is_some_and(|n| (15..40).contains(&n)), "{shut:?}");
}

#[test]
fn what_a_rule_in_shadow_finds_of_a_network_is_told_and_not_done() {
    let mut scene = Scene::new();
    scene.detectors.shadow(["tokens"].into());
    let found = (0..60).flat_map(|n| scene.stolen_token(n));
    let tokens: Vec<_> = found.filter(|signal| signal.rule() == "tokens").collect();
    assert!(!tokens.is_empty() && tokens.iter().all(|signal| signal.shadow));
}

#[test]
fn what_a_rule_in_shadow_finds_keeps_no_page_from_another() {
    let mut scene = Scene::new();
    for n in 0..1_100 {
        scene.after(1.0, &reads(far(n, false)));
    }
    scene.detectors.shadow(["shift"].into());
    let paged = |signal: &Signal| signal.containment.contains(&Containment::Page);
    for n in 0..40 {
        scene.after(0.5, &reads(far(n, true)));
    }
    let of = |rule| scene.told.iter().find(|signal| signal.rule() == rule).unwrap();
    assert!(of("shift").shadow && paged(of("shift")));
    assert!(!of("novelty").shadow && paged(of("novelty")), "{}", of("novelty"));
}

#[test]
fn of_two_findings_from_a_new_network_one_in_shadow_does_not_hide_the_other() {
    let mut scene = Scene::new();
    for n in 0..1_100 {
        scene.after(1.0, &reads(far(n, false)));
    }
    scene.detectors.shadow(["shift"].into());
    let network = ClientIp::from_peer([203, 0, 113, 9].into());
    scene.event(&Event::NewNetwork { credential: KEY, network });
    // One answer with as many strangers as both alarm at.
    let page = Request {
        network: [203, 0, 113, 9],
        subjects: (0..40).map(|n| far(n, true)).collect(),
        kind: OperationKind::List,
        ..reads(0)
    };
    scene.after(1.0, &page);
    let pair = scene.told.iter().find(|signal| signal.rule() == "new_network_and_more").unwrap();
    assert!(!pair.shadow, "{pair}");
    assert!(pair.containment.contains(&Containment::SuspendCredential(KEY)));
}

#[test]
fn a_connector_of_many_users_is_usual_and_six_times_as_many_are_not() {
    let mut scene = Scene::new();
    let request = |token| Request { token: Some(token), kind: OperationKind::Write, ..reads(1) };
    for n in 0..2 * 3_600_u64 {
        assert!(!scene.after(1.0, &request(n % 100)).contains(&"tokens"));
    }
    assert!((0..6_000).any(|n| scene.after(0.1, &request(1_000 + n)).contains(&"tokens")));
}

#[test]
fn looking_around_after_a_week_pages_and_an_announced_operation_is_silent() {
    let mut scene = Scene::new();
    for day in 0..8 {
        scene.after(86_400.0, &reads(far(day, false)));
    }
    let with = |scene: &mut Scene, name: &str, kind| {
        scene.operation = OperationId::new(name).unwrap();
        scene.after(3_600.0, &Request { kind, subjects: vec![], ..reads(1) })
    };
    assert_eq!(with(&mut scene, "listPeople", OperationKind::List), ["first_seen"]);
    assert_eq!(with(&mut scene, "countPeople", OperationKind::Count), ["first_seen", "recon"]);
    let kind = WindowKind::Endpoint { operation: OperationId::new("exportPeople").unwrap() };
    let (from, to) = (UnixMicros(0), UnixMicros(u64::MAX));
    scene.windows = Windows::new(vec![Window { id: "w".into(), integration: CRM, kind, from, to }]);
    assert!(with(&mut scene, "exportPeople", OperationKind::Export).is_empty());
}

#[test]
fn eight_times_the_usual_number_of_subjects_is_told_and_a_retry_storm_is_not() {
    let mut scene = Scene::new();
    let page = |from: u64| Request {
        kind: OperationKind::List,
        subjects: (from..from + 100).map(|n| far(n, false)).collect(),
        ..reads(0)
    };
    for n in 0..36 * 12 {
        scene.after(300.0, &page(n * 100 % 20_000));
    }
    assert!(scene.told.is_empty(), "{:?}", scene.told);
    // Ten times the requests for the same few.
    assert!((0..200).all(|_| scene.after(1.0, &page(0)).is_empty()));
    scene.micros += 300 * 1_000_000;
    assert!((0..30).any(|n| scene.after(1.0, &page(n * 100)).contains(&"volume")));
    let volume = scene.told.iter().find(|signal| signal.rule() == "volume").unwrap();
    assert_eq!(volume.containment, [], "much alone wakes nobody");
}

#[test]
fn a_week_unlike_those_before_asks_for_certification() {
    let mut scene = Scene::new();
    for n in 0..3 * 7 * 1_200_u64 {
        scene.after(72.0, &reads(far(n % 20_000, false)));
    }
    assert!(scene.told.iter().all(|it| it.rule() != "drift"), "{:?}", scene.told);
    scene.operation = OperationId::new("exportPeople").unwrap();
    for n in 0..2 * 7 * 1_200_u64 {
        scene.after(72.0, &reads(far(n % 20_000, false)));
    }
    assert!(scene.told.iter().any(|it| it.rule() == "drift" && it.containment.is_empty()));
}

#[test]
fn full_it_forgets_the_least_recently_active() {
    let mut defaults =
        Defaults { streams_max: 8, credentials_max: 8, uses_max: 8, ..Defaults::default() };
    defaults.operations_max = 2;
    let mut scene = Scene::new();
    scene.detectors = Detectors::new(&defaults);
    for n in 0..1_000_u64 {
        let [.., a, b] = n.to_be_bytes();
        let credential = CredentialId::from_bytes([a; 16]);
        scene.operation = OperationId::new(&format!("op{}", n % 5)).unwrap();
        scene.after(1.0, &Request { credential, network: [10, a, b, 1], ..reads(n) });
        assert!(scene.detectors.streams() <= 8 && scene.detectors.operations.len() <= 2);
    }
}

fn any_request() -> impl Strategy<Value = (u64, Request)> {
    let outcome = prop_oneof![
        Just(Inner::Released),
        Just(Inner::NotFound),
        Just(Inner::Denied),
        Just(Inner::Held)
    ];
    let kind = prop_oneof![
        Just(OperationKind::Read),
        Just(OperationKind::Search),
        Just(OperationKind::List),
        Just(OperationKind::Export)
    ];
    let subjects = proptest::collection::vec(0_u64..3_000_000, 0..4);
    (0_u64..600, outcome, kind, subjects, 0_u8..3, any::<Option<u64>>()).prop_map(
        |(pause, outcome, kind, subjects, network, probe)| {
            let request = Request {
                network: [10, 0, network, 1],
                outcome,
                kind,
                subjects,
                probe,
                ..reads(0)
            };
            (pause, request)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn one_statistic_never_severs_and_whatever_severs_names_two(requests in proptest::collection::vec(any_request(), 1..400)) {
        let mut scene = Scene::new();
        for (pause, request) in requests {
            #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
            let pause = pause as f64 / 10.0;
            scene.after(pause, &request);
        }
        for signal in &scene.told {
            prop_assert!(RULES.contains(&signal.rule()));
            prop_assert!(!signal.to_string().is_empty() && !signal.evidence().is_empty());
            let severs = signal.containment.iter().any(|it| matches!(it, Containment::Sever(_)));
            let names_two = if let Cause::Families { families: [first, second], .. } = &signal.cause {
                first != second
            } else if let Cause::Spread { holders, .. } = &signal.cause {
                *holders >= 2
            } else {
                !severs
            };
            prop_assert!(names_two, "{}", signal);
        }
    }

    #[test]
    fn what_signals_say_is_what_a_recount_finds(strangers in proptest::collection::vec(0_u8..10, 60..200)) {
        let mut scene = Scene::new();
        let mut all = vec![false; 32];
        for (n, share) in (0_u64..).zip(strangers) {
            let is_stranger = share < 8;
            all.push(is_stranger);
            scene.after(1.0, &reads(far(n, is_stranger)));
            let told = scene.told.iter().rev().find_map(|signal| {
                let Cause::Statistic(it) = &signal.cause else { return None };
                (signal.at.0 == scene.micros && it.family == Family::Novelty).then_some(it)
            });
            if let Some(it) = told {
                let last = all.iter().rev().take(32);
                prop_assert_eq!(it.of as usize, last.clone().count());
                prop_assert_eq!(it.hits as usize, last.filter(|hit| **hit).count());
            }
        }
    }

    #[test]
    fn replayed_is_as_if_it_had_been_lived(requests in proptest::collection::vec(any_request(), 1..200), then in any_request()) {
        // What records hold: releases, and refusals without what they were about.
        let recorded: Vec<_> = requests.into_iter().filter(|(_, request)| request.outcome == Inner::Released).collect();
        let (mut lived, mut replayed) = (Scene::new(), Scene::new());
        for (pause, request) in &recorded {
            #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
            lived.after(*pause as f64, request);
            replayed.micros = lived.micros;
            let subjects: Vec<_> = request.subjects.iter().map(|id| asked(*id)).collect();
            let seen = Observation {
                at: UnixMicros(replayed.micros),
                integration: request.integration,
                credential: request.credential,
                grant: request.grant,
                network: ClientIp::from_peer(request.network.into()),
                token: None,
                is_bearer: false,
                is_doubtful: false,
                names_subjects: false,
                operation: &replayed.operation,
                kind: request.kind,
                outcome: request.outcome,
                subjects: &subjects,
                classes: ClassSet::EMPTY,
                probe: request.probe,
            };
            replayed.detectors.replay(&seen, &Windows::default());
        }
        for network in 0..3 {
            let key = (KEY, NetworkGroup::number(ClientIp::from_peer([10, 0, network, 1].into())));
            prop_assert_eq!(lived.detectors.streams.get(&key), replayed.detectors.streams.get(&key));
        }
        prop_assert_eq!(lived.after(1.0, &then.1), replayed.after(1.0, &then.1));
    }
}

#[test]
fn strangers_are_told_of_once_a_network_and_while_however_many_requests_they_send() {
    let mut detectors = Detectors::new(&Defaults::default());
    let at = |network: &str| ClientIp::from_peer(network.parse().unwrap());
    let mut told = |network: &str, credential: Option<CredentialId>, second: u64| {
        let network = at(network);
        let listed = Event::ListedNetwork { network, list: "feed".into(), credential };
        let events = if credential.is_some() {
            vec![listed]
        } else {
            vec![listed, Event::BadProof { network }]
        };
        let mut told = Vec::new();
        for _ in 0..300 {
            for event in &events {
                told.extend(detectors.event(event, UnixMicros::from_secs(second)));
            }
        }
        told.iter().map(Signal::rule).collect::<Vec<_>>()
    };
    assert_eq!(told("203.0.113.9", None, NOON), ["listed", "proof"]);
    assert!(told("203.0.113.77", None, NOON + 899).is_empty(), "the same network");
    assert_eq!(told("203.0.114.9", None, NOON + 899), ["listed", "proof"], "another");
    assert_eq!(told("203.0.113.9", None, NOON + 900), ["listed", "proof"], "a while later");
    assert_eq!(told("203.0.113.9", Some(KEY), NOON + 901).len(), 300, "who proved who it is");
}

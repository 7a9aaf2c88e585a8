//! What guards and detectors cost: nanoseconds of CPU for one request, and bytes at 5,000 credentials in 20 networks each.
//!
//! `cargo run --release -p detection --example detection_speed`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement"
)]
#![expect(clippy::cast_precision_loss, reason = "a measurement")]

use detection::{
    Asked, Defaults, Detectors, ExposureBudgets, Habits, Inner, KeyedHash, Observation, Use,
    Windows,
};
use model::{
    Budget, ClassSet, ClientIp, CredentialId, GrantId, IntegrationId, OperationId, OperationKind,
    SubjectOrdinal, UnixMicros,
};
use std::fs;

const CREDENTIALS: u64 = 5_000;
const NETWORKS: u64 = 20;
const REQUESTS: u64 = 2_000_000;
const DAY: u64 = 20_000 * 86_400 * 1_000_000;

struct Request {
    credential: CredentialId,
    integration: IntegrationId,
    grant: GrantId,
    network: ClientIp,
    ordinal: SubjectOrdinal,
    place: u64,
}

/// Nanoseconds that this thread ran: others on the machine do not count.
fn ran() -> u64 {
    let ran = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    ran.split_whitespace().next().unwrap().parse().unwrap()
}

/// The bytes of this process that are in memory, as the kernel counts them.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

fn id(n: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&((DAY / 1_000) << 16).to_be_bytes());
    id[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id
}

fn request(n: u64) -> Request {
    let credential = n % CREDENTIALS;
    let network = n / CREDENTIALS % NETWORKS;
    let [.., a, b] = (credential * NETWORKS + network).to_be_bytes();
    let far = u8::try_from((credential * NETWORKS + network) >> 16).unwrap();
    let place = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 34;
    Request {
        credential: CredentialId::from_bytes(id(credential)),
        integration: IntegrationId::from_bytes(id(credential / 2)),
        grant: GrantId::from_bytes(id(credential)),
        network: ClientIp::from_peer([far + 1, a, b, 1].into()),
        ordinal: SubjectOrdinal(u32::try_from(place % 1_000_000).unwrap()),
        place,
    }
}

fn main() {
    let operations: Vec<_> =
        (0..10).map(|n| OperationId::new(&format!("operation{n}")).unwrap()).collect();
    let hash = KeyedHash::new([7; 16]);
    let before = resident();
    let mut detectors = Detectors::new(&Defaults::default());
    let mut habits = Habits::default();
    let budgets = ExposureBudgets::default();
    let windows = Windows::default();
    let pairs: Vec<_> = (0..CREDENTIALS / 2)
        .flat_map(|of| (0..400_u64).map(move |n| (IntegrationId::from_bytes(id(of)), n)))
        .map(|(of, n)| (of, hash.of(&n.to_le_bytes())))
        .collect();
    detectors.import(&pairs, UnixMicros(DAY));
    drop(pairs);
    let limits = Budget { burst: 1_000, hour: 10_000, day: 100_000 };
    let mut signals = 0;
    let mut one = |n: u64| {
        let it = request(n);
        let at = UnixMicros(DAY + n * 1_000);
        let seen = Use { credential: it.credential, grant: it.grant, network: it.network, at };
        habits.observe(&seen, true);
        budgets.charge(it.grant, &limits, &[it.ordinal], at).unwrap();
        let asked = [Asked {
            ordinal: it.ordinal,
            place: it.place,
            key: hash.of(&(it.place % 400).to_le_bytes()),
        }];
        let observation = Observation {
            at,
            integration: it.integration,
            credential: it.credential,
            grant: it.grant,
            network: it.network,
            token: None,
            is_bearer: false,
            is_doubtful: false,
            names_subjects: false,
            operation: &operations[usize::try_from(n % 10).unwrap()],
            kind: OperationKind::Read,
            outcome: Inner::Released,
            subjects: &asked,
            classes: ClassSet::EMPTY,
            probe: Some(it.place),
        };
        signals += detectors.fold(&observation, &windows).len();
    };
    // Every stream there is.
    let streams = CREDENTIALS * NETWORKS;
    (0..streams).for_each(&mut one);
    let bytes = resident() - before;
    let mut n = streams;
    for (active, what) in [(streams, "every stream in turn"), (200, "two hundred streams in turn")]
    {
        let began = ran();
        for _ in 0..REQUESTS {
            n += 1;
            one(n - n % streams + n % active);
        }
        let nanos = (ran() - began) as f64 / REQUESTS as f64;
        println!("{nanos:.0} ns of CPU a request, guards and detectors together, {what}");
    }
    println!("{} streams, {signals} signals", detectors.streams());
    let mebibytes = bytes as f64 / 1_048_576.0;
    println!(
        "{mebibytes:.1} MiB, {} bytes a stream, relationships, habits and budgets included",
        bytes / streams
    );
}

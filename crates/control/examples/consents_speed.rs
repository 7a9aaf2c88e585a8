//! What a million consents cost, and how long it takes until none of them is in force. Argument: how many, a million if left out.
//!
//! `cargo run --release -p control --example consents_speed`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it measures, and is not shipped")]

use authority::consent::{Consent, Ending, Refresh};
use authority::details::Details;
use credential::token::Binding;
use model::{ClassSet, ConsentId, GrantId, IntegrationId, Micros, OperationId, SubjectId};
use policy::{ConsentBook, Terms};
use std::time::Instant;
use storage::clock;
use storage::consents::Consents;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let store = Consents::open(&folder.path().join("consents.db")).await.unwrap();
    let now = clock::unix_now();
    let integration = IntegrationId::new(now, clock::random());
    let details = Details {
        grant: GrantId::new(now, clock::random()),
        operations: ["getUser", "listOrders"]
            .iter()
            .filter_map(|id| OperationId::new(id))
            .collect(),
        classes: ClassSet::EMPTY,
        expires: now + Micros::from_secs(90 * 86_400),
    };
    let began = Instant::now();
    let sample = 2_000.min(wanted);
    for n in 0..sample {
        let id = ConsentId::new(now, clock::random());
        let subject = SubjectId::new(&format!("subject-{n}")).unwrap();
        let details = details.clone();
        let consent = Consent {
            id,
            integration,
            subject,
            details,
            given: now,
            used: now,
            refresh: None,
            ended: None,
        };
        store.give(&consent).await.unwrap();
        let bound_to = Binding::Key([7; 32]);
        let first = Refresh { bound_to, current: clock::random(), before: None, issued: now };
        store.redeem(&id, &first).await.unwrap();
    }
    let each = began.elapsed() / u32::try_from(sample).unwrap();
    println!("stored, given and redeemed: {each:.1?} each, {sample} of them, one at a time");

    let (book, before) = (ConsentBook::default(), resident());
    let began = Instant::now();
    let ids: Vec<_> = (0..wanted).map(|_| ConsentId::new(now, clock::random())).collect();
    let of_ids = resident();
    for id in &ids {
        let terms = Terms {
            integration,
            grant: details.grant,
            operations: details.operations.clone(),
            classes: details.classes,
        };
        book.put(*id, terms, details.expires);
    }
    let bytes = (resident() - of_ids) / wanted;
    println!("put in force: {wanted} in {:.2?}, {bytes} bytes each", began.elapsed());
    println!("(ids alone: {} bytes each)", (of_ids - before) / wanted);

    let began = Instant::now();
    let found = ids.iter().filter(|id| book.in_force(id, now).is_some()).count();
    println!(
        "looked up: {:.0?} each, {found} in force",
        began.elapsed() / u32::try_from(wanted).unwrap()
    );

    let began = Instant::now();
    book.end_all(integration);
    let until_none = began.elapsed();
    let left = ids.iter().filter(|id| book.in_force(id, now).is_some()).count();
    println!("all ended: none in force after {until_none:.1?}, {left} left");

    let began = Instant::now();
    let mut read = 0;
    store.each_in_force(now, |_| read += 1).await.unwrap();
    println!("read from the file: {:.1?} each", began.elapsed() / read.max(1));
    let began = Instant::now();
    let ended = store.end_all(&integration, Ending::Operator, now + Micros(1)).await.unwrap();
    println!("ended in the file: {ended} in {:.2?}", began.elapsed());
}

/// Bytes of memory in use.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

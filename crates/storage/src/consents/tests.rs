//! What is stored comes back, one of two is first, and what is over is gone.

use super::*;
use authority::consent::{LOST_ANSWER, SLEEPS_AFTER};
use model::{ClassNumber, GrantId};
use proptest::prelude::*;
use tempfile::TempDir;

const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_000);
const DAY: u64 = 86_400;

fn given(n: u8, subject: &str) -> Consent {
    let mut classes = ClassSet::EMPTY;
    classes.insert(ClassNumber::new(n));
    Consent {
        id: ConsentId::from_bytes([n; 16]),
        integration: IntegrationId::from_bytes([1; 16]),
        subject: SubjectId::new(subject).unwrap(),
        details: Details {
            grant: GrantId::from_bytes([2; 16]),
            operations: ["getUser", "listOrders"]
                .iter()
                .filter_map(|o| OperationId::new(o))
                .collect(),
            classes,
            expires: NOW + Micros::from_secs(100 * DAY),
        },
        given: NOW,
        used: NOW,
        refresh: None,
        ended: None,
    }
}

fn first(n: u8) -> Refresh {
    let bound_to =
        if n.is_multiple_of(2) { Binding::Key([n; 32]) } else { Binding::Certificate([n; 32]) };
    Refresh { bound_to, current: [n; 32], before: None, issued: NOW }
}

async fn open() -> (TempDir, Consents) {
    let dir = tempfile::tempdir().unwrap();
    let consents = Consents::open(&dir.path().join("consents.db")).await.unwrap();
    (dir, consents)
}

#[tokio::test]
async fn what_is_stored_comes_back() {
    let (dir, consents) = open().await;
    for n in [1, 2] {
        let mut consent = given(n, "alice");
        consents.give(&consent).await.unwrap();
        assert_eq!(consents.find(&consent.id).await.unwrap(), Some(consent.clone()));
        assert!(consents.give(&consent).await.is_err(), "an id is given once");
        assert!(consents.redeem(&consent.id, &first(n)).await.unwrap());
        assert!(!consents.redeem(&consent.id, &first(9)).await.unwrap(), "redeemed once");
        consent.refresh = Some(first(n));
        assert_eq!(consents.find(&consent.id).await.unwrap(), Some(consent.clone()));
    }
    let again = Consents::open(&dir.path().join("consents.db")).await.unwrap();
    let mut seen = Vec::new();
    again.each_in_force(NOW, |consent| seen.push(consent.id)).await.unwrap();
    assert_eq!(seen, [given(1, "alice").id, given(2, "alice").id]);
    assert_eq!(again.of_subject(&SubjectId::new("alice").unwrap()).await.unwrap().len(), 2);
    assert_eq!(again.of_subject(&SubjectId::new("bob").unwrap()).await.unwrap(), []);
}

#[tokio::test]
async fn a_passkey_is_one_subjects_and_its_counter_never_falls() {
    let (_dir, consents) = open().await;
    let passkey = |subject: &str| StoredPasskey {
        credential: vec![7; 16],
        handle: [8; 16],
        subject: SubjectId::new(subject).unwrap(),
        passkey: "{}".to_owned(),
        counter: 0,
        added: NOW,
    };
    let later = NOW + Micros::from_secs(60);
    for (ticket, subject, is_added) in
        [([1; 32], "alice", true), ([2; 32], "alice", false), ([3; 32], "bob", false)]
    {
        let whose = SubjectId::new(subject).unwrap();
        consents.add_enrolment(&ticket, &whose, false, later).await.unwrap();
        let added = consents.add_passkey(&ticket, &passkey(subject), &[], later, NOW).await;
        assert_eq!(added.unwrap(), is_added, "{subject}");
    }
    for (counter, kept) in [(5, 5), (3, 5), (9, 9)] {
        consents.passkey_used(&[7; 16], counter, NOW).await.unwrap();
        let found = consents.passkey(&[7; 16]).await.unwrap().unwrap();
        assert_eq!((found.subject.as_str(), found.counter), ("alice", kept));
    }
    let (alice, bob) = (SubjectId::new("alice").unwrap(), SubjectId::new("bob").unwrap());
    assert!(!consents.remove_passkey(&bob, &[7; 16]).await.unwrap(), "another's");
    assert!(consents.remove_passkey(&alice, &[7; 16]).await.unwrap());
    assert!(!consents.passkey_used(&[7; 16], 10, NOW).await.unwrap(), "it is gone");
}

#[tokio::test]
async fn a_passkey_takes_every_other_ticket_of_its_subject_with_it() {
    let (_dir, consents) = open().await;
    let later = NOW + Micros::from_secs(60);
    let alice = SubjectId::new("alice").unwrap();
    for (ticket, is_recovery) in [([1; 32], false), ([2; 32], false), ([3; 32], true)] {
        consents.add_enrolment(&ticket, &alice, is_recovery, later).await.unwrap();
    }
    // A code that a thief exchanged before its owner came back.
    consents.recover(&[3; 32], &[4; 32], later, NOW).await.unwrap().unwrap();
    let passkey = StoredPasskey {
        credential: vec![7; 16],
        handle: [8; 16],
        subject: alice,
        passkey: "{}".to_owned(),
        counter: 0,
        added: NOW,
    };
    assert!(consents.add_passkey(&[1; 32], &passkey, &[[5; 32]], later, NOW).await.unwrap());
    for ticket in [[1; 32], [2; 32], [4; 32]] {
        assert!(consents.enrolment(&ticket, NOW).await.unwrap().is_none());
    }
    assert!(consents.enrolment(&[5; 32], NOW).await.unwrap().is_some(), "its own codes");
}

#[tokio::test]
async fn of_two_refreshes_with_one_token_one_is_first() {
    let (_dir, consents) = open().await;
    let consent = given(2, "alice");
    consents.give(&consent).await.unwrap();
    consents.redeem(&consent.id, &first(2)).await.unwrap();
    let later = NOW + Micros::from_secs(60);
    let both = tokio::join!(
        consents.rotate(&consent.id, &[2; 32], &[3; 32], later),
        consents.rotate(&consent.id, &[2; 32], &[4; 32], later),
    );
    let (one, other) = (both.0.unwrap(), both.1.unwrap());
    assert!(one != other, "{one} {other}");

    let kept = consents.find(&consent.id).await.unwrap().unwrap();
    assert_eq!(kept.used, later);
    let key = Binding::Key([2; 32]);
    use authority::consent::{NotRefreshed, Verdict};
    let refused = |why| Verdict::Refuse(why);
    let weigh = |token, key, now| kept.weigh(&[token; 32], consent.integration, &key, now);
    let present = if one { 3 } else { 4 };
    assert_eq!(weigh(present, key, later), Verdict::Rotate);
    assert_eq!(weigh(2, key, later), refused(NotRefreshed::JustReplaced));
    assert_eq!(weigh(2, key, later + LOST_ANSWER), Verdict::End(Ending::Reused));
    assert_eq!(weigh(9, key, later), Verdict::End(Ending::Reused));
    // Without the key nobody learns anything, nor ends anything.
    let stolen = Binding::Key([7; 32]);
    assert_eq!(weigh(9, stolen, later), refused(NotRefreshed::AnotherKey));
    assert_eq!(weigh(present, stolen, later), refused(NotRefreshed::AnotherKey));
    let by_certificate = Binding::Certificate([2; 32]);
    assert_eq!(weigh(present, by_certificate, later), refused(NotRefreshed::AnotherKey));
    let other = IntegrationId::from_bytes([8; 16]);
    let anothers = kept.weigh(&[present; 32], other, &key, later);
    assert_eq!(anothers, refused(NotRefreshed::AnotherClient));
    assert_eq!(weigh(present, key, later + SLEEPS_AFTER), refused(NotRefreshed::Asleep));
    assert_eq!(weigh(present, key, kept.details.expires), refused(NotRefreshed::Over));
}

#[tokio::test]
async fn what_ended_is_in_force_nowhere_and_stays_ended() {
    let (dir, consents) = open().await;
    for n in 1..=4 {
        consents.give(&given(n, "alice")).await.unwrap();
        consents.redeem(&given(n, "alice").id, &first(n)).await.unwrap();
    }
    let id = |n| given(n, "alice").id;
    assert!(consents.end(&id(1), Ending::Subject, NOW).await.unwrap());
    assert!(!consents.end(&id(1), Ending::Operator, NOW).await.unwrap(), "the first word holds");
    assert!(!consents.rotate(&id(1), &[1; 32], &[9; 32], NOW).await.unwrap());
    assert!(!consents.wake(&id(1), NOW).await.unwrap());
    let of = given(1, "alice").integration;
    // Also those that a clock which was ahead dated later.
    assert_eq!(consents.end_all(&of, Ending::Operator, NOW - Micros(1)).await.unwrap(), 3);
    drop(consents);
    let consents = Consents::open(&dir.path().join("consents.db")).await.unwrap();
    let mut seen = 0;
    consents.each_in_force(NOW, |_| seen += 1).await.unwrap();
    assert_eq!(seen, 0);
    let kept = consents.find(&id(1)).await.unwrap().unwrap();
    assert_eq!(kept.ended, Some((NOW, Ending::Subject)));
}

/// A session that ended while its subject agreed took everything that subject ever agreed to with it.
#[tokio::test]
async fn what_is_taken_back_is_one_consent_that_nobody_redeemed() {
    let (_dir, consents) = open().await;
    for n in 1..=3 {
        consents.give(&given(n, "alice")).await.unwrap();
    }
    let id = |n| given(n, "alice").id;
    consents.redeem(&id(1), &first(1)).await.unwrap();
    for n in 1..=2 {
        consents.take_back(&id(n)).await.unwrap();
    }
    let left = consents.of_subject(&SubjectId::new("alice").unwrap()).await.unwrap();
    let mut left: Vec<_> = left.iter().map(|consent| consent.id).collect();
    left.sort();
    assert_eq!(left, [id(1), id(3)]);
}

#[tokio::test]
async fn nothing_is_kept_that_nobody_uses() {
    let (_dir, consents) = open().await;
    for n in 1..=3 {
        consents.give(&given(n, "alice")).await.unwrap();
    }
    let id = |n| given(n, "alice").id;
    consents.redeem(&id(1), &first(1)).await.unwrap();
    consents.redeem(&id(2), &first(2)).await.unwrap();
    consents.revoke_token(&[5; 32], NOW + Micros::from_secs(300)).await.unwrap();
    assert_eq!(consents.revoked_tokens(NOW).await.unwrap().len(), 1);
    assert!(consents.is_revoked(&[5; 32], NOW).await.unwrap());
    assert!(!consents.is_revoked(&[6; 32], NOW).await.unwrap());
    let after = |secs| NOW + Micros::from_secs(secs);
    assert_eq!(consents.forget(after(3_599)).await.unwrap(), 0);
    assert_eq!(consents.revoked_tokens(NOW).await.unwrap(), [], "ran out");
    assert_eq!(consents.forget(after(3_600)).await.unwrap(), 1, "its code came to nothing");
    consents.wake(&id(2), after(40 * DAY)).await.unwrap();
    assert_eq!(consents.forget(after(90 * DAY)).await.unwrap(), 1);
    assert!(consents.find(&id(1)).await.unwrap().is_none());
    assert!(consents.find(&id(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn the_file_does_not_hold_an_erased_subject() {
    let (dir, consents) = open().await;
    let name = "somebody-nobody-else-is-called";
    for n in 1..=3 {
        consents.give(&given(n, name)).await.unwrap();
    }
    let subject = SubjectId::new(name).unwrap();
    assert_eq!(consents.erase(&subject).await.unwrap().len(), 3);
    assert_eq!(consents.of_subject(&subject).await.unwrap(), []);
    for file in ["consents.db", "consents.db-wal"] {
        let bytes = std::fs::read(dir.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{file}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However refreshes and replays interleave, a token is answered at most once, and none after one came twice.
    #[test]
    fn a_token_is_good_once(order in prop::collection::vec(0_usize..6, 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, consents) = open().await;
            let consent = given(2, "alice");
            consents.give(&consent).await.unwrap();
            consents.redeem(&consent.id, &first(2)).await.unwrap();
            let mut tokens = vec![[2_u8; 32]];
            let (mut now, mut answered) = (NOW, Vec::new());
            for pick in order {
                now = now + Micros::from_secs(4);
                let token = tokens[tokens.len().saturating_sub(1 + pick)];
                let kept = consents.find(&consent.id).await.unwrap().unwrap();
                use authority::consent::Verdict;
                match kept.weigh(&token, consent.integration, &Binding::Key([2; 32]), now) {
                    Verdict::Rotate => {
                        let next = [10 + u8::try_from(tokens.len()).unwrap(); 32];
                        assert!(consents.rotate(&consent.id, &token, &next, now).await.unwrap());
                        assert!(!answered.contains(&token));
                        assert!(kept.ended.is_none());
                        answered.push(token);
                        tokens.push(next);
                    }
                    Verdict::End(why) => {
                        consents.end(&consent.id, why, now).await.unwrap();
                    }
                    Verdict::Refuse(_) => {}
                }
            }
        });
    }
}

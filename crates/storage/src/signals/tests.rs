use super::*;

async fn open(dir: &tempfile::TempDir) -> Signals {
    Signals::open(&dir.path().join("signals.db")).await.unwrap()
}

fn noted(sentence: &str, pages: bool) -> Noted {
    Noted {
        at: UnixMicros(1_000_000),
        count: 1,
        rule: "honey".into(),
        sentence: sentence.into(),
        evidence: "{}".into(),
        calls_for: "[]".into(),
        contained: "[]".into(),
        shadow: false,
        pages,
        contains: true,
    }
}

fn message(id: &str, destination: &str, made: u64) -> Delivery {
    Delivery {
        id: id.into(),
        destination: destination.into(),
        body: "{}".into(),
        made: UnixMicros(made),
        attempts: 0,
    }
}

async fn due(signals: &Signals, now: u64) -> Vec<String> {
    let mut due: Vec<_> =
        signals.due(UnixMicros(now)).await.unwrap().into_iter().map(|d| d.id).collect();
    due.sort();
    due
}

#[tokio::test]
async fn signals_are_numbered_kept_over_a_restart_and_acknowledged_once() {
    let dir = tempfile::tempdir().unwrap();
    let signals = open(&dir).await;
    assert_eq!(signals.note(&[noted("a", true), noted("b", false)]).await.unwrap(), [1, 2]);
    drop(signals);
    let signals = open(&dir).await;
    assert_eq!(signals.note(&[noted("c", true)]).await.unwrap(), [3]);
    assert_eq!(signals.unacknowledged().await.unwrap(), 2);
    assert_eq!(signals.acknowledge(1, "opr_1", UnixMicros(9)).await.unwrap(), 1);
    assert_eq!(signals.acknowledge(2, "opr_2", UnixMicros(10)).await.unwrap(), 1);
    assert_eq!(signals.unacknowledged().await.unwrap(), 1);
    let rows = signals.last(10).await.unwrap();
    let sentences: Vec<_> = rows.iter().map(|row| &*row.noted.sentence).collect();
    assert_eq!(sentences, ["c", "b", "a"]);
    assert_eq!(rows[2].acknowledged, Some((UnixMicros(9), "opr_1".into())));
    assert_eq!(rows[2].noted, noted("a", true));
}

#[tokio::test]
async fn a_page_tells_of_each_signal_once_and_of_none_that_needs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let signals = open(&dir).await;
    signals.note(&[noted("a", true), noted("b", false), noted("c", true)]).await.unwrap();
    let (rows, total) = signals.to_page(1).await.unwrap();
    assert_eq!((&*rows[0].noted.sentence, total), ("a", 2));
    signals.page(&[message("1", "a", 1)]).await.unwrap();
    assert_eq!(signals.to_page(9).await.unwrap(), (Vec::new(), 0));
    signals.note(&[noted("d", true)]).await.unwrap();
    drop(signals);
    let signals = open(&dir).await;
    assert_eq!(signals.to_page(9).await.unwrap().1, 1, "`d`, over a restart");
}

#[tokio::test]
async fn rules_are_tallied_by_what_became_of_their_signals() {
    let dir = tempfile::tempdir().unwrap();
    let signals = open(&dir).await;
    let shadow = Noted { shadow: true, count: 3, ..noted("b", false) };
    let only_told = Noted { contains: false, ..noted("c", true) };
    signals.note(&[noted("a", true), shadow, only_told]).await.unwrap();
    signals.reversed("honey").await.unwrap();
    let row =
        RuleRow { rule: "honey".into(), signals: 5, contained: 1, would_have: 3, reversed: 1 };
    assert_eq!(signals.rules().await.unwrap(), [row]);
}

#[tokio::test]
async fn only_the_newest_signals_of_a_rule_are_kept_and_no_rule_takes_anothers_room() {
    let dir = tempfile::tempdir().unwrap();
    let signals = open(&dir).await;
    signals.note(&[noted("decoy", true)]).await.unwrap();
    let proof = |n: u32| Noted { rule: "proof".into(), ..noted(&n.to_string(), true) };
    for batch in 0..3 {
        let many: Vec<_> = (0..700).map(|n| proof(batch * 700 + n)).collect();
        signals.note(&many).await.unwrap();
    }
    let rows = signals.last(10_000).await.unwrap();
    let sentences: Vec<_> = rows.iter().map(|row| &*row.noted.sentence).collect();
    let newest = (1_100..2_100).rev().map(|n: u32| n.to_string());
    let expected: Vec<_> = newest.chain(["decoy".into()]).collect();
    assert_eq!(sentences, expected);
}

#[tokio::test]
async fn a_page_shows_what_contains_first_and_many_of_one_rule_hide_none_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let signals = open(&dir).await;
    let of = |rule: &str, contains| Noted { rule: rule.into(), contains, ..noted(rule, true) };
    signals.note(&vec![of("proof", false); 60]).await.unwrap();
    signals.note(&[of("new_network", false), of("honey", true)]).await.unwrap();
    let (rows, total) = signals.to_page(4).await.unwrap();
    let rules: Vec<_> = rows.iter().map(|row| &*row.noted.rule).collect();
    assert_eq!((rules, total), (vec!["honey", "proof", "new_network", "proof"], 62));
}

#[tokio::test]
async fn a_message_waits_until_it_is_delivered_and_none_overtakes_another() {
    let dir = tempfile::tempdir().unwrap();
    let signals = open(&dir).await;
    signals
        .page(&[message("1", "a", 1), message("2", "a", 2), message("3", "b", 3)])
        .await
        .unwrap();
    signals.page(&[message("1", "a", 5)]).await.unwrap();
    assert_eq!(due(&signals, 10).await, ["1", "3"]);
    signals.failed("1", UnixMicros(100), "no answer\r\n").await.unwrap();
    assert_eq!(due(&signals, 10).await, ["3"], "`2` comes after `1`");
    drop(signals);
    let signals = open(&dir).await;
    let waiting = signals.waiting().await.unwrap();
    let of_a = Waiting { count: 2, since: UnixMicros(1), problem: "no answer".into() };
    assert_eq!(waiting["a"], of_a);
    assert_eq!(signals.due(UnixMicros(100)).await.unwrap()[0].attempts, 1);
    signals.delivered("1").await.unwrap();
    assert_eq!(due(&signals, 10).await, ["2", "3"]);
    signals.keep_only(|name| name == "b").await.unwrap();
    assert_eq!(due(&signals, 1_000).await, ["3"]);
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let signals = open(&dir).await;
    let many: Vec<_> =
        (0..u64::from(WAITING_MAX) + 3).map(|n| message(&format!("{n:05}"), "a", n)).collect();
    signals.page(&many).await.unwrap();
    signals.page(&[message("other", "b", 1)]).await.unwrap();
    assert_eq!(signals.dropped().await.unwrap(), 3);
    assert_eq!(signals.waiting().await.unwrap()["a"].count, u64::from(WAITING_MAX));
    assert_eq!(due(&signals, 10_000).await, ["00003", "other"]);
}

#[tokio::test]
async fn what_vendors_were_told_is_remembered_with_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let signals = open(&dir).await;
    signals.tell("grant:g", Some("throttled"), &[message("1", "v", 1)]).await.unwrap();
    drop(signals);
    let signals = open(&dir).await;
    assert_eq!(signals.told().await.unwrap()["grant:g"], "throttled");
    signals.tell("grant:g", None, &[]).await.unwrap();
    assert!(signals.told().await.unwrap().is_empty());
    assert_eq!(due(&signals, 10).await, ["1"]);
}

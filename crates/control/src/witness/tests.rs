use super::*;
use crate::listen;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::cosign::Cosigner;
use ledger::merkle::{Frontier, leaf_hash, verify_consistency};
use ledger::note::SigningKey;
use ledger::tile::TileWriter;
use std::collections::VecDeque;
use tempfile::TempDir;
use tokio::net::TcpListener;

fn log() -> SigningKey {
    SigningKey::new("test/node-1/1", &[7; 32]).unwrap()
}

fn cosigner(n: u8) -> Cosigner {
    Cosigner::new(&format!("witness.example/w{n}"), &[n; 32]).unwrap()
}

fn tree(size: u64) -> TreeHead {
    TreeHead { size, root: [3; 32] }
}

fn note(size: u64) -> String {
    checkpoint::sign(&tree(size), &log())
}

fn seen(size: u64) -> Response {
    let said = ([(CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n"));
    (StatusCode::CONFLICT, said).into_response()
}

/// A witness that answers with these, in turn, whatever it is asked.
async fn scripted(n: u8, answers: Vec<Response>) -> (Witness, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let answer = move || {
        let next = answers.lock().unwrap().pop_front();
        async move { next.unwrap_or_else(|| StatusCode::IM_A_TEAPOT.into_response()) }
    };
    let (stop, stopped) = watch::channel(false);
    let routes = Router::new().route("/add-checkpoint", post(answer));
    tokio::spawn(listen::serve(listener, None, routes, stopped));
    (Witness { url, key: cosigner(n).key().unwrap() }, stop)
}

/// What comes of showing a witness that answers so a checkpoint of ten records.
async fn shown(answers: Vec<Response>) -> Result<String, Failed> {
    let (witness, _stop) = scripted(1, answers).await;
    let folder = tempfile::tempdir().unwrap();
    Line::new(&witness).unwrap().cosign(&note(10), tree(10), folder.path()).await
}

fn line(n: u8, over: &str) -> Response {
    cosigner(n).cosign(over, 5).unwrap().into_response()
}

#[tokio::test]
async fn only_its_own_cosignature_of_this_very_checkpoint_is_taken() {
    let good = shown(vec![line(1, &note(10))]).await.unwrap();
    assert_eq!(good, cosigner(1).cosign(&note(10), 5).unwrap());
    let forged = shown(vec![line(1, &note(11))]).await;
    assert!(matches!(forged, Err(Failed::Note(BadNote::Forged))), "{forged:?}");
    let others = shown(vec![line(2, &note(10))]).await;
    assert!(matches!(others, Err(Failed::NoCosignature)), "{others:?}");
    for nothing in ["", "<html>", "\u{2014} \n"] {
        let answer = shown(vec![nothing.into_response()]).await;
        assert!(matches!(answer, Err(Failed::Note(_) | Failed::NoCosignature)), "{nothing:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_from_another_history() {
    let refused = shown(vec![StatusCode::FORBIDDEN.into_response()]).await;
    assert!(matches!(refused, Err(Failed::Refused(403))), "{refused:?}");
    let larger = shown(vec![seen(11)]).await;
    let older =
        OtherHistory::OlderCopy { witness: "witness.example/w1".into(), seen: 11, ours: 10 };
    assert!(matches!(larger, Err(Failed::OtherHistory(named)) if named == older));
    let fork = shown(vec![StatusCode::CONFLICT.into_response()]).await;
    assert!(matches!(fork, Err(Failed::OtherHistory(OtherHistory::Fork { .. }))), "{fork:?}");
    // One that never settles on a size is left alone until the next round.
    let undecided = shown(vec![seen(0), seen(10), seen(0)]).await;
    assert!(matches!(undecided, Err(Failed::Undecided)), "{undecided:?}");
    let second = shown(vec![seen(10), line(1, &note(10))]).await;
    assert!(second.is_ok(), "asked again with what it said: {second:?}");
    // The proof from 3 to 10 is made of tiles, and there are none here.
    let no_tiles = shown(vec![seen(3)]).await;
    assert!(matches!(no_tiles, Err(Failed::Proof(_))), "{no_tiles:?}");
}

#[tokio::test]
async fn a_start_waits_for_nobody_and_refuses_what_a_witness_contradicts() {
    let folder = tempfile::tempdir().unwrap();
    let asked = async |witness: &Witness| {
        let key = log().verifying_key().unwrap();
        Witnesses::new(vec![witness.clone()], key, folder.path()).ask_at_start(&note(10)).await
    };
    for harmless in [
        line(1, &note(10)),
        seen(10),
        seen(0),
        StatusCode::NOT_FOUND.into_response(),
        StatusCode::SERVICE_UNAVAILABLE.into_response(),
    ] {
        let (witness, _stop) = scripted(1, vec![harmless]).await;
        assert_eq!(asked(&witness).await, Ok(()));
    }
    let (witness, _stop) = scripted(1, vec![seen(11), StatusCode::CONFLICT.into_response()]).await;
    assert!(matches!(asked(&witness).await, Err(OtherHistory::OlderCopy { seen: 11, .. })));
    assert!(matches!(asked(&witness).await, Err(OtherHistory::Fork { .. })));
    let down = Witness { url: "http://127.0.0.1:1/".into(), ..witness };
    assert_eq!(asked(&down).await, Ok(()));
}

/// A history of so many records. All begin with the same ones and are told apart by `fork`, from that record on.
struct History(Vec<[u8; 9]>);

impl History {
    fn new(records: u64, fork: u64, name: u8) -> Self {
        let record = |n: u64| {
            let [a, b, c, d, e, f, g, h] = n.to_be_bytes();
            [a, b, c, d, e, f, g, h, if n < fork { 0 } else { name }]
        };
        Self((0..records).map(record).collect())
    }

    fn tree(&self) -> TreeHead {
        let mut leaves = Frontier::default();
        self.0.iter().for_each(|entry| leaves.push(leaf_hash(entry)));
        TreeHead { size: leaves.size(), root: leaves.root() }
    }

    fn publish(&self, folder: &Path) -> String {
        let mut tiles = TileWriter::default();
        self.0.iter().for_each(|entry| tiles.push(entry, leaf_hash(entry)));
        for file in tiles.take() {
            let path = folder.join(file.path.to_string());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file.bytes).unwrap();
        }
        checkpoint::sign(&self.tree(), &log())
    }
}

/// A witness that saw this tree and checks what is sent, as C2SP tlog-witness has it.
async fn honest(saw: TreeHead) -> (Witness, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answer = move |body: String| async move {
        let (head, note) = body.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        if old != saw.size {
            return seen(saw.size);
        }
        let hash = |line| STANDARD.decode(line).unwrap().try_into().unwrap();
        let proof: Vec<Digest> = lines.map(hash).collect();
        let key = log().verifying_key().unwrap();
        let new = checkpoint::open(note, &[key]).unwrap().tree;
        match verify_consistency(old, &saw.root, new.size, &new.root, &proof) {
            Ok(()) => cosigner(1).cosign(note, 5).unwrap().into_response(),
            Err(_) => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        }
    };
    let (stop, stopped) = watch::channel(false);
    let routes = Router::new().route("/add-checkpoint", post(answer));
    tokio::spawn(listen::serve(listener, None, routes, stopped));
    (Witness { url, key: cosigner(1).key().unwrap() }, stop)
}

#[tokio::test]
async fn a_copy_that_outgrew_what_a_witness_saw_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let asked = async |saw: &History, note: &str| {
        let (witness, _stop) = honest(saw.tree()).await;
        let key = log().verifying_key().unwrap();
        Witnesses::new(vec![witness], key, folder.path()).ask_at_start(note).await
    };
    // Restored at 80 and grown to 150 while the witness was away, which saw 100 of the lost one.
    let grown = History::new(150, 80, 2);
    let note = grown.publish(folder.path());
    let other = Err(OtherHistory::Fork { witness: "witness.example/w1".into() });
    assert_eq!(asked(&History::new(100, 80, 1), &note).await, other);
    assert_eq!(asked(&History::new(81, 80, 1), &note).await, other);
    for same in [80, 100, 128, 150] {
        assert_eq!(asked(&History::new(same, 80, 2), &note).await, Ok(()), "{same}");
    }
    assert_eq!(asked(&History::new(80, 80, 1), &note).await, Ok(()), "nothing was lost");
}

#[tokio::test]
async fn another_history_is_remembered_until_the_witness_cosigns_again() {
    let folder = tempfile::tempdir().unwrap();
    let answers = vec![
        seen(11),
        StatusCode::SERVICE_UNAVAILABLE.into_response(),
        line(1, &note(10)),
        StatusCode::CONFLICT.into_response(),
    ];
    let (witness, _stop) = scripted(1, answers).await;
    let witnesses = Witnesses::new(vec![witness], log().verifying_key().unwrap(), folder.path());
    let mut lines: Vec<_> = witnesses.known.iter().filter_map(Line::new).collect();
    for other_history in [true, true, false, true] {
        (lines[0].seen, lines[0].cosigned, lines[0].rests_until) = (0, 0, None);
        lines = witnesses.round(lines, &note(10).into(), tree(10)).await;
        assert_eq!(witnesses.readings()["witness.example/w1"].other_history, other_history);
    }
}

#[tokio::test]
async fn a_witness_that_stands_by_another_history_ends_the_signing() {
    let folder = tempfile::tempdir().unwrap();
    let busy = || StatusCode::SERVICE_UNAVAILABLE.into_response();
    for (answers, acted) in [
        (vec![seen(11), busy(), StatusCode::UNPROCESSABLE_ENTITY.into_response()], true),
        (vec![seen(11), line(1, &note(10))], false),
    ] {
        let (witness, _stop) = scripted(1, answers).await;
        let key = log().verifying_key().unwrap();
        let witnesses = Witnesses::new(vec![witness], key, folder.path());
        let mut lines: Vec<_> = witnesses.known.iter().filter_map(Line::new).collect();
        for _ in 0..3 {
            lines[0].rests_until = None;
            lines = witnesses.round(lines, &note(10).into(), tree(10)).await;
        }
        assert_eq!(lines[0].contradicted >= CONTRADICTED, acted);
    }
}

#[tokio::test]
async fn a_run_says_that_it_is_contradicted() {
    let folder = tempfile::tempdir().unwrap();
    let (witness, _stop) = scripted(1, vec![seen(11), seen(11)]).await;
    let key = log().verifying_key().unwrap();
    let witnesses = Witnesses::new(vec![witness], key, folder.path());
    let (end, ended) = watch::channel(false);
    let newest = || Some(Arc::from(note(10)));
    let run = witnesses.run(newest, || _ = end.send(true), ended);
    timeout(Duration::from_secs(30), run).await.expect("the second answer ends the run");
}

#[tokio::test]
async fn cosignatures_of_one_checkpoint_gather_and_a_failing_witness_rests() {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let (one, _stop_one) = scripted(1, vec![line(1, &note(10)), line(1, &note(20))]).await;
    let busy = || StatusCode::SERVICE_UNAVAILABLE.into_response();
    let (two, _stop_two) = scripted(2, vec![busy(), line(2, &note(10))]).await;
    let keys = [one.key.clone(), two.key.clone()];
    let key = log().verifying_key().unwrap();
    let witnesses = Witnesses::new(vec![one, two], key, folder.path());
    let cosigned = || {
        let note = std::fs::read_to_string(folder.path().join(COSIGNED)).unwrap();
        let by = cosign::verify(&note, &keys).unwrap();
        (checkpoint::size_of(&note).unwrap(), by.len())
    };
    let lines: Vec<_> = witnesses.known.iter().filter_map(Line::new).collect();
    let mut lines = witnesses.round(lines, &note(10).into(), tree(10)).await;
    assert_eq!(cosigned(), (10, 1));
    let failed = &witnesses.readings()["witness.example/w2"];
    assert_eq!((failed.failed, failed.cosigned), (1, 0));
    assert!(lines[1].rests_until.is_some(), "it rests");
    lines = witnesses.round(lines, &note(10).into(), tree(10)).await;
    assert_eq!(cosigned(), (10, 1), "and is left alone meanwhile");
    lines[1].rests_until = None;
    // That it has seen this checkpoint already is no reason not to ask for its cosignature.
    lines[1].seen = 10;
    lines = witnesses.round(lines, &note(10).into(), tree(10)).await;
    assert_eq!(cosigned(), (10, 2), "the same checkpoint");
    assert_eq!(witnesses.readings()["witness.example/w2"].failed, 0);
    (lines[0].seen, lines[0].cosigned) = (0, 0);
    lines[1].rests_until = Instant::now().checked_add(REST.1);
    witnesses.round(lines, &note(20).into(), tree(20)).await;
    assert_eq!(cosigned(), (20, 1), "a newer one takes its place");
}

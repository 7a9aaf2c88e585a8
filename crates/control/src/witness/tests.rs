use super::*;
use crate::listen;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use ledger::cosign::Cosigner;
use ledger::note::SigningKey;
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

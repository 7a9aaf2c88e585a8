//! Each guard before release, on a real node: what this response becomes, and what follows from it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use detection::intel::{Kind, Level, Reading, Terms, Tlp, read};
use detection::{
    Cause, Intelligence, ListOwner, ListedNetworks, Signal, Window, WindowKind, Windows,
};
use disclosure::Operation;
use gateway::listener::Transport;
use gateway::node::{FullScan, View};
use gateway::watch::Contained;
use model::{
    BearerException, Budget, Directory, Grant, IntegrationId, Micros, OperationId, SubjectId,
    UnixMicros,
};
use policy::Policies;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use support::{Setting, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const OPENAPI: &str = "
openapi: 3.1.0
info: { title: people, version: '1' }
paths:
  /people/{id}:
    get:
      operationId: getPerson
      parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
      responses:
        '200':
          description: One person
          content: { application/json: { schema: { $ref: '#/components/schemas/Person' } } }
components:
  schemas:
    Person: { type: object, properties: { id: { type: string }, email: { type: string } } }
";

const OVERLAY: &str = "
overlay: 1.0.0
info: { title: people, version: 1 }
actions:
  - target: $.paths.*.get
    update: { x-portcullis-operation: read, x-portcullis-subject: { parameter: id } }
  - target: $.components.schemas.Person
    update: { x-portcullis-subject: { pointer: /id } }
  - target: $.components.schemas.Person.properties.*
    update: { x-portcullis-class: user.contact }
";

/// Answers each request with the person that its path names; `mixed-up-N` gets somebody else.
async fn origin() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8(std::mem::take(&mut request)).unwrap();
                    let asked = text
                        .split(' ')
                        .nth(1)
                        .and_then(|path| path.strip_prefix("/people/"))
                        .unwrap();
                    if asked == "gone" {
                        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\nX-Who: gone\r\n\r\nnobody!";
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        continue;
                    }
                    let shown = if asked.starts_with("mixed-up") { "somebody-else" } else { asked };
                    let body = format!(r#"{{"id":"{shown}","email":"{shown}@mail.example"}}"#);
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    stream.write_all([head, body].concat().as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

async fn stage() -> Stage {
    let origin = origin().await;
    Stage::start(Setting {
        contract: (OPENAPI, OVERLAY),
        origin,
        transport: Transport::Clear,
        certificate: None,
    })
    .await
}

/// Changes what the node was configured with.
fn reconfigure(stage: &Stage, honey: &[&str], budget: Option<Budget>) {
    change(stage, honey, &Windows::default(), |directory| {
        let budgeted = |grant: &mut Grant| grant.budget = budget.unwrap_or(grant.budget);
        directory.grants.values_mut().for_each(budgeted);
    });
}

fn change(stage: &Stage, honey: &[&str], windows: &Windows, act: impl FnOnce(&mut Directory)) {
    let old = stage.node.view();
    let mut directory = old.directory.clone();
    directory.revision += 1;
    act(&mut directory);
    let facts: Vec<_> = old.contract.operations().map(Operation::facts).collect();
    let policies = Policies::compile(&facts, &old.classes, &directory, "").unwrap();
    stage.node.replace_view(View {
        directory,
        policies,
        contract: Arc::clone(&old.contract),
        classes: old.classes.clone(),
        class_table_hash: old.class_table_hash,
        honey: honey.iter().map(|id| SubjectId::new(id).unwrap()).collect(),
        full_scans: Vec::new(),
        windows: windows.clone(),
    });
}

/// Status and body of the answer to a proved request for one person.
async fn get(stage: &Stage, who: &str) -> (u16, String) {
    let path = format!("/people/{who}");
    let proof = stage.proof("GET", &path);
    send(stage, &path, &proof).await
}

async fn send(stage: &Stage, path: &str, fields: &[(&str, String)]) -> (u16, String) {
    let mut request =
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", stage.host());
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let stream = TcpStream::connect(stage.address).await.unwrap();
    answer(stream, &request).await
}

async fn answer(mut stream: TcpStream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// The head of an answer without what differs between any two: the request's id and the date.
async fn head(stage: &Stage, who: &str) -> (String, String) {
    let path = format!("/people/{who}");
    let mut request =
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", stage.host());
    for (name, value) in stage.proof("GET", &path) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let id = answer.split("req_").nth(1).unwrap().get(..26).unwrap().to_owned();
    let answer = answer.replace(&id, "ID");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines: Vec<_> =
        head.lines().filter(|line| !line.to_lowercase().starts_with("date:")).collect();
    (lines.join("\n"), body.to_owned())
}

#[tokio::test]
async fn nobody_not_yours_and_a_decoy_are_one_answer() {
    let stage = stage().await;
    reconfigure(&stage, &["decoy"], None);
    let nobody = head(&stage, "gone").await;
    assert!(nobody.0.starts_with("HTTP/1.1 404"), "{nobody:?}");
    assert_eq!(head(&stage, "mixed-up-1").await, nobody);
    assert_eq!(head(&stage, "decoy").await, nobody);
}

#[tokio::test]
async fn a_full_scan_meets_decoys_and_is_not_cut() {
    let stage = stage().await;
    reconfigure(&stage, &["decoy"], None);
    let old = stage.node.view();
    let (_, integration) = old.directory.integrations.first_key_value().unwrap();
    let operation = old.contract.operations().next().unwrap().id().clone();
    let scan = FullScan {
        integration: integration.id,
        operation,
        from: UnixMicros(0),
        to: UnixMicros(u64::MAX),
    };
    let scanning = |full_scans| {
        let facts: Vec<_> = old.contract.operations().map(Operation::facts).collect();
        stage.node.replace_view(View {
            policies: Policies::compile(&facts, &old.classes, &old.directory, "").unwrap(),
            directory: old.directory.clone(),
            contract: Arc::clone(&old.contract),
            classes: old.classes.clone(),
            class_table_hash: old.class_table_hash,
            honey: old.honey.clone(),
            full_scans,
            windows: old.windows.clone(),
        });
    };
    scanning(vec![scan.clone()]);
    assert_eq!(get(&stage, "decoy").await.0, 404);
    assert_eq!(get(&stage, "ana").await.0, 200);
    assert_eq!(stage.node.posture.switch().posture().number(), 0);
    scanning(vec![FullScan { to: UnixMicros(1), ..scan }]);
    assert_eq!(get(&stage, "decoy").await.0, 404);
    assert!(contained(&stage, "severed", "integration:").await, "the window is over");
}

/// Containment follows an answer; it is waited for, within bounds.
async fn contained(stage: &Stage, kind: &str, target: &str) -> bool {
    for _ in 0..2_000 {
        let posture = stage.node.posture.switch().posture();
        let mut rows: Box<dyn Iterator<Item = _>> = if kind == "severed" {
            Box::new(posture.severed())
        } else {
            Box::new(posture.restricted())
        };
        if rows.any(|(found, _)| found.to_string().starts_with(target)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn a_honey_subject_looks_like_nobody_and_severs_the_integration() {
    let stage = stage().await;
    reconfigure(&stage, &["decoy"], None);
    assert_eq!(get(&stage, "ana").await.0, 200);
    let (status, body) = get(&stage, "decoy").await;
    assert_eq!(status, 404);
    assert!(body.contains("not_found") && !body.contains("mail.example"), "{body}");
    assert!(contained(&stage, "severed", "integration:").await);
    stage.node.appeal.store(Some(Arc::new("dpo@c.example".to_owned())));
    let (status, body) = get(&stage, "ana").await;
    assert_eq!(status, 403);
    assert!(body.contains(r#""code":"severed""#) && body.contains(r#""since":"2"#), "{body}");
    assert!(body.ends_with(r#","appeal":"dpo@c.example"}"#), "{body}");
}

#[tokio::test]
async fn a_listed_network_is_refused_and_contains_nothing() {
    let stage = stage().await;
    let list = |level: u8| {
        let terms = Terms { level: Level::new(level).unwrap(), tlp: Tlp::Red };
        let Reading { indicators, .. } = read(Kind::Plain, b"127.0.0.1\n", terms).unwrap();
        let mut listed = ListedNetworks::default();
        listed.add("test", ListOwner::Operator, indicators, UnixMicros(0));
        stage.node.intel.store(Arc::new(Intelligence { listed, ..Intelligence::default() }));
    };
    // Two sources that are not sure refuse nobody; what they say weighs in detectors.
    list(2);
    assert_eq!(get(&stage, "ana").await.0, 200);
    list(3);
    let (status, body) = get(&stage, "ana").await;
    assert_eq!(status, 403);
    assert!(body.contains(r#""code":"network""#), "{body}");
    assert!(
        stage
            .node
            .watch
            .signals()
            .iter()
            .any(|signal| matches!(signal.cause, Cause::ListedNetwork { .. }))
    );
    assert_eq!(stage.node.posture.switch().posture().number(), 0);
}

#[tokio::test]
async fn a_budget_holds_the_whole_answer_and_two_holds_throttle() {
    let stage = stage().await;
    reconfigure(&stage, &[], Some(Budget { burst: 20, hour: 20, day: 20 }));
    for n in 0..20 {
        assert_eq!(get(&stage, &format!("person-{n}")).await.0, 200);
    }
    assert_eq!(get(&stage, "person-3").await.0, 200, "counted already");
    let (status, body) = get(&stage, "person-20").await;
    assert_eq!(status, 429);
    assert!(!body.contains("person-20"), "{body}");
    assert_eq!(get(&stage, "person-21").await.0, 429);
    assert!(contained(&stage, "restricted", "grant:").await);
    let (status, body) = get(&stage, "person-22").await;
    assert_eq!(status, 429);
    assert!(body.contains(r#""code":"throttled""#) && body.contains(r#""appeal":null"#), "{body}");
}

#[tokio::test]
async fn a_foreign_record_is_withheld_and_three_suspend_the_operation() {
    let stage = stage().await;
    for n in 0..3 {
        let (status, body) = get(&stage, &format!("mixed-up-{n}")).await;
        assert_eq!(status, 404);
        assert!(!body.contains("somebody-else"), "{body}");
    }
    assert!(contained(&stage, "severed", "operation:getPerson").await);
    let (status, body) = get(&stage, "ana").await;
    assert_eq!(status, 403);
    assert!(body.contains(r#""code":"suspended""#), "{body}");
}

#[tokio::test]
async fn bad_proofs_open_a_case_and_cut_nobody_off() {
    let stage = stage().await;
    for _ in 0..3 {
        let [authorization, _] = stage.proof("GET", "/people/ana");
        let [_, other] = stage.proof("GET", "/people/ben");
        assert_eq!(send(&stage, "/people/ana", &[authorization, other]).await.0, 401);
    }
    assert!(
        stage
            .node
            .watch
            .signals()
            .iter()
            .any(|signal| matches!(signal.cause, Cause::BadProofs { count: 3, .. }))
    );
    assert_eq!(stage.node.posture.switch().posture().number(), 0);
    assert_eq!(get(&stage, "ana").await.0, 200);
}

#[tokio::test]
async fn the_gateway_says_whose_tokens_it_takes() {
    let stage = stage().await;
    let ask = async |method: &str, target: &str| {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        let host = stage.host();
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let path = "/.well-known/oauth-protected-resource";
    let url = &stage.node.external_url;
    let answer = ask("GET", path).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json\r\n"), "{head}");
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["resource"], **url);
    assert_eq!(document["authorization_servers"], serde_json::json!(stage.node.issuers));
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], false, "in the clear");
    let is_empty = |value: &serde_json::Value| value.as_array().is_some_and(Vec::is_empty);
    assert!(!document.as_object().unwrap().values().any(is_empty));
    let head = ask("HEAD", path).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    for (method, target) in
        [("POST", path.to_owned()), ("GET", format!("{path}?x=1")), ("GET", format!("{path}/x"))]
    {
        let answer = ask(method, &target).await;
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // Whoever asks for something else is told where it is.
    let refused = ask("GET", "/people/alice").await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(refused.contains(&format!(r#"resource_metadata="{url}{path}""#)), "{refused}");
}

const READER: IntegrationId = IntegrationId::from_bytes([1; 16]);

/// People whom the integration has to do with are `friend-N`, others `stranger-N`. No two numbers are near each other.
fn id(kind: &str, n: u32) -> String {
    let beyond = if kind == "friend" { 0 } else { 500 };
    format!("{kind}-{}", (n + beyond) * 1_000)
}

fn befriend(stage: &Stage) {
    let friends: Vec<_> =
        (0..100).map(|n| (READER, SubjectId::new(&id("friend", n)).unwrap())).collect();
    stage.node.watch.import(&friends, clock::unix_now());
}

fn found(stage: &Stage, rule: &str) -> Vec<Signal> {
    stage.node.watch.signals().into_iter().filter(|signal| signal.rule() == rule).collect()
}

#[tokio::test]
async fn an_attacker_with_the_right_key_is_throttled_and_then_severed_while_honest_reads_go_on() {
    let stage = stage().await;
    befriend(&stage);
    reconfigure(&stage, &[], Some(Budget { burst: 400, hour: 400, day: 400 }));
    for n in 0..10 {
        assert_eq!(get(&stage, &id("friend", n)).await.0, 200);
    }
    for n in 0..29 {
        assert_eq!(get(&stage, &id("stranger", n)).await.0, 200);
    }
    // The one that completes the alarm may meet the restriction before it is released.
    let status = get(&stage, &id("stranger", 29)).await.0;
    assert!(matches!(status, 200 | 403), "{status}");
    assert!(contained(&stage, "restricted", "grant:").await);
    let novelty = found(&stage, "novelty");
    assert!(novelty[0].to_string().contains("have no relationship"), "{}", novelty[0]);
    assert_eq!(get(&stage, &id("friend", 3)).await.0, 200, "read before, so it costs nothing");
    let mut held = 0;
    // A tenth of the budget is forty: the first of these may be read, and nobody after them.
    for n in 30..65 {
        let status = get(&stage, &id("stranger", n)).await.0;
        assert!(matches!(status, 429 | 403) || n < 32, "{n}: {status}");
        held += u32::from(status == 429);
    }
    assert!(held >= 23, "{held}");
    assert!(contained(&stage, "severed", "integration:").await);
    assert_eq!(found(&stage, "families").len(), 1);
    assert_eq!(get(&stage, &id("friend", 3)).await.0, 403);
}

#[tokio::test]
async fn honest_reads_and_a_retry_storm_alarm_nobody() {
    let stage = stage().await;
    befriend(&stage);
    for n in 0..100 {
        let who = if n % 10 == 0 { id("stranger", n % 20) } else { id("friend", n) };
        assert_eq!(get(&stage, &who).await.0, 200);
    }
    for _ in 0..50 {
        assert_eq!(get(&stage, &id("stranger", 0)).await.0, 200);
    }
    assert!(stage.node.watch.signals().is_empty(), "{:?}", stage.node.watch.signals());
}

#[tokio::test]
async fn a_declared_backfill_has_room_in_the_budget_and_alarms_nobody() {
    let stage = stage().await;
    befriend(&stage);
    let now = clock::unix_now();
    let operation = OperationId::new("getPerson").unwrap();
    let kind = WindowKind::Backfill { operation, subjects_max: 60 };
    let (from, to) = (now, now + Micros::from_secs(60));
    let windows =
        Windows::new(vec![Window { id: "w".into(), integration: READER, kind, from, to }]);
    change(&stage, &[], &windows, |directory| {
        let budget = Budget { burst: 10, hour: 10, day: 10 };
        directory.grants.values_mut().for_each(|grant| grant.budget = budget);
    });
    for n in 0..70 {
        assert_eq!(get(&stage, &id("stranger", n)).await.0, 200, "{n}");
    }
    assert!(stage.node.watch.signals().is_empty(), "{:?}", stage.node.watch.signals());
    assert_eq!(get(&stage, &id("stranger", 70)).await.0, 429);
}

#[tokio::test]
async fn a_backfill_has_room_for_its_own_operation_only_and_leaves_nothing_in_the_grant() {
    let stage = stage().await;
    befriend(&stage);
    let now = clock::unix_now();
    let opened = |name: &str, to: UnixMicros| {
        let operation = OperationId::new(name).unwrap();
        let kind = WindowKind::Backfill { operation, subjects_max: 60 };
        let from = now;
        Windows::new(vec![Window { id: name.into(), integration: READER, kind, from, to }])
    };
    let tight = |windows: &Windows| {
        change(&stage, &[], windows, |directory| {
            let budget = Budget { burst: 3, hour: 3, day: 3 };
            directory.grants.values_mut().for_each(|grant| grant.budget = budget);
        });
    };
    let later = now + Micros::from_secs(600);
    tight(&opened("getPerson", later));
    for n in 0..20 {
        assert_eq!(get(&stage, &id("friend", n)).await.0, 200, "{n}");
    }
    // As if an operator had ended it now.
    tight(&opened("getPerson", clock::unix_now()));
    for n in 20..23 {
        assert_eq!(get(&stage, &id("friend", n)).await.0, 200, "{n}");
    }
    tight(&opened("anotherOperation", later));
    assert_eq!(get(&stage, &id("friend", 23)).await.0, 429);
}

#[tokio::test]
async fn a_token_without_proof_is_refused_from_a_network_never_seen() {
    let stage = stage().await;
    change(&stage, &[], &Windows::default(), |directory| {
        let until = UnixMicros(u64::MAX);
        let exception = BearerException { owner: "o".into(), reason: "r".into(), until };
        directory.bearer.insert(READER, exception);
    });
    let bearer = async |from: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(stage.address).await.unwrap();
        let request = format!(
            "GET /people/ana HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
            stage.host(),
            stage.token(None)
        );
        answer(stream, &request).await
    };
    assert_eq!(bearer("127.0.0.1").await.0, 200);
    for _ in 0..2 {
        let (status, body) = bearer("127.0.9.1").await;
        assert_eq!(status, 403);
        assert!(body.contains(r#""code":"network""#), "{body}");
    }
    assert_eq!(bearer("127.0.0.1").await.0, 200);
    assert_eq!(found(&stage, "new_network").len(), 1);
}

#[tokio::test]
async fn an_operation_that_there_is_not_is_signalled_of_whoever_is_proved() {
    let stage = stage().await;
    let path = "/nobody/ana";
    assert_eq!(send(&stage, path, &[]).await.0, 404);
    assert!(found(&stage, "unknown_operation").is_empty());
    assert_eq!(send(&stage, path, &stage.proof("GET", path)).await.0, 404);
    assert_eq!(found(&stage, "unknown_operation").len(), 1);
    assert_eq!(stage.node.posture.switch().posture().number(), 0);
}

#[tokio::test]
async fn a_rule_in_shadow_tells_what_it_would_have_done_and_does_nothing() {
    let stage = stage().await;
    reconfigure(&stage, &["decoy"], None);
    let mut told = stage.node.watch.subscribe();
    stage.node.watch.shadow(["honey"].into());
    assert_eq!(get(&stage, "decoy").await.0, 404);
    let first = told.recv().await.unwrap();
    assert!(first.signal.shadow && first.signal.rule() == "honey");
    assert_eq!(first.contained[0].1, Contained::Shadow);
    let shown = first.to_json();
    assert_eq!(shown["rule"], "honey");
    assert_eq!(shown["evidence"]["operation"], "getPerson");
    assert_eq!(shown["contained"][0]["became"], "shadow");
    assert_eq!(get(&stage, "ana").await.0, 200);
    let tally = stage.node.watch.tallies()["honey"];
    assert_eq!((tally.signals, tally.would_contain, tally.contained), (1, 1, 0));

    stage.node.watch.shadow([].into());
    assert_eq!(get(&stage, "decoy").await.0, 404);
    let second = told.recv().await.unwrap();
    assert_eq!(second.contained[0].1, Contained::Entry(1));
    assert_eq!(get(&stage, "ana").await.0, 403);
    assert_eq!(stage.node.watch.tallies()["honey"].contained, 1);
}

#[tokio::test]
async fn signals_of_strangers_are_told_apart_from_those_that_contain_something() {
    let stage = stage().await;
    reconfigure(&stage, &["decoy"], None);
    let mut told = stage.node.watch.subscribe();
    let mut of_strangers = stage.node.watch.subscribe_to_strangers();
    let forged = [("Authorization", "DPoP x".to_owned()), ("DPoP", "x".to_owned())];
    for _ in 0..9 {
        assert_eq!(send(&stage, "/people/ana", &forged).await.0, 401);
    }
    assert_eq!(get(&stage, "decoy").await.0, 404);
    assert_eq!(told.recv().await.unwrap().signal.rule(), "honey");
    assert_eq!(of_strangers.recv().await.unwrap().signal.rule(), "proof");
    assert!(of_strangers.is_empty(), "one of nine bad proofs from one network");
}

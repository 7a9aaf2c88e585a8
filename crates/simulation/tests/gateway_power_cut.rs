//! P4 with the whole data plane on the disk that loses all it may: requests are served over sockets, the power goes, and every
//! body byte that a client received is in the log that the next start finds.
//!
//! The same with a disk whose syncs do nothing must lose, or this test could not see a loss.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use credential::client::{ProofRequest, sign_proof};
use credential::token::{self, Binding, Facts};
use credential::{Algorithm, ClientTrust, SigningKey, Verifier};
use disclosure::Contract;
use gateway::listener::{self, Transport};
use gateway::node::{Node, Parts, View};
use gateway::origin::{Origin, OriginConfig};
use gateway::watch::Watch;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ledger::record::Body;
use model::{
    Budget, ClassTable, Credential, CredentialId, CredentialState, Directory, Grant, GrantId,
    Integration, IntegrationId, IntegrationState, Means, Micros, OperationId, Outcome, Purpose,
    SubjectScope, UnixMicros, Vendor, VendorId,
};
use policy::Policies;
use simulation::clocks::ToldClocks;
use simulation::dice::Dice;
use simulation::power_cuts::opening;
use simulation::torn_disk::{Faults, Lie, TornDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use storage::clock;
use storage::embedded::clocks::SystemClocks;
use storage::embedded::disk::KeepSynced;
use storage::embedded::recorder::{Opening, open_on, open_parts};
use storage::embedded::{Keeper, PostureRegister};
use tokio::net::{TcpListener, TcpStream};

/// Power cuts, each with another seed.
const SEEDS: u64 = 50;

/// Connections of load, and the most that each asks for.
const LINES: u32 = 6;
const QUESTIONS: u32 = 40;

const URL: &str = "http://gateway.example";
const ISSUER: &str = "http://authority.example";

const OPENAPI: &str = r#"{"openapi":"3.1.0","info":{"title":"people","version":"1"},"paths":{"/people/{id}":{"get":{
    "operationId":"getPerson",
    "parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string"}}],
    "responses":{"200":{"description":"one","content":{"application/json":{"schema":{"type":"object","properties":{"id":{"type":"string"}}}}}}}}}}}"#;
const OVERLAY: &str = r#"{"overlay":"1.0.0","info":{"title":"people","version":"1"},"actions":[
    {"target":"$.paths['/people/{id}'].get","update":{"x-portcullis-operation":"read","x-portcullis-subject":{"parameter":"id"}}},
    {"target":"$.paths['/people/{id}'].get.responses['200'].content['application/json'].schema","update":{"x-portcullis-subject":{"pointer":"/id"}}},
    {"target":"$.paths['/people/{id}'].get.responses['200'].content['application/json'].schema.properties.id","update":{"x-portcullis-class":"user.unique_id"}}]}"#;

/// A person whose data came over a socket, and the request it came for.
#[derive(Debug)]
struct Received {
    request: String,
    person: String,
}

/// What a client needs to be let in.
struct Proofs {
    key: SigningKey,
    token: String,
    nonce: String,
}

#[test]
fn what_a_client_received_survives_the_loss_of_every_write_not_yet_synced() -> Result<()> {
    let mut received = 0;
    for seed in 0..SEEDS {
        let (answers, lost) =
            life(seed, Faults::default()).with_context(|| format!("seed {seed}"))?;
        ensure!(lost.is_empty(), "seed {seed}: received and not in the log: {lost:?}");
        received += answers;
    }
    println!("power cuts under the gateway: {SEEDS}, {received} answers received, 0 lost");
    ensure!(received > 0, "nothing was ever received");
    Ok(())
}

#[test]
fn without_the_sync_the_same_lives_lose_what_clients_received() -> Result<()> {
    for seed in 0..SEEDS {
        let faults = Faults { lie: Some(Lie::NoSync), ..Faults::default() };
        // Where the log does not even open afterwards nothing can be counted; there are other seeds.
        if life(seed, faults).is_ok_and(|(_, lost)| !lost.is_empty()) {
            return Ok(());
        }
    }
    anyhow::bail!("{SEEDS} power cuts on a disk that lies lost nothing: this test sees no losses")
}

/// P9 and P5: a clock that leaps lets nobody read, and a budget that was used up stays so.
#[test]
fn a_leap_of_the_clock_releases_nothing_and_empties_no_budget() -> Result<()> {
    let began = clock::unix_now();
    let clocks = ToldClocks::at(began);
    let disk = Arc::new(TornDisk::new(1));
    let opened = open_on(disk, Box::new(clocks.clone()), None, opening())?;
    let recorder = opened.recorder.clone();
    let directory = tempfile::tempdir()?;
    let keeper = Keeper::start(PostureRegister::open(directory.path())?, recorder.clone())?;
    let posture = Arc::clone(keeper.switch());
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (node, proofs) = node(origin().await?, keeper, &opened, 2)?;
        let data_plane = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = data_plane.local_addr()?;
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        tokio::spawn(listener::run(node, data_plane, Transport::Clear, stopped));
        let ask = |person| status(address, person, &proofs, began);
        ensure!((ask("p-1").await?, ask("p-2").await?) == (200, 200), "two are in the budget");
        ensure!(ask("p-3").await? == 429, "a third is not");
        clocks.set_wall(began + Micros::from_secs(2 * 86_400));
        ensure!(ask("p-3").await? == 503, "nor in the day after tomorrow that is none");
        ensure!(ask("p-1").await? == 503, "nor anybody else");
        clocks.set_wall(began);
        ensure!(ask("p-1").await? == 503, "until somebody says that the clock is right");
        recorder.acknowledge_clock();
        while recorder.now().is_err() {
            tokio::task::yield_now().await;
        }
        ensure!(ask("p-1").await? == 200, "who was read costs nothing");
        ensure!(ask("p-3").await? == 429, "and the budget is as it was");
        // Who asks for too much twice is throttled, behind the answer; else that could meet the next request.
        let asked = Instant::now();
        while posture.posture().number() == 0 {
            ensure!(asked.elapsed() < Duration::from_secs(60), "nothing was throttled");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Time that passes on both clocks is time: the minute is over, by the record's clock and not by the system's.
        clocks.go_on(Micros::from_secs(61));
        let later = began + Micros::from_secs(61);
        let asked = status(address, "p-3", &proofs, later).await?;
        ensure!(asked == 200, "a minute later there is room again");
        Ok(())
    })
}

/// Serves until the power goes. How many answers clients received, and those of which the log then knows nothing.
fn life(seed: u64, faults: Faults) -> Result<(usize, Vec<Received>)> {
    let mut dice = Dice::new(seed);
    let disk = TornDisk::new(seed);
    disk.set_faults(Faults { loses_all_unsynced: true, ..faults });
    let clocks = || Box::new(SystemClocks::new());
    let wait_max = Duration::from_millis(500);
    let opened =
        open_on(Arc::new(disk.clone()), clocks(), None, Opening { wait_max, ..opening() })?;
    let recorder = opened.recorder.clone();
    let directory = tempfile::tempdir()?;
    let keeper = Keeper::start(PostureRegister::open(directory.path())?, recorder.clone())?;

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let received = runtime.block_on(async {
        let origin = origin().await?;
        let (node, proofs) = node(origin, keeper, &opened, 100_000)?;
        let data_plane = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = data_plane.local_addr()?;
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        tokio::spawn(listener::run(node, data_plane, Transport::Clear, stopped));
        disk.set_faults(Faults {
            power_cut_at: Some(1 + dice.below(60)),
            loses_all_unsynced: true,
            ..faults
        });
        let (proofs, received) = (Arc::new(proofs), Arc::new(Mutex::new(Vec::new())));
        let mut lines = tokio::task::JoinSet::new();
        for line in 0..LINES {
            lines.spawn(read(address, line, Arc::clone(&proofs), Arc::clone(&received)));
        }
        while let Some(line) = lines.join_next().await {
            line??;
        }
        let received =
            std::mem::take(&mut *received.lock().unwrap_or_else(PoisonError::into_inner));
        anyhow::Ok(received)
    })?;
    runtime.shutdown_timeout(Duration::from_secs(5));
    // The recorder's threads are gone before the disk comes back; that it ended in disorder is the point.
    let _power_is_gone = recorder.stop();
    disk.power_cycle();

    let disk: Arc<dyn KeepSynced> = Arc::new(disk);
    let parts = open_parts(&disk, clocks(), opening())?;
    let mut recorded = BTreeMap::new();
    for record in parts.log.view().records_from(0) {
        let record = record?.1.decode()?;
        let Body::Access(access) = &record.body else { continue };
        let quarter = record.header.time.quarter();
        if let (Outcome::Released, [touch]) = (access.outcome, record.touches.as_slice()) {
            let subject = parts.vault.subject_of(&touch.pseudonym, quarter)?;
            recorded.insert(access.request.to_string(), subject);
        }
    }
    let answers = received.len();
    let known = |received: &Received| {
        let subject = recorded.get(&received.request);
        subject.is_some_and(|s| s.as_ref().is_some_and(|s| s.as_str() == received.person))
    };
    Ok((answers, received.into_iter().filter(|received| !known(received)).collect()))
}

/// Asks for one new person after another until the node refuses.
async fn read(
    address: SocketAddr,
    line: u32,
    proofs: Arc<Proofs>,
    received: Arc<Mutex<Vec<Received>>>,
) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    for n in 0..QUESTIONS {
        let person = format!("p-{line}-{n}");
        sender.ready().await?;
        let response = sender
            .send_request(question(&person, &proofs, &proofs.nonce, clock::unix_now())?)
            .await?;
        let status = response.status();
        let id = response.headers().get("portcullis-request").cloned();
        let body = response.into_body().collect().await?.to_bytes();
        if status == 503 {
            return Ok(());
        }
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
        ensure!(body == format!(r#"{{"id":"{person}"}}"#), "{}", String::from_utf8_lossy(&body));
        let request = id.context("no request id")?.to_str()?.to_owned();
        received.lock().unwrap_or_else(PoisonError::into_inner).push(Received { request, person });
    }
    Ok(())
}

/// What a client is answered that asks at `now` for one person; it takes the new nonce where it is told one, as clients do.
async fn status(
    address: SocketAddr,
    person: &str,
    proofs: &Proofs,
    now: UnixMicros,
) -> Result<u16> {
    let mut nonce = proofs.nonce.clone();
    loop {
        let stream = TokioIo::new(TcpStream::connect(address).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        let response = sender.send_request(question(person, proofs, &nonce, now)?).await?;
        match response.headers().get("dpop-nonce") {
            Some(told) if response.status() == 401 && told != nonce.as_str() => {
                told.to_str()?.clone_into(&mut nonce);
            }
            _ => return Ok(response.status().as_u16()),
        }
    }
}

/// A request for one person, with a proof of its own.
fn question(
    person: &str,
    proofs: &Proofs,
    nonce: &str,
    now: UnixMicros,
) -> Result<Request<Empty<Bytes>>> {
    let url = format!("{URL}/people/{person}");
    let proof = ProofRequest {
        method: "GET",
        url: &url,
        access_token: Some(&proofs.token),
        nonce: Some(nonce),
        jti: clock::random(),
        now,
    };
    let request = Request::get(format!("/people/{person}"))
        .header("host", "gateway.example")
        .header("authorization", format!("DPoP {}", proofs.token))
        .header("dpop", sign_proof(&proofs.key, &proof))
        .body(Empty::<Bytes>::new())?;
    Ok(request)
}

/// An origin that knows everybody.
async fn origin() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                let id = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
                let body = Full::new(Bytes::from(format!(r#"{{"id":"{id}"}}"#)));
                let mut response = Response::new(body);
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert("content-type", json);
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(async move {
                // It ends with the test.
                let _ended = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}

/// A node over what was opened, and what it lets in.
fn node(
    origin: SocketAddr,
    keeper: Arc<Keeper>,
    opened: &storage::embedded::recorder::Opened,
    budget: u32,
) -> Result<(Arc<Node>, Proofs)> {
    let now = clock::unix_now();
    let key = |algorithm| -> Result<SigningKey> {
        let secret = SigningKey::pkcs8(algorithm, clock::random()).context("no such key")?;
        Ok(SigningKey::from_pkcs8(&secret)?)
    };
    let (client, issuer) = (key(Algorithm::EdDsa)?, key(Algorithm::EdDsa)?);
    let mut classes = ClassTable::default();
    let contract = Arc::new(Contract::compile(OPENAPI, OVERLAY, &mut classes)?);
    let (directory, grant) = directory(&client, &classes, budget)?;
    let facts: Vec<_> = contract.operations().map(disclosure::Operation::facts).collect();
    let policies = Policies::compile(&facts, &classes, &directory, "")?;
    let issuer_keys = BTreeMap::from([("k1".to_owned(), issuer.public().clone())]);
    let verifier = Verifier::new(ISSUER, URL, issuer_keys, clock::random(), Verifier::PROOFS_MAX);
    let facts = Facts {
        integration: grant.integration,
        grant: grant.id,
        subject: None,
        consent: None,
        binding: Binding::Key(client.public().thumbprint()),
        issued: now,
        expires: now + Micros::from_secs(300),
    };
    let token = token::sign(&facts, ISSUER, URL, &issuer, "k1", clock::random());
    let nonce = verifier.nonce(now).as_str().to_owned();
    let proofs = Proofs { key: client, token: token.expose().to_owned(), nonce };
    let class_table_hash = ledger::record::class_table_hash(&classes);
    let node = Node::new(Parts {
        ask_issuer: None,
        issuers: vec![ISSUER.to_owned()],
        client_trust: ClientTrust::default(),
        external_url: URL.to_owned(),
        max_body: 1 << 20,
        verifier,
        consents: Arc::default(),
        watch: Watch::new(Arc::clone(&keeper)),
        posture: keeper,
        recorder: opened.recorder.clone(),
        vault: Arc::clone(&opened.vault),
        origin: Origin::new(OriginConfig {
            address: origin,
            body_max: 1 << 20,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
            idle_max: 64,
        }),
        origin_host: "origin.example".to_owned(),
        origin_credential: None,
        intel: Arc::default(),
        view: View {
            directory,
            contract,
            policies,
            classes,
            class_table_hash,
            honey: BTreeSet::new(),
            full_scans: Vec::new(),
            windows: detection::Windows::default(),
        },
    });
    Ok((node, proofs))
}

/// One integration with one key, which may read everybody.
fn directory(key: &SigningKey, classes: &ClassTable, budget: u32) -> Result<(Directory, Grant)> {
    let until = clock::unix_now() + Micros::from_secs(86_400);
    let vendor = VendorId::from_bytes([1; 16]);
    let id = IntegrationId::from_bytes([2; 16]);
    let integration = Integration {
        id,
        slug: "reader".to_owned(),
        vendor,
        tier: 3,
        state: IntegrationState::Approved { until },
        redirects: Vec::new(),
    };
    let credential = Credential {
        id: CredentialId::from_bytes([3; 16]),
        integration: id,
        means: Means::Key {
            thumbprint: key.public().thumbprint(),
            jwk: key.public().canonical_jwk().to_owned(),
        },
        state: CredentialState::Active { until },
        networks: Vec::new(),
    };
    let grant = Grant {
        id: GrantId::from_bytes([4; 16]),
        integration: id,
        operations: OperationId::new("getPerson").into_iter().collect(),
        classes: classes.classes().iter().filter_map(|class| classes.number(class)).collect(),
        purpose: Purpose::new("support").context("a purpose")?,
        scope: SubjectScope::All,
        budget: Budget { burst: budget, hour: 100_000, day: 100_000 },
        expires: until,
    };
    let directory = Directory {
        revision: 1,
        vendors: BTreeMap::from([(
            vendor,
            Vendor { id: vendor, slug: "vendor".to_owned(), name: "Vendor".to_owned() },
        )]),
        integrations: BTreeMap::from([(id, integration)]),
        credentials: BTreeMap::from([(credential.id, credential)]),
        grants: BTreeMap::from([(grant.id, grant.clone())]),
        bearer: BTreeMap::new(),
    };
    Ok((directory, grant))
}

//! A console over a made-up node: 24 integrations that read, two incidents, twelve signals, and names meant to do harm.

use crate::authenticator::{Authenticator, Says};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use control::console::passkeys::Passkeys;
use control::console::sessions::{Operator, Sessions};
use control::console::{Answer, Console, routes};
use model::{IntegrationId, Micros, OperatorId, OperatorKind, Role, UnixMicros};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use storage::clock;
use storage::registry::{Command, Payload, Registry, SignedCommand};
use tempfile::TempDir;
use tokio::sync::watch;

/// Text that runs if anything takes it for markup.
pub(crate) const HOSTILE: &str =
    r#"<img src=x onerror="window.hit=1">"><script>window.hit=1</script>"#;

type Recorded = Arc<Mutex<Vec<(OperatorId, &'static str)>>>;

/// Admin, admin, viewer.
pub(crate) const ANA: u8 = 7;
pub(crate) const BO: u8 = 8;
pub(crate) const VERA: u8 = 9;

type Cuts = Arc<Mutex<BTreeMap<String, (String, String)>>>;

/// A served console.
pub(crate) struct Stage {
    pub(crate) port: u16,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) cuts: Cuts,
    pub(crate) recorded: Recorded,
    pub(crate) registry: Registry,
    _folder: TempDir,
    _stop: watch::Sender<bool>,
}

/// What a test that goes through the door holds.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) cookie: String,
    pub(crate) page: String,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sessions, cuts) = (Arc::new(Sessions::default()), Cuts::default());
        let (shown, taken) = (Arc::clone(&cuts), Arc::clone(&cuts));
        let (folder, recorded) = (tempfile::tempdir().unwrap(), Recorded::default());
        let registry = roster(&folder).await;
        let put = Arc::clone(&recorded);
        let started = clock::unix_now();
        let console = Console {
            state: Arc::new(move || -> Answer<Value> {
                let state = state(&shown, started);
                Box::pin(async move { state })
            }),
            sever: Arc::new(move |operator: Operator, target, reason| -> Answer<_> {
                let receipt = sever(&taken, operator.name, target, reason);
                Box::pin(async move { receipt })
            }),
            record: Arc::new(move |operator, action, _| -> Answer<_> {
                put.lock().unwrap().push((operator, action));
                Box::pin(async { Ok(()) })
            }),
            registry: registry.clone(),
            passkeys: Passkeys::new(port, "test").unwrap(),
            acknowledge: Arc::new(|_, through| -> Answer<_> {
                Box::pin(async move { Ok(json!({ "signals": through })) })
            }),
            sessions: Arc::clone(&sessions),
            port,
        };
        let (stop, stopped) = watch::channel(false);
        let routes = routes(Arc::new(console));
        tokio::spawn(control::listen::serve(listener, None, routes, stopped));
        Self { port, sessions, cuts, recorded, registry, _folder: folder, _stop: stop }
    }

    pub(crate) fn link(&self) -> String {
        self.link_of(ANA)
    }

    pub(crate) fn link_of(&self, who: u8) -> String {
        let (id, name) = (OperatorId::from_bytes([who; 16]), name(who).to_owned());
        // A slow browser takes longer than a link is good for.
        let later = sever::BootMicros(clock::boot_now().0 + 600_000_000);
        self.sessions.mint_link(Operator { id, name }, later, clock::random())
    }

    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.host())
    }

    /// Sends one request of a session's page.
    pub(crate) async fn of(
        &self,
        entered: &Entered,
        method: &str,
        path: &str,
        body: &str,
    ) -> Reply {
        let (host, origin) = (self.host(), self.origin());
        let headers = [
            ("host", host.as_str()),
            ("origin", &origin),
            ("cookie", &entered.cookie),
            ("portcullis-console", &entered.page),
        ];
        self.ask(method, path, &headers, body).await
    }

    /// Sends one request of a page without a session.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        let (host, origin) = (self.host(), self.origin());
        let headers = [("host", host.as_str()), ("origin", origin.as_str())];
        self.ask("POST", path, &headers, &body.to_string()).await
    }

    /// Adds a passkey from a session, and gives the session as it is after it.
    pub(crate) async fn add_passkey(
        &self,
        entered: &Entered,
        device: &mut Authenticator,
        says: &Says,
    ) -> Result<Entered, Reply> {
        let asked = self.of(entered, "POST", "/console/passkey/new/challenge", "{}").await;
        if asked.status != 200 {
            return Err(asked);
        }
        let body = json!({ "credential": device.made(&asked.json(), says) }).to_string();
        self.of(entered, "POST", "/console/passkey/new", &body).await.entered()
    }

    /// A session of an operator with a passkey, just shown.
    pub(crate) async fn armed(&self, who: u8) -> (Entered, Authenticator) {
        let entered = self.enter_by(&self.link_of(who)).await;
        let mut device = Authenticator::new();
        let mut says = Says::honest("webauthn.create", &self.origin());
        says.id = vec![who; 16];
        let armed = self.add_passkey(&entered, &mut device, &says).await;
        (armed.unwrap(), device)
    }

    /// Two admins have the registry do something.
    pub(crate) async fn operate(&self, command: Command) {
        apply(&self.registry, command, &[ANA, BO]).await;
    }

    /// Sends one request as it stands and gives the whole answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("\r\n{body}"));
        let port = self.port;
        let text = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        Reply::read(&text.await.unwrap())
    }

    pub(crate) async fn enter(&self) -> Entered {
        self.enter_by(&self.link()).await
    }

    pub(crate) async fn enter_by(&self, link: &str) -> Entered {
        self.post("/console/session", &json!({ "token": link })).await.entered().unwrap()
    }
}

fn name(who: u8) -> &'static str {
    match who {
        ANA => "Ana Lind",
        BO => "Bo Dahl",
        _ => "Vera Holm",
    }
}

fn key(who: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[who; 32]).unwrap()
}

async fn roster(folder: &TempDir) -> Registry {
    let registry = Registry::open(&folder.path().join("registry.db")).await.unwrap();
    let public_key = |who| key(who).public_key().as_ref().try_into().unwrap();
    let (role, kind) = (Role::Admin, OperatorKind::Person);
    let id = OperatorId::from_bytes([ANA; 16]);
    let first =
        model::Operator { id, name: name(ANA).to_owned(), public_key: public_key(ANA), role, kind };
    registry.found(&first).await.unwrap();
    for (who, role) in [(BO, Role::Admin), (VERA, Role::Viewer)] {
        let add = Command::OperatorAdd {
            operator: OperatorId::from_bytes([who; 16]),
            name: name(who).to_owned(),
            public_key: public_key(who),
            role,
            automation_until: None,
        };
        apply(&registry, add, &[ANA, BO]).await;
    }
    registry
}

async fn apply(registry: &Registry, command: Command, signers: &[u8]) {
    let issued = clock::unix_now();
    let expires = issued + Micros::from_secs(60);
    let (id, posture_head) = (clock::random(), [0; 32]);
    let payload = Payload { id, posture_head, issued, expires, command }.to_json().unwrap();
    let message = Payload::message(&payload);
    let sign = |&who: &u8| {
        let signature = key(who).sign(&message).as_ref().try_into().unwrap();
        (OperatorId::from_bytes([who; 16]), signature)
    };
    let signatures = signers.iter().map(sign).collect();
    let signed = SignedCommand { payload, signatures, attachment: None };
    registry.apply(&signed, &[0; 32], clock::unix_now()).await.unwrap();
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        };
        Self { status, headers: lines.map(pair).collect(), body: body.into() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The session that was opened, or goes on with other secrets.
    pub(crate) fn entered(self) -> Result<Entered, Self> {
        if self.status != 200 {
            return Err(self);
        }
        let cookie = self.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let page = self.json()["page"].as_str().unwrap().to_owned();
        Ok(Entered { cookie, page })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn sever(cuts: &Cuts, by: String, target: String, reason: String) -> Result<Value, String> {
    if reason == "fail" {
        return Err("posture could not be changed".into());
    }
    let mut cuts = cuts.lock().unwrap();
    cuts.insert(target, (reason, by));
    Ok(json!({
        "schema": "portcullis.severed/1", "entry": 40 + cuts.len(), "hash": "ab".repeat(32), "micros": 1_843,
        "nodes": [{ "node": "local", "settled": "confirmed", "connections": 12, "aborted": 3 }], "not_durable": null,
    }))
}

const NAMES: [(&str, &str); 24] = [
    ("billing-sync", "Ledgerline AB"),
    ("crm-mirror", "Northwind CRM Ltd"),
    ("support-desk", "Helpful GmbH"),
    ("mail-campaigns", "Postbird Inc."),
    ("churn-model", "Foresight Analytics SAS"),
    ("invoice-export", "Ledgerline AB"),
    ("chat-assistant", "Parley Labs"),
    ("survey-panel", "Askwell Oy"),
    ("warehouse-load", "Deepstore Inc."),
    ("fraud-scoring", "Signalhouse BV"),
    ("payroll-bridge", "Lönekoll AB"),
    ("identity-check", "Verifid SA"),
    ("loyalty-points", "Returnly"),
    ("returns-portal", "Returnly"),
    ("delivery-tracker", "Parcelwise"),
    ("tax-reporting", "Skatt & Co"),
    ("ad-audiences", "Reachwell LLC"),
    ("phone-dialer", "Ringo Telecom"),
    ("knowledge-search", "Parley Labs"),
    ("partner-directory", "Northwind CRM Ltd"),
    ("backup-archive", "Deepstore Inc."),
    ("consent-banner", "Choicely"),
    ("legacy-reports", "Oldtown Software"),
    (HOSTILE, HOSTILE),
];

fn state(cuts: &Cuts, started: UnixMicros) -> Value {
    let now = clock::unix_now();
    let ago = |seconds: u64| UnixMicros(started.0 - seconds * 1_000_000).to_string();
    let ahead = |seconds: u64| UnixMicros(started.0 + seconds * 1_000_000).to_string();
    let passed = i64::try_from(now.secs() - started.secs()).unwrap();
    let cuts = cuts.lock().unwrap().clone();
    let id = |n: usize| IntegrationId::new(started, [u8::try_from(n).unwrap(); 10]);
    let is_cut = |n: usize| n == 4 || cuts.contains_key(&format!("integration:{}", id(n)));
    let integrations: Vec<Value> = NAMES
        .iter()
        .enumerate()
        .map(|(n, (slug, vendor))| {
            let stage = match n {
                7 => "sandbox",
                17 => "evidence",
                19 => "reviewed",
                21 => "applied",
                22 => "expired",
                20 => "retired",
                _ if is_cut(n) => "severed",
                _ => "approved",
            };
            let reads = stage == "approved";
            let rate = |second: u64| if reads { rate(n, now.secs() - 59 + second) } else { 0 };
            json!({
                "id": id(n).to_string(), "slug": slug, "vendor": vendor, "tier": n % 4, "stage": stage,
                "until": (stage != "applied").then(|| ahead(86_400 * (20 + 9 * u64::try_from(n).unwrap()))),
                "severed": is_cut(n), "restricted": n == 16, "bearer": n == 14,
                "rate": (0..60).map(rate).collect::<Vec<_>>(),
                "released": 1_204 * (n * n + 3) + 17, "refused": if n % 5 == 0 { n * 31 } else { 0 },
                "subjects_minute": if reads { n * 7 % 60 } else { 0 },
            })
        })
        .collect();
    let mut severed = vec![
        json!({ "target": format!("integration:{}", id(4)), "since": ago(5_400), "by": "Ana Lind",
            "reason": "reads from a network it never used, at night; vendor confirms a stolen key" }),
        json!({ "target": "network:203.0.113.0/24", "since": ago(90_000), "by": "listed-network", "reason": HOSTILE }),
    ];
    severed.extend(cuts.iter().map(|(target, (reason, by))| json!({ "target": target, "since": ago(0), "by": by, "reason": reason })));
    json!({
        "schema": "portcullis.console/1", "now": now.to_string(), "operator": "",
        "node": { "deployment": "people-api production", "version": "0.1.0", "started": started.to_string(), "data": "flowing" },
        "frozen": null, "integrations": integrations,
        "posture": { "number": 40 + cuts.len(), "head": "c41f09ab".repeat(8), "severed": severed, "restricted": [
            { "target": format!("integration:{}", id(16)), "since": ago(700), "by": "rate-of-new-subjects", "reason": "four times as many new subjects an hour as ever before" },
        ] },
        "signals": signals(&ago), "incidents": incidents(&ago, &ahead, passed),
        "ledger": { "records": 4_812_330 + now.secs() % 10_000 * 40, "bytes": 1_934_220_811_u64, "checkpoint_age_ms": 1_000 + now.0 / 1_000 % 4_000, "checkpoint_size": 4_812_256, "stopped": null },
        "attention": ["integration legacy-reports expired 3 days ago and still asks, 41 times in the last hour", format!("slug {HOSTILE} was applied for")],
    })
}

/// Made up, but it moves: a level of its own, a slow wave and noise from the second.
fn rate(n: usize, second: u64) -> u64 {
    let n = u64::try_from(n).unwrap();
    let noise = (second * 2_654_435_761 + n * 40_503) >> 7 & 15;
    let level = [3, 40, 12, 0, 0, 7, 90, 5][usize::try_from(n % 8).unwrap()];
    let wave = (second + n * 11) % 30;
    if n % 6 == 5 && wave > 3 {
        0
    } else {
        level + level * wave.min(30 - wave) / 20 + noise * level / 24
    }
}

fn signals(ago: &dyn Fn(u64) -> String) -> Vec<Value> {
    let found = [
        (
            14,
            "integration ad-audiences read 1,912 subjects it never read before within an hour; its most was 430",
            vec!["restrict integration:ad-audiences"],
            1,
        ),
        (95, "integration crm-mirror sent a proof that had been used before", vec![], 3),
        (95, "integration crm-mirror sent a proof that had been used before", vec![], 1),
        (
            340,
            "credential of billing-sync was used from 198.51.100.23, a network new to it",
            vec![],
            1,
        ),
        (2_100, HOSTILE, vec![HOSTILE], 2),
        (
            4_000,
            "integration churn-model read honey subject after 11 weeks without a signal",
            vec!["sever integration:churn-model"],
            1,
        ),
        (
            5_380,
            "integration churn-model counted upwards through subject numbers, 212 in a row",
            vec!["throttle", "sever"],
            7,
        ),
        (
            9_000,
            "replies of get_orders named a subject who was not asked about; the record was withheld",
            vec![],
            2,
        ),
        (14_000, "integration survey-panel asked for classes beyond its grant", vec![], 19),
        (40_000, "integration mail-campaigns reached its exposure budget of an hour", vec![], 1),
        (
            70_000,
            "network 203.0.113.0/24 is on a list of the operator",
            vec!["sever network:203.0.113.0/24"],
            1,
        ),
        (90_000, "the clock stepped by 0.4 s", vec![], 1),
    ];
    found.into_iter().map(|(at, sentence, containment, count)| json!({ "at": ago(at), "sentence": sentence, "containment": containment, "count": count })).collect()
}

fn incidents(ago: &dyn Fn(u64) -> String, ahead: &dyn Fn(u64) -> String, passed: i64) -> Value {
    json!([
        { "id": "inc_1", "name": "INC-12", "title": "churn-model: key stolen from the vendor", "state": "scope frozen", "opened": ago(5_300), "subjects": 18_204,
          "clocks": [
            { "regime": "Supervisory authority", "law": "GDPR art. 33", "due": ahead(253_900), "state": "running", "left_s": 253_900 - passed },
            { "regime": "CSIRT, early warning", "law": "NIS2 art. 23", "due": ahead(31_000), "state": "running", "left_s": 31_000 - passed },
            { "regime": "Subjects", "law": "GDPR art. 34", "due": null, "state": "met", "left_s": null },
          ],
          "letters": { "accepted": 11_204, "queued": 6_951, "refused": 49, "in_doubt": 0 } },
        { "id": "inc_2", "name": "INC-11", "title": HOSTILE, "state": "contained", "opened": ago(300_000), "subjects": 3,
          "clocks": [{ "regime": "Supervisory authority", "law": "GDPR art. 33", "due": ago(12_400), "state": "running", "left_s": -12_400 - passed }],
          "letters": null },
    ])
}

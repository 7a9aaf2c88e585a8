//! What an operator may do with a link, with a passkey, and with neither; and what anybody else tries.

use crate::authenticator::{Authenticator, BACKED_UP, PRESENT, Says};
use crate::stage::{ANA, BO, Entered, Reply, Stage, VERA};
use model::{OperatorId, Role};
use serde_json::{Value, json};
use storage::clock;
use storage::registry::Command;

const SEVER: &str = r#"{"target":"integration:crm-mirror","reason":"stolen key"}"#;

impl Stage {
    fn says(&self, who: u8) -> Says {
        let mut says = Says::honest("webauthn.get", &self.origin());
        says.id = vec![who; 16];
        says
    }

    async fn log_in(&self, device: &Authenticator, says: &Says) -> Reply {
        let asked = self.post("/console/login/challenge", &json!({})).await.json();
        let credential = device.signed(&asked["options"], says);
        self.post("/console/login", &json!({ "login": asked["login"], "credential": credential }))
            .await
    }

    async fn show(&self, entered: &Entered, device: &Authenticator, says: &Says) -> Reply {
        let asked = self.of(entered, "POST", "/console/passkey/challenge", "{}").await;
        if asked.status != 200 {
            return asked;
        }
        let body = json!({ "credential": device.signed(&asked.json(), says) }).to_string();
        self.of(entered, "POST", "/console/passkey", &body).await
    }

    async fn sever(&self, entered: &Entered) -> Reply {
        self.of(entered, "POST", "/console/sever", SEVER).await
    }
}

#[tokio::test]
async fn a_link_alone_looks_and_nothing_else() {
    let stage = Stage::start().await;
    let entered = stage.enter().await;
    let state = stage.of(&entered, "GET", "/console/state", "").await.json();
    assert_eq!((&state["role"], &state["passkeys"]), (&json!("admin"), &json!(0)));
    assert_eq!((&state["may_add_passkey"], &state["can_sever"]), (&json!(true), &json!(true)));
    let refused = stage.sever(&entered).await;
    assert_eq!((refused.status, &refused.json()["step_up"]), (403, &json!(true)));
    let looked = r#"{"through":7}"#;
    let looked = stage.of(&entered, "POST", "/console/acknowledge", looked).await;
    assert_eq!(
        (looked.status, &looked.json()["step_up"]),
        (403, &json!(true)),
        "a link only looks"
    );

    // Nor once there is a passkey: the key file is one thing, the passkey the other.
    let (_, device) = stage.armed(ANA).await;
    let linked = stage.enter().await;
    assert_eq!(stage.of(&linked, "GET", "/console/state", "").await.status, 200);
    assert_eq!(stage.sever(&linked).await.status, 403);
    assert!(stage.cuts.lock().unwrap().is_empty());
    let fresh = stage.show(&linked, &device, &stage.says(ANA)).await.entered().unwrap();
    assert_eq!(stage.sever(&fresh).await.status, 200);
    assert_eq!(stage.cuts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_passkey_logs_in_without_a_link() {
    let stage = Stage::start().await;
    let (before, device) = stage.armed(ANA).await;
    let entered = stage.log_in(&device, &stage.says(ANA)).await.entered().unwrap();
    assert_ne!(entered.cookie, before.cookie);
    let state = stage.of(&entered, "GET", "/console/state", "").await.json();
    assert_eq!((&state["operator"], &state["passkeys"]), (&json!("Ana Lind"), &json!(1)));
    assert_eq!(stage.sever(&entered).await.status, 200);
    let ana = OperatorId::from_bytes([ANA; 16]);
    let recorded = stage.recorded.lock().unwrap().clone();
    assert_eq!(recorded, [(ana, "console_passkey_add"), (ana, "console_login")]);
}

#[tokio::test]
async fn a_viewer_severs_nothing_however_well_it_proves_itself() {
    let stage = Stage::start().await;
    let (vera, _) = stage.armed(VERA).await;
    let state = stage.of(&vera, "GET", "/console/state", "").await.json();
    assert_eq!((&state["role"], &state["can_sever"]), (&json!("viewer"), &json!(false)));
    let refused = stage.sever(&vera).await;
    assert_eq!(refused.status, 403);
    let detail = "role `viewer` of `Vera Holm` may not `sever`; ask a responder";
    assert_eq!(refused.json()["detail"], detail);

    // The role is that of the moment, not that of the login.
    let operator = OperatorId::from_bytes([VERA; 16]);
    stage.operate(Command::OperatorRole { operator, role: Role::Responder }).await;
    assert_eq!(stage.sever(&vera).await.status, 200);
    stage.operate(Command::OperatorRole { operator, role: Role::Viewer }).await;
    assert_eq!(stage.sever(&vera).await.status, 403);
    stage.operate(Command::OperatorRemove { operator }).await;
    assert_eq!(stage.sever(&vera).await.status, 403);
}

/// What is wrong with what an authenticator or its browser says.
type Wrong = (&'static str, fn(&mut Says));

const WRONG: [Wrong; 8] = [
    ("another challenge", |says| says.challenge = Some("A".repeat(43))),
    ("another site", |says| says.origin = "https://evil.example".into()),
    ("a number for the name", |says| says.origin = says.origin.replace("localhost", "127.0.0.1")),
    ("another port of this machine", |says| says.origin = "http://localhost:1".into()),
    ("another relying party", |says| says.relying_party = "evil.example".into()),
    ("nobody verified", |says| says.flags = PRESENT),
    ("backed up and cannot be", |says| says.flags |= BACKED_UP),
    ("a frame of another site", |says| says.framed = json!(true)),
];

#[tokio::test]
async fn what_a_passkey_says_elsewhere_or_otherwise_is_not_believed() {
    let stage = Stage::start().await;
    let (entered, device) = stage.armed(ANA).await;
    for (what, change) in WRONG {
        let mut says = stage.says(ANA);
        change(&mut says);
        assert_eq!(stage.log_in(&device, &says).await.status, 403, "log in: {what}");
        assert_eq!(stage.show(&entered, &device, &says).await.status, 403, "show: {what}");
        let bo = stage.enter_by(&stage.link_of(BO)).await;
        says = Says { kind: "webauthn.create", id: vec![BO; 16], ..says };
        let made = stage.add_passkey(&bo, &mut Authenticator::new(), &says).await;
        assert_eq!(made.unwrap_err().status, 403, "add: {what}");
    }
    // Somebody else's device that claims to be hers.
    let mut other = Authenticator::new();
    let asked = stage.of(&entered, "POST", "/console/passkey/new/challenge", "{}").await.json();
    other.made(&asked, &Says { kind: "webauthn.create", ..stage.says(ANA) });
    assert_eq!(stage.log_in(&other, &stage.says(ANA)).await.status, 403);
    assert_eq!(stage.log_in(&device, &stage.says(BO)).await.status, 403, "an unknown one");
    assert_eq!(stage.log_in(&device, &stage.says(ANA)).await.status, 200, "and the honest one is");
}

#[tokio::test]
async fn each_challenge_is_answered_once_and_where_it_was_asked() {
    let stage = Stage::start().await;
    let (ana, device) = stage.armed(ANA).await;
    let (bo, bos_device) = stage.armed(BO).await;

    let asked = stage.post("/console/login/challenge", &json!({})).await.json();
    let credential = device.signed(&asked["options"], &stage.says(ANA));
    let body = |login: &Value| json!({ "login": login, "credential": credential });
    let other = stage.post("/console/login/challenge", &json!({})).await.json();
    assert_eq!(stage.post("/console/login", &body(&other["login"])).await.status, 403);
    assert_eq!(stage.post("/console/login", &body(&json!("x"))).await.status, 403);
    assert_eq!(stage.post("/console/login", &body(&asked["login"])).await.status, 200);
    assert_eq!(stage.post("/console/login", &body(&asked["login"])).await.status, 403, "replayed");

    // In a session: another's answer, another's challenge, another's passkey, and twice.
    let challenge = |of| stage.of(of, "POST", "/console/passkey/challenge", "{}");
    let asked = challenge(&ana).await.json();
    let shown = device.signed(&asked, &stage.says(ANA));
    let body = json!({ "credential": shown }).to_string();
    challenge(&bo).await;
    assert_eq!(stage.of(&bo, "POST", "/console/passkey", &body).await.status, 403);
    let bos = bos_device.signed(&challenge(&ana).await.json(), &stage.says(BO));
    let bos = json!({ "credential": bos }).to_string();
    assert_eq!(stage.of(&ana, "POST", "/console/passkey", &bos).await.status, 403, "Bo's passkey");
    assert_eq!(stage.of(&ana, "POST", "/console/passkey", &body).await.status, 403, "taken by it");
    let fresh = stage.show(&ana, &device, &stage.says(ANA)).await.entered().unwrap();
    assert_eq!(stage.of(&fresh, "POST", "/console/passkey", &body).await.status, 403, "replayed");
}

#[tokio::test]
async fn however_many_strangers_ask_to_log_in_sessions_are_asked_and_the_next_login_too() {
    let stage = Stage::start().await;
    let (ana, device) = stage.armed(ANA).await;
    for _ in 0..300 {
        assert_eq!(stage.post("/console/login/challenge", &json!({})).await.status, 200);
    }
    assert!(stage.show(&ana, &device, &stage.says(ANA)).await.entered().is_ok());
    assert_eq!(stage.log_in(&device, &stage.says(ANA)).await.status, 200);
}

#[tokio::test]
async fn planted_secrets_are_worth_nothing_once_a_passkey_was_shown() {
    let stage = Stage::start().await;
    let planted = stage.enter().await;
    let mut device = Authenticator::new();
    let says = Says { kind: "webauthn.create", ..stage.says(ANA) };
    let armed = stage.add_passkey(&planted, &mut device, &says).await.unwrap();
    for path in ["/console/state", "/console/passkey/challenge", "/console/sever"] {
        let method = if path.ends_with("state") { "GET" } else { "POST" };
        let mixed = Entered { cookie: armed.cookie.clone(), page: planted.page.clone() };
        for entered in [&planted, &mixed] {
            assert_eq!(stage.of(entered, method, path, SEVER).await.status, 403, "{path}");
        }
    }
    let fresh = stage.show(&armed, &device, &stage.says(ANA)).await.entered().unwrap();
    assert_eq!(stage.sever(&armed).await.status, 403, "those of before");
    assert_eq!(stage.sever(&fresh).await.status, 200);
}

#[tokio::test]
async fn a_first_passkey_takes_a_link_and_another_one_takes_the_first() {
    let stage = Stage::start().await;
    let waiting = stage.enter().await;
    let (first, device) = stage.armed(ANA).await;
    assert_eq!(stage.of(&waiting, "GET", "/console/state", "").await.status, 403, "ended by it");
    let linked = stage.enter().await;
    let says = Says { kind: "webauthn.create", id: vec![70; 16], ..stage.says(ANA) };
    let refused = stage.add_passkey(&linked, &mut Authenticator::new(), &says).await.unwrap_err();
    assert_eq!(refused.json()["detail"], "show your passkey again first");
    let state = stage.of(&linked, "GET", "/console/state", "").await.json();
    assert_eq!(state["may_add_passkey"], false);
    let fresh = stage.show(&linked, &device, &stage.says(ANA)).await.entered().unwrap();
    let added = stage.add_passkey(&fresh, &mut Authenticator::new(), &says).await;
    let added = added.unwrap();
    assert_eq!(stage.of(&first, "GET", "/console/state", "").await.status, 403);
    assert_eq!(stage.of(&added, "GET", "/console/state", "").await.json()["passkeys"], 2);
    // The same passkey again is nobody's but hers.
    let bo = stage.enter_by(&stage.link_of(BO)).await;
    let refused = stage.add_passkey(&bo, &mut Authenticator::new(), &says).await.unwrap_err();
    assert_eq!(refused.status, 403);

    // Who lost hers gets in with a link once two admins had it forgotten.
    let operator = OperatorId::from_bytes([ANA; 16]);
    stage.operate(Command::OperatorPasskeysRemove { operator }).await;
    assert_eq!(stage.log_in(&device, &stage.says(ANA)).await.status, 403);
    let (again, _) = stage.armed(ANA).await;
    assert_eq!(stage.sever(&again).await.status, 200);
}

#[tokio::test]
async fn two_enrolments_at_once_add_one() {
    let stage = Stage::start().await;
    let (one, other) = (stage.enter().await, stage.enter().await);
    let challenge = |of| stage.of(of, "POST", "/console/passkey/new/challenge", "{}");
    let asked = [challenge(&one).await.json(), challenge(&other).await.json()];
    let make = |asked: &Value, id| {
        let says = Says { kind: "webauthn.create", id: vec![id; 16], ..stage.says(ANA) };
        json!({ "credential": Authenticator::new().made(asked, &says) }).to_string()
    };
    let (first, second) = (make(&asked[0], 1), make(&asked[1], 2));
    assert_eq!(stage.of(&one, "POST", "/console/passkey/new", &first).await.status, 200);
    assert_eq!(stage.of(&other, "POST", "/console/passkey/new", &second).await.status, 403);
    let ana = OperatorId::from_bytes([ANA; 16]);
    assert_eq!(stage.registry.passkeys_of_operator(ana).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_counter_that_goes_back_is_no_reason_to_keep_an_operator_out() {
    let stage = Stage::start().await;
    let (_, device) = stage.armed(ANA).await;
    for counter in [9, 4] {
        let says = Says { counter, ..stage.says(ANA) };
        assert_eq!(stage.log_in(&device, &says).await.status, 200, "{counter}");
    }
    let kept = stage.registry.operator_passkey(&[ANA; 16]).await.unwrap().unwrap();
    assert_eq!(kept.counter, 9);
}

#[tokio::test]
async fn another_site_starts_nothing_with_passkeys() {
    let stage = Stage::start().await;
    let (entered, _) = stage.armed(ANA).await;
    let host = stage.host();
    let paths = [
        "/console/login/challenge",
        "/console/login",
        "/console/passkey/challenge",
        "/console/passkey",
        "/console/passkey/new/challenge",
        "/console/passkey/new",
    ];
    let evil = "http://evil.example";
    let other_port = format!("http://localhost:{}", stage.port ^ 1);
    for path in paths {
        for (name, value) in
            [("origin", evil), ("origin", &other_port), ("sec-fetch-site", "same-site")]
        {
            let mut headers = vec![
                ("host", host.as_str()),
                ("cookie", &entered.cookie),
                ("portcullis-console", &entered.page),
                (name, value),
            ];
            let own = stage.origin();
            if name != "origin" {
                headers.push(("origin", &own));
            }
            let reply = stage.ask("POST", path, &headers, "{}").await;
            assert_eq!(reply.status, 403, "{path}: {name} {value}");
            assert!(!reply.body.contains("challenge"), "{path}: {}", reply.body);
        }
        if !path.contains("login") {
            let reply = stage.post(path, &json!({})).await;
            assert_eq!(reply.status, 403, "{path} without a session");
        }
    }
}

#[tokio::test]
async fn a_page_asked_for_by_number_is_shown_by_name() {
    let stage = Stage::start().await;
    for (host, path, expected) in [
        ("127.0.0.1", "/console", "/console"),
        ("[::1]", "/console", "/console"),
        ("127.0.0.1", "/console/enter", "/console/enter"),
    ] {
        let host = format!("{host}:{}", stage.port);
        let reply = stage.ask("GET", path, &[("host", &host)], "").await;
        assert_eq!(reply.status, 307, "{host}");
        let home = format!("{}{expected}", stage.origin());
        assert_eq!(reply.header("location"), Some(home.as_str()));
        assert!(reply.header("content-security-policy").is_some());
    }
}

#[tokio::test]
async fn a_session_says_less_when_it_began_long_ago() {
    let stage = Stage::start().await;
    let (entered, _) = stage.armed(ANA).await;
    let secret = entered.cookie.split('=').nth(1).unwrap();
    let at = |after: u64| sever::BootMicros(clock::boot_now().0 + after);
    let minutes = |count: u64| at(count * 60 * 1_000_000);
    let admitted = |when| stage.sessions.admit(secret, &entered.page, when, false).unwrap();
    assert!(admitted(minutes(4)).fresh > 0);
    assert_eq!(admitted(minutes(5)).fresh, 0);
    assert!(admitted(minutes(9)).linked);
    assert!(!admitted(minutes(10)).linked);
}

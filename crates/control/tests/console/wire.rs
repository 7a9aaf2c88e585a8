//! What anything but our own page in a logged-in browser is told.

use crate::stage::{ANA, Stage};
use serde_json::json;

const SEVER: &str = r#"{"target":"integration:crm-mirror","reason":"stolen key"}"#;

#[tokio::test]
async fn every_answer_carries_every_header() {
    let stage = Stage::start().await;
    let host = stage.host();
    for path in [
        "",
        "/enter",
        "/enter.js",
        "/login.js",
        "/passkey.js",
        "/console.js",
        "/console.css",
        "/state",
        "/nothing",
        "/sever",
        "/login",
        "/passkey",
    ] {
        for name in [host.as_str(), "evil.example"] {
            let reply = stage.ask("GET", &format!("/console{path}"), &[("host", name)], "").await;
            let csp = reply.header("content-security-policy").unwrap();
            for part in [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "frame-ancestors 'none'",
                "base-uri 'none'",
                "form-action 'self'",
            ] {
                assert!(csp.split("; ").any(|found| found == part), "{path}: {csp}");
            }
            for (header, value) in [
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cache-control", "no-store"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
                ("x-frame-options", "DENY"),
            ] {
                assert_eq!(reply.header(header), Some(value), "{path}: {header}");
            }
            assert!(reply.header("permissions-policy").is_some());
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
    }
}

#[tokio::test]
async fn without_a_session_there_is_a_command_to_type_and_no_data() {
    let stage = Stage::start().await;
    let host = stage.host();
    let page = stage.ask("GET", "/console", &[("host", &host)], "").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("portcullis console"));
    assert!(!page.body.contains("console.js"));
    let state = stage.ask("GET", "/console/state", &[("host", &host)], "").await;
    assert_eq!(state.status, 403);
    assert!(!state.body.contains("integrations"));
}

#[tokio::test]
async fn a_session_sees_its_state_and_leaves() {
    let stage = Stage::start().await;
    let entered = stage.enter().await;
    let state = stage.of(&entered, "GET", "/console/state", "").await;
    assert_eq!(state.status, 200);
    assert_eq!(state.json()["operator"], "Ana Lind");
    assert!(state.json()["session_left_s"].as_u64().unwrap() > 1_790);
    assert_eq!(state.json()["integrations"].as_array().unwrap().len(), 24);
    let page = stage
        .ask("GET", "/console", &[("host", &stage.host()), ("cookie", &entered.cookie)], "")
        .await;
    assert!(page.body.contains("console.js"));

    let left = stage.of(&entered, "POST", "/console/leave", "{}").await;
    assert_eq!(left.status, 204);
    assert!(left.header("set-cookie").unwrap().ends_with("; Max-Age=0"));
    assert_eq!(stage.of(&entered, "GET", "/console/state", "").await.status, 403);
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
    let stage = Stage::start().await;
    let (host, origin) = (stage.host(), format!("http://{}", stage.host()));
    let body = json!({ "token": stage.link() }).to_string();
    let ours = [("host", host.as_str()), ("origin", origin.as_str())];
    let ask = || stage.ask("POST", "/console/session", &ours, &body);
    let reply = ask().await;
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.starts_with(&format!("__Host-portcullis-{}=", stage.port)), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(
        !reply.body.contains(cookie.split(['=', ';']).nth(1).unwrap()),
        "the page never sees it"
    );
    assert_eq!(ask().await.status, 403, "a link works once");
}

#[tokio::test]
async fn a_link_is_not_used_up_by_looking_at_it() {
    let stage = Stage::start().await;
    let (host, origin) = (stage.host(), format!("http://{}", stage.host()));
    let body = json!({ "token": stage.link() }).to_string();
    stage.ask("GET", "/console/enter", &[("host", &host)], "").await;
    let strange = [("host", host.as_str()), ("origin", "http://evil.example")];
    assert_eq!(stage.ask("POST", "/console/session", &strange, &body).await.status, 403);
    let ours = [("host", host.as_str()), ("origin", origin.as_str())];
    assert_eq!(stage.ask("POST", "/console/session", &ours, "not json").await.status, 400);
    assert_eq!(stage.ask("POST", "/console/session", &ours, &body).await.status, 200);
}

#[tokio::test]
async fn each_proof_is_needed_to_see_and_to_sever() {
    let stage = Stage::start().await;
    let (entered, _) = stage.armed(ANA).await;
    let (host, origin) = (stage.host(), format!("http://{}", stage.host()));
    let all = [
        ("host", host.as_str()),
        ("origin", &origin),
        ("sec-fetch-site", "same-origin"),
        ("cookie", &entered.cookie),
        ("portcullis-console", &entered.page),
    ];
    let other_port = format!("http://localhost:{}", stage.port ^ 1);
    let other_host = format!("evil.example:{}", stage.port);
    let wrong = [
        ("host", other_host.as_str()),
        ("origin", &other_port),
        ("sec-fetch-site", "same-site"),
        ("cookie", "a=b"),
        ("portcullis-console", "00"),
    ];
    for (place, (name, _)) in all.iter().enumerate() {
        let without: Vec<_> = all.iter().copied().filter(|(found, _)| found != name).collect();
        let mut with_wrong = all.to_vec();
        with_wrong[place] = wrong[place];
        let missing = stage.ask("POST", "/console/sever", &without, SEVER).await.status;
        // A browser that knows no Fetch Metadata is held by the rest.
        let expected = if *name == "sec-fetch-site" { 200 } else { 403 };
        assert_eq!(missing, expected, "without {name}");
        assert_eq!(
            stage.ask("POST", "/console/sever", &with_wrong, SEVER).await.status,
            403,
            "wrong {name}"
        );
        assert_eq!(
            stage.ask("GET", "/console/state", &with_wrong, "").await.status,
            403,
            "wrong {name}"
        );
    }
    let looked = r#"{"through":7}"#;
    assert_eq!(stage.ask("POST", "/console/acknowledge", &all, looked).await.status, 200);
    let twice: Vec<_> = all.iter().copied().chain([("cookie", entered.cookie.as_str())]).collect();
    assert_eq!(stage.ask("POST", "/console/sever", &twice, SEVER).await.status, 403);
    assert_eq!(stage.ask("POST", "/console/sever", &all, SEVER).await.status, 200);
}

#[tokio::test]
async fn two_clicks_at_once_sever_once_each_and_harm_nothing() {
    let stage = Stage::start().await;
    let (entered, _) = stage.armed(ANA).await;
    let click = || stage.of(&entered, "POST", "/console/sever", SEVER);
    let (one, other) = tokio::join!(click(), click());
    for reply in [one, other] {
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["nodes"][0]["settled"], "confirmed");
    }
    let cuts = stage.cuts.lock().unwrap();
    assert_eq!(cuts["integration:crm-mirror"], ("stolen key".into(), "Ana Lind".into()));
    assert_eq!(cuts.len(), 1);
}

#[tokio::test]
async fn only_a_target_and_a_reason_sever() {
    let stage = Stage::start().await;
    let (entered, _) = stage.armed(ANA).await;
    let long = "x".repeat(257);
    for (target, reason) in [
        ("integration:crm-mirror", "no"),
        ("integration:crm-mirror", "  no  "),
        ("integration:crm-mirror", "two\nlines"),
        ("integration:crm-mirror", &long),
        ("crm-mirror", "stolen key"),
        ("plugin:crm-mirror", "stolen key"),
        ("", "stolen key"),
    ] {
        let body = json!({ "target": target, "reason": reason }).to_string();
        assert_eq!(stage.of(&entered, "POST", "/console/sever", &body).await.status, 400, "{body}");
    }
    for body in ["", "{}", r#"{"target":"integration:a","reason":"stolen","by":"Bo"}"#] {
        assert_eq!(stage.of(&entered, "POST", "/console/sever", body).await.status, 400, "{body}");
    }
    let huge = json!({ "target": "integration:a", "reason": "x".repeat(9_000) }).to_string();
    assert_eq!(stage.of(&entered, "POST", "/console/sever", &huge).await.status, 413);
    assert!(stage.cuts.lock().unwrap().is_empty());
    let failing = r#"{"target":"integration:crm-mirror","reason":"fail"}"#;
    let reply = stage.of(&entered, "POST", "/console/sever", failing).await;
    assert_eq!(reply.status, 409);
    assert_eq!(reply.json()["detail"], "posture could not be changed");
}

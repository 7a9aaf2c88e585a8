//! The page in Chromium, driven by Playwright: `tests/foreign/console.mjs`.

use crate::stage::{HOSTILE, Stage};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// What the page may weigh: HTML, style and script, uncompressed.
const PAGE_BYTES_MAX: u64 = 40_000;

#[tokio::test]
async fn the_console_works_in_a_browser() {
    if std::env::var_os("PORTCULLIS_FOREIGN_TESTS").is_none_or(|value| value != "1") {
        eprintln!("left out without PORTCULLIS_FOREIGN_TESTS=1: the console in Chromium");
        return;
    }
    let stage = Stage::start().await;
    let url = format!("http://{}/console", stage.host());
    let task = json!({
        "url": url,
        "link": format!("{url}/enter#{}", stage.link()),
        "other_link": format!("{url}/enter#{}", stage.link()),
        "sever": "crm-mirror",
        "hostile": HOSTILE,
        "pictures": std::env::var("PORTCULLIS_PICTURES").ok(),
    });
    let seen = tokio::task::spawn_blocking(move || run(&task)).await.unwrap();
    assert!(seen["page_bytes"].as_u64().unwrap() < PAGE_BYTES_MAX, "{seen}");
    let actions: Vec<_> =
        stage.recorded.lock().unwrap().iter().map(|(_, action)| *action).collect();
    assert_eq!(actions, ["console_passkey_add", "console_passkey", "console_login"]);
    let cuts = stage.cuts.lock().unwrap();
    let by_ana = |(reason, by): &(String, String)| reason == "stolen key" && by == "Ana Lind";
    assert_eq!(cuts.len(), 1);
    assert!(cuts.values().all(by_ana), "{cuts:?}");
    eprintln!("{seen}");
}

fn run(task: &Value) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign");
    let output = Command::new("node")
        .current_dir(directory)
        .arg("console.mjs")
        .arg(task.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

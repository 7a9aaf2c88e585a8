use super::*;
use zeroize::Zeroizing;

fn provider() -> Provider {
    let issuer = "https://login.example".to_owned();
    let proof = ClientProof::Secret(Zeroizing::new("s".to_owned()));
    Provider::new(Settings {
        issuer,
        client_id: "portcullis".to_owned(),
        proof,
        name: "Example login".to_owned(),
        subject_claim: "sub".to_owned(),
        clear_text: false,
    })
    .unwrap()
}

fn begun(browser: Digest, until: u64) -> Begun {
    let text = String::new;
    Begun { browser, nonce: text(), verifier: text(), next: text(), again: false, until }
}

#[test]
fn a_sign_in_ends_once_and_in_the_browser_it_began_in() {
    let provider = provider();
    let soon = clock::boot_now().0 + BEGUN_LIFE;
    provider.remember(sha256(b"state"), begun([1; 32], soon)).unwrap();
    assert!(provider.take("state", &[2; 32]).is_none(), "another browser");
    assert!(provider.take("stat", &[1; 32]).is_none());
    assert!(provider.take("state", &[1; 32]).is_some());
    assert!(provider.take("state", &[1; 32]).is_none(), "a second time");
    provider.remember(sha256(b"late"), begun([1; 32], 0)).unwrap();
    assert!(provider.take("late", &[1; 32]).is_none());
}

#[test]
fn sign_ins_that_are_over_make_room_and_no_more_are_kept_than_fit() {
    let provider = provider();
    let soon = clock::boot_now().0 + BEGUN_LIFE;
    for n in 0..BEGUN_MAX {
        let until = if n == 0 { 0 } else { soon };
        provider.remember(sha256(&n.to_be_bytes()), begun([1; 32], until)).unwrap();
    }
    assert!(
        provider.remember([1; 32], begun([1; 32], soon)).is_ok(),
        "in place of one that is over"
    );
    assert!(matches!(provider.remember([2; 32], begun([1; 32], soon)), Err(NotSignedIn::Busy)));
}

#[test]
fn parameters_are_written_so_that_they_stay_parameters() {
    let query =
        with_query("https://a.example/auth?tenant=1", &[("state", "a&b=c d%é"), ("x", "~")]);
    assert_eq!(query, "https://a.example/auth?tenant=1&state=a%26b%3Dc%20d%25%C3%A9&x=~");
    assert_eq!(code_of("access_denied\nforged line"), "access_deniedforgedline");
}

/// A provider that answers with what `documents` makes of its own address, and counts.
async fn serving(
    documents: fn(&str, &str) -> String,
) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (at, count) = (issuer.clone(), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4_096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or("");
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let body = documents(&at, path);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _gone = stream.write_all(answer.as_bytes()).await;
        }
    });
    (issuer, asked)
}

fn known_of(issuer: &str) -> Known<ProviderKeys> {
    Known::new(issuer, &[Document::OpenId], true, ProviderKeys::from_jwks).unwrap()
}

fn metadata(issuer: &str, jwks: &str) -> String {
    serde_json::json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": jwks,
    })
    .to_string()
}

#[tokio::test]
async fn documents_and_keys_are_asked_for_once() {
    let (issuer, asked) = serving(|at, path| match path {
        "/jwks" => r#"{"keys":[]}"#.to_owned(),
        _ => metadata(at, &format!("{at}/jwks")),
    })
    .await;
    let known = known_of(&issuer);
    for _ in 0..3 {
        let metadata = known.metadata().await.unwrap();
        known.keys(&metadata).await.unwrap();
        // Somebody sends tokens of keys that never were.
        known.changed_keys(&metadata).await.unwrap();
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn documents_of_another_issuer_and_keys_elsewhere_inside_are_not_used() {
    let (issuer, _) =
        serving(|_, _| metadata("https://login.example", "https://login.example/")).await;
    let known = known_of(&issuer);
    assert!(matches!(known.metadata().await, Err(NotKnown::Documents(_))));
    let (issuer, asked) = serving(|at, _| metadata(at, "http://127.0.0.1:1/jwks")).await;
    let known = known_of(&issuer);
    let metadata = known.metadata().await.unwrap();
    let keys = known.keys(&metadata).await;
    assert!(matches!(keys, Err(NotKnown::Down(NotAsked::Nowhere(_)))));
    // After one in vain there is none for a while.
    assert!(matches!(known.keys(&metadata).await, Err(NotKnown::Lately)));
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
}

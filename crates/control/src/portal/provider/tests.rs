use super::*;

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

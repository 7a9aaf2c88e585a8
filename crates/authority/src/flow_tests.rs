//! A subject's consent from the pushed request to the last refresh, honest and otherwise.

use super::tests::{GRANT, INTEGRATION, ISSUER, NOW, RESOURCE, Sent, World};
use crate::consent::{Consent, RefreshToken};
use crate::details::{BadDetails, Details, LIFE_MAX, TYPE};
use crate::flows::{BadCode, CODE_FOR, Flows, NoFlow, PUSHED_FOR, Pushed, SHOWN_FOR};
use crate::{Asked, Inquiry, Reason, Standing, TokenEndpoint, TokenRequest};
use credential::token::{Binding, CLOCK_AHEAD};
use credential::{base64url, sha256};
use model::{
    ClassTable, ConsentId, CredentialId, CredentialState, DataClass, IntegrationId, Micros,
    OperationId, SubjectId, SubjectScope, UnixMicros,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const REDIRECT: &str = "https://app.example/back?tenant=1";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-0";
const BROWSER: [u8; 32] = [1; 32];
const CONSENT: ConsentId = ConsentId::from_bytes([5; 16]);
const ANOTHER: IntegrationId = IntegrationId::from_bytes([0x77; 16]);
/// How long the machine has been up; what is under way goes by that.
const UP: Micros = Micros::from_secs(5_000);

fn admitted(_: &CredentialId) -> Standing {
    Standing::Admitted
}

fn classes() -> ClassTable {
    let names = ["user.contact.email", "user.contact.phone", "user.payment.card"];
    ClassTable::new(names.iter().filter_map(|name| DataClass::new(name)).collect()).unwrap()
}

fn class(name: &str) -> DataClass {
    DataClass::new(name).unwrap()
}

/// A world whose grant is one that subjects consent to: two operations, all contact data.
fn world() -> World {
    let mut world = World::new();
    let grant = world.directory.grants.get_mut(&GRANT).unwrap();
    grant.scope = SubjectScope::TokenSubject;
    grant.operations =
        ["getUser", "listOrders"].iter().filter_map(|o| OperationId::new(o)).collect();
    grant.classes = classes().covered_by(&class("user.contact"));
    let integration = world.directory.integrations.get_mut(&INTEGRATION).unwrap();
    integration.redirects = vec![REDIRECT.to_owned(), "http://127.0.0.1/cb".to_owned()];
    world
}

fn challenge() -> String {
    base64url::encode(&sha256(VERIFIER.as_bytes()))
}

/// The honest pushed request, without a proof.
fn pushed(world: &World, jti: u8) -> Sent {
    let mut sent = world.honest_with_nonce(None, jti);
    sent.dpop.clear();
    sent.remove("grant_type");
    sent.remove("scope");
    sent.set("response_type", "code");
    sent.set("redirect_uri", REDIRECT);
    sent.set("state", "s&1");
    sent.set("code_challenge", challenge());
    sent.set("code_challenge_method", "S256");
    sent.set("authorization_details", json!([{ "type": TYPE }]));
    sent
}

fn push(world: &World, sent: &Sent) -> Result<Pushed, Reason> {
    let body = sent.body();
    let dpop: Vec<&[u8]> = sent.dpop.iter().map(String::as_bytes).collect();
    let request = TokenRequest {
        body: body.as_bytes(),
        dpop: &dpop,
        network: sent.network,
        client_certificate: None,
    };
    let pushed = world.endpoint.push(&request, &world.directory, &classes(), &admitted, NOW);
    pushed.map_err(|error| error.reason)
}

fn details(world: &World, element: Value) -> Result<Details, BadDetails> {
    let text = json!([element]).to_string();
    Details::parse(&text, INTEGRATION, &world.directory, &classes(), RESOURCE, NOW)
}

fn parameter(uri: &str, name: &str) -> Option<String> {
    let (_, query) = uri.split_once('?')?;
    let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    pair.map(str::to_owned)
}

/// Pushed, shown, agreed to; the code.
fn code(flows: &Flows, request: Pushed) -> String {
    let uri = flows.push(request, [1; 32], UP).unwrap();
    let shown = flows.show(&uri, &INTEGRATION.to_string(), BROWSER, [2; 32], UP).unwrap();
    let to = flows.agree(&shown, &BROWSER, CONSENT, ISSUER, [3; 32], UP).unwrap();
    parameter(&to.0, "code").unwrap()
}

#[test]
fn an_honest_request_is_pushed_with_all_that_it_asks() {
    let world = world();
    let request = push(&world, &pushed(&world, 1)).unwrap();
    assert_eq!(request.redirect_uri, REDIRECT);
    assert_eq!(request.state.as_deref(), Some("s&1"));
    assert_eq!(request.key, None);
    assert_eq!(request.details.operations.len(), 2);
    assert_eq!(
        classes().names(&request.details.classes),
        ["user.contact.email", "user.contact.phone"]
    );
    let mut native = pushed(&world, 2);
    native.set("redirect_uri", "http://127.0.0.1:51004/cb");
    assert_eq!(push(&world, &native).unwrap().redirect_uri, "http://127.0.0.1:51004/cb");
}

#[test]
fn each_wrong_parameter_refuses_the_push_by_its_name() {
    let check = |expected: &Reason, change: &dyn Fn(&mut World, &mut Sent)| {
        let mut world = world();
        let mut sent = pushed(&world, 1);
        change(&mut world, &mut sent);
        assert_eq!(&push(&world, &sent).err().unwrap(), expected);
    };
    check(&Reason::Parameter("request_uri"), &|_, sent| sent.set("request_uri", "urn:x"));
    check(&Reason::NotServed("request"), &|_, sent| sent.set("request", "e30.e30."));
    check(&Reason::NotServed("response_type"), &|_, sent| sent.set("response_type", "token"));
    check(&Reason::NotServed("response_type"), &|_, sent| sent.remove("response_type"));
    check(&Reason::NotServed("response_mode"), &|_, sent| sent.set("response_mode", "fragment"));
    for redirect in [
        "https://app.example/back?tenant=2",
        "https://app.example/back",
        "https://app.example/back?tenant=1#",
        "https://evil.example/?https://app.example/back?tenant=1",
        "http://127.0.0.1.evil.example/cb",
    ] {
        check(&Reason::Redirect, &|_, sent| sent.set("redirect_uri", redirect));
    }
    check(&Reason::Parameter("redirect_uri"), &|_, sent| sent.remove("redirect_uri"));
    check(&Reason::Redirect, &|world, _| {
        world.directory.integrations.get_mut(&INTEGRATION).unwrap().redirects.clear();
    });
    // PKCE downgrade: plain, none, or one that is no hash.
    let method = Reason::Parameter("code_challenge_method");
    check(&method, &|_, sent| sent.set("code_challenge_method", "plain"));
    check(&method, &|_, sent| sent.remove("code_challenge_method"));
    let challenge = Reason::Parameter("code_challenge");
    check(&challenge, &|_, sent| sent.remove("code_challenge"));
    check(&challenge, &|_, sent| sent.set("code_challenge", VERIFIER));
    check(&Reason::Resource, &|_, sent| sent.set("resource", "https://elsewhere.example"));
    check(&Reason::Parameter("state"), &|_, sent| sent.set("state", "x".repeat(1_025)));
    check(&Reason::Parameter("dpop_jkt"), &|_, sent| sent.set("dpop_jkt", "short"));
    let missing = Reason::Parameter("authorization_details");
    check(&missing, &|_, sent| sent.remove("authorization_details"));
    check(&Reason::NotAdmitted, &|world, _| {
        world.directory.integrations.get_mut(&INTEGRATION).unwrap().state =
            model::IntegrationState::Severed;
    });
}

#[test]
fn a_push_is_its_clients_own() {
    let world = world();
    let sent = pushed(&world, 1);
    push(&world, &sent).unwrap();
    assert_eq!(push(&world, &sent).err(), Some(Reason::AssertionReplayed));
    let mut stranger = pushed(&world, 2);
    stranger.remove("client_assertion");
    assert_eq!(push(&world, &stranger).err(), Some(Reason::Parameter("client_assertion")));
    let mut two = pushed(&world, 3);
    two.set("client_id", ANOTHER);
    assert_eq!(push(&world, &two).err(), Some(Reason::TwoClients));
}

#[test]
fn metadata_for_browsers_says_what_is_served() {
    let metadata = world().endpoint.metadata(Some("https://connect.example"));
    for (member, value) in [
        ("authorization_endpoint", json!("https://connect.example/authorize")),
        ("require_pushed_authorization_requests", json!(true)),
        ("response_types_supported", json!(["code"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("authorization_details_types_supported", json!([TYPE])),
        ("authorization_response_iss_parameter_supported", json!(true)),
        ("tls_client_certificate_bound_access_tokens", json!(true)),
    ] {
        assert_eq!(metadata[member], value, "{member}");
    }
    for algorithms in
        ["dpop_signing_alg_values_supported", "token_endpoint_auth_signing_alg_values_supported"]
    {
        let names = metadata[algorithms].as_array().unwrap();
        assert!(!names.is_empty(), "{algorithms}");
        assert!(names.iter().all(|name| name != "none" && name != "HS256"), "{names:?}");
    }
}

#[test]
fn a_code_can_be_bound_to_a_key_when_it_is_asked_for() {
    let world = world();
    let nonce = world.nonce();
    let proof_for = |path: &str, jti| world.proof_for(&world.working, path, Some(&nonce), jti);
    let key = Binding::Key(world.working.public().thumbprint());

    let mut by_proof = pushed(&world, 1);
    by_proof.dpop = vec![proof_for("/par", 1)];
    assert_eq!(push(&world, &by_proof).unwrap().key, Some(key));

    let mut both = pushed(&world, 2);
    both.dpop = vec![proof_for("/par", 2)];
    both.set("dpop_jkt", world.working.public().thumbprint_text());
    assert_eq!(push(&world, &both).unwrap().key, Some(key));

    let mut unequal = pushed(&world, 3);
    unequal.dpop = vec![proof_for("/par", 3)];
    unequal.set("dpop_jkt", world.asserting.public().thumbprint_text());
    assert_eq!(push(&world, &unequal).err(), Some(Reason::Parameter("dpop_jkt")));

    let mut elsewhere = pushed(&world, 4);
    elsewhere.dpop = vec![proof_for("/token", 4)];
    assert!(
        matches!(push(&world, &elsewhere), Err(Reason::Proof(_))),
        "a proof for another endpoint"
    );
}

#[test]
fn details_are_read_strictly_and_never_widen() {
    let world = world();
    let all = details(&world, json!({ "type": TYPE })).unwrap();
    let grant = &world.directory.grants[&GRANT];
    assert_eq!(
        (all.grant, &all.operations, all.classes),
        (GRANT, &grant.operations, grant.classes)
    );
    assert_eq!(all.expires, grant.expires.min(NOW + LIFE_MAX));

    let some = json!({
        "type": TYPE, "locations": [RESOURCE], "grant": GRANT.to_string(), "actions": ["getUser"],
        "datatypes": ["user.contact.email"], "purpose": "support", "expires": (NOW + Micros(1)).to_string(),
    });
    let some = details(&world, some).unwrap();
    assert_eq!(some.operations.len(), 1);
    assert!(some.is_within(&all));
    assert!(!all.is_within(&some));

    let check = |expected, element: Value| assert_eq!(details(&world, element), Err(expected));
    check(BadDetails::Type, json!({ "type": "payment_initiation" }));
    check(BadDetails::Malformed, json!({ "actions": [] }));
    check(BadDetails::Malformed, json!({ "type": TYPE, "privileges": ["admin"] }));
    check(BadDetails::Malformed, json!({ "type": TYPE, "actions": "getUser" }));
    check(
        BadDetails::Location,
        json!({ "type": TYPE, "locations": [RESOURCE, "https://b.example"] }),
    );
    check(BadDetails::Grant, json!({ "type": TYPE, "grant": "grt_00000000000000000000000000" }));
    check(BadDetails::Purpose, json!({ "type": TYPE, "purpose": "marketing" }));
    check(BadDetails::Action, json!({ "type": TYPE, "actions": ["getUser", "deleteUser"] }));
    check(BadDetails::Action, json!({ "type": TYPE, "actions": [] }));
    check(BadDetails::Datatype, json!({ "type": TYPE, "datatypes": ["user.payment.card"] }));
    check(BadDetails::Datatype, json!({ "type": TYPE, "datatypes": ["user"] }));
    check(BadDetails::Datatype, json!({ "type": TYPE, "datatypes": ["user.contact.fax"] }));
    check(BadDetails::Expires, json!({ "type": TYPE, "expires": NOW.to_string() }));
    check(BadDetails::Expires, json!({ "type": TYPE, "expires": "tomorrow" }));
    let beyond = (all.expires + Micros(1)).to_string();
    check(BadDetails::Expires, json!({ "type": TYPE, "expires": beyond }));
    let parse =
        |text: &str| Details::parse(text, INTEGRATION, &world.directory, &classes(), RESOURCE, NOW);
    for text in [
        "",
        "{}",
        "[]",
        "null",
        "[{\"type\":\"portcullis_access\"},{\"type\":\"portcullis_access\"}]",
    ] {
        assert_eq!(parse(text), Err(BadDetails::Malformed), "{text}");
    }
    let nested = "[".repeat(4_000);
    assert_eq!(parse(&nested), Err(BadDetails::Malformed), "deeply nested");
    assert_eq!(parse(&format!("[{}]", " ".repeat(9_000))), Err(BadDetails::Malformed), "oversized");
    let others = Details::parse(
        &json!([{ "type": TYPE }]).to_string(),
        ANOTHER,
        &world.directory,
        &classes(),
        RESOURCE,
        NOW,
    );
    assert_eq!(others, Err(BadDetails::Grant), "somebody else's grant");
}

#[test]
fn a_flow_is_walked_once_by_one_browser_and_one_client() {
    let world = world();
    let flows = Flows::default();
    let request = push(&world, &pushed(&world, 1)).unwrap();
    let uri = flows.push(request.clone(), [1; 32], UP).unwrap();
    let client = INTEGRATION.to_string();
    let show = |uri: &str, client: &str, now| flows.show(uri, client, BROWSER, [2; 32], now);
    assert_eq!(show(&uri, &ANOTHER.to_string(), UP), Err(NoFlow), "a request_uri that was swapped");
    assert_eq!(show(&uri[..uri.len() - 1], &client, UP), Err(NoFlow));
    let shown = show(&uri, &client, UP).unwrap();
    assert_eq!(show(&uri, &client, UP), Err(NoFlow), "a request_uri is used once");
    assert!(flows.shown(&shown, &BROWSER, UP).is_ok());
    assert!(flows.shown(&shown, &[9; 32], UP).is_err(), "another browser");
    let agree = |browser| flows.agree(&shown, browser, CONSENT, ISSUER, [3; 32], UP);
    assert!(agree(&[9; 32]).is_err(), "another browser");
    let to = agree(&BROWSER).unwrap().0;
    assert!(to.starts_with(&format!("{REDIRECT}&code=")), "{to}");
    assert_eq!(parameter(&to, "state").as_deref(), Some("s%261"));
    //= RFC 9207 section 2: the client compares it with the issuer it meant
    assert_eq!(parameter(&to, "iss").as_deref(), Some("https%3A%2F%2Fauthority.example.com"));
    assert!(agree(&BROWSER).is_err(), "answered once");

    let uri = flows.push(request.clone(), [4; 32], UP).unwrap();
    let shown = show(&uri, &client, UP).unwrap();
    let to = flows.decline(&shown, &BROWSER, "access_denied", ISSUER, UP).unwrap().0;
    assert!(parameter(&to, "code").is_none() && parameter(&to, "iss").is_some(), "{to}");
    assert_eq!(parameter(&to, "error").as_deref(), Some("access_denied"));

    let late = flows.push(request.clone(), [5; 32], UP).unwrap();
    assert_eq!(show(&late, &client, Micros(UP.0 + PUSHED_FOR.0)), Err(NoFlow), "a minute");
    let uri = flows.push(request, [6; 32], UP).unwrap();
    let shown = show(&uri, &client, UP).unwrap();
    assert!(flows.shown(&shown, &BROWSER, Micros(UP.0 + SHOWN_FOR.0)).is_err(), "ten minutes");
}

#[test]
fn a_code_is_redeemed_once_by_who_asked_with_all_that_belongs_to_it() {
    let world = world();
    let key = Binding::Key(world.working.public().thumbprint());
    let bound = |mut request: Pushed| {
        request.key = Some(key);
        request
    };
    let request = push(&world, &pushed(&world, 1)).unwrap();
    let redeem = |flows: &Flows, code: &str, client, redirect, verifier, key: &Binding, now| {
        flows.redeem(code, client, redirect, verifier, key, now)
    };
    let honest = |flows: &Flows, code: &str, now| {
        redeem(flows, code, INTEGRATION, Some(REDIRECT), Some(VERIFIER), &key, now)
    };
    let flows = Flows::default();
    let good = code(&flows, bound(request.clone()));
    assert_eq!(
        redeem(&flows, &good, ANOTHER, Some(REDIRECT), Some(VERIFIER), &key, UP),
        Err(BadCode::Unknown)
    );
    assert_eq!(honest(&flows, &good, UP), Ok(CONSENT), "another client did not use it up");
    assert_eq!(honest(&flows, &good, UP), Err(BadCode::Reused(CONSENT)));
    assert_eq!(honest(&flows, "never-made", UP), Err(BadCode::Unknown));

    // Whatever else is wrong uses it up.
    let wrong = "another-verifier-of-at-least-forty-three-characters";
    let short = &VERIFIER[..42];
    let cases: [(_, _, Option<&str>, _); 6] = [
        (BadCode::Redirect, None, Some(VERIFIER), key),
        (BadCode::Redirect, Some("https://app.example/back?tenant=1&x"), Some(VERIFIER), key),
        (BadCode::Verifier, Some(REDIRECT), None, key),
        (BadCode::Verifier, Some(REDIRECT), Some(wrong), key),
        (BadCode::Verifier, Some(REDIRECT), Some(short), key),
        (BadCode::Key, Some(REDIRECT), Some(VERIFIER), Binding::Certificate([9; 32])),
    ];
    for (expected, redirect, verifier, key) in cases {
        let flows = Flows::default();
        let code = code(&flows, bound(request.clone()));
        assert_eq!(redeem(&flows, &code, INTEGRATION, redirect, verifier, &key, UP), Err(expected));
        assert_eq!(honest(&flows, &code, UP), Err(BadCode::Reused(CONSENT)));
    }
    let flows = Flows::default();
    let late = code(&flows, request);
    assert_eq!(honest(&flows, &late, Micros(UP.0 + CODE_FOR.0)), Err(BadCode::Unknown), "a minute");
}

fn consented(world: &World) -> Consent {
    Consent {
        id: CONSENT,
        integration: INTEGRATION,
        subject: SubjectId::new("alice").unwrap(),
        details: details(world, json!({ "type": TYPE, "actions": ["getUser"] })).unwrap(),
        given: NOW,
        used: NOW,
        refresh: None,
        ended: None,
    }
}

fn code_request(world: &World, jti: u8) -> Sent {
    let mut sent = world.honest(jti);
    sent.set("grant_type", "authorization_code");
    sent.remove("scope");
    sent.set("code", "a-code");
    sent.set("redirect_uri", REDIRECT);
    sent.set("code_verifier", VERIFIER);
    sent
}

#[test]
fn a_token_for_a_subject_names_it_and_its_consent_and_ends_with_it() {
    let world = world();
    let sent = code_request(&world, 1);
    let (body, dpop) = (sent.body(), sent.dpop.clone());
    let request = TokenRequest {
        body: body.as_bytes(),
        dpop: &[dpop[0].as_bytes()],
        network: sent.network,
        client_certificate: None,
    };
    let proven = world.endpoint.prove(&request, &world.directory, NOW).unwrap();
    assert!(matches!(&proven.asked, Asked::Code { code, .. } if code == "a-code"));
    let issue = |consent: &Consent| {
        let standing = |_: &crate::Applicant| world.standing;
        world.endpoint.issue(
            &proven,
            GRANT,
            Some(consent),
            &world.directory,
            &standing,
            NOW,
            [8; 16],
        )
    };
    let mut consent = consented(&world);
    consent.details.expires = NOW + Micros::from_secs(100);
    let issued = issue(&consent).unwrap();
    assert_eq!(
        issued.expires,
        consent.details.expires.min(UnixMicros::from_secs(issued.expires.secs()))
    );
    let facts = credential::token::read(
        issued.access_token.expose(),
        ISSUER,
        RESOURCE,
        &world.endpoint.issuer_keys(),
        NOW,
    );
    let facts = facts.unwrap();
    assert_eq!((facts.consent, facts.subject.as_ref()), (Some(CONSENT), Some(&consent.subject)));

    let refused = |change: &dyn Fn(&mut Consent)| {
        let mut consent = consented(&world);
        change(&mut consent);
        assert_eq!(issue(&consent).unwrap_err().code(), "invalid_grant");
    };
    refused(&|consent| consent.integration = ANOTHER);
    refused(&|consent| consent.details.grant = model::GrantId::from_bytes([9; 16]));
    refused(&|consent| consent.details.expires = NOW);
    refused(&|consent| consent.ended = Some((NOW, crate::consent::Ending::Subject)));
}

#[test]
fn an_inquiry_needs_a_token_and_a_client() {
    let world = world();
    let inquire = |change: &dyn Fn(&mut Sent), jti| {
        let mut sent = pushed(&world, jti);
        sent.form.retain(|(name, _)| name.starts_with("client_assertion"));
        sent.set("token", "x");
        change(&mut sent);
        let body = sent.body();
        let request = TokenRequest {
            body: body.as_bytes(),
            dpop: &[],
            network: sent.network,
            client_certificate: None,
        };
        world
            .endpoint
            .inquire(&request, &world.directory, &admitted, NOW)
            .map_err(|error| error.code())
    };
    assert!(inquire(&|_| {}, 1).unwrap() == Inquiry::Nothing);
    assert_eq!(inquire(&|_| {}, 1).err(), Some("invalid_client"), "an assertion that came before");
    assert_eq!(inquire(&|sent| sent.remove("token"), 2).err(), Some("invalid_request"));
    assert_eq!(inquire(&|sent| sent.remove("client_assertion"), 3).err(), Some("invalid_request"));
    assert_eq!(inquire(&|sent| sent.set("client_secret", "x"), 4).err(), Some("invalid_client"));
}

#[test]
fn a_client_learns_of_its_own_tokens_and_of_no_others() {
    let world = world();
    let issued = world.send(&world.honest(1)).unwrap();
    let token = issued.access_token.expose();
    let inquire = |world: &World, token: &str, jti| {
        let mut sent = pushed(world, jti);
        sent.form.retain(|(name, _)| name.starts_with("client_assertion"));
        sent.set("token", token);
        sent.set("token_type_hint", "refresh_token");
        let body = sent.body();
        let request = TokenRequest {
            body: body.as_bytes(),
            dpop: &[],
            network: sent.network,
            client_certificate: None,
        };
        world.endpoint.inquire(&request, &world.directory, &admitted, NOW)
    };
    let Inquiry::Access { facts, digest } = inquire(&world, token, 2).unwrap() else {
        panic!("ours")
    };
    assert_eq!((facts.grant, digest), (GRANT, sha256(token.as_bytes())));
    let described = world.endpoint.describe(&facts);
    assert_eq!(described["cnf"]["jkt"], world.working.public().thumbprint_text());
    let refresh = RefreshToken::new(&CONSENT, [7; 32]);
    let expected =
        Inquiry::Refresh { integration: INTEGRATION, consent: CONSENT, digest: refresh.digest() };
    assert!(inquire(&world, refresh.expose(), 3).unwrap() == expected);
    for (jti, nothing) in (4..).zip(["x", "e30.e30.e30", &token[..token.len() - 2]]) {
        assert!(inquire(&world, nothing, jti).unwrap() == Inquiry::Nothing, "{nothing}");
    }
    // The same token, asked about by another client that is as well authenticated.
    let mut other = super::flow_tests::world();
    other.become_client(ANOTHER);
    assert!(inquire(&other, token, 9).unwrap() == Inquiry::Nothing);
}

#[test]
fn a_credential_that_is_cut_off_pushes_nothing_and_learns_nothing() {
    let world = world();
    let sent = pushed(&world, 1);
    let (mut inquiry, body) = (pushed(&world, 2), sent.body());
    inquiry.form.retain(|(name, _)| name.starts_with("client_assertion"));
    inquiry.set("token", "x");
    let asked = inquiry.body();
    let request =
        |body| TokenRequest { body, dpop: &[], network: sent.network, client_certificate: None };
    let (pushing, asking) = (request(body.as_bytes()), request(asked.as_bytes()));
    for (standing, expected) in
        [(Standing::Cut, Reason::NotAdmitted), (Standing::Unconfirmed, Reason::Unavailable)]
    {
        let says = |_: &CredentialId| standing;
        let pushed = world.endpoint.push(&pushing, &world.directory, &classes(), &says, NOW);
        assert_eq!(pushed.err().map(|refused| refused.reason), Some(expected.clone()));
        let learnt = world.endpoint.inquire(&asking, &world.directory, &says, NOW);
        assert_eq!(learnt.err().map(|refused| refused.reason), Some(expected));
    }
    assert!(world.endpoint.push(&pushing, &world.directory, &classes(), &admitted, NOW).is_ok());
    assert!(world.endpoint.inquire(&asking, &world.directory, &admitted, NOW).is_ok());
}

#[test]
fn a_token_is_held_by_a_credential_in_use_or_by_nobody() {
    let mut world = world();
    let issued = world.send(&world.honest(1)).unwrap();
    let keys = world.endpoint.issuer_keys();
    let token = issued.access_token.expose();
    let facts = credential::token::read(token, ISSUER, RESOURCE, &keys, NOW).unwrap();
    let holders = |world: &World, now| {
        world.endpoint.holders(&facts, &world.directory, now).collect::<Vec<_>>()
    };
    let [holder] = holders(&world, NOW)[..] else { panic!("one") };
    assert_eq!(holder, issued.applicant.bound_to);
    world.directory.credentials.get_mut(&holder).unwrap().state = CredentialState::Retired;
    assert_eq!(holders(&world, NOW), []);
    let until = NOW + Micros::from_secs(1);
    world.directory.credentials.get_mut(&holder).unwrap().state = CredentialState::Active { until };
    assert_eq!((holders(&world, NOW).len(), holders(&world, until).len()), (1, 0));
}

#[test]
fn an_assertion_of_before_the_start_is_refused_where_it_stands_alone() {
    let mut world = world();
    let began = |world: &mut World, at: UnixMicros| {
        let issuer_key = super::tests::issuer_key();
        let endpoint = TokenEndpoint::new(ISSUER, RESOURCE, issuer_key, [7; 32]).unwrap();
        world.endpoint = endpoint.beginning(at);
    };
    // Made at NOW by a clock that may be ten seconds ahead: of before a start at NOW, for all that anybody knows.
    let sent = pushed(&world, 1);
    for (start, refused) in
        [(NOW, true), (NOW - CLOCK_AHEAD - Micros::from_secs(1), false), (UnixMicros(0), false)]
    {
        began(&mut world, start);
        let answer = push(&world, &sent).err();
        assert_eq!(answer, refused.then_some(Reason::Unavailable), "{start}");
    }
    // With a proof that carries a nonce of this start it is as good as ever.
    began(&mut world, NOW);
    let nonce = world.nonce();
    let mut proved = pushed(&world, 2);
    proved.dpop = vec![world.proof_for(&world.working, "/par", Some(&nonce), 2)];
    assert!(push(&world, &proved).is_ok());
}

proptest! {
    /// What a subject narrows to is within what it was asked, and widening is seen.
    #[test]
    fn narrowing_is_an_order(picked in prop::collection::vec(any::<bool>(), 4), expires in 1_u64..1_000) {
        let world = world();
        let all = details(&world, json!({ "type": TYPE })).unwrap();
        let mut some = all.clone();
        if picked[0] { some.operations.pop_first(); }
        if picked[1] { some.classes = classes().covered_by(&class("user.contact.email")); }
        if picked[2] { some.expires = UnixMicros(all.expires.0 - expires); }
        prop_assert!(some.is_within(&all));
        prop_assert_eq!(all.is_within(&some), some == all);
        if picked[3] { some.classes = classes().covered_by(&class("user")); }
        prop_assert_eq!(some.is_within(&all), !picked[3]);
    }
}

//! Who is accepted, and what a token and its binding are worth once they were.

use super::attempt::Attempt;
use super::world::{
    AUDIENCE, BY_CERTIFICATE, CREDENTIAL, GRANT, INTEGRATION, ISSUER, NOW, World, network,
    self_signed, signing_key,
};
use crate::certificate::tests::{Ca, by_rule, pinned, uri};
use crate::token::{self, Binding, Facts};
use crate::{Algorithm, ClientCertificate, ClientTrust, Denied, SigningKey};
use model::{
    BearerException, Credential, CredentialId, CredentialState, IntegrationId, Means, Micros,
    RuleKind,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

#[test]
fn the_honest_request_is_accepted_as_its_integration() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let world = World::new(algorithm);
        let caller = Attempt::honest(&world).send(&world).unwrap();
        assert_eq!(caller.integration(), INTEGRATION);
        assert_eq!(caller.credential(), CREDENTIAL);
        assert_eq!(caller.grant(), GRANT);
        assert_eq!(caller.network(), network());
        assert_eq!(caller.token_expires(), world.facts().expires);
        assert_eq!(caller.subject(), None);
    }
}

#[test]
fn a_certificate_bound_token_rides_on_its_connection() {
    let mut world = World::new(Algorithm::EdDsa);
    let ours = Arc::clone(&world.certificate);
    let attempt = |world: &World, scheme: &str, certificate| {
        let token = world.token(&bound_to(world, &world.certificate));
        certificate_attempt(world, scheme, token, certificate)
    };
    let right = attempt(&world, "Bearer", Some(Arc::clone(&ours)));
    let caller = right.send(&world).unwrap();
    assert_eq!(caller.credential(), BY_CERTIFICATE);
    for wrong in [
        attempt(&world, "Bearer", None),
        attempt(&world, "Bearer", Some(self_signed())),
        attempt(&world, "DPoP", Some(Arc::clone(&ours))),
    ] {
        let denied = wrong.send(&world).unwrap_err();
        assert!(matches!(denied, Denied::Certificate { caller: Some(_) }), "{denied}");
    }
    // The certificate is right and the token another's: it is bound to the key.
    let token = world.token(&world.facts());
    let denied = certificate_attempt(&world, "Bearer", token, Some(ours)).send(&world);
    assert!(matches!(denied.unwrap_err(), Denied::BoundTokenAsBearer { .. }));
    let state = &mut world.directory.credentials.get_mut(&BY_CERTIFICATE).unwrap().state;
    *state = CredentialState::Retired;
    assert_eq!(right.send(&world).unwrap_err().code(), "invalid_token");
}

#[test]
fn a_certificate_of_a_ca_is_judged_by_the_trust_of_the_moment() {
    const SPIFFE: &str = "spiffe://acme.example/sync";
    let ca = Ca::root("acme");
    let mut world = World::new(Algorithm::EdDsa);
    let by_rule = by_rule(&ca, RuleKind::SanUri, SPIFFE);
    world.directory.credentials.get_mut(&BY_CERTIFICATE).unwrap().means = by_rule.means;
    let of = |name| ClientCertificate::new(&[ca.leaf(&[uri(name)], |_| ())]).map(Arc::new).unwrap();
    let (ours, other) = (of(SPIFFE), of("spiffe://acme.example/other"));
    let trust =
        Arc::new(ClientTrust::new(std::slice::from_ref(&ca.der), &[] as &[Vec<u8>]).unwrap());
    let attempt = |world: &World, bound: &Arc<_>, shown: &Arc<_>, trust: &Arc<ClientTrust>| {
        let token = world.token(&bound_to(world, bound));
        let attempt = certificate_attempt(world, "Bearer", token, Some(Arc::clone(shown)));
        Attempt { trust: Arc::clone(trust), ..attempt }.send(world)
    };
    let caller = attempt(&world, &ours, &ours, &trust).unwrap();
    assert_eq!(caller.credential(), BY_CERTIFICATE);
    // The token of one certificate of the CA over a connection with another, and one that no rule is met by.
    let denied = attempt(&world, &ours, &other, &trust).unwrap_err();
    assert!(matches!(denied, Denied::Certificate { caller: None }), "{denied}");
    let denied = attempt(&world, &other, &other, &trust).unwrap_err();
    assert_eq!(denied.to_string(), "the token's integration or credential is not registered");
    // The CA is taken out of the configuration: the same token on the same connection.
    let denied = attempt(&world, &ours, &ours, &Arc::default()).unwrap_err();
    assert_eq!(denied.to_string(), "the certificate is not issued by the CA it must be");
    assert!(denied.caller().is_some());
    assert_eq!((denied.status(), denied.code()), (401, "invalid_token"));
    attempt(&world, &ours, &ours, &trust).unwrap();
    // Of two credentials that mean the certificate, the one that it proves counts.
    let certificate = pinned(&ca.leaf(&[uri(SPIFFE)], |_| ()));
    let Means::Certificate { ends, .. } = certificate.means else { panic!("pinned") };
    let thumbprint = ours.show(&trust, NOW).thumbprint();
    let id = CredentialId::from_bytes([9; 16]);
    let means = Means::Certificate { thumbprint, ends };
    let second = Credential { id, means, ..world.directory.credentials[&BY_CERTIFICATE].clone() };
    world.directory.credentials.insert(id, second);
    assert_eq!(attempt(&world, &ours, &ours, &Arc::default()).unwrap().credential(), id);
}

fn bound_to(world: &World, certificate: &Arc<ClientCertificate>) -> Facts {
    let thumbprint = certificate.show(&Arc::default(), NOW).thumbprint();
    Facts { binding: Binding::Certificate(thumbprint), ..world.facts() }
}

fn certificate_attempt(
    world: &World,
    scheme: &str,
    token: String,
    certificate: Option<Arc<ClientCertificate>>,
) -> Attempt {
    let authorization = vec![format!("{scheme} {token}")];
    Attempt { authorization, dpop: vec![], certificate, ..Attempt::honest(world) }
}

#[test]
fn a_pinned_credential_is_refused_from_elsewhere_once_possession_is_proved() {
    let mut world = World::new(Algorithm::EdDsa);
    let pin = |world: &mut World, networks: &[&str]| {
        let credential = world.directory.credentials.get_mut(&CREDENTIAL).unwrap();
        credential.networks = networks.iter().map(|net| net.parse().unwrap()).collect();
    };
    pin(&mut world, &["198.51.100.0/24", "192.0.2.0/29"]);
    Attempt::honest(&world).send(&world).unwrap();
    pin(&mut world, &["198.51.100.0/24"]);
    let second = Attempt::with_proof(&world, &world.key, |_, claims| claims["jti"] = json!("2"));
    let denied = second.send(&world).unwrap_err();
    assert!(matches!(denied, Denied::Network { .. }));
    assert_eq!((denied.code(), denied.status(), denied.www_authenticate()), ("network", 403, None));
    let stolen = Attempt { dpop: vec![], ..Attempt::honest(&world) };
    assert_eq!(stolen.send(&world).unwrap_err().code(), "invalid_dpop_proof");
}

#[test]
fn a_remembered_token_is_still_judged_by_clock_and_directory() {
    let mut world = World::new(Algorithm::EdDsa);
    let token = world.token(&world.facts());
    let send = |world: &World, jti, now| {
        let proof = world.proof(&world.key, &token, jti);
        world.send_raw(&[format!("DPoP {token}").as_bytes()], &[proof.as_bytes()], now)
    };
    send(&world, 1, NOW).unwrap();
    let expires = world.facts().expires;
    assert_eq!(send(&world, 2, expires).unwrap_err().to_string(), "the token has expired");
    world.directory.grants.get_mut(&GRANT).unwrap().expires = NOW;
    assert_eq!(send(&world, 3, NOW).unwrap_err().to_string(), "the token's grant has expired");
    world.directory.credentials.remove(&CREDENTIAL);
    assert_eq!(send(&world, 4, NOW).unwrap_err().code(), "invalid_token");
}

#[test]
fn a_key_that_is_taken_away_verifies_nothing_also_what_it_verified_before() {
    let world = World::new(Algorithm::Es256);
    let token = world.token(&world.facts());
    let authorization = format!("DPoP {token}");
    let read = |jti| world.send(&authorization, &world.proof(&world.key, &token, jti)).is_ok();
    assert!(read(1));
    let (old, next) = (&world.issuer_key, signing_key(Algorithm::EdDsa, 9));
    let key = |kid: &str, key: &SigningKey| (kid.to_owned(), key.public().clone());
    world.verifier.replace_issuer_keys(BTreeMap::from([key("k1", old), key("k2", &next)]));
    assert!(read(2), "both verify");
    world.verifier.replace_issuer_keys(BTreeMap::from([key("k2", &next)]));
    assert!(!read(3), "remembered, and its key is gone");
    world.verifier.replace_issuer_keys(BTreeMap::from([key("k1", &next)]));
    assert!(!read(4), "another key of that name");
}

#[test]
fn nothing_secret_is_printed() {
    let world = World::new(Algorithm::EdDsa);
    let token = token::sign(&world.facts(), ISSUER, AUDIENCE, &world.issuer_key, "k1", [1; 16]);
    assert_eq!(format!("{token:?}"), "AccessToken(..)");
    let caller = Attempt::honest(&world).send(&world).unwrap();
    for printed in [format!("{:?}", world.verifier), format!("{caller:?}")] {
        assert!(!printed.contains(token.expose()), "{printed}");
    }
}

#[test]
fn a_bearer_exception_holds_for_one_integration_until_its_moment_and_for_nothing_else() {
    let mut world = World::new(Algorithm::EdDsa);
    let honest = Attempt::honest(&world);
    let authorization = vec![honest.authorization[0].replace("DPoP", "Bearer")];
    let bearer = Attempt { authorization, dpop: vec![], ..honest };
    let until = NOW + Micros::from_secs(10);
    let exception = |until| BearerException { owner: "Ines".into(), reason: "old".into(), until };
    let refused = |world: &World| {
        let denied = bearer.send(world).unwrap_err();
        assert!(matches!(denied, Denied::BoundTokenAsBearer { caller: Some(_) }), "{denied}");
    };
    refused(&world);
    world.directory.bearer.insert(IntegrationId::from_bytes([99; 16]), exception(until));
    refused(&world);
    world.directory.bearer.insert(INTEGRATION, exception(until));
    let caller = bearer.send(&world).unwrap();
    assert!(caller.is_bearer());
    assert!(!caller.is_signed());
    assert!(
        !Attempt::honest(&world).send(&world).unwrap().is_bearer(),
        "a proof is still looked at"
    );
    let without_proof = Attempt { dpop: vec![], ..Attempt::honest(&world) };
    assert!(without_proof.send(&world).is_err(), "and needed by who claims to have one");

    // It lifts the proof and nothing else: not the pins, the certificate or the credential's end.
    let shown = world.certificate.show(&Arc::default(), NOW).thumbprint();
    let certificate = Facts { binding: Binding::Certificate(shown), ..world.facts() };
    let authorization = vec![format!("Bearer {}", world.token(&certificate))];
    let on_no_connection = Attempt { authorization, dpop: vec![], ..Attempt::honest(&world) };
    assert!(matches!(on_no_connection.send(&world).unwrap_err(), Denied::Certificate { .. }));
    let credential = world.directory.credentials.get_mut(&CREDENTIAL).unwrap();
    credential.networks = vec!["198.51.100.0/24".parse().unwrap()];
    assert!(matches!(bearer.send(&world).unwrap_err(), Denied::Network { .. }));
    let credential = world.directory.credentials.get_mut(&CREDENTIAL).unwrap();
    (credential.networks, credential.state) = (Vec::new(), CredentialState::Retired);
    assert_eq!(bearer.send(&world).unwrap_err().code(), "invalid_token");
    let state = CredentialState::Active { until: NOW + Micros::from_secs(86_400) };
    world.directory.credentials.get_mut(&CREDENTIAL).unwrap().state = state;
    bearer.send(&world).unwrap();

    // Over is over, with the token in hand and in the cache.
    world.directory.bearer.insert(INTEGRATION, exception(NOW));
    refused(&world);
}

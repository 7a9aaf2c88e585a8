//! Certificates as credentials: what is stored of them, what is refused, and rows from before there were any.

use super::fixture::{
    CREDENTIAL, INTEGRATION, LATER, Person, VENDOR, World, credential_add, payload,
};
use crate::registry::command::{Command, Rule};
use crate::registry::signed::Payload;
use crate::registry::{MIGRATIONS, Registry, RegistryError};
use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use model::{CredentialId, Means, RuleKind, UnixMicros};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

fn der(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(2030, 1, 1);
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn ca() -> Vec<u8> {
    der(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
}

fn certificate_add(n: u8, der: &[u8], rule: Option<(&str, &str)>) -> Command {
    Command::CertificateAdd {
        credential: CredentialId::from_bytes([n; 16]),
        integration: INTEGRATION,
        certificate: BASE64_URL_SAFE_NO_PAD.encode(der),
        rule: rule.map(|(kind, value)| Rule { kind: kind.into(), value: value.into() }),
        until: LATER,
        networks: vec!["203.0.113.0/24".into()],
    }
}

/// The first moment of 2030-01-01 and a second, because a certificate is valid through its last one.
const ENDS: UnixMicros = UnixMicros::from_secs(1_893_456_001);

#[tokio::test]
async fn certificates_and_rules_are_stored_and_read_back() {
    let world = World::with_integration().await;
    let (own, ca) = (der(|_| ()), ca());
    let hash = |der: &[u8]| -> [u8; 32] { digest(&SHA256, der).as_ref().try_into().unwrap() };
    world.both(certificate_add(61, &own, None)).await.unwrap();
    let rule = Some(("san_uri", "SPIFFE://Acme.Example/Sync"));
    world.both(certificate_add(62, &ca, rule)).await.unwrap();
    let directory = world.registry.directory().await.unwrap();
    let means = |n| &directory.credentials[&CredentialId::from_bytes([n; 16])].means;
    let thumbprint = hash(&own);
    assert_eq!(means(61), &Means::Certificate { thumbprint, ends: ENDS });
    let Means::Ca { ca: issuer, ends, rule } = means(62) else { panic!("a rule") };
    assert_eq!((*issuer, *ends), (hash(&ca), ENDS));
    assert_eq!((rule.kind(), rule.value()), (RuleKind::SanUri, "spiffe://acme.example/Sync"));
    assert!(matches!(directory.credentials[&CREDENTIAL].means, Means::Key { .. }));
    // The same certificate, and the same rule in other words, belong to one credential for ever.
    for again in [
        certificate_add(63, &own, None),
        certificate_add(63, &ca, Some(("san_uri", "spiffe://acme.example/Sync"))),
    ] {
        assert!(matches!(world.both(again).await, Err(RegistryError::Taken(_))));
    }
    // Another rule over the same CA is another credential, and one person registers nothing.
    let other = certificate_add(63, &ca, Some(("san_dns", "a.acme.example")));
    assert!(matches!(world.one(other.clone()).await, Err(RegistryError::NotAuthorised(_))));
    world.both(other).await.unwrap();
}

#[tokio::test]
async fn what_could_prove_nobody_or_too_many_is_not_registered() {
    let world = World::with_integration().await;
    let before = world.registry.snapshot().await.unwrap();
    let expired = der(|params| params.not_after = date_time_ymd(2026, 1, 1));
    let for_servers = der(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let (own, ca) = (der(|_| ()), ca());
    let two = [&own[..], &own[..]].concat();
    for (der, rule) in [
        (&expired, None),
        (&for_servers, None),
        (&two, None),
        (&b"certificate".to_vec(), None),
        (&vec![0; 20_000], None),
        (&own, Some(("san_uri", "spiffe://acme.example/sync"))),
        (&ca, Some(("san_uri", "spiffe://acme.example"))),
        (&ca, Some(("san_dns", "*.acme.example"))),
        (&ca, Some(("common_name", "acme"))),
    ] {
        let refused = world.both(certificate_add(70, der, rule)).await;
        assert!(matches!(refused, Err(RegistryError::Invalid(_))), "{rule:?} {refused:?}");
    }
    assert_eq!(world.registry.snapshot().await.unwrap(), before);
}

#[test]
fn the_command_is_written_as_it_is_documented() {
    let command = certificate_add(1, b"x", Some(("san_dns", "a.example")));
    let json = serde_json::to_value(&command).unwrap();
    assert_eq!(json["action"], "certificate_add");
    assert_eq!(json["rule"], serde_json::json!({ "kind": "san_dns", "value": "a.example" }));
    let written = payload(command);
    let read: Payload = serde_json::from_slice(&written.to_json().unwrap()).unwrap();
    assert_eq!(read, written);
    // A command about a key reads as it always has.
    let key = credential_add(&Person::new(1));
    assert_eq!(serde_json::to_value(&key).unwrap()["action"], "credential_add");
}

#[tokio::test]
async fn a_registry_from_before_certificates_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let earlier = MIGRATIONS.iter().filter(|migration| migration.version < 25).cloned().collect();
    Migrator::with_migrations(earlier).run(&pool).await.unwrap();
    let rows = [
        format!("INSERT INTO vendors VALUES ('{VENDOR}', 'acme', 'Acme')"),
        format!(
            "INSERT INTO integrations VALUES
                ('{INTEGRATION}', 'acme-desk', '{VENDOR}', 1, 'approved', NULL, 1810000000000000)"
        ),
        format!(
            "INSERT INTO credentials VALUES
                ('{CREDENTIAL}', '{INTEGRATION}', zeroblob(32), '{{}}', 1810000000000000, 0)"
        ),
    ];
    for row in rows {
        sqlx::query(sqlx::AssertSqlSafe(row)).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let registry = Registry::open(&path).await.unwrap();
    let directory = registry.directory().await.unwrap();
    assert_eq!(
        directory.credentials[&CREDENTIAL].means,
        Means::Key { thumbprint: [0; 32], jwk: "{}".into() }
    );
}

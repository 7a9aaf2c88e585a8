//! Chains, names and revocation as attackers would have them.

use super::{Certificate, ClientCertificate, ClientTrust, Fault, public_key};
use model::{
    CertificateRule, Credential, CredentialId, CredentialState, IntegrationId, Means, Micros,
    RuleKind, UnixMicros,
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

/// 2027-01-15.
const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_030);

/// Of every leaf. Its first bit is set, so that DER writes a zero before it.
const SERIAL: u64 = 0xf7;

type Der = CertificateDer<'static>;

/// A CA, root or below one.
pub(crate) struct Ca {
    pub(crate) der: Der,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn root(name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn below(&self, name: &str) -> Self {
        let (mut params, key) = (Self::params(name), KeyPair::generate().unwrap());
        params.serial_number = Some(77_u64.into());
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// A leaf with these names, changed.
    pub(crate) fn leaf(
        &self,
        names: &[SanType],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Der {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(SERIAL.into());
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
    }

    /// A list that revokes these serial numbers, made in 2026, the next one due in that year.
    fn list(&self, revoked: &[u64], next: i32, made_month: u8) -> Vec<u8> {
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, made_month, 1),
            next_update: date_time_ymd(next, 12, 31),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn trust(cas: &[&Ca], lists: &[Vec<u8>]) -> Arc<ClientTrust> {
    let cas: Vec<_> = cas.iter().map(|ca| ca.der.clone()).collect();
    Arc::new(ClientTrust::new(&cas, lists).unwrap())
}

fn credential(means: Means) -> Credential {
    Credential {
        id: CredentialId::from_bytes([1; 16]),
        integration: IntegrationId::from_bytes([2; 16]),
        means,
        state: CredentialState::Active { until: NOW },
        networks: Vec::new(),
    }
}

pub(crate) fn by_rule(ca: &Ca, kind: RuleKind, value: &str) -> Credential {
    let read = Certificate::parse(&ca.der).unwrap();
    let rule = CertificateRule::new(kind, value).unwrap();
    credential(Means::Ca { ca: read.thumbprint(), ends: read.ends(), rule })
}

pub(crate) fn pinned(der: &Der) -> Credential {
    let read = Certificate::parse(der).unwrap();
    credential(Means::Certificate { thumbprint: read.thumbprint(), ends: read.ends() })
}

fn proves(chain: &[&Der], trust: &Arc<ClientTrust>, credential: &Credential) -> Result<(), Fault> {
    let chain: Vec<_> = chain.iter().map(|der| (*der).clone()).collect();
    let certificate = ClientCertificate::new(&chain).unwrap();
    certificate.show(trust, NOW).proves(credential)
}

const SPIFFE: &str = "spiffe://acme.example/sync";

#[test]
fn a_certificate_of_the_ca_that_meets_the_rule_is_the_integrations() {
    let ca = Ca::root("acme");
    let trust = trust(&[&ca], &[]);
    let named = |params: &mut CertificateParams| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Acme, \"Inc\"");
        params.distinguished_name.push(DnType::CommonName, "#sync ");
    };
    let names = [
        uri("SPIFFE://Acme.Example/sync"),
        dns("Worker.acme.example"),
        SanType::IpAddress([192, 0, 2, 7].into()),
        SanType::Rfc822Name("Ops@ACME.example".try_into().unwrap()),
    ];
    let leaf = ca.leaf(&names, named);
    for (kind, value) in [
        (RuleKind::SanUri, SPIFFE),
        (RuleKind::SanDns, "worker.ACME.example"),
        (RuleKind::SanIp, "192.0.2.7"),
        (RuleKind::SanEmail, "Ops@acme.example"),
        (RuleKind::SubjectDn, r#"CN=\#sync\ ,O=Acme\, \"Inc\",C=DE"#),
    ] {
        assert_eq!(proves(&[&leaf], &trust, &by_rule(&ca, kind, value)), Ok(()), "{value}");
    }
    for (kind, value) in [
        (RuleKind::SanUri, "spiffe://acme.example/sync/a"),
        (RuleKind::SanUri, "spiffe://acme.example/syn"),
        (RuleKind::SanUri, "spiffe://acme.example/Sync"),
        (RuleKind::SanDns, "acme.example"),
        (RuleKind::SanDns, "a.worker.acme.example"),
        (RuleKind::SanIp, "192.0.2.70"),
        (RuleKind::SanEmail, "ops@acme.example"),
        (RuleKind::SubjectDn, r"CN=\#sync\ "),
    ] {
        let refused = proves(&[&leaf], &trust, &by_rule(&ca, kind, value));
        assert_eq!(refused, Err(Fault::Other), "{value}");
    }
    let key = Means::Key { thumbprint: [0; 32], jwk: String::new() };
    assert_eq!(proves(&[&leaf], &trust, &credential(key)), Err(Fault::Other));
}

/// Names that a careless comparison would take for the one that was registered.
#[test]
fn names_that_only_look_like_the_registered_one_are_refused() {
    let ca = Ca::root("acme");
    let trust = trust(&[&ca], &[]);
    let by_uri = by_rule(&ca, RuleKind::SanUri, SPIFFE);
    let by_dns = by_rule(&ca, RuleKind::SanDns, "worker.acme.example");
    let mut trials: Vec<(Vec<SanType>, &Credential)> = [
        "spiffe://acme.example/sync/b",
        "spiffe://acme.example/sync/",
        "spiffe://acme.example/a/../sync",
        "spiffe://acme.example/%73ync",
        "spiffe://acme.example/sync\0",
        "spiffe://acme.example/sync?x",
        "spiffe://acme.example.evil.example/sync",
        "spiffe://acme.example@evil.example/sync",
        "spiffe://acme.example:1/sync",
        "spiffe://acme.example/*",
        "http://acme.example/sync",
        " spiffe://acme.example/sync",
    ]
    .map(|text| (vec![uri(text)], &by_uri))
    .into();
    trials.extend(
        [
            "*.acme.example",
            "worker.acme.example\0.evil.example",
            "worker.acme.example.",
            "worker-acme.example",
        ]
        .map(|text| (vec![dns(text)], &by_dns)),
    );
    // Two URIs, whichever comes first; the right name as another kind of name.
    trials.push((vec![uri(SPIFFE), uri("spiffe://acme.example/other")], &by_uri));
    trials.push((vec![uri("spiffe://acme.example/other"), uri(SPIFFE)], &by_uri));
    trials.push((vec![uri(SPIFFE), uri(SPIFFE)], &by_uri));
    trials.push((vec![dns(SPIFFE)], &by_uri));
    trials.push((vec![uri("worker.acme.example")], &by_dns));
    trials.push((vec![], &by_uri));
    for (names, credential) in trials {
        let leaf = ca.leaf(&names, |_| ());
        assert_eq!(proves(&[&leaf], &trust, credential), Err(Fault::Other), "{names:?}");
    }
    // Never by common name.
    let leaf = ca.leaf(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "worker.acme.example");
    });
    assert_eq!(proves(&[&leaf], &trust, &by_dns), Err(Fault::Other));
}

#[test]
fn a_leaf_is_no_ca_and_is_for_clients() {
    let ca = Ca::root("acme");
    let trust = trust(&[&ca], &[]);
    let rule = by_rule(&ca, RuleKind::SanUri, SPIFFE);
    let check = |change: fn(&mut CertificateParams), expected| {
        let leaf = ca.leaf(&[uri(SPIFFE)], change);
        assert_eq!(proves(&[&leaf], &trust, &rule), expected);
    };
    check(|_| (), Ok(()));
    check(|params| params.extended_key_usages.clear(), Ok(()));
    check(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), Err(Fault::Other));
    check(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign), Err(Fault::Other));
    check(|params| params.key_usages.push(KeyUsagePurpose::CrlSign), Err(Fault::Other));
    check(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment], Err(Fault::Other));
    // SPIFFE asks for the extension; other rules take a certificate without it.
    check(|params| params.key_usages.clear(), Err(Fault::Other));
    let only_server = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    check(only_server, Err(Fault::OtherUse));
    let leaf = ca.leaf(&[uri(SPIFFE)], only_server);
    assert_eq!(proves(&[&leaf], &trust, &pinned(&leaf)), Err(Fault::OtherUse));
    check(|params| params.not_after = date_time_ymd(2027, 1, 14), Err(Fault::Expired));
    check(|params| params.not_before = date_time_ymd(2027, 1, 16), Err(Fault::NotYetValid));
    check(|params| params.not_after = date_time_ymd(2027, 1, 16), Ok(()));
}

#[test]
fn only_the_ca_that_was_registered_counts_and_only_while_it_is_trusted() {
    let (ours, other) = (Ca::root("acme"), Ca::root("acme"));
    let below = ours.below("below");
    let rule = by_rule(&ours, RuleKind::SanUri, SPIFFE);
    let both = trust(&[&ours, &other], &[]);
    let (leaf, theirs) = (below.leaf(&[uri(SPIFFE)], |_| ()), other.leaf(&[uri(SPIFFE)], |_| ()));
    assert_eq!(proves(&[&leaf, &below.der], &both, &rule), Ok(()));
    assert_eq!(proves(&[&leaf], &both, &rule), Err(Fault::NotIssued), "without what is between");
    assert_eq!(proves(&[&theirs], &both, &rule), Err(Fault::NotIssued));
    assert_eq!(proves(&[&theirs, &ours.der], &both, &rule), Err(Fault::NotIssued));
    assert_eq!(proves(&[&leaf, &below.der], &trust(&[&other], &[]), &rule), Err(Fault::NotIssued));
    assert_eq!(proves(&[&leaf, &below.der], &trust(&[], &[]), &rule), Err(Fault::NotIssued));
    // A leaf that signs another leaf.
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["x".to_owned()]).unwrap();
    let middle = params.signed_by(&key, &ours.issuer).unwrap().der().clone();
    let forger = Ca { der: middle, issuer: Issuer::new(params, key) };
    let forged = forger.leaf(&[uri(SPIFFE)], |_| ());
    assert_eq!(proves(&[&forged, &forger.der], &both, &rule), Err(Fault::NotIssued));
    // Self-signed, with the right name.
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri(SPIFFE)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    assert_eq!(proves(&[&own], &both, &rule), Err(Fault::NotIssued));
    assert_eq!(proves(&[&own], &both, &pinned(&own)), Ok(()));
    assert_eq!(proves(&[&own], &both, &pinned(&leaf)), Err(Fault::Other));
}

#[test]
fn a_ca_that_has_ended_issues_nothing() {
    let mut params = Ca::params("old");
    params.not_after = date_time_ymd(2027, 1, 14);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    let old = Ca { der, issuer: Issuer::new(params, key) };
    let leaf = old.leaf(&[uri(SPIFFE)], |_| ());
    let rule = by_rule(&old, RuleKind::SanUri, SPIFFE);
    assert_eq!(proves(&[&leaf], &trust(&[&old], &[]), &rule), Err(Fault::NotIssued));
}

#[test]
fn what_was_revoked_is_refused_however_it_was_registered() {
    let ca = Ca::root("acme");
    let below = ca.below("below");
    let rule = by_rule(&ca, RuleKind::SanUri, SPIFFE);
    let leaf = below.leaf(&[uri(SPIFFE)], |_| ());
    let chain = [&leaf, &below.der];
    let fine = [ca.list(&[1], 2030, 6), below.list(&[1], 2030, 6)];
    let check = |lists: &[Vec<u8>], expected: Result<(), Fault>| {
        let trust = trust(&[&ca], lists);
        assert_eq!(proves(&chain, &trust, &rule), expected);
        assert_eq!(proves(&chain, &trust, &pinned(&leaf)), expected, "pinned");
    };
    let [of_ca, of_below] = &fine;
    check(&fine, Ok(()));
    check(&[of_ca.clone(), below.list(&[SERIAL], 2030, 6)], Err(Fault::Revoked));
    check(&[ca.list(&[77], 2030, 6), of_below.clone()], Err(Fault::Revoked));
    // Too old a list is no list.
    check(&[of_ca.clone(), below.list(&[1], 2026, 6)], Err(Fault::ListExpired));
    check(&[ca.list(&[1], 2026, 6), of_below.clone()], Err(Fault::ListExpired));
    // One for each CA of the chain, signed by it.
    check(std::slice::from_ref(of_ca), Err(Fault::RevocationUnknown));
    check(std::slice::from_ref(of_below), Err(Fault::RevocationUnknown));
    let forger = Ca::root("below");
    check(&[of_ca.clone(), forger.list(&[1], 2030, 6)], Err(Fault::RevocationUnknown));
    // The newer list decides, in whichever order they are configured.
    let (old, new) = (below.list(&[1], 2026, 1), below.list(&[1], 2030, 6));
    check(&[old.clone(), new.clone(), of_ca.clone()], Ok(()));
    check(&[new, old, of_ca.clone()], Ok(()));
    // Hiding the CA between does not hide what it revoked.
    let hidden = trust(&[&ca], &[of_ca.clone(), below.list(&[SERIAL], 2030, 6)]);
    assert_eq!(proves(&[&leaf], &hidden, &pinned(&leaf)), Err(Fault::Revoked));
    assert_eq!(proves(&[&leaf], &hidden, &rule), Err(Fault::Revoked));
}

#[test]
fn a_verdict_is_kept_until_its_configuration_or_a_date_changes() {
    let ca = Ca::root("acme");
    let rule = by_rule(&ca, RuleKind::SanUri, SPIFFE);
    let leaf = ca.leaf(&[uri(SPIFFE)], |params| params.not_after = date_time_ymd(2027, 1, 17));
    let certificate = ClientCertificate::new(&[leaf]).unwrap();
    let (before, after) = (trust(&[&ca], &[]), trust(&[&ca], &[ca.list(&[SERIAL], 2030, 6)]));
    let nothing = trust(&[], &[]);
    let day = |days: u64| NOW + Micros::from_secs(days * 86_400);
    let proves = |trust, now| certificate.show(trust, now).proves(&rule);
    assert_eq!(proves(&before, NOW), Ok(()));
    let standing = |now| certificate.standing(&before, now);
    assert!(Arc::ptr_eq(&standing(NOW), &standing(day(1))), "judged twice");
    assert_eq!(proves(&before, day(3)), Err(Fault::Expired));
    assert_eq!(proves(&before, NOW), Ok(()), "a clock that went back");
    assert_eq!(proves(&after, NOW), Err(Fault::Revoked));
    assert_eq!(proves(&nothing, NOW), Err(Fault::NotIssued));
    assert_eq!(proves(&before, NOW), Ok(()));
}

#[test]
fn the_key_of_a_certificate_is_the_jwk_of_it() {
    for (algorithm, name) in
        [(&rcgen::PKCS_ED25519, "EdDSA"), (&rcgen::PKCS_ECDSA_P256_SHA256, "ES256")]
    {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let der = CertificateParams::default().self_signed(&key).unwrap().der().clone();
        assert_eq!(public_key(&der).unwrap().algorithm().name(), name);
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let der = CertificateParams::default().self_signed(&key).unwrap().der().clone();
    assert!(public_key(&der).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is sent, it is read or refused.
    #[test]
    fn damaged_certificates_do_not_panic(
        cut in 0_usize..700,
        changes in proptest::collection::vec((0_usize..700, any::<u8>()), 0..4),
    ) {
        let mut der = sample();
        for (at, byte) in changes {
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
        }
        der.truncate(der.len().min(cut.max(1)));
        if let Ok(certificate) = ClientCertificate::new(&[CertificateDer::from(der)]) {
            let _standing = certificate.standing(&Arc::new(ClientTrust::default()), NOW);
        }
    }
}

fn sample() -> Vec<u8> {
    static SAMPLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let made = || Ca::root("acme").leaf(&[uri(SPIFFE), dns("a.example")], |_| ()).to_vec();
    SAMPLE.get_or_init(made).clone()
}

//! Databases that crashed other readers are refused, in bounded time, and so is every damage to a good one that is noticed at all.

use detection::intel::places::{Anonymity, Asn, Country, Database};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

const GOOD: &[u8] = include_bytes!("../testdata/maxmind/GeoIP2-Anonymous-IP-Test.mmdb");

#[test]
#[expect(clippy::disallowed_methods, reason = "the tests are not the core")]
fn each_database_that_is_known_to_be_bad_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/maxmind/bad");
    let mut tried = 0;
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(Database::<Country>::read(bytes.clone()).is_err(), "{}", path.display());
        assert!(Database::<Asn>::read(bytes.clone()).is_err(), "{}", path.display());
        assert!(Database::<Anonymity>::read(bytes).is_err(), "{}", path.display());
        tried += 1;
    }
    assert_eq!(tried, 23);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damage_never_panics_and_what_is_taken_can_be_asked(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        asked in proptest::collection::vec(any::<u128>(), 1..20),
    ) {
        let mut bytes = GOOD.to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _any = Database::<Anonymity>::read(bytes[..cut.index(bytes.len())].to_vec());
        if let Ok(database) = Database::<Anonymity>::read(bytes) {
            for address in asked {
                let [.., a, b, c, d] = address.to_be_bytes();
                let v4 = Ipv4Addr::from([a, b, c, d]);
                let _any = database.find(IpAddr::from(v4));
                let _any = database.find(IpAddr::from(Ipv6Addr::from(address)));
            }
        }
    }
}

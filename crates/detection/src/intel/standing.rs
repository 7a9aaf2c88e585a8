//! What is known about the network that a request comes from, in one value.

use super::Level;
use super::places::{Anonymity, Asn, Country, Database};
use crate::ListedNetworks;
use model::{ClientIp, UnixMicros};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Lists and databases, as they stand. Replaced whole when any of them changes.
#[derive(Clone, Debug, Default)]
pub struct Intelligence {
    /// The networks of all lists.
    pub listed: ListedNetworks,
    /// Which country an address is in.
    pub countries: Option<Arc<Database<Country>>>,
    /// Whose autonomous system it is of.
    pub systems: Option<Arc<Database<Asn>>>,
    /// Behind what somebody may hide there.
    pub anonymisers: Option<Arc<Database<Anonymity>>>,
    /// Autonomous systems of hosting providers, for want of a database that knows them.
    pub hosting: BTreeSet<Asn>,
}

/// What is known about a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The highest level that a list gives it.
    pub level: Option<Level>,
    /// That list's name.
    pub list: Option<&'a str>,
    /// An exit of Tor, a VPN that is sold to hide, or a proxy.
    pub anonymiser: bool,
    /// A hosting provider.
    pub hosting: bool,
    /// Whose autonomous system.
    pub asn: Option<Asn>,
}

impl<'a> Standing<'a> {
    /// The list that refuses it.
    pub fn refused_by(&self) -> Option<&'a str> {
        self.list.filter(|_| self.level.is_some_and(Level::refuses))
    }

    /// Whether a finding about requests from there weighs twice: thresholds of detectors are halved.
    pub fn weighs(&self) -> bool {
        self.level.is_some() || self.anonymiser || self.hosting
    }
}

impl Intelligence {
    /// Which country an address is in.
    pub fn country(&self, network: ClientIp) -> Option<Country> {
        self.countries.as_ref().and_then(|database| database.find(network.addr()))
    }

    /// What is known about `network` at `now`: three walks down tries, without allocation, for each request.
    pub fn standing(&self, network: ClientIp, now: UnixMicros) -> Standing<'_> {
        let address = network.addr();
        let listed = self.listed.find(network, now);
        let hides = self.anonymisers.as_ref().and_then(|database| database.find(address));
        let hides = hides.unwrap_or_default();
        let asn = self.systems.as_ref().and_then(|database| database.find(address));
        Standing {
            level: listed.as_ref().map(|listed| listed.level),
            list: listed.as_ref().map(|listed| listed.list),
            anonymiser: hides.tor || hides.vpn || hides.proxy,
            hosting: hides.hosting || asn.is_some_and(|asn| self.hosting.contains(&asn)),
            asn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ListOwner;
    use crate::intel::{Kind, Terms, Tlp, read};

    const ASN: &[u8] = include_bytes!("../../testdata/maxmind/GeoLite2-ASN-Test.mmdb");
    const ANONYMOUS: &[u8] = include_bytes!("../../testdata/maxmind/GeoIP2-Anonymous-IP-Test.mmdb");

    #[test]
    fn what_is_known_of_a_network_comes_from_lists_and_databases() {
        let mut intelligence = Intelligence {
            systems: Some(Arc::new(Database::read(ASN.to_vec()).unwrap())),
            anonymisers: Some(Arc::new(Database::read(ANONYMOUS.to_vec()).unwrap())),
            hosting: BTreeSet::from([Asn(1221)]),
            ..Intelligence::default()
        };
        let terms = Terms { level: Level::WEIGHS, tlp: Tlp::Red };
        let list = read(Kind::Plain, b"203.0.113.7\n", terms).unwrap().indicators;
        intelligence.listed.add("weak", ListOwner::Feed, list, UnixMicros(0));
        let of = |text: &str| {
            let address = ClientIp::from_peer(text.parse().unwrap());
            intelligence.standing(address, UnixMicros(0))
        };
        let listed = of("203.0.113.7");
        assert_eq!((listed.list, listed.level), (Some("weak"), Some(Level::WEIGHS)));
        let (tor, hosted, nobody) = (of("65.0.0.1"), of("1.128.0.0"), of("203.0.113.8"));
        assert!(tor.anonymiser && !tor.hosting);
        assert!(hosted.hosting && !hosted.anonymiser && hosted.asn == Some(Asn(1221)));
        assert_eq!(nobody, Standing::default());
        assert!(listed.weighs() && tor.weighs() && hosted.weighs() && !nobody.weighs());
    }
}

//! MaxMind databases: which country, whose autonomous system, and whether somebody hides behind an address.
//!
//! A database is walked whole before it is taken: every branch of its tree, every value that the tree refers to, within bounds that a hostile
//! file cannot stretch. What is asked of it is kept by the place of the value, so a question is one walk down the tree and decodes nothing.

use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use thiserror::Error;

/// Longest file. The largest of the kinds that are read is some 150 MiB.
pub const BYTES_MAX: usize = 512 << 20;

/// Why a database is not taken. Whoever made it or copied it is at fault.
#[derive(Debug, Error)]
pub enum BadDatabase {
    /// It is too long.
    #[error("it is longer than {} MiB", BYTES_MAX >> 20)]
    Long,
    /// It is damaged, or no such database.
    #[error("it is damaged")]
    Corrupt(#[from] MaxMindDbError),
    /// It is of another kind.
    #[error("it is a `{found}` and says nothing about {wanted}")]
    Other {
        /// What it calls itself, cut.
        found: String,
        /// What was asked for.
        wanted: &'static str,
    },
}

/// What is read of a database's values.
pub trait Fact: Copy {
    /// A value, as far as it is read.
    type Record: for<'de> Deserialize<'de>;
    /// What the fact is about.
    const ABOUT: &'static str;
    /// The fact in a value, if there is one.
    fn of(record: Self::Record) -> Option<Self>;
}

/// A database whose every value was read.
pub struct Database<F> {
    reader: Reader<Vec<u8>>,
    /// By the place of the value in the file.
    facts: HashMap<usize, F>,
}

impl<F> fmt::Debug for Database<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind(), self.built())
    }
}

/// ISO 3166-1 alpha-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// The number of an autonomous system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

/// Behind what somebody may hide at an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anonymity {
    /// An exit of Tor.
    pub tor: bool,
    /// A VPN that is sold to hide.
    pub vpn: bool,
    /// An open or residential proxy.
    pub proxy: bool,
    /// A hosting provider, where machines are and not people.
    pub hosting: bool,
}

impl<F: Fact> Database<F> {
    /// Takes a database over, after every value of it was read.
    ///
    /// # Errors
    /// [`BadDatabase`].
    pub fn read(bytes: Vec<u8>) -> Result<Self, BadDatabase> {
        if bytes.len() > BYTES_MAX {
            return Err(BadDatabase::Long);
        }
        let reader = Reader::from_source(bytes)?;
        // Ends: it counts the networks it comes by against the nodes there are, and the values it reads against the bytes there are.
        reader.verify()?;
        let mut facts = HashMap::new();
        let mut found = false;
        for network in reader.networks(WithinOptions::default())? {
            let network = network?;
            let Some(place) = network.offset().filter(|place| !facts.contains_key(place)) else {
                continue;
            };
            let fact = network.decode::<F::Record>()?.and_then(F::of);
            found |= fact.is_some();
            facts.insert(place, fact);
        }
        if !found {
            let found = reader.metadata().database_type.chars().filter(|c| !c.is_control());
            return Err(BadDatabase::Other { found: found.take(64).collect(), wanted: F::ABOUT });
        }
        let facts = facts.into_iter().filter_map(|(place, fact)| Some((place, fact?))).collect();
        Ok(Self { reader, facts })
    }

    /// What it says about an address.
    pub fn find(&self, address: IpAddr) -> Option<F> {
        // An address of the family that it has nothing about is an error to the reader and nothing to us.
        self.facts.get(&self.reader.lookup(address).ok()?.offset()?).copied()
    }
}

impl<F> Database<F> {
    /// What it calls itself.
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// When it was made, in seconds since 1970.
    pub fn built(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    /// How many different values it has.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Never: a database without a value is not taken.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }
}

impl Database<Asn> {
    /// The organisation of the autonomous system that an address is of, cut to one line. Slow, for people.
    pub fn organisation(&self, address: IpAddr) -> Option<Box<str>> {
        #[derive(Deserialize)]
        struct Named<'a> {
            autonomous_system_organization: &'a str,
        }
        let found = self.reader.lookup(address).ok()?.decode::<Named<'_>>().ok()??;
        super::line_of(found.autonomous_system_organization)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

#[doc(hidden)]
#[derive(Deserialize)]
pub struct CountryRecord {
    #[serde(default)]
    country: Iso,
    #[serde(default)]
    registered_country: Iso,
}

#[derive(Default, Deserialize)]
struct Iso {
    #[serde(default)]
    iso_code: Option<String>,
}

impl Fact for Country {
    type Record = CountryRecord;
    const ABOUT: &'static str = "countries";

    fn of(record: CountryRecord) -> Option<Self> {
        let code = record.country.iso_code.or(record.registered_country.iso_code)?;
        let code: [u8; 2] = code.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }
}

#[doc(hidden)]
#[derive(Deserialize)]
pub struct AsnRecord {
    #[serde(default)]
    autonomous_system_number: Option<u32>,
}

impl Fact for Asn {
    type Record = AsnRecord;
    const ABOUT: &'static str = "autonomous systems";

    fn of(record: AsnRecord) -> Option<Self> {
        record.autonomous_system_number.map(Self)
    }
}

#[doc(hidden)]
#[derive(Deserialize)]
pub struct AnonymityRecord {
    #[serde(default)]
    is_anonymous: bool,
    #[serde(default)]
    is_anonymous_vpn: bool,
    #[serde(default)]
    is_hosting_provider: bool,
    #[serde(default)]
    is_public_proxy: bool,
    #[serde(default)]
    is_residential_proxy: bool,
    #[serde(default)]
    is_tor_exit_node: bool,
}

impl Fact for Anonymity {
    type Record = AnonymityRecord;
    const ABOUT: &'static str = "who hides";

    fn of(record: AnonymityRecord) -> Option<Self> {
        let (tor, hosting) = (record.is_tor_exit_node, record.is_hosting_provider);
        let proxy = record.is_public_proxy || record.is_residential_proxy;
        // Whoever is said to hide and not how, hides as if behind a VPN.
        let vpn = record.is_anonymous_vpn || (record.is_anonymous && !(tor || proxy || hosting));
        let anonymity = Self { tor, vpn, proxy, hosting };
        (anonymity != Self::default()).then_some(anonymity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTRY: &[u8] = include_bytes!("../../testdata/maxmind/GeoLite2-Country-Test.mmdb");
    const ASN: &[u8] = include_bytes!("../../testdata/maxmind/GeoLite2-ASN-Test.mmdb");
    const ANONYMOUS: &[u8] = include_bytes!("../../testdata/maxmind/GeoIP2-Anonymous-IP-Test.mmdb");

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn check<F: Fact + fmt::Debug + PartialEq>(bytes: &[u8], expected: &[(&str, Option<F>)]) {
        let database = Database::<F>::read(bytes.to_vec()).unwrap();
        for (address, fact) in expected {
            assert_eq!(database.find(ip(address)), *fact, "{address}");
        }
    }

    #[test]
    fn countries_systems_and_anonymisers_are_found() {
        // As `mmdblookup` and the JSON sources of the test databases have them.
        check(
            COUNTRY,
            &[
                ("81.2.69.160", Some(Country(*b"GB"))),
                ("89.160.20.112", Some(Country(*b"SE"))),
                ("2001:218::1", Some(Country(*b"JP"))),
                ("127.0.0.1", None),
            ],
        );
        check(ASN, &[("1.128.0.0", Some(Asn(1221))), ("10.0.0.1", None)]);
        let asn = Database::<Asn>::read(ASN.to_vec()).unwrap();
        assert_eq!(asn.organisation(ip("1.128.0.0")).as_deref(), Some("Telstra Pty Ltd"));
        let hides = Anonymity::default();
        check(
            ANONYMOUS,
            &[
                ("1.2.0.1", Some(Anonymity { vpn: true, ..hides })),
                ("65.0.0.1", Some(Anonymity { tor: true, ..hides })),
                ("71.160.223.1", Some(Anonymity { hosting: true, ..hides })),
                ("9.9.9.9", None),
            ],
        );
    }

    #[test]
    fn a_database_of_another_kind_is_refused() {
        let refused = Database::<Asn>::read(COUNTRY.to_vec()).unwrap_err();
        let said = "it is a `GeoLite2-Country` and says nothing about autonomous systems";
        assert_eq!(refused.to_string(), said);
    }
}

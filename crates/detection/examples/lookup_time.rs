//! What a lookup costs, beside what it is made of: one longest-prefix match of the trie alone, and a lookup of the MaxMind reader that decodes
//! what it finds. `cargo run --release -p detection --example lookup_time`

use detection::intel::places::{Anonymity, Asn, Country, Database};
use detection::intel::{Kind, Level, Terms, Tlp, read};
use detection::{Intelligence, ListOwner, ListedNetworks, Spared};
use ipnet::Ipv4Net;
use model::{ClientIp, UnixMicros};
use prefix_trie::PrefixMap;
use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

const IPSUM: &str = include_str!("../testdata/ipsum-level3.txt");
const COUNTRY: &[u8] = include_bytes!("../testdata/maxmind/GeoLite2-Country-Test.mmdb");
const ASN: &[u8] = include_bytes!("../testdata/maxmind/GeoLite2-ASN-Test.mmdb");
const ANONYMOUS: &[u8] = include_bytes!("../testdata/maxmind/GeoIP2-Anonymous-IP-Test.mmdb");
const NOW: UnixMicros = UnixMicros(1_795_377_876_000_000);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let terms = Terms { level: Level::REFUSES, tlp: Tlp::Red };
    // A real feed, and as many made-up networks as one list may have beside it.
    let spread = |n: u32| Ipv4Addr::from(n.wrapping_mul(2_654_435_761) | 0x0100_0000);
    let many: String = (0..200_000).map(|n| format!("{}/{}\n", spread(n), 24 + n % 9)).collect();
    let mut listed = ListedNetworks::new(Spared::default());
    let mut trie = PrefixMap::new();
    for (name, text) in [("ipsum", IPSUM), ("many", &many)] {
        let indicators = read(Kind::Plain, text.as_bytes(), terms)?.indicators;
        for indicator in &indicators {
            if let ipnet::IpNet::V4(v4) = indicator.network {
                trie.insert(v4, ());
            }
        }
        listed.add(name, ListOwner::Feed, indicators, NOW);
    }
    let networks = listed.len();
    let intelligence = Intelligence {
        listed,
        countries: Some(Arc::new(Database::<Country>::read(COUNTRY.to_vec())?)),
        systems: Some(Arc::new(Database::<Asn>::read(ASN.to_vec())?)),
        anonymisers: Some(Arc::new(Database::<Anonymity>::read(ANONYMOUS.to_vec())?)),
        ..Intelligence::default()
    };
    let hits: Vec<Ipv4Addr> = IPSUM.lines().map(str::parse).collect::<Result<_, _>>()?;
    let misses: Vec<Ipv4Addr> =
        (0..14_217).map(|n: u32| Ipv4Addr::from(n.wrapping_mul(3_141_592_653))).collect();
    // Every /24 in which the test databases have something.
    let known: Vec<Ipv4Addr> =
        (0..14_217_u32).map(|n| Ipv4Addr::from(0x0180_0000 + n * 64)).collect();
    let mut out = std::io::stdout();
    writeln!(out, "{networks} networks listed")?;
    let mut say = |what: &str, asked: &[Ipv4Addr], ask: &dyn Fn(Ipv4Addr)| {
        writeln!(out, "{what:60} {:6.1} ns", time(asked, ask))
    };
    for (name, asked) in [("listed", &hits), ("not listed", &misses)] {
        say(&format!("{name}: prefix-trie, longest match alone"), asked, &|address| {
            black_box(trie.get_lpm(&Ipv4Net::from(address)));
        })?;
        say(&format!("{name}: ListedNetworks::find"), asked, &|address| {
            black_box(intelligence.listed.find(ClientIp::from_peer(address.into()), NOW));
        })?;
        say(
            &format!("{name}: Intelligence::standing, lists and 3 databases"),
            asked,
            &|address| {
                black_box(intelligence.standing(ClientIp::from_peer(address.into()), NOW));
            },
        )?;
    }
    let reader = maxminddb::Reader::from_source(ASN)?;
    say("AS number: maxminddb, lookup and decode", &known, &|address| {
        let found = reader.lookup(IpAddr::V4(address)).ok();
        black_box(found.and_then(|found| found.decode::<maxminddb::geoip2::Asn<'_>>().ok()));
    })?;
    let systems = intelligence.systems.clone().ok_or("no database")?;
    say("AS number: Database::find", &known, &|address| {
        black_box(systems.find(IpAddr::V4(address)));
    })?;
    Ok(())
}

/// Nanoseconds of one question: the best of many short runs, which others on the machine disturb least.
#[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
fn time(asked: &[Ipv4Addr], ask: &dyn Fn(Ipv4Addr)) -> f64 {
    let run = || {
        let start = Instant::now();
        asked.iter().for_each(|address| ask(*address));
        start.elapsed().as_secs_f64() * 1e9 / asked.len() as f64
    };
    (0..500).map(|_| run()).fold(f64::INFINITY, f64::min)
}

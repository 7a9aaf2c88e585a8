//! Networks that nothing may come from: threat feeds and the operator's own lists, asked on every request.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::ClientIp;
use prefix_trie::PrefixMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Bad lines kept to be shown; the others are only counted.
const BAD_LINES_SHOWN: usize = 20;
/// A feed that lists more than this at once is broken or hostile: it could refuse half the customers of a carrier.
const FEED_V4_PREFIX_MIN: u8 = 8;
const FEED_V6_PREFIX_MIN: u8 = 16;

/// Who vouches for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOwner {
    /// Somebody outside. Private, loopback and link-local networks are never listed by it, whatever it says.
    Feed,
    /// The operator; may list any network.
    Operator,
}

/// The networks of all lists, each with the list it came from.
///
/// Built anew for each change and then only read: a lookup is one walk down a prefix trie, without allocation.
#[derive(Clone, Debug, Default)]
pub struct ListedNetworks {
    feeds: Tries,
    own: Tries,
}

#[derive(Clone, Debug, Default)]
struct Tries {
    v4: PrefixMap<Ipv4Net, Arc<str>>,
    v6: PrefixMap<Ipv6Net, Arc<str>>,
}

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The list's name.
    pub list: &'a str,
    /// The longest listed network that holds the address.
    pub network: IpNet,
}

/// What became of a list's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReport {
    /// Networks added, or already there.
    pub added: usize,
    /// Lines left out because they lie in private, loopback or link-local space.
    pub private: usize,
    /// How many lines were not a network, or too wide a one for a feed.
    pub bad: usize,
    /// The first of those.
    pub bad_lines: Vec<BadLine>,
}

/// A line that was left out because it could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What it says, cut to 64 characters, control characters escaped.
    pub text: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: `{}` is not a network that can be listed", self.line, self.text)
    }
}

impl ListedNetworks {
    /// Adds a plain list: one address or CIDR a line; `#` and `;` start a comment; empty lines are nothing.
    ///
    /// A bad line is left out and reported, so that one of them does not switch a feed off. Where two lists hold the same
    /// network, the one added last is named.
    pub fn add(&mut self, name: &str, owner: ListOwner, text: &str) -> ListReport {
        let name: Arc<str> = name.into();
        let mut report = ListReport::default();
        for (line, raw) in (1..).zip(text.lines()) {
            let entry = raw.split(['#', ';']).next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let network = read_network(entry);
            let from_feed = owner == ListOwner::Feed;
            let lies_in_private = |n: IpNet| is_private(n.network()) && is_private(n.broadcast());
            if from_feed && network.is_some_and(lies_in_private) {
                report.private += 1;
                continue;
            }
            let Some(network) = network.filter(|network| !from_feed || !too_wide(network)) else {
                report.bad += 1;
                if report.bad_lines.len() < BAD_LINES_SHOWN {
                    let text = entry.chars().take(64).flat_map(char::escape_default).collect();
                    report.bad_lines.push(BadLine { line, text });
                }
                continue;
            };
            let tries = match owner {
                ListOwner::Feed => &mut self.feeds,
                ListOwner::Operator => &mut self.own,
            };
            match network {
                IpNet::V4(v4) => tries.v4.insert(v4, Arc::clone(&name)),
                IpNet::V6(v6) => tries.v6.insert(v6, Arc::clone(&name)),
            };
            report.added += 1;
        }
        report
    }

    /// The list that holds `network`, the operator's own first.
    pub fn find(&self, network: ClientIp) -> Option<Listed<'_>> {
        let address = network.addr();
        if let Some(listed) = self.own.find(address) {
            return Some(listed);
        }
        // A feed's network may contain private space, as 172.0.0.0/8 does.
        if is_private(address) { None } else { self.feeds.find(address) }
    }

    /// How many networks are listed.
    pub fn len(&self) -> usize {
        [&self.feeds, &self.own].map(|tries| tries.v4.len() + tries.v6.len()).iter().sum()
    }

    /// Whether no network is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tries {
    fn find(&self, address: IpAddr) -> Option<Listed<'_>> {
        match address {
            IpAddr::V4(v4) => {
                let (network, list) = self.v4.get_lpm(&Ipv4Net::from(v4))?;
                Some(Listed { list, network: IpNet::V4(network) })
            }
            IpAddr::V6(v6) => {
                let (network, list) = self.v6.get_lpm(&Ipv6Net::from(v6))?;
                Some(Listed { list, network: IpNet::V6(network) })
            }
        }
    }
}

/// An address or CIDR, host bits cleared, IPv4-mapped IPv6 as IPv4.
fn read_network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network.trunc(),
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    match network {
        IpNet::V6(v6) => match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
            (Some(v4), Some(prefix)) => Ipv4Net::new(v4, prefix).ok().map(IpNet::V4),
            _ => Some(network),
        },
        IpNet::V4(_) => Some(network),
    }
}

fn too_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(v4) => v4.prefix_len() < FEED_V4_PREFIX_MIN,
        IpNet::V6(v6) => v6.prefix_len() < FEED_V6_PREFIX_MIN,
    }
}

/// Space that means something else in each network, so that no outsider can know who is there.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4 == Ipv4Addr::UNSPECIFIED
                //= RFC 6598 section 7: 100.64.0.0/10 is shared address space
                || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(v6) => {
            v6 == Ipv6Addr::LOCALHOST
                || v6 == Ipv6Addr::UNSPECIFIED
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::time::Instant;

    const IPSUM: &str = include_str!("../testdata/ipsum-level3.txt");

    fn ip(text: &str) -> ClientIp {
        ClientIp::from_peer(text.parse().unwrap())
    }

    fn ipsum() -> (ListedNetworks, BTreeSet<Ipv4Addr>) {
        let mut listed = ListedNetworks::default();
        let report = listed.add("ipsum", ListOwner::Feed, IPSUM);
        assert_eq!(report, ListReport { added: 14_217, ..ListReport::default() });
        (listed, IPSUM.lines().map(|line| line.parse().unwrap()).collect())
    }

    #[test]
    fn every_address_of_a_real_feed_is_found_and_its_neighbours_are_not() {
        let (listed, addresses) = ipsum();
        assert_eq!(listed.len(), 14_217);
        for &address in &addresses {
            let found = listed.find(ClientIp::from_peer(address.into())).unwrap();
            assert_eq!(found, Listed { list: "ipsum", network: IpNet::from(IpAddr::V4(address)) });
            for neighbour in
                [address.to_bits().wrapping_sub(1), address.to_bits() ^ 0x100].map(Ipv4Addr::from)
            {
                let found = listed.find(ClientIp::from_peer(neighbour.into()));
                assert_eq!(found.is_some(), addresses.contains(&neighbour), "{neighbour}");
            }
        }
    }

    #[test]
    fn lines_are_read_as_feeds_write_them() {
        let mut listed = ListedNetworks::default();
        let report = listed.add(
            "drop",
            ListOwner::Feed,
            "; Spamhaus style\n# another comment\n\n198.51.100.0/24 ; SBL1\n  203.0.113.77 # one\r\n\
             2001:db8::/32\n::ffff:192.0.2.9\n198.51.100.7/25\n0.0.0.0/0\n300.1.1.1\n1.2.3.4/33\nexample.com\n::/8\n",
        );
        assert_eq!(report.added, 5);
        assert_eq!(report.bad, 5);
        assert_eq!(report.bad_lines[0], BadLine { line: 9, text: "0.0.0.0/0".into() });
        assert_eq!(
            report.bad_lines[1].to_string(),
            "line 10: `300.1.1.1` is not a network that can be listed"
        );
        for (address, expected) in [
            ("198.51.100.200", true),
            ("198.51.101.1", false),
            ("203.0.113.77", true),
            ("::ffff:203.0.113.77", true),
            ("203.0.113.78", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("192.0.2.9", true),
        ] {
            assert_eq!(listed.find(ip(address)).is_some(), expected, "{address}");
        }
        let longest = listed.find(ip("198.51.100.1")).unwrap();
        assert_eq!(longest.network, "198.51.100.0/25".parse().unwrap());
    }

    #[test]
    fn a_feed_cannot_list_private_space_and_the_operator_can() {
        let mut listed = ListedNetworks::default();
        let text = "10.1.2.3\n127.0.0.1\n172.0.0.0/8\nfc00::1\nfe80::/10\n100.64.1.1\n::1\n";
        let report = listed.add("feed", ListOwner::Feed, text);
        assert_eq!((report.added, report.private), (1, 6));
        assert!(listed.find(ip("172.16.0.1")).is_none());
        assert!(listed.find(ip("172.15.0.1")).is_some());
        listed.add("ours", ListOwner::Operator, text);
        for address in ["10.1.2.3", "127.0.0.1", "172.16.0.1", "fc00::1"] {
            assert_eq!(listed.find(ip(address)).unwrap().list, "ours", "{address}");
        }
    }

    #[test]
    fn a_list_of_rubbish_is_counted_and_not_kept() {
        let mut listed = ListedNetworks::default();
        let report = listed.add("rubbish", ListOwner::Feed, &"\u{7}<html>\n".repeat(10_000));
        assert_eq!((report.bad, report.bad_lines.len()), (10_000, 20));
        assert_eq!(report.bad_lines[0].text, "\\u{7}<html>");
        assert!(listed.is_empty());
    }

    proptest! {
        #[test]
        fn lookups_agree_with_trying_every_network(
            networks in proptest::collection::vec((any::<u32>(), 8_u8..=32), 0..30),
            near in proptest::collection::vec((any::<prop::sample::Index>(), 0_u32..512), 1..30),
        ) {
            let networks: Vec<Ipv4Net> =
                networks.iter().map(|&(bits, len)| Ipv4Net::new(bits.into(), len).unwrap().trunc()).collect();
            let text: String = networks.iter().map(|n| format!("{n}\n")).collect();
            let mut listed = ListedNetworks::default();
            listed.add("any", ListOwner::Operator, &text);
            for (index, offset) in near {
                let base = if networks.is_empty() { 0 } else { index.get(&networks).network().to_bits() };
                let address = Ipv4Addr::from(base.wrapping_add(offset));
                let longest = networks.iter().filter(|n| n.contains(&address)).map(Ipv4Net::prefix_len).max();
                let found = listed.find(ClientIp::from_peer(address.into())).map(|l| l.network.prefix_len());
                prop_assert_eq!(found, longest);
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            ListedNetworks::default().add("any", ListOwner::Feed, &text);
        }
    }

    /// `cargo test --release -p detection -- --ignored --nocapture lookup_time`
    #[test]
    #[ignore = "measures; asserts nothing"]
    #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
    fn lookup_time() {
        let (listed, addresses) = ipsum();
        let hits: Vec<_> = addresses.iter().map(|&a| ClientIp::from_peer(a.into())).collect();
        let misses: Vec<_> = (0..14_217_u32)
            .map(|n| ClientIp::from_peer(Ipv4Addr::from(n.wrapping_mul(2_654_435_761)).into()))
            .collect();
        for (name, asked) in [("listed", &hits), ("not listed", &misses)] {
            let start = Instant::now();
            for _ in 0..100 {
                for &address in asked {
                    std::hint::black_box(listed.find(address));
                }
            }
            println!("{name}: {} ns", start.elapsed().as_nanos() / (100 * asked.len() as u128));
        }
    }
}

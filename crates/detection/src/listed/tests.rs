use super::*;
use crate::intel::{Kind, Terms, read, warning::WarningList};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const IPSUM: &str = include_str!("../../testdata/ipsum-level3.txt");
const AWS: &[u8] = include_bytes!("../../testdata/misp-warn-amazon-aws.json");
const NOW: UnixMicros = UnixMicros(1_795_377_876_000_000);

fn terms(level: u8) -> Terms {
    Terms { level: Level::new(level).unwrap(), tlp: Tlp::Red }
}

fn plain(text: &str) -> Vec<Indicator> {
    read(Kind::Plain, text.as_bytes(), terms(3)).unwrap().indicators
}

fn ip(text: &str) -> ClientIp {
    ClientIp::from_peer(text.parse().unwrap())
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn list_of<'a>(listed: &'a ListedNetworks, address: &str) -> Option<&'a str> {
    listed.find(ip(address), NOW).map(|listed| listed.list)
}

#[test]
fn every_address_of_a_real_feed_is_found_and_its_neighbours_are_not() {
    let mut listed = ListedNetworks::default();
    let report = listed.add("ipsum", ListOwner::Feed, plain(IPSUM), NOW);
    assert_eq!(report, ListReport { added: 14_217, ..ListReport::default() });
    assert_eq!(listed.len(), 14_217);
    let addresses: BTreeSet<Ipv4Addr> = IPSUM.lines().map(|line| line.parse().unwrap()).collect();
    for &address in &addresses {
        let found = listed.find(ClientIp::from_peer(address.into()), NOW).unwrap();
        assert_eq!(found.network, IpNet::from(IpAddr::V4(address)));
        assert!(found.level.refuses());
        for neighbour in
            [address.to_bits().wrapping_sub(1), address.to_bits() ^ 0x100].map(Ipv4Addr::from)
        {
            let found = listed.find(ClientIp::from_peer(neighbour.into()), NOW);
            assert_eq!(found.is_some(), addresses.contains(&neighbour), "{neighbour}");
        }
    }
}

#[test]
fn a_feed_cannot_list_private_space_and_the_operator_can() {
    let mut listed = ListedNetworks::default();
    let text = "10.1.2.3\n127.0.0.1\n172.0.0.0/8\nfc00::1\nfe80::/10\n100.64.1.1\n::1\n";
    let report = listed.add("feed", ListOwner::Feed, plain(text), NOW);
    assert_eq!((report.added, report.private), (1, 6));
    assert_eq!(list_of(&listed, "172.16.0.1"), None);
    assert_eq!(list_of(&listed, "172.15.0.1"), Some("feed"));
    listed.add("ours", ListOwner::Operator, plain(text), NOW);
    for address in ["10.1.2.3", "127.0.0.1", "172.16.0.1", "fc00::1"] {
        assert_eq!(list_of(&listed, address), Some("ours"), "{address}");
    }
}

#[test]
fn a_feed_that_lists_the_internet_lists_nothing() {
    let mut listed = ListedNetworks::default();
    let wide = listed.add("wide", ListOwner::Feed, plain("0.0.0.0/0\n::/8\n1.0.0.0/8\n"), NOW);
    assert_eq!((wide.wide, wide.added), (2, 1));
    // Every half of every /8: nothing is too wide, and all of it is everybody.
    let all: String = (1..224).map(|n| format!("{n}.0.0.0/9\n{n}.128.0.0/9\n")).collect();
    assert!(listed.add("all", ListOwner::Feed, plain(&all), NOW).too_much);
    let all: String = (0..0x200).map(|n| format!("2{n:03x}::/16\n")).collect();
    assert!(listed.add("all6", ListOwner::Feed, plain(&all), NOW).too_much);
    assert_eq!(list_of(&listed, "9.9.9.9"), None);
    assert_eq!(list_of(&listed, "2001:db8::1"), None);
    assert_eq!(list_of(&listed, "1.2.3.4"), Some("wide"));
}

#[test]
fn what_is_never_listed_is_cut_out_of_every_list() {
    let mut spared = Spared::default();
    spared.never(net("198.51.100.7/32"));
    let mut listed = ListedNetworks::new(spared);
    for (owner, name) in [(ListOwner::Feed, "feed"), (ListOwner::Operator, "ours")] {
        let report = listed.add(name, owner, plain("198.51.100.7\n198.51.0.0/16\n"), NOW);
        assert_eq!((report.added, report.never, report.partly), (1, 1, 1), "{name}");
    }
    assert_eq!(list_of(&listed, "198.51.100.7"), None);
    assert_eq!(list_of(&listed, "198.51.100.8"), Some("ours"));
}

#[test]
fn a_shared_cloud_is_listed_only_where_the_operator_allows_it() {
    let cloud = WarningList::read("aws", AWS).unwrap();
    let name: Arc<str> = cloud.name.into();
    let spared = || {
        let mut spared = Spared::default();
        cloud.networks.iter().for_each(|network| spared.shared(*network, &name));
        spared
    };
    // An address of Amazon's that a real campaign came from, its neighbour, all around them, and somebody else.
    let text = "44.215.108.109\n44.215.108.0/24\n44.0.0.0/8\n203.0.113.7\n";
    let mut listed = ListedNetworks::new(spared());
    let report = listed.add("feed", ListOwner::Feed, plain(text), NOW);
    assert_eq!((report.added, report.shared, report.partly), (2, 2, 1));
    let shown: Vec<_> = report.shared_networks.iter().map(|(network, _)| *network).collect();
    assert_eq!(shown, [net("44.215.108.109/32"), net("44.215.108.0/24")]);
    assert_eq!(list_of(&listed, "44.215.108.109"), None);
    assert_eq!(list_of(&listed, "203.0.113.7"), Some("feed"));
    let said = listed.spared(ip("44.215.108.109"));
    assert_eq!(
        said.as_deref(),
        Some(
            "it is in a shared cloud, says warninglist `List of known Amazon AWS IP address ranges`"
        )
    );

    let mut allowing = spared();
    allowing.allow(net("44.215.108.109/32"));
    let mut listed = ListedNetworks::new(allowing);
    listed.add("feed", ListOwner::Feed, plain(text), NOW);
    assert_eq!(list_of(&listed, "44.215.108.109"), Some("feed"));
    assert_eq!(list_of(&listed, "44.215.108.110"), None);

    let mut listed = ListedNetworks::new(spared());
    listed.add("ours", ListOwner::Operator, plain(text), NOW);
    assert_eq!(list_of(&listed, "44.215.108.109"), Some("ours"));
}

#[test]
fn what_feeds_say_about_one_network_is_bounded_and_the_operator_is_heard() {
    let mut listed = ListedNetworks::default();
    let report = listed.add("feed", ListOwner::Feed, plain(&"203.0.113.7\n".repeat(1_000)), NOW);
    assert_eq!((report.added, report.no_room), (MARKS_MAX, 1_000 - MARKS_MAX));
    listed.add("ours", ListOwner::Operator, plain("203.0.113.7\n"), NOW);
    assert_eq!(list_of(&listed, "203.0.113.7"), Some("ours"));
}

#[test]
fn an_indicator_begins_and_ends_without_a_reload() {
    let mut one = plain("203.0.113.7\n");
    (one[0].from, one[0].until) = (UnixMicros(10), UnixMicros(20));
    let mut listed = ListedNetworks::default();
    listed.add("brief", ListOwner::Feed, one, NOW);
    let found = |at| listed.find(ip("203.0.113.7"), UnixMicros(at)).is_some();
    assert_eq!([9, 10, 19, 20].map(found), [false, true, true, false]);
}

#[test]
fn the_highest_level_is_found_and_a_red_reason_is_not_shown() {
    let mut listed = ListedNetworks::default();
    let mut weak = plain("203.0.113.7\n");
    weak[0].level = Level::new(1).unwrap();
    listed.add("weak", ListOwner::Operator, weak, NOW);
    assert!(!listed.find(ip("203.0.113.7"), NOW).unwrap().level.refuses());
    let mut strong = plain("203.0.113.0/24\n");
    (strong[0].tlp, strong[0].why) = (Tlp::Red, Some("from a friend".into()));
    listed.add("strong", ListOwner::Feed, strong, NOW);
    let found = listed.find(ip("203.0.113.7"), NOW).unwrap();
    assert_eq!((found.list, found.level.refuses(), found.reason()), ("strong", true, None));
    assert_eq!(listed.all(ip("203.0.113.7")).len(), 2);
}

#[test]
fn a_list_that_suddenly_grows_is_noticed() {
    let of = |networks, v4| Extent { networks, v4, v6: 0 };
    assert!(!of(900, 900).outgrew(&of(0, 0)), "a small list may begin");
    assert!(!of(20_000, 20_000).outgrew(&of(14_000, 14_000)));
    assert!(of(60_000, 60_000).outgrew(&of(14_000, 14_000)), "networks");
    assert!(of(14_000, 1 << 24).outgrew(&of(14_000, 14_000)), "addresses");
}

/// Fields of an indicator, in a world so small that everything overlaps.
fn indicator() -> impl Strategy<Value = Indicator> {
    let network = (any::<u16>(), 16_u8..=32).prop_map(|(bits, len)| {
        let address = Ipv4Addr::from(0xcb00_0000 | u32::from(bits & 0x33));
        IpNet::new(address.into(), len).unwrap().trunc()
    });
    (network, 1_u8..5, 0_u64..8, 0_u64..8).prop_map(|(network, level, from, until)| Indicator {
        network,
        level: Level::new(level).unwrap(),
        from: UnixMicros(from),
        until: UnixMicros(until),
        tlp: Tlp::Clear,
        why: None,
    })
}

proptest! {
    #[test]
    fn the_merged_lists_answer_as_a_naive_scan_in_whatever_order_they_came(
        lists in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(indicator(), 0..5)), 0..4),
        never in proptest::collection::vec(indicator(), 0..2),
        shared in proptest::collection::vec(indicator(), 0..3),
        allowed in proptest::collection::vec(indicator(), 0..2),
        asked in proptest::collection::vec((0_u32..0x44, 0_u64..9), 1..20),
    ) {
        let owner = |own: bool| if own { ListOwner::Operator } else { ListOwner::Feed };
        let build = |order: &[usize]| {
            let mut spared = Spared::default();
            never.iter().for_each(|i| spared.never(i.network));
            shared.iter().for_each(|i| spared.shared(i.network, &"cloud".into()));
            allowed.iter().for_each(|i| spared.allow(i.network));
            let mut listed = ListedNetworks::new(spared);
            for &n in order {
                let (own, indicators) = &lists[n];
                listed.add(&format!("list {n}"), owner(*own), indicators.clone(), NOW);
            }
            listed
        };
        let order: Vec<usize> = (0..lists.len()).collect();
        let backwards: Vec<usize> = order.iter().rev().copied().collect();
        let (forth, back) = (build(&order), build(&backwards));
        for (bits, at) in asked {
            let address = IpAddr::V4(Ipv4Addr::from(0xcb00_0000 | bits));
            let holds = |list: &[Indicator]| list.iter().any(|i| i.network.contains(&address));
            let naive = lists.iter().enumerate().flat_map(|(n, (own, indicators))| {
                indicators.iter().map(move |indicator| (n, owner(*own), indicator))
            });
            let naive = naive
                .filter(|(_, owner, indicator)| {
                    let spared = *owner == ListOwner::Feed && holds(&shared) && !holds(&allowed);
                    let in_time = indicator.from.0 <= at && at < indicator.until.0;
                    indicator.network.contains(&address) && in_time && !spared && !holds(&never)
                })
                .map(|(n, owner, i)| (i.level, owner, i.network.prefix_len(), Reverse(n)))
                .max();
            let peer = ClientIp::from_peer(address);
            let found = forth.find(peer, UnixMicros(at));
            prop_assert_eq!(&found, &back.find(peer, UnixMicros(at)));
            prop_assert_eq!(
                found.map(|f| (f.level, f.network.prefix_len(), f.list.to_owned())),
                naive.map(|(level, _, len, Reverse(n))| (level, len, format!("list {n}")))
            );
        }
    }
}

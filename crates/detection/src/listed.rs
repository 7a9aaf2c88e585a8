//! Networks that nothing good is known of: threat feeds and the operator's own lists, merged, and asked on every request.

use crate::intel::{FOREVER, Indicator, Level, Tlp};
use crate::networks::{Networks, is_private, lies_in_private};
use ipnet::IpNet;
use model::{ClientIp, UnixMicros};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

/// A feed that lists more than this at once is broken or hostile: it could refuse half the customers of a carrier.
const FEED_V4_PREFIX_MIN: u8 = 8;
const FEED_V6_PREFIX_MIN: u8 = 16;
/// Most addresses of a feed, all its networks together: a thirty-second of IPv4, and of what of IPv6 is handed out.
const FEED_V4_MAX: u128 = 1 << 27;
const FEED_V6_MAX: u128 = 1 << 120;
/// Most networks of all lists, some 200 bytes each.
const NETWORKS_MAX: usize = 1_000_000;
/// What feeds may say about one network, each with its own times: a lookup goes through all of it.
const MARKS_MAX: usize = 16;
/// Networks that were spared and are named; the others are only counted.
const SPARED_SHOWN: usize = 20;

/// Who vouches for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListOwner {
    /// Somebody outside. Private space and shared clouds are never listed by it, whatever it says.
    Feed,
    /// The operator; may list any network but what is never listed.
    Operator,
}

/// Networks that are not listed, whoever says so.
#[derive(Clone, Debug, Default)]
pub struct Spared {
    /// The operator's own egress and the like: listed by nobody.
    never: Networks<()>,
    /// Large shared clouds, each with its warninglist: not listed by feeds.
    shared: Networks<Arc<str>>,
    /// What of them feeds may list all the same.
    allowed: Networks<()>,
}

/// The networks of all lists, each with what the lists say.
///
/// Built anew for each change and then only read: a lookup is one walk down a prefix trie to the longest network, and from there to those
/// around it, without allocation.
#[derive(Clone, Debug, Default)]
pub struct ListedNetworks {
    lists: Vec<(Arc<str>, ListOwner)>,
    /// Each network's place in `nodes`.
    places: Networks<usize>,
    nodes: Vec<Node>,
    marks: usize,
    spared: Spared,
}

/// A network and what is said about it.
#[derive(Clone, Debug)]
struct Node {
    network: IpNet,
    marks: Vec<Mark>,
    /// Place of the longest other network that holds this one.
    around: Option<usize>,
}

/// What one list says about a network.
#[derive(Clone, Debug)]
struct Mark {
    /// Place in the lists.
    list: usize,
    level: Level,
    from: UnixMicros,
    until: UnixMicros,
    tlp: Tlp,
    why: Option<Box<str>>,
}

/// What is known against an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The list's name.
    pub list: &'a str,
    /// The longest listed network that holds the address, among those of the highest level.
    pub network: IpNet,
    /// How sure the list is.
    pub level: Level,
    /// Until before when.
    pub until: UnixMicros,
    /// How far `why` may be passed on.
    pub tlp: Tlp,
    /// What the list says about it. For the operator's eyes only: no refusal, signal, notice or export has it.
    pub why: Option<&'a str>,
}

/// What became of a list's indicators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReport {
    /// Indicators in effect, now or from their time on.
    pub added: usize,
    /// Of those, whose time is over.
    pub expired: usize,
    /// Left out because they lie in private, loopback or link-local space.
    pub private: usize,
    /// Left out because they lie in what is never listed.
    pub never: usize,
    /// Left out because they lie in a shared cloud.
    pub shared: usize,
    /// The first of those, each with the warninglist that names it.
    pub shared_networks: Vec<(IpNet, Arc<str>)>,
    /// Added, but not in effect for what of them is spared.
    pub partly: usize,
    /// Too wide for a feed.
    pub wide: usize,
    /// The list as a whole is refused, because a feed may not list so many addresses.
    pub too_much: bool,
    /// Left out because all lists together have no more room, or feeds say too much about one network.
    pub no_room: usize,
}

/// How much a list lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Networks.
    pub networks: usize,
    /// Addresses of IPv4, overlaps counted twice.
    pub v4: u128,
    /// Addresses of IPv6, likewise.
    pub v6: u128,
}

impl Extent {
    /// Of these indicators.
    pub fn of(indicators: &[Indicator]) -> Self {
        let mut extent = Self { networks: indicators.len(), ..Self::default() };
        for indicator in indicators {
            let (sum, bits) = match indicator.network {
                IpNet::V4(v4) => (&mut extent.v4, 32 - v4.prefix_len()),
                IpNet::V6(v6) => (&mut extent.v6, 128 - v6.prefix_len()),
            };
            *sum = sum.saturating_add(1_u128.checked_shl(bits.into()).unwrap_or(u128::MAX));
        }
        extent
    }

    /// Whether a list that was `before` and is this grew so much that a person should look before it counts: more than threefold in
    /// networks, or fourfold in addresses, and by more than a list that begins may.
    pub fn outgrew(&self, before: &Self) -> bool {
        let much = |now: u128, before: u128, times: u128, grace: u128| {
            now > before.saturating_mul(times).saturating_add(grace)
        };
        much(self.networks as u128, before.networks as u128, 3, 1_000)
            || much(self.v4, before.v4, 4, 1 << 16)
            || much(self.v6, before.v6, 4, 1 << 100)
    }
}

impl Spared {
    /// Spares `network` from every list.
    pub fn never(&mut self, network: IpNet) {
        self.never.insert(network, ());
    }

    /// Spares `network` from feeds, for `list` names it.
    pub fn shared(&mut self, network: IpNet, list: &Arc<str>) {
        self.shared.insert(network, Arc::clone(list));
    }

    /// Lets feeds list `network`, shared or not.
    pub fn allow(&mut self, network: IpNet) {
        self.allowed.insert(network, ());
    }

    fn spares(&self, owner: ListOwner, address: IpAddr) -> bool {
        let host = IpNet::from(address);
        let from_feed = || {
            // A feed's network may contain private space, as 172.0.0.0/8 does.
            is_private(address)
                || (self.shared.longest(host).is_some() && self.allowed.longest(host).is_none())
        };
        self.never.longest(host).is_some() || (owner == ListOwner::Feed && from_feed())
    }

    /// The warninglist that holds all of `network`, if no part of it is allowed.
    fn shared_by(&self, network: IpNet) -> Option<&Arc<str>> {
        self.shared.longest(network).filter(|_| !self.allowed.meets(network))
    }
}

impl ListedNetworks {
    /// Without lists yet. `spared`: what none of them lists.
    pub fn new(spared: Spared) -> Self {
        Self { spared, ..Self::default() }
    }

    /// Adds a list. The order in which lists are added changes no answer, unless they are longer than there is room.
    ///
    /// `now`: only for the report; what a lookup finds is decided by its own time.
    pub fn add(
        &mut self,
        name: &str,
        owner: ListOwner,
        indicators: Vec<Indicator>,
        now: UnixMicros,
    ) -> ListReport {
        let mut report = ListReport::default();
        let from_feed = owner == ListOwner::Feed;
        let (narrow, wide): (Vec<_>, Vec<_>) = indicators
            .into_iter()
            .partition(|i| !from_feed || !too_wide(&i.network) || lies_in_private(i.network));
        report.wide = wide.len();
        let extent = Extent::of(&narrow);
        if from_feed && (extent.v4 > FEED_V4_MAX || extent.v6 > FEED_V6_MAX) {
            report.too_much = true;
            return report;
        }
        let list = self.lists.len();
        self.lists.push((name.into(), owner));
        for indicator in narrow {
            let Indicator { network, level, from, until, tlp, why } = indicator;
            if self.spared.never.longest(network).is_some() {
                report.never += 1;
                continue;
            }
            if from_feed && lies_in_private(network) {
                report.private += 1;
                continue;
            }
            if let Some(by) = self.spared.shared_by(network).filter(|_| from_feed) {
                report.shared += 1;
                if report.shared_networks.len() < SPARED_SHOWN {
                    report.shared_networks.push((network, Arc::clone(by)));
                }
                continue;
            }
            if self.marks == NETWORKS_MAX {
                report.no_room += 1;
                continue;
            }
            let marks = self.marks_of(network);
            if from_feed && marks.len() >= MARKS_MAX {
                report.no_room += 1;
                continue;
            }
            marks.push(Mark { list, level, from, until, tlp, why });
            self.marks += 1;
            let meets_shared = from_feed && self.spared.shared.meets(network);
            report.partly += usize::from(meets_shared || self.spared.never.meets(network));
            report.added += 1;
            report.expired += usize::from(until <= now);
        }
        for node in &mut self.nodes {
            node.around =
                node.network.supernet().and_then(|wider| self.places.longest(wider)).copied();
        }
        report
    }

    /// What is said about exactly this network.
    fn marks_of(&mut self, network: IpNet) -> &mut Vec<Mark> {
        let next = self.nodes.len();
        let place = *self.places.at_or(network, next);
        if place == next {
            self.nodes.push(Node { network, marks: Vec::new(), around: None });
        }
        // INVARIANT: each place is one of a node, which is pushed with it and never taken away.
        #[expect(clippy::indexing_slicing, reason = "see the invariant")]
        &mut self.nodes[place].marks
    }

    /// The networks that hold `address`, the longest first.
    fn around(&self, address: IpAddr) -> impl Iterator<Item = &Node> {
        let node = |place: usize| self.nodes.get(place);
        let longest = self.places.longest(address.into()).and_then(|place| node(*place));
        std::iter::successors(longest, move |inner| inner.around.and_then(node))
    }

    /// The strongest that is known against `network` at `now`: of the highest level, the operator's own before feeds', the longest.
    pub fn find(&self, network: ClientIp, now: UnixMicros) -> Option<Listed<'_>> {
        let address = network.addr();
        let mut strongest = None;
        for Node { network, marks, .. } in self.around(address) {
            for mark in marks.iter().filter(|mark| mark.from <= now && now < mark.until) {
                let Some((list, owner)) = self.lists.get(mark.list) else { continue };
                let Mark { level, until, tlp, why, .. } = mark;
                let key = (*level, *owner, network.prefix_len(), Reverse(list), *until, *tlp, why);
                let stronger = strongest.as_ref().is_none_or(|(known, _)| *known < key);
                if stronger && !self.spared.spares(*owner, address) {
                    let (list, network, why) = (&**list, *network, why.as_deref());
                    let listed =
                        Listed { list, network, level: *level, until: *until, tlp: *tlp, why };
                    strongest = Some((key, listed));
                }
            }
        }
        strongest.map(|(_, listed)| listed)
    }

    /// Everything that holds `network` at any time, spared or not, for a person who asks why.
    pub fn all(&self, network: ClientIp) -> Vec<Listed<'_>> {
        let mut all = Vec::new();
        for Node { network, marks, .. } in self.around(network.addr()) {
            for mark in marks {
                let Some((list, _)) = self.lists.get(mark.list) else { continue };
                let &Mark { level, until, tlp, .. } = mark;
                let (network, why) = (*network, mark.why.as_deref());
                all.push(Listed { list, network, level, until, tlp, why });
            }
        }
        all
    }

    /// How many networks are listed.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no network is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why no feed lists `network`, if it is so: in words.
    pub fn spared(&self, network: ClientIp) -> Option<String> {
        let host = IpNet::from(network.addr());
        if self.spared.never.longest(host).is_some() {
            return Some("it is among what is never listed".to_owned());
        }
        if is_private(network.addr()) {
            return Some("it is in private space".to_owned());
        }
        let by = self.spared.shared_by(host)?;
        Some(format!("it is in a shared cloud, says warninglist `{by}`"))
    }
}

impl Listed<'_> {
    /// Whether it never ends by itself.
    pub fn is_lasting(&self) -> bool {
        self.until == FOREVER
    }

    /// What the list says about it, unless its marking keeps that from everybody.
    pub fn reason(&self) -> Option<&str> {
        self.why.filter(|_| self.tlp < Tlp::Red)
    }
}

fn too_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(v4) => v4.prefix_len() < FEED_V4_PREFIX_MIN,
        IpNet::V6(v6) => v6.prefix_len() < FEED_V6_PREFIX_MIN,
    }
}

#[cfg(test)]
mod tests;

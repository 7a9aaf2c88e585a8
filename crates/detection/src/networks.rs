//! A map from networks of both families, asked for what holds an address.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use std::net::{IpAddr, Ipv4Addr};

/// Two prefix tries. A question is one walk down one of them, without allocation.
#[derive(Clone, Debug)]
pub(crate) struct Networks<T> {
    v4: PrefixMap<Ipv4Net, T>,
    v6: PrefixMap<Ipv6Net, T>,
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self { v4: PrefixMap::new(), v6: PrefixMap::new() }
    }
}

impl<T> Networks<T> {
    pub(crate) fn insert(&mut self, network: IpNet, value: T) {
        match network {
            IpNet::V4(v4) => self.v4.insert(v4, value),
            IpNet::V6(v6) => self.v6.insert(v6, value),
        };
    }

    /// What stands at exactly this network, which is `value` from then on if nothing does.
    pub(crate) fn at_or(&mut self, network: IpNet, value: T) -> &mut T {
        match network {
            IpNet::V4(v4) => self.v4.entry(v4).or_insert(value),
            IpNet::V6(v6) => self.v6.entry(v6).or_insert(value),
        }
    }

    /// The longest network that holds all of `network`.
    pub(crate) fn longest(&self, network: IpNet) -> Option<&T> {
        match network {
            IpNet::V4(v4) => self.v4.get_lpm(&v4).map(|(_, value)| value),
            IpNet::V6(v6) => self.v6.get_lpm(&v6).map(|(_, value)| value),
        }
    }

    /// Whether any network here shares an address with `network`.
    pub(crate) fn meets(&self, network: IpNet) -> bool {
        self.longest(network).is_some()
            || match network {
                IpNet::V4(v4) => self.v4.children(&v4).next().is_some(),
                IpNet::V6(v6) => self.v6.children(&v6).next().is_some(),
            }
    }
}

/// An address or CIDR, host bits cleared, IPv4-mapped IPv6 as IPv4.
pub fn read_network(text: &str) -> Option<IpNet> {
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

/// Whether all of `network` lies in space that means something else in each network.
pub(crate) fn lies_in_private(network: IpNet) -> bool {
    is_private(network.network()) && is_private(network.broadcast())
}

/// Space that means something else in each network, so that no outsider can know who is there.
pub(crate) fn is_private(address: IpAddr) -> bool {
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
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

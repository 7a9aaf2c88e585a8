//! Where a request came from, as the socket proves it.

use std::fmt;
use std::net::IpAddr;

/// The peer address of the socket, IPv4-mapped IPv6 addresses unwrapped. No header can make one of these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// The address the accepting socket reports for its peer.
    pub fn from_peer(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The canonical address.
    pub const fn addr(self) -> IpAddr {
        self.0
    }

    /// 4 bytes for IPv4, 16 for IPv6: the form that commitments are made over.
    pub fn to_bytes(self) -> Vec<u8> {
        match self.0 {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        }
    }

    /// Reads what [`ClientIp::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
        v4.or(v6).ok().map(Self::from_peer)
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

//! The network of an address as a number, so that no name is kept of each: the /24 of an IPv4, the /48 of an IPv6 address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: 4 or 6 in the highest byte, then the bits of its prefix. [`Network::NONE`] (0) is absent; tables write it as null.
///
/// Release 0.1.0 wrote a symbol in its place, whose name is looked for first: one hash of 65,536 reads as a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(pub i64);

const VERSION_SHIFT: u32 = 56;
const V4_BITS: u32 = 24;
const V6_BITS: u32 = 48;

impl Network {
    /// Absent.
    pub const NONE: Network = Network(0);

    /// The network of an address.
    pub fn of(address: IpAddr) -> Network {
        let (version, prefix) = match address.to_canonical() {
            IpAddr::V4(address) => (4, i64::from(address.to_bits() >> (32 - V4_BITS))),
            IpAddr::V6(address) => (6, (address.to_bits() >> (128 - V6_BITS)) as i64),
        };
        Network(version << VERSION_SHIFT | prefix)
    }

    /// This, unless absent.
    pub fn some(self) -> Option<Network> {
        (self != Network::NONE).then_some(self)
    }

    /// Whether it is one.
    pub fn is_valid(self) -> bool {
        let prefix = self.0 & ((1 << VERSION_SHIFT) - 1);
        matches!((self.0 >> VERSION_SHIFT, prefix), (4, ..0x100_0000) | (6, ..0x1_0000_0000_0000))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> VERSION_SHIFT {
            4 => write!(f, "{}/{V4_BITS}", Ipv4Addr::from_bits((self.0 as u32) << (32 - V4_BITS))),
            _ => write!(f, "{}/{V6_BITS}", Ipv6Addr::from_bits((self.0 as u128) << (128 - V6_BITS))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_by_its_network() {
        let net = |raw: &str| Network::of(raw.parse().unwrap());
        for (raw, text) in [
            ("203.0.113.9", "203.0.113.0/24"),
            ("::ffff:203.0.113.9", "203.0.113.0/24"),
            ("255.255.255.255", "255.255.255.0/24"),
            ("0.0.0.1", "0.0.0.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
            ("ffff:ffff:ffff::", "ffff:ffff:ffff::/48"),
        ] {
            assert_eq!(net(raw).to_string(), text);
            assert!(net(raw).is_valid() && net(raw).some().is_some());
        }
        assert!(!Network::NONE.is_valid() && !Network(-5).is_valid() && !Network(4 << 56 | 1 << 24).is_valid());
    }
}

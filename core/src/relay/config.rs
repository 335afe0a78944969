//! What a relay is told before its first datagram.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use heapless::{String, Vec};

/// The most bytes of [`Config::motd`].
pub const MOTD_MAX: usize = 160;

/// The most networks that [`Config::networks`] names.
pub const NETWORKS_MAX: usize = 8;

/// Limits and policies of a relay.
///
/// ```
/// # let random = [0; 16];
/// let config = kilochat_core::Config { history: 20, ..kilochat_core::Config::new(random) };
/// assert_eq!(config.announce_up_to, 63);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// How many peers may be there at once; more than the relay has room for means all of them.
    pub seats: u16,
    /// How many of the last messages a newcomer is shown.
    pub history: u16,
    /// Joins, leaves and renames are announced while at most so many peers are there.
    pub announce_up_to: u16,
    /// When all seats are taken, the peer that has been silent for longest, and for longer than
    /// this, gives its seat to a newcomer. A peer whose port was reported unreachable leaves after
    /// this time of silence.
    pub idle: Duration,
    /// Send each line to its author too.
    pub echo: bool,
    /// Be like the Python server that the protocol comes from: names and messages, nothing else.
    pub classic: bool,
    /// Give seats to sources outside the local networks too.
    pub open: bool,
    /// What cookies and sessions are made of: random, and new for each run where there is a random
    /// generator. Keep it secret: with the key and a forged source address an attacker can speak for
    /// any client.
    pub key: [u8; 16],
    /// A text that greets newcomers; empty for none. It is shown [`clean`](crate::clean).
    pub motd: String<MOTD_MAX>,
    /// Networks that are local although their addresses do not say so: those that this machine
    /// is attached to.
    pub networks: Vec<Network, NETWORKS_MAX>,
}

impl Config {
    /// The usual limits and policies: see the fields for what `key` must be.
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            seats: u16::MAX,
            history: 10,
            announce_up_to: 63,
            idle: Duration::from_secs(600),
            key,
            ..Self::nothing()
        }
    }

    /// All zero: no seats.
    pub(super) const fn nothing() -> Self {
        Self {
            seats: 0,
            history: 0,
            announce_up_to: 0,
            idle: Duration::ZERO,
            echo: false,
            classic: false,
            open: false,
            key: [0; 16],
            motd: String::new(),
            networks: Vec::new(),
        }
    }

    /// Whether `source` is on a local network.
    pub(super) fn is_local(&self, source: IpAddr) -> bool {
        let private = match source {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        };
        private || self.networks.iter().any(|network| network.contains(source))
    }
}

/// A network: the addresses that share the first `prefix` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Network {
    /// An address in it.
    pub address: IpAddr,
    /// How many bits its addresses share; more than an address has means all of them.
    pub prefix: u8,
}

impl Network {
    /// Whether `address` is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs) = match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (widened(ours.into()), widened(theirs.into()))
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (bits(ours), bits(theirs)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let differing = ours ^ theirs;
        differing.leading_zeros() >= u32::from(self.prefix) || differing == 0
    }
}

/// The bits of an IPv4 address, first bit first.
fn widened(ip: u32) -> u128 {
    u128::from(ip) << 96
}

fn bits(ip: Ipv6Addr) -> u128 {
    ip.into()
}

/// Whether datagrams may come from `source` at all: not from a group or from nowhere.
pub(super) fn is_unicast(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [J9]
    #[test]
    fn local_is_what_no_router_of_the_internet_brings() {
        let mut config = Config::new([0; 16]);
        for local in [
            "127.0.0.2",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.255.255",
            "169.254.9.9",
            "::1",
            "fe80::1",
            "fd00::1",
        ] {
            assert!(config.is_local(local.parse().unwrap()), "{local}");
        }
        for foreign in [
            "8.8.8.8",
            "172.32.0.1",
            "203.0.113.9",
            "2001:db8:0:1::9",
            "ff02::1",
        ] {
            assert!(!config.is_local(foreign.parse().unwrap()), "{foreign}");
        }
        let ours = [("203.0.113.0", 24), ("2001:db8:0:1::", 64)].map(|(address, prefix)| Network {
            address: address.parse().unwrap(),
            prefix,
        });
        config.networks.extend(ours);
        for (address, local) in [
            ("203.0.113.255", true),
            ("203.0.112.255", false),
            ("203.0.114.0", false),
            ("2001:db8:0:1:ffff::", true),
            ("2001:db8:0:2::", false),
        ] {
            assert_eq!(
                config.is_local(address.parse().unwrap()),
                local,
                "{address}"
            );
        }
    }

    #[test]
    fn a_prefix_may_be_anything() {
        for (prefix, other, contained) in [
            (0, "255.0.0.1", true),
            (32, "10.0.0.1", true),
            (32, "10.0.0.2", false),
            (255, "10.0.0.1", true),
            (255, "10.0.0.3", false),
        ] {
            let network = Network {
                address: "10.0.0.1".parse().unwrap(),
                prefix,
            };
            assert_eq!(
                network.contains(other.parse().unwrap()),
                contained,
                "{prefix} {other}"
            );
        }
    }
}

//! The configuration of a relay.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use heapless::{String, Vec};

use super::admission::Limit;
#[cfg(feature = "link")]
use super::link::PlaceName;
use crate::wire::Name;

/// Maximum length of [`Config::motd`], in bytes.
pub const MOTD_MAX: usize = 160;

/// Maximum number of [`Config::networks`].
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
    /// Maximum number of peers. A larger value than `PEERS` means `PEERS`.
    pub seats: u16,
    /// Number of recent messages that a newcomer is sent.
    pub history: u16,
    /// Maximum number of peers at which joins, leaves and renames are announced.
    pub announce_up_to: u16,
    /// When all seats are taken, the peer that has been silent for the longest time, if that is
    /// more than this, gives its seat to a newcomer. It is also the silence after which a peer
    /// whose port was reported unreachable leaves.
    pub idle: Duration,
    /// Whether a plain author is sent its own lines too. A framed one always is.
    pub echo: bool,
    /// Whether to behave like the Python server that the protocol comes from: names and messages
    /// only, without notices, commands and frames.
    pub classic: bool,
    /// Whether sources outside the local networks are served too, after they have proved that they
    /// receive at their address. In classic mode nobody can prove that.
    pub open: bool,
    /// Whether those on the local networks must prove it, too.
    pub prove: bool,
    /// The relay's own port, or 0. If it is set, plain newcomers from this port and from ports below 1024
    /// are refused: another relay, or a service that returns what it is sent, would answer for ever.
    pub port: u16,
    /// Maximum number of lines that a peer may say in a second after its `burst`; 0 is no limit, and
    /// more than 1000 means 1000. Commands count too.
    pub rate: u16,
    /// Number of lines that a peer may say at once; at least 1.
    pub burst: u16,
    /// Limit of what is sent to each address of plain peers that have not proved it, in KiB a second; 16
    /// times as much to all that have spoken, 4 times as much to all others together. 0, the default, is
    /// no limit.
    pub unproven: u16,
    /// The key for cookies and sessions: random, and a new one for each run where there is a random
    /// generator. Keep it secret: with the key and a spoofed source address an attacker can speak
    /// for any client.
    pub key: [u8; 16],
    /// The key of the operators, if there are any. A client that has it can give orders in the
    /// room: see `PROTOCOL.md`, section "The operator".
    pub operator: Option<[u8; 16]>,
    /// Whether a person at the relay itself speaks as `host`. Then no peer has this name.
    pub host: bool,
    /// The name of this place, if the relay is linked with others; otherwise empty. See
    /// [`is_place`](crate::is_place). A relay in classic mode is never linked.
    #[cfg(feature = "link")]
    pub place: PlaceName,
    /// The name of this relay for clients that look for relays: without white space, or empty.
    pub name: Name,
    /// A greeting for newcomers, or empty. It is shown [`clean`](crate::clean).
    pub motd: String<MOTD_MAX>,
    /// Networks that are local although their addresses are public: those to which this machine is
    /// attached. The relay cannot find them; without them their hosts are not local.
    pub networks: Vec<Network, NETWORKS_MAX>,
}

impl Config {
    /// Returns the default limits and policies: as many seats as there are, a history of 10 messages,
    /// announcements while at most 63 peers are there, `idle` after 10 minutes, local networks only,
    /// 64 lines at once and then 20 a second from each peer, no echo, not classic. See the field for what
    /// `key` must be.
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            seats: u16::MAX,
            history: 10,
            announce_up_to: 63,
            idle: Duration::from_secs(600),
            rate: 20,
            burst: 64,
            key,
            ..Self::nothing()
        }
    }

    /// Returns a configuration without seats, all zero bits, so that a static relay needs no
    /// initial data.
    pub(super) const fn nothing() -> Self {
        Self {
            seats: 0,
            history: 0,
            announce_up_to: 0,
            idle: Duration::ZERO,
            echo: false,
            classic: false,
            open: false,
            prove: false,
            port: 0,
            rate: 0,
            burst: 0,
            unproven: 0,
            key: [0; 16],
            operator: None,
            host: false,
            #[cfg(feature = "link")]
            place: PlaceName::new(),
            name: Name::new(),
            motd: String::new(),
            networks: Vec::new(),
        }
    }

    /// Returns the rate limit of each peer, if there is one.
    pub(super) fn lines(&self) -> Option<Limit> {
        let interval_ms = 1000_u32.checked_div(self.rate.min(1000).into())?;
        Some(Limit {
            burst: self.burst.max(1).into(),
            interval_ms,
        })
    }

    /// Returns whether `source` is on a local network. If not, the relay answers it only if it is `open`.
    pub fn is_local(&self, source: IpAddr) -> bool {
        let private = match source {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        };
        private || self.networks.iter().any(|network| network.contains(source))
    }
}

/// A network: all addresses that share the first `prefix` bits of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Network {
    /// Any address in the network.
    pub address: IpAddr,
    /// Number of bits that the addresses share. A larger value than an address has bits means all
    /// bits.
    pub prefix: u8,
}

impl Network {
    /// Returns whether `address` is in this network.
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

/// Returns the bits of an IPv4 address as the most significant ones.
fn widened(ip: u32) -> u128 {
    u128::from(ip) << 96
}

fn bits(ip: Ipv6Addr) -> u128 {
    ip.into()
}

/// Returns whether `source` is an address that a datagram can be sent back to: not multicast,
/// broadcast or unspecified.
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
    fn local_addresses_are_those_that_the_internet_does_not_route() {
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

//! The configuration of a node.

use core::fmt;

use heapless::{String, Vec};
use kilochat_core::{Network, PORT};

use crate::addresses::{is_host, is_one_machine};

/// Maximum length of [`Config::name`] in bytes, as for any DNS label (RFC 1035 section 2.3.4).
pub const NAME_MAX: usize = 63;

/// Maximum number of static addresses of a node.
pub const ADDRESSES_MAX: usize = 2;

/// The addresses of a node, and the policies of its relay.
#[derive(Clone, Debug)]
pub struct Config {
    /// The hardware address, which must be unicast and unique on this Ethernet.
    pub hardware: [u8; 6],
    /// The UDP port of the relay; not 0.
    pub port: u16,
    /// Limits and policies of the relay. Its `networks` are replaced by those of the node's
    /// addresses.
    pub relay: kilochat_core::Config,
    /// Static addresses with their prefix lengths, at most one of IPv4. Those of an address family
    /// that is not compiled in are ignored.
    pub addresses: Vec<Network, ADDRESSES_MAX>,
    /// Whether to request an IPv4 address (feature `dhcp`). A static one is used only while there
    /// is no lease.
    pub dhcp: bool,
    /// Whether to make IPv6 addresses from router advertisements (feature `slaac`).
    pub slaac: bool,
    /// The name in `NAME.local` that the node responds to (feature `mdns`); empty for none. If another
    /// host has it, a number is appended (feature `probe`).
    pub name: String<NAME_MAX>,
    /// Any number that differs in each start, for DHCP's transaction numbers and the time at which the name
    /// is probed. It need not be secret.
    pub seed: u64,
}

impl Config {
    /// Returns a configuration with a link-local IPv6 address only, and with the relay's default
    /// policies. For `key` see [`kilochat_core::Config::key`].
    pub fn new(hardware: [u8; 6], key: [u8; 16]) -> Self {
        Self {
            hardware,
            port: PORT,
            relay: kilochat_core::Config::new(key),
            addresses: Vec::new(),
            dhcp: false,
            slaac: false,
            name: String::new(),
            seed: 0,
        }
    }

    /// Checks everything on which the network stack would panic.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !is_one_machine(self.hardware) {
            return Err(Error::Hardware);
        }
        if self.port == 0 {
            return Err(Error::Port);
        }
        for network in &self.addresses {
            let bits = if network.address.is_ipv4() { 32 } else { 128 };
            if !is_host(network.address) || network.prefix > bits {
                return Err(Error::Address);
            }
        }
        let v4 = self.addresses.iter().filter(|n| n.address.is_ipv4());
        if v4.count() > 1 {
            return Err(Error::Address);
        }
        Ok(())
    }

    /// Returns the static IPv4 address.
    #[cfg(feature = "dhcp")]
    pub(crate) fn static_ipv4(&self) -> Option<Network> {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|network| network.address.is_ipv4())
    }

    /// Returns whether there is a name to respond to, and the relay does not have the port for that.
    #[cfg(feature = "mdns")]
    pub(crate) fn has_mdns_name(&self) -> bool {
        !self.name.is_empty() && self.port != crate::mdns::PORT
    }

    /// Returns the static addresses that are used from the start: all, except an IPv4 address while one is
    /// requested from the network.
    pub(crate) fn first_addresses(&self) -> Vec<Network, ADDRESSES_MAX> {
        let asks_for_lease = cfg!(feature = "dhcp") && self.dhcp;
        let addresses = self.addresses.iter().copied();
        let first = addresses.filter(|network| network.address.is_ipv6() || !asks_for_lease);
        first.collect()
    }
}

/// Why a node or a station cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// The hardware address is not unicast.
    Hardware,
    /// The relay's port is 0.
    Port,
    /// An address is not unicast, its prefix is longer than an address, a node has two IPv4
    /// addresses, or the addresses of a station, its router and its relay are not of one family
    /// that is compiled in.
    Address,
    /// The device is not Ethernet, or its maximum frame is too short for a datagram of
    /// [`DATAGRAM_MAX`](kilochat_core::DATAGRAM_MAX) bytes.
    Device,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Hardware => "the hardware address is not that of one machine",
            Self::Port => "the port is 0",
            Self::Address => {
                "an address is not that of one machine, or does not go with the others"
            }
            Self::Device => "the device is not Ethernet, or its frames are too short",
        })
    }
}

impl core::error::Error for Error {}

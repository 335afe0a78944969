//! What a node is told when it starts.

use core::fmt;

use heapless::{String, Vec};
use kilochat_core::{Network, PORT};

use crate::addresses::{is_host, is_one_machine};

/// The most bytes of [`Config::name`]: a label of the domain name system (RFC 1035 section 2.3.4).
pub const NAME_MAX: usize = 63;

/// The most static addresses of a node.
pub const ADDRESSES_MAX: usize = 2;

/// How a node is reached, and the policies of its relay.
#[derive(Clone, Debug)]
pub struct Config {
    /// The hardware address: unicast, and nobody else's on this Ethernet.
    pub hardware: [u8; 6],
    /// The UDP port of the relay; not 0.
    pub port: u16,
    /// Limits and policies of the relay. Its `networks` are those of the node's addresses, whatever
    /// stands here.
    pub relay: kilochat_core::Config,
    /// Static addresses with the lengths of their networks' prefixes, at most one of IPv4. Those
    /// of a family that is not compiled in are ignored.
    pub addresses: Vec<Network, ADDRESSES_MAX>,
    /// Ask for an IPv4 address (feature `dhcp`). A static one is used only while there is no lease.
    pub dhcp: bool,
    /// Make IPv6 addresses of what routers advertise (feature `slaac`).
    pub slaac: bool,
    /// The name in `NAME.local` that is answered for (feature `mdns`); empty for none. Nobody is
    /// asked whether the name is free.
    pub name: String<NAME_MAX>,
    /// Any number that differs from start to start, for DHCP's transactions; it guards no secret.
    pub seed: u64,
}

impl Config {
    /// A node that is reached at its link-local IPv6 address only, with the relay's usual policies.
    /// What `key` must be is said at [`kilochat_core::Config::key`].
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

    /// Whether there is nothing in it that the network stack would panic on.
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

    /// The static IPv4 address.
    #[cfg(feature = "ipv4")]
    #[inline(never)] // it is called twice
    pub(crate) fn static_ipv4(&self) -> Option<Network> {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|network| network.address.is_ipv4())
    }

    /// Whether an IPv4 address comes from the network.
    #[cfg(feature = "ipv4")]
    pub(crate) fn asks_for_lease(&self) -> bool {
        cfg!(feature = "dhcp") && self.dhcp
    }
}

/// Why a node or a station cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// The hardware address is a group's or none.
    Hardware,
    /// The relay's port is 0.
    Port,
    /// An address is not unicast, its prefix is longer than an address, a node has two of IPv4, or a
    /// station's, its router's and its relay's are not of one family that is compiled in.
    Address,
    /// The device is not Ethernet, or its frames are too short for a datagram of
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

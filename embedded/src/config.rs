//! What a node is told when it starts, and the memory that it works in.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heapless::{String, Vec};
use kilochat_core::{Network, PORT, Relay};

use crate::stack::{Buffers, Route};

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
    /// A node that is reached at its link-local IPv6 address only, with the relay's default
    /// policies.
    pub fn new(hardware: [u8; 6]) -> Self {
        Self {
            hardware,
            port: PORT,
            relay: kilochat_core::Config::default(),
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
        if self
            .addresses
            .iter()
            .filter(|n| n.address.is_ipv4())
            .count()
            > 1
        {
            return Err(Error::Address);
        }
        Ok(())
    }
}

/// Whether it is the hardware address of one machine.
pub(crate) fn is_one_machine(hardware: [u8; 6]) -> bool {
    let [first, ..] = hardware;
    first & 1 == 0 && hardware != [0; 6]
}

/// Whether a machine on a wire may have this address.
pub(crate) fn is_host(ip: IpAddr) -> bool {
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || is_broadcast)
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

/// The memory of a node: all of it but the node itself, which is a few kilobytes at most.
///
/// A new one is all zero bits, so that a `static` one takes no room in the program's image.
///
/// ```
/// use kilochat_embedded::Storage;
/// use static_cell::ConstStaticCell;
///
/// static STORAGE: ConstStaticCell<Storage<32, 8192, 8>> = ConstStaticCell::new(Storage::new());
/// ```
#[derive(Debug)]
pub struct Storage<const PEERS: usize, const RING: usize, const WINDOW: usize> {
    pub(crate) relay: Relay<PEERS, RING, WINDOW>,
    /// By seat: how its peer is answered.
    pub(crate) routes: [Route; PEERS],
    pub(crate) buffers: Buffers,
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Storage<PEERS, RING, WINDOW> {
    /// Its size in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// Memory for `PEERS` peers and `RING` bytes of lines, `WINDOW` datagrams on their way: see [`Relay`].
    pub const fn new() -> Self {
        Self {
            relay: Relay::new(),
            routes: [Route::NOWHERE; PEERS],
            buffers: Buffers::new(),
        }
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Default
    for Storage<PEERS, RING, WINDOW>
{
    fn default() -> Self {
        Self::new()
    }
}

// 18376 of relay, 32 routes of 24 bytes, a frame's payload of 1472, with mdns a question's 512, and
// the tables of the sockets
const _: () = assert!(Storage::<32, 8192, 8>::SIZE <= 23 * 1024);
const _: () = assert!(Storage::<64, 65536, 32>::SIZE <= 98 * 1024);

/// The link-local IPv6 address that belongs to a hardware address (RFC 4291 appendix A).
pub const fn link_local(hardware: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = hardware;
    let pair = u16::from_be_bytes;
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        pair([a ^ 2, b]),
        pair([c, 0xff]),
        pair([0xfe, d]),
        pair([e, f]),
    )
}

/// The link-local IPv4 address (RFC 3927) that a node takes when nobody gives it one. It is made
/// of the hardware address, and nobody is asked whether it is free.
pub const fn link_local_v4(hardware: [u8; 6]) -> Ipv4Addr {
    let [_, _, _, d, e, f] = hardware;
    // 169.254.1.0 to 169.254.254.255
    Ipv4Addr::new(169, 254, 1 + (d ^ e) % 254, f)
}

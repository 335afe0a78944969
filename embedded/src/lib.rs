#![no_std]
#![forbid(unsafe_code)]
//! The relay of kilochat on the [smoltcp] network stack: no operating system, no heap.
//!
//! A [`Node`] owns an Ethernet device, the stack and the relay. The program calls [`Node::poll`]
//! whenever the device has a frame, and at the time that the last call returned; nothing else is
//! needed. The memory is [`Storage`], a `static` whose size is known at compile time.
//!
//! ```
//! # #[cfg(feature = "defmt")] // a program with logs needs a logger, and this one has none
//! # fn main() {}
//! # #[cfg(not(feature = "defmt"))]
//! # fn main() -> Result<(), kilochat_embedded::Error> {
//! # use core::net::IpAddr;
//! # use kilochat_embedded::phy::{Device, Loopback, Medium};
//! use kilochat_core::{Instant, Network};
//! use kilochat_embedded::{Config, Node, Storage};
//! use static_cell::ConstStaticCell;
//!
//! static STORAGE: ConstStaticCell<Storage<32, 8192, 8>> = ConstStaticCell::new(Storage::new());
//!
//! # let device = Loopback::new(Medium::Ethernet);
//! # let milliseconds = || 0;
//! # let random = [0; 16];
//! let mut config = Config::new([0x02, 0, 0, 0, 0, 1], random);
//! # let address = IpAddr::from([192, 0, 2, 1]);
//! let _ = config.addresses.push(Network { address, prefix: 24 });
//! let now = Instant::from_millis(milliseconds());
//! let mut node = Node::new(device, STORAGE.take(), config, now)?;
//! # let mut rounds = 0;
//! loop {
//!     let wake_up = node.poll(Instant::from_millis(milliseconds()));
//!     // sleep until a frame arrives or until `wake_up`
//! #     let _ = wake_up;
//! #     rounds += 1;
//! #     if rounds > 3 { break; }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **No peer delays another.** A stack that resolves a hardware address before it sends waits for
//! peers that are gone. A node sends to each peer at the hardware address from which its last
//! datagram came, and from the IP address to which that went; it resolves none.
//!
//! A [`Station`] is the other end: a client of a relay, for a microcontroller that posts a message
//! at times.
//!
//! # Features
//!
//! Each adds something and costs nothing when it is off. By default all are on except the last.
//!
//! | feature | adds |
//! |---|---|
//! | `ipv4`, `ipv6` | the address families; at least one is needed. IPv6 always has a link-local address |
//! | `dhcp` | an IPv4 address from the network. After 10 s without one a node uses its static address, or else a link-local one (169.254.0.0/16), and continues to request a lease |
//! | `slaac` | IPv6 addresses from routers |
//! | `mdns` | responses to mDNS queries for `NAME.local` |
//! | `probe` | the name is probed, announced and defended: if another host has it, a number is appended |
//! | `defmt` | logs: addresses, joins, leaves and refusals at level info, datagrams at trace |
//!
//! # Limits
//!
//! smoltcp does not respond to an ARP probe (RFC 5227) for one of the node's addresses, and the node
//! sends no probes for its link-local IPv4 address; without `probe` neither for its name. On a network with
//! several nodes, choose hardware addresses that differ.
//!
//! [smoltcp]: https://docs.rs/smoltcp

#[cfg(test)]
extern crate std;
mod addresses;
mod config;
#[cfg(feature = "dhcp")]
mod lease;
mod log;
#[cfg(feature = "mdns")]
mod mdns;
mod node;
mod stack;
mod station;
mod storage;
mod wire;

pub use addresses::{link_local, link_local_v4};
pub use config::{ADDRESSES_MAX, Config, Error, NAME_MAX};
pub use kilochat_core::PORT;
pub use node::{Node, Stats};
pub use stack::{phy, time};
pub use station::{Station, StationConfig, StationStats, StationStorage};
pub use storage::Storage;

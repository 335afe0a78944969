#![no_std]
#![forbid(unsafe_code)]
//! The relay of kilochat on the [smoltcp] network stack: no operating system, no heap.
//!
//! A [`Node`] owns an Ethernet device, the stack and the relay. Somebody calls [`Node::poll`]
//! whenever the device has a frame and when the moment has come that the last call returned, and
//! does nothing else in between. The memory is [`Storage`], a `static` of a size that is known when
//! it is compiled.
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
//!     // sleep until a frame comes or until `wake_up`
//! #     let _ = wake_up;
//! #     rounds += 1;
//! #     if rounds > 3 { break; }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Nobody waits for a peer.** A stack that asks for a hardware address before it sends waits for
//! peers that are gone. A node answers each peer at the hardware address that its last datagram
//! came from, and from the address that it went to; it asks nobody.
//!
//! A [`Station`] is the other side: a client of a relay, for a microcontroller that has something to
//! say now and then.
//!
//! # Features
//!
//! Each adds something and costs nothing when it is off. By default all are on but the last.
//!
//! | feature | |
//! |---|---|
//! | `ipv4`, `ipv6` | the families; at least one. IPv6 always has a link-local address |
//! | `dhcp` | an IPv4 address from the network. After 10 s without one a node goes on with its static address, or else a link-local one (169.254.0.0/16), and keeps asking |
//! | `slaac` | IPv6 addresses from routers |
//! | `mdns` | an answer to the question where `NAME.local` is |
//! | `defmt` | logs: addresses, joins, leaves and refusals at level info, datagrams at trace |
//!
//! # Limits
//!
//! smoltcp does not answer a machine that asks, before it has an address itself, whether one of
//! the node's is free; link-local IPv4 addresses and the mDNS name are taken unasked. On a network
//! with two such nodes that is a matter of care with hardware addresses and names.
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

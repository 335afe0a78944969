#![no_std]
#![forbid(unsafe_code)]
//! The relay of kilochat as a state machine: datagrams and time in, datagrams out.
//!
//! It opens no socket, reads no clock, never allocates, blocks, logs or panics. What does these
//! things is a driver: the `kilochat` program on a PC, a network stack on a microcontroller, a
//! simulator. All of them do the same:
//!
//! ```
//! use kilochat_core::{Config, DATAGRAM_MAX, Event, Instant, Relay, Reply};
//!
//! # let random = [0; 16];
//! let mut relay = Relay::<32, 8192, 8>::new();
//! relay.configure(Config::new(random));
//! let (mut reply, mut buffer) = (Reply::new(), [0; DATAGRAM_MAX]);
//!
//! # let arrivals = [("127.0.0.1:5001", "Ada"), ("127.0.0.1:5002", "Bob"), ("127.0.0.1:5001", "hello")];
//! # let mut arrivals = arrivals.into_iter();
//! # let mut sent = Vec::new();
//! # let mut receive = || arrivals.next().map(|(a, text)| (a.parse().unwrap(), text.as_bytes()));
//! # let mut would_block = true;
//! # let mut send = |to: core::net::SocketAddr, payload: &[u8]| {
//! #     would_block = !would_block;
//! #     if !would_block { sent.push((to.port(), String::from_utf8(payload.to_vec()).unwrap())); }
//! #     !would_block
//! # };
//! # for now in (0..).map(Instant::from_millis) {
//! #     if now.as_millis() > 20 { break; }
//! // Whenever something arrived and the relay has room for it ...
//! if relay.can_receive() && let Some((source, payload)) = receive() {
//!     let event = relay.handle_datagram(now, source, payload, &mut reply);
//!     # let _ = matches!(event, Event::Said { .. });
//!     if !reply.is_empty() {
//!         send(source, &reply);
//!     }
//! }
//! // ... or time passed ...
//! if relay.poll_timeout().is_some_and(|then| now >= then) {
//!     while let Some(expired) = relay.handle_timeout(now) {
//!         # let _ = matches!(expired, kilochat_core::Expired::Left(_));
//!     }
//! }
//! // ... send what is due.
//! 'fanouts: while let Some(fanout) = relay.poll_fanout(now, &mut buffer) {
//!     let payload = fanout.payload();
//!     for delivery in fanout {
//!         if !send(delivery.address, payload) {
//!             relay.handle_refused(delivery); // the network would block: wait until it does not
//!             break 'fanouts;
//!         }
//!     }
//! }
//! # }
//! # assert!(sent.contains(&(5002, "Ada : hello".into())), "{sent:?}");
//! ```
//!
//! Every change is told by a return value ([`Event`], [`Departed`]) or a counter ([`Stats`]).
#![doc = "\n# The wire\n"]
#![doc = include_str!("../PROTOCOL.md")]

mod client;
mod relay;
mod time;
mod wire;

pub use client::{
    Client, ClientEvent, ClientStats, Dropped, End, Joined, Path, PostError, PostId, Received,
    State, Transmit,
};
pub use relay::{
    Config, Delivery, Departed, Departure, Event, Expired, Fanout, Farewell, MOTD_MAX,
    NETWORKS_MAX, Network, PeerInfo, Refusal, Relay, Reply, Seat, Stats, Unreachable,
};
pub use time::Instant;
pub use wire::PORT;
pub use wire::entry::LineKind;
pub use wire::framed;
pub use wire::text::{DATAGRAM_MAX, LINE_MAX, NAME_MAX, Name, SEPARATOR, clean, is_blank};

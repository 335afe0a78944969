#![no_std]
#![forbid(unsafe_code)]
//! The relay of kilochat, and the client of its framed dialect, as state machines (sans-IO):
//! datagrams and time in, datagrams out.
//!
//! The relay is a bounded log, and peers are cursors into it. An accepted message is rendered once and
//! appended to a ring of bytes. A fan-out is one datagram with all lines that a peer whose cursor is
//! behind has not been sent yet, and everyone for whom the same bytes are right.
//!
//! Nothing here opens a socket, reads a clock, allocates, blocks, logs or panics. That is for a
//! driver: the `kilochat` program on a PC, a network stack on a microcontroller, a simulator.
//!
//! # Writing a driver
//!
//! A driver does this in turns. `examples/udp.rs` is a whole one.
//!
//! 1. **Wait** for a datagram, and no longer than until [`Relay::poll_timeout`]. A socket's time-out
//!    of 0 may be refused or mean for ever: wait for a millisecond at least.
//! 2. **Receive** if [`Relay::can_receive`], into a buffer of at least [`DATAGRAM_MAX`] + 1 bytes:
//!    sockets cut what is longer, and in a smaller buffer what was cut looks whole. Fold IPv4-mapped
//!    addresses, and call [`Relay::handle_datagram`].
//! 3. **Answer**, in this order: send [`Event::farewell`] by the route that its seat had, note for
//!    [`Event::seat`] the route that this datagram came by, and send the reply to the source. Each is
//!    sent once. If the network does not take it, it is lost like any datagram.
//! 4. **Let time pass**: call [`Relay::handle_timeout`] until it returns `None`.
//! 5. **Fan out**: call [`Relay::poll_fanout`] until it returns `None`, and send each delivery. There
//!    are three outcomes:
//!    - It was taken. Nothing needs to be done.
//!    - It would block: [`Relay::handle_refused`], and [`Relay::handle_writable`] when there is room
//!      again. The others are served meanwhile; lines that are overwritten meanwhile become a stated
//!      gap. A driver with one way out to all peers can leave the fan-out instead: deliveries that it
//!      did not take stay due.
//!    - It failed because there is no way to the peer: [`Relay::handle_unreachable`]. Other failures
//!      are datagrams that were lost, which the framed dialect repairs.
//!
//! A [`Fanout`] borrows the relay: collect what was refused and what failed, and report it afterwards.
//!
//! ```
//! use kilochat_core::{Config, DATAGRAM_MAX, Instant, Relay, Reply, Unreachable};
//!
//! # let random = [0; 16];
//! let mut relay = Relay::<32, 8192, 8>::new();
//! relay.configure(Config::new(random));
//! let (mut reply, mut buffer) = (Reply::new(), [0; DATAGRAM_MAX]);
//! # enum Outcome { Taken, WouldBlock, Failed }
//! # let arrivals = [("127.0.0.1:5001", "Ada"), ("127.0.0.1:5002", "Bob"), ("127.0.0.1:5001", "hello")];
//! # let mut arrivals = arrivals.into_iter();
//! # let mut sent = Vec::new();
//! # let mut receive = || arrivals.next().map(|(a, text)| (a.parse().unwrap(), text.as_bytes()));
//! # let mut turn = 0;
//! # let mut send = |to: core::net::SocketAddr, payload: &[u8]| {
//! #     turn += 1;
//! #     if turn % 3 == 0 { return Outcome::WouldBlock; }
//! #     if turn % 7 == 0 { return Outcome::Failed; }
//! #     sent.push((to.port(), String::from_utf8(payload.to_vec()).unwrap()));
//! #     Outcome::Taken
//! # };
//! # let mut waiting = Vec::new();
//! # for now in (0..).map(Instant::from_millis) {
//! #     if now.as_millis() > 20 { break; }
//! # for seat in waiting.drain(..) { relay.handle_writable(seat); }
//!
//! if relay.can_receive() && let Some((source, payload)) = receive() {
//!     let event = relay.handle_datagram(now, source, payload, &mut reply);
//!     if let Some((_, address, farewell)) = event.farewell() {
//!         send(address, farewell);
//!     }
//!     if !reply.is_empty() {
//!         send(source, &reply);
//!     }
//! }
//! if relay.poll_timeout().is_some_and(|then| now >= then) {
//!     while let Some(_expired) = relay.handle_timeout(now) {}
//! }
//! while let Some(fanout) = relay.poll_fanout(now, &mut buffer) {
//!     let payload = fanout.payload();
//!     let (mut refused, mut failed) = (Vec::new(), Vec::new());
//!     for delivery in fanout {
//!         match send(delivery.address, payload) {
//!             Outcome::Taken => {}
//!             Outcome::WouldBlock => refused.push(delivery),
//!             Outcome::Failed => failed.push(delivery.seat),
//!         }
//!     }
//!     for delivery in refused {
//!         relay.handle_refused(delivery);
//!         # waiting.push(delivery.seat);
//!     }
//!     for seat in failed {
//!         relay.handle_unreachable(now, seat, Unreachable::Path);
//!     }
//! }
//! # }
//! # assert!(sent.contains(&(5002, "Ada : hello".into())), "{sent:?}");
//! ```
//!
//! Every change is told by a return value ([`Event`], [`Expired`], [`Departed`]) or a counter
//! ([`Stats`]). The driver of a [`Client`] is simpler, and has its whole contract there; see
//! `examples/client.rs`.
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
pub use wire::framed::{self, LineKind};
pub use wire::notices::{NOTICE, Notice};
pub use wire::text::{DATAGRAM_MAX, LINE_MAX, NAME_MAX, Name, SEPARATOR, clean, is_blank};

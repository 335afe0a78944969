#![no_std]
#![forbid(unsafe_code)]
//! The relay of kilochat, and the client of its framed dialect, as state machines (sans-IO):
//! datagrams and time in, datagrams out.
//!
//! The relay is a bounded log, and peers are cursors into it. An accepted message is rendered once and
//! appended to a ring of bytes. A datagram holds the lines from a peer's cursor on, and is sent to every
//! peer for which the same bytes are right.
//!
//! Nothing here opens a socket, reads a clock, allocates, blocks, logs or panics. A driver does the
//! input and output: the `kilochat` program on a PC, a network stack on a microcontroller, a simulator.
//!
//! # Terms
//!
//! | term | meaning |
//! |---|---|
//! | driver | the program around this crate: it has the sockets, the clock and the log |
//! | dialect | *plain*: a datagram is text; *framed*: it is a frame that is acknowledged. A peer speaks the one with which it joined |
//! | peer | a client that has a seat; a *stranger* is a source address that has none |
//! | seat | an index into the peer table, which a peer keeps from its join until it leaves |
//! | line | what is displayed: a message with its author's name (`NAME : TEXT`), or a notice |
//! | ring | the last lines in a buffer of fixed size, each with a sequence number; new ones overwrite the oldest |
//! | cursor | a position in the ring; a peer's cursor is at the first line that it was not sent yet |
//! | fan-out | one datagram with lines from the ring, and the peers that it is sent to |
//! | delivery | one peer of a fan-out: where to send the datagram |
//! | route | what the driver needs to reach a peer: socket, local address, interface. With one socket it is nothing |
//! | farewell | the last datagram to the address that a peer had |
//! | due, idle | a peer is due while there is something to send to it, and idle otherwise |
//! | session | the state that a relay and a client of the framed dialect share, across changes of address |
//! | parked | a peer of the framed dialect that stopped responding: it keeps its seat but is sent nothing until it is heard from |
//! | suspect | a peer that the network reported as unreachable; it leaves if it stays silent |
//!
//! # Writing a driver
//!
//! A driver repeats these steps. `examples/udp.rs` is a complete one.
//!
//! 1. **Wait** for a datagram, at most until [`Relay::poll_timeout`]. A socket may reject a time-out
//!    of 0 or take it as infinite: wait for at least a millisecond. If the relay cannot receive, wait
//!    until something can be sent instead: the socket may stay readable.
//! 2. **Receive** what has arrived, at most some 64 datagrams in a row and only while
//!    [`Relay::can_receive`], into a buffer of at least [`DATAGRAM_MAX`] + 1 bytes: sockets truncate
//!    longer datagrams, which a smaller buffer would hide. Give the socket a large receive buffer.
//!    Unmap IPv4-mapped IPv6 addresses, and map them again where a socket for IPv6 sends to them; keep
//!    the zone of a link-local address. Call [`Relay::handle_datagram`].
//! 3. **Answer** each datagram, in this order. Each is sent once; if the network does not take it, it is
//!    lost like any datagram.
//!    - Send [`Event::farewell`], if any, by the route that its seat had.
//!    - Note for [`Event::seat`] the route by which this datagram came.
//!    - Send the reply, if it is not empty, to the source.
//! 4. **Let time pass**: when the socket is empty, call [`Relay::handle_timeout`] until it returns
//!    `None`, and send each [`Expired::farewell`] like that of an event. What waits in the socket may
//!    end the silence of a peer.
//! 5. **Fan out**: call [`Relay::poll_fanout`] until it returns `None`, and send each delivery. Then
//!    the relay can receive again. There are three outcomes:
//!    - It was taken: nothing needs to be done.
//!    - It would block: call [`Relay::handle_refused`], and [`Relay::handle_writable`] when there is
//!      room again or, if the system cannot tell, after some milliseconds. Other peers are served
//!      meanwhile, and lines that are overwritten meanwhile become a gap of which the peer is told. If
//!      all peers share one queue, drop the fan-out after the delivery that you return: those that were
//!      not taken from the iterator stay due.
//!    - There is no route, or no such host: call [`Relay::handle_unreachable`] with
//!      [`Unreachable::Path`]. After another failure the datagram is lost, and the framed dialect
//!      retransmits it.
//!
//! A [`Fanout`] borrows the relay: collect the deliveries that would block or failed, and report them
//! afterwards.
//!
//! If the system reports ICMP errors (`IP_RECVERR` on Linux), pass on also [`Unreachable::Port`].
//! Without them a plain peer whose program has ended keeps its seat until the seat is needed.
//!
//! In this example `receive() -> Option<(SocketAddr, &[u8])>` and `send(SocketAddr, &[u8]) -> Outcome`
//! are the socket, `now` is the time since the start, and `random` are 16 random bytes.
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
//!     while let Some(expired) = relay.handle_timeout(now) {
//!         if let Some((_, address, farewell)) = expired.farewell() {
//!             send(address, farewell);
//!         }
//!     }
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
//! Every change is reported by a return value ([`Event`], [`Expired`], [`Departed`]) or a counter
//! ([`Stats`]). The contract for drivers of a [`Client`], which is simpler, is in its documentation; see
//! also `examples/client.rs`.
//!
//! What is on the wire is in [`protocol`].

mod client;
mod relay;
mod time;
mod wire;

pub use client::{
    Client, ClientEvent, ClientStats, Dropped, End, Joined, Path, PostError, PostId, Received,
    SeatLoss, State, Transmit,
};
pub use relay::{
    Config, Delivery, Departed, Departure, Event, Expired, Fanout, Farewell, MOTD_MAX,
    NETWORKS_MAX, Network, PeerInfo, RULES_MAX, Reader, Refusal, Relay, Reply, Restored, Rule,
    Seat, Stats, Unreachable, Verdict,
};
pub use time::Instant;
pub use wire::PORT;
pub use wire::framed::{self, LineKind};
pub use wire::notices::{NOTICE, Notice};
pub use wire::text::{DATAGRAM_MAX, LINE_MAX, NAME_MAX, Name, SEPARATOR, clean, is_blank};

/// The wire protocol. This module exists in the documentation only.
#[cfg(doc)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "the numbers of rules look like links"
)]
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

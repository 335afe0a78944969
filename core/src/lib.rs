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
//! | refused | a datagram or a text that the relay did not accept. Each reason has a counter ([`Refusal`]). The frame REFUSED means only that a client gets no seat |
//! | blocked | a peer to which sending would block; it is sent nothing until [`Relay::handle_writable`] |
//! | suspect | a peer that the network reported as unreachable; it leaves if it stays silent and the report was of its port |
//!
//! # Writing a driver
//!
//! First it configures the relay: a random key, the port of its socket, and the networks of this machine
//! if it knows them ([`Config`]). Then it repeats these steps. `examples/udp.rs` is a complete
//! driver for one socket, without step 6.
//!
//! 1. **Wait** for a datagram, at most until [`Relay::poll_timeout`]. A socket may reject a time-out
//!    of 0 or take it as infinite: wait for at least a millisecond. If the relay cannot receive, which is
//!    only so after step 5 was left early, wait for room to send, or for some milliseconds, instead of
//!    for a datagram: the socket may stay readable. While step 5 was left early, or a peer waits for
//!    [`Relay::handle_writable`], wait for a datagram for some milliseconds at most, too:
//!    [`Relay::poll_timeout`] covers neither, nor the end of step 6. With std alone make the socket
//!    blocking, with a read time-out, for this first receive, and non-blocking for all others and for
//!    every send.
//! 2. **Receive** what has arrived, at most some 64 datagrams in a row and only while
//!    [`Relay::can_receive`], into a buffer of at least [`DATAGRAM_MAX`] + 1 bytes: sockets truncate
//!    longer datagrams, which a smaller buffer would hide. Give the socket a large receive buffer if you
//!    can. Unmap IPv4-mapped IPv6 addresses, and map them again where a socket for IPv6 sends to them;
//!    keep the zone of a link-local address. Call [`Relay::handle_datagram`]. A receive that fails has
//!    taken no datagram; some systems report ICMP errors this way. Go on, but not in a tight loop.
//! 3. **Answer** each datagram, in this order. Each is sent once; if the network does not take it, it is
//!    lost like any datagram.
//!    - Send [`Event::aside`], if any, by the route that its seat had before this datagram.
//!    - Note for [`Event::seat`] the route by which this datagram came.
//!    - Send the reply, if it is not empty, to the source.
//! 4. **Let time pass**: call [`Relay::handle_timeout`] until it returns `None`, and send each
//!    [`Expired::farewell`] like that of an event. A call before [`Relay::poll_timeout`] is harmless. Do
//!    it in every turn, after receiving: a datagram that waits in the socket may end the silence of a
//!    peer. After the machine was suspended, read until the socket is empty first. If the wait took a
//!    second longer than it should have, the machine was suspended: skip this step until a receive
//!    would block.
//! 5. **Fan out**: call [`Relay::poll_fanout`] until it returns `None`, and send each delivery. After
//!    that the relay can receive. There are four outcomes of a send:
//!    - It was taken: nothing needs to be done.
//!    - It would block: call [`Relay::handle_refused`], and [`Relay::handle_writable`] when there is
//!      room again or, if the system cannot tell, after some milliseconds. Until then the relay offers
//!      nothing to this peer; lines that are overwritten in the meantime become a gap of which the peer is
//!      told. If each peer has a queue of its own, continue with the others. If all share one, as on one
//!      socket, stop here: return this delivery, drop the fan-out, and leave this step until there is
//!      room. The peers that were not taken from the iterator stay due.
//!    - There is no route, no such host, or a firewall forbids it (EPERM): call
//!      [`Relay::handle_unreachable`] with [`Unreachable::Path`].
//!    - It failed otherwise: the datagram is lost, and only the framed dialect retransmits it.
//! 6. **Stop**, when you are asked to: call [`Relay::stop`], and go on with these steps until
//!    [`Relay::is_settled`], for one second at most. Call it before step 5, so that the goodbye is sent in
//!    the same turn, and ask after it.
//!
//! A [`Fanout`] borrows the relay: collect the deliveries that would block or failed, and report them
//! afterwards.
//!
//! If the system reports ICMP errors (`IP_RECVERR` on Linux), pass on also [`Unreachable::Port`].
//! Without them a plain peer whose program has ended keeps its seat until the seat is needed.
//!
//! In this example `receive() -> Option<(SocketAddr, &[u8])>` and `send(SocketAddr, &[u8]) -> Outcome`
//! are the socket, `now` is the time since the start, and `random` are 16 random bytes. Each peer has a
//! queue of its own here; on one socket, break at the first `WouldBlock`, return that delivery, and do
//! not poll again in this turn.
//!
//! ```
//! use kilochat_core::{Config, DATAGRAM_MAX, Instant, Relay, Reply, Unreachable};
//!
//! # let random = [0; 16];
//! let mut relay = Relay::<32, 8192, 8>::new();
//! relay.configure(Config::new(random));
//! let (mut reply, mut buffer) = (Reply::new(), [0; DATAGRAM_MAX]);
//! let mut waiting = Vec::new(); // seats for which there was no room
//! # enum Outcome { Taken, WouldBlock, NoRoute, Lost }
//! # let arrivals = [("127.0.0.1:5001", "Ada"), ("127.0.0.1:5002", "Bob"), ("127.0.0.1:5001", "hello")];
//! # let mut arrivals = arrivals.into_iter();
//! # let mut sent = Vec::new();
//! # let mut receive = || arrivals.next().map(|(a, text)| (a.parse().unwrap(), text.as_bytes()));
//! # let mut turn = 0;
//! # let mut send = |to: core::net::SocketAddr, payload: &[u8]| {
//! #     turn += 1;
//! #     if turn % 3 == 0 { return Outcome::WouldBlock; }
//! #     if turn % 7 == 0 { return Outcome::NoRoute; }
//! #     if turn % 11 == 0 { return Outcome::Lost; }
//! #     sent.push((to.port(), String::from_utf8(payload.to_vec()).unwrap()));
//! #     Outcome::Taken
//! # };
//! # for now in (0..).map(Instant::from_millis) {
//! #     if now.as_millis() > 20 { break; }
//!
//! if relay.can_receive() && let Some((source, payload)) = receive() {
//!     let event = relay.handle_datagram(now, source, payload, &mut reply);
//!     if let Some((_, address, bytes)) = event.aside() {
//!         send(address, bytes);
//!     }
//!     if !reply.is_empty() {
//!         send(source, &reply);
//!     }
//! }
//! while let Some(expired) = relay.handle_timeout(now) {
//!     if let Some((_, address, farewell)) = expired.farewell() {
//!         send(address, farewell);
//!     }
//! }
//! for seat in waiting.drain(..) {
//!     relay.handle_writable(seat); // if there is room again
//! }
//! while let Some(fanout) = relay.poll_fanout(now, &mut buffer) {
//!     let payload = fanout.payload();
//!     let (mut refused, mut unreachable) = (Vec::new(), Vec::new());
//!     for delivery in fanout {
//!         match send(delivery.address, payload) {
//!             Outcome::Taken => {}
//!             Outcome::WouldBlock => refused.push(delivery),
//!             Outcome::NoRoute => unreachable.push(delivery.seat),
//!             Outcome::Lost => {}
//!         }
//!     }
//!     for delivery in refused {
//!         waiting.push(delivery.seat);
//!         relay.handle_refused(delivery);
//!     }
//!     for seat in unreachable {
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
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `private`, on by default | messages to one peer: `/msg` |
//! | `link` | the relay is one place of a room that has several: `Relay::poll_link`, `Relay::handle_elsewhere` |
//! | `defmt` | `defmt::Format` for the types that a driver logs |

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
    NETWORKS_MAX, Network, PeerInfo, Question, RULES_MAX, Reader, Refusal, Relay, Reply, Restored,
    Rule, Seat, Stats, Unreachable, Verdict,
};
#[cfg(feature = "link")]
pub use relay::{
    Fresh, LINK_BUFFER_MIN, LINK_LINES_MAX, LinkBatch, LinkLine, LinkLines, LinkSeen, LinkWaiting,
    PLACE_MAX, PLACE_NAMES_MAX, PLACES_MAX, Place, PlaceName, is_place,
};
pub use time::Instant;
#[cfg(feature = "link")]
pub use wire::LinkNotice;
pub use wire::PORT;
pub use wire::framed::{self, LineKind};
pub use wire::{DATAGRAM_MAX, LINE_MAX, NAME_MAX, Name, SEPARATOR, clean, is_blank};
pub use wire::{NOTICE, Notice};

/// The wire protocol. This module exists in the documentation only.
#[cfg(doc)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "the numbers of rules look like links"
)]
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

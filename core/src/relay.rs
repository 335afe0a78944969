//! The relay as a state machine: datagrams and time in, replies and fan-outs out.

mod admission;
mod commands;
mod config;
mod event;
mod fanout;
mod framed;
mod index;
mod keeping;
#[cfg(feature = "link")]
mod link;
mod neighbours;
mod operator;
mod peers;
mod plain;
#[cfg(feature = "private")]
mod private;
mod queue;
mod ring;
mod schedule;
mod seat;
mod seats;
mod secret;
mod stopping;
mod text;

use core::cell::Cell;
use core::net::SocketAddr;
use core::time::Duration;

use heapless::{String, Vec};

pub use admission::{RULES_MAX, Rule, Verdict};
pub use config::{Config, MOTD_MAX, NETWORKS_MAX, Network};
pub use event::{
    Departed, Departure, Event, Expired, Farewell, Question, Refusal, Stats, Unreachable,
};
pub use fanout::{Delivery, Fanout};
pub use keeping::{Reader, Restored};
#[cfg(feature = "link")]
pub use link::{
    Fresh, LINK_BUFFER_MIN, LINK_LINES_MAX, LinkBatch, LinkLine, LinkLines, LinkSeen, LinkWaiting,
    PLACE_MAX, PLACE_NAMES_MAX, PLACES_MAX, Place, PlaceName, is_place,
};
pub use seat::Seat;

use crate::time::Instant;
use crate::wire::framed::FRAME;
use crate::wire::{DATAGRAM_MAX, LINE_MAX, Name};
use admission::Admission;
use framed::Sessions;
use neighbours::Neighbours;
use peers::{Peer, Peers};
use queue::Queue;
use ring::Ring;
use schedule::History;

/// The reply to a datagram, or empty if there is none.
pub type Reply = Vec<u8, DATAGRAM_MAX>;

/// A rendered line.
type Line = String<LINE_MAX>;

/// Minimum time between two reports of an unreachable port that both count.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Number of such reports after which a peer leaves.
const REPORTS_MAX: u8 = 3;

/// A chat relay for at most `PEERS` peers that keeps the last `RING` bytes of lines.
///
/// It is one value of a known size that never allocates, blocks or panics. `PEERS` is 1 to 65534.
/// `RING` is a power of two of at least 2048 bytes. `WINDOW`, 1 to 255, is the maximum number of
/// datagrams in flight to a peer of the framed dialect; 8 is enough for a board, 32 for a PC. A larger
/// ring lets a slow peer be further behind before it loses lines, and newcomers read more history. A
/// new relay is all zero bits, so that a `static` one takes no space in the program's image.
///
/// | `Relay<PEERS, RING, WINDOW>` | bytes on a 64-bit machine | ... with the feature `link` | bytes on Cortex-M3 |
/// |---|---|---|---|
/// | `Relay<32, 8192, 8>` | 20416 | 55328 | 20400 |
/// | `Relay<64, 65536, 32>` | 96832 | 131744 | 96816 |
/// | `Relay<4096, 1048576, 32>` | 2902336 | 2937248 | 2902320 |
#[derive(Clone, Debug)]
pub struct Relay<const PEERS: usize, const RING: usize, const WINDOW: usize> {
    peers: Peers<PEERS>,
    queue: Queue<PEERS>,
    sessions: Sessions<PEERS, WINDOW>,
    ring: Ring<RING, PEERS>,
    config: Config,
    admission: Admission,
    neighbours: Neighbours,
    stats: Stats,
    /// A lower bound of the offsets of the lines that due peers are owed.
    owed: Cell<u64>,
    history: History,
    /// Number of quiet peers.
    quiet: u16,
    /// Whether the last line was appended, so that nothing more is accepted.
    is_stopping: bool,
    last_id: u32,
    /// Time before which no seat can be given away.
    full_until: Instant,
    /// Time before which no suspect leaves.
    expiry: Option<Instant>,
    #[cfg(feature = "link")]
    link: link::Link,
}

// 32 peers of 290 bytes, 124 of them for a framed session; 8416 of ring, 192 of them marks; 376 of
// configuration, 560 of admission, 512 of neighbours, 370 of counters and some 480 of the rest
#[cfg(not(feature = "link"))]
const _: () = assert!(size_of::<Relay<32, 8192, 8>>() <= 20 * 1024);
// ... and 64 other places of 536 bytes
#[cfg(feature = "link")]
const _: () = assert!(size_of::<Relay<32, 8192, 8>>() <= 55 * 1024);

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Returns a relay that has no seats until it is [configured](Self::configure).
    pub const fn new() -> Self {
        Self {
            peers: Peers::new(),
            queue: Queue::new(),
            sessions: Sessions::new(),
            ring: Ring::new(),
            config: Config::nothing(),
            admission: Admission::new(),
            neighbours: Neighbours::new(),
            stats: Stats::new(),
            owed: Cell::new(0),
            history: History::NONE,
            quiet: 0,
            is_stopping: false,
            last_id: 0,
            full_until: Instant::from_millis(0),
            expiry: None,
            #[cfg(feature = "link")]
            link: link::Link::new(),
        }
    }

    /// Sets limits and policies. Call it before the first datagram.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
        #[cfg(feature = "link")]
        self.begin_link();
    }

    /// Mixes a number that is hard to predict into [`Config::key`], until the first datagram has arrived.
    /// Where there is no random generator, call it with the phase of a fast clock whenever a frame has
    /// arrived: then what was sent to a former run is worth nothing in this one.
    pub fn stir(&mut self, random: u64) {
        if self.stats.datagrams == 0 {
            self.config.key = secret::stirred(&self.config.key, random);
        }
    }

    /// Replaces [`Config::networks`] by the first [`NETWORKS_MAX`] of `networks`. Call it at any
    /// time when the machine is attached to other networks. Peers keep their seats.
    pub fn set_networks(&mut self, networks: impl IntoIterator<Item = Network>) {
        let known = &mut self.config.networks;
        known.clear();
        for network in networks.into_iter().take(NETWORKS_MAX) {
            // `NETWORKS_MAX` is the capacity
            let _ = known.push(network);
        }
    }

    /// Replaces [`Config::name`]. Call it when another relay has that name.
    pub fn set_relay_name(&mut self, name: Name) {
        self.config.name = name;
    }

    /// Handles the datagram `payload`, which arrived from `source`.
    ///
    /// `reply` is cleared first. If it is not empty afterwards, send it to the source at once. A
    /// payload that a receive buffer may have truncated must be passed with more than
    /// [`DATAGRAM_MAX`] bytes, so that it is refused as too long. Unmap IPv4-mapped IPv6 addresses
    /// before.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        payload: &[u8],
        reply: &mut Reply,
    ) -> Event {
        reply.clear();
        self.stats.datagrams += 1;
        let event = match self.peers.find(&source) {
            seat if payload.first() == Some(&FRAME) && !self.config.classic => {
                self.handle_frame(now, source, seat, payload, reply)
            }
            Some(seat) => self.handle_peer(now, seat, payload, reply),
            None => self.handle_stranger(now, source, payload, reply),
        };
        let is_text = payload.first() != Some(&FRAME);
        if is_text && !reply.is_empty() && !self.may_reply(now, source, &event, reply.len()) {
            reply.clear();
        }
        match event {
            Event::Refused { why, .. } => {
                self.stats.count_refusal(why);
                self.stats.untold += u64::from(reply.is_empty());
            }
            Event::Renamed { .. } => self.stats.renamed += 1,
            Event::Answered { .. } | Event::Helped | Event::Removed { .. } => {
                self.stats.answered += 1;
            }
            Event::Keepalive { .. } => self.stats.keepalives += 1,
            Event::Challenged => self.stats.challenged += 1,
            Event::Claimed { .. } => self.stats.claimed += 1,
            Event::Resumed { .. } => self.stats.resumed += 1,
            Event::Acknowledged { .. } => self.stats.acknowledged += 1,
            Event::Joined { .. } | Event::Left(_) | Event::Said { .. } => {}
        }
        event
    }

    /// Handles a report of the network that the peer at `seat` is unreachable.
    ///
    /// Such a report may be forged or late. So a peer leaves only after three reports of
    /// [`Unreachable::Port`], each at least 10 s after the one before, without a datagram from it
    /// in between. Returns that peer, to which no farewell is sent. A report of [`Unreachable::Path`]
    /// never removes a peer, nor stops deliveries to it.
    pub fn handle_unreachable(
        &mut self,
        now: Instant,
        seat: Seat,
        why: Unreachable,
    ) -> Option<Departed> {
        self.stats.unreachable += 1;
        let peer = self.peers.peer_mut(seat)?;
        let suspicion = &mut peer.suspicion;
        suspicion.is_suspect = true;
        if why == Unreachable::Path {
            return None;
        }
        let is_burst = suspicion.reports > 0 && now.since(peer.reported) < REPORT_INTERVAL;
        if is_burst {
            return None;
        }
        suspicion.reports += 1;
        peer.reported = now;
        if suspicion.reports >= REPORTS_MAX {
            return self.leave(now, seat, Departure::Unreachable);
        }
        let expiry = now.after(self.config.idle);
        self.expiry = Some(self.expiry.map_or(expiry, |earlier| earlier.min(expiry)));
        None
    }

    /// Does what is due at the time `now`. A peer whose port was reported as unreachable, and that
    /// has been silent for [`Config::idle`] since, leaves; in framed sessions datagrams are
    /// retransmitted and silent clients are parked. Foreign plain peers that were silent for an
    /// hour leave. Send [`Expired::farewell`], if there is one, and call this again until it
    /// returns `None`; extra calls have no effect.
    ///
    /// Silence is judged by the datagrams that were passed in. After a pause, as when the machine
    /// or the process was suspended, pass in everything that has arrived before you call this. A
    /// call that is more than a second late gives each client a second more.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Expired> {
        self.resume_neighbours(now);
        if let Some(departed) = self.shut_out(now) {
            return Some(Expired::Left(departed));
        }
        if let Some(expired) = self.handle_deadlines(now) {
            return Some(expired);
        }
        if self.expiry.is_none_or(|expiry| now < expiry) {
            return None;
        }
        let mut next = None;
        let mut over = None;
        for (seat, peer) in self.peers.iter() {
            if peer.suspicion.reports == 0 {
                continue;
            }
            let expiry = peer.reported.after(self.config.idle);
            if now >= expiry {
                over = Some(seat);
                break;
            }
            next = Some(next.map_or(expiry, |earlier: Instant| earlier.min(expiry)));
        }
        match over {
            Some(seat) => self
                .leave(now, seat, Departure::Unreachable)
                .map(Expired::Left),
            None => {
                self.expiry = next;
                None
            }
        }
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) next, or `None` if only a datagram or
    /// another call changes anything. It may be too early, or in the past. It says nothing of fan-outs:
    /// poll them until there is none before you wait.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.has_unjudged() {
            return Some(Instant::default());
        }
        let deadline = self.sessions.deadlines.first().map(|(_, at)| at);
        let next = match (self.expiry, deadline) {
            (Some(expiry), Some(deadline)) => Some(expiry.min(deadline)),
            (expiry, deadline) => expiry.or(deadline),
        };
        match self.neighbours.resume_at() {
            Some(resume) => Some(next.map_or(resume, |next| next.min(resume))),
            None => next,
        }
    }

    /// Returns the seat of the peer at `address`.
    pub fn find(&self, address: &SocketAddr) -> Option<Seat> {
        self.peers.find(address)
    }

    /// Returns what is known about the peer at `seat`.
    pub fn peer(&self, seat: Seat) -> Option<PeerInfo<'_>> {
        self.peers.peer(seat).map(|peer| self.info(seat, peer))
    }

    /// Returns all peers, in the order of their seats.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo<'_>> {
        self.peers.iter().map(|(seat, peer)| self.info(seat, peer))
    }

    /// Returns the number of peers.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Returns the counters.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    fn info<'a>(&self, seat: Seat, peer: &'a Peer) -> PeerInfo<'a> {
        PeerInfo {
            seat,
            address: peer.address,
            name: &peer.name,
            heard: peer.heard,
            suspect: peer.suspicion.is_suspect,
            framed: peer.is_framed(),
            parked: self.sessions.is_parked(seat),
            blocked: peer.is_blocked,
            owed: self.ring.head().sequence - peer.cursor.sequence,
            newline: peer.plain().is_some_and(|plain| plain.newline),
            quiet: peer.plain().is_some_and(|plain| plain.quiet),
            proven: peer.dialect.is_proven(),
            session: self.sessions.session(seat),
        }
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Default
    for Relay<PEERS, RING, WINDOW>
{
    fn default() -> Self {
        Self::new()
    }
}

/// What is known about a peer, for logs and statistics.
#[derive(Clone, Copy, Debug)]
pub struct PeerInfo<'a> {
    /// Its seat.
    pub seat: Seat,
    /// Its address.
    pub address: SocketAddr,
    /// Its name.
    pub name: &'a str,
    /// When its last datagram arrived.
    pub heard: Instant,
    /// Whether the network has reported it as unreachable since.
    pub suspect: bool,
    /// Whether it uses the framed dialect.
    pub framed: bool,
    /// Whether it is parked: it uses the framed dialect and does not respond.
    pub parked: bool,
    /// Whether sending to it would block.
    pub blocked: bool,
    /// Number of lines that it was not sent yet, including those that it skips.
    pub owed: u64,
    /// Whether each datagram to it ends in a line feed. Always false in the framed dialect.
    pub newline: bool,
    /// Whether announcements are hidden from it. Always false in the framed dialect.
    pub quiet: bool,
    /// Whether it is known to receive at its address: by a cookie, by a code, or because that is one of
    /// this machine.
    pub proven: bool,
    /// The session of a framed peer, by which a driver recognises its frames. Keep it secret: whoever knows
    /// it can speak for the peer.
    pub session: Option<u64>,
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeSet;
    use std::string::String;

    use super::*;

    #[test]
    fn ids_and_unique_names_go_on_after_the_last_number() {
        let mut relay = std::boxed::Box::new(Relay::<64, 2048, 4>::new());
        relay.configure(Config::new([0; 16]));
        relay.last_id = u32::MAX - 20;
        for port in 1..=64 {
            let source = (core::net::Ipv4Addr::LOCALHOST, port).into();
            relay.handle_datagram(Instant::default(), source, b"Ada", &mut Reply::new());
        }
        let names: BTreeSet<String> = relay.peers().map(|peer| peer.name.into()).collect();
        assert_eq!(names.len(), 64);
        // a linked relay leaves out the author of other places
        let is_linked = cfg!(feature = "link");
        assert!(names.contains("Ada~9") && names.contains("Ada~4294967294"));
        assert_eq!(names.contains("Ada~4294967295"), !is_linked);
        assert!(names.contains("Ada~10") && !names.contains("Ada~0"));
        assert_eq!(relay.last_id, 44 + u32::from(is_linked));
    }
}

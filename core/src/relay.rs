//! The relay: datagrams and time in, fan-outs out.

mod config;
mod event;
mod fanout;
mod framed;
mod index;
mod peers;
pub(crate) mod plain;
mod queue;
mod ring;

use core::cell::Cell;
use core::net::SocketAddr;
use core::num::NonZeroU32;
use core::time::Duration;

use heapless::{String, Vec};

pub use config::{Config, MOTD_MAX, NETWORKS_MAX, Network};
pub use event::{Departed, Departure, Event, Expired, Farewell, Refusal, Stats, Unreachable};
pub use fanout::{Delivery, Fanout};
pub use peers::Seat;

use crate::time::Instant;
use crate::wire::framed::{FRAME, Goodbye};
use crate::wire::text::{DATAGRAM_MAX, LINE_MAX, NAME_MAX};
use framed::Sessions;
use peers::{Peer, Peers};
use queue::{List, Queue};
use ring::{Cursor, Kind, Ring};

/// The one datagram that answers a datagram; empty if nothing does.
pub type Reply = Vec<u8, DATAGRAM_MAX>;

/// A rendered line.
pub(crate) type Line = String<LINE_MAX>;

/// The most bytes of an announcement: two names and a few words.
const ANNOUNCEMENT_MAX: usize = 2 * NAME_MAX + 32;

/// Reports of unreachability closer together than this are one.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// So many reports that nobody listens at its port make a peer leave.
const REPORTS_MAX: u8 = 3;

/// A newcomer is shown at most so many lines for each message of [`Config::history`]: the rest
/// are announcements.
const HISTORY_LINES_PER_MESSAGE: u64 = 4;

/// What is said to a peer whose seat was given away.
const GIVEN_AWAY: [&str; 2] = [
    "* your seat was given away; say your name to come back",
    "* your seat was given away; say your name to come back\n",
];

/// A chat relay for at most `PEERS` peers that keeps the last `RING` bytes of lines.
///
/// It is one value of a known size that never allocates, blocks or panics. `PEERS` is 1 to 65534;
/// `RING` is a power of two of at least 2048 bytes; `WINDOW`, 1 to 255, is how many datagrams may be
/// on their way to a peer that acknowledges them. A new relay is all zero bits, so that a
/// `static` one takes no room in the program's image.
///
/// | `Relay<PEERS, RING, WINDOW>` | bytes on a 64-bit machine | bytes on Cortex-M3 |
/// |---|---|---|
/// | `Relay<32, 8192, 8>` | 18384 | 18376 |
/// | `Relay<64, 65536, 32>` | 94352 | 94344 |
/// | `Relay<4096, 1048576, 32>` | 2843408 | 2843400 |
#[derive(Clone, Debug)]
pub struct Relay<const PEERS: usize, const RING: usize, const WINDOW: usize> {
    pub(crate) peers: Peers<PEERS>,
    pub(crate) queue: Queue<PEERS>,
    pub(crate) sessions: Sessions<PEERS, WINDOW>,
    pub(crate) ring: Ring<RING>,
    pub(crate) config: Config,
    pub(crate) stats: Stats,
    /// No peer in the due list has a smaller offset; it may be smaller than it needs to be.
    pub(crate) owed: Cell<u64>,
    /// Where the lines start that a newcomer is shown, and how many of them are messages.
    pub(crate) history: (Cursor, u32),
    /// How many peers are quiet.
    pub(crate) quiet: u16,
    last_id: u32,
    /// No seat can be given away before this.
    pub(crate) full_until: Instant,
    /// No suspect's time is over before this.
    expiry: Option<Instant>,
}

// 32 peers of 282 bytes, 132 of them for a session that acknowledges; 8224 of ring, 368 of
// configuration, 248 of counters and some 520 of the rest
const _: () = assert!(size_of::<Relay<32, 8192, 8>>() <= 18 * 1024);

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// A relay that has no seats until it is told so by [`configure`](Self::configure).
    pub const fn new() -> Self {
        Self {
            peers: Peers::new(),
            queue: Queue::new(),
            sessions: Sessions::new(),
            ring: Ring::new(),
            config: Config::nothing(),
            stats: Stats::new(),
            owed: Cell::new(0),
            history: (
                Cursor {
                    sequence: 0,
                    offset: 0,
                },
                0,
            ),
            quiet: 0,
            last_id: 0,
            full_until: Instant::from_millis(0),
            expiry: None,
        }
    }

    /// Sets limits and policies; call it before the first datagram.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// Replaces [`Config::networks`], at any time: the machine was attached to other networks.
    /// Peers keep their seats.
    pub fn set_networks(&mut self, networks: Vec<Network, NETWORKS_MAX>) {
        self.config.networks = networks;
    }

    /// A datagram arrived: `payload` from `source`.
    ///
    /// `reply` is cleared; what is in it afterwards goes back to the source at once. A payload
    /// that may have been cut by a receive buffer must be given with more than [`DATAGRAM_MAX`]
    /// bytes, so that it is refused as too long. A driver folds IPv4-mapped IPv6 addresses before.
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
        match event {
            Event::Refused { why, .. } => {
                self.stats.count_refusal(why);
                self.stats.untold += u64::from(reply.is_empty());
            }
            Event::Said { .. } => self.stats.messages += 1,
            Event::Renamed { .. } => self.stats.renamed += 1,
            Event::Answered { .. } | Event::Helped => self.stats.answered += 1,
            Event::Keepalive { .. } => self.stats.keepalives += 1,
            Event::Challenged => self.stats.challenged += 1,
            Event::Resumed { .. } => self.stats.resumed += 1,
            Event::Acknowledged { .. } => self.stats.acknowledged += 1,
            Event::Joined { .. } | Event::Left(_) => {}
        }
        event
    }

    /// The network reported that the peer at `seat` cannot be reached.
    ///
    /// Such a report may be forged, or late: a peer leaves only after three of [`Unreachable::Port`],
    /// each at least 10 s after the one before, without a datagram from it in between.
    pub fn handle_unreachable(
        &mut self,
        now: Instant,
        seat: Seat,
        why: Unreachable,
    ) -> Option<Departed> {
        let peer = self.peers.peer_mut(seat)?;
        self.stats.unreachable += 1;
        let suspicion = &mut peer.suspicion;
        suspicion.is_suspect = true;
        if why == Unreachable::Path {
            return None;
        }
        let is_burst = suspicion.reports > 0 && now.since(suspicion.reported) < REPORT_INTERVAL;
        if is_burst {
            return None;
        }
        suspicion.reports += 1;
        suspicion.reported = now;
        if suspicion.reports >= REPORTS_MAX {
            return self.leave(now, seat, Departure::Unreachable);
        }
        let expiry = now.after(self.config.idle);
        self.expiry = Some(self.expiry.map_or(expiry, |earlier| earlier.min(expiry)));
        None
    }

    /// Time passed: a peer whose port was unreachable, and that has been silent since for
    /// [`Config::idle`], leaves; what is on its way to a peer that acknowledges may have been for too
    /// long, or the peer may have been silent for too long. Call it again until it returns none; extra
    /// calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Expired> {
        if let Some(seat) = self.handle_deadlines(now) {
            return Some(Expired::Parked(seat));
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
            let expiry = peer.suspicion.reported.after(self.config.idle);
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

    /// When to call [`handle_timeout`](Self::handle_timeout) next; it may be early.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.sessions.deadlines.first().map(|(_, at)| at);
        match (self.expiry, deadline) {
            (Some(expiry), Some(deadline)) => Some(expiry.min(deadline)),
            (expiry, deadline) => expiry.or(deadline),
        }
    }

    /// Tells all peers that the relay is stopping (in classic mode nobody): fan-outs say it.
    pub fn stop(&mut self, now: Instant) {
        if !self.config.classic {
            self.append(now, None, Kind::Notice, 0, "* relay is stopping");
        }
    }

    /// The seat of the peer at `address`.
    pub fn find(&self, address: &SocketAddr) -> Option<Seat> {
        self.peers.find(address)
    }

    /// What there is to know of the peer at `seat`.
    pub fn peer(&self, seat: Seat) -> Option<PeerInfo<'_>> {
        self.peers.peer(seat).map(|peer| self.info(seat, peer))
    }

    /// All peers, in the order of their seats.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo<'_>> {
        self.peers.iter().map(|(seat, peer)| self.info(seat, peer))
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// What has been counted so far.
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
            framed: peer.is_framed,
            parked: self.sessions.is_parked(seat),
            owed: self.ring.head().sequence - peer.cursor.sequence,
        }
    }

    /// How many peers may be there.
    pub(crate) fn seats(&self) -> usize {
        PEERS.min(usize::from(self.config.seats))
    }

    /// An id that no line in the ring has, short of four billion joins.
    pub(crate) fn next_id(&mut self) -> NonZeroU32 {
        let id = NonZeroU32::new(self.last_id.wrapping_add(1)).unwrap_or(NonZeroU32::MIN);
        self.last_id = id.get();
        id
    }

    /// Takes a peer out of the room and tells the others.
    pub(crate) fn leave(&mut self, now: Instant, seat: Seat, why: Departure) -> Option<Departed> {
        let list = self.list(seat, self.peers.peer(seat)?);
        self.queue.unlink(list, seat);
        let peer = self.peers.remove(seat)?;
        let session = self.sessions.remove(seat);
        self.quiet -= u16::from(peer.quiet);
        self.stats.left += 1;
        let mut farewell = Farewell::NOTHING;
        match why {
            Departure::Displaced => {
                self.stats.displaced += 1;
                farewell = match session {
                    Some(session) => Farewell::bye(session, Goodbye::GivenAway),
                    None if self.config.classic => Farewell::NOTHING,
                    None => Farewell::Text(GIVEN_AWAY[usize::from(peer.newline)]),
                };
            }
            Departure::Restarted => self.stats.restarted += 1,
            Departure::Quit | Departure::Unreachable => {}
        }
        if why != Departure::Restarted {
            let words = ["* ", &peer.name, " left (", why.as_str(), ")"];
            // those who read that it joined read that it left
            self.announce(now, self.peers.len() + 1, None, &words);
        }
        Some(Departed {
            seat,
            address: peer.address,
            name: peer.name,
            why,
            farewell,
        })
    }

    /// Appends an announcement of at most two names and a few words, unless there are too many
    /// peers to announce anything.
    pub(crate) fn announce(
        &mut self,
        now: Instant,
        peers: usize,
        author: Option<Seat>,
        words: &[&str],
    ) {
        if peers <= usize::from(self.config.announce_up_to) && !self.config.classic {
            let mut line = String::<ANNOUNCEMENT_MAX>::new();
            // they fit
            let _ = words.iter().try_for_each(|word| line.push_str(word));
            self.append(now, author, Kind::Announcement, 0, &line);
        }
    }

    /// Appends a line, which makes everybody due who does not skip it.
    ///
    /// `name` is the number of its bytes that are the author's name.
    pub(crate) fn append(
        &mut self,
        now: Instant,
        author: Option<Seat>,
        kind: Kind,
        name: usize,
        line: &str,
    ) {
        self.make_room(line.len());
        let before = self.ring.head();
        if self.queue.front(List::Idle).is_some() {
            self.note_owed(before.offset);
        }
        let id = author
            .and_then(|seat| self.peers.peer(seat))
            .map_or(0, |peer| peer.id.get());
        self.ring
            .append(id, now.as_seconds(), kind, name, line.as_bytes());
        self.stats.lines += 1;
        let echo = self.config.echo;
        let mut spared = None;
        if let Some(seat) = author.filter(|_| !echo)
            && let Some(peer) = self.peers.peer_mut(seat)
        {
            peer.own = self.ring.head().sequence;
            let is_spared = !peer.is_framed && peer.cursor == before && peer.missed == 0;
            spared = Some(seat).filter(|_| is_spared);
        }
        if kind == Kind::Announcement && self.quiet > 0 {
            self.make_due_unless_skipped(before);
        } else {
            if let Some(seat) = spared {
                self.queue.unlink(Some(List::Idle), seat);
            }
            self.queue.all_due();
            if let Some(seat) = spared {
                self.queue.push_back(List::Idle, seat);
            }
        }
        if let Some(peer) = spared.and_then(|seat| self.peers.peer_mut(seat)) {
            peer.cursor = self.ring.head();
        }
        self.extend_history(kind);
    }

    /// Makes each idle peer due, or moves its cursor, as it wants to see the line at `cursor`.
    fn make_due_unless_skipped(&mut self, cursor: Cursor) {
        let Some(entry) = self.ring.entry(cursor) else {
            return;
        };
        let echo = self.config.echo;
        let mut next = self.queue.front(List::Idle);
        while let Some(seat) = next {
            next = self.queue.next(seat);
            match self.peers.peer_mut(seat) {
                Some(peer) if peer.skips(&entry, echo) => peer.cursor = entry.next,
                _ => {
                    self.queue.unlink(Some(List::Idle), seat);
                    self.queue.push_back(List::Due, seat);
                }
            }
        }
    }

    /// Overwrites as many lines as a line of `length` bytes needs, and counts who is owed them.
    fn make_room(&mut self, length: usize) {
        let before = self.ring.tail();
        while let Some(oldest) = self.ring.evict_for(length) {
            let (start, messages) = &mut self.history;
            if oldest.next.sequence > start.sequence {
                *start = oldest.next;
                *messages -= u32::from(oldest.kind == Kind::Message);
            }
        }
        let tail = self.ring.tail();
        if tail == before || self.owed.get() >= tail.offset {
            return;
        }
        let mut next = self.queue.front(List::Due);
        while let Some(seat) = next {
            next = self.queue.next(seat);
            if self
                .peers
                .peer(seat)
                .is_some_and(|peer| self.owed_from(seat, peer) < tail.offset)
            {
                self.queue.unlink(Some(List::Due), seat);
                self.settle(seat);
            }
        }
        let due = self.queue.iter(List::Due);
        let oldest = due
            .filter_map(|seat| Some(self.owed_from(seat, self.peers.peer(seat)?)))
            .min();
        self.owed.set(oldest.unwrap_or(u64::MAX));
    }

    /// Lets the history end with the line that was just appended.
    fn extend_history(&mut self, kind: Kind) {
        let most = if self.config.classic {
            0
        } else {
            u64::from(self.config.history)
        };
        let (start, messages) = &mut self.history;
        *messages += u32::from(kind == Kind::Message);
        while let Some(entry) = self.ring.entry(*start) {
            let lines = self.ring.head().sequence - start.sequence;
            let is_message = entry.kind == Kind::Message;
            if is_message
                && u64::from(*messages) <= most
                && lines <= most * HISTORY_LINES_PER_MESSAGE
            {
                return;
            }
            *messages -= u32::from(is_message);
            *start = entry.next;
        }
    }

    /// In which list a peer is, if it is in one.
    pub(crate) fn list(&self, seat: Seat, peer: &Peer) -> Option<List> {
        let has_all = peer.cursor == self.ring.head();
        let is_idle = if peer.is_framed {
            let framed = self.sessions.framed(seat)?;
            if framed.is_held {
                return None;
            }
            has_all && framed.window.room() > 0
        } else {
            has_all && peer.missed == 0
        };
        Some(if is_idle { List::Idle } else { List::Due })
    }

    /// Where the oldest line is that a peer which is due is owed.
    pub(crate) fn owed_from(&self, seat: Seat, peer: &Peer) -> u64 {
        let lost = self
            .sessions
            .framed(seat)
            .filter(|_| peer.is_framed)
            .and_then(|framed| framed.window.oldest_lost());
        lost.unwrap_or(peer.cursor.offset)
    }

    /// Puts a peer that is in no list into the one where it belongs, behind all others.
    pub(crate) fn settle(&mut self, seat: Seat) {
        if let Some(list) = self.catch_up(seat) {
            self.queue.push_back(list, seat);
        }
    }

    /// Puts a peer that was in `list`, and whose wishes have changed, where it belongs now.
    pub(crate) fn settle_again(&mut self, list: Option<List>, seat: Seat) {
        self.queue.unlink(list, seat);
        self.settle(seat);
    }

    /// Moves a peer's cursor to a line that is still there and that it does not skip.
    ///
    /// Returns where it belongs, if it can be sent anything.
    pub(crate) fn catch_up(&mut self, seat: Seat) -> Option<List> {
        let tail = self.ring.tail();
        let peer = self.peers.peer_mut(seat)?;
        if peer.is_framed {
            return self.catch_up_framed(seat);
        }
        if peer.cursor.sequence < tail.sequence {
            let missed = tail.sequence - peer.cursor.sequence;
            self.stats.missed += missed;
            peer.cursor = tail;
            if !self.config.classic {
                peer.missed += missed;
            }
        }
        while let Some(entry) = self.ring.entry(peer.cursor) {
            if !peer.skips(&entry, self.config.echo) {
                break;
            }
            peer.cursor = entry.next;
        }
        let offset = peer.cursor.offset;
        if peer.cursor == self.ring.head() && peer.missed == 0 {
            return Some(List::Idle);
        }
        self.note_owed(offset);
        Some(List::Due)
    }

    /// A peer whose cursor is at `offset` is about to become due.
    pub(crate) fn note_owed(&mut self, offset: u64) {
        let others = self
            .queue
            .front(List::Due)
            .map_or(u64::MAX, |_| self.owed.get());
        self.owed.set(others.min(offset));
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Default
    for Relay<PEERS, RING, WINDOW>
{
    fn default() -> Self {
        Self::new()
    }
}

/// What there is to know of a peer, for logs and statistics.
#[derive(Clone, Copy, Debug)]
pub struct PeerInfo<'a> {
    /// Its seat.
    pub seat: Seat,
    /// Where it is.
    pub address: SocketAddr,
    /// Its name.
    pub name: &'a str,
    /// When its last datagram came.
    pub heard: Instant,
    /// Whether the network has reported it unreachable since.
    pub suspect: bool,
    /// Whether it speaks in frames.
    pub framed: bool,
    /// Whether it speaks in frames and does not answer.
    pub parked: bool,
    /// How many lines it has not been offered yet, those that it will skip included.
    pub owed: u64,
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
        relay.configure(Config::default());
        relay.last_id = u32::MAX - 20;
        for port in 1..=64 {
            let source = (core::net::Ipv4Addr::LOCALHOST, port).into();
            relay.handle_datagram(Instant::default(), source, b"Ada", &mut Reply::new());
        }
        let names: BTreeSet<String> = relay.peers().map(|peer| peer.name.into()).collect();
        assert_eq!(names.len(), 64);
        assert!(names.contains("Ada~9") && names.contains("Ada~4294967295"));
        assert!(names.contains("Ada~10") && !names.contains("Ada~0"));
        assert_eq!(relay.last_id, 44);
    }
}

//! Fan-out: the next datagram, and everyone it is for.

use core::fmt::Write;
use core::net::SocketAddr;
use core::num::NonZeroU32;

use heapless::String;

use crate::peers::{Peer, Seat};
use crate::planted::{Bug, is_planted};
use crate::queue::List;
use crate::relay::Relay;
use crate::ring::{Cursor, Kind};
use crate::text::DATAGRAM_MAX;
use crate::time::Instant;

/// One datagram, and an iterator over everyone it is for.
///
/// Each [`Delivery`] that is taken counts as sent and moves the peer's cursor; one that is not
/// taken stays due. If the network would block, give it back with [`Relay::refused`].
#[derive(Debug)]
pub struct Fanout<'relay, 'buffer, const PEERS: usize, const RING: usize> {
    relay: &'relay mut Relay<PEERS, RING>,
    payload: &'buffer [u8],
    range: Range,
    next: Option<Seat>,
}

/// One destination of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whose it is.
    pub seat: Seat,
    /// Where it goes.
    pub address: SocketAddr,
    id: NonZeroU32,
    from: Cursor,
    /// The sequence number behind its last line.
    to: u64,
    missed: u64,
}

/// The lines of one datagram, and who may get the same bytes.
#[derive(Clone, Copy, Debug)]
struct Range {
    from: Cursor,
    to: Cursor,
    lines: usize,
    /// Whether only the first peer may get it: something in it, or left out, is for it alone.
    alone: bool,
    announcements: bool,
    newline: bool,
}

impl<const PEERS: usize, const RING: usize> Relay<PEERS, RING> {
    /// The next datagram that is due, written into `buffer`, and everyone it is for.
    ///
    /// `buffer` must have at least [`DATAGRAM_MAX`] bytes; in a shorter one a line may not fit,
    /// and then there is no fan-out. None is also what a relay returns that owes nothing. No
    /// plain-text line waits for a moment, so `now` changes nothing yet.
    pub fn poll_fanout<'buffer>(
        &mut self,
        _now: Instant,
        buffer: &'buffer mut [u8],
    ) -> Option<Fanout<'_, 'buffer, PEERS, RING>> {
        let first = self.queue.front(List::Due)?;
        let peer = self.peers.peer(first)?;
        if is_planted(Bug::SuspectStalls) && peer.suspicion.is_suspect {
            return None;
        }
        let (length, range) = self.write_lines(peer, buffer)?;
        let payload = buffer.get(..length)?;
        Some(Fanout {
            relay: self,
            payload,
            range,
            next: Some(first),
        })
    }

    /// The network would block: the peer is offered the same lines again, possibly with more.
    ///
    /// Several deliveries are given back in the reverse order in which they were taken. Datagrams
    /// may be handled in between: what they overwrote is counted as lost.
    pub fn refused(&mut self, delivery: Delivery) {
        let Some(peer) = self
            .peers
            .peer(delivery.seat)
            .filter(|peer| peer.id == delivery.id)
        else {
            return;
        };
        let list = self.list(peer);
        self.queue.unlink(list, delivery.seat);
        self.stats.deferred += 1;
        if let Some(peer) = self.peers.peer_mut(delivery.seat) {
            peer.missed += delivery.missed;
            if delivery.to < self.ring.tail().sequence {
                // overwritten meanwhile, and what was lost behind it is counted already
                let lines = delivery.to - delivery.from.sequence;
                self.stats.missed += lines;
                peer.missed += if self.config.classic { 0 } else { lines };
            } else if delivery.from.sequence < peer.cursor.sequence && !is_planted(Bug::RefusedLost)
            {
                peer.cursor = delivery.from;
            }
        }
        match self.catch_up(delivery.seat) {
            List::Due => self.queue.push_front(List::Due, delivery.seat),
            List::Idle => self.queue.push_back(List::Idle, delivery.seat),
        }
    }

    /// Whether the driver may hand over another datagram.
    ///
    /// It may not while one more message would overwrite a line that a peer is still owed; then
    /// [`poll_fanout`](Self::poll_fanout) has something to send. Peers that the network reported
    /// unreachable hold nothing up.
    pub fn can_receive(&self) -> bool {
        let endangered = self.ring.endangered();
        if is_planted(Bug::Deadlock) {
            return self.ring.tail().offset >= endangered;
        }
        if self.queue.front(List::Due).is_none() || self.owed.get() >= endangered {
            return true;
        }
        let mut oldest = u64::MAX;
        let mut held_up = false;
        for peer in self
            .queue
            .iter(List::Due)
            .filter_map(|seat| self.peers.peer(seat))
        {
            let offset = peer.cursor.offset;
            oldest = oldest.min(offset);
            held_up |= offset < endangered
                && (!peer.suspicion.is_suspect || is_planted(Bug::SuspectHoldsUp));
        }
        self.owed.set(oldest);
        !held_up
    }

    /// Writes what `peer` is owed, as much as one datagram holds.
    fn write_lines(&self, peer: &Peer, buffer: &mut [u8]) -> Option<(usize, Range)> {
        // both line ends cut at the same line
        let limit = buffer.len().min(DATAGRAM_MAX).checked_sub(1)?;
        let mut range = Range {
            from: peer.cursor,
            to: peer.cursor,
            lines: 0,
            alone: peer.own > peer.cursor.sequence
                || (peer.missed > 0 && !is_planted(Bug::GapShared)),
            announcements: false,
            newline: peer.newline,
        };
        let mut length = 0;
        if peer.missed > 0 {
            let mut gap = String::<40>::new();
            // twenty digits and a few words fit
            let _ = match peer.missed {
                1 => gap.push_str("* 1 line lost").map_err(|_| core::fmt::Error),
                missed => write!(gap, "* {missed} lines lost"),
            };
            buffer.get_mut(..gap.len())?.copy_from_slice(gap.as_bytes());
            length = gap.len();
        }
        while let Some(entry) = self.ring.entry(range.to) {
            if peer.skips(&entry, self.config.echo) {
                range.alone = true;
                range.to = entry.next;
                continue;
            }
            let start = length + usize::from(length > 0);
            let end = start + entry.length;
            if end > limit || (self.config.classic && range.lines > 0) {
                if is_planted(Bug::LineSkipped) {
                    range.to = entry.next;
                }
                break;
            }
            if start > length {
                *buffer.get_mut(length)? = b'\n';
            }
            self.ring.read_line(&entry, buffer.get_mut(start..end)?);
            length = end;
            range.to = entry.next;
            range.lines += 1;
            range.announcements |= entry.kind == Kind::Announcement;
        }
        if length == 0 && range.to == range.from {
            return None;
        }
        if peer.newline {
            *buffer.get_mut(length)? = b'\n';
            length += 1;
        }
        Some((length, range))
    }
}

impl<'buffer, const PEERS: usize, const RING: usize> Fanout<'_, 'buffer, PEERS, RING> {
    /// The datagram, at most [`DATAGRAM_MAX`] bytes. It outlives the fan-out.
    pub const fn payload(&self) -> &'buffer [u8] {
        self.payload
    }
}

impl<const PEERS: usize, const RING: usize> Iterator for Fanout<'_, '_, PEERS, RING> {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        let relay = &mut *self.relay;
        loop {
            let seat = self.next?;
            let peer = relay.peers.peer_mut(seat)?;
            self.next = None;
            if peer.cursor != self.range.from {
                // peers that are owed the same lines stand together
                return None;
            }
            if !self.range.alone {
                self.next = relay.queue.next(seat);
                if !self.range.suits(peer) {
                    continue;
                }
            }
            let delivery = Delivery {
                seat,
                address: peer.address,
                id: peer.id,
                from: peer.cursor,
                to: self.range.to.sequence,
                missed: core::mem::take(&mut peer.missed),
            };
            peer.cursor = self.range.to;
            relay.queue.unlink(List::Due, seat);
            // the next line may be one that this peer skips
            relay.settle(seat);
            relay.stats.deliveries += 1;
            relay.stats.coalesced += u64::from(self.range.lines > 1);
            return Some(delivery);
        }
    }
}

impl Range {
    /// Whether another peer at the same cursor is owed the same bytes.
    fn suits(&self, peer: &Peer) -> bool {
        (peer.newline == self.newline || is_planted(Bug::LineEndShared))
            && peer.own <= self.from.sequence
            && peer.missed == 0
            && (!(peer.quiet && self.announcements) || is_planted(Bug::QuietTold))
    }
}

//! Fan-out: the next datagram, and the peers that it is sent to.

use core::fmt::Write;
use core::mem::take;
use core::net::SocketAddr;
use core::num::NonZeroU32;

use heapless::{String, Vec};

use super::Relay;
use super::framed::Segment;
use super::peers::{Dialect, Peer};
use super::queue::List;
use super::ring::Cursor;
use super::seat::Seat;
use crate::time::Instant;
use crate::wire::framed::DATA_HEADER;
use crate::wire::framed::LineKind;
use crate::wire::notices::Sentence;
use crate::wire::text::DATAGRAM_MAX;

/// Maximum number of datagrams in a fan-out. More gain hardly anything (measured with UDP_SEGMENT
/// on Linux).
const SEGMENTS_MAX: usize = 16;

/// A datagram, and an iterator over the peers that it is sent to.
///
/// Each [`Delivery`] that the iterator returns counts as sent and moves the peer's cursor. Peers
/// that it has not returned stay due. If sending to a peer would block, return the delivery with
/// [`Relay::handle_refused`].
#[derive(Debug)]
pub struct Fanout<'relay, 'buffer, const PEERS: usize, const RING: usize, const WINDOW: usize> {
    relay: &'relay mut Relay<PEERS, RING, WINDOW>,
    payload: &'buffer [u8],
    range: Range,
    next: Option<Seat>,
}

/// One destination of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The peer's seat.
    pub seat: Seat,
    /// Its address.
    pub address: SocketAddr,
    id: NonZeroU32,
    from: Cursor,
    /// The sequence number after its last line.
    to: u64,
    missed: u64,
    what: What,
}

/// The kind of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Lines of text.
    Lines,
    /// A frame with new lines.
    Data,
    /// A frame with lines that were lost.
    Resent,
    /// A frame that tells of overwritten lines.
    Gap,
}

/// The lines of one datagram, and the peers to which the same bytes can be sent.
#[derive(Clone, Debug)]
struct Range {
    from: Cursor,
    to: Cursor,
    /// Number of lines.
    lines: usize,
    /// The contents of each datagram, if these are several frames.
    segments: Vec<Segment, SEGMENTS_MAX, u8>,
    /// Whether only the first peer may be sent it, because something in it, or left out of it, is
    /// for that peer only.
    alone: bool,
    announcements: bool,
    newline: bool,
    what: What,
    now: Instant,
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Writes the next datagram that is due into `buffer`, and returns it with the peers that it is
    /// sent to. Returns `None` if nothing is due.
    ///
    /// `buffer` must have at least [`DATAGRAM_MAX`] bytes. If it is shorter, a line may not fit,
    /// and the result is `None`.
    ///
    /// In a buffer of `n` times [`DATAGRAM_MAX`] bytes there may be up to `n` datagrams, at most
    /// 16, one after the other. Each except the last has [`DATAGRAM_MAX`] bytes, as generic
    /// segmentation offload requires (`UDP_SEGMENT` in udp(7)).
    pub fn poll_fanout<'buffer>(
        &mut self,
        now: Instant,
        buffer: &'buffer mut [u8],
    ) -> Option<Fanout<'_, 'buffer, PEERS, RING, WINDOW>> {
        let first = self.queue.front(List::Due)?;
        let peer = self.peers.peer(first)?;
        let (length, range) = if peer.is_framed() {
            self.write_frame(now, first, peer, buffer)?
        } else {
            self.write_lines(now, peer, buffer)?
        };
        let payload = buffer.get(..length)?;
        Some(Fanout {
            relay: self,
            payload,
            range,
            next: Some(first),
        })
    }

    /// Call this for a delivery that would block. The peer is sent the same lines again, perhaps with
    /// later ones, after [`handle_writable`](Self::handle_writable). Other peers do not wait for it.
    /// Lines that are overwritten meanwhile are counted as lost.
    ///
    /// If several fan-outs had deliveries to one peer (one fan-out never has two), return them in the
    /// reverse order. Datagrams may be handled in between. Deliveries that were not taken from a
    /// fan-out that is dropped stay due, and are not returned.
    pub fn handle_refused(&mut self, delivery: Delivery) {
        self.stats.deferred += 1;
        let Some(peer) = self
            .peers
            .peer(delivery.seat)
            .filter(|peer| peer.id == delivery.id)
        else {
            return;
        };
        let list = self.list(delivery.seat, peer);
        self.queue.unlink(list, delivery.seat);
        match (delivery.what, self.sessions.framed_mut(delivery.seat)) {
            (What::Gap, Some(framed)) => framed.window.handle_gap_refused(),
            (What::Data | What::Resent, Some(framed)) => {
                let is_new = delivery.what == What::Data;
                framed
                    .window
                    .handle_refused(delivery.from.sequence, delivery.to, is_new);
            }
            (_, None) | (What::Lines, _) => self.take_back_lines(&delivery),
        }
        self.set_blocked(delivery.seat, true);
        self.settle(delivery.seat);
    }

    /// Nothing may be sent to a peer for now, because it would block or because the driver paces
    /// it. It gets no deliveries until [`handle_writable`](Self::handle_writable).
    pub fn handle_blocked(&mut self, seat: Seat) {
        self.change_blocked(seat, true);
    }

    /// Sending to a peer may succeed again. For any other peer the call has no effect.
    pub fn handle_writable(&mut self, seat: Seat) {
        self.change_blocked(seat, false);
    }

    fn change_blocked(&mut self, seat: Seat, is_blocked: bool) {
        let Some(peer) = self
            .peers
            .peer(seat)
            .filter(|peer| peer.is_blocked != is_blocked)
        else {
            return;
        };
        let list = self.list(seat, peer);
        self.queue.unlink(list, seat);
        self.set_blocked(seat, is_blocked);
        self.settle(seat);
    }

    fn set_blocked(&mut self, seat: Seat, is_blocked: bool) {
        if let Some(peer) = self.peers.peer_mut(seat) {
            peer.is_blocked = is_blocked;
        }
    }

    fn take_back_lines(&mut self, delivery: &Delivery) {
        let Some(peer) = self.peers.peer_mut(delivery.seat) else {
            return;
        };
        let Dialect::Plain(plain) = &mut peer.dialect else {
            return;
        };
        plain.missed += delivery.missed;
        if delivery.to < self.ring.tail().sequence {
            // the lines were overwritten meanwhile; losses after them are counted already
            let lines = delivery.to - delivery.from.sequence;
            self.stats.missed += lines;
            plain.missed += if self.config.classic { 0 } else { lines };
        } else if delivery.from.sequence < peer.cursor.sequence {
            peer.cursor = delivery.from;
        }
    }

    /// Returns whether the driver may pass in another datagram.
    ///
    /// Returns false while one more message would overwrite a line that some peer was not sent yet
    /// (back-pressure). Then [`poll_fanout`](Self::poll_fanout) has something to send. Peers that
    /// were reported as unreachable, or that would block, do not count.
    pub fn can_receive(&self) -> bool {
        let endangered = self.ring.endangered();
        if self.queue.front(List::Due).is_none() || self.owed.get() >= endangered {
            return true;
        }
        let mut oldest = u64::MAX;
        let mut held_up = false;
        for seat in self.queue.iter(List::Due) {
            let Some(peer) = self.peers.peer(seat) else {
                continue;
            };
            let offset = self.owed_from(seat, peer);
            oldest = oldest.min(offset);
            held_up |= offset < endangered && !peer.suspicion.is_suspect;
        }
        self.owed.set(oldest);
        !held_up
    }

    /// Writes the lines that `peer` is owed, as many as fit in a datagram.
    fn write_lines(&self, now: Instant, peer: &Peer, buffer: &mut [u8]) -> Option<(usize, Range)> {
        // with space for `\n`, so that both line ends give the same lines
        let limit = buffer.len().min(DATAGRAM_MAX).checked_sub(1)?;
        let plain = peer.plain()?;
        let mut range = Range {
            from: peer.cursor,
            to: peer.cursor,
            lines: 0,
            alone: plain.own > peer.cursor.sequence || plain.missed > 0,
            announcements: false,
            newline: plain.newline,
            segments: Vec::new(),
            what: What::Lines,
            now,
        };
        let mut length = 0;
        if plain.missed > 0 {
            let mut gap = String::<40>::new();
            // twenty digits and a few words fit
            let _ = write!(gap, "{}", Sentence::Lost(plain.missed));
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
                break;
            }
            if start > length {
                *buffer.get_mut(length)? = b'\n';
            }
            self.ring.read_line(&entry, buffer.get_mut(start..end)?);
            length = end;
            range.to = entry.next;
            range.lines += 1;
            range.announcements |= entry.kind == LineKind::Announcement;
        }
        if length == 0 && range.to == range.from {
            return None;
        }
        if plain.newline {
            *buffer.get_mut(length)? = b'\n';
            length += 1;
        }
        Some((length, range))
    }

    /// Writes a frame with what `peer` is owed next, lost lines first.
    fn write_frame(
        &self,
        now: Instant,
        seat: Seat,
        peer: &Peer,
        buffer: &mut [u8],
    ) -> Option<(usize, Range)> {
        let framed = self.sessions.framed(seat)?;
        let mut range = Range {
            from: peer.cursor,
            to: peer.cursor,
            lines: 0,
            alone: true,
            announcements: false,
            newline: false,
            segments: Vec::new(),
            what: What::Gap,
            now,
        };
        if let Some((from, until)) = framed.window.gap() {
            let gap = framed.gap(now, from, until);
            return Some((gap.encode_relays(buffer)?, range));
        }
        let (most, until) = match framed.window.lost() {
            Some((from, to)) => {
                range.what = What::Resent;
                (range.from, range.to) = (from, from);
                (1, to)
            }
            None => {
                range.what = What::Data;
                range.alone = false;
                (framed.window.room(), self.ring.head())
            }
        };
        let mut rest: &mut [u8] = &mut [];
        for segment in buffer.chunks_mut(DATAGRAM_MAX).take(most) {
            let Some(behind) = self.write_data(&mut range, until, segment) else {
                break;
            };
            // all except the last one are padded
            rest.fill(0);
            rest = behind;
        }
        let last = range.segments.last()?;
        let padded = range.segments.len().checked_sub(1)? * DATAGRAM_MAX;
        let length = padded + DATA_HEADER + usize::from(last.bytes);
        Some((length, range))
    }

    /// Writes a frame with the lines from the end of `range` up to `until`, as many as fit, and
    /// extends the range to include them. Returns the rest of the segment.
    fn write_data<'segment>(
        &self,
        range: &mut Range,
        until: Cursor,
        segment: &'segment mut [u8],
    ) -> Option<&'segment mut [u8]> {
        let (start, entries) = segment.split_at_mut_checked(DATA_HEADER)?;
        let room = entries
            .len()
            .min(usize::try_from(until.offset - range.to.offset).ok()?);
        let to = self.ring.run(range.to, room);
        let bytes = self.ring.read_run(range.to, to, entries)?;
        if bytes == 0 {
            return None;
        }
        start.copy_from_slice(&self.sessions.data_header(range.now, range.to.sequence));
        let rest = entries.get_mut(bytes..)?;
        let lines = u8::try_from(to.sequence - range.to.sequence).ok()?;
        let bytes = u16::try_from(bytes).ok()?;
        range.segments.push(Segment { bytes, lines }).ok()?;
        range.lines += usize::from(lines);
        range.to = to;
        Some(rest)
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Records that a frame is sent to a peer.
    fn note_sent(&mut self, seat: Seat, range: &Range) {
        let now = range.now.as_wrapped();
        if let Some(framed) = self.sessions.framed_mut(seat) {
            match range.what {
                What::Gap => framed.window.handle_gap_sent(now),
                What::Resent => framed.window.handle_resent(now, range.from.sequence),
                What::Data | What::Lines => framed.window.handle_sent(now, &range.segments),
            }
        }
        self.stats.gaps += u64::from(range.what == What::Gap);
        self.stats.resent += u64::from(range.what == What::Resent);
        self.arm_for_sent(range.now, seat);
    }
}

impl<'buffer, const PEERS: usize, const RING: usize, const WINDOW: usize>
    Fanout<'_, 'buffer, PEERS, RING, WINDOW>
{
    /// Returns the datagram of at most [`DATAGRAM_MAX`] bytes, or several of them. It outlives the
    /// fan-out.
    pub const fn payload(&self) -> &'buffer [u8] {
        self.payload
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Iterator
    for Fanout<'_, '_, PEERS, RING, WINDOW>
{
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        let relay = &mut *self.relay;
        loop {
            let seat = self.next?;
            let peer = relay.peers.peer_mut(seat)?;
            self.next = None;
            if !self.range.alone {
                if peer.cursor != self.range.from {
                    // peers that are owed the same lines are adjacent in the list
                    return None;
                }
                self.next = relay.queue.next(seat);
                let suits = match self.range.what {
                    What::Lines => self.range.suits(peer),
                    What::Data | What::Resent | What::Gap => {
                        peer.is_framed() && relay.sessions.room(seat) >= self.range.segments.len()
                    }
                };
                if !suits {
                    continue;
                }
            }
            // a peer that is told of lost lines is sent a datagram of its own
            let missed = match &mut peer.dialect {
                Dialect::Plain(plain) if self.range.alone => take(&mut plain.missed),
                Dialect::Plain(_) | Dialect::Framed(_) => 0,
            };
            let delivery = Delivery {
                seat,
                address: peer.address,
                id: peer.id,
                from: self.range.from,
                to: self.range.to.sequence,
                missed,
                what: self.range.what,
            };
            relay.queue.unlink(Some(List::Due), seat);
            match self.range.what {
                What::Lines => peer.cursor = self.range.to,
                What::Data | What::Resent | What::Gap => relay.note_sent(seat, &self.range),
            }
            // the next line may be one that this peer skips
            relay.settle(seat);
            relay.stats.deliveries += self.range.segments.len().max(1) as u64;
            relay.stats.coalesced += u64::from(self.range.lines > 1);
            return Some(delivery);
        }
    }
}

impl Range {
    /// Returns whether another peer with the same cursor is owed the same bytes.
    fn suits(&self, peer: &Peer) -> bool {
        peer.plain().is_some_and(|plain| {
            plain.newline == self.newline
                && plain.own <= self.from.sequence
                && plain.missed == 0
                && !(plain.quiet && self.announcements)
        })
    }
}

//! Fan-out: the next datagram, and the peers that it is sent to.

mod blocked;

use core::fmt::Write;
use core::mem::take;
use core::net::SocketAddr;
use core::num::NonZeroU32;

use heapless::{String, Vec};

use super::Relay;
use super::framed::Segment;
#[cfg(feature = "private")]
use super::keeping::hidden;
use super::peers::{Dialect, Peer};
use super::queue::List;
use super::ring::Cursor;
#[cfg(feature = "private")]
use super::ring::copy;
use super::seat::Seat;
use crate::time::Instant;
#[cfg(feature = "private")]
use crate::wire::LINE_MAX;
use crate::wire::framed::DATA_HEADER;
#[cfg(feature = "private")]
use crate::wire::framed::ENTRY_HEADER;
use crate::wire::framed::LineKind;
use crate::wire::{DATAGRAM_MAX, Sentence};

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
    /// The only peer that may not be sent it.
    #[cfg(feature = "private")]
    except: Option<NonZeroU32>,
    now: Instant,
    /// Whether unproven addresses may have been sent too much for it.
    is_limited: bool,
}

/// What decides whether a plain peer can be sent the lines of a datagram.
#[derive(Clone, Copy, Debug)]
struct PlainLines {
    from: Cursor,
    now: Instant,
    alone: bool,
    announcements: bool,
    newline: bool,
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
            #[cfg(feature = "private")]
            except: None,
            now,
            is_limited: self.unproven_kib().is_some(),
        };
        let mut length = 0;
        if plain.is_to_be_told(now) {
            length = self.write_busy(now, peer, buffer)?;
            range.alone |= length > 0;
        }
        if plain.missed > 0 {
            let mut gap = String::<40>::new();
            // twenty digits and a few words fit
            let _ = write!(gap, "{}", Sentence::Lost(plain.missed));
            let end = length + gap.len();
            buffer.get_mut(length..end)?.copy_from_slice(gap.as_bytes());
            length = end;
        }
        while let Some(entry) = self.ring.entry(range.to) {
            if entry.kind.is_private() && range.lines > 0 {
                break; // what is before it may be shared
            }
            range.alone |= entry.kind.is_private();
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

    /// Writes that `peer` gets its lines late. Returns the length.
    #[cold]
    fn write_busy(&self, now: Instant, peer: &Peer, buffer: &mut [u8]) -> Option<usize> {
        let plain = peer.plain()?;
        let mut told = String::<64>::new();
        // a code and some words fit
        let _ = write!(told, "{}", Sentence::Busy(self.busy_code(now, peer)));
        if plain.missed > 0 {
            let _ = told.push('\n');
        }
        buffer
            .get_mut(..told.len())?
            .copy_from_slice(told.as_bytes());
        Some(told.len())
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
            #[cfg(feature = "private")]
            except: None,
            now,
            is_limited: false,
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
        let Some(last) = range.segments.last() else {
            #[cfg(feature = "private")]
            return self.write_private(peer, range, buffer).filter(|_| most > 0);
            #[cfg(not(feature = "private"))]
            return None;
        };
        let padded = range.segments.len().checked_sub(1)? * DATAGRAM_MAX;
        let length = padded + DATA_HEADER + usize::from(last.bytes);
        Some((length, range))
    }

    /// Writes a frame with the message to one peer that is next: for that peer as it is, for all
    /// others an empty line.
    #[cfg(feature = "private")]
    #[cold]
    fn write_private(
        &self,
        peer: &Peer,
        mut range: Range,
        buffer: &mut [u8],
    ) -> Option<(usize, Range)> {
        let entry = self.ring.entry(range.to)?;
        let next = Some(entry.next).filter(|_| entry.kind.is_private())?;
        let mut line = [0; LINE_MAX];
        let (_, message) = self.ring.read_entry(range.to, &mut line)?;
        let is_addressee = message.author == peer.id.get();
        let shown = if is_addressee {
            message
        } else {
            hidden(message)
        };
        let (start, rest) = buffer.split_at_mut_checked(DATA_HEADER)?;
        let (header, rest) = rest.split_at_mut_checked(ENTRY_HEADER)?;
        let bytes = shown.line.as_bytes();
        copy(
            start,
            &self.sessions.data_header(range.now, range.to.sequence),
        );
        copy(header, &shown.header(bytes.len()));
        copy(rest.get_mut(..bytes.len())?, bytes);
        range.alone |= is_addressee;
        range.except = NonZeroU32::new(message.author);
        let taken = u16::try_from(next.offset - range.to.offset).ok()?;
        let segment = Segment {
            bytes: taken,
            lines: 1,
        };
        range.segments.push(segment).ok()?;
        range.lines = 1;
        range.to = next;
        Some((DATA_HEADER + ENTRY_HEADER + bytes.len(), range))
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

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Skips peers that may not be sent these lines now, because their address is not proved. The peer
    /// that it returns, if there is one, may. It gets copies, so that a fan-out stays in registers.
    #[cold] // never part of the loop, which takes fewer instructions without it
    fn hold_back(
        &mut self,
        mut next: Option<Seat>,
        lines: PlainLines,
        length: usize,
    ) -> Option<Seat> {
        let Some(price) = self.price(length) else {
            return next;
        };
        while let Some(seat) = next
            && let Some(peer) = self.peers.peer(seat)
        {
            let (then, suits) = if lines.alone {
                (None, true)
            } else if peer.cursor == lines.from {
                (self.queue.next(seat), lines.suits(peer))
            } else {
                return next;
            };
            if suits && self.may_deliver(lines.now, seat, price) {
                return next;
            }
            next = then;
        }
        next
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Iterator
    for Fanout<'_, '_, PEERS, RING, WINDOW>
{
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        if self.range.is_limited {
            let (lines, length) = (self.range.plain(), self.payload.len());
            self.next = self.relay.hold_back(self.next, lines, length);
        }
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
                    What::Lines => self.range.plain().suits(peer),
                    What::Data | What::Resent | What::Gap => {
                        peer.is_framed()
                            && self.range.may_read(peer.id)
                            && relay.sessions.room(seat) >= self.range.segments.len()
                    }
                };
                if !suits {
                    continue;
                }
            }
            // a peer that is told of lost lines is sent a datagram of its own
            let missed = match &mut peer.dialect {
                Dialect::Plain(plain) if self.range.alone => {
                    plain.note_told(self.range.now);
                    take(&mut plain.missed)
                }
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
    /// Returns whether the peer with this id may be sent it.
    #[cfg(feature = "private")]
    fn may_read(&self, id: NonZeroU32) -> bool {
        self.except != Some(id)
    }

    #[cfg(not(feature = "private"))]
    const fn may_read(&self, _id: NonZeroU32) -> bool {
        true
    }

    const fn plain(&self) -> PlainLines {
        PlainLines {
            from: self.from,
            now: self.now,
            alone: self.alone,
            announcements: self.announcements,
            newline: self.newline,
        }
    }
}

impl PlainLines {
    /// Returns whether another peer with the same cursor is owed the same bytes.
    fn suits(&self, peer: &Peer) -> bool {
        peer.plain().is_some_and(|plain| {
            plain.newline == self.newline
                && plain.own <= self.from.sequence
                && plain.missed == 0
                && !(plain.quiet && self.announcements)
                && !plain.is_to_be_told(self.now)
        })
    }
}

//! Keeping the room over a restart: a driver reads every line, and gives the next run of the relay
//! the lines and the plain peers of this one. See `PROTOCOL.md`, section "Stopping".

use core::net::SocketAddr;

use super::admission::Bucket;
use super::peers::{Dialect, Peer, Plain, Suspicion};
use super::ring::Cursor;
use super::schedule::History;
use super::{Line, Relay, Seat};
use crate::Instant;
use crate::wire::framed::{Entry, LineKind};
use crate::wire::notices::{BACK, NOTICE};
use crate::wire::text::{LINE_MAX, NAME_MAX, SEPARATOR, clean, repaired_name, whole_characters};

/// The position of a reader of all lines, as a peer has a cursor. A new one is before the first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reader(Cursor);

/// What a relay had in a former run.
#[derive(Clone, Copy, Debug)]
pub enum Restored<'a> {
    /// The numbers go on. This comes first, before any line or peer.
    Run {
        /// The [epoch](Relay::epoch), if every line of that run is known, and `None` otherwise: then
        /// clients do not rely on the numbers that they have.
        epoch: Option<u32>,
        /// Sequence number of the first line that follows.
        sequence: u64,
    },
    /// A line. All lines come before the peers, in their order.
    Line {
        /// When it was said: a driver whose clock starts before this run can tell it.
        at: Instant,
        /// Its kind.
        kind: LineKind,
        /// The name of its author, or empty for a notice.
        name: &'a str,
        /// The text behind the name, or the notice without its `* `.
        text: &'a str,
    },
    /// A peer of the plain dialect.
    Peer {
        /// Its address.
        address: SocketAddr,
        /// Its name.
        name: &'a str,
        /// Whether each datagram to it ends in a line end.
        newline: bool,
        /// Whether it wants no announcements.
        quiet: bool,
    },
    /// That was everything: the peers are told that the relay is back.
    End,
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Returns the epoch, once a client of the framed dialect has joined. Keep it secret: whoever
    /// knows it can forge lines, if it can forge the relay's address too.
    pub const fn epoch(&self) -> Option<u32> {
        self.sessions.epoch()
    }

    /// Copies the next line to `buffer`, moves `reader` past it, and returns the line with its
    /// sequence number. Returns `None` at the end.
    ///
    /// Lines that were overwritten are skipped, and a gap in the sequence numbers tells how many.
    pub fn read<'a>(
        &self,
        reader: &mut Reader,
        buffer: &'a mut [u8; LINE_MAX],
    ) -> Option<(u64, Entry<'a>)> {
        let Reader(cursor) = reader;
        if cursor.offset < self.ring.tail().offset || cursor.sequence < self.ring.tail().sequence {
            *cursor = self.ring.tail();
        }
        let sequence = cursor.sequence;
        let (next, line) = self.ring.read_entry(*cursor, buffer)?;
        *cursor = Cursor {
            sequence: sequence + 1,
            offset: next,
        };
        Some((sequence, line))
    }

    /// Takes over what the relay had in a former run. Call it after [`configure`](Self::configure)
    /// and before the first datagram, in the order of [`Restored`].
    ///
    /// Returns the seat of a peer. It has none if its address is not served, if its name has no
    /// visible character, or if all seats are taken.
    pub fn restore(&mut self, now: Instant, restored: Restored<'_>) -> Option<Seat> {
        match restored {
            Restored::Run { epoch, sequence } => self.continue_run(epoch, sequence),
            Restored::Line {
                at,
                kind,
                name,
                text,
            } => self.restore_line(at, kind, name, text),
            Restored::Peer {
                address,
                name,
                newline,
                quiet,
            } => {
                let plain = Plain {
                    newline,
                    quiet,
                    ..Plain::default()
                };
                return self.restore_peer(now, address, name, plain);
            }
            Restored::End => {
                if self.peers.len() > 0 {
                    self.append(now, None, LineKind::Notice, 0, BACK);
                }
            }
        }
        None
    }

    fn continue_run(&mut self, epoch: Option<u32>, sequence: u64) {
        if self.stats.lines > 0 || self.peers.len() > 0 {
            return;
        }
        // half of the numbers remain, which is for ever
        self.ring.start_at(sequence.min(u64::MAX / 2));
        self.history = History::at(self.ring.head());
        self.sessions.set_epoch(epoch);
    }

    fn restore_line(&mut self, at: Instant, kind: LineKind, name: &str, text: &str) {
        if self.peers.len() > 0 {
            return;
        }
        let mut line = Line::new();
        let mut length = 0;
        let start = match (kind, repaired_name(name)) {
            (LineKind::Message, Some((name, _))) => {
                length = name.len();
                // a name and a separator fit
                let _ = line.push_str(&name);
                SEPARATOR
            }
            (LineKind::Message, None) => return,
            (LineKind::Announcement | LineKind::Notice, _) => NOTICE,
        };
        let _ = line.push_str(start);
        for character in clean(whole_characters(text, LINE_MAX)) {
            if line.push(character).is_err() {
                break;
            }
        }
        let author = match kind {
            LineKind::Message => self.next_id().get(),
            LineKind::Announcement | LineKind::Notice => 0,
        };
        self.make_room(line.len());
        self.ring.append(Entry {
            author,
            at: at.as_seconds(),
            kind,
            name: u8::try_from(length.min(NAME_MAX)).unwrap_or_default(),
            line: &line,
        });
        self.stats.lines += 1;
        self.extend_history(kind);
    }

    fn restore_peer(
        &mut self,
        now: Instant,
        address: SocketAddr,
        name: &str,
        plain: Plain,
    ) -> Option<Seat> {
        if self.served(now, address).is_err()
            || self.peers.find(&address).is_some()
            || self.peers.len() >= self.seats()
        {
            return None;
        }
        let (name, mut changed) = repaired_name(name)?;
        let id = self.next_id();
        let quiet = u16::from(plain.quiet);
        let slot = self.slot(now, address.ip());
        let seat = self.peers.insert(Peer {
            id,
            address,
            name: self.unique(name, None, id.get(), &mut changed),
            dialect: Dialect::Plain(plain),
            is_blocked: false,
            is_muted: false,
            cursor: self.ring.head(),
            heard: now,
            suspicion: Suspicion::default(),
            pace: Bucket::NEW,
            slot,
            reported: Instant::default(),
        })?;
        self.quiet += quiet;
        self.stats.joined += 1;
        self.count_in(slot);
        self.settle(seat);
        self.arm_for_lapse(now, seat);
        Some(seat)
    }
}

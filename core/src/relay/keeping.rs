//! Keeping the room over a restart: a driver reads every line, and gives the next run of the relay
//! the lines and the plain peers of this one. See `PROTOCOL.md`, section "Stopping".

use core::net::SocketAddr;

use super::admission::Bucket;
use super::peers::{Dialect, Peer, Plain, Suspicion};
use super::ring::Cursor;
use super::schedule::History;
use super::{Line, Relay, Seat, secret};
use crate::Instant;
use crate::wire::framed::{Entry, LineKind};
#[cfg(not(feature = "link"))]
use crate::wire::repaired_name;
use crate::wire::{LINE_MAX, NOTICE, SEPARATOR, clean, whole_characters};

/// Notice to all peers when the relay is there again and has kept the room.
const BACK: &str = "* relay is back";

/// The position of a reader of all lines, as a peer has a cursor. A new one is before the first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reader(Cursor);

/// The state of a relay in a former run, item by item.
#[derive(Clone, Copy, Debug)]
pub enum Restored<'a> {
    /// Sequence numbers continue. This comes first, before any line or peer.
    Run {
        /// The [epoch](Relay::epoch), if every line of that run is known, and `None` otherwise: then
        /// clients do not rely on the numbers that they have.
        epoch: Option<u32>,
        /// Sequence number of the first line that follows.
        sequence: u64,
    },
    /// A line. All lines come before the peers, in their order.
    Line {
        /// When it was said. The driver's clock must start early enough to express this.
        at: Instant,
        /// Its kind.
        kind: LineKind,
        /// The name of its author, or empty for a notice.
        name: &'a str,
        /// The text after the name, or the notice without its `* `.
        text: &'a str,
    },
    /// A peer of the plain dialect.
    Peer {
        /// Its address.
        address: SocketAddr,
        /// Its name.
        name: &'a str,
        /// Whether each datagram to it ends in a line feed.
        newline: bool,
        /// Whether announcements are hidden from it.
        quiet: bool,
    },
    /// The end. The peers are told that the relay is back.
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
    /// Lines that were overwritten are skipped, and a gap in the sequence numbers tells how many. Of a
    /// message to one peer only the kind and the time are returned.
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
        let (next, mut line) = self.ring.read_entry(*cursor, buffer)?;
        if line.kind.is_private() {
            line = Entry {
                author: 0,
                ..hidden(line)
            };
        }
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
                    doubt: Self::doubt(address.ip()),
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
        // half of all numbers remain, which are never used up
        self.ring.start_at(sequence.min(u64::MAX / 2));
        self.history = History::at(self.ring.head());
        #[cfg(feature = "link")]
        self.begin_link();
        self.sessions.set_epoch(epoch);
        self.last_id = secret::authors(&self.config.key);
    }

    fn restore_line(&mut self, at: Instant, kind: LineKind, name: &str, text: &str) {
        if self.peers.len() > 0 {
            return;
        }
        let mut line = Line::new();
        let mut length = 0;
        #[cfg(not(feature = "link"))]
        let name = repaired_name(name, false).map(|(name, _)| name);
        #[cfg(feature = "link")]
        let name = super::link::restored_name(name);
        let start = match (kind, name) {
            (LineKind::Message, Some(name)) => {
                length = name.len();
                // a name and a separator fit
                let _ = line.push_str(&name);
                SEPARATOR
            }
            (LineKind::Message, None) => return,
            (LineKind::Announcement | LineKind::Notice, _) => NOTICE,
            (LineKind::Private, _) => "",
        };
        let text = if kind.is_private() { "" } else { text };
        let _ = line.push_str(start);
        for character in clean(whole_characters(text, LINE_MAX)) {
            if line.push(character).is_err() {
                break;
            }
        }
        let author = match kind {
            LineKind::Message => self.next_id().get(),
            // the addressee is not there, and a number may be another peer's in this run
            LineKind::Announcement | LineKind::Notice | LineKind::Private => 0,
        };
        self.make_room(line.len());
        let line = self.ring.append(Entry {
            author,
            at: at.as_secs(),
            kind,
            name: u8::try_from(length).unwrap_or_default(),
            line: &line,
        });
        self.stats.lines += 1;
        let end = self.ring.end(&line);
        self.neighbours.note_line(&line, end);
        self.extend_history(kind);
        #[cfg(feature = "link")]
        self.begin_link();
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
        let (name, mut changed) = self.repaired(name)?;
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
        self.find_budget(seat, address.ip());
        self.quiet += quiet;
        self.stats.joined += 1;
        self.count_in(slot);
        self.settle(seat);
        self.arm_for_lapse(now, seat);
        Some(seat)
    }
}

/// Returns a message to one peer as all others are sent it.
pub(super) const fn hidden(line: Entry<'_>) -> Entry<'_> {
    Entry { line: "", ..line }
}

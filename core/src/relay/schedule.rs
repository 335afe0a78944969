//! Scheduling: appending lines to the ring, and moving peers between the lists of idle and due
//! peers.

use super::Relay;
use super::peers::{Dialect, Peer};
use super::queue::List;
use super::ring::{Cursor, Text};
use super::seat::Seat;
use crate::time::Instant;
use crate::wire::Announcement;
use crate::wire::framed::{Entry, LineKind};

/// Maximum number of lines of history for each message of [`Config::history`]. The others are
/// announcements.
const HISTORY_LINES_PER_MESSAGE: u64 = 4;

/// The lines at the end of the ring that a newcomer is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct History {
    pub(super) start: Cursor,
    /// Number of these lines that are messages.
    messages: u32,
}

impl History {
    pub(super) const NONE: Self = Self {
        start: Cursor {
            sequence: 0,
            offset: 0,
        },
        messages: 0,
    };

    /// Returns an empty range, before the line at `start`.
    pub(super) const fn at(start: Cursor) -> Self {
        Self { start, messages: 0 }
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Appends an announcement, unless there are too many peers to announce anything.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        peers: usize,
        author: Option<Seat>,
        announcement: Announcement<'_>,
    ) {
        let is_told = !self.config.classic && !self.is_stopping;
        if peers <= usize::from(self.config.announce_up_to) && is_told {
            let kind = (LineKind::Announcement, 0);
            self.append_text(now, author, kind, &announcement.parts(), "");
        }
    }

    /// Appends a line, and makes all peers due that do not skip it.
    ///
    /// `name` is the length of the author's name at the start of the line, in bytes. The `author` of a
    /// message to one peer is that peer.
    pub(super) fn append(
        &mut self,
        now: Instant,
        author: Option<Seat>,
        kind: LineKind,
        name: usize,
        line: &str,
    ) {
        let mut text = self.begin_line(now, author, (kind, name), line.len());
        self.ring.write_text(&mut text, line);
        self.end_line(author, kind, &text);
    }

    /// Begins a line of `length` bytes, which [`append`](Self::append) appends as a whole. Its text is
    /// to be written next, and then [`end_line`](Self::end_line) called.
    pub(super) fn begin_line(
        &mut self,
        now: Instant,
        author: Option<Seat>,
        (kind, name): (LineKind, usize),
        length: usize,
    ) -> Text {
        self.make_room(length);
        if self.queue.front(List::Idle).is_some() {
            self.note_owed(self.ring.head().offset);
        }
        let id = author
            .and_then(|seat| self.peers.peer(seat))
            .map_or(0, |peer| peer.id.get());
        #[cfg(feature = "link")]
        let id = super::link::author(author, id);
        let entry = Entry {
            author: id,
            at: now.as_secs(),
            kind,
            name: u8::try_from(name).unwrap_or(u8::MAX),
            line: "",
        };
        self.ring.begin(&entry, length)
    }

    /// Makes all peers due that do not skip the line, whose text is written.
    pub(super) fn end_line(&mut self, author: Option<Seat>, kind: LineKind, text: &Text) {
        let before = text.line();
        self.neighbours.note_line(text, self.ring.end(text));
        self.stats.lines += 1;
        let echo = self.config.echo;
        let mut spared = None;
        if let Some(seat) = author.filter(|_| !echo && !kind.is_private())
            && let Some(peer) = self.peers.peer_mut(seat)
        {
            let is_there = !peer.is_held_back() && peer.cursor == before;
            if let Some(plain) = peer.plain_mut() {
                plain.own = self.ring.head().sequence;
                spared = Some(seat).filter(|_| is_there && plain.missed == 0);
            }
        }
        if kind.is_private() || (kind == LineKind::Announcement && self.quiet > 0) {
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

    /// Makes each idle peer due, or moves its cursor past the line at `cursor` if it skips it.
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

    /// Evicts lines until there is space for one of `length` bytes, and counts the lines that peers
    /// were still owed.
    pub(super) fn make_room(&mut self, length: usize) {
        let before = self.ring.tail();
        while let Some(oldest) = self.ring.evict_for(length) {
            #[cfg(feature = "link")]
            self.note_overwritten(&oldest);
            let History { start, messages } = &mut self.history;
            if oldest.next.sequence > start.sequence {
                *start = oldest.next;
                *messages -= u32::from(oldest.kind == LineKind::Message);
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

    /// Extends the history by the line that was just appended.
    pub(super) fn extend_history(&mut self, kind: LineKind) {
        let most = if self.config.classic {
            0
        } else {
            u64::from(self.config.history)
        };
        let History { start, messages } = &mut self.history;
        *messages += u32::from(kind == LineKind::Message);
        while let Some(entry) = self.ring.entry(*start) {
            let lines = self.ring.head().sequence - start.sequence;
            let is_message = entry.kind == LineKind::Message;
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

    /// Returns the list that a peer is in, if any.
    pub(super) fn list(&self, seat: Seat, peer: &Peer) -> Option<List> {
        if peer.is_held_back() {
            return None;
        }
        let has_all = peer.cursor == self.ring.head();
        let is_idle = if peer.is_framed() {
            let framed = self.sessions.framed(seat)?;
            if framed.is_held {
                return None;
            }
            has_all && framed.window.room() > 0
        } else {
            has_all && peer.missed() == 0
        };
        Some(if is_idle { List::Idle } else { List::Due })
    }

    /// Returns the offset of the oldest line that a due peer is owed.
    pub(super) fn owed_from(&self, seat: Seat, peer: &Peer) -> u64 {
        let lost = self
            .sessions
            .framed(seat)
            .filter(|_| peer.is_framed())
            .and_then(|framed| framed.window.oldest_lost());
        lost.unwrap_or(peer.cursor.offset)
    }

    /// Puts a peer that is in no list at the end of the one that it belongs in.
    pub(super) fn settle(&mut self, seat: Seat) {
        if let Some(list) = self.catch_up(seat) {
            self.queue.push_back(list, seat);
        }
    }

    /// Moves a peer that was in `list`, and whose settings have changed, to the list that it
    /// belongs in.
    pub(super) fn settle_again(&mut self, list: Option<List>, seat: Seat) {
        self.queue.unlink(list, seat);
        self.settle(seat);
    }

    /// Moves a peer's cursor to a line that is still in the ring and that it does not skip.
    ///
    /// Returns the list that it belongs in, if it can be sent anything.
    pub(super) fn catch_up(&mut self, seat: Seat) -> Option<List> {
        let tail = self.ring.tail();
        let peer = self.peers.peer_mut(seat)?;
        let Dialect::Plain(plain) = &mut peer.dialect else {
            return self.catch_up_framed(seat);
        };
        if peer.cursor.sequence < tail.sequence {
            let missed = tail.sequence - peer.cursor.sequence;
            self.stats.missed += missed;
            peer.cursor = tail;
            if !self.config.classic {
                plain.missed += missed;
            }
        }
        while let Some(entry) = self.ring.entry(peer.cursor) {
            if !plain.skips(peer.id, &entry, self.config.echo) {
                break;
            }
            peer.cursor = entry.next;
        }
        if peer.is_blocked || plain.doubt.is_waiting() {
            return None;
        }
        let offset = peer.cursor.offset;
        if peer.cursor == self.ring.head() && plain.missed == 0 {
            return Some(List::Idle);
        }
        self.note_owed(offset);
        Some(List::Due)
    }

    /// Records that a peer whose cursor is at `offset` is about to become due.
    pub(super) fn note_owed(&mut self, offset: u64) {
        let others = self
            .queue
            .front(List::Due)
            .map_or(u64::MAX, |_| self.owed.get());
        self.owed.set(others.min(offset));
    }
}

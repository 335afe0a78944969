//! The oracle's log: the lines of a room in order, and one reader's position in it.

use core::ops::Range;

use kilochat_core::{DATAGRAM_MAX, LINE_MAX};

/// Bytes that a line occupies in the ring in addition to its text.
const ENTRY: u64 = 12;

/// Maximum number of bytes that a message occupies: two lines of the maximum length.
const MESSAGE: u64 = 2 * (ENTRY + LINE_MAX as u64);

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message of a peer.
    Message,
    /// The announcement of a join, a leave or a rename. It is hidden from a quiet peer.
    Announcement,
    /// A notice to all peers.
    Notice,
    /// What one peer is told, and nobody else.
    Private,
}

/// A line of the room.
#[derive(Clone, Debug)]
pub struct Line {
    /// The text without a line end.
    pub text: String,
    /// The number of the join of the peer that is not shown this line. `None` if all peers are.
    /// For a private message it is the only peer that is shown the line.
    pub author: Option<u32>,
    /// The kind of the line.
    pub kind: Kind,
    offset: u64,
}

/// All lines since the relay started. Those from the tail on are still in its ring.
#[derive(Debug)]
pub struct Log {
    lines: Vec<Line>,
    tail: usize,
    end: u64,
    ring: u64,
}

impl Log {
    /// Creates the empty log of a relay with a ring of this size in bytes.
    pub fn new(ring: usize) -> Self {
        Self {
            lines: Vec::new(),
            tail: 0,
            end: 0,
            ring: ring as u64,
        }
    }

    /// Returns the number of the next line.
    pub fn head(&self) -> usize {
        self.lines.len()
    }

    /// Returns the lines `from..to`.
    pub fn lines(&self, from: usize, to: usize) -> &[Line] {
        &self.lines[from..to]
    }

    /// Returns at most this number of the last lines, without those that were overwritten.
    pub(crate) fn recent(&self, lines: usize) -> &[Line] {
        let from = self.head().saturating_sub(lines).max(self.tail);
        self.lines(from, self.head())
    }

    /// Overwrites lines until a line of `length` bytes fits.
    pub(crate) fn make_room(&mut self, length: usize) {
        let end = self.end + ENTRY + length as u64;
        while self.tail < self.head() && end - self.offset(self.tail) > self.ring {
            self.tail += 1;
        }
    }

    /// Appends a line, for which [`make_room`](Self::make_room) was called.
    pub(crate) fn push(&mut self, text: String, author: Option<u32>, kind: Kind) {
        let offset = self.end;
        self.end += ENTRY + text.len() as u64;
        self.lines.push(Line {
            text,
            author,
            kind,
            offset,
        });
    }

    /// Returns the start of the history: the last `messages` messages, and at most four lines for
    /// each of them.
    pub(crate) fn history(&self, messages: usize) -> usize {
        let first = self.tail.max(self.head().saturating_sub(4 * messages));
        let is_message = |number: &usize| self.lines[*number].kind == Kind::Message;
        (first..self.head())
            .rev()
            .filter(is_message)
            .take(messages)
            .last()
            .unwrap_or(self.head())
    }

    /// Returns whether one more message may overwrite the line with this number.
    pub(crate) fn is_endangered(&self, number: usize) -> bool {
        number < self.head() && self.end + MESSAGE - self.offset(number) > self.ring
    }

    fn offset(&self, number: usize) -> u64 {
        self.lines.get(number).map_or(self.end, |line| line.offset)
    }
}

/// One peer's cursor in the log, and the lines that are hidden from it.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    /// The number of its join.
    pub(crate) id: u32,
    pub(crate) echo: bool,
    pub(crate) classic: bool,
    pub(crate) newline: bool,
    pub(crate) quiet: bool,
    /// The next line to offer.
    pub(crate) next: usize,
    /// Number of lines before it that were overwritten, and that the peer was not told about yet.
    pub(crate) lost: u64,
}

/// The next datagram for a reader.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) payload: String,
    pub(crate) lines: usize,
    /// The first line of the next datagram.
    pub(crate) next: usize,
}

impl Reader {
    /// Returns whether there is a line or a gap to send to it.
    pub(crate) fn is_due(&self, log: &Log) -> bool {
        self.lost > 0 || self.next < log.head()
    }

    /// Returns whether it was not offered a line that is for it. An overwritten line counts as one.
    pub(crate) fn lacks(&self, log: &Log) -> bool {
        let mut reader = self.clone();
        if reader.next >= log.tail {
            reader.skip(log);
        }
        reader.is_due(log)
    }

    pub(crate) fn skips(&self, line: &Line) -> bool {
        if line.kind == Kind::Private {
            return line.author != Some(self.id);
        }
        let is_own = line.author == Some(self.id) && !self.echo;
        is_own || (self.quiet && line.kind == Kind::Announcement)
    }

    /// Moves over lines that are hidden from it.
    pub(crate) fn skip(&mut self, log: &Log) {
        let skipped = log.lines(self.next, log.head()).iter();
        self.next += skipped.take_while(|line| self.skips(line)).count();
    }

    /// Moves over overwritten lines. Returns their number.
    pub(crate) fn catch_up(&mut self, log: &Log) -> u64 {
        if self.next >= log.tail {
            return 0;
        }
        let lost = (log.tail - self.next) as u64;
        self.next = log.tail;
        if !self.classic {
            self.lost += lost;
        }
        self.skip(log);
        lost
    }

    /// Takes back a datagram that could not be sent: these lines, after a gap of `lost` lines.
    /// Returns how many of the lines were overwritten meanwhile.
    pub(crate) fn give_back(&mut self, log: &Log, lines: Range<usize>, lost: u64) -> u64 {
        self.lost += lost;
        if log.tail <= lines.end {
            self.next = lines.start;
            let lost = self.catch_up(log);
            self.skip(log);
            return lost;
        }
        // later lines that were overwritten are already counted, unless the peer was blocked
        let behind = self.catch_up(log);
        let lost = lines.len() as u64;
        if !self.classic {
            self.lost += lost;
        }
        self.skip(log);
        lost + behind
    }

    /// Returns the datagram that a peer which is not quiet receives here, if it holds no line that
    /// is hidden from this one. The two may share that datagram, which ends before an announcement
    /// that did not fit.
    pub(crate) fn shared(&self, log: &Log) -> Option<Due> {
        let mut other = self.clone();
        other.quiet = false;
        let due = other.due(log)?;
        let mut lines = log.lines(self.next, due.next).iter();
        (!lines.any(|line| self.skips(line))).then_some(due)
    }

    /// Returns the next datagram to it, with as many whole lines as fit.
    pub(crate) fn due(&self, log: &Log) -> Option<Due> {
        if !self.is_due(log) {
            return None;
        }
        let mut payload = match self.lost {
            0 => String::new(),
            1 => "* 1 line lost".to_owned(),
            lost => format!("* {lost} lines lost"),
        };
        let mut lines = 0;
        let mut next = self.next;
        for line in log.lines(self.next, log.head()) {
            if line.kind == Kind::Private && lines > 0 {
                break;
            }
            if !self.skips(line) {
                let separator = if payload.is_empty() { "" } else { "\n" };
                let length = payload.len() + separator.len() + line.text.len();
                if length >= DATAGRAM_MAX || (self.classic && lines > 0) {
                    break;
                }
                payload.push_str(separator);
                payload.push_str(&line.text);
                lines += 1;
            }
            next += 1;
        }
        if self.newline {
            payload.push('\n');
        }
        Some(Due {
            payload,
            lines,
            next,
        })
    }
}

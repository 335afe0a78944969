//! The lines of a room in their common order, and one reader's place among them.

use core::ops::Range;

use kilochat_core::{DATAGRAM_MAX, LINE_MAX};

/// What a stored line takes beside its text.
const ENTRY: u64 = 12;

/// What one message can take: two lines of the greatest length.
const MESSAGE: u64 = 2 * (ENTRY + LINE_MAX as u64);

/// What kind of line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What a peer said.
    Message,
    /// Who comes, goes or is renamed: what a quiet peer does not want.
    Announcement,
    /// What everybody is told.
    Notice,
}

/// A line of the room.
#[derive(Clone, Debug)]
pub struct Line {
    /// Without a line end.
    pub text: String,
    /// The join, by its number, of the peer that is not shown this line; none if all are.
    pub author: Option<u32>,
    /// Who wants it.
    pub kind: Kind,
    offset: u64,
}

/// All lines since the relay started; those from the tail on are still in its ring.
#[derive(Debug)]
pub struct Log {
    lines: Vec<Line>,
    tail: usize,
    end: u64,
    ring: u64,
}

impl Log {
    /// An empty log of a relay with a ring of so many bytes.
    pub fn new(ring: usize) -> Self {
        Self {
            lines: Vec::new(),
            tail: 0,
            end: 0,
            ring: ring as u64,
        }
    }

    /// The number of the next line.
    pub fn head(&self) -> usize {
        self.lines.len()
    }

    /// The lines from one number up to another.
    pub fn lines(&self, from: usize, to: usize) -> &[Line] {
        &self.lines[from..to]
    }

    /// Overwrites as much as a line of `length` bytes needs.
    pub(crate) fn make_room(&mut self, length: usize) {
        let end = self.end + ENTRY + length as u64;
        while self.tail < self.head() && end - self.offset(self.tail) > self.ring {
            self.tail += 1;
        }
    }

    /// Adds a line, for which [`make_room`](Self::make_room) was called.
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

    /// Where the last `messages` messages begin, with at most four lines for each of them.
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

    /// Whether one more message may overwrite the line with this number.
    pub(crate) fn is_endangered(&self, number: usize) -> bool {
        number < self.head() && self.end + MESSAGE - self.offset(number) > self.ring
    }

    fn offset(&self, number: usize) -> u64 {
        self.lines.get(number).map_or(self.end, |line| line.offset)
    }
}

/// One peer's place in the log, and what it does not want to see there.
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
    /// Lines before it that were overwritten, and that it has not read the number of.
    pub(crate) lost: u64,
}

/// The next datagram for a reader.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) payload: String,
    pub(crate) lines: usize,
    /// Where the next one begins.
    pub(crate) next: usize,
}

impl Reader {
    /// Whether something is to be sent to it.
    pub(crate) fn is_due(&self, log: &Log) -> bool {
        self.lost > 0 || self.next < log.head()
    }

    /// Whether it was not offered a line that is for it, or is not known to be for others.
    pub(crate) fn lacks(&self, log: &Log) -> bool {
        let mut reader = self.clone();
        if reader.next >= log.tail {
            reader.skip(log);
        }
        reader.is_due(log)
    }

    pub(crate) fn skips(&self, line: &Line) -> bool {
        let is_own = line.author == Some(self.id) && !self.echo;
        is_own || (self.quiet && line.kind == Kind::Announcement)
    }

    /// Moves on to a line that it wants.
    pub(crate) fn skip(&mut self, log: &Log) {
        let skipped = log.lines(self.next, log.head()).iter();
        self.next += skipped.take_while(|line| self.skips(line)).count();
    }

    /// Moves on to what is still there, and returns how many lines are not.
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

    /// Lines that it was to get, behind a gap of `lost` ones, are to be offered again. Returns how
    /// many of them are not there any more.
    pub(crate) fn give_back(&mut self, log: &Log, lines: Range<usize>, lost: u64) -> u64 {
        self.lost += lost;
        if log.tail <= lines.end {
            self.next = lines.start;
            let lost = self.catch_up(log);
            self.skip(log);
            return lost;
        }
        // what was overwritten behind them is counted already, unless it could not be sent anyway
        let behind = self.catch_up(log);
        let lost = lines.len() as u64;
        if !self.classic {
            self.lost += lost;
        }
        self.skip(log);
        lost + behind
    }

    /// What a peer that is not quiet gets at this place, if that holds nothing to be hidden: two
    /// such peers may share a datagram, which ends before an announcement that did not fit.
    pub(crate) fn shared(&self, log: &Log) -> Option<Due> {
        let mut other = self.clone();
        other.quiet = false;
        let due = other.due(log)?;
        let mut lines = log.lines(self.next, due.next).iter();
        (!lines.any(|line| self.skips(line))).then_some(due)
    }

    /// What one datagram to it holds now: as many whole lines as fit.
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

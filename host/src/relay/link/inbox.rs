//! What is shown of the messages from elsewhere: each line once, holes as numbers, and not more than
//! people and the ring can take.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use heapless::String;
use jiff::Timestamp;
use kilochat_core::{LinkSeen, Name};

use super::counters::LinkCounters;
use super::engine::Message;
use super::known::Known;
use super::wire::{self, Header, Line};
use super::{Incoming, Notice};
use crate::args::Token;

/// Number of runs whose last line is remembered.
const RUNS: usize = 1024;

/// Each line of a place takes this time of its account.
const LINE: Duration = Duration::from_millis(1);

/// Maximum overdraft of an account: 20,000 lines at once, as many as come from a ring after an outage.
const OVERDRAFT: Duration = Duration::from_secs(20);

/// Minimum time between two notices that lines of a place were left out.
const INTERVAL: Duration = Duration::from_secs(5);

/// Maximum number of accounts.
const ACCOUNTS_MAX: usize = 4096;

/// Maximum size of the lines of an outage that are shown, in bytes of the ring: a quarter of it.
const OUTAGE_MAX: usize = 256 << 10;

/// Bytes that an entry of the ring has beside its text.
const ENTRY: usize = 12;

/// Turns messages into lines and notices.
#[derive(Debug)]
pub(super) struct Inbox {
    place: Token,
    run: u64,
    /// The run of another living relay that has the name of this place.
    twin: Option<u64>,
    seen: Box<LinkSeen<RUNS>>,
    /// Number of the last line of this run that came back.
    own: u64,
    accounts: HashMap<Token, Account>,
    /// What was restored from the disk, until the lines from before the start are shown.
    known: Known,
    held: Option<Held>,
    out: VecDeque<Incoming>,
}

/// How much a place has said.
#[derive(Debug)]
struct Account {
    /// When it has paid for all its lines.
    paid: Instant,
    left_out: u64,
    /// Earliest time of the next notice.
    next: Instant,
}

/// Old lines that are shown when the last of them has come.
#[derive(Debug)]
struct Held {
    lines: VecDeque<(Timestamp, Incoming)>,
    bytes: usize,
    limit: Limit,
    left_out: u64,
}

/// How many old lines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// So many lines from before the start.
    Lines(usize),
    /// So many bytes from an outage.
    Bytes(usize),
}

impl Inbox {
    /// Returns an empty inbox of a run of a place that begins with these lines.
    pub(super) fn new(place: Token, run: u64, known: Known) -> Self {
        Self {
            place,
            run,
            twin: None,
            seen: Box::default(),
            own: 0,
            accounts: HashMap::new(),
            known,
            held: None,
            out: VecDeque::new(),
        }
    }

    /// Returns the next line or notice.
    pub(super) fn next(&mut self) -> Option<Incoming> {
        self.out.pop_front()
    }

    /// Returns the number of the last line of this run that came back from the engine.
    pub(super) const fn own(&self) -> u64 {
        self.own
    }

    /// Takes that another relay has the name of this place.
    pub(super) const fn set_twin(&mut self, run: u64) {
        self.twin = Some(run);
    }

    /// Begins to read what was said before the start, of which the last `lines` lines are shown.
    pub(super) fn hold_past(&mut self, lines: usize) {
        self.hold(Limit::Lines(lines));
    }

    /// Begins to read what was said in an outage.
    pub(super) fn hold_outage(&mut self) {
        self.hold(Limit::Bytes(OUTAGE_MAX));
    }

    fn hold(&mut self, limit: Limit) {
        // an attempt that broke off is continued
        if self.held.is_none() {
            self.held = Some(Held {
                lines: VecDeque::new(),
                bytes: 0,
                limit,
                left_out: 0,
            });
        }
    }

    /// Returns whether old lines are read.
    pub(super) const fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Shows the old lines: the last one has come. Of those from before `started` only the number is told.
    pub(super) fn release(&mut self, started: Option<Timestamp>, counters: &LinkCounters) {
        let Some(held) = self.held.take() else {
            return;
        };
        let mut known = core::mem::take(&mut self.known);
        let now = Timestamp::now();
        let mut lines = held.lines;
        lines.retain(|(_, incoming)| !is_known(&mut known, now, incoming));
        let is_new = |time: &Timestamp| started.is_none_or(|started| *time > started);
        let is_outage = matches!(held.limit, Limit::Bytes(_));
        let old = lines.iter().filter(|(time, _)| !is_new(time)).count() as u64;
        let left_out = old + if is_outage { held.left_out } else { 0 };
        if left_out > 0 {
            counters.left_out.add(left_out);
            self.add(Incoming::Notice(Notice::InHistory { lines: left_out }));
        }
        for (_, incoming) in lines.into_iter().filter(|(time, _)| is_new(time)) {
            self.push(incoming, counters);
        }
    }

    /// Adds something that is passed on after what is there already.
    pub(super) fn add(&mut self, incoming: Incoming) {
        self.out.push_back(incoming);
    }

    /// Takes back what could not be passed on.
    pub(super) fn put_back(&mut self, incoming: Incoming) {
        self.out.push_front(incoming);
    }

    fn push(&mut self, incoming: Incoming, counters: &LinkCounters) {
        let is_line = matches!(incoming, Incoming::Line { .. });
        counters.lines_in.add(is_line.into());
        self.out.push_back(incoming);
    }

    /// Takes a message.
    pub(super) fn take(&mut self, now: Instant, message: &Message<'_>, counters: &LinkCounters) {
        let header = message.header.and_then(Header::read);
        let Some((place, header)) = wire::place(message.subject).zip(header) else {
            counters.malformed.add(1);
            return;
        };
        let Header {
            run, first, lines, ..
        } = header;
        let is_own = place == self.place;
        if is_own && run == self.run {
            self.own = self.own.max(first + u64::from(lines) - 1);
            return;
        }
        let Some(read) = wire::read_lines(message.body, lines) else {
            counters.malformed.add(1);
            return;
        };
        let fresh = self.seen.take(place.as_str(), run, header.batch());
        counters.duplicates.add(fresh.known.into());
        // who was not here yet has lost nothing
        let held = self.held.as_ref();
        let is_past = held.is_some_and(|held| matches!(held.limit, Limit::Lines(_)));
        if fresh.lost > 0 && !is_past {
            counters.lost.add(fresh.lost);
            let lost = Notice::Lost {
                place: place.clone(),
                lines: fresh.lost,
            };
            self.show(message.time, Incoming::Notice(lost), counters);
        }
        let shown = (!is_own || self.twin == Some(run)).then(|| place.clone());
        for line in read.iter().skip(fresh.known.into()) {
            if self.held.is_none() && !self.pays(now, &place) {
                counters.left_out.add(1);
                continue;
            }
            let incoming = self.incoming(message.time, shown.clone(), line);
            self.show(message.time, incoming, counters);
        }
    }

    /// Returns a line for the relay with its age: what its place states and, if it waited at the engine,
    /// the time since the engine's time stamp by this machine's clock.
    fn incoming(&self, time: Timestamp, place: Option<Token>, line: &Line) -> Incoming {
        let waited = if self.is_holding() {
            let waited = Timestamp::now().duration_since(time);
            Duration::try_from(waited).unwrap_or_default()
        } else {
            Duration::ZERO
        };
        Incoming::Line {
            age: waited + line.age,
            place,
            // wire checks the lengths
            name: Name::try_from(&*line.name).unwrap_or_default(),
            text: String::try_from(&*line.text).unwrap_or_default(),
        }
    }

    /// Shows something, or keeps it until the last old line has come.
    fn show(&mut self, time: Timestamp, incoming: Incoming, counters: &LinkCounters) {
        let Some(held) = &mut self.held else {
            return self.push(incoming, counters);
        };
        held.bytes += size(&incoming);
        held.lines.push_back((time, incoming));
        while match held.limit {
            Limit::Lines(most) => held.lines.len() > most,
            Limit::Bytes(most) => held.bytes > most,
        } {
            let Some((_, oldest)) = held.lines.pop_front() else {
                return;
            };
            held.bytes -= size(&oldest);
            held.left_out += u64::from(matches!(oldest, Incoming::Line { .. }));
        }
    }

    /// Charges a place for a line. Returns whether it may be shown: too many would hold up the lines of
    /// the others.
    fn pays(&mut self, now: Instant, place: &Token) -> bool {
        if self.accounts.len() >= ACCOUNTS_MAX {
            self.accounts.retain(|_, account| account.paid > now);
        }
        let account = self.accounts.entry(place.clone()).or_insert(Account {
            paid: now,
            left_out: 0,
            next: now,
        });
        let paid = account.paid.max(now) + LINE;
        if paid > now + OVERDRAFT {
            account.left_out += 1;
            return false;
        }
        account.paid = paid;
        true
    }

    /// Tells which places had lines that were left out.
    pub(super) fn tell_left_out(&mut self, now: Instant) {
        for (place, account) in &mut self.accounts {
            if account.left_out > 0 && now >= account.next {
                account.next = now + INTERVAL;
                let left_out = Notice::LeftOut {
                    place: place.clone(),
                    lines: core::mem::take(&mut account.left_out),
                };
                self.out.push_back(Incoming::Notice(left_out));
            }
        }
    }
}

/// Returns whether a line was restored from the disk.
fn is_known(known: &mut Known, now: Timestamp, incoming: &Incoming) -> bool {
    match incoming {
        Incoming::Line {
            age,
            place,
            name,
            text,
        } => {
            let said = now.checked_sub(*age).unwrap_or(now);
            known.take(said, place.as_ref(), name, text)
        }
        Incoming::Notice(_) | Incoming::Report(_) | Incoming::Ready => false,
    }
}

/// Returns about how many bytes of the ring it takes.
fn size(incoming: &Incoming) -> usize {
    match incoming {
        Incoming::Line {
            place, name, text, ..
        } => {
            ENTRY + name.len() + text.len() + place.as_ref().map_or(0, |place| place.as_str().len())
        }
        Incoming::Notice(_) | Incoming::Report(_) | Incoming::Ready => ENTRY,
    }
}

#[cfg(test)]
mod tests;

//! Reordering of received lines: datagrams that arrived early wait for earlier ones.

use core::iter;

use heapless::Vec;

use super::Dropped;
use crate::wire::DATAGRAM_MAX;
use crate::wire::framed::{DATA_HEADER, Data, Entry, Gap, RANGES_MAX, Range};

/// Maximum length of the entries in a datagram, in bytes.
const ENTRIES_MAX: usize = DATAGRAM_MAX - DATA_HEADER;

/// Each line in `shown..next` is in a slot or lost. Lines from `next` on that are in a slot arrived
/// early. There is one slot more than `HELD`, so that the next missing line always has space.
#[derive(Clone, Debug)]
pub(super) struct Receiving<const HELD: usize> {
    next: u64,
    shown: u64,
    spare: Slot,
    held: [Slot; HELD],
}

/// The lines `first..end` of a datagram. The slot is free if all of them were shown.
#[derive(Clone, Debug)]
struct Slot {
    first: u64,
    end: u64,
    /// Offsets in `bytes`: where the line `first` starts, and where the last one ends.
    start: usize,
    length: usize,
    bytes: [u8; ENTRIES_MAX],
}

/// The next item for the driver.
pub(super) enum Next {
    /// A line: see [`Receiving::entry`].
    Line(Place),
    /// This number of lines, from this one on, are lost.
    Lost { from: u64, lines: u64 },
}

/// The location of the line `sequence`, which is valid until the next datagram is accepted.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) sequence: u64,
    slot: usize,
    start: usize,
}

impl<const HELD: usize> Receiving<HELD> {
    pub(super) const fn new() -> Self {
        Self {
            next: 0,
            shown: 0,
            spare: Slot::FREE,
            held: [const { Slot::FREE }; HELD],
        }
    }

    /// Clears all state; the first expected line is `first`.
    pub(super) fn restart(&mut self, first: u64) {
        self.next = first;
        self.shown = first;
        self.slots_mut().for_each(|slot| slot.end = 0);
    }

    /// Returns the first line that has neither arrived nor is known to be lost.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Stores the lines of a datagram. Returns whether an ACK must be sent at once, because a line
    /// is newly missing or a missing one arrived.
    ///
    /// # Errors
    ///
    /// The reason for which the datagram was dropped.
    pub(super) fn accept(&mut self, data: &Data<'_>) -> Result<bool, Dropped> {
        let first = data.first;
        let lines = data.entries().map(|_| 1).sum::<u64>();
        let end = first.saturating_add(lines);
        if self.run_end(first.max(self.next)) >= end {
            return Err(Dropped::Duplicate);
        }
        let free = self.slots().filter(|slot| self.is_free(slot)).count();
        let wanted = if first > self.next { 2 } else { 1 };
        if free < wanted || end.saturating_sub(self.next) > u16::MAX.into() {
            return Err(Dropped::NoRoom);
        }
        let highest = self.highest();
        let shown = self.shown;
        if let Some(slot) = self.slots_mut().find(|slot| slot.end <= shown) {
            slot.fill(first, end, data.bytes());
        }
        self.next = self.run_end(self.next);
        Ok(first != highest)
    }

    /// Lines before `gap.until` that have not arrived are lost.
    pub(super) fn skip(&mut self, gap: &Gap) -> Result<(), Dropped> {
        if gap.from > self.next {
            return Err(Dropped::Unexpected);
        }
        if gap.until <= self.next {
            return Err(Dropped::Duplicate);
        }
        self.next = self.run_end(gap.until);
        Ok(())
    }

    /// Lines that are missing will not arrive. Returns whether everything was shown.
    pub(super) fn release(&mut self) -> bool {
        self.next = self.highest();
        self.shown == self.next
    }

    /// Returns whether lines have arrived after a missing one.
    pub(super) fn has_holes(&self) -> bool {
        self.highest() > self.next
    }

    /// Returns the next item, and advances past it.
    pub(super) fn advance(&mut self) -> Option<Next> {
        let shown = self.shown;
        if shown >= self.next {
            return None;
        }
        let found = self.slots_mut().enumerate().find_map(|(slot, found)| {
            found.holds(shown).then(|| Place {
                sequence: shown,
                slot,
                start: found.take(shown),
            })
        });
        if let Some(place) = found {
            self.shown = shown.saturating_add(1);
            return Some(Next::Line(place));
        }
        let held = self.slots().map(|slot| slot.first);
        let held = held.filter(|&first| first > shown).min();
        self.shown = held.unwrap_or(self.next).min(self.next);
        Some(Next::Lost {
            from: shown,
            lines: self.shown.saturating_sub(shown),
        })
    }

    /// Returns the line that [`advance`](Self::advance) found.
    pub(super) fn entry(&self, place: Place) -> Option<Entry<'_>> {
        let slot = self.slots().nth(place.slot)?;
        let entries = slot.bytes.get(place.start..slot.length)?;
        Entry::split(entries).map(|(entry, _)| entry)
    }

    /// Returns the selective acknowledgement: the last ranges after `next`.
    pub(super) fn ranges(&self) -> Vec<Range, RANGES_MAX> {
        let runs = || iter::successors(self.run_behind(self.next), |run| self.run_behind(run.1));
        let unsaid = runs().count().saturating_sub(RANGES_MAX);
        let mut ranges = Vec::new();
        let mut end = self.next;
        for (first, last) in runs().skip(unsaid) {
            let skip = u16::try_from(first.saturating_sub(end));
            let run = u16::try_from(last.saturating_sub(first));
            let (Ok(skip), Ok(run)) = (skip, run) else {
                break;
            };
            if ranges.push(Range { skip, run }).is_err() {
                break;
            }
            end = last;
        }
        ranges
    }

    /// Returns the first consecutive lines at or after `from` that have arrived.
    fn run_behind(&self, from: u64) -> Option<(u64, u64)> {
        let slots = self.slots().filter(|slot| slot.end > from);
        let first = slots.map(|slot| slot.first.max(from)).min()?;
        Some((first, self.run_end(first)))
    }

    /// Returns the end of the consecutive lines from `from` on.
    fn run_end(&self, from: u64) -> u64 {
        let mut end = from;
        while let Some(slot) = self.slots().find(|slot| slot.holds(end)) {
            end = slot.end;
        }
        end
    }

    /// Returns the end of the last line that has arrived.
    fn highest(&self) -> u64 {
        self.slots().map(|slot| slot.end).fold(self.next, u64::max)
    }

    const fn is_free(&self, slot: &Slot) -> bool {
        slot.end <= self.shown
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        iter::once(&self.spare).chain(&self.held)
    }

    fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        iter::once(&mut self.spare).chain(&mut self.held)
    }
}

impl Slot {
    const FREE: Self = Self {
        first: 0,
        end: 0,
        start: 0,
        length: 0,
        bytes: [0; ENTRIES_MAX],
    };

    fn fill(&mut self, first: u64, end: u64, entries: &[u8]) {
        if let Some(bytes) = self.bytes.get_mut(..entries.len()) {
            bytes.copy_from_slice(entries);
            self.first = first;
            self.end = end;
            self.start = 0;
            self.length = entries.len();
        }
    }

    const fn holds(&self, sequence: u64) -> bool {
        self.first <= sequence && sequence < self.end
    }

    /// Advances past the line `sequence`, which is in this slot. Returns its offset.
    fn take(&mut self, sequence: u64) -> usize {
        let mut at = self.start;
        while self.first <= sequence {
            at = self.start;
            let entries = self.bytes.get(at..self.length).unwrap_or_default();
            let rest = Entry::split(entries).map_or(0, |(_, rest)| rest.len());
            self.start = self.length.saturating_sub(rest);
            self.first += 1;
        }
        at
    }
}

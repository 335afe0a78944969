//! What is on its way to one peer that acknowledges: how much may be, what is lost, when to try again.

use heapless::Vec;

use crate::relay::ring::Cursor;
use crate::wire::framed::Ack;
use crate::wire::round_trip::RoundTrip;

/// Datagrams on their way at first.
const INITIAL: u8 = 4;

/// ... and at least: of one alone nothing can be overtaken, and only time-outs would repair.
const LIMIT_MIN: u8 = 2;

/// The shortest and the longest time, in milliseconds, until a datagram is thought to be lost.
const RTO_MIN_MS: u16 = 300;
const RTO_MAX_MS: u16 = 3000;

/// How often the clock ticks, in milliseconds: no round trip is known to be shorter.
const CLOCK_MS: u16 = 1;

/// What one datagram of lines holds.
#[derive(Clone, Copy, Debug)]
pub(in crate::relay) struct Segment {
    /// Bytes of its entries.
    pub(in crate::relay) bytes: u16,
    pub(in crate::relay) lines: u8,
}

/// A datagram of lines that was sent and not yet acknowledged for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flight {
    /// Bytes of its entries.
    bytes: u16,
    /// When it was last sent, on the clock of [`Window::handle_ack`].
    sent_at: u16,
    lines: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// On its way.
    Sent,
    /// To be sent again.
    Lost,
    /// It arrived; one before it has not.
    Held,
}

/// The lines between what a peer has acknowledged and what was sent to it, datagram by datagram,
/// at most `WINDOW` of them.
#[derive(Clone, Debug)]
pub(in crate::relay) struct Window<const WINDOW: usize> {
    /// Where the first flight starts, or the next one will.
    base: Cursor,
    /// The first line that the peer does not have, as it says; less than the base where lines
    /// between them were overwritten.
    acked: u64,
    /// When it was told of those, if that is not too long ago.
    gap_sent_at: Option<u16>,
    flights: Vec<Flight, WINDOW, u8>,
    /// How many of the flights are on their way, and how many must be sent again.
    underway: u8,
    lost: u8,
    /// How many flights may be on their way.
    limit: u8,
    /// How many were acknowledged since the limit was last raised.
    clean: u8,
    /// Whether nothing was ever lost: then the limit doubles with each round.
    is_lossless: bool,
    /// Time-outs since something was last acknowledged.
    timeouts: u8,
    round_trip: RoundTrip,
}

impl<const WINDOW: usize> Window<WINDOW> {
    /// Nothing is on its way yet; the peer has everything before `acked`, and lines between that and
    /// `base` were overwritten.
    pub(super) const fn new(acked: u64, base: Cursor) -> Self {
        const {
            assert!(WINDOW > 0 && WINDOW < 256);
        }
        Self {
            base,
            acked,
            gap_sent_at: None,
            flights: Vec::new(),
            underway: 0,
            lost: 0,
            limit: Self::limited(INITIAL),
            clean: 0,
            is_lossless: true,
            timeouts: 0,
            round_trip: RoundTrip::new(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than 256")]
    const fn limited(limit: u8) -> u8 {
        if limit > WINDOW as u8 {
            WINDOW as u8
        } else {
            limit
        }
    }

    /// The first line that the peer does not have, as far as it has said.
    pub(super) const fn acked(&self) -> u64 {
        self.acked
    }

    /// How many time-outs there were since something was last acknowledged.
    pub(super) const fn timeouts(&self) -> u8 {
        self.timeouts
    }

    /// The first overwritten line that the peer must be told of now, and the first that is left.
    pub(in crate::relay) fn gap(&self) -> Option<(u64, u64)> {
        let is_due = self.has_gap() && self.gap_sent_at.is_none();
        is_due.then_some((self.acked, self.base.sequence))
    }

    const fn has_gap(&self) -> bool {
        self.acked < self.base.sequence
    }

    /// The first datagram that must be sent again and may be now: where it starts and ends.
    pub(in crate::relay) fn lost(&self) -> Option<(Cursor, Cursor)> {
        let (start, flight) = self.first_lost()?;
        let may_be = self.underway < self.limit;
        may_be.then(|| (start, flight.end(start)))
    }

    fn first_lost(&self) -> Option<(Cursor, Flight)> {
        if self.lost == 0 {
            return None;
        }
        self.starts()
            .find(|(_, flight)| flight.state == State::Lost)
    }

    /// How many datagrams with new lines may be sent now; none while anything else comes first.
    pub(in crate::relay) fn room(&self) -> usize {
        if self.gap().is_some() || self.lost > 0 {
            return 0;
        }
        let limit = usize::from(self.limit.saturating_sub(self.underway));
        limit.min(WINDOW - self.flights.len().min(WINDOW))
    }

    /// Flights were taken away, or are in another state.
    fn recount(&mut self) {
        (self.underway, self.lost) = (0, 0);
        for flight in &self.flights {
            self.underway += u8::from(flight.state == State::Sent);
            self.lost += u8::from(flight.state == State::Lost);
        }
    }

    /// The next lines were sent for the first time, in these datagrams.
    pub(in crate::relay) fn handle_sent(&mut self, now: u16, segments: &[Segment]) {
        for &Segment { bytes, lines } in segments {
            // there was room
            let pushed = self.flights.push(Flight {
                bytes,
                sent_at: now,
                lines,
                state: State::Sent,
            });
            self.underway += u8::from(pushed.is_ok());
        }
    }

    /// The flight that starts at this sequence number was sent again.
    pub(in crate::relay) fn handle_resent(&mut self, now: u16, sequence: u64) {
        if let Some(flight) = self.flight_at(sequence) {
            flight.state = State::Sent;
            flight.sent_at = now;
            self.recount();
        }
    }

    /// The peer was told what was overwritten.
    pub(in crate::relay) const fn handle_gap_sent(&mut self, now: u16) {
        self.gap_sent_at = Some(now);
    }

    /// The network did not take the lines `from..to` that were just sent. Those that are new and the
    /// last are forgotten, others count as lost.
    pub(in crate::relay) fn handle_refused(&mut self, from: u64, to: u64, is_new: bool) {
        let mut is_last = is_new && self.end().sequence == to;
        while is_last && let Some((start, flight)) = self.starts().last() {
            is_last = flight.state == State::Sent && start.sequence >= from;
            if is_last {
                self.flights.pop();
            }
        }
        let mut start = self.base.sequence;
        for flight in &mut self.flights {
            let is_within = (from..to).contains(&start);
            start += u64::from(flight.lines);
            if is_within && flight.state == State::Sent {
                flight.state = State::Lost;
            }
        }
        self.recount();
    }

    /// The network did not take what says that lines were overwritten.
    pub(in crate::relay) const fn handle_gap_refused(&mut self) {
        self.gap_sent_at = None;
    }

    /// The peer says what it has; `now` is the clock whose times are echoed.
    pub(super) fn handle_ack(&mut self, now: u16, ack: &Ack) {
        if let Some(echo) = ack.echo {
            self.round_trip.sample(now.wrapping_sub(echo).max(CLOCK_MS));
        }
        let mut arrived = self.advance(ack.next);
        let mut first = ack.next;
        for range in &ack.ranges {
            first += u64::from(range.skip);
            let last = first.saturating_add(range.run.into());
            arrived += self.hold(first, last);
            first = last;
        }
        if arrived > 0 {
            self.timeouts = 0;
            self.grow(arrived);
        }
        self.note_holes(now);
        self.recount();
    }

    /// The peer has all lines before `next`. Returns how many datagrams that were on their way are
    /// known to have arrived by that.
    pub(super) fn advance(&mut self, next: u64) -> u8 {
        let next = next.min(self.end().sequence);
        if next <= self.acked {
            return 0;
        }
        self.acked = next;
        if !self.has_gap() {
            self.gap_sent_at = None;
        }
        let mut arrived = 0;
        let mut base = self.base;
        let mut is_behind = false;
        self.flights.retain(|flight| {
            let end = flight.end(base);
            // all flights behind one that is kept are kept
            is_behind |= end.sequence > next;
            if !is_behind {
                base = end;
                arrived += u8::from(flight.state != State::Held);
            }
            is_behind
        });
        self.base = base;
        self.recount();
        arrived
    }

    /// The peer has the lines `first..last`, but not all before them.
    fn hold(&mut self, first: u64, last: u64) -> u8 {
        let mut start = self.base;
        let mut arrived = 0;
        for flight in &mut self.flights {
            let end = flight.end(start);
            if start.sequence >= first && end.sequence <= last && flight.state != State::Held {
                flight.state = State::Held;
                arrived += 1;
            }
            start = end;
        }
        arrived
    }

    /// Finds flights that others have overtaken, and that had a round trip to arrive.
    fn note_holes(&mut self, now: u16) {
        // between two readings of the clock a tick may be missing
        let patience = match self.round_trip.smoothed_ms() {
            Some(smoothed) => smoothed.saturating_sub(CLOCK_MS),
            None => self.round_trip.rto_ms(),
        };
        let held = |flight: &Flight| flight.state == State::Held;
        let Some(last) = self.flights.iter().rposition(held) else {
            return;
        };
        for flight in self.flights.iter_mut().take(last) {
            if flight.state == State::Sent && now.wrapping_sub(flight.sent_at) >= patience {
                flight.state = State::Lost;
                self.is_lossless = false;
                self.clean = 0;
            }
        }
    }

    /// Time passed: returns whether something has been on its way for too long.
    pub(super) fn handle_timeout(&mut self, now: u16) -> bool {
        let rto = self.rto_ms();
        let is_over = |sent_at: u16| now.wrapping_sub(sent_at) >= rto;
        let mut is_late = false;
        for flight in &mut self.flights {
            if flight.state == State::Sent && is_over(flight.sent_at) {
                flight.state = State::Lost;
                is_late = true;
            }
        }
        if self.gap_sent_at.is_some_and(is_over) {
            self.gap_sent_at = None;
            is_late = true;
        }
        if is_late {
            self.timeouts = self.timeouts.saturating_add(1);
            self.limit = Self::limited((self.limit / 2).max(LIMIT_MIN));
            self.clean = 0;
            self.is_lossless = false;
            self.recount();
        }
        is_late
    }

    /// In how many milliseconds something will have been on its way for too long; none if nothing is.
    pub(super) fn timeout_ms(&self, now: u16) -> Option<u16> {
        let rto = self.rto_ms();
        let sent = self
            .flights
            .iter()
            .filter(|flight| flight.state == State::Sent)
            .map(|flight| flight.sent_at)
            .chain(self.gap_sent_at);
        sent.map(|sent_at| rto.saturating_sub(now.wrapping_sub(sent_at)))
            .min()
    }

    /// Lines before `tail` are gone: if lines are lost of them, or were not sent yet, all of them are
    /// a gap now. Returns how many the peer is not known to have.
    pub(super) fn handle_overwritten(&mut self, tail: Cursor) -> u64 {
        if self.base.offset >= tail.offset {
            return 0;
        }
        let end = self.end();
        let is_unsent_gone = end.offset < tail.offset;
        let is_lost_gone = self.oldest_lost().is_some_and(|lost| lost < tail.offset);
        if !is_unsent_gone && !is_lost_gone {
            return 0;
        }
        let mut start = self.base;
        let mut missed = 0;
        self.flights.retain_mut(|flight| {
            if start.offset >= tail.offset {
                return true;
            }
            let end = flight.end(start);
            // what is left of a flight is kept
            let next = if end.offset > tail.offset { tail } else { end };
            if flight.state != State::Held {
                missed += next.sequence - start.sequence;
            }
            start = next;
            flight.shorten(start, end)
        });
        if is_unsent_gone {
            missed += tail.sequence - end.sequence;
            start = tail;
        }
        self.base = start;
        self.recount();
        // another gap than the one that the peer may have been told of
        self.gap_sent_at = None;
        missed
    }

    /// Where the oldest lines start that were sent and not acknowledged.
    pub(super) const fn base(&self) -> Cursor {
        self.base
    }

    /// Forgets what is on its way: it will be sent again from `base` on.
    pub(super) fn restart(&mut self, base: Cursor) {
        self.base = base;
        self.flights.clear();
        self.recount();
        self.gap_sent_at = None;
        self.limit = Self::limited(INITIAL);
        self.clean = 0;
        self.timeouts = 0;
    }

    /// The peer has everything before `base`, all that is on its way included.
    pub(super) fn skip_to(&mut self, base: Cursor) {
        self.base = base;
        self.acked = self.acked.max(base.sequence);
        self.flights.clear();
        self.recount();
        self.gap_sent_at = None;
        self.timeouts = 0;
    }

    /// The place of the first line that must be sent again, if any.
    pub(in crate::relay) fn oldest_lost(&self) -> Option<u64> {
        self.first_lost().map(|(start, _)| start.offset)
    }

    fn starts(&self) -> impl Iterator<Item = (Cursor, Flight)> + '_ {
        let mut start = self.base;
        self.flights.iter().map(move |flight| {
            let this = start;
            start = flight.end(start);
            (this, *flight)
        })
    }

    /// Behind the last line that was sent.
    pub(super) fn end(&self) -> Cursor {
        self.flights
            .iter()
            .fold(self.base, |start, flight| flight.end(start))
    }

    fn flight_at(&mut self, sequence: u64) -> Option<&mut Flight> {
        let mut start = self.base;
        self.flights.iter_mut().find(|flight| {
            let is_it = start.sequence == sequence;
            start = flight.end(start);
            is_it
        })
    }

    /// In how many milliseconds what is sent now will have been on its way for too long.
    pub(super) fn rto_ms(&self) -> u16 {
        let mut rto = self.round_trip.rto_ms().clamp(RTO_MIN_MS, RTO_MAX_MS);
        for _ in 0..self.timeouts.min(6) {
            rto += rto / 2;
            rto = rto.min(RTO_MAX_MS);
        }
        rto
    }

    fn grow(&mut self, arrived: u8) {
        self.clean = self.clean.saturating_add(arrived);
        if self.clean >= self.limit {
            self.clean = 0;
            let more = if self.is_lossless { self.limit } else { 1 };
            self.limit = Self::limited(self.limit.saturating_add(more));
        }
    }
}

impl Flight {
    /// Lets it start at `start` and end at `end` as before; returns whether anything is left.
    fn shorten(&mut self, start: Cursor, end: Cursor) -> bool {
        // neither is more than before
        self.bytes = u16::try_from(end.offset - start.offset).unwrap_or(self.bytes);
        self.lines = u8::try_from(end.sequence - start.sequence).unwrap_or(self.lines);
        self.lines > 0
    }

    fn end(&self, start: Cursor) -> Cursor {
        Cursor {
            sequence: start.sequence + u64::from(self.lines),
            offset: start.offset + u64::from(self.bytes),
        }
    }
}

#[cfg(test)]
mod tests;

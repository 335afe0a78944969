//! Congestion control for one peer of the framed dialect: what is in flight, what is lost, and when
//! to retransmit.
//!
//! The congestion window doubles with each round trip until the first loss (slow start) and grows
//! by one datagram with each round trip after it. A selective acknowledgement of a later datagram
//! or the time-out of RFC 6298 shows that a datagram was lost; only the time-out halves the window.

use heapless::Vec;

use crate::relay::ring::Cursor;
use crate::wire::RoundTrip;
use crate::wire::framed::Ack;

/// Initial congestion window, in datagrams.
const CONGESTION_WINDOW_INITIAL: u8 = 4;

/// Minimum congestion window. With one datagram in flight no later one can reveal its loss, so that
/// every loss would cost a time-out.
const CONGESTION_WINDOW_MIN: u8 = 2;

/// Bounds of the retransmission time-out, in milliseconds.
const RTO_MIN_MS: u16 = 300;
const RTO_MAX_MS: u16 = 3000;

/// Resolution of the clock in milliseconds, which is the shortest round-trip time that can be
/// measured.
const CLOCK_MS: u16 = 1;

/// The contents of one datagram of lines.
#[derive(Clone, Copy, Debug)]
pub(in crate::relay) struct Segment {
    /// Total length of the lines in bytes, with the entry header of each but without the header of
    /// the datagram.
    pub(in crate::relay) bytes: u16,
    pub(in crate::relay) lines: u8,
}

/// A datagram of lines that was sent, and that the cumulative acknowledgement does not cover yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flight {
    /// Length of its entries in bytes.
    bytes: u16,
    /// When it was last sent, on the clock that [`Window::handle_ack`] is passed.
    sent_at: u16,
    lines: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In flight.
    Sent,
    /// To be retransmitted.
    Lost,
    /// Acknowledged selectively; an earlier one is missing.
    Held,
}

/// The datagrams of lines between what a peer has acknowledged and what was sent to it, at most
/// `WINDOW` of them.
#[derive(Clone, Debug)]
pub(in crate::relay) struct Window<const WINDOW: usize> {
    /// Where the first flight starts, or where the next one will start if there is none.
    base: Cursor,
    /// The first line that the peer does not have, as far as acknowledged. It is less than the
    /// sequence number of `base` if lines between them were overwritten.
    acked: u64,
    /// When the peer was last sent the GAP for these lines, or `None` if that must be sent (again).
    gap_sent_at: Option<u16>,
    flights: Vec<Flight, WINDOW, u8>,
    /// Number of flights in the states [`State::Sent`] and [`State::Lost`].
    in_flight: u8,
    lost: u8,
    /// Congestion window, in datagrams.
    congestion_window: u8,
    /// Datagrams acknowledged since the congestion window last grew.
    acked_since_growth: u8,
    /// Whether no datagram was ever lost. Until then the window doubles with each round trip.
    is_slow_start: bool,
    /// Consecutive time-outs without an acknowledgement.
    timeouts: u8,
    round_trip: RoundTrip,
}

impl<const WINDOW: usize> Window<WINDOW> {
    /// Returns a window with nothing in flight. The peer has everything before `acked`; lines
    /// between `acked` and `base` were overwritten.
    pub(super) fn new(acked: u64, base: Cursor) -> Self {
        const {
            assert!(WINDOW > 0 && WINDOW < 256);
        }
        Self {
            base,
            acked,
            gap_sent_at: None,
            flights: Vec::new(),
            in_flight: 0,
            lost: 0,
            congestion_window: Self::limited(CONGESTION_WINDOW_INITIAL),
            acked_since_growth: 0,
            is_slow_start: true,
            timeouts: 0,
            round_trip: RoundTrip::default(),
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

    /// Returns the first line that the peer does not have, as far as acknowledged.
    pub(super) const fn acked(&self) -> u64 {
        self.acked
    }

    /// Returns the number of consecutive time-outs without an acknowledgement.
    pub(super) const fn timeouts(&self) -> u8 {
        self.timeouts
    }

    /// Returns the gap that the peer must be told of now: the first overwritten line, and the first
    /// one after them.
    pub(in crate::relay) fn gap(&self) -> Option<(u64, u64)> {
        let is_due = self.has_gap() && self.gap_sent_at.is_none();
        is_due.then_some((self.acked, self.base.sequence))
    }

    const fn has_gap(&self) -> bool {
        self.acked < self.base.sequence
    }

    /// Returns the start and end of the first datagram that must be retransmitted, if it may be
    /// sent now.
    pub(in crate::relay) fn lost(&self) -> Option<(Cursor, Cursor)> {
        let (start, flight) = self.first_lost()?;
        let may_be = self.in_flight < self.congestion_window;
        may_be.then(|| (start, flight.end(start)))
    }

    fn first_lost(&self) -> Option<(Cursor, Flight)> {
        if self.lost == 0 {
            return None;
        }
        self.starts()
            .find(|(_, flight)| flight.state == State::Lost)
    }

    /// Returns the number of datagrams with new lines that may be sent now: none while a gap or a
    /// retransmission comes first.
    pub(in crate::relay) fn room(&self) -> usize {
        if self.gap().is_some() || self.lost > 0 {
            return 0;
        }
        let limit = usize::from(self.congestion_window.saturating_sub(self.in_flight));
        limit.min(WINDOW - self.flights.len().min(WINDOW))
    }

    /// Counts the flights again after some were removed or changed their state.
    fn recount(&mut self) {
        (self.in_flight, self.lost) = (0, 0);
        for flight in &self.flights {
            self.in_flight += u8::from(flight.state == State::Sent);
            self.lost += u8::from(flight.state == State::Lost);
        }
    }

    /// Records that the next lines were sent for the first time, as these datagrams.
    pub(in crate::relay) fn handle_sent(&mut self, now: u16, segments: &[Segment]) {
        for &Segment { bytes, lines } in segments {
            // `room` was asked before, so there is a place
            let pushed = self.flights.push(Flight {
                bytes,
                sent_at: now,
                lines,
                state: State::Sent,
            });
            self.in_flight += u8::from(pushed.is_ok());
        }
    }

    /// Records that the datagram whose first line has this sequence number was retransmitted at
    /// `now`. Does nothing if the datagram is not in the window.
    pub(in crate::relay) fn handle_resent(&mut self, now: u16, sequence: u64) {
        if let Some(flight) = self.flight_at(sequence) {
            flight.state = State::Sent;
            flight.sent_at = now;
            self.recount();
        }
    }

    /// Records that the peer was sent the GAP.
    pub(in crate::relay) const fn handle_gap_sent(&mut self, now: u16) {
        self.gap_sent_at = Some(now);
    }

    /// Records that sending the lines `from..to`, which were just recorded as sent, would block.
    /// New ones at the end are removed, others count as lost.
    pub(in crate::relay) fn handle_unsent(&mut self, from: u64, to: u64, is_new: bool) {
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

    /// Records that sending the GAP would block.
    pub(in crate::relay) const fn handle_gap_unsent(&mut self) {
        self.gap_sent_at = None;
    }

    /// Handles an ACK of the peer; `now` is the clock whose time stamps are echoed.
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

    /// Records that the peer has every line before `next`. Returns the number of datagrams in
    /// flight that this acknowledges.
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
            // all flights after one that is kept are kept
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

    /// Records that the peer has the lines `first..last`, but not all lines before them. Returns
    /// the number of datagrams in flight that this acknowledges.
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

    /// Marks flights as lost that a later one has overtaken and that had at least one round trip to
    /// arrive.
    fn note_holes(&mut self, now: u16) {
        // one tick may be missing between two readings of the clock
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
                self.is_slow_start = false;
                self.acked_since_growth = 0;
            }
        }
    }

    /// Marks the datagrams as lost whose retransmission time-out has expired, the GAP included.
    /// Returns whether there were any.
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
            self.congestion_window =
                Self::limited((self.congestion_window / 2).max(CONGESTION_WINDOW_MIN));
            self.acked_since_growth = 0;
            self.is_slow_start = false;
            self.recount();
        }
        is_late
    }

    /// Returns the milliseconds until the retransmission time-out, or `None` if nothing is in
    /// flight.
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

    /// Handles that the lines before `tail` were overwritten. If any of them was lost in flight or not sent
    /// yet, everything before `tail` that is in flight becomes a gap, too. Returns the number of these
    /// lines that the peer has not acknowledged.
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
            // the part of a flight that is still in the ring is kept
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
        // it is another gap than the one that the peer may have been sent
        self.gap_sent_at = None;
        missed
    }

    /// Returns the position of the first line that was sent and not acknowledged.
    pub(super) const fn base(&self) -> Cursor {
        self.base
    }

    /// Forgets all flights: everything from `base` on will be sent again.
    pub(super) fn restart(&mut self, base: Cursor) {
        self.base = base;
        self.flights.clear();
        self.recount();
        self.gap_sent_at = None;
        self.congestion_window = Self::limited(CONGESTION_WINDOW_INITIAL);
        self.acked_since_growth = 0;
        self.timeouts = 0;
    }

    /// Records that the peer has everything before `base`, including all that is in flight.
    pub(super) fn skip_to(&mut self, base: Cursor) {
        self.base = base;
        self.acked = self.acked.max(base.sequence);
        self.flights.clear();
        self.recount();
        self.gap_sent_at = None;
        self.timeouts = 0;
    }

    /// Returns the offset of the first line that must be retransmitted, if any.
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

    /// Returns the position after the last line that was sent.
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

    /// Returns the retransmission time-out in milliseconds.
    pub(super) fn rto_ms(&self) -> u16 {
        let mut rto = self.round_trip.rto_ms().clamp(RTO_MIN_MS, RTO_MAX_MS);
        for _ in 0..self.timeouts.min(6) {
            rto += rto / 2;
            rto = rto.min(RTO_MAX_MS);
        }
        rto
    }

    fn grow(&mut self, arrived: u8) {
        self.acked_since_growth = self.acked_since_growth.saturating_add(arrived);
        if self.acked_since_growth >= self.congestion_window {
            self.acked_since_growth = 0;
            let more = if self.is_slow_start {
                self.congestion_window
            } else {
                1
            };
            self.congestion_window = Self::limited(self.congestion_window.saturating_add(more));
        }
    }
}

impl Flight {
    /// Cuts the flight to the part between `start` and `end`. Returns whether anything is left.
    fn shorten(&mut self, start: Cursor, end: Cursor) -> bool {
        // a flight only becomes shorter, so this fits as before
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

//! Pacing: lines are sent in bursts, and only a limited number ahead of what the relay has
//! confirmed to have read.

use core::time::Duration;
use std::time::Instant;

/// Maximum number of lines in a burst. A receive buffer of default size has room for ten times as
/// many.
const BURST: u32 = 16;

/// Time between two bursts: the maximum rate is 2,000 lines per second.
const INTERVAL: Duration = Duration::from_millis(8);

/// Burst and interval of the lines to a relay. They are below its default rate limit, so that no
/// line is refused.
const RELAY_BURST: u32 = 48;
const RELAY_INTERVAL: Duration = Duration::from_millis(100);

/// Number of lines after which the relay is asked whether it has read them. At most twice as many
/// are in flight.
const WINDOW: usize = 64;

/// Time without an answer after which the question is sent again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Maximum number of times that a question is sent.
const ASKED_MAX: u32 = 3;

/// The state of the pacing.
#[derive(Debug)]
pub(super) struct Pace {
    left_in_burst: u32,
    resume: Instant,
    /// Lines sent since the last question.
    since_question: usize,
    question: Option<Question>,
    limit: Option<Limit>,
}

/// The rate limit of a relay: a burst of lines, and then one line in each interval.
#[derive(Clone, Copy, Debug)]
struct Limit {
    burst: u32,
    interval: Duration,
    /// When the whole burst is available again.
    full_at: Instant,
}

impl Limit {
    fn next_at(&self) -> Instant {
        let before = self.interval * self.burst.saturating_sub(1);
        self.full_at.checked_sub(before).unwrap_or(self.full_at)
    }
}

#[derive(Clone, Copy, Debug)]
struct Question {
    first: Instant,
    last: Instant,
    times: u32,
}

impl Pace {
    /// Creates the state with no lines in flight.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left_in_burst: BURST,
            resume: now,
            since_question: 0,
            question: None,
            limit: None,
        }
    }

    /// Forgets the lines in flight.
    pub(super) fn reset(&mut self, now: Instant) {
        let limit = self.limit;
        *self = Self::new(now);
        self.limit = limit;
    }

    /// Applies the rate limit of a relay: the server has sent a welcome, so it is one.
    pub(super) fn handle_welcome(&mut self, now: Instant) {
        self.limit.get_or_insert(Limit {
            burst: RELAY_BURST,
            interval: RELAY_INTERVAL,
            full_at: now,
        });
    }

    /// Handles a notice that lines exceeded the rate limit, with the burst and the interval. From
    /// now on half of that rate is used.
    pub(super) fn handle_too_fast(&mut self, now: Instant, burst: u32, interval: Duration) {
        let burst = (burst / 2).clamp(1, RELAY_BURST);
        let interval = 2 * interval;
        self.limit = Some(Limit {
            burst,
            interval,
            full_at: now + interval * burst,
        });
    }

    /// Returns whether lines wait because of the relay's rate limit.
    pub(super) fn is_slowed(&self, now: Instant) -> bool {
        self.limit.is_some_and(|limit| now < limit.next_at())
    }

    /// Returns whether a line may be sent now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.next_line_at().is_some_and(|at| now >= at)
    }

    /// Returns when a line may be sent. Returns `None` if an answer must arrive first.
    pub(super) fn next_line_at(&self) -> Option<Instant> {
        if self.question.is_some() && self.since_question >= WINDOW {
            return None;
        }
        let limit = self.limit.map(|limit| limit.next_at());
        Some(limit.map_or(self.resume, |at| at.max(self.resume)))
    }

    /// Records that a line was sent.
    pub(super) fn handle_sent(&mut self, now: Instant) {
        self.since_question += 1;
        self.count(now);
        if now >= self.resume + INTERVAL {
            self.left_in_burst = BURST;
            self.resume = now;
        }
        self.left_in_burst = self.left_in_burst.saturating_sub(1);
        if self.left_in_burst == 0 {
            self.left_in_burst = BURST;
            self.resume = now + INTERVAL;
        }
    }

    fn count(&mut self, now: Instant) {
        if let Some(limit) = &mut self.limit {
            limit.full_at = limit.full_at.max(now) + limit.interval;
        }
    }

    /// Returns whether a question is due.
    pub(super) fn wants_answer(&self) -> bool {
        self.question.is_none() && self.since_question >= WINDOW
    }

    /// Returns when the pending question was first sent. Returns `None` if there is none.
    pub(super) fn asked_at(&self) -> Option<Instant> {
        self.question.map(|question| question.first)
    }

    /// Returns when to send the pending question again, or `otherwise` if there is none.
    pub(super) fn asks_again_at(&self, otherwise: Instant) -> Instant {
        self.question
            .map_or(otherwise, |question| question.last + ASK_AGAIN)
    }

    /// Records that a question was sent.
    pub(super) fn handle_asked(&mut self, now: Instant) {
        self.count(now);
        let question = self.question.get_or_insert(Question {
            first: now,
            last: now,
            times: 0,
        });
        if question.times == 0 {
            self.since_question = 0;
        }
        question.last = now;
        question.times += 1;
    }

    /// Handles an answer. Returns when its question was first sent, or `None` if none was pending.
    pub(super) fn handle_answer(&mut self) -> Option<Instant> {
        self.question.take().map(|question| question.first)
    }

    /// Returns whether the maximum number of questions was sent without an answer.
    pub(super) fn is_unanswered(&self, now: Instant) -> bool {
        self.question
            .is_some_and(|question| question.times >= ASKED_MAX && now >= question.last + ASK_AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of lines that are sent in these milliseconds after `start`, if each question
    /// is answered at once.
    fn said(pace: &mut Pace, start: Instant, millis: core::ops::Range<u64>) -> usize {
        let mut lines = 0;
        for millis in millis {
            let now = start + Duration::from_millis(millis);
            while pace.allows(now) {
                pace.handle_sent(now);
                lines += 1;
                if pace.wants_answer() {
                    pace.handle_asked(now);
                    pace.handle_answer();
                }
            }
        }
        lines
    }

    #[test]
    fn lines_go_out_in_groups() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        // after a pause the first burst is as large as at the start
        assert_eq!(said(&mut pace, start, 60_000..61_000), 2000);
    }

    #[test]
    fn a_relay_gets_fewer_lines_than_it_takes() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.handle_welcome(start);
        assert_eq!(said(&mut pace, start, 0..50), 48);
        // questions count, too
        assert!((19..=20).contains(&said(&mut pace, start, 50..2_050)));
        let now = start + Duration::from_millis(2_050);
        pace.handle_too_fast(now, 4, Duration::from_millis(500));
        assert_eq!(said(&mut pace, start, 2_050..12_051), 10);
    }

    #[test]
    fn without_an_answer_it_stops_at_two_windows() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut lines = 0;
        for _ in 0..1000 {
            if pace.wants_answer() {
                pace.handle_asked(now);
            }
            if pace.allows(now) {
                pace.handle_sent(now);
                lines += 1;
            }
            now += INTERVAL;
        }
        assert_eq!(lines, 2 * WINDOW);
        assert!(!pace.is_unanswered(now), "only asked once");
        assert!(pace.handle_answer().is_some());
        assert!(pace.wants_answer());
    }
}

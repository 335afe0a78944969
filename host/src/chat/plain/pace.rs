//! How fast lines are sent: in small groups, and never far ahead of what the relay has read.

use core::time::Duration;
use std::time::Instant;

/// So many lines are sent at once; a receive buffer of default size takes ten times as many.
const GROUP: u32 = 16;

/// The time between two groups: 2,000 lines a second.
const INTERVAL: Duration = Duration::from_millis(8);

/// After so many lines the relay is asked whether it has read them; twice as many are never under way.
const WINDOW: usize = 64;

/// A question that is not answered in this time is asked again,
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// ... so often in all.
const ASKED_MAX: u32 = 3;

/// The state of a sender.
#[derive(Debug)]
pub(super) struct Pace {
    left: u32,
    resume: Instant,
    /// Lines since the last question.
    since_question: usize,
    question: Option<Question>,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    first: Instant,
    last: Instant,
    times: u32,
}

impl Pace {
    /// Nothing is under way.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: GROUP,
            resume: now,
            since_question: 0,
            question: None,
        }
    }

    /// Forgets what is under way.
    pub(super) fn reset(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Whether a line may be sent now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.next_line_at().is_some_and(|at| now >= at)
    }

    /// When a line may be sent; `None` while an answer must come first.
    pub(super) fn next_line_at(&self) -> Option<Instant> {
        if self.question.is_some() && self.since_question >= WINDOW {
            return None;
        }
        Some(self.resume)
    }

    /// A line was sent.
    pub(super) fn handle_sent(&mut self, now: Instant) {
        self.since_question += 1;
        if now >= self.resume + INTERVAL {
            self.left = GROUP;
            self.resume = now;
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.left = GROUP;
            self.resume = now + INTERVAL;
        }
    }

    /// Whether it is time for a question.
    pub(super) fn wants_answer(&self) -> bool {
        self.question.is_none() && self.since_question >= WINDOW
    }

    /// When the open question was first asked.
    pub(super) fn asked_at(&self) -> Option<Instant> {
        self.question.map(|question| question.first)
    }

    /// When the open question is asked again, or `otherwise` if there is none.
    pub(super) fn asks_again_at(&self, otherwise: Instant) -> Instant {
        self.question
            .map_or(otherwise, |question| question.last + ASK_AGAIN)
    }

    /// A question was sent.
    pub(super) fn handle_asked(&mut self, now: Instant) {
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

    /// An answer came; tells when its question was first asked, if there was one.
    pub(super) fn handle_answer(&mut self) -> Option<Instant> {
        self.question.take().map(|question| question.first)
    }

    /// Whether the relay was asked often enough.
    pub(super) fn is_unanswered(&self, now: Instant) -> bool {
        self.question
            .is_some_and(|question| question.times >= ASKED_MAX && now >= question.last + ASK_AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_out_in_groups() {
        let mut pace = Pace::new(Instant::now());
        // after a while without a line, as at first
        let start = Instant::now() + Duration::from_secs(60);
        let mut now = start;
        let mut lines = 0;
        while now < start + Duration::from_secs(1) {
            while pace.allows(now) {
                pace.handle_sent(now);
                lines += 1;
                if pace.wants_answer() {
                    pace.handle_asked(now);
                    pace.handle_answer();
                }
            }
            now += Duration::from_millis(1);
        }
        assert_eq!(lines, 2000);
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

//! The counters of the link.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use tracing::info;

/// The counters, which the engine's thread writes and the relay's thread reads.
#[derive(Debug, Default)]
pub(in crate::relay) struct LinkCounters {
    pub(super) is_up: AtomicBool,
    pub(super) reconnects: Counter,
    /// Lines of here that were given to the engine's thread, and that the engine has.
    pub(super) lines_taken: Counter,
    pub(super) lines_out: Counter,
    pub(super) messages_out: Counter,
    pub(super) retries: Counter,
    pub(super) told_duplicate: Counter,
    pub(super) lines_in: Counter,
    pub(super) duplicates: Counter,
    pub(super) lost: Counter,
    pub(super) left_out: Counter,
    pub(super) malformed: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A copy of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::relay) struct LinkCounts {
    /// Whether the engine is within reach.
    pub(in crate::relay) is_up: bool,
    /// Times that the connection to a server was made again.
    pub(in crate::relay) reconnects: u64,
    /// Lines and messages that the engine has.
    pub(in crate::relay) lines_out: u64,
    pub(in crate::relay) messages_out: u64,
    /// Messages that were sent again, and those that the engine had already.
    pub(in crate::relay) retries: u64,
    pub(in crate::relay) told_duplicate: u64,
    /// Lines from elsewhere, and those that were dropped because they were known.
    pub(in crate::relay) lines_in: u64,
    pub(in crate::relay) duplicates: u64,
    /// Lines from elsewhere that never came.
    pub(in crate::relay) lost: u64,
    /// Lines from elsewhere that are not shown because they came too fast or are too old.
    pub(in crate::relay) left_out: u64,
    /// Messages from elsewhere that are not valid.
    pub(in crate::relay) malformed: u64,
    /// Lines of here that were overwritten in the ring before they were published.
    pub(in crate::relay) overwritten: u64,
    /// Lines and notices from elsewhere that the relay did not take.
    pub(in crate::relay) refused: u64,
    /// Lines of here that wait in the ring, and the age of the oldest.
    pub(in crate::relay) waiting: u64,
    pub(in crate::relay) oldest: Duration,
}

impl LinkCounts {
    /// Returns the counters for the metrics: name, help and value.
    pub(in crate::relay) fn counters(&self) -> [(&'static str, &'static str, u64); 12] {
        [
            (
                "link_reconnects",
                "Times that the connection to the engine was made again.",
                self.reconnects,
            ),
            ("link_lines_out", "Lines published.", self.lines_out),
            (
                "link_messages_out",
                "Messages published.",
                self.messages_out,
            ),
            (
                "link_retries",
                "Messages that were sent again.",
                self.retries,
            ),
            (
                "link_told_duplicate",
                "Messages sent again that the engine had already.",
                self.told_duplicate,
            ),
            (
                "link_lines_overwritten",
                "Lines that were overwritten before they could be published.",
                self.overwritten,
            ),
            ("link_lines_in", "Lines from other places.", self.lines_in),
            (
                "link_lines_known",
                "Lines from other places that came again.",
                self.duplicates,
            ),
            (
                "link_lines_lost",
                "Lines from other places that never came.",
                self.lost,
            ),
            (
                "link_lines_left_out",
                "Lines from other places that came too fast or too late to be shown.",
                self.left_out,
            ),
            (
                "link_malformed",
                "Messages from other places that were not valid.",
                self.malformed,
            ),
            (
                "link_refused",
                "Lines from other places that the relay did not take.",
                self.refused,
            ),
        ]
    }

    /// Returns the gauges for the metrics: name, help and value.
    pub(in crate::relay) fn gauges(&self) -> [(&'static str, &'static str, u64); 3] {
        [
            (
                "link_up",
                "Whether the engine is within reach.",
                self.is_up.into(),
            ),
            (
                "link_lines_waiting",
                "Lines that wait to be published.",
                self.waiting,
            ),
            (
                "link_oldest_waiting_seconds",
                "Age of the oldest of them.",
                self.oldest.as_secs(),
            ),
        ]
    }

    /// Writes the counters to the log.
    pub(in crate::relay) fn write(&self) {
        info!(
            up = self.is_up,
            reconnects = self.reconnects,
            lines_out = self.lines_out,
            messages_out = self.messages_out,
            retries = self.retries,
            told_duplicate = self.told_duplicate,
            overwritten = self.overwritten,
            lines_in = self.lines_in,
            known = self.duplicates,
            lost = self.lost,
            left_out = self.left_out,
            malformed = self.malformed,
            refused = self.refused,
            waiting = self.waiting,
            oldest_s = self.oldest.as_secs(),
            "link statistics"
        );
    }
}

impl LinkCounters {
    /// Returns the number of lines that the engine's thread has and the engine has not confirmed.
    pub(super) fn under_way(&self) -> u64 {
        self.lines_taken
            .total()
            .saturating_sub(self.lines_out.total())
    }

    /// Returns a copy, in which nothing waits in the ring.
    pub(super) fn counts(&self) -> LinkCounts {
        LinkCounts {
            is_up: self.is_up.load(Ordering::Relaxed),
            reconnects: self.reconnects.total(),
            lines_out: self.lines_out.total(),
            messages_out: self.messages_out.total(),
            retries: self.retries.total(),
            told_duplicate: self.told_duplicate.total(),
            lines_in: self.lines_in.total(),
            duplicates: self.duplicates.total(),
            lost: self.lost.total(),
            left_out: self.left_out.total(),
            malformed: self.malformed.total(),
            overwritten: 0,
            refused: 0,
            waiting: 0,
            oldest: Duration::ZERO,
        }
    }
}

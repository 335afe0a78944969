//! The counters of lines that were kept and lost.

use core::sync::atomic::{AtomicU64, Ordering};

/// The counters, which the relay's thread and the writing thread share.
#[derive(Debug, Default)]
pub(in crate::relay) struct KeptCounters {
    kept: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
}

/// Their values.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::relay) struct KeptCounts {
    /// Lines that were written.
    pub(in crate::relay) kept: u64,
    /// Lines that were not written because the disk was full or too slow.
    pub(in crate::relay) lost: u64,
    /// Failed attempts to write lines or seats, or to delete a file.
    pub(in crate::relay) failures: u64,
}

impl KeptCounters {
    pub(super) fn add_kept(&self, lines: u64) {
        self.kept.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn add_lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn add_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> KeptCounts {
        KeptCounts {
            kept: self.kept.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

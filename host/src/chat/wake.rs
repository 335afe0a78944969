//! Detection of a suspension of the machine, during which the monotonic clock may not advance.

use core::time::Duration;
use std::time::{Instant, SystemTime};

/// Time between two comparisons of the clocks.
const TICK: Duration = Duration::from_secs(5);

/// Minimum difference by which the wall clock must be ahead of the monotonic clock after a
/// suspension.
const SLEPT: Duration = Duration::from_secs(3);

/// The values of both clocks at the last comparison.
pub(super) struct Wake {
    at: Instant,
    wall: SystemTime,
}

impl Wake {
    /// Records the first values of the clocks.
    pub(super) fn new(now: Instant, wall: SystemTime) -> Self {
        Self { at: now, wall }
    }

    /// Returns when to compare the clocks next.
    pub(super) fn due(&self) -> Instant {
        self.at + TICK
    }

    /// Returns whether the machine was suspended since the last comparison. Returns `None` if less
    /// than `TICK` has passed without a suspension.
    pub(super) fn check(&mut self, now: Instant, wall: SystemTime) -> Option<bool> {
        let passed = now.saturating_duration_since(self.at);
        // zero if the wall clock was set back
        let wall_passed = wall.duration_since(self.wall).unwrap_or_default();
        let has_slept = wall_passed > passed + SLEPT;
        if passed < TICK && !has_slept {
            return None;
        }
        *self = Self::new(now, wall);
        Some(has_slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_what_only_the_wall_clock_saw() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut wake = Wake::new(start, wall);
        assert_eq!(wake.check(start + 4 * second, wall + 4 * second), None);
        assert_eq!(
            wake.check(start + 5 * second, wall + 5 * second),
            Some(false)
        );
        let slept = wall + 600 * second;
        assert_eq!(wake.check(start + 6 * second, slept), Some(true));
        assert_eq!(wake.check(start + 7 * second, slept + second), None);
        // set back, then forward by a little
        assert_eq!(wake.check(start + 8 * second, wall), None);
        assert_eq!(wake.check(start + 11 * second, wall), Some(false));
        assert_eq!(wake.check(start + 12 * second, wall + 3 * second), None);
    }
}

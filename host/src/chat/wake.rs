//! Notices that the machine slept: the clock by which a session waits does not run meanwhile.

use core::time::Duration;
use std::time::{Instant, SystemTime};

/// How often there is a look at the clocks.
const TICK: Duration = Duration::from_secs(5);

/// A clock on the wall that went on by so much more than the machine's says that it slept.
const SLEPT: Duration = Duration::from_secs(3);

/// Two clocks, when they were last compared.
pub(super) struct Wake {
    at: Instant,
    wall: SystemTime,
}

impl Wake {
    /// Begins to compare them.
    pub(super) fn new(now: Instant, wall: SystemTime) -> Self {
        Self { at: now, wall }
    }

    /// When there is to be a look at them.
    pub(super) fn due(&self) -> Instant {
        self.at + TICK
    }

    /// Whether the machine slept since the last time; none if it was looked at lately.
    pub(super) fn check(&mut self, now: Instant, wall: SystemTime) -> Option<bool> {
        let passed = now.saturating_duration_since(self.at);
        // one that was set back says nothing
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
        // set back, then by a little forwards
        assert_eq!(wake.check(start + 8 * second, wall), None);
        assert_eq!(wake.check(start + 11 * second, wall), Some(false));
        assert_eq!(wake.check(start + 12 * second, wall + 3 * second), None);
    }
}

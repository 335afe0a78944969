//! Time as a value that the driver passes in.

use core::time::Duration;

/// A moment, in milliseconds since an arbitrary start that the driver chooses once.
///
/// A clock that stands still or goes back is harmless: a deadline is only met later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant {
    millis: u64,
}

impl Instant {
    /// Returns the moment `millis` milliseconds after the start.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// Milliseconds since the start.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later than this moment.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.millis.saturating_sub(earlier.millis))
    }

    /// Returns the moment `duration` later, or the last one that can be represented.
    #[must_use]
    #[inline(never)] // called in many places, and rarely in each
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self::from_millis(self.millis.saturating_add(millis))
    }

    /// Returns the low 16 bits of the milliseconds, as a frame's time stamp has them.
    pub(crate) fn as_wrapped(self) -> u16 {
        let [.., high, low] = self.millis.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// Returns whole seconds since the start, or `u32::MAX` after 136 years.
    pub fn as_secs(self) -> u32 {
        u32::try_from(self.millis / 1000).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_ends_but_does_not_overflow() {
        let (start, end) = (Instant::from_millis(0), Instant::from_millis(u64::MAX));
        assert_eq!(end.after(Duration::from_millis(1)), end);
        assert_eq!(start.after(Duration::MAX), end);
        assert_eq!(start.after(Duration::from_millis(u64::MAX)), end);
        assert_eq!(end.since(start), Duration::from_millis(u64::MAX));
        assert_eq!(end.as_secs(), u32::MAX);
    }

    #[test]
    fn a_clock_that_goes_back_is_harmless() {
        let (early, late) = (Instant::from_millis(5), Instant::from_millis(1999));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.since(early), Duration::from_millis(1994));
        assert_eq!(late.as_secs(), 1);
        assert_eq!(early.after(Duration::from_micros(2999)).as_millis(), 7);
    }
}

//! Limits as the oracles count them: so many at once, and one more each interval.

/// A limit that several calls share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    burst: u64,
    interval: u64,
    /// When nothing of it is used any more.
    empty_at: u64,
}

impl Bucket {
    pub(crate) const fn new(burst: u64, interval: u64) -> Self {
        Self {
            burst,
            interval,
            empty_at: 0,
        }
    }

    /// Whether there is room for one more, which then takes it; or how long until there is.
    pub(crate) fn take(&mut self, now: u64) -> Result<(), u64> {
        let all = self.burst * self.interval;
        // where the clock goes back, it starts again
        if self.empty_at < now || self.empty_at > now + all {
            self.empty_at = now;
        }
        let used = self.empty_at - now;
        if used + self.interval > all {
            return Err(used + self.interval - all);
        }
        self.empty_at += self.interval;
        Ok(())
    }
}

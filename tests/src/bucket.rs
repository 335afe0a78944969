//! Rate limits as the oracles count them: a burst, and one more in each interval (a token bucket).

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    burst: u64,
    interval: u64,
    /// The time at which the whole burst is available again.
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

    /// Takes one unit. Returns the time until one is available, if none is now.
    pub(crate) fn take(&mut self, now: u64) -> Result<(), u64> {
        let all = self.burst * self.interval;
        // if the clock was set back, the whole burst is available again
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

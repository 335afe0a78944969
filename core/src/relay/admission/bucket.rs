//! A token bucket in four bytes: the time at which it is full again (generic cell rate algorithm).

/// A limit: `burst` tokens at once, then one each `interval_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Limit {
    pub(in crate::relay) burst: u32,
    pub(in crate::relay) interval_ms: u32,
}

/// A bucket; a new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::relay) struct Bucket {
    /// When the bucket is full again, in milliseconds modulo 2^32.
    full_at: u32,
}

impl Bucket {
    /// A full bucket, all zero.
    pub(in crate::relay) const NEW: Self = Self { full_at: 0 };

    /// Takes a token.
    ///
    /// # Errors
    ///
    /// The milliseconds until there is a token, if there is none now.
    pub(in crate::relay) const fn take(&mut self, now_ms: u32, limit: Limit) -> Result<(), u32> {
        let Limit { burst, interval_ms } = limit;
        let most = burst.saturating_sub(1).saturating_mul(interval_ms);
        self.spend(
            now_ms,
            interval_ms,
            (most, most.saturating_add(interval_ms)),
        )
    }

    /// Takes what needs `cost` units of time to come back. If the bucket seems to be full only after more
    /// than `furthest`, the clock has wrapped or was set back, and the bucket is full.
    ///
    /// # Errors
    ///
    /// If what is missing already needs more than `most`. Returns the time until the call would succeed.
    pub(in crate::relay) const fn spend(
        &mut self,
        now: u32,
        cost: u32,
        (most, furthest): (u32, u32),
    ) -> Result<(), u32> {
        let ahead = self.full_at.wrapping_sub(now);
        // no later time was ever set: the time has passed, or the clock was set back
        let ahead = if ahead > furthest { 0 } else { ahead };
        if ahead > most {
            return Err(ahead - most);
        }
        self.full_at = now.wrapping_add(ahead).wrapping_add(cost);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        burst: 4,
        interval_ms: 50,
    };

    #[test]
    fn a_burst_at_once_and_then_one_each_interval() {
        for start in [0, 1_000, u32::MAX - 60] {
            let at = |later: u32| start.wrapping_add(later);
            // a bucket that was never used may seem to be full in the future, but not by much
            let mut bucket = Bucket {
                full_at: start.wrapping_sub(1),
            };
            for _ in 0..4 {
                assert_eq!(bucket.take(at(0), LIMIT), Ok(()));
            }
            assert_eq!(bucket.take(at(0), LIMIT), Err(50));
            assert_eq!(bucket.take(at(49), LIMIT), Err(1));
            assert_eq!(bucket.take(at(50), LIMIT), Ok(()));
            assert_eq!(bucket.take(at(50), LIMIT), Err(50));
            // all tokens are back after four intervals, and no more than that
            for _ in 0..4 {
                assert_eq!(bucket.take(at(10_000), LIMIT), Ok(()));
            }
            assert!(bucket.take(at(10_000), LIMIT).is_err());
        }
    }

    #[test]
    fn a_clock_that_goes_back_fills_it() {
        let mut bucket = Bucket::default();
        while bucket.take(1_000_000, LIMIT).is_ok() {}
        assert_eq!(bucket.take(0, LIMIT), Ok(()));
    }

    #[test]
    fn a_pause_of_any_length_refuses_nobody() {
        for days in 1..200_u64 {
            let mut bucket = Bucket::default();
            while bucket.take(7, LIMIT).is_ok() {}
            let later = u32::try_from((days * 86_400_000) & u64::from(u32::MAX)).unwrap();
            assert_eq!(bucket.take(later, LIMIT), Ok(()), "{days} days");
        }
    }
}

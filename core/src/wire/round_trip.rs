//! Round-trip time estimation and retransmission time-out, as in RFC 6298 section 2.

use core::num::NonZeroU16;

/// Retransmission time-out before the first sample, in milliseconds.
const RTO_FIRST_MS: u16 = 1000;

/// Longest accepted sample, in milliseconds; four times this value fits in 16 bits. A longer time
/// is not a round trip but a stale echo.
const SAMPLE_MAX_MS: u16 = 10_000;

/// Smoothed round-trip time and its variation, in quarters of a millisecond.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip {
    /// `None` before the first sample.
    smoothed: Option<NonZeroU16>,
    variation: u16,
}

impl RoundTrip {
    /// Adds a measured round-trip time.
    pub(crate) fn sample(&mut self, sample_ms: u16) {
        if sample_ms > SAMPLE_MAX_MS {
            return;
        }
        let sample = sample_ms * 4;
        let smoothed = match self.smoothed {
            None => {
                self.variation = sample / 2;
                sample
            }
            Some(smoothed) => {
                let smoothed = smoothed.get();
                let error = smoothed.abs_diff(sample).div_ceil(4);
                self.variation = self.variation - self.variation / 4 + error;
                smoothed - smoothed / 8 + sample / 8
            }
        };
        self.smoothed = NonZeroU16::new(smoothed.max(1));
    }

    /// Returns the smoothed round-trip time in milliseconds, or `None` before the first sample.
    pub(crate) fn smoothed_ms(&self) -> Option<u16> {
        self.smoothed.map(|smoothed| smoothed.get() / 4)
    }

    /// Returns the retransmission time-out in milliseconds, which is 1000 before the first sample.
    pub(crate) fn rto_ms(&self) -> u16 {
        self.smoothed_ms().map_or(RTO_FIRST_MS, |smoothed| {
            // The field is in quarters, so this adds four times the variation.
            smoothed.saturating_add(self.variation)
        })
    }
}

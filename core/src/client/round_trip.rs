//! How long an answer takes, as RFC 6298 estimates it.

use core::time::Duration;

/// The longest time-out, in milliseconds.
const MOST_MS: u32 = 3000;

/// The shortest time-out, in milliseconds.
const LEAST_MS: u32 = 50;

/// The time-out before the first sample, in milliseconds.
const FIRST_MS: u32 = 1000;

/// Samples that are longer, in milliseconds, are no round trips.
const SAMPLE_MAX_MS: u32 = 10_000;

/// The smoothed round trip and its variation, in milliseconds times 8 and 4.
#[derive(Clone, Debug, Default)]
pub(super) struct RoundTrip {
    smoothed_8: Option<u32>,
    variation_4: u32,
}

impl RoundTrip {
    /// An answer took so long.
    pub(super) fn sample(&mut self, sample: Duration) {
        let sample = u32::try_from(sample.as_millis()).unwrap_or(u32::MAX);
        if sample > SAMPLE_MAX_MS {
            return;
        }
        let Some(smoothed) = self.smoothed_8 else {
            self.smoothed_8 = Some(sample * 8);
            self.variation_4 = sample * 2;
            return;
        };
        let error = sample.abs_diff(smoothed / 8);
        self.variation_4 = self.variation_4 - self.variation_4 / 4 + error;
        self.smoothed_8 = Some(smoothed - smoothed / 8 + sample);
    }

    pub(super) fn smoothed_ms(&self) -> Option<u32> {
        self.smoothed_8.map(|smoothed| smoothed / 8)
    }

    /// How long to wait for an answer to the n-th try (the first one is 0).
    pub(super) fn timeout(&self, tries: u8) -> Duration {
        let once = self.smoothed_ms().map_or(FIRST_MS, |smoothed| {
            smoothed.saturating_add(self.variation_4)
        });
        let backoff = 1_u32 << tries.min(6);
        let timeout = once.max(LEAST_MS).saturating_mul(backoff).min(MOST_MS);
        Duration::from_millis(timeout.into())
    }
}

//! A histogram of times, whose buckets have a width of at most 1/64 of the time.

use core::time::Duration;

const PRECISION_BITS: u32 = 6;
const STEPS: usize = 1 << PRECISION_BITS;

/// Number of times in each bucket.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; 64 * STEPS],
            total: 0,
        }
    }

    pub(crate) fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Returns the time that `per_mille` of a thousand times did not exceed, or 0 if there is none.
    pub(crate) fn per_mille(&self, per_mille: u64) -> Duration {
        let wanted = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_nanos(lowest(bucket));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanos: u64) -> usize {
    let bits = (u64::BITS - nanos.leading_zeros()).saturating_sub(PRECISION_BITS + 1);
    let steps = usize::try_from(nanos >> bits).expect("at most seven bits");
    usize::try_from(bits).expect("at most 64") * STEPS + steps
}

fn lowest(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return u64::try_from(bucket).expect("it is small");
    }
    let bits = bucket / STEPS - 1;
    u64::try_from(bucket - bits * STEPS).expect("it is small") << bits
}

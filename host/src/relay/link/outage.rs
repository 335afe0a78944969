//! When people are told that the other places are out of reach: after a few seconds, and not each time
//! that a connection flaps.

use core::time::Duration;
use std::time::Instant;

use super::Notice;

/// Time after which people are told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Minimum time between two such notices.
const INTERVAL: Duration = Duration::from_secs(60);

/// The state of the link, as people know it.
#[derive(Debug)]
pub(super) struct Outage {
    /// When it began, if the link is down.
    since: Option<Instant>,
    is_told: bool,
    /// Earliest time of the next notice.
    next: Instant,
}

impl Outage {
    /// Returns the state at the start: down, which nobody was told.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            since: Some(now),
            is_told: false,
            next: now,
        }
    }

    /// Returns whether the link has been down for longer than people would notice.
    pub(super) fn is_long(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now >= since + PATIENCE)
    }

    /// Takes whether the link is up now. Returns what people are told.
    pub(super) fn take(&mut self, now: Instant, is_up: bool) -> Option<Notice> {
        if is_up {
            self.since = None;
            return core::mem::take(&mut self.is_told).then_some(Notice::Up);
        }
        let since = *self.since.get_or_insert(now);
        if self.is_told || now < since + PATIENCE || now < self.next {
            return None;
        }
        (self.is_told, self.next) = (true, now + INTERVAL);
        Some(Notice::Down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is told, with the second, for a link that is up in these seconds.
    fn told(seconds: u64, is_up: impl Fn(u64) -> bool) -> Vec<(u64, Notice)> {
        let start = Instant::now();
        let mut outage = Outage::new(start);
        let told = |second| {
            let now = start + Duration::from_secs(second);
            Some((second, outage.take(now, is_up(second))?))
        };
        (0..seconds).filter_map(told).collect()
    }

    #[test]
    fn a_short_outage_is_not_told_and_a_long_one_once() {
        assert_eq!(told(60, |second| second % 5 == 4), []);
        assert_eq!(told(60, |_| true), []);
        let outage = [(5, Notice::Down), (30, Notice::Up)];
        assert_eq!(told(100, |second| second >= 30), outage);
    }

    #[test]
    fn a_link_that_flaps_is_told_once_a_minute() {
        let told = told(600, |second| second % 10 == 9);
        let downs = told.iter().filter(|(_, notice)| *notice == Notice::Down);
        assert!((8..=10).contains(&downs.count()), "{told:?}");
        // each outage that was told has an end
        assert!(
            told.chunks(2)
                .all(|pair| pair[0].1 == Notice::Down && pair[1].1 == Notice::Up)
        );
    }
}

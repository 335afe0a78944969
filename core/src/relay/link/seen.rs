//! What was taken from other places already: duplicates are dropped, and gaps are told.

use heapless::Vec;

use super::{LinkBatch, PlaceName};

/// The last number that was taken from each run of each place, for the `RUNS` that were heard from last.
///
/// The link's messages may arrive twice, late or never: an engine may repeat, forget or be wiped. This is
/// the whole defence: per run of a place, each number is taken once and in order, and a number that is
/// passed over is a loss that is told.
#[derive(Clone, Debug)]
pub struct LinkSeen<const RUNS: usize> {
    runs: Vec<Run, RUNS>,
    /// Number of messages that were looked at, by which the runs are ordered.
    clock: u64,
}

#[derive(Clone, Debug)]
struct Run {
    place: PlaceName,
    run: u64,
    last: u64,
    heard: u64,
}

/// What is new of a message with several lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Number of its first lines that were taken before, and are dropped.
    pub known: u16,
    /// Number of lines before it that never came: they are lost, and people are told.
    pub lost: u64,
}

impl<const RUNS: usize> LinkSeen<RUNS> {
    /// Returns a record without runs.
    pub const fn new() -> Self {
        Self {
            runs: Vec::new(),
            clock: 0,
        }
    }

    /// Takes a message of a run of a place: it has the lines, the number of the first one and the number of
    /// lines that are lost before it as its relay has handed them over. Of `batch` the length is not used.
    /// Returns what is new of it.
    ///
    /// A run that is not known begins with this message: only what its relay itself says is lost before it,
    /// because a relay that starts does not read everything. If there are `RUNS` already, the one that was
    /// silent for longest is forgotten.
    pub fn take(&mut self, place: &str, run: u64, batch: LinkBatch) -> Fresh {
        let LinkBatch {
            first, lines, lost, ..
        } = batch;
        self.clock += 1;
        let end = first.saturating_add(lines.into());
        let is_it = |known: &&mut Run| known.run == run && known.place == place;
        let Some(known) = self.runs.iter_mut().find(is_it) else {
            self.insert(place, run, end.saturating_sub(1));
            return Fresh { known: 0, lost };
        };
        known.heard = self.clock;
        let next = known.last.saturating_add(1);
        known.last = known.last.max(end.saturating_sub(1));
        let doubled = next.saturating_sub(first).min(lines.into());
        Fresh {
            known: u16::try_from(doubled).unwrap_or(lines),
            lost: first.saturating_sub(next),
        }
    }

    /// Returns the number of the last line that was taken from a run.
    pub fn last(&self, place: &str, run: u64) -> Option<u64> {
        let mut runs = self.runs.iter();
        let known = runs.find(|known| known.run == run && known.place == place)?;
        Some(known.last)
    }

    fn insert(&mut self, place: &str, run: u64, last: u64) {
        let Ok(place) = PlaceName::try_from(place) else {
            return;
        };
        let new = Run {
            place,
            run,
            last,
            heard: self.clock,
        };
        if let Err(new) = self.runs.push(new)
            && let Some(silent) = self.runs.iter_mut().min_by_key(|run| run.heard)
        {
            *silent = new;
        }
    }
}

impl<const RUNS: usize> Default for LinkSeen<RUNS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const FRESH: Fresh = Fresh { known: 0, lost: 0 };

    fn batch(first: u64, lines: u16) -> LinkBatch {
        LinkBatch {
            first,
            lost: 0,
            lines,
            length: 0,
        }
    }

    #[test]
    fn a_repeated_message_is_known_and_a_missing_one_is_lost() {
        let mut seen = LinkSeen::<4>::new();
        let mut take = |place, run, first, lines| {
            let Fresh { known, lost } = seen.take(place, run, batch(first, lines));
            (known, lost)
        };
        assert_eq!(take("a", 7, 5, 3), (0, 0), "a run begins anywhere");
        assert_eq!(take("a", 7, 5, 3), (3, 0));
        assert_eq!(take("a", 7, 6, 4), (2, 0));
        assert_eq!(take("a", 7, 12, 1), (0, 2));
        assert_eq!(take("a", 7, 10, 2), (2, 0));
        assert_eq!(take("a", 8, 1, 1), (0, 0), "another run");
        assert_eq!(take("b", 7, 1, 1), (0, 0), "another place");
        assert_eq!((seen.last("a", 7), seen.last("b", 8)), (Some(12), None));
    }

    #[test]
    fn a_relay_that_lost_its_first_lines_says_so() {
        let mut seen = LinkSeen::<4>::new();
        let first = LinkBatch {
            lost: 499,
            ..batch(500, 1)
        };
        assert_eq!(
            seen.take("a", 7, first),
            Fresh {
                known: 0,
                lost: 499
            }
        );
        assert_eq!(seen.take("a", 7, first), Fresh { known: 1, lost: 0 });
    }

    #[test]
    fn numbers_end_without_an_overflow() {
        let mut seen = LinkSeen::<1>::new();
        assert_eq!(seen.take("a", 1, batch(u64::MAX, u16::MAX)), FRESH);
        let known = Fresh { known: 9, lost: 0 };
        assert_eq!(seen.take("a", 1, batch(u64::MAX - 9, 9)), known);
        assert_eq!(seen.take("a", 1, batch(0, 9)), known);
        assert_eq!(seen.take("a", 1, batch(0, 0)), FRESH);
    }

    #[test]
    fn the_run_that_was_silent_for_longest_is_forgotten() {
        let mut seen = LinkSeen::<2>::new();
        for (place, first) in [("a", 1), ("b", 1), ("a", 2), ("c", 1)] {
            seen.take(place, 1, batch(first, 1));
        }
        let last = ["a", "b", "c"].map(|place| seen.last(place, 1));
        assert_eq!(last, [Some(2), None, Some(1)]);
    }

    proptest! {
        #[test]
        fn each_number_is_taken_once_in_order_or_counted_as_lost(
            messages in proptest::collection::vec((0..3_usize, 1..40_u64, 1..6_u16), 1..60),
        ) {
            let mut seen = LinkSeen::<8>::new();
            let mut taken: [BTreeSet<u64>; 3] = Default::default();
            let mut lost = [0; 3];
            for (run, first, lines) in messages {
                let before = taken[run].last().copied();
                let fresh = seen.take("p", run as u64, batch(first, lines));
                lost[run] += fresh.lost;
                for number in (first..first + u64::from(lines)).skip(fresh.known.into()) {
                    prop_assert!(before.is_none_or(|before| number > before));
                    prop_assert!(taken[run].insert(number));
                }
            }
            for (taken, lost) in taken.iter().zip(lost) {
                if let (Some(first), Some(last)) = (taken.first(), taken.last()) {
                    prop_assert_eq!(last - first + 1, taken.len() as u64 + lost);
                }
            }
        }
    }
}

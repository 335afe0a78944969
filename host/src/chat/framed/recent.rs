//! The last lines that were shown. A relay that keeps its room has other sessions after a crash, and sends
//! some of these lines again, as history.

use core::hash::{Hash as _, Hasher as _};
use core::time::Duration;
use std::collections::VecDeque;
use std::hash::DefaultHasher;
use std::time::Instant;

/// Maximum number of lines that a relay sends as history.
const LINES_MAX: usize = 1000;

/// Maximum difference of the times of one line: both ends count whole seconds.
const TOLERANCE: Duration = Duration::from_secs(5);

/// A line that was shown.
#[derive(Clone, Copy)]
pub(super) struct Line {
    sequence: u64,
    said: Instant,
    content: u64,
}

impl Line {
    /// Creates a line that was said at the time `said`.
    pub(super) fn new(sequence: u64, said: Instant, name: &str, text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (name, text).hash(&mut hasher);
        Self {
            sequence,
            said,
            content: hasher.finish(),
        }
    }

    /// Returns whether both are the same line. A number alone is not enough: a relay that keeps nothing
    /// counts from 0 again.
    fn is(&self, other: &Self) -> bool {
        let [early, late] = if self.said < other.said {
            [self.said, other.said]
        } else {
            [other.said, self.said]
        };
        (self.sequence, self.content) == (other.sequence, other.content)
            && late - early <= TOLERANCE
    }
}

/// The last lines.
#[derive(Default)]
pub(super) struct Recent(VecDeque<Line>);

impl Recent {
    pub(super) fn has(&self, line: &Line) -> bool {
        self.0.iter().any(|known| known.is(line))
    }

    pub(super) fn add(&mut self, line: Line) {
        if self.0.len() == LINES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }
}

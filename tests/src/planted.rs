//! Bugs that the simulators must find: rows of a text in the product and its replacement.
//!
//! The product knows nothing of them. `tests/check.sh planted` applies all rows to a copy of the
//! workspace, in which a number that is read at run time selects the bug that is in effect.

mod copy;
mod hunt;
mod rows;

pub use copy::{VARIABLE, make, planted};
pub use hunt::{Found, hunt, hunt_in_corpus};
pub use rows::{FOUND_BY_CORPUS, ROWS};

use core::ops::Range;

/// The placeholder in a replacement: whether this bug is in effect.
pub const PLACEHOLDER: &str = "PLANTED";

/// A change of one file. A bug is one row, or several under the same name.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name of the bug.
    pub bug: &'static str,
    /// The simulator that must find it.
    pub found_by: Simulator,
    /// The file, from the root of the workspace.
    pub file: &'static str,
    /// The text that is replaced. White space is ignored here and in the file, so that formatting
    /// the file changes nothing.
    pub text: &'static str,
    /// The replacement. While [`PLACEHOLDER`] is false, it does the same as `text`.
    pub replacement: &'static str,
}

/// A simulator with an oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulator {
    /// Peers of the plain dialect: [`simulate`](crate::simulate).
    Plain,
    /// Clients of the framed dialect: [`simulate_framed`](crate::simulate_framed).
    Framed,
    /// Linked relays: [`simulate_linked`](crate::simulate_linked).
    Linked,
}

/// Returns the names of all bugs. The number of a bug is its position, from 1.
pub fn bugs() -> Vec<&'static str> {
    let mut bugs: Vec<_> = ROWS.iter().map(|row| row.bug).collect();
    bugs.dedup();
    bugs
}

impl Row {
    /// Returns the position of the row's text in `source`, which is the contents of its file.
    ///
    /// # Errors
    ///
    /// If the text does not occur exactly once.
    pub fn find(&self, source: &str) -> Result<Range<usize>, String> {
        let wanted: String = self.text.split_whitespace().collect();
        let (places, dense): (Vec<usize>, Vec<char>) = source
            .char_indices()
            .filter(|(_, character)| !character.is_whitespace())
            .unzip();
        let length = wanted.chars().count();
        let mut found = (0..=dense.len().saturating_sub(length))
            .filter(|&at| dense[at..].iter().copied().take(length).eq(wanted.chars()));
        let complain = |what: &str| format!("{}: {what} in {}: {}", self.bug, self.file, self.text);
        let first = found.next().ok_or_else(|| complain("not found"))?;
        if found.next().is_some() {
            return Err(complain("found more than once"));
        }
        let last = places[first + length - 1];
        Ok(places[first]..last + dense[first + length - 1].len_utf8())
    }
}

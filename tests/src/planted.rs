//! Bugs that the simulators must find: rows of a text in the product and what replaces it.
//!
//! The product knows nothing of them. `tests/check.sh planted` applies all rows to a copy of the
//! workspace, in which a number that is read at run time says which of the bugs is in effect.

mod copy;
mod hunt;
mod rows;

pub use copy::{VARIABLE, make, planted};
pub use hunt::{Found, hunt, hunt_in_corpus};
pub use rows::{FOUND_BY_CORPUS, ROWS};

use core::ops::Range;

/// The word in a replacement for: this bug is in effect.
pub const PLACEHOLDER: &str = "PLANTED";

/// A change of one file. A bug is one row, or several under the same name.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name of the bug.
    pub bug: &'static str,
    /// Which simulator must find it.
    pub found_by: Simulator,
    /// The file, from the root of the workspace.
    pub file: &'static str,
    /// What is replaced. White space counts neither here nor in the file, so that formatting the
    /// file changes nothing.
    pub text: &'static str,
    /// What replaces it; the same program as `text` while [`PLACEHOLDER`] is false.
    pub replacement: &'static str,
}

/// A simulator with an oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulator {
    /// Peers of the plain dialect: [`simulate`](crate::simulate).
    Plain,
    /// Clients of the framed dialect: [`simulate_framed`](crate::simulate_framed).
    Framed,
}

/// The names of all bugs; the number of a bug is its place here, from 1 on.
pub fn bugs() -> Vec<&'static str> {
    let mut bugs: Vec<_> = ROWS.iter().map(|row| row.bug).collect();
    bugs.dedup();
    bugs
}

impl Row {
    /// Where the row's text is in `source`, which is what its file holds.
    ///
    /// # Errors
    ///
    /// The complaint if the text is not there exactly once.
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

//! Lines as JSON objects, and the folder in which a relay keeps them: a file for each day.

pub(crate) mod files;
pub(crate) mod line;

/// The version of the file format. A program reads files of its own version and of older ones.
pub(crate) const FORMAT: u64 = 1;

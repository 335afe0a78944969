//! What a person or a program sees: a line editor on a terminal, or lines on a pipe.

pub(super) mod lines;
pub(super) mod output;
pub(super) mod terminal;
pub(super) mod wrap;

//! The user interface: a line editor on a terminal, or lines on a pipe.

mod editor;
mod inbox;
mod keys;
pub(super) mod lines;
mod mode;
mod names;
pub(super) mod output;
pub(super) mod terminal;
mod view;
pub(super) mod wrap;

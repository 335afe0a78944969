//! What both ends agree on: the rules of texts, commands, and the frames.

pub(crate) mod command;
pub mod framed;
pub(crate) mod notices;
pub(crate) mod round_trip;
pub(crate) mod text;

/// The UDP port of a relay, unless it is told otherwise.
pub const PORT: u16 = 10888;

//! What relay and client share: the rules for text, the commands, the relay's notices and the
//! frames.

pub(crate) mod code;
pub(crate) mod command;
pub mod framed;
pub(crate) mod notices;
#[cfg(feature = "operator")]
pub(crate) mod order;
pub(crate) mod round_trip;
pub(crate) mod text;

/// The default UDP port of a relay.
pub const PORT: u16 = 10888;

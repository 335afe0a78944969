//! What relay and client share: the rules for text, the commands, the relay's notices and the
//! frames.

mod code;
mod command;
pub mod framed;
mod notices;
pub(crate) mod order;
mod round_trip;
mod text;

#[cfg(feature = "link")]
pub use notices::LinkNotice;
pub use notices::{NOTICE, Notice};
pub use text::{DATAGRAM_MAX, LINE_MAX, NAME_MAX, Name, SEPARATOR, clean, is_blank};

#[cfg(feature = "private")]
pub(crate) use notices::TO_YOU;
pub(crate) use {
    code::Code,
    command::Command,
    notices::{Announcement, Loss, QUIET, STOPPING, Sentence, private},
    round_trip::RoundTrip,
    text::{is_invisible, repaired_name, whole_characters},
};

/// The default UDP port of a relay.
pub const PORT: u16 = 10888;

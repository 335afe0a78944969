//! The chat client: a line editor on a terminal, lines on a pipe.

use crate::Error;
use crate::args::ChatArguments;

/// Joins a relay and chats until the person, or the end of the input, says to leave.
///
/// # Errors
///
/// When the relay cannot be reached, or what is needed to reach it was not said.
pub fn run(_arguments: &ChatArguments) -> Result<(), Error> {
    Err(Error::Failure("not built yet".into()))
}

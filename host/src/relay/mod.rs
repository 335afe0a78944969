//! The relay on UDP sockets.

use crate::Error;
use crate::args::RelayArguments;

/// Runs the relay until it is told to stop.
///
/// # Errors
///
/// When no socket can be opened as asked.
pub fn run(_arguments: &RelayArguments) -> Result<(), Error> {
    Err(Error::Failure("not built yet".into()))
}

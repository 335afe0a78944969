//! The error of a command: a message for the user, and an exit code.

use core::fmt;

/// The reason why a command failed.
#[derive(Debug)]
pub enum Error {
    /// The command line is invalid: exit code 2.
    Usage(String),
    /// The command line is valid, but the command failed: exit code 1.
    Failure(String),
}

impl Error {
    /// Returns the program's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failure(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(text) | Self::Usage(text) => formatter.write_str(text),
        }
    }
}

impl core::error::Error for Error {}

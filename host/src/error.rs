//! How a command fails: with a line for the person who typed it, and an exit code.

use core::fmt;

/// Why a command ended without doing its work.
#[derive(Debug)]
pub enum Error {
    /// The command line asks for what cannot be: exit code 2.
    Usage(String),
    /// It was asked rightly and did not work: exit code 1.
    Failure(String),
}

impl Error {
    /// The program's exit code for this error.
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

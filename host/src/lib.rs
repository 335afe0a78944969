#![forbid(unsafe_code)]
//! The kilochat relay on UDP sockets and its terminal client.

mod address;
pub mod args;
pub mod chat;
mod environment;
mod error;
pub mod ping;
mod port;
mod race;
pub mod relay;
mod signals;
mod stdio;

use core::hash::BuildHasher;
use std::hash::RandomState;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

pub use error::Error;

/// Runs the program as the command line says.
pub fn run() -> ExitCode {
    let mut command = environment::heeded(args::Arguments::command());
    let matches = command.get_matches_mut();
    let arguments = args::Arguments::from_arg_matches(&matches)
        .unwrap_or_else(|error| error.format(&mut command).exit());
    let result = match arguments.command {
        args::Command::Relay(arguments) => relay::run(&arguments),
        args::Command::Chat(arguments) => chat::run(&arguments),
        args::Command::Ping(arguments) => ping::run(&arguments),
        args::Command::Send(arguments) => chat::send(&arguments),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    // Nobody may be left to read it; the exit code says it too.
    let _ = writeln!(std::io::stderr(), "kilochat: {error}");
    ExitCode::from(error.exit_code())
}

/// A number that nobody can guess.
fn random() -> u64 {
    // its keys are the system's random numbers
    RandomState::new().hash_one(())
}

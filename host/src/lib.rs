#![forbid(unsafe_code)]
//! The kilochat relay on UDP sockets, and its terminal client.

mod address;
pub mod args;
pub mod chat;
mod environment;
mod error;
pub mod find;
pub mod history;
mod kept;
mod operator;
pub mod ping;
mod port;
mod race;
pub mod relay;
mod signals;
mod stdio;
#[cfg(feature = "web")]
pub mod web;

use core::hash::BuildHasher;
use std::hash::RandomState;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

pub use error::Error;

/// Runs the command that the command line specifies.
pub fn run() -> ExitCode {
    let command = args::Arguments::command();
    for hint in environment::misspelt(&command) {
        // standard error may be closed
        let _ = writeln!(std::io::stderr(), "kilochat: {hint}");
    }
    let mut command = environment::ignore_unset_variables(command);
    let matches = command.get_matches_mut();
    let arguments = args::Arguments::from_arg_matches(&matches)
        .unwrap_or_else(|error| error.format(&mut command).exit());
    let result = match arguments.command {
        args::Command::Relay(arguments) => relay::run(&arguments),
        #[cfg(feature = "web")]
        args::Command::Web(arguments) => web::run(&arguments),
        args::Command::Chat(arguments) => chat::run(&arguments),
        args::Command::Ping(arguments) => ping::run(&arguments),
        args::Command::History(arguments) => history::run(&arguments),
        args::Command::Find(arguments) => find::run(&arguments),
        args::Command::Send(arguments) => chat::send(&arguments),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    // An error is ignored: standard error may be closed, and the exit code remains.
    let _ = writeln!(std::io::stderr(), "kilochat: {error}");
    ExitCode::from(error.exit_code())
}

/// Returns an unpredictable random number.
fn random() -> u64 {
    // the keys of the hasher come from the system's random number generator
    RandomState::new().hash_one(())
}

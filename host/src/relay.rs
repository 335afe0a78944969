//! `kilochat relay`: the relay on the operating system's UDP sockets.

mod addresses;
mod config;
mod greeting;
mod journal;
mod network;
mod paths;
mod pauses;
mod per_address;
mod reports;
mod server;
mod signals;
mod sockets;
mod stopper;
mod transport;
mod turn;
mod worker;

use crate::Error;
use crate::args::RelayArguments;

pub use server::Server;
pub use stopper::Stopper;

/// Runs the relay until it is told to stop.
///
/// # Errors
///
/// If a socket cannot be opened as requested.
pub fn run(arguments: &RelayArguments) -> Result<(), Error> {
    let mut server = Server::bind(arguments)?;
    signals::handle(server.stopper())?;
    greeting::print(&server.addresses(), arguments.open);
    server.run()
}

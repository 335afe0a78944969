//! The relay on UDP sockets: `kilochat relay`.

mod driver;
mod greeting;
mod journal;
mod signals;
mod sockets;
mod worker;

#[cfg_attr(
    all(target_os = "linux", not(feature = "std-sockets")),
    path = "linux.rs"
)]
#[cfg_attr(
    any(not(target_os = "linux"), feature = "std-sockets"),
    path = "portable.rs"
)]
mod transport;

/// The portable transport is tested everywhere.
#[cfg(all(test, target_os = "linux", not(feature = "std-sockets")))]
mod portable;

use heapless::String;
use kilochat_core::{Config, MOTD_MAX, NETWORKS_MAX, Network};

use crate::Error;
use crate::args::RelayArguments;

pub use driver::{Server, Stopper};

/// Runs the relay until it is told to stop.
///
/// # Errors
///
/// When no socket can be opened as asked.
pub fn run(arguments: &RelayArguments) -> Result<(), Error> {
    let mut server = Server::bind(arguments)?;
    signals::handle(server.stopper())?;
    greeting::print(&server.addresses());
    server.run()
}

/// What the core is told of the command line.
///
/// # Errors
///
/// When a value is more than the core has room for, or the system has no random numbers.
fn config(arguments: &RelayArguments) -> Result<Config, Error> {
    let motd = arguments.motd.as_deref().unwrap_or_default();
    let motd = String::try_from(motd).map_err(|_| {
        Error::Usage(format!(
            "--motd is {} bytes; at most {MOTD_MAX} fit",
            motd.len()
        ))
    })?;
    let mut key = [0; 16];
    getrandom::fill(&mut key)
        .map_err(|error| Error::Failure(format!("the system has no random numbers: {error}")))?;
    Ok(Config {
        seats: arguments.seats,
        history: arguments.history,
        announce_up_to: if arguments.no_notices {
            0
        } else {
            arguments.announce_up_to
        },
        echo: arguments.echo,
        classic: arguments.classic,
        open: arguments.open,
        key,
        motd,
        networks: attached_networks().take(NETWORKS_MAX).collect(),
        ..Config::default()
    })
}

/// The networks that this machine is attached to, as far as their addresses are not local anyway.
fn attached_networks() -> impl Iterator<Item = Network> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .into_iter()
        .filter_map(|interface| match interface.addr {
            if_addrs::IfAddr::V4(v4) if v4.ip.is_private() || v4.ip.is_loopback() => None,
            if_addrs::IfAddr::V4(v4) => Some(Network {
                address: v4.ip.into(),
                prefix: v4.prefixlen,
            }),
            if_addrs::IfAddr::V6(v6) if v6.ip.is_unique_local() || v6.ip.is_loopback() => None,
            if_addrs::IfAddr::V6(v6) if v6.ip.is_unicast_link_local() => None,
            if_addrs::IfAddr::V6(v6) => Some(Network {
                address: v6.ip.into(),
                prefix: v6.prefixlen,
            }),
        })
}

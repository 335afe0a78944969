//! Builds the configuration of the core from the command line.

use heapless::String;
use if_addrs::Interface;
use kilochat_core::{Config, MOTD_MAX};

use super::addresses::attached_networks;
use crate::Error;
use crate::args::RelayArguments;

/// Builds the core's configuration from the command line, with the networks of `interfaces`.
///
/// # Errors
///
/// If a value exceeds the core's capacity, or the system provides no random numbers.
pub(super) fn config(
    arguments: &RelayArguments,
    interfaces: &[Interface],
) -> Result<Config, Error> {
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
        prove: arguments.prove,
        motd,
        networks: attached_networks(interfaces),
        ..Config::new(key)
    })
}

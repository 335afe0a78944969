//! The command line: types for clap only.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use clap::builder::FalseyValueParser;
use clap::{Arg, Command, CommandFactory, FromArgMatches, Parser};
use kilochat_core::Network;
use kilochat_embedded::PORT;

/// Maximum number of seats in this build.
pub(crate) const SEATS_MAX: u16 = 64;

/// The chat relay on a network stack of its own, behind a TAP interface.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  sudo ip tuntap add dev tap0 mode tap user $USER    once: an interface that you may use
  sudo ip address add 192.168.77.2/24 dev tap0
  sudo ip link set tap0 up
  kilochat-tap --ip 192.168.77.1/24                  then, without root: the relay behind it
  kilochat chat 192.168.77.1

  kilochat-tap --tap tap1 --dhcp                     on a bridge: ask the network for an address

Ctrl-C says goodbye to all peers and ends. SIGUSR1 logs statistics."
)]
pub(crate) struct Arguments {
    /// The TAP interface
    #[arg(
        long,
        value_name = "NAME",
        default_value = "tap0",
        env = "KILOCHAT_TAP"
    )]
    pub(crate) tap: String,

    /// Create the interface if there is none, and set it up (needs CAP_NET_ADMIN)
    #[arg(long, env = "KILOCHAT_CREATE", value_parser = FalseyValueParser::new())]
    pub(crate) create: bool,

    /// The relay's IPv4 address; with --dhcp only while there is no lease
    #[arg(long, value_name = "ADDRESS/PREFIX", value_parser = v4, env = "KILOCHAT_IP")]
    pub(crate) ip: Option<Network>,

    /// Ask for an IPv4 address; after 10 s go on with --ip, or with 169.254.x.y
    #[arg(long, env = "KILOCHAT_DHCP", value_parser = FalseyValueParser::new())]
    pub(crate) dhcp: bool,

    /// An IPv6 address in addition to the link-local one and those from routers
    #[arg(long, value_name = "ADDRESS/PREFIX", value_parser = v6, env = "KILOCHAT_IP6")]
    pub(crate) ip6: Option<Network>,

    /// The hardware address [default: made of this machine's and the interface's name]
    #[arg(long, value_name = "XX:XX:XX:XX:XX:XX", value_parser = hardware, env = "KILOCHAT_MAC")]
    pub(crate) mac: Option<Hardware>,

    /// Answer to NAME.local; '' for no name [default: kilochat- and the end of the hardware address]
    #[arg(long, value_name = "NAME", env = "KILOCHAT_MDNS_NAME")]
    pub(crate) name: Option<String>,

    /// How many peers can be in the room at once
    #[arg(long, value_name = "N", default_value_t = SEATS_MAX, env = "KILOCHAT_SEATS",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(SEATS_MAX)))]
    pub(crate) seats: u16,

    /// The relay's UDP port
    #[arg(long, value_name = "PORT", default_value_t = PORT, env = "KILOCHAT_PORT",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    /// How many of the last messages a newcomer is shown
    #[arg(long, value_name = "N", default_value_t = 10, env = "KILOCHAT_HISTORY")]
    pub(crate) history: u16,

    /// Lines a second that a peer may say after 64 at once, at most 1000; 0 is no limit
    #[arg(long, value_name = "RATE", default_value_t = 20, env = "KILOCHAT_RATE")]
    pub(crate) rate: u16,

    /// Also serve peers from outside the local networks, once they have proved their address (there is no
    /// encryption)
    #[arg(long, env = "KILOCHAT_OPEN", value_parser = FalseyValueParser::new())]
    pub(crate) open: bool,

    /// Also ask neighbours to prove their address before they are served
    #[arg(long, env = "KILOCHAT_PROVE", value_parser = FalseyValueParser::new())]
    pub(crate) prove: bool,

    /// KiB a second for each address on the local networks whose plain clients have not proved it, and 16
    /// times as many for all of them; 0 is no limit
    #[arg(
        long,
        value_name = "KIB",
        default_value_t = 256,
        env = "KILOCHAT_UNPROVEN"
    )]
    pub(crate) unproven: u16,

    /// Write the logs as defmt's bytes, for `defmt-print -e PROGRAM`
    #[arg(long, env = "KILOCHAT_RAW", value_parser = FalseyValueParser::new())]
    pub(crate) raw: bool,
}

impl Arguments {
    /// Reads the command line. An empty environment variable counts as not set.
    pub(crate) fn read() -> Self {
        let is_empty = |argument: &Arg| {
            let value = argument.get_env().and_then(std::env::var_os);
            value.is_some_and(|value| value.is_empty())
        };
        let heeded = |argument: Arg| match is_empty(&argument) {
            true => argument.env(None::<&str>),
            false => argument,
        };
        let mut command: Command = Self::command().mut_args(heeded);
        let matches = command.get_matches_mut();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hardware(pub(crate) [u8; 6]);

fn v4(text: &str) -> Result<Network, String> {
    network::<Ipv4Addr>(text, 32).ok_or_else(|| "write it like 192.168.77.1/24".into())
}

fn v6(text: &str) -> Result<Network, String> {
    network::<Ipv6Addr>(text, 128).ok_or_else(|| "write it like fd00:77::1/64".into())
}

fn network<Address: FromStr + Into<IpAddr>>(text: &str, bits: u8) -> Option<Network> {
    let (address, prefix) = text.split_once('/')?;
    let address = address.parse::<Address>().ok()?.into();
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= bits)?;
    Some(Network { address, prefix })
}

fn hardware(text: &str) -> Result<Hardware, String> {
    let mut bytes = [0; 6];
    let mut digits = text.split(':');
    let is_read = bytes.iter_mut().all(|byte| {
        let read = digits
            .next()
            .filter(|digits| digits.len() == 2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        *byte = read.unwrap_or_default();
        read.is_some()
    });
    if is_read && digits.next().is_none() {
        Ok(Hardware(bytes))
    } else {
        Err("write six pairs of digits, like 02:00:00:00:00:01".into())
    }
}

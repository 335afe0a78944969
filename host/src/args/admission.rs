//! Who may come in, and how fast: options of `kilochat relay`.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "clap shows these texts as they are"
)]

use core::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use kilochat_core::Network;

/// Who may come in, and how fast a peer may talk.
#[derive(Args, Clone, Debug)]
pub struct AdmissionArguments {
    /// Serve the sources of a network although it is not local, once they have proved their address;
    /// repeat it for several
    #[arg(long, value_name = "PREFIX", value_parser = network, env = "KILOCHAT_ALLOW", value_delimiter = ',')]
    pub allow: Vec<Network>,

    /// Do not answer the sources of a network, like 10.0.0.7 or 10.8.0.0/24; repeat it for several
    #[arg(long, value_name = "PREFIX", value_parser = network, env = "KILOCHAT_DENY", value_delimiter = ',')]
    pub deny: Vec<Network>,

    /// Treat a network as local, for example that of a VPN; repeat it for several
    #[arg(long, value_name = "PREFIX", value_parser = network, env = "KILOCHAT_LOCAL", value_delimiter = ',')]
    pub local: Vec<Network>,

    /// Read more such rules from a file: `deny PREFIX`, `allow PREFIX` or `local PREFIX` a line, of which
    /// the first that fits counts. SIGHUP reads it again if the relay runs without a terminal
    #[arg(long, value_name = "FILE", env = "KILOCHAT_RULES")]
    pub rules: Option<PathBuf>,

    /// Folder with the key of the operators, who give orders in the room; the key is made at the first
    /// start. Give it to them for `kilochat chat --operator-key`
    #[arg(long, value_name = "FOLDER", env = "KILOCHAT_OPERATORS")]
    pub operators: Option<PathBuf>,

    /// Lines a second that a peer may say, and how many at once before; 0 is no limit
    #[arg(long, value_name = "RATE[:BURST]", default_value = "20:64", env = "KILOCHAT_RATE",
          value_parser = rate)]
    pub rate: Rate,

    /// KiB a second for each address on the local networks whose plain clients have not proved it, and 16
    /// times as many for all of them; 0 is no limit
    #[arg(
        long,
        value_name = "KIB",
        default_value_t = 256,
        env = "KILOCHAT_UNPROVEN"
    )]
    pub unproven: u16,
}

/// A number of lines a second, and of lines at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Lines a second; 0 is no limit.
    pub rate: u16,
    /// Lines at once.
    pub burst: u16,
}

/// Parses `ADDRESS` or `ADDRESS/BITS`.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    let (address, bits) = match text.split_once('/') {
        // a number may have a sign
        Some((address, bits)) if !bits.starts_with('+') => (address, bits.parse::<u8>().ok()),
        Some((address, _)) => (address, None),
        None => (text, Some(u8::MAX)),
    };
    let address = address.parse::<IpAddr>().ok();
    let network = address.zip(bits).and_then(|(address, bits)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = if text.contains('/') { bits } else { most };
        (prefix <= most).then_some(Network { address, prefix })
    });
    network.ok_or_else(|| format!("{text:?} is no network; write one like 10.8.0.0/24"))
}

/// Parses `RATE` or `RATE:BURST`.
fn rate(text: &str) -> Result<Rate, String> {
    let (rate, burst) = text.split_once(':').unwrap_or((text, "64"));
    let parsed = rate.parse().ok().zip(burst.parse().ok());
    parsed
        .filter(|&(rate, burst)| rate <= 1000 && (1..=10_000).contains(&burst))
        .map(|(rate, burst)| Rate { rate, burst })
        .ok_or_else(|| {
            "write lines a second, at most 1000, and how many at once, like 20:64".into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_with_or_without_bits() {
        for (text, expected) in [
            ("10.8.0.0/24", Some(("10.8.0.0", 24))),
            ("10.8.0.1", Some(("10.8.0.1", 32))),
            ("0.0.0.0/0", Some(("0.0.0.0", 0))),
            ("2001:db8::/48", Some(("2001:db8::", 48))),
            ("::1", Some(("::1", 128))),
            ("10.8.0.0/33", None),
            ("::/129", None),
            ("10.8.0.0/", None),
            ("10.8.0.0/+24", None),
            ("10.8.0/24", None),
            ("", None),
        ] {
            let expected = expected.map(|(address, prefix)| Network {
                address: address.parse().unwrap(),
                prefix,
            });
            assert_eq!(network(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn rates_are_read_with_and_without_a_burst() {
        for (text, expected) in [
            ("20:64", Some((20, 64))),
            ("5", Some((5, 64))),
            ("0", Some((0, 64))),
            ("1000:1", Some((1000, 1))),
            ("1001", None),
            ("20:0", None),
            ("", None),
            ("20:", None),
            ("-1", None),
        ] {
            let expected = expected.map(|(rate, burst)| Rate { rate, burst });
            assert_eq!(rate(text).ok(), expected, "{text}");
        }
    }
}

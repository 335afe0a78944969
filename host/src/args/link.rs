//! One room over several relays: options of `kilochat relay --link` and of `kilochat history URL`.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "clap shows these texts as they are"
)]

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use std::path::PathBuf;

use clap::Args;
use kilochat_core::{PlaceName, is_place};

/// The engine through which relays are linked.
#[derive(Args, Clone, Debug)]
pub struct LinkOptions {
    /// Link this relay with others to one room, through the NATS servers (with JetStream) at these
    /// addresses; without them the relay goes on alone
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        env = "KILOCHAT_LINK",
        conflicts_with = "classic"
    )]
    pub link: Vec<EngineUrl>,

    /// Name of this relay's place, which follows the names of its people elsewhere: Ada@harbour [default:
    /// the name of this machine]
    #[arg(long, value_name = "NAME", env = "KILOCHAT_PLACE")]
    pub place: Option<Token>,

    /// Number of servers that keep each line, if this relay is the first in the room
    #[arg(long, value_name = "N", default_value_t = 1, env = "KILOCHAT_LINK_REPLICAS",
          value_parser = clap::value_parser!(u8).range(1..=5))]
    pub link_replicas: u8,

    /// How to reach the engine.
    #[command(flatten)]
    pub engine: EngineOptions,
}

/// How to reach an engine, and which room in it.
#[derive(Args, Clone, Debug)]
pub struct EngineOptions {
    /// Name of the room that linked relays share
    #[arg(
        long,
        value_name = "NAME",
        default_value = "room",
        env = "KILOCHAT_ROOM"
    )]
    pub room: Token,

    /// JetStream domain of the servers that keep the room, if the relay is connected to a leaf of them
    #[arg(long, value_name = "NAME", env = "KILOCHAT_LINK_DOMAIN")]
    pub link_domain: Option<String>,

    /// Certificates that a tls:// server may have, beside those that the system trusts (PEM)
    #[arg(long, value_name = "FILE", env = "KILOCHAT_LINK_CA")]
    pub link_ca: Option<PathBuf>,

    /// Certificate that is shown to a tls:// server (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "KILOCHAT_LINK_CERT",
        requires = "link_key"
    )]
    pub link_cert: Option<PathBuf>,

    /// Key of that certificate (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "KILOCHAT_LINK_KEY",
        requires = "link_cert"
    )]
    pub link_key: Option<PathBuf>,

    /// Credentials for the server: a file with a JWT and a key, as nsc makes it
    #[arg(long, value_name = "FILE", env = "KILOCHAT_LINK_CREDS", conflicts_with_all = ["link_nkey", "link_token_file"])]
    pub link_creds: Option<PathBuf>,

    /// Seed of a key that the server knows (SU...)
    #[arg(
        long,
        value_name = "FILE",
        env = "KILOCHAT_LINK_NKEY",
        conflicts_with = "link_token_file"
    )]
    pub link_nkey: Option<PathBuf>,

    /// Token, or USER:PASSWORD, that the server knows
    #[arg(long, value_name = "FILE", env = "KILOCHAT_LINK_TOKEN_FILE")]
    pub link_token_file: Option<PathBuf>,
}

/// The name of a room or a place: 1 to 16 of the characters a to z, 0 to 9 and the hyphen. It is a
/// part of the subjects of messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(PlaceName);

impl Token {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name for the core.
    pub(crate) fn of_core(&self) -> PlaceName {
        self.0.clone()
    }

    /// Returns the nearest name of a place to that of a machine, or `relay` if nothing of it is left.
    pub(crate) fn repaired(machine: &str) -> Self {
        let host = machine.split('.').next().unwrap_or_default();
        let mut name = PlaceName::new();
        for character in host.chars() {
            let repaired = match character.to_ascii_lowercase() {
                letter @ ('a'..='z' | '0'..='9') => letter,
                _ => '-',
            };
            // what does not fit is left out
            if name.push(repaired).is_err() {
                break;
            }
        }
        if name.chars().all(|character| character == '-') {
            name.clear();
            // it fits
            let _ = name.push_str("relay");
        }
        Self(name)
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = PlaceName::try_from(text).ok();
        name.filter(|name| is_place(name))
            .map(Self)
            .ok_or_else(|| "write 1 to 16 of a to z, 0 to 9 and -".into())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The address of an engine's server: `nats://HOST[:PORT]`, or `tls://` to require encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUrl(String);

impl EngineUrl {
    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether lines would cross foreign networks as they are.
    pub(crate) fn is_exposed(&self) -> bool {
        let Some(host) = self.0.strip_prefix("nats://") else {
            return false;
        };
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next(),
            None => host.split(':').next(),
        };
        let host = host.unwrap_or_default();
        match host.parse() {
            Ok(IpAddr::V4(ip)) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
            Ok(IpAddr::V6(ip)) => {
                !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
            }
            // a name without a domain is of this network
            Err(_) => host.contains('.') && !host.ends_with(".local"),
        }
    }
}

impl FromStr for EngineUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('/');
        let rest = text
            .strip_prefix("nats://")
            .or_else(|| text.strip_prefix("tls://"));
        if rest.is_none_or(str::is_empty) {
            return Err("write nats://HOST, nats://HOST:PORT or tls://HOST".into());
        }
        if text.contains('@') {
            return Err(
                "a secret in an address can be read by everybody on this machine: use --link-creds, \
                 --link-nkey or --link-token-file"
                    .into(),
            );
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_machine_becomes_that_of_a_place() {
        for (machine, expected) in [
            ("harbour", "harbour"),
            ("Harbour.example.org", "harbour"),
            ("Ada's laptop", "ada-s-laptop"),
            ("a-name-that-is-too-long", "a-name-that-is-t"),
            ("船", "relay"),
            ("", "relay"),
        ] {
            let place = Token::repaired(machine);
            assert_eq!(place.as_str(), expected);
            assert_eq!(expected.parse(), Ok(place));
        }
        for no_place in [
            "",
            "Harbour",
            "a.b",
            "a*",
            ">",
            "a b",
            "a-name-that-is-too-long",
        ] {
            assert!(no_place.parse::<Token>().is_err(), "{no_place}");
        }
    }

    #[test]
    fn an_address_holds_no_secret_and_says_what_it_exposes() {
        for (url, is_exposed) in [
            ("nats://127.0.0.1:4222", false),
            ("nats://[::1]:4222/", false),
            ("nats://192.168.1.5", false),
            ("nats://hub", false),
            ("nats://hub.local:4222", false),
            ("nats://203.0.113.5", true),
            ("nats://[2001:db8::1]:4222", true),
            ("nats://hub.example.org:4222", true),
            ("tls://hub.example.org", false),
        ] {
            let parsed: EngineUrl = url.parse().unwrap();
            assert_eq!(parsed.is_exposed(), is_exposed, "{url}");
        }
        for url in [
            "",
            "hub",
            "nats://",
            "ws://hub",
            "http://hub",
            "nats://ada:secret@hub",
            "tls://token@hub",
        ] {
            assert!(url.parse::<EngineUrl>().is_err(), "{url}");
        }
    }
}

//! Makes constants from environment variables, and passes the linker scripts to the linker.
//!
//! | variable | meaning |
//! |---|---|
//! | `KILOCHAT_IP`, `KILOCHAT_IP6` | static addresses with their prefix lengths, as in `192.168.1.5/24` |
//! | `KILOCHAT_DHCP` | 1: request an IPv4 address; the static one is used while there is no lease |
//! | `KILOCHAT_SLAAC` | 0: make no IPv6 addresses from router advertisements |
//! | `KILOCHAT_PORT` | the UDP port, by default 10888 |
//! | `KILOCHAT_NAME` | the name in `NAME.local`, by default `kilochat-` and the end of the hardware address; `-` for none |
//! | `KILOCHAT_MOTD` | a greeting for newcomers |
//! | `KILOCHAT_OPEN` | 1: also serve sources outside the local networks, once they have proved their address |
//! | `KILOCHAT_RATE` | lines a second that a peer may say after 64 at once, at most 1000, by default 20; 0 is no limit |
//! | `KILOCHAT_MAC` | the hardware address, in place of the one in the chip's user registers |
//! | `KILOCHAT_KEY` | a secret number of up to 32 hexadecimal digits, different for each board |
//!
//! No gateway is needed: a reply goes to the hardware address from which the peer's datagram came.
#![allow(clippy::print_stdout, reason = "it is how a build script talks")]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU16;
use core::str::FromStr;
use std::path::Path;
use std::process::exit;

fn main() {
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rerun-if-changed=device.x");
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    if std::env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
    let addresses = [
        network::<Ipv4Addr>("KILOCHAT_IP", 32),
        network::<Ipv6Addr>("KILOCHAT_IP6", 128),
    ];
    let mac = value("KILOCHAT_MAC").map(|text| {
        hardware(&text).unwrap_or_else(|| fail("KILOCHAT_MAC", &text, "02:00:00:00:00:01"))
    });
    let port = value("KILOCHAT_PORT").map_or("kilochat_core::PORT".into(), |text| match text
        .parse::<NonZeroU16>(
    ) {
        Ok(port) => port.to_string(),
        Err(_) => fail("KILOCHAT_PORT", &text, "10888"),
    });
    let rate = value("KILOCHAT_RATE").map_or(20, |text| match text.parse::<u16>() {
        Ok(rate) if rate <= 1000 => rate,
        _ => fail("KILOCHAT_RATE", &text, "20"),
    });
    let is_named = value("KILOCHAT_NAME").is_some();
    let name = value("KILOCHAT_NAME").unwrap_or_else(|| "kilochat-".into());
    let name = if name == "-" { String::new() } else { name };
    if name.len() > 63
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        fail("KILOCHAT_NAME", &name, "kilochat");
    }
    let motd = value("KILOCHAT_MOTD").unwrap_or_default();
    if motd.len() > 160 {
        fail("KILOCHAT_MOTD", &motd, "a text of at most 160 bytes");
    }
    let key = value("KILOCHAT_KEY").map_or(0, |text| {
        let example = "0123456789abcdef0123456789abcdef";
        u128::from_str_radix(&text, 16).unwrap_or_else(|_| fail("KILOCHAT_KEY", &text, example))
    });
    let settings = format!(
        "pub(crate) const ADDRESSES: [Option<(core::net::IpAddr, u8)>; 2] = [{}, {}];
         pub(crate) const DHCP: bool = {};
         pub(crate) const SLAAC: bool = {};
         pub(crate) const OPEN: bool = {};
         pub(crate) const RATE: u16 = {rate};
         pub(crate) const PORT: u16 = {port};
         pub(crate) const NAME: &str = {name:?};
         pub(crate) const NAME_ENDS_AS_HARDWARE: bool = {};
         pub(crate) const MOTD: &str = {motd:?};
         pub(crate) const MAC: Option<[u8; 6]> = {mac:?};
         pub(crate) const KEY: u128 = {key};\n",
        addresses[0],
        addresses[1],
        switch("KILOCHAT_DHCP", false),
        switch("KILOCHAT_SLAAC", true),
        switch("KILOCHAT_OPEN", false),
        !is_named,
    );
    let folder = std::env::var_os("OUT_DIR").unwrap_or_default();
    if let Err(error) = std::fs::write(Path::new(&folder).join("settings.rs"), settings) {
        println!("cargo::error=cannot write settings.rs: {error}");
        exit(1);
    }
}

/// Returns the value of an environment variable that is set.
fn value(variable: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={variable}");
    std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty())
}

fn fail(variable: &str, value: &str, example: &str) -> ! {
    println!("cargo::error={variable}={value} is not like {example}");
    exit(1)
}

fn switch(variable: &str, default: bool) -> bool {
    match value(variable).as_deref() {
        None | Some("") => default,
        Some("0") => false,
        Some("1") => true,
        Some(other) => fail(variable, other, "0 or 1"),
    }
}

/// Returns an address with its prefix as Rust source.
fn network<Address: FromStr + Into<IpAddr>>(variable: &str, bits: u8) -> String {
    let Some(text) = value(variable) else {
        return "None".into();
    };
    let example = if bits == 32 {
        "192.168.1.5/24"
    } else {
        "fd00::5/64"
    };
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        let address: IpAddr = address.parse::<Address>().ok()?.into();
        let prefix = prefix.parse::<u8>().ok().filter(|prefix| *prefix <= bits)?;
        let is_host =
            !(address.is_unspecified() || address.is_multicast() || address.is_loopback());
        is_host.then_some((address, prefix))
    });
    match parsed {
        Some((IpAddr::V4(ip), prefix)) => {
            let bits = ip.to_bits();
            format!(
                "Some((core::net::IpAddr::V4(core::net::Ipv4Addr::from_bits({bits})), {prefix}))"
            )
        }
        Some((IpAddr::V6(ip), prefix)) => {
            let bits = ip.to_bits();
            format!(
                "Some((core::net::IpAddr::V6(core::net::Ipv6Addr::from_bits({bits})), {prefix}))"
            )
        }
        None => fail(variable, &text, example),
    }
}

/// Parses a unicast hardware address.
fn hardware(text: &str) -> Option<[u8; 6]> {
    let parts = text.split(':').map(|part| u8::from_str_radix(part, 16));
    let bytes: Vec<u8> = parts.collect::<Result<_, _>>().ok()?;
    let bytes: [u8; 6] = bytes.try_into().ok()?;
    (bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(bytes)
}

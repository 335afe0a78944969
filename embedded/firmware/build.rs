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
//! | `KILOCHAT_PROVE` | 1: sources in the local networks must prove their address, too |
//! | `KILOCHAT_UNPROVEN` | KiB a second for each local address whose plain clients have not proved it, by default 256; 0 is no limit |
//! | `KILOCHAT_RULES` | at most 16 networks, each allowed, denied or called local: `deny 10.0.0.7; local 10.8.0.0/24` |
//! | `KILOCHAT_OPERATOR_KEY` | the key of the operators, 32 hexadecimal digits, for `kilochat chat --operator-key` |
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

/// What a key looks like.
const EXAMPLE_KEY: &str = "0123456789abcdef0123456789abcdef";

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
    let unproven = value("KILOCHAT_UNPROVEN").map_or(256, |text| {
        text.parse::<u16>()
            .unwrap_or_else(|_| fail("KILOCHAT_UNPROVEN", &text, "256"))
    });
    let operator = value("KILOCHAT_OPERATOR_KEY").map(|text| {
        let is_key = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let key = u128::from_str_radix(&text, 16).ok().filter(|_| is_key);
        key.unwrap_or_else(|| fail("KILOCHAT_OPERATOR_KEY", "(secret)", EXAMPLE_KEY))
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
        u128::from_str_radix(&text, 16)
            .unwrap_or_else(|_| fail("KILOCHAT_KEY", "(secret)", EXAMPLE_KEY))
    });
    let needs_key = ["KILOCHAT_OPERATOR_KEY", "KILOCHAT_OPEN", "KILOCHAT_PROVE"];
    let is_on = |variable: &&str| value(variable).is_some_and(|value| value != "0");
    if key == 0
        && let Some(variable) = needs_key.into_iter().find(is_on)
    {
        println!(
            "cargo::warning={variable} without KILOCHAT_KEY: others can compute sessions, cookies and codes"
        );
    }
    let settings = format!(
        "pub(crate) const ADDRESSES: [Option<(core::net::IpAddr, u8)>; 2] = [{}, {}];
         pub(crate) const DHCP: bool = {};
         pub(crate) const SLAAC: bool = {};
         pub(crate) const OPEN: bool = {};
         pub(crate) const PROVE: bool = {};
         pub(crate) const RATE: u16 = {rate};
         pub(crate) const UNPROVEN: u16 = {unproven};
         pub(crate) const OPERATOR: Option<u128> = {operator:?};
         pub(crate) const RULES: &[kilochat_core::Rule] = &[{}];
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
        switch("KILOCHAT_PROVE", false),
        rules(),
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
    println!("cargo::error={variable}={value} is not valid; expected: {example}");
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
        Some((address, prefix)) => format!("Some(({}, {prefix}))", source(address)),
        None => fail(variable, &text, example),
    }
}

/// Returns the rules as Rust source.
fn rules() -> String {
    const RULES_MAX: usize = 16;
    let text = value("KILOCHAT_RULES").unwrap_or_default();
    let rules: Vec<&str> = text
        .split(';')
        .map(str::trim)
        .filter(|rule| !rule.is_empty())
        .collect();
    if rules.len() > RULES_MAX {
        fail("KILOCHAT_RULES", &text, "at most 16 rules");
    }
    let rule = |rule: &str| {
        let (verdict, network) = rule.split_once(' ')?;
        let verdict = match verdict {
            "allow" => "Allow",
            "deny" => "Deny",
            "local" => "Local",
            _ => return None,
        };
        let (address, prefix) = network.split_once('/').unwrap_or((network, ""));
        let address: IpAddr = address.trim().parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            "" if !network.contains('/') => bits,
            // a number may have a sign
            prefix if prefix.starts_with('+') => return None,
            prefix => prefix.parse::<u8>().ok().filter(|it| *it <= bits)?,
        };
        let address = source(address);
        Some(format!(
            "kilochat_core::Rule {{
                 verdict: kilochat_core::Verdict::{verdict},
                 network: Network {{ address: {address}, prefix: {prefix} }},
             }},"
        ))
    };
    let example = "deny 10.0.0.7; local 10.8.0.0/24";
    rules
        .into_iter()
        .map(|text| rule(text).unwrap_or_else(|| fail("KILOCHAT_RULES", text, example)))
        .collect()
}

/// Returns an address as Rust source.
fn source(address: IpAddr) -> String {
    let (version, bits) = match address {
        IpAddr::V4(ip) => (4, ip.to_bits().into()),
        IpAddr::V6(ip) => (6, ip.to_bits()),
    };
    format!("core::net::IpAddr::V{version}(core::net::Ipv{version}Addr::from_bits({bits}))")
}

/// Parses a unicast hardware address.
fn hardware(text: &str) -> Option<[u8; 6]> {
    let parts = text.split(':').map(|part| u8::from_str_radix(part, 16));
    let bytes: Vec<u8> = parts.collect::<Result<_, _>>().ok()?;
    let bytes: [u8; 6] = bytes.try_into().ok()?;
    (bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(bytes)
}

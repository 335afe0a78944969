//! The greeting that the relay prints after its start: where it listens, and how to join.

use core::net::{IpAddr, SocketAddr};
use std::io::{self, Write};

use if_addrs::Interface;
use kilochat_core::PORT;

use super::addresses::interfaces;

/// Prints the greeting. A failure is ignored, because the relay works without a reader.
pub(super) fn print(listening: &[SocketAddr]) {
    let _ = write(&mut io::stdout().lock(), listening);
}

fn write(out: &mut impl Write, listening: &[SocketAddr]) -> io::Result<()> {
    for address in listening {
        writeln!(out, "listening on {address}")?;
    }
    let reachable: Vec<SocketAddr> = listening
        .iter()
        .flat_map(|at| reachable_at(*at, listening.len() == 1))
        .collect();
    let Some(first) = reachable.first() else {
        let local = listening
            .first()
            .copied()
            .unwrap_or_else(|| ([127, 0, 0, 1], PORT).into());
        let local = if local.ip().is_unspecified() {
            ([127, 0, 0, 1], local.port()).into()
        } else {
            local
        };
        writeln!(out, "only this machine can reach it; join with")?;
        write_commands(out, local)?;
        return out.flush();
    };
    let list: Vec<String> = reachable
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    writeln!(
        out,
        "others reach it at {}; join from another machine with",
        list.join(", ")
    )?;
    write_commands(out, *first)?;
    writeln!(
        out,
        "nothing arrives? the firewall may need: sudo ufw allow {}/udp",
        first.port()
    )?;
    out.flush()
}

fn write_commands(out: &mut impl Write, at: SocketAddr) -> io::Result<()> {
    let host = if at.port() == PORT {
        at.ip().to_string()
    } else {
        at.to_string()
    };
    writeln!(out, "    kilochat chat {host}")?;
    writeln!(
        out,
        "    nc -u {} {}      (the first line is your name)",
        at.ip(),
        at.port()
    )
}

/// Returns the addresses under which others reach a socket, IPv4 first because it is easier to
/// type. A socket that is not `alone` serves its own address family only.
fn reachable_at(listening: SocketAddr, alone: bool) -> Vec<SocketAddr> {
    if !listening.ip().is_unspecified() {
        return if listening.ip().is_loopback() {
            Vec::new()
        } else {
            vec![listening]
        };
    }
    let mut addresses: Vec<IpAddr> = interfaces().iter().map(Interface::ip).collect();
    addresses.retain(|ip| match ip {
        IpAddr::V4(ip) => (listening.is_ipv4() || alone) && !ip.is_loopback(),
        IpAddr::V6(ip) => listening.is_ipv6() && !ip.is_loopback() && !ip.is_unicast_link_local(),
    });
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
        .into_iter()
        .map(|ip| (ip, listening.port()).into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(listening: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, &[listening.parse().unwrap()]).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn gives_commands_that_can_be_pasted() {
        let default = written("192.0.2.5:10888");
        assert!(
            default.starts_with("listening on 192.0.2.5:10888\n"),
            "{default}"
        );
        assert!(default.contains("kilochat chat 192.0.2.5\n"), "{default}");
        assert!(default.contains("nc -u 192.0.2.5 10888 "), "{default}");
        let other = written("[2001:db8::5]:99");
        assert!(
            other.contains("kilochat chat [2001:db8::5]:99\n"),
            "{other}"
        );
        assert!(other.contains("nc -u 2001:db8::5 99 "), "{other}");
        let local = written("127.0.0.1:10888");
        assert!(local.contains("only this machine"), "{local}");
    }
}

//! The greeting that the relay prints after its start: where it listens, and how to join.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::env;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::path::PathBuf;

use if_addrs::{IfAddr, Interface};
use kilochat_core::PORT;

use super::addresses::interfaces;

/// Prints the greeting. A failure is ignored, because the relay works without a reader.
pub(super) fn print(listening: &[SocketAddr], is_open: bool) {
    let machine = Machine {
        interfaces: interfaces(),
        source: default_sources(),
        program: program(),
    };
    let _ = machine.write(&mut io::stdout().lock(), listening, is_open);
}

/// Returns the addresses under which others reach these sockets and are served, the best one first.
#[cfg(feature = "web")]
pub(crate) fn reachable(listening: &[SocketAddr], is_open: bool) -> Vec<SocketAddr> {
    Machine {
        interfaces: interfaces(),
        source: default_sources(),
        program: String::new(),
    }
    .reachable(listening, is_open)
}

/// What the greeting says about this machine.
struct Machine {
    interfaces: Vec<Interface>,
    /// The source addresses of the default routes.
    source: Vec<IpAddr>,
    /// The command that starts this program.
    program: String,
}

impl Machine {
    fn write(
        &self,
        out: &mut impl Write,
        listening: &[SocketAddr],
        is_open: bool,
    ) -> io::Result<()> {
        for address in listening {
            writeln!(out, "listening on {address}")?;
        }
        let reachable = self.reachable(listening, is_open);
        let port = listening.first().map_or(PORT, SocketAddr::port);
        let Some(first) = reachable.first() else {
            let local = listening.iter().find(|at| !at.ip().is_unspecified());
            let local = local.map_or(([127, 0, 0, 1], port).into(), |local| *local);
            writeln!(out, "only this machine can reach it; join with")?;
            writeln!(out, "    {} chat {}", self.program, host(local))?;
            write_netcat(out, local)?;
            return out.flush();
        };
        writeln!(out, "join it from another machine with")?;
        for address in &reachable {
            writeln!(out, "    kilochat chat {}", host(*address))?;
        }
        write_netcat(out, *first)?;
        if listening.iter().any(|at| at.ip().is_unspecified()) {
            let local = if port == PORT {
                String::new()
            } else {
                format!(" localhost:{port}")
            };
            writeln!(out, "and from this one with")?;
            writeln!(out, "    {} chat{local}", self.program)?;
        }
        writeln!(
            out,
            "nothing arrives? the firewall may need: sudo ufw allow {port}/udp"
        )?;
        out.flush()
    }

    fn reachable(&self, listening: &[SocketAddr], is_open: bool) -> Vec<SocketAddr> {
        let alone = listening.len() == 1;
        let sockets = listening.iter();
        sockets
            .flat_map(|at| self.reachable_at(*at, alone, is_open))
            .collect()
    }

    /// Returns the addresses under which others reach a socket and are served, those of the default route
    /// first, and IPv4 before IPv6 because it is easier to type. A socket that is not `alone` serves its
    /// own address family only.
    fn reachable_at(&self, listening: SocketAddr, alone: bool, is_open: bool) -> Vec<SocketAddr> {
        if !listening.ip().is_unspecified() {
            let is_reachable = !listening.ip().is_loopback();
            return is_reachable.then_some(listening).into_iter().collect();
        }
        let mut addresses: Vec<IpAddr> = self
            .interfaces
            .iter()
            .filter(|interface| is_open || has_served_neighbours(interface))
            .map(Interface::ip)
            .filter(|ip| match ip {
                IpAddr::V4(ip) => (listening.is_ipv4() || alone) && !ip.is_loopback(),
                IpAddr::V6(ip) => {
                    listening.is_ipv6() && !ip.is_loopback() && !ip.is_unicast_link_local()
                }
            })
            .collect();
        addresses.sort_by_key(|ip| (!self.source.contains(ip), ip.is_ipv6()));
        let at_port = |ip| (ip, listening.port()).into();
        addresses.into_iter().map(at_port).collect()
    }
}

/// Returns whether the relay serves peers on the network of an interface. A VPN may assign a public
/// address with a prefix that contains no other address.
fn has_served_neighbours(interface: &Interface) -> bool {
    match &interface.addr {
        IfAddr::V4(v4) => v4.ip.is_private() || v4.ip.is_link_local() || v4.prefixlen < 32,
        IfAddr::V6(v6) => v6.ip.is_unique_local() || v6.prefixlen < 128,
    }
}

/// Returns the source addresses of the default routes. Nothing is sent.
fn default_sources() -> Vec<IpAddr> {
    // documentation addresses (RFC 5737, RFC 3849), to which only a default route leads
    let far: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), [192, 0, 2, 1].into()),
        (
            Ipv6Addr::UNSPECIFIED.into(),
            [0x2001, 0xDB8, 0, 0, 0, 0, 0, 1].into(),
        ),
    ];
    far.iter()
        .filter_map(|(any, far)| {
            let socket = UdpSocket::bind((*any, 0)).ok()?;
            socket.connect((*far, 9)).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .collect()
}

/// Returns how this program is started in the current folder: by its name if it is in the PATH.
fn program() -> String {
    const NAME: &str = "kilochat";
    let Ok(this) = env::current_exe() else {
        return NAME.into();
    };
    let is_this = |folder: PathBuf| {
        let found = folder.join(NAME).with_extension(env::consts::EXE_EXTENSION);
        found.canonicalize().is_ok_and(|found| found == this)
    };
    if env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(is_this)) {
        return NAME.into();
    }
    let here = env::current_dir().unwrap_or_default();
    let shown = this.strip_prefix(here).unwrap_or(&this);
    shown.display().to_string()
}

/// Returns an address as HOST[:PORT].
fn host(at: SocketAddr) -> String {
    let zone = match at.ip() {
        // each machine has names of its own for its interfaces
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "%INTERFACE",
        IpAddr::V4(_) | IpAddr::V6(_) => "",
    };
    match (at.port(), at.ip()) {
        (PORT, ip) => format!("{ip}{zone}"),
        (port, IpAddr::V4(ip)) => format!("{ip}:{port}"),
        (port, IpAddr::V6(ip)) => format!("[{ip}{zone}]:{port}"),
    }
}

fn write_netcat(out: &mut impl Write, at: SocketAddr) -> io::Result<()> {
    let host = host(SocketAddr::new(at.ip(), PORT));
    writeln!(
        out,
        "    nc -u {host} {}      (the first line is your name)",
        at.port()
    )
}

#[cfg(test)]
#[cfg(not(windows))]
mod tests {
    use super::*;
    use if_addrs::{IfOperStatus, Ifv4Addr};

    fn interface(name: &str, ip: [u8; 4], prefixlen: u8) -> Interface {
        Interface {
            name: name.into(),
            addr: IfAddr::V4(Ifv4Addr {
                ip: ip.into(),
                netmask: Ipv4Addr::UNSPECIFIED,
                prefixlen,
                broadcast: None,
            }),
            index: None,
            oper_status: IfOperStatus::Up,
            is_p2p: false,
        }
    }

    fn written(listening: &str, is_open: bool) -> String {
        let machine = Machine {
            interfaces: vec![
                interface("lo", [127, 0, 0, 1], 8),
                interface("docker0", [172, 17, 0, 1], 16),
                interface("wlan0", [192, 168, 43, 20], 24),
                interface("tailscale0", [100, 101, 102, 1], 32),
                interface("eth1", [203, 0, 113, 5], 24),
            ],
            source: vec![[192, 168, 43, 20].into()],
            program: "target/debug/kilochat".into(),
        };
        let mut out = Vec::new();
        let listening = [listening.parse().unwrap()];
        machine.write(&mut out, &listening, is_open).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn gives_commands_that_can_be_pasted() {
        let one = written("192.0.2.5:10888", false);
        assert!(one.starts_with("listening on 192.0.2.5:10888\n"), "{one}");
        assert!(one.contains("    kilochat chat 192.0.2.5\n"), "{one}");
        assert!(one.contains("nc -u 192.0.2.5 10888 "), "{one}");
        let other = written("[2001:db8::5]:99", false);
        assert!(
            other.contains("kilochat chat [2001:db8::5]:99\n"),
            "{other}"
        );
        assert!(other.contains("nc -u 2001:db8::5 99 "), "{other}");
        let zoned = written("[fe80::5%2]:99", false);
        assert!(
            zoned.contains("kilochat chat [fe80::5%INTERFACE]:99\n"),
            "{zoned}"
        );
        let local = written("127.0.0.1:10888", false);
        assert!(local.contains("only this machine"), "{local}");
        assert!(
            local.contains("    target/debug/kilochat chat 127.0.0.1\n"),
            "{local}"
        );
    }

    #[test]
    fn names_where_others_are_served_and_the_way_to_the_world_first() {
        let commands = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.contains("kilochat chat"));
            lines.map(|line| line.trim().into()).collect()
        };
        let served = [
            "kilochat chat 192.168.43.20",
            "kilochat chat 172.17.0.1",
            "kilochat chat 203.0.113.5",
            "target/debug/kilochat chat",
        ];
        assert_eq!(commands(&written("[::]:10888", false)), served);
        let open = commands(&written("0.0.0.0:10888", true));
        assert!(
            open.contains(&"kilochat chat 100.101.102.1".into()),
            "{open:?}"
        );
    }
}

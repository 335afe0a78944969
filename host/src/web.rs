//! The page in a browser: a gateway between WebSockets and the relay's UDP port.
//!
//! The page is a client of the framed dialect, written in JavaScript. The gateway knows nothing of lines,
//! names or sessions: a binary message of a WebSocket is a datagram, and each WebSocket has a UDP port of its
//! own. So it can stand in front of any relay.

mod code;
mod connection;
mod counters;
mod files;
mod gateway;
mod http;
mod log;
mod places;
mod ports;
mod socket;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io::{self, IsTerminal, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use crate::Error;
use crate::args::{RelayArguments, WebAddress, WebArguments, WebOptions};
use crate::relay::{self, Stopper};
use gateway::{Gateway, Setup};
use http::Names;
use places::Limits;

/// Runs a gateway in front of a relay until it is told to stop.
///
/// # Errors
///
/// If the relay's host is not known, or the addresses cannot be listened on.
pub fn run(arguments: &WebArguments) -> Result<(), Error> {
    let mut relays = crate::address::find(&arguments.host)?;
    // towards the IPv4 loopback address the relay can tell visitors apart
    relays.sort_by_key(|relay| !(relay.is_ipv4() && relay.ip().is_loopback()));
    // a quiet gateway has no records about single connections in its log
    relay::subscribe(tracing::Level::INFO, arguments.log_format);
    let everywhere = [everywhere(kilochat_core::PORT)];
    let listen: Vec<SocketAddr> = match arguments.listen.as_slice() {
        [] => everywhere.into(),
        some => some
            .iter()
            .map(|bind| bind.at(kilochat_core::PORT))
            .collect(),
    };
    let listeners = open(&listen)?;
    let listening = addresses(&listeners)?;
    let options = &arguments.options;
    let serve = Serve {
        pages: options.web_connections,
        is_open: arguments.open,
        is_quiet: arguments.quiet,
    };
    let mut gateway = new_gateway(listeners, relays, options, serve)?;
    relay::handle_signals(gateway.stopper(), None, None)?;
    greet(&listening, arguments.open);
    let failed = |error: io::Error| Error::Failure(format!("cannot wait for the sockets: {error}"));
    gateway.run().map_err(failed)
}

/// Returns the answer of a gateway without `--web-name` to a request head, or `None` if the head is
/// not complete. For fuzzing.
pub fn answer(head: &[u8]) -> Option<Vec<u8>> {
    match http::parse(head, &Names::new([])) {
        http::Parsed::Partial => None,
        http::Parsed::Request { request, .. } => Some(request.answer(None)),
        http::Parsed::Rejected(why) => Some(why.answer()),
    }
}

/// A gateway on a thread of its own, next to a relay in the same process.
#[derive(Debug)]
pub struct Beside {
    stopper: Stopper,
    thread: JoinHandle<io::Result<()>>,
    listening: Vec<SocketAddr>,
    is_open: bool,
}

impl Beside {
    /// Starts a gateway if the relay's command line wants one. `relay` are the addresses of the relay.
    ///
    /// # Errors
    ///
    /// If the addresses cannot be listened on.
    pub fn start(arguments: &RelayArguments, relay: &[SocketAddr]) -> Result<Option<Self>, Error> {
        let listen: Vec<SocketAddr> = match arguments.page.web {
            None | Some(WebAddress::Off) => return Ok(None),
            Some(WebAddress::Same) => relay.to_vec(),
            Some(WebAddress::At(bind)) => {
                let port = relay.first().map_or(kilochat_core::PORT, SocketAddr::port);
                vec![bind.at(port)]
            }
        };
        let listeners = open(&listen)?;
        let listening = addresses(&listeners)?;
        let options = &arguments.page.options;
        let relays = relay.iter().copied().map(from_here).collect();
        // the other half of the seats is for other peers
        let serve = Serve {
            pages: (arguments.seats / 2).max(1),
            is_open: arguments.open,
            is_quiet: arguments.quiet,
        };
        let mut gateway = new_gateway(listeners, relays, options, serve)?;
        let stopper = gateway.stopper();
        let thread = std::thread::Builder::new()
            .name("web".into())
            .spawn(move || gateway.run())
            .map_err(|error| Error::Failure(format!("cannot start a thread: {error}")))?;
        Ok(Some(Self {
            stopper,
            thread,
            listening,
            is_open: arguments.open,
        }))
    }

    /// Prints the addresses of the page, and the first one as a QR code on a terminal.
    pub fn greet(&self) {
        greet(&self.listening, self.is_open);
    }

    /// Returns the addresses on which it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// Returns a handle that ends the gateway or requests a report.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Ends the gateway.
    pub fn stop(self) {
        self.stopper.stop();
        // it has nothing to report
        let _ = self.thread.join();
    }
}

/// Which pages a gateway serves, and what it prints.
#[derive(Clone, Copy, Debug)]
struct Serve {
    /// Maximum number of pages.
    pages: u16,
    is_open: bool,
    is_quiet: bool,
}

fn new_gateway(
    listeners: Vec<TcpListener>,
    relays: Vec<SocketAddr>,
    options: &WebOptions,
    serve: Serve,
) -> Result<Gateway, Error> {
    let failed = |error: io::Error| Error::Failure(format!("cannot serve the page: {error}"));
    relay::allow_many_files();
    let listening = addresses(&listeners)?;
    let into_mio = |listener| mio::net::TcpListener::from_std(listener);
    let setup = Setup {
        relays,
        names: Names::new(options.web_name.iter().cloned().chain(host_name())),
        limits: Limits {
            connections: options.web_connections,
            per_address: options.web_per_address,
            pages: serve.pages.min(options.web_connections),
        },
        is_open: serve.is_open,
        is_quiet: serve.is_quiet,
        reached: relay::reachable(&listening, serve.is_open)
            .first()
            .map(|at| url(*at)),
    };
    Gateway::new(listeners.into_iter().map(into_mio).collect(), setup).map_err(failed)
}

/// Returns the name of this machine, if it has one.
fn host_name() -> Option<String> {
    #[cfg(unix)]
    {
        nix::unistd::gethostname().ok()?.into_string().ok()
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").ok()
    }
}

/// Returns the address at which this machine reaches a socket that is bound to `bound`.
fn from_here(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() {
        return (Ipv4Addr::LOCALHOST, bound.port()).into();
    }
    bound
}

const fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, Error> {
    let addresses: io::Result<Vec<_>> = listeners.iter().map(TcpListener::local_addr).collect();
    addresses.map_err(|error| Error::Failure(format!("cannot serve the page: {error}")))
}

/// Opens listening sockets, without blocking.
///
/// # Errors
///
/// If one of them cannot be opened, with advice on what to do.
fn open(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    let alone = addresses.len() == 1;
    addresses
        .iter()
        .map(|&address| listener(address, alone).map_err(|error| explained(address, &error)))
        .collect()
}

fn listener(address: SocketAddr, alone: bool) -> io::Result<TcpListener> {
    match bound(address, alone) {
        // the machine has no IPv6
        Err(_) if address == everywhere(address.port()) && !has_v6() => {
            bound((Ipv4Addr::UNSPECIFIED, address.port()).into(), alone)
        }
        bound => bound,
    }
}

fn has_v6() -> bool {
    bound((Ipv6Addr::LOCALHOST, 0).into(), true).is_ok()
}

fn bound(address: SocketAddr, alone: bool) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};

    /// Maximum number of connections that wait to be accepted.
    const BACKLOG: i32 = 256;

    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!alone)?;
    }
    // allows the port of the last run, whose connections may linger; on Windows the option has
    // another meaning
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn explained(address: SocketAddr, error: &io::Error) -> Error {
    let port = address.port();
    let kind = error.kind();
    let hint = if kind == io::ErrorKind::AddrInUse {
        format!(
            "the port is taken; stop the program that has it (ss -ltnp shows it) or choose another, \
             for example {}",
            port.checked_add(1).unwrap_or(8080)
        )
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "this machine has no such address".into()
    } else if kind == io::ErrorKind::PermissionDenied && port < 1024 {
        "ports below 1024 need root; choose another".into()
    } else {
        error.to_string()
    };
    Error::Failure(format!("cannot serve the page on {address}: {hint}"))
}

/// Prints the addresses of the page, and the first one as a QR code if standard output is a terminal. A
/// failure is ignored, because the gateway works without a reader.
fn greet(listening: &[SocketAddr], is_open: bool) {
    let mut out = io::stdout().lock();
    let is_terminal = out.is_terminal();
    let _ = write_greeting(&mut out, listening, is_open, is_terminal);
}

fn write_greeting(
    out: &mut impl Write,
    listening: &[SocketAddr],
    is_open: bool,
    is_terminal: bool,
) -> io::Result<()> {
    let reachable = relay::reachable(listening, is_open);
    if reachable.is_empty() {
        for local in listening.iter().copied().map(from_here) {
            writeln!(out, "page for browsers on this machine: {}", url(local))?;
        }
        return out.flush();
    }
    writeln!(out, "or open in a browser")?;
    for address in &reachable {
        writeln!(out, "    {}", url(*address))?;
    }
    if is_terminal && let Some(code) = reachable.first().and_then(|at| code::terminal(&url(*at))) {
        write!(out, "{code}")?;
    }
    let port = listening.first().map_or(80, SocketAddr::port);
    writeln!(
        out,
        "it does not open? the firewall may need: sudo ufw allow {port}/tcp"
    )?;
    out.flush()
}

/// Returns the address of the page at a socket.
fn url(at: SocketAddr) -> String {
    match (at.port(), at.ip()) {
        (80, IpAddr::V4(ip)) => format!("http://{ip}/"),
        (80, IpAddr::V6(ip)) => format!("http://[{ip}]/"),
        (port, ip) => format!("http://{}/", SocketAddr::new(ip, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_a_browser_takes_it() {
        for (at, address) in [
            ("192.168.1.5:80", "http://192.168.1.5/"),
            ("192.168.1.5:10888", "http://192.168.1.5:10888/"),
            ("[fd00::5]:80", "http://[fd00::5]/"),
            ("[fd00::5]:99", "http://[fd00::5]:99/"),
        ] {
            assert_eq!(url(at.parse().unwrap()), address);
        }
    }

    #[test]
    fn a_page_that_only_this_machine_reaches_has_no_code() {
        let mut out = Vec::new();
        let listening = ["127.0.0.1:99".parse().unwrap()];
        write_greeting(&mut out, &listening, false, true).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "page for browsers on this machine: http://127.0.0.1:99/\n"
        );
    }
}

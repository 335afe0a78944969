//! Opens the sockets that the command line requests.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io;

use kilochat_core::PORT;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::Error;
use crate::args::{Bind, RelayArguments};

/// Requested size of the receive buffer in bytes. The system may grant less.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Opens all sockets, bound and non-blocking.
///
/// # Errors
///
/// If one of them cannot be opened, with advice on what to do.
pub(super) fn open(arguments: &RelayArguments) -> Result<Vec<mio::net::UdpSocket>, Error> {
    let port = arguments.port;
    if arguments.bind.is_empty() {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let socket = match bound(everywhere, false) {
            Err(error) if no_such_family(&error) => {
                let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                bound(everywhere, false).map_err(|error| explained(everywhere, &error))?
            }
            other => other.map_err(|error| explained(everywhere, &error))?,
        };
        return Ok(vec![socket]);
    }
    let several = arguments.bind.len() > 1;
    let open_one = |bind: &Bind| {
        let address = bind.at(port);
        bound(address, several).map_err(|error| explained(address, &error))
    };
    arguments.bind.iter().map(open_one).collect()
}

/// Raises the limit on open files as far as permitted: each peer may need a socket.
pub(crate) fn allow_many() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        // with fewer files peers share sockets, which is counted
        let _ = getrlimit(Resource::RLIMIT_NOFILE)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    }
}

fn bound(address: SocketAddr, only_v6: bool) -> io::Result<mio::net::UdpSocket> {
    let socket = unbound(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(mio::net::UdpSocket::from_std(socket.into()))
}

/// Returns an unbound, non-blocking socket with a receive buffer for what arrives while the relay
/// is busy.
pub(super) fn unbound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    // a smaller buffer is no error; its size is logged
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    #[cfg(target_os = "linux")]
    if socket.recv_buffer_size()? < RECEIVE_BUFFER {
        use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
        // only root may
        let _ = setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER);
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Returns the size of a socket's receive buffer in bytes.
pub(super) fn receive_buffer(socket: &mio::net::UdpSocket) -> usize {
    SockRef::from(socket).recv_buffer_size().unwrap_or_default()
}

/// Returns whether the machine has no IPv6, or has it disabled.
fn no_such_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.kind() == io::ErrorKind::Unsupported
        || cfg!(target_os = "linux") && error.raw_os_error() == Some(97) // EAFNOSUPPORT
}

fn explained(address: SocketAddr, error: &io::Error) -> Error {
    let port = address.port();
    let hint = if error.kind() == io::ErrorKind::AddrInUse {
        format!(
            "the port is taken; stop the program that has it (ss -lunp shows it) or choose \
             another with --port, for example --port {}",
            port.checked_add(1).unwrap_or(PORT)
        )
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        "this machine has no such address; `ip address` (Windows: ipconfig) lists those that it \
         has, and without --bind it listens on all of them"
            .into()
    } else if error.kind() == io::ErrorKind::PermissionDenied && port < 1024 {
        "ports below 1024 need root; choose another with --port".into()
    } else {
        error.to_string()
    };
    Error::Failure(format!("cannot listen on {address}: {hint}"))
}

//! A bound socket with the system's extensions.

#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
mod filter;
#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
mod linux;
/// Compiled for its tests on every system.
#[cfg(any(test, not(target_os = "linux"), feature = "std-sockets"))]
mod portable;

use core::net::SocketAddr;
use std::io;

use kilochat_core::DATAGRAM_MAX;

#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
pub(super) use linux::{CONTROL, Route, Transport, gets_own_socket, open_for_address, outlet};
#[cfg(any(not(target_os = "linux"), feature = "std-sockets"))]
pub(super) use portable::{CONTROL, Route, Transport, gets_own_socket, open_for_address, outlet};

/// The path of a datagram, and of its reply: through which socket, and from which address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    /// Index of a receiving socket.
    pub(super) socket: usize,
    pub(super) route: Route,
}

/// The destination of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    pub(super) to: SocketAddr,
    pub(super) path: Path,
    /// Index of the delivery in the fan-out.
    pub(super) delivery: usize,
}

/// A datagram that was received.
#[derive(Debug)]
pub(super) struct Incoming<Route> {
    /// Length of the payload in the buffer; one that was cut is as long as the buffer.
    pub(super) length: usize,
    pub(super) source: SocketAddr,
    /// The route for a reply.
    pub(super) route: Route,
}

/// Sends the payload to the first of the destinations, in one call where the system supports it.
/// Returns their number.
///
/// # Errors
///
/// If nothing was sent to the first destination.
pub(super) fn send_some(
    transports: &mut [Transport],
    payload: &[u8],
    destinations: &[Destination],
) -> io::Result<usize> {
    let [Destination { to, path, .. }, ..] = destinations else {
        return Ok(0);
    };
    let transport = &mut transports[path.socket];
    if payload.len() > DATAGRAM_MAX {
        return transport
            .send_segments(payload, DATAGRAM_MAX, *to, &path.route)
            .map(|()| 1);
    }
    let alike = destinations
        .iter()
        .take_while(|other| other.path.socket == path.socket)
        .map(|other| (other.to, &other.path.route));
    match transport.send_each(payload, alike) {
        0 => transport.send(payload, *to, &path.route).map(|()| 1),
        sent => Ok(sent),
    }
}

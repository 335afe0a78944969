//! A bound socket, with what the system adds to those of the standard library.

#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
mod linux;
/// It is tested everywhere.
#[cfg(any(test, not(target_os = "linux"), feature = "std-sockets"))]
mod portable;

use core::net::SocketAddr;
use std::io;

use kilochat_core::DATAGRAM_MAX;

#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
pub(super) use linux::{CONTROL, Route, Transport, is_served_beside, open_beside, outlet};
#[cfg(any(not(target_os = "linux"), feature = "std-sockets"))]
pub(super) use portable::{CONTROL, Route, Transport, is_served_beside, open_beside, outlet};

/// How a datagram came, and how its answer goes: through which socket, and from which address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    /// The index of a socket that receives.
    pub(super) socket: usize,
    pub(super) route: Route,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    pub(super) to: SocketAddr,
    pub(super) path: Path,
    /// Which delivery of the fan-out it is.
    pub(super) delivery: usize,
}

/// A datagram that arrived.
#[derive(Debug)]
pub(super) struct Received<Route> {
    /// Bytes of payload in the buffer; one that did not fit is as long as the buffer.
    pub(super) length: usize,
    pub(super) source: SocketAddr,
    /// How to answer it.
    pub(super) route: Route,
}

/// Sends the same to the first of the destinations, in one call if that is possible; returns how many
/// those are.
///
/// # Errors
///
/// When nothing was sent to the very first.
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

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
pub(super) use linux::{Route, Transport, beside};
#[cfg(any(not(target_os = "linux"), feature = "std-sockets"))]
pub(super) use portable::{Route, Transport, beside};

/// The most datagrams to one destination that are sent at once.
pub(super) const SEGMENTS_MAX: usize = 16;

/// Where a datagram goes, and through which socket on which way.
pub(super) type Destination = (SocketAddr, (usize, Route));

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
    let [(to, (socket, route)), ..] = destinations else {
        return Ok(0);
    };
    let transport = &mut transports[*socket];
    if payload.len() > DATAGRAM_MAX {
        return transport
            .send_segments(payload, DATAGRAM_MAX, *to, route)
            .map(|()| 1);
    }
    let alike = destinations
        .iter()
        .take_while(|(_, (other, _))| other == socket)
        .map(|(to, (_, route))| (*to, route));
    match transport.send_each(payload, alike) {
        0 => transport.send(payload, *to, route).map(|()| 1),
        sent => Ok(sent),
    }
}

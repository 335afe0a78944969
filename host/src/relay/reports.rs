//! Sending, with the network's reports kept: a socket returns the error of an earlier datagram in
//! place of the result of this one.

use core::net::SocketAddr;
use std::io;

use kilochat_core::{DATAGRAM_MAX, Unreachable};

use super::transport::{CONTROL, Route, Transport};

/// Maximum number of reports of unreachable destinations between two readings of the list.
const REPORTS: usize = 64;

/// Maximum number of attempts to send a datagram when each returns the error of an earlier one.
const TRIES: usize = 8;

/// Reports of the network.
#[derive(Debug)]
pub(super) struct Reports {
    pub(super) list: Vec<(SocketAddr, Unreachable)>,
    /// Whether the list was full, and the socket may have more reports.
    pub(super) has_more: bool,
    pub(super) lost: u64,
    pub(super) control: Vec<u8>,
}

/// The outcome of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Taken,
    WouldBlock,
    Failed,
}

impl Reports {
    pub(super) fn new() -> Self {
        Self {
            list: Vec::with_capacity(REPORTS),
            has_more: false,
            lost: 0,
            control: vec![0; CONTROL],
        }
    }

    /// Sends all datagrams of a payload to one destination, in one call where the system supports
    /// it.
    pub(super) fn send(
        &mut self,
        transport: &mut Transport,
        payload: &[u8],
        to: SocketAddr,
        route: &Route,
    ) -> Sent {
        if payload.len() > DATAGRAM_MAX {
            match transport.send_segments(payload, DATAGRAM_MAX, to, route) {
                Ok(()) => return Sent::Taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::WouldBlock,
                Err(_) => {}
            }
        }
        self.send_each(transport, payload, to, route)
    }

    /// Sends the datagrams of a payload one by one.
    pub(super) fn send_each(
        &mut self,
        transport: &mut Transport,
        payload: &[u8],
        to: SocketAddr,
        route: &Route,
    ) -> Sent {
        for datagram in payload.chunks(DATAGRAM_MAX) {
            let sent = self.send_one(transport, datagram, to, route);
            if sent != Sent::Taken {
                return sent;
            }
        }
        Sent::Taken
    }

    /// Sends a datagram, and again if the call returned the error of an earlier one.
    fn send_one(
        &mut self,
        transport: &mut Transport,
        datagram: &[u8],
        to: SocketAddr,
        route: &Route,
    ) -> Sent {
        for _ in 0..TRIES {
            let Err(error) = transport.send(datagram, to, route) else {
                return Sent::Taken;
            };
            if error.kind() == io::ErrorKind::WouldBlock {
                return Sent::WouldBlock;
            }
            if error.kind() != io::ErrorKind::Interrupted && !self.collect(transport) {
                self.push(to, Unreachable::Path);
                break;
            }
        }
        Sent::Failed
    }

    /// Reads pending reports while there is room. Returns whether there were any.
    pub(super) fn collect(&mut self, transport: &Transport) -> bool {
        let mut some = false;
        loop {
            if some && self.list.len() == REPORTS {
                self.has_more = true;
                return some;
            }
            let Some((address, why)) = transport.next_unreachable(&mut self.control) else {
                return some;
            };
            self.push(address, why);
            some = true;
        }
    }

    fn push(&mut self, address: SocketAddr, why: Unreachable) {
        if self.list.contains(&(address, why)) {
            return;
        }
        if self.list.len() < REPORTS {
            self.list.push((address, why));
        } else {
            self.lost += 1;
        }
    }
}

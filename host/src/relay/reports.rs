//! Sends, and keeps what the network reports about it: errors of earlier datagrams are told instead of
//! what became of this one.

use core::net::SocketAddr;
use std::io;

use kilochat_core::{DATAGRAM_MAX, Unreachable};

use super::transport::{CONTROL, Route, Transport};

/// The most reports of unreachable destinations between two looks at them.
const REPORTS: usize = 64;

/// How often a datagram is tried again whose sending failed with another one's error.
const TRIES: usize = 8;

/// What the network reported.
#[derive(Debug)]
pub(super) struct Reports {
    pub(super) list: Vec<(SocketAddr, Unreachable)>,
    /// Whether the list was full, and there may be more where they come from.
    pub(super) has_more: bool,
    pub(super) lost: u64,
    pub(super) control: Vec<u8>,
}

/// What became of a datagram.
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

    /// Sends all datagrams of a payload, in a call if that is possible.
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

    /// Sends datagrams one by one.
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

    /// Sends a datagram, and again if an earlier one's error was told instead.
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

    /// Reads the reports that have come in, as far as there is room; returns whether there were any.
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

//! The sockets of a relay and the ways to its peers.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use kilochat_core::{DATAGRAM_MAX, Delivery, Unreachable};
use mio::{Interest, Poll, Token};

use super::addresses::own_addresses;
use super::transport::{self, Destination, Received, Route, SEGMENTS_MAX, Transport, send_some};
use super::worker::Worker;
use crate::args::SEATS_MAX;

/// A fan-out to so many is shared by two threads: waking one takes as long as sending some dozens.
const CROWD: usize = 192;

/// The most reports of unreachable destinations between two looks at them.
const REPORTS: usize = 64;

/// How often a datagram is tried again whose sending failed with another one's error.
const TRIES: usize = 8;

/// What the sockets have counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// Datagrams that could not be sent to their destination.
    pub(super) send_errors: u64,
    /// Replies that were not sent because the network took nothing.
    pub(super) replies_lost: u64,
    /// Datagrams whose source was forged to be the relay itself.
    pub(super) own: u64,
    /// Errors while receiving.
    pub(super) receive_errors: u64,
    /// Reports of unreachable destinations that there was no room for.
    pub(super) reports_lost: u64,
    /// Datagrams that the kernel dropped before they could be read.
    pub(super) kernel_dropped: u64,
}

/// The sockets, and what is known of the ways to the peers.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) transports: Vec<Transport>,
    /// Whether a socket may have something to read.
    pub(super) readable: Vec<bool>,
    /// By seat: through which socket, and from which address, its peer is answered.
    pub(super) routes: Vec<(usize, Route)>,
    pub(super) reports: Vec<(SocketAddr, Unreachable)>,
    pub(super) counters: Counters,
    /// Whether the system tells when a socket can send again.
    watches_sending: bool,
    /// Where the relay itself is.
    own: Vec<SocketAddr>,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Sent,
    WouldBlock,
    Failed,
}

impl Network {
    pub(super) fn new(
        mut sockets: Vec<mio::net::UdpSocket>,
        addresses: &[SocketAddr],
        poll: &Poll,
    ) -> io::Result<Self> {
        let own = addresses.iter().copied().flat_map(own_addresses).collect();
        let beside: Vec<_> = sockets.iter().flat_map(transport::beside).collect();
        sockets.extend(beside);
        let mut transports = Vec::with_capacity(sockets.len());
        for (index, mut socket) in sockets.into_iter().enumerate() {
            poll.registry()
                .register(&mut socket, Token(index), Interest::READABLE)?;
            transports.push(Transport::new(socket)?);
        }
        Ok(Self {
            readable: vec![true; transports.len()],
            transports,
            routes: vec![Default::default(); usize::from(SEATS_MAX)],
            reports: Vec::with_capacity(REPORTS),
            counters: Counters::default(),
            watches_sending: false,
            own,
        })
    }

    /// Whether a datagram comes from the relay itself, which would answer itself for ever.
    pub(super) fn is_own(&self, source: SocketAddr) -> bool {
        let is_same = |own: &SocketAddr| {
            let is_loopback = own.ip().is_loopback() && source.ip().is_loopback();
            own.port() == source.port() && (own.ip() == source.ip() || is_loopback)
        };
        self.own.iter().any(is_same)
    }

    /// Lets the system tell, or no longer tell, when a socket can send again: told of every
    /// datagram that has left, the relay would wake up for nothing.
    pub(super) fn watch(&mut self, poll: &Poll, sending: bool) -> io::Result<()> {
        if self.watches_sending == sending {
            return Ok(());
        }
        self.watches_sending = sending;
        let writable = Interest::READABLE | Interest::WRITABLE;
        let interest = if sending {
            writable
        } else {
            Interest::READABLE
        };
        for (index, transport) in self.transports.iter_mut().enumerate() {
            poll.registry()
                .reregister(&mut transport.socket, Token(index), interest)?;
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, index: usize, buffer: &mut [u8]) -> Option<Received<Route>> {
        match self.transports[index].receive(buffer) {
            Ok(received) => return Some(received),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable[index] = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if self.collect_reports(index) => {}
            Err(_) => {
                self.counters.receive_errors += 1;
                // an error that stays must not take the processor
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        None
    }

    /// Sends a fan-out, a part of a large one through the worker. In `unsent` are then the indices of
    /// those for whom the network would block.
    pub(super) fn deliver(
        &mut self,
        payload: &[u8],
        deliveries: &[Delivery],
        destinations: &mut Vec<Destination>,
        (worker, unsent): (Option<&mut Worker>, &mut Vec<usize>),
    ) {
        let routes = &self.routes;
        destinations.clear();
        destinations.extend(
            deliveries
                .iter()
                .map(|delivery| (delivery.address, routes[delivery.seat.index()])),
        );
        let mut worker = worker.filter(|_| deliveries.len() >= CROWD);
        let half = match worker {
            Some(_) => deliveries.len() / 2,
            None => deliveries.len(),
        };
        if let Some(worker) = &mut worker {
            worker.begin(payload, &destinations[half..]);
        }
        let sent = self.send_all(payload, &destinations[..half]);
        unsent.clear();
        unsent.extend(sent..half);
        if let Some(worker) = worker {
            // what failed over there may have failed for another's error
            let mut would_block = sent < half;
            worker.finish(|index| {
                let index = half + index;
                would_block =
                    would_block || self.send_all(payload, &destinations[index..=index]) == 0;
                if would_block {
                    unsent.push(index);
                }
            });
        }
    }

    /// Sends to as many destinations as the network takes; returns how many that were.
    fn send_all(&mut self, payload: &[u8], destinations: &[Destination]) -> usize {
        let mut done = 0;
        while done < destinations.len() {
            done += match send_some(&mut self.transports, payload, &destinations[done..]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) if self.send_carefully(payload, &destinations[done]) => 1,
                Err(_) => break,
            };
        }
        done
    }

    /// Sends datagrams one by one, and again if need be; false means that the network would block.
    fn send_carefully(&mut self, payload: &[u8], (to, route): &Destination) -> bool {
        payload
            .chunks(DATAGRAM_MAX)
            .all(|datagram| self.send(datagram, *to, *route) != Outcome::WouldBlock)
    }

    /// How many datagrams to one destination may be sent at once.
    pub(super) fn segments(&self) -> usize {
        let segments = self.transports.iter().map(Transport::segments).min();
        segments.unwrap_or(1).clamp(1, SEGMENTS_MAX)
    }

    /// Sends what is sent now or never.
    pub(super) fn answer(&mut self, payload: &[u8], to: SocketAddr, route: (usize, Route)) {
        let lost = self.send(payload, to, route) == Outcome::WouldBlock;
        self.counters.replies_lost += u64::from(lost);
    }

    fn send(&mut self, payload: &[u8], to: SocketAddr, (index, route): (usize, Route)) -> Outcome {
        for _ in 0..TRIES {
            let Err(error) = self.transports[index].send(payload, to, &route) else {
                return Outcome::Sent;
            };
            if error.kind() == io::ErrorKind::WouldBlock {
                return Outcome::WouldBlock;
            }
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            if !self.collect_reports(index) {
                self.push_report(to, Unreachable::Path);
                break;
            }
            // it was the error of an earlier datagram, and this one was not sent
        }
        self.counters.send_errors += 1;
        Outcome::Failed
    }

    /// Reads the reports that have come in; returns whether there were any.
    pub(super) fn collect_reports(&mut self, index: usize) -> bool {
        let mut some = false;
        while let Some((address, why)) = self.transports[index].next_unreachable() {
            self.push_report(address, why);
            some = true;
        }
        some
    }

    fn push_report(&mut self, address: SocketAddr, why: Unreachable) {
        if self.reports.contains(&(address, why)) {
            return;
        }
        if self.reports.len() < REPORTS {
            self.reports.push((address, why));
        } else {
            self.counters.reports_lost += 1;
        }
    }

    pub(super) fn kernel_dropped(&self) -> u64 {
        self.transports.iter().map(Transport::dropped).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_at_once_is_sent_one_by_one() {
        let poll = Poll::new().unwrap();
        let socket = mio::net::UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut network = Network::new(vec![socket], &[], &poll).unwrap();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let to = (peer.local_addr().unwrap(), network.routes[0]);
        // all together are longer than an IP packet can be (RFC 791 section 3.1)
        let payload: Vec<u8> = (0..70).flat_map(|number| [number; DATAGRAM_MAX]).collect();
        assert!(
            network.transports[0]
                .send_segments(&payload, DATAGRAM_MAX, to.0, &to.1.1)
                .is_err()
        );
        assert_eq!(network.send_all(&payload, &[to]), 1);
        let mut arrived = [0; 2 * DATAGRAM_MAX];
        for datagram in payload.chunks(DATAGRAM_MAX) {
            let length = peer.recv(&mut arrived).unwrap();
            assert_eq!(&arrived[..length], datagram);
        }
        assert_eq!(network.counters.send_errors, 0);
    }
}

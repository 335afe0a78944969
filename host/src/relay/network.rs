//! The relay's sockets: the network that a [`Turn`](super::turn::Turn) sends to.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;

use if_addrs::Interface;
use kilochat_core::{Delivery, Instant, PeerInfo, Seat, Unreachable};
use mio::{Interest, Poll, Token};

use super::addresses::folded;
use super::loud::Loud;
use super::paths::Paths;
use super::per_address::{OWN_MAX, PER_ADDRESS_MAX, Place};
use super::reports::{Reports, Sent};
use super::transport::{self, Destination, Path, Route, Transport, send_some};
use super::turn::{Arrival, Network, Outcome};
use super::worker::Worker;
use crate::args::SEATS_MAX;

/// Number of destinations from which a fan-out is shared by two threads. Waking a thread costs as
/// much as sending some dozens of datagrams.
const CROWD: usize = 192;

/// Maximum number of datagrams that are read from a socket before the fan-out that they cause.
const BATCH: usize = 64;

/// Time for which a shared socket is not used after it would have blocked. Meanwhile peers are sent
/// to through their outlets.
const BLOCKED: Duration = Duration::from_millis(20);

/// Counters of the sockets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// Datagrams that could not be sent to their destination.
    pub(super) send_errors: u64,
    /// Replies that were dropped because sending would have blocked.
    pub(super) replies_lost: u64,
    /// Datagrams whose source address is the relay's own, hence spoofed.
    pub(super) own: u64,
    /// Failed attempts to receive.
    pub(super) receive_errors: u64,
    /// Reports of unreachable destinations that were dropped because the list was full.
    pub(super) reports_lost: u64,
    /// Datagrams that the kernel dropped before they could be read.
    pub(super) kernel_dropped: u64,
    /// Datagrams that went through a shared socket because no outlet could be opened.
    pub(super) outlets_missing: u64,
    /// Times that a source was too loud, so that the kernel drops what it sends for a while.
    pub(super) shut_out: u64,
}

/// The sockets, and what is known about the routes to the peers.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) transports: Vec<Transport>,
    ports: Vec<u16>,
    /// For each socket, whether it may have something to read, and how much of its batch remains.
    readable: Vec<bool>,
    batch: Vec<usize>,
    /// For each shared socket, the time until which it is not used because it would have blocked.
    blocked_until: Vec<Instant>,
    /// The addresses of the additional sockets, which are the last ones.
    pub(super) per_address: Vec<Place>,
    pub(super) paths: Paths,
    /// Sockets for replies to strangers: plain and framed, each for IPv4 and IPv6. They are
    /// separate, so that a flood of names with spoofed sources does not block replies to frames.
    strangers: [Option<(u16, Transport)>; 4],
    reports: Reports,
    counters: Counters,
    /// The second thread for large fan-outs, if there is a processor core for it.
    pub(super) worker: Option<Worker>,
    /// Deliveries of a fan-out that go through shared sockets, and those that go through outlets.
    shared: Vec<Destination>,
    apart: Vec<Destination>,
    /// The relay's own addresses.
    pub(super) own: Vec<SocketAddr>,
    /// The loudest sources.
    pub(super) loud: Loud,
}

impl Sockets {
    /// Creates the network from the sockets that were requested, and opens the [additional
    /// ones](super::per_address) for these interfaces.
    pub(super) fn new(
        sockets: Vec<mio::net::UdpSocket>,
        interfaces: &[Interface],
        poll: &Poll,
    ) -> io::Result<Self> {
        let (seats, room) = (usize::from(SEATS_MAX), sockets.len() + PER_ADDRESS_MAX);
        let mut network = Self {
            transports: Vec::with_capacity(room),
            ports: Vec::with_capacity(room),
            readable: Vec::with_capacity(room),
            batch: Vec::with_capacity(room),
            blocked_until: Vec::with_capacity(room),
            per_address: Vec::with_capacity(PER_ADDRESS_MAX),
            worker: None,
            paths: Paths::new(seats),
            strangers: [const { None }; 4],
            reports: Reports::new(),
            counters: Counters::default(),
            shared: Vec::with_capacity(seats),
            apart: Vec::with_capacity(seats),
            own: Vec::with_capacity(OWN_MAX),
            loud: Loud::default(),
        };
        for socket in sockets {
            network.add(Transport::new(socket)?, poll)?;
        }
        // additional sockets that cannot be opened are not needed
        network.follow(interfaces, poll);
        network.worker = Worker::start(&network.transports, seats);
        Ok(network)
    }

    /// Adds a socket after the others.
    pub(super) fn add(&mut self, mut transport: Transport, poll: &Poll) -> io::Result<()> {
        let port = transport.socket.local_addr()?.port();
        let token = Token(self.transports.len());
        poll.registry()
            .register(&mut transport.socket, token, Interest::READABLE)?;
        // a kernel that drops nothing for the relay is no error
        let _ = transport.shut_out(self.loud.shut_out());
        self.transports.push(transport);
        self.ports.push(port);
        self.readable.push(true);
        self.batch.push(0);
        self.blocked_until.push(Instant::default());
        Ok(())
    }

    /// Closes a socket. The last socket takes over its index.
    pub(super) fn remove(&mut self, index: usize, poll: &Poll) {
        let mut closed = self.transports.swap_remove(index);
        self.ports.swap_remove(index);
        self.readable.swap_remove(index);
        self.batch.swap_remove(index);
        self.blocked_until.swap_remove(index);
        // the worker's handle keeps the socket open for a moment
        let _ = poll.registry().deregister(&mut closed.socket);
        self.counters.kernel_dropped += closed.dropped();
        if let Some(moved) = self.transports.get_mut(index) {
            // it fails only for a socket that is not registered
            let _ = poll
                .registry()
                .reregister(&mut moved.socket, Token(index), Interest::READABLE);
            self.readable[index] = true;
        }
    }

    /// Handles a report of the system that a socket is readable, or that it has an error.
    pub(super) fn handle_ready(&mut self, index: usize, is_error: bool) {
        if is_error {
            self.reports.collect(&self.transports[index]);
        }
        self.readable[index] = true;
    }

    /// Returns the counters, with the number of datagrams that the kernel dropped.
    pub(super) fn counters(&self) -> Counters {
        Counters {
            reports_lost: self.reports.lost,
            kernel_dropped: self.kernel_dropped(),
            outlets_missing: self.paths.outlets_missing,
            ..self.counters
        }
    }

    pub(super) fn kernel_dropped(&self) -> u64 {
        let open: u64 = self.transports.iter().map(Transport::dropped).sum();
        self.counters.kernel_dropped + open
    }

    /// Returns the address at which a peer reaches this machine, if it is known.
    pub(super) fn local_address(&self, seat: Seat) -> Option<SocketAddr> {
        let Path { socket, route } = self.paths.path(seat);
        let bound = folded(self.transports.get(socket)?.socket.local_addr().ok()?);
        let own = route.own().unwrap_or(bound.ip());
        (!own.is_unspecified()).then_some((own, bound.port()).into())
    }

    /// Sets the path to a peer of a former run, which reached this machine at `local`.
    pub(super) fn restore_path(
        &mut self,
        now: Instant,
        seat: Seat,
        peer: SocketAddr,
        local: Option<SocketAddr>,
    ) {
        let local = local.filter(|local| local.ip().is_loopback() || self.own.contains(local));
        let bound = |transport: &Transport| transport.socket.local_addr().ok().map(folded);
        let serves = |bound: SocketAddr| bound.is_ipv6() || peer.is_ipv4();
        let position = |is_wanted: &dyn Fn(SocketAddr) -> bool| {
            let mut transports = self.transports.iter();
            transports.position(|transport| bound(transport).is_some_and(is_wanted))
        };
        let path = if let Some(local) = local {
            let socket = position(&|bound| bound == local).map(|socket| Path {
                socket,
                ..Path::default()
            });
            let all = |bound: SocketAddr| {
                bound.ip().is_unspecified() && bound.port() == local.port() && serves(bound)
            };
            socket.or_else(|| {
                position(&all).map(|socket| Path {
                    socket,
                    route: Route::from_own(local.ip()),
                })
            })
        } else {
            None
        };
        let path = path.unwrap_or_else(|| Path {
            socket: position(&serves).unwrap_or_default(),
            ..Path::default()
        });
        self.handle_heard(now, seat, path, true);
    }

    /// Lets the kernel drop what a source sends that is too loud, except in sessions of these `peers`. Returns
    /// the source, if there is one and the kernel does it; otherwise the relay reads and refuses what comes.
    pub(super) fn shut_out_loud<'a>(
        &mut self,
        peers: impl Iterator<Item = PeerInfo<'a>>,
    ) -> Option<IpAddr> {
        let found = self.loud.take();
        if let Some(address) = found {
            let peers = peers.filter(|peer| peer.address.ip() == address);
            self.loud
                .shut(address, peers.filter_map(|peer| peer.session));
        }
        let mut is_dropped = false;
        if self.loud.reopen() || found.is_some() {
            for transport in &self.transports {
                is_dropped |= transport.shut_out(self.loud.shut_out()).is_ok();
            }
        }
        let shut_out = found.filter(|_| is_dropped);
        self.counters.shut_out += u64::from(shut_out.is_some());
        shut_out
    }

    /// Returns whether the source is the relay itself, which would answer its own replies for ever.
    fn is_own(&self, source: SocketAddr) -> bool {
        let is_same = |own: &SocketAddr| {
            let is_loopback = own.ip().is_loopback() && source.ip().is_loopback();
            own.port() == source.port() && (own.ip() == source.ip() || is_loopback)
        };
        self.own.iter().any(is_same)
    }

    fn is_blocked(&self, now: Instant, socket: usize) -> bool {
        now < self.blocked_until[socket]
    }

    /// Sends to the destinations until their shared socket would block. The remaining ones are sent
    /// to through outlets.
    fn send_shared(&mut self, now: Instant, payload: &[u8], destinations: &[Destination]) {
        let mut done = 0;
        while let Some(first) = destinations.get(done) {
            let socket = first.path.socket;
            if self.is_blocked(now, socket) {
                self.apart.push(*first);
                done += 1;
                continue;
            }
            done += match send_some(&mut self.transports, payload, &destinations[done..]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked_until[socket] = now.after(BLOCKED);
                    self.paths.pauses.note_trouble(now);
                    0
                }
                // it may be the error of an earlier datagram
                Err(_) => {
                    let transport = &mut self.transports[socket];
                    let route = first.path.route;
                    match self.reports.send_each(transport, payload, first.to, &route) {
                        Sent::Taken => {}
                        Sent::WouldBlock => self.apart.push(*first),
                        Sent::Failed => self.counters.send_errors += 1,
                    }
                    1
                }
            };
        }
    }

    /// Sends through the outlet of a seat. If no outlet can be opened, sends through the shared
    /// socket, unless that would block.
    fn send_apart(
        &mut self,
        now: Instant,
        payload: &[u8],
        (to, path): (SocketAddr, Path),
        seat: Seat,
    ) -> Sent {
        let key = (self.ports[path.socket], to.is_ipv6());
        let route = self.transports[path.socket].outgoing(path.route);
        let sent = if let Some(route) = route
            && let Some(outlet) = self.paths.outlet(&self.transports, seat, key)
        {
            let sent = self.reports.send(outlet, payload, to, &route);
            if sent == Sent::WouldBlock {
                self.paths.pauses.handle_blocked(now, seat, true);
            }
            sent
        } else if self.is_blocked(now, path.socket) {
            self.paths.pauses.handle_blocked(now, seat, false);
            Sent::WouldBlock
        } else {
            let transport = &mut self.transports[path.socket];
            let sent = self.reports.send(transport, payload, to, &path.route);
            if sent == Sent::WouldBlock {
                self.blocked_until[path.socket] = now.after(BLOCKED);
                self.paths.pauses.handle_blocked(now, seat, false);
            }
            sent
        };
        self.counters.send_errors += u64::from(sent == Sent::Failed);
        sent
    }

    /// Sends to a peer by the same route as its lines.
    fn send_to_peer(
        &mut self,
        now: Instant,
        payload: &[u8],
        (to, path): (SocketAddr, Path),
        seat: Seat,
    ) -> Sent {
        if !self.paths.pauses.is_apart(now, seat) && !self.is_blocked(now, path.socket) {
            let transport = &mut self.transports[path.socket];
            let sent = self.reports.send(transport, payload, to, &path.route);
            if sent != Sent::WouldBlock {
                self.counters.send_errors += u64::from(sent == Sent::Failed);
                return sent;
            }
            self.blocked_until[path.socket] = now.after(BLOCKED);
        }
        self.send_apart(now, payload, (to, path), seat)
    }

    /// Sends a reply to a stranger. It is dropped if sending would block.
    fn send_to_stranger(&mut self, payload: &[u8], to: SocketAddr, path: Path) -> Sent {
        let port = self.ports[path.socket];
        let is_frame = payload.first() == Some(&1);
        let kind = usize::from(is_frame) * 2 + usize::from(to.is_ipv6());
        let slot = &mut self.strangers[kind];
        if slot.as_ref().is_none_or(|(bound, _)| *bound != port) {
            let outlet = transport::outlet(&self.transports, port, to.is_ipv6());
            *slot = outlet.ok().map(|outlet| (port, outlet));
        }
        let route = self.transports[path.socket].outgoing(path.route);
        let sent = match (slot, route) {
            (Some((_, outlet)), Some(route)) => self.reports.send(outlet, payload, to, &route),
            _ => {
                let transport = &mut self.transports[path.socket];
                self.reports.send(transport, payload, to, &path.route)
            }
        };
        self.counters.send_errors += u64::from(sent == Sent::Failed);
        sent
    }
}

impl Network for Sockets {
    type Path = Path;

    fn begin_batch(&mut self) {
        self.batch.fill(BATCH);
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<Arrival<Path>> {
        for socket in 0..self.transports.len() {
            while self.readable[socket] && self.batch[socket] > 0 {
                self.batch[socket] -= 1;
                match self.transports[socket].receive(buffer, &mut self.reports.control) {
                    Ok(received) if self.is_own(received.source) => self.counters.own += 1,
                    Ok(received) => {
                        self.loud.note(received.source.ip());
                        return Some(Arrival {
                            length: received.length,
                            source: received.source,
                            path: Path {
                                socket,
                                route: received.route,
                            },
                        });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.readable[socket] = false;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) if self.reports.collect(&self.transports[socket]) => {}
                    Err(_) => {
                        self.counters.receive_errors += 1;
                        // so that a permanent error does not use all of the processor
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        }
        None
    }

    fn is_readable(&self) -> bool {
        self.readable.contains(&true)
    }

    fn look_again(&mut self) {
        self.readable.fill(true);
    }

    fn handle_heard(&mut self, now: Instant, seat: Seat, path: Path, is_new: bool) {
        self.paths.set_path(seat, path);
        if is_new {
            self.paths.pauses.handle_joined(now, seat);
        } else {
            self.paths.pauses.handle_heard(seat);
        }
    }

    fn answer(
        &mut self,
        now: Instant,
        payload: &[u8],
        to: SocketAddr,
        (path, seat): (Path, Option<Seat>),
    ) {
        let sent = match seat {
            Some(seat) => self.send_to_peer(now, payload, (to, path), seat),
            None => {
                self.paths.pauses.handle_stranger(now);
                self.send_to_stranger(payload, to, path)
            }
        };
        self.counters.replies_lost += u64::from(sent == Sent::WouldBlock);
    }

    fn ask(&mut self, now: Instant, payload: &[u8], to: SocketAddr, seat: Seat) {
        let path = self.paths.path(seat);
        self.answer(now, payload, to, (path, Some(seat)));
    }

    fn say_farewell(&mut self, _now: Instant, payload: &[u8], to: SocketAddr, seat: Seat) {
        let path = self.paths.path(seat);
        let sent = self.send_to_stranger(payload, to, path);
        self.counters.replies_lost += u64::from(sent == Sent::WouldBlock);
    }

    fn segments(&self) -> usize {
        let segments = self.transports.iter().map(Transport::segments).min();
        segments.unwrap_or(1)
    }

    fn deliver(
        &mut self,
        now: Instant,
        payload: &[u8],
        deliveries: &[Delivery],
        outcome: &mut Outcome,
    ) {
        self.shared.clear();
        self.apart.clear();
        for (index, delivery) in deliveries.iter().enumerate() {
            let path = self.paths.path(delivery.seat);
            let destination = Destination {
                to: delivery.address,
                path,
                delivery: index,
            };
            if self.paths.pauses.is_apart(now, delivery.seat) || self.is_blocked(now, path.socket) {
                self.apart.push(destination);
            } else {
                self.shared.push(destination);
            }
        }
        let shared = core::mem::take(&mut self.shared);
        let mut worker = self.worker.take_if(|_| shared.len() >= CROWD);
        let half = match worker {
            Some(_) => shared.len() / 2,
            None => shared.len(),
        };
        if let Some(worker) = &mut worker {
            worker.begin(payload, &shared[half..]);
        }
        self.send_shared(now, payload, &shared[..half]);
        if let Some(worker) = worker {
            // the worker may have failed because of the error of another datagram
            worker.finish(|index| {
                let index = half + index;
                self.send_shared(now, payload, &shared[index..=index]);
            });
            self.worker = Some(worker);
        }
        self.shared = shared;
        for index in 0..self.apart.len() {
            let Destination { to, path, delivery } = self.apart[index];
            let delivery = deliveries[delivery];
            let seat = delivery.seat;
            match self.send_apart(now, payload, (to, path), seat) {
                Sent::WouldBlock => outcome.refused.push(delivery),
                Sent::Taken | Sent::Failed => {
                    if self.paths.pauses.handle_sent(now, seat) {
                        outcome.paced.push(seat);
                    }
                }
            }
        }
    }

    fn poll_report(&mut self) -> Option<(SocketAddr, Unreachable)> {
        if self.reports.list.is_empty() && core::mem::take(&mut self.reports.has_more) {
            for transport in &self.transports {
                self.reports.collect(transport);
            }
        }
        self.reports.list.pop()
    }

    fn demote(&mut self, now: Instant, seat: Seat) {
        self.paths.pauses.demote(now, seat);
    }

    fn poll_writable(&mut self, now: Instant) -> Option<Seat> {
        self.paths.pauses.poll_writable(now)
    }

    fn next_writable(&self) -> Option<Instant> {
        self.paths.pauses.next_writable()
    }
}

#[cfg(test)]
mod tests {
    use kilochat_core::DATAGRAM_MAX;

    use super::*;

    #[test]
    fn what_cannot_be_sent_at_once_is_sent_one_by_one() {
        let poll = Poll::new().unwrap();
        let socket = mio::net::UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut network = Sockets::new(vec![socket], &[], &poll).unwrap();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let to = peer.local_addr().unwrap();
        // all together are longer than an IP packet can be (RFC 791 section 3.1)
        let payload: Vec<u8> = (0..70).flat_map(|number| [number; DATAGRAM_MAX]).collect();
        let path = Path::default();
        assert!(
            network.transports[0]
                .send_segments(&payload, DATAGRAM_MAX, to, &path.route)
                .is_err()
        );
        let destination = Destination {
            to,
            path,
            delivery: 0,
        };
        network.send_shared(Instant::default(), &payload, &[destination]);
        assert!(network.apart.is_empty());
        let mut arrived = [0; 2 * DATAGRAM_MAX];
        for datagram in payload.chunks(DATAGRAM_MAX) {
            let length = peer.recv(&mut arrived).unwrap();
            assert_eq!(&arrived[..length], datagram);
        }
        assert_eq!(network.counters.send_errors, 0);
    }
}

//! The loop between sockets and relay.
//!
//! It blocks until something arrives, takes what else has arrived, then sends what became due: a
//! lone line goes out at once, and under load lines share datagrams without a timer.

use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use kilochat_core::{DATAGRAM_MAX, Delivery, Instant, Relay, Reply, Unreachable};
use mio::{Events, Interest, Poll, Token, Waker};
use static_cell::ConstStaticCell;

use super::journal::{Journal, Record};
use super::transport::{self, Route, Transport};
use super::worker::{Destination, Worker, send_some};
use super::{config, sockets};
use crate::Error;
use crate::args::{RelayArguments, SEATS_MAX};

/// Bytes of lines that the relay keeps.
const RING: usize = 1 << 20;

/// Datagrams on their way to a peer that acknowledges them.
const WINDOW: usize = 32;

type HostRelay = Relay<{ SEATS_MAX as usize }, RING, WINDOW>;

/// Static, so that it is never on a stack and takes memory only where it is used.
static RELAY: ConstStaticCell<HostRelay> = ConstStaticCell::new(Relay::new());

/// The most datagrams that are taken from a socket before what they made due is sent.
const BATCH: usize = 64;

/// The most datagrams to one destination that are sent at once.
const SEGMENTS_MAX: usize = 16;

/// A fan-out to so many is shared by two threads: waking one takes as long as sending some dozens.
const CROWD: usize = 192;

/// The most reports of unreachable destinations between two looks at them.
const REPORTS: usize = 64;

/// How often a datagram is tried again whose sending failed with another one's error.
const TRIES: usize = 8;

/// How long a stopping relay tries to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long to wait at most for a network that took nothing to say that it takes something.
const BLOCKED: Duration = Duration::from_millis(10);

/// At most once in this time a loss in the kernel is logged.
const LOSS_INTERVAL: Duration = Duration::from_secs(60);

const WAKE: Token = Token(usize::MAX);

/// A datagram that arrived.
#[derive(Debug)]
pub(super) struct Received<Route> {
    /// Bytes of payload in the buffer; one that did not fit is as long as the buffer.
    pub(super) length: usize,
    pub(super) source: SocketAddr,
    /// How to answer it.
    pub(super) route: Route,
}

/// A relay on its sockets.
#[derive(Debug)]
pub struct Server {
    relay: &'static mut HostRelay,
    /// Where it was asked to listen.
    addresses: Vec<SocketAddr>,
    network: Network,
    poll: Poll,
    events: Events,
    signals: Arc<Signals>,
    waker: Arc<Waker>,
    journal: Journal,
    /// The datagram that arrived, and those that are to be sent.
    arrived: Vec<u8>,
    departing: Vec<u8>,
    /// Sends a part of large fan-outs, if there is a core for it.
    worker: Option<Worker>,
    /// A fan-out, where it goes, and what the network did not take of it.
    deliveries: Vec<Delivery>,
    destinations: Vec<Destination>,
    unsent: Vec<usize>,
    start: std::time::Instant,
    now: Instant,
    /// When a loss in the kernel may be logged again, and what it was when last logged.
    loss: (Instant, u64),
}

/// Tells a running [`Server`] what to do, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    signals: Arc<Signals>,
    waker: Arc<Waker>,
}

#[derive(Debug, Default)]
struct Signals {
    stop: AtomicBool,
    report: AtomicBool,
}

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

impl Stopper {
    /// Lets the relay say goodbye and end; returns whether it was told so before.
    pub fn stop(&self) -> bool {
        let before = self.signals.stop.swap(true, Ordering::Relaxed);
        self.wake();
        before
    }

    /// Lets the relay log its statistics.
    pub fn report(&self) {
        self.signals.report.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        // it fails only when the relay has ended
        let _ = self.waker.wake();
    }
}

impl Server {
    /// Opens the sockets; there is one relay in a process.
    ///
    /// # Errors
    ///
    /// When an option cannot be, or a socket cannot be had.
    pub fn bind(arguments: &RelayArguments) -> Result<Self, Error> {
        let config = config(arguments)?;
        let sockets = sockets::open(arguments)?;
        let buffers: Vec<usize> = sockets.iter().map(sockets::receive_buffer).collect();
        let failed = |error: io::Error| Error::Failure(format!("cannot set up sockets: {error}"));
        let addresses: io::Result<Vec<SocketAddr>> = sockets
            .iter()
            .map(mio::net::UdpSocket::local_addr)
            .collect();
        let addresses = addresses.map_err(failed)?;
        let poll = Poll::new().map_err(failed)?;
        let network = Network::new(sockets, &addresses, &poll).map_err(failed)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(failed)?);
        let Some(relay) = RELAY.try_take() else {
            return Err(Error::Failure("this process has a relay already".into()));
        };
        relay.configure(config);
        let mut journal = Journal::start(arguments)?;
        for (address, receive_buffer) in addresses.iter().copied().zip(buffers) {
            journal.write(Record::Listening {
                address,
                receive_buffer,
            });
        }
        Ok(Self {
            relay,
            addresses,
            poll,
            events: Events::with_capacity(64),
            signals: Arc::default(),
            waker,
            journal,
            worker: worker(&network.transports),
            network,
            deliveries: Vec::with_capacity(usize::from(SEATS_MAX)),
            destinations: Vec::with_capacity(usize::from(SEATS_MAX)),
            unsent: Vec::with_capacity(usize::from(SEATS_MAX)),
            arrived: vec![0; 2 * DATAGRAM_MAX],
            departing: vec![0; SEGMENTS_MAX * DATAGRAM_MAX],
            start: std::time::Instant::now(),
            now: Instant::default(),
            loss: (Instant::default(), 0),
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// What ends it or asks it for a report.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            signals: Arc::clone(&self.signals),
            waker: Arc::clone(&self.waker),
        }
    }

    /// Relays until it is told to stop, then says goodbye. It allocates nothing.
    ///
    /// # Errors
    ///
    /// When the system no longer tells what happens on the sockets.
    pub fn run(&mut self) -> Result<(), Error> {
        while !self.signals.stop.load(Ordering::Relaxed) {
            self.tick();
            self.receive();
            let is_flushed = self.send();
            while let Some(expired) = self.relay.handle_timeout(self.now) {
                let relay = &*self.relay;
                self.journal.write_expired(expired, |seat| relay.peer(seat));
            }
            if self.signals.report.swap(false, Ordering::Relaxed) {
                self.report(true);
            }
            self.wait(is_flushed)?;
        }
        self.say_goodbye()
    }

    fn tick(&mut self) {
        let millis = self.start.elapsed().as_millis();
        self.now = Instant::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
    }

    /// Takes what has arrived, as far as the relay has room for it.
    fn receive(&mut self) {
        let mut buffer = core::mem::take(&mut self.arrived);
        for index in 0..self.network.transports.len() {
            for _ in 0..BATCH {
                if !self.network.readable[index] || !self.relay.can_receive() {
                    break;
                }
                if let Some(received) = self.network.receive(index, &mut buffer) {
                    self.handle(index, &received, &buffer[..received.length]);
                }
            }
        }
        self.arrived = buffer;
        self.handle_reports();
        self.note_loss();
    }

    fn handle(&mut self, socket: usize, received: &Received<Route>, payload: &[u8]) {
        if self.network.is_own(received.source) {
            self.network.counters.own += 1;
            return;
        }
        let mut reply = Reply::new();
        let event = self
            .relay
            .handle_datagram(self.now, received.source, payload, &mut reply);
        if let Some((seat, address, farewell)) = event.farewell() {
            let route = self.network.routes[seat.index()];
            self.network.answer(farewell, address, route);
        }
        if let Some(seat) = event.seat() {
            self.network.routes[seat.index()] = (socket, received.route);
        }
        if !reply.is_empty() {
            self.network
                .answer(&reply, received.source, (socket, received.route));
        }
        let relay = &*self.relay;
        self.journal
            .write_event(self.now, received.source, event, |seat| relay.peer(seat));
    }

    /// Sends what is due; returns false if the network would block.
    fn send(&mut self) -> bool {
        loop {
            let room = self.network.segments() * DATAGRAM_MAX;
            let buffer = &mut self.departing[..room];
            let Some(fanout) = self.relay.poll_fanout(self.now, buffer) else {
                return true;
            };
            let payload = fanout.payload();
            self.deliveries.clear();
            self.deliveries.extend(fanout);
            self.network.deliver(
                payload,
                &self.deliveries,
                &mut self.destinations,
                (self.worker.as_mut(), &mut self.unsent),
            );
            for index in self.unsent.iter().rev() {
                self.relay.refused(self.deliveries[*index]);
            }
            if !self.unsent.is_empty() {
                return false;
            }
            self.handle_reports();
        }
    }

    /// Tells the relay whom the network cannot reach.
    fn handle_reports(&mut self) {
        while let Some((address, why)) = self.network.reports.pop() {
            if let Some(seat) = self.relay.find(&address)
                && let Some(departed) = self.relay.handle_unreachable(self.now, seat, why)
            {
                self.journal.write(Record::Departed(departed));
            }
        }
    }

    /// Warns, now and then, of datagrams that the kernel dropped.
    fn note_loss(&mut self) {
        let (next, logged) = self.loss;
        let dropped = self.network.kernel_dropped();
        if dropped > logged && self.now >= next {
            self.loss = (self.now.after(LOSS_INTERVAL), dropped);
            self.journal.write(Record::KernelDropped {
                now: dropped - logged,
                total: dropped,
            });
        }
    }

    /// Logs statistics; `asked` tells whether somebody wants them now.
    fn report(&mut self, asked: bool) {
        let mut counters = self.network.counters;
        counters.kernel_dropped = self.network.kernel_dropped();
        let (peers, relay) = (self.relay.peer_count(), self.relay.stats().clone());
        self.journal.write(Record::Stats {
            asked,
            peers,
            relay,
            counters,
        });
    }

    /// Blocks until something arrives, is due or, if `is_flushed` is false, can be sent. If something
    /// has arrived it only looks what else did, so that no socket waits for another to be empty.
    fn wait(&mut self, is_flushed: bool) -> Result<(), Error> {
        self.network.watch(&self.poll, !is_flushed)?;
        let is_busy = self.network.readable.contains(&true) && self.relay.can_receive();
        let until = self.relay.poll_timeout().map(|then| then.since(self.now));
        let timeout = if is_busy {
            Some(Duration::ZERO)
        } else if is_flushed {
            until
        } else {
            Some(until.map_or(BLOCKED, |until| until.min(BLOCKED)))
        };
        if let Err(error) = self.poll.poll(&mut self.events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(cannot_wait(error));
        }
        for event in &self.events {
            let index = event.token().0;
            if index != WAKE.0 && event.is_error() {
                self.network.collect_reports(index);
            }
            if index != WAKE.0 && (event.is_readable() || event.is_error()) {
                self.network.readable[index] = true;
            }
        }
        Ok(())
    }

    fn say_goodbye(&mut self) -> Result<(), Error> {
        self.tick();
        let deadline = self.now.after(GOODBYE);
        self.relay.stop(self.now);
        while !self.send() && self.now < deadline {
            self.wait(false)?;
            self.tick();
        }
        self.report(false);
        self.journal.close();
        Ok(())
    }
}

/// A thread that helps with large fan-outs, where it can have a core of its own.
fn worker(transports: &[Transport]) -> Option<Worker> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (payload, destinations) = (SEGMENTS_MAX * DATAGRAM_MAX, usize::from(SEATS_MAX));
    (cores > 1)
        .then(|| Worker::start(transports, payload, destinations).ok())
        .flatten()
}

/// The sockets, and what is known of the ways to the peers.
#[derive(Debug)]
struct Network {
    transports: Vec<Transport>,
    /// Whether a socket may have something to read.
    readable: Vec<bool>,
    /// By seat: through which socket, and from which address, its peer is answered.
    routes: Vec<(usize, Route)>,
    reports: Vec<(SocketAddr, Unreachable)>,
    counters: Counters,
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
    fn new(
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
    fn is_own(&self, source: SocketAddr) -> bool {
        let is_same = |own: &SocketAddr| {
            let is_loopback = own.ip().is_loopback() && source.ip().is_loopback();
            own.port() == source.port() && (own.ip() == source.ip() || is_loopback)
        };
        self.own.iter().any(is_same)
    }

    /// Lets the system tell, or no longer tell, when a socket can send again: told of every
    /// datagram that has left, the relay would wake up for nothing.
    fn watch(&mut self, poll: &Poll, sending: bool) -> Result<(), Error> {
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
                .reregister(&mut transport.socket, Token(index), interest)
                .map_err(cannot_wait)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, buffer: &mut [u8]) -> Option<Received<Route>> {
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
    fn deliver(
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
    fn segments(&self) -> usize {
        let segments = self.transports.iter().map(Transport::segments).min();
        segments.unwrap_or(1).clamp(1, SEGMENTS_MAX)
    }

    /// Sends what is sent now or never.
    fn answer(&mut self, payload: &[u8], to: SocketAddr, route: (usize, Route)) {
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
    fn collect_reports(&mut self, index: usize) -> bool {
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

    fn kernel_dropped(&self) -> u64 {
        self.transports.iter().map(Transport::dropped).sum()
    }
}

/// The addresses at which a socket that is bound to `bound` is reached from this very machine.
fn own_addresses(bound: SocketAddr) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = interfaces
        .iter()
        .map(|interface| (interface.ip(), bound.port()).into());
    addresses.collect()
}

fn cannot_wait(error: io::Error) -> Error {
    Error::Failure(format!("cannot wait for the sockets: {error}"))
}

/// An address without the IPv6 form of an IPv4 one, and without a flow label.
pub(super) fn folded(address: SocketAddr) -> SocketAddr {
    match (address, address.ip().to_canonical()) {
        (_, IpAddr::V4(ip)) => (ip, address.port()).into(),
        (SocketAddr::V6(v6), IpAddr::V6(ip)) => {
            SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into()
        }
        (SocketAddr::V4(_), IpAddr::V6(_)) => (Ipv4Addr::UNSPECIFIED, 0).into(),
    }
}

/// An address as a socket of either family takes it.
pub(super) fn mapped(address: SocketAddr, to_v6: bool) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if to_v6 => (ip.to_ipv6_mapped(), address.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_mapped_addresses_and_keeps_zones() {
        for (from, to) in [
            ("[::ffff:192.0.2.1]:5", "192.0.2.1:5"),
            ("192.0.2.1:5", "192.0.2.1:5"),
            ("[fe80::1%3]:5", "[fe80::1%3]:5"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(folded(from.parse().unwrap()), to.parse().unwrap(), "{from}");
        }
    }

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

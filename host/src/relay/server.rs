//! The loop between sockets and relay.
//!
//! It blocks until something arrives, takes what else has arrived, then sends what became due: a
//! lone line goes out at once, and under load lines share datagrams without a timer.

use core::net::SocketAddr;
use core::num::NonZeroUsize;
use core::time::Duration;
use std::io;

use kilochat_core::{DATAGRAM_MAX, Delivery, Instant, Relay, Reply};
use mio::{Events, Poll, Token, Waker};
use static_cell::ConstStaticCell;

use super::config::config;
use super::journal::{Journal, Record};
use super::network::Network;
use super::sockets;
use super::stopper::Stopper;
use super::transport::{Destination, Received, Route, SEGMENTS_MAX, Transport};
use super::worker::Worker;
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

/// How long a stopping relay tries to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long to wait at most for a network that took nothing to say that it takes something.
const BLOCKED: Duration = Duration::from_millis(10);

/// At most once in this time a loss in the kernel is logged.
const LOSS_INTERVAL: Duration = Duration::from_secs(60);

const WAKE: Token = Token(usize::MAX);

/// A relay on its sockets.
#[derive(Debug)]
pub struct Server {
    relay: &'static mut HostRelay,
    /// Where it was asked to listen.
    addresses: Vec<SocketAddr>,
    network: Network,
    poll: Poll,
    events: Events,
    stopper: Stopper,
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
        let stopper = Stopper::new(Waker::new(poll.registry(), WAKE).map_err(failed)?);
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
            stopper,
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
        self.stopper.clone()
    }

    /// Relays until it is told to stop, then says goodbye. It allocates nothing.
    ///
    /// # Errors
    ///
    /// When the system no longer tells what happens on the sockets.
    pub fn run(&mut self) -> Result<(), Error> {
        while !self.stopper.is_stopped() {
            self.tick();
            self.receive();
            let is_flushed = self.send();
            while let Some(expired) = self.relay.handle_timeout(self.now) {
                let relay = &*self.relay;
                self.journal.write_expired(expired, |seat| relay.peer(seat));
            }
            if self.stopper.take_report() {
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
                let delivery = self.deliveries[*index];
                self.relay.handle_refused(delivery);
                self.relay.handle_writable(delivery.seat);
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
        self.network
            .watch(&self.poll, !is_flushed)
            .map_err(cannot_wait)?;
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

fn cannot_wait(error: io::Error) -> Error {
    Error::Failure(format!("cannot wait for the sockets: {error}"))
}

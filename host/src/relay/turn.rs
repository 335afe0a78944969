//! One turn of the relay's loop, on any network: receive, expire, send, and say when to come again.
//!
//! The order matters. Timers run before anything is sent, because what they make due must not wait
//! for the next datagram; datagrams are read before timers run, because a relay that was suspended
//! must not take for silent those whose datagrams it has not read. A turn ends with a moment, and
//! that moment is now as long as anything can be done.

use core::net::SocketAddr;
use core::time::Duration;

use kilochat_core::{
    DATAGRAM_MAX, Delivery, Departed, Event, Expired, Instant, Relay, Reply, Seat, Unreachable,
};

/// The most datagrams to one destination that are sent at once.
pub(super) const SEGMENTS_MAX: usize = 16;

/// A turn ends when it has sent so many datagrams: then it is time to receive again.
const DELIVERIES_MAX: usize = 4096;

/// How much later than it wanted a turn begins if the relay was suspended.
const SUSPENDED: Duration = Duration::from_secs(1);

/// The most batches that a relay reads after it was suspended before its timers run.
const BACKLOG_MAX: usize = 1024;

/// A datagram that arrived.
#[derive(Debug)]
pub(super) struct Arrival<Path> {
    /// Bytes of payload in the buffer; one that did not fit is as long as the buffer.
    pub(super) length: usize,
    pub(super) source: SocketAddr,
    /// How to answer it.
    pub(super) path: Path,
}

/// What became of a fan-out.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Deliveries whose way would block.
    pub(super) refused: Vec<Delivery>,
    /// Peers that were sent something and shall get nothing more for now.
    pub(super) paced: Vec<Seat>,
}

/// The sockets, or what stands for them in a simulation.
pub(super) trait Network {
    /// How a datagram came, and how its answer goes.
    type Path: Copy;

    /// Allows another batch of datagrams from each socket.
    fn begin_batch(&mut self);

    /// The next datagram of this batch.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<Arrival<Self::Path>>;

    /// Whether something may have arrived that was not received.
    fn is_readable(&self) -> bool;

    /// Takes every socket for readable, until it is found empty.
    fn look_again(&mut self);

    /// A datagram came from the peer at `seat`; `is_new` if it joined with it.
    fn handle_heard(&mut self, now: Instant, seat: Seat, path: Self::Path, is_new: bool);

    /// Sends what is sent now or never to a peer, or to somebody without a seat.
    fn answer(
        &mut self,
        now: Instant,
        payload: &[u8],
        to: SocketAddr,
        via: (Self::Path, Option<Seat>),
    );

    /// Sends the last words to a peer, or to where it was, on the way on which it was reached.
    fn say_farewell(&mut self, now: Instant, payload: &[u8], to: SocketAddr, seat: Seat);

    /// How many datagrams to one destination may be sent at once.
    fn segments(&self) -> usize;

    /// Sends a fan-out: datagrams of [`DATAGRAM_MAX`] bytes, the last one perhaps shorter.
    fn deliver(
        &mut self,
        now: Instant,
        payload: &[u8],
        deliveries: &[Delivery],
        outcome: &mut Outcome,
    );

    /// The next report of a destination that cannot be reached.
    fn poll_report(&mut self) -> Option<(SocketAddr, Unreachable)>;

    /// The path to a peer was reported as broken: it shall get little, and hold nobody up.
    fn demote(&mut self, now: Instant, seat: Seat);

    /// The next peer that was refused or paced and may be sent something again.
    fn poll_writable(&mut self, now: Instant) -> Option<Seat>;

    /// When [`poll_writable`](Self::poll_writable) has somebody next.
    fn next_writable(&self) -> Option<Instant>;
}

/// Who writes down what happens.
pub(super) trait Log<const PEERS: usize, const RING: usize, const WINDOW: usize> {
    fn event(
        &mut self,
        now: Instant,
        source: SocketAddr,
        event: Event,
        relay: &Relay<PEERS, RING, WINDOW>,
    );
    fn expired(&mut self, expired: Expired, relay: &Relay<PEERS, RING, WINDOW>);
    fn departed(&mut self, departed: Departed);
}

/// The loop's own state: buffers, and when it wanted to come again.
#[derive(Debug)]
pub(super) struct Turn {
    arrived: Vec<u8>,
    departing: Vec<u8>,
    deliveries: Vec<Delivery>,
    outcome: Outcome,
    wake: Option<Instant>,
}

impl Turn {
    /// Has room for fan-outs to `peers`: it allocates nothing later.
    pub(super) fn new(peers: usize) -> Self {
        Self {
            arrived: vec![0; 2 * DATAGRAM_MAX],
            departing: vec![0; SEGMENTS_MAX * DATAGRAM_MAX],
            deliveries: Vec::with_capacity(peers),
            outcome: Outcome {
                refused: Vec::with_capacity(peers),
                paced: Vec::with_capacity(peers),
            },
            wake: None,
        }
    }

    /// Does what there is to do, and returns when to do so again if nothing arrives: `None` if there
    /// is no such moment, and `now` if there is more to do already.
    pub(super) fn run<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        network: &mut impl Network,
        log: &mut impl Log<PEERS, RING, WINDOW>,
    ) -> Option<Instant> {
        if self.wake.is_some_and(|wake| now.since(wake) >= SUSPENDED) {
            network.look_again();
            for _ in 0..BACKLOG_MAX {
                self.receive(now, relay, network, log);
                if !network.is_readable() {
                    break;
                }
                self.send(now, relay, network, log);
            }
        } else {
            self.receive(now, relay, network, log);
        }
        while let Some(seat) = network.poll_writable(now) {
            relay.handle_writable(seat);
        }
        while let Some(expired) = relay.handle_timeout(now) {
            log.expired(expired, relay);
        }
        let is_flushed = self.send(now, relay, network, log);
        let is_busy = !is_flushed || network.is_readable() && relay.can_receive();
        self.wake = if is_busy {
            Some(now)
        } else {
            let moments = [relay.poll_timeout(), network.next_writable()];
            moments.into_iter().flatten().min()
        };
        self.wake
    }

    /// Takes a batch of what has arrived, as far as the relay has room for it.
    fn receive<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        network: &mut impl Network,
        log: &mut impl Log<PEERS, RING, WINDOW>,
    ) {
        network.begin_batch();
        while relay.can_receive()
            && let Some(arrival) = network.receive(&mut self.arrived)
        {
            let Arrival {
                length,
                source,
                path,
            } = arrival;
            let mut reply = Reply::new();
            let payload = self.arrived.get(..length).unwrap_or_default();
            let event = relay.handle_datagram(now, source, payload, &mut reply);
            if let Some((seat, address, farewell)) = event.farewell() {
                network.say_farewell(now, farewell, address, seat);
            }
            let seat = event.seat();
            if let Some(seat) = seat {
                network.handle_heard(now, seat, path, matches!(event, Event::Joined { .. }));
            }
            if !reply.is_empty() {
                network.answer(now, &reply, source, (path, seat));
            }
            log.event(now, source, event, relay);
        }
        handle_reports(now, relay, network, log);
    }

    /// Sends what is due; returns whether that was all.
    fn send<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        network: &mut impl Network,
        log: &mut impl Log<PEERS, RING, WINDOW>,
    ) -> bool {
        let mut sent = 0;
        loop {
            let room = network.segments().clamp(1, SEGMENTS_MAX) * DATAGRAM_MAX;
            let buffer = self.departing.get_mut(..room).unwrap_or_default();
            let Some(fanout) = relay.poll_fanout(now, buffer) else {
                return true;
            };
            if sent >= DELIVERIES_MAX {
                return false;
            }
            let payload = fanout.payload();
            self.deliveries.clear();
            self.deliveries.extend(fanout);
            sent += self.deliveries.len();
            network.deliver(now, payload, &self.deliveries, &mut self.outcome);
            while let Some(delivery) = self.outcome.refused.pop() {
                relay.handle_refused(delivery);
            }
            for seat in self.outcome.paced.drain(..) {
                relay.handle_blocked(seat);
            }
            handle_reports(now, relay, network, log);
        }
    }
}

/// Tells the relay whom the network cannot reach.
fn handle_reports<const PEERS: usize, const RING: usize, const WINDOW: usize>(
    now: Instant,
    relay: &mut Relay<PEERS, RING, WINDOW>,
    network: &mut impl Network,
    log: &mut impl Log<PEERS, RING, WINDOW>,
) {
    while let Some((address, why)) = network.poll_report() {
        let Some(seat) = relay.find(&address) else {
            continue;
        };
        match relay.handle_unreachable(now, seat, why) {
            Some(departed) => log.departed(departed),
            // where nobody listens a host still answers: nothing waits for it
            None if why == Unreachable::Path => network.demote(now, seat),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;

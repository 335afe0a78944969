//! One turn of the relay's loop, on any network: receive, run timers, send, and return when to run
//! again.
//!
//! The order matters. Timers run before anything is sent, because what they make due must not wait
//! for the next datagram. Datagrams are read before timers run, because after a suspension of the
//! machine the peers whose datagrams are still unread must not seem silent. A turn returns the time
//! of the next one, which is now while there is more to do.

use core::net::SocketAddr;
use core::time::Duration;

use kilochat_core::{
    DATAGRAM_MAX, Delivery, Departed, Event, Expired, Instant, Relay, Reply, Seat, Unreachable,
};

/// Maximum number of datagrams to one destination that are sent at once.
pub(super) const SEGMENTS_MAX: usize = 16;

/// Maximum number of datagrams that a turn sends before the relay receives again.
const DELIVERIES_MAX: usize = 4096;

/// A turn that begins this much later than requested follows a suspension.
const SUSPENDED: Duration = Duration::from_secs(1);

/// Maximum number of batches that a relay reads after a suspension before its timers run.
const BACKLOG_MAX: usize = 1024;

/// A datagram that was received.
#[derive(Debug)]
pub(super) struct Arrival<Path> {
    /// Length of the payload in the buffer; one that was cut is as long as the buffer.
    pub(super) length: usize,
    pub(super) source: SocketAddr,
    /// The path for a reply.
    pub(super) path: Path,
}

/// The outcome of a fan-out.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Deliveries that are returned to the relay because sending them would block.
    pub(super) refused: Vec<Delivery>,
    /// Peers that were sent a datagram and are paused from now on.
    pub(super) paced: Vec<Seat>,
}

/// The sockets, or what replaces them in a simulation.
pub(super) trait Network {
    /// How a datagram arrived, and how a reply to it is sent.
    type Path: Copy;

    /// Starts a new batch: each socket may return a limited number of datagrams.
    fn begin_batch(&mut self);

    /// Returns the next datagram of this batch.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<Arrival<Self::Path>>;

    /// Returns whether datagrams may be waiting.
    fn is_readable(&self) -> bool;

    /// Marks every socket as readable, until it is found empty.
    fn look_again(&mut self);

    /// Records that a datagram arrived from the peer at `seat`; `is_new` is whether the peer joined
    /// with it.
    fn handle_heard(&mut self, now: Instant, seat: Seat, path: Self::Path, is_new: bool);

    /// Sends a reply to a peer or a stranger. It is lost if the network does not take it.
    fn answer(
        &mut self,
        now: Instant,
        payload: &[u8],
        to: SocketAddr,
        via: (Self::Path, Option<Seat>),
    );

    /// Sends a question to the address that a peer has. A flood of strangers must not keep it back.
    fn ask(&mut self, now: Instant, payload: &[u8], to: SocketAddr, seat: Seat);

    /// Sends a farewell to the address that a peer has, or had, by the route to it.
    fn say_farewell(&mut self, now: Instant, payload: &[u8], to: SocketAddr, seat: Seat);

    /// Returns the maximum number of datagrams to one destination in one call.
    fn segments(&self) -> usize;

    /// Sends a fan-out: datagrams of [`DATAGRAM_MAX`] bytes, of which the last may be shorter.
    fn deliver(
        &mut self,
        now: Instant,
        payload: &[u8],
        deliveries: &[Delivery],
        outcome: &mut Outcome,
    );

    /// Returns the next report of an unreachable destination.
    fn poll_report(&mut self) -> Option<(SocketAddr, Unreachable)>;

    /// Records that the route to a peer was reported as broken. The peer is sent little from now
    /// on, and delays no other.
    fn demote(&mut self, now: Instant, seat: Seat);

    /// Returns the next paused peer that may be sent to again.
    fn poll_writable(&mut self, now: Instant) -> Option<Seat>;

    /// Returns when [`poll_writable`](Self::poll_writable) has the next peer.
    fn next_writable(&self) -> Option<Instant>;
}

/// A log of what happens.
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

/// The state of the loop: its buffers, and when it requested to run again.
#[derive(Debug)]
pub(super) struct Turn {
    arrived: Vec<u8>,
    departing: Vec<u8>,
    deliveries: Vec<Delivery>,
    outcome: Outcome,
    wake: Option<Instant>,
}

impl Turn {
    /// Allocates buffers for fan-outs to `peers`. Nothing is allocated later.
    pub(super) fn new(peers: usize) -> Self {
        Self {
            // room for every datagram: Windows reports one that is longer as an error without a source
            arrived: vec![0; 64 << 10],
            departing: vec![0; SEGMENTS_MAX * DATAGRAM_MAX],
            deliveries: Vec::with_capacity(peers),
            outcome: Outcome {
                refused: Vec::with_capacity(peers),
                paced: Vec::with_capacity(peers),
            },
            wake: None,
        }
    }

    /// Does everything that is due. Returns when to run again if nothing arrives: `None` if there
    /// is no such time, and `now` if there is more to do.
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
            if let Some((seat, address, farewell)) = expired.farewell() {
                network.say_farewell(now, farewell, address, seat);
            }
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

    /// Receives a batch of datagrams, as far as the relay has room for them.
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
            if let Some((seat, address, payload)) = event.aside() {
                if matches!(event, Event::Claimed { .. }) {
                    network.ask(now, payload, address, seat);
                } else {
                    network.say_farewell(now, payload, address, seat);
                }
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

    /// Sends what is due. Returns whether that was everything.
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

/// Tells the relay which destinations are unreachable.
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
            // the host responds, so no datagram waits for its address
            None if why == Unreachable::Path => network.demote(now, seat),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;

//! The relay on the network stack: what a frame does, what is due, what is sent.

#[cfg(feature = "mdns")]
use core::net::IpAddr;
use core::net::SocketAddr;
use core::time::Duration;

use heapless::Vec;
use kilochat_core::{
    DATAGRAM_MAX, Departed, Event, Expired, Instant, NETWORKS_MAX, Network, Relay, Reply,
};

use crate::addresses::is_on_wire;
use crate::config::{Config, Error};
#[cfg(feature = "dhcp")]
use crate::lease::Lease;
use crate::log::log;
#[cfg(feature = "mdns")]
use crate::mdns;
use crate::stack::{self, Route, Stack, phy};
use crate::storage::Storage;

/// The most frames that a poll takes from the device before it sends what they made due.
const BATCH: usize = 32;

/// Full batches after which timers are handled although the device may have more. Together they are
/// more than a TAP interface queues (500 frames), and a flood cannot put timers off for longer.
const BATCHES_MAX: u8 = 32;

/// How soon to try again when the device takes nothing.
const BLOCKED: Duration = Duration::from_millis(1);

/// How long to sleep at most: smoltcp does not say when it has to report its multicast groups, and
/// says that it is late when it waits for a router that does not exist.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// At most once in this time a refusal is logged: a flood of them must not fill a slow line.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);

/// What has happened on the network since the start, counted. [`Relay::stats`] counts the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stats {
    /// Frames taken from the device.
    pub frames: u64,
    /// Frames that were dropped because of what their first bytes say: too short, from a group's or
    /// the node's own hardware address, from a group or broadcast IP address, or a router
    /// advertisement of addresses that no machine can have.
    pub dropped: u64,
    /// Datagrams for the relay that came from or went to an address that nobody can answer or be
    /// answered at: a group, broadcast, loopback, the node's own as a source.
    pub misdirected: u64,
    /// Replies and farewells that the device took no frame for.
    pub replies_lost: u64,
    /// Reports that a datagram of the relay could not be delivered.
    pub unreachable: u64,
    /// Datagrams that were not sent because the node no longer has the address that its peer had
    /// sent to.
    pub stale: u64,
    /// Answers to the question for the node's name.
    pub names: u64,
}

/// A relay on an Ethernet device.
pub struct Node<D: phy::Device, const PEERS: usize, const RING: usize, const WINDOW: usize> {
    stack: Stack<D>,
    relay: &'static mut Relay<PEERS, RING, WINDOW>,
    routes: &'static mut [Route; PEERS],
    stats: Stats,
    port: u16,
    /// When the stack has something to do at the latest, if no frame comes.
    maintain_at: Instant,
    /// Batches since the device was last found empty.
    full_batches: u8,
    /// When a refusal may be logged again, and how many were not.
    refusals: (Instant, u32),
    /// The addresses as they were last told to the relay and the log.
    networks: Vec<Network, NETWORKS_MAX>,
    #[cfg(feature = "dhcp")]
    lease: Lease,
    #[cfg(feature = "mdns")]
    responder: mdns::Responder,
}

impl<D: phy::Device, const PEERS: usize, const RING: usize, const WINDOW: usize>
    Node<D, PEERS, RING, WINDOW>
{
    /// A node that answers from the first [`poll`](Self::poll) on.
    ///
    /// # Errors
    ///
    /// When the configuration, or the device, cannot be worked with.
    pub fn new(
        device: D,
        storage: &'static mut Storage<PEERS, RING, WINDOW>,
        config: Config,
        now: Instant,
    ) -> Result<Self, Error> {
        config.check()?;
        Stack::check(&device)?;
        let mut node = Self::made(device, storage, &config, now);
        node.set_up(&config);
        Ok(node)
    }

    /// A node without addresses; its configuration and its device have been checked.
    #[inline(never)] // so that it is made where it stays
    fn made(
        device: D,
        storage: &'static mut Storage<PEERS, RING, WINDOW>,
        config: &Config,
        now: Instant,
    ) -> Self {
        let Storage {
            relay,
            routes,
            buffers,
        } = storage;
        relay.configure(config.relay.clone());
        Self {
            relay,
            routes,
            stats: Stats::default(),
            port: config.port,
            maintain_at: now,
            full_batches: 0,
            refusals: (now, 0),
            networks: Vec::new(),
            #[cfg(feature = "dhcp")]
            lease: Lease::new(config, now),
            #[cfg(feature = "mdns")]
            responder: mdns::Responder::new(config.name.clone()),
            // the last one, so that it is made where it stays, too
            stack: Stack::new(device, buffers, config, now),
        }
    }

    /// Gives a node its addresses.
    fn set_up(&mut self, config: &Config) {
        self.stack.set_static(config);
        log!(
            info,
            "up: {=usize} seats, UDP port {=u16}, hardware address {=[u8]:02x}",
            PEERS,
            config.port,
            config.hardware
        );
        self.note_addresses();
    }

    /// Takes what the device has received, a batch of frames at most, and sends what is due.
    ///
    /// Returns when to call it again if no frame comes before; a moment that is not in the future
    /// means that there is more to do now. The work of a call is bounded.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        let (mut frames, mut is_due) = (0, now >= self.maintain_at);
        while frames < BATCH
            && (self.relay.can_receive() || self.send(now))
            && self.stack.receive(now)
        {
            frames += 1;
            // a datagram changes nothing in the stack
            is_due |= !self.handle_frame(now);
        }
        self.stats.frames += frames as u64;
        // A program that did not run for a while judges nobody by a silence that ends in frames
        // which it has not read yet.
        self.full_batches += 1;
        if frames < BATCH || self.full_batches == BATCHES_MAX {
            self.full_batches = 0;
            self.handle_timeout(now);
        }
        let is_flushed = self.send(now);
        if is_due {
            self.maintain(now);
        }
        if !is_flushed {
            return Some(now.after(BLOCKED));
        }
        if frames == BATCH {
            return Some(now);
        }
        let timers = [Some(self.maintain_at), self.relay.poll_timeout()];
        timers.into_iter().flatten().min()
    }

    /// Tells all peers that the relay is stopping; see [`Relay::stop`]. Then go on with
    /// [`poll`](Self::poll) until the relay [is settled](Relay::is_settled), for a second at most.
    pub fn stop(&mut self, now: Instant) {
        self.relay.stop(now);
    }

    /// The relay, for its peers and counters.
    pub fn relay(&self) -> &Relay<PEERS, RING, WINDOW> {
        self.relay
    }

    /// What has been counted so far on the network.
    pub fn stats(&self) -> Stats {
        Stats {
            dropped: self.stack.dropped(),
            stale: self.stack.stale(),
            ..self.stats
        }
    }

    /// The node's addresses, as they are now.
    pub fn addresses(&self) -> impl Iterator<Item = Network> + '_ {
        self.stack.addresses()
    }

    /// The device.
    pub fn device(&self) -> &D {
        self.stack.device()
    }

    /// The device, for instance to count its errors.
    pub fn device_mut(&mut self) -> &mut D {
        self.stack.device_mut()
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(expired) = self.relay.handle_timeout(now) {
            match expired {
                Expired::Left(departed) => log_departed(&departed),
                Expired::Parked(seat) => log!(
                    info,
                    "{=str} does not answer",
                    self.relay.peer(seat).map_or("", |peer| peer.name)
                ),
            }
        }
    }

    /// Does what the stack has to do without a frame, follows its addresses, and notes when to do
    /// so again.
    #[inline(never)] // what it needs of the stack is not added to what a datagram needs
    fn maintain(&mut self, now: Instant) {
        self.stack.maintain(now);
        #[cfg(feature = "dhcp")]
        self.lease.follow(&mut self.stack, now);
        self.note_addresses();
        self.maintain_at = now.after(SLEEP_MAX);
        let stack = self.stack.poll_timeout(now).filter(|then| *then > now);
        #[cfg(feature = "dhcp")]
        let stack = stack.into_iter().chain(self.lease.fall_back_at()).min();
        if let Some(then) = stack {
            self.maintain_at = self.maintain_at.min(then);
        }
    }

    /// Tells the relay and the log of addresses that have changed. Nothing is sent from an address that
    /// is gone (RFC 2131 section 4.4.5): it may be another machine's by now.
    fn note_addresses(&mut self) {
        let networks: Vec<_, NETWORKS_MAX> = self.stack.addresses().take(NETWORKS_MAX).collect();
        if networks == self.networks {
            return;
        }
        for network in networks.iter().filter(|new| !self.networks.contains(new)) {
            log!(info, "address {}/{=u8}", network.address, network.prefix);
        }
        for network in self.networks.iter().filter(|old| !networks.contains(old)) {
            log!(info, "no longer {}/{=u8}", network.address, network.prefix);
        }
        for route in &mut *self.routes {
            route.is_own = networks.iter().any(|own| own.address == route.local);
        }
        self.relay.set_networks(networks.clone());
        self.networks = networks;
    }

    /// Handles what a frame has brought; returns whether that was a datagram for the relay.
    fn handle_frame(&mut self, now: Instant) -> bool {
        if self.handle_datagram(now) {
            return true;
        }
        if let Some(report) = self.stack.take_unreachable() {
            self.handle_unreachable(now, &report);
        }
        #[cfg(feature = "mdns")]
        self.handle_question(now);
        false
    }

    #[inline(never)] // so that the reply is on the stack for no longer than it takes
    fn handle_datagram(&mut self, now: Instant) -> bool {
        let datagram = match self.stack.datagram() {
            Some(Ok(datagram))
                if is_on_wire(datagram.source.ip())
                    && !self
                        .networks
                        .iter()
                        .any(|own| own.address == datagram.source.ip()) =>
            {
                datagram
            }
            Some(_) => {
                self.stats.misdirected += 1;
                return true;
            }
            None => return false,
        };
        let mut reply = Reply::new();
        let event = self
            .relay
            .handle_datagram(now, datagram.source, datagram.payload, &mut reply);
        let (source, route) = (datagram.source, datagram.route);
        if let Some((seat, address, farewell)) = event.farewell()
            && let Some(route) = self.routes.get(seat.index()).copied()
        {
            self.answer(now, &route, address, farewell);
        }
        if let Some(seat) = event.seat()
            && let Some(known) = self.routes.get_mut(seat.index())
        {
            *known = route;
        }
        if !reply.is_empty() {
            self.answer(now, &route, source, &reply);
        }
        self.log_event(now, source, &event);
        true
    }

    fn handle_unreachable(&mut self, now: Instant, report: &stack::Report) {
        if report.local.port() != self.port {
            return;
        }
        self.stats.unreachable += 1;
        if let Some(seat) = self.relay.find(&report.peer)
            && let Some(departed) = self.relay.handle_unreachable(now, seat, report.why)
        {
            log_departed(&departed);
        }
    }

    /// Answers the question where the node is.
    #[cfg(feature = "mdns")]
    #[inline(never)] // as for `maintain`
    fn handle_question(&mut self, now: Instant) {
        let Some(datagram) = self.stack.question() else {
            return;
        };
        let source = datagram.source;
        if !self
            .networks
            .iter()
            .any(|network| network.contains(source.ip()))
        {
            return;
        }
        let addresses = self.networks.iter().map(|network| network.address);
        let Some(answer) = self
            .responder
            .answer(now, datagram.payload, source, addresses)
        else {
            return;
        };
        let mut route = datagram.route;
        let mut to = source.ip();
        if !answer.is_unicast {
            (to, route.hardware) = match to {
                IpAddr::V4(_) => (mdns::GROUP_V4.into(), mdns::HARDWARE_V4),
                IpAddr::V6(_) => (mdns::GROUP_V6.into(), mdns::HARDWARE_V6),
            };
        }
        let ports = (mdns::PORT, source.port());
        let is_sent = self.stack.send(now, &route, ports, to, &answer.payload);
        self.stats.names += u64::from(is_sent);
        self.stats.replies_lost += u64::from(!is_sent);
    }

    /// Sends what is due; returns false if the device takes no more.
    fn send(&mut self, now: Instant) -> bool {
        let mut buffer = [0; DATAGRAM_MAX];
        while let Some(mut fanout) = self.relay.poll_fanout(now, &mut buffer) {
            let payload = fanout.payload();
            loop {
                if !self.stack.can_send(now) {
                    // deliveries that are not taken stay due
                    return false;
                }
                let Some(delivery) = fanout.next() else {
                    break;
                };
                let to = delivery.address;
                if let Some(route) = self.routes.get(delivery.seat.index()) {
                    self.stack
                        .send(now, route, (self.port, to.port()), to.ip(), payload);
                    log!(trace, "{=usize} bytes to {}", payload.len(), to);
                }
            }
        }
        true
    }

    /// Sends what is sent now or never.
    fn answer(&mut self, now: Instant, route: &Route, to: SocketAddr, payload: &[u8]) {
        let ports = (self.port, to.port());
        let is_sent = self.stack.send(now, route, ports, to.ip(), payload);
        self.stats.replies_lost += u64::from(!is_sent);
    }

    fn log_event(&mut self, now: Instant, source: SocketAddr, event: &Event) {
        let peer = event.seat().and_then(|seat| self.relay.peer(seat));
        let name = peer.map(|peer| peer.name).unwrap_or_default();
        match event {
            Event::Joined { displaced, .. } => {
                if let Some(departed) = displaced {
                    log_departed(departed);
                }
                log!(info, "{=str} joined from {}", name, source);
            }
            Event::Left(departed) => log_departed(departed),
            Event::Renamed { from, .. } => {
                log!(info, "{=str} is now {=str}", from.as_str(), name);
            }
            Event::Refused { why, .. } if now >= self.refusals.0 => {
                log!(
                    info,
                    "refused from {} {=str}: {=str}; {=u32} others were not logged",
                    source,
                    name,
                    why.as_str(),
                    self.refusals.1
                );
                self.refusals = (now.after(REFUSAL_INTERVAL), 0);
            }
            Event::Refused { .. } => self.refusals.1 = self.refusals.1.saturating_add(1),
            Event::Said { lines, .. } => log!(trace, "{=str} said {=u8} lines", name, *lines),
            Event::Answered { .. } => log!(trace, "{=str} was answered", name),
            Event::Resumed { displaced, .. } => {
                if let Some(departed) = displaced {
                    log_departed(departed);
                }
                log!(info, "{=str} goes on at {}", name, source);
            }
            Event::Challenged => log!(trace, "{} was asked for its cookie", source),
            Event::Acknowledged { .. } => log!(trace, "{=str} acknowledged", name),
            Event::Helped => log!(trace, "{} was helped", source),
            Event::Keepalive { .. } => log!(trace, "{=str} is there", name),
        }
    }
}

impl<D: phy::Device, const PEERS: usize, const RING: usize, const WINDOW: usize> core::fmt::Debug
    for Node<D, PEERS, RING, WINDOW>
{
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter
            .debug_struct("Node")
            .field("relay", &self.relay)
            .field("stats", &self.stats)
            .field("networks", &self.networks)
            .finish_non_exhaustive()
    }
}

fn log_departed(departed: &Departed) {
    log!(
        info,
        "{=str} left ({=str}), was at {}",
        departed.name.as_str(),
        departed.why.as_str(),
        departed.address
    );
}

//! The relay on the network stack: handling of frames, timers and sending.

use core::net::SocketAddr;
use core::time::Duration;

use heapless::Vec;
use kilochat_core::{
    DATAGRAM_MAX, Departed, Event, Expired, Instant, NETWORKS_MAX, Network, Relay, Reply, Rule,
};

use crate::addresses::is_on_wire;
use crate::config::{ADDRESSES_MAX, Config, Error};
#[cfg(feature = "dhcp")]
use crate::lease::Lease;
use crate::log::log;
#[cfg(feature = "mdns")]
use crate::mdns;
use crate::stack::{self, Route, Stack, phy};
use crate::storage::Storage;
use crate::wire::Moved;

/// Maximum number of frames that a poll reads from the device before it sends what became due.
const BATCH: usize = 32;

/// Number of full batches after which timers run although the device may have more frames. It is
/// more than a TAP interface queues (500 frames), so that a flood delays timers by no more than
/// that.
const BATCHES_MAX: u8 = 32;

/// Time until the next attempt when sending to the device would block.
const BLOCKED: Duration = Duration::from_millis(1);

/// Maximum time between polls: smoltcp does not report when it must send its multicast reports, and
/// reports an expired time while it waits for a router that does not exist.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Minimum time between two log records about refused datagrams, so that a flood does not fill a
/// slow serial line.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);

/// Counters of the network since the start. [`Relay::stats`] has those of the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stats {
    /// Frames read from the device.
    pub frames: u64,
    /// Frames that were dropped because of their first bytes: too short, a source hardware address
    /// that is multicast or the node's own, a source IP address that is multicast or broadcast, or
    /// a router advertisement with an invalid prefix.
    pub dropped: u64,
    /// Datagrams to the relay that cannot be replied to: to a multicast or broadcast address, or
    /// from loopback or the node's own address.
    pub misdirected: u64,
    /// Replies and farewells that were dropped because the device would have blocked.
    pub replies_lost: u64,
    /// Reports that a datagram of the relay could not be delivered.
    pub unreachable: u64,
    /// Datagrams that were not sent because the node no longer has the address to which the peer
    /// had sent.
    pub stale: u64,
    /// Responses to queries for the node's name.
    pub names: u64,
}

/// A relay on an Ethernet device.
pub struct Node<D: phy::Device, const PEERS: usize, const RING: usize, const WINDOW: usize> {
    stack: Stack<D>,
    relay: &'static mut Relay<PEERS, RING, WINDOW>,
    routes: &'static mut [Route; PEERS],
    stats: Stats,
    port: u16,
    /// When the stack must run even if no frame arrives.
    maintain_at: Instant,
    /// Number of batches since the device was last empty.
    full_batches: u8,
    /// Earliest time of the next log record about a refused datagram, and the number that were not
    /// logged.
    refusals: (Instant, u32),
    /// The static addresses, until the first [`poll`](Self::poll) sets them. In [`new`](Self::new) that
    /// would need the space of a second node on the stack.
    unset: Option<Vec<Network, ADDRESSES_MAX>>,
    /// The addresses as last passed to the relay and the log.
    networks: Vec<Network, NETWORKS_MAX>,
    #[cfg(feature = "dhcp")]
    lease: Lease,
    #[cfg(feature = "mdns")]
    responder: mdns::Responder,
}

impl<D: phy::Device, const PEERS: usize, const RING: usize, const WINDOW: usize>
    Node<D, PEERS, RING, WINDOW>
{
    /// Creates a node that responds from the first [`poll`](Self::poll) on.
    ///
    /// # Errors
    ///
    /// If the configuration or the device is not valid.
    pub fn new(
        device: D,
        storage: &'static mut Storage<PEERS, RING, WINDOW>,
        config: Config,
        now: Instant,
    ) -> Result<Self, Error> {
        config.check()?;
        Stack::check(&device)?;
        Ok(Self::made(device, storage, &config, now))
    }

    /// Creates a node without addresses. Its configuration and its device have been checked.
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
            unset: Some(config.first_addresses()),
            networks: Vec::new(),
            #[cfg(feature = "dhcp")]
            lease: Lease::new(config, now),
            #[cfg(feature = "mdns")]
            responder: mdns::Responder::new(config, now),
            // constructed last, so that it is built in its final place
            stack: Stack::new(device, buffers, config, now),
        }
    }

    /// Sets the link-local address and the static ones, unless it has, and passes them to the relay and
    /// the log.
    #[inline(never)] // as for `maintain`
    fn set_up(&mut self) {
        let Some(addresses) = self.unset.take() else {
            return;
        };
        self.stack.set_static(&addresses);
        log!(
            info,
            "up: {=usize} seats, UDP port {=u16}, hardware address {=[u8]:02x}",
            PEERS,
            self.port,
            self.stack.hardware()
        );
        self.note_addresses();
    }

    /// Reads at most a batch of frames from the device, and sends what is due.
    ///
    /// Returns when to call it again if no frame arrives before; a time that is not in the future
    /// means that there is more to do now. The work of a call is bounded.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.set_up();
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
        // After the program was suspended, the frames that are waiting must be read before timers
        // run: they may end the silence of a peer.
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

    /// Mixes a number that is hard to predict into the relay's key: see [`Relay::stir`].
    pub fn stir(&mut self, random: u64) {
        self.relay.stir(random);
    }

    /// Replaces the rules about networks: see [`Relay::set_rules`].
    pub fn set_rules(&mut self, rules: &[Rule]) {
        self.relay.set_rules(rules.iter().copied());
    }

    /// Announces to all peers that the relay is stopping; see [`Relay::stop`]. Then continue to
    /// call [`poll`](Self::poll) until the relay [is settled](Relay::is_settled), for at most a
    /// second.
    pub fn stop(&mut self, now: Instant) {
        self.relay.stop(now);
    }

    /// Returns the relay, for its peers and counters.
    pub fn relay(&self) -> &Relay<PEERS, RING, WINDOW> {
        self.relay
    }

    /// Returns the network counters since the start. [`Relay::stats`] returns those of the relay.
    pub fn stats(&self) -> Stats {
        Stats {
            dropped: self.stack.dropped(),
            stale: self.stack.stale(),
            ..self.stats
        }
    }

    /// Returns the current addresses of the node. It has none before the first [`poll`](Self::poll).
    pub fn addresses(&self) -> impl Iterator<Item = Network> + '_ {
        self.stack.addresses()
    }

    /// Returns the device.
    pub fn device(&self) -> &D {
        self.stack.device()
    }

    /// Returns the device, for instance to count its errors.
    pub fn device_mut(&mut self) -> &mut D {
        self.stack.device_mut()
    }

    #[inline(never)] // as for `maintain`
    fn handle_timeout(&mut self, now: Instant) {
        while let Some(expired) = self.relay.handle_timeout(now) {
            if let Some((seat, address, farewell)) = expired.farewell()
                && let Some(route) = self.routes.get(seat.index()).copied()
            {
                self.answer(now, &route, address, farewell);
            }
            match expired {
                Expired::Left(departed) => log_departed(&departed),
                Expired::Parked(seat) => log!(
                    info,
                    "{=str} does not respond",
                    self.relay.peer(seat).map_or("", |peer| peer.name)
                ),
            }
        }
    }

    /// Runs the timers of the stack, applies changes of its addresses, and records when to do so
    /// again.
    #[inline(never)] // what it needs of the stack is not added to what a datagram needs
    fn maintain(&mut self, now: Instant) {
        self.stack.maintain(now);
        #[cfg(feature = "dhcp")]
        self.lease.follow(&mut self.stack, now);
        self.note_addresses();
        #[cfg(feature = "probe")]
        self.claim_name(now);
        self.maintain_at = now.after(SLEEP_MAX);
        let timers = [
            self.stack.poll_timeout(now).filter(|then| *then > now),
            #[cfg(feature = "dhcp")]
            self.lease.fall_back_at(),
            #[cfg(feature = "probe")]
            self.responder.poll_timeout(),
        ];
        for then in timers.into_iter().flatten() {
            self.maintain_at = self.maintain_at.min(then);
        }
    }

    /// Passes changes of the addresses to the relay and the log. Nothing is sent from an address
    /// that was lost (RFC 2131 section 4.4.5), because another host may have it now.
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
        #[cfg(feature = "probe")]
        self.responder.restart();
    }

    /// Handles the contents of a frame. Returns whether it was a datagram for the relay.
    fn handle_frame(&mut self, now: Instant) -> bool {
        if self.handle_datagram(now) {
            return true;
        }
        if let Some(report) = self.stack.take_unreachable() {
            self.handle_unreachable(now, &report);
        }
        if let Some(moved) = self.stack.moved() {
            self.handle_moved(moved);
        }
        #[cfg(feature = "mdns")]
        self.handle_question(now);
        false
    }

    /// Sends to another hardware address from now on. A forged announcement has effect until the
    /// peer's next datagram. A peer behind a router keeps the router's address.
    #[inline(never)] // as for `maintain`
    fn handle_moved(&mut self, moved: Moved) {
        let Self {
            relay,
            routes,
            networks,
            ..
        } = self;
        if !networks.iter().any(|own| own.contains(moved.address)) {
            return;
        }
        for peer in relay
            .peers()
            .filter(|peer| peer.address.ip() == moved.address)
        {
            if let Some(route) = routes.get_mut(peer.seat.index()) {
                route.hardware = moved.hardware;
            }
        }
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
        if let Some((seat, address, payload)) = event.aside()
            && let Some(route) = self.routes.get(seat.index()).copied()
        {
            self.answer(now, &route, address, payload);
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

    #[inline(never)] // as for `maintain`
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

    /// Responds to a query for the node's name, and notices others that have it.
    #[cfg(feature = "mdns")]
    #[inline(never)] // as for `maintain`
    fn handle_question(&mut self, now: Instant) {
        let Some(datagram) = self.stack.question() else {
            return;
        };
        let (source, route) = (datagram.source, datagram.route);
        let networks = &self.networks;
        if !networks.iter().any(|network| network.contains(source.ip())) {
            return;
        }
        let answer = self
            .responder
            .handle(now, datagram.payload, source, networks);
        let Some(answer) = answer else {
            return;
        };
        let (mut route, mut to) = (route, source.ip());
        if !answer.is_unicast {
            (to, route.hardware) = mdns::group(to.is_ipv6());
        }
        let ports = (mdns::PORT, source.port());
        let is_sent = self.stack.send(now, &route, ports, to, &answer.payload);
        self.stats.names += u64::from(is_sent);
        self.stats.replies_lost += u64::from(!is_sent);
    }

    /// Probes or announces the node's name, if that is due. A message that the device does not take
    /// counts as sent, because others follow.
    #[cfg(feature = "probe")]
    fn claim_name(&mut self, now: Instant) {
        let Some(message) = self.responder.poll(now, &self.networks) else {
            return;
        };
        for is_v6 in [false, true] {
            let mut own = self.networks.iter().map(|network| network.address);
            let Some(local) = own.find(|own| own.is_ipv6() == is_v6) else {
                continue;
            };
            let (group, hardware) = mdns::group(is_v6);
            let route = Route {
                hardware,
                local,
                is_own: true,
            };
            let ports = (mdns::PORT, mdns::PORT);
            self.stack.send(now, &route, ports, group, &message);
        }
    }

    /// Sends what is due. Returns `false` if the device would block.
    fn send(&mut self, now: Instant) -> bool {
        let mut buffer = [0; DATAGRAM_MAX];
        while let Some(mut fanout) = self.relay.poll_fanout(now, &mut buffer) {
            let payload = fanout.payload();
            loop {
                if !self.stack.can_send(now) {
                    // deliveries that are not taken from the iterator stay due
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

    /// Sends a datagram, which is dropped if the device would block.
    fn answer(&mut self, now: Instant, route: &Route, to: SocketAddr, payload: &[u8]) {
        let ports = (self.port, to.port());
        let is_sent = self.stack.send(now, route, ports, to.ip(), payload);
        self.stats.replies_lost += u64::from(!is_sent);
    }

    #[inline(never)] // as for `maintain`
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
            Event::Left(departed)
            | Event::Removed {
                removed: departed, ..
            } => log_departed(departed),
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
                log!(info, "{=str} resumed at {}", name, source);
            }
            Event::Claimed { .. } => log!(debug, "{} wants a session of another address", source),
            Event::Challenged => log!(trace, "{} was sent a cookie", source),
            Event::Acknowledged { .. } => log!(trace, "{=str} acknowledged", name),
            Event::Helped => log!(trace, "{} was helped", source),
            Event::Keepalive { .. } => log!(trace, "{=str} sent a keepalive", name),
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

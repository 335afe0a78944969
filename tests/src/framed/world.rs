//! The world: a relay, framed clients, plain peers, a network between them, and time.

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use kilochat_core::{Config, Instant, Reader, Relay, Seat};

use crate::counts::Counts;
use crate::framed::admission::Admission;
use crate::framed::counts::Met;
use crate::framed::fanouts::InHand;
use crate::framed::gate::Gate;
use crate::framed::measure::Measure;
use crate::framed::member::{Member, place};
use crate::framed::network::{Datagram, Network, Quality};
use crate::framed::plain::Plain;
use crate::framed::posts::Posts;
use crate::framed::private::Party;
use crate::framed::room::Room;
use crate::framed::setup::{Driver, Setup};
use crate::framed::story::Story;
use crate::framed::wire::told;
use crate::{Verdict, check};

/// The address of the relay.
pub(crate) const RELAY: &str = "192.168.1.100:10888";

/// Number of network interfaces of the relay. Each host is reached by one of them.
pub(crate) const WAYS: usize = 3;

/// Number of events before a failure that are shown. The environment variable `EVENTS` overrides
/// it.
const LAST_EVENTS: usize = 80;

/// Maximum number of steps at one moment. Even the longest queue of datagrams needs far fewer.
const STEPS_MAX: u32 = 10_000;

/// A relay, and clients that hold at most `HELD` datagrams each.
pub(crate) struct World<
    const PEERS: usize,
    const RING: usize,
    const WINDOW: usize,
    const HELD: usize,
> {
    pub(crate) random: Rng,
    pub(crate) now: u64,
    pub(crate) relay: Box<Relay<PEERS, RING, WINDOW>>,
    pub(crate) config: Config,
    /// Milliseconds by which the relay's clock is ahead of the world's, and the latest time that it
    /// showed.
    pub(crate) relay_ahead: u64,
    relay_furthest: u64,
    pub(crate) address: SocketAddr,
    pub(crate) driver: Driver,
    pub(crate) network: Network,
    /// For each interface of the relay, the time until which it blocks.
    pub(crate) jammed_until: [u64; WAYS],
    /// The time until which the relay's process is suspended.
    pub(crate) suspended_until: Option<u64>,
    /// Whether replies of the relay are dropped, because they answer a forged datagram.
    pub(crate) is_muted: bool,
    /// Datagrams in the relay's socket.
    pub(crate) door: VecDeque<Datagram>,
    /// The time at which a stopping relay ends even if it is not settled.
    pub(crate) stops_at: Option<u64>,
    /// When the relay's driver has to run, apart from datagrams and time-outs.
    pub(crate) retry_at: Option<u64>,
    pub(crate) in_hand: Vec<InHand>,
    /// Peers whose interface blocked, and that were not reported as writable yet.
    pub(crate) blocked: Vec<Seat>,
    /// Seats from which the relay received a frame when it was resumed after a suspension.
    pub(crate) spoke: Vec<usize>,
    pub(crate) members: Vec<Member<HELD>>,
    pub(crate) plains: Vec<Plain>,
    pub(crate) places: usize,
    pub(crate) processes: usize,
    /// Strangers that may have seats, and the number of all strangers so far.
    pub(crate) crowd: Vec<SocketAddr>,
    pub(crate) strangers: u16,
    /// During recovery: all lines before this one were acknowledged long ago.
    pub(crate) settled: Option<u64>,
    // the oracle's records
    pub(crate) rooms: Vec<Room>,
    pub(crate) gate: Gate,
    pub(crate) admission: Admission,
    /// The name and the author number of each session.
    pub(crate) names: BTreeMap<u64, String>,
    pub(crate) authors: BTreeMap<u64, u32>,
    /// The author and the addressee of each text to one peer that was said.
    pub(crate) secrets: BTreeMap<usize, Vec<Party>>,
    /// Number of texts to one peer so far.
    pub(crate) whispers: usize,
    /// Reads the lines of the relay as what keeps them does.
    pub(crate) reader: Reader,
    pub(crate) stories: BTreeMap<usize, Story>,
    pub(crate) posts: Posts,
    pub(crate) counts: Counts<Met>,
    /// Measurements, in a simulation that measures.
    pub(crate) measure: Option<Measure>,
    pub(crate) trace: Option<VecDeque<String>>,
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>
    World<PEERS, RING, WINDOW, HELD>
{
    pub(crate) fn new(mut random: Rng, setup: &Setup, is_traced: bool) -> Self {
        let mut config = setup.config.clone();
        config.key = random.u128(..).to_be_bytes();
        let mut relay = Box::new(Relay::new());
        relay.configure(config.clone());
        let mut world = Self {
            now: 0,
            relay,
            config,
            relay_ahead: random.u64(..200_000),
            relay_furthest: 0,
            address: RELAY.parse().unwrap(),
            driver: setup.driver,
            network: Network::new(setup.quality),
            jammed_until: [0; WAYS],
            suspended_until: None,
            door: VecDeque::new(),
            stops_at: None,
            is_muted: false,
            retry_at: None,
            in_hand: Vec::new(),
            blocked: Vec::new(),
            spoke: Vec::new(),
            members: Vec::new(),
            plains: Vec::new(),
            places: 0,
            processes: 0,
            crowd: Vec::new(),
            strangers: 0,
            settled: None,
            rooms: vec![Room::new(RING)],
            names: BTreeMap::new(),
            authors: BTreeMap::new(),
            secrets: BTreeMap::new(),
            whispers: 0,
            reader: Reader::default(),
            gate: Gate::default(),
            admission: Admission::new(),
            stories: BTreeMap::new(),
            posts: Posts::default(),
            counts: Counts::new(),
            measure: None,
            trace: is_traced.then(VecDeque::new),
            random,
        };
        for number in 0..setup.plains {
            let address = world.new_place();
            world.plains.push(Plain::new(number, address));
        }
        for number in 0..setup.members {
            let base = world.new_place();
            let name = setup.names[number % setup.names.len()].to_owned();
            let member = world.process(name, base);
            world.members.push(member);
        }
        world
    }

    /// Creates a client.
    pub(crate) fn process(&mut self, name: String, base: SocketAddr) -> Member<HELD> {
        let process = self.processes;
        self.processes += 1;
        self.stories.insert(process, Story::new(process));
        let (seed, ahead) = (self.random.u64(..), self.random.u64(..100_000));
        Member::new(process, name, base, seed, ahead)
    }

    pub(crate) fn new_place(&mut self) -> SocketAddr {
        self.places += 1;
        place(self.places, self.config.open)
    }

    /// Returns the time on the relay's clock.
    pub(crate) fn relay_clock(&mut self) -> Instant {
        let clock = self.now + self.relay_ahead;
        self.relay_furthest = self.relay_furthest.max(clock);
        Instant::from_millis(clock)
    }

    /// Returns the record of the relay's present run.
    pub(crate) fn room(&mut self) -> &mut Room {
        self.rooms.last_mut().unwrap()
    }

    /// Simulates until this time.
    pub(crate) fn run_until(&mut self, end: u64) -> Verdict {
        let mut steps = 0;
        while let Some(next) = self.next_moment().filter(|next| *next <= end) {
            steps = if next > self.now { 0 } else { steps + 1 };
            check(steps < STEPS_MAX, || {
                "something is due for ever at one moment".into()
            })?;
            self.now = self.now.max(next);
            self.step()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn next_moment(&self) -> Option<u64> {
        let relay = self.relay.poll_timeout();
        let relay = relay.map(|then| then.as_millis().saturating_sub(self.relay_ahead));
        let members = self.members.iter();
        let members = members.filter_map(|member| member.wakes(self.now)).min();
        let network = self.network.next();
        // a suspended relay does nothing before it is resumed
        let own = [relay, self.retry_at, self.stops_at, self.suspended_until];
        let own = own.into_iter().flatten().min();
        let own = own.map(|then| then.max(self.suspended_until.unwrap_or_default()));
        [network, own, members].into_iter().flatten().min()
    }

    fn step(&mut self) -> Verdict {
        let mut is_relay_due = self.retry_at.is_some_and(|then| then <= self.now);
        while let Some(datagram) = self.network.receive(self.now) {
            if datagram.destination != self.address {
                self.arrives(datagram);
                continue;
            }
            is_relay_due = true;
            if self.door.len() < self.driver.door {
                self.door.push_back(datagram);
            }
        }
        let clock = self.relay_clock();
        if let Some(until) = self.suspended_until {
            if self.now >= until {
                self.relay_goes_on()?;
            }
        } else if is_relay_due || self.relay.poll_timeout().is_some_and(|then| then <= clock) {
            self.retry_at = None;
            self.relay_turn()?;
        }
        if self.suspended_until.is_none() {
            self.may_end_relay()?;
        }
        for number in 0..self.members.len() {
            let member = &self.members[number];
            let is_due = member.wakes(self.now).is_some_and(|then| then <= self.now);
            if is_due && !member.is_paused(self.now) {
                self.member_turn(number)?;
            }
        }
        Ok(())
    }

    /// Hands a datagram that arrived to the client that has its destination, if there is one.
    fn arrives(&mut self, datagram: Datagram) {
        let mut members = self.members.iter_mut();
        let found = members.find_map(|member| {
            let path = member.path(datagram.destination)?;
            Some((member, path))
        });
        if let Some((member, path)) = found {
            member.receives(path, datagram.payload);
        }
    }

    /// Puts a datagram into the network.
    pub(crate) fn send(&mut self, source: SocketAddr, destination: SocketAddr, payload: Vec<u8>) {
        let datagram = Datagram {
            source,
            destination,
            payload,
        };
        let fate = self.network.send(self.now, &mut self.random, datagram);
        for (is_so, met) in [
            (fate.lost, Met::Lost),
            (fate.doubled, Met::Doubled),
            (fate.very_late, Met::VeryLate),
            (fate.reordered, Met::Reordered),
            (fate.in_the_dark, Met::Dark),
        ] {
            if is_so {
                self.counts.saw(met);
            }
        }
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) {
        self.note(|_| "everything heals".to_owned());
        self.network.heal(self.now);
        self.jammed_until = [0; WAYS];
        self.suspended_until = self.suspended_until.map(|_| self.now);
        self.driver.jams = 0;
        self.driver.lost_welcomes = 0;
        self.driver.late = 0;
        self.retry_at = Some(self.now);
        let behind = self.relay_furthest.saturating_sub(self.now);
        self.relay_ahead = self.relay_ahead.max(behind);
        for member in &mut self.members {
            member.paused_until = 0;
            member.is_lazy = false;
            member.set_right(self.now);
        }
    }

    pub(crate) fn saw(&mut self, met: Met) {
        self.counts.saw(met);
    }

    /// Counts an event. If the simulation is repeated for a trace, also notes its description.
    pub(crate) fn note(&mut self, event: impl FnOnce(&Self) -> String) {
        self.counts.events += 1;
        if self.trace.is_none() {
            return;
        }
        let event = format!("{:>8} {}", self.now, event(self));
        if let Some(trace) = &mut self.trace {
            trace.push_back(event);
            let asked = std::env::var("EVENTS").ok();
            let most = asked.and_then(|events| events.parse().ok());
            if trace.len() > most.unwrap_or(LAST_EVENTS) {
                trace.pop_front();
            }
        }
    }

    /// Returns a short name for an address.
    pub(crate) fn who(&self, address: SocketAddr) -> String {
        let mut members = self.members.iter();
        if let Some(member) = members.find(|member| member.path(address).is_some()) {
            return format!("c{} {address}", member.process);
        }
        let mut plains = self.plains.iter();
        match plains.find(|plain| plain.address == address) {
            Some(plain) => format!("p{} {address}", plain.number),
            None => format!("nobody {address}"),
        }
    }

    pub(crate) fn note_datagram(&mut self, what: &str, address: SocketAddr, payload: &[u8]) {
        self.note(|world| format!("{what} {}: {}", world.who(address), told(payload)));
    }

    /// Returns the present quality of the network.
    pub(crate) const fn quality(&self) -> Quality {
        self.network.quality
    }
}

//! The simulated world of a relay: a virtual clock, clients, a faulty network, and a driver.

mod driver;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use kilochat_core::{Delivery, Instant, Relay, Seat, Unreachable};

use crate::inputs::{self, chance, pick};
use crate::oracle::{Offer, Oracle};
use crate::{Counts, Seen, Verdict, Violation, check};

/// Number of steps of a simulation. Each is at least one event.
const STEPS: usize = 220;

/// Maximum number of datagrams in the relay's socket. Later ones are lost.
const WAITING_MAX: usize = 64;

/// Number of events before a failure that are shown.
const LAST_EVENTS: usize = 30;

/// The failure of a simulation.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed of the simulation.
    pub seed: u64,
    /// The violation that the oracle found.
    pub violation: Violation,
    /// The last events before the violation.
    pub events: VecDeque<String>,
    /// The test that can repeat the simulation.
    pub test: &'static str,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for event in &self.events {
            writeln!(formatter, "    {event}")?;
        }
        let Self {
            seed,
            violation,
            test,
            ..
        } = self;
        writeln!(formatter, "seed {seed}: {violation}")?;
        write!(
            formatter,
            "again: SEED={seed} cargo test -p kilochat-tests --test {test}"
        )
    }
}

/// Returns the coverage of the simulation of a seed by a test, or its failure after these events.
///
/// # Errors
///
/// If the verdict is a violation.
pub(crate) fn judged<T>(
    verdict: Verdict,
    counts: Counts<T>,
    (seed, test): (u64, &'static str),
    events: Option<VecDeque<String>>,
) -> Result<Counts<T>, Box<Failure>> {
    match verdict {
        Ok(()) => Ok(counts),
        Err(violation) => Err(Box::new(Failure {
            seed,
            violation,
            events: events.unwrap_or_default(),
            test,
        })),
    }
}

/// Runs one simulation and returns its coverage.
///
/// # Errors
///
/// If the oracle finds a violation.
pub fn simulate(seed: u64) -> Result<Counts, Box<Failure>> {
    run(seed, false).or_else(|_| run(seed, true))
}

fn run(seed: u64, is_traced: bool) -> Result<Counts, Box<Failure>> {
    let random = Rng::with_seed(seed);
    match seed % 8 {
        0..3 => World::<5, 2048>::new(random, is_traced).run(seed),
        3..5 => World::<8, 4096>::new(random, is_traced).run(seed),
        5..7 => World::<16, 8192>::new(random, is_traced).run(seed),
        _ => World::<40, 16384>::new(random, is_traced).run(seed),
    }
}

/// The parameters of a driver.
#[derive(Clone, Copy, Debug)]
struct Driver {
    /// Number of datagrams that it reads before it sends.
    reads: usize,
    /// Number of deliveries that it collects before it gives them to the network.
    batch: usize,
    /// Whether it may hold deliveries back while it reads more datagrams.
    is_late: bool,
    /// Whether it continues with other destinations after one that would block, and returns that
    /// delivery at the end.
    is_patient: bool,
    /// Probability, in percent, that it stops reading while `can_receive` is false.
    obeys: u32,
}

/// The parameters of a network. Probabilities are in percent.
#[derive(Clone, Copy, Debug)]
struct Network {
    lost: u32,
    doubled: u32,
    delay: u64,
    /// Probabilities that the whole network starts to block, and that it stops.
    blocks: u32,
    clears: u32,
    clock_goes_back: bool,
}

/// The fate of datagrams to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// They are lost, and no error is reported.
    Vanishes,
    /// They are lost, and the network reports an error after a while.
    Fails(Unreachable),
    /// Sending to this destination would block.
    Blocks,
}

#[derive(Clone, Debug)]
struct Client {
    address: SocketAddr,
    name: Vec<u8>,
    fate: Fate,
}

struct Arrival {
    at: u64,
    source: SocketAddr,
    payload: Vec<u8>,
}

struct Report {
    at: u64,
    about: SocketAddr,
    why: Unreachable,
}

struct World<const PEERS: usize, const RING: usize> {
    random: Rng,
    relay: Box<Relay<PEERS, RING, 4>>,
    oracle: Oracle,
    /// The coverage before the relay was restarted.
    counts: Counts,
    now: u64,
    /// Percentage of datagrams that are long texts.
    flood: u32,
    driver: Driver,
    network: Network,
    is_blocked: bool,
    clients: Vec<Client>,
    /// By source: the last code that it was sent.
    codes: BTreeMap<SocketAddr, u32>,
    arrivals: Vec<Arrival>,
    reports: Vec<Report>,
    in_hand: Vec<(Delivery, Offer)>,
    /// Peers that were not reported as writable yet.
    blocked: Vec<Seat>,
    trace: Option<VecDeque<String>>,
}

impl<const PEERS: usize, const RING: usize> World<PEERS, RING> {
    fn new(mut random: Rng, is_traced: bool) -> Self {
        let config = inputs::config(&mut random, PEERS);
        let mut relay = Box::new(Relay::new());
        relay.configure(config.clone());
        let clients = PEERS.min(usize::from(config.seats)) + random.usize(1..4);
        let driver = Driver {
            reads: pick(&mut random, &[1, 2, 8]),
            batch: pick(&mut random, &[1, 3, 20, usize::MAX]),
            is_late: chance(&mut random, 30),
            is_patient: chance(&mut random, 30),
            obeys: pick(&mut random, &[0, 50, 100]),
        };
        let network = Network {
            lost: pick(&mut random, &[0, 5, 20]),
            doubled: pick(&mut random, &[0, 5]),
            delay: pick(&mut random, &[0, 50]),
            blocks: pick(&mut random, &[0, 3, 10]),
            clears: pick(&mut random, &[3, 10, 30]),
            clock_goes_back: chance(&mut random, 15),
        };
        Self {
            relay,
            oracle: Oracle::new(config, PEERS, RING),
            counts: Counts::new(),
            now: random.u64(0..100_000),
            flood: pick(&mut random, &[0, 0, 50, 90]),
            driver,
            network,
            is_blocked: false,
            clients: inputs::names(&mut random, clients)
                .into_iter()
                .enumerate()
                .map(|(number, name)| Client {
                    address: inputs::address(&mut random, number),
                    name,
                    fate: Fate::Arrives,
                })
                .collect(),
            codes: BTreeMap::new(),
            arrivals: Vec::new(),
            reports: Vec::new(),
            in_hand: Vec::new(),
            blocked: Vec::new(),
            trace: is_traced.then(VecDeque::new),
            random,
        }
    }

    fn run(mut self, seed: u64) -> Result<Counts, Box<Failure>> {
        let verdict = self.live();
        self.counts.add(&self.oracle.counts);
        judged(verdict, self.counts, (seed, "simulation"), self.trace)
    }

    fn live(&mut self) -> Verdict {
        self.note(|world| format!("{:?} {:?}", world.driver, world.network));
        let all = self.clients.len();
        for number in 0..pick(&mut self.random, &[5, all]) {
            let Client { address, name, .. } = self.clients[number].clone();
            self.send(address, name);
            self.turn()?;
        }
        for _ in 0..STEPS {
            self.change()?;
            self.turn()?;
        }
        self.heal()
    }

    /// Ends all faults and checks that all peers catch up.
    fn heal(&mut self) -> Verdict {
        self.note(|_| "the network heals".to_owned());
        self.is_blocked = false;
        for client in &mut self.clients {
            client.fate = Fate::Arrives;
        }
        self.driver.is_late = false;
        self.driver.obeys = 100;
        let mut turns = self.arrivals.len() + 2;
        while turns > 0 {
            self.turn()?;
            turns -= 1;
        }
        check(self.arrivals.is_empty(), || {
            format!("{} datagrams are never read", self.arrivals.len())
        })?;
        self.oracle.nothing_due()?;
        self.oracle.transcripts()?;
        self.oracle.accounts(self.relay.stats(), self.relay.peers())
    }

    /// Runs one random act of the world.
    fn change(&mut self) -> Verdict {
        match self.random.u32(0..200) {
            0..4 => self.strike(),
            4..8 => {
                let client = self.random.usize(..self.clients.len());
                self.clients[client].fate = Fate::Arrives;
            }
            8..12 => self.restart_client(),
            12..16 => self.pass_time(),
            16 => self.restart_relay(40)?,
            100..110 if self.oracle.is_stopping => self.restart_relay(100)?,
            17 if chance(&mut self.random, 30) => {
                self.note(|_| "stop".to_owned());
                self.relay.stop(Instant::from_millis(self.now));
                self.oracle.stopped();
                self.saw(Seen::Stopped);
            }
            18..22 => self.report_somebody(),
            22..26 => {
                let source = inputs::strange_source(&mut self.random);
                let payload = inputs::anything(&mut self.random);
                self.send(source, payload);
            }
            26..30 => self.expect_nothing_from_timeout()?,
            30..34 => self.client_returns(),
            _ => self.client_sends(),
        }
        if chance(&mut self.random, self.network.clears) {
            let clients = self.clients.iter_mut();
            let blocked = clients.filter(|client| client.fate == Fate::Blocks);
            blocked.for_each(|client| client.fate = Fate::Arrives);
        }
        if self.is_blocked {
            self.is_blocked = !chance(&mut self.random, self.network.clears);
        } else if chance(&mut self.random, self.network.blocks) {
            self.note(|_| "everything blocks".to_owned());
            self.is_blocked = true;
            self.saw(Seen::NetworkBlocked);
        }
        Ok(())
    }

    fn client_sends(&mut self) {
        let number = self.random.usize(..self.clients.len());
        let Client { address, name, .. } = self.clients[number].clone();
        let is_peer = self.relay.find(&address).is_some();
        let is_naming = !is_peer && chance(&mut self.random, 70);
        let is_long = is_peer && chance(&mut self.random, self.flood);
        let code = self.codes.get(&address).copied();
        let payload = if let Some(code) = code.filter(|_| is_naming) {
            inputs::with_code(&mut self.random, code, &name)
        } else if is_naming {
            name
        } else if is_long {
            inputs::long_text(&mut self.random)
        } else {
            inputs::anything(&mut self.random)
        };
        self.send(address, payload);
    }

    /// A client returns lines of the room, as an echo service does, or another relay.
    fn client_returns(&mut self) {
        let number = self.random.usize(..self.clients.len());
        let address = self.clients[number].address;
        let before = pick(&mut self.random, &["", "", "Eve : "]);
        for _ in 0..self.random.usize(1..4) {
            let lines = self
                .oracle
                .log
                .recent(pick(&mut self.random, &[1, 1, 3, 20]));
            if let Some(line) = lines.first() {
                let payload = format!("{before}{}", line.text).into_bytes();
                self.send(address, payload);
            }
        }
    }

    /// Changes the fate of datagrams to one client.
    fn strike(&mut self) {
        let number = self.random.usize(..self.clients.len());
        let fates = [
            Fate::Vanishes,
            Fate::Blocks,
            Fate::Fails(Unreachable::Port),
            Fate::Fails(Unreachable::Port),
            Fate::Fails(Unreachable::Path),
        ];
        let fate = pick(&mut self.random, &fates);
        self.clients[number].fate = fate;
        self.note(|world| format!("{} now {fate:?}", world.clients[number].address));
        self.saw(if fate == Fate::Blocks {
            Seen::OneBlocked
        } else {
            Seen::Vanished
        });
    }

    /// Restarts a client: it has another port and the same name.
    fn restart_client(&mut self) {
        let number = self.random.usize(..self.clients.len());
        let (old, address) = {
            let client = &mut self.clients[number];
            let old = client.address;
            let port = if old.port() < 60_000 {
                old.port() + 50
            } else {
                1000
            };
            client.address.set_port(port);
            (old, client.address)
        };
        let known = self.oracle.peers().find(|(_, at, _)| *at == old);
        let name = match known {
            Some((_, _, name)) => name.as_bytes().to_vec(),
            None => self.clients[number].name.clone(),
        };
        if chance(&mut self.random, 60) {
            let why = pick(&mut self.random, &[Unreachable::Port, Unreachable::Path]);
            self.reports.push(Report {
                at: self.now,
                about: old,
                why,
            });
            self.clients[number].fate = Fate::Arrives;
        }
        self.send(address, name);
    }

    fn pass_time(&mut self) {
        let idle = self.oracle.config.idle;
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        if self.network.clock_goes_back && chance(&mut self.random, 50) {
            self.now = self.now.saturating_sub(self.random.u64(..20_000));
            self.saw(Seen::TimeWentBack);
        } else {
            let hours = Duration::from_secs(3600 * self.random.u64(1..100)).as_millis();
            let hours = u64::try_from(hours).unwrap_or(u64::MAX);
            let step = match self.random.u32(0..10) {
                0..4 => self.random.u64(9_990..10_010),
                4..7 => idle / 2,
                7..9 => idle + self.random.u64(..2),
                _ => {
                    self.saw(Seen::HoursPassed);
                    hours
                }
            };
            self.now += step;
        }
        self.note(|_| "time passed".to_owned());
    }

    fn restart_relay(&mut self, percent: u32) -> Verdict {
        if !chance(&mut self.random, percent) {
            return Ok(());
        }
        self.note(|_| "the relay restarts".to_owned());
        self.oracle
            .accounts(self.relay.stats(), self.relay.peers())?;
        let config = self.oracle.config.clone();
        *self.relay = Relay::new();
        self.relay.configure(config.clone());
        self.in_hand.clear();
        self.blocked.clear();
        let oracle = core::mem::replace(&mut self.oracle, Oracle::new(config, PEERS, RING));
        self.counts.add(&oracle.counts);
        // the relay's key stays the same, and so do the codes
        self.oracle.admission.codes = oracle.admission.codes;
        self.saw(Seen::RelayRestarted);
        Ok(())
    }

    /// Reports a peer as unreachable without a cause, as a forged or late ICMP error does.
    fn report_somebody(&mut self) {
        let number = self.random.usize(..self.clients.len());
        let about = self.clients[number].address;
        let why = pick(&mut self.random, &[Unreachable::Port, Unreachable::Path]);
        for _ in 0..self.random.usize(1..4) {
            let at = self.now + pick(&mut self.random, &[0, 5_000, 10_000, 20_000, 30_000]);
            self.reports.push(Report { at, about, why });
        }
    }

    /// Puts a datagram to the relay into the network.
    fn send(&mut self, source: SocketAddr, payload: Vec<u8>) {
        if chance(&mut self.random, self.network.lost) {
            self.saw(Seen::Lost);
            return;
        }
        let copies = 1 + usize::from(chance(&mut self.random, self.network.doubled));
        for copy in 0..copies {
            if copy > 0 {
                self.saw(Seen::Doubled);
            }
            if self.arrivals.len() == WAITING_MAX {
                self.saw(Seen::Lost);
                return;
            }
            let at = self.now + self.random.u64(..=self.network.delay);
            if self.arrivals.iter().any(|other| other.at > at) {
                self.saw(Seen::Reordered);
            }
            let payload = payload.clone();
            self.arrivals.push(Arrival {
                at,
                source,
                payload,
            });
        }
    }

    fn saw(&mut self, what: Seen) {
        self.counts.saw(what);
    }

    /// Counts an event. If the simulation is repeated for a trace, also notes its description.
    fn note(&mut self, event: impl FnOnce(&Self) -> String) {
        self.counts.events += 1;
        if self.trace.is_some() {
            let event = format!("{:>9} {}", self.now, event(self));
            if let Some(trace) = &mut self.trace {
                keep(trace, event);
            }
        }
    }
}

fn keep(trace: &mut VecDeque<String>, event: String) {
    trace.push_back(event);
    if trace.len() > LAST_EVENTS {
        trace.pop_front();
    }
}

/// Returns bytes as text, with long texts shortened in the middle.
fn shown(payload: &[u8]) -> String {
    let start = &payload[..payload.len().min(120)];
    let rest = match payload.len() - start.len() {
        0 => String::new(),
        more => format!(" and {more} bytes"),
    };
    format!("\"{}\"{rest}", start.escape_ascii())
}

//! The loop with a virtual clock, on simulated networks on which each destination blocks
//! separately.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use kilochat_core::{Client, ClientEvent, Config, Path, State};

use super::*;
use crate::relay::pauses::Pauses;

const PEERS: usize = 16;
type SimRelay = Relay<PEERS, 2048, 4>;

/// How sending to a destination behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Free,
    /// It would block until this time.
    BlocksUntil(u64),
    /// It has a short queue, from which a datagram is sent each time this number of milliseconds
    /// passes. It would block while the queue is full.
    Slow(u64),
}

/// A network that records the datagrams that it accepts, and when.
#[derive(Default)]
struct SimNetwork {
    arrived: VecDeque<(SocketAddr, Vec<u8>)>,
    batch: usize,
    /// Datagrams that are hidden until the sockets are checked again.
    is_hidden: bool,
    ways: BTreeMap<SocketAddr, Way>,
    /// For each slow destination, when the last datagram in its queue is sent.
    left_at: BTreeMap<SocketAddr, u64>,
    sent: Vec<(u64, SocketAddr, Vec<u8>)>,
    reports: Vec<(SocketAddr, Unreachable)>,
    pauses: Pauses,
    refused: usize,
}

impl SimNetwork {
    /// Offers a datagram to the network. Returns whether it was accepted.
    fn give(&mut self, now: Instant, to: SocketAddr, payload: &[u8]) -> bool {
        const ROOM: u64 = 3;
        let now = now.as_millis();
        match self.ways.get(&to).copied().unwrap_or_default() {
            Way::Free => {}
            Way::BlocksUntil(until) if now >= until => {}
            Way::BlocksUntil(_) => return false,
            Way::Slow(each) => {
                let left_at = self.left_at.entry(to).or_default();
                if *left_at > now + ROOM * each {
                    return false;
                }
                *left_at = now.max(*left_at) + each;
            }
        }
        self.sent.push((now, to, payload.to_vec()));
        true
    }

    /// Returns the lines that were sent to a destination, with their times.
    fn lines(&self, to: SocketAddr) -> Vec<(u64, String)> {
        let mine = self.sent.iter().filter(|(_, other, _)| *other == to);
        mine.flat_map(|(at, _, payload)| {
            let text = String::from_utf8(payload.clone()).unwrap();
            let lines: Vec<_> = text.lines().map(|line| (*at, line.to_owned())).collect();
            lines
        })
        .collect()
    }
}

impl Network for SimNetwork {
    type Path = ();

    fn begin_batch(&mut self) {
        self.batch = 4;
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<Arrival<()>> {
        if self.batch == 0 || self.is_hidden {
            return None;
        }
        self.batch -= 1;
        let (source, payload) = self.arrived.pop_front()?;
        buffer[..payload.len()].copy_from_slice(&payload);
        Some(Arrival {
            length: payload.len(),
            source,
            path: (),
        })
    }

    fn is_readable(&self) -> bool {
        !self.arrived.is_empty() && !self.is_hidden
    }

    fn look_again(&mut self) {
        self.is_hidden = false;
    }

    fn handle_heard(&mut self, now: Instant, seat: Seat, (): (), is_new: bool) {
        if is_new {
            self.pauses.handle_joined(now, seat);
        } else {
            self.pauses.handle_heard(seat);
        }
    }

    fn answer(&mut self, now: Instant, payload: &[u8], to: SocketAddr, _: ((), Option<Seat>)) {
        self.give(now, to, payload);
    }

    fn ask(&mut self, now: Instant, payload: &[u8], to: SocketAddr, _: Seat) {
        self.give(now, to, payload);
    }

    fn say_farewell(&mut self, now: Instant, payload: &[u8], to: SocketAddr, _: Seat) {
        self.give(now, to, payload);
    }

    fn segments(&self) -> usize {
        1
    }

    fn deliver(
        &mut self,
        now: Instant,
        payload: &[u8],
        deliveries: &[Delivery],
        outcome: &mut Outcome,
    ) {
        for delivery in deliveries {
            if self.give(now, delivery.address, payload) {
                if self.pauses.handle_sent(now, delivery.seat) {
                    outcome.paced.push(delivery.seat);
                }
            } else {
                self.refused += 1;
                self.pauses.handle_blocked(now, delivery.seat, true);
                outcome.refused.push(*delivery);
            }
        }
    }

    fn poll_report(&mut self) -> Option<(SocketAddr, Unreachable)> {
        self.reports.pop()
    }

    fn demote(&mut self, now: Instant, seat: Seat) {
        self.pauses.demote(now, seat);
    }

    fn poll_writable(&mut self, now: Instant) -> Option<Seat> {
        self.pauses.poll_writable(now)
    }

    fn next_writable(&self) -> Option<Instant> {
        self.pauses.next_writable()
    }
}

/// Records the peers that leave.
#[derive(Default)]
struct SimLog {
    departed: Vec<Departed>,
    parked: usize,
}

impl Log<PEERS, 2048, 4> for SimLog {
    fn event(&mut self, _: Instant, _: SocketAddr, _: Event, _: &SimRelay) {}

    fn expired(&mut self, expired: Expired, _: &SimRelay) {
        match expired {
            Expired::Left(departed) => self.departed.push(departed),
            Expired::Parked(_) => self.parked += 1,
        }
    }

    fn departed(&mut self, departed: Departed) {
        self.departed.push(departed);
    }
}

struct World {
    now: u64,
    relay: Box<SimRelay>,
    turn: Turn,
    network: SimNetwork,
    log: SimLog,
    wake: Option<Instant>,
}

fn address(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 1000).into()
}

impl World {
    fn new() -> Self {
        let mut relay = Box::new(Relay::new());
        let mut config = Config::new([7; 16]);
        config.announce_up_to = 0;
        config.history = 0;
        config.rate = 0;
        relay.configure(config);
        Self {
            now: 1000,
            relay,
            turn: Turn::new(PEERS),
            network: SimNetwork {
                pauses: Pauses::new(PEERS),
                ..SimNetwork::default()
            },
            log: SimLog::default(),
            wake: None,
        }
    }

    fn say(&mut self, number: u8, payload: impl AsRef<[u8]>) {
        let arrival = (address(number), payload.as_ref().to_vec());
        self.network.arrived.push_back(arrival);
    }

    /// Runs turns until the loop would sleep, and checks that there is nothing left to do.
    fn settle(&mut self) {
        let now = Instant::from_millis(self.now);
        for turns in 0.. {
            assert!(turns < 10_000, "the loop never sleeps");
            self.wake = self
                .turn
                .run(now, &mut self.relay, &mut self.network, &mut self.log);
            if self.wake != Some(now) {
                break;
            }
        }
        assert!(
            self.wake.is_none_or(|wake| wake > now),
            "it sleeps until a moment that is over"
        );
        let mut buffer = [0; DATAGRAM_MAX];
        assert!(
            self.relay.poll_fanout(now, &mut buffer).is_none(),
            "it sleeps on what is due"
        );
        assert!(!self.network.is_readable(), "it sleeps on what arrived");
        if self.relay.peers().any(|peer| peer.blocked) {
            assert!(
                self.network.next_writable().is_some(),
                "no time is set to try a blocked peer again"
            );
        }
    }

    /// Lets time pass, and runs a turn each time that the loop requested one.
    fn sleep(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(wake) = self.wake.map(Instant::as_millis)
            && wake <= end
        {
            self.now = self.now.max(wake);
            self.settle();
        }
        self.now = end;
    }
}

/// Runs `test` for some seeds, or for as many as SEEDS says. The message of a failure contains the
/// seed.
fn for_seeds(test: impl Fn(&mut Rng) + core::panic::RefUnwindSafe) {
    let seeds = std::env::var("SEEDS").map_or(300, |seeds| seeds.parse().expect("a number"));
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| test(&mut Rng::with_seed(seed)));
        assert!(run.is_ok(), "seed {seed}");
    }
}

/// A peer whose destination never blocks receives each line at the time at which it was said, once
/// and in order, whatever other destinations do.
#[test]
fn a_peer_whose_way_is_free_is_never_late() {
    for_seeds(|random| {
        let mut world = World::new();
        for number in 1..=8 {
            world.say(number, format!("n{number}"));
            world.settle();
        }
        let mut said = Vec::new();
        for number in 0..random.usize(20..200) {
            for other in 3..=8 {
                if random.u32(..20) == 0 {
                    let way = match random.u32(..4) {
                        0 => Way::Free,
                        1 | 2 => Way::BlocksUntil(world.now + random.u64(..5000)),
                        _ => Way::Slow(random.u64(1..500)),
                    };
                    world.network.ways.insert(address(other), way);
                }
                if random.u32(..40) == 0 {
                    world
                        .network
                        .reports
                        .push((address(other), Unreachable::Path));
                }
            }
            let length = random.usize(1..600);
            let text = format!("{number} {}", "x".repeat(length));
            world.say(1, &text);
            said.push((world.now, format!("n1 : {text}")));
            world.settle();
            world.sleep(random.u64(..200));
        }
        let mut heard = world.network.lines(address(2));
        heard.retain(|(_, line)| !line.starts_with("* "));
        assert_eq!(heard, said);
        // after a minute in which no destination blocked, the others have each line or a gap
        for number in 3..=8 {
            world.network.ways.insert(address(number), Way::Free);
        }
        world.sleep(60_000);
        for number in 3..=8 {
            let lines = world.network.lines(address(number));
            let lost: usize = lines
                .iter()
                .filter_map(|(_, line)| line.strip_prefix("* "))
                .filter_map(|line| line.split_once(' '))
                .filter(|(_, rest)| rest.starts_with("line"))
                .map(|(count, _)| count.parse::<usize>().unwrap())
                .sum();
            let read: Vec<_> = lines
                .into_iter()
                .map(|(_, line)| line)
                .filter(|line| !line.starts_with("* "))
                .collect();
            assert_eq!(read.len() + lost, said.len(), "peer {number}");
            let mut rest = said.iter().map(|(_, line)| line);
            assert!(read.iter().all(|line| rest.any(|said| said == line)));
        }
    });
}

#[test]
fn a_blocked_destination_is_tried_seldom() {
    let mut world = World::new();
    for number in 1..=3 {
        world.say(number, format!("n{number}"));
        world.settle();
    }
    let until = world.now + 60_000;
    world
        .network
        .ways
        .insert(address(2), Way::BlocksUntil(until));
    for _ in 0..600 {
        world.say(1, "text");
        world.settle();
        world.sleep(100);
    }
    // about two each second, and those until the pauses are that long
    assert!(world.network.refused < 150, "{}", world.network.refused);
    world.sleep(1000);
    assert!(world.network.lines(address(2)).len() > 10);
}

// [L4]
#[test]
fn a_peer_that_is_reported_gets_little_until_it_is_heard() {
    let mut world = World::new();
    for number in 1..=3 {
        world.say(number, format!("n{number}"));
        world.settle();
    }
    let mut datagrams = 0;
    for second in 0..120 {
        world.say(1, format!("{second}"));
        world.settle();
        let sent = world.network.sent.iter();
        let now = sent.filter(|(_, to, _)| *to == address(2)).count();
        if now > datagrams {
            world.network.reports.push((address(2), Unreachable::Path));
            datagrams = now;
        }
        world.sleep(1000);
    }
    assert!((3..15).contains(&datagrams), "{datagrams}");
    // the lines that it has not received are still in the ring, and are sent as soon as a datagram
    // arrives from the peer
    world.say(2, "I am back");
    world.settle();
    let lines = world.network.lines(address(2));
    assert_eq!(lines.last().unwrap().1, "n1 : 119");
}

#[test]
fn a_relay_that_was_suspended_reads_before_it_judges_who_was_silent() {
    let mut world = World::new();
    for number in 1..=2 {
        world.say(number, format!("n{number}"));
        world.settle();
    }
    // a report about its port makes it a suspect, which leaves after a time
    world.network.reports.push((address(2), Unreachable::Port));
    world.settle();
    for _ in 0..100 {
        world.say(2, "I am here");
    }
    world.network.is_hidden = true;
    world.now += 3_600_000;
    world.settle();
    assert!(world.log.departed.is_empty());
    assert_eq!(world.relay.peer_count(), 2);
    assert_eq!(world.network.lines(address(1)).len(), 101); // and the welcome
}

/// A framed client, and a network that loses the last line once.
#[test]
fn a_lost_last_line_comes_again_without_any_other_datagram() {
    let mut world = World::new();
    let mut client = Client::<8, 2048>::new("ada", 1, 1);
    let mut buffer = [0; DATAGRAM_MAX];
    let mut events = Vec::new();
    let mut lost = 0;
    world.say(1, "bob");
    world.settle();
    let mut said_at = None;
    let start = world.now;
    while world.now < start + 3000 {
        let now = Instant::from_millis(world.now);
        client.handle_timeout(now);
        while let Some(transmit) = client.poll_transmit(now, &mut buffer) {
            world.say(2, &buffer[..transmit.length]);
        }
        world.settle();
        for (_, to, payload) in core::mem::take(&mut world.network.sent) {
            if to == address(2) && said_at.is_some() && lost == 0 {
                lost += 1;
            } else if to == address(2) {
                client.handle_datagram(now, Path(0), &payload);
            }
        }
        while let Some(event) = client.poll_event() {
            if let ClientEvent::Line { .. } = event {
                events.push(world.now);
            }
        }
        if client.state() == State::Joined && said_at.is_none() {
            said_at = Some(world.now);
            world.say(1, "the last line");
            world.settle();
            continue;
        }
        // the client sends nothing before its keepalive, after 15 s
        world.sleep(10);
    }
    let said_at = said_at.expect("it joined");
    assert_eq!(lost, 1);
    let [shown] = events[..] else {
        panic!("shown at {events:?}")
    };
    assert!(
        (300..=1100).contains(&(shown - said_at)),
        "{}",
        shown - said_at
    );
}

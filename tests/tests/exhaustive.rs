//! Every order of events between a small relay, a framed client and a plain peer, up to a number of
//! states: `STATES=5000000` visits more of them than a plain `cargo test`.
//!
//! The ring holds two long lines, and two datagrams may be in flight. The network may deliver,
//! drop, duplicate and reorder each of them, or block at a fan-out. States are distinguished by all
//! fields of relay, client and network, except for counters.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use core::fmt::{self, Write};
use core::hash::{Hash, Hasher};
use core::net::SocketAddr;
use std::collections::HashSet;
use std::hash::DefaultHasher;
use std::sync::Mutex;

use kilochat_core::framed::{Frame, Outcome};
use kilochat_core::{
    Client, ClientEvent, Config, DATAGRAM_MAX, Delivery, Event, Instant, LineKind, Path, Relay,
    Reply,
};

/// Number of states that a plain `cargo test` visits.
const STATES: usize = 30_000;

/// Maximum number of datagrams in flight in each direction. Further ones are lost.
const UNDERWAY: usize = 3;

/// Maximum number of lines that each of the two says.
const SAID: usize = 3;

const RING: usize = 2048;

/// The steps that may lead from one state to others.
const STEPS: [Step; 14] = [
    Step::SayShort,
    Step::SayLong,
    Step::Post,
    Step::Wait,
    Step::Send,
    Step::Refuse,
    Step::Up(0, Fate::Arrives),
    Step::Up(0, Fate::IsLost),
    Step::Up(0, Fate::IsDoubled),
    Step::Up(1, Fate::Arrives),
    Step::Down(0, Fate::Arrives),
    Step::Down(0, Fate::IsLost),
    Step::Down(0, Fate::IsDoubled),
    Step::Down(1, Fate::Arrives),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    SayShort,
    SayLong,
    Post,
    /// Time passes until something is due.
    Wait,
    /// The next fan-out, which the network accepts, or (`Refuse`) does not.
    Send,
    Refuse,
    /// A datagram in flight from the client, or (`Down`) from the relay, by its index.
    Up(usize, Fate),
    Down(usize, Fate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    IsLost,
    IsDoubled,
}

#[derive(Clone)]
struct World {
    relay: Box<Relay<2, RING, 2>>,
    client: Box<Client<2, 256>>,
    now: Instant,
    up: Vec<Vec<u8>>,
    down: Vec<Vec<u8>>,
    /// All lines that were said, by sequence number.
    log: Vec<String>,
    /// The sequence number of the next line that the client shows.
    next: usize,
    said: usize,
    posted: usize,
    /// Number of the client's lines that the plain peer was sent.
    heard: usize,
}

fn plain() -> SocketAddr {
    ([10, 0, 0, 1], 1).into()
}

fn framed() -> SocketAddr {
    ([10, 0, 0, 2], 2).into()
}

impl World {
    /// Creates the first state, in which both have joined.
    fn new() -> Self {
        let mut relay = Box::new(Relay::new());
        relay.configure(Config {
            history: 0,
            announce_up_to: 0,
            ..Config::new([0; 16])
        });
        let mut world = Self {
            relay,
            client: Box::new(Client::new("c", 7, 1)),
            now: Instant::from_millis(1000),
            up: Vec::new(),
            down: Vec::new(),
            log: Vec::new(),
            next: 0,
            said: 0,
            posted: 0,
            heard: 0,
        };
        world.hear(plain(), b"p");
        world.settle();
        for _ in 0..2 {
            world.step(Step::Up(0, Fate::Arrives));
            world.step(Step::Down(0, Fate::Arrives));
        }
        assert!(world.relay.peer_count() == 2 && world.up.is_empty() && world.down.is_empty());
        world
    }

    /// Takes a step. Returns whether it is possible in this state.
    fn step(&mut self, step: Step) -> bool {
        let is_done = match step {
            Step::SayShort => self.say("s"),
            Step::SayLong => self.say(&"l".repeat(900)),
            Step::Post => self.post(),
            Step::Wait => self.wait(),
            Step::Send => self.send(true),
            Step::Refuse => self.send(false),
            Step::Up(index, fate) => self.up(index, fate),
            Step::Down(index, fate) => self.down(index, fate),
        };
        if is_done {
            self.settle();
        }
        is_done
    }

    fn say(&mut self, text: &str) -> bool {
        if self.said == SAID || !self.relay.can_receive() {
            return false;
        }
        let text = format!("{}{text}", self.said);
        self.said += 1;
        self.log.push(format!("p : {text}"));
        self.hear(plain(), text.as_bytes());
        true
    }

    fn post(&mut self) -> bool {
        if self.posted == SAID {
            return false;
        }
        self.client.post(&self.posted.to_string()).unwrap();
        self.posted += 1;
        true
    }

    fn wait(&mut self) -> bool {
        let due = self.relay.poll_timeout().into_iter();
        let Some(due) = due.chain(self.client.poll_timeout()).min() else {
            return false;
        };
        self.now = self.now.max(due);
        while self.relay.handle_timeout(self.now).is_some() {}
        self.client.handle_timeout(self.now);
        true
    }

    fn send(&mut self, is_taken: bool) -> bool {
        let mut buffer = [0; DATAGRAM_MAX];
        let Some(fanout) = self.relay.poll_fanout(self.now, &mut buffer) else {
            assert!(self.relay.can_receive(), "nothing to send, and no room");
            return false;
        };
        let payload = fanout.payload().to_vec();
        let deliveries: Vec<Delivery> = fanout.collect();
        for delivery in deliveries.into_iter().rev() {
            if !is_taken {
                let seat = delivery.seat;
                self.relay.handle_refused(delivery);
                self.relay.handle_writable(seat);
            } else if delivery.address == plain() {
                self.read_plain(&payload);
            } else {
                assert_eq!(delivery.address, framed());
                add(&mut self.down, payload.clone());
            }
        }
        true
    }

    fn up(&mut self, index: usize, fate: Fate) -> bool {
        if fate != Fate::IsLost && !self.relay.can_receive() {
            return false;
        }
        let Some(payload) = take(&mut self.up, index, fate) else {
            return false;
        };
        if fate != Fate::IsLost {
            self.hear(framed(), &payload);
        }
        true
    }

    fn down(&mut self, index: usize, fate: Fate) -> bool {
        let Some(payload) = take(&mut self.down, index, fate) else {
            return false;
        };
        if fate != Fate::IsLost {
            self.client.handle_datagram(self.now, Path(0), &payload);
        }
        true
    }

    /// Hands the relay a datagram.
    fn hear(&mut self, source: SocketAddr, payload: &[u8]) {
        let mut reply = Reply::new();
        let event = self
            .relay
            .handle_datagram(self.now, source, payload, &mut reply);
        if source == plain() {
            return;
        }
        if let (Event::Said { lines, .. }, Ok(Frame::Post(post))) = (event, Frame::decode(payload))
        {
            let Ok(Frame::Posted(posted)) = Frame::decode(&reply) else {
                panic!("a POST without an answer")
            };
            let first = self.log.len() as u64;
            let texts = lines;
            assert_eq!(
                posted.outcome,
                Outcome::Accepted {
                    first,
                    lines,
                    texts
                }
            );
            for text in post.texts.iter().take(lines.into()) {
                let line = format!("c : {}", core::str::from_utf8(text).unwrap());
                assert!(!self.log.contains(&line), "said twice: {line}");
                self.log.push(line);
            }
        }
        if !reply.is_empty() {
            add(&mut self.down, reply.to_vec());
        }
    }

    /// Sends and checks what the client produces without further input.
    fn settle(&mut self) {
        let mut buffer = [0; DATAGRAM_MAX];
        while let Some(transmit) = self.client.poll_transmit(self.now, &mut buffer) {
            add(&mut self.up, buffer[..transmit.length].to_vec());
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Line {
                    sequence,
                    kind,
                    name,
                    text,
                    own,
                    ..
                } => {
                    assert_eq!((sequence, kind), (self.next as u64, LineKind::Message));
                    assert_eq!(self.log[self.next], format!("{name} : {text}"));
                    assert_eq!(own, name == "c");
                    self.next += 1;
                }
                ClientEvent::Lost { from, lines } => {
                    assert_eq!(from, self.next as u64);
                    self.next += usize::try_from(lines).unwrap();
                    assert!(self.next <= self.tail(), "{lines} lines are not lost");
                }
                ClientEvent::Said { first, lines, .. } => {
                    assert!(
                        lines == 1 && self.log[usize::try_from(first).unwrap()].starts_with('c')
                    );
                }
                ClientEvent::Ended(why) => panic!("{why:?}"),
                ClientEvent::Refused { .. } => panic!("refused"),
                ClientEvent::Joined { .. }
                | ClientEvent::Answered { .. }
                | ClientEvent::Doubtful { .. }
                | ClientEvent::Unsaid { .. }
                | ClientEvent::SeatLost(_)
                | ClientEvent::NoSeat { .. }
                | ClientEvent::Silent
                | ClientEvent::Back => {}
            }
        }
    }

    /// Returns the oldest line in the ring.
    fn tail(&self) -> usize {
        let mut used = 0;
        let fits = |line: &&String| {
            used += 12 + line.len();
            used <= RING
        };
        self.log.len() - self.log.iter().rev().take_while(fits).count()
    }

    /// Checks that the plain peer is sent the client's lines in order, each once.
    fn read_plain(&mut self, payload: &[u8]) {
        for line in core::str::from_utf8(payload).unwrap().lines() {
            if let Some(text) = line.strip_prefix("c : ") {
                let number: usize = text.parse().unwrap();
                assert!(number >= self.heard, "{line} after {}", self.heard);
                self.heard = number + 1;
            } else {
                assert!(line.ends_with(" lost"), "{line}");
            }
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut state = State(DefaultHasher::new(), false);
        write!(state, "{:?}{:?}", self.relay, self.client).unwrap();
        (
            self.now.as_millis(),
            self.next,
            self.said,
            self.posted,
            self.heard,
        )
            .hash(&mut state.0);
        (&self.up, &self.down, &self.log).hash(&mut state.0);
        state.0.finish()
    }
}

/// Hashes the debug output of a state, except for counters.
struct State(DefaultHasher, bool);

impl Write for State {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match text {
            "stats" => self.1 = true,
            // the field after the counters of a relay; those of a client are its last field
            "owed" | "Client" => self.1 = false,
            _ => {}
        }
        if !self.1 {
            self.0.write(text.as_bytes());
        }
        Ok(())
    }
}

fn add(datagrams: &mut Vec<Vec<u8>>, datagram: Vec<u8>) {
    if datagrams.len() < UNDERWAY {
        datagrams.push(datagram);
    }
}

fn take(datagrams: &mut Vec<Vec<u8>>, index: usize, fate: Fate) -> Option<Vec<u8>> {
    let datagram = datagrams.get(index)?.clone();
    if fate != Fate::IsDoubled {
        datagrams.remove(index);
    }
    Some(datagram)
}

/// Returns the paths with one step more than `path` that lead to states which are not in `seen`.
fn next_paths(path: &[u8], seen: &[Mutex<HashSet<u64>>]) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    let mut before = World::new();
    for &step in path {
        before.step(STEPS[usize::from(step)]);
    }
    for (index, step) in (0..).zip(STEPS) {
        let mut world = before.clone();
        if !world.step(step) {
            continue;
        }
        let fingerprint = world.fingerprint();
        let shard = usize::try_from(fingerprint % seen.len() as u64).unwrap();
        if seen[shard].lock().unwrap().insert(fingerprint) {
            paths.push([path, &[index]].concat());
        }
    }
    paths
}

/// Visits states, breadth first, until there are `most`. Returns the number of states and the
/// depth.
fn visit(most: usize) -> (usize, usize) {
    let seen: Vec<Mutex<HashSet<u64>>> = (0..64).map(|_| Mutex::default()).collect();
    let states = || -> usize { seen.iter().map(|shard| shard.lock().unwrap().len()).sum() };
    let share = |paths: &[Vec<u8>]| -> Vec<Vec<u8>> {
        let paths = paths.iter().take_while(|_| states() < most);
        paths.flat_map(|path| next_paths(path, &seen)).collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut level = vec![Vec::new()];
    let mut depth = 0;
    while !level.is_empty() && states() < most {
        let size = level.len().div_ceil(threads);
        level = std::thread::scope(|scope| {
            let running: Vec<_> = level
                .chunks(size)
                .map(|paths| scope.spawn(|| share(paths)))
                .collect();
            let done = running.into_iter().map(|thread| thread.join().unwrap());
            done.flatten().collect()
        });
        depth += 1;
        println!("depth {depth}: {} states", states());
    }
    (states(), depth)
}

#[test]
fn every_order_of_events_keeps_the_guarantees() {
    let most = std::env::var("STATES").map_or(STATES, |states| states.parse().unwrap());
    let begun = std::time::Instant::now();
    let (states, depth) = visit(most);
    let took = begun.elapsed().as_secs();
    println!("{states} states, {depth} events deep, no violation, {took} s");
    assert!(states >= most);
}

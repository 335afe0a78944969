//! Clients and the relay on a network that loses, doubles and reorders datagrams.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "it tells what it measured")]

use std::collections::{BTreeMap, HashMap};

use kilochat_core::framed::{Data, Frame};
use kilochat_core::{
    Client, ClientEvent, Config, DATAGRAM_MAX, Event, Instant, LineKind, Path, Relay, Reply, State,
};

/// Small, seeded random numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a network does to a hundred datagrams.
#[derive(Clone, Copy)]
struct Faults {
    lost: u64,
    doubled: u64,
    reordered: u64,
}

const FAULTS: Faults = Faults {
    lost: 20,
    doubled: 5,
    reordered: 20,
};
const NO_FAULTS: Faults = Faults {
    lost: 0,
    doubled: 0,
    reordered: 0,
};

/// How many lines are said where the costs are measured.
const LINES: usize = 200;

/// The time that a datagram takes, in milliseconds.
const WAY: u64 = 50;

/// The client with this number, to it or from it.
#[derive(Clone, Copy)]
enum Way {
    Up(u16),
    Down(u16),
}

struct Member {
    client: Box<Client<4, 2048>>,
    /// The next line, and those that were shown, with the time.
    next: Option<u64>,
    shown: Vec<(u64, String, u64)>,
    said: Vec<u32>,
    joined: u32,
    lost: u64,
}

struct World {
    now: u64,
    relay: Box<Relay<16, 8192, 8>>,
    members: Vec<Member>,
    on_the_way: BTreeMap<(u64, u64), (Way, Vec<u8>)>,
    sent: u64,
    faults: Faults,
    random: Random,
    /// When each line was said, and how often lines were sent to clients, again included.
    said_at: HashMap<String, u64>,
    deliveries: u64,
}

impl World {
    fn new(seed: u64, members: u16, faults: Faults) -> Self {
        let mut relay = Box::new(Relay::new());
        relay.configure(config(seed));
        let members = (0..members).map(|number| Member {
            client: Box::new(Client::new(
                &format!("m{number}"),
                seed ^ u64::from(number),
                1,
            )),
            next: None,
            shown: Vec::new(),
            said: Vec::new(),
            joined: 0,
            lost: 0,
        });
        Self {
            now: 0,
            relay,
            members: members.collect(),
            on_the_way: BTreeMap::new(),
            sent: 0,
            faults,
            random: Random(seed.wrapping_mul(2) + 1),
            said_at: HashMap::new(),
            deliveries: 0,
        }
    }

    fn send(&mut self, way: Way, payload: &[u8]) {
        if self.random.percent(self.faults.lost) {
            return;
        }
        let copies = 1 + u64::from(self.random.percent(self.faults.doubled));
        for _ in 0..copies {
            let late = self.random.percent(self.faults.reordered);
            let delay = WAY
                + if late {
                    self.random.below(100)
                } else {
                    self.random.below(5)
                };
            self.sent += 1;
            self.on_the_way
                .insert((self.now + delay, self.sent), (way, payload.to_vec()));
        }
    }

    /// Lets everything happen until then.
    fn run(&mut self, until: u64) {
        loop {
            self.settle();
            let clients = self
                .members
                .iter()
                .map(|member| member.client.poll_timeout());
            let timers = clients.chain([self.relay.poll_timeout()]).flatten().min();
            let arrival = self.on_the_way.keys().next().map(|&(time, _)| time);
            let next = timers
                .map(Instant::as_millis)
                .into_iter()
                .chain(arrival)
                .min();
            let next = next.unwrap_or(u64::MAX).max(self.now);
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            while let Some(arrival) = self.on_the_way.first_entry() {
                if arrival.key().0 > self.now {
                    break;
                }
                let (way, payload) = arrival.remove();
                self.arrive(way, &payload);
                self.settle();
            }
        }
    }

    fn arrive(&mut self, way: Way, payload: &[u8]) {
        let now = Instant::from_millis(self.now);
        match way {
            Way::Down(member) => {
                let client = &mut self.members[usize::from(member)].client;
                client.handle_datagram(now, Path(0), payload);
            }
            Way::Up(member) => {
                let mut reply = Reply::new();
                let source = ([10, 0, 0, 1], 1000 + member).into();
                let event = self.relay.handle_datagram(now, source, payload, &mut reply);
                if let (Event::Said { .. }, Ok(Frame::Post(post))) =
                    (&event, Frame::decode(payload))
                {
                    for text in post.texts.iter() {
                        let text = String::from_utf8(text.to_vec()).unwrap();
                        self.said_at.entry(text).or_insert(self.now);
                    }
                }
                if !reply.is_empty() {
                    self.send(Way::Down(member), &reply);
                }
            }
        }
    }

    /// All send what is due, and are told what happened.
    fn settle(&mut self) {
        let now = Instant::from_millis(self.now);
        let mut buffer = [0; DATAGRAM_MAX];
        while self.relay.handle_timeout(now).is_some() {}
        for number in 0..self.members.len() {
            self.members[number].client.handle_timeout(now);
            self.members[number].events(self.now);
            let way = Way::Up(u16::try_from(number).unwrap());
            while let Some(transmit) = self.members[number].client.poll_transmit(now, &mut buffer) {
                self.send(way, &buffer[..transmit.length]);
            }
        }
        loop {
            let Some(fanout) = self.relay.poll_fanout(now, &mut buffer) else {
                break;
            };
            let payload = fanout.payload();
            let to: Vec<_> = fanout
                .map(|delivery| delivery.address.port() - 1000)
                .collect();
            let has_lines = match Frame::decode(payload) {
                Ok(Frame::Data(data)) => lines(&data) > 0,
                _ => false,
            };
            for member in to {
                self.deliveries += u64::from(has_lines);
                self.send(Way::Down(member), payload);
            }
        }
    }

    fn messages(&self, member: usize) -> Vec<&str> {
        let shown = self.members[member].shown.iter();
        shown.map(|(_, text, _)| text.as_str()).collect()
    }
}

impl Member {
    fn events(&mut self, now: u64) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Line {
                    sequence,
                    kind,
                    text,
                    ..
                } => {
                    assert_eq!(sequence, self.next.unwrap_or(sequence));
                    self.next = Some(sequence + 1);
                    if kind == LineKind::Message {
                        self.shown.push((sequence, text.to_owned(), now));
                    }
                }
                ClientEvent::Lost { from, lines } => {
                    self.lost += lines;
                    self.next = Some(from + lines);
                }
                ClientEvent::Said { post, .. } => self.said.push(post.0),
                ClientEvent::Joined { .. } => self.joined += 1,
                ClientEvent::Silent | ClientEvent::Back => {}
                ClientEvent::Answered { .. }
                | ClientEvent::Refused { .. }
                | ClientEvent::Doubtful { .. }
                | ClientEvent::Unsaid { .. }
                | ClientEvent::Ended(_) => panic!("{event:?}"),
            }
        }
    }
}

fn lines(data: &Data<'_>) -> usize {
    data.entries().count()
}

fn config(seed: u64) -> Config {
    Config {
        key: [u8::try_from(seed % 251).unwrap(); 16],
        announce_up_to: 0,
        ..Config::default()
    }
}

#[test]
fn all_read_the_same_lines_once_whatever_the_network_does() {
    for seed in 1..20 {
        // six tries in a row may fail
        let mut world = World::new(seed, 4, NO_FAULTS);
        world.run(1000);
        world.faults = FAULTS;
        let mut posted = 0_u32;
        for turn in 0..60 {
            for member in 0..4 {
                // bursts, so that texts go together
                let texts = if turn % 10 == 0 { 9 } else { 1 };
                for text in 0..texts {
                    let text = format!("{member}:{turn}:{text}");
                    if world.members[member].client.post(&text).is_ok() {
                        posted += 1;
                    }
                }
            }
            world.run(world.now + 300);
        }
        world.run(world.now + 30_000);
        let all = world.messages(0);
        assert!(posted > 300);
        for member in 0..4 {
            let said = &world.members[member].said;
            assert!(said.is_sorted() && world.members[member].client.unanswered() == 0);
            assert_eq!(
                (world.members[member].lost, world.members[member].joined),
                (0, 1)
            );
            assert_eq!(world.messages(member), all, "seed {seed}, member {member}");
        }
        let said = world
            .members
            .iter()
            .map(|member| member.said.len())
            .sum::<usize>();
        assert_eq!((said, all.len()), (posted as usize, posted as usize));
    }
}

#[test]
fn a_paste_of_two_hundred_lines_is_said_in_three_seconds() {
    let mut world = World::new(1, 2, NO_FAULTS);
    world.run(3000);
    let start = world.now;
    let mut pasted = 0;
    while world.members[1].shown.len() < 200 {
        while pasted < 200
            && world.members[0]
                .client
                .post(&format!("line {pasted:20}"))
                .is_ok()
        {
            pasted += 1;
        }
        world.run(world.now + 10);
        assert!(
            world.now - start < 3000,
            "{} lines",
            world.members[1].shown.len()
        );
    }
}

#[test]
fn a_relay_that_was_restarted_is_joined_again_by_all() {
    let mut world = World::new(3, 4, FAULTS);
    world.run(5000);
    for member in 0..4 {
        world.members[member].client.post("before").unwrap();
    }
    world.run(20_000);
    *world.relay = Relay::new();
    world.relay.configure(config(4));
    for member in &mut world.members {
        member.next = None;
    }
    world.run(80_000); // they ask after 15 s
    for member in 0..4 {
        let Member { client, joined, .. } = &world.members[member];
        assert_eq!((client.state(), *joined), (State::Joined, 2));
        world.members[member].client.post("after").unwrap();
    }
    world.run(110_000);
    for member in 0..4 {
        let shown = world.messages(member);
        assert_eq!(shown, [["before"; 4], ["after"; 4]].concat());
    }
}

/// What it cost to read lines, two a second, on several networks.
struct Costs {
    /// Datagrams of lines for each line and reader.
    sends: f64,
    /// The times that lines took to be shown, in milliseconds, sorted.
    latencies: Vec<u64>,
    /// The most acknowledgements of a reader.
    acks: u64,
}

fn measure(faults: Faults) -> Costs {
    let mut latencies = Vec::new();
    let (mut deliveries, mut acks) = (0, 0);
    for seed in 1..9 {
        let mut world = World::new(seed, 9, NO_FAULTS);
        world.run(1000);
        world.faults = faults;
        let before = world.deliveries;
        for turn in 0..LINES {
            world.members[0].client.post(&format!("{turn}")).unwrap();
            world.run(world.now + 500);
        }
        world.run(world.now + 20_000);
        deliveries += world.deliveries - before;
        for member in &world.members {
            assert_eq!(member.shown.len(), LINES);
            let shown = member.shown.iter();
            latencies.extend(shown.map(|(_, text, at)| at - world.said_at[text]));
            acks = acks.max(member.client.stats().acks);
        }
    }
    latencies.sort_unstable();
    Costs {
        sends: deliveries as f64 / latencies.len() as f64,
        latencies,
        acks,
    }
}

#[test]
fn a_network_that_loses_a_fifth_costs_few_repetitions_and_little_time() {
    let Costs {
        sends,
        latencies,
        acks,
    } = measure(FAULTS);
    let [half, most] = [50, 99].map(|percent| latencies[latencies.len() * percent / 100]);
    println!("{sends:.3} sends; half within {half} ms, 99 % within {most} ms; {acks} ACKs");
    assert!(sends < 1.45 && half <= 60 && most < 1500);
}

#[test]
fn a_network_that_loses_nothing_costs_nothing() {
    let costs = measure(NO_FAULTS);
    assert!((0.999..1.001).contains(&costs.sends), "{}", costs.sends);
    assert!(costs.latencies.iter().all(|&latency| latency < 60));
    // one for each line, and a few to be there
    assert!(costs.acks < LINES as u64 + 10, "{}", costs.acks);
}

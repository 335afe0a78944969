//! A script of calls to a relay: datagrams from a few addresses, fan-outs, network reports and
//! time.

mod judge;

use core::net::SocketAddr;
use std::collections::{BTreeSet, HashMap};

use kilochat_core::framed::{
    Ack, Frame, Hello, Post, RANGES_MAX, Range, Resume, Session, TEXTS_MAX, Texts,
};
use kilochat_core::{Config, DATAGRAM_MAX, Delivery, Instant, Network, Relay, Unreachable};

use super::Input;

/// Sources of datagrams. The last two are not local.
const SOURCES: [&str; 6] = [
    "127.0.0.1:1001",
    "127.0.0.1:1002",
    "10.0.0.1:1001",
    "[fe80::1]:1001",
    "192.0.2.1:1001",
    "[2001:db8::1]:1001",
];
const LOCAL: usize = 4;

/// What people type.
const TEXTS: [&str; 16] = [
    "Ada",
    "Bob\n",
    "hi",
    "//x",
    "/who",
    "/who A",
    "/nick Eve",
    "/nick",
    "/quiet on",
    "/quiet off",
    "/quit",
    "/help",
    "/x",
    "",
    " \n",
    "* hi",
];

/// Possible pauses in milliseconds.
const PAUSES: [u64; 16] = [
    0,
    1,
    20,
    100,
    300,
    999,
    1000,
    3000,
    10_000,
    20_000,
    60_000,
    61_000,
    120_000,
    700_000,
    1 << 32,
    1 << 44,
];

/// A relay of four seats, a ring of 2048 bytes, and at most four datagrams in flight to a client.
type SmallRelay = Relay<4, 2048, 4>;

/// The state of a client that has a session.
#[derive(Debug, Default)]
struct Known {
    epoch: u32,
    author: u32,
    /// The client has all lines before this one, was told that they are lost, or has claimed to
    /// have them.
    next: u64,
    held: BTreeSet<u64>,
    /// The number of the last POST, its texts, and the time stamp of the last frame from the relay.
    post: u16,
    texts: Vec<String>,
    echo: Option<u16>,
}

struct Room<'a> {
    input: Input<'a>,
    relay: Box<SmallRelay>,
    is_open: bool,
    is_classic: bool,
    is_stopping: bool,
    now: u64,
    latest: u64,
    nonce: u64,
    /// For each address, all cookies that were sent to it.
    cookies: HashMap<SocketAddr, Vec<[u8; 16]>>,
    /// All sessions, in the order of their WELCOMEs; then the last session that each address was
    /// told.
    sessions: Vec<Session>,
    at: HashMap<SocketAddr, Session>,
    known: HashMap<Session, Known>,
    /// For each sequence number, the line and its author, as far as they are known.
    lines: HashMap<u64, (u32, Option<String>)>,
    /// The results of POSTs.
    outcomes: HashMap<(Session, u16), Vec<u8>>,
    /// Number of lines that the relay last reported.
    head: u64,
    /// All lines before this one are overwritten.
    gone: u64,
    /// The last datagram that the relay sent.
    last: Vec<u8>,
    /// Deliveries that were taken from fan-outs and are not sent yet.
    batch: Vec<(Delivery, Vec<u8>)>,
}

/// Runs a script, then lets the room come to rest.
///
/// # Panics
///
/// If a guarantee is broken: see the assertions.
pub fn relay(script: &[u8]) {
    let mut room = Room::new(Input(script));
    while !room.input.is_empty() {
        room.step();
        room.check();
    }
    room.settle_but(0, 0);
    room.rest();
}

impl Known {
    /// Records that the client has all lines before `next`.
    fn advance(&mut self, next: u64) {
        self.next = self.next.max(next);
        while self.held.remove(&self.next) {
            self.next += 1;
        }
        self.held = self.held.split_off(&self.next);
    }
}

impl<'a> Room<'a> {
    fn new(mut input: Input<'a>) -> Self {
        let flags = input.byte();
        let config = Config {
            seats: u16::from(flags & 3) + 1,
            history: u16::from(flags >> 2 & 3),
            announce_up_to: u16::from(flags >> 4 & 1) * 63,
            idle: core::time::Duration::from_secs(10),
            echo: flags & 0x20 > 0,
            open: flags & 0x40 > 0,
            classic: flags & 0x8F == 0x8F,
            key: [7; 16],
            ..Config::new([0; 16])
        };
        let mut relay = Box::new(Relay::new());
        let (is_open, is_classic) = (config.open, config.classic);
        relay.configure(config);
        Self {
            input,
            relay,
            is_open,
            is_classic,
            is_stopping: false,
            now: 0,
            latest: 0,
            nonce: 1 << 20,
            cookies: HashMap::new(),
            sessions: Vec::new(),
            at: HashMap::new(),
            known: HashMap::new(),
            lines: HashMap::new(),
            outcomes: HashMap::new(),
            head: 0,
            gone: 0,
            last: Vec::new(),
            batch: Vec::new(),
        }
    }

    const fn instant(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    fn step(&mut self) {
        match self.input.below(16) {
            0 | 1 => self.say_text(),
            2 => self.join(),
            3 => self.say_hello(),
            4 => self.say_ack(),
            5 => self.claim(),
            6 | 7 => self.post(),
            8 => {
                let (source, session) = self.source_and_session();
                self.send(source, &Frame::Leave(session));
            }
            9 => self.say_bytes(),
            10 => {
                let [most, segments] = [6, 3].map(|end| self.input.below(end) + 1);
                self.fan_out(most, segments);
            }
            11 => self.settle(),
            12 => self.pass_time(),
            13 => self.handle_timeouts(),
            14 => self.report(),
            _ => self.rarely(),
        }
    }

    fn source(&mut self) -> SocketAddr {
        self.input.pick(&SOURCES).parse().unwrap()
    }

    /// Returns an address, with its session or another one.
    fn source_and_session(&mut self) -> (SocketAddr, Session) {
        let source = self.source();
        let own = self.at.get(&source).copied();
        let session = match (own, self.input.chance(8)) {
            (Some(own), false) => own,
            _ if self.sessions.is_empty() => Session(1),
            _ => {
                let sessions = self.sessions.clone();
                self.input.pick(&sessions)
            }
        };
        (source, session)
    }

    /// Returns the last cookie that was sent to an address.
    fn cookie(&self, source: SocketAddr) -> Option<[u8; 16]> {
        self.cookies.get(&source)?.last().copied()
    }

    fn say_text(&mut self) {
        let source = self.source();
        let text = match self.input.chance(2) {
            true => self.input.pick(&TEXTS).to_owned(),
            false => self.input.text(),
        };
        self.receive(source, text.as_bytes());
    }

    fn say_bytes(&mut self) {
        let source = self.source();
        let mut payload = match self.input.chance(4) {
            true => self.last.clone(),
            false => self.input.payload().to_vec(),
        };
        if self.input.chance(2)
            && let Some(first) = payload.first_mut()
        {
            *first = 1;
        }
        self.receive(source, &payload);
    }

    /// Sends both HELLOs of a newcomer.
    fn join(&mut self) {
        let source = self.source();
        let name = self.input.text();
        for _ in 0..2 {
            self.nonce += 1;
            let hello = Hello {
                abilities: 0,
                nonce: self.nonce,
                cookie: self.cookie(source),
                resume: None,
                name: &name,
            };
            self.send(source, &Frame::Hello(hello));
        }
    }

    fn say_hello(&mut self) {
        let (source, session) = self.source_and_session();
        let cookie = match self.input.below(8) {
            0 => None,
            1 => Some([self.input.byte(); 16]),
            2 => self
                .cookies
                .values()
                .min()
                .and_then(|given| given.last().copied()),
            _ => self.cookie(source),
        };
        let known = self.known.get(&session);
        let (epoch, next) = known.map_or((0, 0), |known| (known.epoch, known.next));
        let resume = Resume {
            session,
            epoch: epoch.wrapping_add(u32::from(self.input.chance(8))),
            next: self.input.near(next),
        };
        self.nonce += 1;
        let hello = Hello {
            abilities: 0,
            nonce: match self.input.chance(2) {
                true => self.input.near(self.nonce),
                false => self.nonce,
            },
            cookie,
            resume: Some(resume).filter(|_| !self.input.chance(4)),
            name: &self.input.text(),
        };
        self.send(source, &Frame::Hello(hello));
    }

    /// Sends an ACK that conforms to the protocol.
    fn say_ack(&mut self) {
        let (source, session) = self.source_and_session();
        let answer = self.input.chance(2);
        self.acknowledge(source, session, answer);
    }

    fn acknowledge(&mut self, source: SocketAddr, session: Session, answer: bool) {
        let known = self.known.entry(session).or_default();
        let mut ranges = Vec::new();
        let mut end = known.next;
        let mut held = known.held.iter().copied().peekable();
        while let Some(first) = held.next() {
            let mut last = first + 1;
            while held.next_if_eq(&last).is_some() {
                last += 1;
            }
            let (skip, run) = (first - end, last - first);
            let (Ok(skip), Ok(run)) = (skip.try_into(), run.try_into()) else {
                break;
            };
            ranges.push(Range { skip, run });
            end = last;
        }
        let ack = Ack {
            session,
            echo: known.echo.take(),
            answer,
            next: known.next,
            ranges: ranges.into_iter().take(RANGES_MAX).collect(),
        };
        self.send(source, &Frame::Ack(ack));
    }

    /// Acknowledges lines that the client may not have. From then on they count as received.
    fn claim(&mut self) {
        let (source, session) = self.source_and_session();
        let known = self.known.entry(session).or_default();
        let next = self.input.near(known.next);
        let mut ranges = Vec::new();
        for _ in 0..self.input.below(3) {
            let [skip, run] = [1, 1].map(|least| least + u16::from(self.input.byte() % 8));
            ranges.push(Range { skip, run });
        }
        let is_own = self.at.get(&source) == Some(&session);
        if is_own {
            let mut end = next;
            for range in &ranges {
                let first = end.saturating_add(range.skip.into());
                end = first.saturating_add(range.run.into());
                known.held.extend(first..end);
            }
            known.advance(next);
        }
        let ack = Ack {
            session,
            echo: Some(u16::from_be_bytes([self.input.byte(), self.input.byte()]))
                .filter(|echo| *echo > 0),
            answer: self.input.chance(2),
            next,
            ranges: ranges.into_iter().collect(),
        };
        self.send(source, &Frame::Ack(ack));
    }

    fn post(&mut self) {
        let (source, session) = self.source_and_session();
        let known = self.known.entry(session).or_default();
        let number = match self.input.below(8) {
            0 => known.post,
            1 => known.post.wrapping_add(2),
            2 => known.post.wrapping_sub(1),
            _ => known.post.wrapping_add(1),
        };
        let texts: Vec<String> = (0..1 + self.input.below(4))
            .map(|_| match self.input.chance(4) {
                true => self.input.pick(&TEXTS).to_owned(),
                false => self.input.text(),
            })
            .collect();
        // a repeated number has the same texts, except where two clients share a session
        let known = &self.known[&session];
        let is_again = number == known.post && !known.texts.is_empty() && texts.len() < 4;
        let texts = if is_again { known.texts.clone() } else { texts };
        let mut buffer = [0; TEXTS_MAX];
        let (collected, count) = Texts::collect(texts.iter().map(String::as_str), &mut buffer);
        if count == 0 {
            return;
        }
        let post = Post {
            session,
            number,
            sent_at: 1,
            texts: collected,
        };
        self.send(source, &Frame::Post(post));
        let known = self.known.entry(session).or_default();
        if known.post == number && !is_again {
            known.texts = texts;
        }
    }

    fn send(&mut self, source: SocketAddr, frame: &Frame<'_>) {
        let mut buffer = [0; DATAGRAM_MAX];
        if let Some(length) = frame.encode(&mut buffer) {
            self.receive(source, &buffer[..length]);
        }
    }

    /// Takes deliveries from a fan-out. Returns whether there was one.
    fn fan_out(&mut self, most: usize, segments: usize) -> bool {
        let now = self.instant();
        let mut buffer = vec![0xEE; segments * DATAGRAM_MAX];
        let Some(fanout) = self.relay.poll_fanout(now, &mut buffer) else {
            return false;
        };
        let payload = fanout.payload().to_vec();
        assert!(payload.len() <= DATAGRAM_MAX * segments);
        let taken: Vec<_> = fanout.take(most).collect();
        assert!(!taken.is_empty(), "a fan-out for nobody");
        self.judge_fanout(&taken, &payload);
        self.batch.extend(
            taken
                .into_iter()
                .map(|delivery| (delivery, payload.clone())),
        );
        if self.batch.len() > 8 || segments == 1 {
            self.settle();
        }
        true
    }

    /// Gives the batch to the network, which accepts the first deliveries and would block for the others.
    /// Some that it accepts are lost.
    fn settle(&mut self) {
        let refused = if self.input.chance(3) {
            self.input.below(5)
        } else {
            0
        };
        let lost = if self.input.chance(3) {
            self.input.byte()
        } else {
            0
        };
        self.settle_but(refused, lost);
    }

    /// Returns the last `refused` deliveries to the relay, because sending them would block, and
    /// lets the others arrive. `lost` has a bit for each of the first eight of those: whether it is
    /// lost.
    fn settle_but(&mut self, refused: usize, lost: u8) {
        for _ in 0..refused {
            if let Some((delivery, _)) = self.batch.pop() {
                let seat = delivery.seat;
                self.relay.handle_refused(delivery);
                self.relay.handle_writable(seat);
            }
        }
        let batch = core::mem::take(&mut self.batch);
        for (index, (delivery, payload)) in batch.into_iter().enumerate() {
            if index >= 8 || lost >> index & 1 == 0 {
                self.read_fanout(delivery.address, &payload);
            }
        }
    }

    fn pass_time(&mut self) {
        let pause = self.input.pick(&PAUSES);
        self.now = match self.input.below(8) {
            0 => self.now.saturating_sub(pause),
            1 if pause == 0 => u64::MAX,
            _ => self.now.saturating_add(pause),
        };
        self.latest = self.latest.max(self.now);
    }

    fn handle_timeouts(&mut self) {
        let now = self.instant();
        let mut calls = 0;
        while self.relay.handle_timeout(now).is_some() {
            calls += 1;
            // at most two time-outs for each peer: it is parked, and it leaves
            assert!(calls <= 8, "time-outs without an end");
        }
        let then = self.relay.poll_timeout();
        let is_over = now.as_millis() == u64::MAX;
        assert!(
            then.is_none_or(|then| then > now) || is_over,
            "{then:?} again"
        );
    }

    fn report(&mut self) {
        let source = self.source();
        let why = self.input.pick(&[Unreachable::Port, Unreachable::Path]);
        if let Some(seat) = self.relay.find(&source) {
            let now = self.instant();
            let departed = self.relay.handle_unreachable(now, seat, why);
            assert_eq!(departed.is_none(), self.relay.find(&source).is_some());
        }
    }

    fn rarely(&mut self) {
        match self.input.below(4) {
            0 => {
                self.relay.stop(self.instant());
                self.is_stopping = true;
            }
            1 => {
                let address = self.source().ip();
                let prefix = self.input.byte();
                let network = Network { address, prefix };
                let networks = core::iter::once(network).filter(|_| prefix < 129);
                self.relay.set_networks(networks);
                // from now on no source is certain to be foreign
                self.is_open = true;
            }
            _ => while self.fan_out(usize::MAX, 1) {},
        }
    }
}

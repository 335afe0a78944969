//! Orders of an operator: signed ones, and signatures that were copied, changed or guessed.

mod code;
mod model;

use core::net::SocketAddr;
use std::collections::{HashMap, HashSet};

use kilochat_core::framed::{Frame, Hello, Outcome, Post, Reason, Session, TEXTS_MAX, Texts};
use kilochat_core::{
    Config, DATAGRAM_MAX, Departure, Event, Expired, Instant, Refusal, Relay, Reply,
};

use super::Input;
use crate::dialect::{text_of, unpadded};
use model::Model;

/// Sources of datagrams, and the names of their peers. The first [`FRAMED`] speak in frames.
const PEERS: [(&str, &str); 5] = [
    ("10.0.0.1:1", "Ada"),
    ("10.0.0.2:1", "Bob"),
    ("10.0.0.2:2", "Cyd"),
    ("10.0.0.3:1", "two words"),
    ("10.0.0.4:1", "Ｚｏｅ"),
];
const FRAMED: usize = 3;

/// A plain peer that only listens.
const LISTENER: (&str, &str) = ("127.0.0.1:9", "listener");

const KEY: [u8; 16] = [3; 16];

/// What is said that is no order.
const TEXTS: [&str; 5] = ["hi", "//x", "/who", "/kick Bob", "/op"];

const VERBS: [&str; 12] = [
    "kick", "ban", "unban", "mute", "unmute", "lock", "unlock", "slow", "KICK", "Ban", "op", "",
];

/// What may follow a name or stand for it.
const REST: [&str; 8] = ["", " 1", " 2", " 0", " 65535", " 65536", " x", " "];

/// Number of answers to strangers at once.
const ANSWERS: usize = 200;

/// Possible pauses in milliseconds.
const PAUSES: [u64; 8] = [0, 1, 500, 1000, 2000, 30_000, 60_000, 120_000];

struct Room<'a> {
    input: Input<'a>,
    relay: Box<Relay<8, 4096, 4>>,
    has_key: bool,
    now: u64,
    nonce: u64,
    /// By source: its session, and its last POST with the reply to it.
    sessions: HashMap<SocketAddr, Session>,
    posts: HashMap<SocketAddr, Last>,
    model: Model,
    /// The lines that the listener was sent.
    sent: HashSet<String>,
    /// Number of strangers that were told that the room is locked.
    answers: usize,
}

/// A client's last POST.
#[derive(Clone, Debug, Default)]
struct Last {
    number: u16,
    texts: Vec<u8>,
    reply: Vec<u8>,
    /// Whether it was an order that was executed, if it was an order with the right code.
    order: Option<bool>,
    is_command: bool,
}

/// Runs a script. A model says after each call who is there, and how each order is answered.
///
/// # Panics
///
/// If a guarantee is broken: see the assertions.
pub fn orders(script: &[u8]) {
    let mut room = Room::new(Input(script));
    room.join_listener();
    for peer in 0..PEERS.len() {
        room.join(peer);
    }
    room.end_turn();
    while !room.input.is_empty() {
        room.step();
        room.check();
    }
}

fn source(peer: usize) -> SocketAddr {
    PEERS[peer].0.parse().unwrap()
}

fn listener() -> SocketAddr {
    LISTENER.0.parse().unwrap()
}

impl<'a> Room<'a> {
    fn new(mut input: Input<'a>) -> Self {
        let has_key = input.byte() % 8 != 7;
        let mut relay = Box::new(Relay::new());
        relay.configure(Config {
            rate: 0,
            history: 0,
            operator: has_key.then_some(KEY),
            ..Config::new([7; 16])
        });
        Self {
            input,
            relay,
            has_key,
            now: 10_000_000,
            nonce: 1 << 20,
            sessions: HashMap::new(),
            posts: HashMap::new(),
            model: Model::default(),
            sent: HashSet::new(),
            answers: 0,
        }
    }

    fn step(&mut self) {
        let peer = self.input.below(PEERS.len());
        match self.input.below(8) {
            0 => self.join(peer),
            1 => self.now += self.input.pick(&PAUSES),
            2 => self.say(peer),
            3 => self.repeat(peer),
            4 => self.order_here(),
            _ => self.post(peer % FRAMED),
        }
        self.end_turn();
    }

    const fn instant(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    fn receive(&mut self, source: SocketAddr, payload: &[u8]) -> (Event, Vec<u8>) {
        let mut reply = Reply::new();
        let now = self.instant();
        let event = self.relay.handle_datagram(now, source, payload, &mut reply);
        (event, reply.to_vec())
    }

    fn send(&mut self, source: SocketAddr, frame: &Frame<'_>) -> (Event, Vec<u8>) {
        let mut buffer = [0; DATAGRAM_MAX];
        let length = frame.encode(&mut buffer).expect("a short frame");
        self.receive(source, &buffer[..length])
    }

    fn join_listener(&mut self) {
        let (_, name) = LISTENER;
        let (event, _) = self.receive(listener(), name.as_bytes());
        assert!(matches!(event, Event::Joined { .. }), "{event:?}");
        self.model.join(listener(), name);
        self.sent.insert(format!("* {name} joined"));
    }

    /// Asks for a seat, which only an order may deny.
    fn join(&mut self, peer: usize) {
        let (source, name) = (source(peer), PEERS[peer].1);
        if self.relay.find(&source).is_some() {
            return;
        }
        let (event, reply) = if peer < FRAMED {
            self.join_in_frames(source, name)
        } else {
            self.receive(source, name.as_bytes())
        };
        let refused = |why| Event::Refused { seat: None, why };
        if self.model.is_banned(self.now, source.ip()) {
            assert_eq!((event, &reply[..]), (refused(Refusal::Denied), &b""[..]));
        } else if self.model.is_locked {
            assert_eq!(event, refused(Refusal::Locked));
            let is_told = reply == b"* the room is locked";
            let frame = Frame::decode(&reply);
            let is_refused = matches!(frame, Ok(Frame::Refused(it)) if it.reason == Reason::Locked);
            // answers to strangers have a limit
            let is_silent = reply.is_empty() && peer >= FRAMED && self.answers >= ANSWERS;
            assert!(is_told || is_refused || is_silent, "{reply:?}");
            self.answers += usize::from(is_told);
        } else {
            assert!(matches!(event, Event::Joined { .. }), "{event:?}");
            self.model.join(source, name);
            if let Ok(Frame::Welcome(welcome)) = Frame::decode(&reply) {
                self.sessions.insert(source, welcome.session);
                self.posts.remove(&source);
            }
        }
    }

    /// Sends both HELLOs of a newcomer.
    fn join_in_frames(&mut self, source: SocketAddr, name: &str) -> (Event, Vec<u8>) {
        let mut cookie = None;
        loop {
            self.nonce += 1;
            let hello = Hello {
                abilities: 0,
                nonce: self.nonce,
                cookie,
                resume: None,
                name,
            };
            let (event, reply) = self.send(source, &Frame::Hello(hello));
            match Frame::decode(&reply) {
                Ok(Frame::Cookie(given)) if cookie.is_none() => cookie = Some(given.cookie),
                _ => return (event, reply),
            }
        }
    }

    /// Returns an order, or something like it.
    fn order(&mut self) -> String {
        if self.input.chance(8) {
            return self.input.text();
        }
        let verb = self.input.pick(&VERBS);
        let (_, name) = self.input.pick(&PEERS);
        let rest = self.input.pick(&REST);
        match self.input.below(4) {
            0 => format!("{verb}{rest}"),
            1 => format!("{verb} {}{rest}", name.to_ascii_lowercase()),
            _ => format!("{verb} {name}{rest}"),
        }
    }

    /// Returns a signed order. In one case of two something is wrong with it.
    fn signed(&mut self, session: Session, number: u16) -> String {
        let mut order = self.order();
        let (mut key, mut session, mut number) = (KEY, session.0, number);
        let fault = self.input.below(16);
        match fault {
            1 => key[self.input.below(16)] ^= 1,
            2 => session ^= 1 << (self.input.byte() % 64),
            3 => number = number.wrapping_sub(self.input.byte().into()),
            4 => {
                let sessions: Vec<_> = PEERS.iter().map(|(at, _)| at.parse().unwrap()).collect();
                let other = self.input.pick(&sessions);
                session = self.sessions.get(&other).map_or(0, |session| session.0);
            }
            _ => {}
        }
        let mut digits = code::code(&key, session, number, &order);
        match fault {
            5 => order = self.order(),
            6 => order.push(self.input.pick(&[' ', '\0', '1', 'x'])),
            7 => digits = digits.to_ascii_uppercase(),
            8 => digits.replace_range(..1, "+"),
            9 => drop(digits.remove(self.input.below(32))),
            10 => digits.insert(self.input.below(33), '0'),
            11 => digits.replace_range(..1, "é"),
            12 => digits.clear(),
            _ => {}
        }
        format!("/op {digits} {order}")
    }

    /// Posts an order or another text, under the right number or a wrong one.
    fn post(&mut self, peer: usize) {
        let source = source(peer);
        let Some(session) = self.sessions.get(&source).copied() else {
            return;
        };
        let last = self.posts.get(&source).map_or(0, |last| last.number);
        let step = if self.input.chance(16) { 2 } else { 1 };
        let number = last.wrapping_add(step);
        let text = match self.input.chance(4) {
            true => self.input.pick(&TEXTS).to_owned(),
            false => self.signed(session, number),
        };
        let mut buffer = [0; TEXTS_MAX];
        let (texts, count) = Texts::collect([&*text], &mut buffer);
        if count == 0 {
            return;
        }
        let texts_sent = texts.as_bytes().to_vec();
        let post = Post {
            session,
            number,
            sent_at: 1,
            texts,
        };
        let (event, reply) = self.send(source, &Frame::Post(post));
        if self.model.name(source).is_none() || step > 1 {
            assert!(matches!(event, Event::Refused { .. }), "{event:?}");
            return;
        }
        let mut last = Last {
            number,
            texts: texts_sent,
            reply,
            order: None,
            is_command: false,
        };
        self.judge_post(source, session, &text, &event, &mut last);
        self.posts.insert(source, last);
    }

    /// Judges the answer to a POST with one text.
    fn judge_post(
        &mut self,
        source: SocketAddr,
        session: Session,
        text: &str,
        event: &Event,
        last: &mut Last,
    ) {
        let posted = match Frame::decode(&last.reply) {
            Ok(Frame::Posted(posted)) => posted,
            other => panic!("{other:?} for {text:?}"),
        };
        assert_eq!((posted.session, posted.number), (session, last.number));
        let text = core::str::from_utf8(unpadded(text.as_bytes())).unwrap();
        let is_command = text.starts_with('/') && !text.starts_with("//");
        let is_slow = !is_command && self.model.is_muted(source);
        if is_slow {
            let why = Outcome::Refused {
                reason: Reason::Muted,
                retry_ms: 0,
            };
            assert_eq!(posted.outcome, why);
            return;
        }
        if !self.model.may_say(self.now, source) {
            let is_late = matches!(
                posted.outcome,
                Outcome::Refused {
                    reason: Reason::TooFast,
                    retry_ms: 200..
                }
            );
            assert!(is_late, "{posted:?}");
            return;
        }
        last.is_command = is_command;
        if !is_command {
            assert!(matches!(event, Event::Said { lines: 1, .. }), "{event:?}");
            return;
        }
        let Outcome::Answer(answer) = posted.outcome else {
            panic!("{posted:?}");
        };
        let Some(signed) = text.strip_prefix("/op ").filter(|_| self.has_key) else {
            let is_none = answer.starts_with("* no command /") || text == "/who";
            assert!(is_none, "{answer:?} for {text:?}");
            return;
        };
        let order = signed.get(32..).and_then(|rest| rest.strip_prefix(' '));
        let order = order.filter(|order| {
            let code = code::code(&KEY, session.0, last.number, order);
            signed[..32].eq_ignore_ascii_case(&code)
        });
        let Some(order) = order else {
            assert_eq!(answer, "* not an operator", "{text:?}");
            last.order = Some(false);
            return;
        };
        let (expected, removed, is_done) = self.model.obey(self.now, Some(source.ip()), order);
        let is_cut = answer.len() > 900 && expected.starts_with(answer);
        assert!(answer == expected || is_cut, "{answer:?} for {text:?}");
        last.order = Some(is_done);
        let out = if let Event::Removed { removed, .. } = event {
            Some(removed.address)
        } else {
            None
        };
        assert_eq!(out, removed, "{text:?}");
    }

    /// Repeats a client's last POST: nothing happens again.
    fn repeat(&mut self, peer: usize) {
        let source = source(peer);
        let Some((session, last)) = self
            .sessions
            .get(&source)
            .zip(self.posts.get(&source).cloned())
        else {
            return;
        };
        let mut payload = b"\x01P".to_vec();
        payload.extend(session.0.to_be_bytes());
        payload.extend(last.number.to_be_bytes());
        payload.extend([0, 1]);
        payload.extend(&last.texts);
        let (event, reply) = self.receive(source, &payload);
        if self.model.name(source).is_none() {
            assert!(matches!(event, Event::Refused { .. }), "{event:?}");
            return;
        }
        assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
        match (last.order, Frame::decode(&reply)) {
            (Some(is_done), Ok(Frame::Posted(posted))) => {
                let answer = if is_done { "* done" } else { "* not done" };
                assert_eq!(posted.outcome, Outcome::Answer(answer));
            }
            // it is answered from the present state
            _ if last.is_command => {}
            _ => assert_eq!(reply, last.reply),
        }
    }

    /// A plain peer speaks. It can give no order.
    fn say(&mut self, peer: usize) {
        let source = source(peer);
        if peer < FRAMED || self.model.name(source).is_none() {
            return;
        }
        let text = match self.input.chance(2) {
            true => self.signed(Session(0), 1),
            false => self.input.pick(&TEXTS).to_owned(),
        };
        if text.len() > DATAGRAM_MAX {
            return;
        }
        let (event, reply) = self.receive(source, text.as_bytes());
        let refused = |why| matches!(&event, Event::Refused { why: it, .. } if *it == why);
        let is_out = matches!(&event, Event::Left(gone) if gone.why == Departure::Echo);
        if refused(Refusal::Returned) || is_out {
            let text = text_of(text.as_bytes()).expect("it is UTF-8");
            let is_returned = self.sent.iter().any(|line| text.ends_with(line.as_str()));
            let is_unheard = self.model.name(listener()).is_none();
            assert!(is_returned || is_unheard, "{text:?} was not sent");
            if is_out {
                self.model.leave(source);
            }
            return;
        }
        let is_command = text.starts_with('/') && !text.starts_with("//");
        if !self.model.may_say(self.now, source) {
            assert!(refused(Refusal::Slow), "{event:?}");
        } else if is_command {
            let is_none = reply.starts_with(b"* no command /") || text == "/who";
            assert!(is_none, "{} for {text:?}", reply.escape_ascii());
        } else if self.model.is_muted(source) {
            assert!(refused(Refusal::Muted), "{event:?}");
        } else {
            assert!(matches!(event, Event::Said { .. }), "{event:?}");
        }
    }

    /// An order that is typed at the relay itself.
    fn order_here(&mut self) {
        let order = self.order();
        let mut answer = Reply::new();
        let now = self.instant();
        let out = self.relay.order(now, &order, &mut answer);
        let (expected, removed, _) = self.model.obey(self.now, None, &order);
        let answer = core::str::from_utf8(&answer).expect("UTF-8");
        assert_eq!(answer, expected, "{order:?}");
        assert_eq!(out.map(|out| out.address), removed, "{order:?}");
    }

    /// Lets banned peers leave, and takes all fan-outs.
    fn end_turn(&mut self) {
        let now = self.instant();
        while let Some(expired) = self.relay.handle_timeout(now) {
            if let Expired::Left(departed) = expired {
                let address = departed.address;
                assert!(self.model.is_banned(self.now, address.ip()), "{address}");
                self.model.leave(address);
            }
        }
        let mut buffer = [0; DATAGRAM_MAX];
        while let Some(fanout) = self.relay.poll_fanout(now, &mut buffer) {
            let payload = fanout.payload();
            for delivery in fanout {
                if delivery.address == listener() {
                    let lines = core::str::from_utf8(payload).expect("text");
                    self.sent.extend(lines.lines().map(str::to_owned));
                }
            }
        }
    }

    /// Checks who is there.
    fn check(&self) {
        let there = self
            .relay
            .peers()
            .map(|peer| (peer.address, peer.name.to_owned()));
        let mut there: Vec<_> = there.collect();
        there.sort_unstable();
        assert_eq!(there, self.model.peers());
        for (address, _) in there {
            assert!(!self.model.is_banned(self.now, address.ip()), "{address}");
        }
    }
}

//! Text from strangers to a relay of each policy: codes in every spelling, stolen, old or wrong.

use core::net::SocketAddr;
use std::collections::HashMap;

use kilochat_core::{Config, DATAGRAM_MAX, Event, Instant, Refusal, Relay, Reply};

use super::Input;
use crate::bucket::Bucket;
use crate::dialect::{self, Admitted, Meaning, is_blank, text_of};
use crate::judge::code_asked_for;
use crate::text::{repaired, visible};

/// Sources of datagrams. The last four are not local.
const SOURCES: [&str; 6] = [
    "127.0.0.1:2001",
    "10.0.0.1:2001",
    "192.0.2.1:2001",
    "192.0.2.1:2002",
    "198.51.100.1:2001",
    "[2001:db8::1]:2001",
];

/// A newcomer of each kind, who speaks only at the end.
const HONEST: [&str; 2] = ["10.0.0.99:5000", "203.0.113.99:5000"];

/// What follows a code, or stands alone.
const NAMES: [&str; 12] = [
    "Ada",
    "Bob\nhello",
    "",
    " ",
    "/nick Eve",
    "/nick",
    "/help",
    "/quit",
    "* welcome",
    "4829-1350",
    "a name that is longer than any name may be\n",
    "\u{200B}",
];

/// Possible pauses in milliseconds.
const PAUSES: [u64; 10] = [
    0, 1, 20, 999, 10_000, 59_999, 60_000, 60_001, 119_999, 120_000,
];

/// Bytes of the IP and UDP headers of a datagram.
const HEADERS: usize = 28;

/// Milliseconds for which an address gets the same code.
const MINUTE: u64 = 60_000;

/// Number of joins of a foreign network at once.
const JOINS: usize = 4;

const SEATS: usize = 4;

struct Door<'a> {
    input: Input<'a>,
    relay: Box<Relay<SEATS, 2048, 4>>,
    config: Config,
    now: u64,
    /// By source: the codes that it was sent, each with its minute.
    codes: HashMap<SocketAddr, Vec<(u32, u64)>>,
    /// By source that must prove its address: bytes from it, and to it, while it has no seat.
    ledger: HashMap<SocketAddr, (usize, usize)>,
    given: Bucket,
    looked: Bucket,
    /// Number of times that foreign sources have joined, or found all seats taken.
    joins: usize,
}

/// Runs a script. Then an honest newcomer asks for a code, and joins with it.
///
/// # Panics
///
/// If a guarantee is broken: see the assertions.
pub fn codes(script: &[u8]) {
    let mut door = Door::new(Input(script));
    while !door.input.is_empty() {
        door.step();
        door.fan_out();
    }
    door.let_in();
}

impl<'a> Door<'a> {
    fn new(mut input: Input<'a>) -> Self {
        let flags = input.byte();
        let config = Config {
            seats: u16::from(flags & 3) + 1,
            open: flags & 4 > 0,
            prove: flags & 8 > 0,
            ..Config::new([7; 16])
        };
        let mut relay = Box::new(Relay::new());
        relay.configure(config.clone());
        Self {
            input,
            relay,
            config,
            now: u64::from(flags >> 4) * 7919,
            codes: HashMap::new(),
            ledger: HashMap::new(),
            given: Bucket::new(50, 20),
            looked: Bucket::new(50, 20),
            joins: 0,
        }
    }

    fn step(&mut self) {
        match self.input.below(8) {
            0 => self.now += self.input.pick(&PAUSES),
            1 => {
                let payload = self.input.payload().to_vec();
                let source = self.source();
                self.receive(source, &payload);
            }
            2 => self.flood(),
            _ => {
                let source = self.source();
                let payload = self.compose(source);
                self.receive(source, payload.as_bytes());
            }
        }
    }

    fn source(&mut self) -> SocketAddr {
        self.input.pick(&SOURCES).parse().unwrap()
    }

    /// Sends the same text from many ports of one address.
    fn flood(&mut self) {
        let mut source = self.source();
        let payload = self.compose(source);
        for port in 0..u16::from(self.input.byte() % 64) {
            source.set_port(3000 + port);
            self.receive(source, payload.as_bytes());
        }
    }

    /// Returns a text, often with a code in one of the forms that people type.
    fn compose(&mut self, source: SocketAddr) -> String {
        let name = match self.input.chance(3) {
            true => self.input.text(),
            false => self.input.pick(&NAMES).to_owned(),
        };
        let of = match self.input.chance(4) {
            true => self.source(),
            false => source,
        };
        let codes = self.codes.get(&of).map_or(&[][..], Vec::as_slice);
        let back = self.input.below(3);
        let Some((code, _)) = codes.iter().rev().nth(back).or(codes.last()) else {
            return name;
        };
        let code = match self.input.byte() {
            change @ 1..8 => code ^ u32::from(change),
            _ => *code,
        };
        let (high, low) = (code / 10_000 % 10_000, code % 10_000);
        let wide = |digits: String| -> String {
            let digits = digits.bytes().map(|digit| u32::from(digit) - 0x30);
            let digits = digits.map(|digit| char::from_u32(0xFF10 + digit).unwrap());
            digits.collect()
        };
        let code = match self.input.below(8) {
            0 => return name,
            1 => format!("{high:04}{low:04}"),
            2 => format!("{high:04} {low:04}"),
            3 => format!(" {high:04}－{}", wide(format!("{low:04}"))),
            4 => format!("{high}-{low}"),
            5 => format!("{high:04}--{low:04}"),
            _ => format!("{high:04}-{low:04}"),
        };
        let space = self.input.pick(&[" ", "\t", "\u{3000}", "", "\n"]);
        format!("{code}{space}{name}")
    }

    /// Hands the relay a datagram and judges what it does.
    fn receive(&mut self, source: SocketAddr, payload: &[u8]) -> (Event, Vec<u8>) {
        let was_seated = self.relay.find(&source).is_some();
        let peers = self.relay.peer_count();
        let mut reply = Reply::new();
        let now = Instant::from_millis(self.now);
        let event = self.relay.handle_datagram(now, source, payload, &mut reply);
        let is_seated = self.relay.find(&source).is_some();
        assert!(reply.len() <= DATAGRAM_MAX);
        if was_seated {
            assert!(!matches!(event, Event::Joined { .. }), "{event:?}");
            return (event, reply.to_vec());
        }
        assert_eq!(is_seated, matches!(event, Event::Joined { .. }));
        assert!(is_seated || self.relay.peer_count() == peers, "{event:?}");
        match dialect::admitted(&self.config, source.ip()) {
            Admitted::Never => {
                assert!(reply.is_empty() && !is_seated, "{source} is served");
            }
            Admitted::AtOnce => {
                let is_asked = reply.starts_with(b"* to join");
                assert!(!is_asked, "a code that nobody needs");
            }
            Admitted::AfterProof if payload.first() == Some(&1) => assert!(!is_seated),
            Admitted::AfterProof => {
                self.judge(source, payload, &event, &reply);
                self.account(source, payload, &reply, is_seated);
            }
        }
        let is_full = matches!(
            event,
            Event::Refused {
                why: Refusal::Full,
                ..
            }
        );
        self.joins += usize::from((is_seated || is_full) && self.is_foreign(source));
        (event, reply.to_vec())
    }

    /// Judges a text from a source that must prove its address.
    fn judge(&mut self, source: SocketAddr, payload: &[u8], event: &Event, reply: &[u8]) {
        let text = text_of(payload).ok();
        if text.is_some_and(is_blank) {
            assert!(reply.is_empty(), "an answer to nothing");
            return;
        }
        let typed = text.and_then(dialect::code);
        let rest = typed
            .map_or(text, |(_, rest)| Some(rest))
            .unwrap_or_default();
        let name = if let Meaning::Nick(name) = Meaning::of(visible(rest)) {
            name
        } else if visible(rest).starts_with('/') {
            ""
        } else {
            rest
        };
        let minute = self.now / MINUTE;
        let may_look = typed.is_some() && !is_blank(name) && self.looked.take(self.now).is_ok();
        let sent = self.codes.get(&source).map_or(&[][..], Vec::as_slice);
        let is_recent = |(code, at): &(u32, u64)| {
            typed.is_some_and(|(typed, _)| typed == *code) && minute - at <= 1
        };
        let is_proven = may_look && sent.iter().any(is_recent);
        let Event::Refused { seat: None, why } = event else {
            assert!(matches!(event, Event::Joined { .. }), "{event:?}");
            assert!(is_proven, "{source} joins by {text:?}");
            let seated = self.relay.find(&source).and_then(|it| self.relay.peer(it));
            let seated = seated.expect("its seat").name;
            let wanted = repaired(dialect::first_line(name).0).expect("a name");
            assert!(seated == wanted || seated.contains('~'), "{seated:?}");
            return;
        };
        let foreign = self
            .relay
            .peers()
            .filter(|peer| self.is_foreign(peer.address));
        let (seats, foreign) = (usize::from(self.config.seats), foreign.count());
        let is_full = self.relay.peer_count() == seats;
        let is_nameless = repaired(dialect::first_line(name).0).is_none();
        let reasons = [
            (Refusal::Unproven, !is_proven),
            (Refusal::Full, is_proven && is_full),
            (Refusal::Crowded, is_proven && foreign >= seats / 2),
            (Refusal::Hasty, is_proven && self.joins >= JOINS),
            (Refusal::Blank, is_proven && is_nameless),
        ];
        assert!(reasons.contains(&(*why, true)), "{why:?} for {text:?}");
        if *why == Refusal::Unproven {
            self.read_challenge(source, payload, name, reply);
        }
    }

    /// Judges the request for a code, and records the code.
    fn read_challenge(&mut self, source: SocketAddr, payload: &[u8], name: &str, reply: &[u8]) {
        let may = !payload.starts_with(b"* ") && self.given.take(self.now).is_ok();
        assert_eq!(may, !reply.is_empty(), "{}", reply.escape_ascii());
        if !may {
            return;
        }
        let text = core::str::from_utf8(reply).expect("UTF-8");
        let (code, told) = code_asked_for(text).expect("nothing but a code");
        let wanted = repaired(dialect::first_line(name).0);
        let end = if dialect::unpadded(payload).ends_with(b"\n") {
            "\n"
        } else {
            ""
        };
        let wanted = wanted.unwrap_or_else(|| "NAME".to_owned());
        assert_eq!(told, format!("{wanted}{end}"));
        let most = (payload.len() + HEADERS) * 21 / 10;
        assert!(reply.len() + HEADERS <= most, "{text:?} is too long");
        let minute = self.now / MINUTE;
        let codes = self.codes.entry(source).or_default();
        let same = codes.iter().find(|(_, at)| *at == minute);
        assert!(same.is_none_or(|(same, _)| *same == code), "two codes");
        if same.is_none() {
            codes.push((code, minute));
        }
    }

    /// Checks that a source is sent at most three times the bytes that came from it.
    fn account(&mut self, source: SocketAddr, payload: &[u8], reply: &[u8], is_seated: bool) {
        if is_seated {
            self.ledger.remove(&source);
            return;
        }
        let (from, to) = self.ledger.entry(source).or_default();
        *from += payload.len() + HEADERS;
        *to += if reply.is_empty() {
            0
        } else {
            reply.len() + HEADERS
        };
        assert!(*to <= 3 * *from, "{source}: {from} came, {to} went");
    }

    fn is_foreign(&self, address: SocketAddr) -> bool {
        let config = Config {
            open: false,
            ..self.config.clone()
        };
        dialect::admitted(&config, address.ip()) == Admitted::Never
    }

    /// Takes all fan-outs. They are for peers alone.
    fn fan_out(&mut self) {
        let mut buffer = [0; DATAGRAM_MAX];
        let now = Instant::from_millis(self.now);
        while let Some(fanout) = self.relay.poll_fanout(now, &mut buffer) {
            let to: Vec<_> = fanout.map(|delivery| delivery.address).collect();
            for address in to {
                assert!(self.relay.find(&address).is_some(), "{address} has no seat");
            }
        }
    }

    /// Lets an honest newcomer of each kind join, if there is a seat for it.
    fn let_in(&mut self) {
        // all limits are as they were at the start
        self.now += 2 * MINUTE;
        for source in HONEST.map(|source| source.parse().unwrap()) {
            let all = self.relay.peer_count();
            let peers = self.relay.peers();
            let foreign = peers.filter(|peer| self.is_foreign(peer.address)).count();
            let seats = usize::from(self.config.seats);
            let is_share_left = !self.is_foreign(source) || foreign < seats / 2;
            let is_served = dialect::admitted(&self.config, source.ip()) != Admitted::Never;
            if !is_served || !is_share_left || all >= seats {
                continue;
            }
            let (mut event, reply) = self.receive(source, b"Zoe");
            if let Ok(text) = core::str::from_utf8(&reply)
                && let Some((code, _)) = code_asked_for(text)
            {
                self.now += MINUTE;
                let payload = format!("{code:08} Zoe");
                (event, _) = self.receive(source, payload.as_bytes());
            }
            assert!(matches!(event, Event::Joined { .. }), "{event:?}");
        }
    }
}

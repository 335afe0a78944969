//! The cost of the core in instructions, as callgrind counts them: equal in each run with the same
//! compiler, on any machine and under any load. A row above its limit fails the run. Limits are per
//! delivery, join, datagram or poll; `limit` multiplies them by the number of these in a row.
#![allow(
    missing_docs,
    unused_qualifications,
    reason = "what the macros make has none, and some"
)]

use core::hint::black_box;
use core::net::{Ipv4Addr, SocketAddr};

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use kilochat_core::framed::{Ack, Frame, Hello, Post, Resume, Session, Texts};
use kilochat_core::{Config, DATAGRAM_MAX, Event, Instant, Relay, Reply};

const NOW: Instant = Instant::from_millis(1000);

/// Number of calls in a row that is about single calls.
const CALLS: u16 = 100;

/// Number of lines that fill a datagram.
const TEXTS: u16 = 15;

/// Number of peers that acknowledge in a row about acknowledgements.
const ACKS: u16 = 31;

/// Number of peers that join in a row about joins.
const JOINS: u16 = 8;

/// A text. With the author's name and the separator it makes a line of 64 bytes.
const TEXT: [u8; 56] = [b'x'; 56];

/// A relay with peers, and the state of its driver.
struct Room {
    relay: Box<dyn Core>,
    seats: u16,
    reply: Reply,
    /// Room for one datagram, or for several to one peer.
    buffer: Vec<u8>,
    /// Frames that the row hands to the relay.
    frames: Vec<Vec<u8>>,
}

/// A relay of any size.
trait Core {
    fn handle(&mut self, from: u16, payload: &[u8], reply: &mut Reply) -> Event;
    /// Sends everything. Returns the number of deliveries and of datagrams.
    fn send_all(&mut self, buffer: &mut [u8]) -> (u16, u16);
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Core
    for Relay<PEERS, RING, WINDOW>
{
    fn handle(&mut self, from: u16, payload: &[u8], reply: &mut Reply) -> Event {
        self.handle_datagram(NOW, address(from), payload, reply)
    }

    fn send_all(&mut self, buffer: &mut [u8]) -> (u16, u16) {
        let (mut deliveries, mut datagrams) = (0, 0);
        while let Some(fanout) = self.poll_fanout(NOW, buffer) {
            let segments = black_box(fanout.payload()).len().div_ceil(DATAGRAM_MAX);
            let segments = u16::try_from(segments).expect("at most 16");
            datagrams += segments;
            for delivery in fanout {
                black_box(delivery);
                deliveries += segments;
            }
        }
        (deliveries, datagrams)
    }
}

/// Creates a room without peers.
fn empty(seats: u16) -> Box<Room> {
    let config = Config {
        seats,
        history: 0,
        announce_up_to: 0,
        key: [9; 16],
        rate: 0,
        ..Config::new([0; 16])
    };
    let relay: Box<dyn Core> = if seats == 32 {
        let mut relay = Box::new(Relay::<32, 8192, 8>::new());
        relay.configure(config);
        relay
    } else {
        let mut relay = Box::new(Relay::<4096, 1_048_576, 32>::new());
        relay.configure(config);
        relay
    };
    Box::new(Room {
        relay,
        seats,
        reply: Reply::new(),
        buffer: vec![0; DATAGRAM_MAX],
        frames: Vec::new(),
    })
}

/// Creates a room whose peers have been sent all lines. The last `free` seats are free.
fn room(seats: u16, free: u16) -> Box<Room> {
    let mut room = empty(seats);
    room.join(0..seats - free);
    room.say(0);
    room.relay.send_all(&mut room.buffer);
    room
}

/// Creates a full room of framed peers, of which the first is about to post.
fn framed(seats: u16) -> Box<Room> {
    let mut room = empty(seats);
    let sessions: Vec<_> = (0..seats).map(|peer| room.join_framed(peer)).collect();
    let text = core::str::from_utf8(&TEXT).expect("it is ASCII");
    let mut texts = [0; DATAGRAM_MAX];
    let (texts, count) = Texts::collect(core::iter::repeat_n(text, TEXTS.into()), &mut texts);
    assert_eq!(count, usize::from(TEXTS));
    room.frames = vec![encoded(&Frame::Post(Post {
        session: sessions[0].0,
        number: 1,
        sent_at: 0,
        texts,
    }))];
    for (session, first, _) in sessions {
        room.frames.push(encoded(&Frame::Ack(Ack {
            session,
            echo: Some(1000),
            answer: false,
            next: first + u64::from(TEXTS),
            ranges: Default::default(),
        })));
    }
    room
}

/// Creates such a room whose driver sends several datagrams in a call.
fn segmented(seats: u16) -> Box<Room> {
    let mut room = framed(seats);
    room.buffer.resize(16 * DATAGRAM_MAX, 0);
    room
}

/// Creates such a room in which everything was sent to all peers, and nothing is acknowledged.
fn unacknowledged(seats: u16) -> Box<Room> {
    let mut room = framed(seats);
    room.post();
    room.relay.send_all(&mut room.buffer);
    room
}

/// Creates a room with a ring full of short lines, and HELLOs that resume unknown sessions near the
/// end of the ring.
fn returning(seats: u16) -> Box<Room> {
    let mut room = empty(seats);
    let (_, _, epoch) = room.join_framed(0);
    room.join(1..2);
    for _ in 0..16 * u32::from(seats) {
        let event = room.relay.handle(1, b"x", &mut room.reply);
        assert!(matches!(event, Event::Said { .. }), "{event:?}");
    }
    let resume = Resume {
        session: Session(7),
        epoch,
        next: 16 * u64::from(seats) - 2,
    };
    room.frames = (2..2 + JOINS)
        .map(|peer| room.hello(peer, Some(resume)))
        .collect();
    room
}

fn full(seats: u16) -> Box<Room> {
    room(seats, 0)
}

fn nearly_full(seats: u16) -> Box<Room> {
    room(seats, JOINS)
}

impl Room {
    fn join(&mut self, peers: core::ops::Range<u16>) {
        for peer in peers {
            let mut name = *b"p0000";
            for (digit, power) in name[1..].iter_mut().zip([1000, 100, 10, 1]) {
                *digit += u8::try_from(peer / power % 10).unwrap_or_default();
            }
            let event = self.relay.handle(peer, &name, &mut self.reply);
            assert!(matches!(event, Event::Joined { .. }), "{event:?}");
        }
    }

    fn say(&mut self, peer: u16) {
        let event = self.relay.handle(peer, &TEXT, &mut self.reply);
        assert!(matches!(event, Event::Said { .. }), "{event:?}");
    }

    /// Returns a HELLO with a cookie.
    fn hello(&mut self, peer: u16, resume: Option<Resume>) -> Vec<u8> {
        let name = format!("p{peer:04}");
        let mut hello = Hello {
            abilities: 0,
            nonce: 1,
            cookie: None,
            resume,
            name: &name,
        };
        let frame = encoded(&Frame::Hello(hello.clone()));
        self.relay.handle(peer, &frame, &mut self.reply);
        let Ok(Frame::Cookie(cookie)) = Frame::decode(&self.reply) else {
            panic!("{:?}", self.reply)
        };
        (hello.cookie, hello.nonce) = (Some(cookie.cookie), 2);
        encoded(&Frame::Hello(hello))
    }

    /// Returns the session, the first line and the epoch.
    fn join_framed(&mut self, peer: u16) -> (Session, u64, u32) {
        let frame = self.hello(peer, None);
        self.relay.handle(peer, &frame, &mut self.reply);
        match Frame::decode(&self.reply) {
            Ok(Frame::Welcome(welcome)) => (welcome.session, welcome.first, welcome.epoch),
            other => panic!("{other:?}"),
        }
    }

    fn post(&mut self) {
        let event = self.relay.handle(0, &self.frames[0], &mut self.reply);
        assert!(matches!(event, Event::Said { .. }), "{event:?}");
    }

    fn send(&mut self, deliveries: u16, datagrams: u16) {
        let sent = self.relay.send_all(&mut self.buffer);
        assert_eq!(sent, (deliveries, datagrams));
    }
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut buffer = [0; DATAGRAM_MAX];
    let length = frame.encode(&mut buffer).expect("it fits");
    buffer[..length].to_vec()
}

fn address(peer: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, 1), 10_000 + peer).into()
}

/// Returns a limit of `each` instructions for each of `of` units.
fn limit(each: u64, of: u16) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    let limit = (EventKind::Ir, each * u64::from(of));
    config.tool(Callgrind::default().hard_limits([limit]));
    config
}

// Each line is sent before the next one is said.
#[library_benchmark]
#[bench::seats_32(args = (32), setup = full, config = limit(236, TEXTS * 31))]
#[bench::seats_4096(args = (4096), setup = full, config = limit(187, TEXTS * 4095))]
fn one_by_one(mut room: Box<Room>) -> Box<Room> {
    for _ in 0..TEXTS {
        room.say(0);
        let others = room.seats - 1;
        room.send(others, 1);
    }
    room
}

// All lines are sent in the same datagrams.
#[library_benchmark]
#[bench::seats_32(args = (32), setup = full, config = limit(56, TEXTS * 31))]
#[bench::seats_4096(args = (4096), setup = full, config = limit(13, TEXTS * 4095))]
fn coalesced(mut room: Box<Room>) -> Box<Room> {
    for _ in 0..TEXTS {
        room.say(0);
    }
    let others = room.seats - 1;
    room.send(others, 1);
    room
}

// Like `coalesced`, except that each author is sent a datagram of its own, without its own line.
#[library_benchmark]
#[bench::seats_32(args = (32), setup = full, config = limit(113, TEXTS * 31))]
#[bench::seats_4096(args = (4096), setup = full, config = limit(14, TEXTS * 4095))]
fn coalesced_for_authors(mut room: Box<Room>) -> Box<Room> {
    for peer in 0..TEXTS {
        room.say(peer);
    }
    let all = room.seats;
    room.send(all, TEXTS + 1);
    room
}

#[library_benchmark]
#[bench::seats_32(args = (32), setup = nearly_full, config = limit(10_240, JOINS))]
#[bench::seats_4096(args = (4096), setup = nearly_full, config = limit(10_240, JOINS))]
fn join(mut room: Box<Room>) -> Box<Room> {
    let seats = room.seats;
    room.join(seats - JOINS..seats);
    room
}

// A datagram that is refused because it is not UTF-8.
#[library_benchmark]
#[bench::seats_32(args = (32), setup = full, config = limit(387, CALLS))]
#[bench::seats_4096(args = (4096), setup = full, config = limit(423, CALLS))]
fn refused(mut room: Box<Room>) -> Box<Room> {
    for _ in 0..CALLS {
        let event = room.relay.handle(1, b"caf\xE9", &mut room.reply);
        assert!(matches!(event, Event::Refused { .. }), "{event:?}");
    }
    room
}

// A first datagram that is refused because all seats are taken.
#[library_benchmark]
#[bench::seats_32(args = (32), setup = full, config = limit(2910, CALLS))]
#[bench::seats_4096(args = (4096), setup = full, config = limit(5200, CALLS))]
fn turned_away(mut room: Box<Room>) -> Box<Room> {
    for _ in 0..CALLS {
        let event = room.relay.handle(20_000, b"late", &mut room.reply);
        assert!(matches!(event, Event::Refused { .. }), "{event:?}");
    }
    room
}

// A poll while nothing is due.
#[library_benchmark]
#[bench::seats_32(args = (32), setup = full, config = limit(45, CALLS))]
#[bench::seats_4096(args = (4096), setup = full, config = limit(45, CALLS))]
fn idle_poll(mut room: Box<Room>) -> Box<Room> {
    for _ in 0..CALLS {
        room.send(0, 0);
    }
    room
}

// A POST with a datagram's worth of texts, which in frames need two datagrams: sent one at a time,
// or both to a peer at once.
#[library_benchmark]
#[bench::seats_32(args = (32), setup = framed, config = limit(89, TEXTS * 32))]
#[bench::seats_4096(args = (4096), setup = framed, config = limit(52, TEXTS * 4096))]
#[bench::segments_32(args = (32), setup = segmented, config = limit(66, TEXTS * 32))]
#[bench::segments_4096(args = (4096), setup = segmented, config = limit(29, TEXTS * 4096))]
fn framed_coalesced(mut room: Box<Room>) -> Box<Room> {
    room.post();
    let all = room.seats;
    room.send(2 * all, 2);
    room
}

// A client whose session does not exist any more continues at a line in a full ring. The alignment of
// what is copied on the stack makes a few instructions of difference between machines.
#[library_benchmark]
#[bench::seats_32(args = (32), setup = returning, config = limit(10_120, JOINS))]
#[bench::seats_4096(args = (4096), setup = returning, config = limit(10_120, JOINS))]
fn go_on(mut room: Box<Room>) -> Box<Room> {
    for peer in 2..2 + JOINS {
        let frame = &room.frames[usize::from(peer - 2)];
        let event = room.relay.handle(peer, frame, &mut room.reply);
        assert!(matches!(event, Event::Joined { .. }), "{event:?}");
    }
    room
}

// An acknowledgement of all lines.
#[library_benchmark]
#[bench::seats_32(args = (32), setup = unacknowledged, config = limit(990, ACKS))]
#[bench::seats_4096(args = (4096), setup = unacknowledged, config = limit(990, ACKS))]
fn acknowledgement(mut room: Box<Room>) -> Box<Room> {
    for peer in 1..=ACKS {
        let frame = &room.frames[1 + usize::from(peer)];
        let event = room.relay.handle(peer, frame, &mut room.reply);
        assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
    }
    room
}

library_benchmark_group!(
    name = core_of_the_relay,
    benchmarks = [
        one_by_one,
        coalesced,
        coalesced_for_authors,
        join,
        refused,
        turned_away,
        idle_poll,
        framed_coalesced,
        go_on,
        acknowledgement
    ]
);

main!(library_benchmark_groups = core_of_the_relay);

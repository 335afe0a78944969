//! Another address wants to go on with a session: its own address is asked first.

use std::collections::VecDeque;

use kilochat_core::framed::{Ack, Frame, Goodbye, Hello, Outcome, Resume};
use kilochat_core::{Client, DATAGRAM_MAX, Event, Path, Refusal};

use crate::room::{Room, Sent, Welcomed, bye, encoded, outcome, resume, sent, welcomed};

/// The session's own address, and those from which others want it.
const OWN: u16 = 1001;
const OTHER: u16 = 1002;
const THIRD: u16 = 1003;

/// A session that has acknowledged three lines.
struct Inquiry {
    room: Room,
    ada: Welcomed,
}

impl Inquiry {
    fn new(start: u64) -> Self {
        let mut room = Room::new();
        room.sleep(start);
        let ada = room.join(OWN, "ada");
        room.datagram(3, b"eve");
        for text in ["one", "two", "three"] {
            room.datagram(3, text.as_bytes());
        }
        room.flush();
        room.ack(OWN, ada.session, 3, &[]);
        Self { room, ada }
    }

    /// Sends a HELLO that resumes the session.
    fn hello(&mut self, from: u16) -> (Event, Vec<u8>) {
        let cookie = self.room.cookie(from);
        let nonce = self.room.nonce + u64::from(from);
        self.room
            .hello(from, nonce, "ada", Some(cookie), resume(&self.ada, 3))
    }

    /// The HELLO is not answered, and the session's address is asked.
    fn asks(&mut self, from: u16) {
        let (event, reply) = self.hello(from);
        assert!(reply.is_empty());
        assert!(matches!(event, Event::Claimed { .. }), "{event:?}");
        assert_eq!(event.seat(), None);
        let (seat, address, question) = event.aside().unwrap();
        assert_eq!(Some(seat), self.room.relay.find(&address));
        assert_eq!(address, Room::source(OWN));
        assert_eq!(sent(question), Sent::Gap(2, 3));
    }

    fn moves(&mut self, to: u16) {
        let (event, reply) = self.hello(to);
        let (_, address, farewell) = event.aside().unwrap();
        assert_eq!(address, Room::source(OWN));
        assert_eq!(bye(farewell), Goodbye::TakenOver);
        assert!(
            matches!(event, Event::Resumed { moved: Some(_), .. }),
            "{event:?}"
        );
        assert_eq!(welcomed(&reply).session, self.ada.session);
    }

    /// The HELLO gets a seat of its own, and the session stays.
    fn is_denied(&mut self, from: u16) {
        let (event, reply) = self.hello(from);
        assert!(matches!(event, Event::Joined { .. }), "{event:?}");
        let other = welcomed(&reply);
        assert_ne!(other.session, self.ada.session);
        assert_eq!((other.first, &*other.name), (3, "ada~2"));
        assert_eq!(self.hello(from).1, reply);
        let (_, reply) = self.room.post(OWN, self.ada.session, 1, &["still here"]);
        assert!(matches!(outcome(&reply), Outcome::Accepted { .. }));
    }

    /// An acknowledgement from the session's address.
    fn responds(&mut self, echo: Option<u64>) {
        let ack = Ack {
            session: self.ada.session,
            echo: echo.map(|at| u16::try_from(at % 65_536).unwrap()),
            answer: false,
            next: 3,
            ranges: Default::default(),
        };
        let (event, _) = self.room.frame(OWN, &Frame::Ack(ack));
        assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
    }

    fn waits(&mut self, millis: u64) {
        self.room.sleep(millis);
    }

    fn now(&self) -> u64 {
        self.room.now.as_millis()
    }
}

// [S14]
#[test]
fn a_session_in_use_is_not_taken_from_its_client() {
    for start in [0, 65_000] {
        for after in [0, 1, 399, 799] {
            let mut inquiry = Inquiry::new(start);
            inquiry.asks(OTHER);
            let asked = inquiry.now();
            inquiry.waits(after);
            let echo = [asked, inquiry.now()][usize::from(after == 399)];
            inquiry.responds(Some(echo));
            // late acknowledgements change nothing
            inquiry.responds(None);
            inquiry.responds(Some(asked.saturating_sub(1)));
            inquiry.is_denied(OTHER);
        }
    }
}

// [S14]
#[test]
fn a_session_moves_when_nobody_responds_at_its_address() {
    for start in [0, 65_000] {
        let mut inquiry = Inquiry::new(start);
        inquiry.asks(OTHER);
        inquiry.waits(399);
        inquiry.asks(OTHER);
        inquiry.waits(1);
        inquiry.asks(OTHER); // the second question
        inquiry.waits(399);
        inquiry.asks(OTHER);
        // the frames are answered where the session still is
        let (event, _) = inquiry.room.post(OTHER, inquiry.ada.session, 1, &["mine"]);
        let why = Refusal::Session;
        assert_eq!(event, Event::Refused { seat: None, why });
        inquiry.waits(1);
        inquiry.moves(OTHER);
        assert_eq!(inquiry.room.relay.stats().claimed, 4);
        // the next move needs another inquiry
        let (event, _) = inquiry.hello(THIRD);
        assert!(matches!(event, Event::Claimed { .. }), "{event:?}");
    }
}

// [S14]
#[test]
fn one_question_is_not_enough() {
    let mut inquiry = Inquiry::new(0);
    inquiry.asks(OTHER);
    inquiry.waits(5000);
    inquiry.asks(OTHER);
    inquiry.waits(400);
    inquiry.moves(OTHER);
}

// [S14]
#[test]
fn what_was_sent_before_the_question_is_no_response() {
    let mut inquiry = Inquiry::new(1000);
    inquiry.asks(OTHER);
    let asked = inquiry.now();
    inquiry.waits(400);
    inquiry.asks(OTHER);
    for echo in [None, Some(asked - 1), Some(0)] {
        inquiry.responds(echo);
    }
    inquiry
        .room
        .post(OWN, inquiry.ada.session, 1, &["in flight"]);
    inquiry.waits(400);
    inquiry.moves(OTHER);
}

// [S14]
#[test]
fn an_inquiry_is_over_after_ten_seconds() {
    for has_responded in [false, true] {
        let asked = |rest| {
            let mut inquiry = Inquiry::new(0);
            inquiry.asks(OTHER);
            inquiry.waits(400);
            inquiry.asks(OTHER);
            if has_responded {
                inquiry.responds(Some(400));
            }
            inquiry.waits(rest);
            inquiry
        };
        let mut inquiry = asked(9600);
        if has_responded {
            inquiry.is_denied(OTHER);
        } else {
            inquiry.moves(OTHER);
        }
        let mut inquiry = asked(9601);
        for _ in 0..2 {
            inquiry.asks(OTHER);
            inquiry.waits(400);
        }
        inquiry.moves(OTHER);
    }
}

// [S14]
#[test]
fn who_comes_after_a_response_begins_another_inquiry() {
    let mut inquiry = Inquiry::new(0);
    inquiry.asks(OTHER);
    inquiry.responds(Some(0));
    // the client is at another address now
    for _ in 0..2 {
        inquiry.waits(500);
        inquiry.asks(THIRD);
    }
    inquiry.waits(500);
    inquiry.moves(THIRD);
}

// [S14]
#[test]
fn a_client_that_says_hello_at_its_address_is_there() {
    let mut inquiry = Inquiry::new(0);
    let cookie = inquiry.room.cookie(OWN);
    let nonce = inquiry.room.nonce;
    for _ in 0..2 {
        inquiry.asks(OTHER);
        inquiry.waits(400);
    }
    let (event, _) = inquiry.room.hello(OWN, nonce, "ada", Some(cookie), None);
    assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
    for _ in 0..2 {
        inquiry.asks(OTHER);
        inquiry.waits(400);
    }
    inquiry.moves(OTHER);
}

// [S14]
#[test]
fn a_client_that_is_away_moves_at_once() {
    let mut inquiry = Inquiry::new(0);
    inquiry.waits(59_900);
    assert_eq!(inquiry.room.sleep(200), ["ada"]);
    inquiry.moves(OTHER);
}

// [S14]
#[test]
fn a_session_that_has_acknowledged_nothing_does_not_move() {
    let mut room = Room::new();
    let ada = room.join(OWN, "ada");
    let (event, other) = room.welcome(OTHER, "ada", resume(&ada, 0));
    assert!(matches!(event, Event::Joined { .. }), "{event:?}");
    assert_ne!(other.session, ada.session);
}

/// Sends both HELLOs of a client at this address.
fn hello(room: &mut Room, address: &str, resume: Option<Resume>) -> (Event, Vec<u8>) {
    let source = address.parse().unwrap();
    room.nonce += 2;
    let mut hello = Hello {
        abilities: 0,
        nonce: room.nonce - 1,
        cookie: None,
        resume,
        name: "ada",
    };
    let (_, reply) = room.datagram_from(source, &encoded(&Frame::Hello(hello.clone())));
    let Ok(Frame::Cookie(cookie)) = Frame::decode(&reply) else {
        panic!("{reply:?}")
    };
    (hello.cookie, hello.nonce) = (Some(cookie.cookie), room.nonce);
    room.datagram_from(source, &encoded(&Frame::Hello(hello)))
}

// [S14]
#[test]
fn a_visitor_of_a_gateway_moves_at_once() {
    for (own, other, is_asked) in [
        ("127.64.0.1:1", "127.64.0.1:2", false),
        ("127.64.0.1:1", "127.64.0.2:1", true),
        ("127.0.0.1:1", "127.0.0.1:2", true),
        ("[::1]:1", "[::1]:2", true),
        ("10.0.0.1:1", "10.0.0.1:2", true),
        ("127.64.0.1:1", "10.0.0.1:1", true),
    ] {
        let mut room = Room::new();
        room.datagram(3, b"eve");
        room.datagram(3, b"one");
        let (_, reply) = hello(&mut room, own, None);
        let ada = welcomed(&reply);
        let (event, reply) = hello(&mut room, other, resume(&ada, ada.first));
        assert_eq!(
            matches!(event, Event::Claimed { .. }),
            is_asked,
            "{event:?}"
        );
        assert_eq!(reply.is_empty(), is_asked);
    }
}

/// Datagrams in flight, each with its arrival.
type Queue = VecDeque<(u64, Vec<u8>)>;

fn pop_due(queue: &mut Queue, at: u64) -> Option<Vec<u8>> {
    queue.front().filter(|(due, _)| *due <= at)?;
    Some(queue.pop_front()?.1)
}

/// A client at [`OWN`] behind a network with a delay, and a relay.
struct Link {
    room: Room,
    client: Client<8, 1024>,
    delay: u64,
    to_relay: Queue,
    to_client: Queue,
    /// What its WELCOME said.
    ada: Option<Welcomed>,
}

impl Link {
    fn new(delay: u64) -> Self {
        let mut room = Room::new();
        room.datagram(3, b"eve");
        room.datagram(3, b"one");
        Self {
            room,
            client: Client::new("ada", 7, 1),
            delay,
            to_relay: VecDeque::new(),
            to_client: VecDeque::new(),
            ada: None,
        }
    }

    /// Does what happens within one millisecond.
    fn step(&mut self) {
        self.room.sleep(1);
        let now = self.room.now;
        let (at, mut buffer) = (now.as_millis(), [0; DATAGRAM_MAX]);
        while let Some(payload) = pop_due(&mut self.to_relay, at) {
            let (_, reply) = self.room.datagram(OWN, &payload);
            self.to_client.push_back((at + self.delay, reply));
        }
        while let Some(fanout) = self.room.relay.poll_fanout(now, &mut buffer) {
            let payload = fanout.payload();
            for _ in fanout.filter(|it| it.address == Room::source(OWN)) {
                self.to_client
                    .push_back((at + self.delay, payload.to_vec()));
            }
        }
        while let Some(payload) = pop_due(&mut self.to_client, at) {
            if matches!(Frame::decode(&payload), Ok(Frame::Welcome(_))) {
                self.ada.get_or_insert(welcomed(&payload));
            }
            self.client.handle_datagram(now, Path(0), &payload);
        }
        self.client.handle_timeout(now);
        while self.client.poll_event().is_some() {}
        while let Some(transmit) = self.client.poll_transmit(now, &mut buffer) {
            let payload = buffer[..transmit.length].to_vec();
            self.to_relay.push_back((at + self.delay, payload));
        }
    }

    /// Sends a HELLO that resumes the client's session from another address. Returns whether it moves.
    fn is_taken(&mut self) -> bool {
        let cookie = self.room.cookie(OTHER);
        let ada = self.ada.clone().unwrap();
        let resume = resume(&ada, ada.first);
        let (event, _) = self.room.hello(OTHER, 1 << 60, "eve", Some(cookie), resume);
        if let Some((_, to, payload)) = event.aside() {
            assert_eq!(to, Room::source(OWN));
            let at = self.room.now.as_millis() + self.delay;
            self.to_client.push_back((at, payload.to_vec()));
        }
        matches!(event, Event::Resumed { .. })
    }
}

// [S14] [D3]
#[test]
fn whoever_reads_the_network_gets_no_session_that_is_in_use() {
    for delay in [1, 30, 150, 350] {
        // with respect to a line, which the client acknowledges a tenth of a second later
        for begin in (0..800).step_by(19) {
            for pauses in [[0, 400, 800], [0, 500, 1000], [0, 900, 1400]] {
                let mut link = Link::new(delay);
                (0..5000).for_each(|_| link.step());
                link.room.datagram(3, b"two");
                for after in 0..4000 {
                    let is_due = pauses.iter().any(|pause| begin + pause == after);
                    let is_taken = is_due && link.is_taken();
                    assert!(!is_taken, "{after} ms after a line, {delay} ms away");
                    link.step();
                }
                assert!(link.room.relay.stats().claimed > 0);
            }
        }
    }
}

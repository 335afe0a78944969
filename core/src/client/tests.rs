//! A client against a relay whose frames the test writes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::wildcard_enum_match_arm, reason = "it looks at some")]

extern crate std;

mod handshake;
mod lines;
mod posts;
mod random;
mod returning;
mod silence;

use std::boxed::Box;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::wire::framed::{
    Cookie, Frame, Gap, Goodbye, Outcome, Posted, Reason, Refused, Welcome, data_header,
};

const SEED: u64 = u64::MAX; // so that the nonce wraps
const SESSION: Session = Session(0xA);
const EPOCH: u32 = 7;
const OWN: u32 = 3;

/// The small client that fits on a board.
type Small = Client<4, 512>;

/// The client of most tests.
type Hand = Driven<4>;

/// A client, and the time that is passed to it.
struct Driven<const HELD: usize> {
    client: Box<Client<HELD, 512>>,
    now: u64,
    path: Path,
    /// The number of the last DATA, which is its time stamp.
    sent_at: u16,
}

impl<const HELD: usize> Driven<HELD> {
    fn new(paths: u8) -> Self {
        Self {
            client: Box::new(Client::new("Ada", SEED, paths)),
            now: 1000,
            path: Path(0),
            sent_at: 0,
        }
    }

    /// Returns a client that has joined; the next line is 10.
    fn joined() -> Self {
        let mut hand = Self::new(1);
        assert_eq!(hand.said(), ["hello 0 +0 -"]);
        hand.cookie(0, 1);
        assert_eq!(hand.said(), ["hello 0 +0 01"]);
        hand.welcome(0, SESSION, EPOCH, 10, 10);
        assert_eq!(hand.told(), ["joined New Ada 0"]);
        assert_eq!(hand.said(), [""; 0]);
        hand
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    /// Passes in a datagram.
    fn gets(&mut self, payload: &[u8]) -> Received {
        self.client.handle_datagram(self.now(), self.path, payload)
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Received {
        let mut buffer = [0; DATAGRAM_MAX];
        let length = frame.encode(&mut buffer).unwrap();
        self.gets(&buffer[..length])
    }

    fn cookie(&mut self, nonce: u64, cookie: u8) -> Received {
        self.frame(&Frame::Cookie(Cookie {
            version: "10.11.12-rc.1",
            words: "00000000 a-later-word",
            nonce: SEED.wrapping_add(nonce),
            cookie: [cookie; 16],
        }))
    }

    fn welcome(
        &mut self,
        nonce: u64,
        session: Session,
        epoch: u32,
        first: u64,
        head: u64,
    ) -> Received {
        self.welcome_as(OWN, nonce, session, epoch, first, head)
    }

    fn welcome_as(
        &mut self,
        author: u32,
        nonce: u64,
        session: Session,
        epoch: u32,
        first: u64,
        head: u64,
    ) -> Received {
        self.frame(&Frame::Welcome(Welcome {
            nonce: SEED.wrapping_add(nonce),
            session,
            epoch,
            author,
            first,
            head,
            uptime_s: 100,
            window: 8,
            keepalive_s: 15,
            name: "Ada",
            text: "* welcome Ada: 1 here (Ada)",
        }))
    }

    fn refused(&mut self, nonce: u64, reason: Reason) -> Received {
        self.refused_for(nonce, reason, 0)
    }

    fn refused_for(&mut self, nonce: u64, reason: Reason, retry_s: u16) -> Received {
        self.frame(&Frame::Refused(Refused {
            nonce: SEED.wrapping_add(nonce),
            reason,
            retry_s,
        }))
    }

    /// Passes in the lines `first..end` in one datagram, each a message of another peer.
    fn data(&mut self, first: u64, end: u64) -> Received {
        self.sent_at += 1;
        self.data_again(first, end)
    }

    /// Passes in the last datagram again, as if the network had duplicated it.
    fn data_again(&mut self, first: u64, end: u64) -> Received {
        let lines = (first..end).map(|line| entry(9, 0, 3, &format!("Bob : {line}")));
        let payload = data(EPOCH, self.sent_at, first, lines);
        self.gets(&payload)
    }

    fn gap(&mut self, from: u64, until: u64) -> Received {
        self.sent_at += 1;
        self.frame(&Frame::Gap(Gap {
            session: SESSION,
            sent_at: self.sent_at,
            from,
            until,
        }))
    }

    /// Passes in a reply to the POST that was sent `age_ms` ago.
    fn posted(&mut self, number: u16, age_ms: u64, outcome: Outcome<'_>) -> Received {
        let sent_at = u16::try_from((self.now - age_ms) % 65536).unwrap();
        self.frame(&Frame::Posted(Posted {
            session: SESSION,
            number,
            sent_at,
            outcome,
        }))
    }

    fn bye(&mut self, why: Goodbye) -> Received {
        self.frame(&Frame::Bye(SESSION, why))
    }

    /// Returns all datagrams that the client sends now.
    fn said(&mut self) -> Vec<String> {
        let mut buffer = [0; DATAGRAM_MAX];
        let mut said = Vec::new();
        while let Some(transmit) = self.client.poll_transmit(self.now(), &mut buffer) {
            let frame = Frame::decode(&buffer[..transmit.length]).unwrap();
            said.push(in_words(&frame, transmit.path));
            assert!(said.len() < 100, "it never ends: {said:?}");
        }
        said
    }

    /// Lets time pass. Returns the datagrams that the client sends meanwhile, each with the time
    /// since the start of the wait.
    fn wait(&mut self, duration_ms: u64) -> Vec<String> {
        let (start, end) = (self.now, self.now + duration_ms);
        let mut said = Vec::new();
        let mut turns = 0;
        loop {
            let due = self
                .client
                .poll_timeout()
                .map_or(u64::MAX, Instant::as_millis);
            self.now = due.clamp(self.now, end);
            self.client.handle_timeout(self.now());
            let after = self.now - start;
            said.extend(self.said().iter().map(|said| format!("{after} {said}")));
            turns += 1;
            assert!(turns < 1000, "it does not sleep: {said:?}");
            if due > end || self.client.state() == State::Ended {
                self.now = end;
                return said;
            }
        }
    }

    /// Returns all events.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(event) = self.client.poll_event() {
            told.push(event_in_words(&event));
            assert!(told.len() < 1000, "it never ends: {told:?}");
        }
        told
    }

    fn dropped(&self, why: Dropped) -> u64 {
        self.client.stats().dropped(why)
    }
}

/// Encodes an entry.
fn entry(author: u32, flags: u8, name: u8, line: &str) -> Vec<u8> {
    let length = u16::try_from(10 + line.len()).unwrap();
    let mut entry = length.to_be_bytes().to_vec();
    entry.extend(author.to_be_bytes());
    entry.extend(60_u32.to_be_bytes());
    entry.extend([flags, name]);
    entry.extend(line.as_bytes());
    entry
}

fn data(
    epoch: u32,
    sent_at: u16,
    first: u64,
    entries: impl IntoIterator<Item = Vec<u8>>,
) -> Vec<u8> {
    let mut payload = data_header(epoch, sent_at, first).to_vec();
    payload.extend(entries.into_iter().flatten());
    payload
}

fn in_words(frame: &Frame<'_>, path: Path) -> String {
    match frame {
        Frame::Hello(hello) => {
            let nonce = hello.nonce.wrapping_sub(SEED);
            let cookie = hello.cookie.map(|[first, ..]| format!("{first:02}"));
            let cookie = cookie.unwrap_or_else(|| "-".into());
            let resume = hello.resume.map(|resume| {
                let Session(session) = resume.session;
                format!(" {session:x} {} {}", resume.epoch, resume.next)
            });
            let resume = resume.unwrap_or_default();
            let name = match hello.name {
                "Ada" => String::new(),
                name => format!(" as {name}"),
            };
            format!("hello {} +{nonce} {cookie}{resume}{name}", path.0)
        }
        Frame::Post(post) => {
            let texts = post.texts.iter().map(|text| str::from_utf8(text).unwrap());
            format!(
                "post {} {}",
                post.number,
                texts.collect::<Vec<_>>().join("|")
            )
        }
        Frame::Ack(ack) => {
            let mut said = format!("ack {}", ack.next);
            for range in &ack.ranges {
                said += &format!(" {}+{}", range.skip, range.run);
            }
            if let Some(echo) = ack.echo {
                said += &format!(" echo {echo}");
            }
            said + if ack.answer { " ?" } else { "" }
        }
        Frame::Leave(Session(session)) => format!("leave {session:x}"),
        Frame::Cookie(_)
        | Frame::Welcome(_)
        | Frame::Refused(_)
        | Frame::Posted(_)
        | Frame::Data(_)
        | Frame::Gap(_)
        | Frame::Bye(..) => panic!("a client never says {frame:?}"),
    }
}

fn event_in_words(event: &ClientEvent<'_>) -> String {
    match *event {
        ClientEvent::Joined {
            how, name, history, ..
        } => format!("joined {how:?} {name} {history}"),
        ClientEvent::Line {
            sequence,
            name,
            text,
            own,
            is_history,
            ..
        } => {
            let mut said = format!("{sequence} {name}: {text}");
            said += if own { " (own)" } else { "" };
            said + if is_history { " (history)" } else { "" }
        }
        ClientEvent::Lost { from, lines } => format!("lost {from} {lines}"),
        ClientEvent::Said { post, first, lines } => format!("said {} {first}+{lines}", post.0),
        ClientEvent::Answered { post, text } => format!("answered {} {text}", post.0),
        ClientEvent::Refused { post, reason } => format!("refused {} {reason:?}", post.0),
        ClientEvent::Doubtful { post } => format!("doubtful {}", post.0),
        ClientEvent::Unsaid { post } => format!("unsaid {}", post.0),
        ClientEvent::SeatLost(loss) => format!("seat lost {loss:?}"),
        ClientEvent::NoSeat { reason, retry_s } => format!("no seat {reason:?} {retry_s}"),
        ClientEvent::Silent => "silent".to_string(),
        ClientEvent::Back => "back".to_string(),
        ClientEvent::Ended(why) => format!("ended {why:?}"),
    }
}

#[test]
fn a_board_has_room_for_a_client() {
    assert!(size_of::<Small>() < 8 << 10, "{}", size_of::<Small>());
    assert!(size_of::<Client<32, 65536>>() < 104 << 10);
}

//! A room in which the test writes the clients' frames itself.

use core::net::SocketAddr;
use core::time::Duration;

use kilochat_core::framed::{
    Ack, Frame, Goodbye, Hello, Outcome, Post, Range, Resume, Session, TEXTS_MAX, Texts, Welcome,
};
use kilochat_core::{Config, DATAGRAM_MAX, Event, Expired, Instant, Relay, Reply};

/// The parts of a sent datagram that tests compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Text(String),
    /// The sequence number of the first line, and the lines.
    Data(u64, Vec<String>),
    Gap(u64, u64),
}

/// The fields of a WELCOME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Welcomed {
    pub(super) session: Session,
    pub(super) epoch: u32,
    pub(super) author: u32,
    pub(super) first: u64,
    pub(super) head: u64,
    pub(super) name: String,
    pub(super) uptime_s: u32,
    pub(super) window: u8,
    pub(super) keepalive_s: u8,
    pub(super) text: String,
}

/// A room of 4 seats, with at most 2 DATA in flight to a client.
pub(super) struct Room {
    pub(super) relay: Box<Relay<4, 2048, 2>>,
    pub(super) now: Instant,
    pub(super) nonce: u64,
    /// The abilities in a HELLO.
    pub(super) abilities: u32,
}

impl Room {
    pub(super) fn new() -> Self {
        Self::with(Config {
            history: 0,
            announce_up_to: 0,
            ..Config::new([0; 16])
        })
    }

    pub(super) fn with(config: Config) -> Self {
        let mut relay = Box::new(Relay::new());
        relay.configure(Config {
            rate: 0,
            key: [9; 16],
            ..config
        });
        Self {
            relay,
            now: Instant::from_millis(0),
            nonce: 1 << 40,
            abilities: 0,
        }
    }

    /// Returns an address with this port: on another host from 1000 on, and of a visitor of a gateway below.
    pub(super) fn source(port: u16) -> SocketAddr {
        let host = if port >= 1000 { 10 } else { 127 };
        ([host, 0, 0, 2], port).into()
    }

    pub(super) fn datagram(&mut self, port: u16, payload: &[u8]) -> (Event, Vec<u8>) {
        self.datagram_from(Self::source(port), payload)
    }

    pub(super) fn datagram_from(&mut self, source: SocketAddr, payload: &[u8]) -> (Event, Vec<u8>) {
        let mut reply = Reply::new();
        let event = self
            .relay
            .handle_datagram(self.now, source, payload, &mut reply);
        (event, reply.to_vec())
    }

    pub(super) fn frame(&mut self, port: u16, frame: &Frame<'_>) -> (Event, Vec<u8>) {
        self.datagram(port, &encoded(frame))
    }

    pub(super) fn hello(
        &mut self,
        port: u16,
        nonce: u64,
        name: &str,
        cookie: Option<[u8; 16]>,
        resume: Option<Resume>,
    ) -> (Event, Vec<u8>) {
        let abilities = self.abilities;
        self.frame(
            port,
            &Frame::Hello(Hello {
                abilities,
                nonce,
                cookie,
                resume,
                name,
            }),
        )
    }

    pub(super) fn cookie(&mut self, port: u16) -> [u8; 16] {
        let (event, reply) = self.hello(port, 7, "", None, None);
        assert_eq!(event, Event::Challenged);
        let Ok(Frame::Cookie(cookie)) = Frame::decode(&reply) else {
            panic!("{reply:?}")
        };
        cookie.cookie
    }

    /// Sends a HELLO with a cookie. Returns the event and the WELCOME.
    pub(super) fn welcome(
        &mut self,
        port: u16,
        name: &str,
        resume: Option<Resume>,
    ) -> (Event, Welcomed) {
        let cookie = self.cookie(port);
        self.nonce += 1;
        let (event, reply) = self.hello(port, self.nonce, name, Some(cookie), resume);
        (event, welcomed(&reply))
    }

    pub(super) fn join(&mut self, port: u16, name: &str) -> Welcomed {
        let (event, welcomed) = self.welcome(port, name, None);
        assert!(matches!(event, Event::Joined { .. }), "{event:?}");
        welcomed
    }

    pub(super) fn post(
        &mut self,
        port: u16,
        session: Session,
        number: u16,
        texts: &[&str],
    ) -> (Event, Vec<u8>) {
        let mut buffer = [0; TEXTS_MAX];
        let (collected, count) = Texts::collect(texts.iter().copied(), &mut buffer);
        assert_eq!(count, texts.len());
        self.frame(
            port,
            &Frame::Post(Post {
                session,
                number,
                sent_at: 77,
                texts: collected,
            }),
        )
    }

    pub(super) fn ack(
        &mut self,
        port: u16,
        session: Session,
        next: u64,
        ranges: &[(u16, u16)],
    ) -> Event {
        let ranges = ranges.iter().map(|&(skip, run)| Range { skip, run });
        let ack = Ack {
            session,
            echo: None,
            answer: false,
            next,
            ranges: ranges.collect(),
        };
        let (event, reply) = self.frame(port, &Frame::Ack(ack));
        assert!(reply.is_empty() || matches!(event, Event::Refused { .. }));
        event
    }

    /// Returns each datagram that is due, with the ports of its receivers.
    pub(super) fn flush(&mut self) -> Vec<(Sent, Vec<u16>)> {
        let mut buffer = [0; DATAGRAM_MAX];
        let mut all = Vec::new();
        while let Some(fanout) = self.relay.poll_fanout(self.now, &mut buffer) {
            let sent = sent(fanout.payload());
            let mut ports: Vec<u16> = fanout.map(|delivery| delivery.address.port()).collect();
            ports.sort_unstable();
            all.push((sent, ports));
        }
        all
    }

    /// Lets time pass. Returns the names of the peers that were parked.
    pub(super) fn sleep(&mut self, millis: u64) -> Vec<String> {
        self.now = self.now.after(Duration::from_millis(millis));
        let mut parked = Vec::new();
        while let Some(expired) = self.relay.handle_timeout(self.now) {
            let Expired::Parked(seat) = expired else {
                panic!("{expired:?}")
            };
            parked.push(self.relay.peer(seat).unwrap().name.to_owned());
        }
        assert!(self.relay.poll_timeout().is_none_or(|then| then > self.now));
        parked
    }
}

pub(super) fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut buffer = [0; DATAGRAM_MAX];
    let length = frame.encode(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

pub(super) fn sent(payload: &[u8]) -> Sent {
    match Frame::decode(payload) {
        Ok(Frame::Data(data)) => Sent::Data(
            data.first,
            data.entries().map(|entry| entry.line.into()).collect(),
        ),
        Ok(Frame::Gap(gap)) => Sent::Gap(gap.from, gap.until),
        _ => Sent::Text(String::from_utf8(payload.to_vec()).unwrap()),
    }
}

pub(super) fn welcomed(reply: &[u8]) -> Welcomed {
    let Ok(Frame::Welcome(Welcome {
        session,
        epoch,
        author,
        first,
        head,
        uptime_s,
        window,
        keepalive_s,
        name,
        text,
        ..
    })) = Frame::decode(reply)
    else {
        panic!("{reply:?}")
    };
    Welcomed {
        session,
        epoch,
        author,
        first,
        head,
        uptime_s,
        window,
        keepalive_s,
        name: name.into(),
        text: text.into(),
    }
}

pub(super) fn outcome(reply: &[u8]) -> Outcome<'_> {
    let Ok(Frame::Posted(posted)) = Frame::decode(reply) else {
        panic!("{reply:?}")
    };
    assert_eq!(posted.sent_at, 77);
    posted.outcome
}

pub(super) fn bye(reply: &[u8]) -> Goodbye {
    let Ok(Frame::Bye(_, why)) = Frame::decode(reply) else {
        panic!("{reply:?}")
    };
    why
}

pub(super) fn data(first: u64, lines: &[&str], ports: &[u16]) -> (Sent, Vec<u16>) {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    (Sent::Data(first, lines), ports.into())
}

pub(super) fn resume(welcomed: &Welcomed, next: u64) -> Option<Resume> {
    Some(Resume {
        session: welcomed.session,
        epoch: welcomed.epoch,
        next,
    })
}

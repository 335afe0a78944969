//! A relay with sources in any network.

use core::net::SocketAddr;
use core::time::Duration;

use kilochat_core::framed::{Cookie, Frame, Hello};
use kilochat_core::{Config, DATAGRAM_MAX, Event, Instant, Refusal, Relay, Reply};

/// Header bytes of a UDP datagram over IPv4.
pub(super) const HEADERS: usize = 28;

pub(super) struct Room {
    pub(super) relay: Box<Relay<16, 8192, 4>>,
    pub(super) now: Instant,
}

impl Room {
    pub(super) fn new(config: Config) -> Self {
        let mut relay = Box::new(Relay::new());
        relay.configure(config);
        Self {
            relay,
            now: Instant::from_millis(1_000_000),
        }
    }

    pub(super) fn event(&mut self, source: &str, payload: impl AsRef<[u8]>) -> (Event, String) {
        let (event, reply) = self.bytes(source, payload.as_ref());
        (event, String::from_utf8(reply).unwrap())
    }

    pub(super) fn bytes(&mut self, source: &str, payload: &[u8]) -> (Event, Vec<u8>) {
        let mut reply = Reply::new();
        let source: SocketAddr = source.parse().unwrap();
        let event = self
            .relay
            .handle_datagram(self.now, source, payload, &mut reply);
        (event, reply.to_vec())
    }

    /// Sends a datagram and returns the reply.
    pub(super) fn say(&mut self, source: &str, payload: impl AsRef<[u8]>) -> String {
        self.event(source, payload).1
    }

    /// Returns why a datagram is refused, and the reply.
    pub(super) fn refused(&mut self, source: &str, payload: impl AsRef<[u8]>) -> (Refusal, String) {
        match self.event(source, payload) {
            (Event::Refused { why, .. }, reply) => (why, reply),
            other => panic!("{other:?}"),
        }
    }

    /// Joins by name, and by code if one is needed. Returns the welcome.
    pub(super) fn join(&mut self, source: &str, name: &str) -> String {
        let reply = self.say(source, name);
        let Some(code) = code_in(&reply) else {
            return reply;
        };
        self.say(source, format!("{code} {name}"))
    }

    /// Sends HELLO, and again with the cookie. Returns the second reply.
    pub(super) fn join_framed(&mut self, source: &str, name: &str) -> Vec<u8> {
        let mut hello = Hello {
            abilities: 0,
            nonce: 1,
            cookie: None,
            resume: None,
            name,
        };
        let (_, reply) = self.bytes(source, &encoded(&Frame::Hello(hello.clone())));
        let Ok(Frame::Cookie(Cookie { cookie, .. })) = Frame::decode(&reply) else {
            return reply;
        };
        (hello.cookie, hello.nonce) = (Some(cookie), 2);
        self.bytes(source, &encoded(&Frame::Hello(hello))).1
    }

    /// Returns each line that is due, and the sources of its readers.
    pub(super) fn flush(&mut self) -> Vec<(String, Vec<String>)> {
        let mut buffer = [0; DATAGRAM_MAX];
        let mut all = Vec::new();
        while let Some(fanout) = self.relay.poll_fanout(self.now, &mut buffer) {
            let payload = String::from_utf8_lossy(fanout.payload()).into_owned();
            let readers = fanout.map(|delivery| delivery.address.to_string());
            all.push((payload, readers.collect()));
        }
        all
    }

    pub(super) fn sleep_ms(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }
}

/// Returns the code that a reply asks for.
pub(super) fn code_in(reply: &str) -> Option<&str> {
    reply.strip_prefix("* to join, send: ")?.get(..9)
}

pub(super) fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut buffer = [0; DATAGRAM_MAX];
    let length = frame.encode(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

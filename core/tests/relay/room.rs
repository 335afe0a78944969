//! A relay, its peers and its network.

use core::net::SocketAddr;
use core::time::Duration;

use kilochat_core::{Config, DATAGRAM_MAX, Event, Instant, Relay, Reply, Seat};

/// A room of 4 seats whose network never blocks.
pub(super) struct Room {
    pub(super) relay: Box<Relay<4, 2048, 4>>,
    pub(super) now: Instant,
}

impl Room {
    /// Creates a room without announcements and history.
    pub(super) fn plain() -> Self {
        Self::new(Config {
            announce_up_to: 0,
            history: 0,
            ..Config::new([0; 16])
        })
    }

    pub(super) fn new(config: Config) -> Self {
        let mut relay = Box::new(Relay::new());
        relay.configure(Config { rate: 0, ..config });
        Self {
            relay,
            now: Instant::from_millis(0),
        }
    }

    pub(super) fn source(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    pub(super) fn event(&mut self, port: u16, payload: impl AsRef<[u8]>) -> (Event, String) {
        let mut reply = Reply::new();
        let source = Self::source(port);
        let event = self
            .relay
            .handle_datagram(self.now, source, payload.as_ref(), &mut reply);
        (event, String::from_utf8(reply.to_vec()).unwrap())
    }

    /// Sends a datagram from `port` and returns the reply.
    pub(super) fn say(&mut self, port: u16, payload: impl AsRef<[u8]>) -> String {
        self.event(port, payload).1
    }

    /// Gives the peer at `port` a seat.
    pub(super) fn join(&mut self, port: u16, name: &str) -> Seat {
        let (event, reply) = self.event(port, name);
        let Event::Joined { seat, .. } = event else {
            panic!("{event:?} {reply}")
        };
        seat
    }

    /// Returns each datagram that is due, with the ports of its receivers.
    pub(super) fn flush(&mut self) -> Vec<(String, Vec<u16>)> {
        let mut buffer = [0; DATAGRAM_MAX];
        let mut all = Vec::new();
        while let Some(fanout) = self.relay.poll_fanout(self.now, &mut buffer) {
            let payload = String::from_utf8(fanout.payload().to_vec()).unwrap();
            let mut ports: Vec<u16> = fanout.map(|delivery| delivery.address.port()).collect();
            ports.sort_unstable();
            all.push((payload, ports));
        }
        all
    }

    pub(super) fn sleep(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }
}

pub(super) fn due(payload: &str, ports: &[u16]) -> (String, Vec<u16>) {
    (payload.into(), ports.into())
}

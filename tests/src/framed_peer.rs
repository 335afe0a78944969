//! A framed peer for tests over any network.

use kilochat_core::{
    Client, ClientEvent, DATAGRAM_MAX, End, Instant, Joined, Path, PostId, Received, State,
};

/// The core's client, with a record of all its events. The caller brings the network: it hands over
/// [received](Self::receive) datagrams, and [polls](Self::poll) for datagrams to send.
#[derive(Debug)]
pub struct FramedPeer {
    client: Client<8, 8192>,
    /// The lines that were shown, in the form in which a plain peer reads them, each with its
    /// sequence number.
    pub lines: Vec<(u64, String)>,
    /// The texts that were said, each with the sequence number of its first line.
    pub said: Vec<(PostId, u64)>,
    /// The texts that were perhaps said.
    pub doubtful: Vec<PostId>,
    /// Number of lines that were reported as lost.
    pub lost: u64,
    /// Each seat, and its relation to the one before.
    pub seats: Vec<Joined>,
    /// The relay's welcomes and answers to commands.
    pub told: Vec<String>,
    /// Number of times that the relay was reported as silent.
    pub silences: u32,
    /// Why the client ended.
    pub end: Option<End>,
}

impl FramedPeer {
    /// Creates a peer that joins as `name`.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            client: Client::new(name, seed, 1),
            lines: Vec::new(),
            said: Vec::new(),
            doubtful: Vec::new(),
            lost: 0,
            seats: Vec::new(),
            told: Vec::new(),
            silences: 0,
            end: None,
        }
    }

    /// Returns the client itself.
    pub fn client(&mut self) -> &mut Client<8, 8192> {
        &mut self.client
    }

    /// Returns whether it has a seat.
    pub fn is_joined(&self) -> bool {
        self.client.state() == State::Joined
    }

    /// Queues a text.
    ///
    /// # Panics
    ///
    /// If the client has no room for it.
    pub fn post(&mut self, text: &str) -> PostId {
        self.client.post(text).expect("there is room")
    }

    /// Handles a datagram that arrived.
    pub fn receive(&mut self, now: Instant, payload: &[u8]) -> Received {
        let received = self.client.handle_datagram(now, Path(0), payload);
        self.take_events();
        received
    }

    /// Handles time-outs. Returns the datagrams to send.
    ///
    /// # Panics
    ///
    /// If the client never stops sending.
    pub fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.client.handle_timeout(now);
        self.take_events();
        let mut datagrams = Vec::new();
        let mut buffer = [0; DATAGRAM_MAX];
        while let Some(transmit) = self.client.poll_transmit(now, &mut buffer) {
            datagrams.push(buffer[..transmit.length].to_vec());
            assert!(datagrams.len() < 100, "the client never stops sending");
        }
        datagrams
    }

    /// Returns when to poll next at the latest.
    pub fn timeout(&self) -> Option<Instant> {
        self.client.poll_timeout()
    }

    fn take_events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Joined { how, text, .. } => {
                    self.seats.push(how);
                    self.told.push(text.to_owned());
                }
                ClientEvent::Line {
                    sequence,
                    name,
                    text,
                    ..
                } => {
                    let line = match name {
                        "" => format!("* {text}"),
                        name => format!("{name} : {text}"),
                    };
                    self.lines.push((sequence, line));
                }
                ClientEvent::Lost { lines, .. } => self.lost += lines,
                ClientEvent::Said { post, first, .. } => self.said.push((post, first)),
                ClientEvent::Answered { text, .. } => self.told.push(text.to_owned()),
                ClientEvent::Doubtful { post } => self.doubtful.push(post),
                ClientEvent::Refused { post, reason } => panic!("{post:?} refused: {reason:?}"),
                ClientEvent::Unsaid { .. }
                | ClientEvent::SeatLost(_)
                | ClientEvent::NoSeat { .. }
                | ClientEvent::Back => {}
                ClientEvent::Silent => self.silences += 1,
                ClientEvent::Ended(end) => self.end = Some(end),
            }
        }
    }
}

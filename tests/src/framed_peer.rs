//! A peer that speaks in frames, wherever its datagrams go.

use kilochat_core::{
    Client, ClientEvent, DATAGRAM_MAX, End, Instant, Joined, Path, PostId, Received, State,
};

/// The core's client with a record of all that it told. Who owns it brings the network: datagrams
/// that arrive are [received](Self::receive), those to send are [polled](Self::poll).
#[derive(Debug)]
pub struct FramedPeer {
    client: Client<8, 8192>,
    /// The lines that were shown, as a plain peer reads them, each with its sequence number.
    pub lines: Vec<(u64, String)>,
    /// The texts that were said, and the sequence number of the first line of each.
    pub said: Vec<(PostId, u64)>,
    /// The texts that may have been said or not.
    pub doubtful: Vec<PostId>,
    /// How many lines did not come.
    pub lost: u64,
    /// Each seat, and what it had to do with the one before.
    pub seats: Vec<Joined>,
    /// What the relay said to newcomers, and answered to commands.
    pub told: Vec<String>,
    /// How often nothing was heard for long.
    pub silences: u32,
    /// Why it is over.
    pub end: Option<End>,
}

impl FramedPeer {
    /// A peer that will ask for a seat as `name`.
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

    /// The client itself, to move, leave or look at.
    pub fn client(&mut self) -> &mut Client<8, 8192> {
        &mut self.client
    }

    /// Whether there is a seat.
    pub fn is_joined(&self) -> bool {
        self.client.state() == State::Joined
    }

    /// Queues a text.
    ///
    /// # Panics
    ///
    /// When the client has no room for it.
    pub fn post(&mut self, text: &str) -> PostId {
        self.client.post(text).expect("there is room")
    }

    /// A datagram arrived.
    pub fn receive(&mut self, now: Instant, payload: &[u8]) -> Received {
        let received = self.client.handle_datagram(now, Path(0), payload);
        self.take_events();
        received
    }

    /// Lets time pass; returns what is to be sent.
    ///
    /// # Panics
    ///
    /// When there is no end of it.
    pub fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.client.handle_timeout(now);
        self.take_events();
        let mut datagrams = Vec::new();
        let mut buffer = [0; DATAGRAM_MAX];
        while let Some(transmit) = self.client.poll_transmit(now, &mut buffer) {
            datagrams.push(buffer[..transmit.length].to_vec());
            assert!(datagrams.len() < 100, "it never stops talking");
        }
        datagrams
    }

    /// When to poll next, if nothing arrives before.
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

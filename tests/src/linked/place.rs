//! One place: the real relay, two people, and the part of a link that a host is.

use core::net::SocketAddr;
use std::collections::VecDeque;

use fastrand::Rng;
use kilochat_core::{
    Config, DATAGRAM_MAX, Event, Instant, LINK_BUFFER_MIN, LinkBatch, LinkLine, LinkLines,
    LinkNotice, LinkSeen, Relay, Reply,
};

use super::Faults;
use super::counts::Linked;
use super::oracle::{NAMES, Oracle, place_name};
use super::stream::{Message, Stream};
use crate::counts::Counts;
use crate::inputs::{chance, pick};
use crate::{Verdict, check};

/// The ports of the two who are there: one reads, and both speak.
const PORTS: [u16; 2] = [1, 2];

/// Number of messages that a relay reads before it takes part.
const HISTORY: u64 = 5;

type Core = Relay<4, 4096, 2>;

/// What waits to be taken in, at most one line at a time.
#[derive(Debug)]
enum Incoming {
    Lost {
        place: usize,
        lines: u64,
    },
    /// Whether it is of another place, then the place, name and text.
    Line(bool, usize, String, String),
}

pub(super) struct Place {
    index: usize,
    run: u64,
    relay: Box<Core>,
    now: u64,
    /// What is handed over and not acknowledged.
    out: Option<Message>,
    seen: LinkSeen<64>,
    /// The stream, and the next message to fetch.
    position: (u64, u64),
    /// The first message of this stream that is for this run of the relay.
    start: u64,
    /// The first one that its reader must have read.
    pub(super) owed: u64,
    incoming: VecDeque<Incoming>,
    pub(super) is_connected: bool,
    /// The number of lines that were said, for whose turn it is.
    turns: usize,
}

impl Place {
    /// Starts a relay. Its history is read before its people join, or after.
    pub(super) fn start(
        index: usize,
        random: &mut Rng,
        stream: &Stream,
        oracle: &mut Oracle,
    ) -> Self {
        let mut relay = Box::new(Relay::new());
        relay.configure(Config {
            history: 60,
            echo: true,
            announce_up_to: 0,
            rate: 0,
            place: place_name(index).as_str().try_into().unwrap(),
            ..Config::new([0; 16])
        });
        let start = (stream.head() + 1)
            .saturating_sub(HISTORY)
            .max(stream.oldest());
        let is_history_first = chance(random, 50);
        let mut place = Self {
            index,
            run: oracle.begun(index, is_history_first),
            relay,
            now: 1000,
            out: None,
            seen: LinkSeen::new(),
            position: (stream.created(), start),
            start,
            owed: start,
            incoming: VecDeque::new(),
            is_connected: true,
            turns: random.usize(..2),
        };
        if is_history_first {
            while place.take_message(stream, &mut oracle.counts) {}
            // nobody is there who could be too slow
            place.take_all();
            place.owed = stream.head() + 1;
            oracle.counts.saw(Linked::History);
        }
        for (port, (name, _)) in PORTS.into_iter().zip(NAMES) {
            place.datagram(port, name.as_bytes());
        }
        place
    }

    pub(super) fn can_receive(&self) -> bool {
        self.relay.can_receive()
    }

    /// Says a line of at least this length. Returns its text.
    pub(super) fn say(&mut self, length: usize, oracle: &mut Oracle) -> Verdict<String> {
        self.turns += 1;
        let who = self.turns % 2;
        let text = oracle.say(self.index, who, length);
        let event = self.datagram(PORTS[who], text.as_bytes());
        check(matches!(event, Event::Said { lines: 1, .. }), || {
            format!("{event:?} instead of a line")
        })?;
        Ok(text)
    }

    fn datagram(&mut self, port: u16, payload: &[u8]) -> Event {
        self.now += 1;
        let source = SocketAddr::from(([127, 0, 0, 1], port));
        let now = Instant::from_millis(self.now);
        self.relay
            .handle_datagram(now, source, payload, &mut Reply::new())
    }

    /// Takes a batch from the relay, if none is under way.
    pub(super) fn hand_over(
        &mut self,
        random: &mut Rng,
        counts: &mut Counts<Linked>,
        oracle: &mut Oracle,
    ) -> Verdict {
        if self.out.is_some() || chance(random, 10) {
            return Ok(());
        }
        let length = pick(random, &[0, 100, LINK_BUFFER_MIN, 2000, 1 << 16]);
        let mut buffer = vec![0; length];
        let waiting = self.relay.link_waiting();
        let Some(batch) = self.relay.poll_link(&mut buffer) else {
            if waiting.is_some() {
                counts.saw(Linked::LineTooLongForBuffer);
            }
            return check(waiting.is_none() || length < LINK_BUFFER_MIN, || {
                format!("{waiting:?} and nothing is handed over")
            });
        };
        let LinkBatch {
            first,
            lost,
            lines: number,
            length,
        } = batch;
        let lines = LinkLines::new(&buffer[..length]).map(|line| match line {
            LinkLine::Message { name, text, .. } => (name.to_owned(), text.to_owned()),
            LinkLine::Notice { text, .. } => (String::new(), text.to_owned()),
        });
        let message = Message {
            place: self.index,
            run: self.run,
            first,
            lost,
            lines: lines.collect(),
        };
        counts.saw(Linked::HandedOver);
        check(message.lines.len() == usize::from(number), || {
            format!("{number} lines, but {message}")
        })?;
        oracle.handed_over(&message)?;
        self.out = Some(message);
        Ok(())
    }

    /// Publishes what was handed over. Returns what is stored.
    pub(super) fn publish(
        &mut self,
        random: &mut Rng,
        faults: Faults,
        stream: &mut Stream,
        counts: &mut Counts<Linked>,
    ) -> Option<Message> {
        let message = self.out.clone()?;
        if chance(random, faults.lost) {
            counts.saw(Linked::RequestLost);
            return None;
        }
        if chance(random, faults.doubled) {
            stream.forget_ids();
        }
        let is_new = stream.store(&message);
        if !is_new {
            counts.saw(Linked::ToldDuplicate);
        }
        if chance(random, faults.unacknowledged) {
            counts.saw(Linked::AcknowledgementLost);
        } else {
            self.out = None;
        }
        is_new.then_some(message)
    }

    /// Fetches some messages.
    pub(super) fn fetch(
        &mut self,
        random: &mut Rng,
        faults: Faults,
        stream: &Stream,
        counts: &mut Counts<Linked>,
    ) {
        let (created, next) = &mut self.position;
        if *created != stream.created() {
            counts.saw(Linked::ReadFromItsStart);
            self.start = stream.oldest();
            self.position = (stream.created(), self.start);
        } else if stream.head() + 1 < *next {
            // what was there before this run of the relay is not for it
            counts.saw(Linked::ReadAgain);
            self.start = self.start.min(stream.head() + 1);
            *next = self.start;
        } else if chance(random, faults.repeated) {
            let back = random.u64(1..8);
            *next = next.saturating_sub(back).max(self.start);
            counts.saw(Linked::Redelivered);
        }
        for _ in 0..pick(random, &[1, 3, 100]) {
            if !self.take_message(stream, counts) {
                break;
            }
        }
    }

    /// Fetches the next message, as far as it is new. Returns whether there is one.
    fn take_message(&mut self, stream: &Stream, counts: &mut Counts<Linked>) -> bool {
        let (_, next) = &mut self.position;
        *next = stream.oldest().max(*next);
        let Some(message) = stream.message(*next) else {
            return false;
        };
        *next += 1;
        let Message {
            place,
            run,
            first,
            lost,
            ref lines,
        } = *message;
        if (place, run) == (self.index, self.run) {
            counts.saw(Linked::OwnDropped);
            return true;
        }
        let batch = LinkBatch {
            first,
            lost,
            lines: u16::try_from(lines.len()).unwrap(),
            length: 0,
        };
        let fresh = self.seen.take(&place_name(place), run, batch);
        if fresh.known > 0 {
            counts.saw(Linked::DroppedAsKnown);
        }
        if fresh.lost > 0 {
            let lines = fresh.lost;
            self.incoming.push_back(Incoming::Lost { place, lines });
        }
        let is_elsewhere = place != self.index;
        for (name, text) in lines.iter().skip(fresh.known.into()) {
            let (name, text) = (name.clone(), text.clone());
            self.incoming
                .push_back(Incoming::Line(is_elsewhere, place, name, text));
        }
        true
    }

    /// Takes in what was fetched, as long as the relay can receive.
    pub(super) fn take_in(&mut self, counts: &mut Counts<Linked>) -> Verdict {
        while !self.incoming.is_empty() {
            if !self.relay.can_receive() {
                counts.saw(Linked::HeldUp);
                return Ok(());
            }
            let is_taken = self.take_one();
            check(is_taken, || "a line from elsewhere is refused".to_owned())?;
        }
        Ok(())
    }

    fn take_all(&mut self) {
        while !self.incoming.is_empty() {
            assert!(self.take_one(), "a line of the history is refused");
        }
    }

    fn take_one(&mut self) -> bool {
        let now = Instant::from_millis(self.now);
        match self.incoming.pop_front() {
            None => false,
            Some(Incoming::Lost { place, lines }) => {
                let place = place_name(place);
                let notice = LinkNotice::Lost {
                    place: &place,
                    lines,
                };
                self.relay.handle_notice_elsewhere(now, notice)
            }
            Some(Incoming::Line(is_elsewhere, place, name, text)) => {
                let place = place_name(place);
                let place = if is_elsewhere { place.as_str() } else { "" };
                self.relay.handle_elsewhere(now, place, &name, &text) == 1
            }
        }
    }

    /// Sends everything. Returns the lines that the reader receives.
    pub(super) fn read_lines(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        let mut buffer = [0; DATAGRAM_MAX];
        let now = Instant::from_millis(self.now);
        while let Some(fanout) = self.relay.poll_fanout(now, &mut buffer) {
            let text = String::from_utf8_lossy(fanout.payload()).into_owned();
            for delivery in fanout {
                if delivery.address.port() == PORTS[0] {
                    heard.extend(text.lines().map(str::to_owned));
                }
            }
        }
        heard
    }

    /// Returns whether there is nothing to do here.
    pub(super) fn is_idle(&self, stream: &Stream) -> bool {
        self.out.is_none()
            && self.incoming.is_empty()
            && self.relay.link_waiting().is_none()
            && self.position == (stream.created(), stream.head() + 1)
    }
}

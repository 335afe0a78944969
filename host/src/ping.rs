//! `kilochat ping`: requests a cookie from a relay, as every client does before it joins.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use kilochat_core::framed::{Cookie, Frame, Hello};
use kilochat_core::{DATAGRAM_MAX, PORT, clean};

use crate::args::{FindArguments, PingArguments};
use crate::port::{self, Port};
use crate::signals::{self, Leaving, Place};
use crate::{Error, address, find, race, stdio};

/// Maximum time to wait for answers after the last request.
const WAIT: Duration = Duration::from_secs(2);

/// Maximum number of requests before the first answer. Each is sent from a new port, because a
/// server without frames takes the first datagram from a port as a name, and relays each further
/// one.
const SILENT_MAX: usize = 16;

/// Number of most recent requests whose answers are recognized.
const RECENT_MAX: usize = 1 << 16;

/// Sends requests according to the command line, and prints a summary.
///
/// # Errors
///
/// If no answer arrived, or no request could be sent.
pub fn run(arguments: &PingArguments) -> Result<(), Error> {
    let Some(host) = &arguments.host else {
        let json = false;
        return find::run(&FindArguments { port: PORT, json });
    };
    let mut ping = Ping::new(race::run(address::find(host)?));
    let leave = ping.sender.clone();
    let leave = move || drop(leave.send(Event::Leave));
    ping.leaving = signals::watch(Place::Pipe, leave, || {})?;
    ping.ask_often(arguments)?;
    let summary = ping.tally.summary(ping.addresses[0]);
    ping.print(&summary);
    if ping.tally.received > 0 {
        return Ok(());
    }
    let why = ping
        .failure
        .unwrap_or_else(|| format!("no answer from {}", ping.addresses[0]));
    Err(Error::Failure(format!(
        "no relay answers: {why} (an old server, or a relay with --classic, looks like none)"
    )))
}

/// An event.
enum Event {
    /// A datagram arrived at the port with this number.
    Arrived(usize, Instant, Vec<u8>),
    /// The port with this number reported an error.
    Failed(usize, io::Error),
    /// The program must end, with a summary.
    Leave,
}

/// The state of a ping.
struct Ping {
    /// The addresses of the relay. The first one is in use.
    addresses: Vec<SocketAddr>,
    ports: Vec<Port>,
    /// The port for the next request, if one can be used again: the relay answered there, or was
    /// unreachable at the last request.
    reusable: Option<usize>,
    /// Whether the reader of the output has gone.
    is_unread: bool,
    tally: Tally,
    /// The last error.
    failure: Option<String>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    leaving: Leaving,
}

impl Ping {
    /// Creates the state. `addresses` must not be empty.
    fn new(addresses: Vec<SocketAddr>) -> Self {
        let (sender, events) = channel();
        Self {
            addresses,
            ports: Vec::new(),
            reusable: None,
            is_unread: false,
            tally: Tally::new(crate::random()),
            failure: None,
            events,
            sender,
            leaving: Leaving::default(),
        }
    }

    /// Prints a line. If the reader has gone, the ping ends.
    fn print(&mut self, line: &str) {
        let written = stdio::write_out(format!("{line}\n").as_bytes(), &self.leaving);
        self.is_unread |= written.is_err();
    }

    fn ask_often(&mut self, arguments: &PingArguments) -> Result<(), Error> {
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            if self.is_unread {
                return Ok(());
            }
            let count = arguments.count.map_or(usize::MAX, |count| count as usize);
            let may_ask = self.tally.sent < count && self.may_ask();
            if may_ask && now >= next {
                self.ask()?;
                // missed requests are not sent later
                next = (next + arguments.interval).max(now);
                continue;
            }
            let until = if may_ask {
                next
            } else {
                self.tally.ends_at(now)
            };
            if !may_ask && (now >= until || self.tally.is_complete()) {
                return Ok(());
            }
            match self.events.recv_timeout(until - now) {
                Ok(Event::Arrived(port, at, payload)) => self.handle_datagram(port, at, &payload),
                Ok(Event::Failed(port, error)) => self.handle_error(port, &error),
                Ok(Event::Leave) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn may_ask(&self) -> bool {
        self.reusable.is_some() || self.ports.len() < SILENT_MAX
    }

    fn ask(&mut self) -> Result<(), Error> {
        let index = match self.reusable {
            Some(index) => index,
            None => self.open()?,
        };
        if self.tally.received == 0 {
            self.reusable = None;
        }
        let hello = Frame::Hello(Hello {
            abilities: 0,
            nonce: self.tally.handle_sent(Instant::now()),
            cookie: None,
            resume: None,
            name: "ping",
        });
        let mut buffer = [0; DATAGRAM_MAX];
        let length = hello.encode(&mut buffer).unwrap_or_default();
        if let Err(error) = self.ports[index].send(&buffer[..length]) {
            self.handle_error(index, &error);
        }
        Ok(())
    }

    fn open(&mut self) -> Result<usize, Error> {
        let (index, address) = (self.ports.len(), self.addresses[0]);
        let sender = self.sender.clone();
        let port = Port::open(address, move |arrived| {
            let event = match arrived {
                Ok(payload) => Event::Arrived(index, Instant::now(), payload.to_vec()),
                Err(error) => Event::Failed(index, error),
            };
            sender.send(event).is_ok()
        });
        let port =
            port.map_err(|error| Error::Failure(format!("cannot reach {address}: {error}")))?;
        if index == 0 || self.ports[index - 1].address != address {
            self.print(&format!("asking {address}"));
        }
        self.ports.push(port);
        Ok(index)
    }

    fn handle_datagram(&mut self, index: usize, at: Instant, payload: &[u8]) {
        let address = self.ports[index].address;
        let Ok(Frame::Cookie(Cookie { version, nonce, .. })) = Frame::decode(payload) else {
            if self.tally.received == 0 && !payload.is_empty() {
                self.failure = Some(format!("{address} speaks, but not in frames"));
            }
            return;
        };
        let Some(Answer { number, time, .. }) = self.tally.handle_answer(nonce, at) else {
            return;
        };
        self.reusable = Some(index);
        let version: String = clean(version).collect();
        let time = milliseconds(time);
        self.print(&format!(
            "{address}: kilochat {version} seq={number} time={time} ms"
        ));
    }

    fn handle_error(&mut self, index: usize, error: &io::Error) {
        let address = self.ports[index].address;
        let Some(description) = port::describe(address, error) else {
            return;
        };
        self.print(&description);
        self.failure = Some(description);
        self.tally.refused += 1;
        let is_silent = self.tally.received == 0;
        if is_silent && self.addresses.len() > 1 && self.addresses[0] == address {
            // requests to this address have reached nobody
            self.addresses.remove(0);
            self.tally = Tally::new(self.tally.first_nonce);
        } else if self.addresses[0] == address {
            self.reusable = Some(index);
        }
    }
}

/// The counters and times of requests and answers.
struct Tally {
    first_nonce: u64,
    sent: usize,
    received: usize,
    /// Number of duplicate answers.
    doubled: usize,
    /// Number of requests that could not be sent, or were reported as unreachable.
    refused: usize,
    /// The most recent requests, the newest last: when each was sent, and whether it was answered.
    recent: VecDeque<(Instant, bool)>,
    shortest: Duration,
    longest: Duration,
    sum: Duration,
}

/// The first answer to a request; further ones count as duplicates.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// The number of the request, from 1.
    number: usize,
    time: Duration,
}

impl Tally {
    /// Creates the tally. `first_nonce` is the nonce of the first request, and must be
    /// unpredictable.
    fn new(first_nonce: u64) -> Self {
        Self {
            first_nonce,
            sent: 0,
            received: 0,
            doubled: 0,
            refused: 0,
            recent: VecDeque::new(),
            shortest: Duration::MAX,
            longest: Duration::ZERO,
            sum: Duration::ZERO,
        }
    }

    /// Records a request. Returns its nonce.
    fn handle_sent(&mut self, now: Instant) -> u64 {
        let nonce = self.first_nonce.wrapping_add(self.sent as u64);
        self.sent += 1;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, false));
        nonce
    }

    /// Records an answer. Returns `None` if it is a duplicate, or no recent request has this nonce.
    fn handle_answer(&mut self, nonce: u64, at: Instant) -> Option<Answer> {
        let index = usize::try_from(nonce.wrapping_sub(self.first_nonce)).ok()?;
        let forgotten = self.sent - self.recent.len();
        let (sent, is_answered) = self.recent.get_mut(index.checked_sub(forgotten)?)?;
        if *is_answered {
            self.doubled += 1;
            return None;
        }
        *is_answered = true;
        let time = at.saturating_duration_since(*sent);
        self.received += 1;
        self.shortest = self.shortest.min(time);
        self.longest = self.longest.max(time);
        self.sum += time;
        Some(Answer {
            number: index + 1,
            time,
        })
    }

    /// Returns whether no further answer can arrive.
    fn is_complete(&self) -> bool {
        self.received + self.refused >= self.sent
    }

    /// Returns when missing answers count as lost.
    fn ends_at(&self, now: Instant) -> Instant {
        self.recent.back().map_or(now, |(sent, _)| *sent + WAIT)
    }

    fn summary(&self, address: SocketAddr) -> String {
        let Self { sent, received, .. } = *self;
        let lost = sent.saturating_sub(received) as f64 * 100.0 / sent.max(1) as f64;
        let mut summary = format!(
            "--- {address}\n{sent} sent, {received} received, {}% lost",
            // without ".0"
            format!("{lost:.1}").trim_end_matches(".0")
        );
        if self.doubled > 0 {
            summary.push_str(&format!(", {} twice", self.doubled));
        }
        if let Ok(received) = u32::try_from(received)
            && let Some(mean) = self.sum.checked_div(received)
        {
            summary.push_str(&format!(
                "\nround trip min/avg/max = {}/{}/{} ms",
                milliseconds(self.shortest),
                milliseconds(mean),
                milliseconds(self.longest)
            ));
        }
        summary
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_once_and_late_ones_too() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        // the nonces may wrap around
        let mut tally = Tally::new(u64::MAX - 1);
        let nonces: Vec<u64> = (0..4)
            .map(|number| tally.handle_sent(at(1000 * number)))
            .collect();
        assert_eq!(nonces, [u64::MAX - 1, u64::MAX, 0, 1]);
        let answer = |number, millis| {
            let time = Duration::from_millis(millis);
            Some(Answer { number, time })
        };
        assert_eq!(tally.handle_answer(0, at(2010)), answer(3, 10));
        assert_eq!(tally.handle_answer(u64::MAX, at(2500)), answer(2, 1500));
        assert_eq!(tally.handle_answer(u64::MAX, at(2501)), None);
        for stranger in [2, u64::MAX - 2, 1 << 40] {
            assert_eq!(tally.handle_answer(stranger, at(2600)), None);
        }
        assert!(!tally.is_complete());
        let address = "127.0.0.1:10888".parse().unwrap();
        assert_eq!(
            tally.summary(address),
            "--- 127.0.0.1:10888\n4 sent, 2 received, 50% lost, 1 twice\n\
             round trip min/avg/max = 10.000/755.000/1500.000 ms"
        );
    }

    #[test]
    fn a_summary_needs_no_answer() {
        let mut tally = Tally::new(7);
        let address = "[::1]:99".parse().unwrap();
        assert_eq!(
            tally.summary(address),
            "--- [::1]:99\n0 sent, 0 received, 0% lost"
        );
        for _ in 0..3 {
            tally.handle_sent(Instant::now());
        }
        let _ = tally.handle_answer(8, Instant::now());
        assert!(tally.summary(address).contains(", 66.7% lost\n"));
    }

    #[test]
    fn an_endless_ping_takes_no_more_room() {
        let now = Instant::now();
        let mut tally = Tally::new(0);
        for _ in 0..2 * RECENT_MAX {
            let nonce = tally.handle_sent(now);
            assert!(tally.handle_answer(nonce, now).is_some());
        }
        assert_eq!(tally.handle_answer(1, now), None, "forgotten");
        assert_eq!(tally.received, 2 * RECENT_MAX);
        assert_eq!(tally.recent.len(), RECENT_MAX);
    }
}

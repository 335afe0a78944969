//! `kilochat ping`: asks a relay for a cookie, as every client does before it joins.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use kilochat_core::framed::{Cookie, Frame, Hello};
use kilochat_core::{DATAGRAM_MAX, clean};

use crate::args::PingArguments;
use crate::port::{self, Port};
use crate::signals::{self, Leaving, Place};
use crate::{Error, address, stdio};

/// Time for answers after the last request.
const WAIT: Duration = Duration::from_secs(2);

/// Time without an answer after which the host's next address is asked, too (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Maximum number of requests while nothing was ever answered. Each goes from a port of its own: a
/// server without frames takes the first datagram from a port as a name, and relays a second one.
const SILENT_MAX: usize = 16;

/// Number of requests, the most recent ones, whose answers are recognized.
const RECENT_MAX: usize = 1 << 16;

/// Asks, as often as the command line says, and sums up.
///
/// # Errors
///
/// When nothing was answered, or there was no way to ask.
pub fn run(arguments: &PingArguments) -> Result<(), Error> {
    let mut ping = Ping::new(address::find(&arguments.host)?);
    let leave = ping.sender.clone();
    let leave = move || drop(leave.send(Event::Leave));
    ping.leaving = signals::watch(Place::Pipe, leave, || {})?;
    ping.ask_often(arguments)?;
    let summary = ping.tally.summary(ping.addresses[0]);
    ping.say(&summary);
    if ping.tally.received > 0 {
        return Ok(());
    }
    let why = ping
        .failure
        .unwrap_or_else(|| format!("nothing came from {}", ping.addresses[0]));
    Err(Error::Failure(format!(
        "no relay answers: {why} (an old server, or a relay with --classic, looks like none)"
    )))
}

/// Something happened.
enum Event {
    /// A datagram arrived at the port of this number.
    Arrived(usize, Instant, Vec<u8>),
    /// The port of this number reported an error.
    Failed(usize, io::Error),
    /// It is time to sum up.
    Leave,
}

/// A port, and the first request that was sent from it.
struct Asked {
    port: Port,
    nonce: u64,
    at: Instant,
}

/// Requests, and what came of them.
struct Ping {
    /// Those of the host, or only the one that answered. A request goes to the first; while nothing
    /// was ever answered it goes to the others, too, one after another.
    addresses: Vec<SocketAddr>,
    /// How many of them have the last request.
    asked: usize,
    /// When the next one gets it.
    next_attempt: Instant,
    ports: Vec<Asked>,
    /// The port from which to ask next: the relay answers there, or nobody got what was sent.
    reusable: Option<usize>,
    /// Whether nobody reads the output any more.
    is_unread: bool,
    tally: Tally,
    /// The last error of the network.
    failure: Option<String>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    leaving: Leaving,
}

impl Ping {
    /// `addresses`: at least one.
    fn new(addresses: Vec<SocketAddr>) -> Self {
        let (sender, events) = channel();
        Self {
            addresses,
            asked: 0,
            next_attempt: Instant::now(),
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

    /// Writes a line. If nobody reads it, there is nobody to ping for.
    fn say(&mut self, line: &str) {
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
                // after a pause there is nothing to make up for
                next = (next + arguments.interval).max(now);
                continue;
            }
            let ends_at = self.tally.ends_at(now);
            if !may_ask && (now >= ends_at || self.tally.is_complete()) {
                return Ok(());
            }
            let mut until = if may_ask { next } else { ends_at };
            if self.has_attempts() {
                if now >= self.next_attempt {
                    self.ask_also()?;
                    continue;
                }
                until = until.min(self.next_attempt);
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

    /// Whether the last request can go to further addresses.
    fn has_attempts(&self) -> bool {
        let Tally { sent, received, .. } = self.tally;
        let is_silent = sent > 0 && received == 0 && self.ports.len() < SILENT_MAX;
        is_silent && self.asked < self.addresses.len()
    }

    fn ask(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let nonce = self.tally.handle_sent(now);
        (self.asked, self.next_attempt) = (1, now + ATTEMPT_DELAY);
        let Some(index) = self.reusable else {
            return self.ask_at(self.addresses[0], nonce);
        };
        if self.tally.received == 0 {
            self.reusable = None;
        }
        self.send(index, nonce);
        Ok(())
    }

    /// Sends the last request to one more address.
    fn ask_also(&mut self) -> Result<(), Error> {
        let (address, nonce) = (self.addresses[self.asked], self.tally.last_nonce());
        self.asked += 1;
        self.next_attempt = Instant::now() + ATTEMPT_DELAY;
        self.ask_at(address, nonce)
    }

    /// Asks from a port of its own.
    fn ask_at(&mut self, address: SocketAddr, nonce: u64) -> Result<(), Error> {
        match self.open(address, nonce) {
            Ok(index) => self.send(index, nonce),
            Err(error) if self.addresses.len() > 1 => self.handle_failure(address, None, &error),
            Err(error) => {
                let why = format!("cannot reach {address}: {error}");
                return Err(Error::Failure(why));
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize, nonce: u64) {
        let hello = Frame::Hello(Hello {
            abilities: 0,
            nonce,
            cookie: None,
            resume: None,
            name: "ping",
        });
        let mut buffer = [0; DATAGRAM_MAX];
        let length = hello.encode(&mut buffer).unwrap_or_default();
        if let Err(error) = self.ports[index].port.send(&buffer[..length]) {
            self.handle_error(index, &error);
        }
    }

    fn open(&mut self, address: SocketAddr, nonce: u64) -> io::Result<usize> {
        let index = self.ports.len();
        let sender = self.sender.clone();
        let port = Port::open(address, move |arrived| {
            let event = match arrived {
                Ok(payload) => Event::Arrived(index, Instant::now(), payload.to_vec()),
                Err(error) => Event::Failed(index, error),
            };
            sender.send(event).is_ok()
        });
        let port = port?;
        if self.ports.iter().all(|asked| asked.port.address != address) {
            self.say(&format!("asking {address}"));
        }
        let at = Instant::now();
        self.ports.push(Asked { port, nonce, at });
        Ok(index)
    }

    fn handle_datagram(&mut self, index: usize, at: Instant, payload: &[u8]) {
        let Asked {
            ref port,
            nonce: first,
            at: first_at,
        } = self.ports[index];
        let address = port.address;
        let Ok(Frame::Cookie(Cookie { version, nonce, .. })) = Frame::decode(payload) else {
            if self.tally.received == 0 && !payload.is_empty() {
                self.failure = Some(format!("{address} speaks, but not in frames"));
            }
            return;
        };
        let sent = (nonce == first).then_some(first_at);
        let Some(Answer { number, time, .. }) = self.tally.handle_answer(nonce, sent, at) else {
            return;
        };
        self.reusable = Some(index);
        self.addresses = vec![address];
        let version: String = clean(version).collect();
        let time = milliseconds(time);
        self.say(&format!(
            "{address}: kilochat {version} seq={number} time={time} ms"
        ));
    }

    fn handle_error(&mut self, index: usize, error: &io::Error) {
        self.handle_failure(self.ports[index].port.address, Some(index), error);
    }

    /// Nothing reaches an address, at least not from the port `index`.
    fn handle_failure(&mut self, address: SocketAddr, index: Option<usize>, error: &io::Error) {
        let Some(complaint) = port::complaint(address, error) else {
            return;
        };
        self.say(&complaint);
        self.failure = Some(complaint);
        let place = self.addresses.iter().position(|other| *other == address);
        let Some(place) = place else { return };
        if self.addresses.len() > 1 {
            // the others are asked at once, or have been
            self.addresses.remove(place);
            self.asked -= usize::from(place < self.asked);
            self.next_attempt = Instant::now();
        } else {
            self.tally.refused += 1;
            self.reusable = index;
        }
    }
}

/// What was asked and answered.
struct Tally {
    first_nonce: u64,
    sent: usize,
    received: usize,
    /// Answers to what had been answered.
    doubled: usize,
    /// Requests that the network did not take, or that reached nobody.
    refused: usize,
    /// The last requests, the newest at the end, and whether they were answered.
    recent: VecDeque<(Instant, bool)>,
    shortest: Duration,
    longest: Duration,
    sum: Duration,
}

/// An answer that counts.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// Of the request, from 1 on.
    number: usize,
    time: Duration,
}

impl Tally {
    /// `first_nonce` is that of the first request; it must not be easy to guess.
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

    /// A request is sent; returns its nonce.
    fn handle_sent(&mut self, now: Instant) -> u64 {
        let nonce = self.first_nonce.wrapping_add(self.sent as u64);
        self.sent += 1;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, false));
        nonce
    }

    /// The nonce of the last request.
    fn last_nonce(&self) -> u64 {
        let sent = (self.sent as u64).wrapping_sub(1);
        self.first_nonce.wrapping_add(sent)
    }

    /// An answer came, possibly late, to a request that was sent at `again` if not only when it was
    /// sent first. Returns `None` if it answers no request, or is not the first answer.
    fn handle_answer(&mut self, nonce: u64, again: Option<Instant>, at: Instant) -> Option<Answer> {
        let index = usize::try_from(nonce.wrapping_sub(self.first_nonce)).ok()?;
        let forgotten = self.sent - self.recent.len();
        let (sent, is_answered) = self.recent.get_mut(index.checked_sub(forgotten)?)?;
        if *is_answered {
            self.doubled += 1;
            return None;
        }
        *is_answered = true;
        let time = at.saturating_duration_since(again.unwrap_or(*sent));
        self.received += 1;
        self.shortest = self.shortest.min(time);
        self.longest = self.longest.max(time);
        self.sum += time;
        Some(Answer {
            number: index + 1,
            time,
        })
    }

    /// Whether nothing can come any more.
    fn is_complete(&self) -> bool {
        self.received + self.refused >= self.sent
    }

    /// When what has not come is lost.
    fn ends_at(&self, now: Instant) -> Instant {
        self.recent.back().map_or(now, |(sent, _)| *sent + WAIT)
    }

    fn summary(&self, address: SocketAddr) -> String {
        let Self { sent, received, .. } = *self;
        let lost = sent.saturating_sub(received) as f64 * 100.0 / sent.max(1) as f64;
        let mut summary = format!(
            "--- {address}\n{sent} sent, {received} received, {}% lost",
            // not a digit that says nothing
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
        // it may be that nonces begin anew in the middle
        let mut tally = Tally::new(u64::MAX - 1);
        let nonces: Vec<u64> = (0..4)
            .map(|number| tally.handle_sent(at(1000 * number)))
            .collect();
        assert_eq!(nonces, [u64::MAX - 1, u64::MAX, 0, 1]);
        let answer = |number, millis| {
            let time = Duration::from_millis(millis);
            Some(Answer { number, time })
        };
        assert_eq!(tally.handle_answer(0, None, at(2010)), answer(3, 10));
        assert_eq!(
            tally.handle_answer(u64::MAX, None, at(2500)),
            answer(2, 1500)
        );
        assert_eq!(tally.handle_answer(u64::MAX, None, at(2501)), None);
        for stranger in [2, u64::MAX - 2, 1 << 40] {
            assert_eq!(tally.handle_answer(stranger, None, at(2600)), None);
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
        let _ = tally.handle_answer(8, None, Instant::now());
        assert!(tally.summary(address).contains(", 66.7% lost\n"));
    }

    #[test]
    fn an_endless_ping_takes_no_more_room() {
        let now = Instant::now();
        let mut tally = Tally::new(0);
        for _ in 0..2 * RECENT_MAX {
            let nonce = tally.handle_sent(now);
            assert!(tally.handle_answer(nonce, None, now).is_some());
        }
        assert_eq!(tally.handle_answer(1, None, now), None, "forgotten");
        assert_eq!(tally.received, 2 * RECENT_MAX);
        assert_eq!(tally.recent.len(), RECENT_MAX);
    }

    /// Answers one request; returns its source.
    fn answer(relay: &std::net::UdpSocket) -> SocketAddr {
        let mut buffer = [0; DATAGRAM_MAX];
        let (length, source) = relay.recv_from(&mut buffer).unwrap();
        let Ok(Frame::Hello(hello)) = Frame::decode(&buffer[..length]) else {
            panic!("no HELLO");
        };
        let cookie = Frame::Cookie(Cookie {
            version: "1",
            nonce: hello.nonce,
            cookie: [7; 16],
            words: "",
        });
        let length = cookie.encode(&mut buffer).unwrap();
        relay.send_to(&buffer[..length], source).unwrap();
        source
    }

    #[test]
    fn the_next_address_is_asked_when_one_is_silent_unreachable_or_refuses() {
        let bind = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let [silent, relay] = [bind(), bind()];
        let refusing = bind().local_addr().unwrap();
        let silent = silent.local_addr().unwrap();
        let unreachable = "[ff00::]:1".parse().unwrap();
        let there = relay.local_addr().unwrap();
        relay
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        for addresses in [
            vec![silent, there],
            vec![refusing, there],
            vec![unreachable, there],
            vec![silent, refusing, unreachable, silent, there],
            vec![there, silent],
        ] {
            let mut ping = Ping::new(addresses.clone());
            let arguments = PingArguments {
                host: String::new(),
                count: Some(2),
                interval: Duration::from_secs(3),
            };
            std::thread::scope(|scope| {
                let answering = scope.spawn(|| [answer(&relay), answer(&relay)]);
                ping.ask_often(&arguments).unwrap();
                let [first, second] = answering.join().unwrap();
                assert_eq!(first, second, "{addresses:?}");
            });
            assert_eq!(ping.addresses, [there], "{addresses:?}");
            let Tally { sent, received, .. } = ping.tally;
            assert_eq!((sent, received), (2, 2), "{addresses:?}");
        }
    }
}

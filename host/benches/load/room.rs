//! A server with its peers: puts a load on it, and checks what each peer receives.

use core::time::Duration;
use std::io;
use std::time::Instant;

use crate::args::{Load, Pace, Setup};
use crate::client::{Client, Plain, Stream};
use crate::framed::Framed;
use crate::histogram::Histogram;
use crate::server::{Kind, Server};
use crate::stream::Protocol;
use crate::text::Texts;

/// Time without a delivery after which a run ends.
const QUIET: Duration = Duration::from_secs(2);

/// The same time for the relay, for which a loss is an error: another process may have the core.
const PATIENCE: Duration = Duration::from_secs(10);

/// Maximum time that counts for reading all peers once. If it takes longer, another process had the
/// core.
const SWEEP: Duration = Duration::from_millis(10);

/// Number of peers that join a server without a reply before they wait until the last of them
/// receives.
const SILENT_JOINS: usize = 32;

/// A server and its peers.
pub(crate) struct Room {
    pub(crate) server: Server,
    clients: Vec<Box<dyn Client>>,
    senders: usize,
    /// Whether an author receives its own texts.
    echoes: bool,
    /// Whether its framed peers receive several datagrams at once.
    merges: bool,
    texts: Texts,
    /// By message: when it was said, and the number of peers that have not received it yet.
    flights: Vec<(Instant, usize)>,
    in_flight: usize,
    /// By peer and author: the number of the next text.
    next: Vec<usize>,
    /// By peer: the number of texts received.
    received: Vec<usize>,
    faults: Faults,
}

/// The errors of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Deliveries that did not arrive.
    pub(crate) lost: usize,
    /// Deliveries that arrived twice, or after a later one of the same author.
    pub(crate) doubled: usize,
    /// Deliveries to the author.
    pub(crate) own: usize,
    /// Deliveries of a text that no peer said.
    pub(crate) strange: usize,
}

/// The results of one run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) deliveries: usize,
    /// The server's processor time.
    pub(crate) cpu: Duration,
    /// Time from the first text to the last delivery.
    pub(crate) wall: Duration,
    /// Times from when a text was said, or was due, to each delivery.
    pub(crate) latency: Histogram,
    pub(crate) faults: Faults,
    /// In KiB.
    pub(crate) peak_memory: f64,
}

impl Room {
    /// Starts a server and lets all peers join.
    pub(crate) fn open(kind: Kind, setup: &Setup, load: &Load) -> io::Result<Self> {
        let server = Server::start(kind, setup, &[setup.server_core], load.peers)?;
        let prefix = match kind {
            Kind::Relay | Kind::Framed | Kind::Seed => name(0).len() + " : ".len(),
            Kind::Bare | Kind::Mosquitto | Kind::Nats | Kind::Ncat => 0,
        };
        let mut room = Self {
            server,
            clients: Vec::with_capacity(load.peers),
            senders: load.senders,
            echoes: matches!(kind, Kind::Framed | Kind::Mosquitto),
            merges: !setup.no_gro,
            texts: Texts::new(load.line - prefix),
            flights: Vec::new(),
            in_flight: 0,
            next: vec![0; load.peers * load.senders],
            received: vec![0; load.peers],
            faults: Faults::default(),
        };
        for peer in 0..load.peers {
            room.join(peer, (prefix, load.line))?;
        }
        Ok(room)
    }

    fn join(&mut self, peer: usize, line: (usize, usize)) -> io::Result<()> {
        let (to, name) = (self.server.address, name(peer));
        let protocol = match self.server.kind {
            Kind::Relay | Kind::Bare | Kind::Seed => {
                let answered = self.server.kind != Kind::Seed;
                let client = Plain::join(to, &name, line, answered)?;
                self.clients.push(Box::new(client));
                if !answered && (peer + 1).is_multiple_of(SILENT_JOINS) {
                    self.wait_for_silent_join()?;
                }
                return Ok(());
            }
            Kind::Framed => {
                let client = Framed::join(to, &name, self.merges)?;
                self.clients.push(Box::new(client));
                return Ok(());
            }
            Kind::Mosquitto => Protocol::Mqtt,
            Kind::Nats => Protocol::Nats,
            Kind::Ncat => Protocol::Ncat,
        };
        let client = Stream::join(to, &name, protocol)?;
        self.clients.push(Box::new(client));
        Ok(())
    }

    /// Waits until a server that welcomes nobody knows all peers: the first peer says something,
    /// and the last one receives it.
    fn wait_for_silent_join(&mut self) -> io::Result<()> {
        self.clients[0].say(b"sync")?;
        let deadline = Instant::now() + QUIET;
        let mut is_known = false;
        while !is_known {
            for client in &mut self.clients {
                is_known = client.receive(&mut |_| ())?;
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Puts a load on the server for a time. Then waits until everything has arrived, or until
    /// nothing arrives any more.
    pub(crate) fn run(&mut self, load: &Load, time: Duration) -> io::Result<Outcome> {
        let pace = load.pace;
        let patience = match self.server.kind {
            Kind::Relay | Kind::Framed => PATIENCE,
            Kind::Bare | Kind::Seed | Kind::Mosquitto | Kind::Nats | Kind::Ncat => QUIET,
        };
        self.settle()?;
        self.faults = Faults::default();
        let received: usize = self.received.iter().sum();
        let said = self.flights.len();
        let mut latency = Histogram::new();
        let cpu = self.server.cpu()?;
        let start = Instant::now();
        let (mut last, mut now, mut quiet) = (start, start, Duration::ZERO);
        loop {
            let before = core::mem::replace(&mut now, Instant::now());
            quiet += (now - before).min(SWEEP);
            let delivered = self.received.iter().sum::<usize>() - received;
            let is_over = now - start >= time && delivered >= load.deliveries;
            if !is_over {
                self.say_what_is_due(pace, start, said)?;
            }
            let mut some = false;
            for peer in 0..self.clients.len() {
                self.clients[peer].tick(now)?;
                if self.pending(peer) > 0 && self.receive(peer, &mut latency)? {
                    some = true;
                    if !is_over {
                        self.say_what_is_due(pace, start, said)?;
                    }
                }
            }
            if some {
                last = Instant::now();
            }
            if some || self.in_flight == 0 {
                quiet = Duration::ZERO;
            }
            if is_over && self.in_flight == 0 || quiet > patience {
                break;
            }
        }
        for client in &mut self.clients {
            client.finish()?;
        }
        // the server's work for datagrams in flight counts, too
        std::thread::sleep(Duration::from_millis(5));
        self.forget_lost();
        let now: usize = self.received.iter().sum();
        Ok(Outcome {
            deliveries: now - received - self.faults.lost,
            cpu: self.server.cpu()? - cpu,
            wall: last - start,
            latency,
            faults: self.faults,
            peak_memory: self.server.peak_memory()?,
        })
    }

    /// Reads the announcements of joins until no more arrive.
    fn settle(&mut self) -> io::Result<()> {
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(20) {
            for client in &mut self.clients {
                while client.receive(&mut |_| ())? {
                    quiet = Instant::now();
                }
            }
        }
        Ok(())
    }

    fn say_what_is_due(&mut self, pace: Pace, start: Instant, said: usize) -> io::Result<()> {
        match pace {
            Pace::Window(window) => {
                while self.in_flight < window {
                    self.say(Instant::now())?;
                }
            }
            Pace::Rate(each_second) => loop {
                let number = self.flights.len() - said;
                let due = start + Duration::from_secs(1).mul_f64(as_f64(number) / each_second);
                if due > Instant::now() {
                    break;
                }
                self.say(due)?;
            },
        }
        Ok(())
    }

    fn say(&mut self, at: Instant) -> io::Result<()> {
        let message = self.flights.len();
        let (author, number) = (message % self.senders, message / self.senders);
        let others = self.clients.len() - usize::from(!self.echoes);
        self.flights.push((at, others));
        self.in_flight += 1;
        self.clients[author].say(self.texts.make(author, number))
    }

    /// Returns the number of texts that a peer has not received yet.
    fn pending(&self, peer: usize) -> usize {
        let said = self.flights.len();
        let own = if self.echoes || peer >= self.senders {
            0
        } else {
            (said + self.senders - 1 - peer) / self.senders
        };
        (said - own).saturating_sub(self.received[peer])
    }

    fn receive(&mut self, peer: usize, latency: &mut Histogram) -> io::Result<bool> {
        let Self {
            clients,
            senders,
            echoes,
            texts,
            flights,
            in_flight,
            next,
            received,
            faults,
            ..
        } = self;
        let mut now = None;
        clients[peer].receive(&mut |text| {
            let said = texts.read(text).and_then(|(author, number)| {
                let message = number * *senders + author;
                (author < *senders && message < flights.len()).then_some((author, number, message))
            });
            let Some((author, number, message)) = said else {
                faults.strange += 1;
                return;
            };
            if author == peer && !*echoes {
                faults.own += 1;
                return;
            }
            let next = &mut next[peer * *senders + author];
            if number < *next {
                faults.doubled += 1;
                return;
            }
            *next = number + 1;
            received[peer] += 1;
            let (at, others) = &mut flights[message];
            *others -= 1;
            *in_flight -= usize::from(*others == 0);
            latency.record(
                now.get_or_insert_with(Instant::now)
                    .saturating_duration_since(*at),
            );
        })
    }

    /// Counts texts that did not arrive as lost.
    fn forget_lost(&mut self) {
        for peer in 0..self.clients.len() {
            let pending = self.pending(peer);
            self.faults.lost += pending;
            self.received[peer] += pending;
            let said = self.flights.len();
            for author in 0..self.senders {
                self.next[peer * self.senders + author] =
                    (said + self.senders - 1 - author) / self.senders;
            }
        }
        self.in_flight = 0;
    }
}

impl Outcome {
    /// Returns the processor time for each delivery in microseconds.
    pub(crate) fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / as_f64(self.deliveries.max(1))
    }

    /// Returns the number of deliveries a second.
    pub(crate) fn rate(&self) -> f64 {
        as_f64(self.deliveries) / self.wall.as_secs_f64()
    }

    /// Returns the median latency in milliseconds.
    pub(crate) fn p50_ms(&self) -> f64 {
        self.latency.per_mille(500).as_secs_f64() * 1e3
    }

    /// Returns the share of its core that the server used.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}

fn name(peer: usize) -> String {
    format!("p{peer:04}")
}

#[expect(clippy::cast_precision_loss, reason = "they are far below 2 to the 52")]
pub(crate) fn as_f64(number: usize) -> f64 {
    number as f64
}

impl Faults {
    pub(crate) fn are_none(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            own: self.own + other.own,
            strange: self.strange + other.strange,
        }
    }
}

impl core::fmt::Display for Faults {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            lost,
            doubled,
            own,
            strange,
        } = self;
        write!(
            formatter,
            "{lost} lost, {doubled} doubled or late, {own} to their author, {strange} strange"
        )
    }
}

//! Live peers: one says numbered lines, and the others note by the same clock when each line
//! arrives.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use socket2::SockRef;

use super::{Host, Link};
use crate::{FramedPeer, PATIENCE, PlainPeer};

/// The name of a [`Speaker`].
const SPEAKER: &str = "speaker";

/// Maximum time until a reader notices that it has to stop.
const LOOK: Duration = Duration::from_millis(20);

/// Size of a reader's receive buffer in bytes.
const BUFFER: usize = 4 << 20;

/// How a reader communicates with the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// In the plain dialect. It has sent nothing but its name, so the relay does not know that it
    /// is reachable.
    Silent,
    /// In the plain dialect. It has sent more than its name.
    Plain,
    /// In the framed dialect.
    Framed,
}

impl Dialect {
    /// All kinds of readers.
    pub const ALL: [Self; 3] = [Self::Silent, Self::Plain, Self::Framed];
}

impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Silent => "silent",
            Self::Plain => "plain",
            Self::Framed => "framed",
        })
    }
}

/// A peer that says numbered lines.
#[derive(Debug)]
pub struct Speaker {
    peer: PlainPeer,
    padding: String,
    /// When each line was said.
    pub said: Vec<Instant>,
}

impl Speaker {
    /// Joins as a speaker whose texts have `length` bytes.
    pub fn join(host: &Host, length: usize) -> Self {
        Self {
            peer: host.join(SPEAKER),
            padding: "x".repeat(length),
            said: Vec::new(),
        }
    }

    /// Says the next line.
    pub fn say(&mut self) {
        let number = self.said.len();
        let text = format!("{number} {}", self.padding);
        self.said.push(Instant::now());
        self.peer.say(&text[..self.padding.len()]);
    }
}

/// What a reader received.
#[derive(Debug, Default)]
pub struct Heard {
    /// The speaker's lines in the order of their arrival.
    pub lines: Vec<(usize, Instant)>,
    /// Number of lines that were reported to it as lost.
    pub lost: u64,
    /// The other lines.
    pub others: Vec<String>,
}

/// A peer that reads in a thread of its own.
#[derive(Debug)]
pub struct Reader {
    /// Its link.
    pub link: Link,
    /// The dialect in which it reads.
    pub dialect: Dialect,
    progress: Arc<Progress>,
    thread: JoinHandle<Heard>,
}

impl Reader {
    /// Joins as a reader. Returns when it has been welcomed.
    pub fn join(host: &Host, dialect: Dialect, name: &str) -> Self {
        let progress = Arc::new(Progress::default());
        let socket = host.socket(host.address());
        // so that no line is lost at this end
        SockRef::from(&socket)
            .set_recv_buffer_size(BUFFER)
            .expect("a large one");
        let mut ear = Ear {
            socket,
            heard: Heard::default(),
            progress: Arc::clone(&progress),
        };
        let thread = match dialect {
            Dialect::Silent | Dialect::Plain => {
                ear.join_plain(name);
                if dialect == Dialect::Plain {
                    ear.socket.send(b"").expect("there is a route");
                }
                std::thread::spawn(move || ear.read_plain())
            }
            Dialect::Framed => {
                let mut peer = FramedPeer::new(name, 1);
                let begun = Instant::now();
                while !peer.is_joined() {
                    assert!(begun.elapsed() < PATIENCE, "{name} is not welcomed");
                    ear.exchange(&mut peer, begun);
                }
                std::thread::spawn(move || ear.read_framed(peer, begun))
            }
        };
        Self {
            link: host.link,
            dialect,
            progress,
            thread,
        }
    }

    /// Returns how many of the speaker's lines have arrived.
    pub fn count(&self) -> usize {
        self.progress.count.load(Ordering::Relaxed)
    }

    /// Returns how many datagrams have arrived.
    pub fn datagrams(&self) -> usize {
        self.progress.datagrams.load(Ordering::Relaxed)
    }

    /// Returns whether this line of the speaker, or a later one, has arrived.
    pub fn has(&self, number: usize) -> bool {
        self.progress.newest.load(Ordering::Relaxed) > number
    }

    /// Stops reading. Returns what was received.
    pub fn stop(self) -> Heard {
        self.progress.is_stopped.store(true, Ordering::Relaxed);
        self.thread.join().expect("the thread does not panic")
    }
}

/// The state that a reader shares with its thread.
#[derive(Debug, Default)]
struct Progress {
    is_stopped: AtomicBool,
    /// Number of the speaker's lines that have arrived, and the number of lines up to the newest of
    /// them.
    count: AtomicUsize,
    newest: AtomicUsize,
    datagrams: AtomicUsize,
}

/// The part of a reader that its thread owns.
#[derive(Debug)]
struct Ear {
    socket: UdpSocket,
    heard: Heard,
    progress: Arc<Progress>,
}

impl Ear {
    fn join_plain(&mut self, name: &str) {
        self.socket.send(name.as_bytes()).expect("there is a route");
        super::wait_for(&self.socket, |datagram| {
            datagram.starts_with(b"* welcome ").then_some(())
        });
    }

    fn read_plain(mut self) -> Heard {
        while !self.progress.is_stopped.load(Ordering::Relaxed) {
            let mut buffer = [0; 2048];
            let Some((length, at)) = self.receive(LOOK, &mut buffer) else {
                continue;
            };
            let text = core::str::from_utf8(&buffer[..length]).expect("the relay sends text");
            for line in text.lines() {
                self.note(line, at);
            }
        }
        self.heard
    }

    fn read_framed(mut self, mut peer: FramedPeer, begun: Instant) -> Heard {
        while !self.progress.is_stopped.load(Ordering::Relaxed) {
            let at = self.exchange(&mut peer, begun);
            for (_, line) in peer.lines.drain(..) {
                self.note(&line, at);
            }
            self.heard.lost = peer.lost;
            assert_eq!(peer.end, None, "it does not leave");
        }
        self.heard
    }

    /// Sends a peer's datagrams, and receives one for it, unless none arrives before the time-out.
    fn exchange(&self, peer: &mut FramedPeer, begun: Instant) -> Instant {
        let now = || {
            let millis = begun.elapsed().as_millis();
            kilochat_core::Instant::from_millis(u64::try_from(millis).expect("a few years at most"))
        };
        for datagram in peer.poll(now()) {
            // the client retransmits it if it is lost
            let _ = self.socket.send(&datagram);
        }
        let wait = peer.timeout().map_or(LOOK, |then| then.since(now()));
        let mut buffer = [0; 2048];
        let Some((length, at)) = self.receive(wait.min(LOOK), &mut buffer) else {
            return Instant::now();
        };
        peer.receive(now(), &buffer[..length]);
        at
    }

    fn receive(&self, wait: Duration, buffer: &mut [u8]) -> Option<(usize, Instant)> {
        let wait = Some(wait.max(Duration::from_millis(1)));
        self.socket.set_read_timeout(wait).expect("not zero");
        let length = self.socket.recv(buffer).ok()?;
        self.progress.datagrams.fetch_add(1, Ordering::Relaxed);
        Some((length, Instant::now()))
    }

    fn note(&mut self, line: &str, at: Instant) {
        let said = line
            .strip_prefix(SPEAKER)
            .and_then(|line| line.strip_prefix(" : "));
        let number = said.and_then(|text| text.split(' ').next()?.parse().ok());
        if let Some(number) = number {
            self.heard.lines.push((number, at));
            self.progress.count.fetch_add(1, Ordering::Relaxed);
            self.progress
                .newest
                .fetch_max(number + 1, Ordering::Relaxed);
        } else if let Some(lost) = lines_lost(line) {
            self.heard.lost += lost;
        } else {
            self.heard.others.push(line.to_owned());
        }
    }
}

/// Returns the number in `* 3 lines lost`.
fn lines_lost(line: &str) -> Option<u64> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["*", number, "line" | "lines", "lost"] => number.parse().ok(),
        _ => None,
    }
}

//! A framed client with its driver, which has several ports, a clock of its own, and pauses.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::VecDeque;

use kilochat_core::Instant;
use kilochat_core::{Client, Path, State};

/// Capacity for unsent texts in a client, in bytes.
pub(crate) const OUT: usize = 4096;

/// Maximum number of datagrams that wait for a paused client. Later ones are lost.
const WAITING_MAX: usize = 256;

/// Milliseconds between two turns of a slow driver.
const LAZY_MS: u64 = 20;

/// Number of ports of a client.
pub(crate) const PATHS: u8 = 6;

/// A person: a sequence of clients under the same name, of which one runs at a time.
pub(crate) struct Member<const HELD: usize> {
    pub(crate) client: Box<Client<HELD, OUT>>,
    /// The number of this client among all clients of the simulation.
    pub(crate) process: usize,
    pub(crate) name: String,
    /// The address of the first of its ports, as the relay sees it.
    pub(crate) base: SocketAddr,
    /// Milliseconds by which its clock is ahead of the world's.
    pub(crate) ahead: u64,
    furthest: u64,
    pub(crate) paused_until: u64,
    /// Whether it polls events only from time to time.
    pub(crate) is_lazy: bool,
    /// When its driver last ran.
    pub(crate) looked_at: u64,
    pub(crate) inbox: VecDeque<(Path, Vec<u8>)>,
    /// Number of texts that the client accepted.
    pub(crate) posted: u32,
    /// Texts for which the client had no room yet.
    pub(crate) unposted: VecDeque<String>,
    /// When the next client of this person starts, if this one has ended.
    pub(crate) reborn_at: Option<u64>,
    pub(crate) has_ended: bool,
    /// Whether its driver has to run at once, because it was told to do something.
    pub(crate) is_touched: bool,
}

impl<const HELD: usize> Member<HELD> {
    pub(crate) fn new(
        process: usize,
        name: String,
        base: SocketAddr,
        seed: u64,
        ahead: u64,
    ) -> Self {
        let mut client = Box::new(Client::new(&name, seed, PATHS));
        if is_unannounced(process) {
            client.join_unannounced();
        }
        Self {
            client,
            process,
            name,
            base,
            ahead,
            furthest: 0,
            paused_until: 0,
            is_lazy: false,
            looked_at: 0,
            inbox: VecDeque::new(),
            posted: 0,
            unposted: VecDeque::new(),
            reborn_at: None,
            has_ended: false,
            is_touched: false,
        }
    }

    /// Returns the time on its clock.
    pub(crate) fn clock(&mut self, now: u64) -> Instant {
        let clock = now + self.ahead;
        self.furthest = self.furthest.max(clock);
        Instant::from_millis(clock)
    }

    /// Makes its clock monotonic: it continues from the latest time that it showed.
    pub(crate) fn set_right(&mut self, now: u64) {
        self.ahead = self.ahead.max(self.furthest.saturating_sub(now));
    }

    pub(crate) fn address(&self, path: Path) -> SocketAddr {
        SocketAddr::new(self.base.ip(), self.base.port() + u16::from(path.0))
    }

    /// Returns the path whose port has this address.
    pub(crate) fn path(&self, address: SocketAddr) -> Option<Path> {
        let port = address.port().checked_sub(self.base.port())?;
        let path = u8::try_from(port).ok().filter(|path| *path < PATHS)?;
        (address.ip() == self.base.ip()).then_some(Path(path))
    }

    pub(crate) const fn is_paused(&self, now: u64) -> bool {
        now < self.paused_until
    }

    /// Returns when its driver has to run next.
    pub(crate) fn wakes(&self, now: u64) -> Option<u64> {
        if self.is_paused(now) {
            return Some(self.paused_until);
        }
        if self.is_touched {
            return Some(now);
        }
        // a slow driver does not poll events each time, so its client may ask again at once
        let earliest = now.max(self.looked_at + LAZY_MS * u64::from(self.is_lazy));
        if !self.inbox.is_empty() {
            return Some(earliest);
        }
        let then = self.client.poll_timeout()?.as_millis();
        Some(then.saturating_sub(self.ahead).max(earliest))
    }

    pub(crate) fn receives(&mut self, path: Path, payload: Vec<u8>) {
        if self.inbox.len() < WAITING_MAX {
            self.inbox.push_back((path, payload));
        }
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.client.state() == State::Joined
    }
}

/// Returns whether this client joins unannounced.
pub(crate) const fn is_unannounced(process: usize) -> bool {
    process % 4 == 3
}

/// Returns an address for a client, by a number that was not used before. It has room for all its
/// ports. Some are outside of the local networks, if the relay is `open` to those.
pub(crate) fn place(number: usize, open: bool) -> SocketAddr {
    let host = u8::try_from(number % 3).unwrap_or_default() + 1;
    let network = if open && number % 4 == 3 {
        [198, 51, 100]
    } else {
        [192, 168, 1]
    };
    let [a, b, c] = network;
    let port = 2000 + number * usize::from(PATHS);
    let port = u16::try_from(port).unwrap_or(u16::MAX);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, host)), port)
}

//! A framed client with its driver: ports, a clock of its own, pauses.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::VecDeque;

use kilochat_core::Instant;
use kilochat_core::{Client, Path, State};

/// Bytes of texts that may wait in a client.
pub(crate) const OUT: usize = 4096;

/// Datagrams that wait at a client that is paused; what comes then is lost.
const WAITING_MAX: usize = 256;

/// Milliseconds between two looks of one who is not quick.
const LAZY_MS: u64 = 20;

/// Ports of a client.
pub(crate) const PATHS: u8 = 6;

/// One client after the other under the same name.
pub(crate) struct Member<const HELD: usize> {
    pub(crate) client: Box<Client<HELD, OUT>>,
    /// Which client of all that ever were.
    pub(crate) process: usize,
    pub(crate) name: String,
    /// Where the first of its ports is, as the relay sees it.
    pub(crate) base: SocketAddr,
    /// How far its clock is ahead of the world's, and how far it ever was.
    pub(crate) ahead: u64,
    furthest: u64,
    pub(crate) paused_until: u64,
    /// Whether it looks at what happened only now and then.
    pub(crate) is_lazy: bool,
    /// When it was last driven.
    pub(crate) looked_at: u64,
    pub(crate) inbox: VecDeque<(Path, Vec<u8>)>,
    /// Texts that the client took.
    pub(crate) posted: u32,
    /// Texts that it is to be given when it has room.
    pub(crate) unposted: VecDeque<String>,
    /// When the next client takes its place, if this one has ended.
    pub(crate) reborn_at: Option<u64>,
    pub(crate) has_ended: bool,
    /// Whether it was told to do something, and is to be driven at once.
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

    /// The time on its clock.
    pub(crate) fn clock(&mut self, now: u64) -> Instant {
        let clock = now + self.ahead;
        self.furthest = self.furthest.max(clock);
        Instant::from_millis(clock)
    }

    /// Its clock goes on from where it ever was.
    pub(crate) fn set_right(&mut self, now: u64) {
        self.ahead = self.ahead.max(self.furthest.saturating_sub(now));
    }

    pub(crate) fn address(&self, path: Path) -> SocketAddr {
        SocketAddr::new(self.base.ip(), self.base.port() + u16::from(path.0))
    }

    /// Which of its ports this is.
    pub(crate) fn path(&self, address: SocketAddr) -> Option<Path> {
        let port = address.port().checked_sub(self.base.port())?;
        let path = u8::try_from(port).ok().filter(|path| *path < PATHS)?;
        (address.ip() == self.base.ip()).then_some(Path(path))
    }

    pub(crate) const fn is_paused(&self, now: u64) -> bool {
        now < self.paused_until
    }

    /// When it wants to be driven next.
    pub(crate) fn wakes(&self, now: u64) -> Option<u64> {
        if self.is_paused(now) {
            return Some(self.paused_until);
        }
        if self.is_touched {
            return Some(now);
        }
        // whoever looks only now and then may be asked for what it cannot do yet
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

/// Whether nobody is told when this client comes and goes.
pub(crate) const fn is_unannounced(process: usize) -> bool {
    process % 4 == 3
}

/// Where a client may be, by a number that was not used before; each has room for all its ports.
pub(crate) fn place(number: usize) -> SocketAddr {
    let host = u8::try_from(number % 3).unwrap_or_default() + 1;
    let port = 2000 + number * usize::from(PATHS);
    let port = u16::try_from(port).unwrap_or(u16::MAX);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 1, host)), port)
}

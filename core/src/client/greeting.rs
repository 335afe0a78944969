//! HELLO, COOKIE, HELLO: how a client asks for a seat.

use core::time::Duration;

use super::{Dropped, Path};
use crate::Instant;
use crate::wire::framed::Cookie;

/// So often HELLO is said to a relay that nothing was ever heard of.
const TRIES: u8 = 6;

/// A session that ends within this time of its WELCOME ends again and again, perhaps.
const SHORT: Duration = Duration::from_secs(5);

/// The time between HELLOs at first, and at most; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// After so many HELLOs without an answer nobody seems to be there.
const SILENT: u8 = 3;

#[derive(Clone, Debug)]
pub(super) struct Greeting {
    paths: u8,
    /// The nonce of the HELLO from the first path; each other path has the next one.
    nonce: u64,
    /// How many nonces were used from there on.
    used: u8,
    /// From where it goes on: where the first COOKIE came.
    path: Option<Path>,
    cookie: Option<[u8; 16]>,
    /// How many HELLOs were said since anything was heard.
    unheard: u8,
    /// Whether the last one was because of a COOKIE: the next COOKIE waits.
    is_answered: bool,
    /// When the HELLO was answered by WELCOME.
    welcomed: Option<Instant>,
    /// How many sessions were short, one after the other.
    short: u8,
    due: Instant,
    /// When HELLO was said, the last time and the only time with this cookie.
    said: Option<Instant>,
    said_once: Option<Instant>,
}

impl Greeting {
    pub(super) const fn new(seed: u64, paths: u8) -> Self {
        Self {
            paths: if paths == 0 { 1 } else { paths },
            nonce: seed,
            used: 0,
            path: None,
            cookie: None,
            unheard: 0,
            is_answered: false,
            welcomed: None,
            short: 0,
            due: Instant::from_millis(0),
            said: None,
            said_once: None,
        }
    }

    /// A new HELLO is to be said: after a pause, which doubles while one short session follows
    /// another.
    pub(super) fn begin(&mut self, now: Instant) {
        self.nonce = self.nonce.wrapping_add(u64::from(self.used.max(1)));
        self.used = 1;
        self.unheard = 0;
        self.is_answered = false;
        self.said_once = None;
        if let Some(welcomed) = self.welcomed.take() {
            let is_short = now < welcomed.after(SHORT);
            self.short = if is_short {
                self.short.saturating_add(1)
            } else {
                0
            };
        }
        let pause = doubled(self.short.saturating_sub(1));
        self.due = self.said.map_or(now, |said| said.after(pause)).max(now);
    }

    /// A new HELLO is to be said, not before `wait` is over.
    pub(super) fn defer(&mut self, now: Instant, wait: Duration) {
        self.begin(now);
        self.due = self.due.max(now.after(wait));
    }

    /// The same HELLO again, soon.
    pub(super) fn retry(&mut self, now: Instant, pause: Duration) {
        self.due = self.due.min(now.after(pause));
    }

    /// The network may be another one: HELLO now, if a relay was ever heard.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.path.is_some() {
            self.retry(now, Duration::ZERO);
        }
    }

    pub(super) const fn timeout(&self) -> Instant {
        self.due
    }

    /// Whether nobody answers, and it is asked on and on.
    pub(super) const fn is_silent(&self) -> bool {
        (self.path.is_some() || self.paths == 1) && self.unheard >= SILENT
    }

    /// Whether nobody ever answered, and an old server may be asked otherwise.
    pub(super) fn is_hopeless(&self, now: Instant) -> bool {
        self.paths > 1 && self.path.is_none() && self.unheard >= TRIES && now >= self.due
    }

    /// The path from which the client speaks.
    pub(super) fn path(&self) -> Path {
        self.path.unwrap_or_default()
    }

    /// From where HELLO is due, its nonce and its cookie.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Path, u64, Option<[u8; 16]>)> {
        if now < self.due || self.is_hopeless(now) {
            return None;
        }
        let is_answer = self.is_answered && self.said_once.is_none();
        self.said_once = is_answer.then_some(now);
        if !is_answer {
            self.is_answered = false;
            self.unheard = self.unheard.saturating_add(1);
        }
        self.said = Some(now);
        let is_early = self.path.is_none() && self.paths > 1;
        let doublings = if is_early {
            0
        } else {
            self.unheard.saturating_sub(1)
        };
        self.due = now.after(doubled(doublings));
        let Some(path) = self.path else {
            let port = self.unheard.min(self.paths).saturating_sub(1);
            self.used = port.saturating_add(1);
            return Some((Path(port), self.nonce.wrapping_add(port.into()), None));
        };
        Some((path, self.nonce, self.cookie))
    }

    /// A COOKIE came: the next HELLO has it.
    pub(super) fn handle_cookie(
        &mut self,
        now: Instant,
        path: Path,
        cookie: &Cookie<'_>,
    ) -> Result<(), Dropped> {
        let nonce = self.nonce.wrapping_add(match self.path {
            Some(_) => 0,
            None => path.0.into(),
        });
        let is_path = self.path.map_or(path.0 < self.used, |own| own == path);
        if !is_path || self.welcomed.is_some() || cookie.nonce != nonce {
            return Err(Dropped::Session);
        }
        if self.cookie == Some(cookie.cookie) {
            return Err(Dropped::Duplicate);
        }
        if self.path.is_none() {
            self.path = Some(path);
            self.used = self.used.saturating_sub(path.0);
            self.nonce = nonce;
        }
        self.cookie = Some(cookie.cookie);
        self.unheard = 0;
        self.said_once = None;
        if !self.is_answered {
            self.is_answered = true;
            self.due = now;
        }
        Ok(())
    }

    /// Whether an answer is one to this client's last HELLO.
    pub(super) fn check(&self, path: Path, nonce: u64) -> Result<(), Dropped> {
        if self.path != Some(path) || self.nonce != nonce {
            return Err(Dropped::Session);
        }
        if self.welcomed.is_some() {
            return Err(Dropped::Duplicate);
        }
        Ok(())
    }

    /// The HELLO was answered by WELCOME; returns how long that took, if it is known.
    pub(super) fn welcome(&mut self, now: Instant) -> Option<Duration> {
        self.welcomed = Some(now);
        self.unheard = 0;
        self.said_once.take().map(|said| now.since(said))
    }
}

/// The pause, doubled so many times.
fn doubled(times: u8) -> Duration {
    PAUSE.saturating_mul(1 << times.min(4)).min(PAUSE_MAX)
}

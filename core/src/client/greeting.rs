//! The handshake of HELLO, COOKIE, HELLO, WELCOME by which a client gets a seat.

use core::time::Duration;

use super::{Dropped, Path};
use crate::Instant;
use crate::wire::framed::Cookie;

/// Maximum number of HELLOs when no relay has ever replied.
const TRIES: u8 = 6;

/// A session that ends within this time of its WELCOME is short, and may fail again.
const SHORT: Duration = Duration::from_secs(5);

/// First and longest time between HELLOs; it doubles each time.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The first pause after the relay has announced that it is stopping: its next run is expected.
const PAUSE_STOPPED: Duration = Duration::from_millis(250);

/// Number of HELLOs without a reply after which the relay counts as silent.
const SILENT: u8 = 3;

#[derive(Clone, Debug)]
pub(super) struct Greeting {
    paths: u8,
    /// The nonce of the HELLO from the first path; each further path has the next one.
    nonce: u64,
    /// Number of nonces used, from `nonce` on.
    nonces_used: u8,
    /// The path on which the first COOKIE arrived, which the client uses from then on.
    path: Option<Path>,
    cookie: Option<[u8; 16]>,
    /// Number of HELLOs since the last reply.
    unanswered: u8,
    /// Whether the last HELLO answered a COOKIE. If so, another COOKIE does not cause a HELLO at
    /// once.
    is_answered: bool,
    /// When the HELLO was answered by WELCOME.
    welcomed: Option<Instant>,
    /// Number of consecutive short sessions.
    short: u8,
    /// Whether the last run of the relay has announced that it is stopping.
    expects_next_run: bool,
    due: Instant,
    /// When the last HELLO was sent, and when the only one with this cookie was.
    last_sent_at: Option<Instant>,
    cookie_sent_at: Option<Instant>,
}

impl Greeting {
    pub(super) const fn new(seed: u64, paths: u8) -> Self {
        Self {
            paths: if paths == 0 { 1 } else { paths },
            nonce: seed,
            nonces_used: 0,
            path: None,
            cookie: None,
            unanswered: 0,
            is_answered: false,
            welcomed: None,
            short: 0,
            expects_next_run: false,
            due: Instant::from_millis(0),
            last_sent_at: None,
            cookie_sent_at: None,
        }
    }

    /// Makes a new HELLO due. It is delayed by a pause, which doubles with each consecutive short
    /// session.
    pub(super) fn begin(&mut self, now: Instant) {
        self.nonce = self.nonce.wrapping_add(u64::from(self.nonces_used.max(1)));
        self.nonces_used = 1;
        self.unanswered = 0;
        self.is_answered = false;
        self.expects_next_run = false;
        self.cookie_sent_at = None;
        if let Some(welcomed) = self.welcomed.take() {
            let is_short = now < welcomed.after(SHORT);
            self.short = if is_short {
                self.short.saturating_add(1)
            } else {
                0
            };
        }
        let pause = doubled(PAUSE, self.short.saturating_sub(1));
        self.due = self
            .last_sent_at
            .map_or(now, |said| said.after(pause))
            .max(now);
    }

    /// Makes the first pauses between HELLOs shorter.
    pub(super) const fn expect_next_run(&mut self) {
        self.expects_next_run = true;
    }

    /// Returns a random part of a pause, so that the clients of a room, which learn of a restart at
    /// the same time, do not all send HELLO at the same time. It is less than 128 ms.
    pub(super) const fn spread(&self) -> Duration {
        Duration::from_millis(self.nonce & 127)
    }

    /// Makes a new HELLO due, at the earliest after `wait`.
    pub(super) fn defer(&mut self, now: Instant, wait: Duration) {
        self.begin(now);
        self.due = self.due.max(now.after(wait));
    }

    /// Makes the same HELLO due after `pause` at the latest.
    pub(super) fn retry(&mut self, now: Instant, pause: Duration) {
        self.due = self.due.min(now.after(pause));
    }

    /// Makes the HELLO due now if a relay has ever replied, because the network may have changed.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.path.is_some() {
            self.retry(now, Duration::ZERO);
        }
    }

    pub(super) const fn timeout(&self) -> Instant {
        self.due
    }

    /// Returns whether the relay does not reply and the client will not give up.
    pub(super) fn is_silent(&self) -> bool {
        let most = SILENT + u8::from(self.expects_next_run);
        (self.path.is_some() || self.paths == 1) && self.unanswered >= most
    }

    /// Returns whether no relay has replied to all attempts, so that the server may be one without
    /// frames.
    pub(super) fn is_hopeless(&self, now: Instant) -> bool {
        self.paths > 1 && self.path.is_none() && self.unanswered >= TRIES && now >= self.due
    }

    /// Returns the path that the client sends from.
    pub(super) fn path(&self) -> Path {
        self.path.unwrap_or_default()
    }

    /// Returns the path, the nonce and the cookie of a HELLO that is due.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Path, u64, Option<[u8; 16]>)> {
        if now < self.due || self.is_hopeless(now) {
            return None;
        }
        let is_answer = self.is_answered && self.cookie_sent_at.is_none();
        self.cookie_sent_at = is_answer.then_some(now);
        if !is_answer {
            self.is_answered = false;
            self.unanswered = self.unanswered.saturating_add(1);
        }
        self.last_sent_at = Some(now);
        let is_early = self.path.is_none() && self.paths > 1;
        let doublings = if is_early {
            0
        } else {
            self.unanswered.saturating_sub(1)
        };
        let first = if self.expects_next_run {
            PAUSE_STOPPED
        } else {
            PAUSE
        };
        self.due = now.after(doubled(first, doublings));
        let Some(path) = self.path else {
            let port = self.unanswered.min(self.paths).saturating_sub(1);
            self.nonces_used = port.saturating_add(1);
            return Some((Path(port), self.nonce.wrapping_add(port.into()), None));
        };
        Some((path, self.nonce, self.cookie))
    }

    /// Handles a COOKIE: the next HELLO contains it.
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
        let is_path = self
            .path
            .map_or(path.0 < self.nonces_used, |own| own == path);
        if !is_path || self.welcomed.is_some() || cookie.nonce != nonce {
            return Err(Dropped::Session);
        }
        if self.cookie == Some(cookie.cookie) {
            return Err(Dropped::Duplicate);
        }
        if self.path.is_none() {
            self.path = Some(path);
            self.nonces_used = self.nonces_used.saturating_sub(path.0);
            self.nonce = nonce;
        }
        self.cookie = Some(cookie.cookie);
        self.unanswered = 0;
        self.cookie_sent_at = None;
        if !self.is_answered {
            self.is_answered = true;
            self.due = now;
        }
        Ok(())
    }

    /// Checks that a frame answers this client's last HELLO.
    pub(super) fn check(&self, path: Path, nonce: u64) -> Result<(), Dropped> {
        if self.path != Some(path) || self.nonce != nonce {
            return Err(Dropped::Session);
        }
        if self.welcomed.is_some() {
            return Err(Dropped::Duplicate);
        }
        Ok(())
    }

    /// Records that WELCOME answered the HELLO. Returns the round-trip time, if it is known.
    pub(super) fn welcome(&mut self, now: Instant) -> Option<Duration> {
        self.welcomed = Some(now);
        self.unanswered = 0;
        self.cookie_sent_at.take().map(|said| now.since(said))
    }
}

/// Returns the pause after `times` attempts without success: exponential back-off from `first` to
/// `PAUSE_MAX`.
fn doubled(first: Duration, times: u8) -> Duration {
    first.saturating_mul(1 << times.min(5)).min(PAUSE_MAX)
}

//! The plain dialect as a state machine, with datagrams, lines and time as input, and datagrams and
//! lines as output.
//!
//! It does no I/O and reads no clock. Each received datagram causes at most one reply. Lines are
//! not acknowledged. So after a restart of the relay a line may be sent twice, but is not lost, and
//! a relay that has forgotten this client is detected by its replies.

mod asked;
mod joining;
pub(super) mod outbox;
mod pace;
mod receiving;
mod rejoining;
#[cfg(test)]
mod tests;
pub(super) mod wire;

use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use kilochat_core::Path;

use self::asked::{Asked, Asker};
use self::outbox::{Line, Next, Outbox};
use self::rejoining::{ACCEPTED_AFTER, RejoinReason, Rejoining};
use super::dialect::{
    DRAIN_TIMEOUT, Dialect, End, LINGER, LINGER_MAX, MAY_MISS, Typed, User, WAIT, typed,
};
use super::screen::output::Shown;

/// Maximum time to wait for a welcome.
const WELCOME_WAIT: Duration = Duration::from_secs(5);

/// Time without a datagram to the relay after which it is sent an empty one.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Time without a datagram from the relay after which it is asked whether it still knows this
/// client. A restarted relay sends nothing to a client that only listens.
const ASK_AFTER: Duration = Duration::from_secs(20);

/// Time between two attempts to join again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two attempts to join again while the room is full.
const FULL_RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// A seat that is lost within this time after the join counts as short-lived.
const SHORT_LIVED: Duration = Duration::from_secs(5);

/// First and longest pause before the next attempt to join, after two or more short-lived seats in
/// a row. The pause doubles with each.
const REJOIN_PAUSE: Duration = Duration::from_millis(500);
const REJOIN_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Time to wait for the relay's answer to `/quit`.
const GOODBYE_WAIT: Duration = Duration::from_millis(200);

/// A session with one relay.
#[derive(Debug)]
pub(super) struct Session {
    user: User,
    server: Server,
    name: String,
    phase: Phase,
    outbox: Outbox,
    asked: Asked,
    history_left: usize,
    has_heard: bool,
    heard_at: Instant,
    sent_at: Instant,
    started_at: Instant,
    ending: Option<Ending>,
    /// Number of short-lived seats in a row.
    short_lived_seats: u32,
    output: VecDeque<Shown>,
    end: Option<End>,
    code: joining::Code,
    has_reported_wait: bool,
}

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// A relay, which sends a welcome, or an old server.
    Unknown,
    /// An old server, which sends no welcome.
    Classic,
    /// A server that answered no frames. If it sends a welcome, it supports frames and they were
    /// lost, so this session ends.
    Frameless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The name is the first datagram, and the welcome is pending.
    Joining { is_sent: bool, until: Instant },
    /// The server sent no welcome. Lines are sent as they are typed.
    Unwelcomed,
    /// The relay has sent a welcome.
    Welcomed { since: Instant },
    /// The relay does not answer, or has forgotten this client. The name is sent until it is
    /// answered.
    Rejoining(Rejoining),
    /// `/quit` is sent, and its answer is pending.
    Leaving {
        is_sent: bool,
        until: Instant,
        /// Number of retransmissions left.
        retries_left: u8,
        /// Whether to join again with frames.
        for_frames: bool,
    },
}

/// The state after the end of the input.
#[derive(Clone, Copy, Debug)]
struct Ending {
    since: Instant,
    /// When the last line was sent.
    drained: Option<Instant>,
}

impl Session {
    /// Creates a session that joins under `name`, which must be clean, and sends `lines` first.
    pub(super) fn new(
        now: Instant,
        name: String,
        user: User,
        server: Server,
        lines: Vec<Line>,
    ) -> Self {
        Self {
            user,
            server,
            name,
            phase: Phase::Joining {
                is_sent: false,
                until: now + WELCOME_WAIT,
            },
            outbox: Outbox::new(now, lines),
            asked: Asked::default(),
            history_left: 0,
            has_heard: false,
            heard_at: now,
            sent_at: now,
            started_at: now,
            ending: None,
            short_lived_seats: 0,
            output: VecDeque::new(),
            end: None,
            code: joining::Code::default(),
            has_reported_wait: false,
        }
    }
}

impl Dialect for Session {
    fn handle_datagram(&mut self, now: Instant, _path: Path, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        self.has_heard = true;
        self.heard_at = now;
        for line in wire::lines(payload) {
            self.handle_received(now, &line);
        }
    }

    fn handle_unreachable(&mut self, now: Instant, why: &str) {
        match &mut self.phase {
            Phase::Joining { .. } => self.finish(End::Unreachable(why.into())),
            Phase::Unwelcomed if !self.has_heard && now < self.started_at + WELCOME_WAIT => {
                self.finish(End::Unreachable(why.into()));
            }
            Phase::Unwelcomed | Phase::Welcomed { .. } => {
                self.outbox.queue_recent(now);
                self.report(format!("connection lost ({why}); joining again"));
                self.rejoin(now, now + ACCEPTED_AFTER, RejoinReason::Silent);
            }
            Phase::Rejoining(rejoining) => rejoining.name_sent_at = None,
            Phase::Leaving { .. } => self.finish_leaving(),
        }
    }

    fn handle_line(&mut self, now: Instant, text: &str) -> bool {
        match Typed::read(self.user, text) {
            Typed::Blank => return false,
            Typed::Quit => self.handle_end_of_input(now),
            Typed::Line(line) => self.push(line),
        }
        true
    }

    fn handle_text(&mut self, _now: Instant, text: &str) {
        if let Typed::Line(line) = Typed::read(User::Program, text) {
            self.push(line);
        }
    }

    fn handle_end_of_input(&mut self, now: Instant) {
        self.ending.get_or_insert(Ending {
            since: now,
            drained: None,
        });
    }

    fn handle_leave(&mut self, now: Instant) {
        match self.phase {
            Phase::Leaving { .. } => {}
            Phase::Welcomed { .. } => {
                self.phase = Phase::Leaving {
                    is_sent: false,
                    until: now + GOODBYE_WAIT,
                    retries_left: 0,
                    for_frames: false,
                };
            }
            Phase::Joining { .. } | Phase::Unwelcomed | Phase::Rejoining(_) => {
                self.finish(End::Left);
            }
        }
    }

    fn handle_network_change(&mut self, now: Instant, has_moved: bool) {
        if !has_moved {
            return; // the relay is asked later whether it still knows this client
        }
        match &mut self.phase {
            Phase::Joining { is_sent, until } => {
                (*is_sent, *until) = (false, now + WELCOME_WAIT);
            }
            Phase::Rejoining(rejoining) => (rejoining.next, rejoining.name_sent_at) = (now, None),
            Phase::Unwelcomed | Phase::Welcomed { .. } => {
                self.outbox.queue_recent(now);
                self.report("the network changed; joining again");
                self.rejoin(now, now, RejoinReason::Moved);
            }
            Phase::Leaving { .. } => {}
        }
    }

    fn is_lost(&self) -> bool {
        matches!(
            self.phase,
            Phase::Rejoining(Rejoining { is_full: false, .. })
        )
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.outbox.handle_timeout(now);
        match self.phase {
            Phase::Joining { until, .. } if now >= until => self.give_up_welcome(),
            Phase::Rejoining(rejoining) => self.check_rejoining(now, rejoining),
            Phase::Welcomed { .. } if self.outbox.pace.is_unanswered(now) => {
                self.report("the relay does not answer; joining again");
                self.rejoin(now, now, RejoinReason::Silent);
            }
            Phase::Leaving { until, .. } if now >= until => self.repeat_goodbye(now),
            Phase::Joining { .. }
            | Phase::Unwelcomed
            | Phase::Welcomed { .. }
            | Phase::Leaving { .. } => {}
        }
        self.check_ending(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Joining { until, .. } | Phase::Leaving { until, .. } => Some(until),
            Phase::Unwelcomed => None,
            Phase::Welcomed { .. } => Some(
                (self.sent_at + KEEPALIVE)
                    .min(self.outbox.pace.asks_again_at(self.heard_at + ASK_AFTER)),
            ),
            Phase::Rejoining(rejoining) => {
                let accepted = rejoining.accepted_at();
                Some(accepted.map_or(rejoining.next, |at| at.min(rejoining.next)))
            }
        };
        let line = self.outbox.next_at().filter(|_| self.is_open());
        let quiet = self
            .ending
            .and_then(|ending| ending.drained)
            .filter(|_| self.is_open() && self.outbox.is_empty())
            .map(|drained| self.quiet_at(drained));
        [phase, line, quiet].into_iter().flatten().min()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(Path, Vec<u8>)> {
        if self.end.is_some() {
            return None;
        }
        let payload = self.next_payload(now);
        if payload.is_some() {
            self.sent_at = now;
        }
        self.check_drained(now);
        payload.map(|payload| (Path(0), payload))
    }

    fn poll_output(&mut self) -> Option<Shown> {
        self.output.pop_front()
    }

    fn status(&mut self, text: String) {
        self.report(text);
    }

    fn queued(&self) -> usize {
        self.outbox.len()
    }

    fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    fn take_lines(&mut self, now: Instant) -> Vec<Line> {
        if matches!(self.end, Some(End::Unreachable(_) | End::Silent)) {
            self.outbox.queue_all(now);
        }
        self.outbox.take_all()
    }
}

impl Session {
    /// Queues a line, and shows it to the person who typed it.
    fn push(&mut self, line: Line) {
        if self.user == User::Person {
            self.output.push_back(typed(&self.name, &line));
        }
        self.outbox.push(line);
    }

    fn report(&mut self, text: impl Into<String>) {
        self.output.push_back(Shown::status(text));
    }

    /// Gives up the seat, to join again with frames: a relay that sends a welcome supports them.
    fn leave_for_frames(&mut self, now: Instant) {
        self.phase = Phase::Leaving {
            is_sent: false,
            until: now + GOODBYE_WAIT,
            retries_left: 2,
            for_frames: true,
        };
    }

    fn repeat_goodbye(&mut self, now: Instant) {
        if let Phase::Leaving {
            is_sent,
            until,
            retries_left: retries_left @ 1..,
            ..
        } = &mut self.phase
        {
            *is_sent = false;
            *until = now + GOODBYE_WAIT;
            *retries_left -= 1;
        } else {
            self.finish_leaving();
        }
    }

    fn finish_leaving(&mut self) {
        self.finish(if self.is_for_frames() {
            End::Welcomed
        } else {
            End::Left
        });
    }

    fn is_for_frames(&self) -> bool {
        matches!(
            self.phase,
            Phase::Leaving {
                for_frames: true,
                ..
            }
        )
    }

    /// Sends the name from `next` on, until it is answered. The first attempt is delayed further
    /// after two or more short-lived seats in a row.
    fn rejoin(&mut self, now: Instant, next: Instant, why: RejoinReason) {
        self.outbox.pace.reset(now);
        let welcomed = if let Phase::Welcomed { since } = self.phase {
            Some(since)
        } else {
            None
        };
        let is_short_lived =
            welcomed.is_some_and(|since| now < since + SHORT_LIVED) && why != RejoinReason::Moved;
        self.short_lived_seats = if is_short_lived {
            self.short_lived_seats + 1
        } else {
            0
        };
        let pause = match self.short_lived_seats {
            0 | 1 => Duration::ZERO,
            short => REJOIN_PAUSE
                .saturating_mul(1 << (short - 2).min(4))
                .min(REJOIN_PAUSE_MAX),
        };
        self.phase = Phase::Rejoining(Rejoining {
            since: now,
            next: next.max(now + pause),
            name_sent_at: None,
            was_welcomed: welcomed.is_some(),
            is_full: false,
            why,
        });
        if let Some(ending) = &mut self.ending {
            ending.drained = None;
        }
    }

    fn next_payload(&mut self, now: Instant) -> Option<Vec<u8>> {
        match &mut self.phase {
            Phase::Joining { is_sent: true, .. } | Phase::Leaving { is_sent: true, .. } => None,
            Phase::Joining { is_sent, .. } => {
                *is_sent = true;
                if self.server == Server::Classic {
                    self.phase = Phase::Unwelcomed;
                }
                Some(self.first_datagram(false))
            }
            Phase::Leaving { is_sent, .. } => {
                *is_sent = true;
                Some(b"/quit".to_vec())
            }
            Phase::Rejoining(rejoining) => {
                if now < rejoining.next {
                    return None;
                }
                rejoining.next = now + RETRY_INTERVAL;
                rejoining.name_sent_at = Some(now);
                let was_welcomed = rejoining.was_welcomed;
                Some(self.first_datagram(was_welcomed))
            }
            Phase::Unwelcomed => self.next_line(now, false),
            Phase::Welcomed { .. } => {
                if now >= self.sent_at + KEEPALIVE {
                    return Some(Vec::new());
                }
                let pace = &mut self.outbox.pace;
                let is_due = self.user == User::Program && pace.wants_answer();
                if is_due || now >= pace.asks_again_at(self.heard_at + ASK_AFTER) {
                    pace.handle_asked(now);
                    return Some(self.question());
                }
                self.next_line(now, true)
            }
        }
    }

    fn next_line(&mut self, now: Instant, has_commands: bool) -> Option<Vec<u8>> {
        loop {
            match self.outbox.next(now, &self.name, has_commands) {
                Next::Payload(payload) => {
                    // a server that is taken for an old one may be a relay, and rename the client
                    if let Some(name) = wire::nick(payload.as_bytes()) {
                        self.asked.push(name, Asker::Person);
                    }
                    return Some(payload.into_bytes());
                }
                Next::Nothing if self.waits(now) => {
                    self.has_reported_wait = true;
                    self.report(format!("{} lines {WAIT}", self.outbox.len()));
                    return None;
                }
                Next::TooLong => self.report("not sent: a command has at most 1024 bytes"),
                Next::Private => {
                    self.report("not sent: this relay has no /msg, and would say it to all")
                }
                Next::Nothing => return None,
            }
        }
    }

    /// Leaves if the input has ended, all lines are sent and no more lines arrive.
    fn check_ending(&mut self, now: Instant) {
        if self.ending.is_none() {
            return;
        };
        if !self.is_open() {
            if self.user == User::Person {
                self.handle_leave(now);
            }
            return;
        }
        self.check_drained(now);
        let Some(drained) = self.ending.and_then(|ending| ending.drained) else {
            return;
        };
        if self.outbox.is_empty() && now >= self.quiet_at(drained) {
            self.handle_leave(now);
        }
    }

    /// Records when the last line was sent.
    fn check_drained(&mut self, now: Instant) {
        if self.is_open()
            && self.outbox.is_empty()
            && let Some(ending) = &mut self.ending
        {
            ending.drained.get_or_insert(now);
        }
    }

    /// Returns when there was silence for long enough after the last line.
    fn quiet_at(&self, drained: Instant) -> Instant {
        if self.user == User::Person {
            return drained;
        }
        let traffic = drained.max(self.heard_at).max(self.sent_at);
        (traffic + LINGER).min(drained + LINGER_MAX)
    }

    /// Returns whether lines can be sent.
    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Unwelcomed | Phase::Welcomed { .. })
    }

    fn finish(&mut self, end: End) {
        if self.end.is_some() {
            return;
        }
        let goes_on = matches!(end, End::Unreachable(_) | End::Silent | End::Welcomed);
        let unsent = self.outbox.unsent().filter(|_| !goes_on);
        self.end = Some(match unsent {
            Some(unsent) if self.user == User::Program && end == End::Left => End::Failed(unsent),
            Some(unsent) => {
                self.report(unsent);
                end
            }
            None => end,
        });
    }
}

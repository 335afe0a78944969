//! The framed dialect: shows the events of the core's client to a person or a program.
//!
//! A typed line is on the terminal before it is delivered. So the terminal reports only exceptions:
//! that a line is not delivered yet, that it is delivered after all, or that it may be lost.

mod recent;
mod reporting;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use kilochat_core::framed::TEXT_MAX;
use kilochat_core::{Client, DATAGRAM_MAX, Instant as Moment, Path, PostError, PostId, State};

use super::conversation::Plan;
use super::dialect::{DRAIN_TIMEOUT, Dialect, End, LINGER, LINGER_MAX, Typed, User};
use super::plain::outbox::{Line, Outbox};
use super::screen::output::Shown;
use recent::Recent;

/// Maximum number of datagrams in the client's reorder buffer: the relay's maximum congestion
/// window.
const REORDER_MAX: usize = 32;

/// Maximum size of the texts in flight, in bytes.
const IN_FLIGHT_MAX: usize = 16 * 1024;

/// Number of ports from which to try to reach the relay. See [`Client::new`].
const PATHS: u8 = 6;

/// Maximum size of a text in a POST, in bytes. One byte is reserved for the `/` that is put before
/// a text that begins with `/`.
const PIECE_MAX: usize = TEXT_MAX - 1;

/// Time after which a line that is not delivered is reported.
const LATE_AFTER: Duration = Duration::from_secs(1);

/// A session with one relay.
pub(super) struct Framed {
    client: Client<REORDER_MAX, IN_FLIGHT_MAX>,
    exchange: Exchange,
    /// The zero of the clock of `client`.
    start: Instant,
    lingers: bool,
    ending: Option<Ending>,
}

/// The lines in both directions, and what the user was told about them.
struct Exchange {
    user: User,
    /// The current name.
    name: String,
    outbox: Outbox,
    /// Lines that the client has accepted and the relay has not answered.
    posted: VecDeque<Posted>,
    /// Whether the user was told that lines are not delivered yet.
    has_reported_late: bool,
    /// Whether the user was told, since then, that a line is or may be lost.
    has_reported_lost: bool,
    has_joined: bool,
    /// The state of the connection, as the user knows it.
    connection: Connection,
    /// The uptime of the relay that it last reported, and when it arrived.
    uptime: Option<(Instant, Duration)>,
    /// The sequence numbers after the last own line, and after the last line shown.
    own_end: u64,
    shown_end: u64,
    /// The last lines, of this run of the relay and of those before.
    recent: Recent,
    /// When the last line was delivered.
    progress_at: Instant,
    heard_at: Instant,
    /// Number of lines that were not delivered.
    refused: usize,
    /// Number of lines for which delivery is uncertain.
    doubtful: usize,
    output: VecDeque<Shown>,
    end: Option<End>,
    /// Whether to wait for the first seat when the room is full.
    waits_for_seat: bool,
    /// Whether the user was told that there is no seat, since the last time there was one.
    has_reported_no_seat: bool,
}

struct Posted {
    post: PostId,
    line: Line,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Good,
    /// The user was told that the connection is lost.
    Lost,
    /// The user was told that the relay answers again.
    Back,
}

/// The state after the end of the input.
#[derive(Clone, Copy, Debug)]
struct Ending {
    since: Instant,
    /// When the last line was delivered, if all are.
    delivered: Option<Instant>,
}

impl Framed {
    /// Creates a session with the options of `plan` that sends `lines` first.
    pub(super) fn new(now: Instant, plan: &Plan, lines: Vec<Line>) -> Self {
        let Plan {
            ref name,
            operator,
            user,
            lingers,
            waits_for_seat,
            is_announced,
            ..
        } = *plan;
        let mut client = Client::new(name, crate::random(), PATHS);
        if !is_announced {
            client.join_unannounced();
        }
        if let Some(key) = operator {
            client.set_operator(key);
        }
        Self {
            client,
            exchange: Exchange {
                user,
                name: name.clone(),
                outbox: Outbox::new(now, lines),
                posted: VecDeque::new(),
                has_reported_late: false,
                has_reported_lost: false,
                has_joined: false,
                connection: Connection::Good,
                uptime: None,
                own_end: 0,
                shown_end: 0,
                recent: Recent::default(),
                progress_at: now,
                heard_at: now,
                refused: 0,
                doubtful: 0,
                output: VecDeque::new(),
                end: None,
                waits_for_seat,
                has_reported_no_seat: false,
            },
            start: now,
            lingers,
            ending: None,
        }
    }

    fn moment(&self, now: Instant) -> Moment {
        let millis = now.saturating_duration_since(self.start).as_millis();
        Moment::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// Handles the pending events of the client.
    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.client.poll_event() {
            self.exchange.handle(now, event);
        }
    }

    /// Passes lines to the client until it accepts no more. Before the first join it passes none,
    /// because another session may have to send them.
    fn post(&mut self, now: Instant) {
        if !self.exchange.has_joined {
            return;
        }
        while let Some(line) = self.exchange.outbox.take(PIECE_MAX, true) {
            match self.client.post(&line.payload(true)) {
                Ok(post) => self.exchange.posted.push_back(Posted {
                    post,
                    line,
                    since: now,
                }),
                Err(PostError::Blank) => {}
                Err(PostError::TooLong) => self
                    .exchange
                    .report(format!("not sent: a command has at most {TEXT_MAX} bytes")),
                Err(PostError::Full | PostError::Ended) => {
                    self.exchange.outbox.put_back(line);
                    return;
                }
            }
        }
    }

    /// Leaves if the input has ended and all lines are delivered, or cannot be delivered.
    fn check_ending(&mut self, now: Instant) {
        // a client that lingers waits until its own lines are shown in the relay's order
        let is_complete = !self.lingers || self.exchange.shown_end >= self.exchange.own_end;
        if self.client.state() == State::Joined
            && self.queued() == 0
            && (is_complete || self.exchange.user == User::Person)
            && let Some(ending) = &mut self.ending
        {
            ending.delivered.get_or_insert(now);
        }
        if self.leaves_at().is_some_and(|at| now >= at) {
            self.handle_leave(now);
        }
    }

    /// Returns when to leave after the end of the input. Returns `None` if that depends on an
    /// event.
    fn leaves_at(&self) -> Option<Instant> {
        let Ending { since, delivered } = self.ending?;
        let is_person = self.exchange.user == User::Person;
        if matches!(self.client.state(), State::Leaving | State::Ended) {
            return None;
        }
        if is_person && self.client.state() != State::Joined {
            return Some(since);
        }
        Some(match delivered.filter(|_| self.queued() == 0) {
            Some(delivered) if is_person || !self.lingers => delivered,
            Some(delivered) => {
                let traffic = delivered.max(self.exchange.heard_at);
                (traffic + LINGER).min(delivered + LINGER_MAX)
            }
            None if is_person => since + LINGER_MAX,
            None if !self.exchange.has_joined => return None,
            None => since.max(self.exchange.progress_at) + DRAIN_TIMEOUT,
        })
    }
}

impl Dialect for Framed {
    fn handle_datagram(&mut self, now: Instant, path: Path, payload: &[u8]) {
        let moment = self.moment(now);
        self.client.handle_datagram(moment, path, payload);
        self.exchange.heard_at = now;
        self.handle_events(now);
    }

    fn handle_unreachable(&mut self, now: Instant, why: &str) {
        match self.client.state() {
            // a client that is waiting for a seat keeps trying: the relay may be restarting
            State::Joining if !self.exchange.has_reported_no_seat => {
                self.exchange.finish(End::Unreachable(why.into()));
            }
            State::Joined if self.exchange.connection != Connection::Lost => {
                self.exchange
                    .report_lost(format!("connection lost ({why}); joining again"));
                self.client.handle_unreachable(self.moment(now));
            }
            State::Joining | State::Joined | State::Lost | State::Leaving | State::Ended => {}
        }
    }

    fn handle_line(&mut self, now: Instant, text: &str) -> bool {
        match Typed::read(self.exchange.user, text) {
            Typed::Blank => return false,
            Typed::Quit => self.handle_end_of_input(now),
            Typed::Line(line) => self.exchange.push(line),
        }
        true
    }

    fn handle_text(&mut self, _now: Instant, text: &str) {
        if let Typed::Line(line) = Typed::read(User::Program, text) {
            self.exchange.push(line);
        }
    }

    fn handle_end_of_input(&mut self, now: Instant) {
        self.ending.get_or_insert(Ending {
            since: now,
            delivered: None,
        });
    }

    fn handle_leave(&mut self, now: Instant) {
        self.client.leave(self.moment(now));
        self.handle_events(now);
    }

    fn handle_network_change(&mut self, now: Instant, _has_moved: bool) {
        self.client.reconnect(self.moment(now));
    }

    fn is_lost(&self) -> bool {
        self.exchange.connection == Connection::Lost
    }

    fn is_joining(&self) -> bool {
        !self.exchange.has_joined
    }

    fn name(&self) -> &str {
        &self.exchange.name
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(self.moment(now));
        self.handle_events(now);
        self.exchange.check_late(now, self.client.is_slowed());
        self.check_ending(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let client = self.client.poll_timeout();
        let client = client.map(|at| self.start + Duration::from_millis(at.as_millis()));
        let times = [client, self.exchange.late_at(), self.leaves_at()];
        times.into_iter().flatten().min()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(Path, Vec<u8>)> {
        if self.exchange.end.is_some() {
            return None;
        }
        self.post(now);
        let mut buffer = [0; DATAGRAM_MAX];
        let transmit = self.client.poll_transmit(self.moment(now), &mut buffer);
        self.handle_events(now);
        self.check_ending(now);
        let transmit = transmit?;
        Some((transmit.path, buffer.get(..transmit.length)?.to_vec()))
    }

    fn poll_output(&mut self) -> Option<Shown> {
        self.exchange.output.pop_front()
    }

    fn status(&mut self, text: String) {
        self.exchange.report(text);
    }

    fn queued(&self) -> usize {
        self.exchange.outbox.len() + self.exchange.posted.len()
    }

    fn end(&self) -> Option<&End> {
        self.exchange.end.as_ref()
    }

    fn take_lines(&mut self, _now: Instant) -> Vec<Line> {
        self.exchange.outbox.take_all()
    }
}

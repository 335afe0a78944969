//! The framed dialect for a person or a program: what the core's client tells, made readable.
//!
//! A line that was typed is on the terminal already; what can be said about it there is only the
//! exception: that it is not delivered yet, and when it is, or that it may never be.

mod telling;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use kilochat_core::framed::TEXT_MAX;
use kilochat_core::{Client, DATAGRAM_MAX, Instant as Moment, Path, PostError, PostId, State};

use super::conversation::Plan;
use super::dialect::{Dialect, End, LINGER, LINGER_MAX, PATIENCE, Speaker, Typed};
use super::plain::outbox::{Line, Outbox};
use super::screen::output::Shown;

/// Datagrams that may be kept because one before them is missing: a window of the relay.
const HELD: usize = 32;

/// Bytes of texts that are on their way.
const OUT: usize = 16 * 1024;

/// Ports from which the relay is tried: see [`Client::new`].
const PATHS: u8 = 6;

/// A text of so many bytes fits in a POST, with the `/` that a text which begins with one gets.
const ROOM: usize = TEXT_MAX - 1;

/// A line that is not delivered after this time is spoken of.
const NOTICED: Duration = Duration::from_secs(1);

/// A conversation with one relay.
pub(super) struct Framed {
    client: Client<HELD, OUT>,
    talk: Talk,
    /// Zero on the clock of `client`.
    start: Instant,
    lingers: bool,
    ending: Option<Ending>,
}

/// What is said and heard.
struct Talk {
    speaker: Speaker,
    /// The name at this moment.
    name: String,
    outbox: Outbox,
    /// What was given to the client and has no answer.
    posted: VecDeque<Posted>,
    /// Whether it was said that something is not delivered.
    has_told_late: bool,
    /// ... and, since then, that something never will be.
    has_told_lost: bool,
    has_joined: bool,
    /// What was said about the connection.
    connection: Connection,
    /// When the relay told how long it runs, and how long that was.
    uptime: Option<(Instant, Duration)>,
    /// Sequence numbers, each one more than the last: of what was said here, of what was shown.
    said: u64,
    shown: u64,
    /// When the last line was delivered.
    progress_at: Instant,
    heard_at: Instant,
    /// Lines that were not delivered.
    refused: usize,
    /// Lines that perhaps were.
    doubtful: usize,
    output: VecDeque<Shown>,
    end: Option<End>,
    /// Whether to wait for a first seat where all are taken.
    waits: bool,
    /// Whether it was said that there is no seat, since there last was one.
    has_told_no_seat: bool,
}

struct Posted {
    post: PostId,
    line: Line,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Good,
    /// It was said that it is lost.
    Lost,
    /// It was said that it is good again.
    Back,
}

/// The end of the input was reached.
#[derive(Clone, Copy, Debug)]
struct Ending {
    since: Instant,
    /// When everything was delivered.
    delivered: Option<Instant>,
}

impl Framed {
    /// One that is to carry out `plan`, and to say `lines`.
    pub(super) fn new(now: Instant, plan: &Plan, lines: Vec<Line>) -> Self {
        let Plan {
            ref name,
            speaker,
            lingers,
            waits,
            ..
        } = *plan;
        Self {
            client: Client::new(name, crate::random(), PATHS),
            talk: Talk {
                speaker,
                name: name.clone(),
                outbox: Outbox::new(now, lines),
                posted: VecDeque::new(),
                has_told_late: false,
                has_told_lost: false,
                has_joined: false,
                connection: Connection::Good,
                uptime: None,
                said: 0,
                shown: 0,
                progress_at: now,
                heard_at: now,
                refused: 0,
                doubtful: 0,
                output: VecDeque::new(),
                end: None,
                waits,
                has_told_no_seat: false,
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

    /// Tells what happened.
    fn tell(&mut self, now: Instant) {
        while let Some(event) = self.client.poll_event() {
            self.talk.handle(now, event);
        }
    }

    /// Gives the client as many lines as it takes; before it ever joined, none: they may have to
    /// be said otherwise.
    fn post(&mut self, now: Instant) {
        if !self.talk.has_joined {
            return;
        }
        while let Some(line) = self.talk.outbox.take(ROOM, true) {
            match self.client.post(&line.payload(true)) {
                Ok(post) => self.talk.posted.push_back(Posted {
                    post,
                    line,
                    since: now,
                }),
                Err(PostError::Blank) => {}
                Err(PostError::TooLong) => self
                    .talk
                    .say(format!("not sent: a command has at most {TEXT_MAX} bytes")),
                Err(PostError::Full | PostError::Ended) => {
                    self.talk.outbox.put_back(line);
                    return;
                }
            }
        }
    }

    /// Leaves when the input has ended and everything is delivered, or cannot be.
    fn check_ending(&mut self, now: Instant) {
        // who listens for a moment sees its own lines in their places
        let is_complete = !self.lingers || self.talk.shown >= self.talk.said;
        if self.client.state() == State::Joined
            && self.queued() == 0
            && (is_complete || self.talk.speaker == Speaker::Person)
            && let Some(ending) = &mut self.ending
        {
            ending.delivered.get_or_insert(now);
        }
        if self.leaves_at().is_some_and(|at| now >= at) {
            self.handle_leave(now);
        }
    }

    /// When to leave after the end of the input, as far as it is known.
    fn leaves_at(&self) -> Option<Instant> {
        let Ending { since, delivered } = self.ending?;
        let is_person = self.talk.speaker == Speaker::Person;
        if matches!(self.client.state(), State::Leaving | State::Ended) {
            return None;
        }
        if is_person && self.client.state() != State::Joined {
            return Some(since);
        }
        Some(match delivered.filter(|_| self.queued() == 0) {
            Some(delivered) if is_person || !self.lingers => delivered,
            Some(delivered) => {
                let traffic = delivered.max(self.talk.heard_at);
                (traffic + LINGER).min(delivered + LINGER_MAX)
            }
            None if is_person => since + LINGER_MAX,
            None if !self.talk.has_joined => return None,
            None => since.max(self.talk.progress_at) + PATIENCE,
        })
    }
}

impl Dialect for Framed {
    fn handle_datagram(&mut self, now: Instant, path: Path, payload: &[u8]) {
        let moment = self.moment(now);
        self.client.handle_datagram(moment, path, payload);
        self.talk.heard_at = now;
        self.tell(now);
    }

    fn handle_refused(&mut self, now: Instant, why: &str) {
        match self.client.state() {
            // one that has no seat now, and is asked again, may be restarted meanwhile
            State::Joining if !self.talk.has_told_no_seat => {
                self.talk.finish(End::Refused(why.into()));
            }
            State::Joined if self.talk.connection != Connection::Lost => {
                self.talk
                    .lose(format!("connection lost ({why}); joining again"));
                self.client.handle_unreachable(self.moment(now));
            }
            State::Joining | State::Joined | State::Lost | State::Leaving | State::Ended => {}
        }
    }

    fn handle_line(&mut self, now: Instant, text: &str) -> bool {
        match Typed::read(self.talk.speaker, text) {
            Typed::Blank => return false,
            Typed::Quit => self.handle_end_of_input(now),
            Typed::Line(line) => self.talk.push(line),
        }
        true
    }

    fn handle_text(&mut self, _now: Instant, text: &str) {
        if let Typed::Line(line) = Typed::read(Speaker::Program, text) {
            self.talk.push(line);
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
        self.tell(now);
    }

    fn handle_network_change(&mut self, now: Instant, _has_moved: bool) {
        self.client.reconnect(self.moment(now));
    }

    fn is_lost(&self) -> bool {
        self.talk.connection == Connection::Lost
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(self.moment(now));
        self.tell(now);
        self.talk.check_late(now);
        self.check_ending(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let client = self.client.poll_timeout();
        let client = client.map(|at| self.start + Duration::from_millis(at.as_millis()));
        let times = [client, self.talk.late_at(), self.leaves_at()];
        times.into_iter().flatten().min()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(Path, Vec<u8>)> {
        if self.talk.end.is_some() {
            return None;
        }
        self.post(now);
        let mut buffer = [0; DATAGRAM_MAX];
        let transmit = self.client.poll_transmit(self.moment(now), &mut buffer);
        self.tell(now);
        self.check_ending(now);
        let transmit = transmit?;
        Some((transmit.path, buffer.get(..transmit.length)?.to_vec()))
    }

    fn poll_output(&mut self) -> Option<Shown> {
        self.talk.output.pop_front()
    }

    fn status(&mut self, text: String) {
        self.talk.say(text);
    }

    fn queued(&self) -> usize {
        self.talk.outbox.len() + self.talk.posted.len()
    }

    fn end(&self) -> Option<&End> {
        self.talk.end.as_ref()
    }

    fn take_lines(&mut self, _now: Instant) -> Vec<Line> {
        self.talk.outbox.take_all()
    }
}

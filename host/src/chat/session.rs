//! The plain dialect as a state machine: datagrams, lines and time in, datagrams and lines out.
//!
//! It does no I/O and reads no clock. A datagram is answered by at most one datagram, but what is
//! said is not acknowledged; so a line may be repeated around a restart of the relay rather than
//! lost, and a relay that forgot this client is noticed by what it answers.

use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use kilochat_core::{DATAGRAM_MAX, clean};

use super::output::{Kind, Shown};
use super::pace::Pace;
use super::wire::{self, Meaning, Received};

/// A relay that welcomes does so within this time.
const WELCOME_WAIT: Duration = Duration::from_secs(5);

/// After so long without a datagram of ours a relay that welcomed us gets an empty one.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// After so long without a datagram of its own the relay is asked whether it still knows us.
const DOUBT: Duration = Duration::from_secs(30);

/// The time between two attempts to join again.
const RETRY: Duration = Duration::from_secs(1);

/// A server that never welcomes has our name if it was not refused for so long.
const ACCEPTED: Duration = Duration::from_millis(500);

/// A refusal may be about the lines of so short a time before it.
const IN_FLIGHT: Duration = Duration::from_millis(50);

/// The lines of this time can be what an unexpected welcome is about.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The most lines that are remembered.
const REMEMBERED_MAX: usize = 256;

/// A second welcome so soon after the first is the network's doing.
const DOUBLED: Duration = Duration::from_millis(500);

/// After the end of the input this much silence ends the session,
const LINGER: Duration = Duration::from_millis(200);

/// ... and this much time does in any case.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// The relay has so long to say goodbye.
const GOODBYE: Duration = Duration::from_millis(200);

/// So long after the end of the input lines still wait for a relay that has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is at this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// A person at a terminal, who types commands and sees what happens.
    Person,
    /// A program: each of its lines is a message, and failures end the session.
    Program,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it was meant to.
    Left,
    /// Nobody listens there, and nobody ever answered.
    Refused(String),
    /// It cannot go on, for this reason.
    Failed(String),
}

/// A conversation with one relay.
#[derive(Debug)]
pub(super) struct Session {
    speaker: Speaker,
    is_classic: bool,
    name: String,
    phase: Phase,
    queue: VecDeque<Line>,
    sent: VecDeque<Sent>,
    pace: Pace,
    history: usize,
    has_heard: bool,
    heard_at: Instant,
    sent_at: Instant,
    started_at: Instant,
    ending: Option<Ending>,
    output: VecDeque<Shown>,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The name is the first datagram; a welcome is awaited.
    Joining { is_sent: bool, until: Instant },
    /// The server never welcomed us: it gets what was typed, as it was typed.
    Unwelcomed,
    /// The relay knows us.
    Welcomed { since: Instant },
    /// The relay has gone or forgot us: the name is sent until it is answered.
    Rejoining(Rejoining),
    /// `/quit` is sent, its answer awaited.
    Leaving { is_sent: bool, until: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rejoining {
    since: Instant,
    next: Instant,
    /// When the name was sent and not refused yet.
    tried: Option<Instant>,
    was_welcomed: bool,
}

impl Rejoining {
    /// When silence means that a server which never welcomes has the name.
    fn accepted_at(&self) -> Option<Instant> {
        self.tried
            .filter(|_| !self.was_welcomed)
            .map(|tried| tried + ACCEPTED)
    }
}

/// A line that is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// As a person typed it: where there are commands, `/` starts one.
    Typed(String),
    /// A message, whatever it starts with.
    Said(String),
}

#[derive(Clone, Debug)]
struct Sent {
    at: Instant,
    line: Line,
}

/// The end of the input was reached.
#[derive(Clone, Copy, Debug)]
struct Ending {
    since: Instant,
    /// When the last line was sent.
    drained: Option<Instant>,
}

impl Session {
    /// A session that is to join under `name`, which must be clean.
    pub(super) fn new(now: Instant, name: String, speaker: Speaker, is_classic: bool) -> Self {
        Self {
            speaker,
            is_classic,
            name,
            phase: Phase::Joining {
                is_sent: false,
                until: now + WELCOME_WAIT,
            },
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            pace: Pace::new(now),
            history: 0,
            has_heard: false,
            heard_at: now,
            sent_at: now,
            started_at: now,
            ending: None,
            output: VecDeque::new(),
            end: None,
        }
    }

    /// Says something on behalf of the program.
    pub(super) fn status(&mut self, text: impl Into<String>) {
        self.output.push_back(Shown::status(text));
    }

    /// Starts again at another address, with the lines that wait.
    pub(super) fn join_elsewhere(&mut self, now: Instant) {
        self.queue_again(now, Duration::MAX);
        self.phase = Phase::Joining {
            is_sent: false,
            until: now + WELCOME_WAIT,
        };
        self.started_at = now;
        self.end = None;
    }

    /// How many lines wait to be sent.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How it ended, once it has.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The next line to show.
    pub(super) fn poll_output(&mut self) -> Option<Shown> {
        self.output.pop_front()
    }

    /// A line was typed or read; says whether there was anything to say in it.
    pub(super) fn handle_line(&mut self, now: Instant, text: &str) -> bool {
        let text: String = clean(text).collect();
        if wire::is_blank(&text) {
            return false;
        }
        match self.speaker {
            Speaker::Person if text.trim() == "/quit" => self.handle_end_of_input(now),
            Speaker::Person => self.queue.push_back(Line::Typed(text)),
            Speaker::Program => self.queue.push_back(Line::Said(text)),
        }
        true
    }

    /// There are no more lines to come: leaves when all is said.
    pub(super) fn handle_end_of_input(&mut self, now: Instant) {
        self.ending.get_or_insert(Ending {
            since: now,
            drained: None,
        });
    }

    /// Leaves at once.
    pub(super) fn handle_leave(&mut self, now: Instant) {
        match self.phase {
            Phase::Leaving { .. } => {}
            Phase::Welcomed { .. } => {
                self.phase = Phase::Leaving {
                    is_sent: false,
                    until: now + GOODBYE,
                }
            }
            Phase::Joining { .. } | Phase::Unwelcomed | Phase::Rejoining(_) => {
                self.finish(End::Left);
            }
        }
    }

    /// The network said that nobody listens there, or that there is no way there.
    pub(super) fn handle_refused(&mut self, now: Instant, why: &str) {
        match &mut self.phase {
            Phase::Joining { .. } => self.finish(End::Refused(why.into())),
            Phase::Unwelcomed if !self.has_heard && now < self.started_at + WELCOME_WAIT => {
                self.finish(End::Refused(why.into()));
            }
            Phase::Unwelcomed | Phase::Welcomed { .. } => {
                self.queue_again(now, IN_FLIGHT);
                self.status(format!("the relay has gone ({why}); joining again"));
                self.rejoin(now, now + ACCEPTED);
            }
            Phase::Rejoining(rejoining) => rejoining.tried = None,
            Phase::Leaving { .. } => self.finish(End::Left),
        }
    }

    /// Time passed; extra calls do nothing.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(first) = self.sent.front()
            && (self.sent.len() > REMEMBERED_MAX || now > first.at + REMEMBERED)
        {
            self.sent.pop_front();
        }
        match self.phase {
            Phase::Joining { until, .. } if now >= until => self.give_up_welcome(),
            Phase::Rejoining(rejoining) => self.check_rejoining(now, rejoining),
            Phase::Welcomed { .. } if self.pace.is_unanswered(now) => {
                self.status("the relay does not answer; joining again");
                self.rejoin(now, now);
            }
            Phase::Leaving { until, .. } if now >= until => self.finish(End::Left),
            Phase::Joining { .. }
            | Phase::Unwelcomed
            | Phase::Welcomed { .. }
            | Phase::Leaving { .. } => {}
        }
        self.check_ending(now);
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Joining { until, .. } | Phase::Leaving { until, .. } => Some(until),
            Phase::Unwelcomed => None,
            Phase::Welcomed { .. } => {
                Some((self.sent_at + KEEPALIVE).min(self.pace.asks_again_at(self.heard_at + DOUBT)))
            }
            Phase::Rejoining(rejoining) => {
                let accepted = rejoining.accepted_at();
                Some(accepted.map_or(rejoining.next, |at| at.min(rejoining.next)))
            }
        };
        let line = if self.queue.is_empty() || !self.is_open() {
            None
        } else {
            self.pace.next_line_at()
        };
        let quiet = self
            .ending
            .and_then(|ending| ending.drained)
            .filter(|_| self.is_open())
            .map(|drained| self.quiet_at(drained));
        [phase, line, quiet].into_iter().flatten().min()
    }

    /// The next datagram to send.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.end.is_some() {
            return None;
        }
        let payload = self.next_payload(now)?;
        self.sent_at = now;
        Some(payload)
    }

    /// A datagram arrived.
    pub(super) fn handle_datagram(&mut self, now: Instant, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        self.has_heard = true;
        self.heard_at = now;
        for line in wire::lines(payload) {
            self.handle_received(now, &line);
        }
    }

    fn handle_received(&mut self, now: Instant, line: &str) {
        match wire::parse(line) {
            Received::Message { name, text } => {
                self.show(Kind::Message, name, text);
                self.notice_old_server();
            }
            Received::Notice { text, meaning } => {
                let is_refusal = matches!(self.phase, Phase::Joining { .. })
                    && !matches!(meaning, Meaning::Welcome { .. });
                if is_refusal && wire::may_be_said(text) {
                    self.show(Kind::Notice, None, text);
                    self.notice_old_server();
                } else if is_refusal {
                    self.finish(End::Failed(format!("the relay refused: {text}")));
                } else {
                    self.handle_notice(now, text, meaning);
                }
            }
        }
    }

    fn handle_notice(&mut self, now: Instant, text: &str, meaning: Meaning<'_>) {
        let is_welcomed = matches!(self.phase, Phase::Welcomed { .. });
        match meaning {
            Meaning::Welcome { name, history } => self.handle_welcome(now, text, name, history),
            Meaning::Named(name) => self.handle_named(now, text, name),
            Meaning::Full if matches!(self.phase, Phase::Rejoining(_)) => {
                self.finish(End::Failed(format!("the relay refused: {text}")));
            }
            Meaning::Nameless if is_welcomed => {
                self.show(Kind::Notice, None, text);
                self.status("the relay was restarted; joining again");
                self.queue_again(now, IN_FLIGHT);
                self.queue_last_command();
                self.rejoin(now, now);
            }
            Meaning::Stopping if is_welcomed => {
                self.show(Kind::Notice, None, text);
                self.queue_again(now, IN_FLIGHT);
                self.status("waiting for the relay, to join again");
                self.rejoin(now, now + ACCEPTED);
            }
            Meaning::GivenAway if is_welcomed => {
                self.show(Kind::Notice, None, text);
                self.status("joining again");
                self.rejoin(now, now);
            }
            Meaning::Bye if matches!(self.phase, Phase::Leaving { .. }) => {
                self.show(Kind::Notice, None, text);
                self.finish(End::Left);
            }
            Meaning::Lost(lost) => {
                self.output.push_back(Shown {
                    kind: Kind::Notice,
                    name: None,
                    text: text.into(),
                });
                self.history = self.history.saturating_sub(lost);
            }
            Meaning::Full
            | Meaning::Nameless
            | Meaning::Stopping
            | Meaning::GivenAway
            | Meaning::Bye
            | Meaning::Other => self.show(Kind::Notice, None, text),
        }
    }

    fn handle_welcome(&mut self, now: Instant, text: &str, name: &str, history: usize) {
        let is_doubled = matches!(self.phase, Phase::Welcomed { since } if now < since + DOUBLED);
        if is_doubled && name == self.name {
            return;
        }
        self.history = 0;
        self.show(Kind::Notice, None, text);
        self.history = history;
        let is_ours = wire::is_made_of(name, &self.name);
        let is_asked = match self.phase {
            Phase::Joining { .. } => true,
            Phase::Unwelcomed => is_ours || self.sent.is_empty(),
            Phase::Welcomed { .. } | Phase::Rejoining(_) => is_ours,
            Phase::Leaving { .. } => return,
        };
        if !is_asked {
            self.handle_mistaken(now, name);
            return;
        }
        if let Phase::Welcomed { .. } = self.phase {
            self.queue_again(now, IN_FLIGHT);
            self.status("the relay was restarted; joined again");
        }
        self.enter(now, name);
    }

    /// The relay took a line for a name: takes the name back and says the line again.
    fn handle_mistaken(&mut self, now: Instant, name: &str) {
        let taken = self
            .sent
            .iter()
            .position(|sent| matches!(&sent.line, Line::Said(text) if wire::is_made_of(name, text)))
            .or(self.sent.len().checked_sub(1));
        let renamed = self.sent.iter().any(|sent| {
            matches!(&sent.line, Line::Typed(text) if text.strip_prefix("/nick ").is_some_and(|new| wire::is_made_of(name, new)))
        });
        if renamed {
            self.status("the relay was restarted; joined again");
            self.enter(now, name);
            return;
        }
        if let Some(index) = taken {
            let after = self.sent.split_off(index + 1);
            let at = self.sent[index].at;
            self.queue_again(at, IN_FLIGHT);
            self.sent = after;
        }
        self.status("the relay was restarted; joining again");
        self.phase = Phase::Welcomed { since: now };
        self.rejoin(now, now);
    }

    fn handle_named(&mut self, now: Instant, text: &str, name: &str) {
        if matches!(self.phase, Phase::Rejoining(_)) {
            self.enter(now, name);
        } else if let Some(asked) = self.pace.handle_answer() {
            // the relay reads in order: what was sent before has arrived
            self.sent.retain(|sent| sent.at > asked);
            self.name = name.into();
        } else {
            self.show(Kind::Notice, None, text);
            self.name = name.into();
        }
    }

    /// There is a seat: what waits can be said.
    fn enter(&mut self, now: Instant, name: &str) {
        if matches!(self.phase, Phase::Rejoining(_)) {
            self.status(format!("joined again as {name}"));
        }
        self.name = name.into();
        self.pace.reset(now);
        self.phase = Phase::Welcomed { since: now };
    }

    fn rejoin(&mut self, now: Instant, next: Instant) {
        self.pace.reset(now);
        self.phase = Phase::Rejoining(Rejoining {
            since: now,
            next,
            tried: None,
            was_welcomed: matches!(self.phase, Phase::Welcomed { .. }),
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
                if self.is_classic {
                    self.phase = Phase::Unwelcomed;
                }
                Some(self.name.clone().into_bytes())
            }
            Phase::Leaving { is_sent, .. } => {
                *is_sent = true;
                Some(b"/quit".to_vec())
            }
            Phase::Rejoining(rejoining) => {
                if now < rejoining.next {
                    return None;
                }
                rejoining.next = now + RETRY;
                rejoining.tried = Some(now);
                // said by a peer, the bare name would be a message
                Some(if rejoining.was_welcomed {
                    self.question()
                } else {
                    self.name.clone().into_bytes()
                })
            }
            Phase::Unwelcomed => self.next_line(now, false),
            Phase::Welcomed { .. } => {
                let is_program = self.speaker == Speaker::Program;
                if is_program && self.pace.wants_answer()
                    || self.pace.asks_again_at(self.heard_at + DOUBT) <= now
                {
                    self.pace.handle_asked(now);
                    return Some(self.question());
                }
                if let Some(payload) = self.next_line(now, true) {
                    return Some(payload);
                }
                (now >= self.sent_at + KEEPALIVE).then(Vec::new)
            }
        }
    }

    /// `/nick` with the own name: a relay that knows us says that we have it, one that does not
    /// takes it for a join, and nobody else is told.
    fn question(&self) -> Vec<u8> {
        format!("/nick {}", self.name).into_bytes()
    }

    fn next_line(&mut self, now: Instant, has_commands: bool) -> Option<Vec<u8>> {
        if !self.pace.allows(now) {
            return None;
        }
        loop {
            let line = match self.queue.pop_front()? {
                Line::Typed(text) if !has_commands => Line::Said(text),
                Line::Typed(text) => typed(text),
                said @ Line::Said(_) => said,
            };
            let (payload, line) = match line {
                Line::Typed(text) if text.len() > DATAGRAM_MAX => {
                    self.status("not sent: a command has at most 1024 bytes");
                    continue;
                }
                Line::Typed(text) => (text.clone(), Line::Typed(text)),
                Line::Said(text) => {
                    let (piece, rest) = wire::split(&text, &self.name);
                    if !rest.is_empty() {
                        self.queue.push_front(Line::Said(rest.into()));
                    }
                    if wire::is_blank(piece) {
                        continue;
                    }
                    let payload = if has_commands {
                        wire::literal(piece)
                    } else {
                        piece.into()
                    };
                    (payload, Line::Said(piece.into()))
                }
            };
            self.sent.push_back(Sent { at: now, line });
            self.pace.handle_sent(now);
            return Some(payload.into_bytes());
        }
    }

    /// Queues again what was sent up to `age` before `now`, or before the question that is open.
    fn queue_again(&mut self, now: Instant, age: Duration) {
        let until = self.pace.asked_at().map_or(now, |asked| asked.min(now));
        while let Some(last) = self.sent.back()
            && until.saturating_duration_since(last.at) <= age
            && let Some(sent) = self.sent.pop_back()
        {
            self.queue.push_front(sent.line);
        }
    }

    /// Queues again the command that a relay answered by asking for a name.
    fn queue_last_command(&mut self) {
        if let Some(Sent { line, .. }) = self.sent.pop_back() {
            self.queue.push_front(line);
        }
    }

    fn give_up_welcome(&mut self) {
        if self.speaker == Speaker::Program {
            self.finish(End::Failed(
                "no welcome within 5 s: an old server (--classic is for those), a firewall, or nobody"
                    .into(),
            ));
            return;
        }
        self.status(
            "no answer for 5 s: an old server, a firewall, or nobody; sending what you type anyway",
        );
        self.phase = Phase::Unwelcomed;
    }

    /// Somebody talks, but there was no welcome.
    fn notice_old_server(&mut self) {
        if self.speaker == Speaker::Person && matches!(self.phase, Phase::Joining { .. }) {
            self.status(
                "no welcome: this is an old server, which gets what you type as you type it",
            );
            self.phase = Phase::Unwelcomed;
        }
    }

    fn check_rejoining(&mut self, now: Instant, rejoining: Rejoining) {
        if rejoining.accepted_at().is_some_and(|at| now >= at) {
            self.status(format!("joined again as {}", self.name));
            self.phase = Phase::Unwelcomed;
            return;
        }
        let Some(ending) = self.ending else { return };
        if self.queue.is_empty() || self.speaker == Speaker::Person {
            self.finish(End::Left);
        } else if now >= ending.since.max(rejoining.since) + PATIENCE {
            self.finish(End::Failed("the relay did not come back".into()));
        }
    }

    /// Leaves when the input has ended, everything is said and nothing more comes.
    fn check_ending(&mut self, now: Instant) {
        let Some(mut ending) = self.ending else {
            return;
        };
        if !self.is_open() {
            if self.speaker == Speaker::Person {
                self.handle_leave(now);
            }
            return;
        }
        if !self.queue.is_empty() {
            return;
        }
        let drained = *ending.drained.get_or_insert(now);
        self.ending = Some(ending);
        if self.speaker == Speaker::Person || now >= self.quiet_at(drained) {
            self.handle_leave(now);
        }
    }

    /// When there has been no traffic for long enough after the last line.
    fn quiet_at(&self, drained: Instant) -> Instant {
        let traffic = drained.max(self.heard_at).max(self.sent_at);
        (traffic + LINGER).min(drained + LINGER_MAX)
    }

    /// Whether lines can be sent now.
    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Unwelcomed | Phase::Welcomed { .. })
    }

    fn show(&mut self, kind: Kind, name: Option<&str>, text: &str) {
        let is_history = self.history > 0;
        self.history = self.history.saturating_sub(1);
        self.output.push_back(Shown {
            kind: if is_history { Kind::History } else { kind },
            name: name.map(Into::into),
            text: text.into(),
        });
    }

    fn finish(&mut self, end: End) {
        match self.queue.len() {
            _ if matches!(end, End::Refused(_)) => {}
            0 => {}
            1 => self.status("1 line was not sent"),
            lines => self.status(format!("{lines} lines were not sent")),
        }
        self.end = Some(end);
    }
}

/// What a typed line is where there are commands.
fn typed(text: String) -> Line {
    match text.strip_prefix("//") {
        Some(rest) => Line::Said(format!("/{rest}")),
        None if text.starts_with('/') => Line::Typed(text),
        None => Line::Said(text),
    }
}

//! Connects a dialect to sockets: one event loop for the terminal and for pipes.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Instant, SystemTime};

use super::dialect::{Dialect, End, User};
use super::event::Event;
use super::framed::Framed;
use super::ignored::Ignored;
use super::log::Log;
use super::plain::outbox::Line;
use super::plain::{Server, Session};
use super::ports::Ports;
use super::private::Private;
use super::screen::output::{Kind, Shown};
use super::wake::Wake;
use crate::{Error, address, port, race};

/// Time between two looks whether the output takes lines.
const ROOM_INTERVAL: Duration = Duration::from_millis(50);

/// Maximum number of events that are handled before their lines are shown.
const BATCH: usize = 64;

/// Maximum number of input lines in the queue.
const INPUT_MAX: usize = 256;

/// Number of times that a session in plain text switches back to frames, when the relay supports
/// them but did not answer them before.
const FRAMED_ATTEMPTS: u8 = 2;

/// Time without a first answer after which the prompt says so.
const NO_ANSWER: Duration = Duration::from_secs(1);

/// A destination for lines.
pub(super) trait Output {
    /// Shows lines. Returns when they are written, or handed over to the thread that writes them.
    ///
    /// # Errors
    ///
    /// If the lines cannot be written. A broken pipe only means that the reader has gone.
    fn show(&mut self, lines: &[Shown]) -> io::Result<()>;

    /// Returns whether lines can be shown now, or never again.
    fn is_ready(&self) -> bool {
        true
    }

    /// Shows the state of the connection, which has changed.
    fn set_standing(&mut self, _standing: &Standing) {}
}

/// The state of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The current name of this client.
    pub(super) name: String,
    /// Whether, and since when, the relay does not answer.
    pub(super) answers: Answers,
}

/// Whether the relay answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answers {
    /// It answers, or was asked a moment ago.
    #[default]
    Yes,
    /// The client tries to join, and has had no answer for at least [`NO_ANSWER`].
    NotYet,
    /// It does not answer any more.
    NoLonger,
}

/// The dialects that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Frames, and plain text if the server does not support frames.
    Any,
    /// Frames. If the server does not support them, the conversation ends.
    Framed,
    /// Plain text.
    Plain,
    /// Plain text for an old server, which sends no welcome.
    Classic,
}

/// The options of a conversation.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The key of the relay's operators, if the user is one.
    pub(super) operator: Option<[u8; 16]>,
    /// The name to join under, which must be clean.
    pub(super) name: String,
    /// The kind of user.
    pub(super) user: User,
    /// The dialects that may be used.
    pub(super) choice: Choice,
    /// Whether the room is told that it joins and leaves, where frames can ask for that.
    pub(super) is_announced: bool,
    /// Whether to keep listening for a short time after all lines are sent.
    pub(super) lingers: bool,
    /// Whether to wait for a seat when the room is full.
    pub(super) waits_for_seat: bool,
}

impl Plan {
    /// Returns the first dialect to try.
    fn first(&self) -> Attempt {
        match self.choice {
            Choice::Any | Choice::Framed => Attempt::Framed,
            Choice::Plain => Attempt::Plain(Server::Unknown),
            Choice::Classic => Attempt::Plain(Server::Classic),
        }
    }

    fn begin(&self, attempt: Attempt, lines: Vec<Line>) -> Box<dyn Dialect> {
        let now = Instant::now();
        match attempt {
            Attempt::Framed => Box::new(Framed::new(now, self, lines)),
            Attempt::Plain(server) => {
                let name = self.name.clone();
                Box::new(Session::new(now, name, self.user, server, lines))
            }
        }
    }
}

/// The dialect that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Framed,
    Plain(Server),
}

/// A dialect with its ports, and the events of both.
pub(super) struct Conversation {
    plan: Plan,
    dialect: Box<dyn Dialect>,
    attempts_left: u8,
    /// HOST[:PORT] of the relay, as it was given.
    host: String,
    /// Whether the user was told that the relay does not answer.
    has_reported_silence: bool,
    /// Whether a name resolution is in progress.
    is_looking_up: bool,
    /// Further addresses of the relay, which are tried if the current one is unreachable.
    addresses: VecDeque<SocketAddr>,
    ports: Ports,
    events: Receiver<Event>,
    sender: Sender<Event>,
    wake: Wake,
    is_input_over: bool,
    /// Why the input was not read as a whole.
    input_failure: Option<String>,
    is_leaving: bool,
    /// Permits for the reader of standard input, one for each line.
    permits: Option<Sender<()>>,
    granted: usize,
    /// Number of blank input lines, which are not sent.
    blank_lines: usize,
    reports_blank: bool,
    started_at: Instant,
    standing: Standing,
    ignored: Ignored,
    private: Private,
    log: Option<Log>,
}

impl Conversation {
    /// Starts a conversation with the relay at HOST[:PORT], at the address that answers first.
    ///
    /// # Errors
    ///
    /// If the syntax is wrong, or the host has no address.
    pub(super) fn new(plan: Plan, host: &str) -> Result<Self, Error> {
        let mut addresses = address::find(host)?;
        if matches!(plan.choice, Choice::Any | Choice::Framed) {
            addresses = race::run(addresses);
        }
        let mut addresses = VecDeque::from(addresses);
        let first = addresses.pop_front();
        let first = first.ok_or_else(|| Error::Failure("the host has no address".into()))?;
        let (sender, events) = channel();
        Ok(Self {
            dialect: plan.begin(plan.first(), Vec::new()),
            plan,
            attempts_left: FRAMED_ATTEMPTS,
            host: host.into(),
            has_reported_silence: false,
            is_looking_up: false,
            addresses,
            ports: Ports::new(first, sender.clone()),
            events,
            sender,
            wake: Wake::new(Instant::now(), SystemTime::now()),
            is_input_over: false,
            input_failure: None,
            is_leaving: false,
            permits: None,
            granted: 0,
            blank_lines: 0,
            reports_blank: false,
            started_at: Instant::now(),
            standing: Standing::default(),
            ignored: Ignored::default(),
            private: Private::default(),
            log: None,
        })
    }

    /// Returns a sender for events of this conversation.
    pub(super) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Appends what is shown to a file.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub(super) fn set_log(&mut self, path: &Path) -> Result<(), Error> {
        self.log = Some(Log::open(path, self.sender())?);
        Ok(())
    }

    /// Issues permits to read one line each, so that no more input is read than can be queued.
    pub(super) fn set_permits(&mut self, permits: Sender<()>) {
        self.permits = Some(permits);
        self.reports_blank = true;
    }

    /// Shows a message of the program itself.
    pub(super) fn status(&mut self, text: String) {
        self.dialect.status(text);
    }

    /// Runs the conversation until it ends.
    ///
    /// # Errors
    ///
    /// If the session fails, or its lines cannot be shown.
    pub(super) fn run(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let mut is_readable = true;
        let mut failure = None;
        loop {
            self.check_network();
            self.dialect.handle_timeout(Instant::now());
            self.transmit();
            self.check_standing(output);
            let lines = self.take_lines();
            if is_readable && !lines.is_empty() {
                self.wait_for_room(output);
                if let Err(error) = output.show(&lines) {
                    is_readable = false;
                    if error.kind() != ErrorKind::BrokenPipe {
                        failure = Some(Error::Failure(format!("standard output: {error}")));
                    }
                    self.handle(Event::Leave);
                    continue;
                }
            }
            if let Some(end) = self.dialect.end().cloned() {
                if !self.is_leaving && self.continue_after(&end) {
                    continue;
                }
                return match end {
                    End::Left | End::Welcomed => {
                        let input = self.input_failure.take().map(Error::Failure);
                        failure.or(input).map_or(Ok(()), Err)
                    }
                    End::Unreachable(why) | End::Failed(why) => {
                        Err(failure.unwrap_or(Error::Failure(why)))
                    }
                    End::NoFrames | End::Silent => Err(Error::Failure(self.no_frames())),
                };
            }
            self.grant();
            self.wait()?;
        }
    }

    /// Waits until the output takes lines, and says what is typed meanwhile. Datagrams wait, too, so
    /// that the relay sends no more than can be shown.
    fn wait_for_room(&mut self, output: &dyn Output) {
        let mut waiting = Vec::new();
        while !self.is_leaving && !output.is_ready() {
            match self.events.recv_timeout(ROOM_INTERVAL) {
                Ok(event @ Event::Datagram(..)) => waiting.push(event),
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.transmit();
            self.grant();
        }
        for event in waiting {
            self.handle(event);
        }
    }

    /// Returns the lines to show, and logs them.
    fn take_lines(&mut self) -> Vec<Shown> {
        // on a terminal, own lines are shown when they are typed
        let is_person = self.plan.user == User::Person;
        let mut lines = Vec::new();
        while let Some(line) = self.dialect.poll_output() {
            let help = Ignored::help_after(&line).filter(|_| is_person);
            if !(self.ignored.hides(&line) || is_person && line.kind == Kind::Own) {
                self.private.notice(&line);
                lines.push(line);
            }
            lines.extend(help);
        }
        if let Some(log) = &mut self.log
            && !lines.is_empty()
        {
            log.put(&lines);
        }
        lines
    }

    /// Tells the output whether the relay answers, and the client's name, if that has changed.
    fn check_standing(&mut self, output: &mut dyn Output) {
        let answers = if self.dialect.is_lost() {
            Answers::NoLonger
        } else if self.dialect.is_joining() && self.started_at.elapsed() >= NO_ANSWER {
            Answers::NotYet
        } else {
            Answers::Yes
        };
        let name = self.dialect.name();
        if (self.standing.answers, self.standing.name.as_str()) != (answers, name) {
            let name = name.into();
            self.standing = Standing { name, answers };
            output.set_standing(&self.standing);
        }
    }

    /// Handles pending events, or waits for the next event or timeout.
    fn wait(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let due = self.wake.due();
        let until = self.dialect.poll_timeout().map_or(due, |at| at.min(due));
        let silent_at = self.started_at + NO_ANSWER;
        let until = if now < silent_at {
            until.min(silent_at)
        } else {
            until
        };
        let timeout = until.saturating_duration_since(now);
        match self.events.recv_timeout(timeout) {
            Ok(event) => self.handle(event),
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Failure("the client's threads have ended".into()));
            }
        }
        for _ in 1..BATCH {
            let Ok(event) = self.events.try_recv() else {
                break;
            };
            self.handle(event);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Datagram(number, payload) => {
                self.ports.handle_taken();
                if let Some(path) = self.ports.path(number) {
                    self.dialect.handle_datagram(now, path, &payload);
                }
            }
            Event::Network(number, error) => {
                if self.ports.path(number).is_some() {
                    self.handle_error(&error);
                }
            }
            Event::Line(text) => {
                self.granted = self.granted.saturating_sub(1);
                self.handle_line(now, &text);
            }
            Event::Text(text) => self.dialect.handle_text(now, &text),
            Event::Found(addresses) => self.handle_found(addresses),
            Event::Status(text) => self.dialect.status(text),
            Event::BadInput(why) => self.input_failure = Some(why),
            Event::EndOfInput => {
                self.is_input_over = true;
                if self.reports_blank && self.blank_lines > 0 {
                    let lines = if self.blank_lines == 1 {
                        "line"
                    } else {
                        "lines"
                    };
                    let blank = format!("{} blank {lines} not sent", self.blank_lines);
                    self.dialect.status(blank);
                }
                self.dialect.handle_end_of_input(now);
            }
            Event::Leave => {
                self.is_leaving = true;
                self.dialect.handle_leave(now);
            }
        }
    }

    fn handle_line(&mut self, now: Instant, text: &str) {
        if self.plan.user == User::Person {
            if let Some(told) = self.ignored.obey(text) {
                return self.dialect.status(told);
            }
            return self.handle_private(now, text);
        }
        if !self.dialect.handle_line(now, text) {
            self.blank_lines += 1;
        }
    }

    /// Handles a line that may be a message to one peer.
    fn handle_private(&mut self, now: Instant, text: &str) {
        match self.private.expand(text) {
            Ok(text) => {
                if let Some(told) = self.private.warn(&text) {
                    self.dialect.status(told.into());
                }
                if !self.dialect.handle_line(now, &text) {
                    self.blank_lines += 1;
                }
            }
            Err(told) => self.dialect.status(told),
        }
    }

    fn transmit(&mut self) {
        while let Some((path, payload)) = self.dialect.poll_transmit(Instant::now()) {
            if let Err(error) = self.ports.send(path, &payload) {
                self.handle_error(&error);
            }
        }
    }

    fn handle_error(&mut self, error: &io::Error) {
        if let Some(description) = port::describe(self.ports.address, error) {
            self.dialect
                .handle_unreachable(Instant::now(), &description);
        }
    }

    /// Reconnects after the machine was suspended or has moved to another network.
    fn check_network(&mut self) {
        let Some(has_slept) = self.wake.check(Instant::now(), SystemTime::now()) else {
            return;
        };
        let has_moved = self.ports.has_moved();
        if has_moved {
            self.ports.renew(self.ports.address);
        }
        if has_slept || has_moved {
            self.dialect
                .handle_network_change(Instant::now(), has_moved);
        }
        if self.dialect.is_lost() && !self.is_looking_up {
            self.look_up();
        }
    }

    /// Resolves the relay's name again, on a separate thread because it may block for long.
    fn look_up(&mut self) {
        let (host, sender) = (self.host.clone(), self.sender.clone());
        let look_up = move || {
            let found = address::find(&host).unwrap_or_default();
            // fails if the conversation has ended
            let _ = sender.send(Event::Found(found));
        };
        self.is_looking_up = thread::Builder::new().spawn(look_up).is_ok();
    }

    /// Switches to the relay's new address, if the address has changed and the relay still does not
    /// answer.
    fn handle_found(&mut self, addresses: Vec<SocketAddr>) {
        self.is_looking_up = false;
        let Some(first) = addresses.first().copied() else {
            return;
        };
        if self.dialect.is_lost() && !addresses.contains(&self.ports.address) {
            self.dialect
                .status(format!("{} is at {first} now", self.host));
            self.ports.renew(first);
            self.dialect.handle_network_change(Instant::now(), true);
        }
    }

    /// Continues in another dialect or at another address, if the end of the session calls for it.
    fn continue_after(&mut self, end: &End) -> bool {
        let mut address = self.ports.address;
        let attempt = match end {
            End::Unreachable(_) => {
                let Some(next) = self.addresses.pop_front() else {
                    return false;
                };
                address = next;
                self.attempts_left = FRAMED_ATTEMPTS;
                self.plan.first()
            }
            End::NoFrames if self.plan.choice == Choice::Any && self.attempts_left > 0 => {
                Attempt::Plain(Server::Frameless)
            }
            End::NoFrames if self.plan.choice == Choice::Any => Attempt::Plain(Server::Unknown),
            // no line is sent before an answer: a relay that starts later would take it as a name
            End::Silent => {
                self.addresses.push_back(address);
                address = self.addresses.pop_front().unwrap_or(address);
                self.plan.first()
            }
            End::Welcomed => {
                self.attempts_left = self.attempts_left.saturating_sub(1);
                Attempt::Framed
            }
            End::Left | End::Failed(_) | End::NoFrames => return false,
        };
        self.ports.renew(address);
        let lines = self.dialect.take_lines(Instant::now());
        self.dialect = self.plan.begin(attempt, lines);
        if matches!(end, End::Silent) {
            self.report_silence();
        }
        if self.is_input_over {
            self.dialect.handle_end_of_input(Instant::now());
        }
        true
    }

    /// Tells the user, once, that the relay does not answer.
    fn report_silence(&mut self) {
        if !self.has_reported_silence {
            self.has_reported_silence = true;
            self.dialect.status(format!(
                "no answer yet from {}; still asking, and what you type waits (--classic sends it to an \
                 old server)",
                self.ports.address
            ));
        }
    }

    fn no_frames(&self) -> String {
        format!(
            "no relay answers frames at {}: no relay runs there, a firewall blocks it, or it is an old \
             server (--plain sends unconfirmed)",
            self.ports.address
        )
    }

    fn grant(&mut self) {
        let Some(permits) = &self.permits else { return };
        while self.granted + self.dialect.queued() < INPUT_MAX {
            self.granted += 1;
            if permits.send(()).is_err() {
                self.permits = None;
                return;
            }
        }
    }
}

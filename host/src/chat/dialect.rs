//! What a conversation needs of a dialect, whichever it is.

use core::time::Duration;
use std::time::Instant;

use kilochat_core::{Path, clean, is_blank};

use super::plain::outbox::Line;
use super::screen::output::{Kind, Shown};

/// After the end of the input this much silence ends a session,
pub(super) const LINGER: Duration = Duration::from_millis(200);

/// ... and this much time does in any case.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(2);

/// So long after the end of the input lines still wait for a relay that has gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Said after a restart of the relay that it did not announce.
pub(super) const MAY_MISS: &str = "; lines may be missing";

/// One dialect's half of a conversation as a state machine: it does no I/O and reads no clock.
pub(super) trait Dialect {
    /// A datagram arrived at the port `path`.
    fn handle_datagram(&mut self, now: Instant, path: Path, payload: &[u8]);

    /// The network said that nobody listens there, or that there is no way there.
    fn handle_refused(&mut self, now: Instant, why: &str);

    /// A line was typed or read; says whether there was anything to say in it.
    fn handle_line(&mut self, now: Instant, text: &str) -> bool;

    /// A line of several that were pasted: text, whatever it begins with.
    fn handle_text(&mut self, now: Instant, text: &str);

    /// There are no more lines to come: leaves when all is said.
    fn handle_end_of_input(&mut self, now: Instant);

    /// Leaves at once.
    fn handle_leave(&mut self, now: Instant);

    /// The machine slept, or its network changed. If it `has_moved`, what is sent from now on
    /// comes from new ports.
    fn handle_network_change(&mut self, now: Instant, has_moved: bool);

    /// Time passed; extra calls do nothing.
    fn handle_timeout(&mut self, now: Instant);

    /// Whether the relay was heard once, and does not answer any more.
    fn is_lost(&self) -> bool;

    /// When to call [`handle_timeout`](Self::handle_timeout) and
    /// [`poll_transmit`](Self::poll_transmit) next.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next datagram to send, and the port to send it from.
    fn poll_transmit(&mut self, now: Instant) -> Option<(Path, Vec<u8>)>;

    /// The next line to show.
    fn poll_output(&mut self) -> Option<Shown>;

    /// Says something on behalf of the program.
    fn status(&mut self, text: String);

    /// How many lines wait to be sent, or to be known to have arrived.
    fn queued(&self) -> usize;

    /// How it ended, once it has.
    fn end(&self) -> Option<&End>;

    /// The lines that are to be said elsewhere, once it has ended.
    fn take_lines(&mut self, now: Instant) -> Vec<Line>;
}

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
    /// Nothing came from there at all, and a person may want to wait.
    Silent,
    /// It cannot go on, for this reason.
    Failed(String),
    /// Nobody there speaks in frames.
    NoFrames,
    /// Somebody there welcomed us in plain text, and will know frames.
    Welcomed,
}

/// What a line that was typed or read is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing that could be said.
    Blank,
    /// The person wants to leave.
    Quit,
    /// Something to say.
    Line(Line),
}

/// Whether a line that was typed says that the person wants to leave.
pub(super) fn is_quit(text: &str) -> bool {
    let text = text.trim();
    text.eq_ignore_ascii_case("/quit") || text.eq_ignore_ascii_case("/exit")
}

/// A command that a space stands before is one all the same: it is not to be read by everybody.
fn without_indent(text: String) -> String {
    let start = text.trim_start();
    if start.starts_with('/') && !start.starts_with("//") {
        return start.into();
    }
    text
}

/// A line as it was typed, to be shown: a command, or what is said under `name`.
pub(super) fn typed(name: &str, line: &Line) -> Shown {
    match line {
        Line::Typed(text) => match text.strip_prefix('/') {
            Some(said) if said.starts_with('/') => Shown::new(Kind::Typed, Some(name), said),
            Some(_) => Shown::new(Kind::Typed, None, text.as_str()),
            None => Shown::new(Kind::Typed, Some(name), text.as_str()),
        },
        Line::Said(text) => Shown::new(Kind::Typed, Some(name), text.as_str()),
    }
}

impl Typed {
    /// Reads a line as it was typed or read.
    pub(super) fn read(speaker: Speaker, text: &str) -> Self {
        let text: String = clean(text).collect();
        match speaker {
            _ if is_blank(&text) => Self::Blank,
            Speaker::Person if is_quit(&text) => Self::Quit,
            Speaker::Person => Self::Line(Line::Typed(without_indent(text))),
            Speaker::Program => Self::Line(Line::Said(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_by_whoever_types_it_however() {
        let read = |text| Typed::read(Speaker::Person, text);
        let typed = |text: &str| Typed::Line(Line::Typed(text.into()));
        assert_eq!(read(" /who"), typed("/who"));
        assert_eq!(read("\t/HELP"), typed("/HELP"));
        assert_eq!(read(" //who"), typed(" //who"));
        assert_eq!(read(" text"), typed(" text"));
        for quit in ["/quit", "/QUIT", " /exit ", "/Exit"] {
            assert_eq!(read(quit), Typed::Quit, "{quit}");
        }
        let said = Typed::Line(Line::Said(" /who".into()));
        assert_eq!(Typed::read(Speaker::Program, " /who"), said);
    }
}

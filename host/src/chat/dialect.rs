//! The interface between a conversation and its dialect.

use core::time::Duration;
use std::time::Instant;

use kilochat_core::{Path, clean, is_blank};

use super::plain::outbox::Line;
use super::screen::output::{ACTION, Kind, Shown};

/// Silence after the end of the input that ends a session.
pub(super) const LINGER: Duration = Duration::from_millis(200);

/// Maximum time to listen after the end of the input, whether or not there is silence.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(2);

/// Maximum time without progress, after the end of the input, for which unsent lines wait for the
/// relay.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Part of a message after a restart that the relay did not announce.
pub(super) const MAY_MISS: &str = "; lines may be missing";

/// Part of a message about lines that wait, after their number.
pub(super) const WAIT: &str = "wait: the relay limits how fast each peer may talk";

/// The client's side of one dialect as a state machine. It does no I/O and reads no clock.
pub(super) trait Dialect {
    /// Handles a datagram that arrived on `path`.
    fn handle_datagram(&mut self, now: Instant, path: Path, payload: &[u8]);

    /// Handles an error of the network: the relay's port or address is unreachable.
    fn handle_unreachable(&mut self, now: Instant, why: &str);

    /// Handles a line that was typed or read. Returns `false` if the line is blank.
    fn handle_line(&mut self, now: Instant, text: &str) -> bool;

    /// Handles one of several pasted lines: text, even if it begins with `/`.
    fn handle_text(&mut self, now: Instant, text: &str);

    /// Handles the end of the input: leaves after all lines are sent.
    fn handle_end_of_input(&mut self, now: Instant);

    /// Leaves without waiting for unsent lines.
    fn handle_leave(&mut self, now: Instant);

    /// Handles the end of a suspension of the machine, or a change of its network. If it
    /// `has_moved`, datagrams are sent from new ports from now on.
    fn handle_network_change(&mut self, now: Instant, has_moved: bool);

    /// Handles timeouts. Calls before [`poll_timeout`](Self::poll_timeout) have no effect.
    fn handle_timeout(&mut self, now: Instant);

    /// Returns whether the relay has answered before, but does not answer now.
    fn is_lost(&self) -> bool;

    /// Returns whether the relay has not answered frames yet.
    fn is_joining(&self) -> bool {
        false
    }

    /// Returns the current name of this client.
    fn name(&self) -> &str;

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) and
    /// [`poll_transmit`](Self::poll_transmit) next.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Returns the next datagram to send, and the path to send it on.
    fn poll_transmit(&mut self, now: Instant) -> Option<(Path, Vec<u8>)>;

    /// Returns the next line to show.
    fn poll_output(&mut self) -> Option<Shown>;

    /// Shows a message of the program itself.
    fn status(&mut self, text: String);

    /// Returns the number of lines that are queued, or sent and not yet acknowledged.
    fn queued(&self) -> usize;

    /// Returns how the session ended. Returns `None` if it has not ended.
    fn end(&self) -> Option<&End>;

    /// Returns the unsent lines after the session has ended, for the next session.
    fn take_lines(&mut self, now: Instant) -> Vec<Line>;
}

/// The kind of user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// A person at a terminal, who types commands and sees what happens.
    Person,
    /// A program: each of its lines is a message, and failures end the session.
    Program,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client left as intended.
    Left,
    /// The relay's port or address is unreachable, and the relay has never answered.
    Unreachable(String),
    /// No datagram arrived at all. A person may want to wait.
    Silent,
    /// The session cannot continue, for this reason.
    Failed(String),
    /// The server does not answer frames.
    NoFrames,
    /// The relay sent a welcome in plain text, so it supports frames.
    Welcomed,
}

/// The meaning of a line that was typed or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// The line has no visible character.
    Blank,
    /// The user wants to leave.
    Quit,
    /// The line is to be sent.
    Line(Line),
}

/// Returns whether a typed line is the command to leave.
pub(super) fn is_quit(text: &str) -> bool {
    let text = text.trim();
    text.eq_ignore_ascii_case("/quit") || text.eq_ignore_ascii_case("/exit")
}

/// Removes spaces before a command. Otherwise a mistyped command would be sent to the room as text.
fn without_indent(text: String) -> String {
    let start = text.trim_start();
    if start.starts_with('/') && !start.starts_with("//") {
        return start.into();
    }
    text
}

/// Returns the line that a person typed. `/me TEXT` is a message for all relays, and clients show it
/// as what its author does.
fn of_person(text: String) -> Line {
    let text = without_indent(text);
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("/me") && !is_blank(rest) => {
            Line::Said(format!("{ACTION}{}", rest.trim()))
        }
        _ => Line::Typed(text),
    }
}

/// Returns a typed line as it is shown: a command, or text under `name`.
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
    /// Interprets a line that was typed or read.
    pub(super) fn read(user: User, text: &str) -> Self {
        let text: String = clean(text).collect();
        match user {
            _ if is_blank(&text) => Self::Blank,
            User::Person if is_quit(&text) => Self::Quit,
            User::Person => Self::Line(of_person(text)),
            User::Program => Self::Line(Line::Said(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_in_any_spelling() {
        let read = |text| Typed::read(User::Person, text);
        let typed = |text: &str| Typed::Line(Line::Typed(text.into()));
        assert_eq!(read(" /who"), typed("/who"));
        assert_eq!(read("\t/HELP"), typed("/HELP"));
        assert_eq!(read(" //who"), typed(" //who"));
        assert_eq!(read(" text"), typed(" text"));
        for quit in ["/quit", "/QUIT", " /exit ", "/Exit"] {
            assert_eq!(read(quit), Typed::Quit, "{quit}");
        }
        let does = Typed::Line(Line::Said("/me waves".into()));
        assert_eq!(read(" /ME  waves "), does);
        assert_eq!(read("/me "), typed("/me "));
        let said = Typed::Line(Line::Said(" /who".into()));
        assert_eq!(Typed::read(User::Program, " /who"), said);
    }
}

//! The queue of lines to send, and the recent lines that may have to be sent again.

use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use kilochat_core::{DATAGRAM_MAX, is_blank};

use super::super::private;
use super::pace::Pace;
use super::wire;

/// Time before a refusal or a restart in which sent lines may be lost.
const IN_FLIGHT: Duration = Duration::from_millis(50);

/// Time for which sent lines are remembered. An unexpected welcome may be the answer to one of
/// them.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Maximum number of sent lines that are remembered.
const REMEMBERED_MAX: usize = 256;

/// A line to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line that a person typed. If the server has commands, `/` begins one.
    Typed(String),
    /// A message, even if it begins with `/`.
    Said(String),
}

impl Line {
    /// Returns the line in the form in which it is sent.
    pub(crate) fn payload(&self, has_commands: bool) -> String {
        match self {
            Self::Said(text) if has_commands => wire::literal(text),
            Self::Typed(text) | Self::Said(text) => text.clone(),
        }
    }
}

/// The result of [`Outbox::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A datagram to send.
    Payload(String),
    /// A command that is too long for a datagram. It is dropped.
    TooLong,
    /// A message to one peer, which this server would say to all. It is dropped.
    Private,
    /// There is no line, or none may be sent yet.
    Nothing,
}

/// The lines to send to the relay, in order, and the recently sent ones, which may have to be sent
/// again.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Line>,
    sent: VecDeque<Sent>,
    /// Limits the rate of the lines.
    pub(super) pace: Pace,
}

#[derive(Clone, Debug)]
struct Sent {
    at: Instant,
    line: Line,
}

impl Outbox {
    /// Creates an outbox with these lines in its queue.
    pub(crate) fn new(now: Instant, lines: Vec<Line>) -> Self {
        Self {
            queue: lines.into(),
            sent: VecDeque::new(),
            pace: Pace::new(now),
        }
    }

    /// Returns how many lines were not sent, in words, or `None` if all were.
    pub(crate) fn unsent(&self) -> Option<String> {
        match self.len() {
            0 => None,
            1 => Some("1 line was not sent".into()),
            lines => Some(format!("{lines} lines were not sent")),
        }
    }

    /// Returns the number of lines in the queue.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether the queue is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns whether no sent line is remembered.
    pub(crate) fn is_fresh(&self) -> bool {
        self.sent.is_empty()
    }

    /// Adds a line at the end of the queue.
    pub(crate) fn push(&mut self, line: Line) {
        self.queue.push_back(line);
    }

    /// Returns when the next line may be sent. Returns `None` if there is none, or an answer must
    /// arrive first.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        if self.queue.is_empty() {
            return None;
        }
        self.pace.next_line_at()
    }

    /// Takes the next line, or as much of it as fits in one line of the room after `name`.
    pub(crate) fn next(&mut self, now: Instant, name: &str, has_commands: bool) -> Next {
        if !self.pace.allows(now) {
            return Next::Nothing;
        }
        let Some(line) = self.take(wire::room(name), has_commands) else {
            return Next::Nothing;
        };
        if !has_commands && matches!(line, Line::Typed(_)) {
            return Next::Private;
        }
        let payload = line.payload(has_commands);
        if payload.len() > DATAGRAM_MAX {
            return Next::TooLong;
        }
        self.remember(now, line);
        Next::Payload(payload)
    }

    /// Takes the next line: a command, or as much of a text as fits in `room` bytes. Without commands the
    /// only one is a message to one peer.
    pub(crate) fn take(&mut self, room: usize, has_commands: bool) -> Option<Line> {
        while let Some(line) = self.queue.pop_front() {
            let text = match line {
                Line::Said(text) => text,
                Line::Typed(text) if !has_commands && private::is_message(&text) => {
                    return Some(Line::Typed(text));
                }
                Line::Typed(text) if !has_commands => text,
                Line::Typed(text) => match text.strip_prefix('/') {
                    Some(rest) if rest.starts_with('/') => rest.into(),
                    Some(_) => return Some(Line::Typed(text)),
                    None => text,
                },
            };
            let (piece, rest) = wire::split(&text, room);
            if !rest.is_empty() {
                self.queue.push_front(Line::Said(rest.into()));
            }
            if !is_blank(piece) {
                return Some(Line::Said(piece.into()));
            }
        }
        None
    }

    /// Puts a line back at the front of the queue.
    pub(crate) fn put_back(&mut self, line: Line) {
        self.queue.push_front(line);
    }

    /// Takes all lines from the queue.
    pub(crate) fn take_all(&mut self) -> Vec<Line> {
        core::mem::take(&mut self.queue).into()
    }

    /// Forgets the lines that were sent too long ago.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(first) = self.sent.front()
            && (self.sent.len() > REMEMBERED_MAX || now > first.at + REMEMBERED)
        {
            self.sent.pop_front();
        }
    }

    /// Handles the answer to a question.
    pub(crate) fn handle_answer(&mut self) {
        if let Some(asked) = self.pace.handle_answer() {
            // the relay reads in order, so all earlier lines have arrived
            self.sent.retain(|sent| sent.at > asked);
        }
    }

    /// Handles the answer to a `/nick` that was typed. The command and all earlier lines have
    /// arrived.
    pub(crate) fn handle_renamed(&mut self) {
        let is_nick =
            |sent: &Sent| matches!(&sent.line, Line::Typed(text) if text.starts_with("/nick "));
        if let Some(index) = self.sent.iter().position(is_nick) {
            self.sent.drain(..=index);
        }
    }

    /// Queues again the lines that may not have arrived before the relay disappeared.
    pub(crate) fn queue_recent(&mut self, now: Instant) {
        self.queue_since(now, IN_FLIGHT);
    }

    /// Queues again all remembered lines.
    pub(crate) fn queue_all(&mut self, now: Instant) {
        self.queue_since(now, Duration::MAX);
    }

    /// Queues again the last line, whatever its age.
    pub(crate) fn queue_last(&mut self) {
        if let Some(Sent { line, .. }) = self.sent.pop_back() {
            self.queue.push_front(line);
        }
    }

    /// Queues again the line that the relay took as a name and made into `name`, and the lines that
    /// were sent shortly before it.
    pub(crate) fn queue_mistaken(&mut self, name: &str) {
        let made =
            |sent: &Sent| matches!(&sent.line, Line::Said(text) if wire::is_made_of(name, text));
        let Some(index) = self
            .sent
            .iter()
            .position(made)
            .or(self.sent.len().checked_sub(1))
        else {
            return;
        };
        let after = self.sent.split_off(index + 1);
        if let Some(at) = self.sent.back().map(|sent| sent.at) {
            self.queue_since(at, IN_FLIGHT);
        }
        self.sent = after;
    }

    /// Returns whether a remembered `/nick` requested `name`.
    pub(crate) fn has_renamed(&self, name: &str) -> bool {
        self.sent.iter().any(|sent| {
            matches!(&sent.line, Line::Typed(text) if text
                .strip_prefix("/nick ")
                .is_some_and(|asked| wire::is_made_of(name, asked)))
        })
    }

    fn remember(&mut self, now: Instant, line: Line) {
        self.sent.push_back(Sent { at: now, line });
        self.pace.handle_sent(now);
    }

    /// Queues again the lines that were sent up to `age` before `now`, or before the pending
    /// question if that is earlier.
    fn queue_since(&mut self, now: Instant, age: Duration) {
        let until = self.pace.asked_at().map_or(now, |asked| asked.min(now));
        while let Some(last) = self.sent.back()
            && until.saturating_duration_since(last.at) <= age
            && let Some(sent) = self.sent.pop_back()
        {
            self.queue.push_front(sent.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, name: &str, has_commands: bool) -> Vec<String> {
        let mut now = Instant::now();
        let mut payloads = Vec::new();
        while !outbox.is_empty() {
            now += Duration::from_secs(1);
            outbox.pace.reset(now);
            if let Next::Payload(payload) = outbox.next(now, name, has_commands) {
                payloads.push(payload);
            }
        }
        payloads
    }

    fn sent(line: Line, has_commands: bool) -> Vec<String> {
        let mut outbox = Outbox::new(Instant::now(), Vec::new());
        outbox.push(line);
        drain(&mut outbox, "Ada", has_commands)
    }

    #[test]
    fn a_slash_means_what_its_author_meant() {
        let typed = |text: &str, commands| sent(Line::Typed(text.into()), commands);
        let said = |text: &str, commands| sent(Line::Said(text.into()), commands);
        assert_eq!(typed("/who", true), ["/who"]);
        assert_eq!(typed("//who", true), ["//who"]);
        assert_eq!(typed("///who", true), ["///who"]);
        assert_eq!(typed("/who", false), ["/who"]);
        assert_eq!(typed("/msg Bob x", true), ["/msg Bob x"]);
        // without commands all would read it
        assert_eq!(typed("/msg Bob x", false), [""; 0]);
        assert_eq!(typed("//who", false), ["//who"]);
        assert_eq!(said("/who", true), ["//who"]);
        assert_eq!(said("//who", true), ["///who"]);
        assert_eq!(said("/who", false), ["/who"]);
    }

    #[test]
    fn a_piece_that_starts_with_a_slash_is_no_command() {
        let text = "x".repeat(954) + "/quit";
        assert_eq!(
            sent(Line::Typed(text.clone()), true),
            [&"x".repeat(954), "//quit"]
        );
        assert_eq!(sent(Line::Typed(text), false), [&"x".repeat(954), "/quit"]);
    }

    #[test]
    fn a_long_command_is_never_cut() {
        let command = "/".to_owned() + &"x".repeat(1023);
        assert!(sent(Line::Typed(command.clone() + "x"), true).is_empty());
        assert_eq!(sent(Line::Typed(command.clone()), true).concat(), command);
        let literal = "//".to_owned() + &"x".repeat(2000);
        let pieces = sent(Line::Typed(literal), true);
        assert_eq!(pieces[0], "//".to_owned() + &"x".repeat(953));
        assert_eq!(pieces.concat().len(), 2002);
    }

    #[test]
    fn chinese_and_emoji_arrive_whole_whatever_the_cut_falls_on() {
        for shift in 0..5 {
            let text = "x".repeat(shift) + &"小😀".repeat(400);
            let pieces = sent(Line::Said(text.clone()), true);
            assert!(
                pieces
                    .iter()
                    .all(|piece| "Ada : ".len() + piece.len() <= 960)
            );
            assert_eq!(pieces.concat(), text);
        }
    }

    #[test]
    fn only_what_may_be_lost_is_said_again() {
        let start = Instant::now();
        let mut outbox = Outbox::new(start, Vec::new());
        for text in ["old", "new", "newer"] {
            outbox.push(Line::Said(text.into()));
        }
        let _ = outbox.next(start, "Ada", true);
        let later = start + Duration::from_secs(1);
        let _ = outbox.next(later, "Ada", true);
        let _ = outbox.next(later + Duration::from_millis(20), "Ada", true);
        outbox.queue_recent(later + Duration::from_millis(40));
        assert_eq!(drain(&mut outbox, "Ada", true), ["new", "newer"]);
    }
}

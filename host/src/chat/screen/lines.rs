//! The line mode, for pipes, files and scripts.

use core::mem::take;
use core::str::from_utf8;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use jiff::{Timestamp, Zoned};

use super::output::{Days, Format, Kind, Shown, columns};
use crate::Error;
use crate::chat::conversation::{Conversation, Output};
use crate::chat::event::Event;
use crate::signals::{self, Leaving, Place};
use crate::stdio;

/// Maximum size of an input line in bytes. A longer one is sent in parts.
const INPUT_LINE_MAX: u64 = 64 * 1024;

/// The options of the line mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Whether to show colours and times.
    pub(crate) format: Format,
    /// Whether to print JSON objects.
    pub(crate) json: bool,
    /// Whether to keep listening after the end of the input.
    pub(crate) stay: bool,
}

/// Sends the lines of standard input, and writes received lines to standard output.
///
/// # Errors
///
/// If the session fails.
pub(crate) fn run(conversation: &mut Conversation, options: Options) -> Result<(), Error> {
    let at_end = if options.stay {
        AtEnd::Stay
    } else {
        AtEnd::Leave
    };
    read_input(conversation, at_end);
    let leave = conversation.sender();
    let leave = move || drop(leave.send(Event::Leave));
    let leaving = signals::watch(Place::Pipe, leave, || {})?;
    #[cfg(unix)]
    watch_output(conversation.sender());
    let days = options.format.time.then(Days::new);
    conversation.run(&mut Lines {
        options,
        leaving,
        days,
    })
}

/// What to do at the end of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// Leave.
    Leave,
    /// Leave, with an error if there was no line at all.
    LeaveIfSaid,
    /// Keep listening.
    Stay,
}

/// Starts to read standard input, no faster than it can be sent.
pub(crate) fn read_input(conversation: &mut Conversation, at_end: AtEnd) {
    let (permits, permitted) = channel();
    conversation.set_permits(permits);
    let sender = conversation.sender();
    thread::spawn(move || read(&mut io::stdin().lock(), &permitted, &sender, at_end));
}

struct Lines {
    options: Options,
    leaving: Leaving,
    /// The day of the last line, if lines have a time.
    days: Option<Days>,
}

impl Output for Lines {
    #[cfg(unix)]
    fn is_ready(&self) -> bool {
        stdio::is_out_writable()
    }

    fn show(&mut self, lines: &[Shown]) -> io::Result<()> {
        let (mut shown, mut told) = (String::new(), String::new());
        let now = Timestamp::now();
        let local = Zoned::now();
        let format = Format {
            columns: columns(),
            ..self.options.format
        };
        for line in lines {
            match line.kind {
                _ if self.options.json => line.write_json(now, &mut shown),
                Kind::Status => told.push_str(&format!("kilochat: {}\n", line.text)),
                Kind::Typed | Kind::Own => {} // the author does not need a copy
                Kind::Message
                | Kind::History
                | Kind::Private
                | Kind::Notice
                | Kind::Gap(_)
                | Kind::Day => {
                    let days = self.days.as_mut();
                    if let Some(day) = days.and_then(|days| days.before(line, &local)) {
                        day.write_text(format, &local, &mut shown);
                    }
                    line.write_text(format, &local, &mut shown);
                }
            }
        }
        // an error is ignored, because nobody may read standard error
        let _ = stdio::write_error(told.as_bytes(), &self.leaving);
        stdio::write_out(shown.as_bytes(), &self.leaving)
    }
}

/// Watches for the end of standard output's reader, so that the client leaves even if there is
/// nothing to write.
#[cfg(unix)]
fn watch_output(sender: Sender<Event>) {
    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    thread::spawn(move || {
        let out = io::stdout();
        let mut descriptors = [PollFd::new(out.as_fd(), PollFlags::empty())];
        while poll(&mut descriptors, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        if descriptors[0]
            .revents()
            .is_some_and(|events| events.intersects(gone))
        {
            // fails if the conversation has ended
            let _ = sender.send(Event::Leave);
        }
    });
}

/// Reads lines, one for each permit, until the end of `input`.
fn read(input: &mut impl BufRead, permitted: &Receiver<()>, sender: &Sender<Event>, at_end: AtEnd) {
    let mut rest = Vec::new();
    let (mut is_reported, mut is_empty, mut is_first) = (false, true, true);
    while permitted.recv().is_ok() {
        let (line, is_end) = match next_line(input, &mut rest) {
            Ok(line) => (line, false),
            Err(error) => {
                if let Some(error) = error {
                    let why = format!("standard input: {error}");
                    if at_end == AtEnd::Stay {
                        // the error that ends the program is far away
                        let _ = sender.send(Event::Status(why.clone()));
                    }
                    let _ = sender.send(Event::BadInput(why));
                } else if is_empty && rest.is_empty() && at_end == AtEnd::LeaveIfSaid {
                    let why = "standard input is empty: nothing was sent";
                    let _ = sender.send(Event::BadInput(why.into()));
                }
                (take(&mut rest), true)
            }
        };
        let line = without_padding(&line, take(&mut is_first));
        if !is_reported && from_utf8(line).is_err() {
            is_reported = true;
            let text = "the input is not UTF-8; invalid bytes are sent as U+FFFD";
            let _ = sender.send(Event::Status(text.into()));
        }
        is_empty = false;
        let text = String::from_utf8_lossy(line).into_owned();
        if (!is_end || !text.is_empty()) && sender.send(Event::Line(text)).is_err() {
            return;
        }
        if is_end {
            if at_end != AtEnd::Stay {
                let _ = sender.send(Event::EndOfInput);
            }
            return;
        }
    }
}

/// Returns a line without the NULs of a C program at its end, and without a byte order mark if it is
/// the first line.
fn without_padding(line: &[u8], is_first: bool) -> &[u8] {
    let mark = "\u{FEFF}".as_bytes();
    let mut line = line.strip_prefix(mark).filter(|_| is_first).unwrap_or(line);
    while let [rest @ .., 0] = line {
        line = rest;
    }
    line
}

/// Reads the next line without its line end. `rest` keeps the bytes of an incomplete character.
///
/// # Errors
///
/// At the end of the input, with the error that ended it, if there was one.
fn next_line(input: &mut impl BufRead, rest: &mut Vec<u8>) -> Result<Vec<u8>, Option<io::Error>> {
    let read = loop {
        match input.take(INPUT_LINE_MAX).read_until(b'\n', rest) {
            Ok(read) => break read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Some(error)),
        }
    };
    if read == 0 {
        return Err(None);
    }
    let mut line = take(rest);
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    } else if let Err(error) = from_utf8(&line)
        && error.error_len().is_none()
    {
        *rest = line.split_off(error.valid_up_to());
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = Vec::new();
        let mut lines = Vec::new();
        while let Ok(line) = next_line(&mut input, &mut rest) {
            lines.push(line);
        }
        lines.push(rest);
        lines
    }

    #[test]
    fn line_ends_of_both_kinds_are_dropped() {
        assert_eq!(lines(b"a\nb\r\n\nc"), [&b"a"[..], b"b", b"", b"c", b""]);
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters() {
        for shift in 0..3 {
            let text = "x".repeat(shift) + &"小".repeat(50_000) + "\n";
            let lines = lines(text.as_bytes());
            assert!(lines.len() >= 3);
            let whole: String = lines
                .iter()
                .map(|line| from_utf8(line).expect("whole characters"))
                .collect();
            assert_eq!(whole, text.trim_end());
        }
    }

    #[test]
    fn a_cut_character_at_the_end_of_the_input_is_kept() {
        assert_eq!(lines(b"a\n\xE5\xB0"), [&b"a"[..], b"", b"\xE5\xB0"]);
    }
}

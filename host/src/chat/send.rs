//! `kilochat send`: sends text, and succeeds only if it is known to have arrived.

use std::io;

use kilochat_core::is_blank;

use super::conversation::{Choice, Conversation, Output, Plan};
use super::dialect::User;
use super::event::Event;
use super::screen::lines::{self, AtEnd};
use super::screen::output::{Kind, Shown};
use crate::args::SendArguments;
use crate::signals::{self, Leaving, Place};
use crate::{Error, stdio};

/// Sends the text of the command line, or the lines of standard input.
///
/// # Errors
///
/// Fails unless the relay has confirmed every line. In plain text, which has no confirmations, it
/// fails if a line was not sent. It also fails if the text is blank or the name has no visible
/// character.
pub fn send(arguments: &SendArguments) -> Result<(), Error> {
    let text = arguments.text.join(" ");
    // a file may begin with a byte order mark
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    if !arguments.text.is_empty() && is_blank(text) {
        return Err(Error::Usage(
            "the text is blank: there is nothing to send".into(),
        ));
    }
    let choice = match arguments {
        _ if arguments.classic => Choice::Classic,
        _ if arguments.plain => Choice::Plain,
        _ => Choice::Framed,
    };
    let plan = Plan {
        operator: None,
        name: super::usable_name(&arguments.name)?,
        user: User::Program,
        choice,
        is_announced: false,
        lingers: false,
        waits_for_seat: false,
    };
    let mut conversation = Conversation::new(plan, &arguments.host)?;
    let leave = conversation.sender();
    let leave = move || drop(leave.send(Event::Leave));
    let leaving = signals::watch(Place::Pipe, leave, || {})?;
    if arguments.text.is_empty() {
        lines::read_input(&mut conversation, AtEnd::LeaveIfSaid);
    } else {
        let sender = conversation.sender();
        // cannot fail, because the conversation has the receiver
        for line in text.lines().filter(|line| !is_blank(line)) {
            let _ = sender.send(Event::Line(line.into()));
        }
        let _ = sender.send(Event::EndOfInput);
    }
    let mut statuses = StatusOutput(leaving);
    conversation.run(&mut statuses)?;
    if choice != Choice::Framed {
        statuses.print("sent, unconfirmed: without frames nobody knows what arrived");
    }
    Ok(())
}

/// Shows the messages of this client, and no lines of the room.
struct StatusOutput(Leaving);

impl Output for StatusOutput {
    fn show(&mut self, lines: &[Shown]) -> io::Result<()> {
        for line in lines.iter().filter(|line| line.kind == Kind::Status) {
            self.print(&line.text);
        }
        Ok(())
    }
}

impl StatusOutput {
    fn print(&self, text: &str) {
        // an error is ignored, because nobody may read standard error
        let _ = stdio::write_error(format!("kilochat: {text}\n").as_bytes(), &self.0);
    }
}

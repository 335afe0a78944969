//! The lines of a room over several relays, from its stream. No relay is needed for it.

use core::time::Duration;
use std::io::Write;

use jiff::Timestamp;
use kilochat_core::LinkSeen;

use super::{Failure, Printer, warn};
use crate::Error;
use crate::args::{EngineUrl, HistoryArguments, Token};
use crate::kept::line::{JsonLine, lost};
use crate::relay::link::engine::{self, Message, Then};
use crate::relay::link::wire::{self, Header, Line};

/// Number of runs of relays whose last line is remembered.
const RUNS: usize = 1024;

/// Prints the lines of the stream at these addresses.
///
/// # Errors
///
/// If the stream cannot be read.
pub(super) fn run<Out: Write>(
    printer: &mut Printer<'_, Out>,
    urls: &[EngineUrl],
) -> Result<Result<(), Failure>, Error> {
    let mut reader = Reader {
        arguments: printer.arguments,
        seen: Box::default(),
        malformed: 0,
    };
    let mut outcome = Ok(());
    let mut is_late = false;
    let HistoryArguments { engine, since, .. } = printer.arguments;
    let read = engine::read(urls, engine, *since, |message| {
        let print = match message {
            Some(message) => reader.take(&message, &mut |line| printer.take(line, !is_late)),
            None => {
                is_late = true;
                printer.end_of_past()
            }
        };
        outcome = print.and_then(|()| if is_late { printer.flush() } else { Ok(()) });
        let is_wanted = outcome.is_ok() && (printer.arguments.follow || !is_late);
        if is_wanted { Then::GoOn } else { Then::End }
    });
    if reader.malformed > 0 {
        warn(&format!("{} messages cannot be read", reader.malformed));
    }
    read.map(|()| outcome)
}

struct Reader<'a> {
    arguments: &'a HistoryArguments,
    seen: Box<LinkSeen<RUNS>>,
    malformed: u64,
}

impl Reader<'_> {
    /// Passes the new lines of a message on.
    fn take(
        &mut self,
        message: &Message<'_>,
        each: &mut impl FnMut(JsonLine) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some((place, header, lines)) = parts(message) else {
            self.malformed += 1;
            return Ok(());
        };
        let fresh = self.seen.take(place.as_str(), header.run, header.batch());
        if self
            .arguments
            .place
            .as_ref()
            .is_some_and(|wanted| *wanted != place)
        {
            return Ok(());
        }
        let of_place = |kind: &str, text: &str| JsonLine {
            kind: kind.into(),
            place: Some(place.as_str().into()),
            ..JsonLine::status(message.time, text)
        };
        if fresh.lost > 0 {
            each(JsonLine {
                lines: Some(fresh.lost),
                ..of_place("gap", &lost(fresh.lost))
            })?;
        }
        for line in lines.iter().skip(fresh.known.into()) {
            let (kind, name) = match &*line.name {
                "" => ("notice", None),
                name => ("message", Some(name.into())),
            };
            each(JsonLine {
                time: before(message.time, line.age),
                name,
                ..of_place(kind, &line.text)
            })?;
        }
        Ok(())
    }
}

fn parts(message: &Message<'_>) -> Option<(Token, Header, Vec<Line>)> {
    let place = wire::place(message.subject)?;
    let header = Header::read(message.header?)?;
    let lines = wire::read_lines(message.body, header.lines)?;
    Some((place, header, lines))
}

fn before(time: Timestamp, age: Duration) -> Timestamp {
    time.checked_sub(age).unwrap_or(time)
}

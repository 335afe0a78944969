//! `kilochat history`: prints the lines that a relay has kept, or those of linked relays.

#[cfg(feature = "link")]
mod stream;

use core::time::Duration;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kilochat_core::SEPARATOR;

use crate::Error;
#[cfg(feature = "link")]
use crate::args::EngineUrl;
use crate::args::HistoryArguments;
use crate::kept::files::{self, Day, Lines, Read};
use crate::kept::line::{JsonLine, PRIVATE};

/// Time between two checks for new lines.
const LOOK: Duration = Duration::from_millis(200);

/// Prints the lines that a relay has kept in a folder, or those of linked relays.
///
/// # Errors
///
/// If they cannot be read, or the output cannot be written.
pub fn run(arguments: &HistoryArguments) -> Result<(), Error> {
    let folder = &arguments.folder;
    let is_stream = folder.to_str().is_some_and(is_address);
    let mut printer = Printer {
        arguments,
        zone: TimeZone::system(),
        grep: arguments.grep.as_ref().map(|text| text.to_lowercase()),
        shown: None,
        last: VecDeque::new(),
        out: io::BufWriter::new(io::stdout().lock()),
        torn: 0,
    };
    let outcome = if is_stream {
        printer.run_stream()?
    } else {
        printer.run(folder)
    };
    if printer.torn > 0 {
        warn(&format!("{} lines cannot be read", printer.torn));
    }
    match outcome {
        // the reader has seen enough
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Failure::Output(error)) => Err(Error::Failure(format!("cannot write: {error}"))),
        Err(Failure::Input(error)) => Err(Error::Failure(format!(
            "cannot read {}: {error}",
            folder.display()
        ))),
        Ok(()) => Ok(()),
    }
}

/// Returns whether this is the address of an engine, and not a folder.
fn is_address(text: &str) -> bool {
    text.starts_with("nats://") || text.starts_with("tls://")
}

/// Writes to standard error. A failure is ignored, because nobody may read it.
fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "kilochat: {text}");
}

enum Failure {
    Input(io::Error),
    Output(io::Error),
}

struct Printer<'a, Out: Write> {
    arguments: &'a HistoryArguments,
    zone: TimeZone,
    /// The text that lines must contain, in lower case.
    grep: Option<String>,
    /// The last second that was printed, and how.
    shown: Option<(i64, String)>,
    /// The last lines so far, if only a number of last lines is wanted.
    last: VecDeque<JsonLine>,
    out: Out,
    torn: u64,
}

impl<Out: Write> Printer<'_, Out> {
    fn run(&mut self, folder: &Path) -> Result<(), Failure> {
        let mut open: Option<(Day, Lines<BufReader<File>>)> = None;
        for day in self.days(folder)? {
            let mut lines = match Lines::open(&day.path(folder)) {
                Ok(lines) => lines,
                // the relay has deleted it
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Failure::Input(error)),
            };
            self.read(&day, &mut lines, true)?;
            open = Some((day, lines));
        }
        self.end_of_past()?;
        while self.arguments.follow {
            std::thread::sleep(LOOK);
            if let Some((day, lines)) = &mut open {
                self.read(day, lines, false)?;
            }
            let last = open.as_ref().map(|(day, _)| day.clone());
            for day in files::list(folder).map_err(Failure::Input)? {
                if last.as_ref().is_none_or(|last| day > *last) {
                    let lines = Lines::open(&day.path(folder)).map_err(Failure::Input)?;
                    let (day, lines) = open.insert((day, lines));
                    self.read(day, lines, false)?;
                }
            }
            self.flush()?;
        }
        Ok(())
    }

    /// Prints the lines of the stream whose addresses are in the place of the folder.
    #[cfg(feature = "link")]
    fn run_stream(&mut self) -> Result<Result<(), Failure>, Error> {
        let text = self.arguments.folder.to_string_lossy();
        let urls: Result<Vec<EngineUrl>, String> = text.split(',').map(str::parse).collect();
        let urls = urls.map_err(|reason| Error::Usage(format!("{text}: {reason}")))?;
        stream::run(self, &urls)
    }

    #[cfg(not(feature = "link"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    fn run_stream(&mut self) -> Result<Result<(), Failure>, Error> {
        Err(Error::Usage(crate::args::UNLINKED.into()))
    }

    /// Prints the last lines that were collected, when there are no more for now.
    fn end_of_past(&mut self) -> Result<(), Failure> {
        for line in core::mem::take(&mut self.last) {
            self.print(&line).map_err(Failure::Output)?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Output)
    }

    /// Returns the files that may contain wanted lines.
    fn days(&self, folder: &Path) -> Result<Vec<Day>, Failure> {
        let mut days = files::list(folder).map_err(Failure::Input)?;
        if let Some(since) = self.arguments.since {
            let first = since.to_zoned(TimeZone::UTC).date();
            days.retain(|day| day.date >= first);
        }
        Ok(days)
    }

    /// Prints the wanted lines of a file, or collects them.
    fn read(
        &mut self,
        day: &Day,
        lines: &mut Lines<BufReader<File>>,
        past: bool,
    ) -> Result<(), Failure> {
        while let Some(read) = lines.next().map_err(Failure::Input)? {
            match read {
                Read::Torn => self.torn += 1,
                Read::Newer => warn(&format!("{}: of a newer kilochat; left out", day.name())),
                // the first line of a file, which is of no interest to a person
                Read::Line(line) if line.format.is_some() => {}
                Read::Line(line) => self.take(line, past)?,
            }
        }
        Ok(())
    }

    /// Prints a line if it is wanted. If only a number of last lines is wanted, and these are
    /// `past` lines, collects it.
    fn take(&mut self, line: JsonLine, past: bool) -> Result<(), Failure> {
        let most = self.arguments.last.filter(|_| past);
        if !self.is_wanted(&line) {
            return Ok(());
        }
        let Some(most) = most else {
            return self.print(&line).map_err(Failure::Output);
        };
        self.last.push_back(line);
        if self.last.len() > most {
            self.last.pop_front();
        }
        Ok(())
    }

    fn is_wanted(&self, line: &JsonLine) -> bool {
        let HistoryArguments { since, name, .. } = self.arguments;
        let is_same = |name: &String| {
            let theirs = line.name.as_deref();
            theirs.is_some_and(|theirs| {
                lower(theirs).eq(lower(name)) || lower(person(theirs)).eq(lower(name))
            })
        };
        let has = |text: &String| line.text.to_lowercase().contains(text);
        since.is_none_or(|since| line.time >= since)
            && name.as_ref().is_none_or(is_same)
            && self.grep.as_ref().is_none_or(has)
            && self.is_at_place(line)
    }

    /// Returns whether a line is of the wanted place. A relay keeps lines of other places as it shows them.
    #[cfg(feature = "link")]
    fn is_at_place(&self, line: &JsonLine) -> bool {
        let place = match (&line.place, &line.name) {
            (Some(place), _) => Some(place.as_str()),
            (None, Some(name)) => name.split_once('@').map(|(_, place)| place),
            (None, None) => {
                let rest = line.text.strip_prefix("at ");
                rest.and_then(|rest| Some(rest.split_once(": ")?.0))
            }
        };
        let wanted = self.arguments.place.as_ref();
        wanted.is_none_or(|wanted| place == Some(wanted.as_str()))
    }

    #[cfg(not(feature = "link"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    const fn is_at_place(&self, _: &JsonLine) -> bool {
        true
    }

    fn print(&mut self, line: &JsonLine) -> io::Result<()> {
        if self.arguments.json {
            let mut text = String::new();
            line.write(&mut text);
            return self.out.write_all(text.as_bytes());
        }
        let time = shown(&mut self.shown, line.time, &self.zone);
        // cleaned, because the file may have been edited
        let text: String = kilochat_core::clean(&line.text).collect();
        let place = line.place.as_deref().unwrap_or_default();
        let (at, colon) = if place.is_empty() {
            ("", "")
        } else {
            ("at ", ": ")
        };
        match (&line.name, line.kind.as_str()) {
            (Some(name), _) => {
                let name: String = kilochat_core::clean(name).collect();
                let at = if place.is_empty() { "" } else { "@" };
                writeln!(self.out, "{time} {name}{at}{place}{SEPARATOR}{text}")
            }
            (None, PRIVATE) => Ok(()),
            (None, "status") => writeln!(self.out, "{time} -- {text}"),
            (None, _) => writeln!(self.out, "{time} * {at}{place}{colon}{text}"),
        }
    }
}

/// Returns a time as it is printed, which is remembered: there may be many lines in a second.
fn shown<'a>(last: &'a mut Option<(i64, String)>, time: Timestamp, zone: &TimeZone) -> &'a str {
    let second = time.as_second();
    let known = last.take().filter(|(known, _)| *known == second);
    let (_, text) = last.insert(known.unwrap_or_else(|| {
        let time = time.to_zoned(zone.clone());
        (second, time.strftime("%Y-%m-%d %H:%M:%S").to_string())
    }));
    text
}

fn lower(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

/// Returns the name of a person without the place.
fn person(name: &str) -> &str {
    let is_placed = cfg!(feature = "link");
    name.split('@').next().filter(|_| is_placed).unwrap_or(name)
}

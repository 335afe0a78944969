//! `kilochat history`: what a relay has kept.

use core::time::Duration;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use jiff::tz::TimeZone;
use kilochat_core::SEPARATOR;

use crate::Error;
use crate::args::HistoryArguments;
use crate::kept::files::{self, Day, Lines, Read};
use crate::kept::line::JsonLine;

/// Time between two looks for new lines.
const LOOK: Duration = Duration::from_millis(200);

/// Prints what a relay has kept in a folder.
///
/// # Errors
///
/// If the folder cannot be read, or nothing can be written.
pub fn run(arguments: &HistoryArguments) -> Result<(), Error> {
    let folder = &arguments.folder;
    let mut printer = Printer {
        arguments,
        zone: TimeZone::system(),
        last: VecDeque::new(),
        out: io::BufWriter::new(io::stdout().lock()),
        torn: 0,
    };
    let outcome = printer.run(folder);
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
    /// The last lines, if only these are wanted, until all were read.
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
            self.read(&day, &mut lines, self.arguments.last.is_some())?;
            open = Some((day, lines));
        }
        for line in core::mem::take(&mut self.last) {
            self.print(&line).map_err(Failure::Output)?;
        }
        self.out.flush().map_err(Failure::Output)?;
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
            self.out.flush().map_err(Failure::Output)?;
        }
        Ok(())
    }

    /// Returns the files that may have lines that are wanted.
    fn days(&self, folder: &Path) -> Result<Vec<Day>, Failure> {
        let mut days = files::list(folder).map_err(Failure::Input)?;
        if let Some(since) = self.arguments.since {
            let first = since.to_zoned(TimeZone::UTC).date();
            days.retain(|day| day.date >= first);
        }
        Ok(days)
    }

    /// Prints what a file has, or collects it.
    fn read(
        &mut self,
        day: &Day,
        lines: &mut Lines<BufReader<File>>,
        collects: bool,
    ) -> Result<(), Failure> {
        while let Some(read) = lines.next().map_err(Failure::Input)? {
            match read {
                Read::Torn => self.torn += 1,
                Read::Newer => warn(&format!("{}: of a newer kilochat; left out", day.name())),
                // it begins the file, and says nothing to a person
                Read::Line(line) if line.format.is_some() => {}
                Read::Line(line) if !self.is_wanted(&line) => {}
                Read::Line(line) if collects => {
                    self.last.push_back(line);
                    if self
                        .arguments
                        .last
                        .is_some_and(|most| self.last.len() > most)
                    {
                        self.last.pop_front();
                    }
                }
                Read::Line(line) => self.print(&line).map_err(Failure::Output)?,
            }
        }
        Ok(())
    }

    fn is_wanted(&self, line: &JsonLine) -> bool {
        let HistoryArguments {
            since, name, grep, ..
        } = self.arguments;
        let is_same = |name: &String| {
            let theirs = line.name.as_ref();
            theirs.is_some_and(|theirs| theirs.to_lowercase() == name.to_lowercase())
        };
        let has = |text: &String| line.text.to_lowercase().contains(&text.to_lowercase());
        since.is_none_or(|since| line.time >= since)
            && name.as_ref().is_none_or(is_same)
            && grep.as_ref().is_none_or(has)
    }

    fn print(&mut self, line: &JsonLine) -> io::Result<()> {
        if self.arguments.json {
            let mut text = String::new();
            line.write(&mut text);
            return self.out.write_all(text.as_bytes());
        }
        let time = line.time.to_zoned(self.zone.clone());
        let time = time.strftime("%Y-%m-%d %H:%M:%S");
        // somebody may have edited the file
        let text: String = kilochat_core::clean(&line.text).collect();
        match (&line.name, line.kind.as_str()) {
            (Some(name), _) => {
                let name: String = kilochat_core::clean(name).collect();
                writeln!(self.out, "{time} {name}{SEPARATOR}{text}")
            }
            (None, "status") => writeln!(self.out, "{time} -- {text}"),
            (None, _) => writeln!(self.out, "{time} * {text}"),
        }
    }
}

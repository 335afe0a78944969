//! The files in the folder of a relay that keeps what is said: one file for each day (UTC), or
//! several if a day is too large for one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::FORMAT;
use super::line::JsonLine;

/// Maximum length of a line in a file, in bytes. A longer line is not from this program.
const LINE_MAX: u64 = 64 << 10;

/// A file of lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day {
    /// The day.
    pub(crate) date: Date,
    /// The number of the file within the day, from 1. A day has several files if it is too large
    /// for one.
    pub(crate) part: u32,
}

impl Day {
    /// Returns the name of the file.
    pub(crate) fn name(&self) -> String {
        let Self { date, part } = self;
        if *part == 1 {
            format!("{date}.jsonl")
        } else {
            format!("{date}.{part}.jsonl")
        }
    }

    /// Returns the path of the file in a folder.
    pub(crate) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.name())
    }

    /// Returns the file with this name, if it is the name of a file of lines.
    fn of(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".jsonl")?;
        let (date, part) = match stem.split_once('.') {
            Some((date, part)) => (date, part.parse().ok()?),
            None => (stem, 1),
        };
        let day = Self {
            date: date.parse().ok()?,
            part,
        };
        (day.name() == name).then_some(day)
    }
}

/// Returns the files in a folder, the oldest first.
///
/// # Errors
///
/// If the folder cannot be read.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Day>> {
    let mut days = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // opening anything else, such as a pipe, may block
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            days.extend(entry.file_name().to_str().and_then(Day::of));
        }
    }
    days.sort();
    Ok(days)
}

/// Creates a folder that only its owner may read, unless it exists.
///
/// # Errors
///
/// If it cannot be created.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Opens a file for writing. A new file may be read by its owner only.
///
/// # Errors
///
/// If it cannot be opened.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.create(true).open(path)
}

/// The result of reading a line.
#[derive(Debug)]
pub(crate) enum Read {
    /// A line.
    Line(JsonLine),
    /// Bytes that are not a line: it was cut by a crash, or is not from this program.
    Torn,
    /// The file is of a newer version of this program. Nothing else in it can be read.
    Newer,
}

/// Reads a file line by line. A last line without a line end is not read yet.
#[derive(Debug)]
pub(crate) struct Lines<Input> {
    input: Input,
    begun: Vec<u8>,
    is_newer: bool,
}

impl Lines<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(BufReader::new(File::open(path)?)))
    }
}

impl<Input: BufRead> Lines<Input> {
    /// Reads from the start of a line.
    pub(crate) const fn new(input: Input) -> Self {
        Self {
            input,
            begun: Vec::new(),
            is_newer: false,
        }
    }

    /// Returns the next line. Returns `None` at the end of the file, which may grow.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn next(&mut self) -> io::Result<Option<Read>> {
        use std::io::Read as _;
        if self.is_newer {
            return Ok(None);
        }
        loop {
            let room = LINE_MAX.saturating_sub(self.begun.len() as u64);
            let read = (&mut self.input)
                .take(room)
                .read_until(b'\n', &mut self.begun)?;
            let has_ended = self.begun.ends_with(b"\n");
            if !has_ended && self.begun.len() as u64 >= LINE_MAX {
                self.begun.clear(); // the rest of it is read as another line
                return Ok(Some(Read::Torn));
            }
            if !has_ended && read == 0 {
                return Ok(None);
            }
            if !has_ended {
                continue;
            }
            let bytes = core::mem::take(&mut self.begun);
            let text = bytes.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let line = core::str::from_utf8(text).ok().and_then(JsonLine::read);
            return Ok(Some(match line {
                Some(line) if line.format.is_some_and(|format| format > FORMAT) => {
                    self.is_newer = true;
                    Read::Newer
                }
                Some(line) => Read::Line(line),
                None => Read::Torn,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_the_order_of_their_days_and_parts() {
        let names = [
            "2026-01-02.2.jsonl",
            "2026-01-02.jsonl",
            "2025-12-31.jsonl",
            "2026-01-02.10.jsonl",
            "2026-01-02.1.jsonl",
            "2026-1-2.jsonl",
            "2026-01-02.jsonl.new",
            "seats.json",
        ];
        let mut days: Vec<Day> = names.iter().filter_map(|name| Day::of(name)).collect();
        days.sort();
        let sorted: Vec<String> = days.iter().map(Day::name).collect();
        assert_eq!(sorted, [names[2], names[1], names[0], names[3]]);
    }

    #[test]
    fn a_file_is_read_past_what_is_torn_and_not_past_a_newer_form() {
        let line = r#"{"time":"2026-01-02T03:04:05Z","kind":"notice","text":"x"}"#;
        let newer = r#"{"time":"2026-01-02T03:04:05Z","kind":"status","text":"x","format":2}"#;
        let long = "x".repeat(100_000);
        let file = format!("{line}\n{{\"time\":\n\n{long}\n{line}\n{newer}\n{line}\n{line}");
        let mut lines = Lines::new(file.as_bytes());
        let mut kinds = String::new();
        while let Some(read) = lines.next().unwrap() {
            kinds.push(match read {
                Read::Line(_) => 'l',
                Read::Torn => 't',
                Read::Newer => 'n',
            });
        }
        assert_eq!(kinds, "ltttln");
        let torn = format!("{line}\n{line}");
        let mut lines = Lines::new(torn.as_bytes());
        assert!(matches!(lines.next().unwrap(), Some(Read::Line(_))));
        assert!(lines.next().unwrap().is_none());
    }
}

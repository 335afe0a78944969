//! The thread that writes the files.

use core::time::Duration;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kilochat_core::framed::LineKind;
use kilochat_core::{NOTICE, SEPARATOR};
use tracing::warn;

use super::counters::KeptCounters;
use super::restoring::Room;
use super::{KeptPeer, Line, Record, seats};
use crate::Error;
use crate::args::SEATS_MAX;
use crate::kept::files::{self, Day};
use crate::kept::line::{JsonLine, PRIVATE, STOPPED, lost, write};
use crate::kept::{FORMAT, files::Lines, files::Read};

/// Maximum number of records that are written at once.
const BATCH: usize = 256;

/// Minimum time between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Time after which the file of peers is written again, to show that this run is alive.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Minimum time between two writings of the file of peers, absolute and as a multiple of the time
/// that the last one took.
const SEATS_INTERVAL: Duration = Duration::from_millis(100);
const SEATS_SHARE: u32 = 20;

/// A file has at most this part of all bytes, so that deleting the oldest file leaves most lines.
const PARTS: u64 = 8;

/// The limits of what is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) days: u16,
    pub(super) bytes: u64,
}

/// The file that is written.
#[derive(Debug)]
struct Current {
    day: Day,
    file: File,
    size: u64,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    /// Locked while this relay uses the folder.
    _lock: File,
    limits: Limits,
    counters: Arc<KeptCounters>,
    current: Option<Current>,
    /// The lines to be written, and their number.
    text: String,
    lines: u64,
    /// Number of the next line.
    next: u64,
    /// All lines before this number are in a file, or a line in a file says that they are missing;
    /// and the same with those in `text`.
    told: u64,
    collected: u64,
    seats: Vec<Option<KeptPeer>>,
    seats_changed: bool,
    has_newer_seats: bool,
    /// When the seats may be written again, and when they must be.
    seats_from: Instant,
    seats_until: Instant,
    /// When the next warning may be logged, and whether the last attempt failed.
    warn_at: Instant,
    is_failing: bool,
}

impl Writer {
    /// Prepares the folder.
    ///
    /// # Errors
    ///
    /// If it cannot be used, or another relay uses it.
    pub(super) fn open(
        folder: &Path,
        limits: Limits,
        counters: Arc<KeptCounters>,
    ) -> Result<Self, Error> {
        let shown = folder.display();
        let failed = |error: io::Error| Error::Failure(format!("cannot keep in {shown}: {error}"));
        files::create_folder(folder).map_err(failed)?;
        let lock = files::open(&folder.join("lock"), OpenOptions::new().write(true));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let reason =
                    format!("another relay keeps in {shown}; give each a folder of its own");
                return Err(Error::Failure(reason));
            }
            // a network file system may have no locks; then the folder is not protected
            Err(fs::TryLockError::Error(_)) => {}
        }
        let now = Instant::now();
        Ok(Self {
            folder: folder.into(),
            _lock: lock,
            limits,
            counters,
            current: None,
            text: String::new(),
            lines: 0,
            next: 0,
            told: 0,
            collected: 0,
            seats: vec![None; SEATS_MAX.into()],
            seats_changed: false,
            has_newer_seats: false,
            seats_from: now,
            seats_until: now,
            warn_at: now,
            is_failing: false,
        })
    }

    /// Begins a run after the restored one.
    pub(super) fn begin(&mut self, time: Timestamp, room: &Room) {
        (self.next, self.told, self.collected) = (room.next, room.next, room.next);
        self.has_newer_seats = room.has_newer_seats;
        // restored peers are in the file already
        self.seats_changed = !room.has_peers();
        self.seats_until = Instant::now() + HEARTBEAT;
        JsonLine::status(time, "the relay started").write(&mut self.text);
    }

    /// Writes until the queue is closed.
    pub(super) fn run(mut self, records: &Receiver<Record>) {
        self.flush(Timestamp::now());
        loop {
            let timeout = if self.seats_changed {
                self.seats_from
            } else {
                self.seats_until
            };
            let timeout = timeout.saturating_duration_since(Instant::now());
            let time = Timestamp::now();
            match records.recv_timeout(timeout) {
                Ok(first) => {
                    let others = records.try_iter().take(BATCH);
                    // lines of an outage elsewhere may be older than those before them, but a file has none
                    // that is younger than its day
                    let records = core::iter::once(first).chain(others);
                    let last = records.filter_map(|record| self.take(record)).max();
                    self.flush(last.unwrap_or(time));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.write_seats(false);
        }
        self.write_seats(true);
        if let Some(current) = &self.current
            && let Err(error) = current.file.sync_data()
        {
            self.fail(&error);
        }
    }

    /// Handles a record. Returns the time of its line.
    fn take(&mut self, record: Record) -> Option<Timestamp> {
        match record {
            Record::Line(line) => {
                self.push(&line);
                return Some(line.time);
            }
            Record::Seat(seat, peer) => {
                if let Some(kept) = self.seats.get_mut(seat.index())
                    && *kept != peer
                {
                    *kept = peer;
                    self.seats_changed = true;
                }
            }
            Record::Stop { epoch, sequence } => {
                // if a line is missing, the next run cannot continue with these numbers
                let is_whole = self.collected == self.next && self.next == sequence;
                let stopped = JsonLine {
                    sequence: Some(sequence),
                    epoch: epoch.filter(|_| is_whole),
                    ..JsonLine::status(Timestamp::now(), STOPPED)
                };
                stopped.write(&mut self.text);
            }
        }
        None
    }

    /// Appends a line to the text to be written.
    fn push(&mut self, line: &Line) {
        let skipped = line.sequence.saturating_sub(self.next);
        self.counters.add_lost(skipped);
        self.next = line.sequence;
        self.push_gap(line.time);
        let text = line.text.as_str();
        let (kind, name, text) = match line.kind {
            LineKind::Message => {
                let (name, rest) = text.split_at_checked(line.name).unwrap_or(("", text));
                let rest = rest.strip_prefix(SEPARATOR).unwrap_or(rest);
                ("message", Some(name), rest)
            }
            // its text is nobody else's
            LineKind::Private => (PRIVATE, None, ""),
            LineKind::Announcement | LineKind::Notice => {
                ("notice", None, text.strip_prefix(NOTICE).unwrap_or(text))
            }
        };
        write(
            &mut self.text,
            line.time,
            kind,
            Some(line.sequence),
            name,
            text,
        );
        self.text.push_str("}\n");
        self.lines += 1;
        self.next += 1;
        self.collected = self.next;
    }

    /// Appends a line which says that the lines before the next one are missing.
    fn push_gap(&mut self, time: Timestamp) {
        let missing = self.next.saturating_sub(self.collected);
        if missing > 0 {
            let gap = JsonLine {
                kind: "gap".into(),
                sequence: Some(self.collected),
                lines: Some(missing),
                ..JsonLine::status(time, &lost(missing))
            };
            gap.write(&mut self.text);
        }
    }

    /// Writes the text. If that fails, its lines are lost and counted.
    fn flush(&mut self, time: Timestamp) {
        if self.text.is_empty() {
            return;
        }
        let text = core::mem::take(&mut self.text);
        let lines = core::mem::take(&mut self.lines);
        match self.append(time, &text) {
            Ok(()) => {
                self.told = self.collected;
                self.counters.add_kept(lines);
                if core::mem::take(&mut self.is_failing) {
                    let counts = self.counters.counts();
                    warn!(lost = counts.lost, "what is said is kept again");
                }
            }
            Err(error) => {
                self.counters.add_lost(lines);
                self.collected = self.told;
                self.is_failing = true;
                self.fail(&error);
            }
        }
        self.text = text;
        self.text.clear();
    }

    fn append(&mut self, time: Timestamp, text: &str) -> io::Result<()> {
        let date = time.to_zoned(TimeZone::UTC).date();
        let most = (self.limits.bytes / PARTS).max(64 << 10);
        let size = text.len() as u64;
        let fits = |current: &Current| current.day.date >= date && current.size + size <= most;
        let mut current = match self.current.take_if(|current| fits(current)) {
            Some(current) => current,
            None => self.next_file(date, most.saturating_sub(size))?,
        };
        let written = current.file.write_all(text.as_bytes());
        if written.is_ok() {
            current.size += size;
        } else if current.file.set_len(current.size).is_err() {
            // the next lines are written to another file, or after a line end
            return written;
        }
        self.current = Some(current);
        written
    }

    /// Opens the file that the next lines are appended to: the last one of the day, or a new one if that
    /// has more than `most` bytes. Deletes files that are too old, and the oldest ones if all together are
    /// too large.
    fn next_file(&mut self, date: Date, most: u64) -> io::Result<Current> {
        let days = files::list(&self.folder)?;
        self.prune(&days, date);
        // the clock may have been set back, but lines stay in order
        let last = days.last().filter(|last| last.date >= date);
        let mut day = last.cloned().unwrap_or(Day { date, part: 1 });
        loop {
            let path = day.path(&self.folder);
            let mut file = files::open(&path, OpenOptions::new().append(true))?;
            let size = file.metadata()?.len();
            let is_ours = size == 0
                || !matches!(
                    Lines::open(&path).and_then(|mut lines| lines.next()),
                    Ok(Some(Read::Newer))
                );
            if is_ours && size <= most {
                let mut start = String::new();
                if size == 0 {
                    let begin = JsonLine {
                        format: Some(FORMAT),
                        ..JsonLine::status(Timestamp::now(), "kept by kilochat")
                    };
                    begin.write(&mut start);
                } else if !ends_in_line_end(&path)? {
                    start.push('\n');
                }
                file.write_all(start.as_bytes())?;
                let size = size + start.len() as u64;
                return Ok(Current { day, file, size });
            }
            day.part += 1;
        }
    }

    /// Deletes files that are too old, and the oldest ones while there are too many bytes.
    fn prune(&self, days: &[Day], today: Date) {
        let oldest = today.saturating_sub(jiff::Span::new().days(self.limits.days));
        let size = |day: &Day| fs::metadata(day.path(&self.folder)).map_or(0, |data| data.len());
        let mut bytes: u64 = days.iter().map(size).sum();
        // leaves room for a new file of maximum size
        let room = self.limits.bytes - self.limits.bytes / PARTS;
        for day in days {
            if day.date > oldest && bytes <= room {
                break;
            }
            bytes = bytes.saturating_sub(size(day));
            if let Err(error) = fs::remove_file(day.path(&self.folder)) {
                self.counters.add_failure();
                warn!(%error, file = day.name(), "cannot delete what was kept");
            }
        }
    }

    /// Writes the file of plain peers if they have changed and it is due, or at the end.
    fn write_seats(&mut self, is_end: bool) {
        let now = Instant::now();
        let is_due = self.seats_changed && now >= self.seats_from || now >= self.seats_until;
        if self.has_newer_seats || !is_due && !is_end {
            return;
        }
        let peers = self.seats.iter().flatten();
        let outcome = seats::write(&self.folder, Timestamp::now(), peers);
        let pause = SEATS_INTERVAL.max(now.elapsed() * SEATS_SHARE);
        (self.seats_from, self.seats_until) = (now + pause, now + HEARTBEAT.max(pause));
        match outcome {
            Ok(()) => self.seats_changed = false,
            Err(error) => {
                self.seats_from = now + pause.max(Duration::from_secs(1));
                self.fail(&error);
            }
        }
    }

    /// Counts a failure, and logs it at a limited rate.
    fn fail(&mut self, error: &io::Error) {
        self.counters.add_failure();
        let now = Instant::now();
        if now >= self.warn_at {
            self.warn_at = now + WARN_INTERVAL;
            let lost = self.counters.counts().lost;
            let folder = self.folder.display();
            warn!(%error, %folder, lost, "what is said is not kept; the chat goes on");
        }
    }
}

fn ends_in_line_end(path: &Path) -> io::Result<bool> {
    use std::io::{Read as _, Seek as _};
    let mut file = File::open(path)?;
    file.seek(io::SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

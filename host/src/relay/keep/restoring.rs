//! Reading the room of the last run.

use core::time::Duration;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use kilochat_core::framed::LineKind;
use kilochat_core::{Instant, Relay, Restored, Seat};
use tracing::warn;

use super::KeptPeer;
use super::seats::{self, Seats};
use crate::kept::files::{self, Day, Lines, Read};
use crate::kept::line::{JsonLine, PRIVATE, STOPPED};
use crate::relay::journal::Record as Journaled;
use crate::relay::network::Sockets;

/// Maximum number of bytes at the end of a file that are read.
const READ_MAX: u64 = 4 << 20;

/// Time after a run's last heartbeat for which its peers are restored. Later their addresses may
/// belong to other clients.
const SEATS_AGE_MAX: Duration = Duration::from_secs(3600);

/// Maximum age of a line that a relay can express.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The state of the last run.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The last lines, without a gap.
    lines: Vec<JsonLine>,
    /// The epoch, if all lines of that run are known.
    epoch: Option<u32>,
    /// The number after the last line.
    pub(super) next: u64,
    peers: Vec<KeptPeer>,
    /// Whether the file of peers is of a newer version.
    pub(super) has_newer_seats: bool,
}

/// Reads the last run from a folder, with at most about `bytes` of lines.
pub(super) fn read(folder: &Path, now: Timestamp, bytes: usize) -> Room {
    let mut room = Room::default();
    let mut tail = Tail {
        room: &mut room,
        bytes,
        is_last: true,
        stopped: None,
        has_ended: false,
    };
    match files::list(folder) {
        Ok(days) => days.iter().rev().all(|day| tail.take(folder, day)),
        Err(error) => {
            warn!(%error, folder = %folder.display(), "cannot read what was kept");
            false
        }
    };
    let stopped = tail.stopped;
    room.lines.reverse();
    if let Some((sequence, epoch)) = stopped
        && (room.next == sequence || room.lines.is_empty())
    {
        (room.next, room.epoch) = (sequence, epoch);
    }
    match seats::read(folder) {
        Seats::Written(time, peers) => {
            let age = now.duration_since(time);
            if age.unsigned_abs() <= SEATS_AGE_MAX {
                room.peers = peers;
            } else if !peers.is_empty() {
                warn!(
                    peers = peers.len(),
                    away = %format!("{age:#}"),
                    "the seats of plain peers are not restored: the relay was away for too long"
                );
            }
        }
        Seats::Nothing => {}
        Seats::Newer => {
            room.has_newer_seats = true;
            warn!("the file of seats is of a newer kilochat: it is neither read nor written");
        }
    }
    room
}

/// Collects the lines to restore from the files, the newest first, until a gap, a limit or the
/// first line.
struct Tail<'a> {
    room: &'a mut Room,
    /// Number of bytes that are left for lines.
    bytes: usize,
    /// Whether no line was read yet.
    is_last: bool,
    /// The number after the last line, and the epoch, if the run ended with its last line in the
    /// file.
    stopped: Option<(u64, Option<u32>)>,
    has_ended: bool,
}

impl Tail<'_> {
    /// Reads the lines of a file. Returns whether those of the file before it are wanted.
    fn take(&mut self, folder: &Path, day: &Day) -> bool {
        let path = day.path(folder);
        let lines = match last_lines(&path) {
            Ok(Some(lines)) => lines,
            Ok(None) => {
                warn!(file = %path.display(), "of a newer kilochat: it is neither read nor written");
                return false;
            }
            Err(error) => {
                warn!(%error, file = %path.display(), "cannot be read");
                return false;
            }
        };
        for line in lines.into_iter().rev() {
            self.take_line(line);
            if self.has_ended {
                return false;
            }
        }
        true
    }

    fn take_line(&mut self, line: JsonLine) {
        let is_line = line.name.is_some() || line.kind == "notice";
        let Some(sequence) = line.sequence.filter(|_| is_line) else {
            if self.is_last && line.text == STOPPED {
                self.stopped = line.sequence.map(|sequence| (sequence, line.epoch));
            }
            self.is_last &= line.format.is_some();
            self.has_ended = line.kind == "gap";
            return;
        };
        let lines = &mut self.room.lines;
        let after = lines.last().and_then(|line| line.sequence);
        let size = line.text.len() + line.name.as_ref().map_or(0, String::len) + 16;
        if after.is_some_and(|after| Some(sequence) != after.checked_sub(1)) || size > self.bytes {
            self.has_ended = true;
            return;
        }
        if lines.is_empty() {
            self.room.next = sequence.saturating_add(1);
        }
        self.is_last = false;
        self.bytes -= size;
        lines.push(line);
    }
}

/// Reads the last lines of a file. Returns `None` if it is of a newer version.
fn last_lines(path: &Path) -> std::io::Result<Option<Vec<JsonLine>>> {
    let mut file = File::open(path)?;
    // the version is at the start
    if let Some(Read::Newer) = Lines::new(BufReader::new(&mut file)).next()? {
        return Ok(None);
    }
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_MAX)))?;
    let mut lines = Lines::new(BufReader::new(file));
    let mut found = Vec::new();
    while let Some(read) = lines.next()? {
        match read {
            Read::Line(line) => found.push(line),
            Read::Torn => {}
            Read::Newer => return Ok(None),
        }
    }
    Ok(Some(found))
}

impl Room {
    /// Returns the number of the first line that is restored.
    pub(super) fn first(&self) -> u64 {
        self.next.saturating_sub(self.lines.len() as u64)
    }

    /// Returns whether there are peers to restore.
    pub(super) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Returns the lines.
    pub(super) fn into_lines(self) -> Vec<JsonLine> {
        self.lines
    }

    /// Restores the lines in a relay. Returns the relay's clock, which begins at the oldest line, or
    /// earlier if lines of up to this age may follow.
    pub(super) fn restore_lines<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &self,
        time: Timestamp,
        age_max: Duration,
        relay: &mut Relay<PEERS, RING, WINDOW>,
    ) -> Instant {
        let age = |line: &JsonLine| {
            let age = time.duration_since(line.time);
            Duration::try_from(age).unwrap_or_default().min(AGE_MAX)
        };
        let oldest = self.lines.iter().map(age).max();
        let oldest = oldest.unwrap_or_default().max(age_max);
        let start = Instant::default();
        let now = start.after(oldest);
        let run = Restored::Run {
            epoch: self.epoch,
            sequence: self.first(),
        };
        relay.restore(now, run);
        for line in &self.lines {
            let name = line.name.as_deref();
            let kind = match name {
                Some(_) => LineKind::Message,
                None if line.kind == PRIVATE => LineKind::Private,
                None => LineKind::Notice,
            };
            let line = Restored::Line {
                at: start.after(oldest.saturating_sub(age(line))),
                kind,
                name: name.unwrap_or_default(),
                text: &line.text,
            };
            relay.restore(now, line);
        }
        now
    }

    /// Restores the peers in a relay. Returns their seats.
    pub(super) fn restore_peers<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &self,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        network: &mut Sockets,
    ) -> Vec<Seat> {
        let mut seats = Vec::with_capacity(self.peers.len());
        for peer in &self.peers {
            let restored = Restored::Peer {
                address: peer.address,
                name: &peer.name,
                newline: peer.newline,
                quiet: peer.quiet,
            };
            if let Some(seat) = relay.restore(now, restored) {
                network.restore_path(now, seat, peer.address, peer.local);
                seats.push(seat);
            }
        }
        relay.restore(now, Restored::End);
        seats
    }

    /// Returns the log record of the restored room, or `None` if there was nothing to restore.
    pub(super) fn record(&self, peers: usize) -> Option<Journaled> {
        let (lines, numbers_go_on) = (self.lines.len(), self.epoch.is_some());
        (lines > 0 || peers > 0 || numbers_go_on).then_some(Journaled::Restored {
            lines,
            peers,
            numbers_go_on,
        })
    }
}

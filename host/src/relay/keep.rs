//! Keeping the room: lines are written to a file for each day, and plain peers to a file of their
//! own, by a thread behind a bounded queue. After a restart the room is restored from the files.
//!
//! The relay's thread reads the lines with a cursor of its own. If the queue is full it tries again
//! later. Lines that were overwritten in the ring by then are lost; they are counted, and a line in
//! the file says so.

mod counters;
mod restoring;
mod seats;
mod writer;

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use heapless::String;
use jiff::Timestamp;
use kilochat_core::framed::LineKind;
use kilochat_core::{Event, Expired, Instant, LINE_MAX, Name, Reader, Relay, Seat};

pub(super) use counters::{KeptCounters, KeptCounts};
use writer::{Limits, Writer};

use super::journal::Journal;
use super::link::age_max;
use super::network::Sockets;
use crate::Error;
use crate::args::{RelayArguments, SEATS_MAX};
use crate::kept::line::JsonLine;

/// Length of the queue to the thread: about 512 KiB.
const QUEUE: usize = 512;

/// Time after which a full queue is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Maximum time that the end of the program waits for the last lines.
const CLOSE: Duration = Duration::from_secs(2);

/// A record for the thread. It owns no heap memory.
#[expect(clippy::large_enum_variant, reason = "nearly all are lines")]
#[derive(Debug)]
enum Record {
    Line(Line),
    /// The plain peer of a seat, if it has one.
    Seat(Seat, Option<KeptPeer>),
    /// The relay has said its last line.
    Stop {
        epoch: Option<u32>,
        sequence: u64,
    },
}

/// A line.
#[derive(Debug)]
struct Line {
    time: Timestamp,
    sequence: u64,
    kind: LineKind,
    /// Length of the author's name at its start, in bytes.
    name: usize,
    text: String<LINE_MAX>,
}

/// A plain peer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeptPeer {
    address: SocketAddr,
    name: Name,
    newline: bool,
    quiet: bool,
    /// The relay's address to which the peer has sent.
    local: Option<SocketAddr>,
}

/// The relay's end of the queue.
#[derive(Debug)]
pub(super) struct Keeper {
    queue: Option<SyncSender<Record>>,
    writer: Option<JoinHandle<()>>,
    counters: Arc<KeptCounters>,
    reader: Reader,
    line: Box<[u8; LINE_MAX]>,
    /// Sequence number of this run's first line, and number of lines that were read since.
    first: u64,
    seen: u64,
    /// The seats whose peers may have changed, each at most once, and by seat whether it is among
    /// them.
    changed: Vec<Seat>,
    is_changed: Vec<bool>,
    /// The lines that were restored.
    restored: Vec<JsonLine>,
    /// Whether the queue was full at the last attempt.
    is_behind: bool,
}

impl Keeper {
    /// Restores the room, and starts to keep it. Returns the relay's clock at the start, which begins
    /// before the first line that was restored.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, or another relay uses it.
    pub(super) fn start<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        arguments: &RelayArguments,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        network: &mut Sockets,
        journal: &mut Journal,
    ) -> Result<Option<(Self, Instant)>, Error> {
        let Some(folder) = &arguments.keep else {
            return Ok(None);
        };
        let limits = Limits {
            days: arguments.keep_days,
            bytes: u64::from(arguments.keep_mib) << 20,
        };
        let counters = Arc::<KeptCounters>::default();
        let mut writer = Writer::open(folder, limits, Arc::clone(&counters))?;
        let time = Timestamp::now();
        let room = restoring::read(folder, time, RING / 2);
        let mut keeper = Self {
            queue: None,
            writer: None,
            counters,
            reader: Reader::default(),
            line: Box::new([0; LINE_MAX]),
            first: room.first(),
            seen: 0,
            changed: Vec::with_capacity(SEATS_MAX.into()),
            is_changed: vec![false; SEATS_MAX.into()],
            restored: Vec::new(),
            is_behind: false,
        };
        let now = room.restore_lines(time, age_max(arguments), relay);
        // the restored lines are in the files already
        while relay.read(&mut keeper.reader, &mut keeper.line).is_some() {}
        keeper.seen = relay.stats().lines;
        let seats = room.restore_peers(now, relay, network);
        if let Some(record) = room.record(seats.len()) {
            journal.write(record);
        }
        keeper.note_seats(seats.into_iter());
        writer.begin(time, &room);
        keeper.restored = room.into_lines();
        let (queue, records) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("keep".into())
            .spawn(move || writer.run(&records))
            .map_err(|error| Error::Failure(format!("cannot start a thread: {error}")))?;
        (keeper.queue, keeper.writer) = (Some(queue), Some(thread));
        Ok(Some((keeper, now)))
    }

    /// Returns the lines that were restored, the first time that it is called.
    pub(super) fn take_restored(&mut self) -> Vec<JsonLine> {
        core::mem::take(&mut self.restored)
    }

    /// Returns the numbers of lines that were kept and lost.
    pub(super) fn counts(&self) -> KeptCounts {
        self.counters.counts()
    }

    /// Records the seats of an event, and reads its lines before others overwrite them.
    pub(super) fn handle_event<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        event: &Event,
        relay: &Relay<PEERS, RING, WINDOW>,
    ) {
        match event {
            Event::Joined { seat, displaced } => {
                self.note_seat(*seat);
                self.note_seats(displaced.iter().map(|departed| departed.seat));
            }
            Event::Resumed { displaced, .. } => {
                self.note_seats(displaced.iter().map(|departed| departed.seat));
            }
            Event::Renamed { seat, .. } | Event::Answered { seat } => self.note_seat(*seat),
            Event::Left(departed)
            | Event::Removed {
                removed: departed, ..
            } => self.note_seat(departed.seat),
            Event::Said { .. }
            | Event::Helped
            | Event::Challenged
            | Event::Claimed { .. }
            | Event::Acknowledged { .. }
            | Event::Keepalive { .. }
            | Event::Refused { .. } => {}
        }
        if !self.is_behind {
            self.take_lines(now, relay);
        }
    }

    /// Records a peer that left or was parked.
    pub(super) fn handle_expired(&mut self, expired: &Expired) {
        if let Expired::Left(departed) = expired {
            self.note_seat(departed.seat);
        }
    }

    /// Records that the peer of this seat may have changed.
    pub(super) fn note_seat(&mut self, seat: Seat) {
        if let Some(is_changed) = self.is_changed.get_mut(seat.index())
            && !core::mem::replace(is_changed, true)
        {
            self.changed.push(seat);
        }
    }

    fn note_seats(&mut self, seats: impl Iterator<Item = Seat>) {
        seats.for_each(|seat| self.note_seat(seat));
    }

    /// Sends everything new to the thread. Returns when to call this again, if the queue was full.
    pub(super) fn keep<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &Relay<PEERS, RING, WINDOW>,
        network: &Sockets,
    ) -> Option<Instant> {
        self.is_behind = false;
        self.take_lines(now, relay);
        while let Some(seat) = self.changed.last().copied().filter(|_| !self.is_behind) {
            let peer = relay.peer(seat).filter(|peer| !peer.framed);
            let peer = peer.map(|peer| KeptPeer {
                address: peer.address,
                name: Name::try_from(peer.name).unwrap_or_default(),
                newline: peer.newline,
                quiet: peer.quiet,
                local: network.local_address(seat),
            });
            if self.send(Record::Seat(seat, peer)) {
                self.changed.pop();
                self.is_changed[seat.index()] = false;
            }
        }
        self.is_behind.then(|| now.after(RETRY))
    }

    /// Sends the new lines, as far as the queue has room.
    fn take_lines<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &Relay<PEERS, RING, WINDOW>,
    ) {
        if relay.stats().lines == self.seen {
            return;
        }
        let time = Timestamp::now();
        let mut next = self.reader;
        while let Some((sequence, entry)) = relay.read(&mut next, &mut self.line) {
            let age = (now.as_millis() / 1000).saturating_sub(entry.at.into());
            // the time of a line is in whole seconds
            let age = Duration::from_secs(if age < 2 { 0 } else { age });
            let line = Line {
                time: time.saturating_sub(age).unwrap_or(time),
                sequence,
                kind: entry.kind,
                name: entry.name.into(),
                text: String::try_from(entry.line).unwrap_or_default(),
            };
            if !self.send(Record::Line(line)) {
                return;
            }
            self.reader = next;
        }
        self.seen = relay.stats().lines;
    }

    fn send(&mut self, record: Record) -> bool {
        let queue = self.queue.as_ref();
        let is_sent = queue.is_some_and(|queue| queue.try_send(record).is_ok());
        self.is_behind |= !is_sent;
        is_sent
    }

    /// Keeps the last lines and waits until they are written, for a limited time: the disk may be slow.
    pub(super) fn close<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &Relay<PEERS, RING, WINDOW>,
        network: &Sockets,
    ) {
        let start = std::time::Instant::now();
        let has_time = || {
            std::thread::sleep(Duration::from_millis(1));
            start.elapsed() < CLOSE
        };
        while self.keep(now, relay, network).is_some() && has_time() {}
        // counts the lines for which there was no time
        while relay.read(&mut self.reader, &mut self.line).is_some() {
            self.counters.add_lost(1);
        }
        let sequence = self.first + relay.stats().lines;
        let stop = || Record::Stop {
            epoch: relay.epoch(),
            sequence,
        };
        while !self.send(stop()) && has_time() {}
        self.queue = None;
        let is_running = |thread: &JoinHandle<()>| !thread.is_finished();
        while self.writer.as_ref().is_some_and(is_running) && has_time() {}
    }
}

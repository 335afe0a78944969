//! One room over several relays: what is said here is published to an engine, and what is said
//! elsewhere comes from it.
//!
//! A thread of its own speaks with the engine. Between it and the relay's thread are a slot with the lines
//! of here that are published next, and a bounded queue of what comes from elsewhere. Neither thread waits
//! for the other: lines of here wait in the relay's ring, and those of elsewhere at the engine. So an engine
//! that is slow, down or gone changes nothing for the people of this relay.

mod counters;
pub(crate) mod engine;
mod inbox;
mod known;
mod outage;
mod places;
mod start;
pub(crate) mod wire;

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use heapless::String;
use kilochat_core::{
    Instant, LINE_MAX, LINK_BUFFER_MIN, LINK_LINES_MAX, LinkBatch, LinkNotice, Name, PLACES_MAX,
    Place, Relay, Stats,
};
use tokio::sync::Notify;
use tracing::{Level, info, warn};

use super::journal::{Journal, Record};
use super::stopper::Stopper;
use crate::args::Token;

use counters::LinkCounters;
pub(super) use counters::LinkCounts;
pub(super) use start::age_max;

/// Length of the queue of what comes from elsewhere: about 512 KiB.
const QUEUE: usize = 512;

/// Maximum number of lines from elsewhere in a turn of the relay's loop.
const LINES_PER_TURN: usize = 256;

/// Size of the slot for lines of here, in bytes.
const SLOT: usize = 64 << 10;

/// Time after which the relay's thread fills the slot again, or tries again to lock it. A busy relay would wake
/// the other thread for every few lines otherwise, which costs more than the lines.
const PAUSE: Duration = Duration::from_millis(1);

/// Minimum time between two lists of the people here.
const LIST_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time that the end of the program waits for the last lines.
const CLOSE: Duration = Duration::from_secs(2);

/// Something for the relay's thread. It owns no heap memory.
#[expect(clippy::large_enum_variant, reason = "nearly all are lines")]
#[derive(Debug)]
pub(super) enum Incoming {
    /// A line, or an announcement if it has no name. Without a place it is from an earlier run of this
    /// relay.
    Line {
        age: Duration,
        place: Option<Token>,
        name: Name,
        text: String<LINE_MAX>,
    },
    /// A notice for people.
    Notice(Notice),
    /// A record for the log.
    Report(Report),
    /// The lines that were said before this relay started are complete.
    Ready,
}

/// A notice for people: see [`LinkNotice`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Down,
    Up,
    Lost { place: Token, lines: u64 },
    Gone { place: Token },
    Back { place: Token },
    LeftOut { place: Token, lines: u64 },
    InHistory { lines: u64 },
    Twin { place: Token },
}

/// A record for the log about the link.
#[expect(clippy::large_enum_variant, reason = "a box would be heap memory")]
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// The engine is within reach.
    Up,
    /// The engine is out of reach, or does not do its work.
    Trouble(String<240>),
    /// Lines go over foreign networks as they are.
    Exposed,
    /// The relay has ended, and so many lines of here were not published.
    Unpublished(u64),
}

/// What both threads use.
#[derive(Debug)]
struct Shared {
    slot: Mutex<Slot>,
    /// Tells the engine's thread that the slot was filled, or that the relay stops.
    filled: Notify,
    /// Tells it that the queue has room.
    room: Notify,
    here: Mutex<Here>,
    /// Tells it that other people are here.
    moved: Notify,
    elsewhere: Mutex<Elsewhere>,
    has_places: AtomicBool,
    /// Whether people may come in.
    is_open: AtomicBool,
    is_stopping: AtomicBool,
    counters: LinkCounters,
    /// Wakes the relay's thread.
    relay: Stopper,
}

/// Lines of here that are published next.
#[derive(Debug)]
struct Slot {
    batch: Option<LinkBatch>,
    /// Whether more lines wait in the ring.
    has_more: bool,
    /// The relay's clock when the slot was filled, and when that was.
    now: Instant,
    at: std::time::Instant,
    bytes: Box<[u8]>,
}

/// The people here.
#[derive(Debug, Default)]
struct Here {
    people: u16,
    /// Their names, as many as have room, each followed by a line feed.
    names: String<{ wire::NAMES_MAX }>,
}

/// The people elsewhere.
#[derive(Debug, Default)]
struct Elsewhere {
    people: u32,
    places: heapless::Vec<Place, PLACES_MAX>,
}

/// The relay's side of the link. It allocates nothing after the start.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    incoming: Receiver<Incoming>,
    engine: JoinHandle<()>,
    /// Number of lines that the ring had been given when all were handed over, and the earliest time at which
    /// more are.
    handed: u64,
    next_hand_over: Instant,
    /// The counters of peers that joined, left and were renamed when the engine's thread was last given the
    /// list of people, and the earliest time at which it is given one again.
    listed: Option<(u64, u64, u64)>,
    next_list: Instant,
    /// Number of lines that were overwritten before they were published, as far as people were told.
    lost_told: u64,
}

impl Link {
    /// Takes in what was said elsewhere. Returns whether there may be more.
    pub(super) fn receive<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        journal: &mut Journal,
    ) -> bool {
        let mut taken = 0;
        let mut has_more = true;
        while taken < LINES_PER_TURN && relay.can_receive() {
            let Ok(incoming) = self.incoming.try_recv() else {
                has_more = false;
                break;
            };
            taken += 1;
            self.take(now, incoming, relay, journal);
        }
        if taken > 0 {
            self.shared.room.notify_one();
        }
        if self.shared.has_places.load(Ordering::Relaxed)
            && self.shared.has_places.swap(false, Ordering::Acquire)
        {
            let elsewhere = Shared::lock(&self.shared.elsewhere);
            relay.set_places(elsewhere.people, &elsewhere.places);
        }
        has_more
    }

    fn take<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        incoming: Incoming,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        journal: &mut Journal,
    ) {
        match incoming {
            Incoming::Line {
                age,
                place,
                name,
                text,
            } => {
                let at =
                    Instant::default().after(now.since(Instant::default()).saturating_sub(age));
                let place = place.as_ref().map(Token::as_str).unwrap_or_default();
                relay.handle_elsewhere(at, place, &name, &text);
            }
            Incoming::Notice(notice) => {
                let lost = relay.stats().link_lost;
                let notice = notice.of_core(lost - self.lost_told);
                if let LinkNotice::Up { .. } = notice {
                    self.lost_told = lost;
                }
                relay.handle_notice_elsewhere(now, notice);
            }
            Incoming::Report(report) => journal.write(Record::Link(report)),
            Incoming::Ready => {}
        }
    }

    /// Hands over what was said here. Returns when to call this again if nothing else happens.
    pub(super) fn send<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
    ) -> Option<Instant> {
        let again = if now < self.next_hand_over && relay.stats().lines != self.handed {
            Some(self.next_hand_over)
        } else {
            self.hand_over(now, relay)
        };
        let listed = self.list(now, relay);
        again.into_iter().chain(listed).min()
    }

    /// Fills the slot if it is empty. Returns when to call this again if the other thread does not tell.
    fn hand_over<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
    ) -> Option<Instant> {
        let lines = relay.stats().lines;
        if lines == self.handed {
            return None;
        }
        // the other thread holds it for less than a microsecond
        let Ok(mut slot) = self.shared.slot.try_lock() else {
            return Some(now.after(PAUSE));
        };
        if slot.batch.is_some() {
            slot.has_more = true;
            return None;
        }
        slot.batch = relay.poll_link(&mut slot.bytes);
        let Some(batch) = slot.batch else {
            self.handed = lines;
            return None;
        };
        self.next_hand_over = now.after(PAUSE);
        (slot.now, slot.at) = (now, std::time::Instant::now());
        slot.has_more = batch.lines >= LINK_LINES_MAX || batch.length + LINK_BUFFER_MIN > SLOT;
        if !slot.has_more {
            self.handed = lines;
        }
        drop(slot);
        self.shared.counters.lines_taken.add(batch.lines.into());
        self.shared.filled.notify_one();
        None
    }

    /// Lists the people here, if they may be others than before. Returns when to call this again.
    fn list<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &Relay<PEERS, RING, WINDOW>,
    ) -> Option<Instant> {
        let Stats {
            joined,
            left,
            renamed,
            ..
        } = relay.stats();
        let listed = Some((*joined, *left, *renamed));
        if listed == self.listed {
            return None;
        }
        if now < self.next_list {
            return Some(self.next_list);
        }
        let Ok(mut here) = self.shared.here.try_lock() else {
            return Some(now.after(LIST_INTERVAL));
        };
        (self.listed, self.next_list) = (listed, now.after(LIST_INTERVAL));
        here.people = u16::try_from(relay.peer_count()).unwrap_or(u16::MAX);
        here.names.clear();
        for peer in relay.peers() {
            let end = here.names.len();
            let is_whole = here.names.push_str(peer.name).is_ok() && here.names.push('\n').is_ok();
            if !is_whole {
                here.names.truncate(end);
                break;
            }
        }
        drop(here);
        self.shared.moved.notify_one();
        None
    }

    /// Returns the counters, and what waits in the ring.
    pub(super) fn counts<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &self,
        now: Instant,
        relay: &Relay<PEERS, RING, WINDOW>,
    ) -> LinkCounts {
        let waiting = relay.link_waiting();
        LinkCounts {
            waiting: waiting.map_or(0, |waiting| waiting.lines),
            oldest: waiting.map_or(Duration::ZERO, |waiting| now.since(waiting.oldest)),
            overwritten: relay.stats().link_lost,
            refused: relay.stats().elsewhere_refused,
            ..self.shared.counters.counts()
        }
    }

    /// Publishes what is left, for a limited time.
    pub(super) fn close<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        journal: &mut Journal,
    ) {
        let start = std::time::Instant::now();
        let has_time = || {
            std::thread::sleep(Duration::from_millis(1));
            start.elapsed() < CLOSE
        };
        self.hand_over(now, relay);
        while relay.link_waiting().is_some() && has_time() {
            self.hand_over(now, relay);
            self.discard();
        }
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.filled.notify_one();
        while !self.engine.is_finished() && has_time() {
            self.discard();
        }
        let waiting = relay.link_waiting().map_or(0, |waiting| waiting.lines);
        let unpublished = waiting + self.shared.counters.under_way();
        if unpublished > 0 {
            journal.write(Record::Link(Report::Unpublished(unpublished)));
        }
    }

    /// Makes room in the queue, so that the engine's thread does not wait for it.
    fn discard(&self) {
        while self.incoming.try_recv().is_ok() {}
        self.shared.room.notify_one();
    }
}

impl Notice {
    /// Returns the notice of the core; `lost` is the number of lines of here that were overwritten.
    fn of_core(&self, lost: u64) -> LinkNotice<'_> {
        match self {
            Self::Down => LinkNotice::Down,
            Self::Up => LinkNotice::Up { lines: lost },
            Self::InHistory { lines } => LinkNotice::InHistory { lines: *lines },
            Self::Gone { place } => LinkNotice::Gone {
                place: place.as_str(),
            },
            Self::Back { place } => LinkNotice::Back {
                place: place.as_str(),
            },
            Self::Twin { place } => LinkNotice::Twin {
                place: place.as_str(),
            },
            Self::Lost { place, lines } => LinkNotice::Lost {
                place: place.as_str(),
                lines: *lines,
            },
            Self::LeftOut { place, lines } => LinkNotice::LeftOut {
                place: place.as_str(),
                lines: *lines,
            },
        }
    }
}

impl Report {
    /// Returns the level of the record.
    pub(super) const fn level(&self) -> Level {
        match self {
            Self::Up => Level::INFO,
            Self::Trouble(_) | Self::Exposed | Self::Unpublished(_) => Level::WARN,
        }
    }

    /// Writes the record to the log.
    pub(super) fn write(&self) {
        match self {
            Self::Up => info!("linked"),
            Self::Trouble(why) => warn!(%why, "link: the other places are out of reach"),
            Self::Exposed => warn!(
                "link: what is said crosses other networks unencrypted; tls:// would encrypt it"
            ),
            Self::Unpublished(lines) => {
                warn!(lines, "link: lines were not published before the end");
            }
        }
    }
}

impl Shared {
    /// Locks what the relay's thread locks for a short time only.
    fn lock<Value>(mutex: &Mutex<Value>) -> MutexGuard<'_, Value> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

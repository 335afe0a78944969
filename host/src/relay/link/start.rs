//! The start of the link.

use std::sync::mpsc::sync_channel;

use jiff::Timestamp;

use super::*;
use crate::Error;
use crate::args::{EngineOptions, EngineUrl, RelayArguments};
use crate::kept::line::JsonLine;
use crate::relay::config;

/// Maximum time for which a relay that starts waits for what was said before.
const PAST: Duration = Duration::from_millis(1500);

/// What the engine's thread is told at the start.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) urls: Vec<EngineUrl>,
    pub(super) engine: EngineOptions,
    pub(super) place: Token,
    /// The number of this run.
    pub(super) run: u64,
    pub(super) replicas: usize,
    /// Number of lines from before the start that are shown to newcomers, if they were not restored from the
    /// disk.
    pub(super) history: usize,
    pub(super) kept: Vec<JsonLine>,
    pub(super) started: Timestamp,
}

/// Returns the maximum age of a line that may come at the start.
pub(in crate::relay) fn age_max(arguments: &RelayArguments) -> Duration {
    let is_linked = config::place(arguments).is_some();
    if is_linked {
        engine::STREAM_AGE
    } else {
        Duration::ZERO
    }
}

impl Link {
    /// Starts the thread if the command line asks for it, and waits for a short time for what was said
    /// before. `kept` are the lines that were restored from the disk.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the system has no thread left.
    pub(in crate::relay) fn start<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        arguments: &RelayArguments,
        kept: Vec<JsonLine>,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        journal: &mut Journal,
        waker: Stopper,
    ) -> Result<Option<Self>, Error> {
        let Some(place) = config::place(arguments) else {
            return Ok(None);
        };
        let urls = arguments.link.link.clone();
        if urls.iter().any(EngineUrl::is_exposed) {
            journal.write(Record::Link(Report::Exposed));
        }
        let options = engine::options(&urls, &arguments.link.engine)?;
        let settings = Settings {
            urls,
            engine: arguments.link.engine.clone(),
            place,
            run: crate::random(),
            replicas: arguments.link.link_replicas.into(),
            history: arguments.history.into(),
            kept,
            started: Timestamp::now(),
        };
        let shared = Arc::new(Shared {
            slot: Mutex::new(Slot {
                batch: None,
                has_more: false,
                now,
                at: std::time::Instant::now(),
                bytes: vec![0; SLOT].into_boxed_slice(),
            }),
            filled: Notify::new(),
            room: Notify::new(),
            here: Mutex::default(),
            moved: Notify::new(),
            elsewhere: Mutex::default(),
            has_places: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            counters: LinkCounters::default(),
            relay: waker,
        });
        let (queue, incoming) = sync_channel(QUEUE);
        let theirs = Arc::clone(&shared);
        let engine = std::thread::Builder::new()
            .name("link".into())
            .spawn(move || {
                if let Err(error) = engine::running::run(settings, options, theirs, queue) {
                    tracing::error!("{error}");
                }
            })
            .map_err(|error| Error::Failure(format!("cannot start a thread: {error}")))?;
        let mut link = Self {
            shared,
            incoming,
            engine,
            handed: 0,
            next_hand_over: now,
            listed: None,
            next_list: now,
            lost_told: 0,
        };
        link.await_past(now, relay, journal);
        Ok(Some(link))
    }

    /// Takes in what was said before the start, for a short time.
    fn await_past<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        now: Instant,
        relay: &mut Relay<PEERS, RING, WINDOW>,
        journal: &mut Journal,
    ) {
        let start = std::time::Instant::now();
        loop {
            let left = PAST.saturating_sub(start.elapsed());
            match self.incoming.recv_timeout(left) {
                Ok(Incoming::Ready) => break,
                Ok(incoming) => self.take(now, incoming, relay, journal),
                Err(_) => break,
            }
            self.shared.room.notify_one();
        }
        self.shared.is_open.store(true, Ordering::Release);
    }
}

//! A log that cannot delay the relay: records go through a bounded queue to a thread that writes
//! them. Records that do not fit are counted, and the number is logged.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use kilochat_core::{Departed, Event, Expired, Instant, Name, PeerInfo, Refusal, Seat, Stats};
use tracing::{Level, debug, info, warn};

use super::keep::KeptCounts;
use super::link::{LinkCounts, Report};
use super::network::Counters;
use super::per_address::Followed;
use crate::Error;
use crate::args::{LogFormat, RelayArguments};

/// Maximum number of records that wait to be written.
const QUEUE: usize = 1024;

/// Maximum number of events that are logged each second, so that a flood does not fill the disk.
/// Departures have this number for themselves, so that a flood does not hide them.
const EVENTS_PER_SECOND: u32 = 50;

/// Number of loudest sources in the statistics.
const LOUDEST: usize = 5;

/// The same maximum if every datagram is logged.
const VERBOSE_PER_SECOND: u32 = 1000;

/// Maximum time that the end of the program waits for the last records.
const CLOSE: Duration = Duration::from_secs(1);

/// A log record. It owns no heap memory.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the queue is allocated once, and a record in a box would be allocated each time"
)]
pub(super) enum Record {
    /// A socket was opened.
    Listening {
        address: SocketAddr,
        receive_buffer: usize,
    },
    /// A datagram arrived; `name` is the name of its sender.
    Event {
        source: SocketAddr,
        name: Name,
        event: Event,
    },
    /// The room of the last run was restored: the number of its last lines, the number of plain peers,
    /// and whether the numbers of the lines go on.
    Restored {
        lines: usize,
        peers: usize,
        numbers_go_on: bool,
    },
    /// Metrics are served at this address.
    Metrics(SocketAddr),
    /// A peer left.
    Departed(Departed),
    /// A peer was parked because it does not respond.
    Parked(Name),
    /// Number of events of the last second that were not logged because of the limit.
    LeftOut(u64),
    /// The system lacks this socket option.
    Missing(&'static str),
    /// The kernel dropped datagrams.
    KernelDropped { now: u64, total: u64 },
    /// The addresses of this machine changed: sockets were opened or closed for them, or the public
    /// networks that it is attached to are others.
    Addresses { followed: Followed, networks: usize },
    /// The rules were read again; their number.
    Rules(usize),
    /// A source sends so much that the kernel drops it for a while.
    ShutOut(IpAddr),
    /// The sources that have sent most, and how many datagrams; with the statistics.
    Loudest {
        asked: bool,
        sources: heapless::Vec<(IpAddr, u64), LOUDEST>,
    },
    /// Statistics, because they were requested or because the relay ends.
    Stats {
        asked: bool,
        peers: usize,
        relay: Stats,
        counters: Counters,
        /// With `--keep`.
        kept: Option<KeptCounts>,
        /// With `--link`.
        link: Option<LinkCounts>,
    },
    /// Something about the link with other places.
    #[cfg_attr(
        not(feature = "link"),
        expect(dead_code, reason = "nothing is written about a link that cannot be")
    )]
    Link(Report),
}

/// The relay's end of the queue.
#[derive(Debug)]
pub(super) struct Journal {
    queue: Option<SyncSender<Record>>,
    level: Level,
    lost: Arc<AtomicU64>,
    /// Number of records that were lost since the start.
    pub(super) lost_total: u64,
    writer: Option<JoinHandle<()>>,
    /// The current second, and the numbers of departures, and of other events, that were logged in it,
    /// and of events that were left out.
    second: u64,
    departures: u32,
    events: u32,
    left_out: u64,
}

impl Journal {
    /// Starts logging to standard error, as the command line requests.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub(super) fn start(arguments: &RelayArguments) -> Result<Self, Error> {
        let level = match (arguments.quiet, arguments.verbose) {
            (true, _) => Level::WARN,
            (false, true) => Level::DEBUG,
            (false, false) => Level::INFO,
        };
        subscribe(level.max(Level::INFO), arguments.log_format); // records are filtered before
        let (queue, records) = sync_channel(QUEUE);
        let lost = Arc::<AtomicU64>::default();
        let lost_too = Arc::clone(&lost);
        let writer = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&records, &lost_too))
            .map_err(|error| Error::Failure(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            queue: Some(queue),
            level,
            lost,
            lost_total: 0,
            writer: Some(writer),
            second: 0,
            departures: 0,
            events: 0,
            left_out: 0,
        })
    }

    /// Logs a record if its level is enabled.
    pub(super) fn write(&mut self, record: Record) {
        if record.level() > self.level {
            return;
        }
        if let Some(queue) = &self.queue
            && queue.try_send(record).is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.lost_total += 1;
        }
    }

    /// Logs an expiry; `peer` returns the peer of a seat.
    pub(super) fn write_expired<'a>(
        &mut self,
        expired: Expired,
        peer: impl FnOnce(Seat) -> Option<PeerInfo<'a>>,
    ) {
        self.write(match expired {
            Expired::Left(departed) => Record::Departed(departed),
            Expired::Parked(seat) => Record::Parked(name(peer(seat))),
        });
    }

    /// Logs the event of a datagram; `peer` returns the peer of a seat.
    pub(super) fn write_event<'a>(
        &mut self,
        now: Instant,
        source: SocketAddr,
        event: Event,
        peer: impl FnOnce(Seat) -> Option<PeerInfo<'a>>,
    ) {
        if level(&event) <= self.level && self.has_room(now, is_departure(&event)) {
            let name = name(event.seat().and_then(peer));
            self.write(Record::Event {
                source,
                name,
                event,
            });
        }
    }

    /// Returns whether another event may be logged in this second. Logs how many were left out in
    /// the second before.
    fn has_room(&mut self, now: Instant, is_departure: bool) -> bool {
        let second = now.as_millis() / 1000;
        if second != self.second {
            (self.second, self.departures, self.events) = (second, 0, 0);
            let left_out = core::mem::take(&mut self.left_out);
            if left_out > 0 {
                self.write(Record::LeftOut(left_out));
            }
        }
        let logged = if is_departure {
            &mut self.departures
        } else {
            &mut self.events
        };
        *logged += 1;
        let has_room = *logged
            <= if self.level == Level::DEBUG {
                VERBOSE_PER_SECOND
            } else {
                EVENTS_PER_SECOND
            };
        self.left_out += u64::from(!has_room);
        has_room
    }

    /// Waits until the records are written, for a limited time because standard error may be
    /// blocked.
    pub(super) fn close(&mut self) {
        self.queue = None;
        let start = std::time::Instant::now();
        while self
            .writer
            .as_ref()
            .is_some_and(|writer| !writer.is_finished())
            && start.elapsed() < CLOSE
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Writes what is logged from this level on to standard error, or to the journal of systemd.
pub(crate) fn subscribe(level: Level, format: LogFormat) {
    if format == LogFormat::Text && under_systemd(level) {
        return;
    }
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .log_internal_errors(false)
        .with_writer(io::stderr);
    // fails if the program has set a subscriber of its own, which it keeps
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Logs to the journal of systemd, with priorities and fields, if standard error leads there. Returns
/// whether it does.
#[cfg(target_os = "linux")]
fn under_systemd(level: Level) -> bool {
    use std::os::unix::fs::MetadataExt;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let Ok(error) = std::fs::metadata("/proc/self/fd/2") else {
        return false;
    };
    // its device and inode: systemd.exec(5)
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    if stream != format!("{}:{}", error.dev(), error.ino()) {
        return false;
    }
    tracing_journald::layer().is_ok_and(|layer| {
        let layer = layer.with_field_prefix(None);
        let subscriber = tracing_subscriber::registry().with(LevelFilter::from_level(level));
        subscriber.with(layer).try_init().is_ok()
    })
}

#[cfg(not(target_os = "linux"))]
fn under_systemd(_level: Level) -> bool {
    false
}

fn name(peer: Option<PeerInfo<'_>>) -> Name {
    let name = peer.map(|peer| peer.name).unwrap_or_default();
    Name::try_from(name).unwrap_or_default()
}

impl Record {
    fn level(&self) -> Level {
        match self {
            Self::Event { event, .. } => level(event),
            Self::Listening { .. }
            | Self::Restored { .. }
            | Self::Metrics(_)
            | Self::Departed(_)
            | Self::Parked(_)
            | Self::LeftOut(_)
            | Self::Rules(_)
            | Self::Addresses { .. } => Level::INFO,
            Self::Missing(_) | Self::KernelDropped { .. } | Self::ShutOut(_) => Level::WARN,
            Self::Stats { asked: true, .. } | Self::Loudest { asked: true, .. } => Level::ERROR,
            Self::Stats { asked: false, .. } | Self::Loudest { asked: false, .. } => Level::INFO,
            Self::Link(report) => report.level(),
        }
    }
}

/// Returns whether somebody left by an event.
const fn is_departure(event: &Event) -> bool {
    matches!(
        event,
        Event::Left(_)
            | Event::Removed { .. }
            | Event::Joined {
                displaced: Some(_),
                ..
            }
            | Event::Resumed {
                displaced: Some(_),
                ..
            }
    )
}

/// Returns the level at which an event is logged.
fn level(event: &Event) -> Level {
    match event {
        Event::Joined { .. }
        | Event::Left(_)
        | Event::Removed { .. }
        | Event::Renamed { .. }
        | Event::Resumed { .. }
        | Event::Refused { .. } => Level::INFO,
        Event::Said { .. }
        | Event::Answered { .. }
        | Event::Helped
        | Event::Challenged
        | Event::Claimed { .. }
        | Event::Acknowledged { .. }
        | Event::Keepalive { .. } => Level::DEBUG,
    }
}

fn write_all(records: &Receiver<Record>, lost: &AtomicU64) {
    for record in records {
        write(record);
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            warn!(
                lost,
                "log lines were lost: they came faster than they could be written"
            );
        }
    }
}

fn write(record: Record) {
    match record {
        Record::Listening {
            address,
            receive_buffer,
        } => {
            info!(%address, receive_buffer, "listening");
        }
        Record::Event {
            source,
            name,
            event,
        } => write_event(source, &name, event),
        Record::Restored {
            lines,
            peers,
            numbers_go_on,
        } => info!(lines, peers, numbers_go_on, "the room was restored"),
        Record::Metrics(address) => info!(%address, "serving metrics"),
        Record::Departed(departed) => write_departed(&departed),
        Record::Parked(name) => info!(%name, "away: does not answer"),
        Record::LeftOut(events) => info!(events, "not logged: too many in a second"),
        Record::Missing(option) => warn!(
            option,
            "the system lacks a socket option; the relay continues without it"
        ),
        Record::KernelDropped { now, total } => warn!(
            dropped = now,
            total,
            "the kernel dropped datagrams that came faster than they could be read; a larger \
             receive buffer may help: sysctl net.core.rmem_max"
        ),
        Record::Rules(rules) => info!(rules, "the rules were read again"),
        Record::ShutOut(address) => warn!(
            %address,
            "sends far too much; the kernel drops its datagrams for 10 s, except those of its sessions"
        ),
        Record::Loudest { sources, .. } => {
            for (address, datagrams) in sources {
                info!(%address, datagrams, "loudest source");
            }
        }
        Record::Addresses { followed, networks } => info!(
            opened = followed.opened,
            closed = followed.closed,
            missing = followed.missing,
            public_networks = networks,
            "this machine's addresses have changed"
        ),
        Record::Stats {
            peers,
            relay,
            counters,
            kept,
            link,
            ..
        } => {
            write_stats(peers, &relay, &counters, kept);
            link.iter().for_each(LinkCounts::write);
        }
        Record::Link(report) => report.write(),
    }
}

fn write_event(source: SocketAddr, name: &Name, event: Event) {
    match event {
        Event::Joined { displaced, .. } => {
            if let Some(departed) = displaced {
                write_departed(&departed);
            }
            info!(%name, address = %source, "joined");
        }
        Event::Left(departed) => write_departed(&departed),
        Event::Removed { removed, .. } => {
            info!(operator = %name, name = %removed.name, address = %removed.address, "removed");
        }
        Event::Resumed {
            moved, displaced, ..
        } => {
            if let Some(departed) = displaced {
                write_departed(&departed);
            }
            match moved {
                Some((from, _)) => info!(%name, address = %source, %from, "resumed"),
                None => info!(%name, address = %source, "resumed"),
            }
        }
        Event::Renamed { from, .. } => info!(%name, %from, "renamed"),
        Event::Refused { seat: Some(_), why } => {
            info!(%name, address = %source, why = why.as_str(), "refused");
        }
        Event::Refused { seat: None, why } => {
            let why = if why == Refusal::Foreign {
                "outside the local networks; --open serves it"
            } else {
                why.as_str()
            };
            info!(address = %source, why, "refused");
        }
        Event::Said { lines, .. } => debug!(%name, lines, "said"),
        Event::Answered { .. } => debug!(%name, "answered"),
        Event::Challenged => debug!(address = %source, "was sent a cookie"),
        Event::Claimed { .. } => debug!(address = %source, "wants a session of another address"),
        Event::Acknowledged { .. } => debug!(%name, "acknowledged"),
        Event::Helped => debug!(address = %source, "helped"),
        Event::Keepalive { .. } => debug!(%name, "keepalive"),
    }
}

fn write_departed(departed: &Departed) {
    let Departed {
        name, address, why, ..
    } = departed;
    info!(%name, %address, why = why.as_str(), "left");
}

fn write_stats(peers: usize, relay: &Stats, counters: &Counters, kept: Option<KeptCounts>) {
    let kept = kept.unwrap_or_default();
    info!(
        peers,
        datagrams = relay.datagrams,
        messages = relay.messages,
        lines = relay.lines,
        deliveries = relay.deliveries,
        coalesced = relay.coalesced,
        resent = relay.resent,
        gaps = relay.gaps,
        deferred = relay.deferred,
        missed = relay.missed,
        joined = relay.joined,
        left = relay.left,
        displaced = relay.displaced,
        lapsed = relay.lapsed,
        removed = relay.removed,
        restarted = relay.restarted,
        replaced = relay.replaced,
        contested = relay.contested,
        echoes = relay.echoes,
        held = relay.held,
        unanswered = relay.unanswered,
        renamed = relay.renamed,
        answered = relay.answered,
        keepalives = relay.keepalives,
        acknowledged = relay.acknowledged,
        challenged = relay.challenged,
        coded = relay.coded,
        proven = relay.proven,
        claimed = relay.claimed,
        resumed = relay.resumed,
        parked = relay.parked,
        unparked = relay.unparked,
        unreachable = relay.unreachable,
        untold = relay.untold,
        refused_frame = relay.refused(Refusal::Frame),
        refused_session = relay.refused(Refusal::Session),
        refused_dialect = relay.refused(Refusal::Dialect),
        refused_late = relay.refused(Refusal::Late),
        refused_too_long = relay.refused(Refusal::TooLong),
        refused_not_utf8 = relay.refused(Refusal::NotUtf8),
        refused_blank = relay.refused(Refusal::Blank),
        refused_nameless = relay.refused(Refusal::Nameless),
        refused_source = relay.refused(Refusal::Source),
        refused_foreign = relay.refused(Refusal::Foreign),
        refused_unproven = relay.refused(Refusal::Unproven),
        refused_denied = relay.refused(Refusal::Denied),
        refused_full = relay.refused(Refusal::Full),
        refused_locked = relay.refused(Refusal::Locked),
        refused_muted = relay.refused(Refusal::Muted),
        refused_crowded = relay.refused(Refusal::Crowded),
        refused_hasty = relay.refused(Refusal::Hasty),
        refused_returned = relay.refused(Refusal::Returned),
        refused_slow = relay.refused(Refusal::Slow),
        refused_stopping = relay.refused(Refusal::Stopping),
        send_errors = counters.send_errors,
        replies_lost = counters.replies_lost,
        own = counters.own,
        receive_errors = counters.receive_errors,
        reports_lost = counters.reports_lost,
        kernel_dropped = counters.kernel_dropped,
        outlets_missing = counters.outlets_missing,
        shut_out = counters.shut_out,
        kept = kept.kept,
        not_kept = kept.lost,
        keep_failures = kept.failures,
        "statistics"
    );
}

//! The gateway's log, which cannot delay it: records go through a bounded queue to a thread that writes
//! them.

use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use tracing::{info, warn};

use super::counters::Counters;
use super::http::Rejection;

/// Maximum number of records that wait to be written.
const QUEUE: usize = 256;

/// Maximum number of records about connections in a second, so that a flood does not fill the disk.
const EVENTS_PER_SECOND: u32 = 50;

/// Maximum time that the end of the program waits for the last records.
const CLOSE: Duration = Duration::from_secs(1);

/// A log record.
#[derive(Debug)]
pub(super) enum Record {
    /// A page was opened, or closed.
    Opened(IpAddr),
    Closed(IpAddr),
    /// A request was rejected.
    Rejected(IpAddr, Rejection),
    /// A connection from outside the local networks was closed.
    Foreign(IpAddr),
    /// Number of records of the last second that were not logged because of the limit.
    LeftOut(u64),
    /// The counters.
    Stats {
        pages: usize,
        counters: Box<Counters>,
    },
}

/// The gateway's end of the queue.
#[derive(Debug)]
pub(super) struct Log {
    queue: Option<SyncSender<Record>>,
    writer: JoinHandle<()>,
    is_quiet: bool,
    /// The start of this second, and the numbers of records that were logged and left out in it.
    second: Instant,
    logged: u32,
    left_out: u64,
}

impl Log {
    /// Starts the thread. `is_quiet` leaves out what is about single connections.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub(super) fn start(now: Instant, is_quiet: bool) -> io::Result<Self> {
        let (queue, records) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("web log".into())
            .spawn(move || write_all(&records))?;
        Ok(Self {
            queue: Some(queue),
            writer,
            is_quiet,
            second: now,
            logged: 0,
            left_out: 0,
        })
    }

    /// Logs something about a connection, at a limited rate.
    pub(super) fn event(&mut self, now: Instant, record: Record) {
        if self.is_quiet {
            return;
        }
        if now >= self.second + Duration::from_secs(1) {
            let left_out = core::mem::take(&mut self.left_out);
            (self.second, self.logged) = (now, 0);
            if left_out > 0 {
                self.write(Record::LeftOut(left_out));
            }
        }
        self.logged += 1;
        if self.logged > EVENTS_PER_SECOND {
            self.left_out += 1;
        } else {
            self.write(record);
        }
    }

    /// Logs the counters. A quiet log has them only if they were requested.
    pub(super) fn report(&mut self, record: Record, asked: bool) {
        if asked || !self.is_quiet {
            self.write(record);
        }
    }

    /// Logs a record, unless the queue is full.
    fn write(&mut self, record: Record) {
        if let Some(queue) = &self.queue
            && queue.try_send(record).is_err()
        {
            self.left_out += 1;
        }
    }

    /// Waits until the records are written, for a limited time because standard error may be blocked.
    pub(super) fn close(&mut self) {
        self.queue = None;
        let start = Instant::now();
        while !self.writer.is_finished() && start.elapsed() < CLOSE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn write_all(records: &Receiver<Record>) {
    for record in records {
        match record {
            Record::Opened(address) => info!(%address, "page opened"),
            Record::Closed(address) => info!(%address, "page closed"),
            Record::Rejected(address, why) => {
                info!(%address, why = why.as_str(), "request rejected");
            }
            Record::Foreign(address) => {
                let why = "outside the local networks; --open serves it";
                info!(%address, why, "connection rejected");
            }
            Record::LeftOut(events) => warn!(events, "pages: not logged: too many in a second"),
            Record::Stats { pages, counters } => write_stats(pages, &counters),
        }
    }
}

fn write_stats(pages: usize, counters: &Counters) {
    info!(
        pages,
        accepted = counters.accepted,
        opened = counters.opened,
        to_relay = counters.to_relay,
        to_pages = counters.to_pages,
        too_long = counters.too_long,
        plain = counters.plain,
        too_many = counters.too_many,
        not_taken = counters.not_taken,
        send_errors = counters.send_errors,
        no_relay = counters.no_relay,
        no_port = counters.no_port,
        foreign = counters.foreign,
        late = counters.late,
        displaced = counters.displaced,
        accept_errors = counters.accept_errors,
        rejected_malformed = counters.rejected(Rejection::Malformed),
        rejected_head_too_long = counters.rejected(Rejection::HeadTooLong),
        rejected_wrong_host = counters.rejected(Rejection::WrongHost),
        rejected_wrong_origin = counters.rejected(Rejection::WrongOrigin),
        rejected_method = counters.rejected(Rejection::Method),
        rejected_not_found = counters.rejected(Rejection::NotFound),
        rejected_no_upgrade = counters.rejected(Rejection::NoUpgrade),
        rejected_full = counters.rejected(Rejection::Full),
        "web statistics"
    );
}

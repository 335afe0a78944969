//! Questions of other threads to the loop. An answer is a copy of the loop's counters, and proves
//! that the loop turns. The loop never waits for the thread that asks.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kilochat_core::Stats;

use super::keep::KeptCounts;
use super::link::LinkCounts;
use super::network::Counters;
use super::stopper::Stopper;

/// Time without an answer after which the loop counts as broken.
const PATIENCE: Duration = Duration::from_secs(1);

/// The answer of the loop. It owns no heap memory.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) seats: u16,
    pub(super) peers: Peers,
    pub(super) relay: Stats,
    pub(super) counters: Counters,
    pub(super) log_lost: u64,
    pub(super) kept: Option<KeptCounts>,
    pub(super) link: Option<LinkCounts>,
}

/// The numbers of peers, by dialect and state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peers {
    pub(super) plain: u64,
    pub(super) plain_suspect: u64,
    pub(super) framed: u64,
    pub(super) framed_suspect: u64,
    pub(super) framed_parked: u64,
}

/// The end of a thread that asks.
#[derive(Debug)]
pub(super) struct Inquirer {
    is_asked: Arc<AtomicBool>,
    answered: Receiver<Snapshot>,
    pub(super) relay: Stopper,
}

/// The loop's end.
#[derive(Debug)]
pub(super) struct Inquiry {
    is_asked: Arc<AtomicBool>,
    answers: SyncSender<Snapshot>,
}

/// Returns both ends, for the loop that `relay` wakes.
pub(super) fn channel(relay: Stopper) -> (Inquirer, Inquiry) {
    let is_asked = Arc::<AtomicBool>::default();
    let (answers, answered) = sync_channel(1);
    let inquirer = Inquirer {
        is_asked: Arc::clone(&is_asked),
        answered,
        relay,
    };
    (inquirer, Inquiry { is_asked, answers })
}

impl Inquirer {
    /// Asks the loop. Returns `None` if it does not answer in time.
    pub(super) fn ask(&self) -> Option<Snapshot> {
        // discards late answers to earlier questions
        while self.answered.try_recv().is_ok() {}
        self.is_asked.store(true, Ordering::Release);
        self.relay.wake();
        self.answered.recv_timeout(PATIENCE).ok()
    }
}

impl Inquiry {
    /// Answers, if there was a question.
    pub(super) fn answer(&self, snapshot: impl FnOnce() -> Snapshot) {
        if self.is_asked.load(Ordering::Relaxed) && self.is_asked.swap(false, Ordering::AcqRel) {
            // fails if a late answer to an earlier question is still in the channel
            let _ = self.answers.try_send(snapshot());
        }
    }
}

//! How other threads end a relay or ask it for a report.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use mio::Waker;

/// Tells a running [`Server`](super::Server) what to do, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    requests: Arc<Requests>,
    waker: Arc<Waker>,
}

#[derive(Debug, Default)]
struct Requests {
    stop: AtomicBool,
    report: AtomicBool,
}

impl Stopper {
    /// `waker` ends the wait of the relay's thread.
    pub(super) fn new(waker: Waker) -> Self {
        Self {
            requests: Arc::default(),
            waker: Arc::new(waker),
        }
    }

    /// Lets the relay say goodbye and end; returns whether it was told so before.
    pub fn stop(&self) -> bool {
        let before = self.requests.stop.swap(true, Ordering::Relaxed);
        self.wake();
        before
    }

    /// Lets the relay log its statistics.
    pub fn report(&self) {
        self.requests.report.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Whether the relay is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.requests.stop.load(Ordering::Relaxed)
    }

    /// Whether a report was asked for since the last call.
    pub(super) fn take_report(&self) -> bool {
        self.requests.report.swap(false, Ordering::Relaxed)
    }

    /// Ends the wait of the relay's thread.
    pub(super) fn wake(&self) {
        // it fails only when the relay has ended
        let _ = self.waker.wake();
    }
}

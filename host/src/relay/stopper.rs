//! The handle by which other threads stop a relay or request a report.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use mio::Waker;

/// Controls a running [`Server`](super::Server) from any thread.
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
    /// `waker` wakes the relay's thread.
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            requests: Arc::default(),
            waker: Arc::new(waker),
        }
    }

    /// Stops the relay after its farewell. Returns whether it was told so before.
    pub fn stop(&self) -> bool {
        let before = self.requests.stop.swap(true, Ordering::Relaxed);
        self.wake();
        before
    }

    /// Requests that the relay logs its statistics.
    pub fn report(&self) {
        self.requests.report.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Returns whether the relay must end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.requests.stop.load(Ordering::Relaxed)
    }

    /// Returns whether a report was requested since the last call.
    pub(crate) fn take_report(&self) -> bool {
        self.requests.report.swap(false, Ordering::Relaxed)
    }

    /// Wakes the relay's thread.
    pub(super) fn wake(&self) {
        // it fails only when the relay has ended
        let _ = self.waker.wake();
    }
}

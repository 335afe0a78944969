//! The handle by which other threads stop a relay or request a report.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kilochat_core::Name;
use mio::Waker;

use super::rules::Rules;

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
    networks: AtomicBool,
    has_rules: AtomicBool,
    rules: Mutex<Rules>,
    name: Mutex<Option<Name>>,
    is_renamed: AtomicBool,
}

impl Stopper {
    /// Returns a handle with no request; `waker` wakes the relay's thread.
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

    /// Requests that the relay reads the networks of this machine again.
    #[cfg(unix)]
    pub(super) fn read_networks(&self) {
        self.requests.networks.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Gives the relay new rules.
    #[cfg(unix)]
    pub(super) fn set_rules(&self, rules: Rules) {
        let mut place = self.requests.rules.lock();
        let place = place.as_deref_mut();
        if let Ok(place) = place {
            *place = rules;
        }
        self.requests.has_rules.store(true, Ordering::Release);
        self.wake();
    }

    /// Gives the relay another name.
    pub(super) fn rename(&self, name: Name) {
        *self
            .requests
            .name
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(name);
        self.requests.is_renamed.store(true, Ordering::Release);
        self.wake();
    }

    /// Returns the name that was given since the last call.
    pub(super) fn take_name(&self) -> Option<Name> {
        let is_renamed = self.requests.is_renamed.swap(false, Ordering::Acquire);
        // the lock is held for a copy only
        let name = is_renamed.then(|| self.requests.name.lock());
        name.and_then(|name| name.unwrap_or_else(PoisonError::into_inner).take())
    }

    /// Returns whether networks were to be read again since the last call.
    pub(super) fn take_networks(&self) -> bool {
        self.requests.networks.swap(false, Ordering::Relaxed)
    }

    /// Returns the rules that were given since the last call.
    pub(super) fn take_rules(&self) -> Option<Rules> {
        let has_rules = self.requests.has_rules.swap(false, Ordering::Acquire);
        let rules = has_rules.then(|| self.requests.rules.lock());
        // the lock is held for a copy only
        rules.map(|rules| rules.unwrap_or_else(PoisonError::into_inner).clone())
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

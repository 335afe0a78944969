//! A thread that watches the addresses of this machine. It reads them when the system reports a
//! change, every ten seconds in any case, and when a peer is refused that may be on a new network.
//!
//! Reading allocates and may take long, which the relay's thread must not; so this thread reads
//! them and hands over the result.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use if_addrs::{Interface, get_if_addrs};
use mio::{Events, Poll, Token, Waker};

#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
use super::netlink::Changes;
use crate::relay::stopper::Stopper;

/// Maximum time between two readings.
const INTERVAL: Duration = Duration::from_secs(10);

/// Minimum time between two readings: one change causes several messages, and an interface may
/// change all the time.
const PAUSE: Duration = Duration::from_millis(100);

const WAKE: Token = Token(0);

/// Token of the events by which the kernel reports a change.
#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
const CHANGE: Token = Token(1);

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(in crate::relay) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    waker: Waker,
    is_ended: AtomicBool,
    /// Whether the relay needs the addresses even if they have not changed.
    is_wanted: AtomicBool,
    /// Whether `found` has a list that was not taken yet, so that the relay's thread need not lock
    /// it to see that there is none.
    has_found: AtomicBool,
    found: Mutex<Option<Vec<Interface>>>,
}

impl Watch {
    /// Starts to watch for addresses that differ from `known`, and wakes `relay` when they do.
    ///
    /// # Errors
    ///
    /// If the system has no thread or no poll instance left.
    pub(in crate::relay) fn start(known: Vec<Interface>, relay: Stopper) -> io::Result<Self> {
        let poll = Poll::new()?;
        let shared = Arc::new(Shared {
            waker: Waker::new(poll.registry(), WAKE)?,
            is_ended: AtomicBool::new(false),
            is_wanted: AtomicBool::new(false),
            has_found: AtomicBool::new(false),
            found: Mutex::new(None),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("addresses".into())
            .spawn(move || theirs.watch(poll, known, &relay))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Requests a reading now.
    pub(in crate::relay) fn ask(&self) {
        // if it fails, the addresses are read at the next interval
        let _ = self.shared.waker.wake();
    }

    /// Calls `follow` with all addresses if they have changed since the last call. `follow` returns
    /// whether it needs to see them again later.
    pub(in crate::relay) fn take(&self, follow: impl FnOnce(&[Interface]) -> bool) {
        if self.shared.has_found.swap(false, Ordering::Acquire)
            && let Some(interfaces) = &*self.shared.lock()
            && follow(interfaces)
        {
            self.shared.is_wanted.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::Relaxed);
        self.ask();
        if let Some(thread) = self.thread.take() {
            // the thread has ended, or it panicked and printed that
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Interface>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, mut poll: Poll, mut known: Vec<Interface>, relay: &Stopper) {
        // a sandbox may forbid the socket; then only the interval remains
        #[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
        let changes = Changes::open(poll.registry(), CHANGE).ok();
        let mut events = Events::with_capacity(4);
        // read at once, for changes before the socket was open
        let mut wait = Duration::ZERO;
        loop {
            // after an error the addresses are read, as after a change
            let _ = poll.poll(&mut events, Some(wait));
            wait = INTERVAL;
            if self.is_ended.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(PAUSE);
            #[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
            if let Some(changes) = &changes {
                changes.discard();
            }
            let Ok(interfaces) = get_if_addrs() else {
                continue;
            };
            if !self.is_wanted.swap(false, Ordering::Relaxed) && interfaces == known {
                continue;
            }
            known.clone_from(&interfaces);
            // replaces a result that the relay has not read yet
            *self.lock() = Some(interfaces);
            self.has_found.store(true, Ordering::Release);
            relay.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_were_not_known_are_handed_over_once() {
        let poll = Poll::new().unwrap();
        let relay = Stopper::new(Waker::new(poll.registry(), WAKE).unwrap());
        let watch = Watch::start(Vec::new(), relay).unwrap();
        watch.ask();
        let mut found = 0;
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while found == 0 && std::time::Instant::now() < deadline {
            watch.take(|interfaces| {
                found = interfaces.len();
                false
            });
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(found, get_if_addrs().unwrap().len());
        watch.ask();
        std::thread::sleep(3 * PAUSE);
        watch.take(|_| panic!("nothing has changed"));
    }
}

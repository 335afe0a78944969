//! A thread that notices when this machine's addresses change: at once where the system tells, in any
//! case every ten seconds, and when a peer is refused that may be on a new network.
//!
//! It reads them, because that allocates and may take a while, and hands over what it found.

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

/// How long the addresses are not read if nothing tells of a change.
const INTERVAL: Duration = Duration::from_secs(10);

/// The least time from one reading to the next: one change is told several times, and an interface
/// may change without end.
const PAUSE: Duration = Duration::from_millis(100);

const WAKE: Token = Token(0);

/// Told by the kernel of a change.
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
    /// Whether the relay needs the addresses though they are the same.
    is_wanted: AtomicBool,
    /// Whether there is something in `found`.
    has_found: AtomicBool,
    found: Mutex<Option<Vec<Interface>>>,
}

impl Watch {
    /// Starts to look for what is no longer as in `known`; `relay` is woken up when something is.
    ///
    /// # Errors
    ///
    /// When there can be no more threads, or the system cannot wait.
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

    /// Lets the addresses be read now.
    pub(in crate::relay) fn ask(&self) {
        // without it they are read later
        let _ = self.shared.waker.wake();
    }

    /// Calls `follow` with all addresses if they have changed since the last call; it returns whether
    /// it needs to see them once more later.
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
            // it has ended, or it panicked and said so
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Interface>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, mut poll: Poll, mut known: Vec<Interface>, relay: &Stopper) {
        // where a sandbox forbids it, the interval is left
        #[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
        let changes = Changes::open(poll.registry(), CHANGE).ok();
        let mut events = Events::with_capacity(4);
        // what changed before the kernel was asked to tell
        let mut wait = Duration::ZERO;
        loop {
            // an error is as good as a change
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
            // what the relay has not looked at yet is no longer so
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

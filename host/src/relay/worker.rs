//! A second thread that sends its share of a large fan-out, on another core.
//!
//! It gets its share when a fan-out begins and is waited for before the next one, so that each peer
//! gets what is for it in order, and the relay knows what was not sent.

use core::net::SocketAddr;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use kilochat_core::DATAGRAM_MAX;

use super::transport::{Route, Transport};

/// Where a datagram goes, and through which socket on which way.
pub(super) type Destination = (SocketAddr, (usize, Route));

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    job: Mutex<Job>,
    changed: Condvar,
}

/// What is to be sent. Its vectors have room for everything from the start.
#[derive(Debug, Default)]
struct Job {
    state: State,
    payload: Vec<u8>,
    destinations: Vec<Destination>,
    /// Which of the destinations nothing was sent to.
    unsent: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// There is nothing to do, or it is done.
    #[default]
    Idle,
    Begun,
    Ended,
}

impl Worker {
    /// Starts the thread; it sends payloads of at most `payload` bytes to at most `destinations`.
    ///
    /// # Errors
    ///
    /// When there can be no more threads, or no more handles of the sockets.
    pub(super) fn start(
        transports: &[Transport],
        payload: usize,
        destinations: usize,
    ) -> io::Result<Self> {
        let transports: Vec<Transport> = transports
            .iter()
            .map(Transport::another)
            .collect::<io::Result<_>>()?;
        let shared = Arc::new(Shared {
            job: Mutex::new(Job {
                state: State::Idle,
                payload: Vec::with_capacity(payload),
                destinations: Vec::with_capacity(destinations),
                unsent: Vec::with_capacity(destinations),
            }),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("send".into())
            .spawn(move || theirs.send_all(transports))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Begins to send `payload` to all `destinations`.
    pub(super) fn begin(&self, payload: &[u8], destinations: impl Iterator<Item = Destination>) {
        let mut job = self.shared.lock();
        job.payload.clear();
        job.payload.extend_from_slice(payload);
        job.destinations.clear();
        job.destinations.extend(destinations);
        job.state = State::Begun;
        self.shared.changed.notify_all();
    }

    /// Waits until it is done; returns to which of the destinations nothing was sent, in order.
    pub(super) fn finish(&self, unsent: &mut Vec<usize>) {
        let job = self.shared.lock();
        let job = self
            .shared
            .changed
            .wait_while(job, |job| job.state == State::Begun)
            .unwrap_or_else(PoisonError::into_inner);
        unsent.clear();
        unsent.extend_from_slice(&job.unsent);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().state = State::Ended;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // it has ended, or it panicked and said so
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_all(&self, mut transports: Vec<Transport>) {
        loop {
            let mut job = self
                .changed
                .wait_while(self.lock(), |job| job.state == State::Idle)
                .unwrap_or_else(PoisonError::into_inner);
            if job.state == State::Ended {
                return;
            }
            let Job {
                payload,
                destinations,
                unsent,
                ..
            } = &mut *job;
            unsent.clear();
            for (index, (to, (socket, route))) in destinations.iter().enumerate() {
                let transport = &mut transports[*socket];
                let sent = if payload.len() > DATAGRAM_MAX {
                    transport.send_segments(payload, DATAGRAM_MAX, *to, route)
                } else {
                    transport.send(payload, *to, route)
                };
                if sent.is_err() {
                    // the relay tries again and learns why
                    unsent.push(index);
                }
            }
            job.state = State::Idle;
            self.changed.notify_all();
        }
    }
}

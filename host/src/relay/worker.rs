//! A second thread that sends its part of a large fan-out on another processor core.
//!
//! It is given its part when a fan-out begins, and the relay waits for it before the next one. So
//! each peer is sent its datagrams in order, and the relay knows which were not sent.

use core::num::NonZeroUsize;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use kilochat_core::DATAGRAM_MAX;

use super::transport::{Destination, Transport, send_some};
use super::turn::SEGMENTS_MAX;

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    #[cfg(target_os = "linux")]
    core: Core,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    job: Mutex<Job>,
    changed: Condvar,
}

/// The part of a fan-out to send. Its vectors have their full capacity from the start.
#[derive(Debug, Default)]
struct Job {
    state: State,
    payload: Vec<u8>,
    destinations: Vec<Destination>,
    /// Indexes of the destinations to which nothing was sent.
    unsent: Vec<usize>,
    /// A change of the relay's sockets that the thread has not made yet.
    change: Option<Change>,
}

/// A change of the relay's sockets.
#[derive(Debug)]
enum Change {
    /// A socket was added after the others.
    Opened(Transport),
    /// The socket with this index was closed, and the last one has taken its index.
    Closed(usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// There is nothing to do.
    #[default]
    Idle,
    Begun,
    Ended,
}

impl Worker {
    /// Starts the thread if there is a processor core for it. It sends to at most `destinations`.
    pub(super) fn start(transports: &[Transport], destinations: usize) -> Option<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        (cores > 1)
            .then(|| Self::start_thread(transports, SEGMENTS_MAX * DATAGRAM_MAX, destinations).ok())
            .flatten()
    }

    /// Starts the thread. It sends payloads of at most `payload` bytes to at most `destinations`.
    ///
    /// # Errors
    ///
    /// If the system has no thread, or no handle for the sockets, left.
    fn start_thread(
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
                change: None,
            }),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        #[cfg(target_os = "linux")]
        let (sender, id) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("send".into())
            .spawn(move || {
                #[cfg(target_os = "linux")]
                if sender.send(nix::unistd::gettid()).is_err() {
                    return;
                }
                theirs.send_all(transports);
            })?;
        Ok(Self {
            shared,
            #[cfg(target_os = "linux")]
            core: Core {
                thread: id.recv().map_err(io::Error::other)?,
                avoided: None,
            },
            thread: Some(thread),
        })
    }

    /// Reports that the relay has opened a socket after the others; `transport` is another handle
    /// of it.
    pub(super) fn open(&mut self, transport: Transport) {
        self.change(Change::Opened(transport));
    }

    /// Reports that the relay has closed the socket with this index, and that the last socket has
    /// taken its index.
    pub(super) fn close(&mut self, index: usize) {
        self.change(Change::Closed(index));
    }

    /// Waits for the thread to make the change: while it holds a handle of a closed socket, the
    /// kernel still delivers datagrams to that socket.
    fn change(&mut self, change: Change) {
        let mut job = self.shared.lock();
        job.change = Some(change);
        self.shared.changed.notify_all();
        drop(
            self.shared
                .changed
                .wait_while(job, |job| job.change.is_some()),
        );
    }

    /// Starts to send `payload` to all `destinations`.
    pub(super) fn begin(&mut self, payload: &[u8], destinations: &[Destination]) {
        #[cfg(target_os = "linux")]
        self.core.avoid_ours();
        let mut job = self.shared.lock();
        job.payload.clear();
        job.payload.extend_from_slice(payload);
        job.destinations.clear();
        job.destinations.extend_from_slice(destinations);
        job.state = State::Begun;
        self.shared.changed.notify_all();
    }

    /// Waits until the thread has finished, and calls `each` with the index of each destination to
    /// which nothing was sent.
    pub(super) fn finish(&self, each: impl FnMut(usize)) {
        let job = self.shared.lock();
        let job = self
            .shared
            .changed
            .wait_while(job, |job| job.state == State::Begun)
            .unwrap_or_else(PoisonError::into_inner);
        job.unsent.iter().copied().for_each(each);
    }
}

/// Keeps the worker's thread off the processor core of the relay's thread: a thread that is woken up
/// might otherwise take the core of the thread that wakes it.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Core {
    thread: nix::unistd::Pid,
    avoided: Option<usize>,
}

#[cfg(target_os = "linux")]
impl Core {
    /// Moves the worker's thread off the core on which the calling thread runs.
    fn avoid_ours(&mut self) {
        use nix::sched::{sched_getaffinity, sched_getcpu, sched_setaffinity};
        use nix::unistd::Pid;

        let ours = sched_getcpu().ok();
        if ours == self.avoided {
            return;
        }
        // if it fails the two threads may share a core, which is only slower
        let _ = sched_getaffinity(Pid::from_raw(0)).and_then(|mut cores| {
            cores.unset(ours.unwrap_or_default())?;
            sched_setaffinity(self.thread, &cores)
        });
        self.avoided = ours;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().state = State::Ended;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // the thread has ended, or it panicked and printed that
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
                .wait_while(self.lock(), |job| {
                    job.state == State::Idle && job.change.is_none()
                })
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(change) = job.change.take() {
                match change {
                    Change::Opened(transport) => transports.push(transport),
                    Change::Closed(index) => drop(transports.swap_remove(index)),
                }
                self.changed.notify_all();
            }
            if job.state == State::Idle {
                continue;
            }
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
            let mut done = 0;
            while done < destinations.len() {
                match send_some(&mut transports, payload, &destinations[done..]) {
                    Ok(sent) => done += sent,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        unsent.extend(done..destinations.len());
                        break;
                    }
                    // the relay tries again and gets the error
                    Err(_) => {
                        unsent.push(done);
                        done += 1;
                    }
                }
            }
            job.state = State::Idle;
            self.changed.notify_all();
        }
    }
}

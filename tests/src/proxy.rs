//! A UDP proxy that loses, duplicates, delays and reorders datagrams, as a seed determines.
//!
//! Clients send to the proxy instead of the relay. The proxy has an upstream socket for each client
//! address, so the relay sees as many sources as there are clients. Datagrams of any length pass
//! unchanged. A *lane* is one direction of one client. The n-th datagram of a lane has the same fate
//! whenever the seed and the [`Faults`] are the same. Lanes are numbered in the order of the clients'
//! first datagrams.
//!
//! - Lost datagrams are dropped when they arrive. So are all that arrive in a blackout; those that
//!   are already in flight are still forwarded.
//! - A copy is sent with its datagram, or later by up to the delay and the jitter.
//! - To be reordered, a datagram is held back after its delay until a later one of its lane was sent,
//!   and is sent then. If none is sent within [`Faults::hold`], the datagram is sent alone, and does
//!   not count as reordered. A datagram that was overtaken because of the jitter does count. So the
//!   counter is what a reader at the other end sees, without copies.
//!
//! ```
//! use std::net::UdpSocket;
//!
//! use kilochat_tests::proxy::{Faults, Proxy};
//!
//! let relay = UdpSocket::bind("127.0.0.1:0")?;
//! let free = "127.0.0.1:0".parse().expect("an address");
//! let proxy = Proxy::start(free, relay.local_addr()?, Faults::NONE, 7)?;
//! let client = UdpSocket::bind("127.0.0.1:0")?;
//! client.send_to(b"hello", proxy.address())?;
//! let (length, source) = relay.recv_from(&mut [0; 1024])?;
//! assert_eq!(length, 5);
//! assert_eq!(source.port(), proxy.clients()[0].upstream.port());
//! # Ok::<(), std::io::Error>(())
//! ```

mod faults;
mod lane;
mod network;
mod traffic;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use mio::{Events, Poll, Token, Waker};

pub use faults::Faults;
use network::Network;
pub use traffic::{Totals, Traffic};

const WAKE: Token = Token(1);
/// Size of a buffer that holds any UDP payload.
const BUFFER: usize = 1 << 16;

/// A running proxy, on a thread of its own. On drop it stops, and datagrams in flight are lost.
///
/// Settings take effect before the methods that make them return.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Mutex<Network>>,
    is_stopped: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// A client of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its source address.
    pub address: SocketAddr,
    /// The local address of its upstream socket. The relay sees the port; the system chooses the IP
    /// address.
    pub upstream: SocketAddr,
    /// Datagrams from the client.
    pub up: Traffic,
    /// Datagrams to the client.
    pub down: Traffic,
}

/// What the proxy does with the old port of a client that was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldPort {
    /// It is closed, so the relay's system reports "port unreachable".
    Closed,
    /// Datagrams to it are dropped, as by a NAT whose mapping has expired.
    Silent,
    /// Datagrams to it are still forwarded to the client.
    Open,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Up,
    Down,
}

impl Proxy {
    /// Starts a proxy on `listen` (port 0 chooses a free one) in front of `to`.
    ///
    /// # Errors
    ///
    /// If the address cannot be used, or the system has no thread left.
    pub fn start(
        listen: SocketAddr,
        to: SocketAddr,
        faults: Faults,
        seed: u64,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let registry = poll.registry().try_clone()?;
        let network = Network::new(listen, to, faults, seed, registry)?;
        let address = network.address()?;
        let network = Arc::new(Mutex::new(network));
        let is_stopped = Arc::new(AtomicBool::new(false));
        let thread = {
            let (network, is_stopped) = (Arc::clone(&network), Arc::clone(&is_stopped));
            std::thread::Builder::new()
                .name("proxy".into())
                .spawn(move || run(poll, &network, &is_stopped))?
        };
        Ok(Self {
            address,
            network,
            is_stopped,
            waker,
            thread: Some(thread),
        })
    }

    /// Returns the address for clients.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the faults for datagrams that arrive from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.network().faults = faults;
    }

    /// Starts or ends a blackout, in which all datagrams in both directions are dropped.
    pub fn set_blackout(&self, is_blackout: bool) {
        self.network().is_blackout = is_blackout;
    }

    /// Gives a client a new upstream port.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such client yet. Other errors: the system gave no socket, and the
    /// client keeps its port.
    pub fn move_client(&self, client: SocketAddr, old: OldPort) -> io::Result<()> {
        self.network().move_client(client, old)
    }

    /// Returns all clients in the order of their first datagrams.
    pub fn clients(&self) -> Vec<Client> {
        self.network().clients()
    }

    /// Returns the sums over all datagrams so far.
    pub fn totals(&self) -> Totals {
        self.network().totals()
    }

    fn network(&self) -> MutexGuard<'_, Network> {
        self.network.lock().expect("the proxy runs")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let woken = self.waker.wake();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            woken.expect("the proxy can be woken");
            assert!(matches!(ended, Some(Ok(()))), "the proxy failed");
        }
    }
}

fn run(mut poll: Poll, network: &Mutex<Network>, is_stopped: &AtomicBool) {
    let mut events = Events::with_capacity(256);
    let mut buffer = vec![0; BUFFER];
    let lock = || network.lock().expect("no caller panics");
    while !is_stopped.load(Ordering::Relaxed) {
        let timeout = lock().poll_timeout();
        let timeout = timeout.map(|due| due.saturating_duration_since(Instant::now()));
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.expect("the system can wait for sockets"),
        }
        let mut network = lock();
        for event in &events {
            network.handle_readable(event.token(), &mut buffer);
        }
        network.transmit(Instant::now());
    }
}

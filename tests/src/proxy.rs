//! A UDP proxy that loses, doubles, delays and reorders, as a seed decides.
//!
//! Clients go to the proxy instead of the relay. Each client address gets a socket of its own
//! towards the relay, which so sees as many sources as there are clients. Datagrams of any length
//! pass unchanged. A *lane* is one direction of one client; the n-th datagram of a lane meets the
//! same fate whenever the seed and the [`Faults`] are the same. Lanes are numbered in the order in
//! which clients are first heard.
//!
//! - Lost datagrams are dropped when they come. So are all that come in a blackout; those that
//!   are under way already still arrive.
//! - A copy goes with its datagram, or later by up to the delay and the jitter.
//! - To reorder, a datagram is held back, after its delay, until a later one of its lane has gone,
//!   and follows that one. When none goes within [`Faults::hold`], it goes by itself: then it has
//!   not been reordered, and does not count as such. A datagram that was overtaken because of the
//!   jitter counts. So the count is what a reader of the other end sees, copies left out.
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
/// Longer than any UDP payload.
const BUFFER: usize = 1 << 16;

/// A running proxy, on a thread of its own; dropped, it stops, and what is under way is lost.
///
/// What its methods set holds from their return on.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Mutex<Network>>,
    is_stopped: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// A client as the proxy knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where it sends from.
    pub address: SocketAddr,
    /// The local address of the socket for it, whose port is the one the relay sees; the IP
    /// address is the one that the system chose.
    pub upstream: SocketAddr,
    /// What it sent.
    pub up: Traffic,
    /// What was sent to it.
    pub down: Traffic,
}

/// What becomes of a port that a client was moved from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldPort {
    /// It is closed: the relay is told that nobody listens there.
    Closed,
    /// It swallows what comes, as a NAT does that has forgotten it.
    Silent,
    /// What comes there still goes to the client.
    Open,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Up,
    Down,
}

impl Proxy {
    /// Starts one on `listen` (port 0 takes a free one) in front of `to`.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or there is no thread.
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

    /// Where clients go.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what befalls the datagrams that come from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.network().faults = faults;
    }

    /// In a blackout, everything that comes is dropped, in both directions.
    pub fn set_blackout(&self, is_blackout: bool) {
        self.network().is_blackout = is_blackout;
    }

    /// Gives a client a new port towards the relay.
    ///
    /// # Errors
    ///
    /// `NotFound`: there is no such client yet. Others: no socket is to be had; the old one stays.
    pub fn move_client(&self, client: SocketAddr, old: OldPort) -> io::Result<()> {
        self.network().move_client(client, old)
    }

    /// Every client, in the order in which they came.
    pub fn clients(&self) -> Vec<Client> {
        self.network().clients()
    }

    /// What became of all datagrams until now.
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

//! The ports of a conversation: one for each path of its dialect, opened when it is needed.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use kilochat_core::Path;

use super::event::Event;
use crate::port::{self, Port};

/// The most datagrams that wait to be shown; then the socket's own buffer fills.
const BACKLOG_MAX: usize = 4096;

/// Ports to one address.
pub(super) struct Ports {
    /// That address.
    pub(super) address: SocketAddr,
    open: Vec<(Path, usize, Port)>,
    /// How many were opened, those that are not used any more included.
    opened: usize,
    /// Where this machine sends from, as far as it is known.
    local: Option<IpAddr>,
    sender: Sender<Event>,
    backlog: Arc<AtomicUsize>,
}

impl Ports {
    /// No port yet; what arrives at them is given to `sender`.
    pub(super) fn new(address: SocketAddr, sender: Sender<Event>) -> Self {
        Self {
            address,
            open: Vec::new(),
            opened: 0,
            local: None,
            sender,
            backlog: Arc::default(),
        }
    }

    /// Uses new ports from now on, to `address`. The old ones stay open: an old server goes on
    /// sending to them, and may not survive to be told that nobody listens.
    pub(super) fn renew(&mut self, address: SocketAddr) {
        self.address = address;
        self.open.clear();
        self.local = None;
    }

    /// Sends a datagram from the port `path`.
    ///
    /// # Errors
    ///
    /// Those of the network, perhaps about an earlier datagram.
    pub(super) fn send(&mut self, path: Path, payload: &[u8]) -> io::Result<()> {
        if let Some((_, _, port)) = self.open.iter().find(|(open, _, _)| *open == path) {
            return port.send(payload);
        }
        let number = self.opened;
        let (sender, backlog) = (self.sender.clone(), self.backlog.clone());
        let port = Port::open(self.address, move |arrived| {
            put(number, arrived, &sender, &backlog)
        })?;
        self.local = port::local_ip(self.address).ok();
        self.opened += 1;
        let sent = port.send(payload);
        self.open.push((path, number, port));
        sent
    }

    /// The path of the port with this number, if it is still used.
    pub(super) fn path(&self, number: usize) -> Option<Path> {
        let mut open = self.open.iter();
        open.find_map(|(path, open, _)| (*open == number).then_some(*path))
    }

    /// A datagram that was put into the channel was taken out.
    pub(super) fn handle_taken(&self) {
        self.backlog.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether this machine has another address now than when the ports were opened.
    pub(super) fn has_moved(&self) -> bool {
        let now = port::local_ip(self.address).ok();
        now.is_some() && self.local.is_some() && now != self.local
    }
}

fn put(
    number: usize,
    arrived: io::Result<&[u8]>,
    sender: &Sender<Event>,
    backlog: &AtomicUsize,
) -> bool {
    let event = match arrived {
        Ok(payload) => {
            while backlog.load(Ordering::Relaxed) >= BACKLOG_MAX {
                thread::sleep(Duration::from_millis(1));
            }
            backlog.fetch_add(1, Ordering::Relaxed);
            Event::Datagram(number, payload.to_vec())
        }
        Err(error) => Event::Network(number, error),
    };
    sender.send(event).is_ok()
}

//! The ports of a conversation: one for each path of its dialect, opened on first use.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use kilochat_core::Path;

use super::event::Event;
use crate::port::{self, Port};

/// Maximum number of received datagrams that wait to be handled. More stay in the socket's buffer.
const BACKLOG_MAX: usize = 4096;

/// Maximum number of unused ports that stay open: those on which an old server was sent frames, and
/// two more.
const OLD_MAX: usize = 8;

/// The ports to one address.
pub(super) struct Ports {
    /// The address of the relay.
    pub(super) address: SocketAddr,
    open: Vec<(Path, usize, Port)>,
    /// Ports that are not used any more, the oldest first.
    old: VecDeque<Port>,
    /// Number of ports opened so far, which is the number of the next one.
    opened: usize,
    /// The local address, if it is known.
    local: Option<IpAddr>,
    sender: Sender<Event>,
    backlog: Arc<AtomicUsize>,
}

impl Ports {
    /// Creates the set without a port. Received datagrams are sent to `sender`.
    pub(super) fn new(address: SocketAddr, sender: Sender<Event>) -> Self {
        Self {
            address,
            open: Vec::new(),
            old: VecDeque::new(),
            opened: 0,
            local: None,
            sender,
            backlog: Arc::default(),
        }
    }

    /// Uses new ports to `address` from now on. The previous ones stay open: an old server
    /// continues to send to them, and may crash if the system reports that they are closed.
    pub(super) fn renew(&mut self, address: SocketAddr) {
        self.address = address;
        self.old
            .extend(self.open.drain(..).map(|(_, _, port)| port));
        let surplus = self.old.len().saturating_sub(OLD_MAX);
        self.old.drain(..surplus);
        self.local = None;
    }

    /// Closes the unused ports if the process has no file descriptors left.
    fn make_room(&mut self, error: &io::Error) {
        if port::is_exhausted(error) {
            self.old.clear();
        }
    }

    /// Sends a datagram on `path`.
    ///
    /// # Errors
    ///
    /// If the network reports an error, perhaps about an earlier datagram.
    pub(super) fn send(&mut self, path: Path, payload: &[u8]) -> io::Result<()> {
        if let Some((_, _, port)) = self.open.iter().find(|(open, _, _)| *open == path) {
            return port.send(payload);
        }
        let number = self.opened;
        let (sender, backlog) = (self.sender.clone(), self.backlog.clone());
        let port = Port::open(self.address, move |arrived| {
            put(number, arrived, &sender, &backlog)
        })
        .inspect_err(|error| self.make_room(error))?;
        self.local = self.local_ip();
        self.opened += 1;
        let sent = port.send(payload);
        self.open.push((path, number, port));
        sent
    }

    /// Returns the path of the port with this number. Returns `None` if the port is not used any
    /// more.
    pub(super) fn path(&self, number: usize) -> Option<Path> {
        let mut open = self.open.iter();
        open.find_map(|(path, open, _)| (*open == number).then_some(*path))
    }

    /// Records that a datagram was taken from the channel.
    pub(super) fn handle_taken(&self) {
        self.backlog.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns whether the local address has changed since the ports were opened.
    pub(super) fn has_moved(&mut self) -> bool {
        let now = self.local_ip();
        now.is_some() && self.local.is_some() && now != self.local
    }

    fn local_ip(&mut self) -> Option<IpAddr> {
        port::local_ip(self.address)
            .inspect_err(|error| self.make_room(error))
            .ok()
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

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::net::UdpSocket;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn however_often_ports_are_renewed_only_the_last_ones_stay_open() {
        let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
        let patience = Some(Duration::from_secs(10));
        relay.set_read_timeout(patience).unwrap();
        let address = relay.local_addr().unwrap();
        let (sender, _receiver) = channel();
        let mut ports = Ports::new(address, sender);
        let mut used = Vec::new();
        for _ in 0..30 {
            for path in [Path(0), Path(1)] {
                ports.send(path, b"hello").unwrap();
                used.push(relay.recv_from(&mut [0; 8]).unwrap().1);
            }
            assert!(!ports.has_moved());
            ports.renew(address);
            assert!(ports.old.len() <= OLD_MAX);
        }
        let (closed, open) = used.split_at(used.len() - OLD_MAX);
        assert!(open.iter().all(|port| UdpSocket::bind(port).is_err()));
        let mut tries = 0;
        while !closed.iter().all(|port| UdpSocket::bind(port).is_ok()) {
            tries += 1;
            assert!(tries < 1000, "not closed");
            thread::sleep(Duration::from_millis(10));
        }
        // without file descriptors left, the unused ports are closed
        ports.make_room(&io::Error::from_raw_os_error(1));
        assert_eq!(ports.old.len(), OLD_MAX);
        #[cfg(unix)]
        ports.make_room(&io::Error::from_raw_os_error(nix::libc::EMFILE));
        #[cfg(unix)]
        assert_eq!(ports.old.len(), 0);
    }
}

//! The ports of a conversation: one for each path of its dialect, opened when it is needed.

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

/// The most datagrams that wait to be shown; then the socket's own buffer fills.
const BACKLOG_MAX: usize = 4096;

/// The most ports that stay open although they are not used any more: those from which an old server
/// was asked for frames, and some.
const OLD_MAX: usize = 8;

/// Ports to one address.
pub(super) struct Ports {
    /// That address.
    pub(super) address: SocketAddr,
    open: Vec<(Path, usize, Port)>,
    /// Those that are not used any more, the oldest first.
    old: VecDeque<Port>,
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
            old: VecDeque::new(),
            opened: 0,
            local: None,
            sender,
            backlog: Arc::default(),
        }
    }

    /// Uses new ports from now on, to `address`. The last ones stay open: an old server goes on
    /// sending to them, and may not survive to be told that nobody listens.
    pub(super) fn renew(&mut self, address: SocketAddr) {
        self.address = address;
        self.old
            .extend(self.open.drain(..).map(|(_, _, port)| port));
        let surplus = self.old.len().saturating_sub(OLD_MAX);
        self.old.drain(..surplus);
        self.local = None;
    }

    /// Where there are no descriptors left, an old server has to do without the old ports.
    fn make_room(&mut self, error: &io::Error) {
        if port::is_exhausted(error) {
            self.old.clear();
        }
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
        })
        .inspect_err(|error| self.make_room(error))?;
        self.local = self.local_ip();
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
        // where there are no descriptors left, the last ones go, too
        ports.make_room(&io::Error::from_raw_os_error(1));
        assert_eq!(ports.old.len(), OLD_MAX);
        #[cfg(unix)]
        ports.make_room(&io::Error::from_raw_os_error(nix::libc::EMFILE));
        #[cfg(unix)]
        assert_eq!(ports.old.len(), 0);
    }
}

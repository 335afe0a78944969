//! Plain peers that say and read numbers.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

/// Length of a line at the place where it was said, in bytes.
const LINE: usize = 64;

/// Size of a peer's receive buffer, large enough that nothing is lost there.
const BUFFER: usize = 4 << 20;

/// Time without a line after which a measurement has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A peer that says numbers, and reads those of one author.
#[derive(Debug)]
pub(crate) struct Peer {
    socket: UdpSocket,
    name: String,
    /// What stands before the numbers that it reads.
    before: String,
    /// The next number to say, and the next one to read.
    pub(crate) said: u64,
    pub(crate) next: u64,
    pub(crate) faults: Faults,
    /// When the last number came.
    pub(crate) last: Instant,
}

/// Lines that are not as they must be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) missing: u64,
    /// Twice, or after a later one.
    pub(crate) doubled: u64,
    /// Notices that lines are lost or left out.
    pub(crate) told: u64,
}

impl Peer {
    /// Joins a relay as `name`, and reads what `author` says.
    pub(crate) fn join(relay: SocketAddr, name: &str, author: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        SockRef::from(&socket).set_recv_buffer_size(BUFFER).unwrap();
        socket.connect(relay).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(name.as_bytes()).unwrap();
        let mut buffer = [0; 2048];
        while !buffer.starts_with(b"* welcome") {
            socket.recv(&mut buffer).expect("a welcome");
        }
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            name: name.into(),
            before: format!("{author} : "),
            said: 0,
            next: 0,
            faults: Faults::default(),
            last: Instant::now(),
        }
    }

    /// Says the next number.
    pub(crate) fn say(&mut self) {
        let Self { name, said, .. } = self;
        let text = format!("{said:08} {}", "x".repeat(LINE - name.len() - 12));
        // fails while the socket's buffer is full
        while self.socket.send(text.as_bytes()).is_err() {
            std::thread::yield_now();
        }
        self.said += 1;
    }

    /// Reads what is there. Returns whether it was any.
    pub(crate) fn read(&mut self) -> bool {
        let mut has_any = false;
        let mut buffer = [0; 2048];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.take(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return has_any,
                Err(error) => panic!("{}: {error}", self.name),
            }
            has_any = true;
        }
    }

    fn take(&mut self, datagram: &[u8]) {
        for line in datagram.split(|byte| *byte == b'\n') {
            let Some(text) = line.strip_prefix(self.before.as_bytes()) else {
                let line = String::from_utf8_lossy(line);
                let is_told = line.starts_with("* ") && line.contains(" line");
                self.faults.told += u64::from(is_told);
                continue;
            };
            let digits = text.get(..8).unwrap_or_default();
            let number = digits
                .iter()
                .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            if number < self.next {
                self.faults.doubled += 1;
                continue;
            }
            self.faults.missing += number - self.next;
            self.next = number + 1;
            self.last = Instant::now();
        }
    }

    /// Waits until it has read this number of numbers.
    ///
    /// # Panics
    ///
    /// If nothing comes for too long.
    pub(crate) fn read_until(&mut self, next: u64) {
        while self.next < next {
            wait(&mut [self]);
        }
    }
}

/// Reads, and waits until one of these peers has something.
///
/// # Panics
///
/// If nothing comes for too long.
pub(crate) fn wait(peers: &mut [&mut Peer]) {
    let is_over = wait_for(peers, PATIENCE);
    let names: Vec<_> = peers.iter().map(|peer| &peer.before).collect();
    assert!(is_over, "nothing comes any more of {names:?}");
}

/// Waits until one of these peers has something, and reads all. Returns whether one had.
pub(crate) fn wait_for(peers: &mut [&mut Peer], time: Duration) -> bool {
    let mut sockets: Vec<PollFd<'_>> = peers
        .iter()
        .map(|peer| PollFd::new(peer.socket.as_fd(), PollFlags::POLLIN))
        .collect();
    let time = PollTimeout::try_from(time).unwrap();
    if poll(&mut sockets, time).unwrap() == 0 {
        return false;
    }
    for peer in peers {
        peer.read();
    }
    true
}

impl Faults {
    pub(crate) fn all(self) -> u64 {
        self.missing + self.doubled + self.told
    }
}

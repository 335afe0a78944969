//! A page without a browser: the core's client over a WebSocket.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_core::State;
use kilochat_tests::{FramedPeer, PATIENCE, RelayProgram};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use crate::PROGRAM;

pub(crate) type Socket = WebSocket<TcpStream>;

/// Opens a WebSocket. The error is the server's answer.
pub(crate) fn connect(address: SocketAddr) -> Result<Socket, String> {
    let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_nodelay(true).expect("it is open");
    let opened = tungstenite::client(format!("ws://{address}/ws"), stream);
    opened
        .map(|(socket, _)| socket)
        .map_err(|error| error.to_string())
}

/// Waits until a condition is true.
pub(crate) fn eventually(mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(
            Instant::now() < deadline,
            "the condition did not become true"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts `kilochat web`. Its address is the one on which it listens.
pub(crate) fn gateway(arguments: &[&str]) -> RelayProgram {
    let mut command = Command::new(PROGRAM);
    command.arg("web").args(arguments);
    RelayProgram::spawn_listening(
        command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        "page for browsers on this machine: http://",
    )
}

/// A client in a room.
pub(crate) struct Page {
    pub(crate) peer: FramedPeer,
    socket: Socket,
    start: Instant,
}

impl Page {
    /// Creates a page that has a seat.
    pub(crate) fn join(gateway: SocketAddr, name: &str) -> Self {
        let mut page = Self {
            peer: FramedPeer::new(name, fastrand::u64(..)),
            socket: open(gateway),
            start: Instant::now(),
        };
        Self::run_until(core::slice::from_mut(&mut page), |page| {
            page.peer.client().state() == State::Joined
        });
        page
    }

    /// Opens a new connection, as a browser does when the old one is closed.
    pub(crate) fn reconnect(&mut self, gateway: SocketAddr) {
        self.socket = open(gateway);
        let now = self.now();
        self.peer.client().reconnect(now);
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.peer.post(text);
        self.run();
    }

    /// Returns the number of lines that contain `text`.
    pub(crate) fn heard(&self, text: &str) -> usize {
        let lines = self.peer.lines.iter();
        lines.filter(|(_, line)| line.contains(text)).count()
    }

    /// Returns whether one of the last lines contains `text`.
    pub(crate) fn has_heard(&self, text: &str) -> bool {
        let mut lines = self.peer.lines.iter().rev().take(100);
        lines.any(|(_, line)| line.contains(text))
    }

    /// Returns whether all its texts are answered.
    pub(crate) fn is_settled(&mut self) -> bool {
        self.peer.client().unanswered() == 0
    }

    fn now(&self) -> kilochat_core::Instant {
        let elapsed = self.start.elapsed().as_millis();
        kilochat_core::Instant::from_millis(elapsed.try_into().expect("a short test"))
    }

    /// Sends and receives what is due. Returns whether the connection is open.
    pub(crate) fn run(&mut self) -> bool {
        let mut is_open = true;
        loop {
            let now = self.now();
            for datagram in self.peer.poll(now) {
                is_open &= self.socket.send(Message::binary(datagram)).is_ok();
            }
            match self.socket.read() {
                Ok(Message::Binary(datagram)) => {
                    self.peer.receive(now, &datagram);
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return is_open,
                Err(_) => return false,
            }
        }
    }

    /// Runs pages until each of them is done.
    pub(crate) fn run_until(pages: &mut [Self], mut is_done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE * 2;
        loop {
            let mut all = true;
            for page in &mut *pages {
                assert!(page.run(), "the connection was closed");
                all &= is_done(page);
            }
            if all {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the condition did not become true"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Runs until the gateway closes the connection. Returns the reason.
    pub(crate) fn read_close(&mut self) -> Option<CloseCode> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let now = self.now();
            for datagram in self.peer.poll(now) {
                // fails if the connection is closed already
                let _ = self.socket.send(Message::binary(datagram));
            }
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(_) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
        panic!("it was not closed");
    }
}

fn open(gateway: SocketAddr) -> Socket {
    let mut socket = connect(gateway).expect("there is a place");
    socket.get_mut().set_nonblocking(true).expect("it is open");
    socket
}

//! Peers. No peer blocks in its socket: a sender would pay for waking it, and how often that
//! happens depends on which of the two is faster at the moment.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Instant;

use socket2::SockRef;

use crate::stream::Protocol;

/// Size of the receive buffer of a peer's socket in bytes, large enough that no loss happens there.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Maximum time for a server's reply to a peer that joins.
const PATIENCE: Duration = Duration::from_secs(10);

/// A peer that has joined a server.
pub(crate) trait Client {
    /// Says a text.
    fn say(&mut self, text: &[u8]) -> io::Result<()>;

    /// Receives once without blocking, and passes on each text. Returns whether there was
    /// something.
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<bool>;

    /// Sends what is due.
    fn tick(&mut self, _now: Instant) -> io::Result<()> {
        Ok(())
    }

    /// Sends what would be due later, because the run is over.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A peer of a server on UDP.
#[derive(Debug)]
pub(crate) struct Plain {
    socket: UdpSocket,
    /// Length of the author's name before each text, in bytes.
    prefix: usize,
    /// Length of a line with the name, in bytes.
    line: usize,
}

impl Plain {
    /// Creates a peer and sends its name. If `answered`, waits for the welcome.
    pub(crate) fn join(
        server: SocketAddr,
        name: &str,
        (prefix, line): (usize, usize),
        answered: bool,
    ) -> io::Result<Self> {
        let socket = udp_socket(server)?;
        if answered {
            join_plain(&socket, name)?;
        } else {
            socket.send(name.as_bytes())?;
        }
        Ok(Self {
            socket,
            prefix,
            line,
        })
    }
}

impl Client for Plain {
    fn say(&mut self, text: &[u8]) -> io::Result<()> {
        patiently(|| self.socket.send(text)).map(drop)
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let mut buffer = [0; 2048];
        let Some(length) = there(self.socket.recv(&mut buffer))? else {
            return Ok(false);
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            // tries the usual length first: a search for the line end would take most of the time
            let end = if rest.get(self.line).is_none_or(|byte| *byte == b'\n') && rest[0] != b'*' {
                self.line.min(rest.len())
            } else {
                let end = rest.iter().position(|byte| *byte == b'\n');
                end.unwrap_or(rest.len())
            };
            let line = &rest[..end];
            if !line.starts_with(b"* ") {
                each(line.get(self.prefix..).unwrap_or_default());
            }
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        Ok(true)
    }
}

/// A peer of a server on TCP.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    protocol: Protocol,
    buffer: Vec<u8>,
    /// Number of bytes in the buffer that are not decoded yet.
    filled: usize,
    message: Vec<u8>,
}

impl Stream {
    /// Creates a peer and waits until the server knows it.
    pub(crate) fn join(server: SocketAddr, name: &str, protocol: Protocol) -> io::Result<Self> {
        let mut socket = TcpStream::connect(server)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        protocol.join(&mut socket, name)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            protocol,
            buffer: vec![0; 1 << 16],
            filled: 0,
            message: Vec::new(),
        })
    }
}

impl Client for Stream {
    fn say(&mut self, text: &[u8]) -> io::Result<()> {
        self.message.clear();
        self.protocol.encode(text, &mut self.message);
        let mut rest = &self.message[..];
        while !rest.is_empty() {
            let written = patiently(|| self.socket.write(rest))?;
            rest = &rest[written..];
        }
        Ok(())
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let Some(length) = there(self.socket.read(&mut self.buffer[self.filled..]))? else {
            return Ok(false);
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += length;
        let done = self.protocol.decode(&self.buffer[..self.filled], each);
        self.buffer.copy_within(done..self.filled, 0);
        self.filled -= done;
        Ok(true)
    }
}

/// Returns a socket that is connected to a server and does not block.
pub(crate) fn udp_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends a name and waits for the welcome.
pub(crate) fn join_plain(socket: &UdpSocket, name: &str) -> io::Result<()> {
    socket.send(name.as_bytes())?;
    let mut buffer = [0; 2048];
    let mut length = 0;
    while !buffer[..length].starts_with(b"* welcome") {
        length = patiently(|| socket.recv(&mut buffer))?;
    }
    Ok(())
}

/// Returns the number of bytes that were received, or `None` if the socket would block.
pub(crate) fn there(received: io::Result<usize>) -> io::Result<Option<usize>> {
    match received {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Repeats a call until it does not block.
pub(crate) fn patiently(mut what: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match there(what())? {
            Some(length) => return Ok(length),
            None if Instant::now() > deadline => return Err(io::ErrorKind::TimedOut.into()),
            None => {}
        }
    }
}

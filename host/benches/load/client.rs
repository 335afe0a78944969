//! Peers, each with a socket of its own that is never waited for: whoever sends to a socket that
//! somebody waits for pays for waking him, and how often depends on who is faster at the moment.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Instant;

use socket2::SockRef;

use crate::stream::Protocol;

/// Bytes of receive buffer of a peer's socket: enough that a loss is not its own.
const RECEIVE_BUFFER: usize = 1 << 20;

/// How long a server may take to answer a peer that joins.
const PATIENCE: Duration = Duration::from_secs(10);

/// A peer that joined a server.
pub(crate) trait Client {
    /// Says a text.
    fn say(&mut self, text: &[u8]) -> io::Result<()>;

    /// Receives once, if something is there, and hands on each text; returns whether something was.
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<bool>;

    /// Does what is due.
    fn tick(&mut self, _now: Instant) -> io::Result<()> {
        Ok(())
    }

    /// Does now what would be due later: it is over.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A peer of a relay on datagrams.
#[derive(Debug)]
pub(crate) struct Plain {
    socket: UdpSocket,
    /// Bytes in front of each text.
    prefix: usize,
    /// Bytes of a line with its prefix.
    line: usize,
}

impl Plain {
    /// A peer that has said its name; it goes on when `answered` with a welcome.
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
            // the usual line first: to look for its end would take longer than all else
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
    /// How much of the buffer has been read and is not done with.
    filled: usize,
    message: Vec<u8>,
}

impl Stream {
    /// A peer that the server knows.
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

/// A socket that talks to a server, and is never waited for.
pub(crate) fn udp_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Says a name, and waits for a welcome.
pub(crate) fn join_plain(socket: &UdpSocket, name: &str) -> io::Result<()> {
    socket.send(name.as_bytes())?;
    let mut buffer = [0; 2048];
    let mut length = 0;
    while !buffer[..length].starts_with(b"* welcome") {
        length = patiently(|| socket.recv(&mut buffer))?;
    }
    Ok(())
}

/// What was received, or nothing when nothing was there.
pub(crate) fn there(received: io::Result<usize>) -> io::Result<Option<usize>> {
    match received {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tries until the system takes or gives something.
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

//! One connection of a browser: a request head, then an answer or a WebSocket. It reads and writes a
//! non-blocking stream, and knows nothing of other connections.

use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use super::http::{self, Names, Parsed};
use super::socket::Socket;

/// Maximum time from the connection to the end of the request head.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Maximum time without progress while an answer is sent.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Limits of the time and of the bytes for which a connection is read after its answer. Closing it
/// with unread bytes might lose the answer (RFC 9112 section 9.6).
const ENDING_TIME: Duration = Duration::from_secs(2);
const ENDING_MAX: usize = 64 << 10;

/// Number of bytes of a head that are read at once.
const PIECE: usize = 2 << 10;

/// A stream whose sending half can be closed.
pub(super) trait Stream: Read + Write {
    /// Tells the other end that nothing more will be sent.
    fn shut(&mut self);
}

impl Stream for mio::net::TcpStream {
    fn shut(&mut self) {
        // fails if the other end has closed the connection
        let _ = self.shutdown(std::net::Shutdown::Write);
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Connection<S> {
    /// The head has not arrived yet.
    Head {
        stream: S,
        bytes: Vec<u8>,
        until: Instant,
    },
    /// An answer is sent. Afterwards it is a WebSocket if there is one.
    Answer {
        stream: S,
        bytes: Vec<u8>,
        sent: usize,
        until: Instant,
        socket: Option<Vec<u8>>,
    },
    /// Everything was sent. Bytes that still arrive are dropped.
    Ending {
        stream: S,
        until: Instant,
        left: usize,
    },
    /// A WebSocket.
    Socket(Box<Socket<S>>),
    /// The connection is closed.
    Closed,
}

impl<S: Stream> Connection<S> {
    /// Returns the state of a connection that was just accepted.
    pub(super) fn new(now: Instant, stream: S) -> Self {
        Self::Head {
            stream,
            bytes: Vec::new(),
            until: now + HEAD_TIME,
        }
    }

    /// Reads the head as far as it has arrived. Returns it when it is complete; then
    /// [`answer`](Self::answer) or [`upgrade`](Self::upgrade) must follow.
    pub(super) fn poll_head(&mut self, names: &Names) -> Option<Parsed> {
        let Self::Head { stream, bytes, .. } = self else {
            return None;
        };
        let mut piece = [0; PIECE];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => bytes.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => break,
            }
            match http::parse(bytes, names) {
                Parsed::Partial => {}
                Parsed::Request { request, length } => {
                    bytes.drain(..length);
                    return Some(Parsed::Request { request, length });
                }
                rejected @ Parsed::Rejected(_) => return Some(rejected),
            }
        }
        *self = Self::Closed;
        None
    }

    /// Starts to send an answer, after which the connection is closed.
    pub(super) fn answer(&mut self, now: Instant, bytes: Vec<u8>) {
        self.begin(now, bytes, false);
    }

    /// Starts to send an answer, after which the connection is a WebSocket.
    pub(super) fn upgrade(&mut self, now: Instant, bytes: Vec<u8>) {
        self.begin(now, bytes, true);
    }

    fn begin(&mut self, now: Instant, bytes: Vec<u8>, is_socket: bool) {
        let Self::Head {
            stream,
            bytes: rest,
            ..
        } = core::mem::replace(self, Self::Closed)
        else {
            return;
        };
        *self = Self::Answer {
            stream,
            bytes,
            sent: 0,
            until: now + ANSWER_TIME,
            socket: is_socket.then_some(rest),
        };
        self.handle_ready(now);
    }

    /// Handles that the stream is readable or writable: sends the answer, or drops what arrives
    /// after it.
    pub(super) fn handle_ready(&mut self, now: Instant) {
        if let Self::Answer { .. } = self {
            self.send_answer(now);
        }
        let Self::Ending { stream, left, .. } = self else {
            return;
        };
        let mut piece = [0; PIECE];
        loop {
            match stream.read(&mut piece) {
                Ok(length @ 1..) if length <= *left => *left -= length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => break,
            }
        }
        *self = Self::Closed;
    }

    fn send_answer(&mut self, now: Instant) {
        let Self::Answer {
            stream,
            bytes,
            sent,
            until,
            ..
        } = self
        else {
            return;
        };
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(length @ 1..) => {
                    *sent += length;
                    *until = now + ANSWER_TIME;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {
                    *self = Self::Closed;
                    return;
                }
            }
        }
        let Self::Answer {
            mut stream, socket, ..
        } = core::mem::replace(self, Self::Closed)
        else {
            return;
        };
        *self = match socket {
            Some(rest) => Self::Socket(Box::new(Socket::new(now, stream, rest))),
            None => {
                stream.shut();
                Self::Ending {
                    stream,
                    until: now + ENDING_TIME,
                    left: ENDING_MAX,
                }
            }
        };
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout).
    pub(super) fn timeout(&self) -> Option<Instant> {
        match self {
            Self::Head { until, .. } | Self::Answer { until, .. } | Self::Ending { until, .. } => {
                Some(*until)
            }
            Self::Socket(socket) => Some(socket.timeout()),
            Self::Closed => None,
        }
    }

    /// Handles the time-outs that have passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Head { until, .. } | Self::Answer { until, .. } | Self::Ending { until, .. } => {
                if now >= *until {
                    *self = Self::Closed;
                }
            }
            Self::Socket(socket) => socket.handle_timeout(now),
            Self::Closed => {}
        }
        self.take_end();
    }

    /// Closes the connection if its WebSocket has ended.
    pub(super) fn take_end(&mut self) {
        if let Self::Socket(socket) = self
            && socket.has_ended()
        {
            *self = Self::Closed;
        }
    }

    /// Returns whether nothing is left to do.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Returns whether the head has not arrived yet.
    pub(super) const fn is_head(&self) -> bool {
        matches!(self, Self::Head { .. })
    }

    /// Returns the stream.
    pub(super) fn stream_mut(&mut self) -> Option<&mut S> {
        match self {
            Self::Head { stream, .. }
            | Self::Answer { stream, .. }
            | Self::Ending { stream, .. } => Some(stream),
            Self::Socket(socket) => Some(socket.stream_mut()),
            Self::Closed => None,
        }
    }
}

/// Returns whether an error only means that the call would block.
pub(super) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
pub(super) mod tests;

//! The WebSocket of a page. Each binary message is a datagram; its limits keep one page from delaying
//! the others.

use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use kilochat_core::DATAGRAM_MAX;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, WebSocket};

use super::connection::{Stream, is_temporary};

/// Sizes of the buffers of a WebSocket in bytes. Written bytes are sent when there are more than
/// `WRITE_SOON`, and in any case at the end of a turn.
const READ_BUFFER: usize = 2 << 10;
const WRITE_SOON: usize = 4 << 10;
const WRITE_BUFFER_MAX: usize = 16 << 10;

/// Maximum number of bytes that are read from a page in a turn.
const TURN_BYTES: usize = 16 << 10;

/// Time between two pings.
const PING: Duration = Duration::from_secs(25);

/// Time without a byte from the page, or without progress in sending to it, after which it counts
/// as gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Time for the page's answer to a close frame.
const CLOSING: Duration = Duration::from_secs(2);

/// Number of messages that a page may send at once, and the interval for further ones. Messages
/// beyond that are read later.
const BURST: u32 = 200;
const EACH: Duration = Duration::from_millis(10);

/// The result of reading from a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A datagram for the relay.
    Datagram(Bytes),
    /// A message that is not a frame of the dialect. It is dropped.
    Plain,
    /// A message, or a part of one, that was longer than a datagram. The socket is closing.
    TooLong,
    /// A message of text. The socket is closing.
    Text,
    /// Nothing more at present.
    Nothing,
    /// The page has used up its messages. There may be more later.
    TooMany,
    /// The limit of this turn is reached. There may be more now.
    Later,
}

/// A WebSocket.
#[derive(Debug)]
pub(super) struct Socket<S> {
    inner: WebSocket<Metered<S>>,
    state: State,
    heard: Instant,
    /// When the last ping was sent.
    pinged: Instant,
    /// Since when sending to the page would block.
    blocked: Option<Instant>,
    /// Number of bytes that were sent when progress was last checked.
    written: u64,
    /// Number of messages that the page may send now, and when that was computed.
    messages: u32,
    counted: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A close frame was sent.
    Closing(Instant),
    /// A close frame was sent because the bytes from the page are not frames. They are dropped,
    /// because closing with unread bytes might lose the close frame.
    Draining(Instant),
    Ended,
}

impl<S: Stream> Socket<S> {
    /// Creates the WebSocket of an upgraded connection. `rest` are the bytes that have arrived
    /// since.
    pub(super) fn new(now: Instant, stream: S, rest: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_SOON)
            .max_write_buffer_size(WRITE_BUFFER_MAX)
            .max_message_size(Some(DATAGRAM_MAX))
            .max_frame_size(Some(DATAGRAM_MAX));
        let stream = Metered {
            inner: stream,
            left: TURN_BYTES,
            written: 0,
        };
        Self {
            inner: WebSocket::from_partially_read(stream, rest, Role::Server, Some(config)),
            state: State::Open,
            heard: now,
            pinged: now,
            blocked: None,
            written: 0,
            messages: BURST,
            counted: now,
        }
    }

    /// Begins a new turn, in which a limited number of bytes is read.
    pub(super) fn begin_turn(&mut self) {
        self.inner.get_mut().left = TURN_BYTES;
    }

    /// Reads the next message.
    pub(super) fn receive(&mut self, now: Instant) -> Received {
        while matches!(self.state, State::Open | State::Closing(_)) {
            if self.allowed(now) == 0 {
                return Received::TooMany;
            }
            let message = match self.inner.read() {
                Ok(message) => message,
                Err(Error::Io(error)) if is_temporary(&error) => {
                    let is_over = self.inner.get_ref().left == 0;
                    return if is_over {
                        Received::Later
                    } else {
                        Received::Nothing
                    };
                }
                Err(error) => return self.fail(now, &error),
            };
            self.heard = now;
            self.messages -= 1;
            if self.state != State::Open {
                continue;
            }
            match message {
                Message::Binary(bytes) if bytes.first() == Some(&1) => {
                    return Received::Datagram(bytes);
                }
                Message::Binary(_) => return Received::Plain,
                Message::Text(_) => {
                    self.close(now, CloseCode::Unsupported);
                    return Received::Text;
                }
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
            }
        }
        self.drain()
    }

    fn drain(&mut self) -> Received {
        let mut piece = [0; READ_BUFFER];
        while matches!(self.state, State::Draining(_)) {
            match self.inner.get_mut().read(&mut piece) {
                Ok(1..) => {}
                Err(error) if is_temporary(&error) => {
                    let is_over = self.inner.get_ref().left == 0;
                    return if is_over {
                        Received::Later
                    } else {
                        Received::Nothing
                    };
                }
                Ok(0) | Err(_) => self.state = State::Ended,
            }
        }
        Received::Nothing
    }

    fn fail(&mut self, now: Instant, error: &Error) -> Received {
        let is_too_long = matches!(error, Error::Capacity(_));
        let is_wrong = matches!(error, Error::Protocol(_) | Error::Utf8(_));
        if self.state != State::Open || !is_too_long && !is_wrong {
            self.state = State::Ended;
            return Received::Nothing;
        }
        let code = if is_too_long {
            CloseCode::Size
        } else {
            CloseCode::Protocol
        };
        self.close(now, code);
        self.give_up();
        if is_too_long {
            Received::TooLong
        } else {
            self.drain()
        }
    }

    /// Gives up reading: the bytes are not frames.
    fn give_up(&mut self) {
        if let State::Closing(until) = self.state {
            self.inner.get_mut().inner.shut();
            self.state = State::Draining(until);
        }
    }

    /// Returns the number of messages that the page may send now.
    fn allowed(&mut self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.counted);
        let more = u32::try_from(elapsed.as_nanos() / EACH.as_nanos()).unwrap_or(u32::MAX);
        self.messages = self.messages.saturating_add(more).min(BURST);
        self.counted = if self.messages == BURST {
            now
        } else {
            self.counted + EACH * more
        };
        self.messages
    }

    /// Returns whether sending to the page would not block.
    pub(super) fn can_send(&self) -> bool {
        self.state == State::Open && self.blocked.is_none()
    }

    /// Sends a datagram to the page. Returns whether there was room for it. Call
    /// [`flush`](Self::flush) afterwards.
    pub(super) fn send(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let sent = self
            .inner
            .write(Message::Binary(Bytes::copy_from_slice(datagram)));
        let is_taken = !matches!(sent, Err(Error::WriteBufferFull(_)));
        self.note(now, sent);
        is_taken
    }

    /// Sends buffered bytes until sending would block.
    pub(super) fn flush(&mut self, now: Instant) {
        if self.state != State::Ended {
            let flushed = self.inner.flush();
            self.note(now, flushed);
        }
    }

    fn note(&mut self, now: Instant, result: Result<(), Error>) {
        let written = self.inner.get_ref().written;
        let is_taking = written != core::mem::replace(&mut self.written, written);
        match result {
            Ok(()) => self.blocked = None,
            Err(Error::WriteBufferFull(_)) => {
                self.blocked.get_or_insert(now);
            }
            Err(Error::Io(error)) if is_temporary(&error) => {
                if is_taking {
                    self.blocked = None;
                }
                self.blocked.get_or_insert(now);
            }
            Err(_) => self.state = State::Ended,
        }
    }

    /// Ends the connection, with a reason for the page.
    pub(super) fn close(&mut self, now: Instant, code: CloseCode) {
        if self.state == State::Open {
            self.state = State::Closing(now + CLOSING);
            let reason = "".into();
            let closed = self.inner.close(Some(CloseFrame { code, reason }));
            self.note(now, closed);
        }
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout).
    pub(super) fn timeout(&self) -> Instant {
        let gone = self.blocked.unwrap_or(self.heard).min(self.heard) + SILENCE;
        match self.state {
            State::Open if self.messages == 0 => gone.min(self.counted + 10 * EACH),
            State::Open => gone.min(self.pinged + PING),
            State::Closing(until) | State::Draining(until) => until,
            State::Ended => self.heard,
        }
    }

    /// Handles the time-outs that have passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let is_over = match self.state {
            State::Closing(until) | State::Draining(until) => now >= until,
            State::Open | State::Ended => {
                let last = self.blocked.unwrap_or(self.heard).min(self.heard);
                now >= last + SILENCE
            }
        };
        if is_over {
            self.state = State::Ended;
        } else if self.can_send() && now >= self.pinged + PING {
            self.pinged = now;
            let sent = self.inner.send(Message::Ping(Bytes::new()));
            self.note(now, sent);
        } else if now >= self.pinged + PING {
            self.pinged = now;
        }
    }

    /// Returns whether nothing is left to do.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Returns the stream.
    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.inner.get_mut().inner
    }
}

/// A stream from which a limited number of bytes is read in a turn. Otherwise an endless fragmented
/// message would occupy the reader of frames for ever.
#[derive(Debug)]
struct Metered<S> {
    inner: S,
    left: usize,
    /// Number of bytes that were written.
    written: u64,
}

impl<S: Read> Read for Metered<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let most = buffer.len().min(self.left);
        let length = self.inner.read(&mut buffer[..most])?;
        self.left -= length;
        Ok(length)
    }
}

impl<S: Write> Write for Metered<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.written += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;

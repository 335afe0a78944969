//! The events of a conversation, as its threads report them.

use core::net::SocketAddr;
use std::io;

/// An event.
#[derive(Debug)]
pub(super) enum Event {
    /// A datagram arrived at the port with this number.
    Datagram(usize, Vec<u8>),
    /// The port with this number reported an error.
    Network(usize, io::Error),
    /// A line was typed or read.
    Line(String),
    /// One of several pasted lines: text, even if it begins with `/`.
    Text(String),
    /// The addresses to which the relay's name resolves now. The list is empty if the resolution
    /// failed.
    Found(Vec<SocketAddr>),
    /// A message from the reader of the input.
    Status(String),
    /// The input could not be read, or holds nothing although it must: the exit code says so.
    BadInput(String),
    /// The input has ended.
    EndOfInput,
    /// The client must leave: a signal arrived, or the reader of the output has gone.
    Leave,
}

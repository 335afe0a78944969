//! What happens around a conversation, as its threads report it.

use core::net::SocketAddr;
use std::io;

/// Something happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A datagram arrived at the port of this number.
    Datagram(usize, Vec<u8>),
    /// The port of this number reported an error.
    Network(usize, io::Error),
    /// A line was typed or read.
    Line(String),
    /// A line of several that were pasted: text, whatever it begins with.
    Text(String),
    /// The addresses that the relay's name stands for now; none if that is not known.
    Found(Vec<SocketAddr>),
    /// The reader of lines has something to say.
    Status(String),
    /// There are no more lines.
    EndOfInput,
    /// It is time to go: a signal, or nobody reads the output any more.
    Leave,
}

//! The framed dialect on the wire: a codec without state. See `PROTOCOL.md`, section "The framed dialect".
//!
//! Numbers are big-endian. [`Frame::decode`] borrows from the datagram and checks all of it, so
//! that what it returns can be used without further questions; [`Frame::encode`] is its inverse.

mod bytes;
mod coding;
#[cfg(test)]
mod tests;

use core::error::Error;
use core::fmt;

use heapless::Vec;

use bytes::Writer;

/// The first byte of every frame, and of no text.
pub const FRAME: u8 = 0x01;

/// The fewest bytes of a HELLO: no answer to a stranger is longer.
pub const HELLO_MIN: usize = 128;

/// The most bytes of a COOKIE.
pub const COOKIE_MAX: usize = HELLO_MIN;

/// Bytes of a BYE.
pub(crate) const BYE_LENGTH: usize = 11;

/// Bytes of a DATA before its entries.
pub const DATA_HEADER: usize = 16;

/// Bytes of an entry before its line.
pub const ENTRY_HEADER: usize = 12;

/// The most bytes of all texts of a POST, with the two bytes of length that each has.
pub const TEXTS_MAX: usize = 900;

/// The most bytes of one text in a POST.
pub const TEXT_MAX: usize = TEXTS_MAX - 2;

/// The most ranges in an ACK.
pub const RANGES_MAX: usize = 8;

/// What a relay and one client know and nobody else: it marks all frames between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session(pub u64);

#[cfg(feature = "defmt")]
impl defmt::Format for Session {
    fn format(&self, formatter: defmt::Formatter<'_>) {
        defmt::write!(formatter, "a session"); // a secret
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A client asks for a seat.
    Hello(Hello<'a>),
    /// The relay wants to see that the client receives at its address.
    Cookie(Cookie<'a>),
    /// The client has a seat.
    Welcome(Welcome<'a>),
    /// There is no seat for the client.
    Refused(Refused),
    /// A client says something.
    Post(Post<'a>),
    /// What became of a POST.
    Posted(Posted<'a>),
    /// Lines of the room.
    Data(Data<'a>),
    /// Lines that were overwritten before the client had them.
    Gap(Gap),
    /// What a client has.
    Ack(Ack),
    /// A client leaves.
    Leave(Session),
    /// There is no such session, or no longer.
    Bye(Session, Goodbye),
}

/// HELLO, the one frame that a program which knows no frames may see: ASCII, but for the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// What the client can do beyond this dialect: nothing yet, 0.
    pub abilities: u32,
    /// Starts at random and grows by one with each HELLO that a client composes.
    pub nonce: u64,
    /// What the last COOKIE said.
    pub cookie: Option<[u8; 16]>,
    /// The session to go on with.
    pub resume: Option<Resume>,
    /// The name, at most [`DATAGRAM_MAX`](crate::DATAGRAM_MAX) less the rest; without spaces around it.
    pub name: &'a str,
}

/// Where a client that had a session wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The session.
    pub session: Session,
    /// The relay's epoch, which tells its runs apart.
    pub epoch: u32,
    /// The sequence number of the first line that the client does not have.
    pub next: u64,
}

/// COOKIE, ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie<'a> {
    /// The relay's version, without a space.
    pub version: &'a str,
    /// That of the HELLO.
    pub nonce: u64,
    /// What the next HELLO must say.
    pub cookie: [u8; 16],
    /// Further words, separated by a space: the relay's abilities, in 8 hexadecimal digits, and what
    /// later versions may add.
    pub words: &'a str,
}

/// WELCOME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// That of the HELLO.
    pub nonce: u64,
    /// The session from now on.
    pub session: Session,
    /// Tells runs of the relay apart: sequence numbers are comparable within one.
    pub epoch: u32,
    /// What marks the client's own lines.
    pub author: u32,
    /// The sequence number of the first line to come.
    pub first: u64,
    /// The sequence number of the first line to come that is new; those before it were said before.
    pub head: u64,
    /// How long the relay has run, in seconds: the clock of [`Entry::at`].
    pub uptime_s: u32,
    /// The most datagrams of lines that are on their way at once.
    pub window: u8,
    /// After so many seconds of silence the client says that it is there.
    pub keepalive_s: u8,
    /// The name, perhaps not the one that was asked for, 1 to [`NAME_MAX`](crate::NAME_MAX) bytes.
    pub name: &'a str,
    /// What there is to say to a newcomer, as a plain peer reads it; empty where a session goes on.
    pub text: &'a str,
}

/// REFUSED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// That of the HELLO.
    pub nonce: u64,
    /// Why.
    pub reason: Reason,
    /// When it may be worth another try, in seconds; 0 is never.
    pub retry_s: u16,
}

/// POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post<'a> {
    /// Whose it is.
    pub session: Session,
    /// One more than the last POST's.
    pub number: u16,
    /// The client's clock in milliseconds, to be echoed.
    pub sent_at: u16,
    /// What is said.
    pub texts: Texts<'a>,
}

/// The texts of a POST, one after the other as they are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts<'a>(&'a [u8]);

/// POSTED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted<'a> {
    /// Whose it is.
    pub session: Session,
    /// The POST's.
    pub number: u16,
    /// The POST's.
    pub sent_at: u16,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// What became of a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It was said.
    Accepted {
        /// The sequence number of its first line.
        first: u64,
        /// How many lines it became.
        lines: u8,
        /// How many of its texts they are, from the first on; the others are to be posted again.
        texts: u8,
    },
    /// Its first text was not said and will not be; the others are to be posted again.
    Refused {
        /// Why not.
        reason: Reason,
        /// After so many milliseconds the text may be posted again; 0 is never.
        retry_ms: u16,
    },
    /// Its first text was a command, and this is the answer as a plain peer reads it; the others are
    /// to be posted again.
    Answer(&'a str),
}

/// DATA: the same bytes for every client at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The relay's epoch.
    pub epoch: u32,
    /// The relay's clock in milliseconds, to be echoed.
    pub sent_at: u16,
    /// The sequence number of its first line; without lines, of the first that was not said yet.
    pub first: u64,
    entries: &'a [u8],
}

/// A line, and who said it when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Who said it: an id that is not used twice while the line can be had; 0 is the relay.
    pub author: u32,
    /// When it was said: seconds since the relay started.
    pub at: u32,
    /// What it is.
    pub kind: LineKind,
    /// How many bytes of the line are the author's name, followed by ` : `; 0 in notices.
    pub name: u8,
    /// The line as it is shown, at most [`LINE_MAX`](crate::LINE_MAX) bytes.
    pub line: &'a str,
}

/// What kind of line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LineKind {
    /// What a peer said.
    Message,
    /// A notice about a peer that joins, leaves or is renamed. A peer may not want to see it.
    Announcement,
    /// A notice for everybody.
    Notice,
}

/// GAP: the lines `from..until` were overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose it is.
    pub session: Session,
    /// The relay's clock in milliseconds, to be echoed.
    pub sent_at: u16,
    /// The first line that is gone.
    pub from: u64,
    /// The first line that is not.
    pub until: u64,
}

/// ACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Whose it is.
    pub session: Session,
    /// What is echoed: the clock of the oldest DATA or GAP that it answers, if it answers one.
    pub echo: Option<u16>,
    /// Whether the relay must answer, with a DATA that may be without lines.
    pub answer: bool,
    /// All lines before this one are here, or known to be lost.
    pub next: u64,
    /// What is here of what came after it, in order.
    pub ranges: Vec<Range, RANGES_MAX>,
}

/// Lines that a client has behind one that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// How many lines are missing before it, at least one.
    pub skip: u16,
    /// How many lines it has.
    pub run: u16,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reason {
    /// All seats are taken.
    Full,
    /// There is no character in the name that can be seen.
    Nameless,
    /// A text is not UTF-8.
    NotUtf8,
    /// The relay is stopping.
    Stopping,
    /// Another reason, which this version does not know.
    Other(u8),
}

/// Why a session is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Goodbye {
    /// There is none at this address: the relay was restarted, or the client's address changed.
    Unknown,
    /// The client left.
    Left,
    /// The session goes on at another address.
    TakenOver,
    /// The client was silent, and its seat was needed.
    GivenAway,
    /// Another reason, which this version does not know.
    Other(u8),
}

/// A datagram that is no frame of this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a frame of this dialect")
    }
}

impl Error for Malformed {}

impl Reason {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Full,
            2 => Self::Nameless,
            3 => Self::NotUtf8,
            4 => Self::Stopping,
            other => Self::Other(other),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::Nameless => 2,
            Self::NotUtf8 => 3,
            Self::Stopping => 4,
            Self::Other(byte) => byte,
        }
    }

    /// The reason in a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "all seats are taken",
            Self::Nameless => "the name holds nothing that can be seen",
            Self::NotUtf8 => "not UTF-8 text",
            Self::Stopping => "the relay is stopping",
            Self::Other(_) => "the relay does not say why",
        }
    }
}

impl Goodbye {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Unknown,
            2 => Self::Left,
            3 => Self::TakenOver,
            4 => Self::GivenAway,
            other => Self::Other(other),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Unknown => 1,
            Self::Left => 2,
            Self::TakenOver => 3,
            Self::GivenAway => 4,
            Self::Other(byte) => byte,
        }
    }
}

/// A DATA without its entries.
pub(crate) fn data_header(epoch: u32, sent_at: u16, first: u64) -> [u8; DATA_HEADER] {
    let mut header = [0; DATA_HEADER];
    let mut to = Writer {
        buffer: &mut header,
        length: 0,
    };
    // it fits exactly
    let _ = to
        .start(b'D')
        .and_then(|()| to.u32(epoch))
        .and_then(|()| to.u16(sent_at))
        .and_then(|()| to.u64(first));
    header
}

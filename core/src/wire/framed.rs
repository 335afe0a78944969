//! The wire format of the framed dialect: a codec without state. See `PROTOCOL.md`, section "The
//! framed dialect".
//!
//! Numbers are big-endian. [`Frame::decode`] borrows from the datagram and validates all of it, so
//! that callers need no further checks; [`Frame::encode`] is its inverse.

mod bytes;
mod coding;
#[cfg(test)]
mod tests;

use core::error::Error;
use core::fmt;

use heapless::Vec;

use bytes::Writer;

/// First byte of every frame. No text starts with it.
pub const FRAME: u8 = 0x01;

/// Minimum length of a HELLO, in bytes. No reply to a stranger is longer, so that the relay
/// amplifies nothing.
pub const HELLO_MIN: usize = 128;

/// The ability of a client that is not announced when it joins, leaves, is away or is back.
pub const UNANNOUNCED: u32 = 1;

/// Maximum length of a COOKIE, in bytes.
pub const COOKIE_MAX: usize = HELLO_MIN;

/// Length of a BYE, in bytes.
pub const BYE_LENGTH: usize = 11;

/// Length of a GAP, in bytes.
pub const GAP_LENGTH: usize = 28;

/// Length of a DATA without its entries, in bytes.
pub const DATA_HEADER: usize = 16;

/// Length of an entry without its line, in bytes.
pub const ENTRY_HEADER: usize = 12;

/// Maximum length of all texts of a POST together, in bytes, with the two bytes of length before
/// each text.
pub const TEXTS_MAX: usize = 900;

/// Maximum length of one text in a POST, in bytes.
pub const TEXT_MAX: usize = TEXTS_MAX - 2;

/// Maximum number of ranges in an ACK.
pub const RANGES_MAX: usize = 8;

/// A secret between the relay and one client, which is in every frame of their session.
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
    /// A client requests a seat.
    Hello(Hello<'a>),
    /// The relay asks the client to prove that it receives at its source address.
    Cookie(Cookie<'a>),
    /// The relay gives the client a seat.
    Welcome(Welcome<'a>),
    /// The relay gives the client no seat.
    Refused(Refused),
    /// A client sends messages or a command.
    Post(Post<'a>),
    /// The result of a POST.
    Posted(Posted<'a>),
    /// Lines of the chat.
    Data(Data<'a>),
    /// Lines that were overwritten before the client had them.
    Gap(Gap),
    /// Acknowledges the lines that a client has received.
    Ack(Ack),
    /// A client leaves.
    Leave(Session),
    /// The session does not exist, or has ended.
    Bye(Session, Goodbye),
}

/// HELLO. A relay that knows no frames may receive it as text, so it is ASCII except for the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Optional abilities of the client: 0 or [`UNANNOUNCED`].
    pub abilities: u32,
    /// Starts at a random value and increases by one with each HELLO that a client composes.
    pub nonce: u64,
    /// The cookie of the last COOKIE.
    pub cookie: Option<[u8; 16]>,
    /// The session to resume.
    pub resume: Option<Resume>,
    /// The name, without surrounding spaces; at most [`DATAGRAM_MAX`](crate::DATAGRAM_MAX) bytes
    /// less the rest of the HELLO.
    pub name: &'a str,
}

/// The position at which a client resumes its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The session.
    pub session: Session,
    /// The relay's epoch, a number that differs in each run of a relay.
    pub epoch: u32,
    /// Sequence number of the first line that the client does not have.
    pub next: u64,
}

/// COOKIE: the relay's request to prove the source address, by a HELLO that repeats the cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie<'a> {
    /// The relay's version, without a space.
    pub version: &'a str,
    /// The nonce of the HELLO.
    pub nonce: u64,
    /// The cookie, which the next HELLO must repeat.
    pub cookie: [u8; 16],
    /// Further words, separated by a space: the relay's abilities, in 8 hexadecimal digits, and what
    /// later versions may add.
    pub words: &'a str,
}

/// WELCOME: the relay's reply to a HELLO that gave the client a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The nonce of the HELLO.
    pub nonce: u64,
    /// The session that the client uses from here on.
    pub session: Session,
    /// The relay's epoch, a number that differs in each run of a relay. Sequence numbers are
    /// comparable only within an epoch.
    pub epoch: u32,
    /// The author id of the client's own lines.
    pub author: u32,
    /// Sequence number of the first line that the relay will send.
    pub first: u64,
    /// Sequence number of the first new line; lines before it are history.
    pub head: u64,
    /// Time since the relay started, in seconds: the clock of [`Entry::at`].
    pub uptime_s: u32,
    /// Maximum number of DATA in flight to this client.
    pub window: u8,
    /// Silence after which the client must send a keepalive, in seconds.
    pub keepalive_s: u8,
    /// The client's name, which may differ from the requested one, 1 to
    /// [`NAME_MAX`](crate::NAME_MAX) bytes.
    pub name: &'a str,
    /// The welcome as a plain peer reads it; empty if a session is resumed.
    pub text: &'a str,
}

/// REFUSED: the relay gives the client no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The nonce of the HELLO.
    pub nonce: u64,
    /// The reason.
    pub reason: Reason,
    /// Time after which another attempt may succeed, in seconds; 0 means never.
    pub retry_s: u16,
}

/// POST: texts to say, or one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post<'a> {
    /// The client's session.
    pub session: Session,
    /// The number of the POST, one more than that of the one before.
    pub number: u16,
    /// The client's clock in milliseconds when it sent the POST; the relay echoes it.
    pub sent_at: u16,
    /// The messages, or one command.
    pub texts: Texts<'a>,
}

/// The texts of a POST in their encoded form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts<'a>(&'a [u8]);

/// POSTED: the result of a POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted<'a> {
    /// The client's session.
    pub session: Session,
    /// The `number` of the POST that this answers.
    pub number: u16,
    /// The `sent_at` of the POST that this answers.
    pub sent_at: u16,
    /// The result.
    pub outcome: Outcome<'a>,
}

/// The result of a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Texts of the POST became lines.
    Accepted {
        /// Sequence number of the first of these lines.
        first: u64,
        /// Number of these lines.
        lines: u8,
        /// Number of texts that were accepted, from the first on. The client must post the others
        /// again.
        texts: u8,
    },
    /// The first text was refused for good. The client must post the others again.
    Refused {
        /// The reason.
        reason: Reason,
        /// Time after which the text may be posted again, in milliseconds; 0 means never.
        retry_ms: u16,
    },
    /// The first text was a command, and this is the reply as a plain peer reads it. The client
    /// must post the others again.
    Answer(&'a str),
}

/// DATA. It is the same for every client whose cursor is at the same line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The relay's epoch.
    pub epoch: u32,
    /// The relay's clock in milliseconds when it sent the frame; the client echoes it.
    pub sent_at: u16,
    /// Sequence number of the first line. In a DATA without lines, that of the next line to be
    /// appended.
    pub first: u64,
    entries: &'a [u8],
}

/// A line with its author and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Id of the author, which is not reused while the line is in the ring; 0 is the relay.
    pub author: u32,
    /// When the line was appended, in seconds since the relay started.
    pub at: u32,
    /// The kind of the line.
    pub kind: LineKind,
    /// Length of the author's name in bytes, at the start of the line and followed by ` : `; 0 in
    /// notices.
    pub name: u8,
    /// The line as it is displayed, at most [`LINE_MAX`](crate::LINE_MAX) bytes.
    pub line: &'a str,
}

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LineKind {
    /// A message of a peer.
    Message,
    /// A notice that a peer joined, left or was renamed. A peer may choose not to receive it.
    Announcement,
    /// A notice to all peers.
    Notice,
    /// A message to one peer, whose author number the entry has. For all others the line is empty.
    Private,
}

/// GAP: the lines `from..until` were overwritten before the client had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The client's session.
    pub session: Session,
    /// The relay's clock in milliseconds when it sent the frame; the client echoes it.
    pub sent_at: u16,
    /// Sequence number of the first line that was overwritten.
    pub from: u64,
    /// Sequence number of the first line after the gap.
    pub until: u64,
}

/// ACK: the lines that a client has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The client's session.
    pub session: Session,
    /// The time stamp of the oldest DATA or GAP that this acknowledges, or `None` if it
    /// acknowledges none.
    pub echo: Option<u16>,
    /// Whether the relay must reply, with a DATA that may have no lines.
    pub answer: bool,
    /// Cumulative acknowledgement: the client has every line before this one, or knows that it is
    /// lost.
    pub next: u64,
    /// Selective acknowledgement: ranges after `next` that the client has, in order.
    pub ranges: Vec<Range, RANGES_MAX>,
}

/// Consecutive lines that a client has, after at least one that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Number of missing lines before the range, at least one.
    pub skip: u16,
    /// Number of lines in the range.
    pub run: u16,
}

/// Why a client gets no seat (REFUSED), or a text was refused (POSTED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reason {
    /// All seats are taken.
    Full,
    /// The name has no visible character.
    Nameless,
    /// A text is not UTF-8.
    NotUtf8,
    /// The relay is stopping.
    Stopping,
    /// The client says more than it may.
    TooFast,
    /// Too many join from its network at once.
    Hasty,
    /// Its network has its share of the seats.
    Crowded,
    /// The operator has locked the room.
    Locked,
    /// The operator has muted the client.
    Muted,
    /// A reason that this version does not know.
    Other(u8),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Goodbye {
    /// The relay knows no such session at this address: the relay restarted, or the client's
    /// address changed.
    Unknown,
    /// The client left.
    Left,
    /// The client resumed the session at another address.
    TakenOver,
    /// The client was silent and its seat was given to another peer.
    GivenAway,
    /// The client was removed from the room.
    Removed,
    /// A reason that this version does not know.
    Other(u8),
}

/// The datagram is not a valid frame of this dialect.
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
            5 => Self::TooFast,
            6 => Self::Hasty,
            7 => Self::Crowded,
            8 => Self::Locked,
            10 => Self::Muted,
            other => Self::Other(other),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::Nameless => 2,
            Self::NotUtf8 => 3,
            Self::Stopping => 4,
            Self::TooFast => 5,
            Self::Hasty => 6,
            Self::Crowded => 7,
            Self::Locked => 8,
            Self::Muted => 10,
            Self::Other(byte) => byte,
        }
    }

    /// Returns the reason in a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "all seats are taken",
            Self::Nameless => "the name holds nothing that can be seen",
            Self::NotUtf8 => "not UTF-8 text",
            Self::Stopping => "the relay is stopping",
            Self::TooFast => "too fast",
            Self::Hasty => "too many join from your network",
            Self::Crowded => "your network has its share of the seats",
            Self::Locked => "the room is locked",
            Self::Muted => "you are muted",
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
            5 => Self::Removed,
            other => Self::Other(other),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Unknown => 1,
            Self::Left => 2,
            Self::TakenOver => 3,
            Self::GivenAway => 4,
            Self::Removed => 5,
            Self::Other(byte) => byte,
        }
    }
}

/// Encodes a DATA without its entries.
pub(crate) fn data_header(epoch: u32, sent_at: u16, first: u64) -> [u8; DATA_HEADER] {
    let mut header = [0; DATA_HEADER];
    let mut to = Writer {
        buffer: &mut header,
        length: 0,
    };
    // The buffer has exactly this length.
    let _ = to
        .start(b'D')
        .and_then(|()| to.u32(epoch))
        .and_then(|()| to.u16(sent_at))
        .and_then(|()| to.u64(first));
    header
}

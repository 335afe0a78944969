//! The framed dialect on the wire: a codec without state. See `PROTOCOL.md`, section "Frames".
//!
//! Numbers are big-endian. [`Frame::decode`] borrows from the datagram and checks all of it, so
//! that what it returns can be used without further questions; [`Frame::encode`] is its inverse.

use core::iter;
use core::str::from_utf8;

use heapless::Vec;

use crate::wire::text::{DATAGRAM_MAX, LINE_MAX, NAME_MAX, SEPARATOR};

/// The first byte of every frame, and of no text.
pub const FRAME: u8 = 0x01;

/// The fewest bytes of a HELLO: no answer to a stranger is longer.
pub const HELLO_MIN: usize = 128;

/// The most bytes of a COOKIE.
pub const COOKIE_MAX: usize = 64;

/// Bytes before the body of a frame.
const START: usize = 2;

/// Bytes of a BYE.
pub(crate) const BYE_LENGTH: usize = 11;

/// Bytes of a DATA before its entries.
pub const DATA_HEADER: usize = 16;

/// Bytes of an entry before its line.
pub const ENTRY_HEADER: usize = 12;

/// Bytes of an entry that its length does not count: the length itself.
const LENGTH: usize = 2;

/// The most bytes of all texts of a POST, with the two bytes of length that each has.
pub const TEXTS_MAX: usize = 900;

/// The most bytes of one text in a POST.
pub const TEXT_MAX: usize = TEXTS_MAX - LENGTH;

/// The most ranges in an ACK.
pub const RANGES_MAX: usize = 8;

/// What HELLO and COOKIE begin with: the version of the dialect.
const DIALECT: &str = " KC1 ";

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
    /// The name, at most [`DATAGRAM_MAX`] less the rest; without spaces around it.
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
    /// The relay's version, at most 7 bytes without a space.
    pub version: &'a str,
    /// That of the HELLO.
    pub nonce: u64,
    /// What the next HELLO must say.
    pub cookie: [u8; 16],
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
    /// The name, perhaps not the one that was asked for, 1 to [`NAME_MAX`] bytes.
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
    /// What it is: 0 a message, 1 who comes and goes, 2 a notice for everybody.
    pub flags: u8,
    /// How many bytes of the line are the author's name, followed by ` : `; 0 in notices.
    pub name: u8,
    /// The line as it is shown, at most [`LINE_MAX`] bytes.
    pub line: &'a str,
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

impl<'a> Frame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// When it is none, is cut, or holds what is not allowed; it is to be dropped and counted.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        Self::read(payload, |kind, body| match kind {
            b'H' | b'P' | b'K' | b'L' => Self::clients(kind, body),
            _ => Self::relays(kind, body),
        })
        .ok_or(Malformed)
    }

    /// Reads a frame that a client sends.
    pub(crate) fn decode_clients(payload: &'a [u8]) -> Result<Self, Malformed> {
        Self::read(payload, Self::clients).ok_or(Malformed)
    }

    fn read(
        payload: &'a [u8],
        read: impl FnOnce(u8, &mut Reader<'a>) -> Option<Self>,
    ) -> Option<Self> {
        let [FRAME, kind, body @ ..] = payload else {
            return None;
        };
        if payload.len() > DATAGRAM_MAX {
            return None;
        }
        let mut body = Reader(body);
        let frame = read(*kind, &mut body)?;
        body.0.is_empty().then_some(frame)
    }

    fn clients(kind: u8, body: &mut Reader<'a>) -> Option<Self> {
        let frame = match kind {
            b'H' => Self::Hello(Hello::read(body.rest())?),
            b'P' => Self::Post(Post {
                session: body.session()?,
                number: body.u16()?,
                sent_at: body.u16()?,
                texts: Texts::read(body.rest())?,
            }),
            b'K' => Self::Ack(Ack::read(body)?),
            b'L' => Self::Leave(body.session().filter(|_| body.u8().is_some())?),
            _ => return None,
        };
        Some(frame)
    }

    fn relays(kind: u8, body: &mut Reader<'a>) -> Option<Self> {
        let frame = match kind {
            b'C' => Self::Cookie(Cookie::read(body.rest())?),
            b'W' => Self::Welcome(Welcome::read(body)?),
            b'R' => Self::Refused(Refused {
                nonce: body.u64()?,
                reason: Reason::from_byte(body.u8()?),
                retry_s: body.u16()?,
            }),
            b'A' => Self::Posted(Posted {
                session: body.session()?,
                number: body.u16()?,
                sent_at: body.u16()?,
                outcome: Outcome::read(body)?,
            }),
            b'D' => Self::Data(Data::read(body)?),
            b'G' => Self::Gap(Gap::read(body)?),
            b'B' => Self::Bye(body.session()?, Goodbye::from_byte(body.u8()?)),
            _ => return None,
        };
        Some(frame)
    }

    /// Writes the frame to the start of `buffer` and returns its length; none if it does not fit
    /// there, in a datagram or in a COOKIE. What else is not allowed is for
    /// [`decode`](Self::decode) to refuse.
    pub fn encode(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut to = Writer::new(buffer)?;
        match self {
            Self::Hello(hello) => hello.write(&mut to)?,
            Self::Post(post) => {
                to.start(b'P')?;
                to.u64(post.session.0)?;
                to.u16(post.number)?;
                to.u16(post.sent_at)?;
                to.bytes(post.texts.0)?;
            }
            Self::Ack(ack) => ack.write(&mut to)?,
            Self::Leave(session) => {
                to.start(b'L')?;
                to.u64(session.0)?;
                to.u8(0)?; // as long as its answer
            }
            Self::Data(data) => {
                to.bytes(&data_header(data.epoch, data.sent_at, data.first))?;
                to.bytes(data.entries)?;
            }
            Self::Cookie(_)
            | Self::Welcome(_)
            | Self::Refused(_)
            | Self::Posted(_)
            | Self::Gap(_)
            | Self::Bye(..) => return self.encode_relays(buffer),
        }
        Some(to.length)
    }

    /// Writes a frame that a relay sends; DATA is written where its lines are.
    pub(crate) fn encode_relays(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut to = Writer::new(buffer)?;
        match self {
            Self::Cookie(cookie) => cookie.write(&mut to)?,
            Self::Welcome(welcome) => welcome.write(&mut to)?,
            Self::Refused(refused) => {
                to.start(b'R')?;
                to.u64(refused.nonce)?;
                to.u8(refused.reason.byte())?;
                to.u16(refused.retry_s)?;
            }
            Self::Posted(posted) => {
                to.start(b'A')?;
                to.u64(posted.session.0)?;
                to.u16(posted.number)?;
                to.u16(posted.sent_at)?;
                posted.outcome.write(&mut to)?;
            }
            Self::Gap(gap) => {
                to.start(b'G')?;
                to.u64(gap.session.0)?;
                to.u16(gap.sent_at)?;
                to.u64(gap.from)?;
                to.u64(gap.until)?;
            }
            Self::Bye(session, why) => {
                to.start(b'B')?;
                to.u64(session.0)?;
                to.u8(why.byte())?;
            }
            Self::Hello(_) | Self::Post(_) | Self::Ack(_) | Self::Leave(_) | Self::Data(_) => {
                return None;
            }
        }
        Some(to.length)
    }
}

impl<'a> Hello<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        if body.len() < HELLO_MIN - START {
            return None;
        }
        let words = from_utf8(body).ok()?.strip_prefix(DIALECT)?;
        let (abilities, words) = words.split_once(' ')?;
        let (nonce, words) = words.split_once(' ')?;
        let (cookie, words) = words.split_once(' ')?;
        let (resume, name) = words.split_once(' ')?;
        Some(Self {
            abilities: u32::from_be_bytes(bytes_of(abilities)?),
            nonce: u64::from_be_bytes(bytes_of(nonce)?),
            cookie: match cookie {
                "-" => None,
                cookie => Some(bytes_of(cookie)?),
            },
            resume: match resume {
                "-" => None,
                resume => Some(Resume::read(resume)?),
            },
            name: name.trim_matches(' '),
        })
    }

    fn write(&self, to: &mut Writer<'_>) -> Option<()> {
        to.start(b'H')?;
        to.bytes(DIALECT.as_bytes())?;
        to.digits(&self.abilities.to_be_bytes())?;
        to.word("")?;
        to.digits(&self.nonce.to_be_bytes())?;
        match self.cookie {
            Some(cookie) => {
                to.word("")?;
                to.digits(&cookie)?;
            }
            None => to.word("-")?,
        }
        match self.resume {
            Some(resume) => {
                to.word("")?;
                to.digits(&resume.session.0.to_be_bytes())?;
                to.digits(&resume.epoch.to_be_bytes())?;
                to.digits(&resume.next.to_be_bytes())?;
            }
            None => to.word("-")?,
        }
        to.word(self.name.trim_matches(' '))?;
        while to.length < HELLO_MIN {
            to.u8(b' ')?;
        }
        Some(())
    }
}

impl Resume {
    fn read(word: &str) -> Option<Self> {
        let (session, rest) = word.split_at_checked(16)?;
        let (epoch, next) = rest.split_at_checked(8)?;
        Some(Self {
            session: Session(u64::from_be_bytes(bytes_of(session)?)),
            epoch: u32::from_be_bytes(bytes_of(epoch)?),
            next: u64::from_be_bytes(bytes_of(next)?),
        })
    }
}

impl<'a> Cookie<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        if body.len() > COOKIE_MAX - START {
            return None;
        }
        let words = from_utf8(body).ok()?.strip_prefix(DIALECT)?;
        let (version, words) = words.split_once(' ')?;
        let (nonce, cookie) = words.split_once(' ')?;
        Some(Self {
            version,
            nonce: u64::from_be_bytes(bytes_of(nonce)?),
            cookie: bytes_of(cookie)?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) -> Option<()> {
        to.start(b'C')?;
        to.bytes(DIALECT.as_bytes())?;
        to.bytes(self.version.as_bytes())?;
        to.word("")?;
        to.digits(&self.nonce.to_be_bytes())?;
        to.word("")?;
        to.digits(&self.cookie)?;
        (to.length <= COOKIE_MAX && !self.version.contains(' ')).then_some(())
    }
}

impl<'a> Welcome<'a> {
    fn read(body: &mut Reader<'a>) -> Option<Self> {
        let nonce = body.u64()?;
        let session = body.session()?;
        let [epoch, author] = [body.u32()?, body.u32()?];
        let [first, head] = [body.u64()?, body.u64()?];
        let uptime_s = body.u32()?;
        let [window, keepalive_s, length] = [body.u8()?, body.u8()?, body.u8()?];
        let name = from_utf8(body.bytes(length.into())?).ok()?;
        let text = from_utf8(body.rest()).ok()?;
        let is_sound = first <= head && (1..=NAME_MAX).contains(&name.len());
        is_sound.then_some(Self {
            nonce,
            session,
            epoch,
            author,
            first,
            head,
            uptime_s,
            window,
            keepalive_s,
            name,
            text,
        })
    }

    fn write(&self, to: &mut Writer<'_>) -> Option<()> {
        to.start(b'W')?;
        to.u64(self.nonce)?;
        to.u64(self.session.0)?;
        to.u32(self.epoch)?;
        to.u32(self.author)?;
        to.u64(self.first)?;
        to.u64(self.head)?;
        to.u32(self.uptime_s)?;
        to.u8(self.window)?;
        to.u8(self.keepalive_s)?;
        to.u8(u8::try_from(self.name.len()).ok()?)?;
        to.bytes(self.name.as_bytes())?;
        to.bytes(self.text.as_bytes())
    }
}

impl<'a> Texts<'a> {
    /// Writes `texts` to the start of `buffer`, as many as fit there and in a POST; returns them
    /// and how many they are.
    pub fn collect<'t>(
        texts: impl IntoIterator<Item = &'t str>,
        buffer: &'a mut [u8],
    ) -> (Self, usize) {
        let room = buffer.len().min(TEXTS_MAX);
        let mut to = Writer {
            buffer: buffer.get_mut(..room).unwrap_or_default(),
            length: 0,
        };
        let mut count = 0;
        for text in texts {
            let before = to.length;
            let written = u16::try_from(text.len())
                .ok()
                .and_then(|length| to.u16(length))
                .and_then(|()| to.bytes(text.as_bytes()));
            if written.is_none() {
                to.length = before;
                break;
            }
            count += 1;
        }
        let Writer { buffer, length } = to;
        let buffer: &'a [u8] = buffer;
        (Self(buffer.get(..length).unwrap_or_default()), count)
    }

    fn read(texts: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(texts);
        while !rest.0.is_empty() {
            rest.text()?;
        }
        (1..=TEXTS_MAX)
            .contains(&texts.len())
            .then_some(Self(texts))
    }

    /// The texts, which may be anything.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = Reader(self.0);
        iter::from_fn(move || rest.text())
    }
}

impl<'a> Outcome<'a> {
    fn read(body: &mut Reader<'a>) -> Option<Self> {
        let outcome = match body.u8()? {
            0 => Self::Accepted {
                first: body.u64()?,
                lines: body.u8()?,
                texts: body.u8()?,
            },
            1 => Self::Refused {
                reason: Reason::from_byte(body.u8()?),
                retry_ms: body.u16()?,
            },
            2 => Self::Answer(from_utf8(body.rest()).ok()?),
            _ => return None,
        };
        Some(outcome)
    }

    fn write(&self, to: &mut Writer<'_>) -> Option<()> {
        match *self {
            Self::Accepted {
                first,
                lines,
                texts,
            } => {
                to.u8(0)?;
                to.u64(first)?;
                to.u8(lines)?;
                to.u8(texts)
            }
            Self::Refused { reason, retry_ms } => {
                to.u8(1)?;
                to.u8(reason.byte())?;
                to.u16(retry_ms)
            }
            Self::Answer(text) => {
                to.u8(2)?;
                to.bytes(text.as_bytes())
            }
        }
    }
}

impl<'a> Data<'a> {
    fn read(body: &mut Reader<'a>) -> Option<Self> {
        let epoch = body.u32()?;
        let sent_at = body.u16()?;
        let first = body.u64()?;
        let mut rest = *body;
        let mut lines = 0;
        while rest.entry()?.is_some() {
            lines += 1;
        }
        first.checked_add(lines)?;
        let length = body.0.len() - rest.0.len();
        let entries = body.bytes(length)?;
        body.rest(); // padding
        Some(Self {
            epoch,
            sent_at,
            first,
            entries,
        })
    }

    /// Its lines, in order; the first has the sequence number [`first`](Self::first).
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + Clone + use<'a> {
        let mut rest = Reader(self.entries);
        iter::from_fn(move || rest.entry().flatten())
    }

    /// Its entries as they are on the wire, without what ends them.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.entries
    }
}

impl<'a> Entry<'a> {
    /// The first of these entries, and the others.
    pub(crate) fn split(entries: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut rest = Reader(entries);
        Some((rest.entry()??, rest.0))
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

impl Gap {
    fn read(body: &mut Reader<'_>) -> Option<Self> {
        let gap = Self {
            session: body.session()?,
            sent_at: body.u16()?,
            from: body.u64()?,
            until: body.u64()?,
        };
        (gap.from < gap.until).then_some(gap)
    }
}

/// ACK's flags.
const ANSWER: u8 = 1;
const ECHO: u8 = 2;

impl Ack {
    fn read(body: &mut Reader<'_>) -> Option<Self> {
        let session = body.session()?;
        let echo = body.u16()?;
        let flags = body.u8()?;
        let next = body.u64()?;
        let mut ranges = Vec::new();
        let mut end = next;
        while !body.0.is_empty() {
            let [skip, run] = [body.u16()?, body.u16()?];
            end = end.checked_add(u64::from(skip) + u64::from(run))?;
            if skip == 0 || run == 0 {
                return None;
            }
            ranges.push(Range { skip, run }).ok()?;
        }
        Some(Self {
            session,
            echo: (flags & ECHO != 0).then_some(echo),
            answer: flags & ANSWER != 0,
            next,
            ranges,
        })
    }

    fn write(&self, to: &mut Writer<'_>) -> Option<()> {
        to.start(b'K')?;
        to.u64(self.session.0)?;
        to.u16(self.echo.unwrap_or_default())?;
        let echo = if self.echo.is_some() { ECHO } else { 0 };
        to.u8(echo | if self.answer { ANSWER } else { 0 })?;
        to.u64(self.next)?;
        for range in &self.ranges {
            to.u16(range.skip)?;
            to.u16(range.run)?;
        }
        Some(())
    }
}

impl Reason {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Full,
            2 => Self::Nameless,
            3 => Self::NotUtf8,
            other => Self::Other(other),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::Nameless => 2,
            Self::NotUtf8 => 3,
            Self::Other(byte) => byte,
        }
    }

    /// The reason in a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "all seats are taken",
            Self::Nameless => "the name holds nothing that can be seen",
            Self::NotUtf8 => "not UTF-8 text",
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

/// The `N` bytes that exactly 2 `N` hexadecimal digits say.
fn bytes_of<const N: usize>(word: &str) -> Option<[u8; N]> {
    let mut digits = word.chars().map(|digit| digit.to_digit(16));
    let mut bytes = [0; N];
    for byte in &mut bytes {
        *byte = u8::try_from(digits.next()?? << 4 | digits.next()??).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

/// What is left of a frame.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn session(&mut self) -> Option<Session> {
        self.u64().map(Session)
    }

    fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.bytes(length.into())
    }

    /// The next entry; an inner none is the end, behind which only padding may be.
    #[expect(clippy::option_option, reason = "malformed and ended are different")]
    fn entry(&mut self) -> Option<Option<Entry<'a>>> {
        if self.0.is_empty() || self.0 == [0] {
            return Some(None);
        }
        let mut rest = *self;
        let length = usize::from(rest.u16()?);
        if length == 0 {
            return Some(None);
        }
        let [author, at] = [rest.u32()?, rest.u32()?];
        let [flags, name] = [rest.u8()?, rest.u8()?];
        let line = rest.bytes(length.checked_sub(ENTRY_HEADER - LENGTH)?)?;
        let line = from_utf8(line).ok()?;
        let behind = line.get(name.into()..)?;
        let is_sound = line.len() <= LINE_MAX && (name == 0 || behind.starts_with(SEPARATOR));
        *self = rest;
        is_sound.then_some(Some(Entry {
            author,
            at,
            flags,
            name,
            line,
        }))
    }
}

/// A frame that is being written.
struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Writer<'a> {
    fn new(buffer: &'a mut [u8]) -> Option<Self> {
        let room = buffer.len().min(DATAGRAM_MAX);
        Some(Self {
            buffer: buffer.get_mut(..room)?,
            length: 0,
        })
    }

    fn start(&mut self, kind: u8) -> Option<()> {
        self.bytes(&[FRAME, kind])
    }

    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length.checked_add(bytes.len())?;
        self.buffer
            .get_mut(self.length..end)?
            .copy_from_slice(bytes);
        self.length = end;
        Some(())
    }

    fn u8(&mut self, number: u8) -> Option<()> {
        self.bytes(&[number])
    }

    fn u16(&mut self, number: u16) -> Option<()> {
        self.bytes(&number.to_be_bytes())
    }

    fn u32(&mut self, number: u32) -> Option<()> {
        self.bytes(&number.to_be_bytes())
    }

    fn u64(&mut self, number: u64) -> Option<()> {
        self.bytes(&number.to_be_bytes())
    }

    /// A space and a word.
    fn word(&mut self, word: &str) -> Option<()> {
        self.u8(b' ')?;
        self.bytes(word.as_bytes())
    }

    /// Two hexadecimal digits for each byte.
    fn digits(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.iter().try_for_each(|byte| {
            let digits = [byte >> 4, byte & 0xF];
            self.bytes(&digits.map(|digit| match digit {
                0..=9 => b'0' + digit,
                _ => b'a' + digit - 10,
            }))
        })
    }
}

#[cfg(test)]
mod tests;

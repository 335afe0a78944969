//! Encoding and decoding of each frame.

use core::iter;
use core::str::from_utf8;

use heapless::Vec;

use super::bytes::{Reader, Writer, bytes_of};
use super::{
    Ack, COOKIE_MAX, Cookie, Data, ENTRY_HEADER, Entry, FRAME, Frame, Gap, Goodbye, HELLO_MIN,
    Hello, LineKind, Malformed, Outcome, Post, Posted, Range, Reason, Refused, Resume, Session,
    TEXTS_MAX, Texts, Welcome, data_header,
};
use crate::wire::{DATAGRAM_MAX, NAME_MAX};

/// Length of the common header of all frames, in bytes.
const START: usize = 2;

/// The start of HELLO and COOKIE after the header: the version of the dialect.
const DIALECT: &str = " KC1 ";

impl<'a> Frame<'a> {
    /// Decodes a frame.
    ///
    /// # Errors
    ///
    /// If the datagram is not a frame, is truncated, or holds an invalid value. Drop it and count
    /// it.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        Self::read(payload, |kind, body| match kind {
            b'H' | b'P' | b'K' | b'L' => Self::clients(kind, body),
            _ => Self::relays(kind, body),
        })
        .ok_or(Malformed)
    }

    /// Decodes a frame that a client may send.
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

    /// Writes the frame to the start of `buffer` and returns its length. Returns `None` if it does
    /// not fit in the buffer, a datagram or a COOKIE. It validates nothing else;
    /// [`decode`](Self::decode) does.
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

    /// Encodes a frame that a relay sends, except DATA, which is written together with its lines.
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

    /// Returns the nonce of a HELLO in another version of the dialect, or 0 if it has none there.
    /// Returns `None` if this is no such HELLO.
    pub fn foreign_nonce(payload: &[u8]) -> Option<u64> {
        if payload.len() < HELLO_MIN || payload.len() > DATAGRAM_MAX {
            return None;
        }
        let body = payload.strip_prefix(&[FRAME, b'H'])?;
        let mut words = body.strip_prefix(b" KC")?.split(|byte| *byte == b' ');
        let version = words.next()?;
        let is_version = !version.is_empty() && version.iter().all(u8::is_ascii_digit);
        if !is_version || version == b"1" {
            return None;
        }
        let nonce = words.nth(1).and_then(|word| from_utf8(word).ok());
        Some(nonce.and_then(bytes_of).map_or(0, u64::from_be_bytes))
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
        let (nonce, words) = words.split_once(' ')?;
        let (cookie, words) = words.split_once(' ').unwrap_or((words, ""));
        Some(Self {
            version,
            nonce: u64::from_be_bytes(bytes_of(nonce)?),
            cookie: bytes_of(cookie)?,
            words,
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
        if !self.words.is_empty() {
            to.word(self.words)?;
        }
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
    /// Encodes as many of `texts` as fit in `buffer` and in a POST. Returns them and their number.
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

    /// Returns the encoded texts.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Returns the texts, which may be any bytes.
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

    /// Returns the lines in order. The first has the sequence number [`first`](Self::first).
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + Clone + use<'a> {
        let mut rest = Reader(self.entries);
        iter::from_fn(move || rest.entry().flatten())
    }

    /// Returns the encoded entries without the end mark.
    pub const fn bytes(&self) -> &'a [u8] {
        self.entries
    }
}

impl<'a> Entry<'a> {
    /// Encodes what precedes a line of `length` bytes: the length of the rest, author, time, kind, and the
    /// length of the name.
    pub(crate) fn header(&self, length: usize) -> [u8; ENTRY_HEADER] {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        let [high, low] = length.saturating_add(COUNTED).to_be_bytes();
        let [a, b, c, d] = self.author.to_be_bytes();
        let [e, f, g, h] = self.at.to_be_bytes();
        let flags = match self.kind {
            LineKind::Message => 0,
            LineKind::Announcement => 1,
            LineKind::Notice => 2,
            LineKind::Private => 3,
        };
        [high, low, a, b, c, d, e, f, g, h, flags, self.name]
    }

    /// Decodes the header of an entry. Returns the entry with an empty line, and the length of the
    /// line. Returns `None` if the encoded length is too small.
    pub(crate) fn from_header(header: [u8; ENTRY_HEADER]) -> Option<(Self, u16)> {
        let [high, low, a, b, c, d, e, f, g, h, flags, name] = header;
        let length = u16::from_be_bytes([high, low]).checked_sub(COUNTED)?;
        let entry = Self {
            author: u32::from_be_bytes([a, b, c, d]),
            at: u32::from_be_bytes([e, f, g, h]),
            kind: match flags {
                0 => LineKind::Message,
                1 => LineKind::Announcement,
                3 => LineKind::Private,
                _ => LineKind::Notice,
            },
            name,
            line: "",
        };
        Some((entry, length))
    }

    /// Splits encoded entries into the first one and the rest.
    pub(crate) fn split(entries: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut rest = Reader(entries);
        Some((rest.entry()??, rest.0))
    }
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

/// Bytes of an entry's header that its length field counts: all but the length field itself.
const COUNTED: u16 = 10;

/// The flag of an ACK that requests a reply.
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

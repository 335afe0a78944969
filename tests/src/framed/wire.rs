//! A second implementation of the codec in `PROTOCOL.md`, for the oracle, and a description of
//! frames for a trace.

use core::fmt;

/// A frame, without the fields that the oracle does not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Hello {
        nonce: u64,
        cookie: Option<String>,
        resume: Option<(u64, u32, u64)>,
        is_announced: bool,
    },
    Cookie {
        nonce: u64,
        cookie: String,
    },
    Welcome(Welcome),
    Refused {
        nonce: u64,
        reason: u8,
        retry_s: u64,
    },
    Post {
        session: u64,
        number: u16,
        texts: Vec<Vec<u8>>,
    },
    Posted {
        session: u64,
        number: u16,
        outcome: Outcome,
    },
    Data {
        epoch: u32,
        first: u64,
        lines: Vec<Entry>,
    },
    Gap {
        session: u64,
        from: u64,
        until: u64,
    },
    Ack {
        session: u64,
        /// The time stamp of the relay that it echoes.
        echo: Option<u16>,
        next: u64,
        /// The selective acknowledgements: the first line of each range, and the one after its
        /// last.
        ranges: Vec<(u64, u64)>,
        answer: bool,
    },
    Leave(u64),
    Bye {
        session: u64,
        reason: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) nonce: u64,
    pub(crate) session: u64,
    pub(crate) epoch: u32,
    pub(crate) author: u32,
    pub(crate) first: u64,
    pub(crate) head: u64,
    pub(crate) uptime_s: u32,
    pub(crate) window: u8,
    pub(crate) keepalive_s: u8,
    pub(crate) name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted { first: u64, lines: u8, texts: u8 },
    Refused { reason: u8, retry_ms: u16 },
    Answer,
}

/// An entry of a DATA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) author: u32,
    pub(crate) at: u32,
    pub(crate) flags: u8,
    pub(crate) name: u8,
    pub(crate) line: String,
}

pub(crate) const UNKNOWN: u8 = 1;
pub(crate) const LEFT: u8 = 2;
pub(crate) const TAKEN_OVER: u8 = 3;
pub(crate) const GIVEN_AWAY: u8 = 4;

impl Wire {
    /// Decodes a frame. Returns `None` if it is malformed.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let body = payload.strip_prefix(b"\x01")?;
        let (kind, body) = body.split_first()?;
        if payload.len() > 1024 {
            return None;
        }
        let mut body = Bytes(body);
        let frame = match kind {
            b'H' if payload.len() >= 128 => Self::hello(body.0)?,
            b'C' if payload.len() <= 128 => {
                let words: Vec<&str> = text(body.0)?.split(' ').collect();
                let ["", "KC1", _, nonce, cookie, "00000000", here] = words[..] else {
                    return None;
                };
                here.parse::<u16>().ok()?;
                let (nonce, cookie) = (hexadecimal(nonce, 16)?, cookie.to_owned());
                Self::Cookie { nonce, cookie }
            }
            b'W' => Self::Welcome(Welcome::read(&mut body)?),
            b'R' => Self::Refused {
                nonce: body.number(8)?,
                reason: body.small()?,
                retry_s: body.number(2)?,
            },
            b'P' => Self::Post {
                session: body.number(8)?,
                number: (body.number(2)?, body.number(2)?).0.try_into().ok()?,
                texts: body.texts()?,
            },
            b'A' => Self::Posted {
                session: body.number(8)?,
                number: (body.number(2)?, body.number(2)?).0.try_into().ok()?,
                outcome: Outcome::read(&mut body)?,
            },
            b'D' => Self::Data {
                epoch: body.number(4)?.try_into().ok()?,
                first: (body.number(2)?, body.number(8)?).1,
                lines: body.entries()?,
            },
            b'G' => Self::Gap {
                session: body.number(8)?,
                from: (body.number(2)?, body.number(8)?).1,
                until: body.number(8)?,
            },
            b'K' => Self::ack(&mut body)?,
            b'L' => Self::Leave(body.number(8)?),
            b'B' => Self::Bye {
                session: body.number(8)?,
                reason: body.small()?,
            },
            _ => return None,
        };
        Some(frame)
    }

    fn hello(body: &[u8]) -> Option<Self> {
        let words: Vec<&str> = text(body)?.splitn(7, ' ').collect();
        let ["", "KC1", abilities, nonce, cookie, resume, _] = words[..] else {
            return None;
        };
        let resume = match resume {
            "-" => None,
            resume => Some((
                hexadecimal(resume.get(..16)?, 16)?,
                u32::try_from(hexadecimal(resume.get(16..24)?, 8)?).ok()?,
                hexadecimal(resume.get(24..)?, 16)?,
            )),
        };
        Some(Self::Hello {
            nonce: hexadecimal(nonce, 16)?,
            cookie: (cookie != "-").then(|| cookie.to_owned()),
            resume,
            is_announced: hexadecimal(abilities, 8)? & 1 == 0,
        })
    }

    fn ack(body: &mut Bytes<'_>) -> Option<Self> {
        let session = body.number(8)?;
        let echo = body.number(2)?;
        let flags = body.small()?;
        let echo = u16::try_from(echo).ok().filter(|_| flags & 2 != 0);
        let next = body.number(8)?;
        let mut ranges = Vec::new();
        let mut end = next;
        while !body.0.is_empty() {
            let start = end + body.number(2)?;
            end = start + body.number(2)?;
            ranges.push((start, end));
        }
        Some(Self::Ack {
            session,
            echo,
            next,
            ranges,
            answer: flags & 1 != 0,
        })
    }
}

impl Welcome {
    fn read(body: &mut Bytes<'_>) -> Option<Self> {
        let [nonce, session] = [body.number(8)?, body.number(8)?];
        let [epoch, author] = [body.number(4)?, body.number(4)?];
        let [first, head, uptime] = [body.number(8)?, body.number(8)?, body.number(4)?];
        let [window, keepalive_s, length] = [body.small()?, body.small()?, body.small()?];
        Some(Self {
            nonce,
            session,
            epoch: epoch.try_into().ok()?,
            author: author.try_into().ok()?,
            first,
            head,
            uptime_s: uptime.try_into().ok()?,
            window,
            keepalive_s,
            name: text(body.take(length.into())?)?.to_owned(),
        })
    }
}

impl Outcome {
    fn read(body: &mut Bytes<'_>) -> Option<Self> {
        match body.small()? {
            0 => Some(Self::Accepted {
                first: body.number(8)?,
                lines: body.small()?,
                texts: body.small()?,
            }),
            1 => Some(Self::Refused {
                reason: body.small()?,
                retry_ms: body.number(2)?.try_into().ok()?,
            }),
            2 => Some(Self::Answer),
            _ => None,
        }
    }
}

impl fmt::Display for Wire {
    #[expect(clippy::too_many_lines, reason = "an arm for each frame")]
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello {
                nonce,
                cookie,
                resume,
                ..
            } => {
                let cookie = if cookie.is_some() { " with cookie" } else { "" };
                write!(formatter, "HELLO {nonce:x}{cookie}")?;
                match resume {
                    Some((session, epoch, next)) => {
                        write!(formatter, " resume {session:x} of {epoch:x} from {next}")
                    }
                    None => Ok(()),
                }
            }
            Self::Cookie { nonce, .. } => write!(formatter, "COOKIE {nonce:x}"),
            Self::Welcome(welcome) => {
                let Welcome {
                    nonce,
                    session,
                    epoch,
                    author,
                    first,
                    head,
                    name,
                    ..
                } = welcome;
                write!(
                    formatter,
                    "WELCOME {nonce:x} {name:?} = {author} has {session:x} of {epoch:x}, \
                     {first} up to {head}"
                )
            }
            Self::Refused {
                nonce,
                reason,
                retry_s,
            } => write!(
                formatter,
                "REFUSED {nonce:x} for {reason}, again in {retry_s} s"
            ),
            Self::Post {
                session,
                number,
                texts,
            } => {
                let texts = texts.iter().map(|text| shortened(text));
                let texts: Vec<String> = texts.collect();
                write!(
                    formatter,
                    "POST {session:x} #{number} {}",
                    texts.join(" | ")
                )
            }
            Self::Posted {
                session,
                number,
                outcome,
            } => write!(formatter, "POSTED {session:x} #{number} {outcome:?}"),
            Self::Data {
                epoch,
                first,
                lines,
            } => {
                let shown = lines.iter().map(|entry| shortened(entry.line.as_bytes()));
                let shown: Vec<String> = shown.take(4).collect();
                let end = first + lines.len() as u64;
                let shown = shown.join(" | ");
                write!(formatter, "DATA {first}..{end} of {epoch:x} {shown}")
            }
            Self::Gap {
                session,
                from,
                until,
            } => write!(formatter, "GAP {session:x} {from}..{until}"),
            Self::Ack {
                session,
                next,
                ranges,
                answer,
                ..
            } => {
                write!(formatter, "ACK {session:x} {next}")?;
                for (start, end) in ranges {
                    write!(formatter, " {start}..{end}")?;
                }
                formatter.write_str(if *answer { " answer" } else { "" })
            }
            Self::Leave(session) => write!(formatter, "LEAVE {session:x}"),
            Self::Bye { session, reason } => write!(formatter, "BYE {session:x} for {reason}"),
        }
    }
}

/// Describes a datagram for a trace.
pub(crate) fn told(payload: &[u8]) -> String {
    match Wire::read(payload) {
        Some(frame) => frame.to_string(),
        None => format!("{} ({})", shortened(payload), payload.len()),
    }
}

fn shortened(text: &[u8]) -> String {
    text[..text.len().min(40)].escape_ascii().to_string()
}

fn text(bytes: &[u8]) -> Option<&str> {
    core::str::from_utf8(bytes).ok()
}

fn hexadecimal(word: &str, digits: usize) -> Option<u64> {
    (word.len() == digits).then(|| u64::from_str_radix(word, 16).ok())?
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self, length: usize) -> Option<u64> {
        let digits = self.take(length)?.iter();
        Some(digits.fold(0, |number, digit| number << 8 | u64::from(*digit)))
    }

    fn small(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn texts(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut texts = Vec::new();
        while !self.0.is_empty() {
            let length = usize::try_from(self.number(2)?).ok()?;
            texts.push(self.take(length)?.to_vec());
        }
        Some(texts)
    }

    /// Returns the entries up to one of length 0, a single byte or the end.
    fn entries(&mut self) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        while self.0.len() > 1 {
            let length = usize::try_from(self.number(2)?).ok()?;
            if length == 0 {
                break;
            }
            let mut entry = Bytes(self.take(length)?);
            entries.push(Entry {
                author: entry.number(4)?.try_into().ok()?,
                at: entry.number(4)?.try_into().ok()?,
                flags: entry.small()?,
                name: entry.small()?,
                line: text(entry.0)?.to_owned(),
            });
        }
        Some(entries)
    }
}

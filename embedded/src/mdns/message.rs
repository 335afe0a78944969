//! Reading and writing of messages (RFC 1035 section 4).

use core::net::IpAddr;

use kilochat_core::Network;

use super::{Message, TTL_S};

pub(super) const HEADER: usize = 12;
pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;
pub(super) const ANY: u16 = 255;
pub(super) const INTERNET: u16 = 1;
/// In a question's class: a unicast response is requested. In a record's class: the record replaces
/// all cached ones (cache flush).
pub(super) const TOP_BIT: u16 = 0x8000;
/// In a name: the rest is at the offset in the lower bits.
const POINTER: u16 = 0xc000;

/// What all questions of a message together ask about the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// Whether every question requests a unicast response.
    pub(super) is_unicast: bool,
    /// Whether the sender probes for the name (section 8.1).
    #[cfg(feature = "probe")]
    pub(super) is_probe: bool,
    /// Offset of the name in the message.
    pub(super) name: usize,
    /// Offset of the end of the questions, after which the records begin.
    pub(super) end: usize,
}

/// Returns what a message asks about `name`, or `None` if it is malformed.
pub(super) fn asked(message: &[u8], name: &str) -> Option<Asked> {
    let mut asked = Asked {
        v4: false,
        v6: false,
        is_unicast: true,
        #[cfg(feature = "probe")]
        is_probe: number(message, 8)? > 0,
        name: 0,
        end: HEADER,
    };
    for _ in 0..number(message, 4)? {
        let at = asked.end;
        let (is_ours, end) = compare(message, at, name)?;
        let (kind, class) = (number(message, end)?, number(message, end + 2)?);
        asked.end = end + 4;
        if is_ours && matches!(class & !TOP_BIT, INTERNET | ANY) && matches!(kind, A | AAAA | ANY) {
            asked.v4 |= kind != AAAA;
            asked.v6 |= kind != A;
            asked.is_unicast &= class & TOP_BIT != 0;
            asked.name = at;
        }
    }
    Some(asked)
}

/// A record of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Whether it belongs to the name.
    is_ours: bool,
    kind: u16,
    pub(super) ttl_s: u32,
    data: &'a [u8],
}

impl Record<'_> {
    /// Returns whether it is this record of the name.
    pub(super) fn is(&self, kind: u16, data: &[u8]) -> bool {
        self.is_ours && self.kind == kind && self.data == data
    }

    /// Returns the address of the name, if it is a record of that.
    #[cfg(feature = "probe")]
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.kind {
            _ if !self.is_ours => None,
            A => <[u8; 4]>::try_from(self.data).ok().map(IpAddr::from),
            AAAA => <[u8; 16]>::try_from(self.data).ok().map(IpAddr::from),
            _ => None,
        }
    }
}

/// The records of a message, up to the first one that is malformed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Records<'a> {
    message: &'a [u8],
    name: &'a str,
    at: usize,
    left: u16,
}

impl<'a> Records<'a> {
    /// Returns the records of the answer section, which begins at `at`.
    pub(super) fn answers(message: &'a [u8], at: usize, name: &'a str) -> Self {
        let left = number(message, 6).unwrap_or_default();
        Self {
            message,
            name,
            at,
            left,
        }
    }

    /// Returns the records of all sections, which begin at `at`.
    #[cfg(feature = "probe")]
    pub(super) fn all(message: &'a [u8], at: usize, name: &'a str) -> Self {
        // more than fit into a message, which ends them
        let left = u16::MAX;
        Self {
            message,
            name,
            at,
            left,
        }
    }

    fn read(&mut self) -> Option<Record<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (is_ours, end) = compare(self.message, self.at, self.name)?;
        let (record, rest) = self.message.get(end..)?.split_first_chunk::<10>()?;
        let [k, ind, c, lass, t, t1, t2, l, high, low] = *record;
        let length = usize::from(u16::from_be_bytes([high, low]));
        self.at = end + record.len() + length;
        Some(Record {
            is_ours: is_ours && u16::from_be_bytes([c, lass]) & !TOP_BIT == INTERNET,
            kind: u16::from_be_bytes([k, ind]),
            ttl_s: u32::from_be_bytes([t, t1, t2, l]),
            data: rest.get(..length)?,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let record = self.read();
        if record.is_none() {
            self.left = 0;
        }
        record
    }
}

/// Returns whether the name at `at` is `name.local`, and where it ends.
fn compare(message: &[u8], mut at: usize, name: &str) -> Option<(bool, usize)> {
    let mut expected = [name, "local"].into_iter();
    let (mut is_equal, mut end) = (true, None);
    // the maximum number of labels in a name; the limit ends loops of pointers
    for _ in 0..128 {
        let length = *message.get(at)?;
        match length {
            0 => {
                let is_whole = expected.next().is_none();
                return Some((is_equal && is_whole, end.unwrap_or(at + 1)));
            }
            0xc0.. => {
                end = end.or(Some(at + 2));
                at = usize::from(number(message, at)? & 0x3fff);
            }
            _ => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                let wanted = expected.next();
                is_equal &= wanted.is_some_and(|text| text.as_bytes().eq_ignore_ascii_case(label));
                at += 1 + usize::from(length);
            }
        }
    }
    None
}

pub(super) fn number(message: &[u8], at: usize) -> Option<u16> {
    message
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

/// How records are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Where their name is in the message, or will be.
    pub(super) name: usize,
    pub(super) class: u16,
    pub(super) ttl_s: u16,
}

impl Form {
    /// For a message without questions. The records replace all others of the name, if it is probed whether
    /// the name is free (section 10.2).
    pub(super) const NEW: Self = Self {
        name: HEADER,
        class: if cfg!(feature = "probe") {
            INTERNET | TOP_BIT
        } else {
            INTERNET
        },
        ttl_s: TTL_S,
    };
}

/// Appends the records of those addresses of which type and data are wanted. Returns their number.
pub(super) fn push_records(
    message: &mut Message,
    name: &str,
    form: Form,
    networks: &[Network],
    mut is_wanted: impl FnMut(u16, &[u8]) -> bool,
) -> Option<u8> {
    let mut records = 0;
    for network in networks {
        let (kind, data) = match &network.address {
            IpAddr::V4(ip) => (A, &ip.octets()[..]),
            IpAddr::V6(ip) => (AAAA, &ip.octets()[..]),
        };
        if !is_wanted(kind, data) {
            continue;
        }
        if message.len() == form.name {
            push_name(message, name)?;
        } else {
            push(message, &[POINTER | u16::try_from(form.name).ok()?])?;
        }
        let length = u16::try_from(data.len()).ok()?;
        push(message, &[kind, form.class, 0, form.ttl_s, length])?;
        message.extend_from_slice(data).ok()?;
        records += 1;
    }
    Some(records)
}

pub(super) fn push(message: &mut Message, numbers: &[u16]) -> Option<()> {
    for number in numbers {
        message.extend_from_slice(&number.to_be_bytes()).ok()?;
    }
    Some(())
}

pub(super) fn push_name(message: &mut Message, name: &str) -> Option<()> {
    for label in [name, "local"] {
        message.push(u8::try_from(label.len()).ok()?).ok()?;
        message.extend_from_slice(label.as_bytes()).ok()?;
    }
    message.push(0).ok()
}

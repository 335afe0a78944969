//! How a line is kept in the ring of a relay and sent in DATA: behind a header.

/// Bytes of an entry before its line.
pub const ENTRY_HEADER: usize = 12;

/// Bytes of the header that the length counts: all but the length itself.
const COUNTED: u16 = 10;

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

/// What stands before a line, big-endian: `length u16` of what follows it, `author u32`, `at u32`,
/// `flags u8`, `name length u8`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryHeader {
    /// Bytes of the line.
    pub(crate) length: u16,
    pub(crate) author: u32,
    pub(crate) at: u32,
    pub(crate) kind: LineKind,
    /// Bytes of the line that are the author's name.
    pub(crate) name: u8,
}

impl EntryHeader {
    pub(crate) const fn to_bytes(self) -> [u8; ENTRY_HEADER] {
        let [high, low] = self.length.saturating_add(COUNTED).to_be_bytes();
        let [a, b, c, d] = self.author.to_be_bytes();
        let [e, f, g, h] = self.at.to_be_bytes();
        let flags = match self.kind {
            LineKind::Message => 0,
            LineKind::Announcement => 1,
            LineKind::Notice => 2,
        };
        [high, low, a, b, c, d, e, f, g, h, flags, self.name]
    }

    /// Returns `None` if the length is too small for a header.
    pub(crate) const fn from_bytes(bytes: [u8; ENTRY_HEADER]) -> Option<Self> {
        let [high, low, a, b, c, d, e, f, g, h, flags, name] = bytes;
        let Some(length) = u16::from_be_bytes([high, low]).checked_sub(COUNTED) else {
            return None;
        };
        let kind = match flags {
            0 => LineKind::Message,
            1 => LineKind::Announcement,
            _ => LineKind::Notice,
        };
        Some(Self {
            length,
            author: u32::from_be_bytes([a, b, c, d]),
            at: u32::from_be_bytes([e, f, g, h]),
            kind,
            name,
        })
    }
}

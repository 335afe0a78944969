//! Reading and writing of numbers, texts and entries.

use core::str::from_utf8;

use super::{Entry, FRAME, Session};
use crate::wire::{DATAGRAM_MAX, LINE_MAX, SEPARATOR};

/// Decodes exactly `2 * N` hexadecimal digits.
pub(super) fn bytes_of<const N: usize>(word: &str) -> Option<[u8; N]> {
    let mut digits = word.chars().map(|digit| digit.to_digit(16));
    let mut bytes = [0; N];
    for byte in &mut bytes {
        *byte = u8::try_from(digits.next()?? << 4 | digits.next()??).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

/// The part of a frame that is not read yet.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn session(&mut self) -> Option<Session> {
        self.u64().map(Session)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.bytes(length.into())
    }

    /// Reads the next entry. `Some(None)` is the end of the entries, after which only padding may
    /// follow; `None` is an error.
    #[expect(clippy::option_option, reason = "malformed and ended are different")]
    pub(super) fn entry(&mut self) -> Option<Option<Entry<'a>>> {
        if self.0.is_empty() || self.0 == [0] {
            return Some(None);
        }
        let mut rest = *self;
        if self.0.starts_with(&[0, 0]) {
            return Some(None);
        }
        let (entry, length) = Entry::from_header(rest.array()?)?;
        let line = from_utf8(rest.bytes(length.into())?).ok()?;
        let behind = line.get(entry.name.into()..)?;
        let is_sound = line.len() <= LINE_MAX && (entry.name == 0 || behind.starts_with(SEPARATOR));
        *self = rest;
        is_sound.then_some(Some(Entry { line, ..entry }))
    }
}

/// A frame that is being written.
pub(super) struct Writer<'a> {
    pub(super) buffer: &'a mut [u8],
    pub(super) length: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Option<Self> {
        let room = buffer.len().min(DATAGRAM_MAX);
        Some(Self {
            buffer: buffer.get_mut(..room)?,
            length: 0,
        })
    }

    pub(super) fn start(&mut self, kind: u8) -> Option<()> {
        self.bytes(&[FRAME, kind])
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length.checked_add(bytes.len())?;
        self.buffer
            .get_mut(self.length..end)?
            .copy_from_slice(bytes);
        self.length = end;
        Some(())
    }

    pub(super) fn u8(&mut self, number: u8) -> Option<()> {
        self.bytes(&[number])
    }

    pub(super) fn u16(&mut self, number: u16) -> Option<()> {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn u32(&mut self, number: u32) -> Option<()> {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn u64(&mut self, number: u64) -> Option<()> {
        self.bytes(&number.to_be_bytes())
    }

    /// Writes a space and a word.
    pub(super) fn word(&mut self, word: &str) -> Option<()> {
        self.u8(b' ')?;
        self.bytes(word.as_bytes())
    }

    /// Writes two hexadecimal digits for each byte.
    pub(super) fn digits(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.iter().try_for_each(|byte| {
            let digits = [byte >> 4, byte & 0xF];
            self.bytes(&digits.map(|digit| match digit {
                0..=9 => b'0' + digit,
                _ => b'a' + digit - 10,
            }))
        })
    }
}

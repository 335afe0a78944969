//! A queue of texts in a fixed number of bytes.

use core::iter;
use core::str::from_utf8;

use super::PostId;
use crate::wire::clean;

/// Bytes that a text takes in addition: its id and its length.
const HEADER: usize = 6;

/// The texts, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Waiting<const OUT: usize> {
    bytes: [u8; OUT],
    /// Offsets of the start of the first text and the end of the last one.
    start: usize,
    end: usize,
    count: usize,
}

impl<const OUT: usize> Waiting<OUT> {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; OUT],
            start: 0,
            end: 0,
            count: 0,
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Appends a text whose cleaned form has `length` bytes. Returns `false` if it does not fit.
    pub(super) fn push(&mut self, post: PostId, text: &str, length: u16) -> bool {
        let taken = self.end.saturating_sub(self.start);
        if OUT.saturating_sub(taken) < HEADER + usize::from(length) {
            return false;
        }
        if OUT.saturating_sub(self.end) < HEADER + usize::from(length) {
            self.move_to_start();
        }
        self.append(&post.0.to_be_bytes());
        self.append(&length.to_be_bytes());
        for character in clean(text) {
            self.append(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.count += 1;
        true
    }

    /// Returns the texts with their ids.
    pub(super) fn texts(&self) -> impl Iterator<Item = (PostId, &str)> {
        let mut rest = self.bytes.get(self.start..self.end).unwrap_or_default();
        iter::from_fn(move || {
            let (post, text, others) = split(rest)?;
            rest = others;
            Some((post, text))
        })
    }

    /// Removes the oldest text and returns its id.
    pub(super) fn pop(&mut self) -> Option<PostId> {
        let texts = self.bytes.get(self.start..self.end)?;
        let (post, _, others) = split(texts)?;
        self.start = self.end.saturating_sub(others.len());
        self.count = self.count.saturating_sub(1);
        Some(post)
    }

    fn append(&mut self, bytes: &[u8]) {
        let rest = self.bytes.get_mut(self.end..);
        if let Some(room) = rest.and_then(|rest| rest.get_mut(..bytes.len())) {
            room.copy_from_slice(bytes);
            self.end = self.end.saturating_add(bytes.len());
        }
    }

    fn move_to_start(&mut self) {
        for index in 0..self.end.saturating_sub(self.start) {
            let byte = self.bytes.get(self.start.saturating_add(index)).copied();
            if let (Some(to), Some(byte)) = (self.bytes.get_mut(index), byte) {
                *to = byte;
            }
        }
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
    }
}

fn split(texts: &[u8]) -> Option<(PostId, &str, &[u8])> {
    let (&post, rest) = texts.split_first_chunk()?;
    let (&length, rest) = rest.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u16::from_be_bytes(length).into())?;
    Some((
        PostId(u32::from_be_bytes(post)),
        from_utf8(text).unwrap_or_default(),
        rest,
    ))
}

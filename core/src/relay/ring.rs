//! The ring: the last lines in a fixed number of bytes.
//!
//! A line is stored after the header of an entry, in the encoding of DATA. An offset counts all
//! bytes ever appended, so that offsets can be compared without knowing where the ring wraps.

mod marks;

use core::fmt;

use marks::Marks;

use crate::wire::framed::{self, ENTRY_HEADER, LineKind};
use crate::wire::{LINE_MAX, whole_characters};

/// Maximum number of bytes that one message takes: two lines of [`LINE_MAX`].
pub(super) const MESSAGE_MAX: u64 = 2 * (ENTRY_HEADER + LINE_MAX) as u64;

impl LineKind {
    /// Returns whether it is a message to one peer.
    pub(super) const fn is_private(self) -> bool {
        cfg!(feature = "private") && matches!(self, Self::Private)
    }
}

/// The position of a line in the ring, or of the next line to be appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Number of lines before it since the start.
    pub(super) sequence: u64,
    /// Number of bytes before it since the start.
    pub(super) offset: u64,
}

/// The header of a line, and the position of its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The author's id, which no other peer gets while the line is in the ring; 0 is the relay. For a
    /// message to one peer it is the id of that peer.
    pub(super) author: u32,
    pub(super) kind: LineKind,
    /// Length of the line in bytes.
    pub(super) length: usize,
    /// The position of the next line.
    pub(super) next: Cursor,
    offset: u64,
}

/// The last line while its text is written.
pub(super) struct Text {
    line: Cursor,
    /// The offset of what is written next.
    offset: u64,
}

impl Text {
    /// Returns the position of the line.
    pub(super) const fn line(&self) -> Cursor {
        self.line
    }

    /// Returns the number of bytes that are written.
    pub(super) const fn length(&self) -> u64 {
        self.offset - self.line.offset - ENTRY_HEADER as u64
    }
}

/// The last lines, in `BYTES` bytes, a power of two. `MARKS` of them are found without a search.
#[derive(Clone)]
pub(super) struct Ring<const BYTES: usize, const MARKS: usize> {
    tail: Cursor,
    head: Cursor,
    marks: Marks<MARKS>,
    bytes: [u8; BYTES],
}

/// Returns the lower half of a sequence number, which is stored where memory is scarce: see
/// [`Ring::sequence`].
pub(super) const fn low_half(sequence: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = sequence.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl<const BYTES: usize, const MARKS: usize> Ring<BYTES, MARKS> {
    /// Bytes of the ring for each mark, rounded up to a power of two.
    const BLOCK: u64 = BYTES.div_ceil(MARKS).next_power_of_two() as u64;

    /// Returns an empty ring, all zero bits.
    pub(super) const fn new() -> Self {
        const {
            assert!(BYTES.is_power_of_two() && BYTES as u64 >= MESSAGE_MAX);
        }
        Self {
            tail: Cursor {
                sequence: 0,
                offset: 0,
            },
            head: Cursor {
                sequence: 0,
                offset: 0,
            },
            marks: Marks::new(),
            bytes: [0; BYTES],
        }
    }

    /// Numbers the lines of an empty ring from `sequence` on.
    pub(super) const fn start_at(&mut self, sequence: u64) {
        self.head.sequence = sequence;
        self.tail = self.head;
    }

    /// Returns the position of the oldest line in the ring, or the head if there is none.
    pub(super) const fn tail(&self) -> Cursor {
        self.tail
    }

    /// Returns the position of the next line to be appended.
    pub(super) const fn head(&self) -> Cursor {
        self.head
    }

    /// Returns the offset below which one more message may overwrite lines.
    pub(super) const fn endangered(&self) -> u64 {
        (self.head.offset + MESSAGE_MAX).saturating_sub(BYTES as u64)
    }

    /// Removes the oldest line and returns it, if a line of `length` bytes needs its space.
    pub(super) fn evict_for(&mut self, length: usize) -> Option<Entry> {
        let end = self.head.offset + (ENTRY_HEADER + length.min(LINE_MAX)) as u64;
        if end.saturating_sub(self.tail.offset) <= BYTES as u64 {
            return None;
        }
        let oldest = self.entry(self.tail)?;
        self.tail = oldest.next;
        Some(oldest)
    }

    /// Appends a line, overwriting the oldest ones. The line is cut after [`LINE_MAX`] bytes.
    pub(super) fn append(&mut self, entry: framed::Entry<'_>) -> Text {
        let line = whole_characters(entry.line, LINE_MAX);
        while self.evict_for(line.len()).is_some() {}
        let mut text = self.begin(&entry, line.len());
        self.write_text(&mut text, line);
        text
    }

    /// Appends a line of `length` bytes, at most [`LINE_MAX`], for which there must be
    /// [room](Self::evict_for). Its text is to be [written](Self::write_text) next; that of `entry` is not.
    pub(super) fn begin(&mut self, entry: &framed::Entry<'_>, length: usize) -> Text {
        let line = self.head;
        let start = line.offset;
        self.write(start, &entry.header(length));
        self.head = Cursor {
            sequence: self.head.sequence + 1,
            offset: start + (ENTRY_HEADER + length) as u64,
        };
        for block in start / Self::BLOCK..self.head.offset / Self::BLOCK {
            let skipped = self.head.offset - (block + 1) * Self::BLOCK;
            let low = low_half(self.head.sequence);
            self.marks.set(block + 1, low, skipped);
        }
        Text {
            line,
            offset: start + ENTRY_HEADER as u64,
        }
    }

    /// Writes the next part of the text of a line.
    pub(super) fn write_text(&mut self, text: &mut Text, part: &str) {
        self.write(text.offset, part.as_bytes());
        text.offset += part.len() as u64;
    }

    /// Returns the sequence number with this lower half that is the head's, or less than it by less
    /// than 2^32.
    pub(super) const fn sequence(&self, low: u32) -> u64 {
        let behind = low_half(self.head.sequence).wrapping_sub(low);
        self.head.sequence.wrapping_sub(behind as u64)
    }

    /// Returns the line at `cursor`, or `None` if that is the head. It must not be before the tail.
    pub(super) fn entry(&self, cursor: Cursor) -> Option<Entry> {
        if cursor.offset >= self.head.offset {
            return None;
        }
        let (entry, length) = framed::Entry::from_header(self.header(cursor.offset))?;
        let offset = cursor.offset + ENTRY_HEADER as u64;
        Some(Entry {
            author: entry.author,
            kind: entry.kind,
            length: length.into(),
            next: Cursor {
                sequence: cursor.sequence + 1,
                offset: offset + u64::from(length),
            },
            offset,
        })
    }

    /// Returns when the line at `cursor` was said, in seconds. It must not be before the tail.
    #[cfg(feature = "link")]
    pub(super) fn at(&self, cursor: Cursor) -> u32 {
        let entry = framed::Entry::from_header(self.header(cursor.offset));
        entry.map_or(0, |(entry, _)| entry.at)
    }

    /// Returns the end of the longest run of entries from `from` that fits in `room` bytes, headers
    /// included. A message to one peer ends it, because it is not the same for all.
    pub(super) fn run(&self, from: Cursor, room: usize) -> Cursor {
        let limit = from.offset + room as u64;
        let mut to = from;
        let fits = |entry: &Entry| entry.next.offset <= limit && !entry.kind.is_private();
        while let Some(entry) = self.entry(to).filter(fits) {
            to = entry.next;
        }
        to
    }

    /// Copies the entries `from..to`, headers included, to the start of `bytes`. Returns their
    /// length, or `None` if they do not fit.
    pub(super) fn read_run(&self, from: Cursor, to: Cursor, bytes: &mut [u8]) -> Option<usize> {
        let length = usize::try_from(to.offset - from.offset).ok()?;
        self.read(from.offset, bytes.get_mut(..length)?);
        Some(length)
    }

    /// Returns the position of the line with this sequence number, or else of the nearest line at
    /// or after `from`. If lines from `from` on were overwritten, that is `from`.
    ///
    /// It is a binary search of the marks, and then a search of the lines of one block.
    pub(super) fn seek(&self, from: Cursor, sequence: u64) -> Cursor {
        if from.offset < self.tail.offset || sequence <= from.sequence {
            return from;
        }
        if sequence >= self.head.sequence {
            return self.head;
        }
        let mut cursor = from;
        // the block of the cursor, and the last one in which the line may start
        let mut low = from.offset / Self::BLOCK;
        let mut high = self.head.offset / Self::BLOCK;
        while low < high {
            let middle = high - (high - low) / 2;
            let mark = self.mark(middle);
            if mark.sequence <= sequence {
                (low, cursor) = (middle, mark);
            } else {
                high = middle - 1;
            }
        }
        while cursor.sequence < sequence
            && let Some(entry) = self.entry(cursor)
        {
            cursor = entry.next;
        }
        cursor
    }

    /// Returns the first line that starts in a block or after it, of those that start in the ring.
    fn mark(&self, block: u64) -> Cursor {
        let (low, skipped) = self.marks.at(block);
        Cursor {
            sequence: self.sequence(low),
            offset: block * Self::BLOCK + u64::from(skipped),
        }
    }

    /// Returns the last two bytes of what is written.
    pub(super) fn end(&self, text: &Text) -> [u8; 2] {
        [2, 1].map(|back| {
            let at = Self::index(text.offset.wrapping_sub(back));
            self.bytes.get(at).copied().unwrap_or_default()
        })
    }

    /// Copies the text of `entry` to the start of `line`, as far as it fits.
    pub(super) fn read_line(&self, entry: &Entry, line: &mut [u8]) {
        if let Some(line) = line.get_mut(..entry.length) {
            self.read(entry.offset, line);
        }
    }

    /// Copies the line at `cursor` to the start of `buffer`. Returns the offset of the next line, and
    /// the line. Returns `None` if the cursor is at the head. It must not be before the tail.
    pub(super) fn read_entry<'a>(
        &self,
        cursor: Cursor,
        buffer: &'a mut [u8; LINE_MAX],
    ) -> Option<(u64, framed::Entry<'a>)> {
        let entry = self.entry(cursor)?;
        let (header, _) = framed::Entry::from_header(self.header(cursor.offset))?;
        self.read_line(&entry, buffer);
        let line = core::str::from_utf8(buffer.get(..entry.length)?).ok()?;
        Some((entry.next.offset, framed::Entry { line, ..header }))
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let (_, rest) = self.bytes.split_at_mut(Self::index(offset));
        match rest.get_mut(..data.len()) {
            Some(whole) => whole.copy_from_slice(data),
            None => self.write_wrapped(offset, data),
        }
    }

    #[cold]
    fn write_wrapped(&mut self, offset: u64, data: &[u8]) {
        let at = Self::index(offset);
        let (start, end) = data.split_at(data.len().min(BYTES - at));
        copy(self.bytes.get_mut(at..).unwrap_or_default(), start);
        copy(&mut self.bytes, end);
    }

    fn header(&self, offset: u64) -> [u8; ENTRY_HEADER] {
        let (_, rest) = self.bytes.split_at(Self::index(offset));
        match rest.first_chunk() {
            Some(header) => *header,
            None => {
                let mut header = [0; ENTRY_HEADER];
                self.read_wrapped(offset, &mut header);
                header
            }
        }
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        let (_, rest) = self.bytes.split_at(Self::index(offset));
        match rest.get(..data.len()) {
            Some(whole) => data.copy_from_slice(whole),
            None => self.read_wrapped(offset, data),
        }
    }

    #[cold]
    fn read_wrapped(&self, offset: u64, data: &mut [u8]) {
        let at = Self::index(offset);
        let (start, end) = data.split_at_mut(data.len().min(BYTES - at));
        copy(start, self.bytes.get(at..).unwrap_or_default());
        copy(end, &self.bytes);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "less than BYTES, which is a usize"
    )]
    const fn index(offset: u64) -> usize {
        (offset % BYTES as u64) as usize
    }
}

impl<const BYTES: usize, const MARKS: usize> fmt::Debug for Ring<BYTES, MARKS> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the contents are too long to be useful
        formatter
            .debug_struct("Ring")
            .field("tail", &self.tail)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// Copies as many bytes as both slices have.
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    let length = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..length), from.get(..length)) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn entry(author: u32, kind: LineKind, line: &str) -> framed::Entry<'_> {
        framed::Entry {
            author,
            at: u32::MAX,
            kind,
            name: 0,
            line,
        }
    }

    fn lines<const BYTES: usize, const MARKS: usize>(ring: &Ring<BYTES, MARKS>) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let mut cursor = ring.tail();
        while let Some(entry) = ring.entry(cursor) {
            let mut line = vec![0; entry.length];
            ring.read_line(&entry, &mut line);
            lines.push(line);
            cursor = entry.next;
        }
        assert_eq!(cursor, ring.head());
        lines
    }

    /// Searches all lines.
    fn walk<const BYTES: usize, const MARKS: usize>(
        ring: &Ring<BYTES, MARKS>,
        from: Cursor,
        sequence: u64,
    ) -> Cursor {
        let mut cursor = from;
        while from.offset >= ring.tail().offset
            && cursor.sequence < sequence
            && let Some(entry) = ring.entry(cursor)
        {
            cursor = entry.next;
        }
        cursor
    }

    fn seeks_as_it_walks<const MARKS: usize>(lengths: &[usize], start: u64) {
        let mut ring = Ring::<2048, MARKS>::new();
        // far from where numbers of 32 bits wrap, or just before that
        (ring.tail.sequence, ring.head.sequence) = (start, start);
        // will be overwritten soon
        let mut places = vec![ring.head()];
        for length in lengths {
            ring.append(entry(1, LineKind::Message, &"x".repeat(*length)));
            places.push(ring.head());
            let (first, last) = (ring.tail().sequence, ring.head().sequence);
            for from in places.iter().copied() {
                for sequence in (first.saturating_sub(2)..last + 2).chain([0, u64::MAX]) {
                    let expected = walk(&ring, from, sequence);
                    assert_eq!(ring.seek(from, sequence), expected, "{from:?} {sequence}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_line_is_found_as_if_all_were_looked_at(
            lengths in proptest::collection::vec(prop_oneof![0..40_usize, 0..=LINE_MAX], 0..60),
            start in prop_oneof![Just(0), Just(u64::from(u32::MAX) - 20)],
        ) {
            seeks_as_it_walks::<1>(&lengths, start);
            seeks_as_it_walks::<3>(&lengths, start);
            seeks_as_it_walks::<4>(&lengths, start);
            seeks_as_it_walks::<32>(&lengths, start);
            seeks_as_it_walks::<5000>(&lengths, start);
        }
    }

    #[test]
    fn a_sequence_number_is_found_by_its_lower_half() {
        let mut ring = Ring::<2048, 4>::new();
        ring.head.sequence = (5 << 32) + 7;
        for sequence in [(5 << 32) + 7, 5 << 32, (5 << 32) - 1, (4 << 32) + 8] {
            assert_eq!(ring.sequence(low_half(sequence)), sequence);
        }
    }

    #[test]
    fn holds_what_fits_exactly_and_not_a_byte_more() {
        let mut ring = Ring::<2048, 4>::new();
        // 4 entries of 512 bytes fill it
        for digit in ["0", "1", "2", "3"] {
            ring.append(entry(1, LineKind::Message, &digit.repeat(500)));
        }
        assert_eq!(
            lines(&ring),
            [[b'0'; 500], [b'1'; 500], [b'2'; 500], [b'3'; 500]]
        );
        ring.append(entry(1, LineKind::Message, ""));
        assert_eq!(ring.tail().sequence, 1);
        assert_eq!(lines(&ring).len(), 4);
    }

    #[test]
    fn every_position_of_the_wrap_gives_the_same_line() {
        let mut ring = Ring::<2048, 4>::new();
        let line: String = ('\0'..='\x7F').cycle().take(LINE_MAX).collect();
        for length in (0..5000).map(|turn| turn % (LINE_MAX + 1)) {
            ring.append(entry(7, LineKind::Announcement, &line[..length]));
            let stored = lines(&ring);
            assert_eq!(stored.last().unwrap(), &line.as_bytes()[..length]);
            assert!(
                stored
                    .iter()
                    .all(|stored| *stored == line.as_bytes()[..stored.len()])
            );
            assert!(ring.head().offset - ring.tail().offset <= 2048);
        }
    }

    #[test]
    fn an_entry_tells_its_author_and_kind() {
        let mut ring = Ring::<2048, 4>::new();
        for (author, kind) in [
            (1, LineKind::Message),
            (u32::MAX, LineKind::Announcement),
            (0, LineKind::Notice),
        ] {
            let cursor = ring.head();
            ring.append(entry(author, kind, "x"));
            let entry = ring.entry(cursor).unwrap();
            assert_eq!((entry.author, entry.kind, entry.length), (author, kind, 1));
        }
        assert!(ring.entry(ring.head()).is_none());
    }

    #[test]
    fn one_more_message_overwrites_what_is_endangered_and_nothing_else() {
        let mut ring = Ring::<2048, 4>::new();
        // no line is in danger while two lines of any length fit
        assert_eq!(ring.endangered(), 0);
        for length in [500, 0, LINE_MAX, 17, 3, 300, LINE_MAX, LINE_MAX] {
            ring.append(entry(1, LineKind::Message, &"x".repeat(length)));
            let endangered = ring.endangered();
            let mut next = ring.clone();
            let mut kept = ring.tail();
            while kept.offset < endangered {
                kept = ring.entry(kept).unwrap().next;
            }
            for _ in 0..2 {
                next.append(entry(1, LineKind::Message, &"y".repeat(LINE_MAX)));
            }
            assert_eq!(next.tail(), kept);
        }
    }

    #[test]
    fn a_line_that_is_too_long_ends_with_a_whole_character() {
        let mut ring = Ring::<2048, 4>::new();
        let line = "x".repeat(LINE_MAX - 1) + "ä";
        ring.append(entry(1, LineKind::Message, &line));
        ring.append(entry(1, LineKind::Message, "y"));
        let expected = [&line.as_bytes()[..LINE_MAX - 1], b"y"];
        assert_eq!(lines(&ring), expected);
    }
}

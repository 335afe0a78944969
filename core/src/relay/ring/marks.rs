//! The positions of lines in the ring, block by block, by which a sequence number is found without
//! a search of all lines.

/// For each of the last `COUNT` blocks the first line that starts in it or after it.
///
/// It takes 6 bytes for each block: half of the sequence number, and the offset of the line in the
/// block.
#[derive(Clone)]
pub(super) struct Marks<const COUNT: usize> {
    low: [u32; COUNT],
    /// Less than the length of the longest entry.
    skipped: [u16; COUNT],
}

impl<const COUNT: usize> Marks<COUNT> {
    pub(super) const fn new() -> Self {
        Self {
            low: [0; COUNT],
            skipped: [0; COUNT],
        }
    }

    pub(super) fn set(&mut self, block: u64, low: u32, skipped: u64) {
        let at = Self::index(block);
        if let (Some(to), Some(begin)) = (self.low.get_mut(at), self.skipped.get_mut(at)) {
            *to = low;
            *begin = u16::try_from(skipped).unwrap_or(u16::MAX);
        }
    }

    pub(super) fn at(&self, block: u64) -> (u32, u16) {
        let at = Self::index(block);
        let low = self.low.get(at).copied().unwrap_or_default();
        (low, self.skipped.get(at).copied().unwrap_or_default())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "less than COUNT, which is a usize"
    )]
    const fn index(block: u64) -> usize {
        (block % COUNT as u64) as usize
    }
}

//! A hash index of seats: chains in two fixed arrays.

use super::seat::Seat;

/// Seats by hash: at most `SEATS`, each at most once.
#[derive(Clone, Debug)]
pub(super) struct Index<const SEATS: usize> {
    first: [Option<Seat>; SEATS],
    next: [Option<Seat>; SEATS],
}

impl<const SEATS: usize> Index<SEATS> {
    pub(super) const fn new() -> Self {
        Self {
            first: [None; SEATS],
            next: [None; SEATS],
        }
    }

    /// Returns the seats that may have this hash. The caller compares what was hashed.
    pub(super) fn candidates(&self, hash: u32) -> impl Iterator<Item = Seat> + '_ {
        let first = self.first.get(place(hash, SEATS)).copied().flatten();
        core::iter::successors(first, |seat| self.next.get(seat.index()).copied().flatten())
    }

    pub(super) fn insert(&mut self, hash: u32, seat: Seat) {
        if let (Some(first), Some(next)) = (
            self.first.get_mut(place(hash, SEATS)),
            self.next.get_mut(seat.index()),
        ) {
            *next = first.replace(seat);
        }
    }

    pub(super) fn remove(&mut self, hash: u32, seat: Seat) {
        let behind = self.next.get_mut(seat.index()).and_then(Option::take);
        let mut link = self.first.get_mut(place(hash, SEATS));
        while let Some(here) = link {
            let Some(candidate) = *here else {
                return;
            };
            if candidate == seat {
                *here = behind;
                return;
            }
            link = self.next.get_mut(candidate.index());
        }
    }
}

/// Returns the place of a hash among `places`. Its upper bits decide, which are the best mixed ones.
pub(super) const fn place(hash: u32, places: usize) -> usize {
    ((hash as u64 * places as u64) >> 32) as usize
}

/// Mixes `bits` into a hash of 32 bits.
pub(super) fn hash(bits: u64) -> u32 {
    // 2^64 divided by the golden ratio (Fibonacci hashing); the upper half depends on all bits
    let mixed = (bits ^ (bits >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let bytes = mixed.to_be_bytes();
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

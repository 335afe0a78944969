//! An index into the peer table.

use core::num::NonZeroU16;

/// An index into the peer table, which a peer keeps from its join until it leaves.
///
/// A driver keeps what it knows of a peer, such as the local address from which to reply, in a
/// table of its own under [`Seat::index`]. `Debug` shows the index plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Seat(NonZeroU16);

impl Seat {
    /// What stands for the author of a line from another place. It is no peer's seat: there are at most
    /// `u16::MAX - 1`.
    #[cfg(feature = "link")]
    pub(super) const ELSEWHERE: Self = Self(NonZeroU16::MAX);

    /// Returns the index: 0 up to the number of seats less one.
    pub const fn index(self) -> usize {
        (self.0.get() - 1) as usize
    }

    pub(super) fn from_index(index: usize) -> Option<Self> {
        let number = u16::try_from(index).ok()?.checked_add(1)?;
        NonZeroU16::new(number).map(Self)
    }
}

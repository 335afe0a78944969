//! A place in the peer table.

use core::num::NonZeroU16;

/// A place in the peer table, kept by a peer from its join until it leaves.
///
/// Drivers keep what they know of a peer, such as the local address it writes to, in a table of
/// their own under [`Seat::index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Seat(NonZeroU16);

impl Seat {
    /// The seat's number: 0 to the number of seats less one.
    pub const fn index(self) -> usize {
        (self.0.get() - 1) as usize
    }

    pub(super) fn from_index(index: usize) -> Option<Self> {
        let number = u16::try_from(index).ok()?.checked_add(1)?;
        NonZeroU16::new(number).map(Self)
    }
}

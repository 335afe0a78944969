//! Limits of the joins and the seats of the sources in one foreign prefix.

use super::bucket::{Bucket, Limit};
use crate::relay::event::Refusal;

/// Number of slots. Prefixes whose hashes collide share a slot and its limits.
const SLOTS: u8 = 32;

/// Limit of the joins of a prefix.
const JOINS: Limit = Limit {
    burst: 4,
    interval_ms: 10_000,
};

/// Minimum number of seats that a prefix may have.
const SEATS_MIN: usize = 4;

/// The slot of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) struct Slot(u8);

impl Slot {
    /// Returns a slot for a number that depends on the prefix.
    pub(in crate::relay) const fn of(number: u8) -> Self {
        // a power of two
        Self(number & (SLOTS - 1))
    }
}

/// Joins and seats of all foreign prefixes.
#[derive(Clone, Debug)]
pub(super) struct Prefixes {
    joins: [Bucket; SLOTS as usize],
    seats: [u16; SLOTS as usize],
}

impl Prefixes {
    pub(super) const fn new() -> Self {
        Self {
            joins: [Bucket::NEW; SLOTS as usize],
            seats: [0; SLOTS as usize],
        }
    }

    /// Counts a join. `seats` is the number of seats of the room, and `freed` whether the newcomer
    /// takes the place of a peer with this slot.
    ///
    /// # Errors
    ///
    /// If the prefix, or all foreign prefixes together, have their share of the seats, or if the
    /// prefix joins too fast.
    pub(super) fn admit(
        &mut self,
        now_ms: u32,
        Slot(slot): Slot,
        seats: usize,
        freed: bool,
    ) -> Result<(), Refusal> {
        let all: usize = self.seats.iter().map(|seats| usize::from(*seats)).sum();
        let freed = usize::from(freed);
        let index = usize::from(slot);
        let own = self.seats.get(index).map_or(0, |seats| usize::from(*seats));
        if own >= SEATS_MIN.max(seats / 8) + freed || all >= seats / 2 + freed {
            return Err(Refusal::Crowded);
        }
        match self.joins.get_mut(index) {
            Some(bucket) => bucket.take(now_ms, JOINS).map_err(|_| Refusal::Hasty),
            None => Ok(()),
        }
    }

    /// Counts a peer of this prefix that has taken a seat.
    pub(super) fn count_in(&mut self, Slot(slot): Slot) {
        if let Some(seats) = self.seats.get_mut(usize::from(slot)) {
            *seats = seats.saturating_add(1);
        }
    }

    /// Counts a peer of this prefix that has left.
    pub(super) fn count_out(&mut self, Slot(slot): Slot) {
        if let Some(seats) = self.seats.get_mut(usize::from(slot)) {
            *seats = seats.saturating_sub(1);
        }
    }
}

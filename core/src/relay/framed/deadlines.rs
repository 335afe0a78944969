//! The next deadline of all seats: a binary heap in which each seat has at most one place.

use heapless::Vec;

use crate::relay::seat::Seat;
use crate::time::Instant;

/// At most one deadline for each of `SEATS` seats.
#[derive(Clone, Debug)]
pub(in crate::relay) struct Deadlines<const SEATS: usize> {
    /// The heap: no deadline is before that of the seat at half its index.
    heap: Vec<Seat, SEATS>,
    /// By seat: one more than its index in the heap, or 0 if it has no deadline.
    places: [u16; SEATS],
    moments: [Instant; SEATS],
}

impl<const SEATS: usize> Deadlines<SEATS> {
    pub(super) const fn new() -> Self {
        Self {
            heap: Vec::new(),
            places: [0; SEATS],
            moments: [Instant::from_millis(0); SEATS],
        }
    }

    /// Returns the seat with the earliest deadline, and the deadline.
    pub(in crate::relay) fn first(&self) -> Option<(Seat, Instant)> {
        let seat = *self.heap.first()?;
        Some((seat, self.moment(seat)))
    }

    /// Sets or clears the deadline of `seat`.
    pub(super) fn set(&mut self, seat: Seat, moment: Option<Instant>) {
        match moment {
            Some(moment) => {
                let at = self.enter(seat, moment);
                self.sink(at);
            }
            None => self.remove(seat),
        }
    }

    /// Sets the deadline of `seat` to `moment`, unless it has an earlier one.
    pub(super) fn advance(&mut self, seat: Seat, moment: Instant) {
        if self.place(seat).is_none() || moment < self.moment(seat) {
            self.enter(seat, moment);
        }
    }

    /// Sets the deadline of `seat`, adding it to the heap if needed. Returns its index; the caller
    /// restores the order of the heap downwards.
    fn enter(&mut self, seat: Seat, moment: Instant) -> usize {
        if let Some(place) = self.moments.get_mut(seat.index()) {
            *place = moment;
        }
        let at = match self.place(seat) {
            Some(at) => at,
            None => {
                let at = self.heap.len();
                // the heap has room for every seat
                let _ = self.heap.push(seat);
                self.put(at, seat);
                at
            }
        };
        self.rise(at)
    }

    fn remove(&mut self, seat: Seat) {
        let Some(at) = self.place(seat) else {
            return;
        };
        if let Some(place) = self.places.get_mut(seat.index()) {
            *place = 0;
        }
        let Some(last) = self.heap.pop() else {
            return;
        };
        if last != seat {
            self.put(at, last);
            let at = self.rise(at);
            self.sink(at);
        }
    }

    fn rise(&mut self, mut at: usize) -> usize {
        while at > 0 {
            let above = (at - 1) / 2;
            if !self.is_before(at, above) {
                break;
            }
            self.swap(at, above);
            at = above;
        }
        at
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            let below = if self.is_before(left + 1, left) {
                left + 1
            } else {
                left
            };
            if !self.is_before(below, at) {
                break;
            }
            self.swap(at, below);
            at = below;
        }
    }

    /// Returns whether both indexes are in the heap and the deadline of the first is before that of
    /// the second.
    fn is_before(&self, one: usize, other: usize) -> bool {
        let (Some(one), Some(other)) = (self.heap.get(one), self.heap.get(other)) else {
            return false;
        };
        self.moment(*one) < self.moment(*other)
    }

    fn swap(&mut self, one: usize, other: usize) {
        if let (Some(first), Some(second)) =
            (self.heap.get(one).copied(), self.heap.get(other).copied())
        {
            self.put(one, second);
            self.put(other, first);
        }
    }

    fn put(&mut self, at: usize, seat: Seat) {
        if let (Some(here), Some(place)) =
            (self.heap.get_mut(at), self.places.get_mut(seat.index()))
        {
            *here = seat;
            *place = u16::try_from(at + 1).unwrap_or(u16::MAX);
        }
    }

    fn place(&self, seat: Seat) -> Option<usize> {
        usize::from(*self.places.get(seat.index())?).checked_sub(1)
    }

    fn moment(&self, seat: Seat) -> Instant {
        self.moments.get(seat.index()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SEATS: usize = 9;

    proptest! {
        #[test]
        fn agrees_with_a_map(
            steps in proptest::collection::vec((0..SEATS, proptest::option::of(0..20_u64), any::<bool>()), 0..200)
        ) {
            let mut deadlines = Deadlines::<SEATS>::new();
            let mut model = BTreeMap::new();
            for (index, millis, only_earlier) in steps {
                let seat = Seat::from_index(index).unwrap();
                let moment = millis.map(Instant::from_millis);
                match moment {
                    Some(moment) if only_earlier => {
                        deadlines.advance(seat, moment);
                        let entry = model.entry(seat).or_insert(moment);
                        *entry = moment.min(*entry);
                    }
                    Some(later) => {
                        deadlines.set(seat, moment);
                        model.insert(seat, later);
                    }
                    None => {
                        deadlines.set(seat, None);
                        model.remove(&seat);
                    }
                }
                let first = deadlines.first();
                prop_assert_eq!(first.map(|(_, at)| at), model.values().min().copied());
                prop_assert_eq!(first.map(|(seat, at)| model.get(&seat) == Some(&at)), first.map(|_| true));
            }
            // the order in which deadlines pass
            while let Some((seat, at)) = deadlines.first() {
                prop_assert_eq!(model.remove(&seat), Some(at));
                prop_assert!(model.values().all(|other| *other >= at));
                deadlines.set(seat, None);
            }
            prop_assert!(model.is_empty());
        }
    }
}

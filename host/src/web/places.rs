//! Limits of connections. Incomplete requests, answers and pages have separate limits, so that
//! silent connections cannot take the place of others.

use core::net::IpAddr;

/// Maximum number of connections whose request is not complete or was rejected, in all and for one
/// address. A browser opens six at once, and one more in advance.
pub(super) const HEADS: usize = 64;
const HEADS_PER_ADDRESS: usize = 8;

/// Maximum number of connections from this machine, on which there may be a proxy.
const PER_LOOPBACK: u16 = 64;

/// The limits that can be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Maximum number of connections.
    pub(super) connections: u16,
    /// Maximum number of connections of one address.
    pub(super) per_address: u16,
    /// Maximum number of pages.
    pub(super) pages: u16,
}

/// The purpose of a connection, each with its own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The request has not arrived, or was rejected.
    Head,
    /// An answer is sent.
    Answer,
    /// The WebSocket of a page.
    Page,
}

/// The connections, oldest first.
#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    taken: Vec<Taken>,
}

#[derive(Debug)]
struct Taken {
    slot: usize,
    address: IpAddr,
    place: Place,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            taken: Vec::with_capacity(HEADS + usize::from(limits.connections)),
        }
    }

    /// Returns the slot that must be closed before a connection from this address is accepted: the
    /// oldest incomplete request of this address if it has too many; if there are too many in all,
    /// that of the address with the most.
    pub(super) fn displaced(&self, address: IpAddr) -> Option<usize> {
        let heads = || self.taken.iter().filter(|taken| taken.place == Place::Head);
        let of = |address: IpAddr| heads().filter(move |taken| taken.address == address);
        let most = if address.is_loopback() {
            HEADS
        } else {
            HEADS_PER_ADDRESS
        };
        if of(address).count() >= most {
            return of(address).next().map(|oldest| oldest.slot);
        }
        if heads().count() < HEADS {
            return None;
        }
        let greedy = heads().max_by_key(|taken| of(taken.address).count())?;
        of(greedy.address).next().map(|oldest| oldest.slot)
    }

    /// Counts a connection that was accepted.
    pub(super) fn take(&mut self, slot: usize, address: IpAddr) {
        let place = Place::Head;
        self.taken.push(Taken {
            slot,
            address,
            place,
        });
    }

    /// Moves a connection with a complete request to its place. Returns `false` if there is no
    /// room.
    pub(super) fn promote(&mut self, slot: usize, place: Place) -> bool {
        let Some(index) = self.taken.iter().position(|taken| taken.slot == slot) else {
            return false;
        };
        let address = self.taken[index].address;
        let others = || self.taken.iter().filter(|taken| taken.place != Place::Head);
        let per_address = if address.is_loopback() {
            PER_LOOPBACK.max(self.limits.per_address)
        } else {
            self.limits.per_address
        };
        let is_full = others().count() >= usize::from(self.limits.connections)
            || others().filter(|taken| taken.address == address).count()
                >= usize::from(per_address)
            || place == Place::Page && self.pages() >= usize::from(self.limits.pages);
        if !is_full {
            self.taken[index].place = place;
        }
        !is_full
    }

    /// Counts a connection that was closed.
    pub(super) fn free(&mut self, slot: usize) {
        self.taken.retain(|taken| taken.slot != slot);
    }

    /// Returns the number of pages.
    pub(super) fn pages(&self) -> usize {
        let pages = self.taken.iter();
        pages.filter(|taken| taken.place == Place::Page).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connections: 6,
        per_address: 3,
        pages: 2,
    };

    fn address(number: u8) -> IpAddr {
        [192, 168, 1, number].into()
    }

    #[test]
    fn an_address_displaces_its_own_oldest_request() {
        let mut places = Places::new(LIMITS);
        for slot in 0..HEADS_PER_ADDRESS {
            assert_eq!(places.displaced(address(1)), None);
            places.take(slot, address(1));
        }
        assert_eq!(places.displaced(address(1)), Some(0));
        assert_eq!(places.displaced(address(2)), None);
        places.free(0);
        assert_eq!(places.displaced(address(1)), None);
    }

    #[test]
    fn a_browser_that_opens_seven_connections_before_it_asks_loses_none() {
        let mut places = Places::new(LIMITS);
        for slot in 0..7 {
            assert_eq!(places.displaced(address(1)), None);
            places.take(slot, address(1));
        }
    }

    #[test]
    fn if_there_are_too_many_requests_the_address_with_the_most_loses_its_oldest() {
        let mut places = Places::new(LIMITS);
        for slot in 0..HEADS {
            let number = u8::try_from(slot / 2).unwrap();
            places.take(slot, address(if slot == 63 { 7 } else { number }));
        }
        assert_eq!(places.displaced(address(200)), Some(14));
    }

    #[test]
    fn answers_and_pages_have_limits_in_all_and_for_each_address() {
        let mut places = Places::new(LIMITS);
        let mut slot = 0;
        let mut promote = |places: &mut Places, number, place| {
            slot += 1;
            places.take(slot, address(number));
            places.promote(slot, place)
        };
        assert!(promote(&mut places, 1, Place::Page));
        assert!(promote(&mut places, 1, Place::Answer));
        assert!(promote(&mut places, 1, Place::Answer));
        assert!(
            !promote(&mut places, 1, Place::Answer),
            "three of one address"
        );
        assert!(promote(&mut places, 2, Place::Page));
        assert!(!promote(&mut places, 3, Place::Page), "two pages");
        assert!(promote(&mut places, 3, Place::Answer));
        assert!(promote(&mut places, 4, Place::Answer));
        assert!(!promote(&mut places, 5, Place::Answer), "six in all");
        assert_eq!(places.pages(), 2);
    }

    #[test]
    fn this_machine_may_have_more_connections() {
        let limits = Limits {
            connections: 500,
            ..LIMITS
        };
        let mut places = Places::new(limits);
        let own = [127, 0, 0, 1].into();
        for slot in 0..PER_LOOPBACK {
            places.take(slot.into(), own);
            assert!(places.promote(slot.into(), Place::Answer));
        }
        places.take(64, own);
        assert!(!places.promote(64, Place::Answer));
    }
}

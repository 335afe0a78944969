//! The lists of idle and due peers: two doubly linked lists in one array of links.

use super::seat::Seat;

/// One of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Peers to which nothing is to be sent.
    Idle,
    /// Peers to which something is to be sent, in the order in which they are served.
    Due,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    previous: Option<Seat>,
    next: Option<Seat>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    front: Option<Seat>,
    back: Option<Seat>,
}

/// Two doubly linked lists. A seat is in at most one of them.
#[derive(Clone, Debug)]
pub(super) struct Queue<const SEATS: usize> {
    links: [Links; SEATS],
    idle: Ends,
    due: Ends,
}

impl<const SEATS: usize> Queue<SEATS> {
    pub(super) const fn new() -> Self {
        const NOBODY: Ends = Ends {
            front: None,
            back: None,
        };
        Self {
            links: [Links {
                previous: None,
                next: None,
            }; SEATS],
            idle: NOBODY,
            due: NOBODY,
        }
    }

    pub(super) fn front(&self, list: List) -> Option<Seat> {
        match list {
            List::Idle => self.idle.front,
            List::Due => self.due.front,
        }
    }

    /// Returns the seat after `seat` in its list.
    pub(super) fn next(&self, seat: Seat) -> Option<Seat> {
        self.links.get(seat.index())?.next
    }

    /// Returns the seats of a list, front first.
    pub(super) fn iter(&self, list: List) -> impl Iterator<Item = Seat> + '_ {
        core::iter::successors(self.front(list), |seat| self.next(*seat))
    }

    pub(super) fn push_back(&mut self, list: List, seat: Seat) {
        let back = self.ends(list).back.replace(seat);
        self.set(
            seat,
            Links {
                previous: back,
                next: None,
            },
        );
        match back {
            Some(back) => self.set_next(back, Some(seat)),
            None => self.ends(list).front = Some(seat),
        }
    }

    /// Removes `seat` from `list`, in which it must be. With `None` it is in no list, and nothing
    /// happens.
    pub(super) fn unlink(&mut self, list: Option<List>, seat: Seat) {
        let (Some(list), Some(&Links { previous, next })) = (list, self.links.get(seat.index()))
        else {
            return;
        };
        match previous {
            Some(previous) => self.set_next(previous, next),
            None => self.ends(list).front = next,
        }
        match next {
            Some(next) => self.set_previous(next, previous),
            None => self.ends(list).back = previous,
        }
    }

    /// Appends all idle seats to the due ones, in constant time.
    pub(super) fn all_due(&mut self) {
        let Ends {
            front: Some(front),
            back,
        } = self.idle
        else {
            return;
        };
        self.idle = Ends {
            front: None,
            back: None,
        };
        match self.due.back {
            Some(due) => {
                self.set_next(due, Some(front));
                self.set_previous(front, Some(due));
            }
            None => self.due.front = Some(front),
        }
        self.due.back = back;
    }

    fn ends(&mut self, list: List) -> &mut Ends {
        match list {
            List::Idle => &mut self.idle,
            List::Due => &mut self.due,
        }
    }

    fn set(&mut self, seat: Seat, to: Links) {
        if let Some(links) = self.links.get_mut(seat.index()) {
            *links = to;
        }
    }

    fn set_next(&mut self, seat: Seat, next: Option<Seat>) {
        if let Some(links) = self.links.get_mut(seat.index()) {
            links.next = next;
        }
    }

    fn set_previous(&mut self, seat: Seat, previous: Option<Seat>) {
        if let Some(links) = self.links.get_mut(seat.index()) {
            links.previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::VecDeque;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const SEATS: usize = 5;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Back(bool, usize),
        AllDue,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (any::<bool>(), 0..SEATS).prop_map(|(due, seat)| Step::Back(due, seat)),
            1 => Just(Step::AllDue),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn agrees_with_two_deques(steps in steps()) {
            let lists = [List::Idle, List::Due];
            let mut queue = Queue::<SEATS>::new();
            let mut model = [VecDeque::new(), VecDeque::new()];
            for step in steps {
                // a seat that is already in a list is moved
                if let Step::Back(_, seat) = step {
                    let seat = Seat::from_index(seat).unwrap();
                    for (list, members) in lists.into_iter().zip(&mut model) {
                        if members.contains(&seat) {
                            queue.unlink(Some(list), seat);
                            members.retain(|member| *member != seat);
                        }
                    }
                }
                match step {
                    Step::Back(due, seat) => {
                        let seat = Seat::from_index(seat).unwrap();
                        queue.push_back(lists[usize::from(due)], seat);
                        model[usize::from(due)].push_back(seat);
                    }
                    Step::AllDue => {
                        queue.all_due();
                        let [idle, due] = &mut model;
                        due.append(idle);
                    }
                }
                for (list, members) in lists.into_iter().zip(&model) {
                    prop_assert!(queue.iter(list).eq(members.iter().copied()));
                    prop_assert_eq!(queue.front(list), members.front().copied());
                }
            }
        }
    }
}

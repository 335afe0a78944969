//! One direction of one client: the datagrams that wait, and until when. It has no socket and no
//! clock.

use core::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::faults::{Fates, Faults};
use super::traffic::Traffic;

/// Maximum number of datagrams that wait in a lane. Later ones are dropped and count as unsent.
const WAITING_MAX: usize = 65_536;

/// The datagrams of one client in one direction.
#[derive(Debug)]
pub(super) struct Lane {
    fates: Fates,
    received: u64,
    /// The highest number of a datagram that was sent.
    furthest: Option<u64>,
    under_way: BinaryHeap<Reverse<Waiting>>,
    /// Datagrams that are held back until a later one is sent, or until their time.
    held: VecDeque<Waiting>,
    ready: VecDeque<Waiting>,
    traffic: Traffic,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    number: u64,
    is_copy: bool,
    is_held: bool,
    copy: Option<core::time::Duration>,
    payload: Arc<[u8]>,
}

impl Lane {
    pub(super) fn new(seed: u64, lane: u64) -> Self {
        Self {
            fates: Fates::new(seed, lane),
            received: 0,
            furthest: None,
            under_way: BinaryHeap::new(),
            held: VecDeque::new(),
            ready: VecDeque::new(),
            traffic: Traffic::default(),
        }
    }

    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        payload: &[u8],
        faults: &Faults,
        is_blackout: bool,
    ) {
        let number = self.received;
        self.received += 1;
        self.traffic.received += 1;
        let fate = self.fates.next(faults);
        if is_blackout {
            self.traffic.blacked_out += 1;
        } else if fate.is_lost {
            self.traffic.lost += 1;
        } else if self.waiting() >= WAITING_MAX {
            self.traffic.unsent += 1;
        } else {
            self.under_way.push(Reverse(Waiting {
                due: now + fate.delay,
                number,
                is_copy: false,
                is_held: fate.is_held,
                copy: fate.copy,
                payload: payload.into(),
            }));
        }
    }

    /// Records a datagram that arrived at a port which drops everything.
    pub(super) const fn handle_swallowed(&mut self) {
        self.traffic.received += 1;
        self.traffic.swallowed += 1;
    }

    /// Returns when [`Lane::poll_transmit`] has a datagram next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let under_way = self.under_way.peek().map(|Reverse(waiting)| waiting.due);
        let held = self.held.front().map(|waiting| waiting.due);
        let ready = self.ready.front().map(|waiting| waiting.due);
        [under_way, held, ready].into_iter().flatten().min()
    }

    /// Returns the next payload that is due. Report the result by [`Lane::handle_sent`].
    pub(super) fn poll_transmit(&mut self, now: Instant, faults: &Faults) -> Option<Arc<[u8]>> {
        loop {
            if let Some(waiting) = self.ready.pop_front() {
                return Some(self.depart(now, waiting));
            }
            // in the order of their due times, even if the caller is late
            let held = self.held.front().map(|waiting| waiting.due);
            let under_way = self.under_way.peek().map(|Reverse(waiting)| waiting.due);
            let is_held_first = held.is_some_and(|held| under_way.is_none_or(|other| held < other));
            if is_held_first {
                if held.is_some_and(|due| due > now) {
                    return None;
                }
                self.ready.extend(self.held.pop_front());
                continue;
            }
            if under_way.is_none_or(|due| due > now) {
                return None;
            }
            let Reverse(mut waiting) = self.under_way.pop()?;
            if waiting.is_held && self.furthest.is_none_or(|last| last < waiting.number) {
                waiting.due += faults.hold;
                self.held.push_back(waiting);
            } else {
                self.ready.push_back(waiting);
            }
        }
    }

    /// Records whether the payload from [`Lane::poll_transmit`] was sent.
    pub(super) const fn handle_sent(&mut self, is_sent: bool) {
        if is_sent {
            self.traffic.forwarded += 1;
        } else {
            self.traffic.unsent += 1;
        }
    }

    /// Records an ICMP error "port unreachable" from the other end.
    pub(super) const fn handle_unreachable(&mut self) {
        self.traffic.unreachable += 1;
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            waiting: self.waiting() as u64,
            ..self.traffic
        }
    }

    fn waiting(&self) -> usize {
        self.under_way.len() + self.held.len() + self.ready.len()
    }

    fn depart(&mut self, now: Instant, waiting: Waiting) -> Arc<[u8]> {
        if waiting.is_copy {
            return waiting.payload;
        }
        match self.furthest {
            Some(furthest) if furthest > waiting.number => self.traffic.reordered += 1,
            _ => self.release_before(waiting.number),
        }
        if let Some(lag) = waiting.copy {
            self.traffic.duplicated += 1;
            self.under_way.push(Reverse(Waiting {
                due: now + lag,
                is_copy: true,
                is_held: false,
                copy: None,
                payload: Arc::clone(&waiting.payload),
                ..waiting
            }));
        }
        waiting.payload
    }

    /// Records that the datagram `number` is sent, and releases those that were held back for it.
    fn release_before(&mut self, number: u64) {
        self.furthest = Some(number);
        for waiting in core::mem::take(&mut self.held) {
            if waiting.number < number {
                self.ready.push_back(waiting);
            } else {
                self.held.push_back(waiting);
            }
        }
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |waiting: &Self| (waiting.due, waiting.number, waiting.is_copy);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    /// Puts in `count` numbered datagrams, one each millisecond. Returns those that came out, each
    /// with its time, and the counters.
    fn run(faults: &Faults, seed: u64, count: u32) -> (Vec<(u32, u32)>, Traffic) {
        let (mut lane, begun) = (Lane::new(seed, 0), Instant::now());
        let mut out = Vec::new();
        let mut pass = |lane: &mut Lane, at: u32| {
            let now = begun + STEP * at;
            while let Some(payload) = lane.poll_transmit(now, faults) {
                lane.handle_sent(true);
                out.push((
                    at,
                    u32::from_be_bytes(payload[..].try_into().expect("four")),
                ));
            }
            assert!(lane.poll_timeout().is_none_or(|due| due > now));
            lane.traffic().check_sums().expect("conservation");
        };
        for number in 0..count {
            lane.handle_datagram(begun + STEP * number, &number.to_be_bytes(), faults, false);
            pass(&mut lane, number);
        }
        for at in count..count + 1000 {
            pass(&mut lane, at);
        }
        assert_eq!(lane.poll_timeout(), None);
        (out, lane.traffic())
    }

    /// Returns how many datagrams come after one with a higher number, not counting copies.
    fn overtaken(numbers: impl Iterator<Item = u32>) -> u64 {
        let (mut furthest, mut count) = (0, 0);
        let mut seen = std::collections::BTreeSet::new();
        for number in numbers.filter(|number| seen.insert(*number)) {
            count += u64::from(number < furthest);
            furthest = furthest.max(number);
        }
        count
    }

    #[test]
    fn without_faults_all_go_at_once_in_order() {
        let (out, traffic) = run(&Faults::NONE, 1, 1000);
        assert!(out.into_iter().eq((0..1000).map(|number| (number, number))));
        assert_eq!((traffic.forwarded, traffic.reordered), (1000, 0));
    }

    #[test]
    fn a_delay_keeps_the_order() {
        let faults = Faults {
            delay: Duration::from_millis(50),
            ..Faults::NONE
        };
        let (out, traffic) = run(&faults, 1, 1000);
        assert!(
            out.into_iter()
                .eq((0..1000).map(|number| (number + 50, number)))
        );
        assert_eq!(traffic.reordered, 0);
    }

    #[test]
    fn rates_are_what_was_set_and_what_a_reader_sees() {
        for seed in 0..20 {
            let (out, traffic) = run(&Faults::HARSH, seed, 20_000);
            traffic.check_rates(&Faults::HARSH).expect("the rates");
            assert_eq!(traffic.forwarded, out.len() as u64);
            let numbers = out.iter().map(|(_, number)| *number);
            assert_eq!(traffic.reordered, overtaken(numbers.clone()));
            let distinct: std::collections::BTreeSet<_> = numbers.collect();
            assert_eq!(traffic.passed(), distinct.len() as u64);
        }
    }

    #[test]
    fn jitter_reorders_and_every_overtaking_counts() {
        let faults = Faults {
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(20),
            ..Faults::HARSH
        };
        let (out, traffic) = run(&faults, 5, 20_000);
        assert_eq!(
            traffic.reordered,
            overtaken(out.iter().map(|(_, number)| *number))
        );
        assert!(traffic.reorder_percent() > 50.0);
        // delayed by 40, held back for 100, and the copy 40 later
        let lateness = out.iter().map(|(at, number)| at - number);
        assert!(lateness.clone().min() >= Some(20) && lateness.max() <= Some(182));
    }

    #[test]
    fn what_is_held_for_nothing_goes_in_time_and_is_not_reordered() {
        let faults = Faults {
            reorder_percent: 100.0,
            ..Faults::NONE
        };
        let (out, traffic) = run(&faults, 1, 10);
        assert!(
            out.into_iter()
                .eq((0..10).map(|number| (number + 100, number)))
        );
        assert_eq!(traffic.reordered, 0);
    }

    #[test]
    fn too_many_that_wait_are_not_taken() {
        let faults = Faults {
            delay: Duration::from_secs(1),
            ..Faults::NONE
        };
        let mut lane = Lane::new(1, 0);
        let now = Instant::now();
        for _ in 0..WAITING_MAX + 5 {
            lane.handle_datagram(now, b"x", &faults, false);
        }
        let traffic = lane.traffic();
        assert_eq!((traffic.waiting, traffic.unsent), (WAITING_MAX as u64, 5));
        traffic.check_sums().expect("conservation");
    }
}

extern crate std;

use std::vec::Vec;

use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use super::*;
use crate::wire::framed::{Range, Session};

const WINDOW: usize = 4;

/// An input of a window.
#[derive(Clone, Debug)]
enum Step {
    /// Sends as many datagrams as `room` allows, with these numbers of lines.
    Send(Vec<u8>),
    Resend,
    SendGap,
    /// This number of the datagrams sent last would block.
    Refuse(usize),
    /// The peer has all except this number of the lines that were sent, and some of the others.
    Ack(u64, Vec<(u16, u16)>, Option<u16>),
    Wait(u16),
    /// The ring is overwritten up to this number of lines after the window's oldest one.
    Overwrite(u64),
    /// The session is resumed this number of lines after the acknowledged ones.
    Restart(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec_of(1..4_u8, 1..=WINDOW).prop_map(Step::Send),
        2 => Just(Step::Resend),
        1 => Just(Step::SendGap),
        1 => (1..=WINDOW).prop_map(Step::Refuse),
        3 => (0..8_u64, vec_of((1..4_u16, 1..4_u16), 0..3), any::<Option<u16>>())
            .prop_map(|(missing, ranges, echo)| Step::Ack(missing, ranges, echo)),
        2 => prop_oneof![0..50_u16, 200..4000_u16].prop_map(Step::Wait),
        1 => (0..10_u64).prop_map(Step::Overwrite),
        1 => (0..4_u64).prop_map(Step::Restart),
    ]
}

/// Returns the position of the line `sequence`. Lines have 12 to 18 bytes, and all positions are
/// known in advance.
fn cursor(sequence: u64) -> Cursor {
    let offset = (0..sequence).map(|line| 12 + line * 5 % 7).sum();
    Cursor { sequence, offset }
}

/// A window, and the true state of its lines.
struct Checked {
    window: Window<WINDOW>,
    now: u16,
    tail: u64,
    /// The datagrams sent last for the first time, if nothing has happened since.
    fresh: Vec<(u64, u64)>,
}

impl Checked {
    fn play(&mut self, step: Step) {
        let fresh = core::mem::take(&mut self.fresh);
        match step {
            Step::Send(lines) => self.send(&lines),
            Step::Resend => {
                if let Some((from, _)) = self.window.lost() {
                    self.window.handle_resent(self.now, from.sequence);
                    assert_ne!(self.window.oldest_lost(), Some(from.offset));
                }
            }
            Step::SendGap => {
                if let Some((from, until)) = self.window.gap() {
                    assert!(from < until && until <= self.tail, "{from}..{until}");
                    self.window.handle_gap_sent(self.now);
                    assert_eq!(self.window.gap(), None);
                }
            }
            Step::Refuse(most) => {
                for (from, to) in fresh.into_iter().rev().take(most) {
                    self.window.handle_unsent(from, to, true);
                    assert_eq!(self.window.end().sequence, from);
                }
            }
            Step::Ack(missing, ranges, echo) => self.acknowledge(missing, &ranges, echo),
            Step::Wait(millis) => self.wait(millis),
            Step::Overwrite(lines) => self.overwrite(lines),
            Step::Restart(lines) => {
                let acked = self.window.acked();
                self.window.advance(acked + lines);
                let acked = self.window.acked();
                let base = cursor(acked.max(self.window.base().sequence));
                self.window.restart(base);
                assert_eq!(self.window.end(), base);
            }
        }
        self.check();
    }

    fn send(&mut self, lines: &[u8]) {
        for &lines in lines.iter().take(self.window.room()) {
            let from = self.window.end();
            let to = cursor(from.sequence + u64::from(lines));
            let bytes = u16::try_from(to.offset - from.offset).unwrap();
            self.window
                .handle_sent(self.now, &[Segment { bytes, lines }]);
            assert_eq!(self.window.end(), to);
            self.fresh.push((from.sequence, to.sequence));
        }
    }

    fn acknowledge(&mut self, missing: u64, ranges: &[(u16, u16)], echo: Option<u16>) {
        let before = self.window.acked();
        let end = self.window.end();
        let next = end.sequence.saturating_sub(missing);
        let ranges = ranges.iter().map(|&(skip, run)| Range { skip, run });
        self.window.handle_ack(
            self.now,
            &Ack {
                session: Session(1),
                echo,
                answer: false,
                next,
                ranges: ranges.collect(),
            },
        );
        assert_eq!(self.window.acked(), before.max(next));
        assert_eq!(self.window.end(), end);
        if missing == 0 {
            assert!(self.window.flights.is_empty() && !self.window.has_gap());
        }
    }

    fn wait(&mut self, millis: u16) {
        let due = self.window.timeout_ms(self.now);
        self.now = self.now.wrapping_add(millis);
        let limit = self.window.congestion_window;
        let is_late = self.window.handle_timeout(self.now);
        assert_eq!(is_late, due.is_some_and(|due| millis >= due));
        assert!(!is_late || self.window.congestion_window <= limit);
        assert!(self.window.timeout_ms(self.now).is_none_or(|wait| wait > 0));
    }

    fn overwrite(&mut self, lines: u64) {
        let tail = (self.window.base().sequence + lines).max(self.tail);
        self.tail = tail;
        let [base, end] = [self.window.base(), self.window.end()];
        let missed = self.window.handle_overwritten(cursor(tail));
        assert!(missed <= tail.saturating_sub(base.sequence));
        assert_eq!(self.window.end(), cursor(tail.max(end.sequence)));
        // lost lines are still in the ring, so they can be retransmitted
        let lost = self.window.oldest_lost();
        assert!(lost.is_none_or(|lost| lost >= cursor(tail).offset));
    }

    fn check(&self) {
        let window = &self.window;
        assert_eq!(window.base, cursor(window.base.sequence));
        for (start, flight) in window.starts() {
            let end = flight.end(start);
            assert_eq!(end, cursor(end.sequence), "a datagram between lines");
            assert!(flight.lines > 0 && end.sequence > window.acked);
        }
        assert!(window.acked <= window.end().sequence);
        assert!((CONGESTION_WINDOW_MIN..=4).contains(&window.congestion_window));
        assert!((RTO_MIN_MS..=RTO_MAX_MS).contains(&window.rto_ms()));
        assert!(window.flights.len() + window.room() <= WINDOW);
        let count = |state| {
            window
                .flights
                .iter()
                .filter(|flight| flight.state == state)
                .count()
        };
        let counts = (usize::from(window.in_flight), usize::from(window.lost));
        assert_eq!(counts, (count(State::Sent), count(State::Lost)));
        assert!(counts.0 + window.room() <= WINDOW);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn datagrams_in_flight_end_between_lines(steps in vec_of(step(), 0..60)) {
        let mut checked = Checked { window: Window::new(0, cursor(0)), now: 65_000, tail: 0, fresh: Vec::new() };
        for step in steps {
            checked.play(step);
        }
        // a peer that acknowledges is sent everything
        for _ in 0..3 * WINDOW {
            checked.play(Step::Wait(RTO_MAX_MS));
            checked.play(Step::SendGap);
            for _ in 0..WINDOW {
                checked.play(Step::Resend);
            }
            checked.play(Step::Send(Vec::from([1; WINDOW])));
        }
        checked.play(Step::Ack(0, Vec::new(), None));
        prop_assert_eq!(checked.window.timeout_ms(checked.now), None);
        prop_assert_eq!(checked.window.room(), usize::from(checked.window.congestion_window));
    }
}

fn sent(lines: &[u8]) -> Window<WINDOW> {
    let mut checked = Checked {
        window: Window::new(0, cursor(0)),
        now: 0,
        tail: 0,
        fresh: Vec::new(),
    };
    checked.send(lines);
    checked.window
}

#[test]
fn an_acknowledgement_may_end_within_a_datagram() {
    let mut window = sent(&[2, 1, 3]);
    assert_eq!(window.advance(1), 0);
    assert_eq!((window.acked(), window.base()), (1, cursor(0)));
    assert_eq!(window.flights.len(), 3);
    assert_eq!(window.advance(3), 2);
    assert_eq!((window.acked(), window.base()), (3, cursor(3)));
    assert_eq!(window.end(), cursor(6));
}

#[test]
fn what_is_left_of_an_overwritten_datagram_is_sent_again() {
    let mut window = sent(&[3, 2]);
    assert!(window.handle_timeout(1000));
    assert_eq!(window.handle_overwritten(cursor(2)), 2);
    assert_eq!(window.gap(), Some((0, 2)));
    assert_eq!(window.lost(), Some((cursor(2), cursor(3))));
}

#[test]
fn what_arrived_behind_a_refused_datagram_keeps_its_place() {
    let mut window = sent(&[2, 1]);
    assert_eq!(window.hold(2, 3), 1);
    window.handle_unsent(0, 3, true);
    assert_eq!(window.end(), cursor(3));
    assert_eq!(window.lost(), Some((cursor(0), cursor(2))));
}

// [D6]
/// RFC 6298, section 2: SRTT and RTTVAR from samples, within what rounding to milliseconds costs.
#[test]
fn the_time_out_follows_the_round_trip() {
    let mut window = sent(&[]);
    assert_eq!(window.rto_ms(), 1000);
    for (sample, least, most) in [
        (400, 1200, 1200), // 400 + 4 * 200
        (400, 1000, 1000), // 400 + 4 * 150
        (800, 1300, 1302), // 450 + 4 * 212.5
        (10_001, 1300, 1302),
        (10_000, RTO_MAX_MS, RTO_MAX_MS),
    ] {
        window.round_trip.sample(sample);
        assert!((least..=most).contains(&window.rto_ms()), "{sample}");
    }
    for _ in 0..100 {
        window.round_trip.sample(10);
    }
    assert_eq!(window.rto_ms(), RTO_MIN_MS);
    for backed_off in [450, 675, 1012, 1518, 2277, RTO_MAX_MS, RTO_MAX_MS] {
        window.timeouts += 1;
        assert_eq!(window.rto_ms(), backed_off);
    }
}

/// Sends as many datagrams of one line as `room` allows. Returns their number.
fn fill<const WINDOW: usize>(window: &mut Window<WINDOW>) -> usize {
    let room = window.room();
    let segment = Segment {
        bytes: 20,
        lines: 1,
    };
    window.handle_sent(0, &std::vec![segment; room]);
    room
}

fn acknowledge_all<const WINDOW: usize>(window: &mut Window<WINDOW>) {
    let next = window.end().sequence;
    let ack = Ack {
        session: Session(1),
        echo: None,
        answer: false,
        next,
        ranges: Default::default(),
    };
    window.handle_ack(0, &ack);
}

/// Retransmits as many datagrams as may be in flight. Returns their number.
fn resend<const WINDOW: usize>(window: &mut Window<WINDOW>) -> usize {
    let mut resent = 0;
    while let Some((from, _)) = window.lost() {
        window.handle_resent(0, from.sequence);
        resent += 1;
    }
    resent
}

// [D5]
#[test]
fn the_window_starts_with_4_and_doubles_with_each_round_without_a_loss() {
    let mut window = Window::<100>::new(0, Cursor::default());
    for expected in [4, 8, 16, 32, 64, 100, 100] {
        assert_eq!(fill(&mut window), expected);
        acknowledge_all(&mut window);
    }
}

// [D5]
#[test]
fn a_time_out_halves_the_window_which_then_grows_by_one_a_round() {
    let mut window = Window::<32>::new(0, Cursor::default());
    for _ in 0..3 {
        fill(&mut window);
        acknowledge_all(&mut window);
    }
    assert_eq!(fill(&mut window), 32);
    for halved in [16, 8, 4, 2, 2] {
        assert!(window.handle_timeout(RTO_MAX_MS));
        assert_eq!(resend(&mut window), halved);
    }
    acknowledge_all(&mut window);
    for grown in [3, 4, 5, 6] {
        assert_eq!(fill(&mut window), grown);
        acknowledge_all(&mut window);
    }
}

// [D5]
#[test]
fn a_session_that_goes_on_starts_with_4_again() {
    let mut window = Window::<32>::new(0, Cursor::default());
    for _ in 0..3 {
        fill(&mut window);
        acknowledge_all(&mut window);
    }
    window.restart(window.end());
    assert_eq!(fill(&mut window), 4);
}

#[test]
fn only_what_the_network_refused_is_retransmitted() {
    let mut window = sent(&[2, 1, 1]);
    window.handle_unsent(2, 3, false);
    assert_eq!(window.lost(), Some((cursor(2), cursor(3))));
    assert_eq!((window.in_flight, window.lost), (2, 1));
}

#[test]
fn a_refused_datagram_is_taken_back_without_those_before_it() {
    let mut window = sent(&[1, 1, 1]);
    window.handle_unsent(2, 3, true);
    assert_eq!(window.end(), cursor(2));
    assert_eq!((window.in_flight, window.lost), (2, 0));
}

#[test]
fn a_range_is_progress_and_an_acknowledgement_without_news_is_none() {
    let mut window = sent(&[1, 1, 1]);
    assert!(window.handle_timeout(1000));
    let backed_off = window.rto_ms();
    assert_eq!(resend(&mut window), 2); // half of four
    let mut ack = Ack {
        session: Session(1),
        echo: None,
        answer: false,
        next: 0,
        ranges: Default::default(),
    };
    window.handle_ack(1000, &ack);
    assert_eq!(window.rto_ms(), backed_off);
    ack.ranges.push(Range { skip: 1, run: 1 }).unwrap();
    window.handle_ack(1000, &ack);
    assert!(window.rto_ms() < backed_off);
}

#[test]
fn what_is_overwritten_up_to_its_end_may_still_arrive() {
    let mut window = sent(&[2, 1]);
    assert_eq!(window.handle_overwritten(cursor(3)), 0);
    assert_eq!(window.gap(), None);
    window.handle_unsent(2, 3, false);
    assert_eq!(window.handle_overwritten(cursor(2)), 0);
    assert_eq!(window.lost(), Some((cursor(2), cursor(3))));
}

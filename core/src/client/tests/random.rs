//! Valid frames, nearly valid ones and noise, in any order.

use std::collections::BTreeSet;
use std::vec;

use proptest::collection::vec as list;
use proptest::prelude::*;

use super::*;

const FIRST: u64 = 10;

/// An input of a client.
#[derive(Clone, Debug)]
enum Step {
    Data {
        ahead: i64,
        lines: u64,
        epoch: u32,
    },
    Gap {
        ahead: i64,
        lines: u64,
    },
    Posted {
        behind: u16,
        kind: u8,
        texts: u8,
    },
    Bye {
        why: Goodbye,
        is_own: bool,
    },
    Cookie(u8),
    Welcome {
        session: u64,
        epoch: u32,
        ahead: i64,
        lines: u64,
    },
    Refused(Reason, u16),
    /// The last frame again, with a byte changed, or truncated.
    Mutated {
        at: usize,
        byte: u8,
        cut: bool,
    },
    Noise(Vec<u8>),
    Wait(u64),
    Transmit,
    Events(usize),
    Post(String),
    Reconnect,
    Leave,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ahead = || prop_oneof![4 => -3_i64..6, 1 => 0_i64..3000];
    let epoch = || prop_oneof![9 => Just(EPOCH), 1 => Just(EPOCH + 1)];
    let why = prop_oneof![
        20 => Just(Goodbye::Unknown),
        1 => Just(Goodbye::TakenOver),
        1 => Just(Goodbye::GivenAway),
        1 => Just(Goodbye::Left),
        1 => Just(Goodbye::Other(9)),
    ];
    let reason = prop_oneof![Just(Reason::Full), Just(Reason::Other(9))];
    let texts = [
        "hello",
        "/who",
        "//x",
        "/nick Eve",
        "/quiet on",
        "a\u{7}b",
        " ",
    ];
    let step = prop_oneof![
        20 => (ahead(), 0_u64..5, epoch())
            .prop_map(|(ahead, lines, epoch)| Step::Data { ahead, lines, epoch }),
        3 => (ahead(), 1_u64..9).prop_map(|(ahead, lines)| Step::Gap { ahead, lines }),
        8 => (0_u16..2, 0_u8..4, 0_u8..4)
            .prop_map(|(behind, kind, texts)| Step::Posted { behind, kind, texts }),
        1 => (why, any::<bool>()).prop_map(|(why, is_own)| Step::Bye { why, is_own }),
        4 => (0_u8..4).prop_map(Step::Cookie),
        4 => (0xA_u64..0xC, epoch(), ahead(), 0_u64..5).prop_map(
            |(session, epoch, ahead, lines)| Step::Welcome { session, epoch, ahead, lines }
        ),
        1 => (reason, 0_u16..5).prop_map(|(reason, retry_s)| Step::Refused(reason, retry_s)),
        6 => (0_usize..200, any::<u8>(), any::<bool>())
            .prop_map(|(at, byte, cut)| Step::Mutated { at, byte, cut }),
        2 => list(any::<u8>(), 0..60).prop_map(Step::Noise),
        8 => prop_oneof![0_u64..200, 0_u64..20_000].prop_map(Step::Wait),
        8 => Just(Step::Transmit),
        8 => (0_usize..9).prop_map(Step::Events),
        6 => proptest::sample::select(texts.to_vec()).prop_map(|text| Step::Post(text.into())),
        1 => Just(Step::Reconnect),
    ];
    let last = prop_oneof![Just(None), Just(Some(Step::Leave))];
    (list(step, 0..120), last).prop_map(|(steps, last)| steps.into_iter().chain(last).collect())
}

/// A client, and what the test knows about it.
struct Watched {
    client: Box<Small>,
    now: u64,
    /// What the client sent last: its nonce and cookie path, session, epoch and number.
    nonce: u64,
    path: Path,
    number: u16,
    session: Session,
    epoch: u32,
    /// The first line that the client did not acknowledge, and the lines that it was sent.
    acked: u64,
    given: BTreeSet<u64>,
    /// Lines before this one were sent to it or declared lost.
    gone: u64,
    /// The next line of which an event is expected, if that is known.
    expected: Option<u64>,
    /// Texts without a result.
    open: Vec<PostId>,
    is_over: bool,
    last: Vec<u8>,
    is_honest: bool,
}

impl Watched {
    fn new() -> Self {
        let mut watched = Self {
            client: Box::new(Client::new("Ada", SEED, 3)),
            now: 0,
            nonce: SEED,
            path: Path(0),
            number: 0,
            session: SESSION,
            epoch: EPOCH,
            acked: 0,
            given: BTreeSet::new(),
            gone: 0,
            expected: None,
            open: Vec::new(),
            is_over: false,
            last: Vec::new(),
            is_honest: true,
        };
        watched.transmit();
        watched.apply(&Step::Cookie(1));
        watched.transmit();
        watched.apply(&Step::Welcome {
            session: 0xA,
            epoch: EPOCH,
            ahead: 10,
            lines: 0,
        });
        watched
    }

    fn apply(&mut self, step: &Step) {
        let now = Instant::from_millis(self.now);
        match step {
            Step::Data { .. } | Step::Gap { .. } | Step::Posted { .. } | Step::Bye { .. } => {
                self.in_session(step);
            }
            Step::Cookie(cookie) => {
                self.gives(&Frame::Cookie(Cookie {
                    version: "0.1.0",
                    words: "00000000",
                    nonce: self.nonce,
                    cookie: [*cookie; 16],
                }));
            }
            &Step::Refused(reason, retry_s) => {
                self.gives(&Frame::Refused(Refused {
                    nonce: self.nonce,
                    reason,
                    retry_s,
                }));
            }
            &Step::Welcome {
                session,
                epoch,
                ahead,
                lines,
            } => self.welcome(session, epoch, self.at(ahead), lines),
            &Step::Mutated { at, byte, cut } => {
                self.is_honest = false;
                let mut payload = self.last.clone();
                let length = payload.len();
                if cut {
                    payload.truncate(at);
                } else if length > 0 {
                    payload[at % length] ^= byte;
                }
                self.client.handle_datagram(now, self.path, &payload);
            }
            Step::Noise(noise) => {
                let payload = [&[1], &noise[..]].concat();
                self.client.handle_datagram(now, self.path, &payload);
            }
            Step::Wait(duration_ms) => self.wait(*duration_ms),
            Step::Transmit => self.transmit(),
            Step::Events(most) => self.events(*most),
            Step::Post(text) => {
                if let Ok(post) = self.client.post(text) {
                    self.open.push(post);
                }
            }
            Step::Reconnect => self.client.reconnect(now),
            Step::Leave => self.client.leave(now),
        }
    }

    fn at(&self, ahead: i64) -> u64 {
        self.acked.max(FIRST).saturating_add_signed(ahead)
    }

    fn in_session(&mut self, step: &Step) {
        let now = Instant::from_millis(self.now);
        let session = self.session;
        match *step {
            Step::Data {
                ahead,
                lines,
                epoch,
            } => {
                let first = self.at(ahead);
                let entries = (first..first + lines)
                    .map(|line| entry(OWN + 6, 0, 3, &format!("Bob : {line}")));
                self.last = data(epoch, 1, first, entries);
                let was = self.client.handle_datagram(now, self.path, &self.last);
                if was == Received::Frame {
                    self.given.extend(first..first + lines);
                }
            }
            Step::Gap { ahead, lines } => {
                let from = self.at(ahead);
                let gap = Gap {
                    session,
                    sent_at: 1,
                    from,
                    until: from + lines,
                };
                if self.gives(&Frame::Gap(gap)) == Received::Frame {
                    self.gone = self.gone.max(from + lines);
                }
            }
            Step::Posted {
                behind,
                kind,
                texts,
            } => {
                let outcome = match kind {
                    0 => Outcome::Accepted {
                        first: 10,
                        lines: texts,
                        texts,
                    },
                    1 => Outcome::Answer("* yes"),
                    2 => Outcome::Refused {
                        reason: Reason::NotUtf8,
                        retry_ms: 0,
                    },
                    _ => Outcome::Refused {
                        reason: Reason::NotUtf8,
                        retry_ms: 300,
                    },
                };
                self.gives(&Frame::Posted(Posted {
                    session,
                    number: self.number.wrapping_sub(behind),
                    sent_at: 0,
                    outcome,
                }));
            }
            Step::Bye { why, is_own } => {
                let session = if is_own { session } else { Session(0xD) };
                let was = self.gives(&Frame::Bye(session, why));
                if why == Goodbye::TakenOver && was == Received::Frame {
                    self.session = Session(0);
                }
            }
            _ => unreachable!("not of a session"),
        }
    }

    fn welcome(&mut self, session: u64, epoch: u32, first: u64, lines: u64) {
        let same_run = self.epoch == epoch;
        let was = self.gives(&Frame::Welcome(Welcome {
            nonce: self.nonce,
            session: Session(session),
            epoch,
            author: OWN,
            first,
            head: first + lines,
            uptime_s: 1,
            window: 8,
            keepalive_s: 15,
            name: "Ada",
            text: "* welcome",
        }));
        if was != Received::Frame {
            // the last run is over, so its missing lines are lost
            let last = self.given.last().map_or(0, |last| last + 1);
            self.gone = self.gone.max(last);
            return;
        }
        // a session of another run that has the same number looks like the same run
        if !same_run && Session(session) != self.session {
            (self.acked, self.gone) = (0, 0);
            self.given.clear();
        }
        self.gone = self.gone.max(first);
        self.session = Session(session);
        self.epoch = epoch;
        self.number = 0;
    }

    fn gives(&mut self, frame: &Frame<'_>) -> Received {
        let mut buffer = [0; DATAGRAM_MAX];
        let length = frame.encode(&mut buffer).unwrap();
        self.last = buffer[..length].to_vec();
        let now = Instant::from_millis(self.now);
        self.client.handle_datagram(now, self.path, &self.last)
    }

    fn wait(&mut self, duration_ms: u64) {
        let end = self.now + duration_ms;
        for _ in 0..1000 {
            let due = self
                .client
                .poll_timeout()
                .map_or(u64::MAX, Instant::as_millis);
            self.now = due.clamp(self.now, end);
            self.client.handle_timeout(Instant::from_millis(self.now));
            self.transmit();
            if due > end {
                self.now = end;
                return;
            }
        }
        panic!("it does not sleep");
    }

    fn transmit(&mut self) {
        let mut buffer = [0; DATAGRAM_MAX];
        let mut datagrams = 0;
        let now = Instant::from_millis(self.now);
        while let Some(transmit) = self.client.poll_transmit(now, &mut buffer) {
            assert_ne!(self.client.state(), State::Ended);
            self.look(
                &Frame::decode(&buffer[..transmit.length]).unwrap(),
                transmit.path,
            );
            datagrams += 1;
            assert!(
                datagrams < 10,
                "the client sends too many datagrams at once"
            );
        }
    }

    fn look(&mut self, frame: &Frame<'_>, path: Path) {
        match frame {
            Frame::Hello(hello) => {
                self.nonce = hello.nonce;
                self.path = path;
            }
            Frame::Post(post) => {
                assert!(!self.is_honest || post.session == self.session);
                self.number = post.number;
                assert!(post.texts.iter().count() <= self.open.len());
            }
            Frame::Ack(ack) if self.is_honest => {
                assert!(
                    ack.next >= self.acked,
                    "the client takes back an acknowledgement"
                );
                let has = |line| line < self.gone || self.given.contains(&line);
                assert!(
                    (self.acked..ack.next).all(has),
                    "{} {:?}",
                    ack.next,
                    self.given
                );
                self.acked = ack.next;
                let mut end = ack.next;
                for range in &ack.ranges {
                    let first = end + u64::from(range.skip);
                    end = first + u64::from(range.run);
                    assert!((first..end).all(|line| self.given.contains(&line)));
                }
            }
            _ => {}
        }
    }

    fn events(&mut self, most: usize) {
        for _ in 0..most {
            let Some(event) = self.client.poll_event() else {
                return;
            };
            assert!(!self.is_over, "{event:?} after the end");
            match event {
                ClientEvent::Joined {
                    how: Joined::New | Joined::Restarted,
                    ..
                } => self.expected = None,
                ClientEvent::Line { sequence, text, .. } => {
                    assert_eq!(sequence, self.expected.unwrap_or(sequence));
                    assert!(!self.is_honest || text == sequence.to_string(), "{text}");
                    self.expected = Some(sequence + 1);
                }
                ClientEvent::Lost { from, lines } => {
                    assert_eq!(from, self.expected.unwrap_or(from));
                    assert!(lines > 0);
                    self.expected = from.checked_add(lines);
                }
                ClientEvent::Said { post, .. }
                | ClientEvent::Answered { post, .. }
                | ClientEvent::Refused { post, .. }
                | ClientEvent::Doubtful { post }
                | ClientEvent::Unsaid { post } => {
                    let place = self.open.iter().position(|&open| open == post);
                    self.open.remove(place.expect("it was told once"));
                }
                ClientEvent::Ended(_) => self.is_over = true,
                ClientEvent::Joined { .. }
                | ClientEvent::SeatLost(_)
                | ClientEvent::NoSeat { .. }
                | ClientEvent::Silent
                | ClientEvent::Back => {}
            }
        }
        assert!(most < 10_000, "it never ends");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    // [D1] [U6]
    #[test]
    fn whatever_comes_lines_are_in_order_and_each_text_has_one_outcome(steps in steps()) {
        let mut watched = Watched::new();
        for step in &steps {
            watched.apply(step);
        }
        watched.events(10_000 - 1);
        prop_assert_eq!(watched.client.unanswered(), watched.open.len());
        // the client can always be ended
        watched.client.leave(Instant::from_millis(watched.now));
        watched.wait(5000);
        watched.events(10_000 - 1);
        prop_assert!(watched.is_over);
        prop_assert_eq!(watched.open.len(), 0);
    }
}

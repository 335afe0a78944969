//! A script of calls to a client: true and forged frames of a relay, and everything that a driver
//! does.

use std::collections::BTreeSet;

use kilochat_core::framed::{
    Cookie, Frame, Gap, Goodbye, LineKind, Outcome, Posted, Reason, Refused, Session, TEXT_MAX,
    Welcome,
};
use kilochat_core::{
    Client, ClientEvent, DATAGRAM_MAX, Dropped, Instant, Joined, Path, PostError, PostId, Received,
    State, clean,
};

use super::Input;

/// Number of ports for the client's first HELLOs.
const PATHS: u8 = 3;

const NAMES: [&str; 4] = [
    "Ada",
    "",
    " Bob ",
    "a name that is longer than all names may be",
];

const TEXTS: [&str; 10] = [
    "hi",
    "//x",
    "/who",
    "/nick Eve",
    "/quiet on",
    "/quiet off",
    "/quiet",
    "/quit",
    "",
    "\u{7}\n",
];

/// Lines as a relay stores them: the length of the name, and the line.
const LINES: [(u8, &str); 5] = [
    (3, "Bob : hi"),
    (3, "Ada : hi"),
    (0, "* Bob joined"),
    (0, ""),
    (3, "Eve : \u{1b}[2J\n\u{202E}"),
];

/// Possible pauses in milliseconds.
const PAUSES: [u64; 12] = [
    0,
    1,
    50,
    70,
    100,
    500,
    1000,
    3000,
    5000,
    10_000,
    30_000,
    1 << 40,
];

/// Maximum number of calls after which the client must have nothing to do.
const PATIENCE: usize = 400;

type SmallClient = Client<3, 1024>;

/// What the client sent last.
#[derive(Debug, Default)]
struct Said {
    path: Path,
    nonce: u64,
    /// The number and the time of its last POST.
    post: (u16, u16),
    /// The session and the next line in its last ACK.
    acked: Option<(Session, u64)>,
}

struct Talk<'a> {
    input: Input<'a>,
    client: SmallClient,
    now: u64,
    latest: u64,
    said: Said,
    /// The session and the epoch of the last WELCOME that the client accepted.
    session: Session,
    epoch: u32,
    /// The next line to show, once one was shown.
    next: Option<u64>,
    /// Texts that await their final event.
    waiting: BTreeSet<u32>,
    is_quitting: bool,
    /// Whether announcements may be hidden.
    is_quiet: bool,
    /// Lines for other peers, which are not shown.
    private: BTreeSet<u64>,
    is_told_end: bool,
}

/// Runs a script.
///
/// # Panics
///
/// If a guarantee is broken: see the assertions.
pub fn client(script: &[u8]) {
    let mut input = Input(script);
    let name = input.pick(&NAMES);
    let paths = input.byte() % (PATHS + 1);
    let mut talk = Talk {
        input,
        client: Client::new(name, 1 << 20, paths),
        now: 1 << 20,
        latest: 1 << 20,
        said: Said::default(),
        session: Session(0),
        epoch: 0,
        next: None,
        waiting: BTreeSet::new(),
        is_quitting: false,
        is_quiet: false,
        private: BTreeSet::new(),
        is_told_end: false,
    };
    while !talk.input.is_empty() {
        talk.step();
    }
    talk.end();
}

impl Talk<'_> {
    const fn instant(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    fn step(&mut self) {
        match self.input.below(16) {
            0 => self.transmit(),
            1 => self.show(),
            2 | 3 => self.settle(),
            4 => self.pass_time(),
            5 => self.post(),
            6 => self.hear_cookie(),
            7 => self.hear_welcome(),
            8..=10 => self.hear_data(),
            11 => self.hear_gap(),
            12 => self.hear_posted(),
            13 => self.hear_goodbye(),
            14 => self.hear_bytes(),
            _ => match self.input.below(8) {
                0 => self.client.leave(self.instant()),
                1 => self.client.reconnect(self.instant()),
                2 => self.client.handle_unreachable(self.instant()),
                _ => self.become_joined(),
            },
        }
    }

    /// Performs the shortest handshake.
    fn become_joined(&mut self) {
        self.transmit();
        self.hear_cookie();
        self.transmit();
        self.hear_welcome();
    }

    fn hear(&mut self, frame: &Frame<'_>) -> Received {
        let path = match self.input.chance(16) {
            true => Path(self.input.byte()),
            false => self.said.path,
        };
        let mut buffer = [0; DATAGRAM_MAX];
        let length = frame.encode(&mut buffer).expect("a short frame");
        self.receive(path, &buffer[..length])
    }

    fn receive(&mut self, path: Path, payload: &[u8]) -> Received {
        let before = self.client.stats().clone();
        let was = self.client.state();
        let received = self.client.handle_datagram(self.instant(), path, payload);
        let stats = self.client.stats();
        assert_eq!(stats.received, before.received + 1);
        match received {
            Received::Frame => {
                assert_eq!(payload.first(), Some(&1));
                if let Ok(Frame::Data(data)) = Frame::decode(payload) {
                    let places = (0..).map(|place| data.first.saturating_add(place));
                    let entries = places.zip(data.entries());
                    let private = entries.filter(|(_, entry)| {
                        entry.kind == LineKind::Private && entry.line.is_empty()
                    });
                    self.private.extend(private.map(|(sequence, _)| sequence));
                }
            }
            Received::Foreign => assert_eq!(stats.foreign, before.foreign + 1),
            Received::Dropped(why) => {
                assert_eq!(stats.dropped(why), before.dropped(why) + 1);
            }
        }
        let is_foreign = matches!(
            received,
            Received::Foreign | Received::Dropped(Dropped::Malformed | Dropped::Session)
        );
        assert!(!is_foreign || self.client.state() == was, "{received:?}");
        assert!(was != State::Ended || self.client.state() == was);
        received
    }

    fn hear_bytes(&mut self) {
        let path = Path(self.input.byte() % 4);
        let mut payload = self.input.payload().to_vec();
        if self.input.chance(2)
            && let Some(first) = payload.first_mut()
        {
            *first = 1;
        }
        self.receive(path, &payload);
    }

    fn nonce(&mut self) -> u64 {
        match self.input.chance(8) {
            true => self.input.near(self.said.nonce),
            false => self.said.nonce,
        }
    }

    fn any_session(&mut self) -> Session {
        match self.input.chance(8) {
            true => Session(self.input.near(self.session.0)),
            false => self.session,
        }
    }

    fn hear_cookie(&mut self) {
        let cookie = Cookie {
            version: "0.1.0",
            words: "00000000",
            nonce: self.nonce(),
            cookie: [self.input.byte() % 4; 16],
        };
        self.hear(&Frame::Cookie(cookie));
    }

    fn hear_welcome(&mut self) {
        let known = self.next.unwrap_or(100);
        let [is_new_session, is_new_epoch] = [4, 8].map(|one_in| self.input.chance(one_in));
        let first = self.input.near(known);
        let welcome = Welcome {
            nonce: self.nonce(),
            session: Session(self.session.0.wrapping_add(u64::from(is_new_session))),
            epoch: self.epoch.wrapping_add(u32::from(is_new_epoch)),
            author: u32::from(self.input.byte() % 3),
            first,
            head: first.saturating_add(u64::from(self.input.byte() % 8)),
            uptime_s: 7,
            window: self.input.byte(),
            keepalive_s: self.input.pick(&[15, 0, 1, 255]),
            name: self.input.pick(&["Ada", "Ada~2", "\u{1b}"]),
            text: self
                .input
                .pick(&["* welcome Ada: 1 here (Ada)", "", "\r\n"]),
        };
        if self.hear(&Frame::Welcome(welcome.clone())) == Received::Frame {
            if self.epoch != welcome.epoch {
                // all lines of the relay's previous run were shown
                self.next = None;
                self.said.acked = None;
            }
            self.session = welcome.session;
            self.epoch = welcome.epoch;
        }
    }

    fn hear_data(&mut self) {
        let known = self.next.unwrap_or(100);
        let first = match self.input.chance(8) {
            true => self.input.near(known),
            false => known.saturating_add(u64::from(self.input.byte() % 8)),
        };
        let epoch = self.epoch.wrapping_add(u32::from(self.input.chance(16)));
        let mut payload = b"\x01D".to_vec();
        payload.extend(epoch.to_be_bytes());
        payload.extend([self.input.byte(), self.input.byte()]);
        payload.extend(first.to_be_bytes());
        for _ in 0..self.input.below(4) {
            let (name, line) = self.input.pick(&LINES);
            let author = self.input.byte() % 3;
            let length = u16::try_from(10 + line.len()).unwrap();
            payload.extend(length.to_be_bytes());
            payload.extend([0, 0, 0, author, 0, 0, 0, 9, self.input.byte() % 4, name]);
            payload.extend(line.as_bytes());
        }
        let padding = self.input.below(4);
        payload.extend([0, 0, 0][..padding].iter());
        self.receive(self.said.path, &payload);
    }

    fn hear_gap(&mut self) {
        let known = self.next.unwrap_or(100);
        let from = self.input.near(known);
        let more = u64::from(self.input.byte() % 16);
        let until = match self.input.chance(8) {
            true => self.input.near(from),
            false => from.saturating_add(more),
        };
        let gap = Gap {
            session: self.any_session(),
            sent_at: self.input.byte().into(),
            from,
            until,
        };
        self.hear(&Frame::Gap(gap));
    }

    fn hear_posted(&mut self) {
        let (number, sent_at) = self.said.post;
        let outcome = match self.input.below(4) {
            0 => Outcome::Refused {
                reason: Reason::NotUtf8,
                retry_ms: u16::from(self.input.byte() % 4) * 100,
            },
            1 => Outcome::Answer(
                self.input
                    .pick(&["* 1 here: Ada", "* you are now Eve", "\n"]),
            ),
            _ => Outcome::Accepted {
                first: self.input.near(100),
                lines: self.input.byte() % 8,
                texts: self.input.byte() % 4,
            },
        };
        let posted = Posted {
            session: self.any_session(),
            number: number.wrapping_add(u16::from(self.input.chance(8))),
            sent_at: sent_at.wrapping_sub(u16::from(self.input.chance(8))),
            outcome,
        };
        self.hear(&Frame::Posted(posted));
    }

    fn hear_goodbye(&mut self) {
        if self.input.chance(4) {
            let refused = Refused {
                nonce: self.nonce(),
                reason: self
                    .input
                    .pick(&[Reason::Full, Reason::Nameless, Reason::Other(9)]),
                retry_s: self.input.pick(&[0, 1, 60]),
            };
            self.hear(&Frame::Refused(refused));
            return;
        }
        let why = self.input.pick(&[
            Goodbye::Unknown,
            Goodbye::Unknown,
            Goodbye::TakenOver,
            Goodbye::Other(9),
            Goodbye::Left,
            Goodbye::GivenAway,
        ]);
        let session = self.any_session();
        self.hear(&Frame::Bye(session, why));
    }

    fn post(&mut self) {
        let text = match self.input.chance(2) {
            true => self.input.text(),
            false => self.input.pick(&TEXTS).to_owned(),
        };
        self.is_quiet |= text.starts_with("/quiet");
        let is_over = matches!(self.client.state(), State::Leaving | State::Ended);
        match self.client.post(&text) {
            // the only answer to `/quit` is the event that the client ended
            Ok(_) if self.client.unanswered() == self.waiting.len() => self.is_quitting = true,
            Ok(PostId(post)) => assert!(self.waiting.insert(post), "{post} twice"),
            Err(PostError::TooLong) => {
                let length = clean(&text).map(char::len_utf8).sum::<usize>();
                assert!(length > TEXT_MAX);
            }
            Err(PostError::Ended) => assert!(is_over || self.is_quitting),
            Err(PostError::Full) => assert!(!self.waiting.is_empty(), "always full"),
            Err(PostError::Blank) => {}
        }
        assert_eq!(self.client.unanswered(), self.waiting.len());
    }

    fn pass_time(&mut self) {
        let pause = self.input.pick(&PAUSES);
        self.now = match self.input.below(8) {
            0 => self.now.saturating_sub(pause),
            1 => self
                .client
                .poll_timeout()
                .map_or(self.now, |then| self.now.max(then.as_millis())),
            _ => self.now + pause,
        };
        self.latest = self.latest.max(self.now);
    }

    /// Does what a driver does when it wakes up. Afterwards nothing is left to do at this time.
    fn settle(&mut self) {
        self.client.handle_timeout(self.instant());
        for _ in 0..PATIENCE {
            let is_sent = self.poll_transmit();
            if !self.poll_event() && !is_sent {
                let then = self.client.poll_timeout();
                let now = self.instant();
                assert!(
                    then.is_none_or(|then| then > now),
                    "{then:?} again at {now:?}"
                );
                return;
            }
            self.client.handle_timeout(self.instant());
        }
        panic!("always something to do");
    }

    fn transmit(&mut self) {
        self.client.handle_timeout(self.instant());
        for _ in 0..self.input.below(4) {
            self.poll_transmit();
        }
    }

    fn poll_transmit(&mut self) -> bool {
        let mut buffer = [0; DATAGRAM_MAX];
        let was = self.client.state();
        let Some(transmit) = self.client.poll_transmit(self.instant(), &mut buffer) else {
            return false;
        };
        assert!(was != State::Ended);
        let frame = Frame::decode(&buffer[..transmit.length]).expect("a sound frame");
        assert!(transmit.path.0 < PATHS);
        self.said.path = transmit.path;
        match frame {
            Frame::Hello(hello) => self.said.nonce = hello.nonce,
            Frame::Post(post) => {
                assert_eq!(post.session, self.session);
                self.said.post = (post.number, post.sent_at);
            }
            Frame::Ack(ack) => {
                assert_eq!(ack.session, self.session);
                let last = self
                    .said
                    .acked
                    .filter(|(session, _)| *session == ack.session);
                assert!(
                    last.is_none_or(|(_, next)| ack.next >= next),
                    "a client acknowledges less than before"
                );
                assert!(
                    self.next.is_none_or(|next| ack.next >= next),
                    "a client acknowledges less than it has shown"
                );
                self.said.acked = Some((ack.session, ack.next));
            }
            Frame::Leave(session) => assert_eq!(session, self.session),
            Frame::Cookie(_)
            | Frame::Welcome(_)
            | Frame::Refused(_)
            | Frame::Posted(_)
            | Frame::Data(_)
            | Frame::Gap(_)
            | Frame::Bye(..) => panic!("{frame:?} from a client"),
        }
        true
    }

    fn show(&mut self) {
        for _ in 0..self.input.below(4) {
            self.poll_event();
        }
    }

    /// Checks the next event. Returns whether there was one.
    fn poll_event(&mut self) -> bool {
        let Some(event) = self.client.poll_event() else {
            return false;
        };
        assert!(!self.is_told_end, "{event:?} after the end");
        let mut shown = Vec::new();
        let mut settled = None;
        match event {
            ClientEvent::Joined {
                how, name, text, ..
            } => {
                shown.extend([name, text]);
                if matches!(how, Joined::New | Joined::Restarted) {
                    self.next = None;
                    self.said.acked = None;
                }
            }
            ClientEvent::Line {
                sequence,
                name,
                text,
                ..
            } => {
                shown.extend([name, text]);
                check_order(self.next, sequence, self.is_quiet, &self.private);
                self.next = Some(sequence + 1);
            }
            ClientEvent::Lost { from, lines } => {
                assert!(lines > 0, "nothing is lost");
                check_order(self.next, from, self.is_quiet, &self.private);
                self.next = Some(from.checked_add(lines).expect("a sequence number"));
            }
            ClientEvent::Answered { post, text } => {
                // an answer may have several lines
                shown.extend(text.split('\n'));
                settled = Some(post);
            }
            ClientEvent::Said { post, .. }
            | ClientEvent::Refused { post, .. }
            | ClientEvent::Doubtful { post }
            | ClientEvent::Unsaid { post } => settled = Some(post),
            ClientEvent::SeatLost(_)
            | ClientEvent::NoSeat { .. }
            | ClientEvent::Silent
            | ClientEvent::Back => {}
            ClientEvent::Ended(_) => self.is_told_end = true,
        }
        for text in shown {
            assert!(clean(text).eq(text.chars()), "{text:?} is not clean");
        }
        if let Some(PostId(post)) = settled {
            assert!(self.waiting.remove(&post), "{post} is settled twice");
        }
        assert_eq!(self.client.unanswered(), self.waiting.len());
        true
    }

    /// Lets the client leave. It must end, and report for each text what became of it.
    fn end(&mut self) {
        self.now = self.latest;
        self.client.leave(self.instant());
        for _ in 0..8 {
            self.now += 2000;
            self.settle();
        }
        assert_eq!(self.client.state(), State::Ended);
        assert!(self.is_told_end);
        assert!(!self.poll_event() && !self.poll_transmit());
        assert_eq!(self.client.poll_timeout(), None);
        assert_eq!(self.client.unanswered(), 0);
    }
}

/// Checks that the next line to show is `sequence`. Announcements before it, and lines for other peers,
/// may be hidden.
fn check_order(next: Option<u64>, sequence: u64, is_quiet: bool, private: &BTreeSet<u64>) {
    let next = next.unwrap_or(sequence);
    let is_next =
        next <= sequence && (is_quiet || (next..sequence).all(|hidden| private.contains(&hidden)));
    assert!(is_next, "line {sequence} instead of {next}");
}

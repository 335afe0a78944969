//! A framed session with the real relay, over a simulated network with a virtual clock.

mod returning;

use core::net::SocketAddr;

use kilochat_core::{Config, Event, Relay, Reply};

use super::super::conversation::Choice;
use super::super::screen::output::Kind;
use super::*;

type SmallRelay = Relay<8, 4096, 8>;

/// The receiver of a datagram.
enum To {
    Relay(Path),
    Client(Path),
}

/// A session, a relay, and the datagrams in flight between them.
struct Bench {
    now: Instant,
    start: Instant,
    delay: Duration,
    session: Framed,
    relay: Option<Box<SmallRelay>>,
    runs: u8,
    seats: u16,
    /// Whether the client is suspended. Datagrams for it are kept in `inbox`.
    is_suspended: bool,
    inbox: Vec<(Path, Vec<u8>)>,
    on_the_way: VecDeque<(Instant, To, Vec<u8>)>,
    shown: Vec<Shown>,
}

impl Bench {
    fn new(user: User) -> Self {
        Self::with(user, 8, false)
    }

    /// Creates a relay with this number of seats, and a client that does or does not wait for its
    /// first seat.
    fn with(user: User, seats: u16, waits_for_seat: bool) -> Self {
        let now = Instant::now();
        let plan = Plan {
            operator: None,
            is_announced: true,
            name: "Ada".into(),
            user,
            choice: Choice::Any,
            lingers: true,
            waits_for_seat,
        };
        let mut bench = Self {
            now,
            start: now,
            delay: Duration::ZERO,
            session: Framed::new(now, &plan, Vec::new()),
            relay: None,
            runs: 0,
            seats,
            is_suspended: false,
            inbox: Vec::new(),
            on_the_way: VecDeque::new(),
            shown: Vec::new(),
        };
        bench.restart();
        bench
    }

    fn joined(user: User) -> Self {
        Self::joined_of(user, 8)
    }

    fn joined_of(user: User, seats: u16) -> Self {
        let mut bench = Self::with(user, seats, false);
        bench.pass(Duration::from_millis(10));
        assert!(bench.session.exchange.has_joined);
        bench.shown.clear();
        bench
    }

    /// Starts a new relay, with Bob in the room.
    fn restart(&mut self) {
        self.runs += 1;
        let mut relay = Box::new(SmallRelay::new());
        relay.configure(Config {
            key: [self.runs; 16],
            seats: self.seats,
            rate: 0,
            ..Config::new([0; 16])
        });
        self.relay = Some(relay);
        self.bob("Bob");
    }

    /// Sends a line as Bob, a plain peer.
    fn bob(&mut self, text: &str) {
        self.plain(7, text);
    }

    /// Sends a line as the plain peer at this port.
    fn plain(&mut self, port: u16, text: &str) {
        let moment = self.moment();
        let relay = self.relay.as_mut().expect("it runs");
        let source = SocketAddr::from(([127, 0, 0, 1], port));
        let event = relay.handle_datagram(moment, source, text.as_bytes(), &mut Reply::new());
        if let Event::Joined {
            displaced: Some(departed),
            ..
        } = event
        {
            self.send(departed.address, departed.farewell.as_bytes());
        }
        self.fan_out();
    }

    fn moment(&self) -> Moment {
        let millis = (self.now - self.start).as_millis();
        Moment::from_millis(u64::try_from(millis).unwrap())
    }

    fn say(&mut self, text: &str) {
        assert!(self.session.handle_line(self.now, text));
    }

    /// Advances the clock from one event to the next.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for steps in 0.. {
            assert!(steps < 1_000_000, "it never rests");
            self.step();
            let client = self.session.poll_timeout();
            let times = [
                client.filter(|_| !self.is_suspended),
                self.on_the_way.front().map(|(at, ..)| *at),
                self.relay_timeout(),
            ];
            match times.into_iter().flatten().min() {
                Some(at) if at <= until && self.session.end().is_none() => {
                    self.now = self.now.max(at);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn relay_timeout(&self) -> Option<Instant> {
        let at = self.relay.as_ref()?.poll_timeout()?;
        Some(self.start + Duration::from_millis(at.as_millis()))
    }

    fn step(&mut self) {
        if !self.is_suspended {
            self.drive();
        }
        while let Some((_, to, payload)) = self.on_the_way.pop_front_if(|(at, ..)| *at <= self.now)
        {
            match to {
                To::Relay(path) => self.arrive(path, &payload),
                To::Client(path) if self.is_suspended => self.inbox.push((path, payload)),
                To::Client(path) => self.session.handle_datagram(self.now, path, &payload),
            }
        }
        let moment = self.moment();
        if let Some(relay) = &mut self.relay {
            while relay.handle_timeout(moment).is_some() {}
        }
        self.fan_out();
        self.shown
            .extend(core::iter::from_fn(|| self.session.poll_output()));
    }

    fn drive(&mut self) {
        for (path, payload) in self.inbox.drain(..) {
            self.session.handle_datagram(self.now, path, &payload);
        }
        self.session.handle_timeout(self.now);
        while let Some((path, payload)) = self.session.poll_transmit(self.now) {
            let at = self.now + self.delay;
            self.on_the_way.push_back((at, To::Relay(path), payload));
        }
    }

    fn arrive(&mut self, path: Path, payload: &[u8]) {
        let moment = self.moment();
        let Some(relay) = &mut self.relay else { return };
        let mut reply = Reply::new();
        let source = SocketAddr::from(([127, 0, 0, 1], 1000 + u16::from(path.0)));
        relay.handle_datagram(moment, source, payload, &mut reply);
        if !reply.is_empty() {
            self.send(source, &reply);
        }
    }

    /// Sends a datagram from the relay. Datagrams for plain peers are dropped.
    fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        if let Some(path) = to.port().checked_sub(1000) {
            let path = Path(u8::try_from(path).unwrap());
            let at = self.now + self.delay;
            self.on_the_way
                .push_back((at, To::Client(path), payload.to_vec()));
        }
    }

    fn fan_out(&mut self) {
        let moment = self.moment();
        let Some(mut relay) = self.relay.take() else {
            return;
        };
        let mut buffer = [0; DATAGRAM_MAX];
        while let Some(fanout) = relay.poll_fanout(moment, &mut buffer) {
            let payload = fanout.payload().to_vec();
            for delivery in fanout {
                self.send(delivery.address, &payload);
            }
        }
        self.relay = Some(relay);
    }

    fn texts(&self, kind: Kind) -> Vec<&str> {
        let shown = self.shown.iter().filter(|shown| shown.kind == kind);
        shown.map(|shown| shown.text.as_str()).collect()
    }

    fn statuses(&self) -> Vec<&str> {
        self.texts(Kind::Status)
    }
}

/// The port of another plain peer.
const EVE: u16 = 8;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_said_and_heard_is_numbered_and_dated() {
    let mut bench = Bench::new(User::Program);
    bench.bob("before");
    bench.pass(5 * SECOND);
    bench.say("/one");
    bench.bob("two");
    bench.pass(SECOND);
    let welcome = "welcome Ada: 2 here (Bob, Ada); /help lists commands; the last ";
    assert!(
        bench.shown[0].text.starts_with(welcome),
        "{:?}",
        bench.shown[0]
    );
    assert_eq!(bench.texts(Kind::Message), ["two"]);
    assert_eq!(bench.texts(Kind::Own), ["/one"]);
    assert!(bench.texts(Kind::History).contains(&"before"));
    let sequences: Vec<u64> = bench
        .shown
        .iter()
        .filter_map(|shown| shown.sequence)
        .collect();
    assert!(
        sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{sequences:?}"
    );
    assert_eq!(bench.statuses(), [""; 0]);
    bench
        .session
        .handle_datagram(bench.now, Path(0), b"Eve : forged");
    assert_eq!(bench.session.poll_output(), None, "plain text is ignored");
}

#[test]
fn each_line_of_an_answer_is_shown_and_a_new_name_is_used() {
    let mut bench = Bench::joined(User::Person);
    bench.say("/nick bob");
    bench.say("hello");
    bench.say(" /help");
    bench.pass(SECOND);
    let notices = bench.texts(Kind::Notice);
    assert_eq!(notices[..2], ["you are now bob~2", "bob is taken"]);
    assert!(notices.contains(&"/who [PREFIX] lists who is here"));
    assert!(notices.contains(&"/nick NAME renames you"));
    bench.shown.clear();
    bench.say("hello");
    bench.pass(SECOND);
    let typed = bench.shown.iter().find(|shown| shown.kind == Kind::Typed);
    assert_eq!(typed.and_then(|line| line.name.as_deref()), Some("bob~2"));
}

#[test]
fn lines_that_are_said_now_are_as_old_as_notices() {
    let mut bench = Bench::joined(User::Program);
    for _ in 0..10 {
        bench.pass(Duration::from_millis(130));
        bench.bob("now");
        bench.pass(Duration::from_millis(10));
    }
    let ages = bench.shown.iter().filter_map(|shown| shown.age);
    assert!(ages.clone().count() >= 10);
    assert!(ages.into_iter().all(|age| age == Duration::ZERO));
}

#[test]
fn nobody_there_gets_six_ports_in_three_seconds_and_no_line() {
    let mut bench = Bench::new(User::Person);
    bench.relay = None;
    bench.say("one");
    bench.session.handle_timeout(bench.now);
    let mut paths = Vec::new();
    let begun = bench.now;
    while bench.session.end().is_none() {
        bench.session.handle_timeout(bench.now);
        while let Some((path, payload)) = bench.session.poll_transmit(bench.now) {
            assert!(payload.starts_with(b"\x01H KC1 "));
            paths.push(path.0);
        }
        bench.now = bench
            .session
            .poll_timeout()
            .unwrap_or(bench.now)
            .max(bench.now);
    }
    assert_eq!(paths, [0, 1, 2, 3, 4, 5]);
    assert_eq!(bench.now - begun, 3 * SECOND);
    assert_eq!(bench.session.end(), Some(&End::NoFrames));
    let lines = bench.session.take_lines(bench.now);
    assert_eq!(lines, [Line::Typed("one".into())]);
    let typed = Shown::new(Kind::Typed, Some("Ada"), "one");
    assert_eq!(bench.session.poll_output(), Some(typed));
    assert_eq!(bench.session.poll_output(), None);
}

#[test]
fn a_port_that_nobody_listens_at_is_the_end_before_it_joined() {
    let mut bench = Bench::new(User::Program);
    bench.relay = None;
    bench.say("one");
    bench.step();
    bench.session.handle_unreachable(bench.now, "refused");
    assert_eq!(
        bench.session.end(),
        Some(&End::Unreachable("refused".into()))
    );
    let lines = bench.session.take_lines(bench.now);
    assert_eq!(lines, [Line::Said("one".into())]);
}

#[test]
fn a_paste_of_two_hundred_lines_is_delivered_in_under_three_seconds() {
    let mut bench = Bench::joined(User::Person);
    bench.delay = Duration::from_millis(50);
    for number in 0..200 {
        bench.say(&format!("line {number}"));
    }
    let begun = bench.now;
    while bench.session.queued() > 0 {
        bench.pass(Duration::from_millis(10));
        assert!(
            bench.now - begun < 3 * SECOND,
            "{} left",
            bench.session.queued()
        );
    }
    bench.pass(SECOND);
    let said: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
    assert_eq!(bench.texts(Kind::Own), said);
}

#[test]
fn a_line_that_is_late_is_spoken_of_twice() {
    let mut bench = Bench::joined(User::Person);
    bench.say("prompt");
    bench.pass(2 * SECOND);
    assert_eq!(
        bench.statuses(),
        [""; 0],
        "a line that was delivered needs no status"
    );
    let relay = bench.relay.take();
    bench.say("hello there, everybody who is in this room today");
    bench.pass(Duration::from_millis(999));
    assert_eq!(bench.statuses(), [""; 0]);
    bench.pass(Duration::from_millis(1));
    let late = "not delivered yet: hello there, everybody who is in this ro...";
    assert_eq!(bench.statuses(), [late]);
    bench.pass(3 * SECOND);
    bench.relay = relay;
    bench.pass(5 * SECOND);
    assert_eq!(bench.statuses(), [late, "delivered"]);
    assert_eq!(bench.texts(Kind::Own).len(), 2);
}

#[test]
fn lost_lines_are_counted() {
    let mut bench = Bench::joined(User::Person);
    // the client receives nothing for a while
    for number in 0..200 {
        bench.bob(&format!("{number} {}", "x".repeat(200)));
        bench.on_the_way.clear();
    }
    bench.pass(30 * SECOND);
    let mut lost = 0;
    for shown in &bench.shown {
        if let Kind::Gap(lines) = shown.kind {
            lost += usize::try_from(lines).unwrap();
        }
    }
    let heard = bench.texts(Kind::Message).len();
    assert!(lost > 100 && heard > 0, "{lost} lost, {heard} heard");
    assert_eq!(lost + heard, 200);
    assert!(
        bench
            .shown
            .iter()
            .any(|shown| shown.text.ends_with(" messages lost"))
    );
}

#[test]
fn the_end_of_the_input_waits_for_delivery_and_then_for_silence() {
    let mut bench = Bench::joined(User::Program);
    let relay = bench.relay.take();
    bench.say("one");
    bench.session.handle_end_of_input(bench.now);
    bench.pass(9 * SECOND);
    assert_eq!(bench.session.end(), None);
    bench.relay = relay;
    bench.pass(20 * SECOND);
    assert_eq!(bench.session.end(), Some(&End::Left));
    assert_eq!(bench.texts(Kind::Own), ["one"]);
}

#[test]
fn the_end_of_the_input_waits_thirty_seconds_and_tells_how_much_is_missing() {
    let mut bench = Bench::joined(User::Program);
    bench.say("arrives");
    bench.pass(SECOND);
    bench.relay = None;
    bench.say("is on its way");
    bench.pass(Duration::from_millis(100));
    bench.say("waits");
    bench.say("waits too");
    bench.session.handle_end_of_input(bench.now);
    let begun = bench.now;
    while bench.session.end().is_none() {
        bench.pass(Duration::from_millis(500));
        assert!(bench.now - begun < 40 * SECOND);
    }
    assert!(bench.now - begun >= 29 * SECOND);
    let told = "2 lines were not delivered, 1 line was perhaps not delivered";
    assert_eq!(bench.session.end(), Some(&End::Failed(told.into())));
}

#[test]
fn quit_is_said_when_the_line_before_it_has_arrived() {
    let mut bench = Bench::joined(User::Person);
    bench.delay = Duration::from_millis(200);
    bench.say("goodbye");
    bench.say("/quit");
    bench.pass(10 * SECOND);
    assert_eq!(bench.session.end(), Some(&End::Left));
    assert_eq!(bench.texts(Kind::Own), ["goodbye"]);
    assert_eq!(bench.statuses(), [""; 0]);
}

#[test]
fn a_person_who_leaves_does_not_wait_for_a_relay_that_has_gone() {
    let mut bench = Bench::joined(User::Person);
    bench.relay = None;
    bench.say("goodbye");
    bench.say("/quit");
    bench.pass(6 * SECOND);
    assert_eq!(bench.session.end(), Some(&End::Left));
    assert_eq!(
        bench.statuses().last(),
        Some(&"1 line was perhaps not delivered")
    );
}

#[test]
fn commands_are_answered_and_are_no_lines() {
    let mut bench = Bench::joined(User::Person);
    bench.say("/who");
    bench.say("/quiet on");
    bench.say("//usr/bin");
    bench.say("/nick Bea");
    bench.pass(SECOND);
    let notices = bench.texts(Kind::Notice);
    assert!(notices.contains(&"2 here: Bob, Ada"), "{notices:?}");
    assert!(notices.contains(&"you are now Bea"), "{notices:?}");
    assert!(
        notices.iter().any(|text| text.starts_with("quiet is on")),
        "{notices:?}"
    );
    assert_eq!(bench.texts(Kind::Own), ["/usr/bin"]);
}

//! The plain session under a virtual clock.

mod ending;
mod forged;
mod proving;

use super::super::screen::output::Kind;
use super::*;

const WELCOME: &str = "* welcome Ada: 1 here (Ada); /help lists commands";

/// A session, its clock, and the lines that it showed.
struct Bench {
    now: Instant,
    session: Session,
    shown: Vec<Shown>,
}

impl Bench {
    fn new(user: User) -> Self {
        Self::with(user, Server::Unknown)
    }

    fn with(user: User, server: Server) -> Self {
        let now = Instant::now();
        Self {
            now,
            session: Session::new(now, "Ada".into(), user, server, Vec::new()),
            shown: Vec::new(),
        }
    }

    /// Creates a session that has received the welcome.
    fn welcomed(user: User) -> Self {
        let mut bench = Self::new(user);
        assert_eq!(bench.sent(), ["Ada"]);
        bench.receive(WELCOME);
        bench.shown.clear();
        bench
    }

    /// Returns the datagrams that are sent now.
    fn sent(&mut self) -> Vec<String> {
        self.session.handle_timeout(self.now);
        let mut payloads = Vec::new();
        while let Some((_, payload)) = self.session.poll_transmit(self.now) {
            payloads.push(String::from_utf8(payload).unwrap());
        }
        while let Some(shown) = self.session.poll_output() {
            self.shown.push(shown);
        }
        payloads
    }

    /// Returns the datagrams that are sent while the clock advances from one timeout to the next.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let until = self.now + time;
        let mut payloads = self.sent();
        let mut steps = 0;
        while self.session.end().is_none()
            && let Some(at) = self.session.poll_timeout()
            && at <= until
        {
            steps += 1;
            assert!(steps < 10_000, "it never rests");
            self.now = self.now.max(at);
            payloads.append(&mut self.sent());
        }
        self.now = until;
        payloads
    }

    fn receive(&mut self, line: &str) {
        self.session
            .handle_datagram(self.now, Path(0), line.as_bytes());
        while let Some(shown) = self.session.poll_output() {
            self.shown.push(shown);
        }
    }

    fn say(&mut self, text: &str) -> Vec<String> {
        assert!(self.session.handle_line(self.now, text));
        self.sent()
    }

    fn refuse(&mut self) {
        self.session.handle_unreachable(self.now, "refused");
    }

    fn kinds(&self) -> Vec<Kind> {
        self.shown.iter().map(|shown| shown.kind).collect()
    }
}

#[test]
fn a_program_waits_for_the_welcome() {
    let mut bench = Bench::new(User::Program);
    assert_eq!(bench.sent(), ["Ada"]);
    assert!(bench.say("one").is_empty());
    assert!(bench.pass(Duration::from_secs(4)).is_empty());
    bench.receive(WELCOME);
    assert_eq!(bench.sent(), ["one"]);
}

#[test]
fn a_program_gives_up_after_five_seconds() {
    let mut bench = Bench::new(User::Program);
    assert_eq!(bench.pass(Duration::from_millis(4999)), ["Ada"]);
    assert_eq!(bench.session.end(), None);
    assert!(bench.pass(Duration::from_millis(1)).is_empty());
    assert!(matches!(bench.session.end(), Some(End::Failed(_))));
}

#[test]
fn a_program_that_is_told_to_leave_fails_if_lines_were_not_sent() {
    for user in [User::Program, User::Person] {
        let mut bench = Bench::new(user);
        assert_eq!(bench.sent(), ["Ada"]);
        assert!(bench.session.handle_line(bench.now, "one"));
        bench.session.handle_leave(bench.now);
        let failed = End::Failed("1 line was not sent".into());
        let expected = if user == User::Program {
            failed
        } else {
            End::Left
        };
        assert_eq!(bench.session.end(), Some(&expected));
    }
}

#[test]
fn without_an_answer_no_line_is_sent() {
    let mut bench = Bench::new(User::Person);
    assert_eq!(bench.sent(), ["Ada"]);
    assert!(bench.say("/one").is_empty());
    assert!(bench.say("two").is_empty());
    assert_eq!(bench.pass(Duration::from_secs(5)), [""; 0]);
    assert_eq!(bench.session.end(), Some(&End::Silent));
    let lines = bench.session.take_lines(bench.now);
    let texts: Vec<String> = lines.iter().map(|line| line.payload(false)).collect();
    assert_eq!(texts, ["/one", "two"]);
}

#[test]
fn a_classic_server_gets_lines_at_once() {
    let mut bench = Bench::with(User::Program, Server::Classic);
    assert!(bench.session.handle_line(bench.now, "/one"));
    assert_eq!(bench.sent(), ["Ada", "/one"]);
    bench.session.handle_end_of_input(bench.now);
    assert!(bench.pass(Duration::from_secs(1)).is_empty(), "no /quit");
    assert_eq!(bench.session.end(), Some(&End::Left));
}

#[test]
fn an_old_server_is_known_by_what_others_say() {
    let mut bench = Bench::new(User::Person);
    bench.sent();
    bench.receive("Bob : hi");
    assert_eq!(bench.kinds(), [Kind::Message, Kind::Status]);
    assert_eq!(bench.say("/hi"), ["/hi"]);
    bench.receive("*Eve : * not a notice");
    bench.receive("* Eve : nor this");
    assert_eq!(bench.session.end(), None);
}

#[test]
fn silence_is_kept_alive_and_then_doubted() {
    let mut bench = Bench::welcomed(User::Person);
    assert!(bench.pass(Duration::from_millis(19_999)).is_empty());
    assert_eq!(bench.pass(Duration::from_millis(1)), ["", "/nick Ada"]);
    bench.receive("* you are Ada already");
    assert!(bench.shown.is_empty());
    assert_eq!(bench.pass(Duration::from_secs(10)), [""; 0]);
    bench.receive("Bob : hi");
    assert_eq!(bench.pass(Duration::from_secs(15)), [""]);
}

#[test]
fn a_relay_that_forgot_a_listener_is_noticed() {
    let mut bench = Bench::welcomed(User::Program);
    assert_eq!(bench.pass(Duration::from_secs(20)), ["", "/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.kinds(), [Kind::Notice, Kind::Status]);
    assert_eq!(bench.say("one"), ["one"]);
}

#[test]
fn history_is_as_long_as_the_welcome_says() {
    let mut bench = Bench::new(User::Program);
    bench.sent();
    bench.receive("* welcome Ada: 2 here (Bob, Ada); /help lists commands; the last 3 lines:");
    bench.receive("Bob : one\n* Eve left (quit)");
    bench.receive("Bob : two\n* Ada joined\nBob : three");
    assert_eq!(
        bench.kinds(),
        [
            Kind::Notice,
            Kind::History,
            Kind::History,
            Kind::History,
            Kind::Notice,
            Kind::Message
        ]
    );
    assert_eq!(bench.shown[1].name.as_deref(), Some("Bob"));
    assert_eq!(bench.shown[2].name, None);
}

#[test]
fn a_gap_in_the_history_counts() {
    let mut bench = Bench::new(User::Program);
    bench.sent();
    bench.receive("* welcome Ada: 2 here (Bob, Ada); /help lists commands; the last 3 lines:");
    bench.receive("* 2 lines lost\nBob : three\nBob : new");
    assert_eq!(
        bench.kinds(),
        [Kind::Notice, Kind::Notice, Kind::History, Kind::Message]
    );
}

#[test]
fn what_arrives_is_clean() {
    let mut bench = Bench::welcomed(User::Person);
    bench.receive("Bob : \x1b[2Jx\u{9b}31m\u{202e}\r\n* a\tb\n");
    assert_eq!(bench.shown[0].text, "?[2Jx\u{fffd}31m\u{fffd}");
    assert_eq!(bench.shown[1].text, "a b");
    bench
        .session
        .handle_datagram(bench.now, Path(0), b"B\xffb : x");
    bench.sent();
    assert_eq!(bench.shown[2].name.as_deref(), Some("B\u{fffd}b"));
}

#[test]
fn refused_at_first_is_the_end() {
    for server in [Server::Unknown, Server::Classic, Server::Frameless] {
        let mut bench = Bench::with(User::Person, server);
        bench.sent();
        bench.refuse();
        assert_eq!(
            bench.session.end(),
            Some(&End::Unreachable("refused".into()))
        );
    }
}

#[test]
fn refused_at_first_goes_on_at_the_next_address_with_all_lines() {
    let mut bench = Bench::with(User::Program, Server::Classic);
    assert!(bench.session.handle_line(bench.now, "one"));
    assert_eq!(bench.sent(), ["Ada", "one"]);
    bench.refuse();
    let lines = bench.session.take_lines(bench.now);
    assert_eq!(lines, [Line::Said("one".into())]);
}

#[test]
fn a_welcome_that_was_not_expected_leads_back_to_frames() {
    for goodbye in ["* bye", "* say your name first"] {
        let mut bench = Bench::with(User::Person, Server::Frameless);
        assert_eq!(bench.sent(), ["Ada"]);
        bench.session.handle_line(bench.now, "one");
        bench.receive(WELCOME);
        bench.receive("Bob : a line of the history");
        assert_eq!(bench.sent(), ["/quit"]);
        assert_eq!(bench.pass(Duration::from_millis(200)), ["/quit"]);
        bench.receive(goodbye);
        assert_eq!(bench.session.end(), Some(&End::Welcomed));
        assert_eq!(
            bench.kinds(),
            [Kind::Typed],
            "the line is handed over to the framed dialect"
        );
        let lines = bench.session.take_lines(bench.now);
        assert_eq!(lines, [Line::Typed("one".into())]);
    }
}

#[test]
fn a_goodbye_that_nobody_answers_leads_back_to_frames_all_the_same() {
    let mut bench = Bench::with(User::Program, Server::Frameless);
    bench.sent();
    bench.receive(WELCOME);
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/quit"; 3]);
    assert_eq!(bench.session.end(), Some(&End::Welcomed));
}

#[test]
fn a_line_that_became_a_name_is_said_with_frames() {
    let mut bench = Bench::with(User::Person, Server::Frameless);
    bench.sent();
    bench.receive("Bob : heard on an old server");
    assert_eq!(bench.say("hello there"), ["hello there"]);
    bench.receive("* welcome hello there: 1 here (hello there); /help lists commands");
    assert_eq!(bench.sent(), ["/quit"]);
    bench.receive("* bye");
    assert_eq!(bench.session.end(), Some(&End::Welcomed));
    let lines = bench.session.take_lines(bench.now);
    assert_eq!(lines, [Line::Said("hello there".into())]);
}

#[test]
fn a_full_relay_is_the_end() {
    for user in [User::Person, User::Program] {
        let mut bench = Bench::new(user);
        bench.sent();
        bench.receive("* full: 4 of 4 seats taken");
        let Some(End::Failed(why)) = bench.session.end() else {
            panic!("it goes on");
        };
        assert!(why.contains("full: 4 of 4 seats taken"), "{why}");
    }
}

#[test]
fn a_line_refused_is_said_again_after_joining_again() {
    let mut bench = Bench::welcomed(User::Person);
    assert_eq!(bench.say("old"), ["old"]);
    bench.now += Duration::from_millis(51);
    assert_eq!(bench.say("one"), ["one"]);
    bench.now += Duration::from_millis(5);
    bench.refuse();
    assert!(bench.say("two").is_empty());
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/nick Ada"]);
    bench.refuse();
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.sent(), ["one", "two"]);
}

#[test]
fn a_refusal_that_was_wrong_does_no_harm() {
    let mut bench = Bench::welcomed(User::Person);
    bench.refuse();
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/nick Ada"]);
    bench.receive("* you are Ada already");
    assert_eq!(bench.say("one"), ["one"]);
    assert!(!bench.kinds().contains(&Kind::Notice));
}

#[test]
fn a_stop_notice_is_waited_out() {
    let mut bench = Bench::welcomed(User::Person);
    bench.receive("* relay is stopping");
    assert!(bench.say("one").is_empty());
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.sent(), ["one"]);
}

#[test]
fn a_seat_given_away_is_taken_back() {
    let mut bench = Bench::welcomed(User::Person);
    bench.receive("* your seat was given away; say your name to come back");
    assert_eq!(bench.sent(), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.say("one"), ["one"]);
}

/// Returns the messages of the client itself.
fn statuses(bench: &Bench) -> Vec<&str> {
    let of_client = bench
        .shown
        .iter()
        .filter(|shown| shown.kind == Kind::Status);
    of_client.map(|shown| shown.text.as_str()).collect()
}

#[test]
fn seats_that_are_lost_at_once_are_asked_for_less_and_less_often() {
    for loss in [
        "* your seat was given away; say your name to come back",
        "* say your name first",
        "* relay is stopping",
    ] {
        let mut bench = Bench::welcomed(User::Program);
        let begun = bench.now;
        let mut asked = 0;
        while bench.now < begun + Duration::from_secs(60) {
            bench.receive(loss);
            while bench.pass(Duration::from_millis(10)).is_empty() {}
            asked += 1;
            bench.receive(WELCOME);
        }
        assert!(
            (14..17).contains(&asked),
            "{loss}: {asked} times in a minute"
        );
        // after a seat of some seconds, the client joins again at once
        bench.pass(SHORT_LIVED);
        bench.receive("* your seat was given away; say your name to come back");
        assert_eq!(bench.sent(), ["/nick Ada"]);
    }
}

#[test]
fn a_full_room_is_asked_again_after_a_minute() {
    let mut bench = Bench::welcomed(User::Program);
    bench.receive("* your seat was given away; say your name to come back");
    assert_eq!(bench.say("waits"), ["/nick Ada"]);
    for number in 0..3 {
        assert!(number == 0 || bench.sent() == ["/nick Ada"]);
        bench.receive("* full: 2 of 2 seats taken");
        assert_eq!(bench.pass(Duration::from_millis(59_999)), [""; 0]);
        bench.now += Duration::from_millis(1);
    }
    let told = "no seat yet (full: 2 of 2 seats taken); asking again in 60 s";
    assert_eq!(statuses(&bench), ["joining again", told]);
    assert_eq!(bench.sent(), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.sent(), ["waits"]);
}

#[test]
fn after_a_move_the_name_comes_before_the_lines() {
    let mut bench = Bench::welcomed(User::Person);
    bench.say("before");
    bench.now += Duration::from_secs(3);
    bench.session.handle_network_change(bench.now, true);
    assert_eq!(bench.say("after the move"), ["/nick Ada"]);
    let welcome = "* welcome Ada~2: 2 here (Ada, Ada~2); /help lists commands";
    bench.receive(welcome);
    assert_eq!(bench.sent(), ["after the move"]);
    let told = "joined again as Ada~2; lines may be missing";
    assert_eq!(
        statuses(&bench),
        ["the network changed; joining again", told]
    );
    // the network changes again before that is answered
    for _ in 0..3 {
        bench.session.handle_network_change(bench.now, true);
        assert_eq!(bench.sent(), ["/nick Ada~2"]);
        bench.now += Duration::from_millis(100);
    }
}

#[test]
fn after_a_move_an_old_server_gets_the_bare_name() {
    for user in [User::Person, User::Program] {
        let mut bench = Bench::with(user, Server::Classic);
        assert_eq!(bench.sent(), ["Ada"]);
        bench.now += Duration::from_secs(3);
        bench.session.handle_network_change(bench.now, true);
        assert_eq!(bench.say("after the move"), ["Ada"]);
        bench.session.handle_network_change(bench.now, true);
        assert_eq!(
            bench.pass(Duration::from_secs(1)),
            ["Ada", "after the move"]
        );
        let told = "joined again as Ada; lines may be missing";
        assert_eq!(
            statuses(&bench),
            ["the network changed; joining again", told]
        );
    }
    // the same holds before the welcome
    let mut bench = Bench::new(User::Program);
    assert_eq!(bench.sent(), ["Ada"]);
    bench.session.handle_network_change(bench.now, true);
    assert_eq!(bench.sent(), ["Ada"]);
}

#[test]
fn a_machine_that_slept_has_its_ports_still() {
    for server in [Server::Unknown, Server::Classic] {
        let mut bench = Bench::with(User::Person, server);
        bench.sent();
        bench.receive(WELCOME);
        bench.session.handle_network_change(bench.now, false);
        assert_eq!(bench.say("one"), ["one"]);
    }
}

#[test]
fn a_line_taken_for_a_name_is_said_again_under_the_right_one() {
    for (line, name) in [
        ("hello there", "hello there"),
        ("a:b", "a_b"),
        ("//usr/bin", "_usr_bin"),
        ("hello", "hello~2"),
        ("\u{200b}odd", "_odd"),
    ] {
        let mut bench = Bench::welcomed(User::Person);
        assert_eq!(bench.say(line), [line]);
        bench.now += Duration::from_millis(300);
        bench.receive(&format!(
            "* welcome {name}: 1 here ({name}); /help lists commands"
        ));
        assert_eq!(bench.sent(), ["/nick Ada"], "{line}");
        bench.receive("* you are now Ada");
        assert_eq!(bench.sent(), [line]);
    }
}

#[test]
fn a_command_to_a_relay_that_forgot_us_is_sent_again() {
    let mut bench = Bench::welcomed(User::Person);
    assert_eq!(bench.say("/who"), ["/who"]);
    bench.now += Duration::from_millis(300);
    bench.receive("* say your name first");
    assert_eq!(bench.sent(), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.sent(), ["/who"]);
}

#[test]
fn a_rename_is_remembered() {
    let mut bench = Bench::welcomed(User::Person);
    assert_eq!(bench.say("/nick Bea"), ["/nick Bea"]);
    bench.receive("* you are now Bea");
    bench.receive("* relay is stopping");
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/nick Bea"]);
    bench.receive("* welcome Bea: 1 here (Bea); /help lists commands");
    assert_eq!(bench.say("/nick Cy"), ["/nick Cy"]);
    bench.receive("* welcome Cy: 1 here (Cy); /help lists commands");
    assert!(bench.sent().is_empty(), "the relay forgot Bea and knows Cy");
    assert_eq!(bench.say("one"), ["one"]);
}

#[test]
fn an_old_server_that_comes_back_gets_name_and_line() {
    let mut bench = Bench::with(User::Person, Server::Classic);
    assert_eq!(bench.sent(), ["Ada"]);
    bench.now += Duration::from_secs(60);
    assert_eq!(bench.say("one"), ["one"]);
    bench.refuse();
    assert_eq!(bench.pass(Duration::from_millis(600)), ["Ada"]);
    bench.refuse();
    assert_eq!(bench.pass(Duration::from_secs(2)), ["Ada", "one"]);
}

//! The session under a virtual clock.

use super::super::screen::output::Kind;
use super::*;

const WELCOME: &str = "* welcome Ada: 1 here (Ada); /help lists commands";

/// A session, its clock, and what came out of it.
struct Bench {
    now: Instant,
    session: Session,
    shown: Vec<Shown>,
}

impl Bench {
    fn new(speaker: Speaker) -> Self {
        Self::with(speaker, Server::Unknown)
    }

    fn with(speaker: Speaker, server: Server) -> Self {
        let now = Instant::now();
        Self {
            now,
            session: Session::new(now, "Ada".into(), speaker, server, Vec::new()),
            shown: Vec::new(),
        }
    }

    /// One that is welcomed already.
    fn welcomed(speaker: Speaker) -> Self {
        let mut bench = Self::new(speaker);
        assert_eq!(bench.sent(), ["Ada"]);
        bench.receive(WELCOME);
        bench.shown.clear();
        bench
    }

    /// What is sent at this moment.
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

    /// What is sent while time passes, in steps from one wake-up to the next.
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
        self.session.handle_refused(self.now, "refused");
    }

    fn kinds(&self) -> Vec<Kind> {
        self.shown.iter().map(|shown| shown.kind).collect()
    }
}

#[test]
fn a_program_waits_for_the_welcome() {
    let mut bench = Bench::new(Speaker::Program);
    assert_eq!(bench.sent(), ["Ada"]);
    assert!(bench.say("one").is_empty());
    assert!(bench.pass(Duration::from_secs(4)).is_empty());
    bench.receive(WELCOME);
    assert_eq!(bench.sent(), ["one"]);
}

#[test]
fn a_program_gives_up_after_five_seconds() {
    let mut bench = Bench::new(Speaker::Program);
    assert_eq!(bench.pass(Duration::from_millis(4999)), ["Ada"]);
    assert_eq!(bench.session.end(), None);
    assert!(bench.pass(Duration::from_millis(1)).is_empty());
    assert!(matches!(bench.session.end(), Some(End::Failed(_))));
}

#[test]
fn a_person_goes_on_after_five_seconds_and_is_alone_with_the_typed_text() {
    let mut bench = Bench::new(Speaker::Person);
    assert_eq!(bench.sent(), ["Ada"]);
    assert!(bench.say("/one").is_empty());
    assert_eq!(bench.pass(Duration::from_secs(5)), ["/one"]);
    assert_eq!(bench.kinds(), [Kind::Status]);
    assert_eq!(bench.say("//two"), ["//two"]);
    assert!(
        bench.pass(Duration::from_secs(600)).is_empty(),
        "no keepalive"
    );
}

#[test]
fn a_classic_server_gets_lines_at_once() {
    let mut bench = Bench::with(Speaker::Program, Server::Classic);
    assert!(bench.session.handle_line(bench.now, "/one"));
    assert_eq!(bench.sent(), ["Ada", "/one"]);
    bench.session.handle_end_of_input(bench.now);
    assert!(bench.pass(Duration::from_secs(1)).is_empty(), "no /quit");
    assert_eq!(bench.session.end(), Some(&End::Left));
}

#[test]
fn an_old_server_is_known_by_what_others_say() {
    let mut bench = Bench::new(Speaker::Person);
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
    let mut bench = Bench::welcomed(Speaker::Person);
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
    let mut bench = Bench::welcomed(Speaker::Program);
    assert_eq!(bench.pass(Duration::from_secs(20)), ["", "/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.kinds(), [Kind::Notice, Kind::Status]);
    assert_eq!(bench.say("one"), ["one"]);
}

#[test]
fn history_is_as_long_as_the_welcome_says() {
    let mut bench = Bench::new(Speaker::Program);
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
    let mut bench = Bench::new(Speaker::Program);
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
    let mut bench = Bench::welcomed(Speaker::Person);
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
        let mut bench = Bench::with(Speaker::Person, server);
        bench.sent();
        bench.refuse();
        assert_eq!(bench.session.end(), Some(&End::Refused("refused".into())));
    }
}

#[test]
fn refused_at_first_goes_on_at_the_next_address_with_all_lines() {
    let mut bench = Bench::with(Speaker::Program, Server::Classic);
    assert!(bench.session.handle_line(bench.now, "one"));
    assert_eq!(bench.sent(), ["Ada", "one"]);
    bench.refuse();
    let lines = bench.session.take_lines(bench.now);
    assert_eq!(lines, [Line::Said("one".into())]);
}

#[test]
fn a_welcome_that_was_not_expected_leads_back_to_frames() {
    for goodbye in ["* bye", "* say your name first"] {
        let mut bench = Bench::with(Speaker::Person, Server::Frameless);
        assert_eq!(bench.sent(), ["Ada"]);
        bench.session.handle_line(bench.now, "one");
        bench.receive(WELCOME);
        bench.receive("Bob : a line of the history");
        assert_eq!(bench.sent(), ["/quit"]);
        assert_eq!(bench.pass(Duration::from_millis(200)), ["/quit"]);
        bench.receive(goodbye);
        assert_eq!(bench.session.end(), Some(&End::Welcomed));
        assert_eq!(bench.shown, [], "it comes again with frames");
        let lines = bench.session.take_lines(bench.now);
        assert_eq!(lines, [Line::Typed("one".into())]);
    }
}

#[test]
fn a_goodbye_that_nobody_answers_leads_back_to_frames_all_the_same() {
    let mut bench = Bench::with(Speaker::Program, Server::Frameless);
    bench.sent();
    bench.receive(WELCOME);
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/quit"; 3]);
    assert_eq!(bench.session.end(), Some(&End::Welcomed));
}

#[test]
fn a_line_that_became_a_name_is_said_with_frames() {
    let mut bench = Bench::with(Speaker::Person, Server::Frameless);
    bench.pass(Duration::from_secs(5));
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
    for speaker in [Speaker::Person, Speaker::Program] {
        let mut bench = Bench::new(speaker);
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
    let mut bench = Bench::welcomed(Speaker::Person);
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
    let mut bench = Bench::welcomed(Speaker::Person);
    bench.refuse();
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/nick Ada"]);
    bench.receive("* you are Ada already");
    assert_eq!(bench.say("one"), ["one"]);
    assert!(!bench.kinds().contains(&Kind::Notice));
}

#[test]
fn a_stop_notice_is_waited_out() {
    let mut bench = Bench::welcomed(Speaker::Person);
    bench.receive("* relay is stopping");
    assert!(bench.say("one").is_empty());
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.sent(), ["one"]);
}

#[test]
fn a_seat_given_away_is_taken_back() {
    let mut bench = Bench::welcomed(Speaker::Person);
    bench.receive("* your seat was given away; say your name to come back");
    assert_eq!(bench.sent(), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.say("one"), ["one"]);
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
        let mut bench = Bench::welcomed(Speaker::Person);
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
    let mut bench = Bench::welcomed(Speaker::Person);
    assert_eq!(bench.say("/who"), ["/who"]);
    bench.now += Duration::from_millis(300);
    bench.receive("* say your name first");
    assert_eq!(bench.sent(), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.sent(), ["/who"]);
}

#[test]
fn a_rename_is_remembered() {
    let mut bench = Bench::welcomed(Speaker::Person);
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
    let mut bench = Bench::with(Speaker::Person, Server::Classic);
    assert_eq!(bench.sent(), ["Ada"]);
    bench.now += Duration::from_secs(60);
    assert_eq!(bench.say("one"), ["one"]);
    bench.refuse();
    assert_eq!(bench.pass(Duration::from_millis(600)), ["Ada"]);
    bench.refuse();
    assert_eq!(bench.pass(Duration::from_secs(2)), ["Ada", "one"]);
}

#[test]
fn the_end_of_the_input_waits_for_silence() {
    let mut bench = Bench::welcomed(Speaker::Program);
    bench.say("one");
    bench.session.handle_end_of_input(bench.now);
    assert!(bench.pass(Duration::from_millis(199)).is_empty());
    bench.receive("Bob : hi");
    assert!(bench.pass(Duration::from_millis(199)).is_empty());
    assert_eq!(bench.pass(Duration::from_millis(1)), ["/quit"]);
    bench.receive("* bye");
    assert_eq!(bench.session.end(), Some(&End::Left));
}

#[test]
fn the_end_of_the_input_does_not_wait_for_ever() {
    let mut bench = Bench::welcomed(Speaker::Program);
    bench.session.handle_end_of_input(bench.now);
    let mut payloads = Vec::new();
    for _ in 0..20 {
        payloads.append(&mut bench.pass(Duration::from_millis(100)));
        bench.receive("Bob : hi");
    }
    assert!(payloads.is_empty() || payloads == ["/quit"]);
    payloads.append(&mut bench.pass(Duration::from_millis(100)));
    assert_eq!(payloads, ["/quit"]);
    bench.pass(Duration::from_millis(200));
    assert_eq!(
        bench.session.end(),
        Some(&End::Left),
        "without a goodbye too"
    );
}

#[test]
fn lines_wait_for_a_relay_that_has_gone_but_not_for_ever() {
    let mut bench = Bench::welcomed(Speaker::Program);
    bench.receive("* relay is stopping");
    bench.say("one");
    bench.session.handle_end_of_input(bench.now);
    bench.pass(Duration::from_secs(29));
    assert_eq!(bench.session.end(), None);
    bench.pass(Duration::from_secs(3));
    assert!(matches!(bench.session.end(), Some(End::Failed(_))));
    assert!(
        bench
            .shown
            .iter()
            .any(|shown| shown.text == "1 line was not sent")
    );
}

#[test]
fn a_program_says_slashes() {
    let mut bench = Bench::welcomed(Speaker::Program);
    assert_eq!(bench.say("/quit"), ["//quit"]);
    assert_eq!(bench.say("//x"), ["///x"]);
    assert!(!bench.session.handle_line(bench.now, " \t"));
}

#[test]
fn quit_is_answered_before_it_ends() {
    let mut bench = Bench::welcomed(Speaker::Person);
    assert_eq!(bench.say("one"), ["one"]);
    bench.session.handle_line(bench.now, "/quit");
    assert_eq!(bench.sent(), ["/quit"]);
    assert_eq!(bench.session.end(), None);
    bench.receive("* bye");
    assert_eq!(bench.session.end(), Some(&End::Left));
    assert_eq!(
        bench.shown.last().map(|shown| shown.text.as_str()),
        Some("bye")
    );
}

#[test]
fn a_flood_never_runs_ahead_of_the_answers() {
    let mut bench = Bench::welcomed(Speaker::Program);
    for number in 0..1000 {
        assert!(bench.session.handle_line(bench.now, &number.to_string()));
    }
    let silent = bench.pass(Duration::from_millis(900));
    let question = silent.iter().position(|payload| payload == "/nick Ada");
    assert_eq!((question, silent.len()), (Some(64), 129));
    bench.receive("* you are Ada already");
    let mut lines = 128;
    while bench.session.queued() > 0 {
        let more = bench.pass(Duration::from_millis(8));
        if more.iter().any(|payload| payload == "/nick Ada") {
            bench.receive("* you are Ada already");
        }
        lines += more
            .iter()
            .filter(|payload| *payload != "/nick Ada")
            .count();
    }
    assert_eq!(lines, 1000);
    assert!(bench.shown.is_empty());
}

#[test]
fn a_relay_that_stops_answering_loses_no_line() {
    let mut bench = Bench::welcomed(Speaker::Program);
    for number in 0..300 {
        assert!(bench.session.handle_line(bench.now, &number.to_string()));
    }
    let before = bench.pass(Duration::from_millis(500));
    let after = bench.pass(Duration::from_secs(5));
    assert!(
        after.iter().all(|payload| payload == "/nick Ada"),
        "{after:?}"
    );
    bench.receive(WELCOME);
    let mut rest = bench.pass(Duration::from_millis(500));
    bench.receive("* you are Ada already");
    rest.append(&mut bench.pass(Duration::from_millis(500)));
    bench.receive("* you are Ada already");
    rest.append(&mut bench.pass(Duration::from_millis(500)));
    let all: Vec<String> = before.into_iter().chain(rest).collect();
    for number in 0..300 {
        assert!(all.contains(&number.to_string()), "{number}");
    }
}

#[test]
fn a_doubled_welcome_is_shown_once() {
    let mut bench = Bench::new(Speaker::Person);
    bench.sent();
    bench.receive(WELCOME);
    bench.receive(WELCOME);
    assert_eq!(bench.kinds(), [Kind::Notice]);
}

#[test]
fn late_answers_to_questions_are_not_shown() {
    let mut bench = Bench::welcomed(Speaker::Person);
    bench.receive("* relay is stopping");
    assert_eq!(bench.pass(Duration::from_millis(2400)), ["/nick Ada"; 2]);
    bench.shown.clear();
    bench.receive("* you are Ada already");
    bench.receive("* you are Ada already");
    assert_eq!(bench.kinds(), [Kind::Status]);
    assert_eq!(bench.say("/nick Bea"), ["/nick Bea"]);
    bench.receive("* you are now Bea");
    assert_eq!(bench.kinds(), [Kind::Status, Kind::Notice]);
}

/// Sessions in every phase, with and without questions that are open.
fn in_every_phase() -> Vec<(&'static str, Bench)> {
    let mut joining = Bench::new(Speaker::Program);
    assert_eq!(joining.sent(), ["Ada"]);
    let mut unwelcomed = Bench::new(Speaker::Person);
    unwelcomed.pass(Duration::from_secs(5));
    let mut asked = Bench::welcomed(Speaker::Person);
    assert_eq!(asked.pass(Duration::from_secs(20)), ["", "/nick Ada"]);
    let mut typed = Bench::welcomed(Speaker::Person);
    assert_eq!(typed.say("/nick Bea"), ["/nick Bea"]);
    let mut rejoining = Bench::welcomed(Speaker::Program);
    rejoining.receive("* relay is stopping");
    let mut rejoining_asked = Bench::welcomed(Speaker::Person);
    rejoining_asked.refuse();
    assert_eq!(
        rejoining_asked.pass(Duration::from_millis(600)),
        ["/nick Ada"]
    );
    let mut rejoining_classic = Bench::with(Speaker::Person, Server::Classic);
    rejoining_classic.sent();
    rejoining_classic.now += Duration::from_secs(60);
    rejoining_classic.refuse();
    assert_eq!(rejoining_classic.pass(Duration::from_millis(510)), ["Ada"]);
    let mut leaving = Bench::welcomed(Speaker::Person);
    leaving.session.handle_leave(leaving.now);
    assert_eq!(leaving.sent(), ["/quit"]);
    vec![
        ("joining", joining),
        ("unwelcomed", unwelcomed),
        ("welcomed", Bench::welcomed(Speaker::Program)),
        ("asked", asked),
        ("typed", typed),
        ("rejoining", rejoining),
        ("rejoining, asked", rejoining_asked),
        ("rejoining, classic", rejoining_classic),
        ("leaving", leaving),
    ]
}

#[test]
fn nobody_can_join_under_a_name_that_is_a_notice() {
    let names = [
        "you are now Eve",
        "you are now Ada",
        "you are now Bea",
        "you are",
        "you are Ada already",
        "you are Bea already",
        "Ada already",
        "your seat was given away",
        "your seat was given away; say yo",
        "relay is stopping",
        "say your name first",
        "bye",
        "full_ 4 of 4 seats taken",
        "full",
        "3 lines lost",
        "1 line lost",
        "welcome Ada_ 1 here (Ada)",
        "welcome Eve",
    ];
    for name in names {
        for line in [
            format!("* {name} joined"),
            format!("* {name} left (quit)"),
            format!("* {name} left (silent)"),
            format!("* {name} is now Eve"),
            format!("* {name} is now Ada already"),
            format!("* you are is now {name}"),
            format!("* Eve is now {name}"),
        ] {
            for (which, mut bench) in in_every_phase() {
                let (phase, asked) = (bench.session.phase, format!("{:?}", bench.session.asked));
                bench.shown.clear();
                bench.receive(&line);
                assert_eq!(bench.session.phase, phase, "{which}: {line}");
                assert_eq!(bench.session.name, "Ada", "{which}: {line}");
                assert_eq!(bench.session.end(), None, "{which}: {line}");
                assert_eq!(
                    format!("{:?}", bench.session.asked),
                    asked,
                    "{which}: {line}"
                );
                let shown: Vec<String> = bench
                    .shown
                    .iter()
                    .map(|shown| format!("* {}", shown.text))
                    .collect();
                assert_eq!(shown, [line.as_str()], "{which}");
                assert!(bench.sent().is_empty(), "{which}: {line}");
            }
        }
    }
}

#[test]
fn only_a_name_that_was_asked_for_is_an_answer() {
    let mut bench = Bench::welcomed(Speaker::Person);
    bench.receive("* you are now Eve");
    bench.receive("* you are Eve already");
    assert_eq!(bench.kinds(), [Kind::Notice; 2]);
    assert_eq!(bench.session.name, "Ada");
    assert_eq!(bench.say("/nick b:a"), ["/nick b:a"]);
    bench.receive("* you are now Eve");
    assert_eq!(bench.session.name, "Ada");
    bench.receive("* you are now b_a~2");
    assert_eq!(bench.session.name, "b_a~2");
    bench.receive("* you are now b_a");
    assert_eq!(bench.session.name, "b_a~2", "it was answered");
    assert_eq!(bench.say("/nick already"), ["/nick already"]);
    bench.receive("* you are now already");
    assert_eq!(bench.session.name, "already");
}

#[test]
fn a_rename_that_is_answered_while_joining_again_is_kept() {
    let mut bench = Bench::welcomed(Speaker::Person);
    assert_eq!(bench.say("/nick Bea"), ["/nick Bea"]);
    bench.now += Duration::from_millis(100);
    bench.receive("* relay is stopping");
    bench.receive("* you are now Bea");
    assert_eq!(bench.pass(Duration::from_secs(1)), ["/nick Bea"]);
    bench.receive("* welcome Bea: 1 here (Bea); /help lists commands");
    assert!(bench.sent().is_empty());
    assert_eq!(bench.say("one"), ["one"]);
}

#[test]
fn only_after_a_restart_that_nobody_announced_lines_may_be_missing() {
    let statuses = |bench: &Bench| -> Vec<String> {
        let of_client = bench.shown.iter().filter(|s| s.kind == Kind::Status);
        of_client.map(|shown| shown.text.clone()).collect()
    };
    let missing = |bench: &Bench| {
        let is_said = |text: &&String| text.ends_with("; lines may be missing");
        statuses(bench).iter().filter(is_said).count()
    };
    // it answers a question, a line or a command as it answers a stranger
    let mut bench = Bench::welcomed(Speaker::Person);
    bench.pass(Duration::from_secs(20));
    bench.receive(WELCOME);
    assert_eq!(
        statuses(&bench),
        ["the relay was restarted; joined again; lines may be missing"]
    );
    let mut bench = Bench::welcomed(Speaker::Person);
    bench.say("hello there");
    bench.receive("* welcome hello there: 1 here (hello there); /help lists commands");
    assert_eq!(bench.sent(), ["/nick Ada"]);
    bench.receive("* you are now Ada");
    assert_eq!(
        statuses(&bench),
        [
            "the relay was restarted; joining again",
            "joined again as Ada; lines may be missing"
        ]
    );
    let mut bench = Bench::welcomed(Speaker::Person);
    bench.say("/who");
    bench.receive("* say your name first");
    assert_eq!(bench.sent(), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(missing(&bench), 1);
    // nobody listens there for a while
    for (answer, expected) in [(WELCOME, 1), ("* you are Ada already", 0)] {
        let mut bench = Bench::welcomed(Speaker::Person);
        bench.refuse();
        bench.pass(Duration::from_secs(1));
        bench.receive(answer);
        assert_eq!(missing(&bench), expected, "{answer}");
    }
    // it said so
    let mut bench = Bench::welcomed(Speaker::Person);
    bench.receive("* relay is stopping");
    bench.pass(Duration::from_secs(1));
    bench.receive(WELCOME);
    assert_eq!(
        statuses(&bench),
        [
            "waiting for the relay, to join again",
            "joined again as Ada"
        ]
    );
}

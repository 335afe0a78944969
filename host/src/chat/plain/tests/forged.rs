//! Tests of answers and notices that other peers can forge, including late ones.

use super::*;

/// Creates sessions in each phase, with and without pending questions.
fn in_every_phase() -> Vec<(&'static str, Bench)> {
    let mut joining = Bench::new(User::Program);
    assert_eq!(joining.sent(), ["Ada"]);
    let mut unwelcomed = Bench::new(User::Person);
    unwelcomed.sent();
    unwelcomed.receive("Bob : heard on an old server");
    let mut asked = Bench::welcomed(User::Person);
    assert_eq!(asked.pass(Duration::from_secs(20)), ["", "/nick Ada"]);
    let mut typed = Bench::welcomed(User::Person);
    assert_eq!(typed.say("/nick Bea"), ["/nick Bea"]);
    let mut rejoining = Bench::welcomed(User::Program);
    rejoining.receive("* relay is stopping");
    let mut rejoining_asked = Bench::welcomed(User::Person);
    rejoining_asked.refuse();
    assert_eq!(
        rejoining_asked.pass(Duration::from_millis(600)),
        ["/nick Ada"]
    );
    let mut rejoining_classic = Bench::with(User::Person, Server::Classic);
    rejoining_classic.sent();
    rejoining_classic.now += Duration::from_secs(60);
    rejoining_classic.refuse();
    assert_eq!(rejoining_classic.pass(Duration::from_millis(510)), ["Ada"]);
    let mut leaving = Bench::welcomed(User::Person);
    leaving.session.handle_leave(leaving.now);
    assert_eq!(leaving.sent(), ["/quit"]);
    vec![
        ("joining", joining),
        ("unwelcomed", unwelcomed),
        ("welcomed", Bench::welcomed(User::Program)),
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
    let mut bench = Bench::welcomed(User::Person);
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
    let mut bench = Bench::welcomed(User::Person);
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
    // a restarted relay answers a question, a line or a command as it answers a stranger
    let mut bench = Bench::welcomed(User::Person);
    bench.pass(Duration::from_secs(20));
    bench.receive(WELCOME);
    assert_eq!(
        statuses(&bench),
        ["the relay was restarted; joined again; lines may be missing"]
    );
    let mut bench = Bench::welcomed(User::Person);
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
    let mut bench = Bench::welcomed(User::Person);
    bench.say("/who");
    bench.receive("* say your name first");
    assert_eq!(bench.sent(), ["/nick Ada"]);
    bench.receive(WELCOME);
    assert_eq!(missing(&bench), 1);
    // the relay's port is closed for a while
    for (answer, expected) in [(WELCOME, 1), ("* you are Ada already", 0)] {
        let mut bench = Bench::welcomed(User::Person);
        bench.refuse();
        bench.pass(Duration::from_secs(1));
        bench.receive(answer);
        assert_eq!(missing(&bench), expected, "{answer}");
    }
    // the relay announced the restart
    let mut bench = Bench::welcomed(User::Person);
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

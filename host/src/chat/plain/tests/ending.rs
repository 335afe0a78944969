//! Tests of the end of the input, and of the pacing.

use super::*;

#[test]
fn the_end_of_the_input_waits_for_silence() {
    let mut bench = Bench::welcomed(User::Program);
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
    let mut bench = Bench::welcomed(User::Program);
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
    let mut bench = Bench::welcomed(User::Program);
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
    let mut bench = Bench::welcomed(User::Program);
    assert_eq!(bench.say("/quit"), ["//quit"]);
    assert_eq!(bench.say("//x"), ["///x"]);
    assert!(!bench.session.handle_line(bench.now, " \t"));
}

#[test]
fn quit_is_answered_before_it_ends() {
    let mut bench = Bench::welcomed(User::Person);
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

// [T17]
#[test]
fn a_flood_is_no_faster_than_a_relay_takes_it() {
    let mut bench = Bench::welcomed(User::Program);
    for number in 0..200 {
        assert!(bench.session.handle_line(bench.now, &number.to_string()));
    }
    let start = bench.now;
    let mut lines = Vec::new();
    while bench.session.queued() > 0 {
        for payload in bench.pass(Duration::from_millis(10)) {
            if payload == "/nick Ada" {
                bench.receive("* you are Ada already");
            } else {
                lines.push(payload);
            }
        }
    }
    let took = bench.now - start;
    assert!((15..17).contains(&took.as_secs()), "{took:?}");
    let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(lines, expected);
    assert!(bench.shown.is_empty());
}

#[test]
fn a_flood_never_runs_ahead_of_the_answers() {
    let mut bench = Bench::welcomed(User::Program);
    for number in 0..300 {
        assert!(bench.session.handle_line(bench.now, &number.to_string()));
    }
    let silent = bench.pass(Duration::from_secs(3));
    let question = silent.iter().position(|payload| payload == "/nick Ada");
    assert_eq!(question, Some(64));
    assert!((74..80).contains(&silent.len()), "{}", silent.len());
}

#[test]
fn a_relay_that_stops_answering_loses_no_line() {
    let mut bench = Bench::welcomed(User::Program);
    for number in 0..100 {
        assert!(bench.session.handle_line(bench.now, &number.to_string()));
    }
    // it is asked after 64 lines, three times, and then joined again
    let mut all = bench.pass(Duration::from_secs(6));
    bench.receive(WELCOME);
    for _ in 0..100 {
        let more = bench.pass(Duration::from_millis(100));
        if more.iter().any(|payload| payload == "/nick Ada") {
            bench.receive("* you are Ada already");
        }
        all.extend(more);
    }
    for number in 0..100 {
        assert!(all.contains(&number.to_string()), "{number}");
    }
}

#[test]
fn a_person_is_told_that_a_paste_waits() {
    let mut bench = Bench::welcomed(User::Person);
    for number in 0..60 {
        bench.session.handle_line(bench.now, &number.to_string());
    }
    bench.pass(Duration::from_millis(50));
    let told = bench
        .shown
        .iter()
        .filter(|shown| shown.kind == Kind::Status);
    let told: Vec<&str> = told.map(|shown| shown.text.as_str()).collect();
    assert_eq!(told, [format!("12 lines {WAIT}")]);
}

#[test]
fn a_doubled_welcome_is_shown_once() {
    let mut bench = Bench::new(User::Person);
    bench.sent();
    bench.receive(WELCOME);
    bench.receive(WELCOME);
    assert_eq!(bench.kinds(), [Kind::Notice]);
}

#[test]
fn late_answers_to_questions_are_not_shown() {
    let mut bench = Bench::welcomed(User::Person);
    bench.receive("* relay is stopping");
    assert_eq!(bench.pass(Duration::from_millis(2400)), ["/nick Ada"; 2]);
    bench.shown.clear();
    bench.receive("* you are Ada already");
    bench.receive("* you are Ada already");
    assert_eq!(bench.kinds(), [Kind::Status]);
    assert_eq!(bench.say("/nick Bea"), ["/nick Bea"]);
    bench.receive("* you are now Bea");
    assert_eq!(bench.kinds(), [Kind::Status, Kind::Typed, Kind::Notice]);
}

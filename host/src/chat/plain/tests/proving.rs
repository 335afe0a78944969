//! A relay that wants a code before it gives a seat.

use super::*;

const CODE: &str = "* to join, send: 4829-1350 Ada";

// [G3]
#[test]
fn a_code_is_answered_with_code_and_name() {
    for user in [User::Person, User::Program] {
        let mut bench = Bench::new(user);
        assert_eq!(bench.sent(), ["Ada"]);
        bench.receive(CODE);
        assert_eq!(bench.sent(), ["4829-1350 Ada"]);
        bench.receive(WELCOME);
        assert_eq!(bench.say("hello"), ["hello"]);
        assert_eq!(bench.kinds().first(), Some(&Kind::Notice));
    }
}

#[test]
fn a_relay_that_wants_one_code_after_another_is_answered_once_a_second() {
    let mut bench = Bench::new(User::Program);
    assert_eq!(bench.sent(), ["Ada"]);
    let mut answers = 0;
    for _ in 0..300 {
        bench.receive(CODE);
        answers += bench.pass(Duration::from_millis(10)).len();
    }
    assert_eq!(answers, 3);
}

#[test]
fn a_relay_that_forgot_the_client_is_told_the_code_and_then_the_line() {
    let mut bench = Bench::welcomed(User::Program);
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.say("hello"), ["hello"]);
    bench.receive("* to join, send: 4829-1350 hello");
    assert_eq!(bench.sent(), ["4829-1350 Ada"]);
    bench.receive(WELCOME);
    assert_eq!(bench.sent(), ["hello"]);
}

// [G13]
#[test]
fn a_relay_that_sends_lines_late_is_sent_the_code_alone() {
    let mut bench = Bench::welcomed(User::Program);
    bench.receive("* busy: to get every line send 4829-1350");
    assert_eq!(bench.sent(), ["4829-1350"]);
    bench.receive("* thank you: you get every line from now on");
    bench.receive("* busy: to get every line send 4829-1350 now");
    assert!(bench.sent().is_empty(), "that is no code alone");
}

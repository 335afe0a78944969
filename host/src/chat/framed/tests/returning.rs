//! Tests of a lost connection, and of a seat that is given away.

use super::*;

#[test]
fn a_lost_connection_is_told_and_so_is_its_return() {
    let mut bench = Bench::joined(User::Person);
    let relay = bench.relay.take();
    bench.pass(30 * SECOND);
    assert_eq!(
        bench.statuses(),
        ["the relay does not answer; trying again until it does"]
    );
    bench.say("one");
    bench.say("two");
    bench.pass(2 * SECOND);
    assert_eq!(bench.statuses()[1..], ["2 lines are not delivered yet"]);
    bench.relay = relay;
    bench.pass(20 * SECOND);
    assert_eq!(
        bench.statuses()[2..],
        ["the relay answers again", "delivered"]
    );
    assert_eq!(bench.texts(Kind::Own), ["one", "two"]);
}

#[test]
fn after_a_restart_what_may_be_lost_is_told() {
    let mut bench = Bench::joined(User::Person);
    bench.relay = None;
    bench.say("into the void");
    bench.pass(Duration::from_millis(10));
    bench.session.handle_unreachable(bench.now, "refused");
    bench.session.handle_unreachable(bench.now, "refused");
    bench.say("held");
    bench.pass(Duration::from_millis(1500));
    bench.restart();
    bench.pass(5 * SECOND);
    assert_eq!(
        bench.statuses(),
        [
            "connection lost (refused); joining again",
            "2 lines are not delivered yet",
            "perhaps not delivered: into the void",
            "the relay was restarted; joined again as Ada; lines may be missing",
            "the rest is delivered",
        ]
    );
    assert_eq!(bench.texts(Kind::Own), ["held"]);
    bench.say("after");
    bench.pass(SECOND);
    assert_eq!(bench.texts(Kind::Own), ["held", "after"]);
}

#[test]
fn a_relay_that_says_it_stops_gets_the_lines_when_it_is_back() {
    let mut bench = Bench::joined(User::Program);
    let moment = bench.moment();
    bench.relay.as_mut().expect("it runs").stop(moment);
    bench.step();
    bench.relay = None;
    bench.pass(Duration::from_millis(10));
    bench.say("typed meanwhile");
    bench.pass(SECOND);
    bench.restart();
    bench.session.handle_end_of_input(bench.now);
    bench.pass(20 * SECOND);
    assert_eq!(bench.texts(Kind::Own), ["typed meanwhile"]);
    assert_eq!(bench.session.end(), Some(&End::Left));
}

/// Returns a bench in which Ada's client was suspended, and its seat was given to Eve.
fn given_away(lines: usize) -> Bench {
    let mut bench = Bench::joined_of(User::Person, 2);
    bench.say("/nick Zoe");
    bench.say("/quiet on");
    bench.pass(SECOND);
    bench.shown.clear();
    bench.is_suspended = true;
    for number in 0..lines {
        bench.bob(&format!("away {number}"));
    }
    bench.pass(70 * SECOND);
    bench.plain(EVE, "Eve");
    bench
}

fn heard(lines: usize) -> Vec<String> {
    (0..lines).map(|number| format!("away {number}")).collect()
}

#[test]
fn after_a_seat_was_given_away_it_goes_on_where_it_was() {
    for lines in [0, 3, 60] {
        let mut bench = given_away(lines);
        bench.plain(EVE, "/quit");
        bench.is_suspended = false;
        bench.pass(SECOND);
        bench.say("still here");
        bench.pass(SECOND);
        assert_eq!(bench.statuses(), ["joining again", "joined again as Zoe"]);
        assert_eq!(
            bench.texts(Kind::Message),
            heard(lines),
            "each once, and live"
        );
        assert_eq!(bench.texts(Kind::History), [""; 0]);
        assert_eq!(bench.texts(Kind::Own), ["still here"]);
        let notices = bench.texts(Kind::Notice);
        assert_eq!(notices[0], "your seat was given away");
        // the client is still quiet
        assert!(
            notices.iter().all(|text| !text.contains("Eve")),
            "{notices:?}"
        );
        assert!(
            bench
                .shown
                .iter()
                .all(|shown| !matches!(shown.kind, Kind::Gap(_)))
        );
    }
}

#[test]
fn what_was_overwritten_while_it_had_no_seat_is_a_gap() {
    let mut bench = given_away(1000);
    bench.plain(EVE, "/quit");
    bench.is_suspended = false;
    bench.pass(5 * SECOND);
    let mut next = None;
    for shown in &bench.shown {
        let lines = if let Kind::Gap(lines) = shown.kind {
            lines
        } else {
            1
        };
        if let Some(sequence) = shown.sequence {
            // a quiet client is not shown announcements
            assert!(next.is_none_or(|next| sequence >= next && sequence <= next + 3));
            next = Some(sequence + lines);
        }
    }
    assert_eq!(bench.texts(Kind::Message).last(), Some(&"away 999"));
    let is_gap = |shown: &&Shown| matches!(shown.kind, Kind::Gap(_));
    assert_eq!(bench.shown.iter().filter(is_gap).count(), 1);
}

#[test]
fn a_full_room_is_asked_again_when_it_said_to() {
    let mut bench = given_away(5);
    bench.is_suspended = false;
    bench.pass(SECOND);
    bench.say("waits");
    bench.pass(200 * SECOND);
    let told = "no seat yet (full: all seats are taken); asking again in 60 s";
    let late = "not delivered yet: waits";
    assert_eq!(bench.statuses(), ["joining again", told, late]);
    assert_eq!(bench.session.end(), None);
    bench.plain(EVE, "/quit");
    bench.pass(40 * SECOND);
    assert_eq!(bench.statuses()[3..], ["joined again as Zoe", "delivered"]);
    assert_eq!(bench.texts(Kind::Message), heard(5));
    assert_eq!(bench.texts(Kind::Own), ["waits"]);
}

#[test]
fn a_first_seat_is_waited_for_by_whoever_stays() {
    let full = |waits| {
        let mut bench = Bench::with(User::Program, 1, waits);
        bench.pass(100 * SECOND);
        bench
    };
    let bench = full(false);
    let told = "the relay refused: full: all seats are taken";
    assert_eq!(bench.session.end(), Some(&End::Failed(told.into())));
    let mut bench = full(true);
    assert_eq!(bench.session.end(), None);
    // the relay restarts, and is full again
    bench.session.handle_unreachable(bench.now, "refused");
    bench.restart();
    bench.pass(100 * SECOND);
    assert_eq!(bench.session.end(), None);
    assert_eq!(bench.statuses().len(), 1);
    bench.bob("/quit");
    bench.pass(60 * SECOND);
    assert!(bench.session.exchange.has_joined);
}

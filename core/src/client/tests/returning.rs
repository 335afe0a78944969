//! A client that lost its seat requests another one, and continues there.

use super::*;

/// All farewells that end a seat, and the events of each.
const FAREWELLS: [(Goodbye, &[&str]); 5] = [
    (Goodbye::GivenAway, &["seat lost GivenAway"]),
    (Goodbye::TakenOver, &["seat lost TakenOver"]),
    (Goodbye::Unknown, &[]),
    (Goodbye::Left, &[]), // the client has not sent LEAVE
    (Goodbye::Other(99), &[]),
];

const fn said(first: u64, texts: u8) -> Outcome<'static> {
    Outcome::Accepted {
        first,
        lines: texts,
        texts,
    }
}

// [S6]
#[test]
fn whatever_ends_the_session_it_goes_on_in_another_one() {
    for (why, told) in FAREWELLS {
        let mut hand = Hand::joined();
        for (post, text) in (0..).zip(["/nick Zoe", "/quiet on", "b", "c", "d"]) {
            assert_eq!(hand.client.post(text), Ok(PostId(post)));
        }
        hand.said();
        hand.posted(1, 0, Outcome::Answer("* you are now Zoe"));
        hand.data(10, 13);
        hand.data(14, 15);
        assert_eq!(hand.told().len(), 5);
        assert!(hand.said().contains(&"post 2 b|c|d".into()));
        let foreign = Frame::Bye(Session(0xB), why);
        assert_eq!(hand.frame(&foreign), Received::Dropped(Dropped::Session));
        hand.wait(6000);
        assert_eq!(hand.bye(why), Received::Frame);
        assert_eq!(hand.client.state(), State::Lost);
        let resumed = if why == Goodbye::TakenOver { "0" } else { "a" };
        assert_eq!(
            hand.said(),
            [format!("hello 0 +1 01 {resumed} 7 13 as Zoe")]
        );
        // meanwhile another text is posted
        hand.client.post("e").unwrap();
        hand.welcome(1, Session(0xB), EPOCH, 13, 20);
        let mut expected: Vec<_> = ["doubtful 2", "doubtful 3", "doubtful 4"].into();
        expected.extend(told);
        expected.push("joined Continued Ada 7");
        assert_eq!(hand.told(), expected, "{why:?}");
        assert_eq!(hand.said(), ["post 1 e", "ack 13 1+1"]);
        // lines appended meanwhile are live, announcements are hidden, and each line comes once
        hand.data(13, 18);
        let lines = [entry(0, 1, 0, "* Eve left"), entry(9, 0, 3, "Bob : 19")];
        hand.gets(&data(EPOCH, 9, 18, lines));
        let told = hand.told();
        assert_eq!(told.len(), 6);
        assert_eq!(told[0], "13 Bob: 13");
        assert_eq!(told[5], "19 Bob: 19");
    }
}

// [U6]
#[test]
fn texts_that_were_never_posted_keep_their_order() {
    let mut hand = Hand::joined();
    for text in ["a", "b", "c"] {
        hand.client.post(text).unwrap();
    }
    assert_eq!(hand.said(), ["post 1 a|b|c"]);
    hand.posted(1, 0, said(10, 1));
    hand.bye(Goodbye::GivenAway);
    hand.client.post("d").unwrap();
    hand.wait(500);
    hand.welcome(1, Session(0xB), EPOCH, 10, 11);
    let told = [
        "said 0 10+1",
        "seat lost GivenAway",
        "joined Continued Ada 1",
    ];
    assert_eq!(hand.told(), told);
    assert_eq!(hand.said(), ["post 1 b|c|d"]);
}

#[test]
fn lines_that_were_overwritten_meanwhile_are_a_gap() {
    let mut hand = Hand::joined();
    hand.bye(Goodbye::GivenAway);
    hand.wait(500);
    hand.welcome(1, Session(0xB), EPOCH, 10, 100);
    let gap = Frame::Gap(Gap {
        session: Session(0xB),
        sent_at: 1,
        from: 10,
        until: 90,
    });
    assert_eq!(hand.frame(&gap), Received::Frame);
    hand.data(90, 92);
    let told = [
        "seat lost GivenAway",
        "joined Continued Ada 90",
        "lost 10 80",
        "90 Bob: 90",
        "91 Bob: 91",
    ];
    assert_eq!(hand.told(), told);
}

// [M7]
#[test]
fn what_was_for_its_former_seat_alone_is_one_lost_line() {
    let mut hand = Hand::joined();
    hand.bye(Goodbye::GivenAway);
    hand.wait(500);
    hand.welcome_as(OWN + 1, 1, Session(0xB), EPOCH, 10, 13);
    let lines = [(9, ""), (OWN, ""), (OWN + 1, "* Bob to you: hi")];
    for (first, (author, line)) in (10..).zip(lines) {
        let payload = data(EPOCH, 1, first, [entry(author, 3, 0, line)]);
        assert_eq!(hand.gets(&payload), Received::Frame);
    }
    let told = [
        "seat lost GivenAway",
        "joined Continued Ada 3",
        "lost 11 1",
        "12 Bob: hi",
    ];
    assert_eq!(hand.told(), told);
    assert_eq!(hand.client.stats().lost, 1);
}

// [S7]
#[test]
fn a_seat_that_cannot_be_had_is_asked_for_when_the_relay_said() {
    let mut hand = Hand::joined();
    hand.bye(Goodbye::GivenAway);
    hand.wait(500);
    for nonce in 1..4 {
        assert_eq!(hand.refused_for(nonce, Reason::Full, 60), Received::Frame);
        let late = hand.refused_for(nonce, Reason::Full, 60);
        assert_eq!(late, Received::Dropped(Dropped::Session));
        assert_eq!(hand.client.state(), State::Lost);
        hand.client.post("waits").unwrap();
        assert_eq!(hand.wait(59_999), [""; 0]);
        let next = nonce + 1;
        assert_eq!(hand.wait(1), [format!("1 hello 0 +{next} 01 a 7 10")]);
    }
    // the cookie has expired
    hand.cookie(4, 2);
    assert_eq!(hand.said(), ["hello 0 +4 02 a 7 10"]);
    hand.welcome(4, Session(0xB), EPOCH, 10, 10);
    let told = [
        "seat lost GivenAway",
        "no seat Full 60",
        "joined Continued Ada 0",
    ];
    assert_eq!(hand.told(), told);
    assert_eq!(hand.said(), ["post 1 waits|waits|waits"]);
}

#[test]
fn a_first_seat_is_waited_for_too() {
    let mut hand = Hand::new(6);
    hand.client.post("waits").unwrap();
    hand.said();
    hand.cookie(0, 1);
    hand.said();
    assert_eq!(hand.refused_for(0, Reason::Other(9), 10), Received::Frame);
    assert_eq!(hand.told(), ["no seat Other(9) 10"]);
    assert_eq!(hand.client.state(), State::Joining);
    assert_eq!(hand.wait(10_000), ["10000 hello 0 +1 01"]);
    hand.welcome(1, SESSION, EPOCH, 10, 12);
    assert_eq!(hand.told(), ["joined New Ada 2"]);
    // after a change of the network the request is a new one
    hand.bye(Goodbye::Unknown);
    hand.wait(1000);
    hand.refused_for(2, Reason::Full, 60);
    hand.client.reconnect(hand.now());
    assert_eq!(hand.said(), ["hello 0 +4 01 a 7 10"]);
}

#[test]
fn a_refusal_that_comes_when_the_session_answers_changes_nothing() {
    let mut hand = Hand::joined();
    hand.wait(26_000);
    hand.data(10, 11); // the session responds again
    let was = hand.refused_for(1, Reason::Full, 60);
    assert_eq!(was, Received::Dropped(Dropped::Unexpected));
    assert_eq!(hand.client.state(), State::Joined);
}

/// Returns when HELLO is sent, if each session ends as soon as it has started.
fn loops(mut ends: impl FnMut(&mut Hand, u64)) -> Vec<u64> {
    let mut hand = Hand::joined();
    let begun = hand.now;
    let mut times = Vec::new();
    for nonce in 1..10 {
        let session = Session(0xA + nonce);
        ends(&mut hand, nonce);
        while hand.wait(10).is_empty() {}
        times.push((hand.now - begun) / 100);
        hand.welcome(nonce, session, EPOCH, 10, 10);
        hand.told();
    }
    times
}

// [S8]
#[test]
fn sessions_that_end_at_once_are_asked_for_less_and_less_often() {
    let expected = [5, 15, 35, 75, 125, 175, 225, 275, 325];
    for (why, _) in FAREWELLS {
        let times = loops(|hand, nonce| {
            let session = match hand.client.session {
                Some(NOBODY) | None => Session(0x9 + nonce),
                Some(session) => session,
            };
            hand.wait(if why == Goodbye::TakenOver { 0 } else { 1 });
            hand.frame(&Frame::Bye(session, why));
        });
        assert_eq!(times, expected, "{why:?}");
    }
    let times = loops(|hand, _| hand.client.handle_unreachable(hand.now()));
    assert_eq!(times, expected);
}

#[test]
fn a_relay_that_stops_again_and_again_is_asked_less_and_less_often() {
    let mut hand = Hand::joined();
    let begun = hand.now;
    let mut times = Vec::new();
    for nonce in 1..8 {
        let stopping = entry(0, 2, 0, "* relay is stopping");
        hand.gets(&data(EPOCH, 1, 9 + nonce, [stopping]));
        while !hand.wait(10).iter().any(|said| said.contains("hello")) {}
        times.push((hand.now - begun) / 100);
        hand.welcome(nonce, Session(0xA + nonce), EPOCH, 10 + nonce, 10 + nonce);
        hand.told();
    }
    assert_eq!(times, [5, 15, 35, 75, 125, 175, 225]);
}

const NOBODY: Session = Session(0);

// [S8]
#[test]
fn a_session_of_some_seconds_makes_the_next_pause_short_again() {
    let mut hand = Hand::joined();
    for nonce in 1..10 {
        hand.wait(5000);
        hand.client.handle_unreachable(hand.now());
        assert_eq!(hand.said(), [format!("hello 0 +{nonce} 01 a 7 10")]);
        hand.welcome(nonce, SESSION, EPOCH, 10, 10);
        hand.told();
    }
}

// [P4]
#[test]
fn a_relay_that_is_stopping_is_told_what_arrived_and_then_asked_again() {
    let mut hand = Hand::joined();
    hand.wait(1000);
    hand.client.post("a").unwrap();
    assert_eq!(hand.said(), ["post 1 a"]);
    hand.posted(1, 0, said(10, 1));
    hand.told();
    hand.gets(&data(EPOCH, 1, 11, [entry(0, 2, 0, "* relay is stopping")]));
    hand.gets(&data(EPOCH, 2, 10, [entry(OWN, 0, 3, "Ada : a")]));
    assert_eq!(hand.told(), ["10 Ada: a (own)", "11 : relay is stopping"]);
    hand.client.post("kept").unwrap();
    let said = hand.wait(1500);
    assert_eq!(
        said,
        [
            "0 ack 12 echo 1",
            "377 hello 0 +1 01 a 7 12",
            "627 hello 0 +1 01 a 7 12",
            "1127 hello 0 +1 01 a 7 12"
        ]
    );
    hand.welcome(1, Session(0xB), EPOCH + 1, 0, 1);
    assert_eq!(hand.told(), ["joined Restarted Ada 1"]);
    assert_eq!(hand.said(), ["post 1 kept"]);
}

/// Returns a client that has the last line of a run, 11, and not the line before it.
fn stopped_without_line_10() -> Hand {
    let mut hand = Hand::joined();
    hand.gets(&data(EPOCH, 1, 11, [entry(0, 2, 0, "* relay is stopping")]));
    assert_eq!(hand.said(), ["ack 10 1+1 echo 1"]);
    hand
}

// [P4]
#[test]
fn a_relay_that_is_stopping_has_a_second_for_a_missing_line() {
    let mut hand = stopped_without_line_10();
    assert_eq!(hand.wait(1200), ["1000 hello 0 +1 01 a 7 10"]);
    let mut hand = stopped_without_line_10();
    assert_eq!(hand.wait(600), [""; 0]);
    hand.data(10, 11);
    assert_eq!(hand.told(), ["10 Bob: 10", "11 : relay is stopping"]);
    assert_eq!(hand.said(), ["ack 12 echo 1"]);
    assert_eq!(hand.wait(10), ["0 hello 0 +1 01 a 7 12"]);
}

// [P4]
#[test]
fn a_relay_that_is_stopping_has_a_second_to_answer_a_post() {
    let stopped = || {
        let mut hand = Hand::joined();
        hand.client.post("a").unwrap();
        assert_eq!(hand.said(), ["post 1 a"]);
        hand.gets(&data(EPOCH, 1, 10, [entry(0, 2, 0, "* relay is stopping")]));
        assert_eq!(hand.said(), ["ack 11 echo 1"]);
        hand
    };
    let mut hand = stopped();
    assert_eq!(hand.wait(1200), ["1000 hello 0 +1 01 a 7 11"]);
    let mut hand = stopped();
    assert_eq!(hand.wait(600), [""; 0]);
    let later = Outcome::Refused {
        reason: Reason::Stopping,
        retry_ms: 1000,
    };
    assert_eq!(hand.posted(1, 600, later), Received::Frame);
    assert_eq!(hand.wait(10), ["0 hello 0 +1 01 a 7 11"]);
}

// [P4]
#[test]
fn a_relay_that_comes_back_late_is_asked_less_and_less_often_and_reported_as_silent() {
    let mut hand = Hand::joined();
    hand.wait(6000);
    hand.gets(&data(EPOCH, 1, 10, [entry(0, 2, 0, "* relay is stopping")]));
    assert_eq!(hand.told(), ["10 : relay is stopping"]);
    // a second is no silence
    assert_eq!(hand.wait(1200).len(), 4);
    assert_eq!(hand.told(), [""; 0]);
    let said = hand.wait(18_800);
    let times = said.iter().map(|said| said.split_once(' ').unwrap().0);
    let times: Vec<_> = times.collect();
    assert_eq!(times, ["927", "2927", "6927", "11927", "16927"]);
    assert_eq!(hand.told(), ["silent"]);
    // afterwards it is as before
    hand.welcome(1, SESSION, EPOCH, 11, 11);
    hand.wait(6000);
    hand.bye(Goodbye::GivenAway);
    assert_eq!(
        hand.wait(600),
        ["0 hello 0 +2 01 a 7 11", "500 hello 0 +2 01 a 7 11"]
    );
}

// [P4]
#[test]
fn the_clients_of_a_room_do_not_all_ask_at_the_same_time() {
    let mut asked = [0; 128];
    for client in 0..4096_u64 {
        let random = client.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let spread = Greeting::new(random, 1).spread().as_millis();
        asked[usize::try_from(spread).unwrap()] += 1;
    }
    // 32 on average
    assert!(asked.iter().all(|&clients| clients < 64), "{asked:?}");
}

#[test]
fn only_the_relay_itself_can_say_that_it_is_stopping() {
    for (flags, name, line) in [
        (0, 3, "Bob : * relay is stopping"),
        (1, 0, "* relay is stopping"),
        (2, 0, "* relay is stopping now"),
    ] {
        let mut hand = Hand::joined();
        hand.gets(&data(EPOCH, 1, 10, [entry(9, flags, name, line)]));
        assert_eq!(hand.wait(2000), ["100 ack 11 echo 1"]);
    }
    // lines appended before it joined do not count either
    let mut hand = Hand::new(1);
    hand.said();
    hand.cookie(0, 1);
    hand.said();
    hand.welcome(0, SESSION, EPOCH, 10, 11);
    hand.gets(&data(EPOCH, 1, 10, [entry(0, 2, 0, "* relay is stopping")]));
    assert_eq!(hand.wait(2000), ["100 ack 11 echo 1"]);
}

#[test]
fn the_name_is_the_one_of_the_seat_when_the_answer_to_nick_is_lost() {
    let mut hand = Hand::joined();
    hand.client.post("/nick Zoe").unwrap();
    assert_eq!(hand.said(), ["post 1 /nick Zoe"]);
    hand.client.reconnect(hand.now());
    hand.said();
    let welcome = Frame::Welcome(Welcome {
        nonce: SEED.wrapping_add(1),
        session: SESSION,
        epoch: EPOCH,
        author: OWN,
        first: 10,
        head: 11,
        uptime_s: 0,
        window: 8,
        keepalive_s: 15,
        name: "Zoe",
        text: "",
    });
    assert_eq!(hand.frame(&welcome), Received::Frame);
    hand.wait(6000);
    hand.bye(Goodbye::GivenAway);
    assert_eq!(hand.said(), ["hello 0 +2 01 a 7 10 as Zoe"]);
}

#[test]
fn a_welcome_that_comes_twice_or_late_changes_nothing() {
    let mut hand = Hand::new(1);
    hand.said();
    hand.cookie(0, 1);
    hand.said();
    // the first reply is lost, Bob posts a line, and the same reply comes to the same HELLO
    assert_eq!(hand.wait(500), ["500 hello 0 +0 01"]);
    hand.welcome(0, SESSION, EPOCH, 9, 10);
    hand.data(9, 11);
    assert_eq!(
        hand.told(),
        ["joined New Ada 1", "9 Bob: 9 (history)", "10 Bob: 10"]
    );
    for head in [9, 10, 11, 20] {
        let was = hand.welcome(0, SESSION, EPOCH, 9, head);
        assert_eq!(was, Received::Dropped(Dropped::Duplicate));
    }
    hand.data(11, 12);
    assert_eq!(hand.told(), ["11 Bob: 11"]);
    // nor does a session that was resumed
    hand.client.reconnect(hand.now());
    assert_eq!(hand.said(), ["hello 0 +1 01 a 7 12", "ack 12 echo 1"][..1]);
    hand.wait(500);
    hand.welcome(1, SESSION, EPOCH, 12, 30);
    hand.data(12, 14);
    let told = ["joined Resumed Ada 18", "12 Bob: 12", "13 Bob: 13"];
    assert_eq!(hand.told(), told);
    let was = hand.welcome(1, SESSION, EPOCH, 12, 14);
    assert_eq!(was, Received::Dropped(Dropped::Duplicate));
}

use super::*;

const SAID: Outcome<'_> = Outcome::Accepted {
    first: 10,
    lines: 1,
    texts: 1,
};

#[test]
fn texts_that_wait_go_together() {
    let mut hand = Hand::joined();
    assert_eq!(hand.client.post("one"), Ok(PostId(0)));
    assert_eq!(hand.said(), ["post 1 one"]);
    for text in ["two", "//three", "four"] {
        hand.client.post(text).unwrap();
    }
    assert_eq!(hand.said(), [""; 0]);
    assert_eq!(hand.client.unanswered(), 4);
    assert_eq!(hand.posted(1, 0, SAID), Received::Frame);
    assert_eq!(hand.said(), [""; 0]); // nothing is sent before the event is polled
    assert_eq!(hand.client.unanswered(), 4);
    assert_eq!(hand.told(), ["said 0 10+1"]);
    assert_eq!(hand.client.unanswered(), 3);
    assert_eq!(hand.said(), ["post 2 two|//three|four"]);
    let outcome = Outcome::Accepted {
        first: 15,
        lines: 3,
        texts: 3,
    };
    hand.posted(2, 0, outcome);
    assert_eq!(hand.told(), ["said 1 15+1", "said 2 16+1", "said 3 17+1"]);
    assert_eq!(hand.client.unanswered(), 0);
}

// [U3]
#[test]
fn what_was_not_accepted_goes_again_under_the_next_number() {
    let mut hand = Hand::joined();
    for text in ["a", "b", "c"] {
        hand.client.post(text).unwrap();
    }
    assert_eq!(hand.said(), ["post 1 a|b|c"]);
    hand.client.post("d").unwrap();
    let outcome = Outcome::Accepted {
        first: 10,
        lines: 3,
        texts: 2,
    };
    hand.posted(1, 0, outcome);
    assert_eq!(hand.told(), ["said 0 10+1", "said 1 11+2"]);
    assert_eq!(hand.said(), ["post 2 c|d"]);
    let outcome = Outcome::Accepted {
        first: 0,
        lines: 0,
        texts: 0,
    };
    hand.posted(2, 0, outcome);
    assert_eq!(hand.told(), [""; 0]);
    assert_eq!(hand.wait(1000)[0], "50 post 3 c|d"); // after the minimum of 50 ms
}

// [U2]
#[test]
fn a_command_goes_alone() {
    let mut hand = Hand::joined();
    for text in ["/who", "a", "b", "/nick Eve", "c"] {
        hand.client.post(text).unwrap();
    }
    assert_eq!(hand.said(), ["post 1 /who"]);
    hand.posted(1, 0, Outcome::Answer("* 1 here: \x07Ada"));
    assert_eq!(hand.told(), ["answered 0 1 here: ?Ada"]);
    assert_eq!(hand.said(), ["post 2 a|b"]);
    let outcome = Outcome::Accepted {
        first: 10,
        lines: 2,
        texts: 2,
    };
    hand.posted(2, 0, outcome);
    assert_eq!(hand.told().len(), 2);
    assert_eq!(hand.said(), ["post 3 /nick Eve"]);
    hand.posted(
        3,
        0,
        Outcome::Answer("* you are now Eve\n* E\x1bve is taken"),
    );
    assert_eq!(hand.told(), ["answered 3 you are now Eve\nE?ve is taken"]);
    assert_eq!(hand.said(), ["post 4 c"]);
    // the new name is the one to request
    hand.bye(Goodbye::Unknown);
    assert_eq!(hand.said(), [""; 0]);
    assert_eq!(hand.wait(500), ["500 hello 0 +1 01 a 7 10 as Eve"]);
}

// [U5]
#[test]
fn a_post_is_sent_again_until_it_is_answered() {
    let mut hand = Hand::joined();
    hand.client.post("a").unwrap();
    // the round-trip time of the handshake was 0
    let said = hand.wait(400);
    let times = said.iter().map(|said| said.split_once(' ').unwrap().0);
    assert_eq!(times.collect::<Vec<_>>(), ["0", "50", "125", "237"]);
    assert!(said.iter().all(|said| said.ends_with("post 1 a")));
    assert_eq!(hand.client.stats().posts_again, 3);
    hand.posted(1, 200, SAID);
    hand.told();
    assert_eq!(hand.client.stats().round_trip_ms, Some(25));
    hand.client.post("b").unwrap();
    let said = hand.wait(5000);
    let posts = said.iter().filter(|said| said.ends_with("post 2 b"));
    let times = posts.map(|said| said.split_once(' ').unwrap().0);
    // 25 ms and four times 50, 1.5 times as much each time, and at most a second
    let expected = ["0", "225", "562", "1067", "1824", "2824", "3824", "4824"];
    assert_eq!(times.collect::<Vec<_>>(), expected);
}

// [U5]
#[test]
fn a_time_out_backs_off_from_a_long_round_trip_too() {
    // the time-out of a steady link is its round trip and a few milliseconds
    for (round_trip_ms, most) in [
        (1, 1000..=1000),
        (200, 1000..=1000),
        (700, 2100..=2200),
        (1500, 3000..=3000),
    ] {
        let mut hand = Hand::joined();
        for number in 1..=60 {
            hand.client.post("a").unwrap();
            hand.wait(round_trip_ms);
            hand.posted(number, round_trip_ms, SAID);
            hand.told();
        }
        hand.client.post("b").unwrap();
        let mut pauses = Vec::new();
        let mut before = None;
        for said in hand.wait(9000) {
            if let Some((at, _)) = said.split_once(" post 61 ") {
                let at: u64 = at.parse().unwrap();
                pauses.extend(before.map(|before| at - before));
                before = Some(at);
            }
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        let first = round_trip_ms.max(50);
        assert!((first..first + 30).contains(&pauses[0]), "{pauses:?}");
        assert!(most.contains(pauses.last().unwrap()), "{pauses:?}");
    }
}

#[test]
fn an_echo_that_is_older_than_its_post_is_no_round_trip() {
    // the round-trip time of the handshake was 0, and a sample has a weight of an eighth
    for (age_ms, round_trip_ms) in [(400, 50), (401, 0), (9000, 0)] {
        let mut hand = Hand::joined();
        hand.now += 10_000;
        hand.client.post("a").unwrap();
        hand.wait(400);
        assert_eq!(hand.posted(1, age_ms, SAID), Received::Frame);
        assert_eq!(hand.told(), ["said 0 10+1"]);
        assert_eq!(hand.client.stats().round_trip_ms, Some(round_trip_ms));
    }
}

#[test]
fn answers_that_are_late_or_doubled_change_nothing() {
    let mut hand = Hand::joined();
    assert_eq!(
        hand.posted(0, 0, SAID),
        Received::Dropped(Dropped::Duplicate)
    );
    hand.client.post("a").unwrap();
    hand.said();
    for number in [0, 2, u16::MAX] {
        let was = hand.posted(number, 0, SAID);
        assert_eq!(was, Received::Dropped(Dropped::Duplicate));
    }
    hand.posted(1, 0, SAID);
    assert_eq!(
        hand.posted(1, 0, SAID),
        Received::Dropped(Dropped::Duplicate)
    );
    assert_eq!(hand.told(), ["said 0 10+1"]);
    let foreign = Frame::Posted(Posted {
        session: Session(0xB),
        number: 1,
        sent_at: 0,
        outcome: SAID,
    });
    assert_eq!(hand.frame(&foreign), Received::Dropped(Dropped::Session));
}

// [U3]
#[test]
fn a_refusal_is_about_the_first_text() {
    let mut hand = Hand::joined();
    hand.client.post("a").unwrap();
    hand.client.post("b").unwrap();
    hand.said();
    let refused = |retry_ms| Outcome::Refused {
        reason: Reason::NotUtf8,
        retry_ms,
    };
    hand.posted(1, 0, refused(0));
    assert_eq!(hand.told(), ["refused 0 NotUtf8"]);
    assert_eq!(hand.said(), ["post 2 b"]);
    hand.posted(2, 0, refused(700));
    assert_eq!(hand.told(), [""; 0]);
    assert_eq!(hand.wait(710), ["700 post 3 b"]);
    hand.posted(3, 0, refused(1)); // a relay that says 1 ms is asked only after 50 ms
    assert_eq!(hand.wait(60), ["50 post 4 b"]);
}

#[test]
fn what_is_no_text_is_not_taken() {
    let mut hand = Hand::joined();
    let post = |hand: &mut Hand, text: &str| hand.client.post(text);
    for blank in ["", " ", "\t\r\n", "\u{85}\u{2003}"] {
        assert_eq!(post(&mut hand, blank), Err(PostError::Blank));
    }
    let most = crate::wire::framed::TEXT_MAX;
    assert_eq!(
        post(&mut hand, &"x".repeat(most + 1)),
        Err(PostError::TooLong)
    );
    // cleaning makes the text longer
    let grows = "\u{9b}".repeat(most / 3 + 1);
    assert_eq!(post(&mut hand, &grows), Err(PostError::TooLong));
    assert_eq!(post(&mut hand, &"x".repeat(507)), Err(PostError::Full));
    assert_eq!(post(&mut hand, &"x".repeat(506)), Ok(PostId(0)));
    assert_eq!(post(&mut hand, "y"), Err(PostError::Full));
    hand.said();
    hand.posted(1, 0, SAID);
    hand.told();
    assert_eq!(post(&mut hand, "a\nb\x1b"), Ok(PostId(1)));
    assert_eq!(hand.said(), ["post 2 a b?"]);
}

#[test]
fn the_longest_text_fits_in_a_post() {
    let mut client = Client::<1, 2000>::new("Ada", SEED, 1);
    let text = "x".repeat(crate::wire::framed::TEXT_MAX);
    let posts = [client.post(&text), client.post(&text), client.post(&text)];
    assert_eq!(posts, [Ok(PostId(0)), Ok(PostId(1)), Err(PostError::Full)]);
}

#[test]
fn room_is_used_again_and_again() {
    let mut hand = Hand::joined();
    let mut number = 0;
    for round in 0..200_u64 {
        let text = "x".repeat(usize::try_from(1 + round * 7 % 200).unwrap());
        let mut posts = 0;
        while hand.client.post(&text).is_ok() {
            posts += 1;
        }
        assert!(posts >= 1);
        while hand.client.unanswered() > 1 {
            number += 1;
            let said = hand.said().concat();
            assert!(said.starts_with(&format!("post {number} x")), "{said}");
            let texts = u8::try_from(said.matches('|').count() + 1).unwrap();
            let outcome = Outcome::Accepted {
                first: 10,
                lines: texts,
                texts,
            };
            hand.posted(number, 0, outcome);
            assert_eq!(hand.told().len(), usize::from(texts));
        }
    }
}

// [U6]
#[test]
fn a_post_in_flight_is_doubtful_after_a_new_session() {
    for (epoch, how) in [(EPOCH, "Continued"), (EPOCH + 1, "Restarted")] {
        let mut hand = Hand::joined();
        hand.client.post("a").unwrap();
        hand.client.post("b").unwrap();
        assert_eq!(hand.said(), ["post 1 a|b"]);
        hand.client.post("c").unwrap();
        hand.bye(Goodbye::Unknown);
        hand.wait(500);
        hand.welcome(1, Session(0xB), epoch, 10, 10);
        let told = [
            "doubtful 0".to_string(),
            "doubtful 1".to_string(),
            format!("joined {how} Ada 0"),
        ];
        assert_eq!(hand.told(), told);
        assert_eq!(hand.said(), ["post 1 c"]);
    }
}

#[test]
fn in_the_same_session_it_is_posted_again() {
    let mut hand = Hand::joined();
    hand.client.post("a").unwrap();
    assert_eq!(hand.said(), ["post 1 a"]);
    hand.client.reconnect(hand.now());
    assert_eq!(hand.said(), ["hello 0 +1 01 a 7 10"]);
    hand.welcome(1, SESSION, EPOCH, 10, 10);
    assert_eq!(hand.said(), ["post 1 a"]);
    hand.posted(1, 0, SAID);
    assert_eq!(hand.told(), ["said 0 10+1", "joined Resumed Ada 0"]);
}

#[test]
fn an_answer_waits_until_there_is_room_for_it() {
    let mut hand = Hand::joined();
    hand.client.post("/who").unwrap();
    hand.said();
    hand.client.reconnect(hand.now());
    hand.said();
    hand.welcome(1, SESSION, EPOCH, 10, 10);
    let answer = Outcome::Answer("* 1 here: Ada");
    assert_eq!(
        hand.posted(1, 0, answer),
        Received::Dropped(Dropped::NoRoom)
    );
    assert_eq!(hand.told(), ["joined Resumed Ada 0"]);
    assert_eq!(hand.posted(1, 0, answer), Received::Frame);
    hand.client.reconnect(hand.now());
    hand.said();
    let was = hand.welcome(2, SESSION, EPOCH, 10, 10);
    assert_eq!(was, Received::Dropped(Dropped::NoRoom));
    assert_eq!(hand.told(), ["answered 0 1 here: Ada"]);
    assert_eq!(hand.wait(100), ["100 hello 0 +2 01 a 7 10"]);
    assert_eq!(hand.welcome(2, SESSION, EPOCH, 10, 10), Received::Frame);
}

#[test]
fn quitting_says_first_what_waits() {
    let mut hand = Hand::joined();
    hand.client.post("a").unwrap();
    assert_eq!(hand.client.post("/quit now"), Ok(PostId(1)));
    assert_eq!(hand.client.post("b"), Err(PostError::Ended));
    assert_eq!(hand.said(), ["post 1 a"]);
    hand.posted(1, 0, SAID);
    assert_eq!(hand.told(), ["said 0 10+1"]);
    assert_eq!(hand.client.poll_timeout(), Some(Instant::default()));
    assert_eq!(hand.said(), ["leave a"]);
    hand.bye(Goodbye::Left);
    assert_eq!(hand.told(), ["ended Left"]);
}

// [S12]
#[test]
fn leaving_tells_what_was_not_said() {
    let mut hand = Hand::joined();
    for text in ["a", "/who", "b"] {
        hand.client.post(text).unwrap();
    }
    assert_eq!(hand.said(), ["post 1 a"]);
    hand.client.leave(hand.now());
    assert_eq!(hand.client.post("c"), Err(PostError::Ended));
    assert_eq!(hand.wait(5000), ["0 leave a", "200 leave a", "400 leave a"]);
    let told = ["doubtful 0", "unsaid 1", "unsaid 2", "ended Left"];
    assert_eq!(hand.told(), told);
    assert_eq!(hand.client.unanswered(), 0);
}

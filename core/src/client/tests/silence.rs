use super::*;

// [P1]
#[test]
fn a_silent_client_asks_whether_the_relay_is_there() {
    let mut hand = Hand::joined();
    assert_eq!(hand.wait(15_000), ["15000 ack 10 ?"]);
    let answer = data(EPOCH, 1, 10, []);
    assert_eq!(hand.gets(&answer), Received::Frame);
    assert_eq!(hand.wait(15_000), ["15000 ack 10 ?"]);
    let said = hand.wait(12_000);
    let asked: Vec<_> = (1..9).map(|s| format!("{s}000 ack 10 ?")).collect();
    assert_eq!(said[..8], asked);
    let hellos = [
        "10000 hello 0 +1 01 a 7 10",
        "10500 hello 0 +1 01 a 7 10",
        "11500 hello 0 +1 01 a 7 10",
    ];
    assert_eq!(said[8..], hellos);
    assert_eq!(hand.told(), ["silent"]);
    assert_eq!(hand.client.state(), State::Lost);
    // the cookie has expired
    assert_eq!(hand.cookie(1, 2), Received::Frame);
    assert_eq!(hand.said(), ["hello 0 +1 02 a 7 10"]);
    hand.welcome(1, SESSION, EPOCH, 10, 12);
    assert_eq!(hand.told(), ["back", "joined Resumed Ada 2"]);
    hand.data(10, 12);
    assert_eq!(hand.told(), ["10 Bob: 10", "11 Bob: 11"]); // no history
}

#[test]
fn it_never_gives_up_a_relay_that_it_knows() {
    let mut hand = Hand::joined();
    let said = hand.wait(3_600_000);
    assert!((700..750).contains(&said.len()), "{}", said.len());
    assert_eq!(hand.told(), ["silent"]);
    hand.cookie(1, 2);
    hand.said();
    hand.welcome(1, Session(0xB), EPOCH, 1000, 1005);
    assert_eq!(
        hand.told(),
        ["back", "joined Continued Ada 5", "lost 10 990"]
    );
}

#[test]
fn any_frame_of_the_session_ends_the_silence() {
    let mut hand = Hand::joined();
    hand.wait(25_000);
    assert_eq!(hand.told(), ["silent"]);
    hand.data(10, 11);
    assert_eq!(hand.told(), ["back", "10 Bob: 10"]);
    assert_eq!(hand.client.state(), State::Joined);
    assert_eq!(hand.wait(1000), ["100 ack 11 echo 1"]);
    // the HELLO arrived nevertheless
    assert_eq!(hand.welcome(1, SESSION, EPOCH, 10, 11), Received::Frame);
    assert_eq!(hand.told(), ["joined Resumed Ada 0"]);
}

#[test]
fn a_post_without_any_answer_is_silence_too() {
    let mut hand = Hand::joined();
    hand.client.post("a").unwrap();
    let said = hand.wait(10_000);
    assert_eq!(said.last().unwrap(), "10000 hello 0 +1 01 a 7 10");
    assert_eq!(hand.told(), ["silent"]);
}

/// Lets half a minute pass in which only lines arrive, then returns the HELLO.
fn half_a_minute_of_lines(hand: &mut Hand, first: u64) -> String {
    for line in first..first + 29 {
        hand.data(line, line + 1);
        let said = hand.wait(1000);
        assert!(said.iter().all(|said| !said.contains("hello")), "{said:?}");
        hand.told();
    }
    hand.wait(1000).pop().unwrap()
}

// [U5]
#[test]
fn a_post_that_only_lines_follow_is_given_up_after_half_a_minute() {
    let mut hand = Hand::joined();
    hand.client.post("a").unwrap();
    let hello = half_a_minute_of_lines(&mut hand, 10);
    assert_eq!(hello, "1000 hello 0 +1 01 a 7 39");
    assert_eq!(hand.told(), [""; 0]);
    hand.welcome(1, SESSION, EPOCH, 39, 39);
    assert_eq!(hand.wait(0), ["0 post 1 a"]);
    hand.told();
    // another client has used the number
    let hello = half_a_minute_of_lines(&mut hand, 39);
    assert_eq!(hello, "1000 hello 0 +2 01 0 7 68");
    hand.client.post("b").unwrap();
    hand.welcome(2, Session(0xB), EPOCH, 68, 68);
    assert_eq!(hand.told(), ["doubtful 0", "joined Continued Ada 0"]);
    assert_eq!(hand.said()[0], "post 1 b");
}

#[test]
fn an_unknown_session_is_asked_for_again() {
    let mut hand = Hand::joined();
    hand.wait(1000);
    assert_eq!(hand.bye(Goodbye::Unknown), Received::Frame);
    assert_eq!(hand.said(), ["hello 0 +1 01 a 7 10"]);
    assert_eq!(
        hand.bye(Goodbye::Unknown),
        Received::Dropped(Dropped::Duplicate)
    );
    assert_eq!(hand.client.state(), State::Lost);
    // late lines do not show that the relay responds
    assert_eq!(hand.data(10, 11), Received::Dropped(Dropped::Unexpected));
    hand.welcome(1, SESSION, EPOCH, 10, 11);
    assert_eq!(hand.told(), ["joined Resumed Ada 1"]);
}

#[test]
fn a_relay_that_does_not_know_it_again_and_again_is_not_flooded() {
    let mut hand = Hand::joined();
    let mut said = Vec::new();
    for nonce in 1..=100 {
        hand.bye(Goodbye::Unknown);
        said.extend(hand.wait(10));
        hand.welcome(nonce, SESSION, EPOCH, 10, 10);
        hand.told();
    }
    assert!(said.len() < 2, "{said:?}"); // within a second
}

#[test]
fn after_a_restart_the_lines_of_the_last_run_come_first() {
    let mut hand = Hand::joined();
    hand.data(10, 11);
    hand.data(12, 13);
    hand.wait(600);
    hand.bye(Goodbye::Unknown);
    hand.said();
    let was = hand.welcome(1, Session(0xB), EPOCH + 1, 0, 2);
    assert_eq!(was, Received::Dropped(Dropped::NoRoom));
    assert_eq!(hand.told(), ["10 Bob: 10", "lost 11 1", "12 Bob: 12"]);
    assert_eq!(hand.wait(100), ["100 hello 0 +1 01 a 7 13"]);
    hand.welcome(1, Session(0xB), EPOCH + 1, 0, 2);
    assert_eq!(hand.told(), ["joined Restarted Ada 2"]);
    let lines = [entry(9, 0, 3, "Bob : new"), entry(OWN, 0, 3, "Ada : own")];
    hand.gets(&data(EPOCH + 1, 1, 0, lines));
    assert_eq!(
        hand.told(),
        ["0 Bob: new (history)", "1 Ada: own (own) (history)"]
    );
}

#[test]
fn a_new_run_for_which_there_is_no_room_yet_ends_the_last_one() {
    let mut hand = Hand::joined();
    hand.wait(25_000);
    hand.data(12, 13); // the session responds again, but line 10 is missing
    hand.said();
    let was = hand.welcome(1, Session(0xB), EPOCH + 1, 0, 0);
    assert_eq!(was, Received::Dropped(Dropped::NoRoom));
    assert_eq!(hand.data(10, 12), Received::Dropped(Dropped::Unexpected));
    assert_eq!(hand.told(), ["lost 10 2", "12 Bob: 12"]);
    assert_eq!(hand.wait(100).len(), 1);
    hand.welcome(1, Session(0xB), EPOCH + 1, 0, 0);
    assert_eq!(hand.told(), ["joined Restarted Ada 0"]);
}

// [D1] [F5]
#[test]
fn own_lines_of_the_seat_before_are_still_own() {
    let mut hand = Hand::joined();
    hand.client.post("a").unwrap();
    hand.wait(600);
    hand.bye(Goodbye::Unknown);
    hand.said();
    let mut buffer = [0; DATAGRAM_MAX];
    let [welcome, again] = [1, 2].map(|nonce| {
        Frame::Welcome(Welcome {
            nonce: SEED.wrapping_add(nonce),
            session: Session(0xB),
            epoch: EPOCH,
            author: OWN + 1,
            first: 10,
            head: 12,
            uptime_s: 0,
            window: 0,
            keepalive_s: 0,
            name: "Ada~2",
            text: "",
        })
    });
    let length = welcome.encode(&mut buffer).unwrap();
    hand.gets(&buffer[..length]);
    let lines = [
        entry(OWN, 0, 3, "Ada : a"),
        entry(OWN + 1, 0, 5, "Ada~2 : b"),
    ];
    hand.gets(&data(EPOCH, 1, 10, lines));
    let told = [
        "doubtful 0",
        "joined Continued Ada~2 2",
        "10 Ada: a (own)",
        "11 Ada~2: b (own)",
    ];
    assert_eq!(hand.told(), told);
    // also after the session of the new seat was resumed
    hand.client.reconnect(hand.now());
    hand.said();
    let length = again.encode(&mut buffer).unwrap();
    hand.gets(&buffer[..length]);
    hand.gets(&data(EPOCH, 2, 12, [entry(OWN, 0, 3, "Ada : c")]));
    let told = ["joined Resumed Ada~2 0", "12 Ada: c (own)"];
    assert_eq!(hand.told(), told);
}

// [S6]
#[test]
fn the_farewell_to_its_old_address_is_not_its_own() {
    let mut hand = Hand::joined();
    hand.client.reconnect(hand.now());
    hand.said();
    let ignored = Received::Dropped(Dropped::Unexpected);
    assert_eq!(hand.bye(Goodbye::TakenOver), ignored);
    hand.welcome(1, SESSION, EPOCH, 10, 10);
    assert_eq!(hand.bye(Goodbye::TakenOver), ignored);
    hand.wait(1000);
    assert_eq!(hand.bye(Goodbye::TakenOver), Received::Frame);
    assert_eq!(hand.told(), ["seat lost TakenOver", "joined Resumed Ada 0"]);
}

#[test]
fn reconnecting_asks_at_once_even_if_it_just_did() {
    let mut hand = Hand::joined();
    hand.data(11, 12);
    hand.said();
    for nonce in 1..4 {
        hand.client.reconnect(hand.now());
        assert_eq!(hand.said(), [format!("hello 0 +{nonce} 01 a 7 10")]);
    }
    assert_eq!(
        hand.welcome(2, SESSION, EPOCH, 10, 12),
        Received::Dropped(Dropped::Session)
    );
    hand.welcome(3, SESSION, EPOCH, 10, 12);
    assert_eq!(hand.said(), ["ack 10 1+1"]); // line 11, which arrived before, is acknowledged again
}

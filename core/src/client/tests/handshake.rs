use super::*;

#[test]
fn without_a_relay_it_gives_up_after_six_tries_from_six_ports() {
    let mut hand = Hand::new(6);
    let said = hand.wait(2999);
    let expected = [
        "0 hello 0 +0 -",
        "500 hello 1 +1 -",
        "1000 hello 2 +2 -",
        "1500 hello 3 +3 -",
        "2000 hello 4 +4 -",
        "2500 hello 5 +5 -",
    ];
    assert_eq!(said, expected);
    assert_eq!(hand.told(), [""; 0]);
    assert_eq!(hand.wait(1), [""; 0]);
    assert_eq!(hand.told(), ["ended NoRelay"]);
    assert_eq!(hand.client.state(), State::Ended);
    assert_eq!(hand.client.poll_timeout(), None);
    assert_eq!(hand.told(), [""; 0]);
    assert_eq!(hand.client.stats().hellos, 6);
}

#[test]
fn with_fewer_ports_the_last_one_is_used_again() {
    let mut hand = Hand::new(2);
    let said = hand.wait(2999);
    assert_eq!(said[1..3], ["500 hello 1 +1 -", "1000 hello 1 +1 -"]);
    assert_eq!(said.len(), 6);
    assert_eq!(hand.wait(1), [""; 0]);
    assert_eq!(hand.told(), ["ended NoRelay"]);
}

#[test]
fn with_one_port_it_never_gives_up() {
    for paths in [0, 1] {
        let mut hand = Hand::new(paths);
        hand.client.post("kept").unwrap();
        let said = hand.wait(3_600_000);
        let times = said.iter().map(|said| said.split_once(' ').unwrap());
        assert!(times.clone().all(|(_, hello)| hello == "hello 0 +0 -"));
        let times: Vec<_> = times.map(|(at, _)| at).collect();
        assert_eq!(times[..6], ["0", "500", "1500", "3500", "7500", "12500"]);
        assert!((700..750).contains(&said.len()), "{}", said.len());
        assert_eq!(hand.told(), ["silent"]);
        hand.cookie(0, 1);
        hand.said();
        hand.welcome(0, SESSION, EPOCH, 10, 10);
        assert_eq!(hand.told(), ["back", "joined New Ada 0"]);
        assert_eq!(hand.said(), ["post 1 kept"]);
    }
}

#[test]
fn a_cookie_that_comes_late_is_good_for_its_own_path() {
    let mut hand = Hand::new(6);
    assert_eq!(hand.wait(1200).len(), 3);
    hand.path = Path(1);
    assert_eq!(hand.cookie(0, 1), Received::Dropped(Dropped::Session)); // the nonce is that of another path
    assert_eq!(hand.cookie(1, 1), Received::Frame);
    assert_eq!(hand.said(), ["hello 1 +1 01"]);
    // WELCOMEs on other paths are too late: the client needs one seat
    hand.path = Path(0);
    assert_eq!(hand.cookie(0, 1), Received::Dropped(Dropped::Session));
    // from now on it never gives up
    assert_eq!(
        hand.wait(20_000),
        [
            "500 hello 1 +1 01",
            "1000 hello 1 +1 01",
            "2000 hello 1 +1 01",
            "4000 hello 1 +1 01",
            "8000 hello 1 +1 01",
            "13000 hello 1 +1 01",
            "18000 hello 1 +1 01"
        ]
    );
    assert_eq!(hand.told(), ["silent"]);
    hand.path = Path(2);
    assert_eq!(
        hand.welcome(1, SESSION, EPOCH, 10, 12),
        Received::Dropped(Dropped::Session)
    );
    hand.path = Path(1);
    assert_eq!(hand.welcome(1, SESSION, EPOCH, 10, 12), Received::Frame);
    assert_eq!(hand.told(), ["back", "joined New Ada 2"]);
    assert_eq!(
        hand.welcome(1, SESSION, EPOCH, 10, 12),
        Received::Dropped(Dropped::Duplicate)
    );
    hand.data(10, 13);
    assert_eq!(
        hand.told(),
        ["10 Bob: 10 (history)", "11 Bob: 11 (history)", "12 Bob: 12"]
    );
    // the nonces of the later paths are used up, too
    hand.client.reconnect(hand.now());
    assert_eq!(hand.said(), ["hello 1 +3 01 a 7 13"]);
}

// [S8]
#[test]
fn cookies_do_not_make_it_say_hello_faster_than_twice_a_second() {
    let mut hand = Hand::new(1);
    let mut said = hand.wait(0);
    for cookie in 1..=100 {
        assert_eq!(hand.cookie(0, cookie), Received::Frame);
        said.extend(hand.wait(10));
    }
    assert_eq!(said.len(), 4, "{said:?}"); // two of them in the first round trip
    assert_eq!(hand.cookie(0, 100), Received::Dropped(Dropped::Duplicate));
}

#[test]
fn a_frame_with_a_wrong_nonce_is_dropped() {
    let mut hand = Hand::new(1);
    hand.said();
    for nonce in [1, u64::MAX, 1 << 40] {
        assert_eq!(hand.cookie(nonce, 1), Received::Dropped(Dropped::Session));
    }
    hand.cookie(0, 1);
    assert_eq!(
        hand.welcome(1, SESSION, EPOCH, 0, 0),
        Received::Dropped(Dropped::Session)
    );
    assert_eq!(
        hand.refused(1, Reason::Full),
        Received::Dropped(Dropped::Session)
    );
    assert_eq!(hand.client.state(), State::Joining);
    assert_eq!(hand.dropped(Dropped::Session), 5);
}

// [S7]
#[test]
fn a_refusal_is_the_end() {
    for (reason, end) in [
        (Reason::Full, "ended Full"),
        (Reason::Nameless, "ended Nameless"),
        (Reason::Other(99), "ended Refused"),
    ] {
        let mut hand = Hand::new(1);
        hand.client.post("hi").unwrap();
        hand.said();
        hand.cookie(0, 1);
        hand.said();
        assert_eq!(hand.refused(0, reason), Received::Frame);
        assert_eq!(hand.told(), ["unsaid 0", end]);
        assert_eq!(hand.wait(60_000), [""; 0]);
        assert_eq!(hand.client.post("hi"), Err(PostError::Ended));
    }
}

#[test]
fn plain_text_is_foreign_and_other_frames_are_dropped() {
    let mut hand = Hand::joined();
    for foreign in [&b""[..], b"* welcome Ada: 1 here (Ada)", b"\x02H KC1"] {
        assert_eq!(hand.gets(foreign), Received::Foreign);
    }
    for malformed in [&b"\x01"[..], b"\x01Z", b"\x01D", b"\x01C KC1 x"] {
        assert_eq!(hand.gets(malformed), Received::Dropped(Dropped::Malformed));
    }
    assert_eq!(
        hand.frame(&Frame::Leave(SESSION)),
        Received::Dropped(Dropped::Unexpected)
    );
    assert_eq!(hand.client.stats().foreign, 3);
    assert_eq!(hand.client.stats().received, 2 + 8);
}

#[test]
fn the_name_is_cut_between_characters() {
    let long = "\u{20AC}".repeat(11);
    let mut client = Small::new(&long, SEED, 1);
    let mut buffer = [0; DATAGRAM_MAX];
    let transmit = client
        .poll_transmit(Instant::default(), &mut buffer)
        .unwrap();
    let Ok(Frame::Hello(hello)) = Frame::decode(&buffer[..transmit.length]) else {
        panic!("no HELLO");
    };
    assert_eq!(hello.name, "\u{20AC}".repeat(10));
}

#[test]
fn leaving_before_it_joined_is_the_end() {
    let mut hand = Hand::new(1);
    hand.said();
    hand.client.leave(hand.now());
    assert_eq!(hand.said(), [""; 0]);
    assert_eq!(hand.told(), ["ended Left"]);
}

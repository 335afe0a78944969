//! Proof of the source address.

use kilochat_core::framed::Frame;
use kilochat_core::{Config, Event, Refusal};

use crate::room::{HEADERS, Room, code_in};

const FAR: &str = "203.0.113.9:5000";
const NEAR: &str = "192.168.1.9:5000";

fn open() -> Config {
    Config {
        open: true,
        ..Config::new([5; 16])
    }
}

fn prove() -> Config {
    Config {
        prove: true,
        ..Config::new([5; 16])
    }
}

// [G1]
#[test]
fn each_policy_serves_whom_it_says() {
    let both = Config {
        prove: true,
        ..open()
    };
    for (config, near, far) in [
        (Config::new([5; 16]), "welcome", ""),
        (open(), "welcome", "to join, send: "),
        (prove(), "to join, send: ", ""),
        (both, "to join, send: ", "to join, send: "),
    ] {
        for (source, expected) in [(NEAR, near), (FAR, far)] {
            let reply = Room::new(config.clone()).say(source, "Ada");
            let expected = match expected {
                "" => String::new(),
                some => format!("* {some}"),
            };
            assert!(reply.starts_with(&expected), "{source} {reply}");
            assert_eq!(reply.is_empty(), expected.is_empty(), "{source} {reply}");
            let framed = Room::new(config.clone()).join_framed(source, "Ada");
            match Frame::decode(&framed) {
                Ok(Frame::Welcome(_)) => assert!(!expected.is_empty()),
                _ => assert!(expected.is_empty() && framed.is_empty(), "{framed:?}"),
            }
        }
    }
}

// [G2] [G3] [G4]
#[test]
fn nothing_but_a_code_is_served_before_the_proof() {
    for payload in [
        b"a".as_slice(),
        b"a\n",
        b"/help",
        b"/help\n",
        b"/who",
        b"/nick Ada",
        b"/nick",
        b"caf\xE9",
        b"\xFF",
        &[b'x'; 2000],
        b"0000-0000",
        b"0000-0000 Ada",
        "a name that is longer than what fits into a name".as_bytes(),
        "：：：：：：：：：：：：".as_bytes(),
    ] {
        let mut room = Room::new(open());
        let (event, reply) = room.bytes(FAR, payload);
        let why = Refusal::Unproven;
        assert_eq!(event, Event::Refused { seat: None, why });
        let text = String::from_utf8(reply).unwrap();
        assert!(code_in(&text).is_some(), "{text}");
        let (sent, got) = (payload.len() + HEADERS, text.len() + HEADERS);
        assert!(10 * got <= 21 * sent, "{got} bytes for {sent}");
        assert_eq!(room.relay.peer_count(), 0);
        assert_eq!(room.flush(), []);
    }
}

// [G3]
#[test]
fn the_code_names_who_wants_to_join() {
    let mut room = Room::new(open());
    for (payload, name) in [
        ("Ada", " Ada"),
        ("/nick Ada", " Ada"),
        ("Ada\n", " Ada\n"),
        ("a:b", " a_b"),
        ("/who", " NAME"),
        ("//x", " NAME"),
        ("0000-0000", " NAME"),
        ("0000-0000 Ada", " Ada"),
    ] {
        let reply = room.say(FAR, payload);
        assert!(reply.ends_with(name), "{payload}: {reply}");
    }
}

// [G3] [J10]
#[test]
fn a_code_is_spelled_as_people_type() {
    for spell in [
        |code: &str| format!("{code} bob"),
        |code: &str| format!("{code} bob\n"),
        |code: &str| format!("{} bob", code.replace('-', "")),
        |code: &str| format!("{}  bob", code.replace('-', " ")),
        |code: &str| format!("{code} /nick bob"),
        |code: &str| {
            let wide = |digit| match digit {
                '-' => '－',
                _ => char::from_u32(u32::from(digit) + 0xFEE0).unwrap(),
            };
            format!("{}　bob", code.chars().map(wide).collect::<String>())
        },
    ] {
        let mut room = Room::new(open());
        let challenge = room.say(FAR, "bob");
        let datagram = spell(code_in(&challenge).unwrap());
        let (event, welcome) = room.event(FAR, &datagram);
        assert!(matches!(event, Event::Joined { .. }), "{datagram}");
        let expected = "* welcome bob: 1 here (bob); /help lists commands";
        assert_eq!(welcome.trim_end(), expected);
        let stats = room.relay.stats();
        assert_eq!((stats.coded, stats.proven), (1, 1));
    }
}

// [G4]
#[test]
fn a_code_is_good_for_one_source_and_a_minute_or_two() {
    let mut room = Room::new(open());
    let challenge = room.say(FAR, "bob");
    let answer = format!("{} bob", code_in(&challenge).unwrap());
    for other in [
        "203.0.113.9:5001",
        "203.0.113.10:5000",
        "[2001:db8::1]:5000",
    ] {
        assert_eq!(room.refused(other, &answer).0, Refusal::Unproven);
    }
    room.sleep_ms(120_000);
    assert_eq!(room.refused(FAR, &answer).0, Refusal::Unproven);
    let challenge = room.say(FAR, "bob");
    room.sleep_ms(59_000);
    let answer = format!("{} bob", code_in(&challenge).unwrap());
    assert!(room.say(FAR, answer).starts_with("* welcome bob"));
}

// [G3]
#[test]
fn what_is_blank_or_a_notice_gets_no_code() {
    let mut room = Room::new(open());
    assert_eq!(room.refused(FAR, " \n"), (Refusal::Blank, String::new()));
    let notice = "* to join, send: 1234-5678 NAME";
    assert_eq!(
        room.refused(FAR, notice),
        (Refusal::Unproven, String::new())
    );
    assert_eq!(room.relay.stats().coded, 0);
}

// [G4]
#[test]
fn codes_are_given_and_looked_at_at_a_limited_rate() {
    let mut room = Room::new(open());
    let challenge = room.say(FAR, "bob");
    let answer = format!("{} bob", code_in(&challenge).unwrap());
    let answers = |room: &mut Room, payload: &str| {
        let source = |port| format!("203.0.113.9:{port}");
        let replies = (1..=500_u16).filter(|port| !room.say(&source(*port), payload).is_empty());
        replies.count()
    };
    room.sleep_ms(1000);
    assert_eq!(answers(&mut room, "x"), 50);
    assert_eq!(room.relay.stats().untold, 450);
    room.sleep_ms(1000);
    // wrong codes use up the limit of codes that are checked
    assert_eq!(answers(&mut room, "0000-0000 x"), 50);
    assert_eq!(room.refused(FAR, &answer).0, Refusal::Unproven);
    room.sleep_ms(20);
    assert!(room.say(FAR, &answer).starts_with("* welcome bob"));
}

// [G5]
#[test]
fn other_answers_to_strangers_are_limited_too() {
    for (payload, why) in [("/help", Refusal::Nameless), ("/who", Refusal::Nameless)] {
        let mut room = Room::new(Config::new([5; 16]));
        for _ in 0..200 {
            assert!(!room.say(NEAR, payload).is_empty());
        }
        assert_eq!(room.refused(NEAR, payload), (why, String::new()));
        assert_eq!(room.relay.stats().untold, 1);
        room.sleep_ms(5);
        assert!(!room.say(NEAR, payload).is_empty());
        // a join is not limited
        assert!(room.say(NEAR, "Ada").starts_with("* welcome"));
    }
}

// [J10]
#[test]
fn a_code_that_nobody_needs_is_no_name() {
    let mut room = Room::new(Config::new([5; 16]));
    let (why, reply) = room.refused(NEAR, "4829-1350");
    assert_eq!(
        (why, reply.as_str()),
        (Refusal::Nameless, "* say your name first")
    );
    assert!(
        room.say(NEAR, "4829 1350 Ada")
            .starts_with("* welcome Ada:")
    );
}

// [G6]
#[test]
fn nobody_can_prove_anything_in_classic_mode() {
    let mut room = Room::new(Config {
        classic: true,
        ..open()
    });
    assert_eq!(room.refused(FAR, "Ada"), (Refusal::Unproven, String::new()));
    assert!(matches!(room.event(NEAR, "Ada").0, Event::Joined { .. }));
}

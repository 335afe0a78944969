//! The rate limit of a peer.

use kilochat_core::framed::{Frame, Outcome, Post, Posted, Reason, Session, Texts};
use kilochat_core::{Config, Event, Refusal};

use crate::room::{Room, encoded};

const ADA: &str = "192.168.1.9:5000";
const BOB: &str = "192.168.1.10:5000";

fn config() -> Config {
    Config {
        history: 0,
        announce_up_to: 0,
        ..Config::new([5; 16])
    }
}

/// Says `lines` lines. Returns how many were accepted, and the notices.
fn say_all(room: &mut Room, lines: usize) -> (usize, Vec<String>) {
    let mut said = 0;
    let mut notices = Vec::new();
    for line in 0..lines {
        let (event, reply) = room.event(ADA, format!("line {line}"));
        said += usize::from(matches!(event, Event::Said { .. }));
        notices.extend(Some(reply).filter(|reply| !reply.is_empty()));
    }
    (said, notices)
}

// [T17]
#[test]
fn a_plain_peer_says_64_lines_at_once_and_then_20_a_second() {
    let mut room = Room::new(config());
    room.join(ADA, "Ada");
    let (said, notices) = say_all(&mut room, 200);
    assert_eq!(said, 64);
    let first = "* too fast: 1 of your lines was not said; 64 at once, then 20 a second";
    assert_eq!(notices, [first]);
    assert_eq!(room.relay.stats().refused(Refusal::Slow), 136);
    assert_eq!(room.relay.stats().untold, 135);
    let mut said = 0;
    for _ in 0..100 {
        room.sleep_ms(10);
        said += say_all(&mut room, 3).0;
    }
    assert_eq!(said, 20);
}

// [T17]
#[test]
fn all_that_was_not_said_is_told_in_the_end() {
    let mut room = Room::new(config());
    room.join(ADA, "Ada");
    let mut told = 0;
    let mut refused = 0;
    let count = |notice: &str| -> usize {
        let rest = notice.strip_prefix("* too fast: ").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    for _ in 0..300 {
        let (said, notices) = say_all(&mut room, 10);
        refused += 10 - said;
        assert!(notices.len() < 2);
        told += notices.iter().map(|notice| count(notice)).sum::<usize>();
        room.sleep_ms(100);
    }
    assert!(refused > 2000 && told < refused);
    room.sleep_ms(10_000);
    let (event, notice) = room.event(ADA, "");
    assert!(matches!(event, Event::Keepalive { .. }), "{event:?}");
    assert_eq!(told + count(&notice), refused);
    assert_eq!(room.say(ADA, ""), "");
}

// [T17] [T14]
#[test]
fn commands_count_and_a_notice_is_never_answered() {
    let mut room = Room::new(config());
    room.join(ADA, "Ada");
    for _ in 0..64 {
        assert!(room.say(ADA, "/who").starts_with("* 1 here"));
    }
    assert_eq!(
        room.refused(ADA, "* not a notice"),
        (Refusal::Slow, String::new())
    );
    assert!(
        room.say(ADA, "/who")
            .starts_with("* too fast: 2 of your lines were not said")
    );
    // keepalives and `/quit` are not limited
    assert!(matches!(room.event(ADA, " ").0, Event::Keepalive { .. }));
    assert!(matches!(room.event(ADA, "/quit").0, Event::Left(_)));
}

// [T17]
#[test]
fn one_peer_uses_up_nothing_of_another() {
    let mut room = Room::new(config());
    room.join(ADA, "Ada");
    room.join(BOB, "Bob");
    say_all(&mut room, 100);
    assert!(matches!(room.event(BOB, "x").0, Event::Said { .. }));
}

// [T17]
#[test]
fn the_operator_chooses_the_numbers() {
    for (rate, burst, at_once, later) in [(0, 0, 200, 200), (5, 0, 1, 5), (1000, 2, 2, 200)] {
        let mut room = Room::new(Config {
            rate,
            burst,
            ..config()
        });
        room.join(ADA, "Ada");
        assert_eq!(say_all(&mut room, 200).0, at_once);
        let mut said = 0;
        for _ in 0..100 {
            room.sleep_ms(10);
            said += say_all(&mut room, 2).0;
        }
        assert_eq!(said, later, "{rate}");
    }
}

fn post(room: &mut Room, session: Session, number: u16, texts: &[&str]) -> Vec<u8> {
    let mut buffer = [0; 900];
    let (texts, _) = Texts::collect(texts.iter().copied(), &mut buffer);
    let frame = encoded(&Frame::Post(Post {
        session,
        number,
        sent_at: 7,
        texts,
    }));
    room.bytes(ADA, &frame).1
}

// [U7] [U3] [U4]
#[test]
fn a_post_is_said_as_far_as_it_may_and_the_rest_later() {
    let mut room = Room::new(config());
    let welcome = room.join_framed(ADA, "Ada");
    let Ok(Frame::Welcome(welcome)) = Frame::decode(&welcome) else {
        panic!("{welcome:?}")
    };
    let session = welcome.session;
    let outcome = |reply: &[u8]| match Frame::decode(reply) {
        Ok(Frame::Posted(Posted { outcome, .. })) => match outcome {
            Outcome::Accepted { texts, .. } => Ok(texts),
            Outcome::Refused { reason, retry_ms } => Err((reason, retry_ms)),
            Outcome::Answer(_) => panic!("an answer"),
        },
        other => panic!("{other:?}"),
    };
    let texts = ["x"; 60];
    assert_eq!(outcome(&post(&mut room, session, 1, &texts)), Ok(60));
    assert_eq!(outcome(&post(&mut room, session, 2, &texts)), Ok(4));
    let slow = Err((Reason::TooFast, 200));
    for _ in 0..2 {
        // the same number has the same answer, even when the texts could be accepted
        assert_eq!(outcome(&post(&mut room, session, 3, &texts)), slow);
        room.sleep_ms(200);
    }
    assert_eq!(outcome(&post(&mut room, session, 4, &texts)), Ok(8));
    assert_eq!(outcome(&post(&mut room, session, 5, &["/who"])), slow);
    assert_eq!(room.relay.stats().messages, 72);
}

//! The framed dialect, one situation in each test. The test writes the clients' frames itself.

#![allow(clippy::unwrap_used, reason = "a test")]

mod delivery;
mod inquiries;
mod keeping;
mod numbers;
mod once;
mod padding;
mod private;
mod room;
mod sessions;
mod stopping;

use kilochat_core::framed::{Frame, Goodbye, Outcome, Post, Reason, Texts};
use kilochat_core::{Config, DATAGRAM_MAX, Delivery, Event, Refusal};

use room::{Room, bye, data, encoded, outcome};

// [U1] [U4]
#[test]
fn a_post_is_said_once_however_often_it_comes() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    for _ in 0..3 {
        let (_, reply) = room.post(1, ada.session, 1, &["hello"]);
        let accepted = Outcome::Accepted {
            first: 0,
            lines: 1,
            texts: 1,
        };
        assert_eq!(outcome(&reply), accepted);
    }
    for other in [0, 3, 40_000] {
        let (event, reply) = room.post(1, ada.session, other, &["hello"]);
        assert!(matches!(
            event,
            Event::Refused {
                seat: Some(_),
                why: Refusal::Late
            }
        ));
        assert!(reply.is_empty());
    }
    assert_eq!(room.relay.stats().lines, 1);
    assert_eq!(room.flush(), [data(0, &["ada : hello"], &[1])]);
}

/// Returns how many texts of a first POST are said.
fn said_of(name: &str, texts: &[&str]) -> u8 {
    let mut room = Room::new();
    let client = room.join(1, name);
    let (_, reply) = room.post(1, client.session, 1, texts);
    let Outcome::Accepted { texts, .. } = outcome(&reply) else {
        panic!("{reply:?}");
    };
    texts
}

// [U3]
#[test]
fn the_last_text_of_a_post_may_fill_what_one_message_has_to_the_byte() {
    let of = |length| "x".repeat(length);
    // 65 texts of 12 + 3 + 3 + 11 bytes leave 59 of 1944
    let many = |last: &str| said_of("ada", &[vec!["12345678901"; 65], vec![last]].concat());
    assert_eq!((many(&of(41)), many(&of(42))), (66, 65));
    assert_eq!(many(&format!("{}é", of(39))), 66);
    assert_eq!(many(&format!("{}é", of(40))), 65);
    // 20 texts of 48 bytes leave 984: one line of 960 bytes, and not two, each with the name. Two
    // bytes of a control character become three
    let long = |extra: &str| {
        let name = "a name of two and thirty bytes!!";
        let last = "\u{80}".repeat(308) + extra;
        said_of(name, &[vec!["x"; 20], vec![&last]].concat())
    };
    assert_eq!((long("x"), long("xx")), (21, 20));
}

// [U3]
#[test]
fn a_post_is_taken_as_far_as_one_message_reaches() {
    let mut room = Room::new();
    let ada = room.join(1, "a name of two and thirty bytes!!");
    // each takes 12 + 32 + 3 + 1 bytes of the 1944 that two whole lines have
    let texts = ["x"; 60];
    let (_, reply) = room.post(1, ada.session, 1, &texts);
    let taken = Outcome::Accepted {
        first: 0,
        lines: 40,
        texts: 40,
    };
    assert_eq!(outcome(&reply), taken);
    // a command, or a text that is not UTF-8, is answered only when it is the first of its POST
    let (_, reply) = room.post(1, ada.session, 2, &[" ", "//x", "/who", "x"]);
    let taken = Outcome::Accepted {
        first: 40,
        lines: 1,
        texts: 2,
    };
    assert_eq!(outcome(&reply), taken);
    let (event, reply) = room.post(1, ada.session, 3, &["/who", "x"]);
    assert!(matches!(event, Event::Answered { .. }));
    let answer = Outcome::Answer("* 1 here: a name of two and thirty bytes!!");
    assert_eq!(outcome(&reply), answer);
    let mut bad = encoded(&Frame::Post(Post {
        session: ada.session,
        number: 4,
        sent_at: 77,
        texts: Texts::collect(["??"], &mut [0; 8]).0,
    }));
    bad.truncate(bad.len() - 2);
    bad.extend([0xFF, 0xFE]);
    let (event, reply) = room.datagram(1, &bad);
    assert!(matches!(
        event,
        Event::Refused {
            why: Refusal::NotUtf8,
            ..
        }
    ));
    let refused = Outcome::Refused {
        reason: Reason::NotUtf8,
        retry_ms: 0,
    };
    assert_eq!(outcome(&reply), refused);
    let (event, reply) = room.post(1, ada.session, 5, &["/quit"]);
    assert!(matches!(event, Event::Left(_)));
    assert_eq!(bye(&reply), Goodbye::Left);
}

// [C2]
#[test]
fn a_relay_in_classic_mode_knows_no_frames() {
    let mut room = Room::with(Config {
        classic: true,
        ..Config::new([0; 16])
    });
    let (event, reply) = room.hello(1, 1, "ada", None, None);
    assert_eq!(
        (event, reply),
        (
            Event::Refused {
                seat: None,
                why: Refusal::Frame
            },
            vec![]
        )
    );
}

#[test]
fn frames_without_content_or_session_are_counted() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    let eve = room.relay.find(&Room::source(3)).unwrap();
    room.post(1, ada.session, 1, &[" ", "one", "two", "", "//three"]);
    let (event, reply) = room.post(1, ada.session, 2, &[" ", ""]);
    assert!(matches!(event, Event::Keepalive { .. }), "{event:?}");
    let taken = Outcome::Accepted {
        first: 3,
        lines: 0,
        texts: 2,
    };
    assert_eq!(outcome(&reply), taken);
    let stats = room.relay.stats();
    assert_eq!((stats.messages, stats.keepalives), (3, 1));
    let mut buffer = [0; DATAGRAM_MAX];
    let taken: Vec<Delivery> = core::iter::from_fn(|| {
        let fanout = room.relay.poll_fanout(room.now, &mut buffer)?;
        Some(fanout.collect::<Vec<_>>())
    })
    .flatten()
    .filter(|delivery| delivery.seat == eve)
    .collect();
    room.datagram(3, b"/quit");
    // late reports about a peer that has left
    room.relay.handle_refused(taken[0]);
    let why = kilochat_core::Unreachable::Port;
    assert_eq!(room.relay.handle_unreachable(room.now, eve, why), None);
    let stats = room.relay.stats();
    assert_eq!((stats.deferred, stats.unreachable), (1, 1));
}

//! Exactly once, and unchanged: repeated HELLOs and POSTs, and sessions that two clients use.

use core::time::Duration;

use kilochat_core::framed::{Frame, Goodbye, Outcome, Resume, Session};
use kilochat_core::{Config, Departure, Event, Refusal};

use crate::room::{Room, Sent, bye, data, outcome, resume, welcomed};

/// Returns a room with announcements and a history.
fn talkative() -> Room {
    Room::with(Config::new([0; 16]))
}

fn is_late(event: &Event) -> bool {
    let why = Refusal::Late;
    matches!(event, Event::Refused { why: other, .. } if *other == why)
}

impl Room {
    /// Returns the names of all peers.
    fn names(&self) -> Vec<String> {
        self.relay.peers().map(|peer| peer.name.into()).collect()
    }

    /// Posts a command. Returns the event and the answer.
    fn command(&mut self, port: u16, session: Session, number: u16, text: &str) -> (Event, String) {
        let (event, reply) = self.post(port, session, number, &[text]);
        let Outcome::Answer(answer) = outcome(&reply) else {
            panic!("{reply:?}")
        };
        (event, answer.to_owned())
    }
}

// [S3] [S5]
#[test]
fn the_same_hello_gets_the_same_welcome_whatever_was_said_meanwhile() {
    let mut room = talkative();
    room.datagram(3, b"eve");
    room.datagram(3, b"before");
    let cookie = room.cookie(1);
    let (_, reply) = room.hello(1, 9, "a:b", Some(cookie), None);
    let first = welcomed(&reply);
    // one line is history; the announcement of her own join is not
    assert_eq!((first.first, first.head), (1, 2));
    let end = "; /help lists commands";
    assert!(first.text.ends_with(end), "{first:?}");
    room.now = room.now.after(Duration::from_secs(5));
    room.datagram(3, b"after");
    room.datagram(4, b"di");
    let (event, reply) = room.hello(1, 9, "a:b", Some(cookie), None);
    assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
    let again = welcomed(&reply);
    assert_eq!((again.uptime_s, first.uptime_s), (5, 0));
    // only the list of present peers differs
    assert!(first.text.starts_with("* welcome a_b: 2 here (eve, a_b);"));
    assert!(
        again
            .text
            .starts_with("* welcome a_b: 3 here (eve, a_b, di);")
    );
    assert!(again.text.ends_with(end));
    let mut expected = first.clone();
    (expected.uptime_s, expected.text) = (5, again.text.clone());
    assert_eq!(again, expected);
    // also when lines were acknowledged meanwhile
    room.flush();
    room.ack(1, first.session, 3, &[]);
    let (_, reply) = room.hello(1, 9, "a:b", Some(cookie), None);
    assert_eq!(welcomed(&reply), again);
}

// [S3]
#[test]
fn the_same_hello_that_resumes_gets_the_same_welcome() {
    let mut room = talkative();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    room.flush();
    let cookie = room.cookie(9);
    let goes_on = resume(&ada, ada.first);
    let (_, reply) = room.hello(9, 1 << 41, "ada", Some(cookie), goes_on);
    room.datagram(3, b"after");
    let (event, again) = room.hello(9, 1 << 41, "ada", Some(cookie), goes_on);
    assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
    assert_eq!(welcomed(&again), welcomed(&reply));
    assert_eq!(welcomed(&again).text, "");
}

// [S5]
#[test]
fn a_newcomers_own_join_is_not_part_of_its_history() {
    let mut room = talkative();
    let ada = room.join(1, "ada");
    assert_eq!((ada.first, ada.head), (1, 1));
    room.datagram(3, b"eve");
    room.datagram(3, b"hello");
    room.frame(1, &Frame::Leave(ada.session));
    // 0 ada joined, 1 eve joined, 2 hello, 3 ada left, 4 ada joined
    let (_, again) = room.welcome(1, "ada", resume(&ada, 1));
    assert_eq!((again.first, again.head), (1, 4));
    let (_, bob) = room.welcome(2, "bob", None);
    assert_eq!((bob.first, bob.head), (2, 5));
    let lines = [
        "eve : hello",
        "* ada left (quit)",
        "* ada joined",
        "* bob joined",
    ];
    assert!(room.flush().contains(&data(2, &lines, &[2])));
}

// [U4]
#[test]
fn a_command_is_obeyed_once_however_often_it_comes() {
    let mut room = talkative();
    let ada = room.join(1, "ada");
    room.datagram(3, b"bob");
    let (event, answer) = room.command(1, ada.session, 1, "/nick bob");
    assert!(matches!(event, Event::Renamed { .. }), "{event:?}");
    assert_eq!(answer, "* you are now bob~2\n* bob is taken");
    room.datagram(3, b"/quit");
    let lines = room.relay.stats().lines;
    for _ in 0..2 {
        // the name is free by now
        let (event, answer) = room.command(1, ada.session, 1, "/nick bob");
        assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
        assert_eq!(answer, "* you are now bob~2\n* bob is taken");
    }
    room.datagram(3, b"bob");
    for (number, command, expected) in [
        (2, "/nick bob", "* you are bob~2 already"),
        (3, "/nick", "* /nick NAME needs a name"),
        (4, "/who", "* 2 here: bob~2, bob"),
        (5, "/quiet on", "* your program decides what it shows"),
    ] {
        let (_, answer) = room.command(1, ada.session, number, command);
        assert_eq!(answer, expected);
        room.datagram(3, b"/quit");
        let (event, answer) = room.command(1, ada.session, number, command);
        assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
        let expected = expected.replace("2 here: bob~2, bob", "1 here: bob~2");
        assert_eq!(answer, expected);
        room.datagram(3, b"bob");
    }
    assert_eq!(room.names(), ["bob~2", "bob"]);
    // the only new lines are bob's joins and leaves: four pairs, and one more
    assert_eq!(room.relay.stats().lines, lines + 9);
}

// [U1]
#[test]
fn the_first_number_is_one_and_the_numbers_go_round() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    for text in ["/who", "/nick eve", "hello"] {
        for _ in 0..2 {
            let (event, reply) = room.post(1, ada.session, 0, &[text]);
            assert!(is_late(&event), "{event:?}");
            assert!(reply.is_empty());
        }
    }
    for number in 1..=u16::MAX {
        let (event, _) = room.post(1, ada.session, number, &[" "]);
        assert!(matches!(event, Event::Keepalive { .. }), "{event:?}");
    }
    for (number, lines) in [(0, 1), (0, 1), (1, 2), (1, 2)] {
        let (_, reply) = room.post(1, ada.session, number, &["hello"]);
        assert!(matches!(outcome(&reply), Outcome::Accepted { .. }));
        assert_eq!(room.relay.stats().lines, lines);
    }
    assert!(is_late(&room.post(1, ada.session, u16::MAX, &[" "]).0));
}

// [U4]
#[test]
fn other_texts_under_the_same_number_end_the_session() {
    for (forged, own) in [
        (&["pay mallory"][..], &["hello"][..]),
        (&["hello", "hello"], &["hello"]),
        (&["/who"], &["/help"]),
        (&["/nick mallory"], &["hello"]),
    ] {
        let mut room = talkative();
        let ada = room.join(1, "ada");
        room.datagram(3, b"eve");
        room.post(1, ada.session, 1, forged);
        let name = room.names().remove(0);
        let lines = room.relay.stats().lines;
        let (event, reply) = room.post(1, ada.session, 1, own);
        let Event::Left(departed) = event else {
            panic!("{event:?}")
        };
        assert_eq!(
            (departed.why, bye(&reply)),
            (Departure::Contested, Goodbye::Unknown)
        );
        assert_eq!(room.relay.stats().contested, 1);
        assert_eq!(room.relay.stats().lines, lines + 1);
        let told = |(sent, _): &(Sent, Vec<u16>)| match sent {
            Sent::Text(text) => text.ends_with(&format!("* {name} left (contested)")),
            Sent::Data(..) | Sent::Gap(..) => false,
        };
        assert!(room.flush().iter().any(told));
        // the session has ended; its client continues in another one
        let (event, reply) = room.post(1, ada.session, 2, &["again"]);
        assert!(matches!(event, Event::Refused { .. }), "{event:?}");
        assert_eq!(bye(&reply), Goodbye::Unknown);
        let (event, again) = room.welcome(1, "ada", resume(&ada, lines));
        assert!(matches!(event, Event::Joined { .. }), "{event:?}");
        assert_eq!(again.first, lines);
        let (event, _) = room.post(1, again.session, 1, own);
        assert!(!matches!(event, Event::Refused { .. }), "{event:?}");
    }
}

// [L6] [S9] [S11]
#[test]
fn a_peer_that_is_replaced_is_announced_as_such() {
    let mut room = talkative();
    let ada = room.join(1, "ada");
    room.datagram(2, b"bob");
    let cy = room.join(4, "cy");
    room.flush();
    let said = |room: &mut Room| -> Vec<String> {
        let sent = room.flush().into_iter().map(|(sent, _)| sent);
        let lines = sent.flat_map(|sent| match sent {
            Sent::Data(_, lines) => lines,
            Sent::Text(_) | Sent::Gap(..) => Vec::new(),
        });
        lines.collect()
    };
    // ada moves to the address where bob was
    let (event, _) = room.welcome(2, "ada", resume(&ada, 3));
    let Event::Resumed {
        displaced: Some(departed),
        ..
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(
        (departed.name.as_str(), departed.why),
        ("bob", Departure::Replaced)
    );
    assert!(said(&mut room).contains(&"* bob left (replaced)".to_owned()));
    // ... and to the address where cy was, whose session has ended
    let (_, _) = room.welcome(4, "ada", resume(&ada, 4));
    assert!(said(&mut room).contains(&"* cy left (replaced)".to_owned()));
    let (event, reply) = room.frame(4, &Frame::Leave(cy.session));
    assert!(matches!(event, Event::Refused { .. }) && bye(&reply) == Goodbye::Unknown);
    // a newcomer with another name at her address replaces her; with the same name it is the same
    // client
    room.join(5, "listener");
    room.join(4, "eve");
    let lines = said(&mut room);
    assert!(
        lines.contains(&"* ada left (replaced)".to_owned()),
        "{lines:?}"
    );
    assert!(lines.contains(&"* eve joined".to_owned()), "{lines:?}");
    room.join(4, "EVE");
    let lines = said(&mut room);
    assert!(lines.contains(&"* EVE joined".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("left")), "{lines:?}");
    let stats = room.relay.stats();
    assert_eq!((stats.replaced, stats.restarted), (3, 1));
}

#[test]
fn a_session_of_another_run_or_of_nobody_takes_no_line_twice() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    for text in ["1", "2", "3"] {
        room.datagram(3, text.as_bytes());
    }
    let nobody = |next| {
        Some(Resume {
            session: Session(5),
            epoch: ada.epoch,
            next,
        })
    };
    for (next, first) in [(0, 0), (2, 2), (3, 3), (4, 3), (u64::MAX, 3)] {
        let (event, welcomed) = room.welcome(2, "bob", nobody(next));
        assert!(matches!(event, Event::Joined { .. }), "{event:?}");
        assert_eq!(welcomed.first, first, "{next}");
    }
}

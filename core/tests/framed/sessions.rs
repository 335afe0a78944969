//! Sessions: how they start, are resumed, and end.

use core::time::Duration;

use kilochat_core::framed::{Ack, Frame, Goodbye, HELLO_MIN, Reason, Session};
use kilochat_core::{Config, Event, Instant, Refusal};

use crate::room::{Room, Sent, Welcomed, bye, data, resume, sent, welcomed};

// [S1]
#[test]
fn a_stranger_gets_a_cookie_that_is_shorter_than_its_hello_and_no_seat() {
    let mut room = Room::new();
    for cookie in [None, Some([0; 16])] {
        let (event, reply) = room.hello(1, 5, "ada", cookie, None);
        assert_eq!(event, Event::Challenged);
        assert!(reply.len() <= HELLO_MIN);
    }
    assert_eq!(
        (room.relay.peer_count(), room.relay.stats().challenged),
        (0, 2)
    );
    // a cookie is valid for one address and for a limited time
    let cookie = room.cookie(1);
    assert_eq!(
        room.hello(2, 5, "ada", Some(cookie), None).0,
        Event::Challenged
    );
    room.sleep(120_000);
    assert_eq!(
        room.hello(1, 5, "ada", Some(cookie), None).0,
        Event::Challenged
    );
    let joined = room.join(1, "ada");
    assert_eq!(joined.name, "ada");
    assert_eq!(
        joined.text,
        "* welcome ada: 1 here (ada); /help lists commands"
    );
    assert!(joined.session.0 != 0 && joined.epoch != 0);
}

// [S2]
#[test]
fn a_hello_in_another_version_of_the_dialect_is_answered_in_this_one() {
    let mut room = Room::new();
    let mut hello = b"\x01H KC2 an-ability 00000000000000aa whatever comes then".to_vec();
    hello.resize(HELLO_MIN, b' ');
    let (event, reply) = room.datagram(1, &hello);
    assert_eq!(event, Event::Challenged);
    let Ok(Frame::Cookie(cookie)) = Frame::decode(&reply) else {
        panic!("{}", reply.escape_ascii());
    };
    assert_eq!((cookie.nonce, cookie.words), (0xAA, "00000000 0"));
    hello.pop();
    assert!(room.datagram(1, &hello).1.is_empty());
    assert_eq!(room.relay.peer_count(), 0);
}

// [F4]
#[test]
fn a_cookie_has_the_name_and_how_many_are_there_and_is_not_too_long() {
    let name = "十十十十十十十十十十-x";
    let mut room = Room::with(Config {
        name: name.try_into().unwrap(),
        ..Config::new([0; 16])
    });
    for (peers, port) in (1..=3).zip(10..) {
        room.datagram(port, b"peer");
        let (_, reply) = room.hello(1, 5, "find", None, None);
        let Ok(Frame::Cookie(cookie)) = Frame::decode(&reply) else {
            panic!("{}", reply.escape_ascii());
        };
        assert_eq!(cookie.words, format!("00000000 {peers} {name}"));
        assert!(reply.len() <= HELLO_MIN);
    }
    // another relay has the name
    room.relay.set_relay_name("boat-2".try_into().unwrap());
    let (_, reply) = room.hello(1, 5, "find", None, None);
    let Ok(Frame::Cookie(cookie)) = Frame::decode(&reply) else {
        panic!("{}", reply.escape_ascii());
    };
    assert_eq!(cookie.words, "00000000 3 boat-2");
}

// [S3]
#[test]
fn a_hello_that_comes_again_gets_the_same_welcome_and_one_that_is_late_nothing() {
    let mut room = Room::new();
    let joined = room.join(1, "ada");
    let (cookie, nonce) = (room.cookie(1), room.nonce);
    let (event, reply) = room.hello(1, nonce, "ada", Some(cookie), None);
    assert!(matches!(event, Event::Acknowledged { .. }));
    assert_eq!(welcomed(&reply), joined);
    for late in [1, 65_535] {
        let (event, reply) = room.hello(1, nonce - late, "eve", Some(cookie), None);
        assert!(
            matches!(
                event,
                Event::Refused {
                    why: Refusal::Late,
                    ..
                }
            ),
            "{event:?}"
        );
        assert!(reply.is_empty());
    }
    // a client that was restarted on the same port starts with any nonce
    let (event, reply) = room.hello(1, nonce - 65_536, "ada", Some(cookie), None);
    assert!(matches!(event, Event::Joined { .. }));
    assert_ne!(welcomed(&reply).session, joined.session);
    assert_eq!(
        (room.relay.peer_count(), welcomed(&reply).name),
        (1, "ada".into())
    );
}

// [S9]
#[test]
fn a_session_goes_on_from_another_address() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.join(2, "bob");
    room.datagram(3, b"eve");
    room.datagram(3, b"one");
    room.datagram(3, b"two");
    room.flush();
    let (event, again) = room.welcome(9, "ada", resume(&ada, 1));
    let Event::Resumed {
        seat,
        moved: Some((old, farewell)),
        ..
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!((again.session, again.first), (ada.session, 1));
    assert_eq!(
        (old.port(), bye(farewell.as_bytes())),
        (1, Goodbye::TakenOver)
    );
    assert_eq!(room.relay.peer(seat).unwrap().address.port(), 9);
    // sent from the client's position on, and to the new address only
    assert_eq!(room.flush(), [data(1, &["eve : two"], &[9])]);
    let (event, reply) = room.post(1, ada.session, 1, &["from the old address"]);
    assert!(matches!(
        event,
        Event::Refused {
            seat: None,
            why: Refusal::Session
        }
    ));
    assert_eq!(bye(&reply), Goodbye::Unknown);
    assert_eq!(room.relay.peer_count(), 3);
    // the client's address changes before WELCOME arrives: it sends the same HELLO from the next
    // one
    let (cookie, nonce) = (room.cookie(8), room.nonce);
    let (event, reply) = room.hello(8, nonce, "ada", Some(cookie), resume(&ada, 1));
    assert!(
        matches!(event, Event::Resumed { moved: Some(_), .. }),
        "{event:?}"
    );
    assert_eq!(welcomed(&reply).session, ada.session);
    assert_eq!(room.flush(), [data(1, &["eve : two"], &[8])]);
    let (_, again) = room.welcome(9, "ada", resume(&ada, 1));
    assert_eq!(again.session, ada.session);
    room.flush();
    // an acknowledged position never moves back
    room.ack(9, ada.session, 2, &[]);
    let (_, again) = room.welcome(9, "ada", resume(&ada, 0));
    assert_eq!((again.first, room.flush()), (2, vec![]));
}

// [S6] [S10]
#[test]
fn a_client_without_its_seat_continues_in_the_same_run_and_joins_new_in_another() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    room.datagram(3, b"one");
    assert!(matches!(
        room.frame(1, &Frame::Leave(ada.session)).0,
        Event::Left(_)
    ));
    room.datagram(3, b"two");
    let (event, again) = room.welcome(1, "ada", resume(&ada, 1));
    assert!(matches!(event, Event::Joined { .. }));
    assert_eq!((again.epoch, again.first), (ada.epoch, 1));
    assert_ne!(again.session, ada.session);
    assert_eq!(room.flush(), [data(1, &["eve : two"], &[1])]);
    // lines that were overwritten meanwhile are reported as a gap
    room.frame(1, &Frame::Leave(again.session));
    for _ in 0..4 {
        room.datagram(3, "x".repeat(900).as_bytes());
    }
    let (_, again) = room.welcome(1, "ada", resume(&again, 2));
    assert_eq!((again.first, &room.flush()[0].0), (2, &Sent::Gap(2, 4)));
    // another run of the relay
    let old = Welcomed {
        epoch: again.epoch ^ 1,
        ..again
    };
    let (_, anew) = room.welcome(2, "bob", resume(&old, 5));
    assert_eq!(anew.first, anew.head);
}

#[test]
fn time_ends_and_calls_do_too() {
    let mut room = Room::new();
    room.now = Instant::from_millis(u64::MAX - 1);
    let ada = room.join(1, "ada");
    room.post(1, ada.session, 1, &["hello"]);
    assert_eq!(room.flush().len(), 1);
    room.now = Instant::from_millis(u64::MAX);
    assert_eq!(room.relay.handle_timeout(room.now), None);
    room.post(1, ada.session, 2, &["bye"]);
    assert_eq!(room.flush().len(), 1);
    assert_eq!(room.relay.handle_timeout(room.now), None);
}

// [W2] [S4]
#[test]
fn forged_datagrams_have_no_effect() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    room.datagram(3, b"hello");
    room.flush();
    let before = format!(
        "{:?}",
        room.relay.peer(room.relay.find(&Room::source(1)).unwrap())
    );
    room.now = room.now.after(Duration::from_millis(500));
    let forged = Session(ada.session.0 ^ 1);
    for frame in [
        Frame::Leave(forged),
        Frame::Ack(Ack {
            session: forged,
            echo: None,
            answer: true,
            next: 1,
            ranges: heapless::Vec::new(),
        }),
        Frame::Bye(ada.session, Goodbye::Left),
        Frame::Bye(forged, Goodbye::Left),
    ] {
        let (event, _) = room.frame(1, &frame);
        assert!(
            matches!(event, Event::Refused { seat: None, .. }),
            "{event:?}"
        );
    }
    assert!(matches!(
        room.post(1, forged, 1, &["x"]).0,
        Event::Refused { seat: None, .. }
    ));
    assert_eq!(
        room.hello(1, room.nonce + 5, "x", Some([1; 16]), None).0,
        Event::Challenged
    );
    for text in ["forged", "/quit", ""] {
        let (event, reply) = room.datagram(1, text.as_bytes());
        let dialect = Event::Refused {
            seat: None,
            why: Refusal::Dialect,
        };
        assert_eq!((event, reply), (dialect, vec![]));
    }
    // nor has a frame from the address of a plain peer
    let (event, reply) = room.frame(3, &Frame::Leave(ada.session));
    assert_eq!(
        (event, reply),
        (
            Event::Refused {
                seat: None,
                why: Refusal::Dialect
            },
            vec![]
        )
    );
    let after = format!(
        "{:?}",
        room.relay.peer(room.relay.find(&Room::source(1)).unwrap())
    );
    assert_eq!((before, room.relay.peer_count()), (after, 2));
    // not even on the time of the retransmission
    room.sleep(500);
    assert_eq!(room.flush(), [data(0, &["eve : hello"], &[1])]);
}

// [J4]
#[test]
fn a_client_whose_name_is_taken_gets_no_hint_that_is_for_plain_peers() {
    let mut room = Room::with(Config::new([0; 16]));
    room.join(1, "ada");
    let second = room.join(2, "ada");
    assert_eq!(second.name, "ada~2");
    assert!(
        second.text.ends_with("; /help lists commands"),
        "{}",
        second.text
    );
    let (_, plain) = room.datagram(3, b"ada");
    assert!(String::from_utf8_lossy(&plain).contains("not your name?"));
}

// [P2] [P3]
#[test]
fn who_does_not_answer_is_parked_and_comes_back_to_what_it_missed() {
    let config = Config {
        history: 0,
        ..Config::new([0; 16])
    };
    let mut room = Room::with(config);
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    room.datagram(3, b"hello");
    let mut parked = Vec::new();
    let mut silence = 0;
    while parked.is_empty() {
        room.flush();
        parked = room.sleep(100);
        silence += 100;
    }
    assert_eq!((parked, silence), (vec!["ada".to_owned()], 20_000));
    assert_eq!(
        room.flush(),
        [(Sent::Text("* ada is away".into()), vec![3])]
    );
    let (_, who) = room.datagram(3, b"/who");
    assert_eq!(who, b"* 2 here: ada (away), eve");
    // nothing is sent to a parked client, and it blocks nobody
    for _ in 0..20 {
        room.datagram(3, "x".repeat(900).as_bytes());
        assert!(room.relay.can_receive());
    }
    assert_eq!((room.flush(), room.relay.poll_timeout()), (vec![], None));
    room.ack(1, ada.session, ada.first, &[]);
    let back = room.flush();
    assert!(
        back.contains(&(Sent::Gap(ada.first, 22), vec![1])),
        "{back:?}"
    );
    let told = |(sent, ports): &(Sent, Vec<u16>)| match sent {
        Sent::Text(text) => text == "* ada is back" && ports == &[3],
        Sent::Data(..) | Sent::Gap(..) => false,
    };
    assert!(back.iter().any(told), "{back:?}");
    let stats = room.relay.stats();
    assert_eq!((stats.parked, stats.unparked), (1, 1));
}

// [P3]
#[test]
fn who_was_parked_is_not_sent_again_what_it_acknowledges_when_it_is_back() {
    // the lines that arrived, the lines that are said while it is parked, the lines that it
    // acknowledges, and what it is sent then
    let line = format!("eve : {}", "x".repeat(500));
    let lines = |count| vec![line.as_str(); count];
    for (arrived, later, acknowledged, due) in [
        (2, 0, 1, vec![data(1, &lines(1), &[1])]),
        (2, 0, 2, vec![]),
        (2, 1, 2, vec![data(2, &lines(1), &[1])]),
        // the ring has the last three lines
        (
            2,
            4,
            4,
            vec![data(4, &lines(1), &[1]), data(5, &lines(1), &[1])],
        ),
        (2, 4, 6, vec![]),
        (2, 60, 61, vec![data(61, &lines(1), &[1])]),
    ] {
        let mut room = Room::new();
        let ada = room.join(1, "ada");
        room.datagram(3, b"eve");
        let say = |room: &mut Room, count| {
            for _ in 0..count {
                room.datagram(3, &line.as_bytes()[6..]);
                room.flush();
            }
        };
        say(&mut room, arrived);
        while room.sleep(100).is_empty() {
            room.flush();
        }
        say(&mut room, later);
        room.ack(1, ada.session, acknowledged, &[]);
        let sent = room.flush();
        assert_eq!(sent, due, "{acknowledged} of {arrived} and {later}");
        assert_eq!(room.relay.is_settled(), due.is_empty());
    }
}

// [P2] [L2]
#[test]
fn a_seat_of_somebody_who_is_away_is_given_away_first() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.now = room.now.after(Duration::from_secs(59));
    for (port, name) in [(2, "bob"), (3, "cy"), (4, "di")] {
        room.datagram(port, name.as_bytes());
    }
    let (event, _) = room.datagram(5, b"eve");
    assert!(matches!(
        event,
        Event::Refused {
            why: Refusal::Full,
            ..
        }
    ));
    assert_eq!(room.sleep(1000), ["ada"]);
    let (event, _) = room.datagram(5, b"eve");
    let (_, address, farewell) = event.aside().unwrap();
    assert_eq!((address.port(), bye(farewell)), (1, Goodbye::GivenAway));
    // the former peer gets no seat now, and may try again later
    let cookie = room.cookie(1);
    let (event, reply) = room.hello(1, room.nonce + 9, "ada", Some(cookie), resume(&ada, 0));
    assert!(matches!(
        event,
        Event::Refused {
            why: Refusal::Full,
            ..
        }
    ));
    let Ok(Frame::Refused(refused)) = Frame::decode(&reply) else {
        panic!("{reply:?}")
    };
    assert_eq!((refused.reason, refused.retry_s), (Reason::Full, 60));
}

// [P1] [S11]
#[test]
fn a_keepalive_is_answered_and_a_peer_may_change_its_dialect() {
    let mut room = Room::new();
    room.datagram(1, b"ada");
    let ada = room.join(1, "ada");
    assert_eq!((room.relay.peer_count(), ada.name.as_str()), (1, "ada"));
    room.datagram(3, b"eve");
    room.datagram(3, b"hello");
    let ack = Ack {
        session: ada.session,
        echo: None,
        answer: true,
        next: 0,
        ranges: heapless::Vec::new(),
    };
    let (event, reply) = room.frame(1, &Frame::Ack(ack));
    assert!(matches!(event, Event::Acknowledged { .. }));
    // the answer has the number of the next line
    assert_eq!(sent(&reply), Sent::Data(1, vec![]));
    // a plain text from its address is refused
    assert_eq!(
        room.datagram(1, b"ada").0,
        Event::Refused {
            seat: None,
            why: Refusal::Dialect
        }
    );
}

#[test]
fn a_relay_that_was_suspended_reads_before_it_judges_silence() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.join(2, "bob");
    room.now = room.now.after(Duration::from_secs(10));
    let eve = room.join(3, "eve");
    room.sleep(10_000);
    // the relay is suspended for more than a minute
    assert_eq!(room.sleep(65_000), [""; 0]);
    room.ack(1, ada.session, 0, &[]);
    assert_eq!(room.sleep(999), [""; 0]);
    // then clients that were really silent are parked
    room.ack(3, eve.session, 0, &[]);
    assert_eq!(room.sleep(1), ["bob"]);
    assert_eq!(room.relay.stats().parked, 1);
    // after a shorter suspension only the silent ones are parked
    room.now = room.now.after(Duration::from_secs(58));
    room.ack(1, ada.session, 0, &[]);
    assert_eq!(room.sleep(2998), ["eve"]);
}

#[test]
fn a_relay_that_is_a_second_late_was_suspended() {
    for (late, parked) in [(999, &["ada"][..]), (1000, &[])] {
        let mut room = Room::new();
        room.join(1, "ada");
        assert_eq!(room.sleep(60_000 + late), parked);
    }
    // late for a time-out, and just in time for the silence
    let mut room = Room::new();
    room.join(1, "ada");
    room.datagram(3, b"eve");
    room.datagram(3, b"hello");
    room.flush();
    assert_eq!(room.sleep(60_000), [""; 0]);
    room.flush();
    assert_eq!(room.sleep(999), [""; 0]);
    assert_eq!(room.sleep(1), ["ada"]);
}

// [R5]
#[test]
fn a_client_that_asks_for_it_is_announced_only_when_it_is_renamed() {
    let mut room = Room::with(Config {
        history: 3,
        ..Config::new([0; 16])
    });
    room.datagram(1, b"Ada");
    room.flush();
    room.abilities = 0x8000_0001;
    for time in 0..5 {
        let cron = room.join(2, "cron");
        let welcome = "* welcome cron: 2 here (Ada, cron); /help lists commands";
        assert_eq!(cron.text, welcome);
        room.post(2, cron.session, 1, &["done"]);
        assert_eq!(room.sleep(60_001), ["cron"]);
        room.post(2, cron.session, 2, &["/nick disk"]);
        room.frame(2, &Frame::Leave(cron.session));
        let lines = "cron : done\n* cron is now disk";
        assert_eq!(
            room.flush(),
            [(Sent::Text(lines.into()), vec![1])],
            "{time}"
        );
    }
    let (_, welcome) = room.datagram(3, b"Bob");
    assert!(welcome.ends_with(b"; the last 6 lines:"));
}

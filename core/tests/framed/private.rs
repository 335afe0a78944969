//! Messages to one peer, in frames.

use kilochat_core::Event;
use kilochat_core::framed::{Frame, LineKind, Outcome};

use crate::room::{Room, Sent, data, outcome};

// [M3] [M4] [F10]
#[test]
fn all_others_get_an_empty_entry_with_the_same_number() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.join(2, "bob");
    let eve = room.join(3, "eve");
    room.post(1, ada.session, 1, &["before"]);
    let (event, reply) = room.post(1, ada.session, 2, &["/msg bob the key"]);
    assert!(matches!(event, Event::Answered { .. }));
    assert_eq!(outcome(&reply), Outcome::Answer("* to bob: the key"));
    room.post(1, ada.session, 3, &["after"]);
    let sent = room.flush();
    let expected = [
        data(0, &["ada : before"], &[1, 2, 3]),
        data(1, &[""], &[1, 3]),
        data(1, &["* ada to you: the key"], &[2]),
    ];
    assert_eq!(sent[0], expected[0]);
    assert!(
        expected[1..].iter().all(|it| sent[1..].contains(it)),
        "{sent:?}"
    );
    assert_eq!(sent.len(), 3, "two DATA may be in flight");
    room.ack(3, eve.session, 2, &[]);
    assert_eq!(room.flush(), [data(2, &["ada : after"], &[3])]);
}

// [M3]
#[test]
fn an_entry_for_another_one_tells_nothing_but_its_time_and_the_addressee() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    let bob = room.join(2, "bob");
    room.post(1, ada.session, 1, &["/msg bob the key"]);
    let mut buffer = [0; 1024];
    let mut seen = 0;
    while let Some(fanout) = room.relay.poll_fanout(room.now, &mut buffer) {
        let Ok(Frame::Data(data)) = Frame::decode(fanout.payload()) else {
            panic!("no DATA")
        };
        let entry = data.entries().next().unwrap();
        assert_eq!(
            (entry.kind, entry.author, entry.name),
            (LineKind::Private, bob.author, 0)
        );
        assert_eq!(data.entries().count(), 1);
        let text = if fanout.payload().len() == 16 + 12 {
            ""
        } else {
            "* ada to you: the key"
        };
        assert_eq!(entry.line, text);
        for delivery in fanout {
            assert_eq!(!text.is_empty(), delivery.address == Room::source(2));
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

// [M3]
#[test]
fn what_is_lost_or_refused_is_sent_again_to_each_as_before() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    let bob = room.join(2, "bob");
    room.post(1, ada.session, 1, &["/msg bob secret"]);
    let mut buffer = [0; 1024];
    // the network takes nothing
    let mut refused = Vec::new();
    while let Some(fanout) = room.relay.poll_fanout(room.now, &mut buffer) {
        refused.extend(fanout);
    }
    for delivery in refused.into_iter().rev() {
        room.relay.handle_refused(delivery);
        room.relay.handle_writable(delivery.seat);
    }
    let check = |room: &mut Room, hidden: &[u16], shown: &[u16]| {
        let mut sent = room.flush();
        sent.sort_by_key(|(_, ports)| ports.clone());
        let mut expected = Vec::new();
        for (line, ports) in [("", hidden), ("* ada to you: secret", shown)] {
            expected.extend((!ports.is_empty()).then(|| data(0, &[line], ports)));
        }
        assert_eq!(sent, expected);
    };
    check(&mut room, &[1], &[2]);
    room.sleep(1000);
    check(&mut room, &[1], &[2]);
    room.ack(1, ada.session, 1, &[]);
    room.sleep(1500);
    check(&mut room, &[], &[2]);
    room.ack(2, bob.session, 1, &[]);
    room.sleep(10_000);
    assert_eq!(room.flush(), []);
    // a client that comes back to its session still gets it, and one that takes its name does not
    room.post(1, ada.session, 2, &["/msg bob again"]);
    assert!(room.sleep(1).is_empty());
    room.flush();
    let (_, moved) = room.welcome(9, "bob", crate::room::resume(&bob, 1));
    assert_eq!(moved.session, bob.session);
    assert_eq!(room.flush(), [data(1, &["* ada to you: again"], &[9])]);
}

// [M4] [U4]
#[test]
fn a_repeated_post_is_answered_and_not_said_again() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(2, b"Bob");
    for round in 0..3 {
        let (_, reply) = room.post(1, ada.session, 1, &["/msg BOB: hi"]);
        let name = if round == 0 { "Bob" } else { "BOB" };
        let answer = format!("* to {name}: hi");
        assert_eq!(outcome(&reply), Outcome::Answer(&answer));
    }
    let hidden = data(0, &[""], &[1]);
    let shown = (Sent::Text("* ada to you: hi".into()), vec![2]);
    let sent = room.flush();
    assert!(
        sent == [hidden.clone(), shown.clone()] || sent == [shown, hidden],
        "{sent:?}"
    );
    // what was not said stays so
    let nobody = Outcome::Answer("* nobody is called Zoe");
    let (_, reply) = room.post(1, ada.session, 2, &["/msg Zoe hi"]);
    assert_eq!(outcome(&reply), nobody);
    room.datagram(3, b"Zoe");
    let (_, reply) = room.post(1, ada.session, 2, &["/msg Zoe hi"]);
    assert_eq!(outcome(&reply), nobody);
    assert_eq!(room.flush(), []);
}

// [M3]
#[test]
fn a_gap_covers_it_like_any_line() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    room.datagram(3, b"/msg ada secret");
    let long = "x".repeat(900);
    for _ in 0..3 {
        room.datagram(3, long.as_bytes());
    }
    let line = format!("eve : {long}");
    let sent = room.flush();
    assert_eq!(sent[0], (Sent::Gap(0, 2), vec![1]));
    assert_eq!(sent[1], data(2, &[&line], &[1]));
    assert!(room.relay.stats().missed >= 2);
    let _ = ada;
}

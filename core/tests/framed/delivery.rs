//! Delivery of lines: acknowledgement, retransmission, gaps and several datagrams at once.

use core::time::Duration;

use kilochat_core::framed::{Frame, Outcome};
use kilochat_core::{DATAGRAM_MAX, Delivery, Event};

use crate::room::{Room, Sent, data, outcome, sent};

// [W3] [D1]
#[test]
fn both_dialects_get_the_same_lines_in_the_same_order() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    let bob = room.join(2, "bob");
    room.datagram(3, b"eve\n");
    room.datagram(3, b"hello\n");
    let (event, reply) = room.post(1, ada.session, 1, &["one", "two"]);
    assert!(matches!(event, Event::Said { lines: 2, .. }));
    assert_eq!(
        outcome(&reply),
        Outcome::Accepted {
            first: 1,
            lines: 2,
            texts: 2
        }
    );
    let both = [
        data(0, &["eve : hello", "ada : one", "ada : two"], &[1, 2]),
        (Sent::Text("ada : one\nada : two\n".into()), vec![3]),
    ];
    assert_eq!(room.flush(), both);
    assert_eq!(bob.author, ada.author + 1);
    // the same bytes for all peers, and the client accepts padding
    let mut buffer = [0; DATAGRAM_MAX];
    room.datagram(3, b"again");
    let payload = room
        .relay
        .poll_fanout(room.now, &mut buffer)
        .unwrap()
        .payload();
    let Ok(Frame::Data(frame)) = Frame::decode(payload) else {
        panic!("{payload:?}")
    };
    assert_eq!(
        (frame.epoch, frame.entries().next().unwrap().name),
        (ada.epoch, 3)
    );
}

#[test]
fn what_is_not_acknowledged_is_sent_again_until_it_is() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    room.datagram(3, b"hello");
    let hello = data(0, &["eve : hello"], &[1]);
    assert_eq!(room.flush(), core::slice::from_ref(&hello));
    room.sleep(999);
    assert_eq!(room.flush(), []);
    room.sleep(1);
    assert_eq!(room.flush(), core::slice::from_ref(&hello));
    room.sleep(1499);
    assert_eq!(room.flush(), []);
    room.sleep(1);
    assert_eq!(room.flush(), [hello]);
    assert_eq!(room.relay.stats().resent, 2);
    room.ack(1, ada.session, 1, &[]);
    room.sleep(10_000);
    assert_eq!(room.flush(), []);
}

#[test]
fn a_window_closes_and_what_was_overtaken_is_sent_again() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    for text in ["1", "2", "3"] {
        room.datagram(3, text.as_bytes());
        room.flush();
    }
    // two DATA are in flight, and the third line waits
    assert_eq!(room.relay.stats().deliveries, 2);
    room.now = room.now.after(Duration::from_millis(200));
    room.ack(1, ada.session, 0, &[(1, 1)]);
    assert_eq!(room.flush(), []);
    // without a sample of the round-trip time the first time-out is a second
    room.now = room.now.after(Duration::from_millis(800));
    room.ack(1, ada.session, 0, &[(1, 1)]);
    assert_eq!(room.flush(), [data(0, &["eve : 1"], &[1])]);
    room.ack(1, ada.session, 2, &[]);
    assert_eq!(room.flush(), [data(2, &["eve : 3"], &[1])]);
}

// [D7]
#[test]
fn lines_that_were_overwritten_are_a_gap_until_the_client_is_behind_it() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    room.datagram(3, b"first");
    assert_eq!(room.flush(), [data(0, &["eve : first"], &[1])]);
    let long = "x".repeat(900);
    for _ in 0..4 {
        room.datagram(3, long.as_bytes());
    }
    // the only framed client lacks more than the ring holds
    let line = format!("eve : {long}");
    let tail = |room: &Room| room.relay.stats().lines - 2;
    assert_eq!(tail(&room), 3);
    assert_eq!(
        room.flush(),
        [
            (Sent::Gap(0, 3), vec![1]),
            data(3, &[&line], &[1]),
            data(4, &[&line], &[1])
        ]
    );
    assert_eq!(room.relay.stats().missed, 3);
    room.ack(1, ada.session, 0, &[(3, 2)]);
    assert_eq!(room.flush(), []);
    room.sleep(1000);
    assert_eq!(room.flush(), [(Sent::Gap(0, 3), vec![1])]);
    room.ack(1, ada.session, 5, &[]);
    room.sleep(5000);
    assert_eq!((room.flush(), room.relay.stats().gaps), (vec![], 2));
}

#[test]
fn what_the_network_refuses_is_offered_again_with_more() {
    let mut room = Room::new();
    room.join(1, "ada");
    room.datagram(3, b"eve");
    room.datagram(3, b"one");
    let mut buffer = [0; DATAGRAM_MAX];
    let refused: Vec<Delivery> = room
        .relay
        .poll_fanout(room.now, &mut buffer)
        .unwrap()
        .collect();
    room.datagram(3, b"two");
    room.relay.handle_refused(refused[0]);
    assert_eq!(room.flush(), []);
    room.relay.handle_writable(refused[0].seat);
    assert_eq!(room.flush(), [data(0, &["eve : one", "eve : two"], &[1])]);
    // a retransmission that would block stays due
    room.sleep(1000);
    let again: Vec<Delivery> = room
        .relay
        .poll_fanout(room.now, &mut buffer)
        .unwrap()
        .collect();
    assert_eq!(room.flush(), []);
    room.relay.handle_refused(again[0]);
    room.relay.handle_writable(again[0].seat);
    assert_eq!(room.flush(), [data(0, &["eve : one", "eve : two"], &[1])]);
    assert_eq!(room.relay.stats().deferred, 2);
}

#[test]
fn a_gap_that_the_network_refuses_is_offered_again() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    for _ in 0..8 {
        room.datagram(3, "x".repeat(900).as_bytes());
        room.flush();
    }
    // two lines are in flight, the last two are in the ring
    room.ack(1, ada.session, 2, &[]);
    let mut buffer = [0; DATAGRAM_MAX];
    let fanout = room.relay.poll_fanout(room.now, &mut buffer).unwrap();
    assert_eq!(sent(fanout.payload()), Sent::Gap(2, 6));
    let refused: Vec<Delivery> = fanout.collect();
    room.relay.handle_refused(refused[0]);
    assert_eq!(room.flush(), []);
    room.relay.handle_writable(refused[0].seat);
    assert_eq!(room.flush()[0], (Sent::Gap(2, 6), vec![1]));
}

#[test]
fn a_long_buffer_takes_several_datagrams_for_those_who_are_behind() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.join(2, "bob");
    room.datagram(3, b"eve");
    for text in ["x", "y"] {
        room.datagram(3, text.repeat(900).as_bytes());
    }
    let mut buffer = [0xFF; 4 * DATAGRAM_MAX];
    let fanout = room.relay.poll_fanout(room.now, &mut buffer).unwrap();
    let payload = fanout.payload();
    let firsts: Vec<u64> = payload
        .chunks(DATAGRAM_MAX)
        .map(|datagram| {
            let Sent::Data(first, lines) = sent(datagram) else {
                panic!("{datagram:?}")
            };
            assert_eq!(lines.len(), 1);
            first
        })
        .collect();
    assert_eq!((firsts, payload.len()), (vec![0, 1], 1024 + 16 + 12 + 906));
    let deliveries: Vec<Delivery> = fanout.collect();
    assert_eq!(deliveries.len(), 2);
    // a fan-out that would block is sent again
    room.relay.handle_refused(deliveries[1]);
    room.relay.handle_writable(deliveries[1].seat);
    let again: Vec<_> = room.flush().into_iter().map(|(_, ports)| ports).collect();
    assert_eq!(again, [[2], [2]]);
    // ... and a client whose window has room for one datagram gets only one
    room.ack(1, ada.session, 1, &[]);
    room.datagram(3, "z".repeat(900).as_bytes());
    room.datagram(3, b"last");
    let fanout = room.relay.poll_fanout(room.now, &mut buffer).unwrap();
    let Sent::Data(2, lines) = sent(fanout.payload()) else {
        panic!("{:?}", fanout.payload())
    };
    assert_eq!(lines.len(), 2);
    assert_eq!(
        fanout
            .map(|delivery| delivery.address.port())
            .collect::<Vec<_>>(),
        [1]
    );
}

#[test]
fn a_client_whose_window_opens_is_sent_what_it_is_owed_before_more_is_said() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    room.datagram(2, b"bob");
    room.datagram(3, b"eve");
    for text in ["1", "2", &"x".repeat(500), "4"] {
        assert!(room.relay.can_receive());
        room.datagram(3, text.as_bytes());
        room.flush();
    }
    // the third line would be overwritten by the longest message, the fourth would not
    room.ack(1, ada.session, 2, &[]);
    assert!(!room.relay.can_receive());
    room.flush();
    assert!(room.relay.can_receive());
}

//! A relay that stops: accepted lines are delivered, and nothing more is accepted.

use core::time::Duration;

use kilochat_core::framed::{Frame, Goodbye, Hello, Outcome, Reason};
use kilochat_core::{Config, DATAGRAM_MAX, Event, Refusal};

use crate::room::{Room, Sent, bye, data, encoded, outcome, resume};

const STOPPING: &str = "* relay is stopping";

fn refused(event: &Event) -> bool {
    let why = Refusal::Stopping;
    matches!(event, Event::Refused { why: other, .. } if *other == why)
}

// [E2]
#[test]
fn a_relay_is_settled_when_everything_is_acknowledged() {
    let mut room = Room::new();
    assert!(room.relay.is_settled());
    let ada = room.join(1, "ada");
    room.datagram(3, b"eve");
    for text in ["1", "2", "3"] {
        room.datagram(3, text.as_bytes());
        room.flush();
    }
    // her window is full: no datagram is due, although two lines were not sent to her
    room.relay.stop(room.now);
    room.flush();
    assert!(
        room.relay
            .poll_fanout(room.now, &mut [0; DATAGRAM_MAX])
            .is_none()
    );
    assert!(!room.relay.is_settled());
    room.ack(1, ada.session, 2, &[]);
    assert!(!room.relay.is_settled());
    assert_eq!(room.flush(), [data(2, &["eve : 3", STOPPING], &[1])]);
    // that DATA was lost
    assert!(!room.relay.is_settled());
    room.sleep(1000);
    assert_eq!(room.flush(), [data(2, &["eve : 3", STOPPING], &[1])]);
    room.ack(1, ada.session, 3, &[]);
    assert!(!room.relay.is_settled());
    room.ack(1, ada.session, 4, &[]);
    assert!(room.relay.is_settled());
}

// [E2]
#[test]
fn a_relay_is_not_settled_before_plain_peers_were_sent_everything() {
    let mut room = Room::new();
    room.datagram(3, b"eve");
    assert!(room.relay.is_settled());
    room.relay.stop(room.now);
    assert!(!room.relay.is_settled());
    // sending would block
    let mut buffer = [0; DATAGRAM_MAX];
    let fanout = room.relay.poll_fanout(room.now, &mut buffer).unwrap();
    let delivery = fanout.last().unwrap();
    room.relay.handle_refused(delivery);
    assert_eq!(room.flush(), []);
    assert!(!room.relay.is_settled());
    room.relay.handle_writable(delivery.seat);
    assert!(!room.relay.is_settled());
    assert_eq!(room.flush(), [(Sent::Text(STOPPING.into()), vec![3])]);
    assert!(room.relay.is_settled());
}

#[test]
fn a_stopping_relay_does_not_wait_for_parked_clients() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    let bob = room.join(2, "bob");
    room.now = room.now.after(Duration::from_secs(30));
    room.ack(2, bob.session, 0, &[]);
    assert_eq!(room.sleep(30_000), ["ada"]);
    room.relay.stop(room.now);
    room.flush();
    assert!(!room.relay.is_settled());
    room.ack(2, bob.session, 1, &[]);
    assert!(room.relay.is_settled());
    // until a parked client is back
    room.ack(1, ada.session, 0, &[]);
    assert!(!room.relay.is_settled());
    assert_eq!(room.flush(), [data(0, &[STOPPING], &[1])]);
    room.ack(1, ada.session, 1, &[]);
    assert!(room.relay.is_settled());
}

// [S13]
#[test]
fn what_is_posted_while_the_relay_stops_is_for_the_next_run() {
    let mut room = Room::with(Config {
        history: 0,
        ..Config::new([0; 16])
    });
    let ada = room.join(1, "ada");
    let bob = room.join(2, "bob");
    room.datagram(3, b"eve");
    room.relay.stop(room.now);
    let lines = room.relay.stats().lines;
    let later = Outcome::Refused {
        reason: Reason::Stopping,
        retry_ms: 1000,
    };
    for (number, text) in [(1, "hello"), (1, "hello"), (2, "/nick ida"), (3, "/who")] {
        let (_, reply) = room.post(1, ada.session, number, &[text]);
        assert_eq!(outcome(&reply), later, "{number} {text}");
    }
    let (event, reply) = room.datagram(3, b"hello");
    assert!(refused(&event));
    assert_eq!(reply, b"* not sent: relay is stopping");
    let (event, reply) = room.datagram(3, b"/nick ida");
    assert!(refused(&event));
    assert_eq!(reply, b"* not sent: relay is stopping");
    // peers may leave, but no line announces it: the last line was said
    assert!(matches!(room.datagram(3, b"").0, Event::Keepalive { .. }));
    assert!(matches!(room.datagram(3, b"/quit").0, Event::Left(_)));
    let (event, reply) = room.frame(2, &Frame::Leave(bob.session));
    assert!(matches!(event, Event::Left(_)));
    assert_eq!(bye(&reply), Goodbye::Left);
    assert!(matches!(
        room.post(1, ada.session, 4, &["/quit"]).0,
        Event::Left(_)
    ));
    room.relay.stop(room.now);
    assert_eq!(room.relay.stats().lines, lines);
    assert_eq!(room.relay.stats().refused(Refusal::Stopping), 5);
}

// [E1] [S13] [J8]
#[test]
fn nobody_joins_a_relay_that_stops() {
    let mut room = Room::new();
    let cookie = room.cookie(1);
    room.relay.stop(room.now);
    for cookie in [None, Some(cookie)] {
        let (event, reply) = room.hello(1, 9, "ada", cookie, None);
        assert!(refused(&event), "{event:?}");
        assert!(reply.is_empty());
    }
    let mut other = encoded(&Frame::Hello(Hello {
        abilities: 0,
        nonce: 9,
        cookie: None,
        resume: None,
        name: "ada",
    }));
    // the version of the dialect
    other[5] = b'9';
    let (event, reply) = room.datagram(1, &other);
    let why = Refusal::Frame;
    assert_eq!(event, Event::Refused { seat: None, why });
    assert!(reply.is_empty());
    for first in [&b"eve"[..], b"/help", b""] {
        let (event, reply) = room.datagram(3, first);
        assert!(refused(&event), "{event:?}");
        assert!(reply.is_empty());
    }
    assert_eq!(
        (room.relay.peer_count(), room.relay.is_settled()),
        (0, true)
    );
}

// [S13]
#[test]
fn a_client_that_looks_for_the_next_run_acknowledges_this_one() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    let bob = room.join(2, "bob");
    room.datagram(3, b"eve");
    room.datagram(3, b"hello");
    room.relay.stop(room.now);
    room.flush();
    // a HELLO from another address does not acknowledge
    for (port, of) in [(8, &ada), (2, &ada), (3, &ada)] {
        let (event, reply) = room.hello(port, 1, "ada", None, resume(of, 2));
        assert!(refused(&event) && reply.is_empty(), "{event:?}");
    }
    for (port, of, next, is_settled) in
        [(1, &ada, 2, false), (2, &bob, 1, false), (2, &bob, 2, true)]
    {
        let (event, reply) = room.hello(port, 1, "", None, resume(of, next));
        assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
        assert!(reply.is_empty());
        assert_eq!(room.relay.is_settled(), is_settled);
    }
}

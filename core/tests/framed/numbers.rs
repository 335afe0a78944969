//! The numbers in `PROTOCOL.md`: the fields of WELCOME, the times of lines, the limits of silence.

use core::time::Duration;

use kilochat_core::framed::Frame;
use kilochat_core::{Config, DATAGRAM_MAX, Departure, Event, Instant, Unreachable};

use crate::room::Room;

/// Returns the times of the lines in the next DATA that is due.
fn times(room: &mut Room) -> Vec<u32> {
    let mut buffer = [0; DATAGRAM_MAX];
    let fanout = room.relay.poll_fanout(room.now, &mut buffer).unwrap();
    let Ok(Frame::Data(data)) = Frame::decode(fanout.payload()) else {
        panic!("{:?}", fanout.payload())
    };
    let times = data.entries().map(|entry| entry.at).collect();
    assert_eq!(fanout.count(), 1);
    times
}

// [F5] [P1]
#[test]
fn welcome_says_the_uptime_the_window_and_that_15_seconds_are_a_keepalive() {
    let mut room = Room::new();
    room.now = Instant::from_millis(4_000_999);
    let cookie = room.cookie(1);
    let (event, reply) = room.hello(1, 5, "ada", Some(cookie), None);
    assert!(matches!(event, Event::Joined { .. }), "{event:?}");
    let Ok(Frame::Welcome(welcome)) = Frame::decode(&reply) else {
        panic!("{reply:?}")
    };
    let said = (welcome.uptime_s, welcome.window, welcome.keepalive_s);
    assert_eq!(said, (4000, 2, 15));
}

// [F10]
#[test]
fn a_line_carries_the_second_in_which_it_was_said_also_when_it_is_retransmitted() {
    let mut room = Room::new();
    room.now = Instant::from_millis(59_000);
    room.join(1, "ada");
    room.datagram(3, b"eve");
    room.datagram(3, b"one");
    room.now = Instant::from_millis(61_999);
    room.datagram(3, b"two");
    assert_eq!(times(&mut room), [59, 61]);
    room.sleep(1000);
    assert_eq!(times(&mut room), [59, 61]);
}

// [L3]
#[test]
fn any_frame_of_a_reported_client_clears_it() {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    let seat = room.relay.find(&Room::source(1)).unwrap();
    let report = |room: &mut Room| {
        room.now = room.now.after(Duration::from_secs(10));
        let (now, why) = (room.now, Unreachable::Port);
        room.relay.handle_unreachable(now, seat, why)
    };
    for _ in 0..3 {
        assert_eq!(report(&mut room), None);
        assert_eq!(report(&mut room), None);
        room.ack(1, ada.session, 0, &[]);
    }
    assert_eq!(room.relay.peer_count(), 1);
    assert_eq!((report(&mut room), report(&mut room)), (None, None));
    let departed = report(&mut room).unwrap();
    assert_eq!(departed.why, Departure::Unreachable);
}

// [P2]
#[test]
fn a_client_is_parked_after_60_silent_seconds_again_and_again() {
    let mut room = Room::new(); // without announcements
    let ada = room.join(1, "ada");
    for _ in 0..3 {
        assert!(room.sleep(59_999).is_empty());
        assert_eq!(room.sleep(1), ["ada"]);
        assert!(room.sleep(600_000).is_empty());
        room.ack(1, ada.session, 0, &[]);
    }
}

// [P2]
#[test]
fn with_unacknowledged_lines_20_silent_seconds_and_four_time_outs_are_enough() {
    // a line after 15 s of silence times out after 1, 2.5, 4.75 and 7.75 s
    for (said_at, parked_at) in [(0, 20_000), (12_250, 20_000), (15_000, 22_750)] {
        let mut room = Room::new();
        room.join(1, "ada");
        room.sleep(said_at);
        room.datagram(3, b"eve");
        room.datagram(3, b"hello");
        let mut parked = Vec::new();
        while parked.is_empty() {
            room.flush();
            parked = room.sleep(250);
        }
        assert_eq!(
            (parked, room.now.as_millis()),
            (vec!["ada".into()], parked_at)
        );
    }
}

// [L5]
#[test]
fn a_client_that_starts_again_while_its_old_self_is_parked_keeps_its_name() {
    let mut room = Room::with(Config {
        history: 0,
        ..Config::new([0; 16])
    });
    room.join(1, "ada");
    room.datagram(3, b"eve");
    room.flush();
    while room.sleep(500).is_empty() {}
    room.flush();
    let ada = room.join(9, "ada");
    assert_eq!((ada.name.as_str(), room.relay.peer_count()), ("ada", 2));
    // plain peers read that she joined, but not that she left
    let told = room.flush();
    let told: Vec<_> = told.iter().filter(|(_, ports)| ports == &[3]).collect();
    assert_eq!(format!("{told:?}"), r#"[(Text("* ada joined"), [3])]"#);
    // a peer from another IP address is not the same client
    room.datagram(4, b"ada");
    let seat = room.relay.find(&Room::source(4)).unwrap();
    assert_eq!(room.relay.peer(seat).unwrap().name, "ada~2");
}

//! Seats: how they are taken, given away and lost.

use kilochat_core::{Config, Departure, Event, Expired, Instant, Unreachable};

use crate::room::{Room, due};

// [J8] [L2]
#[test]
fn a_full_table_gives_away_the_seat_that_was_silent_longest() {
    let mut room = Room::new(Config {
        history: 0,
        ..Config::new([0; 16])
    });
    for (port, name) in [(1, "a"), (2, "b"), (3, "c\n"), (4, "d")] {
        room.say(port, name);
    }
    room.sleep(600);
    assert_eq!(room.say(5, "e"), "* full: 4 of 4 seats taken");
    for port in [1, 2, 4] {
        room.say(port, "");
    }
    room.flush();
    room.sleep(1);
    let (event, reply) = room.event(5, "e");
    assert!(reply.starts_with("* welcome e: 4 here"), "{reply}");
    let Event::Joined {
        displaced: Some(departed),
        ..
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(
        (departed.address.port(), departed.why),
        (3, Departure::Displaced)
    );
    assert_eq!(
        departed.farewell.as_bytes(),
        b"* your seat was given away; say your name to come back\n"
    );
    assert_eq!(
        room.flush(),
        [due("* c left (silent)\n* e joined", &[1, 2, 4])]
    );
    assert_eq!(room.say(6, "f"), "* full: 4 of 4 seats taken");
}

// [L3]
#[test]
fn a_peer_leaves_after_three_reports_and_not_after_a_burst() {
    let mut room = Room::new(Config::new([0; 16]));
    let seat = room.join(1, "a");
    room.say(2, "b");
    for _ in 0..100 {
        assert_eq!(
            room.relay
                .handle_unreachable(room.now, seat, Unreachable::Port),
            None
        );
    }
    room.sleep(10);
    assert_eq!(
        room.relay
            .handle_unreachable(room.now, seat, Unreachable::Port),
        None
    );
    room.say(1, "I am here");
    for _ in 0..2 {
        room.sleep(10);
        assert_eq!(
            room.relay
                .handle_unreachable(room.now, seat, Unreachable::Port),
            None
        );
    }
    room.flush();
    room.sleep(10);
    let departed = room
        .relay
        .handle_unreachable(room.now, seat, Unreachable::Port)
        .unwrap();
    assert_eq!(departed.why, Departure::Unreachable);
    assert_eq!(room.flush(), [due("* a left (unreachable)", &[2])]);
}

// [L3]
#[test]
fn a_report_of_the_path_neither_counts_nor_hides_one_of_the_port() {
    let mut room = Room::new(Config::new([0; 16]));
    let seat = room.join(1, "a");
    for _ in 0..2 {
        for why in [Unreachable::Path, Unreachable::Port, Unreachable::Path] {
            assert_eq!(room.relay.handle_unreachable(room.now, seat, why), None);
        }
        room.sleep(10);
    }
    let departed = room
        .relay
        .handle_unreachable(room.now, seat, Unreachable::Port);
    assert!(departed.is_some());
}

// [L3]
#[test]
fn a_suspect_that_stays_silent_leaves_when_its_time_is_over() {
    let mut room = Room::new(Config::new([0; 16]));
    let seat = room.join(1, "a");
    assert_eq!(room.relay.poll_timeout(), None);
    room.relay
        .handle_unreachable(room.now, seat, Unreachable::Port);
    assert_eq!(
        room.relay.poll_timeout(),
        Some(Instant::from_millis(600_000))
    );
    room.sleep(599);
    assert_eq!(room.relay.handle_timeout(room.now), None);
    room.sleep(1);
    let Some(Expired::Left(departed)) = room.relay.handle_timeout(room.now) else {
        panic!("nobody left");
    };
    assert_eq!(departed.seat, seat);
    assert_eq!(room.relay.handle_timeout(room.now), None);
    assert_eq!(room.relay.poll_timeout(), None);
}

// [L5] [N2]
#[test]
fn a_restarted_client_takes_over_its_suspect_self_and_nobody_else() {
    let mut room = Room::new(Config::new([0; 16]));
    let seat = room.join(1, "Bob");
    assert!(room.say(2, "bob").starts_with("* welcome bob~2: 2 here"));
    room.relay
        .handle_unreachable(room.now, seat, Unreachable::Path);
    let (event, reply) = room.event(3, "BOB");
    assert!(
        reply.starts_with("* welcome BOB: 2 here (BOB, bob~2)"),
        "{reply}"
    );
    let Event::Joined {
        displaced: Some(departed),
        ..
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(
        (departed.name.as_str(), departed.why),
        ("Bob", Departure::Restarted)
    );
}

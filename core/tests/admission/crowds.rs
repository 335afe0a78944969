//! The share of a room that the peers of one network, or of one address, may take.

use core::net::{Ipv4Addr, SocketAddr};

use kilochat_core::framed::{Frame, Reason, Refused};
use kilochat_core::{Config, Departure, Event, Expired, Refusal};

use crate::room::{HEADERS, Room, code_in};

fn open() -> Config {
    Config {
        open: true,
        ..Config::new([5; 16])
    }
}

// [G7]
#[test]
fn four_of_a_network_join_at_once_and_then_one_in_ten_seconds() {
    let mut room = Room::new(open());
    for host in 1..=4 {
        let source = format!("203.0.113.{host}:5000");
        assert!(room.join(&source, "n").starts_with("* welcome"));
        room.say(&source, "/quit");
    }
    let late = "203.0.113.5:5000";
    let hasty = "* too many join from your network; try again in 10 s";
    assert_eq!(room.join(late, "n"), hasty);
    assert_eq!(room.relay.stats().refused(Refusal::Hasty), 1);
    let refused = room.join_framed(late, "n");
    let Ok(Frame::Refused(Refused {
        reason: Reason::Hasty,
        retry_s: 10,
        ..
    })) = Frame::decode(&refused)
    else {
        panic!("{refused:?}")
    };
    // the limit does not apply to neighbours
    for port in 1..=5 {
        assert!(
            room.join(&format!("10.0.0.1:{port}"), "n")
                .starts_with("* welcome")
        );
    }
    room.sleep_ms(10_000);
    assert!(room.join(late, "n").starts_with("* welcome"));
}

// [G8]
#[test]
fn a_network_has_its_share_of_the_seats_and_all_foreign_ones_have_half() {
    let mut room = Room::new(open());
    let mut joined = Vec::new();
    for network in 1..=4 {
        for host in 1..=4 {
            // a join each 10 s, so that only the share of the seats is the limit
            let source = format!("203.0.{network}.{host}:5000");
            room.sleep_ms(10_000);
            match room.join(&source, "n") {
                welcome if welcome.starts_with("* welcome") => joined.push(source),
                refused => {
                    assert_eq!(refused, "* full: your network has its share of the seats");
                }
            }
        }
    }
    assert_eq!(joined.len(), 8, "half of 16");
    let refused = room.join_framed("203.0.9.9:5000", "n");
    let Ok(Frame::Refused(Refused {
        reason: Reason::Crowded,
        retry_s: 60,
        ..
    })) = Frame::decode(&refused)
    else {
        panic!("{refused:?}")
    };
    // a free seat may be taken again
    room.say(&joined[0], "/quit");
    room.sleep_ms(60_000);
    assert!(room.join(&joined[0], "n").starts_with("* welcome"));
}

// [G9]
#[test]
fn a_crowd_from_one_address_makes_room_for_others() {
    let mut room = Room::new(Config::new([5; 16]));
    for port in 1..=7 {
        room.join(&format!("10.0.0.{port}:1"), "other");
    }
    for port in 1..=9 {
        room.join(&format!("10.0.0.66:{port}"), "crowd");
        room.sleep_ms(1);
    }
    // a newcomer from the crowd's own address gets no seat, others do
    assert_eq!(room.refused("10.0.0.66:99", "crowd").0, Refusal::Full);
    room.sleep_ms(1000);
    let (event, welcome) = room.event("10.0.0.8:1", "late");
    assert!(welcome.starts_with("* welcome late: 16 here"), "{welcome}");
    let Event::Joined {
        displaced: Some(gone),
        ..
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(gone.address.to_string(), "10.0.0.66:1");
    assert_eq!(gone.why, Departure::Displaced);
    // exactly half of the seats is not more than half
    room.sleep_ms(1000);
    assert_eq!(room.refused("10.0.0.9:1", "late").0, Refusal::Full);
}

// [G11]
#[test]
fn services_do_not_join() {
    let mut room = Room::new(Config {
        port: 10_888,
        prove: true,
        ..open()
    });
    for source in [
        "10.0.0.1:7",
        "10.0.0.1:19",
        "10.0.0.1:1023",
        "10.0.0.1:10888",
        "203.0.113.1:7",
    ] {
        assert_eq!(room.refused(source, "n"), (Refusal::Source, String::new()));
        let welcome = room.join_framed(source, "n");
        assert!(
            matches!(Frame::decode(&welcome), Ok(Frame::Welcome(_))),
            "{source}"
        );
    }
    assert!(room.join("10.0.0.1:1024", "n").starts_with("* welcome"));
}

// [L7]
#[test]
fn a_foreign_plain_peer_leaves_after_an_hour_of_silence() {
    let mut room = Room::new(open());
    room.join("203.0.113.1:5000", "Far\n");
    room.join("10.0.0.1:5000", "Near");
    let silent = |room: &mut Room, minutes: u64| {
        room.sleep_ms(minutes * 60_000);
        room.relay.handle_timeout(room.now)
    };
    assert_eq!(silent(&mut room, 59), None);
    room.say("203.0.113.1:5000", "");
    assert_eq!(silent(&mut room, 59), None);
    let Some(Expired::Left(gone)) = silent(&mut room, 1) else {
        panic!("nobody left")
    };
    assert_eq!((gone.name.as_str(), gone.why), ("Far", Departure::Lapsed));
    let expired = Expired::Left(gone);
    let (_, address, farewell) = expired.farewell().unwrap();
    assert_eq!(address.to_string(), "203.0.113.1:5000");
    let told = b"* you were silent for an hour; say your name to come back\n";
    assert_eq!(farewell, told);
    assert_eq!(room.relay.stats().lapsed, 1);
    let last = room.flush().pop().unwrap().0;
    assert!(last.ends_with("* Far left (silent)"), "{last}");
    assert_eq!(silent(&mut room, 600), None);
    assert_eq!(room.relay.peer_count(), 1);
}

// [G9] [G13]
#[test]
fn a_plain_newcomer_gets_a_seat_from_a_crowd_in_frames_by_a_code() {
    let mut room = Room::new(Config {
        unproven: 256,
        ..Config::new([5; 16])
    });
    for port in 1..=16 {
        let welcome = room.join_framed(&format!("10.0.0.66:{port}"), "mob");
        assert!(matches!(Frame::decode(&welcome), Ok(Frame::Welcome(_))));
    }
    for host in 1..=5 {
        let source = format!("10.0.0.{host}:5000");
        let asked = room.say(&source, format!("n{host}"));
        let code = code_in(&asked).unwrap_or_else(|| panic!("{asked}"));
        // for a second the others are told that the room is full
        let other = room.say("10.0.0.9:5000", "late");
        assert_eq!(other, "* full: 16 of 16 seats taken");
        let welcome = room.say(&source, format!("{code} n{host}"));
        assert!(welcome.starts_with("* welcome n"), "{welcome}");
        room.sleep_ms(1000);
    }
    // the crowd itself is not asked
    let own = room.say("10.0.0.66:17", "mob");
    assert_eq!(own, "* full: 16 of 16 seats taken");
    // a peer that has proved its address is not displaced by one that has not
    assert_eq!(room.relay.stats().proven, 5);
}

// [G13] [L2]
#[test]
fn a_plain_newcomer_gets_the_seat_of_a_client_that_is_away_by_a_code() {
    let mut room = Room::new(Config {
        seats: 2,
        unproven: 256,
        ..Config::new([5; 16])
    });
    room.join_framed("10.0.0.1:1", "Ada");
    room.join_framed("10.0.0.2:1", "Bob");
    assert!(room.say("10.0.0.3:1", "Eve").starts_with("* full"));
    room.sleep_ms(60_000);
    let expired = room.relay.handle_timeout(room.now);
    assert!(matches!(expired, Some(Expired::Parked(_))), "{expired:?}");
    let asked = room.say("10.0.0.3:1", "Eve");
    let code = code_in(&asked).unwrap_or_else(|| panic!("{asked}"));
    let welcome = room.say("10.0.0.3:1", format!("{code} Eve"));
    assert!(welcome.starts_with("* welcome Eve"), "{welcome}");
}

// [G2] [G4]
#[test]
fn a_million_forged_names_take_no_seat_and_are_sent_less_than_they_cost() {
    let mut room = Room::new(Config {
        prove: true,
        ..open()
    });
    assert!(room.join("10.0.0.2:1", "Ada").starts_with("* welcome"));
    let (mut said, mut sent) = (0, 0);
    for number in 0..1_000_000_u32 {
        // half of them are neighbours
        let network = [0x0a00_0000, 0xc800_0000][number as usize % 2];
        let source: SocketAddr = (Ipv4Addr::from_bits(network + number), 5000).into();
        let (_, reply) = room.bytes(&source.to_string(), b"Eve");
        said += 3 + HEADERS;
        sent += reply.len() + HEADERS * usize::from(!reply.is_empty());
        if number % 20 == 0 {
            room.sleep_ms(1);
        }
    }
    assert!(0 < sent && sent < said, "{sent} for {said}");
    assert_eq!(room.relay.peer_count(), 1);
    // a client in frames needs none of the codes that are used up
    let welcome = room.join_framed("10.0.0.3:1", "Bob");
    assert!(matches!(Frame::decode(&welcome), Ok(Frame::Welcome(_))));
    room.sleep_ms(1000);
    assert!(room.join("10.0.0.4:1", "Cyd").starts_with("* welcome"));
}

//! Neighbours that have not proved their address: what they are sent, and who returns it.

use kilochat_core::framed::Frame;
use kilochat_core::{Config, Departure, Event, Refusal};

use crate::room::{HEADERS, Room, code_in};

const ADA: &str = "10.0.0.1:5000";
const BOB: &str = "10.0.0.2:5000";
const FAR: &str = "10.0.0.9:5000";

fn config() -> Config {
    Config {
        rate: 0,
        announce_up_to: 0,
        unproven: 16,
        ..Config::new([5; 16])
    }
}

/// Returns the bytes that are due to a source, headers included.
fn bytes_due(room: &mut Room, source: &str) -> usize {
    let due = room.flush();
    let is_reader = |(_, readers): &&(String, Vec<String>)| readers.iter().any(|it| it == source);
    let lengths = due.iter().filter(is_reader);
    lengths.map(|(text, _)| text.len() + HEADERS).sum()
}

/// Asks for help from the address of Bob until the answer is a code. Returns the number of other answers.
fn spend(room: &mut Room) -> usize {
    let mut asked = (0..100).map(|_| room.say("10.0.0.2:6000", "/help"));
    asked.position(|answer| code_in(&answer).is_some()).unwrap()
}

/// Runs the relay's timers, which may let lines go on.
fn pass(room: &mut Room, millis: u64) {
    room.sleep_ms(millis);
    while room.relay.handle_timeout(room.now).is_some() {}
}

// [G12]
#[test]
fn one_forged_datagram_brings_one_datagram_of_history() {
    for length in [20, 120, 500, 900] {
        let mut room = Room::new(Config {
            history: 100,
            announce_up_to: 63,
            ..config()
        });
        room.say("127.0.0.1:5000", "Ada");
        for _ in 0..40 {
            room.say("127.0.0.1:5000", "x".repeat(length));
        }
        room.flush();
        let welcome = room.say(FAR, "a");
        let mut due = room.flush();
        due.retain(|(_, readers)| readers.iter().any(|it| it == FAR));
        let lines = due
            .iter()
            .map(|(text, _)| text.lines().count())
            .sum::<usize>();
        let told = format!("; the last {} line", lines - 1);
        assert!(welcome.contains(&told) || lines == 2, "{welcome} {lines}");
        let (datagrams, longest) = (due.len(), due[0].0.len());
        // its own join may not fit into it
        assert!(datagrams <= 2 && longest <= 1024, "{due:?}");
        // who has proved its address reads everything
        let everything = room.say("127.0.0.1:6000", "Eve");
        assert!(
            everything.ends_with("; the last 41 lines:") || length > 150,
            "{everything}"
        );
    }
}

// [G12]
#[test]
fn an_address_is_sent_a_bounded_number_of_bytes_a_second() {
    let mut room = Room::new(config());
    room.join_framed(ADA, "Ada");
    room.say("127.0.0.1:1", "Near");
    let mut sent = room.say(BOB, "Bob").len() + HEADERS;
    room.say(FAR, "Far");
    let (mut far, mut near) = (0, 0);
    for _ in 0..200 {
        // 40 KiB a second
        for _ in 0..20 {
            room.say("127.0.0.1:1", "x".repeat(200));
            let due = room.flush();
            let to = |source: &str| {
                let lines = due
                    .iter()
                    .filter(|(_, readers)| readers.iter().any(|it| it == source));
                lines.map(|(text, _)| text.len() + HEADERS).sum::<usize>()
            };
            sent += to(BOB);
            far += to(FAR);
        }
        near += 20;
        pass(&mut room, 100);
    }
    let most = 64 * 1024 + 20 * 16 * 1024;
    assert!(sent <= most && sent > most * 9 / 10, "{sent} of {most}");
    assert!(far <= most && far > most * 9 / 10, "{far} of {most}");
    assert!(room.relay.stats().held > 0 && near > 0);
    // what was not sent is told as lost, and then everything arrives again
    pass(&mut room, 10_000);
    let due = room.flush();
    let told = due
        .iter()
        .find(|(_, readers)| readers.iter().any(|it| it == BOB))
        .unwrap();
    assert!(told.0.contains(" lines lost\n"), "{told:?}");
    assert_eq!(bytes_due(&mut room, BOB), 0);
    room.say("127.0.0.1:1", "again");
    assert!(bytes_due(&mut room, BOB) > 0);
}

// [G12]
#[test]
fn all_addresses_together_are_sent_a_bounded_number_of_bytes() {
    let mut room = Room::new(Config {
        unproven: 1,
        ..config()
    });
    room.say("127.0.0.1:1", "Near");
    let mut sent = 0;
    let mut begun = 0;
    for second in 0..60 {
        for host in 0..40 {
            let source = format!("10.0.1.{host}:{}", 5000 + second);
            let (event, reply) = room.event(&source, "a");
            if !matches!(
                event,
                Event::Refused {
                    why: Refusal::Unproven,
                    ..
                }
            ) && !reply.is_empty()
            {
                sent += reply.len() + HEADERS;
            }
            begun += 1;
        }
        room.say("127.0.0.1:1", "x".repeat(200));
        let is_forged = |reader: &&String| reader.starts_with("10.0.1.");
        for (text, readers) in room.flush() {
            sent += readers.iter().filter(is_forged).count() * (text.len() + HEADERS);
        }
        pass(&mut room, 1000);
    }
    let most = 64 * 1024 + 60 * 16 * 1024;
    assert!(sent <= most, "{sent} of {most} in {begun} datagrams");
    assert!(room.relay.stats().coded > 0 || room.relay.stats().refused(Refusal::Full) > 0);
}

// [G12]
#[test]
fn names_that_were_forged_leave_those_that_speak_their_share() {
    let mut room = Room::new(config());
    room.say("127.0.0.1:1", "Near");
    room.say(BOB, "Bob");
    room.say(FAR, "Far");
    room.say(BOB, "hello");
    for number in 0..63 {
        room.say(&format!("10.0.2.{number}:5000"), "a");
    }
    let (mut said, mut heard, mut silent) = (0, 0, 0);
    for _ in 0..100 {
        // 12 KiB a second, which is less than an address may be sent, and ten times more than all may
        for _ in 0..5 {
            room.say("127.0.0.1:1", "x".repeat(200));
            said += 1;
            for (text, readers) in room.flush() {
                let lines = text.lines().filter(|line| line.ends_with('x')).count();
                heard += lines * usize::from(readers.iter().any(|it| it == BOB));
                silent += lines * usize::from(readers.iter().any(|it| it == FAR));
            }
        }
        pass(&mut room, 100);
    }
    assert_eq!(heard, said);
    assert!(silent < said, "{silent} of {said}");
}

// [G12]
#[test]
fn answers_are_bounded_too() {
    let mut room = Room::new(Config {
        unproven: 1,
        ..config()
    });
    room.say(BOB, "Bob");
    let answered = (0..1000)
        .filter(|_| !room.say(BOB, "/help").is_empty())
        .count();
    // 4 KiB at once, of which the welcome has some
    assert!((15..=20).contains(&answered), "{answered}");
    assert_eq!(room.relay.stats().unanswered, 1000 - answered as u64);
    // sources without a seat have a share of their own, which those at one address share
    let helped = spend(&mut room);
    assert!((3..=8).contains(&helped), "{helped}");
    assert!(code_in(&room.say("10.0.0.2:6001", "/help")).is_some());
    assert!(room.say("10.0.0.3:6000", "/help").starts_with("* /who"));
}

// [G13]
#[test]
fn a_newcomer_proves_its_address_when_the_budget_is_spent() {
    let mut room = Room::new(Config {
        unproven: 1,
        ..config()
    });
    assert!(room.say(BOB, "Bob").starts_with("* welcome Bob"));
    spend(&mut room);
    let asked = room.say("10.0.0.2:6000", "Rob");
    let code = code_in(&asked).unwrap().to_owned();
    assert!(asked.ends_with(" Rob"), "{asked}");
    let welcome = room.say("10.0.0.2:6000", format!("{code} Rob"));
    assert!(welcome.starts_with("* welcome Rob"), "{welcome}");
    // it is limited no more
    for _ in 0..100 {
        assert!(room.say("10.0.0.2:6000", "/help").starts_with("* /who"));
    }
    // others join as they did, frames always
    assert!(
        room.say("10.0.0.3:6000", "Eve")
            .starts_with("* welcome Eve")
    );
    let framed = room.join_framed("10.0.0.2:7000", "Ned");
    assert!(matches!(Frame::decode(&framed), Ok(Frame::Welcome(_))));
    pass(&mut room, 5_000);
    assert!(
        room.say("10.0.0.2:8000", "Tom")
            .starts_with("* welcome Tom")
    );
}

// [G13]
#[test]
fn a_peer_that_gets_its_lines_late_is_told_and_ends_that_by_a_code() {
    let mut room = Room::new(Config {
        unproven: 1,
        ..config()
    });
    room.say("127.0.0.1:1", "Near");
    room.say(BOB, "Bob\n");
    let mut told = Vec::new();
    for _ in 0..40 {
        room.say("127.0.0.1:1", "x".repeat(400));
        for (text, readers) in room.flush() {
            if readers.iter().any(|it| it == BOB) && text.starts_with("* busy") {
                told.push(text);
            }
        }
        pass(&mut room, 250);
    }
    let [notice] = &told[..] else {
        panic!("told once a minute: {told:?}")
    };
    let first = notice.lines().next().unwrap();
    let code = first
        .strip_prefix("* busy: to get every line send ")
        .unwrap();
    // a code for another address is a message
    assert!(matches!(
        room.event("10.0.0.3:6000", "Eve").0,
        Event::Joined { .. }
    ));
    assert!(matches!(
        room.event("10.0.0.3:6000", code).0,
        Event::Said { .. }
    ));
    let thanks = "* thank you: you get every line from now on\n";
    let (event, reply) = room.event(BOB, code);
    assert!(matches!(event, Event::Answered { .. }), "{event:?}");
    assert_eq!(reply, thanks);
    assert_eq!(room.relay.stats().proven, 1);
    room.flush();
    for _ in 0..100 {
        room.say("127.0.0.1:1", "x".repeat(400));
        assert!(bytes_due(&mut room, BOB) > 400);
    }
    // a second time it is something that is said
    assert!(matches!(room.event(BOB, code).0, Event::Said { .. }));
}

// [G14]
#[test]
fn an_echo_service_leaves() {
    let mut room = Room::new(Config {
        announce_up_to: 63,
        ..config()
    });
    room.say(ADA, "Ada");
    let welcome = room.say(BOB, "Bob");
    assert_eq!(room.refused(BOB, &welcome).0, Refusal::Returned);
    let mut left = None;
    for _ in 0..4 {
        room.say(ADA, "is anybody there?");
        for (text, readers) in room.flush() {
            if readers.iter().any(|it| it == BOB) && left.is_none() {
                let (event, reply) = room.event(BOB, &text);
                assert_eq!(reply, "");
                if let Event::Left(departed) = event {
                    left = Some(departed);
                } else {
                    assert!(
                        matches!(
                            event,
                            Event::Refused {
                                why: Refusal::Returned,
                                ..
                            }
                        ),
                        "{event:?}"
                    );
                }
            }
        }
    }
    let left = left.unwrap();
    assert_eq!((left.why, left.name.as_str()), (Departure::Echo, "Bob"));
    assert_eq!(room.relay.stats().echoes, 1);
    assert_eq!(room.relay.stats().messages, 4, "nothing was said by it");
    // what is still under way is no name
    assert_eq!(
        room.refused(BOB, "Ada : is anybody there?"),
        (Refusal::Returned, String::new())
    );
    assert_eq!(room.relay.peer_count(), 1);
}

// [G14]
#[test]
fn two_echo_services_do_not_loop_and_relays_do_not_either() {
    for prefix in ["", "somebody : "] {
        let mut room = Room::new(Config {
            announce_up_to: 63,
            ..config()
        });
        let services = ["10.0.0.3:4000", "10.0.0.4:4000", "10.0.0.5:4000"];
        for service in services {
            room.say(service, format!("s{}", &service[..8]));
        }
        room.say(ADA, "Ada");
        room.say(ADA, "hello");
        let mut returned = 0;
        for _ in 0..200 {
            for (text, readers) in room.flush() {
                for reader in readers.iter().filter(|it| services.contains(&it.as_str())) {
                    room.say(reader, format!("{prefix}{text}"));
                    returned += 1;
                }
            }
            room.sleep_ms(1);
        }
        assert!(returned < 20, "{returned} datagrams");
        assert_eq!(room.relay.stats().messages, 1, "{prefix}");
        assert_eq!(room.relay.peer_count(), if returned >= 9 { 1 } else { 4 });
    }
}

// [G14]
#[test]
fn a_person_may_repeat_a_text_but_not_a_line() {
    let mut room = Room::new(config());
    room.say(ADA, "Ada");
    room.say(BOB, "Bob");
    room.say(ADA, "lol");
    for text in ["lol", "Ada: lol", "Ada said lol", "a : lol"] {
        assert!(
            matches!(room.event(BOB, text).0, Event::Said { .. }),
            "{text}"
        );
    }
    // three times in as many minutes is no echo
    for _ in 0..5 {
        room.say(ADA, "really");
        assert_eq!(
            room.refused(BOB, "I like Ada : really").0,
            Refusal::Returned
        );
        room.sleep_ms(61_000);
    }
    // lines of long ago may be quoted
    room.say(ADA, "first");
    for number in 0..16 {
        room.say(ADA, format!("line {number}"));
    }
    assert!(matches!(
        room.event(BOB, "Ada : first").0,
        Event::Said { .. }
    ));
    assert_eq!(room.refused(BOB, "Ada : line 1").0, Refusal::Returned);
}

// [L2] [L5]
#[test]
fn who_has_proved_its_address_makes_no_room_for_who_has_not() {
    let mut room = Room::new(Config {
        seats: 2,
        ..config()
    });
    room.join_framed(ADA, "Ada");
    assert!(room.say("127.0.0.1:1", "Near").starts_with("* welcome"));
    // a client that sleeps is parked
    pass(&mut room, 3_600_000);
    pass(&mut room, 1_000);
    assert!(room.relay.peers().any(|peer| peer.parked));
    // the first one may prove its address
    for (forged, why) in [
        ("10.0.0.1:1", Refusal::Unproven),
        ("10.0.0.7:1", Refusal::Full),
    ] {
        assert_eq!(room.refused(forged, "Ada").0, why, "{forged}");
    }
    let framed = room.join_framed(FAR, "Far");
    assert!(matches!(Frame::decode(&framed), Ok(Frame::Welcome(_))));
    assert!(
        room.relay
            .peers()
            .all(|peer| peer.proven && peer.name != "Ada")
    );
    // one that has not makes room for both
    room.say("127.0.0.1:1", "/quit");
    assert!(room.say(BOB, "Bob").starts_with("* welcome"));
    pass(&mut room, 1_200_000);
    assert!(room.say("10.0.0.7:1", "Eve").starts_with("* welcome"));
    assert!(room.relay.peers().all(|peer| peer.name != "Bob"));
}

// [G14]
#[test]
fn what_was_said_to_one_peer_cannot_be_guessed() {
    let mut room = Room::new(config());
    for (source, name) in [(ADA, "Ada"), (BOB, "Bob"), (FAR, "Eve")] {
        room.say(source, name);
    }
    assert_eq!(room.say(ADA, "/msg Bob yes"), "* to Bob: yes");
    for guess in ["* Ada to you: yes", "* Ada to you: no"] {
        let (event, _) = room.event(FAR, guess);
        assert!(matches!(event, Event::Said { .. }), "{guess}: {event:?}");
    }
}

// [G15]
#[test]
fn a_command_from_all_ports_of_an_address_sends_nobody_away() {
    let mut room = Room::new(config());
    room.say("10.0.0.2:40000", "Bob");
    room.say("127.0.0.1:40000", "Near");
    room.say(ADA, "Ada");
    let asks = "* not done: to show that it is you, say it again with this in front: ";
    for (command, answer) in [("/quit", "* bye"), ("/nick Eve", "* you are now Eve")] {
        for port in 30_000..50_000 {
            let source = format!("10.0.0.2:{port}");
            room.say(&source, command);
            room.say(&format!("127.0.0.1:{port}"), "\u{FEFF}/who");
        }
        assert!(
            room.relay
                .find(&"10.0.0.2:40000".parse().unwrap())
                .is_some()
        );
        // who is there can show it, and others are not asked
        let (why, asked) = room.refused("10.0.0.2:40000", command);
        assert_eq!(why, Refusal::Unproven);
        let code = asked.strip_prefix(asks).unwrap();
        let wrong = code.replace('-', "-0").split_at(9).0.to_owned();
        let (event, _) = room.event("10.0.0.2:40000", format!("{wrong} {command}"));
        assert!(matches!(event, Event::Said { .. }), "{event:?}");
        let other = room.say(ADA, command);
        assert!(other.starts_with(answer), "{other}");
        let here = room.say("10.0.0.2:40000", format!("{code} {command}"));
        assert!(here.starts_with(answer), "{here}");
        room.say("10.0.0.2:40000", "Bob");
        room.say(ADA, "Ada");
    }
    let near = room.say("127.0.0.1:40000", "/quit");
    assert_eq!(near, "* bye");
}

// [G15]
#[test]
fn a_command_is_obeyed_when_no_more_come_from_other_ports() {
    let mut room = Room::new(config());
    room.say(BOB, "Bob");
    for port in 0..20 {
        room.say(&format!("10.0.0.2:{}", 6000 + port), "/who");
    }
    assert_eq!(room.refused(BOB, "/quit").0, Refusal::Unproven);
    // other commands change nothing
    assert!(room.say(BOB, "/who").starts_with("* 1 here"));
    room.sleep_ms(4999);
    assert_eq!(room.refused(BOB, "/quit").0, Refusal::Unproven);
    room.sleep_ms(1);
    assert_eq!(room.say(BOB, "/quit"), "* bye");
}

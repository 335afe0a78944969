//! Messages: fan-out, history, back-pressure, gaps and sizes.

use kilochat_core::{Config, DATAGRAM_MAX, Event, Instant, Refusal, Relay, Reply};

use crate::room::{Room, due};

#[test]
fn a_relay_without_configuration_has_no_seats() {
    let mut reply = Reply::new();
    let mut relay = Relay::<1, 2048, 4>::new();
    let event = relay.handle_datagram(Instant::default(), Room::source(1), b"bob", &mut reply);
    assert_eq!(
        event,
        Event::Refused {
            seat: None,
            why: Refusal::Full
        }
    );
}

// [J1] [J2] [J7] [T1] [T16] [R1]
#[test]
fn a_message_goes_to_all_but_its_author() {
    let mut room = Room::new(Config::new([0; 16]));
    assert_eq!(
        room.say(1, "Ada"),
        "* welcome Ada: 1 here (Ada); /help lists commands"
    );
    assert_eq!(room.flush(), []);
    assert_eq!(
        room.say(2, "Bob\n"),
        "* welcome Bob: 2 here (Ada, Bob); /help lists commands\n"
    );
    assert_eq!(room.flush(), [due("* Bob joined", &[1])]);
    room.say(3, "Cyd");
    assert_eq!(
        room.flush(),
        [due("* Cyd joined\n", &[2]), due("* Cyd joined", &[1])]
    );
    room.say(1, "你好");
    assert_eq!(
        room.flush(),
        [due("Ada : 你好", &[3]), due("Ada : 你好\n", &[2])]
    );
}

// [J1] [J6] [T15]
#[test]
fn what_follows_the_first_line_of_a_first_datagram_is_said() {
    let mut room = Room::new(Config {
        history: 1,
        ..Config::new([0; 16])
    });
    room.say(1, "Ada");
    room.flush();
    assert_eq!(
        room.say(2, "bot\nthe disk is full\n"),
        "* welcome bot: 2 here (Ada, bot); /help lists commands\n"
    );
    let lines = "* bot joined\nbot : the disk is full";
    assert_eq!(room.flush(), [due(lines, &[1])]);
    let reply = room.say(3, "\n \r\n/nick Cyd\r\n/quit\r\nor not");
    let welcome = "* welcome Cyd: 3 here (Ada, bot, Cyd); /help lists commands; the last line:";
    assert_eq!(reply, welcome);
    let new = "* Cyd joined\nCyd : /quit  or not";
    let history = "bot : the disk is full\n* Cyd joined";
    assert_eq!(
        room.flush(),
        [
            due(&format!("{new}\n"), &[2]),
            due(new, &[1]),
            due(history, &[3])
        ]
    );
    assert!(
        room.say(4, "Dan\n \n\n")
            .starts_with("* welcome Dan: 4 here")
    );
    assert_eq!(room.relay.stats().messages, 2);
}

// [J8]
#[test]
fn nothing_is_said_in_a_first_datagram_that_gets_no_seat() {
    let mut room = Room::plain();
    room.say(1, "Ada");
    assert_eq!(room.say(2, "/who\nhello"), "* say your name first");
    assert!(room.say(2, "/help\nhello").starts_with("* /who"));
    assert_eq!(room.flush(), []);
    assert_eq!(room.relay.peer_count(), 1);
}

// [R1]
#[test]
fn peers_that_are_behind_get_several_lines_in_a_datagram() {
    let mut room = Room::plain();
    for (port, name) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        room.say(port, name);
    }
    room.say(1, "one");
    room.say(2, "two");
    room.say(1, "three");
    assert_eq!(
        room.flush(),
        [
            due("a : one\na : three", &[2]),
            due("a : one\nb : two\na : three", &[3, 4]),
            due("b : two", &[1]),
        ]
    );
}

// [J5] [J6]
#[test]
fn a_newcomer_reads_the_history_and_then_its_own_join() {
    let mut room = Room::new(Config {
        history: 2,
        ..Config::new([0; 16])
    });
    room.say(1, "Ada");
    for text in ["one", "two", "three"] {
        room.say(1, text);
    }
    assert!(room.say(2, "Bob").ends_with("; the last 2 lines:"));
    let lines = "Ada : two\nAda : three\n* Bob joined";
    assert_eq!(room.flush(), [due("* Bob joined", &[1]), due(lines, &[2])]);
}

#[test]
fn a_blocked_peer_is_sent_the_lines_later_and_delays_nobody() {
    let mut room = Room::plain();
    for (port, name) in [(1, "a"), (2, "b"), (3, "c")] {
        room.say(port, name);
    }
    room.say(1, "one");
    let mut buffer = [0; DATAGRAM_MAX];
    let mut fanout = room.relay.poll_fanout(room.now, &mut buffer).unwrap();
    let delivery = fanout.next().unwrap();
    assert_eq!(delivery.address.port(), 2);
    room.relay.handle_refused(delivery);
    assert!(room.relay.peer(delivery.seat).unwrap().blocked);
    assert_eq!(room.flush(), [due("a : one", &[3])]);
    for text in ["two", "three"] {
        room.say(1, text);
        assert_eq!(room.flush(), [due(&format!("a : {text}"), &[3])]);
    }
    room.relay.handle_writable(delivery.seat);
    assert_eq!(room.flush(), [due("a : one\na : two\na : three", &[2])]);
    assert_eq!(room.relay.stats().deferred, 1);
}

#[test]
fn a_blocked_peer_makes_nobody_wait_for_it_and_is_told_what_it_lost() {
    let mut room = Room::plain();
    for (port, name) in [(1, "a"), (2, "b"), (3, "c")] {
        room.say(port, name);
    }
    let seat = room.relay.find(&Room::source(2)).unwrap();
    room.relay.handle_blocked(seat);
    let line = format!("a : {}", "x".repeat(500));
    for _ in 0..5 {
        assert!(room.relay.can_receive());
        room.say(1, "x".repeat(500)); // 4 such lines fill the ring, less a few bytes
        assert_eq!(room.flush(), [due(&line, &[3])]);
    }
    room.relay.handle_writable(seat);
    let first = format!("* 2 lines lost\n{line}");
    assert_eq!(
        room.flush(),
        [due(&first, &[2]), due(&format!("{line}\n{line}"), &[2])]
    );
    assert_eq!(room.relay.stats().missed, 2);
}

#[test]
fn a_blocked_author_does_not_get_its_own_lines_later() {
    let mut room = Room::plain();
    room.say(1, "a");
    room.say(2, "b");
    let seat = room.relay.find(&Room::source(1)).unwrap();
    room.relay.handle_blocked(seat);
    room.say(1, "mine");
    room.say(2, "theirs");
    assert_eq!(room.flush(), [due("a : mine", &[2])]);
    room.relay.handle_writable(seat);
    assert_eq!(room.flush(), [due("b : theirs", &[1])]);
    // a repeated call, and a call about a peer that was never blocked, have no effect
    room.relay.handle_writable(seat);
    room.relay
        .handle_writable(room.relay.find(&Room::source(2)).unwrap());
    assert_eq!(room.flush(), []);
}

#[test]
fn who_lost_lines_is_told_although_only_its_own_are_left() {
    let mut room = Room::plain();
    room.say(1, "a");
    room.say(2, "b");
    let seat = room.relay.find(&Room::source(1)).unwrap();
    room.relay.handle_blocked(seat);
    room.say(2, "theirs");
    for _ in 0..5 {
        room.say(1, "x".repeat(500)); // 4 such lines fill the ring, less a few bytes
        room.flush();
    }
    assert!(!room.relay.is_settled());
    room.relay.handle_writable(seat);
    room.relay.handle_blocked(seat);
    assert!(!room.relay.is_settled());
    room.relay.handle_writable(seat);
    assert_eq!(room.flush(), [due("* 3 lines lost", &[1])]);
    assert!(room.relay.is_settled());
}

#[test]
fn a_seat_that_changes_hands_hides_no_line_and_shows_none_twice() {
    let mut room = Room::new(Config {
        announce_up_to: 0,
        ..Config::new([0; 16])
    });
    room.say(1, "a");
    room.say(1, "from a");
    assert_eq!(room.say(1, "/quit"), "* bye");
    let (event, _) = room.event(2, "b");
    assert!(
        matches!(event, Event::Joined { seat, .. } if seat.index() == 0),
        "{event:?}"
    );
    assert_eq!(room.flush(), [due("a : from a", &[2])]);
}

// [R3]
#[test]
fn what_was_overwritten_is_told_as_a_number() {
    let mut room = Room::plain();
    room.say(1, "a");
    room.say(2, "b");
    for _ in 0..5 {
        room.say(1, "x".repeat(500)); // 4 such lines fill the ring, less a few bytes
    }
    assert!(!room.relay.can_receive());
    let line = format!("a : {}", "x".repeat(500));
    let first = format!("* 2 lines lost\n{line}");
    assert_eq!(
        room.flush(),
        [due(&first, &[2]), due(&format!("{line}\n{line}"), &[2])]
    );
    assert_eq!(room.relay.stats().missed, 2);
    assert!(room.relay.can_receive());
}

#[test]
fn lines_that_are_overwritten_while_a_driver_has_them_are_counted_once() {
    let mut room = Room::plain();
    room.say(1, "a");
    room.say(2, "b");
    let text = "x".repeat(500); // 3 such lines fit
    let mut buffer = [0; DATAGRAM_MAX];
    let mut in_hand = Vec::new();
    for _ in 0..3 {
        room.say(1, &text);
        let fanout = room.relay.poll_fanout(room.now, &mut buffer).unwrap();
        in_hand.extend(fanout);
    }
    (0..4).for_each(|_| drop(room.say(1, &text)));
    let seat = in_hand[0].seat;
    for delivery in in_hand.into_iter().rev() {
        room.relay.handle_refused(delivery);
    }
    room.relay.handle_writable(seat);
    let line = format!("a : {text}");
    let first = format!("* 4 lines lost\n{line}");
    assert_eq!(
        room.flush(),
        [due(&first, &[2]), due(&format!("{line}\n{line}"), &[2])]
    );
    assert_eq!(room.relay.stats().missed, 4);
}

// [T15]
#[test]
fn long_text_goes_on_in_a_second_line_and_never_in_a_third() {
    let mut room = Room::plain();
    room.say(1, "n".repeat(40));
    room.say(2, "reader");
    for length in 900..=DATAGRAM_MAX {
        for filler in ["x", "é", "你", "🦀", "\u{80}", "\u{301}"] {
            let mut text = "x".repeat(length % filler.len());
            text.push_str(&filler.repeat(length / filler.len()));
            let Event::Said { lines, .. } = room.event(1, &text).0 else {
                panic!("{text}")
            };
            let got: Vec<String> = room
                .flush()
                .into_iter()
                .map(|(payload, _)| payload)
                .collect();
            let got: Vec<&str> = got.iter().flat_map(|payload| payload.split('\n')).collect();
            assert_eq!(got.len(), usize::from(lines));
            let start = format!("{} : ", "n".repeat(32));
            let said: String = got
                .iter()
                .map(|line| line.strip_prefix(&start).unwrap())
                .collect();
            assert_eq!(said, kilochat_core::clean(&text).collect::<String>());
            assert!(got.iter().all(|line| line.len() <= 960));
            assert!(lines == 1 || got[0].len() > 956);
        }
    }
}

#[test]
fn sizes_at_the_limit() {
    let mut room = Room::new(Config::new([0; 16]));
    room.say(1, "a");
    for (length, refused) in [
        (0, false),
        (1, false),
        (1023, false),
        (1024, false),
        (1025, true),
    ] {
        let (event, reply) = room.event(1, "x".repeat(length));
        assert_eq!(
            matches!(
                event,
                Event::Refused {
                    why: Refusal::TooLong,
                    ..
                }
            ),
            refused
        );
        assert_eq!(reply.is_empty(), !refused);
    }
    // `a : ` and 956 bytes are a line of 960
    for (length, expected) in [(955, 1), (956, 1), (957, 2)] {
        let (event, _) = room.event(1, "x".repeat(length));
        assert!(
            matches!(event, Event::Said { lines, .. } if lines == expected),
            "{event:?}"
        );
    }
}

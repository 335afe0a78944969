//! The plain dialect, one situation at a time: each test reads as a conversation.

#![allow(clippy::unwrap_used, reason = "a test")]

use core::net::SocketAddr;
use core::time::Duration;

use kilochat_core::{
    Config, DATAGRAM_MAX, Departure, Event, Expired, Instant, Refusal, Relay, Reply, Seat,
    Unreachable,
};

/// A room of 4 seats whose network takes everything at once.
struct Room {
    relay: Box<Relay<4, 2048, 4>>,
    now: Instant,
}

impl Room {
    fn new(config: Config) -> Self {
        let mut relay = Box::new(Relay::new());
        relay.configure(config);
        Self {
            relay,
            now: Instant::from_millis(0),
        }
    }

    fn source(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn event(&mut self, port: u16, payload: impl AsRef<[u8]>) -> (Event, String) {
        let mut reply = Reply::new();
        let source = Self::source(port);
        let event = self
            .relay
            .handle_datagram(self.now, source, payload.as_ref(), &mut reply);
        (event, String::from_utf8(reply.to_vec()).unwrap())
    }

    /// Sends a datagram from `port` and returns the reply.
    fn say(&mut self, port: u16, payload: impl AsRef<[u8]>) -> String {
        self.event(port, payload).1
    }

    /// Gives the peer at `port` a seat.
    fn join(&mut self, port: u16, name: &str) -> Seat {
        let (event, reply) = self.event(port, name);
        let Event::Joined { seat, .. } = event else {
            panic!("{event:?} {reply}")
        };
        seat
    }

    /// Everything that is due, with the ports that get it.
    fn flush(&mut self) -> Vec<(String, Vec<u16>)> {
        let mut buffer = [0; DATAGRAM_MAX];
        let mut all = Vec::new();
        while let Some(fanout) = self.relay.poll_fanout(self.now, &mut buffer) {
            let payload = String::from_utf8(fanout.payload().to_vec()).unwrap();
            let mut ports: Vec<u16> = fanout.map(|delivery| delivery.address.port()).collect();
            ports.sort_unstable();
            all.push((payload, ports));
        }
        all
    }

    fn sleep(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }
}

fn due(payload: &str, ports: &[u16]) -> (String, Vec<u16>) {
    (payload.into(), ports.into())
}

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

// [R1]
#[test]
fn peers_that_are_behind_get_several_lines_in_a_datagram() {
    let mut room = Room::new(Config {
        announce_up_to: 0,
        history: 0,
        ..Config::new([0; 16])
    });
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
fn a_peer_whose_way_blocks_gets_later_what_came_since_and_holds_nobody_up() {
    let mut room = Room::new(Config {
        announce_up_to: 0,
        history: 0,
        ..Config::new([0; 16])
    });
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
    let mut room = Room::new(Config {
        announce_up_to: 0,
        history: 0,
        ..Config::new([0; 16])
    });
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
    let mut room = Room::new(Config {
        announce_up_to: 0,
        history: 0,
        ..Config::new([0; 16])
    });
    room.say(1, "a");
    room.say(2, "b");
    let seat = room.relay.find(&Room::source(1)).unwrap();
    room.relay.handle_blocked(seat);
    room.say(1, "mine");
    room.say(2, "theirs");
    assert_eq!(room.flush(), [due("a : mine", &[2])]);
    room.relay.handle_writable(seat);
    assert_eq!(room.flush(), [due("b : theirs", &[1])]);
    // a second call, and one about a peer that never was blocked, change nothing
    room.relay.handle_writable(seat);
    room.relay
        .handle_writable(room.relay.find(&Room::source(2)).unwrap());
    assert_eq!(room.flush(), []);
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
    let mut room = Room::new(Config {
        announce_up_to: 0,
        history: 0,
        ..Config::new([0; 16])
    });
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
fn what_was_overwritten_in_the_hands_of_a_driver_is_counted_once() {
    let mut room = Room::new(Config {
        announce_up_to: 0,
        history: 0,
        ..Config::new([0; 16])
    });
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
    let mut room = Room::new(Config {
        announce_up_to: 0,
        history: 0,
        ..Config::new([0; 16])
    });
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

// [T2] [T3] [T4] [T6] [T8] [T14]
#[test]
fn commands_are_answered_to_their_sender_alone() {
    let mut room = Room::new(Config {
        history: 0,
        ..Config::new([0; 16])
    });
    room.say(1, "Ada");
    room.say(2, "Bob");
    room.flush();
    assert_eq!(room.say(1, "/who"), "* 2 here: Ada, Bob");
    assert_eq!(room.say(1, "/who b"), "* 1 begins with b: Bob");
    assert_eq!(room.say(1, "/who x\x1b"), "* nobody's name begins with x?");
    assert_eq!(
        room.say(1, "/xyz 1 2"),
        "* no command /xyz; //xyz says it as text; /help lists commands"
    );
    assert!(room.say(1, "/help\r\n").starts_with("* /who"));
    assert_eq!(room.say(1, "/nick"), "* /nick NAME needs a name");
    assert_eq!(room.say(1, "/nick Ada"), "* you are Ada already");
    assert_eq!(room.flush(), []);
    assert_eq!(room.say(1, "/nick ada l."), "* you are now ada l.");
    assert_eq!(room.say(1, "//who"), "");
    assert_eq!(
        room.flush(),
        [due("* Ada is now ada l.\nada l. : /who", &[2])]
    );
}

// [T5]
#[test]
fn a_quiet_peer_is_spared_announcements_and_nothing_else() {
    let mut room = Room::new(Config {
        history: 0,
        ..Config::new([0; 16])
    });
    room.say(1, "Ada");
    room.say(2, "Bob");
    room.say(3, "Cyd");
    assert!(room.say(1, "/quiet on").starts_with("* quiet is on"));
    assert_eq!(room.flush(), [due("* Cyd joined", &[2])]);
    room.say(4, "Dan");
    room.say(2, "hi");
    room.say(4, "/quit");
    let mut got = room.flush();
    got.sort();
    assert_eq!(
        got,
        [
            due("* Dan joined\n* Dan left (quit)", &[2]),
            due("* Dan joined\nBob : hi\n* Dan left (quit)", &[3]),
            due("Bob : hi", &[1]),
        ]
    );
    room.relay.stop(room.now);
    assert_eq!(room.flush(), [due("* relay is stopping", &[1, 2, 3])]);
}

#[test]
fn a_quiet_peer_that_shares_a_datagram_gets_no_empty_one_after_it() {
    let mut room = Room::new(Config {
        history: 0,
        ..Config::new([0; 16])
    });
    for (port, name) in [(1, "a"), (2, "b"), (3, "c")] {
        room.say(port, name);
    }
    room.flush();
    room.say(3, "/quiet on");
    let text = "x".repeat(500); // two such lines fit into a datagram, and no third one
    room.say(1, &text);
    room.say(1, &text);
    room.say(4, "newcomer");
    let lines = format!("a : {text}\na : {text}");
    assert_eq!(
        room.flush(),
        [due(&lines, &[2, 3]), due("* newcomer joined", &[1, 2])]
    );
}

// [J8]
#[test]
fn strangers_learn_how_to_join() {
    let mut room = Room::new(Config::new([0; 16]));
    let refused = |why| Event::Refused { seat: None, why };
    for (payload, event, reply) in [
        ("", refused(Refusal::Blank), ""),
        (" \r\n", refused(Refusal::Blank), ""),
        ("/who", refused(Refusal::Nameless), "* say your name first"),
        (
            " /nick ",
            refused(Refusal::Nameless),
            "* say your name first",
        ),
        ("\x01H KC1", refused(Refusal::Frame), ""),
    ] {
        assert_eq!(room.event(1, payload), (event, reply.into()), "{payload:?}");
    }
    assert_eq!(
        room.event(1, b"\xFF"),
        (refused(Refusal::NotUtf8), String::new())
    );
    assert_eq!(room.event(1, "/help").0, Event::Helped);
    assert!(
        room.say(1, "/nick Ada")
            .starts_with("* welcome Ada: 1 here")
    );
}

// [J8] [J9]
#[test]
fn sources_that_cannot_or_must_not_be_answered_get_nothing() {
    let mut room = Room::new(Config::new([0; 16]));
    for (source, why) in [
        ("0.0.0.0:9", Refusal::Source),
        ("255.255.255.255:9", Refusal::Source),
        ("224.0.0.251:5353", Refusal::Source),
        ("127.0.0.1:0", Refusal::Source),
        ("[ff02::1]:9", Refusal::Source),
        ("203.0.113.7:9", Refusal::Foreign),
        ("[2001:db8::7]:9", Refusal::Foreign),
    ] {
        let mut reply = Reply::new();
        let source = source.parse().unwrap();
        let event = room
            .relay
            .handle_datagram(room.now, source, b"bob", &mut reply);
        assert_eq!(event, Event::Refused { seat: None, why }, "{source}");
        assert!(reply.is_empty());
        assert_eq!(room.relay.find(&source), None);
    }
    assert_eq!(room.relay.stats().untold, 7);
}

// [T10] [T11] [T14]
#[test]
fn bytes_that_are_not_text_are_told_once_a_minute_and_notices_never() {
    let mut room = Room::new(Config::new([0; 16]));
    room.say(1, "Ada");
    assert_eq!(room.say(1, b"\xFF"), "* not sent: not UTF-8 text");
    assert_eq!(room.say(1, b"\xFF"), "");
    room.sleep(60);
    assert_eq!(room.say(1, b"* \xFF"), "");
    assert_eq!(room.say(1, b"\xFF"), "* not sent: not UTF-8 text");
    assert_eq!(
        room.say(1, "x".repeat(1025)),
        "* not sent: longer than 1024 bytes"
    );
    assert_eq!(room.say(1, format!("* {}", "x".repeat(1025))), "");
    assert_eq!(room.relay.stats().refused(Refusal::NotUtf8), 4);
}

// [T16]
#[test]
fn an_echoing_relay_sends_a_line_to_its_author_too() {
    let mut room = Room::new(Config {
        echo: true,
        history: 0,
        ..Config::new([0; 16])
    });
    room.say(1, "Ada");
    room.say(1, "hello?");
    assert_eq!(room.flush(), [due("Ada : hello?", &[1])]);
}

// [C1]
#[test]
fn a_classic_relay_relays_and_says_nothing_of_its_own() {
    let mut room = Room::new(Config {
        classic: true,
        ..Config::new([0; 16])
    });
    assert_eq!(room.say(1, "a"), "");
    assert_eq!(room.say(2, "a"), "");
    assert_eq!(room.say(3, "/nick x"), "");
    for text in ["/who", "//x", " ", "", "* "] {
        assert_eq!(room.say(1, text), "");
    }
    assert_eq!(room.say(1, "x".repeat(1025)), "");
    assert_eq!(room.say(1, b"\xFF"), "");
    let lines = ["a : /who", "a : //x", "a :  ", "a : ", "a : * "];
    assert_eq!(room.flush(), lines.map(|line| due(line, &[2, 3])));
    room.say(3, "hi");
    room.relay.stop(room.now);
    assert_eq!(room.flush(), [due("/nick x : hi", &[1, 2])]);
    assert_eq!(room.say(3, "too late"), "");
    assert_eq!(room.flush(), []);
}

// [J4] [N1]
#[test]
fn names_are_repaired_and_told() {
    let mut room = Room::new(Config {
        seats: 1,
        ..Config::new([0; 16])
    });
    for (raw, name) in [
        (" Ada \r\n", "Ada"),
        ("*[x", "_[x"),
        ("[x", "_x"),
        ("a:b：c∶d꞉e", "a_b_c_d_e"),
        ("a\u{200B}b\u{202E}c\u{3000}d\u{2800}e", "a_b_c_d_e"),
        ("\x07bell\x1b[2J", "_bell_[2J"),
        (
            "name\u{301}\u{301}\u{301}\u{301}\u{301}",
            "name\u{301}\u{301}\u{301}\u{301}_",
        ),
        ("two\nlines", "two_lines"),
        ("十十十十十十十十十十十", "十十十十十十十十十十"),
        (
            "0123456789012345678901234567890 x",
            "0123456789012345678901234567890",
        ),
    ] {
        let reply = room.say(1, raw);
        assert!(
            reply.starts_with(&format!("* welcome {name}: 1 here ({name})")),
            "{raw:?} {reply}"
        );
        let is_told = reply.contains("not your name?");
        assert_eq!(
            is_told,
            raw.trim_end_matches(['\r', '\n']) != name,
            "{raw:?} {reply}"
        );
        room.say(1, "/quit");
    }
}

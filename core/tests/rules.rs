//! Rules of the plain dialect that are one sentence each, by their number in `PROTOCOL.md`.

#![allow(clippy::unwrap_used, reason = "a test")]

use core::net::SocketAddr;

use kilochat_core::{Config, DATAGRAM_MAX, Instant, MOTD_MAX, Relay, Reply};

const NOW: Instant = Instant::from_millis(0);

struct Room(Box<Relay<80, 8192, 2>>);

impl Room {
    fn new(config: Config) -> Self {
        let mut relay = Box::new(Relay::new());
        relay.configure(config);
        Self(relay)
    }

    /// Sends a datagram from a port and returns the answer.
    fn say(&mut self, port: u16, payload: &str) -> String {
        let (mut reply, source) = (Reply::new(), SocketAddr::from(([127, 0, 0, 1], port)));
        self.0
            .handle_datagram(NOW, source, payload.as_bytes(), &mut reply);
        String::from_utf8(reply.to_vec()).unwrap()
    }

    /// Returns the lines that are due to the peer at a port.
    fn heard_at(&mut self, port: u16) -> Vec<String> {
        let (mut buffer, mut heard) = ([0; DATAGRAM_MAX], Vec::new());
        while let Some(fanout) = self.0.poll_fanout(NOW, &mut buffer) {
            let text = String::from_utf8(fanout.payload().to_vec()).unwrap();
            for delivery in fanout {
                if delivery.address.port() == port {
                    heard.extend(text.lines().map(str::to_owned));
                }
            }
        }
        heard
    }
}

fn config() -> Config {
    Config {
        history: 0,
        ..Config::new([7; 16])
    }
}

// [J1] [J2]
#[test]
fn a_welcome_lists_sixteen_names_and_counts_the_others() {
    let mut room = Room::new(config());
    for port in 1..=15 {
        room.say(port, &format!("n{port}"));
    }
    let of_sixteen = room.say(16, "/nick n16");
    assert!(
        of_sixteen.starts_with("* welcome n16: 16 here (n1, "),
        "{of_sixteen}"
    );
    assert!(of_sixteen.contains(", n16); /help"), "{of_sixteen}");
    let of_eighteen = [17, 18].map(|port| room.say(port, &format!("n{port}")));
    assert!(of_eighteen[1].contains("18 here ("), "{of_eighteen:?}");
    assert!(
        of_eighteen[1].contains(", ... and 2 more); /help"),
        "{of_eighteen:?}"
    );
    assert_eq!(of_eighteen[1].matches(", ").count(), 16);
}

// [J3]
#[test]
fn a_welcome_has_the_text_of_the_operator() {
    let motd = "m".repeat(MOTD_MAX);
    let mut room = Room::new(Config {
        motd: motd.as_str().try_into().unwrap(),
        ..config()
    });
    let expected = format!("* welcome Ada: 1 here (Ada); {motd}; /help lists commands");
    assert_eq!(room.say(1, "Ada"), expected);
}

// [J4]
#[test]
fn a_name_that_is_not_what_was_asked_for_comes_with_a_hint() {
    let mut room = Room::new(config());
    let hint = " (not your name? /nick NAME, then say it again)";
    for (port, name, is_told) in [
        (1, "Ada".to_owned(), false),
        (2, "Ada".to_owned(), true),
        (3, "Ada L".to_owned(), true),
        (4, "a:b".to_owned(), true),
        (5, "n".repeat(32), false),
        (6, "m".repeat(33), true),
    ] {
        let welcome = room.say(port, &name);
        assert_eq!(welcome.ends_with(hint), is_told, "{welcome}");
    }
}

// [R2] [T15]
#[test]
fn nobody_can_say_or_be_a_notice() {
    let mut room = Room::new(config());
    room.say(1, "reader");
    for (port, name) in [(2, "* Eve"), (3, "*"), (4, "\u{200B}*")] {
        room.say(port, name);
        room.heard_at(1);
        room.say(port, "* Ada joined\n* Bob left (quit)");
        let heard = room.heard_at(1);
        assert_eq!(heard.len(), 1);
        assert!(
            heard[0].ends_with(" : * Ada joined * Bob left (quit)"),
            "{heard:?}"
        );
        assert!(!heard[0].starts_with('*'), "{heard:?}");
    }
}

// [R4]
#[test]
fn who_comes_and_goes_is_announced_while_63_are_there() {
    let mut room = Room::new(config());
    for port in 1..=62 {
        room.say(port, &format!("n{port}"));
    }
    room.heard_at(1);
    room.say(63, "the-63rd");
    assert_eq!(room.heard_at(1), ["* the-63rd joined"]);
    room.say(64, "the-64th");
    room.say(2, "/nick other");
    room.say(64, "/quit");
    assert_eq!(room.heard_at(1), [""; 0]);
    room.say(63, "/quit");
    assert_eq!(room.heard_at(1), ["* the-63rd left (quit)"]);
}

// [L1] [T7]
#[test]
fn a_peer_that_quits_has_left_and_its_next_line_is_a_name() {
    let mut room = Room::new(config());
    room.say(1, "Ada");
    room.say(2, "Bob");
    room.heard_at(1);
    assert_eq!(room.say(2, "/quit smoking\n"), "* bye");
    assert_eq!(room.heard_at(1), ["* Bob left (quit)"]);
    assert!(room.say(2, "hello").starts_with("* welcome hello: 2 here"));
}

// [T9]
#[test]
fn a_blank_datagram_is_a_keepalive() {
    let mut room = Room::new(config());
    room.say(1, "Ada");
    room.say(2, "Bob");
    room.heard_at(1);
    for blank in ["", "\n", " \t ", "\u{3000}"] {
        assert_eq!(room.say(2, blank), "", "{blank:?}");
        assert_eq!(room.heard_at(1), [""; 0], "{blank:?}");
    }
}

// [E1] [T12]
#[test]
fn a_relay_that_stops_takes_quit_alone_and_announces_nothing() {
    let mut room = Room::new(config());
    room.say(1, "Ada");
    room.say(2, "Bob");
    room.heard_at(1);
    room.0.stop(NOW);
    for said in ["too late", "/who", "/nick Eve", "//x"] {
        assert_eq!(room.say(2, said), "* not sent: relay is stopping", "{said}");
    }
    assert_eq!(room.say(3, "Cyd"), "");
    assert_eq!(room.say(2, "/quit"), "* bye");
    assert_eq!(room.heard_at(1), ["* relay is stopping"]);
}

// [T13] [W2]
#[test]
fn a_plain_peer_is_never_sent_a_frame() {
    let mut room = Room::new(config());
    room.say(1, "Ada");
    let session = "\0".repeat(8);
    for frame in ["", "K", "P", "?"] {
        assert_eq!(
            room.say(1, &format!("\u{1}{frame}{session}")),
            "",
            "{frame}"
        );
    }
    assert!(room.say(2, "Bob").contains("2 here (Ada, Bob)"));
}

//! Commands, strangers, names, and the modes of a relay.

use kilochat_core::{Config, Event, Refusal, Reply};

use crate::room::{Room, due};

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
    let help = room.say(1, "/help\r\n");
    assert!(help.starts_with("* /who"));
    assert!(help.lines().count() > 5 && help.lines().all(|line| line.starts_with("* ")));
    assert_eq!(room.say(1, "/HELP"), help);
    assert_eq!(room.say(1, "/names B"), "* 1 begins with B: Bob");
    assert_eq!(room.say(1, "/nick"), "* /nick NAME needs a name");
    assert_eq!(room.say(1, "/nick Ada"), "* you are Ada already");
    assert_eq!(room.flush(), []);
    assert_eq!(room.say(1, "/nick ada l."), "* you are now ada l.");
    assert_eq!(room.say(1, "//who"), "");
    assert_eq!(
        room.flush(),
        [due("* Ada is now ada l.\nada l. : /who", &[2])]
    );
    let taken = "* you are now bob~2\n* bob is taken";
    assert_eq!(room.say(1, "/nick bob"), taken);
    assert_eq!(room.say(1, "/Exit"), "* bye");
}

// [T2] [T8] [T18]
#[test]
fn what_a_peer_does_is_a_message_with_a_slash() {
    let mut room = Room::plain();
    room.say(1, "Ada");
    room.say(2, "Bob");
    room.flush();
    assert_eq!(
        room.say(1, "/me waves"),
        "* no command /me; //me says it as text; /help lists commands"
    );
    assert_eq!(room.flush(), []);
    for (said, line) in [("//me waves", "/me waves"), ("///", "//"), (" //", " //")] {
        assert_eq!(room.say(1, said), "");
        assert_eq!(room.flush(), [due(&format!("Ada : {line}"), &[2])]);
    }
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
        ("tab\tbed", "tab_bed"),
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

//! Messages to one peer.

use kilochat_core::framed::LineKind;
use kilochat_core::{Config, LINE_MAX, Reader, Restored};

use crate::room::{Room, due};

/// Returns a room without a history in which these are, and know it.
fn room_of(names: &[(u16, &str)]) -> Room {
    let mut room = Room::new(Config {
        history: 0,
        ..Config::new([0; 16])
    });
    for (port, name) in names {
        room.say(*port, *name);
    }
    room.flush();
    room
}

// [M1] [M2]
#[test]
fn a_message_to_one_peer_is_sent_to_nobody_else() {
    let mut room = room_of(&[(1, "Ada"), (2, "小明"), (3, "Eve")]);
    room.say(1, "before");
    assert_eq!(
        room.say(1, "/msg 小明 the key\tis x"),
        "* to 小明: the key is x"
    );
    assert_eq!(room.say(3, "/MSG ada:hello"), "* to Ada: hello");
    room.say(1, "after");
    let mut sent = room.flush();
    sent.sort();
    let mut expected = [
        due("Ada : before", &[2, 3]),
        due("* Ada to you: the key is x", &[2]),
        due("Ada : after", &[2]),
        due("Ada : after", &[3]),
        due("* Eve to you: hello", &[1]),
    ];
    expected.sort();
    assert_eq!(sent, expected);
    assert_eq!(room.flush(), []);
}

// [M1]
#[test]
fn those_that_wait_for_the_same_lines_get_them_without_the_message() {
    let mut room = room_of(&[(1, "Ada"), (2, "Bob"), (3, "Eve"), (4, "Dan")]);
    let bob = room.relay.find(&Room::source(2)).unwrap();
    let eve = room.relay.find(&Room::source(3)).unwrap();
    for seat in [bob, eve] {
        room.relay.handle_blocked(seat);
    }
    room.say(1, "one");
    room.say(1, "/msg Bob secret");
    room.say(1, "two");
    for seat in [bob, eve] {
        room.relay.handle_writable(seat);
    }
    let mut sent = room.flush();
    sent.sort();
    let texts: Vec<(String, Vec<u16>)> = sent.clone();
    for (text, ports) in &texts {
        assert!(!text.contains("secret") || *ports == [2], "{texts:?}");
    }
    let to = |port: u16| {
        let mine = texts.iter().filter(|(_, ports)| ports.contains(&port));
        let mut lines: Vec<&str> = mine.flat_map(|(text, _)| text.lines()).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(to(2), ["* Ada to you: secret", "Ada : one", "Ada : two"]);
    assert_eq!(to(3), ["Ada : one", "Ada : two"]);
    assert_eq!(to(4), ["Ada : one", "Ada : two"]);
}

// [M2]
#[test]
fn what_cannot_be_said_to_one_peer_is_answered_with_the_reason() {
    let mut room = room_of(&[(1, "Ada"), (2, "Bob"), (3, "Bob hi"), (4, "two words")]);
    for (text, answer) in [
        ("/msg", "* /msg NAME TEXT needs a name and a text"),
        ("/msg Bob", "* /msg NAME TEXT needs a name and a text"),
        ("/msg Bob: ", "* /msg NAME TEXT needs a name and a text"),
        ("/msg : x", "* /msg NAME TEXT needs a name and a text"),
        ("/msg Zoë x", "* nobody is called Zoë"),
        ("/msg B\x1bb x", "* nobody is called B?b"),
        // or somebody could read what is meant for another one
        (
            "/msg Bob hi there",
            "* not sent: Bob and Bob hi are both here",
        ),
        (
            "/msg Bob hi: there",
            "* not sent: Bob and Bob hi are both here",
        ),
    ] {
        assert_eq!(room.say(1, text), answer, "{text}");
        assert_eq!(room.flush(), [], "{text}");
    }
    assert_eq!(room.say(1, "/msg bob: hi there"), "* to Bob: hi there");
    assert_eq!(room.say(1, "/msg Two Words hi"), "* to two words: hi");
    room.flush();
    // who is renamed or has left is not found
    room.say(2, "/nick Robert");
    room.say(4, "/quit");
    assert_eq!(room.say(1, "/msg bob: hi"), "* nobody is called bob");
    assert_eq!(room.say(1, "/msg Two Words hi"), "* nobody is called Two");
}

// [M1]
#[test]
fn a_long_message_to_one_peer_is_two_lines_and_its_answer_is_cut() {
    let mut room = room_of(&[(1, "Ada"), (2, "小明")]);
    let text = "\u{80}".repeat(500);
    let reply = room.say(1, format!("/msg 小明 {text}"));
    assert!(reply.len() <= 1024 && reply.starts_with("* to 小明: \u{FFFD}"));
    let sent: String = room
        .flush()
        .into_iter()
        .map(|(text, _)| text + "\n")
        .collect();
    let lines: Vec<&str> = sent.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.len() <= LINE_MAX));
    let said: String = lines
        .iter()
        .map(|line| line.strip_prefix("* Ada to you: ").unwrap())
        .collect();
    assert_eq!(said, "\u{FFFD}".repeat(500));
}

// [M3] [J5]
#[test]
fn it_is_no_history() {
    let mut room = Room::new(Config::new([0; 16]));
    room.say(1, "Ada");
    room.say(2, "Bob");
    for text in ["one", "/msg Bob secret", "two", "/msg Bob more", "three"] {
        room.say(1, text);
    }
    room.flush();
    let welcome = room.say(3, "Eve");
    assert!(welcome.ends_with("; the last 3 lines:"), "{welcome}");
    let sent = room.flush();
    let history = sent.iter().filter(|(_, ports)| ports.contains(&3));
    let lines: Vec<&str> = history.flat_map(|(text, _)| text.lines()).collect();
    assert_eq!(
        lines,
        ["Ada : one", "Ada : two", "Ada : three", "* Eve joined"]
    );
}

// [M3]
#[test]
fn a_name_that_comes_back_gets_nothing_that_was_for_the_one_before() {
    let mut room = room_of(&[(1, "Ada"), (2, "Bob")]);
    let bob = room.relay.find(&Room::source(2)).unwrap();
    room.relay.handle_blocked(bob);
    room.say(1, "/msg Bob secret");
    room.say(2, "/quit");
    room.say(3, "Bob");
    let sent = room.flush();
    assert!(
        !sent.iter().any(|(text, _)| text.contains("secret")),
        "{sent:?}"
    );
}

// [M5]
#[test]
fn a_reader_is_told_of_the_number_and_of_nothing_else() {
    let mut room = room_of(&[(1, "Ada"), (2, "Bob")]);
    room.say(1, "/msg Bob secret");
    room.say(1, "open");
    let mut reader = Reader::default();
    let mut buffer = [0; LINE_MAX];
    let mut lines = Vec::new();
    while let Some((sequence, entry)) = room.relay.read(&mut reader, &mut buffer) {
        lines.push((sequence, entry.kind, entry.author, entry.line.to_owned()));
    }
    let [.., hidden, open] = &lines[..] else {
        panic!("{lines:?}")
    };
    let kind = LineKind::Private;
    assert_eq!(*hidden, (open.0 - 1, kind, 0, String::new()));
    assert_eq!(open.3, "Ada : open");
    // and so it is after a restart
    let mut next = Room::new(Config::new([0; 16]));
    let run = Restored::Run {
        epoch: None,
        sequence: 7,
    };
    next.relay.restore(next.now, run);
    for (kind, name, text) in [(LineKind::Message, "Ada", "open"), (kind, "Bob", "secret")] {
        let at = next.now;
        let line = Restored::Line {
            at,
            kind,
            name,
            text,
        };
        next.relay.restore(at, line);
    }
    let welcome = next.say(2, "Bob");
    assert!(welcome.ends_with("; the last line:"), "{welcome}");
    assert_eq!(
        next.flush(),
        [due("Ada : open", &[2]), due("* Bob joined", &[2])]
    );
}

//! A room that is kept across a restart.

use kilochat_core::framed::LineKind;
use kilochat_core::{Config, Instant, LINE_MAX, Reader, Restored};

use crate::room::{Room, due};

/// Reads all lines from a reader's position on, with their numbers.
fn read(room: &Room, reader: &mut Reader) -> Vec<(u64, String)> {
    let mut buffer = [0; LINE_MAX];
    let mut lines = Vec::new();
    while let Some((sequence, entry)) = room.relay.read(reader, &mut buffer) {
        lines.push((sequence, entry.line.to_owned()));
    }
    lines
}

fn peer(port: u16, name: &str, quiet: bool) -> Restored<'_> {
    Restored::Peer {
        address: Room::source(port),
        name,
        newline: quiet,
        quiet,
    }
}

fn message<'a>(name: &'a str, text: &'a str) -> Restored<'a> {
    Restored::Line {
        at: Instant::from_millis(5_000),
        kind: LineKind::Message,
        name,
        text,
    }
}

fn run(epoch: Option<u32>, sequence: u64) -> Restored<'static> {
    Restored::Run { epoch, sequence }
}

#[test]
fn a_reader_gets_each_line_once_and_notices_what_was_overwritten() {
    let mut room = Room::plain();
    let mut reader = Reader::default();
    assert!(read(&room, &mut reader).is_empty());
    room.join(1, "ada");
    room.say(1, "one");
    room.say(1, "two");
    let lines = [(0, "ada : one".to_owned()), (1, "ada : two".to_owned())];
    assert_eq!(read(&room, &mut reader), lines);
    assert!(read(&room, &mut reader).is_empty());
    for _ in 0..4 {
        room.say(1, "x".repeat(900));
    }
    let numbers: Vec<u64> = read(&room, &mut reader).iter().map(|it| it.0).collect();
    assert_eq!(numbers, [4, 5]);
}

// [E3]
#[test]
fn plain_peers_have_their_seats_names_and_settings_after_a_restart() {
    let mut room = Room::new(Config::new([0; 16]));
    let now = room.now;
    for (restored, has_seat) in [
        (peer(1, "ada", false), true),
        (peer(2, "bob", true), true),
        (peer(2, "again", true), false),
        (peer(3, " ", false), false),
        (peer(0, "no port", false), false),
        (peer(4, "ADA", false), true),
        (peer(5, "eve", false), true),
        (peer(6, "full", false), false),
    ] {
        assert_eq!(
            room.relay.restore(now, restored).is_some(),
            has_seat,
            "{restored:?}"
        );
    }
    let names: Vec<&str> = room.relay.peers().map(|peer| peer.name).collect();
    assert_eq!(names, ["ada", "bob", "ADA~2", "eve"]);
    assert_eq!(room.flush(), []);
    room.relay.restore(now, Restored::End);
    let back = "* relay is back";
    assert_eq!(
        room.flush(),
        [due(back, &[1, 4, 5]), due(&format!("{back}\n"), &[2])]
    );
    // her message is not taken for a name, and a quiet peer remains quiet
    assert_eq!(room.say(1, "the ferry is late"), "");
    assert_eq!(
        room.flush(),
        [
            due("ada : the ferry is late", &[4, 5]),
            due("ada : the ferry is late\n", &[2])
        ]
    );
    room.say(5, "/nick Eva");
    assert_eq!(room.flush(), [due("* eve is now Eva", &[1, 4])]);
    room.say(2, "/quiet off\n");
    room.say(5, "/nick eve");
    let mut ports: Vec<u16> = room.flush().into_iter().flat_map(|it| it.1).collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 4]);
}

// [E3]
#[test]
fn the_last_lines_are_history_with_their_numbers_after_a_restart() {
    let mut room = Room::new(Config {
        history: 2,
        ..Config::new([0; 16])
    });
    let now = room.now;
    let dirty = "t\u{1b}e\nx".to_owned() + &"t".repeat(LINE_MAX);
    for restored in [
        run(None, 100),
        message("ada", "one"),
        message("ada", "two"),
        Restored::Line {
            at: now,
            kind: LineKind::Notice,
            name: "",
            text: "relay is stopping",
        },
        message("* b:b", &dirty),
        message("", "from nobody"),
        run(None, 7),
        Restored::End,
    ] {
        assert_eq!(room.relay.restore(now, restored), None);
    }
    let mut buffer = [0; LINE_MAX];
    let mut reader = Reader::default();
    let (sequence, entry) = room.relay.read(&mut reader, &mut buffer).unwrap();
    assert_eq!((sequence, entry.at, entry.name), (100, 5, 3));
    assert_ne!(entry.author, 0);
    let lines = read(&room, &mut reader);
    assert_eq!(
        lines[..2].iter().map(|it| it.0).collect::<Vec<_>>(),
        [101, 102]
    );
    let [.., (103, last)] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert!(
        last.starts_with("_ b_b : t?e xttt") && last.len() == LINE_MAX,
        "{last}"
    );
    assert!(room.say(1, "eve").ends_with("; the last 3 lines:"));
    let shown: Vec<String> = room.flush().into_iter().map(|it| it.0).collect();
    let [shown] = &shown[..] else {
        panic!("{shown:?}")
    };
    assert!(shown.starts_with("ada : two\n* relay is stopping\n_ b_b : "));
    // a line that is restored too late has no effect
    room.relay.restore(now, message("late", "line"));
    assert!(
        read(&room, &mut reader)
            .iter()
            .all(|it| it.1 == "* eve joined")
    );
}

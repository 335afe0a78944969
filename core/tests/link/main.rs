//! What a linked relay hands to other places, and what its peers see of them: see `PROTOCOL.md`, section
//! "Linked relays".

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod places;

use core::net::SocketAddr;

use kilochat_core::framed::{Frame, Hello};
use kilochat_core::{
    Config, DATAGRAM_MAX, Event, Instant, LINE_MAX, LINK_BUFFER_MIN, LINK_LINES_MAX, LineKind,
    LinkBatch, LinkLine, LinkLines, LinkNotice, LinkWaiting, NAME_MAX, Reader, Relay, Reply,
    Restored, is_place,
};

const NOW: Instant = Instant::from_millis(5000);

struct Room(Box<Relay<80, 8192, 2>>);

/// Where a datagram went, as a port, and its lines.
type Heard = Vec<(u16, String)>;

impl Room {
    fn new(config: Config) -> Self {
        let mut relay = Box::new(Relay::new());
        relay.configure(config);
        Self(relay)
    }

    /// A room of Ada at port 1 and Bob at port 2, in which everything was read and handed over.
    fn of_two() -> Self {
        let mut room = Self::new(config());
        room.say(1, "Ada");
        room.say(2, "Bob");
        room.heard();
        room.handed_over();
        room
    }

    fn say(&mut self, port: u16, payload: &str) -> String {
        self.handle(port, payload.as_bytes()).1
    }

    fn handle(&mut self, port: u16, payload: &[u8]) -> (Event, String) {
        let (mut reply, source) = (Reply::new(), SocketAddr::from(([127, 0, 0, 1], port)));
        let event = self.0.handle_datagram(NOW, source, payload, &mut reply);
        (event, String::from_utf8_lossy(&reply).into_owned())
    }

    fn heard(&mut self) -> Heard {
        let (mut buffer, mut heard) = ([0; DATAGRAM_MAX], Vec::new());
        while let Some(fanout) = self.0.poll_fanout(NOW, &mut buffer) {
            let text = String::from_utf8_lossy(fanout.payload()).into_owned();
            for delivery in fanout {
                let lines = text.lines();
                heard.extend(lines.map(|line| (delivery.address.port(), line.to_owned())));
            }
        }
        heard
    }

    fn heard_at(&mut self, port: u16) -> Vec<String> {
        let heard = self.heard().into_iter();
        heard
            .filter(|(at, _)| *at == port)
            .map(|(_, line)| line)
            .collect()
    }

    /// Returns the lines that are handed over, as they would be shown elsewhere.
    fn handed_over(&mut self) -> Vec<String> {
        let mut buffer = vec![0; 1 << 16];
        let mut lines = Vec::new();
        while let Some(batch) = self.0.poll_link(&mut buffer) {
            lines.extend(LinkLines::new(&buffer[..batch.length]).map(shown));
        }
        lines
    }

    fn elsewhere(&mut self, place: &str, name: &str, text: &str) -> u8 {
        self.0.handle_elsewhere(NOW, place, name, text)
    }

    /// Returns all lines in the ring.
    fn lines(&self) -> Vec<(u32, u32, LineKind, u8, String)> {
        let (mut reader, mut buffer) = (Reader::default(), [0; LINE_MAX]);
        let mut lines = Vec::new();
        while let Some((_, line)) = self.0.read(&mut reader, &mut buffer) {
            lines.push((
                line.author,
                line.at,
                line.kind,
                line.name,
                line.line.to_owned(),
            ));
        }
        lines
    }
}

fn config() -> Config {
    Config {
        history: 0,
        rate: 0,
        place: "home".try_into().unwrap(),
        ..Config::new([7; 16])
    }
}

fn shown(line: LinkLine<'_>) -> String {
    match line {
        LinkLine::Message { name, text, .. } => format!("{name} : {text}"),
        LinkLine::Notice { text, .. } => format!("* {text}"),
    }
}

#[test]
fn what_is_said_here_is_handed_over_once_and_in_order() {
    let mut room = Room::new(config());
    room.say(1, "Ada\nfirst");
    room.say(2, "Bob");
    room.0.say_as_host(NOW, "from the terminal");
    room.say(1, "/nick Eve");
    room.say(1, "/who");
    let long = "x".repeat(1000);
    room.say(1, &long);
    let mut buffer = [0; 1 << 16];
    let batch = room.0.poll_link(&mut buffer).unwrap();
    assert_eq!((batch.first, batch.lines, batch.lost), (1, 7, 0));
    let lines: Vec<LinkLine<'_>> = LinkLines::new(&buffer[..batch.length]).collect();
    let texts: Vec<String> = lines.iter().copied().map(shown).collect();
    let [begun, rest] = [954, 46].map(|length| format!("Eve : {}", "x".repeat(length)));
    let expected = [
        "* Ada joined",
        "Ada : first",
        "* Bob joined",
        "host : from the terminal",
        "* Ada is now Eve",
        &begun,
        &rest,
    ];
    assert_eq!(texts, expected);
    let at = Instant::from_millis(5000);
    assert!(lines.iter().all(|line| match line {
        LinkLine::Message { at: said, .. } | LinkLine::Notice { at: said, .. } => *said == at,
    }));
    assert_eq!(room.0.poll_link(&mut buffer), None);
    assert_eq!(room.0.stats().link_lines, 7);
    room.say(2, "later");
    assert_eq!(room.0.poll_link(&mut buffer).unwrap().first, 8);
}

// [K1] [K3]
#[test]
fn what_was_said_elsewhere_is_shown_with_its_place_and_never_handed_over() {
    let mut room = Room::of_two();
    assert_eq!(room.elsewhere("harbour", "Ada", "hello\tthere"), 1);
    assert_eq!(room.elsewhere("", "Ada", "yesterday"), 1);
    assert_eq!(room.elsewhere("a-1", "@d*a:＠﹫", "x"), 1);
    assert_eq!(room.elsewhere("harbour", "", "Cyd joined"), 1);
    assert_eq!(room.elsewhere("", "", "Cyd left (quit)"), 1);
    let expected = [
        "Ada@harbour : hello there",
        "Ada : yesterday",
        "_d*a___@a-1 : x",
        "* at harbour: Cyd joined",
        "* Cyd left (quit)",
    ];
    assert_eq!(room.heard_at(1), expected);
    assert_eq!(room.handed_over(), [""; 0]);
    let lines = room.lines();
    let from_elsewhere = &lines[lines.len() - 5..];
    let names = [11, 3, 11, 0, 0];
    for ((author, _, _, name, _), expected) in from_elsewhere.iter().zip(names) {
        assert_eq!((*author, *name), (u32::MAX, expected));
    }
    let stats = room.0.stats();
    assert_eq!((stats.elsewhere_lines, stats.elsewhere_refused), (5, 0));
    assert_eq!((stats.messages, stats.link_lost), (0, 0));
}

// [K1]
#[test]
fn a_line_from_elsewhere_of_any_length_is_at_most_two() {
    for (name, text) in [
        ("n".repeat(NAME_MAX), "x".repeat(DATAGRAM_MAX)),
        ("名".repeat(10), "\u{80}".repeat(DATAGRAM_MAX / 2)),
        ("n".repeat(99), "y".repeat(LINE_MAX - 52)),
    ] {
        let mut room = Room::of_two();
        let lines = room.elsewhere("0123456789abcdef", &name, &text);
        let heard = room.heard_at(1);
        assert_eq!(heard.len(), usize::from(lines));
        assert!((1..=2).contains(&lines));
        let kept: String = name.chars().take(32).collect();
        let start = format!("{kept}@0123456789abcdef : ");
        let texts: String = heard
            .iter()
            .map(|line| line.strip_prefix(&start).unwrap())
            .collect();
        assert_eq!(texts.chars().count(), text.chars().count());
        assert!(heard.iter().all(|line| line.len() <= LINE_MAX));
        let (.., name, _) = room.lines().pop().unwrap();
        assert_eq!(usize::from(name), start.len() - 3);
    }
}

#[test]
fn what_is_no_line_is_refused_and_counted() {
    let mut room = Room::of_two();
    let long = "x".repeat(DATAGRAM_MAX + 1);
    let bad = [
        ("Harbour", "Ada", "x"),
        ("an-endless-name-of-it", "Ada", "x"),
        ("a b", "", "x"),
        ("harbour", " \t", "x"),
        ("harbour", "Ada", ""),
        ("harbour", "Ada", " \u{3000}"),
        ("harbour", "", "\n"),
        ("harbour", "Ada", &long),
    ];
    for (place, name, text) in bad {
        assert_eq!(room.elsewhere(place, name, text), 0, "{place} {name}");
    }
    let place = "Harbour";
    assert!(
        !room
            .0
            .handle_notice_elsewhere(NOW, LinkNotice::Gone { place })
    );
    assert_eq!(room.0.stats().elsewhere_refused, bad.len() as u64 + 1);
    assert_eq!(room.heard(), []);
    let mut unlinked = Room::new(Config {
        place: Default::default(),
        ..config()
    });
    unlinked.say(1, "Ada@home");
    assert_eq!(unlinked.lines()[0].4, "* Ada@home joined");
    assert_eq!(unlinked.elsewhere("harbour", "Ada", "x"), 0);
    assert_eq!(unlinked.handed_over(), [""; 0]);
}

// [K2]
#[test]
fn nobody_here_can_look_like_somebody_elsewhere() {
    let mut room = Room::new(config());
    for (port, name, shown) in [
        (1, "Ada@harbour", "Ada_harbour"),
        (2, "Bob＠harbour", "Bob_harbour"),
        (3, "/nick Cyd﹫harbour", "Cyd_harbour"),
        (4, "＠＠＠＠＠＠＠＠＠＠＠＠", "____________"),
    ] {
        let welcome = room.say(port, name);
        assert!(
            welcome.starts_with(&format!("* welcome {shown}: ")),
            "{welcome}"
        );
        assert_eq!(welcome.contains("(not your name?"), port < 5);
    }
    let answers = [
        room.say(1, "/nick Eve@harbour"),
        room.say(1, "/nick Eve＠harbour"),
        room.say(1, "/nick Bob@harbour"),
    ];
    let expected = [
        "* you are now Eve_harbour",
        "* you are Eve_harbour already",
        "* you are now Bob_harbour~2\n* Bob_harbour is taken",
    ];
    assert_eq!(answers, expected);
    let mut proving = Room::new(Config {
        prove: true,
        ..config()
    });
    let asked = proving.say(1, "Ada@harbour");
    assert!(asked.ends_with(" Ada_harbour"), "{asked}");
}

// [K2]
#[test]
fn a_framed_client_and_a_restored_peer_have_no_at_in_their_names() {
    let mut room = Room::new(config());
    let mut hello = Hello {
        abilities: 0,
        nonce: 1,
        cookie: None,
        resume: None,
        name: "Ada@harbour",
    };
    let source = SocketAddr::from(([127, 0, 0, 1], 1));
    let (mut reply, mut frame) = (Reply::new(), [0; DATAGRAM_MAX]);
    let length = Frame::Hello(hello.clone()).encode(&mut frame).unwrap();
    room.0
        .handle_datagram(NOW, source, &frame[..length], &mut reply);
    let Ok(Frame::Cookie(cookie)) = Frame::decode(&reply) else {
        panic!("{reply:?}")
    };
    (hello.cookie, hello.nonce) = (Some(cookie.cookie), 2);
    let length = Frame::Hello(hello).encode(&mut frame).unwrap();
    room.0
        .handle_datagram(NOW, source, &frame[..length], &mut reply);
    let peer = Restored::Peer {
        address: ([127, 0, 0, 1], 2).into(),
        name: "Bob@harbour",
        newline: false,
        quiet: false,
    };
    room.0.restore(NOW, peer).unwrap();
    let names: Vec<_> = room.0.peers().map(|peer| peer.name.to_owned()).collect();
    assert_eq!(names, ["Ada_harbour", "Bob_harbour"]);
}

#[test]
fn lines_that_are_overwritten_before_they_are_handed_over_are_a_hole_in_the_numbers() {
    let mut room = Room::of_two();
    let first = room.0.stats().link_lines + 1;
    for number in 0..30 {
        room.say(1, &format!("{number:0500}"));
        if number % 3 == 0 {
            room.elsewhere("harbour", "Cyd", "between");
        }
        room.heard();
    }
    assert!(room.0.can_receive(), "the link never holds anybody up");
    let lost = room.0.stats().link_lost;
    let waiting = room.0.link_waiting().unwrap();
    let oldest = Instant::from_millis(5000);
    assert_eq!(
        waiting,
        LinkWaiting {
            lines: 30 - lost,
            oldest
        }
    );
    let mut buffer = [0; 1 << 16];
    let batch = room.0.poll_link(&mut buffer).unwrap();
    assert!(lost > 10, "{lost}");
    assert_eq!((batch.first, batch.lost), (first + lost, lost));
    assert_eq!(u64::from(batch.lines), 30 - lost);
    let mut numbers = LinkLines::new(&buffer[..batch.length]).map(shown);
    let next = format!("Ada : {lost:0500}");
    assert_eq!(numbers.next(), Some(next));
    assert_eq!(room.0.link_waiting(), None);
    room.say(1, "later");
    let batch = room.0.poll_link(&mut buffer).unwrap();
    assert_eq!((batch.first, batch.lost), (first + 30, 0));
}

#[test]
fn a_batch_has_as_many_lines_as_fit_and_the_cursor_waits_for_a_buffer() {
    let mut room = Room::of_two();
    for number in 0..10 {
        room.say(1, &format!("{number:0200}"));
    }
    let mut buffer = [0; LINK_BUFFER_MIN];
    let mut batches = Vec::new();
    assert_eq!(room.0.poll_link(&mut []), None);
    assert_eq!(room.0.poll_link(&mut buffer[..100]), None);
    assert_eq!(room.0.link_waiting().unwrap().lines, 10);
    while let Some(LinkBatch { first, lines, .. }) = room.0.poll_link(&mut buffer) {
        batches.push((first - 2, lines));
    }
    assert_eq!(batches, [(1, 4), (5, 4), (9, 2)]);
    let mut large = vec![0; 1 << 16];
    let mut small = Box::new(Relay::<4, { 1 << 16 }, 2>::new());
    small.configure(config());
    for _ in 0..LINK_LINES_MAX + 3 {
        small.say_as_host(NOW, "x");
    }
    let lines = [(); 3].map(|()| small.poll_link(&mut large).map(|batch| batch.lines));
    assert_eq!(lines, [Some(LINK_LINES_MAX), Some(3), None]);
}

// [K6] [K7] [K8]
#[test]
fn peers_are_told_what_happens_to_the_link() {
    let mut room = Room::of_two();
    room.say(2, "/quiet on");
    let place = "harbour";
    for (notice, told) in [
        (
            LinkNotice::Down,
            "* linked places are out of reach; here it goes on",
        ),
        (
            LinkNotice::Up { lines: 0 },
            "* linked places are within reach again",
        ),
        (
            LinkNotice::Up { lines: 2 },
            "* linked places are within reach again; 2 lines of here did not get there",
        ),
        (
            LinkNotice::Lost { place, lines: 1 },
            "* 1 line from harbour lost",
        ),
        (
            LinkNotice::Lost {
                place,
                lines: 46355,
            },
            "* 46355 lines from harbour lost",
        ),
        (
            LinkNotice::Gone { place },
            "* place harbour is out of reach",
        ),
        (
            LinkNotice::Back { place },
            "* place harbour is within reach again",
        ),
        (
            LinkNotice::LeftOut { place, lines: 9 },
            "* 9 lines from harbour left out: too fast",
        ),
        (
            LinkNotice::InHistory { lines: 1 },
            "* 1 line is in the history only",
        ),
        (
            LinkNotice::InHistory { lines: 7 },
            "* 7 lines are in the history only",
        ),
        (
            LinkNotice::Twin { place },
            "* another relay is called harbour, too",
        ),
    ] {
        assert!(room.0.handle_notice_elsewhere(NOW, notice));
        let is_announced = matches!(notice, LinkNotice::Gone { .. } | LinkNotice::Back { .. });
        let mut heard = vec![(1, told.to_owned())];
        heard.extend((!is_announced).then(|| (2, told.to_owned())));
        let mut all = room.heard();
        all.sort();
        assert_eq!(all, heard);
    }
    assert_eq!(room.handed_over(), [""; 0]);
}

// [K10]
#[test]
fn a_relay_that_stops_hands_over_the_rest_and_takes_nothing() {
    let mut room = Room::of_two();
    room.say(1, "the last");
    room.0.stop(NOW);
    assert_eq!(room.elsewhere("harbour", "Cyd", "late"), 0);
    assert!(!room.0.handle_notice_elsewhere(NOW, LinkNotice::Down));
    assert_eq!(room.0.stats().elsewhere_refused, 2);
    assert_eq!(room.handed_over(), ["Ada : the last"]);
    let last = room.heard_at(2).pop();
    assert_eq!(last.as_deref(), Some("* relay is stopping"));
}

// [K1] [E3]
#[test]
fn history_of_the_link_and_of_the_last_run_is_shown_and_not_handed_over() {
    let mut room = Room::new(Config {
        history: 10,
        ..config()
    });
    let epoch = Some(7);
    room.0.restore(
        NOW,
        Restored::Run {
            epoch,
            sequence: 100,
        },
    );
    let name = "n".repeat(32) + "@0123456789abcdef";
    for name in ["Ada", &name, "Eve@x@home"] {
        let line = Restored::Line {
            at: Instant::from_millis(1000),
            kind: LineKind::Message,
            name,
            text: "restored",
        };
        room.0.restore(NOW, line);
    }
    let at = Instant::from_millis(2000);
    room.0
        .handle_elsewhere(at, "harbour", "Cyd", "from the stream");
    room.0.handle_elsewhere(at, "", "Ada", "from here");
    let welcome = room.say(1, "Zoe");
    assert!(welcome.ends_with("; the last 5 lines:"), "{welcome}");
    let expected = [
        "Ada : restored".to_owned(),
        format!("{name} : restored"),
        "Eve@x@home : restored".to_owned(),
        "Cyd@harbour : from the stream".to_owned(),
        "Ada : from here".to_owned(),
        "* Zoe joined".to_owned(),
    ];
    assert_eq!(room.heard_at(1), expected);
    let times: Vec<u32> = room.lines().iter().map(|(_, at, ..)| *at).collect();
    assert_eq!(times, [1, 1, 1, 2, 2, 5]);
    assert_eq!(room.handed_over(), ["* Zoe joined"]);
}

#[test]
fn the_name_of_a_place_is_short_and_plain() {
    for name in ["a", "0", "-", "harbour-2", "0123456789abcdef"] {
        assert!(is_place(name), "{name}");
    }
    for name in ["", "A", "a b", "a.b", "a*", "a>", "é", "0123456789abcdefg"] {
        assert!(!is_place(name), "{name}");
    }
}

#[test]
fn what_is_no_encoding_of_lines_has_none() {
    let mut room = Room::of_two();
    room.say(1, "hi");
    let mut buffer = [0; LINK_BUFFER_MIN];
    let batch = room.0.poll_link(&mut buffer).unwrap();
    let whole = &buffer[..batch.length];
    assert_eq!(LinkLines::new(whole).count(), 1);
    for end in 0..whole.len() {
        assert_eq!(LinkLines::new(&whole[..end]).count(), 0);
    }
    assert_eq!(LinkLines::new(&[0xFF; 100]).count(), 0);
}

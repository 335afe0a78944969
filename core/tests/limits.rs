//! The relay at its limits: texts and replies of maximum length, characters at a cut, the maximum
//! time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use core::net::SocketAddr;
use core::time::Duration;

use kilochat_core::{
    Config, DATAGRAM_MAX, Delivery, Event, Instant, LINE_MAX, NAME_MAX, Refusal, Relay, Reply,
    Seat, Unreachable, clean,
};
use proptest::prelude::*;

type Small = Relay<64, 65536, 32>;

const START: Instant = Instant::from_millis(0);

fn relay(config: Config) -> Box<Small> {
    let mut relay = Box::new(Relay::new());
    relay.configure(Config { rate: 0, ..config });
    relay
}

fn source(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Hands over a datagram from `port`. Returns the event and the reply.
fn say(relay: &mut Small, port: u16, payload: impl AsRef<[u8]>) -> (Event, String) {
    let mut reply = Reply::new();
    let event = relay.handle_datagram(START, source(port), payload.as_ref(), &mut reply);
    (event, String::from_utf8(reply.to_vec()).unwrap())
}

/// Takes all fan-outs. Returns the lines for the peer at `port`.
fn lines_for(relay: &mut Small, port: u16) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0; DATAGRAM_MAX];
    while let Some(mut fanout) = relay.poll_fanout(START, &mut buffer) {
        let payload = str::from_utf8(fanout.payload()).unwrap();
        if fanout.any(|delivery| delivery.address.port() == port) {
            lines.extend(payload.split('\n').map(str::to_owned));
        }
    }
    lines
}

/// Returns a room in which `name` talks and the peer at port 2 listens.
fn talk(name: &str) -> Box<Small> {
    let mut relay = relay(Config::new([0; 16]));
    say(&mut relay, 2, "listener");
    assert!(matches!(say(&mut relay, 1, name).0, Event::Joined { .. }));
    lines_for(&mut relay, 2);
    relay
}

/// Says `text` and checks that it arrives complete, in one line or in two, of which the first is as
/// long as possible.
fn arrives_whole(relay: &mut Small, name: &str, text: &str) {
    let (event, reply) = say(relay, 1, text);
    let heard = lines_for(relay, 2);
    assert!(matches!(event, Event::Said { lines, .. } if usize::from(lines) == heard.len()));
    assert_eq!(reply, "");
    let start = format!("{name} : ");
    let parts: Vec<&str> = heard
        .iter()
        .map(|line| line.strip_prefix(&start).unwrap())
        .collect();
    assert_eq!(parts.concat(), clean(text).collect::<String>());
    assert!(heard.iter().all(|line| line.len() <= LINE_MAX));
    match heard.as_slice() {
        [_] => {}
        [first, _] => {
            let next = parts[1].chars().next().unwrap();
            assert!(first.len() + next.len_utf8() > LINE_MAX);
        }
        _ => panic!("{} lines", heard.len()),
    }
}

#[test]
fn a_long_text_is_cut_between_characters_wherever_the_limit_falls() {
    for name in ["A", &"n".repeat(NAME_MAX)] {
        let mut relay = talk(name);
        for unit in ["x", "é", "你", "🎉", "👩‍👩‍👧", "\u{80}"] {
            for shift in 0..=unit.len() {
                let text = "a".repeat(shift) + &unit.repeat(DATAGRAM_MAX / unit.len());
                let end = text.floor_char_boundary(DATAGRAM_MAX);
                arrives_whole(&mut relay, name, &text[..end]);
            }
        }
        for length in (LINE_MAX - 40)..=DATAGRAM_MAX {
            arrives_whole(&mut relay, name, &"x".repeat(length));
        }
    }
}

#[test]
fn a_text_cut_within_a_character_is_refused_at_every_position() {
    let text = "你好，世界！👩‍👩‍👧🎉é";
    let mut relay = talk("A");
    for end in 1..=text.len() {
        let (event, _) = say(&mut relay, 1, &text.as_bytes()[..end]);
        if text.is_char_boundary(end) {
            assert!(matches!(event, Event::Said { lines: 1, .. }));
            assert_eq!(lines_for(&mut relay, 2), [format!("A : {}", &text[..end])]);
        } else {
            assert!(matches!(
                event,
                Event::Refused {
                    why: Refusal::NotUtf8,
                    ..
                }
            ));
            assert_eq!(lines_for(&mut relay, 2), [""; 0]);
        }
        let (event, _) = say(&mut relay, 3, &text.as_bytes()[..end]);
        assert_eq!(
            matches!(event, Event::Joined { .. }),
            text.is_char_boundary(end)
        );
        say(&mut relay, 3, "/quit");
        lines_for(&mut relay, 2);
    }
}

// [W1] [J8] [T10]
#[test]
fn a_datagram_may_have_1024_bytes_and_not_one_more() {
    let mut relay = talk("A");
    assert!(matches!(
        say(&mut relay, 1, [b'x'; DATAGRAM_MAX]).0,
        Event::Said { lines: 2, .. }
    ));
    let (event, reply) = say(&mut relay, 1, [b'x'; DATAGRAM_MAX + 1]);
    assert!(matches!(
        event,
        Event::Refused {
            why: Refusal::TooLong,
            ..
        }
    ));
    assert_eq!(reply, "* not sent: longer than 1024 bytes");
}

proptest! {
    #[test]
    fn whatever_is_said_arrives_whole(text in "\\PC{0,250}", name in "[a-z你]{1,10}") {
        let mut relay = talk(&name);
        let text = format!("-{text}");
        let end = text.floor_char_boundary(DATAGRAM_MAX);
        arrives_whole(&mut relay, &name, &text[..end]);
    }
}

#[test]
fn the_longest_replies_are_whole() {
    let mut motd = heapless::String::new();
    while motd.push('\u{80}').is_ok() {}
    let mut relay = relay(Config {
        motd,
        history: u16::MAX,
        ..Config::new([0; 16])
    });
    let name = |port: u16| format!("{port:_<width$}", width = NAME_MAX);
    for port in 10..73 {
        say(&mut relay, port, name(port));
    }
    for _ in 0..100 {
        say(&mut relay, 10, "x");
    }
    let (_, welcome) = say(&mut relay, 9, format!("99 {:_<29}\n", "9"));
    assert!(welcome.contains(&"\u{FFFD}".repeat(80)), "{welcome}");
    assert!(
        welcome.ends_with("(not your name? /nick NAME, then say it again); the last 100 lines:\n"),
        "{welcome}"
    );
    let (_, who) = say(&mut relay, 9, "/who");
    assert!(
        who.ends_with(" more; /who PREFIX lists those that begin so\n"),
        "{who}"
    );
    assert!(who.len() > 950, "{who}");
    let (_, unknown) = say(&mut relay, 9, format!("/{}", "\u{80}".repeat(500)));
    assert!(unknown.ends_with("/help lists commands\n"), "{unknown}");
    let (_, nobody) = say(&mut relay, 9, format!("/who {}", "\u{80}".repeat(500)));
    assert_eq!(
        nobody,
        format!("* nobody's name begins with {}\n", "\u{FFFD}".repeat(16))
    );
}

#[test]
fn the_buffer_may_have_any_length() {
    for length in 0..=DATAGRAM_MAX + 1 {
        let mut relay = talk("A");
        say(&mut relay, 1, "x".repeat(900));
        let mut buffer = vec![0; length];
        let sent = relay
            .poll_fanout(START, &mut buffer)
            .map(|fanout| fanout.payload().len());
        // one byte is reserved for a line feed
        assert_eq!(sent, (length > 904).then_some(904));
    }
}

/// A step of a random driver.
#[derive(Clone, Debug)]
enum Step {
    Datagram(u16, &'static str),
    Unreachable(Unreachable),
    Send(usize),
    GiveBack,
    Block,
    Unblock,
    Timeout,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let moments = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX - 1),
        Just(u64::MAX),
        any::<u64>()
    ];
    let payloads = proptest::sample::select(vec![
        "x",
        "/quit",
        "/nick y",
        "/quiet on",
        "/who",
        "\u{1}",
        "",
        "你好",
    ]);
    let step = prop_oneof![
        4 => (1_u16..8, payloads).prop_map(|(port, payload)| Step::Datagram(port, payload)),
        1 => Just(Step::Unreachable(Unreachable::Port)),
        1 => Just(Step::Unreachable(Unreachable::Path)),
        2 => (0_usize..8).prop_map(Step::Send),
        1 => Just(Step::GiveBack),
        1 => Just(Step::Block),
        1 => Just(Step::Unblock),
        1 => Just(Step::Timeout),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec((moments, step), 0..200)
}

proptest! {
    #[test]
    fn no_moment_and_no_order_of_calls_is_too_much(steps in steps(), idle in any::<Duration>()) {
        let mut relay = Box::new(Relay::<4, 2048, 4>::new());
        relay.configure(Config { idle, ..Config::new([0; 16]) });
        let mut reply = Reply::new();
        let mut buffer = [0; DATAGRAM_MAX];
        let mut seats: Vec<Seat> = Vec::new();
        let mut deliveries: Vec<Delivery> = Vec::new();
        for (millis, step) in steps {
            let now = Instant::from_millis(millis);
            match step {
                Step::Datagram(port, payload) => {
                    let event = relay.handle_datagram(now, source(port), payload.as_bytes(), &mut reply);
                    seats.extend(event.seat());
                }
                Step::Unreachable(why) => {
                    // also seats whose peers have left
                    for seat in &seats {
                        let _ = relay.handle_unreachable(now, *seat, why);
                    }
                }
                Step::Send(most) => {
                    if let Some(fanout) = relay.poll_fanout(now, &mut buffer) {
                        deliveries.extend(fanout.take(most));
                    }
                }
                // in the wrong order, late, and repeatedly
                Step::GiveBack => deliveries.iter().for_each(|delivery| relay.handle_refused(*delivery)),
                Step::Block => seats.iter().for_each(|seat| relay.handle_blocked(*seat)),
                Step::Unblock => seats.iter().for_each(|seat| relay.handle_writable(*seat)),
                Step::Timeout => while relay.handle_timeout(now).is_some() {},
                Step::Stop => relay.stop(now),
            }
            let owed: u64 = relay.peers().map(|peer| peer.owed).sum();
            prop_assert!(relay.peer_count() <= 4 && owed <= 4 * relay.stats().lines);
            let _ = (relay.can_receive(), relay.poll_timeout());
        }
    }
}

/// Returns the rows of the table of sizes in the docs of `Relay`: type, bytes on a 64-bit machine, and with
/// the feature `link`.
#[cfg(target_pointer_width = "64")]
fn told_sizes() -> Vec<(String, usize, usize)> {
    include_str!("../src/relay.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("/// | `Relay<"))
        .filter_map(|row| {
            let mut columns = row.split(" | ");
            let parameters = columns.next()?.strip_suffix(">`")?;
            let [plain, linked] = [columns.next()?, columns.next()?];
            Some((
                parameters.to_owned(),
                plain.parse().ok()?,
                linked.parse().ok()?,
            ))
        })
        .collect()
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_table_tells_the_sizes_on_this_machine() {
    let sizes = told_sizes().into_iter().map(|(relay, plain, linked)| {
        let size = if cfg!(feature = "link") {
            linked
        } else {
            plain
        };
        (relay, size)
    });
    let expected = [
        ("32, 8192, 8", size_of::<Relay<32, 8192, 8>>()),
        ("64, 65536, 32", size_of::<Relay<64, 65536, 32>>()),
        ("4096, 1048576, 32", size_of::<Relay<4096, 1_048_576, 32>>()),
    ];
    let expected = expected.map(|(relay, size)| (relay.to_owned(), size));
    assert_eq!(sizes.collect::<Vec<_>>(), expected);
}

//! Eight clients that talk at the same time over a network that loses, duplicates and reorders
//! datagrams.
//!
//! The test reads what each prints with `--json`, and knows nothing about frames.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "a measurement")]

use core::time::Duration;
use std::collections::BTreeMap;
use std::time::Instant;

use kilochat_tests::proxy::{Faults, Proxy};
use kilochat_tests::{ChatProgram, RelayProgram, Verdict, Violation};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");
const CLIENTS: usize = 8;
const LINES: usize = 1000;
const SEED: u64 = 7;
/// Several times as long as it takes on a busy machine.
const LONG: Duration = Duration::from_secs(180);
const END: &str = "that was all";

/// What an output line of a client says about the order of the room.
enum Told {
    /// The room's line at this position: its author (`None` for a notice) and its text.
    Line { sequence: u64, line: Line },
    /// This number of lines from this position on were lost.
    Gap { sequence: u64, lines: u64 },
    /// Nothing.
    Aside,
}

type Line = (Option<String>, String);

/// Parses an output line of a client. All assumptions about the output are here.
fn read(json: &str, reader: &str) -> Verdict<Told> {
    let wrong = || Violation(format!("{reader}: {json}"));
    let object: Value = serde_json::from_str(json).map_err(|_| wrong())?;
    let text = |key: &str| object[key].as_str().map(str::to_owned);
    let kind = text("kind").ok_or_else(wrong)?;
    let name = text("name");
    let is_right = match (kind.as_str(), name.as_deref(), object["sequence"].as_u64()) {
        ("notice" | "status", None, None) => return Ok(Told::Aside),
        ("gap", None, Some(sequence)) => {
            let lines = object["lines"].as_u64().filter(|lines| *lines > 0);
            let lines = lines.ok_or_else(wrong)?;
            return Ok(Told::Gap { sequence, lines });
        }
        ("own", Some(name), Some(_)) => name == reader,
        ("message", Some(name), Some(_)) => name != reader,
        // the history of a newcomer includes announcements
        ("notice", None, Some(_)) | ("history", _, Some(_)) => true,
        _ => false,
    };
    match (is_right, object["sequence"].as_u64(), text("text")) {
        (true, Some(sequence), Some(text)) => Ok(Told::Line {
            sequence,
            line: (name, text),
        }),
        _ => Err(wrong()),
    }
}

/// The common order of all clients, as far as their outputs have shown it.
#[derive(Default)]
struct Room(BTreeMap<u64, Line>);

impl Room {
    /// Reads a client's output. Returns the number of lines that it reports as lost.
    ///
    /// # Errors
    ///
    /// If a position occurs twice, is left out, or has another line than another client read there.
    fn check(&mut self, reader: &str, output: &[String]) -> Verdict<u64> {
        let (mut expected, mut lost) = (None, 0);
        for json in output {
            let (sequence, lines) = match read(json, reader)? {
                Told::Aside => continue,
                Told::Gap { sequence, lines } => {
                    lost += lines;
                    (sequence, lines)
                }
                Told::Line { sequence, line } => {
                    let known = self.0.entry(sequence).or_insert_with(|| line.clone());
                    if *known != line {
                        return Err(Violation(format!("{reader}: {json}, not {known:?}")));
                    }
                    (sequence, 1)
                }
            };
            if expected.is_some_and(|expected| expected != sequence) {
                return Err(Violation(format!("{reader}: {json}, not {expected:?}")));
            }
            expected = Some(sequence + lines);
        }
        Ok(lost)
    }

    /// Returns what an author said, in the room's order.
    fn said<'a>(&'a self, author: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.0.values();
        lines.filter_map(move |(name, text)| (name.as_deref() == Some(author)).then_some(&**text))
    }
}

fn name(client: usize) -> String {
    format!("client-{client}")
}

fn text(line: usize) -> String {
    format!("line {line} {}", "of a conversation ".repeat(5).trim_end())
}

/// Starts the clients one after the other. Each has been welcomed.
fn join(proxy: &Proxy) -> Vec<ChatProgram> {
    let host = proxy.address().to_string();
    let join = |client| {
        let arguments = [&host, "--name", &name(client), "--json"];
        let mut chat = ChatProgram::start(PROGRAM, &arguments);
        chat.wait_for(|line| line.contains("welcome"));
        chat
    };
    (0..CLIENTS).map(join).collect()
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    let free = "127.0.0.1:0".parse().expect("an address");
    let faults = Faults {
        delay: Duration::from_millis(5),
        // longer than the delay of acknowledgements, so that more datagrams are overtaken while a
        // client waits for one
        hold: Duration::from_millis(250),
        ..Faults::HARSH
    };
    // a client that receives nothing for 3 s falls back to plain text, so the faults begin when all
    // have joined
    let proxy = Proxy::start(free, relay.address, Faults::NONE, SEED).expect("it starts");
    let mut chats = join(&proxy);
    proxy.set_faults(faults);

    let begun = Instant::now();
    let lines: String = (0..LINES).map(|line| text(line) + "\n").collect();
    std::thread::scope(|scope| {
        for chat in &mut chats {
            scope.spawn(|| chat.write(&lines));
        }
    });
    let last = format!(r#""text":"{}""#, text(LINES - 1));
    for chat in &mut chats {
        chat.wait_within(LONG, |line| {
            line.contains(r#""kind":"own""#) && line.contains(&last)
        });
    }
    // the last line: when it arrives, all others have
    chats[0].write(format!("{END}\n"));
    for chat in &mut chats {
        chat.wait_within(LONG, |line| line.contains(END));
    }
    let took = begun.elapsed();
    let totals = proxy.totals();
    println!("{CLIENTS} clients, {LINES} lines each, in {took:?}\n{totals}");

    let mut room = Room::default();
    for (client, chat) in chats.iter().enumerate() {
        let lost = room.check(&name(client), &chat.lines).expect("one order");
        println!(
            "{}: {} lines of output, {lost} said to be lost",
            name(client),
            chat.lines.len()
        );
    }
    for client in 0..CLIENTS {
        let mut expected: Vec<_> = (0..LINES).map(text).collect();
        if client == 0 {
            expected.push(END.to_owned());
        }
        assert!(room.said(&name(client)).eq(expected), "{}", name(client));
    }
    for (direction, traffic) in totals.directions() {
        traffic.check_sums().expect(direction);
        traffic.check_rates(&faults).expect(direction);
    }
    proxy.set_faults(Faults::NONE);
    for mut chat in chats {
        chat.close_input();
        let end = chat.finish();
        assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
    }
}

mod reader {
    use super::*;

    fn line(kind: &str, sequence: u64, name: &str, text: &str) -> String {
        format!(r#"{{"kind":"{kind}","sequence":{sequence},"name":"{name}","text":"{text}"}}"#)
    }

    fn gap(sequence: u64, lines: u64) -> String {
        format!(r#"{{"kind":"gap","sequence":{sequence},"name":null,"text":"","lines":{lines}}}"#)
    }

    /// Checks Eve's output in a room in which Ada said "a" at position 1, and Bob "b" at 2.
    fn check(output: &[String]) -> Verdict<u64> {
        let ada = [line("own", 1, "Ada", "a"), line("message", 2, "Bob", "b")];
        let mut room = Room::default();
        room.check("Ada", &ada).expect("it is right");
        room.check("Eve", output)
    }

    #[test]
    fn passes_what_is_right() {
        let (first, second) = (
            line("message", 1, "Ada", "a"),
            line("message", 2, "Bob", "b"),
        );
        let third = line("own", 3, "Eve", "c");
        assert_eq!(
            check(&[first.clone(), second.clone(), third.clone()]),
            Ok(0)
        );
        assert_eq!(check(&[first, gap(2, 1), third.clone()]), Ok(1));
        assert_eq!(check(&[gap(1, 2), third]), Ok(2));
        assert_eq!(check(&[second]), Ok(0), "the client that joined later");
    }

    #[test]
    fn finds_what_is_wrong() {
        let (first, second) = (
            line("message", 1, "Ada", "a"),
            line("message", 2, "Bob", "b"),
        );
        let third = line("message", 3, "Bob", "c");
        for output in [
            vec![first.clone(), third.clone()],
            vec![first.clone(), first.clone(), second.clone()],
            vec![second, first.clone()],
            vec![first.clone(), gap(2, 2), third.clone()],
            vec![first.clone(), gap(2, 0), third],
            vec![first, line("message", 2, "Bob", "other")],
            vec![line("message", 1, "Eve", "a")],
            vec![line("own", 1, "Ada", "a")],
        ] {
            assert!(check(&output).is_err(), "{output:#?}");
        }
    }
}

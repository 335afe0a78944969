//! The chat client on pipes with the real relay.
#![cfg(unix)]

use core::time::Duration;
use std::collections::BTreeSet;

use kilochat_tests::{ChatProgram, RelayProgram};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");
const FLOOD: usize = 10_000;

/// A plain client says 48 lines at once, and then 10 a second.
const PLAIN_FLOOD: usize = 100;

/// The options for the framed dialect and for the plain one.
const DIALECTS: [&[&str]; 2] = [&[], &["--plain"]];

fn relay() -> RelayProgram {
    RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"])
}

fn join(relay: &RelayProgram, name: &str, options: &[&str]) -> ChatProgram {
    let host = relay.address.to_string();
    let arguments = [&[host.as_str(), "--name", name], options].concat();
    let mut chat = ChatProgram::start(PROGRAM, &arguments);
    chat.wait_for(|line| line.contains("welcome"));
    chat
}

#[test]
fn clients_of_both_dialects_share_a_room() {
    for [first, second, third] in [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 1]] {
        share_a_room(DIALECTS[first], DIALECTS[second], DIALECTS[third]);
    }
}

fn share_a_room(first: &[&str], second: &[&str], third: &[&str]) {
    let relay = relay();
    let mut ada = join(&relay, "Ada", first);
    let mut bob = join(&relay, "Bob", second);
    let mut json = join(&relay, "小明", &[&["--json"], third].concat());
    ada.wait_for(|line| line == "* 小明 joined");
    ada.write("hello 😀\n/quit\n");
    bob.wait_for(|line| line == "Ada : hello 😀");
    bob.wait_for(|line| line == "Ada : /quit");
    json.wait_for(|line| line.contains(r#""name":"Ada","text":"/quit""#));
    ada.close_input();
    assert_eq!(ada.finish().code, Some(0));
    bob.wait_for(|line| line == "* Ada left (quit)");
    let late = join(&relay, "late", &["--json"]);
    assert!(late.lines[0].contains("the last "), "{:?}", late.lines);
}

// [G3]
#[test]
fn a_relay_that_wants_proof_gets_it_from_the_client_by_itself() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0", "--prove"]);
    for dialect in DIALECTS {
        let mut ada = join(&relay, "Ada", dialect);
        let mut bob = join(&relay, "Bob", dialect);
        ada.write("hello\n");
        bob.wait_for(|line| line == "Ada : hello");
        ada.close_input();
        assert_eq!(ada.finish().code, Some(0));
    }
}

#[test]
fn a_newcomer_reads_the_history_as_history() {
    for dialect in DIALECTS {
        read_the_history(dialect);
    }
}

fn read_the_history(dialect: &[&str]) {
    let relay = relay();
    let mut ada = join(&relay, "Ada", dialect);
    ada.write("one\ntwo\n");
    ada.close_input();
    assert_eq!(ada.finish().code, Some(0));
    let mut bob = join(&relay, "Bob", &[&["--json"], dialect].concat());
    bob.wait_for(|line| line.contains("Bob joined"));
    let kind = |text: &str| {
        let wanted = format!(r#""text":"{text}""#);
        let line = bob.lines.iter().find(|line| line.contains(&wanted));
        let object: serde_json::Value =
            serde_json::from_str(line.expect("it was said")).expect("an object");
        object["kind"].as_str().map(str::to_owned)
    };
    assert_eq!(kind("one").as_deref(), Some("history"));
    assert_eq!(kind("two").as_deref(), Some("history"));
    assert_eq!(kind("Bob joined").as_deref(), Some("notice"));
}

#[test]
fn scripts_that_send_are_not_announced_and_fill_no_history() {
    let relay = relay();
    let mut ada = join(&relay, "Ada", &[]);
    let host = relay.address.to_string();
    for number in 1..=12 {
        let text = format!("backup {number} done");
        let program = std::process::Command::new(PROGRAM)
            .args(["send", &host, "--name", "cron", &text])
            .output();
        assert!(program.unwrap().status.success());
        ada.wait_for(|line| line == format!("cron : {text}"));
    }
    let mut bob = join(&relay, "Bob", &[]);
    bob.wait_for(|line| line == "cron : backup 12 done");
    let texts: Vec<String> = (3..=12)
        .map(|number| format!("cron : backup {number} done"))
        .collect();
    let welcome = "* welcome Bob: 2 here (Ada, Bob); /help lists commands; the last 10 lines:";
    assert_eq!(bob.lines[0], welcome);
    assert_eq!(bob.lines[1..], texts);
    assert!(
        !ada.lines
            .iter()
            .any(|line| line.contains("cron joined") || line.contains("left"))
    );
}

#[test]
fn names_that_look_like_notices_change_nothing() {
    for dialect in DIALECTS {
        ignore_odd_names(dialect);
    }
}

fn ignore_odd_names(dialect: &[&str]) {
    let relay = relay();
    let mut ada = join(&relay, "Ada", dialect);
    let mut bob = join(&relay, "Bob", dialect);
    for name in [
        "you are now Eve",
        "you are",
        "your seat was given away",
        "relay is stopping",
        "full",
    ] {
        let mut eve = join(&relay, name, dialect);
        ada.wait_for(|line| line == format!("* {name} joined"));
        eve.close_input();
        assert_eq!(eve.finish().code, Some(0));
        ada.wait_for(|line| line == format!("* {name} left (quit)"));
    }
    ada.write("still me\n");
    bob.wait_for(|line| line == "Ada : still me");
    ada.close_input();
    let end = ada.finish();
    assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
    bob.wait_for(|line| line == "* Ada left (quit)");
}

#[test]
fn ten_thousand_lines_arrive_whole() {
    for dialect in DIALECTS {
        write_ten_thousand_lines(dialect, dialect);
    }
}

fn write_ten_thousand_lines(reading: &[&str], writing: &[&str]) {
    let relay = relay();
    let mut reader = join(&relay, "reader", &[&["--stay"], reading].concat());
    reader.close_input();
    let mut writer = join(&relay, "writer", writing);
    let flood = match writing {
        [] => FLOOD,
        _ => PLAIN_FLOOD,
    };
    let text: String = (1..=flood).map(|number| format!("{number}\n")).collect();
    let writing = std::thread::spawn(move || {
        writer.write(text);
        writer.close_input();
        writer.finish()
    });
    reader.wait_for(|line| line == "* writer left (quit)");
    assert_eq!(writing.join().expect("no panic").code, Some(0));
    let read: Vec<&str> = reader
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("writer : "))
        .collect();
    assert_eq!(read.len(), flood);
    assert!(
        read.iter()
            .enumerate()
            .all(|(index, line)| *line == (index + 1).to_string())
    );
}

#[test]
fn a_restart_loses_no_plain_line_and_makes_none_a_name() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut relay = relay();
        let bind = relay.address.to_string();
        let mut ada = join(&relay, "Ada", &["--plain"]);
        let mut bob = join(&relay, "Bob", &["--plain"]);
        ada.write("before\n");
        bob.wait_for(|line| line == "Ada : before");
        relay.signal(signal);
        relay.wait();
        // each line waits until its author has joined again
        ada.write("while it is away\n");
        bob.write("I am still here\n");
        std::thread::sleep(Duration::from_millis(200));
        // a reader that joins before they are back receives both lines; on a slow machine they are
        // history
        let relay = RelayProgram::start(PROGRAM, &["--bind", &bind]);
        let mut reader = join(&relay, "reader", &["--plain"]);
        ada.wait_for(|line| line.starts_with("* welcome Ada: "));
        bob.wait_for(|line| line.starts_with("* welcome Bob: "));
        ada.write("after\n");
        bob.write("after\n");
        for name in ["Ada", "Bob"] {
            while !reader.lines.contains(&format!("{name} : after")) {
                reader.wait_for(|line| line.ends_with(" : after"));
            }
        }
        let said = |line: &str| reader.lines.iter().filter(|heard| *heard == line).count();
        assert_eq!(said("Ada : while it is away"), 1, "{:?}", reader.lines);
        assert_eq!(said("Bob : I am still here"), 1, "{:?}", reader.lines);
        assert!(
            !reader
                .lines
                .iter()
                .any(|line| line.starts_with("* I am") || line.starts_with("* while")),
            "{:?}",
            reader.lines
        );
    }
}

#[test]
fn a_restart_that_nobody_noticed_makes_no_plain_line_a_name() {
    let mut relay = relay();
    let bind = relay.address.to_string();
    let mut ada = join(&relay, "Ada", &["--plain"]);
    relay.kill();
    let relay = RelayProgram::start(PROGRAM, &["--bind", &bind]);
    let mut bob = join(&relay, "Bob", &["--plain"]);
    ada.write("hello there\n");
    bob.wait_for(|line| line == "Ada : hello there");
    assert!(
        bob.lines.contains(&"* hello there is now Ada".to_owned()),
        "{:?}",
        bob.lines
    );
}

#[test]
fn a_plain_flood_over_a_restart_arrives_whole() {
    let mut relay = relay();
    let bind = relay.address.to_string();
    let mut before = join(&relay, "before", &["--plain", "--stay"]);
    let mut writer = join(&relay, "writer", &["--plain"]);
    let text: String = (1..=PLAIN_FLOOD)
        .map(|number| format!("{number}\n"))
        .collect();
    let writing = std::thread::spawn(move || {
        writer.write(text);
        writer.close_input();
        writer.finish()
    });
    before.wait_for(|line| line == "writer : 60");
    relay.signal(Signal::SIGTERM);
    relay.wait();
    before.wait_for(|line| line == "* relay is stopping");
    // the writer retries after half a second, so this reader joins first
    let relay = RelayProgram::start(PROGRAM, &["--bind", &bind, "--history", "1000"]);
    let mut after = join(&relay, "after", &["--plain", "--stay"]);
    after.wait_for(|line| line == "* writer left (quit)");
    assert_eq!(writing.join().expect("no panic").code, Some(0));
    let read: BTreeSet<usize> = before
        .lines
        .iter()
        .chain(&after.lines)
        .filter_map(|line| line.strip_prefix("writer : "))
        .map(|number| number.parse().expect("a number"))
        .collect();
    let missing: Vec<usize> = (1..=PLAIN_FLOOD)
        .filter(|number| !read.contains(number))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

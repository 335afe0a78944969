//! Admission to the relay's program: its options and signals.
#![cfg(unix)]

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kilochat_tests::{ChatProgram, PATIENCE, PlainPeer, RelayProgram};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// Creates a file for one test.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("it can be written");
    path
}

fn relay(options: &[&str]) -> RelayProgram {
    RelayProgram::start(PROGRAM, &[&["--bind", "127.0.0.1:0"], options].concat())
}

// [G10] [L8]
#[test]
fn sighup_reads_the_rules_again_and_removes_who_is_denied() {
    let path = file("reload.rules", "# nothing yet\n");
    let mut relay = relay(&["--rules", path.to_str().expect("a name")]);
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let host = relay.address.to_string();
    let mut ada = ChatProgram::start(PROGRAM, &[&host, "--name", "Ada", "--stay"]);
    ada.wait_for(|line| line.contains("welcome"));
    // a file with a mistake changes nothing
    fs::write(&path, "deny 127.0.0.1\ndenny 10.0.0.1\n").expect("it can be written");
    relay.signal(Signal::SIGHUP);
    let why = "none of allow, deny, local; the old rules stay";
    let logged = relay.wait_for_log(|line| line.contains(why));
    assert!(logged.contains("reload.rules:2: "), "{logged}");
    bob.say("still here");
    ada.wait_for(|line| line == "Bob : still here");
    fs::write(&path, "deny 127.0.0.1\n").expect("it can be written");
    relay.signal(Signal::SIGHUP);
    bob.wait_for(|line| line == "* you were removed from this room");
    let end = ada.finish();
    assert_eq!(end.code, Some(1), "{end:?}");
    let eve = PlainPeer::new(relay.address);
    eve.say("Eve");
    relay.wait_for_log(|line| line.contains("denied by a rule"));
    // rules can be removed, too
    fs::write(&path, "").expect("it can be written");
    relay.signal(Signal::SIGHUP);
    relay.wait_for_log(|line| line.contains("rules were read again"));
    PlainPeer::join(relay.address, "Bob");
    assert_eq!(relay.statistics()["removed"], 2);
}

#[test]
fn a_relay_does_not_start_with_rules_that_have_a_mistake() {
    let path = file("bad.rules", "deny 10.0.0.0/40\n");
    let path = path.to_str().expect("a name");
    for (options, why) in [
        (["--rules", path], ":1: \"10.0.0.0/40\" is no network"),
        (
            ["--rules", "/nowhere/at/all"],
            "cannot read the rules in /nowhere/at/all",
        ),
        (["--deny", "example.org"], "is no network"),
        (["--rate", "20:0"], "20:64"),
    ] {
        let output = Command::new(PROGRAM)
            .args(["relay", "--port", "0", "--no-announce"])
            .args(options)
            .output()
            .expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn options_deny_before_they_allow() {
    let mut relay = relay(&["--deny", "127.0.0.1", "--local", "127.0.0.0/8"]);
    let eve = PlainPeer::new(relay.address);
    eve.say("Eve");
    relay.wait_for_log(|line| line.contains("denied by a rule"));
}

// [T17] [U7]
#[test]
fn two_hundred_lines_at_once_are_all_said_in_order() {
    let relay = relay(&["--rate", "20:64", "--history", "0"]);
    let host = relay.address.to_string();
    for dialect in [&[][..], &["--plain"]] {
        let mut reader = ChatProgram::start(PROGRAM, &[&host, "--name", "reader", "--stay"]);
        reader.wait_for(|line| line.contains("welcome"));
        let options = [&[host.as_str(), "--name", "Ada"], dialect].concat();
        let mut ada = ChatProgram::start(PROGRAM, &options);
        ada.wait_for(|line| line.contains("welcome"));
        // the plain client says only 10 lines a second; fewer lines keep the test short
        let lines = if dialect.is_empty() { 200 } else { 80 };
        let text: String = (0..lines).map(|line| format!("line {line}\n")).collect();
        ada.write(text);
        ada.close_input();
        for line in 0..lines {
            let expected = format!("Ada : line {line}");
            let next = |line: &str| line.starts_with("Ada : ");
            assert_eq!(reader.wait_within(2 * PATIENCE, next), expected);
        }
        assert_eq!(ada.finish().code, Some(0));
        std::thread::sleep(Duration::from_millis(10));
    }
}

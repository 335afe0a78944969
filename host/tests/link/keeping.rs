//! Relays that are linked and keep what is said: what is kept is what the room read, by this machine's clock.

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::servers::{Folder, PATIENCE, Place, Server, check, free_port, history};

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_relay_that_keeps_its_lines_shows_none_twice_after_a_restart() {
    let server = Server::new();
    let folder = Folder::new();
    let keep = ["--keep", &folder.path("kept"), "--history", "50"];
    let mut boat = Place::with(&server.url(), "boat", "Ada", &keep);
    let mut harbour = Place::new(&server.url(), "harbour", "Bob");
    harbour.say(0..5);
    check(&boat.numbers("Bob@harbour", 4), 0..5);
    boat.relay.signal(Signal::SIGTERM);
    assert!(boat.relay.wait().success());
    harbour.say(5..9);
    let mut again = Place::with(&server.url(), "boat", "Cleo", &keep);
    check(&again.numbers("Bob@harbour", 8), 0..9);
    // and what was restored is not said again elsewhere
    again.say(70..71);
    harbour.wait_for(|line| line == "Cleo@boat : 70");
    let lines = harbour.peer.lines();
    let is_bob = |line: &String| line.starts_with("Bob") || line.contains("@harbour");
    assert!(!lines.iter().any(is_bob), "{lines:?}");
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn after_a_crash_and_an_outage_each_line_is_shown_and_kept_once() {
    let server = Server::new();
    let folder = Folder::new();
    let kept = folder.path("kept");
    let keep = ["--keep", &kept, "--history", "50"];
    let mut harbour = Place::new(&server.url(), "harbour", "Bob");
    let mut boat = Place::with(&server.url(), "boat", "Ada", &keep);
    harbour.say(0..3);
    check(&boat.numbers("Bob@harbour", 2), 0..3);
    boat.say(0..3);
    check(&harbour.numbers("Ada@boat", 2), 0..3);
    // its own lines are kept before they are published
    let deadline = Instant::now() + PATIENCE;
    while !history(&kept, &["--name", "Ada"]).contains(" : 2\n") {
        assert!(Instant::now() < deadline, "its lines are not kept");
    }
    boat.relay.kill();
    // a relay that reaches no server does not read what is said now
    let nowhere = format!("nats://127.0.0.1:{}", free_port());
    let mut lonely = Place::with(&nowhere, "boat", "Ann", &keep);
    harbour.say(3..6);
    lonely.say(0..2);
    lonely.peer.synchronize();
    lonely.relay.signal(Signal::SIGTERM);
    assert!(lonely.relay.wait().success());
    let mut again = Place::with(&server.url(), "boat", "Cleo", &keep);
    check(&again.numbers("Bob@harbour", 5), 0..6);
    check(&again.numbers("Ada", 2), 0..3);
    check(&again.numbers("Ann", 1), 0..2);
    harbour.say(6..8);
    again.wait_for(|line| line == "Bob@harbour : 7");
    again.relay.signal(Signal::SIGTERM);
    assert!(again.relay.wait().success());
    // in the folder they stand as the room read them, and with the times of the stream
    let of_bob = |from: &str, more: &[&str]| -> Vec<(jiff::Timestamp, String)> {
        let lines = history(from, &[&["--json", "--name", "bob"], more].concat());
        let lines = lines.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let time = line["time"].as_str().unwrap().parse().unwrap();
            (time, line["text"].as_str().unwrap().to_owned())
        });
        lines.collect()
    };
    let here = of_bob(&kept, &[]);
    assert_eq!(here, of_bob(&kept, &["--place", "harbour"]));
    assert_eq!(of_bob(&kept, &["--place", "boat"]), []);
    let there = of_bob(&server.url(), &[]);
    let texts = |lines: &[(_, String)]| -> Vec<u32> {
        lines
            .iter()
            .map(|(_, text)| text.parse().unwrap())
            .collect()
    };
    check(&texts(&here), 0..8);
    check(&texts(&there), 0..8);
    for ((here, text), (there, _)) in here.iter().zip(&there) {
        let apart = here.duration_since(*there).unsigned_abs();
        assert!(apart.as_secs() < 5, "{text}: kept {here}, said {there}");
    }
}

//! A relay that keeps what is said, across restarts and with disks that fail.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kilochat_tests::{ChatProgram, PlainPeer, RelayProgram};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// A folder that is deleted at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kilochat-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn start(&self, port: u16) -> RelayProgram {
        let bind = format!("127.0.0.1:{port}");
        let folder = self.0.to_str().unwrap();
        RelayProgram::start(PROGRAM, &["--bind", &bind, "--keep", folder])
    }

    /// Returns the contents of all files.
    fn text(&self) -> String {
        let files = fs::read_dir(&self.0)
            .unwrap()
            .map(|file| file.unwrap().path());
        let mut files: Vec<PathBuf> = files
            .filter(|file| {
                file.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with("20")
            })
            .collect();
        files.sort();
        let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
        texts.collect()
    }

    /// Returns the files that have the lines of today.
    fn today(&self) -> Vec<PathBuf> {
        let now = jiff::Timestamp::now();
        let days = [now, now + Duration::from_secs(3600)];
        let mut files = days.map(|day| self.0.join(day.strftime("%Y-%m-%d.jsonl").to_string()));
        files.sort();
        let mut files = files.to_vec();
        files.dedup();
        files
    }

    fn today_name() -> String {
        let now = jiff::Timestamp::now();
        now.strftime("%Y-%m-%d.jsonl").to_string()
    }

    fn history(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.arg("history").arg(&self.0).args(arguments);
        command.output().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stop(mut relay: RelayProgram) {
    relay.signal(Signal::SIGTERM);
    assert_eq!(relay.wait().code(), Some(0));
}

fn lines(output: &Output) -> Vec<String> {
    let text = core::str::from_utf8(&output.stdout).unwrap();
    // without the time
    text.lines().map(|line| line[20..].to_owned()).collect()
}

/// Waits until a file in the folder contains this text.
fn wait_for(folder: &Path, name: &str, text: &str) {
    let deadline = std::time::Instant::now() + kilochat_tests::PATIENCE;
    while !fs::read_to_string(folder.join(name)).is_ok_and(|file| file.contains(text)) {
        assert!(std::time::Instant::now() < deadline, "no {text} in {name}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

// [E3] [E4]
#[test]
fn a_room_survives_a_restart_and_a_crash() {
    let folder = Folder::new("survives");
    let mut relay = folder.start(0);
    let (address, port) = (relay.address, relay.address.port());
    let mut ada = PlainPeer::new(address);
    ada.say("Ada");
    let welcome = ada.wait_for(|line| line.starts_with("* welcome Ada: "));
    assert!(
        welcome.contains("; what is said is kept for 30 days; /help"),
        "{welcome}"
    );
    let mut listener = PlainPeer::join(address, "Bob\n");
    listener.say("/quiet on\n");
    let host = address.to_string();
    let arguments = [host.as_str(), "--name", "Cleo", "--stay", "--json"];
    let mut cleo = ChatProgram::silent(PROGRAM, &arguments);
    ada.wait_for(|line| line == "* Cleo joined");
    ada.say("first");
    cleo.wait_for(|line| line.contains("first"));
    for restart in ["stop", "kill"] {
        listener.synchronize();
        wait_for(&folder.0, "seats.jsonl", "\"quiet\":true");
        if restart == "stop" {
            stop(relay);
        } else {
            wait_for(&folder.0, &Folder::today_name(), "late: stop");
            relay.kill();
        }
        relay = folder.start(port);
        ada.wait_for(|line| line == "* relay is back");
        listener.wait_for(|line| line == "* relay is back");
        ada.say(format!("the ferry is late: {restart}"));
        let said = format!("Ada : the ferry is late: {restart}");
        listener.wait_for(|line| line == said);
        // a silent client notices the crash when its keepalive is answered
        let patience = Duration::from_secs(60);
        cleo.wait_within(patience, |line| line.contains(&said[6..]));
    }
    assert!(
        listener
            .received
            .iter()
            .all(|datagram| datagram.ends_with(b"\n"))
    );
    assert!(
        !listener
            .lines()
            .iter()
            .any(|line| line.contains("Cleo joined"))
    );
    let mut dora = PlainPeer::new(address);
    dora.say("Dora");
    dora.wait_for(|line| line.contains("; the last "));
    dora.wait_for(|line| line == "Ada : the ferry is late: kill");
    assert!(dora.lines().contains(&"Ada : first".into()));
    stop(relay);
    let messages = folder.history(&["--json", "--name", "ada"]);
    let messages = String::from_utf8(messages.stdout).unwrap();
    assert_eq!(messages.lines().count(), 3, "{messages}");
    let numbers = messages.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["sequence"].as_u64().unwrap()
    });
    assert!(numbers.is_sorted(), "{messages}");
}

#[test]
fn a_first_run_has_nothing_to_restore_and_says_nothing_of_it() {
    let folder = Folder::new("first");
    for (name, is_restored) in [("Ada", false), ("Bob", true)] {
        let mut relay = folder.start(0);
        let _peer = PlainPeer::join(relay.address, name);
        let mut logged = Vec::new();
        relay.wait_for_log(|line| {
            logged.push(line.to_owned());
            line.contains("joined")
        });
        let is_told = logged
            .iter()
            .any(|line| line.contains("the room was restored"));
        assert_eq!(is_told, is_restored, "{logged:#?}");
        stop(relay);
    }
}

/// Starts a client in frames that only reads.
fn join_cleo(relay: SocketAddr) -> ChatProgram {
    let host = relay.to_string();
    let arguments = [host.as_str(), "--name", "Cleo", "--stay", "--json"];
    let mut cleo = ChatProgram::silent(PROGRAM, &arguments);
    cleo.wait_for(|line| line.contains("welcome Cleo"));
    cleo
}

// [E4]
#[test]
fn a_client_in_frames_is_shown_each_line_once_over_a_restart() {
    let folder = Folder::new("once");
    let mut relay = folder.start(0);
    let address = relay.address;
    let mut cleo = join_cleo(address);
    let ada = PlainPeer::join(address, "Ada");
    for run in 0..3 {
        for number in 0..20 {
            ada.say(format!("line {run} {number}"));
        }
        cleo.wait_for(|line| line.contains(&format!("\"line {run} 19\"")));
        stop(relay);
        relay = folder.start(address.port());
        cleo.wait_for(|line| line.contains("joined again as Cleo"));
    }
    ada.say("end");
    cleo.wait_for(|line| line.contains("\"end\""));
    let shown = cleo.lines.iter().filter(|line| line.contains("\"line "));
    assert_eq!(shown.count(), 60, "{:#?}", cleo.lines);
    for bad in ["may be missing", "\"gap\"", "\"history\""] {
        assert!(
            !cleo.lines.iter().any(|line| line.contains(bad)),
            "{:#?}",
            cleo.lines
        );
    }
}

// [E4]
#[test]
fn a_client_in_frames_is_shown_each_line_once_over_a_crash() {
    let folder = Folder::new("crash");
    let mut relay = folder.start(0);
    let address = relay.address;
    let mut cleo = join_cleo(address);
    let mut ada = PlainPeer::join(address, "Ada");
    let again = "the relay was restarted; joined again as Cleo; lines may be missing";
    for run in 0..3 {
        for number in 0..6 {
            ada.say(format!("line {run} {number}"));
        }
        let last = format!("\"line {run} 5\"");
        cleo.wait_for(|line| line.contains(&last));
        wait_for(&folder.0, "seats.jsonl", "Ada");
        wait_for(&folder.0, &Folder::today_name(), &last);
        relay.kill();
        relay = folder.start(address.port());
        ada.wait_for(|line| line == "* relay is back");
        // the client has not noticed yet: this line is new, and history
        ada.say(format!("line {run} 6"));
        cleo.wait_within(Duration::from_secs(60), |line| line.contains(again));
        let last = format!("\"line {run} 6\"");
        cleo.wait_for(|line| line.contains(&last));
    }
    let said = (0..3).flat_map(|run| (0..7).map(move |number| format!("\"line {run} {number}\"")));
    for text in said {
        let shown = cleo.lines.iter().filter(|line| line.contains(&text));
        assert_eq!(shown.count(), 1, "{text} in {:#?}", cleo.lines);
    }
}

// [M5]
#[test]
fn of_what_is_said_to_one_peer_only_the_number_is_kept() {
    let folder = Folder::new("private");
    let relay = folder.start(0);
    let address = relay.address;
    let mut cleo = join_cleo(address);
    let ada = PlainPeer::join(address, "Ada");
    ada.say("/msg Cleo the secret");
    cleo.wait_for(|line| line.contains("\"private\"") && line.contains("the secret"));
    ada.say("/msg Ada the secret again");
    ada.say("open");
    cleo.wait_for(|line| line.contains("\"open\""));
    stop(relay);
    let kept = folder.text();
    assert!(
        kept.contains("\"open\"") && !kept.contains("secret"),
        "{kept}"
    );
    assert_eq!(kept.matches("\"private\"").count(), 2, "{kept}");
    let history = lines(&folder.history(&[]));
    let is_told = |line: &String| line.contains("lost") || line.contains("secret");
    assert!(!history.iter().any(is_told), "{history:#?}");
    // the numbers go on, so a client in frames misses nothing
    let _relay = folder.start(address.port());
    cleo.wait_for(|line| line.contains("joined again as Cleo"));
    ada.say("end");
    cleo.wait_for(|line| line.contains("\"end\""));
    for bad in ["may be missing", "\"gap\"", "\"history\""] {
        let shown = &cleo.lines;
        assert!(!shown.iter().any(|line| line.contains(bad)), "{shown:#?}");
    }
}

#[test]
fn a_disk_that_takes_nothing_changes_nothing_for_the_chat_and_is_told() {
    let folder = Folder::new("full");
    let today = folder.today();
    for file in &today {
        fs::create_dir_all(file).unwrap();
    }
    let mut relay = folder.start(0);
    let ada = PlainPeer::join(relay.address, "Ada");
    let mut bob = PlainPeer::join(relay.address, "Bob");
    for number in 0..3 {
        ada.say(format!("lost {number}"));
        bob.wait_for(|line| line == format!("Ada : lost {number}"));
    }
    let warning = relay.wait_for_log(|line| line.contains("is not kept"));
    assert!(warning.contains("\"WARN\""), "{warning}");
    // the lines are two announcements of joins, and three messages
    while relay.statistics()["not_kept"] < 5 {
        std::thread::sleep(Duration::from_millis(20));
    }
    for file in &today {
        fs::remove_dir(file).unwrap();
    }
    ada.say("kept");
    bob.wait_for(|line| line == "Ada : kept");
    relay.wait_for_log(|line| line.contains("is kept again"));
    stop(relay);
    let shown = lines(&folder.history(&[]));
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let expected = [
        "* 5 messages lost",
        "Ada : kept",
        "* relay is stopping",
        "-- the relay stopped",
    ];
    assert_eq!(shown, expected);
    // this run did not keep all lines
    let last = folder.text();
    assert!(
        last.lines()
            .last()
            .unwrap()
            .ends_with("\"text\":\"the relay stopped\"}"),
        "{last}"
    );
}

#[test]
fn a_disk_that_hangs_changes_nothing_for_the_chat_and_what_is_lost_is_counted() {
    let folder = Folder::new("hangs");
    fs::create_dir_all(&folder.0).unwrap();
    for file in folder.today() {
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let mut relay = folder.start(0);
    let ada = PlainPeer::join(relay.address, "Ada");
    let mut bob = PlainPeer::join(relay.address, "Bob");
    // more lines than the queue and the ring can hold
    for number in 0..2500 {
        ada.say(format!("{number} {}", "x".repeat(800)));
        if number % 20 == 19 {
            bob.wait_for(|line| line.starts_with(&format!("Ada : {number} ")));
            bob.received.clear();
        }
    }
    relay.signal(Signal::SIGTERM);
    let last = relay.wait_for_log(|line| line.contains("\"statistics\""));
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert!(last["not_kept"].as_u64().unwrap() > 500, "{last}");
    assert_eq!(relay.wait().code(), Some(0));
}

#[test]
fn what_is_torn_or_newer_is_neither_lost_nor_overwritten() {
    let folder = Folder::new("torn");
    let relay = folder.start(0);
    let ada = PlainPeer::join(relay.address, "Ada");
    let mut bob = PlainPeer::join(relay.address, "Bob");
    ada.say("before");
    bob.wait_for(|line| line == "Ada : before");
    let address = relay.address;
    stop(relay);
    let file = folder.today().remove(0);
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("{\"time\":\"2026-01-");
    fs::write(&file, &text).unwrap();
    let relay = folder.start(address.port());
    bob.wait_for(|line| line == "* relay is back");
    ada.say("after");
    bob.wait_for(|line| line == "Ada : after");
    stop(relay);
    let shown = folder.history(&[]);
    assert!(lines(&shown).contains(&"Ada : before".into()));
    assert!(lines(&shown).contains(&"Ada : after".into()));
    assert_eq!(shown.stderr, b"kilochat: 1 lines cannot be read\n");
    assert!(folder.text().starts_with(&text));

    let newer = folder.text().replace("\"format\":1", "\"format\":2");
    fs::write(&file, &newer).unwrap();
    let seats = folder.0.join("seats.jsonl");
    let newer_seats = fs::read_to_string(&seats)
        .unwrap()
        .replace("\"format\":1", "\"format\":2");
    fs::write(&seats, &newer_seats).unwrap();
    let mut relay = folder.start(address.port());
    relay.wait_for_log(|line| line.contains("of a newer kilochat"));
    let mut cleo = PlainPeer::join(address, "Cleo");
    cleo.say("later");
    cleo.synchronize();
    stop(relay);
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
    assert_eq!(fs::read_to_string(&seats).unwrap(), newer_seats);
    let shown = folder.history(&["--grep", "LATER"]);
    assert_eq!(lines(&shown), ["Cleo : later"]);
    assert!(
        String::from_utf8(shown.stderr)
            .unwrap()
            .contains("of a newer kilochat; left out")
    );
}

#[test]
fn a_folder_is_for_one_relay_and_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("locked");
    let relay = folder.start(0);
    let second = Command::new(PROGRAM)
        .args(["relay", "--bind", "127.0.0.1:0", "--keep"])
        .arg(&folder.0)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("another relay keeps in "), "{said}");
    stop(relay);
    let modes = fs::read_dir(&folder.0).unwrap().map(|file| {
        let file = file.unwrap();
        (
            file.file_name(),
            file.metadata().unwrap().permissions().mode() & 0o77,
        )
    });
    for (name, mode) in modes {
        assert_eq!(mode, 0, "{name:?}");
    }
    assert_eq!(
        fs::metadata(&folder.0).unwrap().permissions().mode() & 0o77,
        0
    );
}

#[test]
fn files_are_deleted_when_they_are_old_or_too_many() {
    let folder = Folder::new("pruned");
    fs::create_dir_all(&folder.0).unwrap();
    let now = jiff::Timestamp::now();
    let file = |days: u64| {
        let day = now - Duration::from_secs(86_400 * days);
        folder.0.join(day.strftime("%Y-%m-%d.jsonl").to_string())
    };
    for days in [1, 2, 3, 40] {
        fs::write(file(days), "x\n".repeat(400_000)).unwrap();
    }
    let bystander = folder.0.join("notes.txt");
    fs::write(&bystander, "").unwrap();
    let arguments = ["--keep", folder.0.to_str().unwrap(), "--keep-mib", "2"];
    let relay = RelayProgram::start(PROGRAM, &arguments);
    let ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    ada.say("x");
    stop(relay);
    assert_eq!(
        [1, 2, 3, 40].map(|days| file(days).exists()),
        [true, true, false, false]
    );
    assert!(bystander.exists());
}

#[test]
fn history_follows_what_is_said() {
    let folder = Folder::new("follows");
    let relay = folder.start(0);
    let ada = PlainPeer::join(relay.address, "Ada");
    let mut bob = PlainPeer::join(relay.address, "Bob");
    for number in 0..5 {
        ada.say(format!("{number}"));
        bob.wait_for(|line| line == format!("Ada : {number}"));
    }
    wait_for(&folder.0, &Folder::today_name(), "\"text\":\"4\"");
    assert_eq!(
        lines(&folder.history(&["--last", "2"])),
        ["Ada : 3", "Ada : 4"]
    );
    assert!(lines(&folder.history(&["--since", "1h"])).len() >= 7);
    let none: [&str; 0] = [];
    assert_eq!(lines(&folder.history(&["--since", "2100-01-01"])), none);
    let mut command = Command::new(PROGRAM);
    command
        .arg("history")
        .arg(&folder.0)
        .args(["--last", "1", "--follow", "--json"]);
    let mut follower = ChatProgram::spawn(&mut command);
    follower.wait_for(|line| line.contains("\"text\":\"4\""));
    ada.say("5");
    follower.wait_for(|line| line.contains("\"text\":\"5\""));
    assert_eq!(follower.lines.len(), 2);
    let missing = Command::new(PROGRAM)
        .args(["history", "/nowhere"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

//! Operators: orders in the room, and at the relay's own terminal.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kilochat_tests::{ChatProgram, PlainPeer, RelayProgram};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

// [O1] [O4]
#[test]
fn the_relay_makes_a_key_once_that_only_its_owner_reads() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operators");
    let _ = fs::remove_dir_all(&folder);
    let options = ["--bind", "127.0.0.1:0", "--operators"];
    let options = [&options[..], &[folder.to_str().expect("a name")]].concat();
    drop(RelayProgram::start(PROGRAM, &options));
    let file = folder.join("operator.key");
    let key = fs::read_to_string(&file).expect("a key");
    assert_eq!(key.trim().len(), 32);
    let mode = fs::metadata(&file).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(RelayProgram::start(PROGRAM, &options));
    assert_eq!(fs::read_to_string(&file).expect("a key"), key);
}

#[test]
fn a_file_without_a_key_is_wrong_usage() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no.key");
    fs::write(&file, "not a key\n").expect("it can be written");
    let output = Command::new(PROGRAM)
        .args(["chat", "127.0.0.1:9", "--name", "Ada", "--operator-key"])
        .arg(&file)
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("holds no key"), "{told}");
}

/// Runs a program on a terminal of its own.
fn on_terminal(arguments: &[&str]) -> (Box<dyn portable_pty::Child + Send + Sync>, Terminal) {
    let pair = portable_pty::native_pty_system()
        .openpty(portable_pty::PtySize::default())
        .expect("a terminal");
    let mut command = portable_pty::CommandBuilder::new(PROGRAM);
    command.args(arguments);
    command.env("TERM", "xterm");
    let child = pair.slave.spawn_command(command).expect("it starts");
    let mut reader = pair.master.try_clone_reader().expect("a reader");
    let (sender, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = std::io::Read::read(&mut reader, &mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let input = pair.master.take_writer().expect("a writer");
    let text = String::new();
    let terminal = Terminal {
        _pair: pair,
        input,
        shown,
        text,
    };
    (child, terminal)
}

struct Terminal {
    _pair: portable_pty::PtyPair,
    input: Box<dyn std::io::Write + Send>,
    shown: std::sync::mpsc::Receiver<String>,
    text: String,
}

impl Terminal {
    fn types(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).expect("it reads");
        self.input.flush().expect("it reads");
    }

    /// Waits until a text is shown. Returns everything that was shown so far.
    fn wait_for(&mut self, wanted: &str) -> String {
        while !self.text.contains(wanted) {
            let more = self.shown.recv_timeout(kilochat_tests::PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("no {wanted:?} in {:?}", self.text));
            self.text += &more;
        }
        self.text.clone()
    }
}

// [O6] [O4] [L8]
#[test]
fn what_is_typed_at_the_relay_is_said_as_host_or_is_an_order() {
    let (mut relay, mut terminal) = on_terminal(&["relay", "--bind", "127.0.0.1:0"]);
    let shown = terminal.wait_for("what you type is said as host");
    let address = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix("listening on "));
    let address = address.expect("an address").parse().expect("an address");
    let mut bob = PlainPeer::join(address, "Bob");
    terminal.types("five minutes left\r");
    bob.wait_for(|line| line == "host : five minutes left");
    terminal.types("//not an order\r");
    bob.wait_for(|line| line == "host : /not an order");
    terminal.types("/kick Bob\r");
    bob.wait_for(|line| line == "* you were removed from this room");
    terminal.wait_for("* done: Bob is out");
    terminal.types("/kick Bob\r");
    terminal.wait_for("* nobody is called Bob");
    relay.kill().expect("it runs");
    relay.wait().expect("it was started");
}

// [O1] [O2] [O4]
#[test]
fn a_person_with_the_key_removes_a_peer_and_one_without_does_not() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operators-chat");
    let options = ["--bind", "127.0.0.1:0", "--operators"];
    let options = [&options[..], &[folder.to_str().expect("a name")]].concat();
    let relay = RelayProgram::start(PROGRAM, &options);
    let host = relay.address.to_string();
    let key = folder.join("operator.key");
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let mut eve = ChatProgram::start(PROGRAM, &[&host, "--name", "Eve", "--stay"]);
    eve.wait_for(|line| line.contains("welcome"));
    bob.say("/kick Eve");
    bob.wait_for(|line| line.starts_with("* no command /kick"));
    let arguments = ["chat", &host, "--name", "Ada", "--operator-key"];
    let arguments = [&arguments[..], &[key.to_str().expect("a name")]].concat();
    let (mut ada, mut terminal) = on_terminal(&arguments);
    terminal.wait_for("welcome Ada");
    terminal.types("/ban Bob\r");
    terminal.wait_for("Bob has your own address; /kick removes it");
    terminal.types("/kick Bob\r");
    terminal.wait_for("Bob is out");
    bob.wait_for(|line| line == "* you were removed from this room");
    ada.kill().expect("it runs");
    ada.wait().expect("it was started");
}

//! The programs for other systems, run here: Windows under wine, other processors under QEMU.
//! `tests/check.sh foreign` builds them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use kilochat_tests::{ChatProgram, PlainPeer, RelayProgram};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// A system that is not this one.
struct System {
    /// The program's file.
    program: &'static str,
    /// What runs it, and its options.
    runner: &'static [&'static str],
    /// Where its relay listens.
    at: &'static [&'static str],
}

/// At all addresses, at a free port.
const EVERYWHERE: &[&str] = &["--port", "0"];

const WINDOWS: System = System {
    program: "windows/kilochat.exe",
    runner: &["wine"],
    at: EVERYWHERE,
};

const AARCH64: System = System {
    program: "kilochat-aarch64",
    runner: &["qemu-aarch64-static"],
    at: EVERYWHERE,
};

const ARMV7: System = System {
    program: "kilochat-armv7",
    runner: &["qemu-arm-static", "-L", "/usr/arm-linux-gnueabihf"],
    at: EVERYWHERE,
};

/// Its numbers begin with the most significant byte.
const S390X: System = System {
    program: "kilochat-s390x",
    runner: &["qemu-s390x-static", "-L", "/usr/s390x-linux-gnu"],
    // QEMU does not swap the bytes of an interface's number in IP_PKTINFO, which one address does not need
    at: &["--bind", "127.0.0.1:0"],
};

impl System {
    /// The program on this system.
    fn command(&self) -> Command {
        const NEEDED: &str =
            "needs wine, QEMU and programs for other systems: tests/check.sh foreign";
        let folder = PathBuf::from(std::env::var_os("KILOCHAT_FOREIGN").expect(NEEDED));
        let program = folder.join(self.program);
        assert!(
            program.exists(),
            "{NEEDED}: {} is missing",
            program.display()
        );
        let mut command = Command::new(self.runner[0]);
        command
            .args(&self.runner[1..])
            .arg(program)
            .env("WINEPREFIX", folder.join("wine"))
            .env("WINEDEBUG", "-all");
        command
    }

    fn start_relay(&self) -> RelayProgram {
        let mut command = self.command();
        command
            .args(["relay", "--log-format", "json"])
            .args(self.at)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut relay = RelayProgram::spawn(&mut command);
        relay.address.set_ip("127.0.0.1".parse().unwrap());
        relay
    }
}

fn native() -> Command {
    Command::new(PROGRAM)
}

/// Runs a program to its end, which must be a good one.
fn run(mut command: Command, arguments: &[&str]) -> Output {
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn text_of(line: &str, name: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["name"] == name && line["kind"] == "message")
        .then(|| line["text"].as_str().unwrap_or_default().to_owned())
}

/// Lets two clients in frames and one on netcat talk at a relay, and asks it with other commands.
fn talk(relay: &RelayProgram, here: impl Fn() -> Command, there: impl Fn() -> Command) {
    let host = relay.address.to_string();
    let join = |mut command: Command, name| {
        command.args(["chat", &host, "--name", name, "--json"]);
        let mut chat = ChatProgram::spawn(&mut command);
        chat.wait_for(|line| line.contains("welcome"));
        chat
    };
    let mut nina = PlainPeer::join(relay.address, "Nina\n");
    let (mut ada, mut bob) = (join(here(), "Ada"), join(there(), "Bob"));
    nina.wait_for(|line| line == "* Bob joined");
    for number in 0..30 {
        ada.write(format!("schön 小 {number}\n"));
        bob.write(format!("größer 大 {number}\n"));
    }
    for number in 0..30 {
        let wanted = Some(format!("größer 大 {number}"));
        ada.wait_for(|line| text_of(line, "Bob") == wanted);
        let wanted = Some(format!("schön 小 {number}"));
        bob.wait_for(|line| text_of(line, "Ada") == wanted);
    }
    nina.say("from netcat\n");
    for chat in [&mut ada, &mut bob] {
        chat.wait_for(|line| text_of(line, "Nina") == Some("from netcat".into()));
    }
    for command in [here(), there()] {
        run(command, &["ping", &host, "-c", "3", "-i", "0.1"]);
    }
    run(there(), &["send", &host, "--name", "cron", "done"]);
    ada.wait_for(|line| text_of(line, "cron") == Some("done".into()));
    for (mut chat, name) in [(bob, "Bob"), (ada, "Ada")] {
        chat.close_input();
        assert_eq!(chat.finish().code, Some(0));
        // nothing is sent to its port any more, which another program may get
        nina.wait_for(|line| line.starts_with(&format!("* {name} left")));
    }
}

/// Its relay serves clients of its own and of this system, and its clients talk at a relay of this
/// system.
fn both_ways(system: &System) {
    let relay = system.start_relay();
    talk(&relay, native, || system.command());
    // more than one call sends, and than one thread
    let mut peers: Vec<PlainPeer> = (0..200)
        .map(|number| PlainPeer::join(relay.address, &format!("peer{number}\n")))
        .collect();
    peers[0].say("to all\n");
    for peer in &mut peers[1..] {
        peer.wait_for(|line| line == "peer0 : to all");
    }
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    talk(&relay, || system.command(), || system.command());
}

#[test]
#[ignore = "needs wine and a program for Windows: tests/check.sh foreign"]
fn foreign_windows_talks_with_this_system_both_ways() {
    both_ways(&WINDOWS);
}

#[test]
#[ignore = "needs QEMU and a program for aarch64: tests/check.sh foreign"]
fn foreign_aarch64_talks_with_this_system_both_ways() {
    both_ways(&AARCH64);
}

#[test]
#[ignore = "needs QEMU and a program for armv7: tests/check.sh foreign"]
fn foreign_armv7_talks_with_this_system_both_ways() {
    both_ways(&ARMV7);
}

#[test]
#[ignore = "needs QEMU and a program for s390x: tests/check.sh foreign"]
fn foreign_s390x_which_is_big_endian_talks_with_this_system_both_ways() {
    both_ways(&S390X);
}

// WSAEMSGSIZE: Windows reports a datagram that is longer than the buffer as an error
#[test]
#[ignore = "needs wine and a program for Windows: tests/check.sh foreign"]
fn foreign_windows_takes_long_datagrams_for_too_long_and_the_next_ones_as_usual() {
    let relay = WINDOWS.start_relay();
    let mut ada = PlainPeer::join(relay.address, "Ada");
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let told = |peer: &PlainPeer| {
        let lines = peer.lines();
        let told = lines
            .iter()
            .filter(|line| line.contains("longer than 1024"));
        told.count()
    };
    for length in [1025, 2049, 9000, 60_000] {
        let before = told(&ada);
        for _ in 0..10 {
            ada.say(vec![b'a'; length]);
        }
        ada.say(format!("after {length}"));
        bob.wait_for(|line| line == format!("Ada : after {length}"));
        ada.synchronize();
        assert!(told(&ada) > before, "{length}: {:#?}", ada.lines());
    }
    let host = relay.address.to_string();
    let output = run(native(), &["ping", &host, "-c", "10", "-i", "0.05"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("10 received"), "{text}");
}

#[test]
#[ignore = "needs wine, QEMU and programs for other systems: tests/check.sh foreign"]
fn foreign_kernels_lack_options_and_the_relay_says_which() {
    for system in [AARCH64, ARMV7, S390X] {
        let mut relay = system.start_relay();
        // QEMU does not know the first, and reports the second's errors wrongly
        for option in ["SO_RXQ_OVFL", "IP_RECVERR"] {
            let wanted = format!("\"option\":\"{option}\"");
            relay.wait_for_log(|line| line.contains(&wanted));
        }
    }
}

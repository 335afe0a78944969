//! Signals end every client program, even if nobody reads its output.
#![cfg(unix)]

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{PipeReader, PipeWriter, Write};
use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use kilochat_tests::{PATIENCE, PlainPeer, RelayProgram};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// Time after which a counter that has not changed counts as final.
const STILL: Duration = Duration::from_millis(300);

fn relay() -> RelayProgram {
    RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"])
}

/// Returns a pipe that is full and that nobody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let written = Arc::new(AtomicUsize::new(0));
    let (mut filler, count) = (writer.try_clone().expect("a descriptor"), written.clone());
    // ends when the reader is closed
    thread::spawn(move || {
        while filler.write_all(b"x").is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut before = 0;
    loop {
        thread::sleep(STILL);
        let now = written.load(Ordering::Relaxed);
        if now == before && now > 0 {
            return (reader, writer);
        }
        before = now;
    }
}

fn signal(id: u32, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(id).expect("a process id"));
    kill(id, signal).expect("it runs");
}

/// A program under test. It is killed on drop.
struct Program(Child);

impl Program {
    /// Gives the program a line, which it says as soon as it has a seat.
    fn says(&mut self, line: &str) {
        let input = self.0.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("it reads");
    }

    /// Waits for the end of a program that was sent a signal.
    fn finish(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("it was started") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // fails if it has ended already
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn start(command: &mut Command) -> Program {
    Program(command.spawn().expect("it starts"))
}

#[test]
fn a_chat_whose_output_nobody_reads_says_goodbye() {
    for name in ["Ada", "Ada --json", "Ada --plain"] {
        let relay = relay();
        let mut bob = PlainPeer::join(relay.address, "Bob");
        let host = relay.address.to_string();
        let (_reader, writer) = full_pipe();
        let mut arguments = vec!["chat", &*host, "--stay", "--name"];
        arguments.extend(name.split(' '));
        let mut ada = start(command(&arguments).stdout(writer));
        ada.says("hello");
        bob.wait_for(|line| line == "Ada : hello");
        signal(ada.0.id(), Signal::SIGTERM);
        bob.wait_for(|line| line == "* Ada left (quit)");
        assert_eq!(ada.finish().code(), Some(0), "{name}");
    }
}

#[test]
fn a_ping_whose_output_nobody_reads_ends() {
    let relay = relay();
    let host = relay.address.to_string();
    let (_reader, writer) = full_pipe();
    let mut ping = start(command(&["ping", &host]).stdout(writer));
    thread::sleep(STILL);
    signal(ping.0.id(), Signal::SIGINT);
    ping.finish();
}

#[test]
fn a_send_whose_complaints_nobody_reads_ends() {
    let relay = relay();
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let host = relay.address.to_string();
    let (_reader, writer) = full_pipe();
    let arguments = ["send", &host, "--plain", "--name", "Ada", "hello"];
    let mut send = start(command(&arguments).stderr(writer));
    bob.wait_for(|line| line == "Ada : hello");
    thread::sleep(STILL);
    signal(send.0.id(), Signal::SIGTERM);
    assert_eq!(send.finish().code(), Some(0));
}

#[test]
fn the_second_signal_does_not_wait_for_a_relay() {
    let relay = relay();
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let host = relay.address.to_string();
    // a socket that never answers
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let nobody = silent.local_addr().expect("it is bound").to_string();
    for arguments in [
        &["chat", &host, "--stay", "--name", "Ada"][..],
        &["send", &host, "--name", "Cyd"],
        &["ping", &nobody],
    ] {
        let mut program = start(&mut command(arguments));
        if arguments[0] == "ping" {
            thread::sleep(STILL);
        } else {
            program.says("hello");
            bob.wait_for(|line| ["Ada : hello", "Cyd : hello"].contains(&line));
            relay.signal(Signal::SIGSTOP);
        }
        signal(program.0.id(), Signal::SIGTERM);
        signal(program.0.id(), Signal::SIGINT);
        let status = program.finish();
        // a ping has nothing to wait for, and may end before the second signal
        let is_right = status.code().is_some_and(|code| code > 128) || arguments[0] == "ping";
        assert!(
            is_right && status.signal().is_none(),
            "{status} {arguments:?}"
        );
        relay.signal(Signal::SIGCONT);
    }
}

#[test]
fn a_chat_on_a_terminal_that_takes_nothing_ends() {
    let relay = relay();
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let pair = native_pty_system()
        .openpty(PtySize::default())
        .expect("a terminal");
    let mut builder = CommandBuilder::new(PROGRAM);
    let host = relay.address.to_string();
    builder.args(["chat", &host, "--name", "Ada"]);
    builder.env("TERM", "xterm-256color");
    let mut ada = pair.slave.spawn_command(builder).expect("it starts");
    bob.wait_for(|line| line == "* Ada joined");
    for number in 0..200 {
        bob.say(format!("{number} {}", "x".repeat(500)));
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(STILL);
    let id = ada.process_id().expect("it runs");
    signal(id, Signal::SIGTERM);
    let deadline = Instant::now() + PATIENCE;
    while ada.try_wait().expect("it was started").is_none() {
        assert!(Instant::now() < deadline, "it does not end");
        thread::sleep(STILL);
        let id = Pid::from_raw(i32::try_from(id).expect("a process id"));
        // fails if it has ended already
        let _ = kill(id, Signal::SIGTERM);
    }
}

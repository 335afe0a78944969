//! A relay that is run by a service manager such as systemd.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use core::time::Duration;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::{PATIENCE, PlainPeer, RelayProgram};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// The service manager's socket, and the messages from the relay.
struct Manager {
    socket: UnixDatagram,
    said: String,
}

impl Manager {
    /// Waits until the relay sends this message. Earlier messages do not count.
    fn wait_for(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        self.said.clear();
        while !self.said.lines().any(|line| line == wanted) {
            assert!(
                Instant::now() < deadline,
                "{wanted} did not arrive: {}",
                self.said
            );
            let _ = self.receive(Duration::from_millis(100));
        }
    }

    fn receive(&mut self, timeout: Duration) -> bool {
        self.socket.set_read_timeout(Some(timeout)).unwrap();
        let mut buffer = [0; 1024];
        let Ok(length) = self.socket.recv(&mut buffer) else {
            return false;
        };
        self.said
            .push_str(core::str::from_utf8(&buffer[..length]).unwrap());
        self.said.push('\n');
        true
    }
}

#[test]
fn a_service_says_that_it_is_ready_and_lives_and_no_terminal_ends_it() {
    let path = std::env::temp_dir().join(format!("kilochat-notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let mut manager = Manager {
        socket: UnixDatagram::bind(&path).unwrap(),
        said: String::new(),
    };
    let mut command = Command::new(PROGRAM);
    command
        .args(["relay", "--bind", "127.0.0.1:0", "--seats", "7"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut relay = RelayProgram::spawn(&mut command);
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    let mut ada = PlainPeer::join(relay.address, "Ada");
    manager.wait_for("STATUS=1 of 7 seats taken");
    relay.signal(Signal::SIGHUP);
    ada.synchronize();
    manager.wait_for("WATCHDOG=1");
    // a relay that is stopped sends no watchdog message
    relay.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(100));
    while manager.receive(Duration::from_millis(1)) {}
    assert!(
        !manager.receive(Duration::from_millis(1500)),
        "{}",
        manager.said
    );
    relay.signal(Signal::SIGCONT);
    manager.wait_for("WATCHDOG=1");
    relay.signal(Signal::SIGTERM);
    assert_eq!(relay.wait().code(), Some(0));
    std::fs::remove_file(path).unwrap();
}

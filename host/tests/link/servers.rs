//! Relays that are linked by real `nats-server` processes.

use core::time::Duration;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

pub(crate) use kilochat_tests::nats::{Folder, NatsServer as Server, free_port};
use kilochat_tests::{PlainPeer, RelayProgram};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// Maximum time for what must happen, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// A relay with a person at it.
pub(crate) struct Place {
    pub(crate) relay: RelayProgram,
    pub(crate) peer: PlainPeer,
    pub(crate) name: String,
}

impl Place {
    /// Starts a relay, and joins it.
    pub(crate) fn new(url: &str, name: &str, person: &str) -> Self {
        Self::with(url, name, person, &[])
    }

    pub(crate) fn with(url: &str, name: &str, person: &str, more: &[&str]) -> Self {
        let relay = start(url, name, more);
        let peer = PlainPeer::join(relay.at("127.0.0.1"), person);
        Self {
            relay,
            peer,
            name: name.into(),
        }
    }

    /// Says the numbers of a range, so slowly that the kernel drops nothing.
    pub(crate) fn say(&self, numbers: core::ops::Range<u32>) {
        for number in numbers {
            self.peer.say(number.to_string());
            if number % 8 == 7 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Waits for a line.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        if let Some(line) = self.peer.lines().into_iter().find(|line| wanted(line)) {
            return line;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(datagram) = self.peer.receive(left) else {
                let lines = self.peer.lines();
                let last = lines.len().saturating_sub(40);
                panic!(
                    "{}: the line did not arrive; {:#?}",
                    self.name,
                    &lines[last..]
                );
            };
            let text = core::str::from_utf8(datagram).unwrap();
            if let Some(line) = text.lines().find(|line| wanted(line)) {
                return line.to_owned();
            }
        }
    }

    /// Waits until the only other place is listed so.
    pub(crate) fn meet(&mut self, listed: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.peer.lines().iter().any(|line| line == listed) {
            assert!(Instant::now() < deadline, "{:#?}", self.peer.lines());
            self.peer.say("/who @");
            let _ = self.peer.receive(Duration::from_millis(200));
        }
    }

    /// Waits until somebody elsewhere has said this number, and returns all numbers that they have said.
    pub(crate) fn numbers(&mut self, author: &str, last: u32) -> Vec<u32> {
        let prefix = format!("{author} : ");
        let end = format!("{prefix}{last}");
        self.wait_for(|line| line == end);
        let lines = self.peer.lines().into_iter();
        lines
            .filter_map(|line| line.strip_prefix(&prefix)?.parse().ok())
            .collect()
    }
}

/// Starts a relay.
pub(crate) fn start(url: &str, place: &str, more: &[&str]) -> RelayProgram {
    let arguments = ["--link", url, "--place", place, "--bind", "127.0.0.1:0"];
    RelayProgram::start(PROGRAM, &[&arguments, more].concat())
}

/// Runs `kilochat history` with a limit of time, and returns its standard output.
pub(crate) fn history(url: &str, arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM)
        .args(["history", url])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Checks that numbers are those of a range, in order and once.
pub(crate) fn check(numbers: &[u32], range: core::ops::Range<u32>) {
    let expected: Vec<u32> = range.collect();
    assert_eq!(numbers, expected);
}

/// Runs openssl in a folder.
pub(crate) fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("openssl is missing: apt install openssl");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
}

/// Makes two certificate authorities, and certificates of the first one: for a server at 127.0.0.1, and for a
/// client.
pub(crate) fn certificates(folder: &Path) {
    let openssl = |words: &str| openssl(folder, &words.split(' ').collect::<Vec<_>>());
    let key = "-newkey rsa:2048 -nodes";
    for name in ["ca", "other"] {
        openssl(&format!(
            "req -x509 {key} -days 2 -subj /CN=test -addext basicConstraints=critical,CA:TRUE \
             -keyout {name}.key -out {name}.pem"
        ));
    }
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for name in ["server", "client"] {
        openssl(&format!(
            "req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile names -out {name}.pem"
        ));
    }
}

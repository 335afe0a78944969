//! The example `sensor` as a person starts and stops it, on a TAP interface of its own, bridged
//! with that of `kilochat-tap`.

use core::time::Duration;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use kilochat_tests::namespace::{ip, is_in_namespace};
use kilochat_tests::{PATIENCE, PlainPeer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{TapProgram, V4, V6};

/// Builds the example, so that an old one is never tested.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--offline", "--package", "kilochat-tap"])
            .args(["--example", "sensor"])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit());
        let output = cargo.output().expect("cargo runs this test");
        assert!(output.status.success(), "it does not build");
        let messages = String::from_utf8(output.stdout).expect("JSON");
        let mut programs = messages.lines().filter_map(|message| {
            let (_, behind) = message.split_once("\"executable\":\"")?;
            behind.split_once('"').map(|(path, _)| PathBuf::from(path))
        });
        let program = programs.next_back();
        program.expect("cargo says where it is")
    })
}

/// A running sensor. It is killed on drop.
struct Sensor {
    child: Child,
    output: Receiver<String>,
    said: Vec<String>,
}

impl Sensor {
    fn start(own: &str, relay: &str) -> Self {
        let mut child = Command::new(program())
            .args(["--tap", "tap1", "--every", "1", "--ip", own, relay])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, output) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            output,
            said: Vec::new(),
        }
    }

    /// Waits for the next line that is `wanted`.
    fn wait_for(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.output.recv_timeout(left) else {
                panic!("it did not print {wanted:?}, but {:#?}", self.said);
            };
            self.said.push(line);
            if self.said.last().is_some_and(|line| line == wanted) {
                return;
            }
        }
    }

    /// Returns the numbers of the readings that the relay may have accepted or not.
    fn doubtful(&self) -> BTreeSet<u32> {
        let number = |line: &String| {
            let line = line.strip_prefix("text ")?;
            let text = line.strip_suffix(" may have been said or not")?;
            // texts count from 0
            Some(text.parse::<u32>().expect("a number") + 1)
        };
        self.said.iter().filter_map(number).collect()
    }

    /// Stops it as Ctrl-C does, and waits for the end, for a limited time.
    fn stop(&mut self) -> ExitStatus {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), Signal::SIGINT).expect("it runs");
        self.wait_for("it is over: Left");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the number of the reading in a line.
fn reading(line: &str) -> Option<u32> {
    let (number, load) = line
        .strip_prefix("sensor : reading ")?
        .split_once(": load ")?;
    load.parse::<f64>().expect("a load average");
    Some(number.parse().expect("a number"))
}

/// Returns the readings that a peer has received, in order.
fn readings(peer: &PlainPeer) -> Vec<u32> {
    let lines = peer.lines();
    let numbers: Vec<u32> = lines.iter().filter_map(|line| reading(line)).collect();
    for pair in numbers.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "{lines:#?}");
    }
    numbers
}

#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn its_readings_arrive_and_it_survives_a_restart_of_the_relay() {
    if !is_in_namespace("sensor::its_readings_arrive_and_it_survives_a_restart_of_the_relay") {
        return;
    }
    ip("link add br0 type bridge");
    ip("address add 192.168.77.2/24 dev br0");
    for tap in ["tap0", "tap1"] {
        ip(&format!("tuntap add dev {tap} mode tap"));
        ip(&format!("link set {tap} master br0 up"));
    }
    ip("link set br0 up");
    for (own, address) in [("192.168.77.50/24", V4), ("fd00:77::50/64", V6)] {
        let mut relay = TapProgram::start(&[]);
        let mut reader = PlainPeer::join(V4.parse().expect("an address"), "reader");
        let mut sensor = Sensor::start(own, address);
        sensor.wait_for("joined as sensor (New)");
        reader.wait_for(|line| line == "* sensor joined");
        reader.wait_for(|line| reading(line) >= Some(3));
        sensor.wait_for("text 2 was said: line 4");

        // as a power cut does
        relay.signal(Signal::SIGKILL);
        relay.wait();
        sensor.wait_for("reading 7 is text 6");
        let before = readings(&reader);
        let (first, last) = (before[0], before[before.len() - 1]);
        assert_eq!(first, 1);
        let mut relay = TapProgram::start(&[]);
        let mut reader = PlainPeer::join(V4.parse().expect("an address"), "reader");
        sensor.wait_for("joined as sensor (Restarted)");
        reader.wait_for(|line| reading(line) >= Some(9));
        let after = readings(&reader);
        assert!(last < after[0]);
        let doubtful = sensor.doubtful();
        assert!(!doubtful.is_empty(), "{:?}", sensor.said);
        for missing in last + 1..after[0] {
            assert!(doubtful.contains(&missing), "{missing}: {:?}", sensor.said);
        }
        assert_eq!(sensor.stop().code(), Some(0));
        reader.wait_for(|line| line == "* sensor left (quit)");
        relay.signal(Signal::SIGTERM);
        assert_eq!(relay.wait().code(), Some(0));
    }
}

#[test]
fn what_it_cannot_do_is_told() {
    let run = |arguments: &[&str]| {
        let output = Command::new(program()).args(arguments).output();
        let output = output.expect("it was built");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr)
    };
    let (code, stderr) = run(&["--tap", "kilochat-none", "--ip", "10.0.0.1/8", "10.0.0.2"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("sudo ip tuntap add dev kilochat-none"),
        "{stderr}"
    );
    for (arguments, wanted) in [
        (&["10.0.0.2"][..], "--ip <ADDRESS/PREFIX>"),
        (&["--ip", "10.0.0.1", "10.0.0.2"], "192.168.77.50/24"),
        (&["--ip", "10.0.0.1/8", "10.0.0.2:x"], "[fd00:77::1]:10888"),
        (
            &["--ip", "10.0.0.1/8", "--every", "0", "10.0.0.2"],
            "--every",
        ),
    ] {
        let (code, stderr) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(stderr.contains(wanted), "{stderr}");
    }
}

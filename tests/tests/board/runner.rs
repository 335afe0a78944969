//! The commands in the README: building the firmware with other settings, and `cargo run`.

use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::{PATIENCE, PlainPeer};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::machine::{Firmware, cargo_build};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../embedded/firmware/run.sh")
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn a_bad_setting_is_told_when_it_is_built() {
    for (variable, value, example) in [
        ("KILOCHAT_IP", "10.0.2.300/24", "192.168.1.5/24"),
        ("KILOCHAT_IP", "10.0.2.15", "192.168.1.5/24"),
        ("KILOCHAT_IP6", "10.0.2.15/24", "fd00::5/64"),
        ("KILOCHAT_DHCP", "yes", "0 or 1"),
        ("KILOCHAT_PORT", "0", "10888"),
        ("KILOCHAT_NAME", "two words", "kilochat"),
        ("KILOCHAT_MAC", "01:00:00:00:00:01", "02:00:00:00:00:01"),
    ] {
        let mut build = cargo_build(&[]);
        let built = build.env(variable, value).output().unwrap();
        let said = String::from_utf8_lossy(&built.stderr);
        let wanted = format!("{variable}={value} is not valid; expected: {example}");
        assert!(!built.status.success() && said.contains(&wanted), "{said}");
    }
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn the_runner_says_what_is_missing() {
    let mut runner = Command::new("/bin/sh");
    runner.arg(script()).arg("program").env("PATH", "/nowhere");
    let run = runner.output().unwrap();
    assert!(!run.status.success());
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        said.starts_with("qemu-system-arm is missing: apt-get install qemu-system-arm"),
        "{said}"
    );
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn the_runner_makes_the_relay_reachable_from_loopback() {
    // a substitute for the decoder of the log, which is not tested here
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    let decoder = tools.join("defmt-print");
    std::fs::write(&decoder, "#!/bin/sh\nexec cat >/dev/null\n").unwrap();
    std::fs::set_permissions(&decoder, PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let relay = free.unwrap();

    let mut runner = Command::new(script())
        .arg(&Firmware::build().path)
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("KILOCHAT_HOST_PORT", relay.port().to_string())
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(runner.stdout.take().unwrap());
    let wanted = format!("kilochat chat {relay}");
    assert!(
        said.lines()
            .map_while(Result::ok)
            .any(|line| line.contains(&wanted))
    );

    // the first datagrams are lost while the board starts
    let mut ada = PlainPeer::new(relay);
    let deadline = Instant::now() + PATIENCE;
    while ada.received.is_empty() {
        assert!(Instant::now() < deadline, "no answer at {relay}");
        ada.say("Ada\n");
        ada.receive(Duration::from_millis(500));
    }
    let mut bob = PlainPeer::join(relay, "Bob\n");
    ada.say("hello\n");
    bob.wait_for(|line| line == "Ada : hello");

    // Ctrl-C
    let group = Pid::from_raw(i32::try_from(runner.id()).unwrap());
    killpg(group, Signal::SIGINT).unwrap();
    assert!(runner.wait().unwrap().success());
}

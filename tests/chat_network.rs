//! The chat client on a machine whose network changes.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a measurement is printed")]

use core::time::Duration;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::namespace::{NAMESPACES, ip, is_in_namespace};
use kilochat_tests::{ChatProgram, RelayProgram};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");
const RELAY: &str = "10.9.0.1:10888";

/// A relay in a namespace of its own, at the other end of a cable.
fn relay_on_a_cable() -> RelayProgram {
    let mut command = Command::new("unshare");
    command.args(["-n", PROGRAM, "relay", "--bind", "0.0.0.0:10888"]);
    let relay = RelayProgram::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let there = format!("--net=/proc/{}/ns/net", relay.id());
    let there = |words: &str| {
        let mut nsenter = Command::new("nsenter");
        let status = nsenter
            .arg(&there)
            .arg("ip")
            .args(words.split(' '))
            .status();
        assert!(status.expect(NAMESPACES).success(), "ip {words}");
    };
    ip(&format!(
        "link add v0 type veth peer name v1 netns {}",
        relay.id()
    ));
    there("address add 10.9.0.1/24 dev v1");
    there("link set v1 up");
    ip("address add 10.9.0.2/24 dev v0");
    ip("link set v0 up");
    relay
}

fn join(name: &str) -> ChatProgram {
    let mut chat = ChatProgram::start(PROGRAM, &[RELAY, "--name", name, "--json"]);
    chat.wait_for(|line| line.contains("welcome"));
    chat
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn another_address_and_a_pulled_cable_lose_nothing() {
    if !is_in_namespace("another_address_and_a_pulled_cable_lose_nothing") {
        return;
    }
    let _relay = relay_on_a_cable();
    let (mut ada, mut bob) = (join("Ada"), join("Bob"));
    ada.write("before\n");
    bob.wait_for(|line| line.contains("before"));

    ip("address add 10.9.0.3/24 dev v0");
    ip("address delete 10.9.0.2/24 dev v0");
    // the first one goes with the second on some systems
    ip("address replace 10.9.0.3/24 dev v0");
    let begun = Instant::now();
    let is_back = |line: &str| {
        line.contains("connected again as") || line.contains("the relay answers again")
    };
    ada.wait_for(is_back);
    bob.wait_for(is_back);
    println!("at another address after {:?}", begun.elapsed());
    ada.write("from elsewhere\n");
    bob.wait_for(|line| line.contains("from elsewhere"));

    ip("link set v0 down");
    ada.write("into nowhere\n");
    ada.wait_for(|line| line.contains("connection lost (cannot reach 10.9.0.1:10888"));
    ada.write("still there\n");
    std::thread::sleep(Duration::from_secs(2));
    ip("link set v0 up");
    let begun = Instant::now();
    bob.wait_for(|line| line.contains("still there"));
    println!("through again after {:?}", begun.elapsed());
    for mut chat in [ada, bob] {
        chat.close_input();
        let end = chat.finish();
        assert_eq!(
            (end.code, end.errors.as_str()),
            (Some(0), ""),
            "{:#?}",
            end.lines
        );
        let said = ["before", "from elsewhere", "into nowhere", "still there"];
        let count = |text: &str| {
            end.lines
                .iter()
                .filter(|line| line.contains(&format!(r#""text":"{text}""#)))
                .count()
        };
        assert_eq!(said.map(count), [1; 4], "{:#?}", end.lines);
    }
}

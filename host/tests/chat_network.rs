//! The chat client on networks that change or are narrow.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a measurement is printed")]

use core::time::Duration;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::namespace::{NAMESPACES, ip, is_in_namespace};
use kilochat_tests::{ChatProgram, RelayProgram};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");
const RELAY: &str = "10.9.0.1:10888";

/// Starts a relay in a namespace of its own, at the other end of a cable.
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

/// Returns whether a client says that it is connected again.
fn is_back(line: &str) -> bool {
    line.contains("connected again as") || line.contains("the relay answers again")
}

fn join(host: &str, name: &str) -> ChatProgram {
    let mut chat = ChatProgram::start(PROGRAM, &[host, "--name", name, "--json"]);
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
    let (mut ada, mut bob) = (join(RELAY, "Ada"), join(RELAY, "Bob"));
    ada.write("before\n");
    bob.wait_for(|line| line.contains("before"));

    ip("address add 10.9.0.3/24 dev v0");
    ip("address delete 10.9.0.2/24 dev v0");
    // some systems delete the second address together with the first
    ip("address replace 10.9.0.3/24 dev v0");
    let begun = Instant::now();
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

/// Changes the address of this end of the cable.
fn move_to(number: u8, before: u8) {
    ip(&format!("address add 10.9.0.{number}/24 dev v0"));
    ip(&format!("address delete 10.9.0.{before}/24 dev v0"));
    // some systems delete the second address together with the first
    ip(&format!("address replace 10.9.0.{number}/24 dev v0"));
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn without_frames_a_move_makes_no_name_of_a_line() {
    if !is_in_namespace("without_frames_a_move_makes_no_name_of_a_line") {
        return;
    }
    let _relay = relay_on_a_cable();
    let mut bob = join(RELAY, "Bob");
    for (number, name, dialect) in [(3, "Ada", "--plain"), (4, "Cyd", "--classic")] {
        let arguments = [RELAY, "--name", name, "--json", dialect];
        let mut ada = ChatProgram::start(PROGRAM, &arguments);
        ada.write("before\n");
        bob.wait_for(|line| line.contains(r#""text":"before""#));
        move_to(number, number - 1);
        ada.wait_for(|line| line.contains("the network changed; joining again"));
        ada.write("first after the move\nsecond after the move\n");
        let first = bob.wait_for(|line| line.contains("first after the move"));
        assert!(first.contains(&format!(r#""name":"{name}~2""#)), "{first}");
        bob.wait_for(|line| line.contains(r#""text":"second after the move""#));
        ada.close_input();
        let end = ada.finish();
        assert_eq!(end.code, Some(0), "{end:?}");
        let told = end
            .lines
            .iter()
            .find(|line| line.contains("joined again as"));
        assert!(
            told.is_some_and(|told| told.contains("lines may be missing")),
            "{end:?}"
        );
        assert!(
            !end.lines.iter().any(|line| line.contains("restarted")),
            "{end:?}"
        );
    }
    bob.close_input();
    let end = bob.finish();
    let is_name = |line: &&String| line.contains("after the move joined");
    assert_eq!(end.lines.iter().find(is_name), None);
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_client_that_moves_often_needs_no_more_descriptors() {
    if !is_in_namespace("a_client_that_moves_often_needs_no_more_descriptors") {
        return;
    }
    let _relay = relay_on_a_cable();
    let mut bob = join(RELAY, "Bob");
    // a limit that the client needs at the start, and a few more
    let mut command = Command::new("sh");
    let script = format!("ulimit -n 13; exec {PROGRAM} chat {RELAY} --name Ada --json --stay");
    let mut ada = ChatProgram::spawn(command.args(["-c", &script]));
    ada.wait_for(|line| line.contains("welcome"));
    for number in 3..9 {
        move_to(number, number - 1);
        ada.wait_for(is_back);
        bob.write(format!("at {number}\n"));
        ada.wait_for(|line| line.contains(&format!(r#""text":"at {number}""#)));
    }
    ada.signal(Signal::SIGTERM);
    let end = ada.finish();
    assert_eq!(end.code, Some(0), "{end:?}");
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn where_whole_datagrams_do_not_fit_a_client_catches_up_all_the_same() {
    if !is_in_namespace("where_whole_datagrams_do_not_fit_a_client_catches_up_all_the_same") {
        return;
    }
    // the kernel fragments a single datagram of 1024 bytes here, but not several that it is given
    // at once
    ip("link set lo mtu 1000 up");
    let mut relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    let host = relay.address.to_string();
    let (mut ada, mut bob) = (join(&host, "Ada"), join(&host, "Bob"));
    bob.signal(Signal::SIGSTOP);
    for number in 0..600 {
        ada.write(format!("line {number}\n"));
    }
    ada.wait_for(|line| line.contains("line 599"));
    bob.signal(Signal::SIGCONT);
    bob.wait_for(|line| line.contains("line 599"));
    for mut chat in [ada, bob] {
        chat.close_input();
        let end = chat.finish();
        let texts: Vec<&str> = end
            .lines
            .iter()
            .filter_map(|line| line.split_once(r#""text":"line "#)?.1.split_once('"'))
            .map(|(number, _)| number)
            .collect();
        let expected: Vec<String> = (0..600).map(|number| number.to_string()).collect();
        assert_eq!(texts, expected);
    }
    let counts = relay.statistics();
    assert_eq!(counts["send_errors"], 0, "{counts:?}");
}

/// Runs the program in a mount namespace in which `hosts` is the file of host names.
fn by_name(hosts: &std::path::Path, arguments: &[&str]) -> ChatProgram {
    let mut command = Command::new("unshare");
    let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    command.args(["-m", "sh", "-c", script]).arg(hosts);
    command.arg(PROGRAM).args(arguments);
    ChatProgram::spawn(&mut command)
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_name_is_looked_up_again_and_all_its_addresses_are_asked() {
    if !is_in_namespace("a_name_is_looked_up_again_and_all_its_addresses_are_asked") {
        return;
    }
    ip("link set lo up");
    let bind = |address: &str| RelayProgram::start(PROGRAM, &["--bind", address]);
    let hosts = std::env::temp_dir().join(format!("kilochat-hosts-{}", std::process::id()));
    let write = |text: &str| std::fs::write(&hosts, text).expect("a temporary file");
    // a first address that never answers
    let _silent = std::net::UdpSocket::bind("127.0.0.9:10888").expect("loopback");
    write("127.0.0.9 relay.test\n127.0.0.1 relay.test\n");
    let first = bind("127.0.0.1:10888");
    let send = ["send", "relay.test", "--name", "cron", "hi"];
    assert_eq!(by_name(&hosts, &send).finish().code, Some(0));
    let chat = ["chat", "relay.test", "--name", "Ada", "--json", "--stay"];
    let mut ada = by_name(&hosts, &chat);
    ada.wait_for(|line| line.contains("welcome Ada"));
    write("127.0.0.2 relay.test\n");
    drop(first);
    let _second = bind("127.0.0.2:10888");
    ada.wait_for(|line| line.contains("relay.test is at 127.0.0.2:10888 now"));
    ada.wait_for(|line| line.contains("welcome Ada"));
    ada.write("I am here\n");
    ada.wait_for(|line| line.contains(r#""text":"I am here""#));
    std::fs::remove_file(&hosts).expect("it is there");
}

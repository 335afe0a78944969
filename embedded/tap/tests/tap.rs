//! `kilochat-tap` as a person starts, uses and stops it: a real process on a real TAP interface,
//! with hosts that have hardware addresses of their own.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "some print what they measure")]

#[path = "tap/ending.rs"]
mod ending;
#[path = "tap/lab.rs"]
mod lab;
#[path = "tap/names.rs"]
mod names;
#[path = "../src/readable.rs"]
mod readable; // for its tests: those of a program without a logger cannot be linked
#[path = "tap/sensor.rs"]
mod sensor;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::namespace::{NAMESPACES, ip, is_in_namespace};
use kilochat_tests::{Expected, PlainPeer, Transcript};
use lab::{ADDRESSES, Host, PROGRAM, TapProgram, V4, V6};
use nix::sys::signal::Signal;

#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn hosts_of_both_families_share_a_room() {
    if !is_in_namespace("hosts_of_both_families_share_a_room") {
        return;
    }
    let mut relay = TapProgram::start(&["--history", "0", "--seats", "8"]);
    let hosts: Vec<Host> = (11..19).map(Host::new).collect();
    let mut peers = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let address = if number % 2 == 0 { V4 } else { V6 };
        let name = format!("h{number}");
        peers.push(host.join(address, &name));
        let line = relay.wait_for_log(|line| line.contains(" joined from "));
        assert!(
            line.contains(&format!(" INFO {name} joined from ")),
            "{line}"
        );
    }
    let late = hosts[0].run(|| PlainPeer::new(V4.parse().expect("an address")));
    late.say("late");
    relay.wait_for_log(|line| line.contains(" INFO refused from ") && line.contains("all seats"));
    for peer in &mut peers {
        peer.synchronize();
        peer.received.clear();
    }

    let said: Vec<(usize, String)> = (0..400)
        .map(|number| (number * 7 % 8, format!("你好 {number}")))
        .collect();
    for (speaker, text) in &said {
        peers[*speaker].say(text);
        // each line reaches all peers before the next is said, so that the order is known
        let other = (speaker + 1) % 8;
        peers[other].wait_for(|line| line.ends_with(text));
    }
    for (reader, peer) in peers.iter_mut().enumerate() {
        peer.synchronize();
        let lines: Vec<String> = said
            .iter()
            .map(|(speaker, text)| format!("h{speaker} : {text}"))
            .collect();
        let room: Vec<_> = lines
            .iter()
            .zip(&said)
            .map(|(text, (speaker, _))| Expected {
                text,
                shown: *speaker != reader,
            })
            .collect();
        let mut transcript = Transcript::new(&room, false);
        let lines = peer
            .received
            .iter()
            .filter(|payload| !payload.starts_with(b"* "));
        lines.for_each(|payload| transcript.read(payload).expect("the lines of the room"));
        transcript.finish().expect("the lines of the room");
        assert_eq!(transcript.lost(), 0);
    }
    peers[0].say("/quit");
    relay.wait_for_log(|line| line.contains(" INFO h0 left (quit), was at 192.168.77.11:"));
    relay.signal(Signal::SIGTERM);
    for peer in &mut peers[1..] {
        peer.wait_for(|line| line == "* relay is stopping");
    }
    assert_eq!(relay.wait().code(), Some(0));
}

#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn a_link_that_goes_down_and_up_is_survived() {
    if !is_in_namespace("a_link_that_goes_down_and_up_is_survived") {
        return;
    }
    let mut relay = TapProgram::start(&[]);
    let (ada_host, bob_host) = (Host::new(11), Host::new(12));
    let mut ada = ada_host.join(V4, "Ada");
    let mut bob = bob_host.join(V6, "Bob");
    let cpu = relay.cpu();
    ip("link set tap0 down");
    std::thread::sleep(Duration::from_secs(3));
    // frames that the interface does not take: the farewell to a suspect, router solicitations
    relay.signal(Signal::SIGUSR1);
    let line = relay.wait_for_log(|line| line.contains(" send errors"));
    println!("{line}");
    let spent = relay.cpu() - cpu;
    assert!(
        spent < Duration::from_millis(300),
        "it is busy while the link is down: {spent:?}"
    );
    ip("link set tap0 up");
    std::thread::sleep(Duration::from_secs(1));
    ada.say("still there?");
    bob.wait_for(|line| line == "Ada : still there?");
    bob.say("yes");
    ada.wait_for(|line| line == "Bob : yes");

    ip("link delete tap0");
    assert_eq!(relay.wait().code(), Some(1));
}

#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn a_log_that_nobody_reads_holds_nothing_up() {
    if !is_in_namespace("a_log_that_nobody_reads_holds_nothing_up") {
        return;
    }
    let mut relay = TapProgram::spawn(&ADDRESSES);
    wait_for_interface();
    let (ada_host, bob_host) = (Host::new(11), Host::new(12));
    let mut ada = ada_host.join(V4, "Ada");
    let bob = bob_host.join(V4, "Bob");
    // a log line for each: more than a pipe and the queue hold
    for number in 0..4000 {
        bob.say(format!("/nick Bob{number}"));
        ada.wait_for(|line| line.ends_with(&format!("is now Bob{number}")));
        ada.received.clear();
    }
    bob.say("done");
    ada.wait_for(|line| line == "Bob3999 : done");
    let start = Instant::now();
    relay.signal(Signal::SIGTERM);
    ada.wait_for(|line| line == "* relay is stopping");
    assert_eq!(relay.wait().code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    let mut log = Vec::new();
    let stdout = relay.child().stdout.take();
    stdout
        .expect("piped")
        .read_to_end(&mut log)
        .expect("a pipe");
    assert!(
        log.len() < 100_000,
        "it was not blocked: {} bytes",
        log.len()
    );
}

/// Waits until the program has created its interface.
fn wait_for_interface() {
    let deadline = Instant::now() + kilochat_tests::PATIENCE;
    while nix::net::if_::if_nametoindex("tap0").is_err() {
        assert!(Instant::now() < deadline, "{NAMESPACES}");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
}

#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn raw_logs_are_what_defmt_print_reads() {
    if !is_in_namespace("raw_logs_are_what_defmt_print_reads") {
        return;
    }
    let mut relay = TapProgram::spawn(&[&ADDRESSES[..], &["--raw"]].concat());
    wait_for_interface();
    let host = Host::new(11);
    drop(host.join(V4, "Ada"));
    relay.signal(Signal::SIGTERM);
    let mut raw = Vec::new();
    let stdout = relay.child().stdout.take();
    stdout
        .expect("piped")
        .read_to_end(&mut raw)
        .expect("a pipe");
    assert_eq!(relay.wait().code(), Some(0));

    let program = std::fs::read(PROGRAM).expect("it was built");
    let table = defmt_decoder::Table::parse(&program).expect("it has the texts");
    let table = table.expect("it has the texts");
    let mut decoder = table.new_stream_decoder();
    decoder.received(&raw);
    let mut lines = Vec::new();
    while let Ok(frame) = decoder.decode() {
        lines.push(frame.display_message().to_string());
    }
    assert!(
        lines[0].starts_with("up: 64 seats, UDP port 10888"),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("Ada joined from 192.168.77.11:")),
        "{lines:?}"
    );
}

#[test]
#[ignore = "needs network namespaces, netcat and /dev/net/tun: apt-get install util-linux iproute2 netcat-openbsd"]
fn netcat_chats_by_link_local_ipv6() {
    if !is_in_namespace("netcat_chats_by_link_local_ipv6") {
        return;
    }
    let _relay = TapProgram::start(&["--mac", "02:00:00:00:00:01"]);
    let (ada_host, bob_host) = (Host::new(11), Host::new(12));
    let mut ada = ada_host.join(V4, "Ada");
    // duplicate address detection for its link-local address comes first
    std::thread::sleep(Duration::from_secs(2));
    let mut netcat = bob_host.run(|| {
        let mut command = Command::new("nc");
        command.args(["-u", "fe80::ff:fe00:1%host12", "10888"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().expect("apt-get install netcat-openbsd")
    });
    let mut input = netcat.stdin.take().expect("piped");
    std::io::Write::write_all(&mut input, b"Bob\n").expect("it reads");
    ada.wait_for(|line| line == "* Bob joined");
    std::io::Write::write_all(&mut input, b"hello\n").expect("it reads");
    ada.wait_for(|line| line == "Bob : hello");
    netcat.kill().expect("it runs");
    netcat.wait().expect("it was started");
}

#[test]
#[ignore = "needs a minute, network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn an_idle_program_sleeps() {
    if !is_in_namespace("an_idle_program_sleeps") {
        return;
    }
    let relay = TapProgram::start(&["--dhcp"]);
    let host = Host::new(11);
    let _ada = host.join(V6, "Ada");
    std::thread::sleep(Duration::from_secs(15));
    let id = relay.id();
    let wakeups = || {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.expect("Linux")
            .trim()
            .parse::<u64>()
            .expect("a number")
    };
    let (cpu, woken) = (relay.cpu(), wakeups());
    std::thread::sleep(Duration::from_secs(60));
    let (cpu, woken) = (relay.cpu() - cpu, wakeups() - woken);
    println!("idle for 60 s: {cpu:?} of a processor, {woken} wake-ups");
    assert!(cpu < Duration::from_millis(600), "{cpu:?}");
    assert!(woken <= 300, "{woken}");
}

/// Measures how long a line takes to reach all of sixteen live peers, with and without two dead
/// ones; alternating, because a busy machine is slower at times.
#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn dead_peers_make_nobody_wait() {
    if !is_in_namespace("dead_peers_make_nobody_wait") {
        return;
    }
    let ratio = median((0..9).map(|_| {
        let (without, with) = (measure(false), measure(true));
        println!("p99 until the last of 15 has a line: {without:?}, with two dead peers {with:?}");
        with.as_secs_f64() / without.as_secs_f64()
    }));
    println!("median ratio {ratio:.2}");
    assert!(ratio <= 1.5, "{ratio}");
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Returns the time within which 99 of 100 lines reach 15 others.
fn measure(with_dead: bool) -> Duration {
    let _relay = TapProgram::start(&["--history", "0"]);
    let host = Host::new(11);
    let mut peers: Vec<PlainPeer> = (0..16)
        .map(|number| host.join(if number % 2 == 0 { V4 } else { V6 }, &format!("h{number}")))
        .collect();
    let dead_host = Host::new(12);
    if with_dead {
        drop(dead_host.join(V4, "dead"));
        // from behind a router, to which the relay has no route
        dead_host.run(|| ip("address add 10.9.8.7/32 dev lo"));
        dead_host.run(|| {
            let socket = std::net::UdpSocket::bind("10.9.8.7:4000").expect("it is an address");
            let relay: SocketAddr = V4.parse().expect("an address");
            socket.send_to(b"far", relay).expect("there is a route");
        });
        peers[0].wait_for(|line| line == "* far joined");
    }
    dead_host.vanish();
    for peer in &mut peers {
        peer.synchronize();
    }
    let mut times = Vec::new();
    for number in 0..500 {
        let speaker = number % 16;
        let text = format!("{number}");
        let start = Instant::now();
        peers[speaker].say(&text);
        for reader in (0..16).filter(|reader| *reader != speaker) {
            let line = format!("h{speaker} : {text}");
            peers[reader].wait_for(|heard| heard == line);
            peers[reader].received.clear();
        }
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

#[test]
fn what_is_missing_is_named() {
    let output = Command::new(PROGRAM)
        .args(["--tap", "kilochat-none"])
        .output()
        .expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("sudo ip tuntap add dev kilochat-none mode tap user $USER"),
        "{stderr}"
    );
}

#[test]
#[ignore = "needs user namespaces: apt-get install util-linux"]
fn a_missing_capability_is_named() {
    // root in a new user namespace, which has no rights in the old network namespace
    let output = Command::new("unshare")
        .args(["-Ur", PROGRAM, "--create", "--tap", "kilochat9"])
        .output()
        .expect("apt-get install util-linux");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for wanted in [
        "CAP_NET_ADMIN",
        "sudo ip tuntap add dev kilochat9",
        "unshare -Urn",
    ] {
        assert!(stderr.contains(wanted), "{stderr}");
    }
}

#[test]
fn its_version_is_told_under_its_own_name() {
    let output = Command::new(PROGRAM).arg("--version").output();
    let text = String::from_utf8(output.expect("it starts").stdout).expect("text");
    assert!(text.starts_with("kilochat-tap 0."), "{text}");
}

#[test]
fn invalid_options_exit_with_2() {
    for arguments in [
        &["--ip", "192.168.77.1"][..],
        &["--ip", "fd00::1/64"],
        &["--ip6", "fd00::1/129"],
        &["--mac", "02:00:00:00:00"],
        &["--seats", "65"],
        &["--seats", "0"],
        &["--port", "0"],
        &["--no-such-option"],
    ] {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

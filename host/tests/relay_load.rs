//! The relay under exceptional load: hostile datagrams, a flood, a full room.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a measurement")]

use std::net::UdpSocket;

use fastrand::Rng;
use kilochat_tests::{PlainPeer, RelayProgram, allow_many_sockets};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");
const HOSTILE: u64 = 100_000;

/// Returns a datagram as an attacker or a faulty program may send it.
fn hostile(random: &mut Rng) -> Vec<u8> {
    let texts = [
        "* Ada left (quit)",
        "Ada : I am Ada",
        "\x1b]0;owned\x07\x1b[2J\x1b[31m",
        "/nick Ada",
        "/nick * Ada",
        "/nick \u{202E}adA",
        "a\r\nAda : forged\nBob : forged",
        "\u{2028}Ada : forged\u{85}Bob : forged",
        "/who",
        "/quit",
        "/quiet on",
        "/help",
        "//",
        "\0",
        "* welcome",
        "Ada",
        "Ada\u{200B}",
        "zalgo\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    ];
    match random.u8(..8) {
        0 => (0..random.usize(..64)).map(|_| random.u8(..)).collect(),
        1 => (0..random.usize(..32)).map(|_| random.u8(..32)).collect(),
        2 => [random.u8(..), random.u8(..), random.u8(..)].repeat(random.usize(300..500)),
        3 => "长".repeat(random.usize(300..345)).into_bytes(),
        4 => {
            let mut text = random.choice(texts).unwrap_or_default().as_bytes().to_vec();
            let at = random.usize(..text.len());
            text[at] ^= 1 << random.u8(..8);
            text
        }
        5 => b"\x01H KC1 00000000".to_vec(),
        _ => random.choice(texts).unwrap_or_default().as_bytes().to_vec(),
    }
}

/// Returns a socket that sends to the relay and never reads.
fn deaf(relay: &RelayProgram) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(relay.at("127.0.0.1")).expect("loopback");
    socket
}

/// Checks every datagram that a peer received. Returns what `author` said.
fn checked(peer: &PlainPeer, author: &str) -> Vec<String> {
    for datagram in &peer.received {
        assert!(datagram.len() <= 1024);
        let text = core::str::from_utf8(datagram).expect("UTF-8");
        for line in text.split('\n') {
            assert!(
                !line.is_empty() && !line.chars().any(char::is_control),
                "{line:?}"
            );
        }
    }
    let prefix = format!("{author} : ");
    let lines = peer.lines().into_iter();
    lines
        .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}

#[test]
fn honest_peers_hear_each_other_whatever_the_others_send() {
    allow_many_sockets();
    let mut relay = RelayProgram::start(PROGRAM, &["--quiet", "--announce-up-to", "4096"]);
    let mut ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    let mut bob = PlainPeer::join(relay.at("127.0.0.1"), "Bob");
    let mut random = Rng::with_seed(4);
    let mut others: Vec<UdpSocket> = (0..200).map(|_| deaf(&relay)).collect();
    let mut numbers = Vec::new();
    for sent in 0..HOSTILE {
        let index = random.usize(..others.len());
        // the first call may return a pending error of an earlier datagram
        let payload = hostile(&mut random);
        let _ = others[index]
            .send(&payload)
            .or_else(|_| others[index].send(&payload));
        if sent % 64 == 0 {
            let number = (sent / 64).to_string();
            ada.say(&number);
            bob.say(&number);
            numbers.push(number);
            // waits until the relay has read this batch, so that the kernel drops nothing
            ada.synchronize();
            bob.synchronize();
        }
        if sent % 500 == 0 {
            others[index] = deaf(&relay);
        }
    }
    // a reply may overtake lines, but no line overtakes another
    ada.say("end");
    bob.say("end");
    numbers.push("end".to_owned());
    ada.wait_for(|line| line == "Bob : end");
    bob.wait_for(|line| line == "Ada : end");
    assert_eq!(checked(&bob, "Ada"), numbers);
    assert_eq!(checked(&ada, "Bob"), numbers);
    let counts = relay.statistics();
    assert_eq!(
        (counts["kernel_dropped"], counts["missed"]),
        (0, 0),
        "{counts:?}"
    );
    assert!(counts["datagrams"] > HOSTILE, "{counts:?}");
    for refusal in ["too_long", "not_utf8", "frame", "blank", "nameless"] {
        assert!(
            counts[&format!("refused_{refusal}")] > 0,
            "{refusal}: {counts:?}"
        );
    }
}

#[test]
#[cfg(not(feature = "std-sockets"))]
fn a_flood_is_survived_and_what_the_kernel_dropped_is_stated() {
    use core::time::Duration;
    use std::time::Instant;

    use nix::sys::signal::Signal;

    let mut relay = RelayProgram::start(PROGRAM, &["--quiet"]);
    let ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    let mut bob = PlainPeer::join(relay.at("127.0.0.1"), "Bob");
    let others: Vec<UdpSocket> = (0..16).map(|_| deaf(&relay)).collect();
    let mut random = Rng::with_seed(5);
    let mut sent = 2;
    for number in 0..HOSTILE {
        // for a while the relay has no processor time at all
        if number == HOSTILE / 2 {
            relay.signal(Signal::SIGSTOP);
        }
        let other = random.choice(&others).expect("there are some");
        sent += u64::from(other.send(&hostile(&mut random)).is_ok());
    }
    relay.signal(Signal::SIGCONT);
    // Bob's socket must have room for the line that is waited for
    while bob.receive(Duration::from_secs(1)).is_some() {}
    let start = Instant::now();
    ada.say("still there?");
    bob.wait_for(|line| line == "Ada : still there?");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let counts = relay.statistics();
    assert!(counts["kernel_dropped"] > 0, "{counts:?}");
    assert_eq!(
        counts["datagrams"] + counts["kernel_dropped"],
        sent + 1,
        "{counts:?}"
    );
    checked(&bob, "Ada");
}

#[test]
fn a_room_of_4096_is_full_and_small() {
    allow_many_sockets();
    let mut relay = RelayProgram::start(PROGRAM, &["--quiet"]);
    let mut peers: Vec<PlainPeer> = (0..4096)
        .map(|number| PlainPeer::join(relay.at("127.0.0.1"), &format!("peer {number}")))
        .collect();
    let mut late = PlainPeer::new(relay.at("127.0.0.1"));
    late.say("late");
    late.wait_for(|line| line == "* full: 4096 of 4096 seats taken");
    // with so many peers two threads send, but each peer receives the lines in order
    let said: Vec<String> = (0..20).map(|number| format!("line {number}")).collect();
    for text in &said {
        peers[0].say(text);
    }
    for peer in &mut peers[1..] {
        peer.wait_for(|line| line == "peer 0 : line 19");
        let lines = peer.lines().into_iter();
        let heard: Vec<String> = lines
            .filter_map(|line| Some(line.strip_prefix("peer 0 : ")?.to_owned()))
            .collect();
        assert_eq!(heard, said);
    }
    let peak = relay.proc_status("VmHWM");
    println!("peak resident memory with 4096 peers: {peak} KiB");
    // includes the pages of the program itself, which is twenty times as large when it is not
    // optimised
    let limit = if cfg!(debug_assertions) { 16 } else { 8 };
    assert!(peak < limit * 1024, "{peak} KiB");
    assert_eq!(relay.statistics()["peers"], 4096);
}

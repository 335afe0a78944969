//! The relay at several addresses of a machine, and in networks of its own.
#![cfg(target_os = "linux")]

use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use kilochat_tests::namespace::{ip, is_in_namespace, tc};
use kilochat_tests::{PlainPeer, RelayProgram};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

#[test]
#[cfg(not(feature = "std-sockets"))]
fn each_peer_is_answered_from_the_address_it_wrote_to() {
    let relay = RelayProgram::start(PROGRAM, &[]);
    // a connected socket receives from that address alone
    let mut peers: Vec<PlainPeer> = ["127.0.0.1", "127.0.0.2", "127.9.9.9", "::1"]
        .into_iter()
        .map(|ip| PlainPeer::join(relay.at(ip), ip.trim_start_matches(':')))
        .collect();
    peers[0].say("hello");
    for peer in &mut peers[1..] {
        peer.wait_for(|line| line == "127.0.0.1 : hello");
    }
}

#[test]
fn several_addresses_are_one_room() {
    let arguments = ["--bind", "127.0.0.1:0", "--bind", "[::1]:0"];
    let mut command = Command::new(PROGRAM);
    command
        .arg("relay")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut address = || {
        let line = lines.next().expect("a line").expect("text");
        line.strip_prefix("listening on ")
            .expect("an address")
            .parse()
            .expect("an address")
    };
    let mut ada = PlainPeer::join(address(), "Ada");
    let mut bob = PlainPeer::join(address(), "Bob");
    ada.say("one room");
    bob.wait_for(|line| line == "Ada : one room");
    bob.say("it is");
    ada.wait_for(|line| line == "Bob : it is");
    child.kill().expect("it runs");
    child.wait().expect("it was started");
}

#[test]
fn nobody_else_can_have_the_port() {
    let relay = RelayProgram::start(PROGRAM, &[]);
    for ip in ["127.0.0.1", "127.0.0.9", "0.0.0.0", "::1", "::"] {
        let address = relay.at(ip);
        let domain = socket2::Domain::for_address(address);
        let other = socket2::Socket::new(domain, socket2::Type::DGRAM, None).expect("a socket");
        // as a program does that wants the port at any price
        other.set_reuse_address(true).expect("a UDP socket");
        let error = other.bind(&address.into()).expect_err("it is taken");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{address}");
    }
}

#[test]
fn only_the_addresses_that_were_asked_for_are_served() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "[::]:0", "--bind", "127.0.0.9:0"]);
    PlainPeer::join(relay.at("::1"), "Ada").synchronize();
    // the port of the first socket, in the other address family
    let address = relay.at("127.0.0.1");
    std::net::UdpSocket::bind(address).expect("the address is free");
}

#[test]
#[cfg(not(feature = "std-sockets"))]
fn a_flood_at_one_address_keeps_nobody_from_another() {
    use core::sync::atomic::{AtomicBool, Ordering};

    struct Ended<'a>(&'a AtomicBool);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let relay = RelayProgram::start(PROGRAM, &["--history", "0", "--no-notices"]);
    let flooded = relay.at("127.0.0.1");
    // many peers make each line expensive, so that there is always a line left to relay
    let join = |number| PlainPeer::join(flooded, &format!("peer {number}"));
    let _crowd: Vec<PlainPeer> = (0..200).map(join).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ended = Ended(&is_over);
        for author in ["Ada", "Bob"] {
            let peer = PlainPeer::join(flooded, author);
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    peer.say("and another one, and so on, and so on, and so on");
                }
            });
        }
        std::thread::sleep(Duration::from_secs(1));
        for number in 0..20 {
            PlainPeer::join(relay.at("::1"), &format!("guest {number}")).say("/quit");
        }
    });
}

#[test]
#[ignore = "needs network namespaces, as root or by user namespaces: apt-get install util-linux iproute2"]
fn peers_of_a_second_address_are_answered_from_it() {
    if !is_in_namespace("peers_of_a_second_address_are_answered_from_it") {
        return;
    }
    ip("link set lo up");
    let addresses = ["fd00:77::1", "fd00:77::2", "10.77.0.1", "10.77.0.2", "::1"];
    for address in &addresses[..4] {
        let length = if address.contains(':') { 128 } else { 32 };
        ip(&format!("address add {address}/{length} dev lo"));
    }
    let relay = RelayProgram::start(PROGRAM, &[]);
    let mut peers: Vec<PlainPeer> = (0..)
        .zip(addresses)
        .map(|(number, ip)| PlainPeer::join(relay.at(ip), &format!("peer {number}")))
        .collect();
    peers[0].say("hello");
    for peer in &mut peers[1..] {
        peer.wait_for(|line| line == "peer 0 : hello");
    }
}

#[test]
#[ignore = "needs network namespaces, as root or by user namespaces: apt-get install util-linux iproute2"]
fn strangers_from_outside_are_refused_unless_the_relay_is_open() {
    if !is_in_namespace("strangers_from_outside_are_refused_unless_the_relay_is_open") {
        return;
    }
    ip("link set lo up");
    // addresses for documentation (RFC 5737) that no interface has; the route makes them local
    ip("route add local 198.51.100.0/24 dev lo");
    for (flags, is_answered) in [(&[][..], false), (&["--open"][..], true)] {
        let mut relay = RelayProgram::start(PROGRAM, flags);
        let foreign = std::net::UdpSocket::bind("198.51.100.7:0").expect("a local address");
        foreign
            .connect(relay.at("198.51.100.1"))
            .expect("a local address");
        foreign
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("not zero");
        foreign.send(b"mallory").expect("a local address");
        let mut ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
        assert_eq!(foreign.recv(&mut [0; 1024]).is_ok(), is_answered);
        ada.synchronize();
        let counts = relay.statistics();
        assert_eq!(
            counts["refused_foreign"],
            u64::from(!is_answered),
            "{counts:?}"
        );
    }
}

#[test]
#[ignore = "needs network namespaces, as root or by user namespaces: apt-get install util-linux iproute2"]
fn a_device_that_takes_nothing_delays_lines_and_loses_none() {
    if !is_in_namespace("a_device_that_takes_nothing_delays_lines_and_loses_none") {
        return;
    }
    ip("link set lo up");
    // the queue holds seven such datagrams, and is sent at 250 kB/s
    tc("qdisc add dev lo root tbf rate 2mbit burst 4k limit 6k");
    let mut relay = RelayProgram::start(PROGRAM, &["--no-notices"]);
    let at = relay.at("127.0.0.1");
    let ada = PlainPeer::join(at, "Ada");
    let mut readers: Vec<PlainPeer> = (0..10)
        .map(|number| PlainPeer::join(at, &format!("reader {number}")))
        .collect();
    for number in 0..20 {
        ada.say(format!("{number} {}", "x".repeat(800)));
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    let counts = relay.statistics();
    let said = usize::try_from(counts["messages"]).expect("few");
    // the device may also drop what Ada sends, and then nobody receives it
    assert!(said > 5, "{counts:?}");
    for reader in &mut readers {
        let is_heard = |reader: &PlainPeer| {
            let lines = reader.lines();
            lines
                .iter()
                .filter(|line| line.starts_with("Ada : "))
                .count()
                >= said
        };
        while !is_heard(reader) {
            assert!(
                reader.receive(Duration::from_secs(5)).is_some(),
                "{counts:?}"
            );
        }
    }
    assert!(counts["deferred"] > 0, "{counts:?}");
    assert_eq!(
        (
            counts["missed"],
            counts["send_errors"],
            counts["unreachable"]
        ),
        (0, 0, 0)
    );
}

#[test]
#[ignore = "needs network namespaces, as root or by user namespaces: apt-get install util-linux iproute2"]
fn a_peer_that_joins_by_broadcast_is_answered() {
    if !is_in_namespace("a_peer_that_joins_by_broadcast_is_answered") {
        return;
    }
    ip("link set lo up");
    ip("address add 10.77.0.1/24 brd 10.77.0.255 dev lo");
    let relay = RelayProgram::start(PROGRAM, &[]);
    let socket = std::net::UdpSocket::bind("10.77.0.1:0").expect("a local address");
    socket.set_broadcast(true).expect("a socket option");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("not zero");
    socket
        .send_to(b"Ada", relay.at("10.77.0.255"))
        .expect("loopback accepts it");
    let mut buffer = [0; 1024];
    let (length, source) = socket.recv_from(&mut buffer).expect("a welcome");
    assert_eq!(source, relay.at("10.77.0.1"));
    assert!(buffer[..length].starts_with(b"* welcome Ada: "));
}

//! How `kilochat-tap` ends, and how it continues after a suspension.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::UdpSocket;

use kilochat_tests::PATIENCE;
use kilochat_tests::lab::BareFramed;
use kilochat_tests::namespace::is_in_namespace;
use nix::sys::signal::Signal;

use crate::lab::{Host, TapProgram, V4};

/// Longer than the silence after which a framed peer is parked.
const SUSPENSION: Duration = Duration::from_secs(66);

/// Returns a peer on `host` that does nothing by itself.
fn join_in_frames(host: &Host, name: &str) -> BareFramed {
    let socket = host.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
        socket.connect(V4).expect("there is a route");
        socket
    });
    BareFramed::join(socket, name)
}

/// It has acknowledged nothing, so its window is full when the relay is told to stop.
#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn a_peer_with_a_full_window_has_everything_before_the_relay_ends() {
    if !is_in_namespace("ending::a_peer_with_a_full_window_has_everything_before_the_relay_ends") {
        return;
    }
    const LINES: usize = 12;
    let mut relay = TapProgram::start(&["--history", "0"]);
    let (ada_host, bob_host) = (Host::new(11), Host::new(12));
    let mut ada = join_in_frames(&ada_host, "Ada");
    let mut bob = bob_host.join(V4, "Bob");
    let mut carol = bob_host.join(V4, "Carol");
    for number in 0..LINES {
        bob.say(format!("{number}"));
        // one datagram for each
        carol.wait_for(|line| line == format!("Bob : {number}"));
    }
    relay.signal(Signal::SIGTERM);
    bob.wait_for(|line| line == "* relay is stopping");
    // a relay that did not wait would have ended by now
    std::thread::sleep(Duration::from_millis(100));
    let mut lines = BTreeMap::new();
    let is_stopping = |line: &String| line.ends_with("relay is stopping");
    while !lines.values().any(is_stopping) {
        let more = ada.receive(PATIENCE);
        lines.extend(more.unwrap_or_else(|| panic!("it has only {lines:#?}")));
        ada.acknowledge();
    }
    let said = lines.values().filter(|line| line.starts_with("Bob : "));
    assert_eq!(said.count(), LINES, "{lines:#?}");
    assert_eq!(relay.wait().code(), Some(0));
}

/// After the first signal it says goodbye, and waits for a peer that never acknowledges; the second
/// ends it at once.
#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn a_second_signal_ends_it_while_it_says_goodbye() {
    if !is_in_namespace("ending::a_second_signal_ends_it_while_it_says_goodbye") {
        return;
    }
    let mut relay = TapProgram::start(&[]);
    let host = Host::new(11);
    let mut bob = host.join(V4, "Bob");
    let _ada = join_in_frames(&host, "Ada");
    relay.signal(Signal::SIGTERM);
    bob.wait_for(|line| line == "* relay is stopping");
    relay.signal(Signal::SIGINT);
    assert_eq!(relay.wait().code(), Some(128 + Signal::SIGINT as i32));
}

/// Peers whose frames waited for longer than the permitted silence are not parked.
#[test]
#[ignore = "needs 70 s, network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn a_suspended_program_calls_no_peer_away() {
    if !is_in_namespace("ending::a_suspended_program_calls_no_peer_away") {
        return;
    }
    let mut relay = TapProgram::start(&["--history", "0"]);
    let (ada_host, bob_host) = (Host::new(11), Host::new(12));
    let ada = join_in_frames(&ada_host, "Ada");
    let mut bob = bob_host.join(V4, "Bob");
    relay.signal(Signal::SIGSTOP);
    std::thread::sleep(SUSPENSION);
    // the relay reads her frame last
    for number in 0..40 {
        bob.say(format!("{number}"));
    }
    ada.acknowledge();
    relay.signal(Signal::SIGCONT);
    bob.synchronize();
    relay.signal(Signal::SIGUSR1);
    let line = relay.wait_for_log(|line| line.contains(" peers; "));
    assert!(!line.contains(" parked"), "{line}");
    assert!(!bob.lines().iter().any(|line| line.ends_with("is away")));
}

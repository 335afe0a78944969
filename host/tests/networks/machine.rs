//! The relay's process on its machine: suspension and end.

use core::time::Duration;
use std::time::Instant;

use kilochat_tests::PATIENCE;
use kilochat_tests::lab::{BareFramed, Dialect, Host, Lab, Link, Reader, Speaker};
use kilochat_tests::namespace::is_in_namespace;
use nix::sys::signal::Signal;

use crate::{PROGRAM, is_alone_in_namespace, talk};

/// Duration of the suspension: longer than a client may be silent.
const SUSPENSION: Duration = Duration::from_secs(66);

#[test]
#[ignore = "needs 80 s and network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_suspended_relay_calls_no_peer_away() {
    if !is_in_namespace("machine::a_suspended_relay_calls_no_peer_away") {
        return;
    }
    let lab = Lab::new();
    let relay = lab.start(PROGRAM, &[]);
    let [near, far] = Link::ALL.map(|link| Host::new(&lab, link, 2));
    let mut speaker = Speaker::join(&far, 100);
    let mut readers = vec![Reader::join(&far, Dialect::Plain, "plain reader")];
    readers.extend((0..20).map(|number| {
        let name = format!("reader {number}");
        Reader::join(&near, Dialect::Framed, &name)
    }));
    talk(&mut speaker, &readers, PATIENCE);
    relay.signal(Signal::SIGSTOP);
    speaker.say();
    std::thread::sleep(SUSPENSION);
    relay.signal(Signal::SIGCONT);
    talk(&mut speaker, &readers, PATIENCE);
    // a parked client would be back at once, and both notices would have arrived by now
    talk(&mut speaker, &readers, PATIENCE);
    let said = speaker.said.len();
    for reader in readers {
        let heard = reader.stop();
        let away = |line: &&String| line.ends_with(" is away") || line.ends_with(" is back");
        let away: Vec<&String> = heard.others.iter().filter(away).collect();
        assert_eq!(away, [""; 0]);
        assert!(
            heard.lines.len() + 1 >= said,
            "{} of {said}",
            heard.lines.len()
        );
    }
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_relay_that_stops_says_everything_to_a_peer_with_a_full_window() {
    if !is_alone_in_namespace(
        "machine::a_relay_that_stops_says_everything_to_a_peer_with_a_full_window",
    ) {
        return;
    }
    const LINES: usize = 12;
    let lab = Lab::new();
    let mut relay = lab.start(PROGRAM, &[]);
    let host = Host::new(&lab, Link::A, 2);
    let mut speaker = Speaker::join(&host, 100);
    let mut peer = BareFramed::join(host.socket(host.address()), "far away");
    for _ in 0..LINES {
        speaker.say();
        std::thread::sleep(Duration::from_millis(20));
    }
    relay.signal(Signal::SIGTERM);
    // the peer's acknowledgements arrive with a delay
    std::thread::sleep(Duration::from_millis(100));
    let mut lines = std::collections::BTreeMap::new();
    let begun = Instant::now();
    let is_stopping = |line: &String| line == "* relay is stopping" || line == "relay is stopping";
    while begun.elapsed() < Duration::from_secs(5) && !lines.values().any(is_stopping) {
        if let Some(more) = peer.receive(Duration::from_millis(100)) {
            lines.extend(more);
            peer.acknowledge();
        }
    }
    assert!(relay.wait().success());
    let said = lines
        .values()
        .filter(|line| line.starts_with("speaker : "))
        .count();
    let has_goodbye = lines.values().any(is_stopping);
    assert_eq!((said, has_goodbye), (LINES, true), "{lines:#?}");
    println!("ended after {:?}", begun.elapsed());
}

//! Addresses and interfaces of the relay's machine that disappear and return.

use core::net::IpAddr;
use core::time::Duration;
use std::net::UdpSocket;
use std::time::Instant;

use kilochat_tests::PATIENCE;
use kilochat_tests::lab::{Dialect, Host, Lab, Link, Reader, Speaker};
use kilochat_tests::namespace::{ip, is_in_namespace};

use crate::{PROGRAM, talk};

/// Maximum time until the relay notices that the addresses of its machine have changed.
const NOTICE: Duration = Duration::from_secs(12);

/// Requests a seat repeatedly, as a person does. Returns whether there was a welcome in time.
fn is_welcomed(host: &Host, local: &str, relay: &str, name: &str, patience: Duration) -> bool {
    let local: IpAddr = local.parse().expect("an address");
    let relay: IpAddr = relay.parse().expect("an address");
    let socket = host.run(|| {
        let socket = UdpSocket::bind((local, 0)).expect("its own address");
        let port = host.link.relay().port();
        socket.connect((relay, port)).expect("there is a route");
        socket
    });
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("not zero");
    let begun = Instant::now();
    let mut buffer = [0; 2048];
    while begun.elapsed() < patience {
        // fails while the relay's machine does not have this address
        let _ = socket.send(name.as_bytes());
        if let Ok(length) = socket.recv(&mut buffer) {
            return buffer[..length].starts_with(b"* welcome ");
        }
    }
    false
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn listeners_hear_again_after_an_adapter_was_deleted_and_created() {
    if !is_in_namespace("addresses::listeners_hear_again_after_an_adapter_was_deleted_and_created")
    {
        return;
    }
    let lab = Lab::new();
    let _relay = lab.start(PROGRAM, &[]);
    let [near, far] = Link::ALL.map(|link| Host::new(&lab, link, 2));
    let mut speaker = Speaker::join(&far, 100);
    let readers: Vec<Reader> = Dialect::ALL
        .iter()
        .map(|dialect| Reader::join(&near, *dialect, &format!("{dialect} reader")))
        .collect();
    talk(&mut speaker, &readers, PATIENCE);
    let before = lab.index(Link::A);
    lab.disconnect(Link::A);
    for _ in 0..5 {
        speaker.say();
        std::thread::sleep(Duration::from_millis(100));
    }
    lab.connect(Link::A);
    assert_ne!(lab.index(Link::A), before, "it is the same adapter");
    // a framed peer sends after 15 s of silence, and must not need to do so
    talk(&mut speaker, &readers, NOTICE);
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_network_that_appears_after_the_start_is_served() {
    if !is_in_namespace("addresses::a_network_that_appears_after_the_start_is_served") {
        return;
    }
    let lab = Lab::new();
    let _relay = lab.start(PROGRAM, &[]);
    let host = Host::new(&lab, Link::B, 2);
    host.run(|| ip("address add 203.0.113.9/24 dev eth0"));
    lab.run(|| ip("address add 203.0.113.1/24 dev link-b"));
    let begun = Instant::now();
    assert!(is_welcomed(
        &host,
        "203.0.113.9",
        "203.0.113.1",
        "Ada",
        NOTICE
    ));
    println!("served after {:?}", begun.elapsed());
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_prefix_that_is_renumbered_is_served_and_the_old_one_no_longer() {
    if !is_in_namespace(
        "addresses::a_prefix_that_is_renumbered_is_served_and_the_old_one_no_longer",
    ) {
        return;
    }
    let lab = Lab::new();
    lab.run(|| ip("address add 2001:db8:1::1/64 dev link-b nodad"));
    let mut relay = lab.start(PROGRAM, &[]);
    let host = Host::new(&lab, Link::B, 2);
    for address in ["2001:db8:1::9", "2001:db8:2::9"] {
        host.run(|| ip(&format!("address add {address}/64 dev eth0 nodad")));
    }
    assert!(is_welcomed(
        &host,
        "2001:db8:1::9",
        "2001:db8:1::1",
        "Ada",
        PATIENCE
    ));
    assert!(!is_welcomed(
        &host,
        "2001:db8:2::9",
        "2001:db8:1::1",
        "Eve",
        Duration::from_secs(1)
    ));
    lab.run(|| {
        ip("address add 2001:db8:2::1/64 dev link-b nodad");
        ip("address delete 2001:db8:1::1/64 dev link-b");
        ip("route add 2001:db8:1::/64 dev link-b");
    });
    assert!(is_welcomed(
        &host,
        "2001:db8:2::9",
        "2001:db8:2::1",
        "Bob",
        NOTICE
    ));
    // the relay may notice the two changes one after the other
    std::thread::sleep(NOTICE);
    let before = relay.statistics()["refused_foreign"];
    let patience = Duration::from_secs(1);
    assert!(!is_welcomed(
        &host,
        "2001:db8:1::9",
        "2001:db8:2::1",
        "Mallory",
        patience
    ));
    let after = relay.statistics()["refused_foreign"];
    assert!(
        after > before,
        "{before} datagrams were refused, then {after}"
    );
}

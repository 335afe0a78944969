//! Datagrams with the address of a victim, to which the relay sends its answers.

use core::net::SocketAddr;
use core::time::Duration;

use super::{LENGTH, LINES, address_of, filled, forger, ratio, victim};
use crate::lab::{Host, Lab};

/// Bytes of the headers of IP and UDP.
const HEADERS: usize = 28;

/// Returns how many bytes a victim is sent for each byte of one forged datagram.
pub(super) fn answered(lab: &Lab, program: &str, history: usize, payload: &[u8]) -> f64 {
    let _room = filled(lab, program, history);
    let (_host, socket) = victim(lab);
    let is_sent = forger(lab).say(address_of(&socket), payload);
    assert!(is_sent, "the network takes it");
    std::thread::sleep(Duration::from_secs(2));
    socket.set_nonblocking(true).expect("a socket");
    let mut buffer = [0; 2048];
    let datagrams = core::iter::from_fn(|| socket.recv(&mut buffer).ok());
    let received: usize = datagrams.map(|length| length + HEADERS).sum();
    let sent = payload.len() + HEADERS;
    ratio(received as u64, sent as u64)
}

/// Returns how many bytes the victim of 1000 forged names is sent for each byte that is said, during two
/// seconds.
pub(super) fn subscribed(lab: &Lab, program: &str) -> f64 {
    let (_relay, peers) = filled(lab, program, 0);
    let (host, _socket) = victim(lab);
    let forger = forger(lab);
    for number in 0..1000_u16 {
        let source = SocketAddr::from((host.address(), 2000 + number));
        assert!(forger.say(source, b"a"), "the network takes it");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(500));
    let before = received(&host);
    let text = "x".repeat(LENGTH);
    for _ in 0..LINES {
        peers[0].say(&text);
        std::thread::sleep(Duration::from_millis(100));
    }
    ratio(received(&host) - before, (LINES * LENGTH) as u64)
}

/// Returns the number of bytes that have arrived at a host by IPv4, headers included.
fn received(host: &Host) -> u64 {
    let shown = host.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"));
    let shown = shown.expect("Linux");
    let mut lines = shown.lines().filter(|line| line.starts_with("IpExt: "));
    let names = lines.next().expect("the names").split(' ');
    let mut counts = names.zip(lines.next().expect("the counts").split(' '));
    let found = counts.find(|(name, _)| *name == "InOctets");
    let (_, count) = found.expect("it is counted");
    count.parse().expect("a number")
}

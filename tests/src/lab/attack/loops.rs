//! Services that return what they are sent, and that have joined each other by forged names.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::time::Instant;

use super::{OTHERS, address_of, filled, forger, ratio};
use crate::lab::trouble::echo;
use crate::lab::{Host, Lab, Link};
use crate::{PlainPeer, RelayProgram};

/// Ports of the relays beside the first one: no relay knows the port of another as its own.
const PORTS: [u16; 2] = [10889, 10890];

/// Returns how many datagrams a second a relay receives long after two echo services have joined and one
/// line was said.
pub(super) fn echoed(lab: &Lab, program: &str, time: Duration) -> f64 {
    let (mut relay, peers) = filled(lab, program, 0);
    let forger = forger(lab);
    let hosts = OTHERS.map(|number| Host::new(lab, Link::A, number));
    let sockets = hosts.each_ref().map(|host| host.socket(host.address()));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for socket in &sockets {
            scope.spawn(|| echo(socket, &stop));
            let is_sent = forger.say(address_of(socket), b"echo");
            assert!(is_sent, "the network takes it");
        }
        let rate = rate_after(&mut relay, &peers, time);
        stop.store(true, Ordering::Relaxed);
        rate
    })
}

/// Returns the same for three relays, each of which has joined the next one.
pub(super) fn looped(lab: &Lab, program: &str, time: Duration) -> f64 {
    let (mut relay, peers) = filled(lab, program, 0);
    let forger = forger(lab);
    let hosts = OTHERS.map(|number| Host::new(lab, Link::A, number));
    let mut relays = Vec::new();
    let mut addresses = vec![Link::A.relay()];
    for (host, port) in hosts.iter().zip(PORTS) {
        let start = || RelayProgram::start_limited(program, &["--port", &port.to_string()]);
        relays.push(host.run(start));
        addresses.push((host.address(), port).into());
    }
    for (number, to) in addresses.iter().enumerate() {
        let next = addresses[(number + 1) % addresses.len()];
        assert!(forger.say_to(*to, next, b"relay"), "the network takes it");
    }
    rate_after(&mut relay, &peers, time)
}

/// Says a line. Returns how many datagrams a second the relay receives in the second half of `time`.
fn rate_after(relay: &mut RelayProgram, peers: &[PlainPeer], time: Duration) -> f64 {
    std::thread::sleep(Duration::from_millis(500));
    peers[0].say("hello");
    std::thread::sleep(time / 2);
    let (begun, before) = (Instant::now(), relay.statistics()["datagrams"]);
    std::thread::sleep(time / 2);
    let datagrams = relay.statistics()["datagrams"] - before;
    let millis = u64::try_from(begun.elapsed().as_millis()).expect("seconds");
    ratio(datagrams * 1000, millis)
}

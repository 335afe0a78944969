//! The relay's thread allocates nothing from its first datagram to its end.
#![cfg(unix)]

use core::hint::black_box;
use std::net::UdpSocket;

use allocation_counter::measure;
use clap::Parser;
use kilochat::args::{Arguments, Command};
use kilochat::relay::Server;
use kilochat_tests::{PlainPeer, allow_many_sockets};

const SEATS: usize = 4096;
const MESSAGES: usize = 100_000;

#[test]
fn a_relay_at_work_allocates_nothing() {
    allow_many_sockets();
    let folder = std::env::temp_dir().join(format!("kilochat-keep-{}", std::process::id()));
    let options = "kilochat relay --bind 127.0.0.1:0 --quiet --rate 0 --keep";
    let line = options.split(' ').chain(folder.to_str());
    let Command::Relay(arguments) = Arguments::parse_from(line).command else {
        panic!("it is a relay");
    };
    let mut server = Server::bind(&arguments).expect("a free port");
    let address = server.addresses()[0];
    let stopper = server.stopper();
    let relay = std::thread::spawn(move || {
        let work = measure(|| server.run().expect("sockets work"));
        // shows that the counter counts on this thread
        let planted = measure(|| drop(black_box(Box::new(0))));
        (work, planted, server)
    });

    let mut ada = PlainPeer::join(address, "Ada");
    let others: Vec<UdpSocket> = (1..SEATS)
        .map(|number| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
            socket.connect(address).expect("loopback");
            socket
                .send(format!("peer {number}").as_bytes())
                .expect("loopback");
            if number % 32 == 0 {
                ada.synchronize();
            }
            socket
        })
        .collect();
    ada.synchronize();
    let mut late = PlainPeer::new(address);
    late.say("late");
    late.wait_for(|line| line == "* full: 4096 of 4096 seats taken");
    for other in &others[..8] {
        for datagram in [
            &b"\xFF\xFE"[..],
            b"\x01frame",
            &[b'x'; 1500],
            b"/nick new",
            b"/quiet on",
        ] {
            other.send(datagram).expect("loopback");
        }
    }
    // most peers leave, so that messages take less time
    for (number, other) in others.iter().enumerate().skip(64) {
        other.send(b"/quit").expect("loopback");
        if number % 32 == 0 {
            ada.synchronize();
        }
    }
    // other sockets are closed without `/quit`: sending to them is an error
    let _rest = others.into_iter().take(16).collect::<Vec<_>>();
    let bob = PlainPeer::join(address, "Bob");
    for number in 0..MESSAGES {
        bob.say(format!("message {number}"));
        if number % 64 == 63 {
            ada.wait_for(|line| line.ends_with(&format!("message {number}")));
            ada.received.clear();
        }
    }
    ada.synchronize();
    stopper.report();
    ada.synchronize();
    stopper.stop();
    let (work, planted, _server) = relay.join().expect("no panic");
    assert_eq!(planted.count_total, 1, "the counter sees an allocation");
    assert_eq!(work.count_total, 0, "{work:?}");
    std::fs::remove_dir_all(folder).expect("the room was kept there");
}

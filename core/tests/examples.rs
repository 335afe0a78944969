//! The two examples talk to each other on loopback.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "the test calls what `main` calls")]
#[path = "../examples/client.rs"]
mod client;
#[allow(dead_code, reason = "the test calls what `main` calls")]
#[path = "../examples/udp.rs"]
mod udp;

use core::net::SocketAddr;
use core::time::Duration;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

const LOOPBACK: &str = "127.0.0.1:0";

/// Maximum time for any step; only a program that hangs exceeds it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The example client, with channels to its input and from its output.
struct Talker {
    typed: Sender<String>,
    shown: Receiver<String>,
    thread: JoinHandle<()>,
}

impl Talker {
    fn start(relay: SocketAddr, name: &'static str) -> Self {
        let socket = UdpSocket::bind(LOOPBACK).unwrap();
        socket.connect(relay).unwrap();
        let (typed, lines) = channel();
        let (screen, shown) = channel();
        let thread = thread::spawn(move || {
            // fails after the end of the test, when nobody reads it
            let show = |line| drop(screen.send(line));
            client::run(&socket, name, &lines, show).unwrap();
        });
        Self {
            typed,
            shown,
            thread,
        }
    }

    fn wait_for(&self, text: &str) {
        while !self.shown.recv_timeout(PATIENCE).unwrap().contains(text) {}
    }
}

#[test]
fn the_clients_chat_through_the_relay_and_leave() {
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    let relay = socket.local_addr().unwrap();
    thread::spawn(move || udp::run(&socket));

    let ada = Talker::start(relay, "Ada");
    let bob = Talker::start(relay, "Bob");
    ada.typed.send("hello".into()).unwrap();
    bob.wait_for("Ada: hello");
    bob.typed.send("hi, 你好".into()).unwrap();
    ada.wait_for("Bob: hi, 你好");

    drop(bob.typed);
    bob.thread.join().unwrap();
    ada.wait_for("Bob left (quit)");
    drop(ada.typed);
    ada.thread.join().unwrap();
}

#[test]
fn the_relay_tells_plain_peers_and_knows_a_datagram_that_is_too_long() {
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    let relay = socket.local_addr().unwrap();
    thread::spawn(move || udp::run(&socket));

    let peer = UdpSocket::bind(LOOPBACK).unwrap();
    peer.connect(relay).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 2000];
    for (sent, answer) in [
        ("Ada", "* welcome Ada: 1 here (Ada)"),
        (&"x".repeat(1025), "* not sent: longer than 1024 bytes"),
    ] {
        peer.send(sent.as_bytes()).unwrap();
        let length = peer.recv(&mut buffer).unwrap();
        let text = core::str::from_utf8(&buffer[..length]).unwrap();
        assert!(text.starts_with(answer), "{text}");
    }
}

//! A client on one UDP socket of the standard library: `cargo run --example client -- NAME [IP:PORT]`.
#![allow(clippy::print_stdout, reason = "a program may print")]

use core::hash::BuildHasher;
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::io;
use std::net::UdpSocket;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::{env, thread, time};

use kilochat_core::{Client, ClientEvent, DATAGRAM_MAX, Instant, PORT, Path, PostError, State};

/// Interval at which the input is polled.
const TYPED: Duration = Duration::from_millis(20);

fn main() -> io::Result<()> {
    let name = env::args().nth(1).unwrap_or("somebody".into());
    let relay = env::args().nth(2).unwrap_or(format!("127.0.0.1:{PORT}"));
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(relay)?;
    let (typed, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = io::stdin().lines();
        lines.try_for_each(|line| typed.send(line.ok()?).ok())
    });
    run(&socket, &name, &lines, |line| println!("{line}"))
}

/// Posts `lines` and shows events, until all lines are answered.
pub(crate) fn run(
    socket: &UdpSocket,
    name: &str,
    lines: &Receiver<String>,
    mut show: impl FnMut(String),
) -> io::Result<()> {
    // random: with the seed an attacker can answer in the relay's place
    let seed = RandomState::new().hash_one(0);
    let mut client = Box::new(Client::<16, 4096>::new(name, seed, 1));
    let start = time::Instant::now();
    let now = || Instant::from_millis(start.elapsed().as_millis().try_into().unwrap_or(u64::MAX));
    let (mut datagram, mut buffer) = ([0; DATAGRAM_MAX + 1], [0; DATAGRAM_MAX]);
    let mut line = None;
    while client.state() != State::Ended {
        line = line.or_else(|| match lines.try_recv() {
            Ok(line) => Some(line),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some("/quit".into()),
        });
        // `Full` is temporary; a text that is refused for another reason is dropped
        line = line.filter(|line| client.post(line) == Err(PostError::Full));
        client.handle_timeout(now());
        while let Some(transmit) = client.poll_transmit(now(), &mut buffer) {
            // a datagram that the network does not accept is retransmitted
            let _ = socket.send(buffer.get(..transmit.length).unwrap_or_default());
        }
        while let Some(event) = client.poll_event() {
            if let ClientEvent::Line { name, text, .. } = event {
                let name = if name.is_empty() { "*" } else { name };
                show(format!("{name}: {text}"));
            } else {
                show(format!("{event:?}"));
            }
        }
        let due = client.poll_timeout().map(|then| then.since(now()));
        let wait = due.map_or(TYPED, |wait| wait.min(TYPED));
        // a time-out of 0 is refused
        socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        // an error is a time-out, or an ICMP error for an earlier HELLO, which is repeated for a
        // while
        if let Ok(length) = socket.recv(&mut datagram) {
            let payload = datagram.get(..length).unwrap_or_default();
            client.handle_datagram(now(), Path::default(), payload);
        }
    }
    Ok(())
}

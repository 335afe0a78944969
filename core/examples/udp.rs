//! A relay on one UDP socket of the standard library: `cargo run --example udp -- [IP:PORT]`.
#![allow(clippy::print_stdout, reason = "a program may print")]

use core::hash::BuildHasher;
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::io::{self, ErrorKind::TimedOut, ErrorKind::WouldBlock};
use std::net::UdpSocket;
use std::{env, time};

use kilochat_core::{Config, DATAGRAM_MAX, Instant, PORT, Relay, Reply, Unreachable};

/// How soon a peer is tried again for which the socket had no room.
const BLOCKED: Duration = Duration::from_millis(5);

fn main() -> io::Result<()> {
    let address = env::args().nth(1);
    let address = address.unwrap_or(format!("127.0.0.1:{PORT}"));
    run(&UdpSocket::bind(address)?)
}

/// Serves until the socket cannot be configured any more.
pub(crate) fn run(socket: &UdpSocket) -> io::Result<()> {
    // the one source of random numbers that the standard library has
    let random = || u128::from(RandomState::new().hash_one(0));
    let mut relay = Box::new(Relay::<64, 65536, 32>::new());
    relay.configure(Config::new((random() << 64 | random()).to_be_bytes()));
    let start = time::Instant::now();
    let now = || Instant::from_millis(start.elapsed().as_millis().try_into().unwrap_or(u64::MAX));
    // one byte more than a datagram may have shows that it had more
    let (mut datagram, mut buffer) = ([0; DATAGRAM_MAX + 1], [0; DATAGRAM_MAX]);
    let (mut reply, mut blocked) = (Reply::new(), Vec::new());
    let is_late = |error: &io::Error| matches!(error.kind(), WouldBlock | TimedOut);
    socket.set_write_timeout(Some(BLOCKED))?;
    loop {
        let due = relay.poll_timeout().map(|then| then.since(now()));
        let wait = blocked.first().map(|_| BLOCKED).or(due);
        // `None` waits for ever, and a time-out of 0 is refused
        socket.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
        match socket.recv_from(&mut datagram) {
            Ok((length, source)) => {
                let payload = datagram.get(..length).unwrap_or_default();
                let event = relay.handle_datagram(now(), source, payload, &mut reply);
                // both are sent once, and perhaps lost
                if let Some((_, address, farewell)) = event.farewell() {
                    let _ = socket.send_to(farewell, address);
                }
                if !reply.is_empty() {
                    let _ = socket.send_to(&reply, source);
                }
            }
            Err(error) if is_late(&error) => {}
            Err(error) => println!("cannot receive: {error}"),
        }
        while let Some(expired) = relay.handle_timeout(now()) {
            if let Some((_, address, farewell)) = expired.farewell() {
                let _ = socket.send_to(farewell, address);
            }
        }
        for seat in blocked.drain(..) {
            relay.handle_writable(seat);
        }
        while let Some(fanout) = relay.poll_fanout(now(), &mut buffer) {
            let payload = fanout.payload();
            // the fan-out borrows the relay: collect, then report
            let (mut refused, mut failed) = (Vec::new(), Vec::new());
            for delivery in fanout {
                match socket.send_to(payload, delivery.address) {
                    Ok(_) => {}
                    Err(error) if is_late(&error) => refused.push(delivery),
                    Err(_) => failed.push(delivery.seat),
                }
            }
            for delivery in refused {
                blocked.push(delivery.seat);
                relay.handle_refused(delivery);
            }
            for seat in failed {
                relay.handle_unreachable(now(), seat, Unreachable::Path);
            }
        }
    }
}

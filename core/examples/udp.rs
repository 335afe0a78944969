//! A relay on one UDP socket of the standard library: `cargo run --example udp -- [IP:PORT]`.

use core::hash::BuildHasher;
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::io::{self, ErrorKind::*};
use std::{env, net::UdpSocket, time};

use kilochat_core::{Config, DATAGRAM_MAX, Instant, PORT, Relay, Reply, Unreachable};

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or(format!("127.0.0.1:{PORT}"));
    run(&UdpSocket::bind(address)?)
}

pub(crate) fn run(socket: &UdpSocket) -> io::Result<()> {
    // the only source of random numbers in the standard library
    let random = || u128::from(RandomState::new().hash_one(0));
    let mut config = Config::new((random() << 64 | random()).to_be_bytes());
    config.port = socket.local_addr()?.port();
    let mut relay = Box::new(Relay::<64, 65536, 32>::new());
    relay.configure(config);
    let start = time::Instant::now();
    let now = || Instant::from_millis(start.elapsed().as_millis().try_into().unwrap_or(u64::MAX));
    // one byte more than a datagram may have, so that longer ones are noticed
    let (mut datagram, mut buffer) = ([0; DATAGRAM_MAX + 1], [0; DATAGRAM_MAX]);
    let (mut reply, mut blocked) = (Reply::new(), None);
    let is_late = |error: &io::Error| matches!(error.kind(), WouldBlock | TimedOut | Interrupted);
    socket.set_write_timeout(Some(Duration::from_millis(5)))?;
    loop {
        // it cannot while the socket has no room; then the sends are what waits
        if relay.can_receive() {
            let due = relay.poll_timeout().map(|then| then.since(now()));
            // `None` waits for ever, and a time-out of 0 is refused
            socket.set_read_timeout(due.map(|due| due.max(Duration::from_millis(1))))?;
            match socket.recv_from(&mut datagram) {
                Ok((length, source)) => {
                    let payload = datagram.get(..length).unwrap_or_default();
                    let event = relay.handle_datagram(now(), source, payload, &mut reply);
                    // each is sent once, and may be lost
                    let _ = event
                        .aside()
                        .map(|(_, to, bytes)| socket.send_to(bytes, to));
                    if !reply.is_empty() {
                        let _ = socket.send_to(&reply, source);
                    }
                }
                Err(error) if is_late(&error) => {}
                Err(error) => return Err(error),
            }
        }
        while let Some(expired) = relay.handle_timeout(now()) {
            let _ = expired
                .farewell()
                .map(|(_, to, bytes)| socket.send_to(bytes, to));
        }
        let _ = blocked.take().map(|seat| relay.handle_writable(seat));
        while let Some(mut fanout) = relay.poll_fanout(now(), &mut buffer) {
            // the fan-out borrows the relay: note what fails, then report it
            let (payload, mut unreachable) = (fanout.payload(), Vec::new());
            let refused = fanout.find(|delivery| match socket.send_to(payload, delivery.address) {
                Err(error) if is_late(&error) => true,
                Err(error) if matches!(error.kind(), HostUnreachable | NetworkUnreachable) => {
                    unreachable.push(delivery.seat);
                    false
                }
                Ok(_) | Err(_) => false, // taken, or lost
            });
            for seat in unreachable {
                relay.handle_unreachable(now(), seat, Unreachable::Path);
            }
            // one queue for all: the rest of the fan-out waits, too
            if let Some(delivery) = refused {
                blocked = Some(delivery.seat);
                relay.handle_refused(delivery);
                break;
            }
        }
    }
}

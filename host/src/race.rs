//! The choice among several addresses of a host: the one that answers first (RFC 8305, "happy
//! eyeballs").

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Instant;

use kilochat_core::DATAGRAM_MAX;
use kilochat_core::framed::{Frame, Hello};

use crate::port::Port;

/// Time without an answer after which the next address is tried as well (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Maximum time to wait for answers after the last address was tried.
const WAIT: Duration = Duration::from_millis(1000);

/// Requests a cookie from each address in turn until one answers. Returns the addresses with that
/// one first and the unreachable ones last. A single address is returned without a request.
///
/// The request is the first frame of every client. A server without frames takes it as a name.
pub(crate) fn run(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.len() < 2 {
        return addresses;
    }
    let (sender, answers) = channel();
    let mut ports = Vec::new();
    let mut unreachable = Vec::new();
    for index in 0..addresses.len() {
        match ask(addresses[index], sender.clone()) {
            Ok(port) => ports.push(port),
            Err(_) => {
                unreachable.push(addresses[index]);
                continue;
            }
        }
        let is_last = index + 1 == addresses.len();
        let wait = if is_last { WAIT } else { ATTEMPT_DELAY };
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left) {
                Ok((address, true)) => {
                    addresses.retain(|other| *other != address);
                    addresses.insert(0, address);
                    return addresses;
                }
                // the next address is tried at once; after the last one, answers may still arrive
                Ok((address, false)) => {
                    unreachable.push(address);
                    if !is_last || unreachable.len() == addresses.len() {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
    }
    addresses.sort_by_key(|address| unreachable.contains(address));
    addresses
}

/// Sends a request to an address. Reports the address, with `true` for an answer and `false` if it is
/// unreachable.
fn ask(address: SocketAddr, sender: Sender<(SocketAddr, bool)>) -> std::io::Result<Port> {
    let port = Port::open(address, move |arrived| {
        // one report is enough; it fails if the race is over
        let _ = sender.send((address, arrived.is_ok()));
        false
    })?;
    let hello = Frame::Hello(Hello {
        abilities: 0,
        nonce: crate::random(),
        cookie: None,
        resume: None,
        name: "which",
    });
    let mut buffer = [0; DATAGRAM_MAX];
    let length = hello.encode(&mut buffer).unwrap_or_default();
    port.send(&buffer[..length])?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_first_that_answers_is_the_first() {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let [silent, relay] = [bind(), bind()];
        let refusing = bind().local_addr().unwrap();
        let silent = silent.local_addr().unwrap();
        let unreachable = "255.255.255.255:1".parse().unwrap();
        let there = relay.local_addr().unwrap();
        let _answering = std::thread::spawn(move || {
            loop {
                let mut buffer = [0; DATAGRAM_MAX];
                let (length, source) = relay.recv_from(&mut buffer).unwrap();
                assert!(Frame::decode(&buffer[..length]).is_ok());
                relay.send_to(b"an answer", source).unwrap();
            }
        });
        for others in [
            vec![silent],
            vec![refusing],
            vec![unreachable],
            vec![silent, refusing, unreachable],
        ] {
            for place in 0..=others.len() {
                let mut addresses = others.clone();
                addresses.insert(place, there);
                let found = run(addresses.clone());
                assert_eq!(found[0], there, "{addresses:?}");
                assert_eq!(found.len(), addresses.len());
            }
        }
        // without an answer the unreachable addresses come last, in their order
        let found = run(vec![refusing, unreachable, silent]);
        assert_eq!(found, [silent, refusing, unreachable]);
        assert_eq!(run(vec![silent]), [silent]);
    }
}

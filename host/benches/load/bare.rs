//! The bare loop with which a relay is compared: it blocks until a datagram arrives, and sends the
//! same bytes to all peers except their author.

use core::net::SocketAddr;
use std::io;
use std::net::UdpSocket;

/// Runs the loop. It does not return once all peers have joined; the caller kills the process.
pub(crate) fn run(peers: usize) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    println!("listening on {}", socket.local_addr()?);
    let mut buffer = [0; 2048];
    let mut everybody: Vec<SocketAddr> = Vec::with_capacity(peers);
    while everybody.len() < peers {
        let (_, source) = socket.recv_from(&mut buffer)?;
        socket.send_to(b"* welcome", source)?;
        everybody.push(source);
    }
    loop {
        let (length, source) = socket.recv_from(&mut buffer)?;
        for peer in everybody.iter().filter(|peer| **peer != source) {
            socket.send_to(&buffer[..length], peer)?;
        }
    }
}

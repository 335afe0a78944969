//! A UDP port of a client, and the thread that reads it.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};

/// Room for what arrives while nobody reads; the system may give less.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A port that talks to one address.
#[derive(Debug)]
pub(crate) struct Port {
    socket: UdpSocket,
    /// That address.
    pub(crate) address: SocketAddr,
}

impl Port {
    /// Opens a new port to `address`. What arrives is given to `receive`, on a thread of its own,
    /// until that returns false; as long as it does not, the port stays open.
    ///
    /// # Errors
    ///
    /// When there is no way to that address, or no socket or thread left.
    pub(crate) fn open(
        address: SocketAddr,
        receive: impl FnMut(io::Result<&[u8]>) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let socket = connect(address)?;
        // what the system allows is enough for all but a flood
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        let socket = UdpSocket::from(socket);
        let reader = socket.try_clone()?;
        thread::Builder::new().spawn(move || read(&reader, receive))?;
        Ok(Self { socket, address })
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// Those of the network, perhaps about an earlier datagram.
    pub(crate) fn send(&self, payload: &[u8]) -> io::Result<()> {
        self.socket.send(payload).map(drop)
    }
}

/// The address from which this machine would send to `address` now; nothing is sent.
///
/// # Errors
///
/// When there is no way there.
pub(crate) fn local_ip(address: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::from(connect(address)?);
    Ok(socket.local_addr()?.ip())
}

/// What an error of the network says to a person; none if it says nothing.
pub(crate) fn complaint(address: SocketAddr, error: &io::Error) -> Option<String> {
    let kind = error.kind();
    if matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock) {
        return None;
    }
    Some(if is_refusal(error) {
        format!("connection refused: nobody listens at {address}")
    } else {
        format!("cannot reach {address}: {error}")
    })
}

/// Whether the other end said that nobody listens there; Windows calls it a reset.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}

fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.connect(&address.into())?;
    Ok(socket)
}

fn read(socket: &UdpSocket, mut receive: impl FnMut(io::Result<&[u8]>) -> bool) {
    // an old server's datagram may be longer than ours ever are
    let mut buffer = vec![0; 65_536];
    loop {
        let is_wanted = match socket.recv(&mut buffer) {
            Ok(length) => receive(Ok(&buffer[..length])),
            Err(error) => {
                // an error that stays must not keep a core busy
                thread::sleep(Duration::from_millis(1));
                receive(Err(error))
            }
        };
        if !is_wanted {
            return;
        }
    }
}

//! A UDP port of the client, and the thread that reads from it.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, UdpSocket};
use std::sync::Arc;
use std::thread;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Requested size of the receive buffer in bytes. The system may grant less.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Maximum time until the thread of a closed port ends, on a system where closing does not wake it.
const CLOSED: Duration = Duration::from_secs(60);

/// A UDP port that is connected to one address. Dropping it closes the port and ends its thread.
#[derive(Debug)]
pub(crate) struct Port {
    shared: Arc<Shared>,
    /// The remote address.
    pub(crate) address: SocketAddr,
}

/// The state that a port shares with its thread.
#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    is_closed: AtomicBool,
}

impl Port {
    /// Opens a new port to `address`. A separate thread passes received datagrams and errors to
    /// `receive`, until that returns `false` or the port is dropped.
    ///
    /// # Errors
    ///
    /// If there is no route to the address, or the system has no socket or thread left.
    pub(crate) fn open(
        address: SocketAddr,
        receive: impl FnMut(io::Result<&[u8]>) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let socket = connect(address)?;
        // a smaller buffer suffices except in a flood
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        merge(&socket);
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(CLOSED))?;
        let is_closed = AtomicBool::new(false);
        let shared = Arc::new(Shared { socket, is_closed });
        let reader = shared.clone();
        thread::Builder::new().spawn(move || read(&reader, receive))?;
        Ok(Self { shared, address })
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// If the network reports an error, perhaps about an earlier datagram.
    pub(crate) fn send(&self, payload: &[u8]) -> io::Result<()> {
        self.shared.socket.send(payload).map(drop)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        // wakes the thread; where it does not, the read time-out does
        let _ = SockRef::from(&self.shared.socket).shutdown(Shutdown::Both);
    }
}

/// Returns the source address that this machine would use for `address` now. Nothing is sent.
///
/// # Errors
///
/// If there is no route to the address.
pub(crate) fn local_ip(address: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::from(connect(address)?);
    Ok(socket.local_addr()?.ip())
}

/// Describes an error of the network to the user. Returns `None` if the error is only temporary.
pub(crate) fn describe(address: SocketAddr, error: &io::Error) -> Option<String> {
    let kind = error.kind();
    if matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock) {
        return None;
    }
    Some(if is_port_unreachable(error) {
        format!("connection refused: nobody listens at {address}")
    } else {
        format!("cannot reach {address}: {error}")
    })
}

/// Returns whether the remote port is unreachable (ICMP), which systems report as a refused
/// connection, and Windows as a reset.
pub(crate) fn is_port_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}

/// Returns whether the system or the process has no file descriptors left.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    #[cfg(unix)]
    let exhausted = [nix::libc::EMFILE, nix::libc::ENFILE];
    #[cfg(not(unix))]
    let exhausted = [10024]; // WSAEMFILE
    error
        .raw_os_error()
        .is_some_and(|code| exhausted.contains(&code))
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

fn read(port: &Shared, mut receive: impl FnMut(io::Result<&[u8]>) -> bool) {
    // room for coalesced datagrams (`UDP_GRO`), and for the longer datagrams of an old server
    let mut buffer = vec![0; 65_536];
    loop {
        let received = receive_merged(&port.socket, &mut buffer);
        if port.is_closed.load(Ordering::Relaxed) {
            return;
        }
        let is_wanted = match received {
            Ok((0, _)) => receive(Ok(&[])),
            Ok((length, each)) => buffer[..length]
                .chunks(each)
                .all(|datagram| receive(Ok(datagram))),
            // the read time-out passed without a datagram
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => {
                // so that a permanent error does not use all of the processor
                thread::sleep(Duration::from_millis(1));
                receive(Err(error))
            }
        };
        if !is_wanted {
            return;
        }
    }
}

/// Requests that the kernel coalesces received datagrams, where it supports that (`UDP_GRO`,
/// udp(7)). A relay that sends them in one call (`UDP_SEGMENT`) then needs far less time for this
/// peer.
fn merge(socket: &Socket) {
    #[cfg(target_os = "linux")]
    // an older kernel delivers them one by one
    let _ = nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::UdpGroSegment, &true);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// Waits for coalesced datagrams. Returns their total size, and the size of each. The last one may
/// be shorter.
#[cfg(target_os = "linux")]
fn receive_merged(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::io::IoSliceMut;
    use std::os::fd::AsRawFd;

    let mut control = nix::cmsg_space!(i32);
    let (descriptor, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(descriptor, &mut parts, Some(&mut control), flags)?;
    let mut each = message.bytes;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::UdpGroSegments(segment) = control {
            each = usize::try_from(segment).map_err(io::Error::other)?;
        }
    }
    Ok((message.bytes, each.max(1)))
}

#[cfg(not(target_os = "linux"))]
fn receive_merged(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
    let length = socket.recv(buffer)?;
    Ok((length, length.max(1)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};

    use super::*;

    /// Sends datagrams of three bytes in one call.
    fn send_merged(from: &UdpSocket, payload: &[u8]) {
        let sent = sendmsg::<SockaddrStorage>(
            from.as_raw_fd(),
            &[IoSlice::new(payload)],
            &[ControlMessage::UdpGsoSegments(&3)],
            MsgFlags::empty(),
            None,
        );
        assert_eq!(sent, Ok(payload.len()));
    }

    #[test]
    fn datagrams_that_come_in_one_piece_are_told_apart() {
        let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let port = Port::open(relay.local_addr().unwrap(), move |arrived| {
            sender.send(arrived.unwrap().to_vec()).is_ok()
        });
        let port = port.unwrap();
        let local = port.shared.socket.local_addr().unwrap();
        relay.connect(local).unwrap();
        send_merged(&relay, b"aaabbbcc");
        relay.send(b"").unwrap();
        relay.send(b"longer").unwrap();
        for expected in ["aaa", "bbb", "cc", "", "longer"] {
            let patience = Duration::from_secs(10);
            let datagram = receiver.recv_timeout(patience).unwrap();
            assert_eq!(datagram, expected.as_bytes());
        }
    }

    #[test]
    fn a_port_that_is_dropped_is_closed_and_its_thread_ends() {
        let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let port = Port::open(relay.local_addr().unwrap(), move |_| {
            sender.send(()).is_ok()
        });
        let port = port.unwrap();
        let local = port.shared.socket.local_addr().unwrap();
        assert!(UdpSocket::bind(local).is_err());
        drop(port);
        // the thread owned the sender
        let ended = receiver.recv_timeout(Duration::from_secs(10));
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
        let closed = (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            UdpSocket::bind(local).is_ok()
        });
        assert!(closed, "{local} is still bound");
    }

    #[test]
    fn the_kernel_hands_them_over_in_one_piece() {
        let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = connect(relay.local_addr().unwrap()).unwrap();
        merge(&socket);
        let socket = UdpSocket::from(socket);
        relay.connect(socket.local_addr().unwrap()).unwrap();
        send_merged(&relay, b"aaabbbcc");
        let mut buffer = [0; 16];
        assert_eq!(receive_merged(&socket, &mut buffer).unwrap(), (8, 3));
        assert_eq!(&buffer[..8], b"aaabbbcc");
    }
}

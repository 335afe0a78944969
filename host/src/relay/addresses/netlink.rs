//! The kernel tells of changed interfaces and addresses: rtnetlink(7).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// A socket that gets a message for each change.
#[derive(Debug)]
pub(super) struct Changes(OwnedFd);

impl Changes {
    /// One that wakes up who waits on `registry`.
    ///
    /// # Errors
    ///
    /// When the system has no such socket for this process.
    pub(super) fn open(registry: &Registry, token: Token) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let groups = NetlinkAddr::new(0, groups.cast_unsigned());
        bind(socket.as_raw_fd(), &groups)?;
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            token,
            Interest::READABLE,
        )?;
        Ok(Self(socket))
    }

    /// Reads what has come; what it says is not needed.
    pub(super) fn discard(&self) {
        let mut buffer = [0; 4096];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // some were lost, which says the same
                Ok(_) | Err(nix::Error::ENOBUFS | nix::Error::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

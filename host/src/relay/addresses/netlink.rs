//! Notification of changed interfaces and addresses by the kernel: rtnetlink(7).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// A socket that receives a message for each change.
#[derive(Debug)]
pub(super) struct Changes(OwnedFd);

impl Changes {
    /// Opens the socket and registers it.
    ///
    /// # Errors
    ///
    /// If the system denies this process such a socket.
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

    /// Reads and discards all messages: that there was a change is enough.
    pub(super) fn discard(&self) {
        let mut buffer = [0; 4096];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // ENOBUFS: messages were dropped, which means a change as well
                Ok(_) | Err(nix::Error::ENOBUFS | nix::Error::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

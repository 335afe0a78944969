//! Socket options that emulators and sandboxes lack, without which the relay can do.

use std::io;

use mio::net::UdpSocket;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

/// The options that are not used because the system lacks them, as ip(7), ipv6(7) and socket(7) name
/// them; for IPv4 and IPv6 where there are two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// The number of datagrams that the kernel dropped.
    pub(super) drops: Option<&'static str>,
    /// Reports of who is unreachable.
    pub(super) errors: [Option<&'static str>; 2],
    /// The address to which a peer wrote.
    pub(super) addresses: [Option<&'static str>; 2],
}

impl Missing {
    /// Returns their names.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let pairs = self.errors.into_iter().chain(self.addresses);
        self.drops.into_iter().chain(pairs.flatten())
    }
}

/// Turns on what a receiving socket uses. Returns what the system lacks.
///
/// # Errors
///
/// If an option fails for another reason.
pub(super) fn turn_on(socket: &UdpSocket) -> io::Result<Missing> {
    let address = socket.local_addr()?;
    let is_any = address.ip().is_unspecified();
    let mut missing = Missing::default();
    missing.drops = lacking("SO_RXQ_OVFL", setsockopt(socket, sockopt::RxqOvfl, &1))?;
    missing.errors = report_errors(socket, missing.drops.is_none())?;
    let [v4, v6] = &mut missing.addresses;
    if is_any {
        // for IPv4 multicast only this one reports the interface's own address, also on an IPv6
        // socket
        let set = setsockopt(socket, sockopt::Ipv4PacketInfo, &true);
        *v4 = lacking("IP_PKTINFO", set)?;
    }
    if is_any && address.is_ipv6() {
        let set = setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true);
        *v6 = lacking("IPV6_RECVPKTINFO", set)?;
    }
    Ok(missing)
}

/// Enables the kernel's reports of unreachable destinations. Does nothing unless the kernel `is_linux`:
/// QEMU's user mode, which is recognised because it lacks `SO_RXQ_OVFL`, gives the control messages of such
/// reports wrong lengths, and nix trusts them. Returns the options for IPv4 and IPv6 that are not in use.
///
/// # Errors
///
/// If an option fails for another reason than that the system lacks it.
pub(super) fn report_errors(
    socket: &UdpSocket,
    is_linux: bool,
) -> io::Result<[Option<&'static str>; 2]> {
    let is_v6 = socket.local_addr()?.is_ipv6();
    let (v4, v6) = ("IP_RECVERR", "IPV6_RECVERR");
    if !is_linux {
        return Ok([Some(v4), is_v6.then_some(v6)]);
    }
    let set = setsockopt(socket, sockopt::Ipv4RecvErr, &true);
    let v4 = lacking(v4, set)?;
    if !is_v6 {
        return Ok([v4, None]);
    }
    let set = setsockopt(socket, sockopt::Ipv6RecvErr, &true);
    Ok([v4, lacking(v6, set)?])
}

fn lacking(option: &'static str, set: nix::Result<()>) -> io::Result<Option<&'static str>> {
    match set {
        Ok(()) => Ok(None),
        Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP) => Ok(Some(option)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_the_system_lacks_is_named_and_other_errors_are_errors() {
        assert_eq!(lacking("SO_X", Ok(())).unwrap(), None);
        for errno in [Errno::ENOPROTOOPT, Errno::EOPNOTSUPP] {
            assert_eq!(lacking("SO_X", Err(errno)).unwrap(), Some("SO_X"));
        }
        assert!(lacking("SO_X", Err(Errno::EBADF)).is_err());
        let socket = UdpSocket::bind("[::]:0".parse().unwrap()).unwrap();
        assert_eq!(turn_on(&socket).unwrap(), Missing::default());
        let unused = report_errors(&socket, false).unwrap();
        assert_eq!(unused, [Some("IP_RECVERR"), Some("IPV6_RECVERR")]);
    }
}

//! The route of a reply: its source address and its interface.

use core::mem::size_of;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use nix::libc;

use crate::relay::addresses::{folded, mapped};

/// Source address and interface index for replies to a peer. `own` is `None` if the socket is bound
/// to one address; with interface 0 the kernel chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(super) own: Option<IpAddr>,
    pub(super) interface: u32,
}

impl Route {
    /// Returns the route from the address that a socket is bound to, through the interface of its
    /// zone.
    pub(super) fn of(bound_to: SocketAddr) -> Self {
        if bound_to.ip().is_unspecified() {
            return Self::default();
        }
        let zone = match bound_to {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        Self {
            own: Some(folded(bound_to).ip()),
            interface: zone,
        }
    }

    /// Returns this machine's address, if the route has one.
    pub(crate) fn own(&self) -> Option<IpAddr> {
        self.own.filter(|own| !own.is_unspecified())
    }

    /// Returns the route from this address through any interface that leads to the peer.
    pub(crate) const fn from_own(own: IpAddr) -> Self {
        Self {
            own: Some(own),
            interface: 0,
        }
    }

    /// Returns the route from this address, unless it is multicast, through this interface.
    pub(super) fn new(address: IpAddr, interface: u32) -> Self {
        let is_group = address.is_multicast();
        let nothing = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        Self {
            own: Some(if is_group { nothing } else { address }),
            interface,
        }
    }

    /// Writes the route as a control message for `sendmsg(2)`. Returns the length.
    pub(super) fn write(&self, control: &mut [u8], is_v6: bool) -> usize {
        let Some(own) = self.own else { return 0 };
        let interface = self.interface.to_ne_bytes();
        match mapped((own, 0).into(), is_v6).ip() {
            IpAddr::V6(own) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&own.octets());
                info[16..].copy_from_slice(&interface);
                write_control(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
            }
            IpAddr::V4(own) => {
                let mut info = [0; 12];
                info[..4].copy_from_slice(&interface);
                info[4..8].copy_from_slice(&own.octets());
                write_control(control, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
        }
    }
}

/// Writes a control message in the layout of cmsg(3) and returns its space. The kernel copies it,
/// so it needs no alignment.
pub(super) fn write_control(control: &mut [u8], level: i32, kind: i32, data: &[u8]) -> usize {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let length = HEADER + data.len();
    control[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
    control[HEADER - 8..HEADER - 4].copy_from_slice(&level.to_ne_bytes());
    control[HEADER - 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    control[HEADER..length].copy_from_slice(data);
    length.next_multiple_of(size_of::<usize>())
}

//! Addresses: how they are compared, and which of them this machine has.

#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
mod netlink;
mod watch;

use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use heapless::Vec as Few;
use if_addrs::{IfAddr, Interface, get_if_addrs};
use kilochat_core::{NETWORKS_MAX, Network};

pub(super) use watch::Watch;

/// Returns the addresses of this machine, each with its interface. The list is empty if the system
/// does not provide it.
pub(crate) fn interfaces() -> Vec<Interface> {
    get_if_addrs().unwrap_or_default()
}

/// Returns the addresses under which this machine itself reaches a socket that is bound to `bound`.
pub(super) fn own_addresses(
    bound: SocketAddr,
    interfaces: &[Interface],
) -> impl Iterator<Item = SocketAddr> {
    let is_everywhere = bound.ip().is_unspecified();
    let all = interfaces.iter().filter(move |_| is_everywhere);
    all.map(move |interface| (interface.ip(), bound.port()).into())
        .chain((!is_everywhere).then_some(bound))
}

/// Returns the networks that this machine is attached to, each once, without those whose addresses
/// are local in any case. Networks beyond the core's capacity are left out.
pub(crate) fn attached_networks(interfaces: &[Interface]) -> Few<Network, NETWORKS_MAX> {
    let mut networks = Few::<Network, NETWORKS_MAX>::new();
    for network in interfaces.iter().filter_map(public_network) {
        let is_same =
            |other: &Network| other.prefix == network.prefix && other.contains(network.address);
        if !networks.iter().any(is_same) {
            // peers of further networks need --open
            let _ = networks.push(network);
        }
    }
    networks
}

fn public_network(interface: &Interface) -> Option<Network> {
    match &interface.addr {
        IfAddr::V4(v4) if v4.ip.is_private() || v4.ip.is_loopback() => None,
        IfAddr::V4(v4) => Some(Network {
            address: v4.ip.into(),
            prefix: v4.prefixlen,
        }),
        IfAddr::V6(v6) if v6.ip.is_unique_local() || v6.ip.is_loopback() => None,
        IfAddr::V6(v6) if v6.ip.is_unicast_link_local() => None,
        IfAddr::V6(v6) => Some(Network {
            address: v6.ip.into(),
            prefix: v6.prefixlen,
        }),
    }
}

/// Returns the address with an IPv4-mapped IPv6 address unmapped, and without a flow label.
pub(super) fn folded(address: SocketAddr) -> SocketAddr {
    match (address, address.ip().to_canonical()) {
        (_, IpAddr::V4(ip)) => (ip, address.port()).into(),
        (SocketAddr::V6(v6), IpAddr::V6(ip)) => {
            SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into()
        }
        (SocketAddr::V4(_), IpAddr::V6(_)) => (Ipv4Addr::UNSPECIFIED, 0).into(),
    }
}

/// Returns the address in the form that a socket of the given family takes.
pub(super) fn mapped(address: SocketAddr, to_v6: bool) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if to_v6 => (ip.to_ipv6_mapped(), address.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_mapped_addresses_and_keeps_zones() {
        for (from, to) in [
            ("[::ffff:192.0.2.1]:5", "192.0.2.1:5"),
            ("192.0.2.1:5", "192.0.2.1:5"),
            ("[fe80::1%3]:5", "[fe80::1%3]:5"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(folded(from.parse().unwrap()), to.parse().unwrap(), "{from}");
        }
    }
}

//! Relays that are announced by DNS-SD (RFC 6763): from which addresses they answer. A firewall that drops
//! the answers to a broadcast lets these through, and then the answers of the addresses that are asked.

use core::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::mpsc::Sender;
use std::thread;

use mdns_sd::{ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};

use super::Heard;
use crate::relay::RELAYS;

/// A search that ends when it is dropped.
pub(super) struct Search {
    daemon: ServiceDaemon,
    sender: Sender<Heard>,
}

impl Search {
    /// Prepares to look for relays. Returns `None` if the system does not allow it.
    pub(super) fn start(sender: Sender<Heard>) -> Option<Self> {
        let daemon = ServiceDaemon::new().ok()?;
        Some(Self { daemon, sender })
    }

    /// Asks for relays. A responder is silent for a second after it has answered somebody else (RFC 6762
    /// section 6), so it must be asked several times.
    pub(super) fn ask(&self) {
        // ends the thread that was started before
        let Ok(events) = self.daemon.browse(RELAYS) else {
            return;
        };
        let sender = self.sender.clone();
        let pass_on = move || {
            for event in events.iter() {
                if let ServiceEvent::ServiceResolved(service) = event
                    && sender.send(announced(&service)).is_err()
                {
                    return;
                }
            }
        };
        // without a thread they are not found in this way
        let _ = thread::Builder::new().spawn(pass_on);
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        // if the queue is full, its thread ends with the program
        let _ = self.daemon.shutdown();
    }
}

fn announced(service: &ResolvedService) -> Heard {
    let addresses = service.addresses.iter();
    let addresses = addresses.filter_map(|ip| address(ip, service.port));
    Heard::Announced {
        instance: service.fullname.clone(),
        addresses: addresses.collect(),
    }
}

fn address(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V4(v4) => Some(SocketAddrV4::new(*v4.addr(), port).into()),
        ScopedIp::V6(v6) => {
            let is_local = v6.addr().is_unicast_link_local();
            let scope = if is_local { v6.scope_id().index } else { 0 };
            Some(SocketAddrV6::new(*v6.addr(), port, 0, scope).into())
        }
        _ => None,
    }
}

//! Announces the relay and its page by DNS-SD (RFC 6763). So others find them even where a firewall drops
//! the answers to a broadcast.
//!
//! The library answers on a thread of its own, behind a bounded queue, and follows the addresses of this
//! machine. The relay's thread has no part in it.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use kilochat_core::{NAME_MAX, Name};
use mdns_sd::{DaemonEvent, IfKind, Receiver, ServiceDaemon, ServiceInfo};

use super::config;
use super::stopper::Stopper;
use crate::args::RelayArguments;

/// Services of relays, and those of pages.
pub(crate) const RELAYS: &str = "_kilochat._udp.local.";
const PAGES: &str = "_http._tcp.local.";

/// Maximum time for which the end of the program waits until it is said that the services are gone.
const GOODBYE: Duration = Duration::from_millis(500);

/// What is announced, until it is stopped.
pub(super) struct Announcement {
    daemon: ServiceDaemon,
}

impl Announcement {
    /// Announces the relay of `server` at `relay`, and its page if that is served at `page`. Returns `None` if
    /// this is not wanted, or nobody else could reach them, or the system does not allow it, which is logged.
    pub(super) fn start(
        arguments: &RelayArguments,
        server: Stopper,
        relay: &[SocketAddr],
        page: &[SocketAddr],
    ) -> Option<Self> {
        // a relay in classic mode answers nobody who looks for one
        if arguments.no_announce || arguments.classic {
            return None;
        }
        let mut name = config::announced(arguments);
        if name.is_empty() {
            name = Name::try_from("kilochat").unwrap_or_default();
        }
        let (relay, page) = (Place::new(relay)?, Place::new(page));
        Self::publish(server, name, relay, page)
            .inspect_err(|error| tracing::warn!("the relay is not announced by DNS-SD: {error}"))
            .ok()
    }

    fn publish(
        server: Stopper,
        name: Name,
        relay: Place,
        page: Option<Place>,
    ) -> mdns_sd::Result<Self> {
        let daemon = ServiceDaemon::new()?;
        // others cannot reach it there
        daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        let events = daemon.monitor()?;
        let mut services = Services {
            daemon: daemon.clone(),
            relay,
            page,
            stem: name,
            number: 1,
            instances: Vec::new(),
        };
        services.register()?;
        let thread = std::thread::Builder::new().name("announce".into());
        let started = thread.spawn(move || services.follow(&events, &server));
        started.map_err(|error| mdns_sd::Error::Msg(error.to_string()))?;
        Ok(Self { daemon })
    }

    /// Says that the services are gone.
    pub(super) fn stop(self) {
        if let Ok(done) = self.daemon.shutdown() {
            // if it takes too long, the records expire by themselves
            let _ = done.recv_timeout(GOODBYE);
        }
    }
}

/// The services under their current name.
struct Services {
    daemon: ServiceDaemon,
    relay: Place,
    page: Option<Place>,
    /// The requested name, and the number that is appended from the second attempt on.
    stem: Name,
    number: u32,
    /// The full names of the services, that of the relay first.
    instances: Vec<String>,
}

impl Services {
    fn register(&mut self) -> mdns_sd::Result<()> {
        let name = numbered(&self.stem, self.number);
        // the name of this machine itself may belong to another responder on it
        let host = format!("kilochat-{}.local.", label(&name));
        let version = [("txtvers", "1"), ("version", env!("CARGO_PKG_VERSION"))];
        let relay = self.relay.service(RELAYS, &name, &host, &version)?;
        self.instances = vec![relay.get_fullname().into()];
        self.daemon.register(relay)?;
        if let Some(page) = &self.page {
            let path = [("txtvers", "1"), ("path", "/")];
            let page = page.service(PAGES, &format!("kilochat {name}"), &host, &path)?;
            self.instances.push(page.get_fullname().into());
            self.daemon.register(page)?;
        }
        Ok(())
    }

    /// Gives way to other relays that have the name, until the daemon ends. The library would append a number
    /// by itself, on each network another one. But the relay has one name, which it tells clients, too.
    fn follow(mut self, events: &Receiver<DaemonEvent>, server: &Stopper) {
        for event in events.iter() {
            let DaemonEvent::NameChange(change) = event else {
                continue;
            };
            // there is an event for each record and network; those of a former name come late
            let is_relay = |instance: &String| instance.eq_ignore_ascii_case(&change.original);
            if self.instances.first().is_none_or(|it| !is_relay(it)) {
                tracing::debug!(?change, "renamed by the library");
                continue;
            }
            for instance in core::mem::take(&mut self.instances) {
                // it may be so slow that it was not registered yet
                let _ = self.daemon.unregister(&instance);
            }
            let former = numbered(&self.stem, self.number);
            self.number += 1;
            let name = numbered(&self.stem, self.number);
            tracing::warn!("another relay has the name {former:?}; this one is {name:?} now");
            server.rename(name);
            if let Err(error) = self.register() {
                tracing::warn!("the relay is not announced by DNS-SD any more: {error}");
            }
        }
    }
}

/// Returns a name with a number, unless this is 1. The name is cut if that is too long.
fn numbered(stem: &Name, number: u32) -> Name {
    if number == 1 {
        return stem.clone();
    }
    let number = format!("-{number}");
    let room = NAME_MAX - number.len();
    let mut name = Name::new();
    // both fit
    let _ = name.push_str(&stem[..stem.floor_char_boundary(room)]);
    let _ = name.push_str(&number);
    name
}

/// Where a service listens, as far as others can reach it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    port: u16,
    /// The addresses; empty if it listens on all, of IPv4 only or of both families.
    addresses: Vec<IpAddr>,
    is_v4_only: bool,
}

impl Place {
    /// Returns `None` if only this machine reaches the service. A service has one port: of several, that of
    /// the first address.
    fn new(listening: &[SocketAddr]) -> Option<Self> {
        let reached = listening.iter().filter(|at| !at.ip().is_loopback());
        let mut reached = reached.copied().peekable();
        let port = reached.peek()?.port();
        let reached: Vec<IpAddr> = reached
            .filter(|at| at.port() == port)
            .map(|at| at.ip())
            .collect();
        let mut all = reached.iter().filter(|ip| ip.is_unspecified()).peekable();
        let is_everywhere = all.peek().is_some();
        let is_v4_only = is_everywhere && all.all(IpAddr::is_ipv4);
        let addresses = if is_everywhere { Vec::new() } else { reached };
        Some(Self {
            port,
            addresses,
            is_v4_only,
        })
    }

    fn service(
        &self,
        kind: &str,
        name: &str,
        host: &str,
        properties: &[(&str, &str)],
    ) -> mdns_sd::Result<ServiceInfo> {
        let addresses = &self.addresses[..];
        let service = ServiceInfo::new(kind, name, host, addresses, self.port, properties)?;
        if !self.addresses.is_empty() {
            return Ok(service);
        }
        let mut service = service.enable_addr_auto();
        if self.is_v4_only {
            service.set_interfaces(vec![IfKind::IPv4]);
        }
        Ok(service)
    }
}

/// Returns a name as part of the name of a host.
fn label(name: &str) -> String {
    let allowed = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => character,
        _ => '-',
    };
    let label: String = name.chars().map(allowed).collect();
    match label.trim_matches('-') {
        "" => "relay".into(),
        label => label.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_reach_is_announced() {
        let place = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> = addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect();
            Place::new(&addresses)
        };
        let expected = |port, addresses: &[&str], is_v4_only| {
            Some(Place {
                port,
                addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
                is_v4_only,
            })
        };
        assert_eq!(place(&[]), None);
        assert_eq!(place(&["127.0.0.1:5", "[::1]:5"]), None);
        assert_eq!(place(&["[::]:5"]), expected(5, &[], false));
        assert_eq!(place(&["[::]:5", "0.0.0.0:5"]), expected(5, &[], false));
        assert_eq!(place(&["0.0.0.0:5"]), expected(5, &[], true));
        let some = ["127.0.0.1:5", "192.0.2.1:6", "192.0.2.2:7", "[fd00::1]:6"];
        assert_eq!(place(&some), expected(6, &["192.0.2.1", "fd00::1"], false));
    }

    #[test]
    fn a_name_that_is_not_free_has_a_number_and_fits() {
        let long = "\u{5C0F}".repeat(10);
        for (stem, number, expected) in [
            ("boat", 1, "boat".to_owned()),
            ("boat", 2, "boat-2".to_owned()),
            ("boat-2", 12, "boat-2-12".to_owned()),
            (&long, 1, long.clone()),
            (&long, 123, format!("{}-123", "\u{5C0F}".repeat(9))),
        ] {
            let stem = Name::try_from(stem).unwrap();
            assert_eq!(numbered(&stem, number), *expected);
        }
    }

    #[test]
    fn a_name_is_part_of_a_host_name() {
        for (name, expected) in [
            ("boat", "boat"),
            ("Lab-3", "Lab-3"),
            ("a.b_c", "a-b-c"),
            ("教室", "relay"),
            ("-x-", "x"),
        ] {
            assert_eq!(label(name), expected, "{name}");
        }
    }
}

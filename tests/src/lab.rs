//! A laboratory for a relay on real networks: two links whose hosts have addresses of their own,
//! and faults there. It must run in a [network namespace](crate::namespace).

mod attack;
mod bare;
mod measure;
mod reader;
mod trouble;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::net::UdpSocket;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::ethernet::datagram;
use crate::namespace::{NAMESPACES, Namespace, ip, ip_all, tc};
use crate::{PATIENCE, PlainPeer, RelayProgram};

pub use attack::Attack;
pub use bare::{BareFramed, Pass};
pub use measure::{Load, Measured, Row, measure};
pub use reader::{Dialect, Heard, Reader, Speaker};
pub use trouble::Trouble;

/// The port of the relay.
const PORT: u16 = 10888;

/// The prefix lengths of a link's networks: IPv4 and IPv6.
const PREFIXES: (u8, u8) = (16, 64);

/// The relay's host number on each link.
const RELAY: u8 = 1;

/// Length of an Ethernet header in bytes.
const ETHERNET_HEADER: usize = 14;

/// A network to which the relay has an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// 10.1.0.0/16 and fd00:1::/64.
    A,
    /// 10.2.0.0/16 and fd00:2::/64.
    B,
}

impl Link {
    /// Both links.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    const fn number(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    /// Returns the name of the relay's interface.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::A => "link-a",
            Self::B => "link-b",
        }
    }

    const fn bridge(self) -> &'static str {
        match self {
            Self::A => "bridge-a",
            Self::B => "bridge-b",
        }
    }

    /// Returns the relay's address on this link.
    pub fn relay(self) -> SocketAddr {
        (self.address(0, RELAY), PORT).into()
    }

    /// Returns the address of host `low` in part `high` of this link's IPv4 network.
    pub const fn address(self, high: u8, low: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number(), high, low)
    }
}

/// The machine of a relay, with an interface to each [`Link`].
#[derive(Debug)]
pub struct Lab {
    machine: Namespace,
    /// The namespace that contains the links, each of which is a bridge.
    switches: Namespace,
}

impl Lab {
    /// Creates two links to which only the relay's machine is connected.
    #[expect(clippy::new_without_default, reason = "it is built, not a value")]
    pub fn new() -> Self {
        let lab = Self {
            machine: Namespace::new(),
            switches: Namespace::new(),
        };
        lab.run(|| ip("link set lo up"));
        for link in Link::ALL {
            let bridge = link.bridge();
            lab.switches.run(|| {
                ip(&format!("link add {bridge} type bridge mcast_snooping 0"));
                ip(&format!("link set {bridge} up"));
            });
            lab.connect(link);
        }
        lab
    }

    /// Calls a function on the relay's machine.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        self.machine.run(action)
    }

    /// Starts a relay that takes any number of lines from each peer.
    pub fn start(&self, program: &str, arguments: &[&str]) -> RelayProgram {
        let port = PORT.to_string();
        let arguments = [&["--port", &port], arguments].concat();
        self.run(|| RelayProgram::start(program, &arguments))
    }

    /// Starts a relay with the limits that it has by default.
    pub fn start_limited(&self, program: &str, arguments: &[&str]) -> RelayProgram {
        let port = PORT.to_string();
        let arguments = [&["--port", &port], arguments].concat();
        self.run(|| RelayProgram::start_limited(program, &arguments))
    }

    /// Gives the relay's machine its interface to `link`.
    pub fn connect(&self, link: Link) {
        self.plug(&self.machine, link, (link.interface(), RELAY));
    }

    /// Connects an interface of a namespace to a link. It gets the hardware and IP addresses of
    /// host `number`.
    fn plug(&self, namespace: &Namespace, link: Link, (interface, number): (&str, u8)) {
        let network = link.number();
        let port = format!("port-{network}-{number}");
        let (v4, v6) = PREFIXES;
        self.switches.run(|| {
            ip(&format!("link add {port} type veth peer name {interface}"));
            ip(&format!("link set {interface} netns {}", namespace.path()));
            ip(&format!("link set {port} master {} up", link.bridge()));
        });
        namespace.run(|| {
            ip_all([
                format!("link set {interface} address 02:00:00:00:{network:02x}:{number:02x}"),
                format!(
                    "address add {}/{v4} dev {interface}",
                    link.address(0, number)
                ),
                format!("link set {interface} up"),
                format!("address add fd00:{network}::{number:x}/{v6} dev {interface} nodad"),
            ]);
        });
    }

    /// Removes the relay's interface to `link`, with its addresses.
    pub fn disconnect(&self, link: Link) {
        self.run(|| ip(&format!("link delete {}", link.interface())));
    }

    /// Returns the kernel's index of the relay's interface to `link`.
    pub fn index(&self, link: Link) -> u32 {
        let index = self.run(|| if_nametoindex(link.interface()));
        index.expect("it is connected")
    }

    /// Runs `tc` on the relay's machine.
    pub fn tc(&self, words: &str) {
        self.run(|| tc(words));
    }

    /// Clears the neighbour table of the relay's machine, as its entries expire by themselves in
    /// time.
    pub fn forget_neighbours(&self, link: Link) {
        self.run(|| ip(&format!("neighbour flush dev {}", link.interface())));
    }
}

/// A machine on a link.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    /// The link to which it is connected.
    pub link: Link,
    number: u8,
}

impl Host {
    /// Creates host `number` of a link, with the addresses 10.LINK.0.`number` and
    /// fd00:LINK::`number`.
    pub fn new(lab: &Lab, link: Link, number: u8) -> Self {
        let namespace = Namespace::new();
        lab.plug(&namespace, link, ("eth0", number));
        Self {
            namespace,
            link,
            number,
        }
    }

    /// Returns its IPv4 address.
    pub const fn address(&self) -> Ipv4Addr {
        self.link.address(0, self.number)
    }

    /// Calls a function on this host. Sockets that it opens stay there.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(action)
    }

    /// Returns a socket that is connected to the relay, at this address of the host.
    pub fn socket(&self, address: Ipv4Addr) -> UdpSocket {
        let socket = self.run(|| UdpSocket::bind((address, 0)).expect("its own address"));
        socket.connect(self.link.relay()).expect("there is a route");
        socket
    }

    /// Creates a plain peer on this host.
    pub fn join(&self, name: &str) -> PlainPeer {
        self.run(|| PlainPeer::join(self.link.relay(), name))
    }

    /// Makes the host unreachable, as if its cable was pulled or its lid closed.
    pub fn vanish(&self) {
        self.run(|| ip("link delete eth0"));
    }
}

/// A host that forges source addresses of its link.
#[derive(Debug)]
pub struct Forger {
    socket: Socket,
    relay: SocketAddr,
    _host: Host,
}

impl Forger {
    /// Creates host `number` of a link.
    pub fn new(lab: &Lab, link: Link, number: u8) -> Self {
        let host = Host::new(lab, link, number);
        let open = || {
            let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)));
            let raw = raw.expect(NAMESPACES);
            raw.set_header_included_v4(true).expect("it is raw");
            raw
        };
        Self {
            socket: host.run(open),
            relay: link.relay(),
            _host: host,
        }
    }

    /// Sends a datagram to the relay. Returns whether the network accepted it.
    pub fn say(&self, source: SocketAddr, payload: &[u8]) -> bool {
        self.say_to(self.relay, source, payload)
    }

    /// Sends a datagram to any destination. Returns whether the network accepted it.
    pub fn say_to(&self, destination: SocketAddr, source: SocketAddr, payload: &[u8]) -> bool {
        let frame = datagram(([2; 6], source), ([2; 6], destination), payload);
        let to = SockAddr::from(destination);
        self.socket.send_to(&frame[ETHERNET_HEADER..], &to).is_ok()
    }
}

/// Receives on a connected socket until `wanted` returns a value for a datagram.
fn wait_for<T>(socket: &UdpSocket, wanted: impl Fn(&[u8]) -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    let mut buffer = [0; 2048];
    let timeout = Some(Duration::from_millis(100));
    socket.set_read_timeout(timeout).expect("not zero");
    while begun.elapsed() < PATIENCE {
        if let Ok(length) = socket.recv(&mut buffer)
            && let Some(found) = wanted(&buffer[..length])
        {
            return found;
        }
    }
    panic!("the relay does not answer");
}

//! A laboratory for a relay on real networks: two links with hosts that have addresses of their own,
//! and what can go wrong there. It needs a [network namespace](crate::namespace) to be in.

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

pub use bare::BareFramed;
pub use measure::{Load, Measured, Row, measure};
pub use reader::{Dialect, Heard, Reader, Speaker};
pub use trouble::Trouble;

/// The port of the relay in the laboratory.
const PORT: u16 = 10888;

/// The prefixes of a link's networks, IPv4 and IPv6.
const PREFIXES: (u8, u8) = (16, 64);

/// The number of the relay among the hosts of each link.
const RELAY: u8 = 1;

/// The bytes of an Ethernet header.
const ETHERNET_HEADER: usize = 14;

/// A network that the relay has an interface to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// 10.1.0.0/16 and fd00:1::/64.
    A,
    /// 10.2.0.0/16 and fd00:2::/64.
    B,
}

impl Link {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    const fn number(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    /// The relay's interface.
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

    /// Where a host on this link finds the relay.
    pub fn relay(self) -> SocketAddr {
        (self.address(0, RELAY), PORT).into()
    }

    /// The address of host `low` in the part `high` of this link's IPv4 network.
    pub const fn address(self, high: u8, low: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number(), high, low)
    }
}

/// A machine for a relay, with an interface to each [`Link`].
#[derive(Debug)]
pub struct Lab {
    machine: Namespace,
    /// Where the links are: a bridge for each.
    switches: Namespace,
}

impl Lab {
    /// Two links on which only the relay's machine is.
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

    /// Does something on the relay's machine.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        self.machine.run(action)
    }

    /// Starts a relay.
    pub fn start(&self, program: &str, arguments: &[&str]) -> RelayProgram {
        let port = PORT.to_string();
        let arguments = [&["--port", &port], arguments].concat();
        self.run(|| RelayProgram::start(program, &arguments))
    }

    /// Gives the relay's machine its interface to `link`.
    pub fn connect(&self, link: Link) {
        self.plug(&self.machine, link, (link.interface(), RELAY));
    }

    /// Connects an interface of a namespace to a link, with the hardware and IP addresses of host
    /// `number`.
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

    /// Takes it away, with its addresses.
    pub fn disconnect(&self, link: Link) {
        self.run(|| ip(&format!("link delete {}", link.interface())));
    }

    /// The number that the kernel gave the relay's interface to `link`.
    pub fn index(&self, link: Link) -> u32 {
        let index = self.run(|| if_nametoindex(link.interface()));
        index.expect("it is connected")
    }

    /// Runs `tc` on the relay's machine.
    pub fn tc(&self, words: &str) {
        self.run(|| tc(words));
    }

    /// Lets the relay's machine forget all hardware addresses, as it does by itself in time.
    pub fn forget_neighbours(&self, link: Link) {
        self.run(|| ip(&format!("neighbour flush dev {}", link.interface())));
    }
}

/// A machine on a link.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    /// What it is connected to.
    pub link: Link,
    number: u8,
}

impl Host {
    /// Host `number` of a link, with the addresses 10.LINK.0.`number` and fd00:LINK::`number`.
    pub fn new(lab: &Lab, link: Link, number: u8) -> Self {
        let namespace = Namespace::new();
        lab.plug(&namespace, link, ("eth0", number));
        Self {
            namespace,
            link,
            number,
        }
    }

    /// Its IPv4 address.
    pub const fn address(&self) -> Ipv4Addr {
        self.link.address(0, self.number)
    }

    /// Does something on this host; sockets stay there.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(action)
    }

    /// A socket for the relay, at this host's own address or at another that it has.
    pub fn socket(&self, address: Ipv4Addr) -> UdpSocket {
        let socket = self.run(|| UdpSocket::bind((address, 0)).expect("its own address"));
        socket.connect(self.link.relay()).expect("there is a way");
        socket
    }

    /// A plain peer on this host.
    pub fn join(&self, name: &str) -> PlainPeer {
        self.run(|| PlainPeer::join(self.link.relay(), name))
    }

    /// Nobody answers for it any more, as when its cable is pulled or its lid closed.
    pub fn vanish(&self) {
        self.run(|| ip("link delete eth0"));
    }
}

/// A host that sends from any address of its link.
#[derive(Debug)]
pub struct Forger {
    socket: Socket,
    relay: SocketAddr,
    _host: Host,
}

impl Forger {
    /// Host `number` of a link.
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

    /// Sends a datagram to the relay; returns whether the network took it.
    pub fn say(&self, source: SocketAddr, payload: &[u8]) -> bool {
        let frame = datagram(([2; 6], source), ([2; 6], self.relay), payload);
        let to = SockAddr::from(self.relay);
        self.socket.send_to(&frame[ETHERNET_HEADER..], &to).is_ok()
    }
}

/// Receives on a connected socket until `wanted` makes something of a datagram.
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

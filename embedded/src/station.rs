//! A client of a relay on an Ethernet device: the state machine of `kilochat-core` and one UDP
//! socket of smoltcp, which resolves the relay's hardware address.
//!
//! For a program that already has an interface and sockets, [`Station::poll`] shows the few calls
//! that it needs.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use heapless::Vec;
use kilochat_core::{Client, DATAGRAM_MAX, Instant, Network, Path, Received};
use smoltcp::iface::{
    self, Interface, PollIngressSingleResult, SocketHandle, SocketSet, SocketStorage,
};
use smoltcp::phy::Device;
use smoltcp::socket::udp;
use smoltcp::wire::{EthernetAddress, IpCidr, IpEndpoint};

use crate::addresses::{is_host, is_one_machine};
use crate::config::Error;
use crate::stack::{cidr, is_fit, source, stack_address, stack_time};

/// Maximum number of frames that a poll reads from the device before it sends what became due.
const BATCH: usize = 32;

/// Time until the next attempt when the stack could not send.
const BLOCKED: Duration = Duration::from_millis(1);

/// The first dynamic port (RFC 6335 section 6), and the number of them.
const PORTS: (u16, u16) = (49152, 16384);

/// The addresses of a station and of its relay.
#[derive(Clone, Copy, Debug)]
pub struct StationConfig {
    /// The hardware address, which must be unicast and unique on this Ethernet.
    pub hardware: [u8; 6],
    /// The station's own address, with its prefix length.
    pub address: Network,
    /// The router, if the relay is on another network.
    pub router: Option<IpAddr>,
    /// The relay's address.
    pub relay: SocketAddr,
    /// Any number that differs in each start. The local port is derived from it.
    pub seed: u64,
}

/// The memory of a station's socket. A new one is all zero bits.
#[derive(Debug)]
pub struct StationStorage {
    sockets: Vec<SocketStorage<'static>, 1>,
    /// Of the datagram received last, and of the datagram to send.
    metadata: [Vec<udp::PacketMetadata, 1>; 2],
    payloads: [[u8; DATAGRAM_MAX]; 2],
}

impl StationStorage {
    /// Returns memory for one station.
    pub const fn new() -> Self {
        Self {
            sockets: Vec::new(),
            metadata: [Vec::new(), Vec::new()],
            payloads: [[0; DATAGRAM_MAX]; 2],
        }
    }
}

impl Default for StationStorage {
    fn default() -> Self {
        Self::new()
    }
}

/// Counters of the network since the start. [`Client::stats`] has those of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct StationStats {
    /// Frames read from the device.
    pub frames: u64,
    /// Datagrams that are not from the relay, or are not frames of the dialect.
    pub foreign: u64,
    /// Datagrams that were not sent before the next one was due: the hardware address of the relay
    /// is not known, the device would have blocked, or the station has no address.
    pub unsent: u64,
}

/// A client of a relay on an Ethernet device.
///
/// ```
/// # use core::net::IpAddr;
/// # use kilochat_embedded::phy::{Device, Loopback, Medium};
/// use kilochat_core::{Client, ClientEvent, Instant, Network};
/// use kilochat_embedded::{Station, StationConfig, StationStorage};
/// use static_cell::ConstStaticCell;
///
/// static STORAGE: ConstStaticCell<StationStorage> = ConstStaticCell::new(StationStorage::new());
///
/// # let device = Loopback::new(Medium::Ethernet);
/// # let mut milliseconds = (0..).step_by(100);
/// # let mut milliseconds = || milliseconds.next().unwrap();
/// # let random = || 4;
/// # let mut rounds = 0..4;
/// # let mut temperature = || rounds.next().filter(|round| *round < 2);
/// let config = StationConfig {
///     hardware: [0x02, 0, 0, 0, 0, 2],
///     address: Network { address: IpAddr::from([192, 0, 2, 2]), prefix: 24 },
///     router: None,
///     relay: ([192, 0, 2, 1], 10888).into(),
///     seed: random(),
/// };
/// let client = Client::<4, 512>::new("greenhouse", random(), 1);
/// let now = Instant::from_millis(milliseconds());
/// let mut station = Station::new(device, STORAGE.take(), &config, client, now)?;
/// loop {
///     let wake_up = station.poll(Instant::from_millis(milliseconds()));
///     while let Some(event) = station.client.poll_event() {
///         // whatever happens to its seat or to the relay, a client with one path continues by
///         // itself, with what was not said yet; only a name that cannot be shown ends it
///         if let ClientEvent::Line { name, text, .. } = event {
///             // show it
/// #           let _ = (name, text);
///         }
///     }
///     if let Some(degrees) = temperature() {
///         // said once there is a seat; if there is no room for it, a later one will do
///         let _ = station.client.post(&format!("{degrees} degrees")); // or heapless::format!
///         continue;
///     }
///     // sleep until a frame comes or until `wake_up`
/// #     let _ = wake_up;
/// #     break;
/// }
/// # Ok::<(), kilochat_embedded::Error>(())
/// ```
pub struct Station<D: Device, const HELD: usize, const OUT: usize> {
    /// The client: post texts and poll events before and after each [`poll`](Self::poll).
    pub client: Client<HELD, OUT>,
    device: D,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    port: u16,
    relay: (SocketAddr, IpEndpoint),
    stats: StationStats,
}

impl<D: Device, const HELD: usize, const OUT: usize> Station<D, HELD, OUT> {
    /// Creates a station whose `client`, which has one path, requests a seat from the first
    /// [`poll`](Self::poll) on.
    ///
    /// # Errors
    ///
    /// If the configuration or the device is not valid.
    pub fn new(
        mut device: D,
        storage: &'static mut StationStorage,
        config: &StationConfig,
        client: Client<HELD, OUT>,
        now: Instant,
    ) -> Result<Self, Error> {
        if !is_one_machine(config.hardware) {
            return Err(Error::Hardware);
        }
        let (address, relay) = check(&config.address, config.router, config.relay)?;
        if !is_fit(&device.capabilities()) {
            return Err(Error::Device);
        }
        let mut options = iface::Config::new(EthernetAddress(config.hardware).into());
        options.random_seed = config.seed;
        let mut interface = Interface::new(options, &mut device, stack_time(now));
        set_address(&mut interface, Some(address), config.router);
        let StationStorage {
            sockets,
            metadata: [received, sending],
            payloads: [receive, send],
        } = storage;
        *received = [udp::PacketMetadata::EMPTY].into();
        *sending = [udp::PacketMetadata::EMPTY].into();
        let mut socket = udp::Socket::new(
            udp::PacketBuffer::new(received.as_mut_slice(), receive.as_mut_slice()),
            udp::PacketBuffer::new(sending.as_mut_slice(), send.as_mut_slice()),
        );
        let (first, count) = PORTS;
        let [.., high, low] = config.seed.to_be_bytes();
        let port = first + u16::from_be_bytes([high, low]) % count;
        // the socket is not open yet, and the port is not 0
        let _ = socket.bind(port);
        *sockets = [SocketStorage::EMPTY].into();
        let mut sockets = SocketSet::new(sockets.as_mut_slice());
        Ok(Self {
            client,
            device,
            interface,
            socket: sockets.add(socket),
            sockets,
            port,
            relay: (config.relay, relay),
            stats: StationStats::default(),
        })
    }

    /// Reads at most a batch of frames from the device, and sends what the client has to send.
    ///
    /// Returns when to call it again if no frame arrives and nothing is posted before; a time that
    /// is not in the future means that there is more to do now. The work of a call is bounded.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        let mut frames = 0;
        while frames < BATCH && self.receive(now) {
            frames += 1;
        }
        self.stats.frames += frames as u64;
        self.client.handle_timeout(now);
        self.flush(now);
        let mut buffer = [0; DATAGRAM_MAX];
        while let Some(transmit) = self.client.poll_transmit(now, &mut buffer) {
            self.send(buffer.get(..transmit.length).unwrap_or_default());
            self.flush(now);
        }
        if frames == BATCH {
            return Some(now);
        }
        let stack = self.interface.poll_at(stack_time(now), &self.sockets);
        let stack = stack.map(|then| {
            let micros = u64::try_from(then.total_micros()).unwrap_or_default();
            Instant::from_millis(micros.div_ceil(1000)).max(now.after(BLOCKED))
        });
        [stack, self.client.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Replaces the station's own address, for instance after a new lease. Nothing more is sent
    /// from the old one, and the client requests its seat again from the new one.
    ///
    /// Without an address, after a lease was lost, nothing is sent; the client keeps its queued
    /// texts.
    ///
    /// # Errors
    ///
    /// If the address or the router is not valid; then nothing changes.
    pub fn set_address(
        &mut self,
        now: Instant,
        address: Option<Network>,
        router: Option<IpAddr>,
    ) -> Result<(), Error> {
        let checked = address
            .map(|address| check(&address, router, self.relay.0))
            .transpose()?;
        // the waiting datagram has the old source address
        self.rebind();
        set_address(
            &mut self.interface,
            checked.map(|(address, _)| address),
            router.filter(|_| checked.is_some()),
        );
        if checked.is_some() {
            self.client.reconnect(now);
        }
        Ok(())
    }

    /// Returns the counters of the network.
    pub fn stats(&self) -> StationStats {
        self.stats
    }

    /// Returns the device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Returns the device, for instance to count its errors.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Handles one frame and the datagram in it. Returns `false` if there was none.
    fn receive(&mut self, now: Instant) -> bool {
        let result = self.interface.poll_ingress_single(
            stack_time(now),
            &mut self.device,
            &mut self.sockets,
        );
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.socket);
        if let Ok((payload, metadata)) = socket.recv() {
            let is_frame = source(&metadata) == self.relay.0
                && self.client.handle_datagram(now, Path(0), payload) != Received::Foreign;
            self.stats.foreign += u64::from(!is_frame);
        }
        result != PollIngressSingleResult::None
    }

    /// Passes a datagram to the stack, in place of the last one if that was not sent yet. The
    /// client retransmits what must arrive, and the rest is outdated.
    fn send(&mut self, payload: &[u8]) {
        if self.interface.ip_addrs().is_empty() {
            self.stats.unsent += 1;
            return;
        }
        if !self.socket().can_send() {
            self.stats.unsent += 1;
            self.rebind();
        }
        let relay = self.relay.1;
        // it fits, and the relay has an address
        let _ = self.socket().send_slice(payload, relay);
    }

    fn socket(&mut self) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Drops the datagram that the stack has not sent.
    fn rebind(&mut self) {
        let port = self.port;
        let socket = self.socket();
        socket.close();
        // the socket is closed, and the port is not 0
        let _ = socket.bind(port);
    }

    /// Lets the stack send: the datagram, or a request for the hardware address of the next hop.
    fn flush(&mut self, now: Instant) {
        let now = stack_time(now);
        self.interface
            .poll_egress(now, &mut self.device, &mut self.sockets);
    }
}

/// Returns the addresses as smoltcp's types, after checking everything on which it would panic.
fn check(
    address: &Network,
    router: Option<IpAddr>,
    relay: SocketAddr,
) -> Result<(IpCidr, IpEndpoint), Error> {
    if relay.port() == 0 {
        return Err(Error::Port);
    }
    let (own, ip) = (address.address, relay.ip());
    let router = router.unwrap_or(ip);
    let is_one_family = own.is_ipv4() == ip.is_ipv4() && own.is_ipv4() == router.is_ipv4();
    let bits = if own.is_ipv4() { 32 } else { 128 };
    if !is_one_family || address.prefix > bits || ![own, ip, router].into_iter().all(is_host) {
        return Err(Error::Address);
    }
    let address = cidr(address).ok_or(Error::Address)?;
    let relay = IpEndpoint::new(stack_address(ip).ok_or(Error::Address)?, relay.port());
    Ok((address, relay))
}

/// Replaces the address and the default router of an interface.
fn set_address(interface: &mut Interface, address: Option<IpCidr>, router: Option<IpAddr>) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        // there is space for it
        addresses.extend(address);
    });
    let routes = interface.routes_mut();
    #[cfg(feature = "ipv4")]
    routes.remove_default_ipv4_route();
    #[cfg(feature = "ipv6")]
    routes.remove_default_ipv6_route();
    // there is space for it
    let _ = match router {
        #[cfg(feature = "ipv4")]
        Some(IpAddr::V4(router)) => routes.add_default_ipv4_route(router),
        #[cfg(feature = "ipv6")]
        Some(IpAddr::V6(router)) => routes.add_default_ipv6_route(router),
        _ => Ok(None),
    };
}

impl<D: Device, const HELD: usize, const OUT: usize> core::fmt::Debug for Station<D, HELD, OUT> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter
            .debug_struct("Station")
            .field("client", &self.client)
            .field("relay", &self.relay.0)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

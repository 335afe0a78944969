//! The sockets of the proxy, and forwarding between them.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::time::Instant;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Socket, Type};

use super::lane::Lane;
use super::{Client, Direction, Faults, OldPort, Totals, Traffic};

const LISTEN: Token = Token(0);
const FIRST_UPSTREAM: usize = 2;
/// Number of datagrams that are read before due ones are sent.
const BATCH: usize = 64;
/// Requested size of a receive buffer in bytes. The system may grant less.
const RECEIVE_BUFFER: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Network {
    listen: UdpSocket,
    to: SocketAddr,
    registry: Registry,
    seed: u64,
    pub(super) faults: Faults,
    pub(super) is_blackout: bool,
    flows: Vec<Flow>,
    by_client: HashMap<SocketAddr, usize>,
    by_token: HashMap<Token, usize>,
    next_token: usize,
    /// Datagrams of clients for which the system gave no socket.
    strays: Traffic,
}

/// A client with its upstream sockets.
#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    port: Port,
    old: Vec<OldSocket>,
    up: Lane,
    down: Lane,
}

#[derive(Debug)]
struct Port {
    socket: UdpSocket,
    token: Token,
}

#[derive(Debug)]
struct OldSocket {
    port: Port,
    is_open: bool,
}

impl Network {
    pub(super) fn new(
        listen: SocketAddr,
        to: SocketAddr,
        faults: Faults,
        seed: u64,
        registry: Registry,
    ) -> io::Result<Self> {
        let mut listen = bind(listen)?;
        registry.register(&mut listen, LISTEN, Interest::READABLE)?;
        Ok(Self {
            listen,
            to,
            registry,
            seed,
            faults,
            is_blackout: false,
            flows: Vec::new(),
            by_client: HashMap::new(),
            by_token: HashMap::new(),
            next_token: FIRST_UPSTREAM,
            strays: Traffic::default(),
        })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listen.local_addr()
    }

    /// Reads all datagrams of a socket.
    pub(super) fn handle_readable(&mut self, token: Token, buffer: &mut [u8]) {
        if token == LISTEN {
            self.read_clients(buffer);
        } else if let Some(&index) = self.by_token.get(&token) {
            self.read_relay(index, token, buffer);
        }
    }

    /// Returns when [`Network::transmit`] has a datagram next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let lanes = self.flows.iter().flat_map(|flow| [&flow.up, &flow.down]);
        lanes.filter_map(Lane::poll_timeout).min()
    }

    /// Sends the datagrams that are due.
    pub(super) fn transmit(&mut self, now: Instant) {
        for flow in &mut self.flows {
            while let Some(payload) = flow.up.poll_transmit(now, &self.faults) {
                let mut sent = flow.port.socket.send(&payload);
                if sent.as_ref().is_err_and(is_port_unreachable) {
                    // the error is about an earlier datagram, and this one was not sent
                    flow.up.handle_unreachable();
                    sent = flow.port.socket.send(&payload);
                }
                flow.up.handle_sent(sent.is_ok());
            }
            while let Some(payload) = flow.down.poll_transmit(now, &self.faults) {
                let mut sent = self.listen.send_to(&payload, flow.client);
                if sent.as_ref().is_err_and(is_port_unreachable) {
                    flow.down.handle_unreachable();
                    sent = self.listen.send_to(&payload, flow.client);
                }
                flow.down.handle_sent(sent.is_ok());
            }
        }
    }

    pub(super) fn move_client(&mut self, client: SocketAddr, old: OldPort) -> io::Result<()> {
        let Some(&index) = self.by_client.get(&client) else {
            return Err(ErrorKind::NotFound.into());
        };
        let port = self.open_port()?;
        self.by_token.insert(port.token, index);
        let flow = &mut self.flows[index];
        let mut former = core::mem::replace(&mut flow.port, port);
        if old == OldPort::Closed {
            self.by_token.remove(&former.token);
            return self.registry.deregister(&mut former.socket);
        }
        flow.old.push(OldSocket {
            port: former,
            is_open: old == OldPort::Open,
        });
        Ok(())
    }

    pub(super) fn clients(&self) -> Vec<Client> {
        let client = |flow: &Flow| Client {
            address: flow.client,
            upstream: flow.port.socket.local_addr().expect("it is bound"),
            up: flow.up.traffic(),
            down: flow.down.traffic(),
        };
        self.flows.iter().map(client).collect()
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals {
            up: self.strays,
            clients: self.flows.len(),
            ..Totals::default()
        };
        for flow in &self.flows {
            totals.up += flow.up.traffic();
            totals.down += flow.down.traffic();
        }
        totals
    }

    fn read_clients(&mut self, buffer: &mut [u8]) {
        let mut count = 0;
        loop {
            match self.listen.recv_from(buffer) {
                Ok((length, client)) => {
                    self.handle_datagram(client, &buffer[..length]);
                    count += 1;
                    if count % BATCH == 0 {
                        self.transmit(Instant::now());
                    }
                }
                Err(error) if is_port_unreachable(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn handle_datagram(&mut self, client: SocketAddr, payload: &[u8]) {
        let index = match self.by_client.get(&client) {
            Some(&index) => index,
            None => match self.open_flow(client) {
                Ok(index) => index,
                Err(_) => {
                    self.strays.received += 1;
                    self.strays.unsent += 1;
                    return;
                }
            },
        };
        let lane = &mut self.flows[index].up;
        lane.handle_datagram(Instant::now(), payload, &self.faults, self.is_blackout);
    }

    fn read_relay(&mut self, index: usize, token: Token, buffer: &mut [u8]) {
        let mut count = 0;
        loop {
            let flow = &mut self.flows[index];
            let Some((socket, is_open)) = flow.socket(token) else {
                return;
            };
            match socket.recv(buffer) {
                Ok(_) if !is_open => flow.down.handle_swallowed(),
                Ok(length) => {
                    let (now, payload) = (Instant::now(), &buffer[..length]);
                    flow.down
                        .handle_datagram(now, payload, &self.faults, self.is_blackout);
                    count += 1;
                    if count % BATCH == 0 {
                        self.transmit(now);
                    }
                }
                Err(error) if is_port_unreachable(&error) => flow.up.handle_unreachable(),
                Err(_) => return,
            }
        }
    }

    fn open_flow(&mut self, client: SocketAddr) -> io::Result<usize> {
        let port = self.open_port()?;
        let index = self.flows.len();
        self.by_client.insert(client, index);
        self.by_token.insert(port.token, index);
        let lane = |direction: Direction| Lane::new(self.seed, index as u64 * 2 + direction as u64);
        self.flows.push(Flow {
            client,
            port,
            old: Vec::new(),
            up: lane(Direction::Up),
            down: lane(Direction::Down),
        });
        Ok(index)
    }

    fn open_port(&mut self) -> io::Result<Port> {
        let any = match self.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let mut socket = bind(any)?;
        socket.connect(self.to)?;
        let token = Token(self.next_token);
        self.registry
            .register(&mut socket, token, Interest::READABLE)?;
        self.next_token += 1;
        Ok(Port { socket, token })
    }
}

impl Flow {
    /// Returns the socket with this token, and whether its datagrams are forwarded to the client.
    fn socket(&self, token: Token) -> Option<(&UdpSocket, bool)> {
        if self.port.token == token {
            return Some((&self.port.socket, true));
        }
        let mut old = self.old.iter();
        let old = old.find(|old| old.port.token == token)?;
        Some((&old.port.socket, old.is_open))
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    // some systems reject a size above their limit; a smaller buffer only loses more
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Returns whether an error reports "port unreachable" for an earlier datagram. The socket can be
/// used again after it.
fn is_port_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}

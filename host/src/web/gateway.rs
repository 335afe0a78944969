//! The event loop between browsers and the relay: a message of a WebSocket is a datagram, and each
//! WebSocket has a UDP port of its own.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;
use std::time::Instant;

use kilochat_core::{Config, DATAGRAM_MAX};
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token, Waker};
use tungstenite::protocol::frame::coding::CloseCode;

use super::connection::{Connection, is_temporary};
use super::counters::Counters;
use super::http::{Names, Parsed, Rejection, Request, Wanted};
use super::log::{Log, Record};
use super::places::{HEADS, Limits, Place, Places};
use super::ports::Ports;
use super::socket::{Received, Socket};
use crate::port::is_port_unreachable;
use crate::relay::{Stopper, attached_networks, interfaces};

/// Maximum numbers of connections that are accepted, of messages that are read from a page, and of
/// datagrams that are sent to a page, in one turn.
const ACCEPTS: usize = 64;
const MESSAGES: usize = 64;
const DATAGRAMS: usize = 12;

/// Time after which accepting is tried again when the system has no file descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Minimum time between two readings of this machine's addresses that foreign connections cause.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The first token of the listeners. Smaller tokens belong to slots.
const LISTENERS: usize = usize::MAX >> 1;

const WAKE: Token = Token(usize::MAX);

/// The parameters of a gateway.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) relays: Vec<SocketAddr>,
    pub(super) names: Names,
    pub(super) limits: Limits,
    pub(super) is_open: bool,
    pub(super) is_quiet: bool,
    /// The address of the page for other machines.
    pub(super) reached: Option<String>,
}

/// A gateway between browsers and a relay.
pub(super) struct Gateway {
    poll: Poll,
    listeners: Vec<TcpListener>,
    stopper: Stopper,
    slots: Vec<Option<Slot>>,
    /// The slots that have something to do before the next wait.
    ready: Vec<usize>,
    /// Earliest time at which a slot has something to do.
    due: Option<Instant>,
    accept_again: Option<Instant>,
    places: Places,
    ports: Ports,
    names: Names,
    reached: Option<String>,
    /// The configuration that says which networks are local.
    config: Config,
    read_again: Instant,
    counters: Counters,
    log: Log,
}

/// A connection, and the UDP port of its page.
struct Slot {
    address: IpAddr,
    connection: Connection<TcpStream>,
    port: Option<UdpSocket>,
    is_ready: bool,
    /// Whether datagrams may be waiting at the port.
    has_datagrams: bool,
}

impl Gateway {
    /// Creates a gateway that accepts connections from these listeners.
    ///
    /// # Errors
    ///
    /// If the system has no file descriptor or thread left.
    pub(super) fn new(mut listeners: Vec<TcpListener>, setup: Setup) -> io::Result<Self> {
        let now = Instant::now();
        let poll = Poll::new()?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            let token = Token(LISTENERS + index);
            poll.registry()
                .register(listener, token, Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry(), WAKE)?;
        let slots = HEADS + usize::from(setup.limits.connections);
        let mut config = Config::new([0; 16]);
        config.open = setup.is_open;
        config.networks = attached_networks(&interfaces());
        Ok(Self {
            poll,
            listeners,
            stopper: Stopper::new(waker),
            slots: core::iter::repeat_with(|| None).take(slots).collect(),
            ready: Vec::new(),
            due: None,
            accept_again: Some(now),
            places: Places::new(setup.limits),
            ports: Ports::new(setup.relays),
            names: setup.names,
            reached: setup.reached,
            config,
            read_again: now,
            counters: Counters::default(),
            log: Log::start(now, setup.is_quiet)?,
        })
    }

    /// Returns a handle that ends the gateway or requests a report.
    pub(super) fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves pages until it is told to stop.
    ///
    /// # Errors
    ///
    /// If the system can no longer wait for the sockets.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.stopper.is_stopped() {
            let now = Instant::now();
            if self.stopper.take_report() {
                self.report(true);
            }
            self.accept(now);
            self.handle_timeouts(now);
            for slot in core::mem::take(&mut self.ready) {
                self.serve(now, slot);
            }
            let wake = self.due.into_iter().chain(self.accept_again).min();
            let timeout = if self.ready.is_empty() {
                wake.map(|wake| wake.saturating_duration_since(Instant::now()))
            } else {
                Some(Duration::ZERO)
            };
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            for event in &events {
                self.handle_event(event);
            }
        }
        self.report(false);
        self.log.close();
        Ok(())
    }

    /// Logs the counters; `asked` is whether they were requested.
    fn report(&mut self, asked: bool) {
        let pages = self.places.pages();
        let counters = Box::new(self.counters.clone());
        let record = Record::Stats { pages, counters };
        self.log.report(record, asked);
    }

    fn handle_event(&mut self, event: &mio::event::Event) {
        let Token(token) = event.token();
        if event.token() == WAKE {
            return;
        }
        let index = token / 2;
        let Some(found) = self.slots.get_mut(index) else {
            self.accept_again = Some(Instant::now());
            return;
        };
        let Some(slot) = found else {
            return; // it was closed after this event
        };
        slot.has_datagrams |= token % 2 == 1;
        if !core::mem::replace(&mut slot.is_ready, true) {
            self.ready.push(index);
        }
    }

    /// Accepts connections that are waiting.
    fn accept(&mut self, now: Instant) {
        if self.accept_again.is_none_or(|again| now < again) {
            return;
        }
        self.accept_again = None;
        for listener in 0..self.listeners.len() {
            self.accept_from(now, listener);
        }
    }

    fn accept_from(&mut self, now: Instant, listener: usize) {
        for _ in 0..ACCEPTS {
            match self.listeners[listener].accept() {
                Ok((stream, address)) => self.take(now, stream, address.ip().to_canonical()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_temporary(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    self.counters.accept_errors += 1;
                    self.accept_again.get_or_insert(now + ACCEPT_AGAIN);
                    return;
                }
            }
        }
        self.accept_again = Some(now);
    }

    fn take(&mut self, now: Instant, mut stream: TcpStream, address: IpAddr) {
        self.counters.accepted += 1;
        if !self.is_served(now, address) {
            self.counters.foreign += 1;
            self.log.event(now, Record::Foreign(address));
            return;
        }
        if let Some(other) = self.places.displaced(address) {
            self.counters.displaced += 1;
            self.close(now, other);
        }
        let Some(index) = self.slots.iter().position(Option::is_none) else {
            self.counters.displaced += 1; // there is a slot for each place
            return;
        };
        let both = Interest::READABLE | Interest::WRITABLE;
        let token = Token(token_of(index));
        if self
            .poll
            .registry()
            .register(&mut stream, token, both)
            .is_err()
        {
            self.counters.accept_errors += 1;
            return;
        }
        // without the option small messages would only be late
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(now, stream);
        self.due = self.due.into_iter().chain(connection.timeout()).min();
        self.places.take(index, address);
        self.slots[index] = Some(Slot {
            address,
            connection,
            port: None,
            is_ready: true,
            has_datagrams: false,
        });
        self.ready.push(index);
    }

    /// Returns whether the relay would serve this address. If the address may be on a new network, the
    /// networks are read again.
    fn is_served(&mut self, now: Instant, address: IpAddr) -> bool {
        if self.config.open || self.config.is_local(address) {
            return true;
        }
        if now >= self.read_again {
            self.read_again = now + READ_AGAIN;
            self.config.networks = attached_networks(&interfaces());
        }
        self.config.is_local(address)
    }

    fn handle_timeouts(&mut self, now: Instant) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = None;
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else {
                continue;
            };
            if slot.connection.timeout().is_some_and(|due| now >= due) {
                self.counters.late += u64::from(slot.connection.is_head());
                slot.connection.handle_timeout(now);
                if !core::mem::replace(&mut slot.is_ready, true) {
                    self.ready.push(index);
                }
            }
            self.due = self.due.into_iter().chain(slot.connection.timeout()).min();
        }
    }

    /// Runs the turn of a slot.
    fn serve(&mut self, now: Instant, index: usize) {
        let Some(slot) = &mut self.slots[index] else {
            return;
        };
        slot.is_ready = false;
        if let Some(head) = slot.connection.poll_head(&self.names) {
            self.answer(now, index, head);
        }
        let Some(slot) = &mut self.slots[index] else {
            return;
        };
        slot.connection.handle_ready(now);
        let mut has_more = false;
        if let Connection::Socket(socket) = &mut slot.connection {
            let Some(port) = &slot.port else {
                return;
            };
            socket.begin_turn();
            let counters = &mut self.counters;
            let up = to_relay(now, socket, port, counters);
            socket.flush(now);
            let down = to_page(now, socket, port, &mut slot.has_datagrams, counters);
            socket.flush(now);
            has_more = up == Turn::More || down == Turn::More;
            if up == Turn::NoRelay || down == Turn::NoRelay {
                counters.no_relay += 1;
                self.ports.handle_unreachable();
                socket.close(now, CloseCode::Again);
                has_more = true;
            }
        }
        slot.connection.take_end();
        self.due = self.due.into_iter().chain(slot.connection.timeout()).min();
        if slot.connection.is_closed() {
            self.close(now, index);
        } else if has_more && !core::mem::replace(&mut slot.is_ready, true) {
            self.ready.push(index);
        }
    }

    /// Answers a complete head.
    fn answer(&mut self, now: Instant, index: usize, head: Parsed) {
        let Some(slot) = &mut self.slots[index] else {
            return;
        };
        let rejection = match head {
            Parsed::Partial => return,
            Parsed::Rejected(why) => why,
            Parsed::Request { request, .. } => {
                let place = match request.wanted {
                    Wanted::Socket(_) => Place::Page,
                    Wanted::File(_) | Wanted::NotModified(_) | Wanted::Code { .. } => Place::Answer,
                };
                if self.places.promote(index, place) {
                    self.grant(now, index, &request);
                    return;
                }
                Rejection::Full
            }
        };
        self.counters.reject(rejection);
        self.log
            .event(now, Record::Rejected(slot.address, rejection));
        slot.connection.answer(now, rejection.answer());
    }

    fn grant(&mut self, now: Instant, index: usize, request: &Request) {
        let Some(slot) = &mut self.slots[index] else {
            return;
        };
        let answer = request.answer(self.reached.as_deref());
        if !matches!(request.wanted, Wanted::Socket(_)) {
            slot.connection.answer(now, answer);
            return;
        }
        let port = self.ports.open(slot.address).and_then(|mut port| {
            let token = Token(token_of(index) + 1);
            self.poll
                .registry()
                .register(&mut port, token, Interest::READABLE)?;
            Ok(port)
        });
        match port {
            Ok(port) => {
                slot.port = Some(port);
                self.counters.opened += 1;
                self.log.event(now, Record::Opened(slot.address));
                slot.connection.upgrade(now, answer);
            }
            Err(_) => {
                self.counters.no_port += 1;
                slot.connection.answer(now, Rejection::Full.answer());
            }
        }
    }

    fn close(&mut self, now: Instant, index: usize) {
        let Some(mut slot) = self.slots[index].take() else {
            return;
        };
        self.places.free(index);
        if let Some(stream) = slot.connection.stream_mut() {
            // closing it does the same
            let _ = self.poll.registry().deregister(stream);
        }
        if let Some(mut port) = slot.port {
            // closing it does the same
            let _ = self.poll.registry().deregister(&mut port);
            self.log.event(now, Record::Closed(slot.address));
        }
    }
}

/// The result of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Nothing,
    More,
    /// The relay's port is unreachable.
    NoRelay,
}

/// Sends messages of a page to the relay.
fn to_relay(
    now: Instant,
    socket: &mut Socket<TcpStream>,
    port: &UdpSocket,
    counters: &mut Counters,
) -> Turn {
    for _ in 0..MESSAGES {
        match socket.receive(now) {
            Received::Datagram(bytes) => match port.send(&bytes) {
                Ok(_) => counters.to_relay += 1,
                Err(error) => {
                    counters.send_errors += 1;
                    if is_port_unreachable(&error) {
                        return Turn::NoRelay;
                    }
                }
            },
            Received::Plain | Received::Text => counters.plain += 1,
            Received::TooLong => counters.too_long += 1,
            Received::TooMany => {
                counters.too_many += 1;
                return Turn::Nothing;
            }
            Received::Nothing => return Turn::Nothing,
            Received::Later => return Turn::More,
        }
    }
    Turn::More
}

/// Sends datagrams of the relay to a page.
fn to_page(
    now: Instant,
    socket: &mut Socket<TcpStream>,
    port: &UdpSocket,
    has_datagrams: &mut bool,
    counters: &mut Counters,
) -> Turn {
    // one byte more than a datagram may have, so that longer ones are noticed
    let mut buffer = [0; DATAGRAM_MAX + 1];
    for _ in 0..DATAGRAMS {
        // while a page does not receive, the kernel drops its datagrams
        if !*has_datagrams || !socket.can_send() {
            return Turn::Nothing;
        }
        match port.recv(&mut buffer) {
            Ok(length) if length > DATAGRAM_MAX => counters.not_taken += 1,
            Ok(length) if socket.send(now, &buffer[..length]) => counters.to_pages += 1,
            Ok(_) => counters.not_taken += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *has_datagrams = false,
            Err(error) if is_port_unreachable(&error) => return Turn::NoRelay,
            Err(_) => {}
        }
    }
    Turn::More
}

/// Returns the token of a slot's connection; that of its port follows.
const fn token_of(slot: usize) -> usize {
    slot * 2
}

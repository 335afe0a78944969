//! The event loop between the sockets and the relay.
//!
//! It blocks until a datagram arrives, reads what else has arrived, and then sends what became due.
//! So a single line is sent at once, and under load lines are coalesced without a timer.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use if_addrs::Interface;
use kilochat_core::{
    Config, Departed, Event, Expired, Instant, NETWORKS_MAX, Refusal, Relay, Reply, is_blank,
};
use mio::{Events, Poll, Token, Waker};
use static_cell::ConstStaticCell;

use super::addresses::{Watch, attached_networks, interfaces};
use super::config::config;
use super::console::Console;
use super::inquiry::{Inquiry, Peers, Snapshot};
use super::journal::{Journal, Record};
use super::keep::Keeper;
use super::link::{self, Link};
use super::metrics;
use super::network::Sockets;
use super::rules::Source;
use super::sockets;
use super::stopper::Stopper;
use super::turn::{Log, Network as _, Turn};
use crate::Error;
use crate::args::{RelayArguments, SEATS_MAX};

/// Size of the relay's ring in bytes.
const RING: usize = 1 << 20;

/// Maximum congestion window of a framed peer, in datagrams.
const WINDOW: usize = 32;

type HostRelay = Relay<{ SEATS_MAX as usize }, RING, WINDOW>;

/// Static, so that it is never on a stack, and only the pages that are used take memory.
static RELAY: ConstStaticCell<HostRelay> = ConstStaticCell::new(Relay::new());

/// Maximum time for which a stopping relay sends what is due.
const GOODBYE: Duration = Duration::from_secs(1);

/// Minimum time between two log records about datagrams that the kernel dropped.
const LOSS_INTERVAL: Duration = Duration::from_secs(60);

/// Minimum time between two readings of the addresses that sources outside the known networks
/// cause.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

const WAKE: Token = Token(usize::MAX);

/// A relay on its sockets.
#[derive(Debug)]
pub struct Server {
    relay: &'static mut HostRelay,
    /// The requested addresses.
    addresses: Vec<SocketAddr>,
    network: Sockets,
    watch: Watch,
    asked: Asked,
    /// The public networks that this machine is attached to.
    networks: heapless::Vec<kilochat_core::Network, NETWORKS_MAX>,
    turn: Turn,
    poll: Poll,
    events: Events,
    stopper: Stopper,
    journal: Journal,
    keeper: Option<Keeper>,
    link: Option<Link>,
    /// Other threads that ask whether the loop turns.
    inquiries: Vec<Inquiry>,
    seats: u16,
    /// The relay's own terminal, if there is one.
    console: Option<Console>,
    /// When the relay's clock showed `begun`.
    start: std::time::Instant,
    begun: Instant,
    now: Instant,
    loss: Loss,
}

/// The datagrams that the kernel dropped, as far as they are logged.
#[derive(Debug, Default)]
struct Loss {
    logged: u64,
    /// Earliest time of the next log record.
    next: Instant,
}

/// The number of sources outside the known networks for which the addresses were read.
#[derive(Debug, Default)]
struct Asked {
    foreign: u64,
    /// Earliest time of the next reading.
    next: Instant,
}

impl Server {
    /// Opens the sockets. There can be one relay in a process.
    ///
    /// # Errors
    ///
    /// If an option is invalid, or a socket cannot be opened.
    pub fn bind(arguments: &RelayArguments) -> Result<Self, Error> {
        let interfaces = interfaces();
        let config = config(arguments, &interfaces)?;
        Self::open(arguments, config, interfaces)
    }

    /// Opens the sockets of a relay at whose terminal nobody speaks as `host`.
    ///
    /// # Errors
    ///
    /// As those of [`bind`](Self::bind).
    pub(super) fn bind_without_console(arguments: &RelayArguments) -> Result<Self, Error> {
        let interfaces = interfaces();
        let mut config = config(arguments, &interfaces)?;
        config.host = false;
        Self::open(arguments, config, interfaces)
    }

    fn open(
        arguments: &RelayArguments,
        mut config: Config,
        interfaces: Vec<Interface>,
    ) -> Result<Self, Error> {
        let sockets = sockets::open(arguments)?;
        let buffers: Vec<usize> = sockets.iter().map(sockets::receive_buffer).collect();
        let failed = |error: io::Error| Error::Failure(format!("cannot set up sockets: {error}"));
        let addresses: io::Result<Vec<SocketAddr>> = sockets
            .iter()
            .map(mio::net::UdpSocket::local_addr)
            .collect();
        let addresses = addresses.map_err(failed)?;
        let poll = Poll::new().map_err(failed)?;
        sockets::allow_many();
        let mut network = Sockets::new(sockets, &interfaces, &poll).map_err(failed)?;
        let stopper = Stopper::new(Waker::new(poll.registry(), WAKE).map_err(failed)?);
        let Some(relay) = RELAY.try_take() else {
            return Err(Error::Failure("this process has a relay already".into()));
        };
        config.port = addresses.first().map_or(0, SocketAddr::port);
        relay.configure(config);
        let rules = Source::new(&arguments.admission);
        relay.set_rules(rules.read().map_err(Error::Usage)?);
        let networks = attached_networks(&interfaces);
        let watch = Watch::start(interfaces, stopper.clone()).map_err(failed)?;
        let mut journal = Journal::start(arguments)?;
        for (address, receive_buffer) in addresses.iter().copied().zip(buffers) {
            journal.write(Record::Listening {
                address,
                receive_buffer,
            });
        }
        // what one socket lacks all of them do
        let first = network.transports.first();
        for option in first.into_iter().flat_map(|first| first.missing()) {
            journal.write(Record::Missing(option));
        }
        let inquiries = inquiries(arguments, &stopper, &mut journal)?;
        let start = std::time::Instant::now();
        let (mut keeper, begun) =
            Keeper::start(arguments, relay, &mut network, &mut journal)?.unzip();
        let oldest = link::age_max(arguments);
        let begun = begun.unwrap_or_else(|| Instant::default().after(oldest));
        let kept = keeper.as_mut().map(Keeper::take_restored);
        let kept = kept.unwrap_or_default();
        let waker = stopper.clone();
        let link = Link::start(arguments, kept, begun, relay, &mut journal, waker)?;
        Ok(Self {
            relay,
            addresses,
            poll,
            events: Events::with_capacity(64),
            stopper,
            journal,
            console: None,
            network,
            watch,
            asked: Asked::default(),
            networks,
            turn: Turn::new(usize::from(SEATS_MAX)),
            keeper,
            link,
            inquiries,
            seats: arguments.seats,
            start,
            begun,
            now: begun,
            loss: Loss::default(),
        })
    }

    /// Returns the addresses on which the relay listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Returns a handle that ends the relay or requests a report.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Lets a person at the relay's terminal speak as `host`, and give orders.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub fn take_orders(&mut self) -> Result<(), Error> {
        self.console = Some(Console::start(self.stopper())?);
        Ok(())
    }

    /// Runs the relay until it is told to stop, then sends what is due. It allocates nothing.
    ///
    /// # Errors
    ///
    /// If the system can no longer wait for the sockets.
    pub fn run(&mut self) -> Result<(), Error> {
        while !self.stopper.is_stopped() {
            self.follow_addresses();
            self.follow_rules();
            self.follow_name();
            self.follow_console();
            let wake = self.take_turn();
            if self.stopper.take_report() {
                self.report(true);
            }
            self.wait(wake)?;
        }
        self.say_goodbye()
    }

    /// Applies changes of this machine's addresses. Requests a reading if a source was refused that
    /// may be on a new network.
    fn follow_addresses(&mut self) {
        let foreign = self.relay.stats().refused(Refusal::Foreign);
        if foreign > self.asked.foreign && self.now >= self.asked.next {
            self.asked = Asked {
                foreign,
                next: self.now.after(ASK_INTERVAL),
            };
            self.watch.ask();
        }
        self.watch.take(|interfaces| {
            let followed = self.network.follow(interfaces, &self.poll);
            let networks = attached_networks(interfaces);
            if followed.opened + followed.closed > 0 || networks != self.networks {
                self.journal.write(Record::Addresses {
                    followed,
                    networks: networks.len(),
                });
            }
            self.networks.clone_from(&networks);
            self.relay.set_networks(networks);
            followed.missing > 0
        });
    }

    /// Applies rules that were read again.
    fn follow_rules(&mut self) {
        if self.stopper.take_networks() {
            self.watch.ask();
        }
        if let Some(rules) = self.stopper.take_rules() {
            self.journal.write(Record::Rules(rules.len()));
            self.relay.set_rules(rules);
        }
    }

    /// Takes another name, because another relay has the first one.
    fn follow_name(&mut self) {
        if let Some(name) = self.stopper.take_name() {
            self.relay.set_relay_name(name);
        }
    }

    /// Says the lines that were typed at the terminal, or executes them as orders.
    fn follow_console(&mut self) {
        let Some(console) = &self.console else {
            return;
        };
        let mut answer = Reply::new();
        while let Some(line) = console.next() {
            let text = line.strip_prefix("/").filter(|rest| rest.starts_with('/'));
            match line.strip_prefix('/').filter(|_| text.is_none()) {
                Some(order) => {
                    if let Some(removed) = self.relay.order(self.now, order, &mut answer) {
                        if let Some((seat, address, farewell)) = removed.farewell() {
                            self.network.say_farewell(self.now, farewell, address, seat);
                        }
                        if let Some(keeper) = &mut self.keeper {
                            keeper.note_seat(removed.seat);
                        }
                        self.journal.write(Record::Departed(removed));
                    }
                    console.show(&answer);
                }
                None if is_blank(&line) => {}
                None => {
                    self.relay.say_as_host(self.now, text.unwrap_or(&line));
                }
            }
        }
    }

    fn take_turn(&mut self) -> Option<Instant> {
        self.now = self.begun.after(self.start.elapsed());
        let (relay, network) = (&mut *self.relay, &mut self.network);
        let link = self.link.as_mut();
        let link = link.filter(|_| !self.stopper.is_stopped());
        let has_more = link.is_some_and(|link| link.receive(self.now, relay, &mut self.journal));
        let mut witnesses = Witnesses {
            journal: &mut self.journal,
            keeper: self.keeper.as_mut(),
        };
        let dropped = network.kernel_dropped();
        network.loud.begin_turn(self.now, dropped);
        let wake = self.turn.run(self.now, relay, network, &mut witnesses);
        if let Some(address) = network.shut_out_loud(relay.peers()) {
            self.journal.write(Record::ShutOut(address));
        }
        let reopens = network.loud.reopens_at();
        let keeper = self.keeper.as_mut();
        let again = keeper.and_then(|keeper| keeper.keep(self.now, relay, network));
        let link = self.link.as_mut();
        let listed = link.and_then(|link| link.send(self.now, relay));
        let more = (has_more && relay.can_receive()).then_some(self.now);
        self.note_loss();
        for inquiry in &self.inquiries {
            inquiry.answer(|| self.snapshot());
        }
        [wake, again, reopens, listed, more]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns a copy of all counters.
    fn snapshot(&self) -> Snapshot {
        let mut peers = Peers::default();
        for peer in self.relay.peers() {
            *match (peer.framed, peer.parked, peer.suspect) {
                (true, true, _) => &mut peers.framed_parked,
                (true, false, true) => &mut peers.framed_suspect,
                (true, false, false) => &mut peers.framed,
                (false, _, true) => &mut peers.plain_suspect,
                (false, _, false) => &mut peers.plain,
            } += 1;
        }
        Snapshot {
            seats: self.seats,
            peers,
            relay: self.relay.stats().clone(),
            counters: self.network.counters(),
            log_lost: self.journal.lost_total,
            kept: self.keeper.as_ref().map(Keeper::counts),
            link: self.link_counts(),
        }
    }

    fn link_counts(&self) -> Option<link::LinkCounts> {
        let link = self.link.as_ref();
        link.map(|link| link.counts(self.now, self.relay))
    }

    /// Logs, at a limited rate, how many datagrams the kernel dropped.
    fn note_loss(&mut self) {
        let total = self.network.kernel_dropped();
        if total > self.loss.logged && self.now >= self.loss.next {
            self.journal.write(Record::KernelDropped {
                now: total - self.loss.logged,
                total,
            });
            self.loss = Loss {
                logged: total,
                next: self.now.after(LOSS_INTERVAL),
            };
        }
    }

    /// Logs statistics; `asked` is whether they were requested.
    fn report(&mut self, asked: bool) {
        let (peers, relay) = (self.relay.peer_count(), self.relay.stats().clone());
        self.journal.write(Record::Stats {
            asked,
            peers,
            relay,
            counters: self.network.counters(),
            kept: self.keeper.as_ref().map(Keeper::counts),
            link: self.link_counts(),
        });
        self.journal.write(Record::Loudest {
            asked,
            sources: self.network.loud.loudest(),
        });
    }

    /// Blocks until something arrives, or until `wake`.
    fn wait(&mut self, wake: Option<Instant>) -> Result<(), Error> {
        let timeout = wake.map(|wake| wake.since(self.now));
        if let Err(error) = self.poll.poll(&mut self.events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            let reason = format!("cannot wait for the sockets: {error}");
            return Err(Error::Failure(reason));
        }
        for event in &self.events {
            let index = event.token().0;
            if index != WAKE.0 && (event.is_readable() || event.is_error()) {
                self.network.handle_ready(index, event.is_error());
            }
        }
        Ok(())
    }

    /// Sends the accepted lines and the farewell to all peers, for at most [`GOODBYE`].
    fn say_goodbye(&mut self) -> Result<(), Error> {
        self.take_turn();
        let deadline = self.now.after(GOODBYE);
        self.relay.stop(self.now);
        loop {
            let wake = self.take_turn();
            if self.relay.is_settled() || self.now >= deadline {
                break;
            }
            self.wait(Some(wake.map_or(deadline, |wake| wake.min(deadline))))?;
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.close(self.now, self.relay, &self.network);
        }
        if let Some(link) = &mut self.link {
            link.close(self.now, self.relay, &mut self.journal);
        }
        self.report(false);
        self.journal.close();
        Ok(())
    }
}

/// Starts the threads that ask the loop.
fn inquiries(
    arguments: &RelayArguments,
    stopper: &Stopper,
    journal: &mut Journal,
) -> Result<Vec<Inquiry>, Error> {
    let mut inquiries = Vec::new();
    if let Some(at) = arguments.metrics {
        let (inquiry, address) = metrics::start(at, stopper.clone())?;
        journal.write(Record::Metrics(address));
        inquiries.push(inquiry);
    }
    #[cfg(unix)]
    inquiries.extend(super::systemd::start(stopper.clone())?);
    Ok(inquiries)
}

/// The parts of the program that are told about events.
struct Witnesses<'a> {
    journal: &'a mut Journal,
    keeper: Option<&'a mut Keeper>,
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Log<PEERS, RING, WINDOW>
    for Witnesses<'_>
{
    fn event(
        &mut self,
        now: Instant,
        source: SocketAddr,
        event: Event,
        relay: &Relay<PEERS, RING, WINDOW>,
    ) {
        if let Some(keeper) = &mut self.keeper {
            keeper.handle_event(now, &event, relay);
        }
        self.journal
            .write_event(now, source, event, |seat| relay.peer(seat));
    }

    fn expired(&mut self, expired: Expired, relay: &Relay<PEERS, RING, WINDOW>) {
        if let Some(keeper) = &mut self.keeper {
            keeper.handle_expired(&expired);
        }
        self.journal.write_expired(expired, |seat| relay.peer(seat));
    }

    fn departed(&mut self, departed: Departed) {
        if let Some(keeper) = &mut self.keeper {
            keeper.note_seat(departed.seat);
        }
        self.journal.write(Record::Departed(departed));
    }
}

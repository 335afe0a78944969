//! A node on a cable in memory, and the hosts at the other end.

use core::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use kilochat_core::{Instant, Network};
use kilochat_embedded::phy::{self, Device, DeviceCapabilities, Medium};
use kilochat_embedded::{Config, Node, Storage, time};
use kilochat_tests::ethernet::{Hardware, Host};

pub(crate) const HARDWARE: Hardware = [2, 0, 0, 0, 0, 1];
pub(crate) const V4: &str = "192.0.2.1:10888";
pub(crate) const V6: &str = "[fe80::ff:fe00:1]:10888";
pub(crate) const SEATS: usize = 20;

/// Both ends of a cable; clones are the same cable.
#[derive(Clone, Debug)]
pub(crate) struct Cable {
    queues: Rc<RefCell<Queues>>,
    mtu: usize,
}

#[derive(Debug, Default)]
struct Queues {
    to_node: VecDeque<Vec<u8>>,
    from_node: Vec<Vec<u8>>,
    /// Number of frames that the node may still send; `None` means any number.
    room: Option<usize>,
}

impl Default for Cable {
    fn default() -> Self {
        Self::with_mtu(1514)
    }
}

impl Cable {
    /// Returns a cable for frames of at most `mtu` bytes.
    pub(crate) fn with_mtu(mtu: usize) -> Self {
        Self {
            queues: Rc::default(),
            mtu,
        }
    }

    pub(crate) fn push(&self, frame: Vec<u8>) {
        self.queues.borrow_mut().to_node.push_back(frame);
    }

    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.queues.borrow_mut().from_node)
    }

    pub(crate) fn set_room(&self, frames: Option<usize>) {
        self.queues.borrow_mut().room = frames;
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queues.borrow().to_node.len()
    }
}

pub(crate) struct RxFrame(Vec<u8>);

impl phy::RxToken for RxFrame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, handle: F) -> R {
        handle(&self.0)
    }
}

pub(crate) struct TxFrame(Cable);

impl phy::TxToken for TxFrame {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        let mut queues = self.0.queues.borrow_mut();
        queues.from_node.push(frame);
        queues.room = queues.room.map(|room| room - 1);
        result
    }
}

impl Device for Cable {
    type RxToken<'a> = RxFrame;
    type TxToken<'a> = TxFrame;

    fn receive(&mut self, now: time::Instant) -> Option<(RxFrame, TxFrame)> {
        let reply = self.transmit(now)?;
        let frame = self.queues.borrow_mut().to_node.pop_front()?;
        Some((RxFrame(frame), reply))
    }

    fn transmit(&mut self, _now: time::Instant) -> Option<TxFrame> {
        let is_full = self.queues.borrow().room == Some(0);
        (!is_full).then(|| TxFrame(self.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// A node with its hosts and a virtual clock.
pub(crate) struct World<D: Device> {
    pub(crate) cable: Cable,
    pub(crate) node: Node<D, SEATS, 8192, 8>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) now: Instant,
    /// Frames that no host took.
    pub(crate) others: Vec<Vec<u8>>,
}

/// Returns the configuration of a node with an IPv4 address, and its link-local IPv6 one.
pub(crate) fn config() -> Config {
    let mut config = Config::new(HARDWARE, [0; 16]);
    config.addresses.push(network("192.0.2.1", 24)).unwrap();
    config.relay.rate = 0;
    config
}

pub(crate) fn network(address: &str, prefix: u8) -> Network {
    Network {
        address: address.parse().unwrap(),
        prefix,
    }
}

pub(crate) fn relay(address: &str) -> (Hardware, SocketAddr) {
    (HARDWARE, address.parse().unwrap())
}

impl World<Cable> {
    pub(crate) fn new(config: Config) -> Self {
        let cable = Cable::default();
        Self::on(cable.clone(), cable, config)
    }
}

impl<D: Device> World<D> {
    /// Creates a world on a device whose other end is `cable`.
    pub(crate) fn on(device: D, cable: Cable, config: Config) -> Self {
        let now = Instant::from_millis(1000);
        let storage = Box::leak(Box::new(Storage::new()));
        Self {
            cable,
            node: Node::new(device, storage, config, now).unwrap(),
            hosts: Vec::new(),
            now,
            others: Vec::new(),
        }
    }

    /// Polls the node once, and delivers what it sends.
    pub(crate) fn poll(&mut self) -> Option<Instant> {
        let then = self.node.poll(self.now);
        self.hand_out();
        then
    }

    pub(crate) fn hand_out(&mut self) {
        for frame in self.cable.take() {
            assert!((42..=1514).contains(&frame.len()));
            let heard = self
                .hosts
                .iter_mut()
                .filter_map(|host| host.hear(&frame).then_some(()));
            match heard.count() {
                0 => self.others.push(frame),
                1 => {}
                more => panic!("{more} hosts have one address"),
            }
        }
    }

    /// Adds a host that joins as `h` and this number; every other one by IPv6.
    pub(crate) fn join(&mut self, number: u8) -> usize {
        let (address, relay_address) = if number.is_multiple_of(2) {
            (format!("192.0.2.{number}:4000"), V4)
        } else {
            (format!("[fe80::{number}]:4000"), V6)
        };
        self.join_from(number, &address, relay(relay_address))
    }

    pub(crate) fn join_from(
        &mut self,
        number: u8,
        address: &str,
        relay: (Hardware, SocketAddr),
    ) -> usize {
        let index = self.hosts.len();
        self.hosts.push(Host::new(number, address, relay));
        self.say(index, format!("h{number}"));
        let lines = self.hosts[index].take_lines();
        let welcome = format!("* welcome h{number}: ");
        assert!(lines[0].starts_with(&welcome), "{lines:?}");
        index
    }

    /// Sends a datagram from a host, and polls the node once.
    pub(crate) fn say(&mut self, host: usize, text: impl AsRef<[u8]>) {
        self.cable.push(self.hosts[host].say(text));
        self.poll();
    }

    pub(crate) fn lines(&mut self, host: usize) -> Vec<String> {
        self.hosts[host].take_lines()
    }

    /// Clears what was received so far.
    pub(crate) fn clear(&mut self) {
        self.others.clear();
        for host in &mut self.hosts {
            host.received.clear();
        }
    }

    /// Lets time pass. The node is polled when it has requested to be.
    pub(crate) fn pass(&mut self, duration: Duration) -> usize {
        let end = self.now.after(duration);
        let mut polls = 0;
        while let Some(then) = self.poll()
            && then <= end
        {
            // a node that always requests more would stop the clock
            polls += 1;
            assert!(polls < 100_000, "the node never sleeps");
            self.now = self.now.max(then);
        }
        self.now = end;
        polls
    }

    pub(crate) fn has_address(&self, address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        self.node
            .addresses()
            .any(|network| network.address == address)
    }
}

//! Hosts on the node's cable with framed peers.

use core::net::SocketAddr;
use core::time::Duration;

use kilochat_core::Instant;
use kilochat_core::framed::Frame;
use kilochat_embedded::Config;
use kilochat_embedded::phy::Device;
use kilochat_tests::FramedPeer;
use kilochat_tests::ethernet::{Hardware, Host, asks, datagram, parse};

use crate::world::{Cable, V4, V6, World, relay};

/// A world in which some hosts have a framed peer.
pub(crate) struct Room<D: Device> {
    pub(crate) world: World<D>,
    /// The host of each peer.
    pub(crate) at: Vec<usize>,
    pub(crate) peers: Vec<FramedPeer>,
    /// Peers that neither receive nor send anything.
    pub(crate) asleep: Vec<bool>,
    /// When the node must run next.
    node_at: Option<Instant>,
}

impl Room<Cable> {
    pub(crate) fn new(config: Config) -> Self {
        Self::of(World::new(config))
    }
}

impl<D: Device> Room<D> {
    pub(crate) fn of(world: World<D>) -> Self {
        Self {
            world,
            at: Vec::new(),
            peers: Vec::new(),
            asleep: Vec::new(),
            node_at: None,
        }
    }

    /// Adds a host with a peer that will join as `f` and this number; every other one by IPv6.
    pub(crate) fn add(&mut self, number: u8) -> usize {
        let (address, to) = if number.is_multiple_of(2) {
            (format!("192.0.2.{number}:4000"), V4)
        } else {
            (format!("[fe80::{number}]:4000"), V6)
        };
        let index = self.peers.len();
        self.at.push(self.world.hosts.len());
        self.world
            .hosts
            .push(Host::new(number, &address, relay(to)));
        let seed = u64::from(number) << 32;
        self.peers
            .push(FramedPeer::new(&format!("f{number}"), seed));
        self.asleep.push(false);
        index
    }

    /// Adds a peer that has joined.
    pub(crate) fn join(&mut self, number: u8) -> usize {
        let index = self.add(number);
        self.settle();
        assert!(self.peers[index].is_joined());
        index
    }

    pub(crate) fn host(&mut self, peer: usize) -> &mut Host {
        &mut self.world.hosts[self.at[peer]]
    }

    /// Hands a peer the datagrams that arrived for it, and sends those that it has to send.
    pub(crate) fn work(&mut self, peer: usize) -> bool {
        let host = &mut self.world.hosts[self.at[peer]];
        let now = self.world.now;
        for payload in host.received.drain(..) {
            self.peers[peer].receive(now, &payload);
        }
        let datagrams = self.peers[peer].poll(now);
        for payload in &datagrams {
            self.world.cable.push(host.say(payload));
        }
        !datagrams.is_empty()
    }

    /// Runs everything that is due now.
    pub(crate) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "it does not end");
            let mut is_moved = false;
            for peer in 0..self.peers.len() {
                is_moved |= !self.asleep[peer] && self.work(peer);
            }
            self.node_at = self.world.poll();
            is_moved |= self.world.cable.waiting() > 0;
            is_moved |= (0..self.peers.len())
                .any(|peer| !self.asleep[peer] && !self.host(peer).received.is_empty());
            if !is_moved && self.node_at.is_none_or(|then| then > self.world.now) {
                return;
            }
        }
    }

    /// Lets time pass. Node and peers run when they have requested to, and not sooner.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.world.now.after(duration);
        loop {
            self.settle();
            let awake = (0..self.peers.len()).filter(|peer| !self.asleep[*peer]);
            let timers = awake.filter_map(|peer| self.peers[peer].timeout());
            let then = timers.chain(self.node_at).min();
            let Some(then) = then.filter(|then| *then <= end) else {
                break;
            };
            // nothing requests a time in the past
            assert!(then > self.world.now, "somebody never sleeps");
            self.world.now = then;
        }
        self.world.now = end;
    }

    /// Returns a frame that pretends to be a peer's, from another hardware address.
    pub(crate) fn forge(&mut self, peer: usize, hardware: Hardware, payload: &[u8]) {
        let host = self.host(peer);
        let (address, to): (SocketAddr, _) = (host.at.1, host.relay);
        self.world
            .cable
            .push(datagram((hardware, address), to, payload));
    }

    /// Returns whether the node sent a datagram to no host, or an ARP request.
    pub(crate) fn has_strayed(&self) -> bool {
        let mut strays = self.world.others.iter();
        strays.any(|frame| asks(frame) || parse(frame).is_some())
    }

    /// Checks that a peer has received every line from its first one on, once and in order.
    pub(crate) fn check_order(&self, peer: usize) {
        let lines = &self.peers[peer].lines;
        for pair in lines.windows(2) {
            assert_eq!(pair[0].0 + 1, pair[1].0, "at f{peer}: {pair:?}");
        }
        assert_eq!(self.peers[peer].lost, 0);
    }

    /// Returns the messages that a peer has received.
    pub(crate) fn messages(&self, peer: usize) -> Vec<&str> {
        let lines = self.peers[peer].lines.iter();
        lines
            .map(|(_, line)| line.as_str())
            .filter(|line| !line.starts_with("* "))
            .collect()
    }
}

/// Returns the frame in a payload.
pub(crate) fn frame(payload: &[u8]) -> Frame<'_> {
    Frame::decode(payload).unwrap()
}

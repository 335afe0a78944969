//! The network between a relay and its clients. It loses, duplicates and reorders datagrams, and
//! fails at times.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use fastrand::Rng;

use crate::framed::member::PATHS;
use crate::inputs::chance;

/// Maximum delay of a late duplicate, in milliseconds.
const VERY_LATE: u64 = 70_000;

/// The quality of a network. Probabilities are in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    pub(crate) lost: u32,
    pub(crate) doubled: u32,
    /// The probability that a duplicate comes up to `VERY_LATE` later.
    pub(crate) late: u32,
    pub(crate) reordered: u32,
    /// One-way delay in milliseconds.
    pub(crate) delay: u64,
}

impl Quality {
    /// Returns the quality of a network without faults.
    pub(crate) const fn perfect(delay: u64) -> Self {
        Self {
            lost: 0,
            doubled: 0,
            late: 0,
            reordered: 0,
            delay,
        }
    }
}

/// A datagram in flight.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

/// What the network did to a datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) lost: bool,
    pub(crate) doubled: bool,
    pub(crate) very_late: bool,
    pub(crate) reordered: bool,
    pub(crate) in_the_dark: bool,
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) quality: Quality,
    /// The host to and from which there are no faults: an address and the ports that follow it.
    pub(crate) spared: Option<SocketAddr>,
    /// The end of an outage of the whole network.
    dark_until: u64,
    /// Hosts that are unreachable, each with the end of its outage.
    gone: BTreeMap<IpAddr, u64>,
    /// Datagrams in flight, by arrival, then by departure.
    underway: BTreeMap<(u64, u64), Datagram>,
    departures: u64,
}

impl Network {
    pub(crate) const fn new(quality: Quality) -> Self {
        Self {
            quality,
            spared: None,
            dark_until: 0,
            gone: BTreeMap::new(),
            underway: BTreeMap::new(),
            departures: 0,
        }
    }

    /// Starts an outage of the whole network until this time.
    pub(crate) fn black_out(&mut self, until: u64) {
        self.dark_until = self.dark_until.max(until);
    }

    /// Makes a host unreachable until this time.
    pub(crate) fn take_away(&mut self, host: IpAddr, until: u64) {
        self.gone.insert(host, until);
    }

    /// Ends all faults. Duplicates that would arrive more than a second later are dropped.
    pub(crate) fn heal(&mut self, now: u64) {
        self.dark_until = 0;
        self.gone.clear();
        self.quality = Quality::perfect(self.quality.delay);
        self.underway.retain(|(at, _), _| *at < now + 1000);
    }

    fn quality_for(&self, datagram: &Datagram) -> Quality {
        let is_spared = |address: SocketAddr| {
            self.spared.is_some_and(|spared| {
                let ports = spared.port()..spared.port() + u16::from(PATHS);
                address.ip() == spared.ip() && ports.contains(&address.port())
            })
        };
        if is_spared(datagram.source) || is_spared(datagram.destination) {
            return Quality::perfect(self.quality.delay);
        }
        self.quality
    }

    pub(crate) fn send(&mut self, now: u64, random: &mut Rng, datagram: Datagram) -> Fate {
        let quality = self.quality_for(&datagram);
        let is_gone = |address: SocketAddr| {
            let until = self.gone.get(&address.ip());
            until.is_some_and(|until| now < *until)
        };
        let is_cut = is_gone(datagram.source) || is_gone(datagram.destination);
        let mut fate = Fate {
            in_the_dark: now < self.dark_until || is_cut,
            lost: chance(random, quality.lost),
            ..Fate::default()
        };
        if fate.lost || fate.in_the_dark {
            return fate;
        }
        fate.reordered = chance(random, quality.reordered);
        let mut at = now + quality.delay;
        if fate.reordered {
            at += random.u64(1..=2 * quality.delay + 20);
        }
        if chance(random, quality.doubled) {
            fate.doubled = true;
            fate.very_late = chance(random, quality.late);
            let after = if fate.very_late {
                random.u64(..VERY_LATE)
            } else {
                random.u64(..=quality.delay)
            };
            self.put(at + after, datagram.clone());
        }
        self.put(at, datagram);
        fate
    }

    /// Puts a forged datagram into the network, to arrive at this time.
    pub(crate) fn put(&mut self, at: u64, datagram: Datagram) {
        self.departures += 1;
        self.underway.insert((at, self.departures), datagram);
    }

    /// Returns when the next datagram arrives.
    pub(crate) fn next(&self) -> Option<u64> {
        self.underway.keys().next().map(|(at, _)| *at)
    }

    /// Returns the next datagram that has arrived.
    pub(crate) fn receive(&mut self, now: u64) -> Option<Datagram> {
        let first = self.underway.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Returns the datagrams in flight, which an eavesdropper could copy.
    pub(crate) fn overheard(&self) -> impl Iterator<Item = &Datagram> {
        self.underway.values()
    }
}

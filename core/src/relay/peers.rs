//! The peer table: a seat for each peer, found by address and by name.

use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU32;

use heapless::Vec;

use super::admission::{Bucket, Slot};
use super::framed::Inquiry;
use super::index::{Index, hash};
use super::neighbours::Doubt;
use super::ring::{Cursor, Entry};
use super::seat::Seat;
use super::text::folded;
use crate::time::Instant;
use crate::wire::Name;
use crate::wire::framed::LineKind;

/// What the relay knows about one peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The author id of the peer's lines; never 0, which is the relay.
    pub(super) id: NonZeroU32,
    pub(super) address: SocketAddr,
    pub(super) name: Name,
    pub(super) dialect: Dialect,
    /// Whether sending to the peer would block. Then it is in no list.
    pub(super) is_blocked: bool,
    /// Whether the operator has muted it.
    pub(super) is_muted: bool,
    /// The first line that the peer may still be owed.
    pub(super) cursor: Cursor,
    /// When the last datagram arrived from it.
    pub(super) heard: Instant,
    pub(super) suspicion: Suspicion,
    /// The rate limit of its lines.
    pub(super) pace: Bucket,
    /// The slot of its prefix, if it is foreign.
    pub(super) slot: Option<Slot>,
    /// When the last report that counted arrived, if any.
    pub(super) reported: Instant,
}

/// The state that only peers of one dialect have.
#[derive(Clone, Debug)]
pub(super) enum Dialect {
    Plain(Plain),
    /// A peer of the framed dialect, whose session is stored by its seat.
    Framed(Welcomed),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    /// Whether each datagram to the peer ends in `\n`, as its first one did.
    pub(super) newline: bool,
    /// Whether announcements are hidden from the peer.
    pub(super) quiet: bool,
    /// Number of its lines that exceeded the rate limit and that it was not told of yet.
    pub(super) unsaid: u16,
    /// The sequence number after the peer's last own line.
    pub(super) own: u64,
    /// Number of lines that were overwritten before the peer was sent them, and that it was not
    /// told of yet.
    pub(super) missed: u64,
    /// Earliest time of the next notice that lines were not UTF-8, exceeded the rate limit, or come late.
    pub(super) tell_at: Instant,
    pub(super) doubt: Doubt,
}

/// The variable fields of the last WELCOME, so that a repeated HELLO gets the same reply; whether the peer
/// is announced, and whether its session is wanted elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Welcomed {
    pub(super) first: u64,
    pub(super) head: u64,
    /// Whether the HELLO took a seat. Then the WELCOME has a text.
    pub(super) is_new: bool,
    /// Whether the peer is not announced when it joins, leaves, is away or is back.
    pub(super) is_unannounced: bool,
    pub(super) inquiry: Inquiry,
}

impl Welcomed {
    /// Records that the client is at its address: an inquiry about that ends.
    pub(super) fn handle_present(&mut self) {
        self.inquiry = Inquiry::default();
    }
}

impl Dialect {
    /// Returns whether the peer is known to receive at its address.
    pub(super) const fn is_proven(&self) -> bool {
        match self {
            Self::Plain(plain) => plain.doubt.is_proven(),
            Self::Framed(_) => true,
        }
    }

    /// Returns whether the room is told when the peer joins, leaves, is away or is back.
    pub(super) const fn is_announced(&self) -> bool {
        !matches!(self, Self::Framed(welcomed) if welcomed.is_unannounced)
    }
}

impl Plain {
    /// Returns whether the line is skipped for the peer with this id: its own line, one that it does
    /// not want, or a message to another peer.
    pub(super) fn skips(&self, id: NonZeroU32, entry: &Entry, echo: bool) -> bool {
        if entry.kind.is_private() {
            return entry.author != id.get();
        }
        let own = entry.author == id.get() && !echo;
        own || (self.quiet && entry.kind == LineKind::Announcement)
    }
}

impl Peer {
    pub(super) const fn is_framed(&self) -> bool {
        matches!(self.dialect, Dialect::Framed(_))
    }

    pub(super) const fn plain(&self) -> Option<&Plain> {
        match &self.dialect {
            Dialect::Plain(plain) => Some(plain),
            Dialect::Framed(_) => None,
        }
    }

    pub(super) const fn plain_mut(&mut self) -> Option<&mut Plain> {
        match &mut self.dialect {
            Dialect::Plain(plain) => Some(plain),
            Dialect::Framed(_) => None,
        }
    }

    /// Returns whether it may make room for a newcomer that has proved its address, or has not.
    pub(super) fn may_go_for(&self, is_proven: bool) -> bool {
        is_proven || !self.dialect.is_proven()
    }

    /// Returns whether nothing is sent to it now, because that would block or would be too much.
    pub(super) fn is_held_back(&self) -> bool {
        self.is_blocked || self.plain().is_some_and(|plain| plain.doubt.is_waiting())
    }

    /// Returns whether the line is skipped for the peer. A framed peer is sent every line.
    pub(super) fn skips(&self, entry: &Entry, echo: bool) -> bool {
        self.plain()
            .is_some_and(|plain| plain.skips(self.id, entry, echo))
    }

    /// Returns the number of lost lines that it was not told of.
    pub(super) fn missed(&self) -> u64 {
        self.plain().map_or(0, |plain| plain.missed)
    }
}

/// The suspicion that a peer is gone. A datagram from it ends the suspicion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Suspicion {
    /// Whether there was any report that it is unreachable.
    pub(super) is_suspect: bool,
    /// Number of reports that counted: those that its port is unreachable.
    pub(super) reports: u8,
}

/// All peers, at most `SEATS`.
#[derive(Clone, Debug)]
pub(super) struct Peers<const SEATS: usize> {
    by_address: Index<SEATS>,
    by_name: Index<SEATS>,
    free: Vec<Seat, SEATS>,
    slots: Vec<Option<Peer>, SEATS>,
}

impl<const SEATS: usize> Peers<SEATS> {
    pub(super) const fn new() -> Self {
        const {
            assert!(SEATS > 0 && SEATS < u16::MAX as usize);
        }
        Self {
            by_address: Index::new(),
            by_name: Index::new(),
            free: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// Returns the number of peers.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len().min(self.slots.len())
    }

    pub(super) fn peer(&self, seat: Seat) -> Option<&Peer> {
        self.slots.get(seat.index())?.as_ref()
    }

    pub(super) fn peer_mut(&mut self, seat: Seat) -> Option<&mut Peer> {
        self.slots.get_mut(seat.index())?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Seat, &Peer)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((Seat::from_index(index)?, slot.as_ref()?)))
    }

    pub(super) fn find(&self, address: &SocketAddr) -> Option<Seat> {
        self.by_address
            .candidates(address_hash(address))
            .find(|seat| {
                self.peer(*seat)
                    .is_some_and(|peer| peer.address == *address)
            })
    }

    /// Returns the peer that has this name, or one that looks the same.
    pub(super) fn find_name(&self, name: &str) -> Option<Seat> {
        self.by_name.candidates(name_hash(name)).find(|seat| {
            self.peer(*seat)
                .is_some_and(|peer| folded(&peer.name).eq(folded(name)))
        })
    }

    /// Gives `peer` a seat. Returns `None` if all are taken.
    pub(super) fn insert(&mut self, peer: Peer) -> Option<Seat> {
        let address = address_hash(&peer.address);
        let name = name_hash(&peer.name);
        let seat = match self.free.pop() {
            Some(seat) => {
                *self.slots.get_mut(seat.index())? = Some(peer);
                seat
            }
            None => {
                let seat = Seat::from_index(self.slots.len())?;
                self.slots.push(Some(peer)).ok()?;
                seat
            }
        };
        self.by_address.insert(address, seat);
        self.by_name.insert(name, seat);
        Some(seat)
    }

    pub(super) fn remove(&mut self, seat: Seat) -> Option<Peer> {
        let slot = self.slots.get_mut(seat.index())?;
        let peer = slot.as_ref()?;
        self.by_address.remove(address_hash(&peer.address), seat);
        self.by_name.remove(name_hash(&peer.name), seat);
        // there is space for every seat
        let _ = self.free.push(seat);
        slot.take()
    }

    /// Moves a peer to another address, which no other peer has. Returns its old one.
    pub(super) fn readdress(&mut self, seat: Seat, address: SocketAddr) -> Option<SocketAddr> {
        let peer = self.slots.get_mut(seat.index())?.as_mut()?;
        let old = core::mem::replace(&mut peer.address, address);
        self.by_address.remove(address_hash(&old), seat);
        self.by_address.insert(address_hash(&address), seat);
        Some(old)
    }

    /// Renames a peer. Returns its old name.
    pub(super) fn rename(&mut self, seat: Seat, name: Name) -> Option<Name> {
        let new = name_hash(&name);
        let peer = self.slots.get_mut(seat.index())?.as_mut()?;
        let old = core::mem::replace(&mut peer.name, name);
        self.by_name.remove(name_hash(&old), seat);
        self.by_name.insert(new, seat);
        Some(old)
    }
}

fn address_hash(address: &SocketAddr) -> u32 {
    let ip = match address.ip() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let (halves, _) = octets.as_chunks();
            halves.iter().fold(0, |sum, half| {
                u64::from(hash(sum)) ^ u64::from_be_bytes(*half)
            })
        }
    };
    hash(ip ^ u64::from(address.port()) << 40)
}

fn name_hash(name: &str) -> u32 {
    folded(name).fold(0, |sum, character| {
        hash(u64::from(sum) << 32 | u64::from(character))
    })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::collections::{BTreeMap, BTreeSet};
    use std::format;

    use super::*;
    use crate::relay::index::place;

    fn peer(port: u16, name: &str) -> Peer {
        Peer {
            id: NonZeroU32::MIN,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            name: name.try_into().unwrap(),
            dialect: Dialect::Plain(Plain::default()),
            is_blocked: false,
            is_muted: false,
            cursor: Cursor::default(),
            heard: Instant::default(),
            suspicion: Suspicion::default(),
            pace: Bucket::NEW,
            slot: None,
            reported: Instant::default(),
        }
    }

    // [N2]
    #[test]
    fn names_that_look_alike_are_one() {
        let mut peers = Peers::<4>::new();
        let seat = peers.insert(peer(1, "Bob９")).unwrap();
        for same in ["Bob９", "bob9", "ＢＯＢ９"] {
            assert_eq!(peers.find_name(same), Some(seat), "{same}");
        }
        assert_eq!(peers.find_name("bob"), None);
        peers.rename(seat, "eve".try_into().unwrap());
        assert_eq!(
            (peers.find_name("bob9"), peers.find_name("EVE")),
            (None, Some(seat))
        );
    }

    #[test]
    fn agrees_with_a_map_under_random_use() {
        let mut peers = Peers::<7>::new();
        let mut model = BTreeMap::new();
        let mut random = 1_u32;
        for _ in 0..100_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let port = u16::try_from(random >> 28).unwrap();
            let address = peer(port, "x").address;
            if let Some(seat) = model.remove(&port) {
                assert_eq!(peers.find(&address), Some(seat));
                assert_eq!(peers.remove(seat).unwrap().address, address);
            } else if let Some(seat) = peers.insert(peer(port, &format!("n{port}"))) {
                assert!(model.insert(port, seat).is_none());
                assert_eq!(peers.find_name(&format!("N{port}")), Some(seat));
            } else {
                assert_eq!(model.len(), 7);
            }
            assert_eq!(peers.len(), model.len());
            for port in 0..16 {
                assert_eq!(
                    peers.find(&peer(port, "x").address),
                    model.get(&port).copied()
                );
            }
        }
    }

    #[test]
    fn the_hashes_of_neighbours_differ() {
        let spread = |hashes: &mut dyn Iterator<Item = u32>| {
            let places = hashes.map(|hash| place(hash, 4096));
            places.collect::<BTreeSet<_>>().len()
        };
        let numbers = || 0..1024_u16;
        let address = |ip: IpAddr, port| address_hash(&SocketAddr::new(ip, port));
        let v4 = |host: u16| Ipv4Addr::from(0xC0A8_0000 + u32::from(host));
        let ports = spread(&mut numbers().map(|port| address(v4(1).into(), 49152 + port)));
        let hosts = spread(&mut numbers().map(|host| address(v4(host).into(), 10888)));
        let v6 = |upper: u16, lower: u16| Ipv6Addr::new(0xFD00, 0, 0, upper, 0, 0, 0, lower);
        let nets = spread(&mut numbers().map(|net| address(v6(net, 1).into(), 10888)));
        let ids = spread(&mut numbers().map(|id| address(v6(1, id).into(), 10888)));
        let names = spread(&mut numbers().map(|number| name_hash(&format!("user{number}"))));
        // 906 for random numbers
        for (what, places) in [
            ("ports", ports),
            ("hosts", hosts),
            ("nets", nets),
            ("ids", ids),
            ("names", names),
        ] {
            assert!(places > 800, "1024 {what} have {places} places");
        }
    }
}

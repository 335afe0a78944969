//! Seats and names, for both dialects: joining, leaving, and giving seats away.

use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU32;

use heapless::String;

use super::Relay;
use super::admission::{Bucket, Slot};
use super::event::{Departed, Departure, Farewell, Refusal};
use super::operator::HOST;
use super::peers::{Dialect, Peer, Plain, Suspicion};
use super::ring::Cursor;
use super::seat::Seat;
use super::text::folded;
use crate::time::Instant;
use crate::wire::framed::Goodbye;
use crate::wire::{Announcement, Loss, NAME_MAX, Name, repaired_name, whole_characters};

/// Suffixes `~2` to `~9` are tried in order; after that the search starts at an arbitrary number.
const SMALL_NUMBERS: u32 = 9;

/// A peer that just got its seat.
pub(super) struct Newcomer {
    pub(super) seat: Seat,
    /// Whether the name differs from the requested one.
    pub(super) changed: bool,
    /// Number of lines of history that follow.
    pub(super) history: u64,
    /// Sequence number of the announcement that it joined, or of the next line if there is none.
    pub(super) head: u64,
    /// The peer that lost its seat for it, if any.
    pub(super) displaced: Option<Departed>,
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Gives a newcomer a seat and announces it. The seat is in no list yet.
    pub(super) fn take_seat(
        &mut self,
        now: Instant,
        source: SocketAddr,
        raw: &str,
        dialect: Dialect,
    ) -> Result<Newcomer, Refusal> {
        let Some((name, mut changed)) = self.repaired(raw) else {
            return Err(Refusal::Blank);
        };
        let is_proven = dialect.is_proven();
        let predecessor = self.predecessor(source, &name, is_proven);
        let slot = self.admit(now, source.ip(), predecessor)?;
        let leaves = match predecessor {
            Some(_) => predecessor,
            None => self.makes_room(now, source.ip(), is_proven)?,
        };
        let id = self.next_id();
        let name = if self.config.classic {
            name
        } else {
            self.unique(name, leaves, id.get(), &mut changed)
        };
        let displaced = leaves.and_then(|seat| {
            let why = if predecessor.is_none() {
                Departure::Displaced
            } else if self.peers.find_name(&name) == Some(seat) {
                Departure::Restarted
            } else {
                Departure::Replaced
            };
            self.leave(now, seat, why)
        });
        let before = self.ring.head();
        if dialect.is_announced() {
            let peers = self.peers.len() + 1;
            self.announce(now, peers, None, Announcement::Joined(&name));
        }
        let first = self.first_line(is_proven);
        let history = before.sequence.saturating_sub(first.sequence);
        #[cfg(feature = "private")]
        let history = history.saturating_sub(self.private_from(first));
        let cursor = if history > 0 { first } else { self.ring.head() };
        let seat = self.insert(now, source, (id, &name), dialect, slot, cursor);
        let seat = seat.ok_or(Refusal::Full)?;
        self.count_in(slot);
        self.stats.joined += 1;
        Ok(Newcomer {
            seat,
            changed,
            history,
            head: before.sequence,
            displaced,
        })
    }

    /// Gives a newcomer a free seat.
    #[cfg_attr(target_os = "none", inline(never))] // what it needs of the stack is not added to others
    fn insert(
        &mut self,
        now: Instant,
        address: SocketAddr,
        (id, name): (NonZeroU32, &Name),
        dialect: Dialect,
        slot: Option<Slot>,
        cursor: Cursor,
    ) -> Option<Seat> {
        self.peers.insert(Peer {
            id,
            address,
            name: name.clone(),
            dialect,
            is_blocked: false,
            is_muted: false,
            cursor,
            heard: now,
            suspicion: Suspicion::default(),
            pace: Bucket::NEW,
            slot,
            reported: Instant::default(),
        })
    }

    /// Returns the seat that a newcomer had before its client was restarted: the one at its
    /// address, or that of a peer with its name at the same host that seems to be gone.
    fn predecessor(&self, source: SocketAddr, name: &str, is_proven: bool) -> Option<Seat> {
        if let Some(seat) = self.peers.find(&source) {
            return Some(seat);
        }
        let seat = self
            .peers
            .find_name(name)
            .filter(|_| !self.config.classic)?;
        let peer = self.peers.peer(seat)?;
        let is_gone = peer.suspicion.is_suspect || self.sessions.is_parked(seat);
        let is_same = peer.address.ip() == source.ip();
        (is_gone && is_same && peer.may_go_for(is_proven)).then_some(seat)
    }

    /// Returns the peer that loses its seat to a newcomer, if no seat is free.
    ///
    /// # Errors
    ///
    /// The room is full, and no peer has to make room.
    fn makes_room(
        &mut self,
        now: Instant,
        source: IpAddr,
        is_proven: bool,
    ) -> Result<Option<Seat>, Refusal> {
        if self.peers.len() < self.seats() {
            return Ok(None);
        }
        let silent = self.longest_silent(now, is_proven);
        let leaves = silent.or_else(|| self.crowded_out(now, source, is_proven));
        leaves.map(Some).ok_or(Refusal::Full)
    }

    /// Returns the peer that has been silent for the longest time, if that is long enough to give
    /// its seat away.
    pub(super) fn longest_silent(&mut self, now: Instant, is_proven: bool) -> Option<Seat> {
        if now <= self.full_until || (!is_proven && now <= self.neighbours.full_until()) {
            return None;
        }
        let oldest = self.quietest(is_proven, |_| true);
        if oldest.is_none() {
            self.neighbours.set_full_until(now.after(self.config.idle));
        }
        let (seat, heard) = oldest?;
        if self.sessions.is_parked(seat) || now.since(heard) > self.config.idle {
            return Some(seat);
        }
        let until = heard.after(self.config.idle);
        if is_proven {
            self.full_until = until;
        } else {
            self.neighbours.set_full_until(until);
        }
        None
    }

    /// Returns the peer among those that `may_go` that has been silent for the longest time, and when it
    /// was heard. Peers that do not respond come first. A newcomer that has not proved its address does
    /// not get the seat of a peer that has.
    pub(super) fn quietest(
        &self,
        is_proven: bool,
        may_go: impl Fn(&Peer) -> bool,
    ) -> Option<(Seat, Instant)> {
        let peers = self.peers.iter().filter(|(_, peer)| may_go(peer));
        let quietest = if is_proven {
            peers.min_by_key(|(seat, peer)| (!self.sessions.is_parked(*seat), peer.heard))
        } else {
            // a peer that is parked has proved its address
            let unproven = peers.filter(|(_, peer)| peer.may_go_for(is_proven));
            unproven.min_by_key(|(_, peer)| peer.heard)
        };
        quietest.map(|(seat, peer)| (seat, peer.heard))
    }

    /// Returns `name`, or with `~2`, `~3` and so on the first name that no peer except `own` has.
    ///
    /// If the small suffixes are taken the search continues at `number`, which differs for each
    /// join, so that a room full of equal names costs no more than one of different names.
    pub(super) fn unique(
        &self,
        name: Name,
        own: Option<Seat>,
        number: u32,
        changed: &mut bool,
    ) -> Name {
        let is_taken = |name: &str| {
            if self.config.host && folded(name).eq(HOST.chars()) {
                return true;
            }
            self.peers
                .find_name(name)
                .is_some_and(|seat| Some(seat) != own)
        };
        if !is_taken(&name) {
            return name;
        }
        *changed = true;
        let large = number.max(SMALL_NUMBERS + 1);
        let mut candidate = name.clone();
        let numbers = (2..=SMALL_NUMBERS)
            .chain(large..=u32::MAX)
            .chain(SMALL_NUMBERS + 1..large);
        // a number for each peer is enough
        for number in numbers.take(PEERS) {
            let mut suffix = String::<11>::new();
            // ten digits at most
            let _ = write!(suffix, "~{number}");
            candidate.clear();
            let kept = whole_characters(&name, NAME_MAX - suffix.len());
            let _ = candidate
                .push_str(kept)
                .and_then(|()| candidate.push_str(&suffix));
            if !is_taken(&candidate) {
                break;
            }
        }
        candidate
    }

    /// Removes a peer and announces that it left.
    pub(super) fn leave(&mut self, now: Instant, seat: Seat, why: Departure) -> Option<Departed> {
        let list = self.list(seat, self.peers.peer(seat)?);
        self.queue.unlink(list, seat);
        let peer = self.peers.remove(seat)?;
        let session = self.sessions.remove(seat);
        self.count_out(peer.slot);
        let plain = peer.plain();
        self.quiet -= plain.map_or(0, |plain| u16::from(plain.quiet));
        self.stats.left += 1;
        let farewell = match (why, session, plain) {
            (Departure::Displaced, Some(session), _) => Farewell::bye(session, Goodbye::GivenAway),
            (Departure::Removed, Some(session), _) => Farewell::bye(session, Goodbye::Removed),
            (Departure::Displaced, None, Some(plain)) => self.farewell(plain, Loss::GivenAway),
            (Departure::Lapsed, None, Some(plain)) => self.farewell(plain, Loss::Lapsed),
            (Departure::Removed, None, Some(plain)) => self.farewell(plain, Loss::Removed),
            _ => Farewell::NOTHING,
        };
        match why {
            Departure::Displaced => self.stats.displaced += 1,
            Departure::Lapsed => self.stats.lapsed += 1,
            Departure::Removed => self.stats.removed += 1,
            Departure::Restarted => self.stats.restarted += 1,
            Departure::Replaced => self.stats.replaced += 1,
            Departure::Contested => self.stats.contested += 1,
            Departure::Echo => self.stats.echoes += 1,
            Departure::Quit | Departure::Unreachable => {}
        }
        if why != Departure::Restarted && peer.dialect.is_announced() {
            // the count is that at its join, so that both are announced, or neither
            let peers = self.peers.len() + 1;
            let announcement = Announcement::Left(&peer.name, why.as_str());
            self.announce(now, peers, None, announcement);
        }
        Some(Departed {
            seat,
            address: peer.address,
            name: peer.name,
            why,
            farewell,
        })
    }

    /// Returns the farewell to a plain peer.
    fn farewell(&self, plain: &Plain, loss: Loss) -> Farewell {
        if self.config.classic {
            return Farewell::NOTHING;
        }
        let [text, line] = loss.farewell();
        Farewell::Text(if plain.newline { line } else { text })
    }

    /// Returns the maximum number of peers.
    pub(super) fn seats(&self) -> usize {
        PEERS.min(usize::from(self.config.seats))
    }

    /// Returns an author id that no line in the ring has, for the first four billion joins.
    pub(super) fn next_id(&mut self) -> NonZeroU32 {
        let id = NonZeroU32::new(self.last_id.wrapping_add(1)).unwrap_or(NonZeroU32::MIN);
        #[cfg(feature = "link")]
        let id = super::link::not_elsewhere(id);
        self.last_id = id.get();
        id
    }

    /// Repairs a name for a peer of this relay.
    #[inline(always)]
    pub(super) fn repaired(&self, raw: &str) -> Option<(Name, bool)> {
        #[cfg(feature = "link")]
        let is_linked = self.is_linked();
        #[cfg(not(feature = "link"))]
        let is_linked = false;
        repaired_name(raw, is_linked)
    }
}

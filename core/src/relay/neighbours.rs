//! Limits for plain peers that have not proved their address, and removal of peers that return what they
//! are sent. A sender that forges an address must not be able to cause much traffic to its owner.

mod strays;

use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU8;
use core::time::Duration;

use super::Relay;
use super::admission::{Bucket, CROWD_INTERVAL, is_same_host, wrapped_ms};
use super::event::{Departure, Event, Refusal};
use super::peers::{Peer, Plain};
use super::plain::PlainReply;
use super::queue::List;
use super::ring::{Cursor, Text};
use super::seat::Seat;
use super::secret;
use crate::time::Instant;
use crate::wire::framed::ENTRY_HEADER;
use crate::wire::{Code, DATAGRAM_MAX, LINE_MAX, Sentence};
use strays::Strays;

/// A limit in KiB a second.
type Kib = u16;

/// Number of buckets. Addresses that share one by chance share its limit.
const SLOTS: u8 = 64;

/// What all addresses together are sent, compared with one: peers that have spoken since they joined,
/// and those that have not, whose names may all have come from one forger.
const ALL: u32 = 16;
const ALL_NEW: u32 = 4;

/// Bytes of the headers of IP and UDP.
const HEADERS: usize = 28;

/// A newcomer is sent a welcome, and a datagram with what was said before.
const NEWCOMER: usize = 2 * (DATAGRAM_MAX + HEADERS);

/// The units of time of a bucket: 64 in a millisecond, so that a byte takes several.
const UNITS_PER_MS: u32 = 64;

/// What may be sent at once takes this time to come back.
const BURST: u32 = 4000 * UNITS_PER_MS;

/// The longest time that is ever needed: the burst, and what one datagram adds at 1 KiB a second.
const FURTHEST: u32 = BURST + 3000 * UNITS_PER_MS;

/// Time after which peers that wait are tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// Minimum time between two notices to a peer that it gets its lines late.
const BUSY_INTERVAL: Duration = Duration::from_secs(60);

/// Number of last lines with which text is compared.
const RECENT: usize = 16;

/// Number of bytes at the end of a line that are compared first.
const END: usize = 2;

/// A peer leaves when it has returned this many datagrams, each at most a minute after the one before.
const RETURNED_MAX: u8 = 3;
const RETURNED_S: u16 = 60;

/// What is known of a plain peer that has not proved its address. By default it has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// The bucket of its address, or `None` if that is proved.
    slot: Option<NonZeroU8>,
    /// Whether anything came from it after its name.
    has_spoken: bool,
    /// Whether it is sent nothing until something may be sent again.
    is_waiting: bool,
    /// Whether it waited and was not told.
    is_late: bool,
    /// Number of datagrams that it returned, and when it did last.
    returned: u8,
    returned_s: u16,
}

/// What was sent to unproven addresses, who waits for more, and what the last lines end with.
#[derive(Clone, Debug)]
pub(super) struct Neighbours {
    new: Budget,
    spoken: Budget,
    /// When those that wait are tried again, and the seat that is tried first.
    resume_at: Option<Instant>,
    first: u16,
    /// Time before which no seat can be given away to a newcomer that has not proved its address.
    full_until: Instant,
    /// Earliest time of the next search for a crowd, for a newcomer that has not proved its address; and for
    /// a seat that it would get if it had.
    crowd_at: Instant,
    seat_at: Instant,
    strays: Strays,
    recent: [Recent; RECENT],
}

/// What may be sent to some of the unproven addresses: to all of them, and to each.
#[derive(Clone, Debug)]
struct Budget {
    all: Bucket,
    each: [Bucket; SLOTS as usize],
}

/// What a datagram takes from the buckets: from that of its address, and from that of all addresses
/// from which something came after the name, or of all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Price {
    each: u32,
    all: u32,
    all_new: u32,
}

/// The bucket of an address, and in which budget it is: whether something came after the name.
type Slot = (NonZeroU8, bool);

/// What is compared of a line before the line itself is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recent {
    length: u16,
    end: [u8; END],
}

impl Recent {
    const NONE: Self = Self {
        length: 0,
        end: [0; END],
    };

    fn of(line: &str) -> Option<Self> {
        let length = u16::try_from(line.len()).ok()?;
        let end = *line.as_bytes().last_chunk()?;
        Some(Self { length, end })
    }
}

impl Doubt {
    /// Something came from the peer.
    pub(super) const fn note_heard(&mut self) {
        self.has_spoken = true;
    }

    /// Returns whether the peer is in no list until something may be sent again.
    pub(super) const fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Returns whether the peer has proved that it receives at its address.
    pub(super) const fn is_proven(&self) -> bool {
        self.slot.is_none()
    }
}

impl Plain {
    /// Returns whether the peer is to be told that it gets its lines late.
    pub(super) fn is_to_be_told(&self, now: Instant) -> bool {
        self.doubt.is_late && now >= self.tell_at
    }

    /// The peer is sent what it is to be told.
    pub(super) fn note_told(&mut self, now: Instant) {
        if self.is_to_be_told(now) {
            self.doubt.is_late = false;
            self.tell_at = now.after(BUSY_INTERVAL);
        }
    }
}

impl Neighbours {
    pub(super) const fn new() -> Self {
        Self {
            new: Budget::NEW,
            spoken: Budget::NEW,
            resume_at: None,
            first: 0,
            full_until: Instant::from_millis(0),
            crowd_at: Instant::from_millis(0),
            seat_at: Instant::from_millis(0),
            strays: Strays::NEW,
            recent: [Recent::NONE; RECENT],
        }
    }

    /// Returns when peers that wait are tried again.
    pub(super) const fn resume_at(&self) -> Option<Instant> {
        self.resume_at
    }

    pub(super) const fn full_until(&self) -> Instant {
        self.full_until
    }

    pub(super) const fn set_full_until(&mut self, until: Instant) {
        self.full_until = until;
    }

    pub(super) const fn crowd_at(&self) -> Instant {
        self.crowd_at
    }

    pub(super) const fn set_crowd_at(&mut self, next: Instant) {
        self.crowd_at = next;
    }

    /// A line was appended.
    pub(super) fn note_line(&mut self, line: &Text, end: [u8; END]) {
        let length = u16::try_from(line.length());
        if let (Ok(length), Some(recent)) = (length, self.recent_mut(line.line().sequence)) {
            *recent = Recent { length, end };
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than RECENT")]
    fn recent_mut(&mut self, sequence: u64) -> Option<&mut Recent> {
        self.recent.get_mut((sequence % RECENT as u64) as usize)
    }

    /// Returns whether lines may be sent to a peer now. If not, it waits, in no list.
    fn may_deliver(&mut self, now: Instant, seat: Seat, plain: &mut Plain, price: Price) -> bool {
        let Some(slot) = plain.doubt.slot else {
            return true;
        };
        if self.spend(now, (slot, plain.doubt.has_spoken), price) {
            return true;
        }
        plain.doubt.is_waiting = true;
        plain.doubt.is_late = true;
        if self.resume_at.is_none() {
            self.resume_at = Some(now.after(PAUSE));
            self.first = u16::try_from(seat.index()).unwrap_or_default();
        }
        false
    }

    /// Takes a datagram from what a peer may be sent. Returns whether it may be sent.
    fn spend(&mut self, now: Instant, (slot, has_spoken): Slot, price: Price) -> bool {
        if has_spoken {
            self.spoken.spend(now, slot, (price.each, price.all))
        } else {
            self.new.spend(now, slot, (price.each, price.all_new))
        }
    }
}

impl Price {
    /// Returns the price of a datagram, headers included.
    fn new(bytes: usize, kib: Kib) -> Self {
        // 1000 milliseconds of 64 units for 1024 bytes are 125 units for 2 bytes
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_mul(125);
        let at = |kib: u32| bytes.checked_div(2 * kib).unwrap_or(0) + 1;
        let kib = u32::from(kib);
        Self {
            each: at(kib),
            all: at(ALL * kib),
            all_new: at(ALL_NEW * kib),
        }
    }
}

impl Budget {
    const NEW: Self = Self {
        all: Bucket::NEW,
        each: [Bucket::NEW; SLOTS as usize],
    };

    /// Takes a datagram from what an address, and all of them, may be sent. Returns whether it may be
    /// sent.
    fn spend(&mut self, now: Instant, slot: NonZeroU8, price: (u32, u32)) -> bool {
        let Some((one, all)) = self.after(now, slot, price) else {
            return false;
        };
        self.all = all;
        if let Some(each) = self.each.get_mut(index(slot)) {
            *each = one;
        }
        true
    }

    /// Returns the buckets of an address, and of all, after a datagram; `None` if that is too much.
    fn after(
        &self,
        now: Instant,
        slot: NonZeroU8,
        (each, all): (u32, u32),
    ) -> Option<(Bucket, Bucket)> {
        let now = wrapped_ms(now).wrapping_mul(UNITS_PER_MS);
        let take = |mut bucket: Bucket, price: u32| {
            let limits = (BURST.saturating_sub(price), FURTHEST);
            bucket.spend(now, price, limits).ok().map(|()| bucket)
        };
        let one = take(*self.each.get(index(slot))?, each)?;
        Some((one, take(self.all, all)?))
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Returns the state of a plain peer that joins without a proof. An address of this machine cannot be
    /// forged, so it counts as proved.
    pub(super) fn doubt(source: IpAddr) -> Doubt {
        Doubt {
            slot: (!source.is_loopback()).then_some(NonZeroU8::MIN),
            ..Doubt::default()
        }
    }

    /// A peer that may not have proved its address has its seat: finds the bucket of its address.
    pub(super) fn find_budget(&mut self, seat: Seat, source: IpAddr) {
        if self.unproven_kib().is_none() {
            return;
        }
        let slot = self.budget_slot(source);
        let plain = self.peers.peer_mut(seat).and_then(Peer::plain_mut);
        if let Some(plain) = plain.filter(|plain| !plain.doubt.is_proven()) {
            plain.doubt.slot = Some(slot);
        }
    }

    fn budget_slot(&self, source: IpAddr) -> NonZeroU8 {
        let number = secret::host(&self.config.key, source);
        NonZeroU8::MIN.saturating_add(number % SLOTS)
    }

    /// Returns the limit in KiB a second to each address, if there is one.
    pub(super) const fn unproven_kib(&self) -> Option<Kib> {
        match self.config.unproven {
            0 => None,
            _ if self.config.classic => None,
            kib => Some(kib),
        }
    }

    /// Returns whether a neighbour must prove its address because it could not be sent a welcome and
    /// what was said before.
    pub(super) fn is_spent(&self, now: Instant, source: IpAddr) -> bool {
        let Some(kib) = self.unproven_kib() else {
            return false;
        };
        let price = Price::new(NEWCOMER, kib);
        let slot = || self.budget_slot(source);
        let budget = &self.neighbours.new;
        let after = || budget.after(now, slot(), (price.each, price.all_new));
        !source.is_loopback() && after().is_none()
    }

    /// Returns whether a neighbour must prove its address because those that would make room for it have
    /// proved theirs.
    pub(super) fn is_seat_for_proven(&mut self, now: Instant, source: IpAddr) -> bool {
        let is_full = self.peers.len() >= self.seats() && now >= self.neighbours.seat_at;
        if !is_full || source.is_loopback() || self.unproven_kib().is_none() {
            return false;
        }
        self.neighbours.seat_at = now.after(CROWD_INTERVAL);
        if self.longest_silent(now, false).is_some() {
            return false;
        }
        let crowd = self.crowd(source);
        let of_crowd = |peer: &Peer| crowd.is_some_and(|it| is_same_host(&peer.address, &it));
        let is_crowd_proven = self.quietest(false, of_crowd).is_none();
        self.longest_silent(now, true).is_some() || crowd.is_some() && is_crowd_proven
    }

    /// Returns whether a reply to a plain source may be sent, and takes it from what it may be sent.
    pub(super) fn may_reply(
        &mut self,
        now: Instant,
        source: SocketAddr,
        event: &Event,
        bytes: usize,
    ) -> bool {
        let Some(kib) = self.unproven_kib() else {
            return true;
        };
        let is_code = matches!(
            event,
            Event::Refused {
                why: Refusal::Unproven,
                ..
            }
        );
        let seat = event.seat().and_then(|seat| self.peers.peer(seat));
        let slot = match seat {
            Some(peer) => peer.plain().and_then(|plain| {
                let slot = plain.doubt.slot?;
                Some((slot, plain.doubt.has_spoken))
            }),
            None if is_code || source.ip().is_loopback() => None,
            None => Some((self.budget_slot(source.ip()), false)),
        };
        let Some(slot) = slot else {
            return true;
        };
        let price = Price::new(bytes + HEADERS, kib);
        let may = self.neighbours.spend(now, slot, price);
        // it was looked before whether there is enough for a newcomer
        if may || matches!(event, Event::Joined { .. }) {
            return true;
        }
        self.stats.unanswered += 1;
        false
    }

    /// Returns what a datagram of lines takes from the limits of those that it is sent to, if they have
    /// any.
    pub(super) fn price(&self, length: usize) -> Option<Price> {
        let kib = self.unproven_kib()?;
        Some(Price::new(length + HEADERS, kib))
    }

    /// Returns whether lines may be sent to a peer that is due. If not, it waits, in no list.
    pub(super) fn may_deliver(&mut self, now: Instant, seat: Seat, price: Price) -> bool {
        let Some(plain) = self.peers.peer_mut(seat).and_then(Peer::plain_mut) else {
            return true;
        };
        if self.neighbours.may_deliver(now, seat, plain, price) {
            return true;
        }
        self.queue.unlink(Some(List::Due), seat);
        self.stats.note_held();
        false
    }

    /// Tries peers again that waited, the one first that has waited for longest.
    pub(super) fn resume_neighbours(&mut self, now: Instant) {
        if self.neighbours.resume_at.is_none_or(|at| now < at) {
            return;
        }
        self.neighbours.resume_at = None;
        let first = usize::from(self.neighbours.first);
        for index in (first..PEERS).chain(0..first.min(PEERS)) {
            if let Some(seat) = Seat::from_index(index)
                && let Some(plain) = self.peers.peer_mut(seat).and_then(Peer::plain_mut)
                && plain.doubt.is_waiting
            {
                plain.doubt.is_waiting = false;
                self.settle(seat);
            }
        }
    }

    /// Returns the code that a peer is told whose lines come late.
    pub(super) fn busy_code(&self, now: Instant, peer: &Peer) -> Code {
        secret::code(&self.config.key, now, &peer.address)
    }

    /// Handles the code by which a peer that gets its lines late proves its address.
    pub(super) fn prove_seated(
        &mut self,
        now: Instant,
        seat: Seat,
        text: &str,
        reply: &mut PlainReply<'_>,
    ) -> bool {
        let Some(peer) = self.peers.peer(seat) else {
            return false;
        };
        let (address, doubt) = (peer.address, peer.plain().map(|plain| plain.doubt));
        if doubt.is_none_or(|doubt| doubt.is_proven()) || self.unproven_kib().is_none() {
            return false;
        }
        let Some((code, "")) = Code::read(text) else {
            return false;
        };
        if !self.is_proof(now, &address, code) {
            return false;
        }
        self.stats.proven += 1;
        if let Some(plain) = self.peers.peer_mut(seat).and_then(Peer::plain_mut) {
            let was_waiting = plain.doubt.is_waiting;
            plain.doubt = Doubt::default();
            if was_waiting {
                self.settle(seat);
            }
        }
        reply.answer(Sentence::Thanks);
        true
    }

    /// Returns where the lines begin that a newcomer is shown: the history, but not more of it than fits
    /// into one datagram if its address is not proved.
    pub(super) fn first_line(&self, is_proven: bool) -> Cursor {
        let mut start = self.history.start;
        if is_proven || self.unproven_kib().is_none() {
            return start;
        }
        let head = self.ring.head();
        // a line end after each line
        let length = |start: Cursor| {
            let lines = head.sequence - start.sequence;
            (head.offset - start.offset) - lines * (ENTRY_HEADER as u64 - 1)
        };
        while length(start) > DATAGRAM_MAX as u64
            && let Some(entry) = self.ring.entry(start)
        {
            start = entry.next;
        }
        start
    }

    /// Returns whether text is one of the last lines, or ends in it, as that of an echo service or of
    /// another relay.
    pub(super) fn is_returned(&self, text: &str) -> bool {
        let is_likely = Recent::of(text).is_some_and(|text| {
            let mut recent = self.neighbours.recent.iter();
            recent.any(|line| line.length <= text.length && line.end == text.end)
        });
        if !is_likely || self.config.classic {
            return false;
        }
        let (tail, head) = (self.ring.tail(), self.ring.head());
        let first = head.sequence.saturating_sub(RECENT as u64);
        let mut cursor = self.ring.seek(tail, first);
        while let Some(entry) = self.ring.entry(cursor) {
            let mut line = [0; LINE_MAX];
            self.ring.read_line(&entry, &mut line);
            let line = line.get(..entry.length).unwrap_or_default();
            // nobody else may learn what was said to one peer by guessing
            if !entry.kind.is_private() && text.as_bytes().ends_with(line) {
                return true;
            }
            cursor = entry.next;
        }
        false
    }

    /// A peer returned what it was sent. It leaves if it does so again and again.
    pub(super) fn handle_returned(&mut self, now: Instant, seat: Seat) -> Event {
        let [.., a, b] = now.as_secs().to_be_bytes();
        let now_s = u16::from_be_bytes([a, b]);
        let plain = self.peers.peer_mut(seat).and_then(Peer::plain_mut);
        let is_last = plain.is_some_and(|plain| {
            let doubt = &mut plain.doubt;
            if now_s.wrapping_sub(doubt.returned_s) > RETURNED_S {
                doubt.returned = 0;
            }
            doubt.returned = doubt.returned.saturating_add(1);
            doubt.returned_s = now_s;
            doubt.returned >= RETURNED_MAX
        });
        if is_last && let Some(departed) = self.leave(now, seat, Departure::Echo) {
            self.stats.count_refusal(Refusal::Returned);
            return Event::Left(departed);
        }
        Event::Refused {
            seat: Some(seat),
            why: Refusal::Returned,
        }
    }

    /// Returns whether text is a welcome of this relay to the peer that sends it.
    pub(super) fn is_own_welcome(&self, seat: Seat, text: &str) -> bool {
        let name = self.peers.peer(seat).map(|peer| &peer.name);
        let rest = text.strip_prefix("* welcome ");
        rest.zip(name).is_some_and(|(rest, name)| {
            rest.strip_prefix(name.as_str())
                .is_some_and(|rest| rest.starts_with(": "))
        })
    }
}

/// Returns the index of a bucket.
const fn index(slot: NonZeroU8) -> usize {
    (slot.get() % SLOTS) as usize
}

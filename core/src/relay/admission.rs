//! Admission: which sources are served, what proof they need, and the limits.

mod bucket;
mod prefixes;
mod rules;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

pub(super) use bucket::{Bucket, Limit};
use prefixes::Prefixes;
pub(super) use prefixes::Slot;
use rules::Rules;
pub use rules::{RULES_MAX, Rule, Verdict};

use super::Relay;
use super::config::is_unicast;
use super::event::{Departed, Departure, Event, Refusal};
use super::neighbours::Doubt;
use super::peers::Peer;
use super::plain::{PlainReply, first_line, text_of, visible};
use super::seat::Seat;
use super::secret;
use crate::time::Instant;
use crate::wire::{Code, Command, Sentence, is_blank};

/// Limit of the codes that are sent to all sources together, and of the codes that are checked.
const CODES: Limit = Limit {
    burst: 50,
    interval_ms: 20,
};

/// Limit of other answers to all sources without a seat together.
const ANSWERS: Limit = Limit {
    burst: 200,
    interval_ms: 5,
};

/// Ports below this one belong to services.
const SERVICES: u16 = 1024;

/// Minimum time between two searches for an address that has more than half of the seats.
pub(super) const CROWD_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum time between two notices to a peer that its lines exceed the rate limit.
const TOO_FAST_INTERVAL: Duration = Duration::from_secs(10);

/// What a source without a seat must do before it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// Nothing.
    AsIs,
    /// Prove that it receives at its address.
    Proven,
}

/// Limits of answers to sources without a seat. There is no state for a single source.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    given: Bucket,
    looked: Bucket,
    answers: Bucket,
    prefixes: Prefixes,
    rules: Rules,
    /// The first seat whose peer was not checked against the new rules yet.
    unjudged: Option<u16>,
    /// Whether the operator has locked the room, so that nobody joins.
    pub(super) is_locked: bool,
    /// Minimum seconds between two lines of a peer, as set by the operator; 0 means the configured
    /// limit.
    pub(super) slow_s: u16,
    /// Earliest time of the next search for a crowd.
    crowd_at: Instant,
}

impl Admission {
    pub(super) const fn new() -> Self {
        Self {
            given: Bucket::NEW,
            looked: Bucket::NEW,
            answers: Bucket::NEW,
            prefixes: Prefixes::new(),
            rules: Rules::new(),
            unjudged: None,
            is_locked: false,
            slow_s: 0,
            crowd_at: Instant::from_millis(0),
        }
    }

    /// Returns whether a source may be sent another code.
    fn may_give_code(&mut self, now: Instant) -> bool {
        self.given.take(wrapped_ms(now), CODES).is_ok()
    }

    /// Adds a ban before all rules. If there is no room, it replaces the ban that ends first.
    /// Returns `false` if there is none.
    pub(super) fn ban(&mut self, rule: Rule, until_s: u32) -> bool {
        self.unjudged = Some(0);
        self.rules.ban(rule, until_s)
    }

    /// Ends all bans.
    pub(super) fn unban(&mut self) {
        self.rules.unban();
    }

    /// Returns whether a source without a seat may be sent another answer.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        self.answers.take(wrapped_ms(now), ANSWERS).is_ok()
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Returns how a source without a seat is served.
    ///
    /// # Errors
    ///
    /// The reason, if it is not served.
    pub(super) fn served(&self, now: Instant, source: SocketAddr) -> Result<Served, Refusal> {
        if !is_unicast(source.ip()) || source.port() == 0 {
            return Err(Refusal::Source);
        }
        let verdict = self.verdict(now, source.ip());
        if verdict == Some(Verdict::Deny) {
            return Err(Refusal::Denied);
        }
        let is_local = self.is_local(now, source.ip());
        if is_local && !self.config.prove {
            Ok(Served::AsIs)
        } else if is_local || self.config.open || verdict == Some(Verdict::Allow) {
            Ok(Served::Proven)
        } else {
            Err(Refusal::Foreign)
        }
    }

    /// Returns whether a port is that of a relay or of another service, and not of a client.
    pub(super) const fn is_service(&self, port: u16) -> bool {
        let own = self.config.port;
        own != 0 && (port == own || port < SERVICES)
    }

    /// Returns whether a source is local, by its network or by a rule.
    fn is_local(&self, now: Instant, source: IpAddr) -> bool {
        self.config.is_local(source) || self.verdict(now, source) == Some(Verdict::Local)
    }

    /// Returns the verdict of the rules about a source, if one fits.
    fn verdict(&self, now: Instant, source: IpAddr) -> Option<Verdict> {
        self.admission.rules.verdict(now, source)
    }

    /// Replaces the rules by the first [`RULES_MAX`] of `rules`. The first rule that fits a source
    /// counts. Peers that are not served any more leave in
    /// [`handle_timeout`](Self::handle_timeout).
    pub fn set_rules(&mut self, rules: impl IntoIterator<Item = Rule>) {
        self.admission.rules.set(rules);
        self.admission.unjudged = Some(0);
    }

    /// Returns whether there are peers to check against new rules.
    pub(super) const fn has_unjudged(&self) -> bool {
        self.admission.unjudged.is_some()
    }

    /// Removes the next peer that is not served any more.
    pub(super) fn shut_out(&mut self, now: Instant) -> Option<Departed> {
        while let Some(index) = self.admission.unjudged {
            let seat = Seat::from_index(index.into()).filter(|seat| seat.index() < PEERS);
            self.admission.unjudged = seat.map(|_| index + 1);
            if let Some(peer) = self.peers.peer(seat?)
                && self.served(now, peer.address).is_err()
            {
                return self.leave(now, seat?, Departure::Removed);
            }
        }
        None
    }

    /// Handles text from a source that must prove that it receives there. With a valid code and a
    /// name it joins; otherwise it is sent a code.
    pub(super) fn prove(
        &mut self,
        now: Instant,
        source: SocketAddr,
        payload: &[u8],
        mut reply: PlainReply<'_>,
    ) -> Event {
        let refused = |why| Event::Refused { seat: None, why };
        if self.config.classic {
            return refused(Refusal::Unproven);
        }
        let text = text_of(payload).unwrap_or(NOISE);
        if is_blank(text) {
            return refused(Refusal::Blank);
        }
        let (code, rest) = Code::read(text).map_or((None, text), |(code, rest)| (Some(code), rest));
        let name = match Command::of(visible(rest)) {
            Some(Command::Nick(name)) => name,
            Some(_) => "",
            None => rest,
        };
        if let Some(code) = code
            && !is_blank(name)
            && self.is_proof(now, &source, code)
        {
            let event = self.join(now, source, name, Doubt::default(), reply);
            self.stats.proven += u64::from(matches!(event, Event::Joined { .. }));
            return event;
        }
        let may_answer = self.may_answer(payload);
        if may_answer && self.admission.may_give_code(now) {
            let code = secret::code(&self.config.key, now, &source);
            let wanted = first_line(name).0;
            #[cfg(feature = "link")]
            let repaired = self.repaired(wanted);
            #[cfg(feature = "link")]
            let wanted = repaired.as_ref().map_or("", |(name, _)| name);
            reply.answer(Sentence::Prove(code, wanted));
            self.stats.coded += 1;
        }
        refused(Refusal::Unproven)
    }

    /// Counts a join against the limits of the newcomer's network. `predecessor` is the peer whose
    /// place it takes. Returns the slot of its prefix, if it is foreign.
    ///
    /// # Errors
    ///
    /// The reason, if it may not join.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        source: IpAddr,
        predecessor: Option<Seat>,
    ) -> Result<Option<Slot>, Refusal> {
        if self.admission.is_locked && predecessor.is_none() {
            return Err(Refusal::Locked);
        }
        let Some(slot) = self.slot(now, source) else {
            return Ok(None);
        };
        let freed = predecessor.and_then(|seat| self.peers.peer(seat)?.slot);
        let (seats, now_ms) = (self.seats(), wrapped_ms(now));
        let prefixes = &mut self.admission.prefixes;
        prefixes.admit(now_ms, slot, seats, freed == Some(slot))?;
        Ok(Some(slot))
    }

    /// Returns the slot of a foreign source's prefix.
    pub(super) fn slot(&self, now: Instant, source: IpAddr) -> Option<Slot> {
        let is_foreign = !self.is_local(now, source);
        is_foreign.then(|| Slot::of(secret::prefix(&self.config.key, source)))
    }

    /// Counts a peer of this slot that has taken a seat.
    pub(super) fn count_in(&mut self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            self.admission.prefixes.count_in(slot);
        }
    }

    /// Counts a peer of this slot that has left.
    pub(super) fn count_out(&mut self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            self.admission.prefixes.count_out(slot);
        }
    }

    /// Counts a peer that has moved to another address. A move is never refused.
    pub(super) fn count_move(&mut self, now: Instant, seat: Seat, to: IpAddr) {
        let slot = self.slot(now, to);
        let Some(peer) = self.peers.peer_mut(seat) else {
            return;
        };
        let old = core::mem::replace(&mut peer.slot, slot);
        self.count_out(old);
        self.count_in(slot);
    }

    /// Returns the peer that loses its seat to a newcomer from another address in a full room. It
    /// is one of the address that has more than half of the seats: the peer that has been silent
    /// for the longest time.
    pub(super) fn crowded_out(
        &mut self,
        now: Instant,
        source: IpAddr,
        is_proven: bool,
    ) -> Option<Seat> {
        // clients that forge addresses must not use up the searches for those that have proved theirs
        let is_apart = !is_proven && self.unproven_kib().is_some();
        let next = if is_apart {
            self.neighbours.crowd_at()
        } else {
            self.admission.crowd_at
        };
        if now < next {
            return None;
        }
        let next = now.after(CROWD_INTERVAL);
        if is_apart {
            self.neighbours.set_crowd_at(next);
        } else {
            self.admission.crowd_at = next;
        }
        let crowd = self.crowd(source)?;
        self.quietest(is_proven, |peer| is_same_host(&peer.address, &crowd))
            .map(|(seat, _)| seat)
    }

    /// Returns the address that has more than half of the seats and at least two, if it is not `source`.
    pub(super) fn crowd(&self, source: IpAddr) -> Option<SocketAddr> {
        // the majority vote of Boyer and Moore finds the only address that it can be
        let (mut crowd, mut votes) = (SocketAddr::new(source, 0), 0);
        let mut left = self.peers.len();
        for (_, peer) in self.peers.iter() {
            if votes == 0 {
                crowd = peer.address;
            }
            votes = if is_same_host(&peer.address, &crowd) {
                votes + 1
            } else {
                votes - 1
            };
            left = left.saturating_sub(1);
            if votes > left {
                // no others can outvote it
                break;
            }
        }
        if crowd.ip() == source {
            return None;
        }
        let seats = self.peers.iter();
        let seats = seats.filter(|(_, peer)| is_same_host(&peer.address, &crowd));
        let seats = seats.count();
        (seats >= 2 && 2 * seats > self.peers.len()).then_some(crowd)
    }

    /// Returns the rate limit of each peer, if there is one.
    fn lines(&self) -> Option<Limit> {
        match self.admission.slow_s {
            seconds @ 1.. => Some(Limit {
                burst: 1,
                interval_ms: 1000 * u32::from(seconds),
            }),
            _ => self.config.lines(),
        }
    }

    /// Returns whether the operator has muted a peer.
    pub(super) fn is_muted(&self, seat: Seat) -> bool {
        self.peers.peer(seat).is_some_and(|peer| peer.is_muted)
    }

    /// Counts a line against a peer's rate limit.
    ///
    /// # Errors
    ///
    /// The milliseconds until the peer may say a line, if it may not now.
    pub(super) fn pace(&mut self, now: Instant, seat: Seat) -> Result<(), u32> {
        match (self.lines(), self.peers.peer_mut(seat)) {
            (Some(limit), Some(peer)) => peer.pace.take(wrapped_ms(now), limit),
            _ => Ok(()),
        }
    }

    /// Counts a line of a plain peer that exceeded its rate limit.
    pub(super) fn count_unsaid(&mut self, seat: Seat) {
        if let Some(plain) = self.peers.peer_mut(seat).and_then(Peer::plain_mut) {
            plain.unsaid = plain.unsaid.saturating_add(1);
        }
    }

    /// Tells a plain peer how many of its lines exceeded its rate limit, if it may be told now.
    pub(super) fn tell_unsaid(&mut self, now: Instant, seat: Seat, reply: &mut PlainReply<'_>) {
        if let Some(limit) = self.lines()
            && let Some(plain) = self.peers.peer_mut(seat).and_then(Peer::plain_mut)
            && plain.unsaid > 0
            && now >= plain.tell_at
        {
            let lines = core::mem::take(&mut plain.unsaid);
            plain.tell_at = now.after(TOO_FAST_INTERVAL);
            let Limit { burst, interval_ms } = limit;
            reply.answer(Sentence::TooFast {
                lines,
                burst,
                interval_ms,
            });
        }
    }

    /// Returns whether this code was sent to `source` recently. Codes beyond the limit of checks
    /// count as wrong.
    pub(super) fn is_proof(&mut self, now: Instant, source: &SocketAddr, code: Code) -> bool {
        let looked = &mut self.admission.looked;
        looked.take(wrapped_ms(now), CODES).is_ok()
            && secret::is_code(&self.config.key, now, source, code)
    }
}

/// Stands for a datagram that is not text: it is neither blank nor a name.
const NOISE: &str = "/";

/// Returns whether two addresses have the same IP address, without a copy of either.
pub(super) fn is_same_host(one: &SocketAddr, other: &SocketAddr) -> bool {
    match (one, other) {
        (SocketAddr::V4(one), SocketAddr::V4(other)) => one.ip() == other.ip(),
        (SocketAddr::V6(one), SocketAddr::V6(other)) => one.ip() == other.ip(),
        (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => false,
    }
}

/// Returns the low 32 bits of the milliseconds, in which buckets count.
pub(super) fn wrapped_ms(now: Instant) -> u32 {
    let [.., a, b, c, d] = now.as_millis().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

//! Admission: which sources are served, and what they must prove before.

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
use super::peers::Peer;
use super::plain::{PlainReply, first_line, text_of, visible};
use super::seat::Seat;
use super::secret;
use crate::time::Instant;
use crate::wire::code::Code;
use crate::wire::command::Command;
use crate::wire::notices::Sentence;
use crate::wire::text::is_blank;

/// Codes given to all sources together, and codes looked at.
const CODES: Limit = Limit {
    burst: 50,
    interval_ms: 20,
};

/// Other answers to all sources without a seat together.
const ANSWERS: Limit = Limit {
    burst: 200,
    interval_ms: 5,
};

/// Ports below this one are those of services.
const SERVICES: u16 = 1024;

/// Minimum time between two searches for an address that has more than half of the seats.
const CROWD_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum time between two notices to a peer that its lines are too fast.
const TOO_FAST_INTERVAL: Duration = Duration::from_secs(10);

/// What a source without a seat must do before it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// Nothing.
    AsIs,
    /// Prove that it receives at its address.
    Proven,
}

/// The limits of what sources without a seat are answered. Nothing is kept about any of them.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    given: Bucket,
    looked: Bucket,
    answers: Bucket,
    prefixes: Prefixes,
    rules: Rules,
    /// The first seat whose peer was not judged since the rules have changed.
    unjudged: Option<u16>,
    /// Whether the operator lets nobody join.
    pub(super) is_locked: bool,
    /// Seconds between two lines of a peer that the operator has set; 0 for the configured limit.
    pub(super) slow_s: u16,
    /// Time before which no crowd is looked for again.
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
        self.given.take(now.as_wrapped_ms(), CODES).is_ok()
    }

    /// Adds a ban, before all rules; the one that ends first makes room for it. Returns whether there
    /// was room.
    #[cfg(feature = "operator")]
    pub(super) fn ban(&mut self, rule: Rule, until_s: u32) -> bool {
        self.unjudged = Some(0);
        self.rules.ban(rule, until_s)
    }

    /// Ends all bans.
    #[cfg(feature = "operator")]
    pub(super) fn unban(&mut self) {
        self.rules.unban();
    }

    /// Returns whether a source without a seat may be sent another answer.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        self.answers.take(now.as_wrapped_ms(), ANSWERS).is_ok()
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Returns how a source without a seat is served.
    ///
    /// # Errors
    ///
    /// It is not; returns the reason.
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

    /// Returns what the rules say about a source.
    fn verdict(&self, now: Instant, source: IpAddr) -> Option<Verdict> {
        let has_rules = cfg!(feature = "rules");
        has_rules.then(|| self.admission.rules.verdict(now, source))?
    }

    /// Replaces the rules by the first [`RULES_MAX`] of `rules`, of which the first that fits a source
    /// counts. Peers that are not served any more leave by
    /// [`handle_timeout`](Self::handle_timeout).
    #[cfg(feature = "rules")]
    pub fn set_rules(&mut self, rules: impl IntoIterator<Item = Rule>) {
        self.admission.rules.set(rules);
        self.admission.unjudged = Some(0);
    }

    /// Returns whether peers are to be judged by new rules.
    pub(super) const fn has_unjudged(&self) -> bool {
        cfg!(feature = "rules") && self.admission.unjudged.is_some()
    }

    /// Removes the next peer that is not served any more.
    pub(super) fn shut_out(&mut self, now: Instant) -> Option<Departed> {
        while cfg!(feature = "rules")
            && let Some(index) = self.admission.unjudged
        {
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

    /// Handles text from a source that must prove that it receives there: it joins with a code and
    /// a name, and is sent a code otherwise.
    pub(super) fn prove(
        &mut self,
        now: Instant,
        source: SocketAddr,
        payload: &[u8],
        mut reply: PlainReply<'_>,
    ) -> Event {
        let refused = |why| Event::Refused { seat: None, why };
        if self.config.classic || !cfg!(feature = "codes") {
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
            let event = self.join(now, source, name, reply);
            self.stats.proven += u64::from(matches!(event, Event::Joined { .. }));
            return event;
        }
        let may_answer = self.may_answer(payload);
        if may_answer && self.admission.may_give_code(now) {
            let code = secret::code(&self.config.key, now, &source);
            reply.answer(Sentence::Prove(code, first_line(name).0));
            self.stats.coded += 1;
        }
        refused(Refusal::Unproven)
    }

    /// Takes a join from what the newcomer's network may take; `predecessor` is the peer whose place it
    /// takes. Returns the slot of its prefix, which is for foreign sources only.
    ///
    /// # Errors
    ///
    /// It may not join; returns the reason.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        source: IpAddr,
        predecessor: Option<Seat>,
    ) -> Result<Option<Slot>, Refusal> {
        let is_locked = cfg!(feature = "operator") && self.admission.is_locked;
        if is_locked && predecessor.is_none() {
            return Err(Refusal::Locked);
        }
        let Some(slot) = self.slot(now, source) else {
            return Ok(None);
        };
        if !cfg!(feature = "shares") {
            return Ok(Some(slot));
        }
        let freed = predecessor.and_then(|seat| self.peers.peer(seat)?.slot);
        let (seats, now_ms) = (self.seats(), now.as_wrapped_ms());
        let prefixes = &mut self.admission.prefixes;
        prefixes.admit(now_ms, slot, seats, freed == Some(slot))?;
        Ok(Some(slot))
    }

    /// Returns the slot of a foreign source's prefix.
    pub(super) fn slot(&self, now: Instant, source: IpAddr) -> Option<Slot> {
        let is_foreign = !self.is_local(now, source);
        is_foreign.then(|| {
            Slot::of(if cfg!(feature = "shares") {
                secret::prefix(&self.config.key, source)
            } else {
                0
            })
        })
    }

    /// A peer of this slot has a seat now.
    pub(super) fn count_in(&mut self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            self.admission.prefixes.count_in(slot);
        }
    }

    /// A peer of this slot has left.
    pub(super) fn count_out(&mut self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            self.admission.prefixes.count_out(slot);
        }
    }

    /// A peer has moved to another address. A move is never refused.
    pub(super) fn count_move(&mut self, now: Instant, seat: Seat, to: IpAddr) {
        let slot = self.slot(now, to);
        let Some(peer) = self.peers.peer_mut(seat) else {
            return;
        };
        let old = core::mem::replace(&mut peer.slot, slot);
        self.count_out(old);
        self.count_in(slot);
    }

    /// Returns a peer that makes room for a newcomer from elsewhere in a full room: of the address
    /// that has more than half of the seats, the peer that has been silent for the longest time.
    pub(super) fn crowded_out(&mut self, now: Instant, source: IpAddr) -> Option<Seat> {
        if !cfg!(feature = "shares") || now < self.admission.crowd_at {
            return None;
        }
        self.admission.crowd_at = now.after(CROWD_INTERVAL);
        // the majority vote of Boyer and Moore finds the only address that it can be
        let (mut crowd, mut votes) = (SocketAddr::new(source, 0), 0_u32);
        for (_, peer) in self.peers.iter() {
            if votes == 0 {
                crowd = peer.address;
            }
            votes = if is_same_host(&peer.address, &crowd) {
                votes + 1
            } else {
                votes - 1
            };
        }
        let of_crowd = |(_, peer): &(Seat, &Peer)| is_same_host(&peer.address, &crowd);
        if crowd.ip() == source {
            return None;
        }
        let seats = self.peers.iter().filter(of_crowd).count();
        if seats < 2 || 2 * seats <= self.peers.len() {
            return None;
        }
        let order = |(seat, peer): &(Seat, &Peer)| (!self.sessions.is_parked(*seat), peer.heard);
        let silent = self.peers.iter().filter(of_crowd).min_by_key(order);
        silent.map(|(seat, _)| seat)
    }

    /// Returns the limit of the lines of each peer, if there is one.
    fn lines(&self) -> Option<Limit> {
        match self.admission.slow_s {
            seconds @ 1.. if cfg!(feature = "operator") => Some(Limit {
                burst: 1,
                interval_ms: 1000 * u32::from(seconds),
            }),
            _ => self.config.lines(),
        }
    }

    /// Returns whether the operator has muted a peer.
    pub(super) fn is_muted(&self, seat: Seat) -> bool {
        cfg!(feature = "operator") && self.peers.peer(seat).is_some_and(|peer| peer.is_muted)
    }

    /// Takes one of the lines that a peer may say now.
    ///
    /// # Errors
    ///
    /// There is none; returns the milliseconds until there is one.
    pub(super) fn pace(&mut self, now: Instant, seat: Seat) -> Result<(), u32> {
        match (self.lines(), self.peers.peer_mut(seat)) {
            (Some(limit), Some(peer)) => peer.pace.take(now.as_wrapped_ms(), limit),
            _ => Ok(()),
        }
    }

    /// A line of a plain peer was too fast.
    pub(super) fn count_unsaid(&mut self, seat: Seat) {
        if let Some(plain) = self.peers.peer_mut(seat).and_then(Peer::plain_mut) {
            plain.unsaid = plain.unsaid.saturating_add(1);
        }
    }

    /// Tells a plain peer how many of its lines were too fast, if it may be told now.
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

    /// Returns whether this code was sent to `source` lately. A limited number of codes is looked
    /// at; others count as wrong.
    fn is_proof(&mut self, now: Instant, source: &SocketAddr, code: Code) -> bool {
        let looked = &mut self.admission.looked;
        looked.take(now.as_wrapped_ms(), CODES).is_ok()
            && secret::is_code(&self.config.key, now, source, code)
    }
}

/// What stands for a datagram that is no text: it is not blank, and no name.
const NOISE: &str = "/";

/// Returns whether two addresses have the same IP address, without a copy of either.
fn is_same_host(one: &SocketAddr, other: &SocketAddr) -> bool {
    match (one, other) {
        (SocketAddr::V4(one), SocketAddr::V4(other)) => one.ip() == other.ip(),
        (SocketAddr::V6(one), SocketAddr::V6(other)) => one.ip() == other.ip(),
        (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => false,
    }
}

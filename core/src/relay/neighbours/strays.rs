//! Commands from ports of an address that have no seat. Many of them seem to be one command that is sent from
//! all ports, because its forger does not know that of the peer.

use core::net::IpAddr;
use core::num::NonZeroU8;

use crate::relay::Relay;
use crate::relay::admission::{Bucket, Limit, wrapped_ms};
use crate::relay::plain::PlainReply;
use crate::relay::seat::Seat;
use crate::relay::secret;
use crate::relay::text::without_padding;
use crate::time::Instant;
use crate::wire::{Code, Command, Sentence};

/// What is not yet many.
const FEW: Limit = Limit {
    burst: 20,
    interval_ms: 5000,
};

/// Number of buckets. Addresses that share one by chance share its limit.
const SLOTS: usize = 32;

/// The commands from each address.
#[derive(Clone, Debug)]
pub(super) struct Strays([Bucket; SLOTS]);

impl Strays {
    pub(super) const NEW: Self = Self([Bucket::NEW; SLOTS]);

    fn note(&mut self, now: Instant, slot: NonZeroU8) {
        if let Some(bucket) = self.0.get_mut(usize::from(slot.get()) % SLOTS) {
            // this one is refused in any case
            let _ = bucket.take(wrapped_ms(now), FEW);
        }
    }

    fn are_many(&self, now: Instant, slot: NonZeroU8) -> bool {
        let bucket = self.0.get(usize::from(slot.get()) % SLOTS).copied();
        bucket.is_some_and(|mut bucket| bucket.take(wrapped_ms(now), FEW).is_err())
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Counts a command from a source without a seat.
    pub(in crate::relay) fn note_stray(&mut self, now: Instant, source: IpAddr, payload: &[u8]) {
        if without_padding(payload).first() != Some(&b'/') || self.unproven_kib().is_none() {
            return;
        }
        let slot = self.budget_slot(source);
        self.neighbours.strays.note(now, slot);
    }

    /// Returns whether a command of a plain peer may be forged, because so many came from other ports of its
    /// address, and does harm.
    pub(in crate::relay) fn may_be_forged(
        &self,
        now: Instant,
        seat: Seat,
        command: Command<'_>,
    ) -> bool {
        let is_harmful = matches!(command, Command::Quit | Command::Nick(_));
        let Some(peer) = self.peers.peer(seat).filter(|_| is_harmful) else {
            return false;
        };
        let ip = peer.address.ip();
        if ip.is_loopback() || self.unproven_kib().is_none() {
            return false;
        }
        let slot = self.budget_slot(ip);
        self.neighbours.strays.are_many(now, slot)
    }

    /// Tells a peer how a command is to be repeated so that it cannot be forged.
    pub(in crate::relay) fn ask_for_code(
        &mut self,
        now: Instant,
        seat: Seat,
        reply: &mut PlainReply<'_>,
    ) {
        if self.pace(now, seat).is_ok()
            && let Some(peer) = self.peers.peer(seat)
        {
            let code = secret::code(&self.config.key, now, &peer.address);
            reply.answer(Sentence::Doubted(code));
            self.stats.coded += 1;
        }
    }

    /// Returns the command that follows a valid code.
    pub(in crate::relay) fn proved_command<'a>(
        &mut self,
        now: Instant,
        seat: Seat,
        text: &'a str,
    ) -> Option<&'a str> {
        self.unproven_kib()?;
        let (code, command) = Code::read(text)?;
        let address = self.peers.peer(seat)?.address;
        (command.starts_with('/') && self.is_proof(now, &address, code)).then_some(command)
    }
}

//! Stopping of the relay: its last line, and which peers still need it.

use super::Relay;
use super::peers::Peer;
use super::queue::List;
use crate::Instant;
use crate::wire::STOPPING;
use crate::wire::framed::LineKind;

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Announces to all peers that the relay is stopping (except in classic mode), and accepts
    /// nothing more: see `PROTOCOL.md`, section "Stopping". Another call has no effect.
    ///
    /// The driver then continues as before, so that what was accepted is delivered: it receives,
    /// lets time pass and sends until the relay [is settled](Self::is_settled), or for a limited
    /// time.
    pub fn stop(&mut self, now: Instant) {
        if !self.is_stopping && !self.config.classic {
            self.append(now, None, LineKind::Notice, 0, STOPPING);
        }
        self.is_stopping = true;
    }

    /// Returns whether every line was sent to every peer, and all framed peers that are not parked
    /// have acknowledged all lines.
    ///
    /// Its cost is bounded by the number of seats; it stops at the first peer that lacks a line.
    pub fn is_settled(&self) -> bool {
        let mut peers = self.peers.iter();
        self.queue.front(List::Due).is_none()
            && self.sessions.have_all_before(self.ring.head().sequence)
            && peers.all(|(_, peer)| peer.is_framed() || !peer.is_held_back() || self.has_all(peer))
    }

    /// Returns whether no line is left that a plain peer could not be sent.
    fn has_all(&self, peer: &Peer) -> bool {
        let mut cursor = peer.cursor;
        while cursor.offset >= self.ring.tail().offset
            && let Some(entry) = self.ring.entry(cursor)
            && peer.skips(&entry, self.config.echo)
        {
            cursor = entry.next;
        }
        cursor == self.ring.head() && peer.missed() == 0
    }
}

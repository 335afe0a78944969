//! The end of a relay's run: its last line, and who has it.

use super::Relay;
use super::peers::Peer;
use super::queue::List;
use crate::Instant;
use crate::wire::framed::LineKind;
use crate::wire::notices::STOPPING;

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Tells all peers that the relay is stopping (in classic mode nobody), and accepts nothing more:
    /// see `PROTOCOL.md`, section "Stopping". Calling it again does nothing.
    ///
    /// A driver then goes on as before, so that what was accepted arrives: it reads, lets time pass and
    /// sends until the relay [is settled](Self::is_settled), or for as long as it has patience.
    pub fn stop(&mut self, now: Instant) {
        if !self.is_stopping && !self.config.classic {
            self.append(now, None, LineKind::Notice, 0, STOPPING);
        }
        self.is_stopping = true;
    }

    /// Whether every line was sent to every peer, and those that speak in frames and are not parked
    /// have acknowledged all of them.
    ///
    /// Its cost is bounded by the number of seats; it ends at the first peer that lacks a line.
    pub fn is_settled(&self) -> bool {
        let mut peers = self.peers.iter();
        self.queue.front(List::Due).is_none()
            && self.sessions.have_all_before(self.ring.head().sequence)
            && peers.all(|(_, peer)| peer.is_framed() || !peer.is_blocked || self.has_all(peer))
    }

    /// Whether there is no line for a plain peer that the way to it did not take.
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

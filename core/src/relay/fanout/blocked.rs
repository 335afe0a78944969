//! Peers that cannot be sent to now: what was refused is sent again later, and no other peer waits.

use super::{Delivery, What};
use crate::relay::Relay;
use crate::relay::peers::Dialect;
use crate::relay::queue::List;
use crate::relay::seat::Seat;

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Returns a delivery to the relay because sending it would block. The peer is sent the same lines
    /// again, perhaps with later ones, after [`handle_writable`](Self::handle_writable). Other peers do
    /// not wait for it. Lines that are overwritten meanwhile are counted as lost.
    ///
    /// If several fan-outs had deliveries to one peer (one fan-out never has two), return them in the
    /// reverse order. Datagrams may be handled in between. Deliveries that were not taken from a
    /// fan-out that is dropped stay due, and are not returned.
    pub fn handle_refused(&mut self, delivery: Delivery) {
        self.stats.deferred += 1;
        let Some(peer) = self
            .peers
            .peer(delivery.seat)
            .filter(|peer| peer.id == delivery.id)
        else {
            return;
        };
        let list = self.list(delivery.seat, peer);
        self.queue.unlink(list, delivery.seat);
        match (delivery.what, self.sessions.framed_mut(delivery.seat)) {
            (What::Gap, Some(framed)) => framed.window.handle_gap_unsent(),
            (What::Data | What::Resent, Some(framed)) => {
                let is_new = delivery.what == What::Data;
                framed
                    .window
                    .handle_unsent(delivery.from.sequence, delivery.to, is_new);
            }
            (_, None) | (What::Lines, _) => self.take_back_lines(&delivery),
        }
        self.set_blocked(delivery.seat, true);
        self.settle(delivery.seat);
    }

    /// Stops deliveries to a peer until [`handle_writable`](Self::handle_writable), because sending
    /// would block or because the driver paces the peer.
    pub fn handle_blocked(&mut self, seat: Seat) {
        self.change_blocked(seat, true);
    }

    /// Allows deliveries to a blocked peer again. For any other peer the call has no effect.
    pub fn handle_writable(&mut self, seat: Seat) {
        self.change_blocked(seat, false);
    }

    fn change_blocked(&mut self, seat: Seat, is_blocked: bool) {
        let Some(peer) = self
            .peers
            .peer(seat)
            .filter(|peer| peer.is_blocked != is_blocked)
        else {
            return;
        };
        let list = self.list(seat, peer);
        self.queue.unlink(list, seat);
        self.set_blocked(seat, is_blocked);
        self.settle(seat);
    }

    fn set_blocked(&mut self, seat: Seat, is_blocked: bool) {
        if let Some(peer) = self.peers.peer_mut(seat) {
            peer.is_blocked = is_blocked;
        }
    }

    fn take_back_lines(&mut self, delivery: &Delivery) {
        let Some(peer) = self.peers.peer_mut(delivery.seat) else {
            return;
        };
        let Dialect::Plain(plain) = &mut peer.dialect else {
            return;
        };
        plain.missed += delivery.missed;
        if delivery.to < self.ring.tail().sequence {
            // the lines were overwritten meanwhile; losses after them are counted already
            let lines = delivery.to - delivery.from.sequence;
            self.stats.missed += lines;
            plain.missed += if self.config.classic { 0 } else { lines };
        } else if delivery.from.sequence < peer.cursor.sequence {
            peer.cursor = delivery.from;
        }
    }

    /// Returns whether the driver may pass in another datagram.
    ///
    /// Returns false while one more message would overwrite a line that some peer was not sent yet
    /// (back-pressure). Then [`poll_fanout`](Self::poll_fanout) has something to send. Peers that
    /// were reported as unreachable, or that would block, do not count.
    pub fn can_receive(&self) -> bool {
        let endangered = self.ring.endangered();
        if self.queue.front(List::Due).is_none() || self.owed.get() >= endangered {
            return true;
        }
        let mut oldest = u64::MAX;
        let mut held_up = false;
        for seat in self.queue.iter(List::Due) {
            let Some(peer) = self.peers.peer(seat) else {
                continue;
            };
            let offset = self.owed_from(seat, peer);
            oldest = oldest.min(offset);
            held_up |= offset < endangered && !peer.suspicion.is_suspect;
        }
        self.owed.set(oldest);
        !held_up
    }
}

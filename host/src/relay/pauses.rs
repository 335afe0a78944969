//! When each peer may be sent to. A peer to which sending would block, and a peer that may be gone, is
//! paused for a while.

use core::time::Duration;

use kilochat_core::{Instant, Seat};

/// Time for which a peer is not sent to through a shared socket, after its outlet blocked or it was
/// reported as unreachable.
const APART: Duration = Duration::from_secs(10);

/// Pause after each datagram to a peer in doubt. It is longer than the kernel takes to report that
/// a neighbour does not answer (three requests, one each second: `mcast_solicit` and
/// `retrans_time_ms` in arp(7)). If no report arrives within it, the doubt ends; with each report
/// the next pause doubles, up to 32 s.
const PROBE: Duration = Duration::from_secs(4);
const DOUBT_MAX: u8 = 4;

/// Maximum number of datagrams from strangers in the time of a [`PROBE`]; more are a crowd, whose
/// sources may be spoofed. In a crowd the kernel drops datagrams that wait for a neighbour's hardware
/// address, and does not report it. So while the network has trouble, a peer that joined in a crowd is
/// in doubt, until it is heard again, or until the crowd is over and a datagram to it has caused no
/// report.
const STRANGERS_MAX: u32 = 128;

/// First and last pause, in milliseconds, after a datagram that the network did not take; each
/// pause is twice the one before. The kernel reports when a socket becomes writable, but not when
/// the queue of a device has room, so the relay waits for a time in both cases.
const PAUSE_MIN_MS: u16 = 1;
const PAUSE_MAX_MS: u16 = 512;

/// What is known about the route to the peer of one seat.
#[derive(Clone, Debug, Default)]
struct PeerState {
    apart_until: Instant,
    /// Whether the peer joined in a crowd and was not heard since.
    is_untried: bool,
    /// Length of the pause after each datagram: 0 means none, 1 one [`PROBE`], and each step more
    /// doubles it.
    doubt: u8,
    /// Whether a report arrived since the last datagram to a peer in doubt.
    is_reported: bool,
    /// When the peer may be sent to again, if it is paused.
    retry_at: Option<Instant>,
    /// Pause before the next attempt in milliseconds; 0 if the last datagram was taken.
    pause_ms: u16,
    /// Whether the seat is in the list of paused seats.
    is_listed: bool,
}

/// When each peer may be sent to.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    by_seat: Vec<PeerState>,
    /// Paused seats, and some that no longer are.
    paused: Vec<Seat>,
    /// A time before which no pause ends.
    next: Option<Instant>,
    /// Datagrams from strangers in the current and in the last [`PROBE`].
    strangers: u32,
    strangers_before: u32,
    strangers_since: Instant,
    /// When the last trouble (a datagram that was not taken, or was reported as lost) is no longer
    /// recent.
    trouble_until: Instant,
}

impl Pauses {
    pub(super) fn new(seats: usize) -> Self {
        Self {
            by_seat: vec![PeerState::default(); seats],
            paused: Vec::with_capacity(seats),
            ..Self::default()
        }
    }

    /// Records that a datagram arrived from the peer at `seat`. So the peer is reachable, and its
    /// pause ends.
    pub(super) fn handle_heard(&mut self, seat: Seat) {
        self.by_seat[seat.index()].is_untried = false;
        self.handle_moved(seat.index());
    }

    /// Records that the peer with this seat index has a new route.
    pub(super) fn handle_moved(&mut self, index: usize) {
        let peer = &mut self.by_seat[index];
        peer.doubt = 0;
        if peer.retry_at.is_some() {
            peer.retry_at = Some(Instant::default());
            self.next = Some(Instant::default());
        }
    }

    /// Counts a datagram from a stranger.
    pub(super) fn handle_stranger(&mut self, now: Instant) {
        let age = now.since(self.strangers_since);
        if age >= PROBE {
            let is_next = age < 2 * PROBE;
            self.strangers_before = if is_next { self.strangers } else { 0 };
            self.strangers = 0;
            self.strangers_since = now;
        }
        self.strangers = self.strangers.saturating_add(1);
    }

    fn is_crowded(&self, now: Instant) -> bool {
        let is_now = now.since(self.strangers_since) < 2 * PROBE;
        is_now && self.strangers.max(self.strangers_before) > STRANGERS_MAX
    }

    /// Records that a peer joined at `seat`: nothing is known about its route.
    pub(super) fn handle_joined(&mut self, now: Instant, seat: Seat) {
        self.handle_stranger(now);
        self.handle_heard(seat);
        let is_crowd = self.is_crowded(now);
        let peer = &mut self.by_seat[seat.index()];
        peer.pause_ms = 0;
        peer.is_reported = false;
        peer.is_untried = is_crowd;
        peer.apart_until = Instant::default();
    }

    /// Returns whether a peer must be sent to through an outlet, not through a shared socket.
    pub(super) fn is_apart(&self, now: Instant, seat: Seat) -> bool {
        let peer = &self.by_seat[seat.index()];
        peer.doubt > 0 || now < peer.apart_until || peer.is_untried && now < self.trouble_until
    }

    /// Records that the network did not take a datagram, or reported one as lost.
    pub(super) fn note_trouble(&mut self, now: Instant) {
        self.trouble_until = now.after(APART);
    }

    /// Records that the peer at `seat` was reported as unreachable.
    pub(super) fn demote(&mut self, now: Instant, seat: Seat) {
        self.note_trouble(now);
        let peer = &mut self.by_seat[seat.index()];
        // a burst of reports concerns the same datagrams
        if !core::mem::replace(&mut peer.is_reported, true) {
            peer.doubt = (peer.doubt + 1).min(DOUBT_MAX);
        }
        peer.apart_until = now.after(APART);
    }

    /// Records that the network took a datagram to `seat`. Returns whether the peer is paused from
    /// now on.
    pub(super) fn handle_sent(&mut self, now: Instant, seat: Seat) -> bool {
        let peer = &mut self.by_seat[seat.index()];
        peer.pause_ms = 0;
        if peer.is_untried && now < self.trouble_until {
            peer.doubt = peer.doubt.max(1);
        }
        if peer.doubt == 0 {
            return false;
        }
        peer.is_reported = false;
        let pause = PROBE * (1 << (peer.doubt - 1));
        self.pause(seat, now.after(pause));
        true
    }

    /// Records that the network did not take a datagram to `seat`; `is_apart` is whether the peer's
    /// own outlet blocked.
    pub(super) fn handle_blocked(&mut self, now: Instant, seat: Seat, is_apart: bool) {
        self.note_trouble(now);
        let peer = &mut self.by_seat[seat.index()];
        if is_apart {
            peer.apart_until = now.after(APART);
        }
        peer.pause_ms = (2 * peer.pause_ms).clamp(PAUSE_MIN_MS, PAUSE_MAX_MS);
        let pause = Duration::from_millis(peer.pause_ms.into());
        self.pause(seat, now.after(pause));
    }

    fn pause(&mut self, seat: Seat, until: Instant) {
        let peer = &mut self.by_seat[seat.index()];
        peer.retry_at = Some(until);
        if !core::mem::replace(&mut peer.is_listed, true) {
            self.paused.push(seat);
        }
        self.next = Some(self.next.map_or(until, |next| next.min(until)));
    }

    /// Returns the next paused peer that may be sent to again.
    pub(super) fn poll_writable(&mut self, now: Instant) -> Option<Seat> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        let is_crowded = self.is_crowded(now);
        let mut next = None;
        let mut index = 0;
        while let Some(seat) = self.paused.get(index).copied() {
            let peer = &mut self.by_seat[seat.index()];
            match peer.retry_at {
                Some(at) if now < at => {
                    next = Some(next.map_or(at, |next: Instant| next.min(at)));
                    index += 1;
                }
                _ => {
                    peer.retry_at = None;
                    peer.is_listed = false;
                    if peer.pause_ms == 0 && !peer.is_reported && !is_crowded {
                        peer.doubt = 0;
                    }
                    self.paused.swap_remove(index);
                    return Some(seat);
                }
            }
        }
        self.next = next;
        None
    }

    pub(super) fn next_writable(&self) -> Option<Instant> {
        self.next
    }
}

//! When a peer may be sent something: peers whose way takes nothing, and peers of whom it is in doubt
//! whether they are there, are set aside for a while.

use core::time::Duration;

use kilochat_core::{Instant, Seat};

/// Time for which a peer whose outlet blocked, or that was reported as unreachable, is not sent to
/// through a shared socket.
const APART: Duration = Duration::from_secs(10);

/// Pause after a datagram to a peer in doubt: longer than the kernel takes to report a neighbor that does
/// not answer (three requests, one a second: `mcast_solicit` and `retrans_time_ms` in arp(7)). If no
/// report came in that time, the doubt is over; each one that does doubles the next pause, up to 32 s.
const PROBE: Duration = Duration::from_secs(4);
const DOUBT_MAX: u8 = 4;

/// More datagrams of strangers than this in the time of a [`PROBE`] are a crowd, whose sources may be
/// forged. While the network has trouble, a peer that joined in a crowd is in doubt until it is heard
/// again, or until the crowd is gone and a datagram to it has caused no report: in a crowd the kernel
/// drops datagrams that wait for a neighbor, and reports nothing.
const STRANGERS_MAX: u32 = 128;

/// Pauses after a datagram that was not taken: the first one, doubled each time up to the last one.
/// The kernel tells when a socket can be written to, but not when the queue of a device has room, so
/// time is what both are waited for with.
const PAUSE_MIN_MS: u16 = 1;
const PAUSE_MAX_MS: u16 = 512;

/// What is known of the way to the peer of one seat.
#[derive(Clone, Debug, Default)]
struct Way {
    apart_until: Instant,
    /// Whether the peer joined in a crowd and was not heard since.
    is_untried: bool,
    /// How long the pauses after each datagram are: 0 is none, 1 is one [`PROBE`], each more doubles it.
    doubt: u8,
    /// Whether a report came since the last datagram to a peer in doubt.
    is_reported: bool,
    /// When the peer may be sent something again, if it was set aside.
    retry_at: Option<Instant>,
    /// Pause before the next try; 0 if the last datagram was taken.
    pause_ms: u16,
    /// Whether the seat is in the list of those that were set aside.
    is_listed: bool,
}

/// When each peer may be sent something.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    by_seat: Vec<Way>,
    /// Seats that were set aside, and some that no longer are.
    aside: Vec<Seat>,
    /// No seat may be sent something again before this.
    next: Option<Instant>,
    /// Datagrams of strangers in this and in the last time of a [`PROBE`].
    strangers: u32,
    strangers_before: u32,
    strangers_since: Instant,
    /// When it will be long enough since a datagram was not taken, or reported as lost.
    trouble_until: Instant,
}

impl Pauses {
    pub(super) fn new(seats: usize) -> Self {
        Self {
            by_seat: vec![Way::default(); seats],
            aside: Vec::with_capacity(seats),
            ..Self::default()
        }
    }

    /// A datagram came from the peer at `seat`: it is there, and may be sent to at once.
    pub(super) fn handle_heard(&mut self, seat: Seat) {
        self.by_seat[seat.index()].is_untried = false;
        self.handle_moved(seat.index());
    }

    /// The peer with this index of a seat is reached in another way than before.
    pub(super) fn handle_moved(&mut self, index: usize) {
        let way = &mut self.by_seat[index];
        way.doubt = 0;
        if way.retry_at.is_some() {
            way.retry_at = Some(Instant::default());
            self.next = Some(Instant::default());
        }
    }

    /// A datagram came from somebody without a seat.
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

    /// A peer joined at `seat`: nothing is known of the way to it.
    pub(super) fn handle_joined(&mut self, now: Instant, seat: Seat) {
        self.handle_stranger(now);
        self.handle_heard(seat);
        let is_crowd = self.is_crowded(now);
        let way = &mut self.by_seat[seat.index()];
        way.pause_ms = 0;
        way.is_reported = false;
        way.is_untried = is_crowd;
        way.apart_until = Instant::default();
    }

    /// Whether a peer is not sent to through a socket that it shares with others.
    pub(super) fn is_apart(&self, now: Instant, seat: Seat) -> bool {
        let way = &self.by_seat[seat.index()];
        way.doubt > 0 || now < way.apart_until || way.is_untried && now < self.trouble_until
    }

    /// A datagram was not taken, or is reported as lost.
    pub(super) fn note_trouble(&mut self, now: Instant) {
        self.trouble_until = now.after(APART);
    }

    /// The peer at `seat` was reported as unreachable.
    pub(super) fn demote(&mut self, now: Instant, seat: Seat) {
        self.note_trouble(now);
        let way = &mut self.by_seat[seat.index()];
        // a burst of reports is about the same datagrams
        if !core::mem::replace(&mut way.is_reported, true) {
            way.doubt = (way.doubt + 1).min(DOUBT_MAX);
        }
        way.apart_until = now.after(APART);
    }

    /// A datagram to `seat` was taken. Returns whether the peer shall get nothing more for now.
    pub(super) fn handle_sent(&mut self, now: Instant, seat: Seat) -> bool {
        let way = &mut self.by_seat[seat.index()];
        way.pause_ms = 0;
        if way.is_untried && now < self.trouble_until {
            way.doubt = way.doubt.max(1);
        }
        if way.doubt == 0 {
            return false;
        }
        way.is_reported = false;
        let pause = PROBE * (1 << (way.doubt - 1));
        self.set_aside(seat, now.after(pause));
        true
    }

    /// A datagram to `seat` was not taken: `is_apart` if by a socket for it alone.
    pub(super) fn handle_blocked(&mut self, now: Instant, seat: Seat, is_apart: bool) {
        self.note_trouble(now);
        let way = &mut self.by_seat[seat.index()];
        if is_apart {
            way.apart_until = now.after(APART);
        }
        way.pause_ms = (2 * way.pause_ms).clamp(PAUSE_MIN_MS, PAUSE_MAX_MS);
        let pause = Duration::from_millis(way.pause_ms.into());
        self.set_aside(seat, now.after(pause));
    }

    fn set_aside(&mut self, seat: Seat, until: Instant) {
        let way = &mut self.by_seat[seat.index()];
        way.retry_at = Some(until);
        if !core::mem::replace(&mut way.is_listed, true) {
            self.aside.push(seat);
        }
        self.next = Some(self.next.map_or(until, |next| next.min(until)));
    }

    /// The next peer that was set aside and may be sent something again.
    pub(super) fn poll_writable(&mut self, now: Instant) -> Option<Seat> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        let is_crowded = self.is_crowded(now);
        let mut next = None;
        let mut index = 0;
        while let Some(seat) = self.aside.get(index).copied() {
            let way = &mut self.by_seat[seat.index()];
            match way.retry_at {
                Some(at) if now < at => {
                    next = Some(next.map_or(at, |next: Instant| next.min(at)));
                    index += 1;
                }
                _ => {
                    way.retry_at = None;
                    way.is_listed = false;
                    if way.pause_ms == 0 && !way.is_reported && !is_crowded {
                        way.doubt = 0;
                    }
                    self.aside.swap_remove(index);
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

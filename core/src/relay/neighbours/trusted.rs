//! What stands for [`neighbours`](super::neighbours) where the feature is off: all of them are trusted.

use core::convert::Infallible;
use core::net::{IpAddr, SocketAddr};

use super::Relay;
use super::event::Event;
use super::peers::Plain;
use super::plain::PlainReply;
use super::ring::Cursor;
use super::seat::Seat;
use crate::time::Instant;
use crate::wire::Command;

/// There is no limit.
pub(super) type Price = Infallible;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt(());

#[derive(Clone, Debug)]
pub(super) struct Neighbours;

impl Doubt {
    pub(super) const fn note_heard(&mut self) {}

    pub(super) const fn is_waiting(&self) -> bool {
        false
    }

    pub(super) const fn is_proven(&self) -> bool {
        true
    }
}

impl Plain {
    pub(super) const fn is_to_be_told(&self, _now: Instant) -> bool {
        false
    }

    pub(super) const fn note_told(&mut self, _now: Instant) {}
}

impl Neighbours {
    pub(super) const fn new() -> Self {
        Self
    }

    pub(super) const fn resume_at(&self) -> Option<Instant> {
        None
    }

    pub(super) const fn full_until(&self) -> Instant {
        Instant::from_millis(0)
    }

    pub(super) const fn set_full_until(&mut self, _until: Instant) {}

    pub(super) const fn crowd_at(&self) -> Instant {
        Instant::from_millis(0)
    }

    pub(super) const fn set_crowd_at(&mut self, _next: Instant) {}

    pub(super) const fn note_line(&mut self, _sequence: u64, _line: &str) {}
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    pub(super) const fn doubt(_source: IpAddr) -> Doubt {
        Doubt(())
    }

    pub(super) const fn find_budget(&mut self, _seat: Seat, _source: IpAddr) {}

    pub(super) const fn unproven_kib(&self) -> Option<Infallible> {
        None
    }

    pub(super) const fn price(&self, _length: usize) -> Option<Price> {
        None
    }

    pub(super) const fn is_spent(&self, _now: Instant, _source: IpAddr) -> bool {
        false
    }

    pub(super) const fn is_seat_for_proven(&mut self, _now: Instant, _source: IpAddr) -> bool {
        false
    }

    pub(super) const fn may_reply(
        &mut self,
        _now: Instant,
        _source: SocketAddr,
        _event: &Event,
        _bytes: usize,
    ) -> bool {
        true
    }

    pub(super) const fn may_deliver(&mut self, _now: Instant, _seat: Seat, _price: Price) -> bool {
        true
    }

    pub(super) const fn resume_neighbours(&mut self, _now: Instant) {}

    pub(super) const fn prove_seated(
        &mut self,
        _now: Instant,
        _seat: Seat,
        _text: &str,
        _reply: &mut PlainReply<'_>,
    ) -> bool {
        false
    }

    pub(super) const fn note_stray(&mut self, _now: Instant, _source: IpAddr, _payload: &[u8]) {}

    pub(super) const fn may_be_forged(
        &self,
        _now: Instant,
        _seat: Seat,
        _command: Command<'_>,
    ) -> bool {
        false
    }

    pub(super) const fn proved_command<'a>(
        &mut self,
        _now: Instant,
        _seat: Seat,
        _text: &'a str,
    ) -> Option<&'a str> {
        None
    }

    pub(super) const fn first_line(&self, _is_proven: bool) -> Cursor {
        self.history.start
    }

    pub(super) const fn is_returned(&self, _text: &str) -> bool {
        false
    }

    pub(super) const fn is_own_welcome(&self, _seat: Seat, _text: &str) -> bool {
        false
    }

    pub(super) const fn handle_returned(&mut self, _now: Instant, seat: Seat) -> Event {
        Event::Keepalive { seat }
    }
}

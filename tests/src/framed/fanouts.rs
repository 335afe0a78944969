//! The relay's fan-outs: deliveries are taken from the relay, judged, and given to the network.

use core::net::{IpAddr, SocketAddr};

use kilochat_core::{DATAGRAM_MAX, Delivery, PeerInfo, Seat};

use crate::framed::counts::Met;
use crate::framed::driver::Shown;
use crate::framed::wire::{Wire, told};
use crate::framed::world::{WAYS, World};
use crate::inputs::{chance, pick};
use crate::{Verdict, Violation, check};

/// A delivery that was taken from a fan-out, with its datagrams.
pub(crate) type InHand = (Delivery, Vec<Vec<u8>>);

impl<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>
    World<PEERS, RING, WINDOW, HELD>
{
    /// Sends what is due, until the network blocks.
    pub(crate) fn flush(&mut self) -> Verdict {
        if chance(&mut self.random, self.driver.late) {
            self.retry_at = Some(self.now + self.random.u64(1..30));
            return Ok(());
        }
        self.unblock();
        loop {
            let is_all = self.take()?;
            self.give_to_network()?;
            if is_all {
                break;
            }
        }
        self.check_fairness()?;
        let ends = self.blocked.iter().filter_map(|seat| self.way_of(*seat));
        if let Some(then) = ends.map(|way| self.jammed_until[way]).min() {
            self.retry_at = Some(self.retry_at.map_or(then, |at| at.min(then)));
        }
        self.room().judge_claims(false)
    }

    /// Reports peers as writable whose interface no longer blocks, or that have moved to another
    /// one.
    fn unblock(&mut self) {
        for seat in core::mem::take(&mut self.blocked) {
            match self.way_of(seat) {
                Some(way) if self.now < self.jammed_until[way] => self.blocked.push(seat),
                Some(_) | None => self.relay.handle_writable(seat),
            }
        }
    }

    /// Returns the interface by which the peer at a seat is reached, if there is a peer.
    fn way_of(&self, seat: Seat) -> Option<usize> {
        let mut peers = self.relay.peers();
        let peer = peers.find(|peer| peer.seat == seat)?;
        Some(way(peer.address))
    }

    /// Checks that each peer on an interface that does not block was sent everything, whatever the
    /// other interfaces do.
    fn check_fairness(&mut self) -> Verdict {
        let is_blocked = !self.blocked.is_empty();
        let shown = self.shown();
        for peer in shown.iter().filter(|peer| !peer.framed && !peer.suspect) {
            if self.blocked.iter().any(|seat| seat.index() == peer.seat) {
                continue;
            }
            check(peer.owed == 0, || {
                format!("{peer:?} is not blocked, but was not sent all lines")
            })?;
            if is_blocked {
                self.saw(Met::OtherWayOpen);
            }
        }
        let head = self.rooms.last_mut().unwrap().head;
        for peer in shown.iter().filter(|peer| peer.framed && !peer.parked) {
            if self.blocked.iter().any(|seat| seat.index() == peer.seat) {
                continue;
            }
            let lacks = self.gate.lacks(peer.seat, head);
            check(lacks == 0, || {
                format!("nothing is in flight to {peer:?}, which lacks {lacks} lines")
            })?;
            if is_blocked {
                self.saw(Met::OtherWayOpenFramed);
            }
        }
        Ok(())
    }

    /// Takes a batch of deliveries. Returns whether there are no more.
    fn take(&mut self) -> Verdict<bool> {
        let now = self.relay_clock();
        let mut buffer = [0xFF; 4 * DATAGRAM_MAX];
        let segments = pick(&mut self.random, &self.driver.segments);
        let buffer = &mut buffer[..segments * DATAGRAM_MAX];
        let mut room = self.driver.batch;
        loop {
            let can_receive = self.relay.can_receive();
            let Some(fanout) = self.relay.poll_fanout(now, buffer) else {
                let is_held = |peer: &Shown| peer.framed && !peer.parked && peer.owed > 0;
                if self.shown().iter().any(is_held) {
                    self.saw(Met::WindowFull);
                }
                return self.check_readable(can_receive).map(|()| true);
            };
            let payload = fanout.payload();
            if payload.len() > DATAGRAM_MAX {
                self.counts.saw(Met::ManyAtOnce);
            }
            let deliveries: Vec<_> = fanout.take(room).collect();
            check(!deliveries.is_empty(), || {
                format!("{} is for no peer", told(payload))
            })?;
            room -= deliveries.len();
            for delivery in deliveries {
                let (seat, address) = (delivery.seat.index(), delivery.address);
                let datagrams: Vec<_> = payload.chunks(DATAGRAM_MAX).map(<[u8]>::to_vec).collect();
                for datagram in &datagrams {
                    self.note_datagram("relay offers", address, datagram);
                    self.offered(seat, address, datagram)?;
                }
                self.in_hand.push((delivery, datagrams));
            }
            if room == 0 {
                return Ok(false);
            }
        }
    }

    /// Judges a datagram that the relay wants to send to a peer.
    fn offered(&mut self, seat: usize, address: SocketAddr, payload: &[u8]) -> Verdict {
        let wrong = |what: &str| Violation(format!("{what}: {address} gets {}", told(payload)));
        let is_seated = self.admission.is_seated(address);
        check(is_seated, || wrong("has no right to a seat").0)?;
        self.judge_secrets(address, payload)?;
        let holder = self.gate.holder(seat).cloned();
        let room = self.rooms.last_mut().unwrap();
        if payload.first() != Some(&1) {
            return check(holder.is_none(), || wrong("the wrong dialect").0);
        }
        let holder = holder.filter(|holder| holder.address == address);
        let holder = holder.ok_or_else(|| wrong("has no session"))?;
        let is_parked = |peer: PeerInfo<'_>| peer.address == address && peer.parked;
        check(!self.relay.peers().any(is_parked), || wrong("is away").0)?;
        match Wire::read(payload).ok_or_else(|| wrong("malformed"))? {
            Wire::Data {
                epoch,
                first,
                lines,
            } => {
                let is_right = Some(epoch) == room.epoch && !lines.is_empty();
                check(is_right, || wrong("not of this run, or empty").0)?;
                let end = first + lines.len() as u64;
                for (sequence, entry) in (first..).zip(&lines) {
                    room.learn(sequence, entry, holder.session)?;
                }
                if self.settled.is_some_and(|head| end <= head) && self.is_settled(address) {
                    return Err(wrong("acknowledged long ago"));
                }
                if self.gate.offered(seat, first, end)? {
                    self.saw(Met::SentAgain);
                }
                if lines.len() > 1 {
                    self.saw(Met::Coalesced);
                }
                Ok(())
            }
            Wire::Gap {
                session,
                from,
                until,
            } => {
                check(session == holder.session, || wrong("the wrong session").0)?;
                room.claim(until, || format!("GAP {from}..{until}"))?;
                self.gate.gap(seat, until);
                self.saw(Met::GapSent);
                Ok(())
            }
            _ => Err(wrong("no fan-out")),
        }
    }

    /// Gives the batch to the network, except for deliveries whose interface blocks.
    fn give_to_network(&mut self) -> Verdict {
        let mut refused = Vec::new();
        for (delivery, datagrams) in core::mem::take(&mut self.in_hand) {
            let way = way(delivery.address);
            let is_open = self.now >= self.jammed_until[way];
            if is_open && chance(&mut self.random, self.driver.jams) {
                self.saw(Met::Jammed);
                self.jammed_until[way] = self.now + self.random.u64(1..40);
            }
            if self.now < self.jammed_until[way] {
                refused.push((delivery, datagrams));
                continue;
            }
            for payload in datagrams {
                self.gives(delivery.address, payload)?;
            }
        }
        self.refuse(refused);
        Ok(())
    }

    /// Gives the network a datagram for a peer.
    fn gives(&mut self, address: SocketAddr, mut payload: Vec<u8>) -> Verdict {
        self.count_sent(&payload);
        let mut plains = self.plains.iter_mut();
        if let Some(plain) = plains.find(|plain| plain.address == address) {
            return plain.sent(payload, self.rooms.last_mut().unwrap());
        }
        if payload.starts_with(b"\x01D") && chance(&mut self.random, self.driver.pads) {
            let length = self.random.usize(payload.len()..=DATAGRAM_MAX);
            payload.resize(length, 0);
            self.saw(Met::Padded);
        }
        self.send(self.address, address, payload);
        Ok(())
    }

    /// Returns deliveries that would block to the relay, the last one first.
    fn refuse(&mut self, refused: Vec<InHand>) {
        for (delivery, datagrams) in refused.into_iter().rev() {
            for datagram in datagrams.iter().rev() {
                self.note_datagram("would block for", delivery.address, datagram);
                if let Some(Wire::Data { first, lines, .. }) = Wire::read(datagram) {
                    let end = first + lines.len() as u64;
                    self.gate.refused(delivery.seat.index(), end);
                }
            }
            self.relay.handle_refused(delivery);
            if !self.blocked.contains(&delivery.seat) {
                self.blocked.push(delivery.seat);
            }
            self.saw(Met::Deferred);
        }
    }

    /// Returns whether a client at this address has nothing to catch up with.
    fn is_settled(&self, address: SocketAddr) -> bool {
        let mut members = self.members.iter();
        members.any(|member| {
            let is_there = member.path(address).is_some() && member.is_joined();
            is_there && !self.may_lag(member)
        })
    }

    pub(crate) fn count_sent(&mut self, payload: &[u8]) {
        if let Some(measure) = &mut self.measure {
            measure.sends += u64::from(payload.starts_with(b"\x01D") && payload.len() > 16);
        }
    }
}

/// Returns the index of the interface by which a host is reached.
pub(crate) fn way(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => usize::from(ip.octets()[3]) % WAYS,
        IpAddr::V6(_) => 0,
    }
}

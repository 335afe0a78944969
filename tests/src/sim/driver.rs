//! The driver of a simulated relay, and the oracle's checks of each call.

use core::net::SocketAddr;

use kilochat_core::{DATAGRAM_MAX, Instant, Reply, Seat};

use crate::inputs::{chance, pick};
use crate::judge::code_asked_for;
use crate::sim::{Arrival, Fate, Report, World, keep, shown};
use crate::{Seen, Verdict, check};

impl<const PEERS: usize, const RING: usize> World<PEERS, RING> {
    /// Runs the driver once: it receives, handles reports and time-outs, and sends.
    pub(super) fn turn(&mut self) -> Verdict {
        let next = self.arrivals.iter().map(|arrival| arrival.at).min();
        self.now = self.now.max(next.unwrap_or(0));
        for _ in 0..self.driver.reads {
            let is_readable = self.relay.can_receive();
            self.oracle.can_receive(is_readable)?;
            self.oracle.settled(self.relay.is_settled())?;
            if !is_readable {
                self.check_something_to_send()?;
                if chance(&mut self.random, self.driver.obeys) {
                    break;
                }
                self.saw(Seen::ReadAnyway);
            }
            let Some(arrival) = self.next_arrival() else {
                break;
            };
            self.handle(&arrival)?;
        }
        self.handle_reports()?;
        self.handle_timeouts()?;
        self.flush()
    }

    fn next_arrival(&mut self) -> Option<Arrival> {
        let due = self.arrivals.iter().enumerate();
        let due = due.filter(|(_, arrival)| arrival.at <= self.now);
        let (first, _) = due.min_by_key(|(_, arrival)| arrival.at)?;
        Some(self.arrivals.remove(first))
    }

    fn handle(&mut self, arrival: &Arrival) -> Verdict {
        let Arrival {
            source, payload, ..
        } = arrival;
        let now = Instant::from_millis(self.now);
        let mut reply = Reply::new();
        // the relay must ignore the former contents
        let _ = reply.extend_from_slice(b"old");
        let event = self
            .relay
            .handle_datagram(now, *source, payload, &mut reply);
        self.note(|_| {
            let (payload, reply) = (shown(payload), shown(&reply));
            format!("{source} says {payload} -> {event:?} {reply}")
        });
        let asked = str::from_utf8(&reply).ok().and_then(code_asked_for);
        if let Some((code, _)) = asked {
            self.codes.insert(*source, code);
        }
        self.oracle.datagram(now, *source, payload, &event, &reply)
    }

    fn handle_reports(&mut self) -> Verdict {
        while let Some(due) = self.reports.iter().position(|report| report.at <= self.now) {
            let Report { about, why, .. } = self.reports.remove(due);
            let Some(seat) = self.relay.find(&about) else {
                continue;
            };
            let now = Instant::from_millis(self.now);
            let departed = self.relay.handle_unreachable(now, seat, why);
            self.note(|_| format!("{about} unreachable: {why:?} -> {departed:?}"));
            self.oracle.unreachable(now, seat, why, departed.as_ref())?;
        }
        Ok(())
    }

    fn handle_timeouts(&mut self) -> Verdict {
        let now = Instant::from_millis(self.now);
        self.oracle.next_timeout(self.relay.poll_timeout())?;
        if self.relay.poll_timeout().is_some_and(|then| now >= then) {
            self.handle_timeout_until_done()?;
            self.oracle.next_timeout(self.relay.poll_timeout())?;
            let then = self.relay.poll_timeout();
            check(then.is_none_or(|then| then > now), || {
                format!("wakes at {then:?} again")
            })?;
        }
        Ok(())
    }

    fn handle_timeout_until_done(&mut self) -> Verdict {
        let now = Instant::from_millis(self.now);
        loop {
            let expired = self.relay.handle_timeout(now);
            self.note(|_| format!("timeout -> {expired:?}"));
            self.oracle.timeout(now, expired.as_ref())?;
            if expired.is_none() {
                return Ok(());
            }
        }
    }

    /// Checks that additional calls to `handle_timeout` do only what is due.
    pub(super) fn expect_nothing_from_timeout(&mut self) -> Verdict {
        self.handle_timeout_until_done()?;
        self.handle_timeout_until_done()
    }

    /// Checks that there is a datagram to send while the relay cannot receive.
    fn check_something_to_send(&mut self) -> Verdict {
        self.saw(Seen::NotReadable);
        let mut buffer = [0; DATAGRAM_MAX];
        let now = Instant::from_millis(self.now);
        let is_something = self.relay.poll_fanout(now, &mut buffer).is_some();
        check(is_something, || {
            "!can_receive and nothing to send".to_owned()
        })
    }

    /// Lets some blocked peers be writable again, and blocks others.
    fn change_ways(&mut self) {
        let is_healed = self.driver.obeys == 100 && !self.driver.is_late;
        for seat in core::mem::take(&mut self.blocked) {
            if is_healed || chance(&mut self.random, 60) {
                self.relay.handle_writable(seat);
                self.oracle.blocked(seat, false);
                self.note(|_| format!("{seat:?} is writable"));
            } else {
                self.blocked.push(seat);
            }
        }
        if !is_healed && chance(&mut self.random, 4) {
            let peers: Vec<Seat> = self.relay.peers().map(|peer| peer.seat).collect();
            if let Some(seat) = self.random.choice(peers) {
                self.relay.handle_blocked(seat);
                self.oracle.blocked(seat, true);
                self.blocked.push(seat);
                self.note(|_| format!("{seat:?} is blocked"));
            }
        }
    }

    fn flush(&mut self) -> Verdict {
        self.change_ways();
        if self.is_blocked && chance(&mut self.random, 70) {
            // as a driver does that waits until the socket is writable
            return Ok(());
        }
        loop {
            let is_all = self.take()?;
            if is_all {
                // peers that are not blocked were sent everything, even while others are blocked
                self.oracle.nothing_due()?;
            }
            let waits = if self.is_blocked { 90 } else { 30 };
            if self.driver.is_late && chance(&mut self.random, waits) {
                return Ok(());
            }
            let is_sent = self.give_to_network();
            if is_all || !is_sent {
                break;
            }
        }
        self.oracle.accounts(self.relay.stats(), self.relay.peers())
    }

    /// Takes a batch of deliveries. Returns whether there are no more.
    fn take(&mut self) -> Verdict<bool> {
        let mut room = if self.driver.is_patient {
            usize::MAX
        } else {
            self.driver.batch
        };
        let now = Instant::from_millis(self.now);
        let length = pick(&mut self.random, &[DATAGRAM_MAX, 2 * DATAGRAM_MAX]);
        let mut buffer = vec![0xFF; length];
        loop {
            let Some(mut fanout) = self.relay.poll_fanout(now, &mut buffer) else {
                return Ok(true);
            };
            let payload = fanout.payload();
            let mut taken = 0;
            while room > 0 {
                let Some(delivery) = fanout.next() else {
                    break;
                };
                room -= 1;
                taken += 1;
                if let Some(trace) = &mut self.trace {
                    keep(
                        trace,
                        format!("{} is offered {}", delivery.address, shown(payload)),
                    );
                }
                let offer = self
                    .oracle
                    .offered(delivery.seat, delivery.address, payload)?;
                self.in_hand.push((delivery, offer));
            }
            self.counts.events += 1;
            if room == 0 {
                self.saw(Seen::NotTaken);
                return Ok(false);
            }
            if taken > 1 {
                self.saw(Seen::Grouped);
            }
            check(taken > 0, || format!("{} is for no peer", shown(payload)))?;
        }
    }

    /// Gives the batch to the network. Returns whether it accepted all of it.
    fn give_to_network(&mut self) -> bool {
        let mut refused = Vec::new();
        let mut is_blocked = false;
        let takes = if self.is_blocked {
            self.random.usize(..=self.in_hand.len())
        } else {
            self.in_hand.len()
        };
        for (number, (delivery, offer)) in
            core::mem::take(&mut self.in_hand).into_iter().enumerate()
        {
            let fate = self.fate(delivery.address);
            is_blocked |= number >= takes;
            if is_blocked || fate == Fate::Blocks {
                // a driver that is not patient takes one blocked destination for a blocked network
                is_blocked |= !self.driver.is_patient;
                refused.push((delivery, offer));
                continue;
            }
            if let Fate::Fails(why) = fate {
                let at = self.now + pick(&mut self.random, &[0, 1, 100]);
                self.reports.push(Report {
                    at,
                    about: delivery.address,
                    why,
                });
            }
            self.oracle.sent(offer);
        }
        for (delivery, offer) in refused.iter().rev() {
            self.relay.handle_refused(*delivery);
            self.blocked.push(delivery.seat);
            self.oracle.refused(offer);
        }
        if let [(first, _), ..] = &refused[..] {
            self.note(|_| {
                format!(
                    "{} would block and {} more",
                    first.address,
                    refused.len() - 1
                )
            });
        }
        refused.is_empty()
    }

    fn fate(&self, address: SocketAddr) -> Fate {
        let mut clients = self.clients.iter();
        let client = clients.find(|client| client.address == address);
        client.map_or(Fate::Vanishes, |client| client.fate)
    }
}

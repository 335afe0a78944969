//! The operator's orders, in the room and on the relay's own terminal.

use core::net::IpAddr;

use super::admission::{Rule, Verdict};
use super::config::Network;
use super::event::{Departed, Departure, Event};
use super::plain::PlainReply;
use super::seat::Seat;
use super::{Relay, Reply};
use crate::time::Instant;
use crate::wire::Sentence;
use crate::wire::order::{Action, Order};

/// Maximum pause that [`Order::Slow`] can set, in seconds: the maximum in a POSTED.
const SLOW_MAX: u16 = 60;

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Executes an order that is typed at the relay itself, without its `/`: see `PROTOCOL.md`,
    /// section "The operator". `answer` is replaced by the answer. Returns the peer that was
    /// removed, if any; send it its [farewell](Departed::farewell).
    pub fn order(&mut self, now: Instant, text: &str, answer: &mut Reply) -> Option<Departed> {
        answer.clear();
        let mut answer = PlainReply {
            reply: answer,
            newline: false,
        };
        self.execute(now, None, text, &mut answer).1
    }

    /// Says a text that is typed at the relay itself, as `host`, which is nobody else's name if
    /// [`Config::host`](crate::Config::host) is set. Returns the number of its lines.
    pub fn say_as_host(&mut self, now: Instant, text: &str) -> u8 {
        self.say_as(now, None, HOST, text)
    }

    /// Executes an order that the peer at `seat` gave in the room.
    pub(super) fn handle_order(
        &mut self,
        now: Instant,
        seat: Seat,
        order: Result<&str, ()>,
        reply: &mut PlainReply<'_>,
    ) -> (bool, Event) {
        let Ok(order) = order else {
            reply.answer(Sentence::NoOperator);
            return (false, Event::Answered { seat });
        };
        let (is_done, removed) = self.execute(now, Some(seat), order, reply);
        let event = match removed {
            Some(removed) => Event::Removed {
                by: Some(seat).filter(|seat| *seat != removed.seat),
                removed,
            },
            None => Event::Answered { seat },
        };
        (is_done, event)
    }

    /// Executes an order of the peer at `by`, or of the relay itself, and answers it. Returns
    /// whether it was done, and the peer that it removed.
    fn execute(
        &mut self,
        now: Instant,
        by: Option<Seat>,
        text: &str,
        answer: &mut PlainReply<'_>,
    ) -> (bool, Option<Departed>) {
        let Ok(order) = Order::try_from(text) else {
            answer.answer(Sentence::NoOrder);
            return (false, None);
        };
        let (sentence, removed) = match order {
            Order::Peer(name, action) => match self.peers.find_name(name) {
                Some(seat) => self.treat(now, by, seat, name, action),
                None => (Sentence::Nobody(name), None),
            },
            Order::Unban => {
                self.admission.unban();
                (Sentence::Done, None)
            }
            Order::Lock(is_locked) => {
                self.admission.is_locked = is_locked;
                (Sentence::Done, None)
            }
            Order::Slow(seconds) => {
                self.admission.slow_s = seconds.min(SLOW_MAX);
                (Sentence::Done, None)
            }
        };
        answer.answer(sentence);
        let is_done = !matches!(
            sentence,
            Sentence::Nobody(_) | Sentence::OwnAddress(_) | Sentence::NoRoom
        );
        (is_done, removed)
    }

    /// Does to a peer what an order of the peer at `by`, or of the relay itself, says.
    fn treat<'a>(
        &mut self,
        now: Instant,
        by: Option<Seat>,
        seat: Seat,
        name: &'a str,
        action: Action,
    ) -> (Sentence<'a>, Option<Departed>) {
        let Some(peer) = self.peers.peer_mut(seat) else {
            return (Sentence::Nobody(name), None);
        };
        let sentence = match action {
            Action::Mute(is_muted) => {
                peer.is_muted = is_muted;
                return (Sentence::Done, None);
            }
            Action::Kick => Sentence::Out(name, None),
            Action::Ban(minutes) => {
                let address = peer.address.ip();
                let own = by.and_then(|by| Some(self.peers.peer(by)?.address.ip()));
                if own == Some(address) {
                    return (Sentence::OwnAddress(name), None);
                }
                if !self.ban(now, address, minutes) {
                    return (Sentence::NoRoom, None);
                }
                Sentence::Out(name, Some(minutes))
            }
        };
        (sentence, self.leave(now, seat, Departure::Removed))
    }

    /// Bans an address. Returns whether there was room for it.
    fn ban(&mut self, now: Instant, address: IpAddr, minutes: u32) -> bool {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let rule = Rule {
            verdict: Verdict::Deny,
            network: Network { address, prefix },
        };
        let until_s = now.as_secs().saturating_add(minutes.saturating_mul(60));
        self.admission.ban(rule, until_s.max(1))
    }
}

/// The name under which the relay's own terminal speaks.
pub(super) const HOST: &str = "host";

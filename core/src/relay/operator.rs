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
use crate::wire::order::Order;

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
        self.execute(now, text, &mut answer).1
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
        let (is_done, removed) = self.execute(now, order, reply);
        let event = match removed {
            Some(removed) => Event::Removed {
                by: Some(seat).filter(|seat| *seat != removed.seat),
                removed,
            },
            None => Event::Answered { seat },
        };
        (is_done, event)
    }

    /// Executes an order and answers it. Returns whether it was done, and the peer that it removed.
    fn execute(
        &mut self,
        now: Instant,
        text: &str,
        answer: &mut PlainReply<'_>,
    ) -> (bool, Option<Departed>) {
        let Ok(order) = Order::try_from(text) else {
            answer.answer(Sentence::NoOrder);
            return (false, None);
        };
        let mut removed = None;
        let sentence = match order {
            Order::Kick(name) => match self.peers.find_name(name) {
                Some(seat) => {
                    removed = self.leave(now, seat, Departure::Removed);
                    Sentence::Out(name)
                }
                None => Sentence::Nobody(name),
            },
            Order::Ban(name, minutes) => {
                let seat = self.peers.find_name(name);
                let peer = seat.and_then(|seat| Some((seat, self.peers.peer(seat)?.address.ip())));
                match peer {
                    None => Sentence::Nobody(name),
                    Some((_, address)) if !self.ban(now, address, minutes) => Sentence::NoRoom,
                    Some((seat, _)) => {
                        removed = self.leave(now, seat, Departure::Removed);
                        Sentence::Banned(name, minutes)
                    }
                }
            }
            Order::Unban => {
                self.admission.unban();
                Sentence::Done
            }
            Order::Mute(name, is_muted) => {
                let seat = self.peers.find_name(name);
                match seat.and_then(|seat| self.peers.peer_mut(seat)) {
                    Some(peer) => {
                        peer.is_muted = is_muted;
                        Sentence::Done
                    }
                    None => Sentence::Nobody(name),
                }
            }
            Order::Lock(is_locked) => {
                self.admission.is_locked = is_locked;
                Sentence::Done
            }
            Order::Slow(seconds) => {
                self.admission.slow_s = seconds.min(SLOW_MAX);
                Sentence::Done
            }
        };
        answer.answer(sentence);
        let is_done = !matches!(sentence, Sentence::Nobody(_) | Sentence::NoRoom);
        (is_done, removed)
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

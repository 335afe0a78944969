//! The relay's driver, and the oracle's checks at the relay.

use core::net::SocketAddr;

use kilochat_core::{DATAGRAM_MAX, Event, Expired, Farewell, Instant, Refusal, Reply};

use crate::dialect::{self, Admitted};
use crate::framed::counts::Met;
use crate::framed::gate::Exchange;
use crate::framed::network::Datagram;
use crate::framed::wire::{GIVEN_AWAY, Wire, told};
use crate::framed::world::World;
use crate::inputs::chance;
use crate::judge::proving::code_asked_for;
use crate::{Verdict, check};

/// Maximum number of times that the relay's driver empties its socket after a suspension.
const DOORS_MAX: usize = 1000;

/// The state of a peer as the relay reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) seat: usize,
    pub(crate) address: SocketAddr,
    name: String,
    heard: Instant,
    pub(crate) suspect: bool,
    pub(crate) framed: bool,
    pub(crate) parked: bool,
    pub(crate) owed: u64,
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>
    World<PEERS, RING, WINDOW, HELD>
{
    /// Returns the states of all peers.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let peers = self.relay.peers().map(|peer| Shown {
            seat: peer.seat.index(),
            address: peer.address,
            name: peer.name.to_owned(),
            heard: peer.heard,
            suspect: peer.suspect,
            framed: peer.framed,
            parked: peer.parked,
            owed: peer.owed,
        });
        peers.collect()
    }

    /// Runs the relay's driver once: it receives, handles time-outs, and sends.
    pub(crate) fn relay_turn(&mut self) -> Verdict {
        for _ in 0..self.driver.reads {
            if !self.relay.can_receive() {
                self.check_something_to_send()?;
                break;
            }
            let Some(datagram) = self.door.pop_front() else {
                break;
            };
            self.relay_handles(&datagram)?;
        }
        self.relay_times_out()?;
        self.flush()?;
        if !self.door.is_empty() {
            self.retry_at = Some(self.retry_at.unwrap_or(self.now));
        }
        Ok(())
    }

    /// Suspends the relay's process for a random time.
    pub(crate) fn suspend_relay(&mut self) {
        if self.suspended_until.is_none() {
            let length = self.random.u64(1000..120_000);
            self.suspended_until = Some(self.now + length);
            self.saw(Met::RelaySuspended);
            self.note(|_| format!("the relay is suspended for {length}"));
        }
    }

    /// Resumes the relay's process. It reads all datagrams that have arrived before it decides
    /// which clients were silent.
    pub(crate) fn relay_goes_on(&mut self) -> Verdict {
        self.note(|_| "the relay goes on".to_owned());
        (self.suspended_until, self.retry_at) = (None, None);
        for _ in 0..DOORS_MAX {
            while self.relay.can_receive()
                && let Some(datagram) = self.door.pop_front()
            {
                self.notice_speaker(&datagram);
                self.relay_handles(&datagram)?;
            }
            self.flush()?;
            if self.door.is_empty() {
                break;
            }
        }
        let verdict = self.relay_turn();
        self.spoke.clear();
        verdict
    }

    /// Notes that a datagram that waited during the suspension is from a present client.
    fn notice_speaker(&mut self, datagram: &Datagram) {
        let Some(Wire::Ack { session, .. }) = Wire::read(&datagram.payload) else {
            return;
        };
        if self.gate.holder_of(session) == Some(datagram.source)
            && let Some(seat) = self.relay.find(&datagram.source)
        {
            self.spoke.push(seat.index());
            self.saw(Met::HeardAfterSuspend);
        }
    }

    fn check_something_to_send(&mut self) -> Verdict {
        self.saw(Met::NotReadable);
        let now = self.relay_clock();
        let mut buffer = [0; DATAGRAM_MAX];
        let is_something = self.relay.poll_fanout(now, &mut buffer).is_some();
        self.check_readable(is_something)
    }

    pub(crate) fn check_readable(&self, is_right: bool) -> Verdict {
        check(is_right, || {
            format!(
                "!can_receive and nothing to send: {:?} {:?}",
                self.shown(),
                self.relay
            )
        })
    }

    /// Hands the relay a datagram, and judges the result.
    pub(crate) fn relay_handles(&mut self, datagram: &Datagram) -> Verdict {
        let (source, payload) = (datagram.source, &datagram.payload);
        let now = self.relay_clock();
        let before = self.shown();
        let head_before = self.room().head;
        let seat_of = |shown: &[Shown]| {
            let mut shown = shown.iter();
            let peer = shown.find(|peer| peer.address == source);
            peer.map(|peer| peer.seat)
        };
        let mut reply = Reply::new();
        let event = self.relay.handle_datagram(now, source, payload, &mut reply);
        let after = self.shown();
        self.note(|world| {
            let (who, said, answer) = (world.who(source), told(payload), told(&reply));
            format!("relay hears {who}: {said} -> {event:?} {answer}")
        });
        self.count_lines(now);
        self.notice_names(payload, &reply);
        self.notice_private(source, payload, &reply, &event, head_before)?;
        self.judge_kept()?;
        self.judge_unannounced(&event, payload, head_before)?;
        self.judge_welcome(now, &event, payload, &reply)?;
        self.count_event(&event, payload);
        self.judge_displaced(source, &event, &before)?;
        if let Some(measure) = &mut self.measure {
            measure.relayed(self.now, &event, payload);
        }
        self.unpark(&before, &after);
        if let Event::Acknowledged { seat } = event {
            self.acknowledges(now, seat.index(), payload);
        }
        self.obeys_once(&event, payload)?;
        let (moved, question) = asides(&event);
        let parked = parked(&before);
        let exchange = Exchange {
            now: now.as_millis(),
            source,
            payload,
            reply: &reply,
            before: seat_of(&before),
            after: seat_of(&after),
            moved,
            question,
            parked: &parked,
        };
        self.admission
            .judge(&self.config, &exchange, &event, &mut self.counts)?;
        self.farewells(&event)?;
        let room = self.rooms.last_mut().unwrap();
        let (head, epoch) = (room.head, &mut room.epoch);
        self.gate
            .exchange(&exchange, head, epoch, &mut self.counts)?;
        self.keep_seats(&after)?;
        self.judge_secrets(source, &reply)?;
        self.tell_plain(source, &event, &reply)?;
        if !reply.is_empty() && !self.is_muted {
            let is_welcome = reply.starts_with(b"\x01W");
            if chance(&mut self.random, self.driver.jams) {
                self.saw(Met::ReplyRefused);
            } else if is_welcome && chance(&mut self.random, self.driver.lost_welcomes) {
                self.saw(Met::WelcomeLost);
            } else {
                self.count_sent(&reply);
                self.send(self.address, source, reply.to_vec());
            }
        }
        Ok(())
    }

    /// Notes which clients were parked, and are not any more.
    fn unpark(&mut self, before: &[Shown], after: &[Shown]) {
        for was in before.iter().filter(|peer| peer.parked) {
            let is_back = |peer: &&Shown| peer.address == was.address && !peer.parked;
            if after.iter().any(|peer| is_back(&peer)) {
                self.saw(Met::Unparked);
                self.gate.arrived(was.seat, None);
            }
        }
    }

    /// Checks that a repeated POST has no further effect.
    fn obeys_once(&self, event: &Event, payload: &[u8]) -> Verdict {
        let seat = match event {
            Event::Said { seat, .. }
            | Event::Renamed { seat, .. }
            | Event::Answered { seat }
            | Event::Keepalive { seat } => seat.index(),
            _ => return Ok(()),
        };
        let Some(Wire::Post { number, .. }) = Wire::read(payload) else {
            return Ok(());
        };
        let last = self.gate.holder(seat).and_then(|holder| holder.last_post());
        check(last != Some(number), || {
            format!("{event:?} of a POST that was answered: {}", told(payload))
        })
    }

    /// Records the lines that a client acknowledges.
    fn acknowledges(&mut self, now: Instant, seat: usize, payload: &[u8]) {
        match Wire::read(payload) {
            Some(Wire::Ack {
                next, ranges, echo, ..
            }) => {
                self.gate.hears(seat, now.as_millis(), echo);
                self.gate.acknowledged(seat, next);
                for (start, end) in ranges {
                    self.gate.has(seat, start, end);
                }
            }
            Some(Wire::Hello {
                resume: Some((_, _, next)),
                ..
            }) if self.stops_at.is_some() => {
                self.saw(Met::LastHello);
                self.gate.acknowledged(seat, next);
            }
            _ => {}
        }
    }

    /// Records lines that the relay may have appended in the last call.
    pub(crate) fn count_lines(&mut self, now: Instant) {
        let head = self.relay.stats().lines;
        self.room().grows(head, now.as_millis() / 1000);
    }

    /// Checks that no line is appended when a client joins that wants no announcement, unless it
    /// takes another peer's seat.
    fn judge_unannounced(&mut self, event: &Event, payload: &[u8], head: u64) -> Verdict {
        let Event::Joined {
            displaced: None, ..
        } = event
        else {
            return Ok(());
        };
        if !is_unannounced(payload) {
            return Ok(());
        }
        self.saw(Met::JoinedUnannounced);
        check(self.room().head == head, || "it was announced".to_owned())
    }

    /// Checks that a plain newcomer that may be forged gets nobody's seat who speaks in frames.
    fn judge_displaced(&self, source: SocketAddr, event: &Event, before: &[Shown]) -> Verdict {
        let Event::Joined {
            seat,
            displaced: Some(gone),
        } = event
        else {
            return Ok(());
        };
        let is_stranger = source.ip() == core::net::IpAddr::from([10, 0, 0, 9]);
        let is_forged =
            is_stranger && dialect::admitted(&self.config, source.ip()) == Admitted::AtOnce;
        let mut before = before.iter();
        let was_framed = before.any(|peer| peer.framed && peer.address == gone.address);
        check(!(is_forged && was_framed), || {
            format!("{source} has got seat {seat:?} of {gone:?}")
        })
    }

    /// Judges the history and the clock in a WELCOME by the lines so far. A repeated WELCOME is
    /// compared with the first one elsewhere.
    fn judge_welcome(
        &mut self,
        now: Instant,
        event: &Event,
        payload: &[u8],
        reply: &[u8],
    ) -> Verdict {
        let Some(Wire::Welcome(welcome)) = Wire::read(reply) else {
            return Ok(());
        };
        let times = (welcome.uptime_s.into(), welcome.keepalive_s);
        check(times == (now.as_millis() / 1000, 15), || {
            format!("at {now:?} the relay says {welcome:?}")
        })?;
        let room = self.room();
        let head = match event {
            Event::Joined { .. } => {
                room.welcomes(welcome.session, welcome.first, !is_unannounced(payload))
            }
            Event::Resumed { .. } => room.head,
            _ => {
                self.saw(Met::WelcomeAgain);
                return Ok(());
            }
        };
        check(welcome.head == head, || {
            format!("what was said before ends at {head}, and the relay says {welcome:?}")
        })
    }

    /// Handles the farewell in an event: it is sent to the address that the peer had.
    fn farewells(&mut self, event: &Event) -> Verdict {
        if let Event::Claimed { .. } = event
            && let Some((_, to, question)) = event.aside()
        {
            self.note_datagram("relay asks", to, question);
            self.send(self.address, to, question.to_vec());
            return Ok(());
        }
        let (to, farewell) = match event {
            Event::Resumed {
                moved: Some((to, farewell)),
                ..
            } => (*to, farewell),
            Event::Joined {
                displaced: Some(departed),
                ..
            }
            | Event::Left(departed) => (departed.address, &departed.farewell),
            _ => return Ok(()),
        };
        self.farewell(to, farewell)
    }

    fn farewell(&mut self, to: SocketAddr, farewell: &Farewell) -> Verdict {
        let payload = farewell.as_bytes();
        if payload.is_empty() {
            return Ok(());
        }
        if let Some(Wire::Bye {
            session,
            reason: GIVEN_AWAY,
        }) = Wire::read(payload)
        {
            self.saw(Met::GivenAway);
            let is_holder = self.gate.holder_of(session) == Some(to);
            check(is_holder, || format!("{to} never had {session:x}"))?;
        }
        self.note_datagram("relay says to", to, payload);
        self.send(self.address, to, payload.to_vec());
        Ok(())
    }

    /// Compares the peers after a call with those before it.
    fn keep_seats(&mut self, shown: &[Shown]) -> Verdict {
        let has_seat = |seat, address, framed| {
            let is =
                |peer: &Shown| (peer.seat, peer.address, peer.framed) == (seat, address, framed);
            shown.iter().any(is)
        };
        self.gate
            .keep(|seat, address| has_seat(seat, address, true));
        self.admission
            .keep(|address| shown.iter().any(|peer| peer.address == address));
        let is_known = |peer: &Shown| !peer.framed || self.gate.holder(peer.seat).is_some();
        let unknown = shown.iter().find(|peer| !is_known(peer));
        check(unknown.is_none(), || {
            format!("{unknown:?} has a session without a WELCOME")
        })?;
        for plain in &mut self.plains {
            let mut peers = shown.iter();
            let is_there = peers.any(|peer| peer.address == plain.address && !peer.framed);
            if plain.has_joined() && !is_there {
                plain.leaves(self.rooms.last().unwrap())?;
            }
        }
        Ok(())
    }

    /// Hands a plain peer the reply.
    fn tell_plain(&mut self, source: SocketAddr, event: &Event, reply: &[u8]) -> Verdict {
        if let Some(code) = code_in(reply) {
            self.repeats_code(source, code);
            return Ok(());
        }
        let room = self.rooms.last_mut().unwrap();
        let mut plains = self.plains.iter_mut();
        let plain = plains.find(|plain| plain.address == source);
        let Some((plain, text)) = plain.zip(core::str::from_utf8(reply).ok()) else {
            return Ok(());
        };
        match event {
            Event::Joined { .. } if reply.first() != Some(&1) => {
                plain.joins(text, room)?;
                self.saw(Met::PlainJoined);
            }
            Event::Renamed { .. } => plain.is_renamed(text),
            _ => {}
        }
        Ok(())
    }

    /// Lets a plain peer join by the code that it was sent, at once: a code that it sends twice would be a
    /// message.
    fn repeats_code(&mut self, source: SocketAddr, code: u32) {
        let mut plains = self.plains.iter();
        let name = match plains.find(|plain| plain.address == source) {
            Some(plain) => format!("plain {}", plain.number),
            None if self.crowd.contains(&source) => "stranger".to_owned(),
            None => return,
        };
        let payload = format!("{code:08} {name}").into_bytes();
        let is_waiting =
            |it: &Datagram| it.source == source && it.payload.ends_with(name.as_bytes());
        let is_code = |it: &Datagram| is_waiting(it) && it.payload.len() == payload.len();
        if !self.door.iter().any(is_code) {
            self.door.push_back(Datagram {
                source,
                destination: self.address,
                payload,
            });
        }
    }

    fn count_event(&mut self, event: &Event, payload: &[u8]) {
        match event {
            Event::Joined {
                displaced: Some(_), ..
            } => self.saw(Met::DisplacedParked),
            Event::Said { .. } => {
                if let Some(Wire::Post { texts, .. }) = Wire::read(payload)
                    && texts.len() > 1
                {
                    self.saw(Met::ManyTexts);
                }
            }
            Event::Refused { why, .. } if *why == Refusal::Late => self.saw(Met::PostLate),
            Event::Refused { why, .. } if *why == Refusal::Full => self.saw(Met::Full),
            Event::Refused { why, .. } if *why == Refusal::Stopping => {
                let is_post = payload.starts_with(b"\x01P");
                self.saw(match is_post {
                    true => Met::PostRefusedStopping,
                    false => Met::RefusedStopping,
                });
            }
            Event::Left(_) => self.saw(Met::Left),
            Event::Acknowledged { .. } if payload.starts_with(b"\x01P") => {
                self.saw(Met::PostAnsweredAgain);
            }
            _ => {}
        }
    }

    fn relay_times_out(&mut self) -> Verdict {
        let now = self.relay_clock();
        let is_due = self.relay.poll_timeout().is_some_and(|then| then <= now);
        if !is_due && !chance(&mut self.random, 2) {
            return Ok(());
        }
        let before = self.relay.stats().parked;
        while let Some(expired) = self.relay.handle_timeout(now) {
            self.note(|_| format!("relay: {expired:?}"));
            self.count_lines(now);
            match expired {
                Expired::Parked(seat) => {
                    self.saw(Met::Parked);
                    check(!self.spoke.contains(&seat.index()), || {
                        format!("{seat:?} is parked, but a frame from it has just arrived")
                    })?;
                }
                Expired::Left(departed) => {
                    self.farewell(departed.address, &departed.farewell)?;
                }
            }
            let shown = self.shown();
            self.keep_seats(&shown)?;
        }
        if is_due && self.relay.stats().parked == before {
            self.saw(Met::TimedOut);
        }
        let then = self.relay.poll_timeout();
        check(then.is_none_or(|then| then > now), || {
            format!("the relay wakes at {then:?} again")
        })
    }
}

/// Returns the code that a reply asks for.
fn code_in(reply: &[u8]) -> Option<u32> {
    let (code, _) = code_asked_for(core::str::from_utf8(reply).ok()?)?;
    Some(code)
}

/// Returns whether this is a HELLO of a client that wants no announcement.
fn is_unannounced(payload: &[u8]) -> bool {
    matches!(
        Wire::read(payload),
        Some(Wire::Hello {
            is_announced: false,
            ..
        })
    )
}

/// What is sent to another address than the datagram's source.
type Aside<'a> = Option<(SocketAddr, &'a [u8])>;

/// Returns the farewell to the old address of a session that moved, and the question to that of one
/// that is wanted elsewhere.
fn asides(event: &Event) -> (Aside<'_>, Aside<'_>) {
    let aside = event.aside().map(|(_, to, payload)| (to, payload));
    match event {
        Event::Resumed { .. } => (aside, None),
        Event::Claimed { .. } => (None, aside),
        _ => (None, None),
    }
}

/// Returns the addresses of the clients that are parked.
fn parked(shown: &[Shown]) -> Vec<SocketAddr> {
    let parked = shown.iter().filter(|peer| peer.parked);
    parked.map(|peer| peer.address).collect()
}

//! The framed dialect at the relay: sessions, retransmission, and clients that do not respond. See
//! `PROTOCOL.md`, section "The framed dialect".

mod deadlines;
mod inquiry;
mod joining;
mod posting;
mod window;

use core::net::SocketAddr;
use core::time::Duration;

use heapless::Vec;

use super::event::{Departure, Event, Expired, Refusal};
use super::index::{Index, hash};
use super::peers::Suspicion;
use super::queue::List;
use super::seat::Seat;
use super::{Relay, Reply};
use crate::time::Instant;
use crate::wire::framed::{self, DATA_HEADER, Frame, Gap, Goodbye, Hello, Session};
use crate::wire::{Announcement, DATAGRAM_MAX};
use deadlines::Deadlines;
pub(super) use inquiry::Inquiry;
use posting::LastPost;
pub(super) use window::Segment;
use window::Window;

/// Silence after which a client is parked.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Silence after which a client is parked when data is unacknowledged and retransmission has timed
/// out [`TRIES`] times.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// Number of consecutive time-outs after which the shorter limit applies.
const TRIES: u8 = 4;

/// Silence after which a foreign plain peer leaves: whoever has its address then does not want its lines.
const LAPSE: Duration = Duration::from_secs(3600);

/// A deadline that is handled this late means that the driver was suspended. Datagrams of clients may
/// then be unread, so each client gets this much more time before it is parked.
const SUSPENDED: Duration = Duration::from_secs(1);

/// The state of one session, by seat.
#[derive(Clone, Debug)]
pub(super) struct Framed<const WINDOW: usize> {
    session: Session,
    /// The nonce of the HELLO that was last answered by WELCOME.
    nonce: u64,
    pub(super) window: Window<WINDOW>,
    last_post: LastPost,
    /// Whether the client is parked.
    is_parked: bool,
    /// Whether the client is in no list because it cannot be sent anything now.
    pub(super) is_held: bool,
}

/// The sessions of at most `SEATS` clients.
#[derive(Clone, Debug)]
pub(super) struct Sessions<const SEATS: usize, const WINDOW: usize> {
    /// By seat; seats beyond the end have no session.
    by_seat: Vec<Option<Framed<WINDOW>>, SEATS>,
    by_session: Index<SEATS>,
    pub(super) deadlines: Deadlines<SEATS>,
    /// The epoch, a number that differs in each run of a relay, once there was a client.
    epoch: Option<u32>,
}

impl<const SEATS: usize, const WINDOW: usize> Sessions<SEATS, WINDOW> {
    pub(super) const fn new() -> Self {
        Self {
            by_seat: Vec::new(),
            by_session: Index::new(),
            deadlines: Deadlines::new(),
            epoch: None,
        }
    }

    pub(super) const fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    /// Sets the epoch of a former run.
    pub(super) const fn set_epoch(&mut self, epoch: Option<u32>) {
        self.epoch = epoch;
    }

    pub(super) fn framed(&self, seat: Seat) -> Option<&Framed<WINDOW>> {
        self.by_seat.get(seat.index())?.as_ref()
    }

    pub(super) fn framed_mut(&mut self, seat: Seat) -> Option<&mut Framed<WINDOW>> {
        self.by_seat.get_mut(seat.index())?.as_mut()
    }

    /// Returns the session of a seat.
    pub(super) fn session(&self, seat: Seat) -> Option<u64> {
        self.framed(seat).map(|framed| framed.session.0)
    }

    pub(super) fn is_parked(&self, seat: Seat) -> bool {
        self.framed(seat).is_some_and(|framed| framed.is_parked)
    }

    /// Returns whether all clients that are not parked have acknowledged the lines before `head`.
    pub(super) fn have_all_before(&self, head: u64) -> bool {
        let mut served = self.by_seat.iter().flatten();
        served.all(|framed| framed.is_parked || framed.window.acked() >= head)
    }

    /// Returns the number of datagrams with new lines that may be sent to a seat next.
    pub(super) fn room(&self, seat: Seat) -> usize {
        self.framed(seat).map_or(0, |framed| framed.window.room())
    }

    /// Encodes a DATA without its entries.
    pub(super) fn data_header(&self, now: Instant, first: u64) -> [u8; DATA_HEADER] {
        framed::data_header(self.epoch.unwrap_or_default(), now.as_wrapped(), first)
    }

    /// Returns the seat of a session.
    fn find(&self, session: Session) -> Option<Seat> {
        self.by_session
            .candidates(session_hash(session))
            .find(|seat| {
                self.framed(*seat)
                    .is_some_and(|framed| framed.session == session)
            })
    }

    fn insert(&mut self, seat: Seat, framed: Framed<WINDOW>) {
        self.by_session.insert(session_hash(framed.session), seat);
        // there is space for every seat
        while self.by_seat.len() <= seat.index() && self.by_seat.push(None).is_ok() {}
        if let Some(slot) = self.by_seat.get_mut(seat.index()) {
            *slot = Some(framed);
        }
    }

    /// Ends the session of a seat, if it has one.
    pub(super) fn remove(&mut self, seat: Seat) -> Option<Session> {
        self.deadlines.set(seat, None);
        let slot = self.by_seat.get_mut(seat.index())?;
        let session = slot.as_ref()?.session;
        *slot = None;
        self.by_session.remove(session_hash(session), seat);
        Some(session)
    }
}

fn session_hash(session: Session) -> u32 {
    hash(session.0)
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Handles a frame; `seat` is the seat of its source.
    #[cfg_attr(target_os = "none", inline(never))] // what it needs of the stack is not added to others
    pub(super) fn handle_frame(
        &mut self,
        now: Instant,
        source: SocketAddr,
        seat: Option<Seat>,
        payload: &[u8],
        reply: &mut Reply,
    ) -> Event {
        // the source may be forged
        let refused = |why| Event::Refused { seat: None, why };
        if seat.is_none()
            && let Err(why) = self.served(now, source)
        {
            return refused(why);
        }
        let decoded = Frame::decode_clients(payload);
        let frame = match &decoded {
            Ok(Frame::Hello(hello)) => return self.handle_hello(now, source, seat, hello, reply),
            Ok(frame) => frame,
            Err(framed::Malformed) => match Hello::foreign_nonce(payload) {
                Some(nonce) if !self.is_stopping => {
                    return self.challenge(now, source, nonce, reply);
                }
                _ => return refused(Refusal::Frame),
            },
        };
        let session = match frame {
            Frame::Post(post) => post.session,
            Frame::Ack(ack) => ack.session,
            Frame::Leave(session) => *session,
            Frame::Hello(_)
            | Frame::Cookie(_)
            | Frame::Welcome(_)
            | Frame::Refused(_)
            | Frame::Posted(_)
            | Frame::Data(_)
            | Frame::Gap(_)
            | Frame::Bye(..) => return refused(Refusal::Frame),
        };
        let known = seat.filter(|seat| {
            let framed = self.sessions.framed(*seat);
            framed.is_some_and(|framed| framed.session == session)
        });
        let Some(seat) = known else {
            let is_plain = seat.is_some_and(|seat| self.sessions.framed(seat).is_none());
            if is_plain {
                return refused(Refusal::Dialect);
            }
            write(reply, &Frame::Bye(session, Goodbye::Unknown));
            return refused(Refusal::Session);
        };
        self.hear(now, seat);
        if let Frame::Ack(ack) = frame {
            return self.handle_ack(now, seat, ack, reply);
        }
        if let Frame::Post(post) = frame {
            return self.handle_post(now, seat, post, reply);
        }
        self.leave_in_frames(now, seat, reply)
    }

    #[cfg_attr(target_os = "none", inline(never))] // what it needs of the stack is not added to others
    fn handle_ack(
        &mut self,
        now: Instant,
        seat: Seat,
        ack: &framed::Ack,
        reply: &mut Reply,
    ) -> Event {
        let list = self.peers.peer(seat).and_then(|peer| self.list(seat, peer));
        self.skip_to(seat, ack.next);
        if let Some(framed) = self.sessions.framed_mut(seat) {
            framed.window.handle_ack(now.as_wrapped(), ack);
        }
        if let Some(welcomed) = self.welcomed_mut(seat) {
            welcomed.inquiry.handle_ack(now, ack.echo);
        }
        self.settle_again(list, seat);
        if ack.answer {
            let head = self.ring.head().sequence;
            // a header fits
            let _ = reply.extend_from_slice(&self.sessions.data_header(now, head));
        }
        Event::Acknowledged { seat }
    }

    /// Records that a frame of its session arrived from a client.
    fn hear(&mut self, now: Instant, seat: Seat) {
        let Some(peer) = self.peers.peer_mut(seat) else {
            return;
        };
        peer.heard = now;
        peer.suspicion = Suspicion::default();
        let Some(framed) = self.sessions.framed_mut(seat) else {
            return;
        };
        if framed.is_parked {
            framed.is_parked = false;
            self.stats.unparked += 1;
            self.settle(seat);
            self.arm(now, seat);
            self.announce_parked(now, seat, false);
        }
    }

    /// Parks a client that does not respond: nothing is sent to it until it is heard from again.
    fn park(&mut self, now: Instant, seat: Seat, list: Option<List>) {
        self.queue.unlink(list, seat);
        if let Some(framed) = self.sessions.framed_mut(seat) {
            framed.is_parked = true;
            framed.is_held = true;
        }
        self.rewind(seat);
        self.sessions.deadlines.set(seat, None);
        self.stats.parked += 1;
        self.full_until = Instant::default();
        self.announce_parked(now, seat, true);
    }

    /// Records that a client has all lines before `next`. If that is more than its window covers,
    /// it received them before it was parked, and they need not be sent again.
    fn skip_to(&mut self, seat: Seat, next: u64) {
        let (Some(framed), Some(peer)) =
            (self.sessions.framed_mut(seat), self.peers.peer_mut(seat))
        else {
            return;
        };
        let end = framed.window.end();
        if next <= end.sequence {
            return;
        }
        let to = self.ring.seek(end, next);
        framed.window.skip_to(to);
        peer.cursor = to;
    }

    /// Makes everything due again that a client has not acknowledged.
    fn rewind(&mut self, seat: Seat) {
        if let (Some(framed), Some(peer)) =
            (self.sessions.framed_mut(seat), self.peers.peer_mut(seat))
        {
            let window = &mut framed.window;
            window.restart(self.ring.seek(window.base(), window.acked()));
            peer.cursor = window.base();
        }
    }

    fn announce_parked(&mut self, now: Instant, seat: Seat, is_parked: bool) {
        let peer = self
            .peers
            .peer(seat)
            .filter(|peer| peer.dialect.is_announced());
        let Some(name) = peer.map(|peer| peer.name.clone()) else {
            return;
        };
        let announcement = if is_parked {
            Announcement::Away(&name)
        } else {
            Announcement::Back(&name)
        };
        self.announce(now, self.peers.len(), None, announcement);
    }

    /// Handles the deadlines that have passed, until a client is parked or a peer leaves.
    pub(super) fn handle_deadlines(&mut self, now: Instant) -> Option<Expired> {
        while let Some((seat, at)) = self.sessions.deadlines.first()
            && at <= now
        {
            let list = self.peers.peer(seat).and_then(|peer| self.list(seat, peer));
            let heard = self.peers.peer(seat).map_or(now, |peer| peer.heard);
            let Some(framed) = self.sessions.framed_mut(seat) else {
                let lapse = heard.after(LAPSE);
                if now < lapse {
                    self.sessions.deadlines.set(seat, Some(lapse));
                    continue;
                }
                self.sessions.deadlines.set(seat, None);
                let departed = self.leave(now, seat, Departure::Lapsed);
                return departed.map(Expired::Left);
            };
            framed.window.handle_timeout(now.as_wrapped());
            if now.since(heard) >= framed.patience() && now.since(at) < SUSPENDED {
                self.park(now, seat, list);
                return Some(Expired::Parked(seat));
            }
            self.settle_again(list, seat);
            self.arm(now, seat);
        }
        None
    }

    /// Sets the deadline at which a foreign plain peer leaves: when it has been silent for an hour.
    pub(super) fn arm_for_lapse(&mut self, now: Instant, seat: Seat) {
        if self
            .peers
            .peer(seat)
            .is_some_and(|peer| peer.slot.is_some())
        {
            self.sessions.deadlines.set(seat, Some(now.after(LAPSE)));
        }
    }

    /// Sets the deadline of a client that is not parked.
    fn arm(&mut self, now: Instant, seat: Seat) {
        let (Some(peer), Some(framed)) = (self.peers.peer(seat), self.sessions.framed(seat)) else {
            return;
        };
        let silence = peer.heard.after(framed.patience());
        let silence = if silence > now {
            silence
        } else {
            now.after(SUSPENDED)
        };
        let late = framed.window.timeout_ms(now.as_wrapped());
        let late = late.map(|wait| now.after(Duration::from_millis(wait.max(1).into())));
        let deadline = late.map_or(silence, |late| late.min(silence));
        // there is no deadline at the end of time
        let deadline = Some(deadline).filter(|deadline| *deadline > now);
        self.sessions.deadlines.set(seat, deadline);
    }

    /// Sets the deadline for a datagram to a client that is in flight since `now`: its
    /// retransmission time-out.
    pub(super) fn arm_for_sent(&mut self, now: Instant, seat: Seat) {
        if let Some(framed) = self.sessions.framed(seat) {
            let rto = Duration::from_millis(framed.window.rto_ms().into());
            self.sessions.deadlines.advance(seat, now.after(rto));
        }
    }

    /// Moves a client's cursor to a line that is still in the ring. Returns the list that it
    /// belongs in, if it can be sent anything.
    pub(super) fn catch_up_framed(&mut self, seat: Seat) -> Option<List> {
        let (tail, head) = (self.ring.tail(), self.ring.head());
        let peer = self.peers.peer_mut(seat)?;
        let framed = self.sessions.framed_mut(seat)?;
        let window = &mut framed.window;
        self.stats.missed += window.handle_overwritten(tail);
        peer.cursor = window.end();
        let list = if peer.is_blocked || framed.is_parked {
            None
        } else if window.gap().is_some() || window.lost().is_some() {
            Some(List::Due)
        } else if window.room() == 0 {
            None
        } else if peer.cursor == head {
            Some(List::Idle)
        } else {
            Some(List::Due)
        };
        framed.is_held = list.is_none();
        if list == Some(List::Due) {
            let from = window.oldest_lost().unwrap_or(peer.cursor.offset);
            self.note_owed(from);
        }
        list
    }
}

impl<const WINDOW: usize> Framed<WINDOW> {
    /// Encodes a GAP.
    pub(super) fn gap(&self, now: Instant, from: u64, until: u64) -> Frame<'static> {
        Frame::Gap(Gap {
            session: self.session,
            sent_at: now.as_wrapped(),
            from,
            until,
        })
    }

    /// Returns the silence after which the client is parked.
    const fn patience(&self) -> Duration {
        if self.window.timeouts() >= TRIES {
            UNACKNOWLEDGED_MAX
        } else {
            SILENCE_MAX
        }
    }
}

/// Makes a frame the reply; it must fit.
fn write(reply: &mut Reply, frame: &Frame<'_>) {
    let _ = reply.resize_default(DATAGRAM_MAX);
    let length = frame.encode_relays(reply).unwrap_or(0);
    reply.truncate(length);
}

//! Handling of HELLO, and the frames that answer it.

use core::fmt::Write;
use core::net::SocketAddr;

use heapless::String;

use super::inquiry::Decision;
use super::posting::LastPost;
use super::window::Window;
use super::{Framed, write as encode};
use crate::relay::event::{Departure, Event, Farewell, Refusal};
use crate::relay::peers::{Dialect, Welcomed};
use crate::relay::seat::Seat;
use crate::relay::secret;
use crate::relay::text::without_padding;
use crate::relay::{Relay, Reply};
use crate::time::Instant;
use crate::wire::NAME_MAX;
use crate::wire::framed::{
    Cookie, Frame, Goodbye, Hello, Reason, Refused, Resume, Session, UNANNOUNCED, Welcome,
};

/// Silence after which a client must send a keepalive, in seconds.
const KEEPALIVE_S: u8 = 15;

/// Time after which a client may request a seat again when all are taken, in seconds.
const RETRY_S: u16 = 60;

/// Time after which a client of a network that joins too fast may request a seat again, in seconds.
const HASTY_RETRY_S: u16 = 10;

/// A HELLO whose nonce is smaller than that of the session by less than this was overtaken by a
/// later one.
const NONCES: u64 = 1 << 16;

/// The version in COOKIE, shortened so that further words fit.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const VERSION_MAX: usize = 20;

/// Maximum length of the words of a COOKIE: abilities, number of peers and name.
const WORDS_MAX: usize = 8 + 1 + 5 + 1 + NAME_MAX;

/// Optional abilities of the relay; none are defined yet.
const ABILITIES: &str = "00000000";

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    pub(super) fn handle_hello(
        &mut self,
        now: Instant,
        source: SocketAddr,
        seat: Option<Seat>,
        hello: &Hello<'_>,
        reply: &mut Reply,
    ) -> Event {
        if self.is_stopping {
            return self.answer_last_hello(seat, hello);
        }
        let key = &self.config.key;
        let is_proven = hello
            .cookie
            .is_some_and(|cookie| secret::is_cookie(key, now, &source, &cookie));
        if !is_proven {
            return self.challenge(now, source, hello.nonce, reply);
        }
        let epoch = self.sessions.epoch;
        let resume = hello.resume.filter(|resume| epoch == Some(resume.epoch));
        let resumed = resume.and_then(|resume| self.sessions.find(resume.session));
        for known in [resumed, seat].into_iter().flatten() {
            let Some(framed) = self.sessions.framed(known) else {
                continue;
            };
            let behind = framed.nonce.wrapping_sub(hello.nonce);
            if behind == 0 && seat == Some(known) {
                self.hear(now, known);
                if let Some(welcomed) = self.welcomed_mut(known) {
                    welcomed.handle_present();
                }
                self.welcome_in_frame(now, known, reply);
                return Event::Acknowledged { seat: known };
            }
            if (1..NONCES).contains(&behind) {
                return Event::Refused {
                    seat: None,
                    why: Refusal::Late,
                };
            }
        }
        if let (Some(seat), Some(resume)) = (resumed, resume) {
            match self.handle_claim(now, source, hello.cookie, seat) {
                Decision::Granted => {}
                Decision::Asked(event) => return event,
                Decision::Denied => {
                    return self.join_in_frames(now, source, hello, Some(resume), reply);
                }
            }
            return self.resume(now, source, seat, hello.nonce, resume, reply);
        }
        self.join_in_frames(now, source, hello, resume, reply)
    }

    /// Answers a HELLO that does not prove that its sender receives at its source address.
    pub(super) fn challenge(
        &self,
        now: Instant,
        source: SocketAddr,
        nonce: u64,
        reply: &mut Reply,
    ) -> Event {
        let mut words = String::<WORDS_MAX>::new();
        // it fits
        let _ = write!(
            words,
            "{ABILITIES} {} {}",
            self.peers.len(),
            self.config.name
        );
        let cookie = Cookie {
            version: VERSION.get(..VERSION_MAX).unwrap_or(VERSION),
            nonce,
            cookie: secret::cookie(&self.config.key, now, &source),
            words: words.trim_end(),
        };
        encode(reply, &Frame::Cookie(cookie));
        Event::Challenged
    }

    /// Answers a HELLO while the relay is stopping: the next run will answer it, and the lines that
    /// it resumes after are acknowledged.
    fn answer_last_hello(&mut self, seat: Option<Seat>, hello: &Hello<'_>) -> Event {
        let session = seat.and_then(|seat| Some(self.sessions.framed(seat)?.session));
        let resume = hello.resume.filter(|it| session == Some(it.session));
        let (Some(seat), Some(Resume { next, .. })) = (seat, resume) else {
            return Event::Refused {
                seat: None,
                why: Refusal::Stopping,
            };
        };
        let list = self.peers.peer(seat).and_then(|peer| self.list(seat, peer));
        self.skip_to(seat, next);
        if let Some(framed) = self.sessions.framed_mut(seat) {
            framed.window.advance(next);
        }
        self.settle_again(list, seat);
        Event::Acknowledged { seat }
    }

    /// Resumes a session, perhaps at another address.
    fn resume(
        &mut self,
        now: Instant,
        source: SocketAddr,
        seat: Seat,
        nonce: u64,
        resume: Resume,
        reply: &mut Reply,
    ) -> Event {
        let displaced = self
            .peers
            .find(&source)
            .filter(|other| *other != seat)
            .and_then(|other| self.leave(now, other, Departure::Replaced));
        let old = self.peers.peer(seat).map(|peer| peer.address);
        let moved = old.filter(|old| *old != source).map(|old| {
            self.peers.readdress(seat, source);
            self.count_move(now, seat, source.ip());
            (old, Farewell::bye(resume.session, Goodbye::TakenOver))
        });
        let list = self.peers.peer(seat).and_then(|peer| self.list(seat, peer));
        self.skip_to(seat, resume.next);
        if let Some(framed) = self.sessions.framed_mut(seat) {
            framed.nonce = nonce;
            framed.window.advance(resume.next);
        }
        self.rewind(seat);
        self.settle_again(list, seat);
        self.hear(now, seat);
        let acked = |framed: &Framed<WINDOW>| framed.window.acked();
        let first = self.sessions.framed(seat).map_or(0, acked);
        self.set_welcomed(seat, first, self.ring.head().sequence, false);
        self.welcome_in_frame(now, seat, reply);
        Event::Resumed {
            seat,
            moved,
            displaced,
        }
    }

    /// Gives a client a seat. With `resume` it already has lines of this run of the relay.
    fn join_in_frames(
        &mut self,
        now: Instant,
        source: SocketAddr,
        hello: &Hello<'_>,
        resume: Option<Resume>,
        reply: &mut Reply,
    ) -> Event {
        let name = without_padding(hello.name.as_bytes());
        let name = core::str::from_utf8(name).unwrap_or_default();
        let dialect = Dialect::Framed(Welcomed {
            is_unannounced: hello.abilities & UNANNOUNCED != 0,
            ..Welcomed::default()
        });
        let name = name.trim_matches(' ');
        let newcomer = match self.take_seat(now, source, name, dialect) {
            Ok(newcomer) => newcomer,
            Err(why) => {
                let (reason, retry_s) = refused(why);
                encode(
                    reply,
                    &Frame::Refused(Refused {
                        nonce: hello.nonce,
                        reason,
                        retry_s,
                    }),
                );
                return Event::Refused { seat: None, why };
            }
        };
        let (seat, head) = (newcomer.seat, newcomer.head);
        self.open_session(now, source, (seat, head), hello.nonce, resume);
        self.welcome_in_frame(now, seat, reply);
        Event::Joined {
            seat,
            displaced: newcomer.displaced,
        }
    }

    /// Opens the session of a newcomer at `seat`, before whose announcement the ring had this `head`.
    #[cfg_attr(target_os = "none", inline(never))] // what it needs of the stack is not added to others
    fn open_session(
        &mut self,
        now: Instant,
        source: SocketAddr,
        (seat, head): (Seat, u64),
        nonce: u64,
        resume: Option<Resume>,
    ) {
        let key = &self.config.key;
        let id = self.peers.peer(seat).map_or(0, |peer| peer.id.get());
        let session = Session(secret::session(key, &source, nonce, id));
        self.sessions
            .epoch
            .get_or_insert_with(|| secret::epoch(key, &source, nonce));
        let from = match resume {
            Some(resume) => self.ring.seek(self.ring.tail(), resume.next),
            None => self
                .peers
                .peer(seat)
                .map(|peer| peer.cursor)
                .unwrap_or_default(),
        };
        let acked = resume.map_or(from.sequence, |resume| resume.next.min(from.sequence));
        self.sessions.insert(
            seat,
            Framed {
                session,
                nonce,
                window: Window::new(acked, from),
                last_post: LastPost::NONE,
                is_parked: false,
                is_held: true,
            },
        );
        self.settle(seat);
        self.arm(now, seat);
        self.set_welcomed(seat, acked, head.max(acked), true);
    }

    /// Writes a WELCOME. It is the same each time, except for the uptime, the name and the names of
    /// the peers.
    fn welcome_in_frame(&self, now: Instant, seat: Seat, reply: &mut Reply) {
        let (Some(peer), Some(framed)) = (self.peers.peer(seat), self.sessions.framed(seat)) else {
            return;
        };
        let Dialect::Framed(welcomed) = &peer.dialect else {
            return;
        };
        encode(
            reply,
            &Frame::Welcome(Welcome {
                nonce: framed.nonce,
                session: framed.session,
                epoch: self.sessions.epoch.unwrap_or_default(),
                author: peer.id.get(),
                first: welcomed.first,
                head: welcomed.head,
                uptime_s: now.as_secs(),
                window: u8::try_from(WINDOW).unwrap_or(u8::MAX),
                keepalive_s: KEEPALIVE_S,
                name: &peer.name,
                text: "",
            }),
        );
        if welcomed.is_new {
            self.welcome(seat, false, reply);
        }
    }

    fn set_welcomed(&mut self, seat: Seat, first: u64, head: u64, is_new: bool) {
        if let Some(welcomed) = self.welcomed_mut(seat) {
            (welcomed.first, welcomed.head, welcomed.is_new) = (first, head, is_new);
            welcomed.handle_present();
        }
    }

    pub(super) fn welcomed_mut(&mut self, seat: Seat) -> Option<&mut Welcomed> {
        match &mut self.peers.peer_mut(seat)?.dialect {
            Dialect::Framed(welcomed) => Some(welcomed),
            Dialect::Plain(_) => None,
        }
    }
}

/// Returns the reason and the pause, in seconds, for the frame REFUSED.
const fn refused(why: Refusal) -> (Reason, u16) {
    match why {
        Refusal::Full => (Reason::Full, RETRY_S),
        Refusal::Crowded => (Reason::Crowded, RETRY_S),
        Refusal::Locked => (Reason::Locked, RETRY_S),
        Refusal::Hasty => (Reason::Hasty, HASTY_RETRY_S),
        Refusal::Frame
        | Refusal::Session
        | Refusal::Dialect
        | Refusal::Late
        | Refusal::TooLong
        | Refusal::NotUtf8
        | Refusal::Blank
        | Refusal::Nameless
        | Refusal::Source
        | Refusal::Foreign
        | Refusal::Unproven
        | Refusal::Denied
        | Refusal::Muted
        | Refusal::Returned
        | Refusal::Slow
        | Refusal::Stopping => (Reason::Nameless, 0),
    }
}

//! The client of the framed dialect as a state machine: datagrams and time in, datagrams and events
//! out. See `PROTOCOL.md`, section "The framed dialect".

mod acknowledging;
mod event;
mod greeting;
mod handling;
mod polling;
mod posting;
mod pulse;
mod receiving;
#[cfg(test)]
mod tests;
mod waiting;

use core::fmt::Write;
use core::time::Duration;

use heapless::String;

pub use event::{
    ClientEvent, ClientStats, Dropped, End, Joined, Path, PostError, PostId, Received, SeatLoss,
    State, Transmit,
};

use crate::Instant;
use crate::wire::command::Command;
use crate::wire::framed::{Reason, Session, UNANNOUNCED};
use crate::wire::notices::NOTICE;
use crate::wire::text::{DATAGRAM_MAX, Name, clean, whole_characters};
use acknowledging::Acknowledging;
use greeting::Greeting;
use posting::Posting;
use pulse::Pulse;
use receiving::Receiving;

/// Maximum length of a text that the relay sends to this client only, in bytes.
const TEXT_BUFFER: usize = DATAGRAM_MAX - 15;

/// Minimum and maximum time from a LEAVE to the next one or, after the last one, to giving up.
/// Between these bounds it is the retransmission time-out, which doubles with each LEAVE.
const LEAVE_PAUSE: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// Maximum number of LEAVE that are sent.
const LEAVES: u8 = 3;

/// An id that no session has.
const NOBODYS: Session = Session(0);

/// Time after which a relay that announced that it is stopping has ended. Until then the client
/// still acknowledges lines; afterwards it requests a seat in the relay's next run.
const STOPPED: Duration = Duration::from_secs(1);

/// Grace period after a resume: a BYE that the relay sent to the client's previous address may
/// still arrive.
const FAREWELL: Duration = Duration::from_secs(1);

/// A client of the framed dialect. It opens no socket, reads no clock, and never allocates or
/// panics.
///
/// It stores at most `HELD` + 1 received datagrams of about 1 KiB each, whose lines are not polled
/// yet or wait for earlier lines. The texts to be posted share a buffer of `OUT` bytes, in which
/// each text takes six bytes more than its length.
///
/// A driver passes in what arrives, sends everything that [`poll_transmit`](Self::poll_transmit)
/// returns, shows everything that [`poll_event`](Self::poll_event) returns, and sleeps until
/// [`poll_timeout`](Self::poll_timeout) or a datagram. While events are not polled, nothing is lost
/// and nothing grows: the client does not acknowledge what it has no space for.
#[derive(Clone, Debug)]
pub struct Client<const HELD: usize, const OUT: usize> {
    phase: Phase,
    /// The name to request.
    wanted: Name,
    /// The name in the last WELCOME, cleaned.
    name: Name,
    greeting: Greeting,
    /// The session of the seat, or of the last one.
    session: Option<Session>,
    epoch: u32,
    /// The author ids of own lines: that of this seat, and that of the last one in the same run of
    /// the relay.
    authors: [u32; 2],
    /// Sequence number of the first line that is not history.
    history_end: u64,
    /// When the session was last resumed.
    resumed: Option<Instant>,
    /// When to request a seat again after the relay announced that it is stopping.
    stops: Option<Instant>,
    /// The end of the last lines that a WELCOME or a DATA of this run has named.
    head: u64,
    receiving: Receiving<HELD>,
    acknowledging: Acknowledging,
    posting: Posting<OUT>,
    pulse: Pulse,
    /// A notice that is not polled yet, or a line that had to be cleaned.
    text_buffer: String<TEXT_BUFFER>,
    joined: Option<NewSeat>,
    /// Events that are not polled yet: the loss of a seat, and the refusal of a new one.
    seat_loss: Option<SeatLoss>,
    no_seat: Option<NoSeat>,
    /// What HELLO says about this client.
    abilities: u32,
    is_quiet: bool,
    /// A `/quiet` that is not answered yet.
    asked_quiet: Option<PostId>,
    /// Whether to leave as soon as all texts are answered.
    is_quitting: bool,
    is_silent: bool,
    /// Whether the driver was told that the relay is silent.
    told_silent: bool,
    told_end: bool,
    stats: ClientStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There was no session yet.
    Joining,
    Joined,
    /// The relay does not respond. The session may still exist; the client sends HELLO to resume
    /// it.
    Silent,
    /// The session has ended or is not reachable; the client sends HELLO when it is due.
    Severed,
    Leaving {
        said: u8,
        due: Instant,
    },
    Ended(End),
}

/// The contents of the next `ClientEvent::Joined`.
#[derive(Clone, Copy, Debug)]
struct NewSeat {
    how: Joined,
    history: u64,
    uptime_s: u32,
}

/// The contents of the next `ClientEvent::NoSeat`.
#[derive(Clone, Copy, Debug)]
struct NoSeat {
    reason: Reason,
    retry_s: u16,
}

impl<const HELD: usize, const OUT: usize> Client<HELD, OUT> {
    /// Creates a client that requests a seat under the first [`NAME_MAX`](crate::NAME_MAX) bytes of
    /// `name`.
    ///
    /// `seed` must be random: someone who can guess it can reply in the relay's place. `paths` is
    /// the number of local ports that the driver can open. Use 1, or 6 if the server may be an old
    /// one without frames, which relays every datagram from a port except the first. With one path
    /// the client never gives up; with more it ends with [`End::NoRelay`] after six HELLOs without
    /// a reply.
    pub fn new(name: &str, seed: u64, paths: u8) -> Self {
        let mut client = Self {
            phase: Phase::Joining,
            wanted: Name::new(),
            name: Name::new(),
            greeting: Greeting::new(seed, paths),
            session: None,
            epoch: 0,
            authors: [0; 2],
            history_end: 0,
            resumed: None,
            stops: None,
            head: 0,
            receiving: Receiving::new(),
            acknowledging: Acknowledging::new(),
            posting: Posting::new(),
            pulse: Pulse::new(),
            text_buffer: String::new(),
            joined: None,
            seat_loss: None,
            no_seat: None,
            abilities: 0,
            is_quiet: false,
            asked_quiet: None,
            is_quitting: false,
            is_silent: false,
            told_silent: false,
            told_end: false,
            stats: ClientStats::default(),
        };
        client.want(name);
        client
    }

    /// Asks the relay not to announce that this client joins and leaves: for a program that says
    /// something and leaves. Call it before the first datagram.
    pub const fn join_unannounced(&mut self) {
        self.abilities |= UNANNOUNCED;
    }

    /// Queues a text, cleaned as by [`clean`](crate::clean): a message, `//TEXT` for the message
    /// `/TEXT`, or a command. The client itself answers `/quiet`. With `/quit` it leaves as soon as
    /// all texts queued before are answered, or at once if it has no seat.
    ///
    /// # Errors
    ///
    /// See [`PostError`]; nothing is queued then.
    pub fn post(&mut self, text: &str) -> Result<PostId, PostError> {
        if self.is_quitting || matches!(self.state(), State::Leaving | State::Ended) {
            return Err(PostError::Ended);
        }
        match Command::of(text) {
            Some(Command::Quit) => {
                self.is_quitting = true;
                Ok(self.posting.next_id())
            }
            Some(Command::Quiet(wanted)) => {
                if self.asked_quiet.is_some() {
                    return Err(PostError::Full);
                }
                self.is_quiet = wanted.unwrap_or(self.is_quiet);
                let post = self.posting.next_id();
                self.asked_quiet = Some(post);
                Ok(post)
            }
            _ => self.posting.push(text),
        }
    }

    /// Returns the number of texts that are queued or in flight, or whose result was not polled.
    pub fn unanswered(&self) -> usize {
        self.posting.count() + usize::from(self.asked_quiet.is_some())
    }

    /// Signs orders from now on, with the key of the relay's operators: `/kick NAME` and what else
    /// `PROTOCOL.md`, section "The operator", lists.
    #[cfg(feature = "operator")]
    pub const fn set_operator(&mut self, key: [u8; 16]) {
        self.posting.operator = Some(key);
    }

    /// Returns whether texts wait because the relay limits how fast this client may talk. They are
    /// posted as fast as it allows.
    pub const fn is_slowed(&self) -> bool {
        self.posting.is_slowed()
    }

    /// Sends LEAVE at most three times, and ends when it is answered or after the last time-out. A
    /// client that never had a seat ends at once.
    pub fn leave(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Leaving { .. } | Phase::Ended(_)) {
            return;
        }
        if self.session.is_none_or(|session| session == NOBODYS) {
            self.end(End::Left);
            return;
        }
        self.phase = Phase::Leaving { said: 0, due: now };
    }

    /// The machine was suspended or its network changed: requests the seat again, at once.
    pub fn reconnect(&mut self, now: Instant) {
        match self.phase {
            Phase::Joined | Phase::Silent | Phase::Severed => {
                self.lose(now, Phase::Severed);
                self.greeting.hurry(now);
            }
            Phase::Joining => self.greeting.hurry(now),
            Phase::Leaving { .. } | Phase::Ended(_) => {}
        }
    }

    /// The network reported that nobody listens at the relay's port, or that no route leads there:
    /// requests the seat again, after a pause if that happened a moment ago.
    pub fn handle_unreachable(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Joined | Phase::Silent) {
            self.lose(now, Phase::Severed);
        }
    }

    /// Returns the state of the connection.
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Joining => State::Joining,
            Phase::Joined => State::Joined,
            Phase::Silent | Phase::Severed => State::Lost,
            Phase::Leaving { .. } => State::Leaving,
            Phase::Ended(_) => State::Ended,
        }
    }

    /// Returns the counters.
    pub const fn stats(&self) -> &ClientStats {
        &self.stats
    }

    /// Sets the name that HELLO requests from now on.
    fn want(&mut self, name: &str) {
        self.wanted.clear();
        // it fits
        let _ = self
            .wanted
            .push_str(whole_characters(name.trim(), crate::NAME_MAX));
    }

    /// The seat is lost, and is requested again.
    fn lose(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.stops = None;
        self.greeting.begin(now);
    }

    fn end(&mut self, why: End) {
        self.phase = Phase::Ended(why);
        self.posting.end();
    }

    /// Returns whether it is time to leave after `/quit`: all texts are answered, or cannot be.
    fn has_quit(&self) -> bool {
        self.is_quitting
            && (self.phase != Phase::Joined || self.posting.count() == 0)
            && !matches!(self.phase, Phase::Leaving { .. } | Phase::Ended(_))
    }
}

/// Appends the cleaned `text`, as far as it fits.
fn push_clean(to: &mut impl Write, text: &str) {
    // the rest is cut off
    let _ = clean(text).try_for_each(|character| to.write_char(character));
}

/// Returns a notice without its prefix.
fn without_star(notice: &str) -> &str {
    notice.strip_prefix(NOTICE).unwrap_or(notice)
}

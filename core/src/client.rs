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
use crate::wire::framed::{Reason, Session, UNANNOUNCED};
use crate::wire::{Command, DATAGRAM_MAX, NOTICE, Name, clean, whole_characters};
use acknowledging::Acknowledging;
use greeting::Greeting;
use posting::Posting;
use pulse::Pulse;
use receiving::Receiving;

/// Maximum length of a text that the relay sends to this client only, in bytes.
const TEXT_BUFFER: usize = DATAGRAM_MAX - 15;

/// Minimum and maximum time from a LEAVE to the next one or, after the last one, to giving up.
/// Between these bounds it is the retransmission time-out, which grows by half with each LEAVE.
const LEAVE_PAUSE: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// Maximum number of LEAVE that are sent.
const LEAVES: u8 = 3;

/// An id that no session has.
const NOBODYS: Session = Session(0);

/// Time after which a relay that announced that it is stopping has ended. Until then the client
/// still acknowledges lines; afterwards it requests a seat in the relay's next run.
const STOPPED: Duration = Duration::from_secs(1);

/// The same for a client that lacks nothing of this run. A random part of the length of
/// [`Greeting::spread`] is added.
const SETTLED: Duration = Duration::from_millis(250);

/// Grace period after a resume: a BYE that the relay sent to the client's previous address may
/// still arrive.
const FAREWELL: Duration = Duration::from_secs(1);

/// A client of the framed dialect. It opens no socket, reads no clock, and never allocates or
/// panics.
///
/// It stores at most `HELD` + 1 received datagrams of about 1 KiB each, whose lines are not polled
/// yet or wait for earlier lines. The texts to be posted share a buffer of `OUT` bytes, in which
/// each text takes six bytes more than its length. `Client<16, 4096>` suits a person or a sensor.
///
/// A driver passes in what arrives, sends everything that [`poll_transmit`](Self::poll_transmit)
/// returns, shows everything that [`poll_event`](Self::poll_event) returns, and sleeps until
/// [`poll_timeout`](Self::poll_timeout) or a datagram. The first HELLO is due at once. While events are
/// not polled, nothing is lost and nothing grows: the client does not acknowledge what it has no space
/// for. In each turn, with one socket that is connected to the relay:
///
/// ```
/// # use kilochat_core::{Client, ClientEvent, DATAGRAM_MAX, Instant, Path};
/// # let (random, now) = (7, Instant::from_millis(0));
/// # let mut sent = Vec::new();
/// # let mut send = |payload: &[u8]| sent.push(payload.to_vec());
/// # let received: Option<&[u8]> = None;
/// let mut client = Client::<16, 4096>::new("Ada", random, 1);
/// let mut buffer = [0; DATAGRAM_MAX];
/// // ...
/// if let Some(payload) = received {
///     client.handle_datagram(now, Path(0), payload);
/// }
/// client.handle_timeout(now);
/// while let Some(event) = client.poll_event() {
///     if let ClientEvent::Ended(why) = event {
///         // say why, and end
///     }
/// }
/// // after the events, because they make room for more lines
/// while let Some(transmit) = client.poll_transmit(now, &mut buffer) {
///     send(&buffer[..transmit.length]);
/// }
/// # assert_eq!(sent.len(), 1);
/// ```
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
    /// When the last line of this run arrived, which says that the relay is stopping.
    stopped: Option<Instant>,
    /// The end of the last lines that a WELCOME or a DATA of this run has named.
    head: u64,
    receiving: Receiving<HELD>,
    acknowledging: Acknowledging,
    posting: Posting<OUT>,
    pulse: Pulse,
    /// A notice that is not polled yet, or a line that had to be cleaned.
    text_buffer: String<TEXT_BUFFER>,
    joined: Option<NewSeat>,
    /// Events that are not polled yet: the loss of a seat, and that the relay gave no new one.
    seat_loss: Option<SeatLoss>,
    no_seat: Option<NoSeat>,
    /// What HELLO says about this client.
    abilities: u32,
    is_quiet: bool,
    /// A `/quiet` command whose answer the driver has not polled yet. The client answers it itself.
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
    /// No frame of the session is accepted until the next WELCOME: it has ended, the relay is
    /// stopping, or a POST was not answered for long. The client sends HELLO when it is due.
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
            stopped: None,
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
    /// all texts queued before are answered. Without a seat, so also before it has joined, it ends in the
    /// next `poll_transmit`, without a datagram, and says none of them: post `/quit` after
    /// [`ClientEvent::Joined`]. Other texts may be posted before that.
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

    /// Sets the key of the relay's operators. From now on orders are signed with it: `/kick NAME`,
    /// and the others in `PROTOCOL.md`, section "The operator".
    pub const fn set_operator(&mut self, key: [u8; 16]) {
        self.posting.operator = Some(key);
    }

    /// Returns whether texts wait because of the relay's rate limit. They are posted as fast as it
    /// permits.
    pub const fn is_slowed(&self) -> bool {
        self.posting.is_slowed()
    }

    /// Sends LEAVE at most three times, and ends when it is answered or after the last time-out. A
    /// client that never had a seat ends at once. Queued texts are not said.
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

    /// Requests the seat again at once. Call it after the machine was suspended, or its network
    /// changed.
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

    /// Handles a report of the network that nobody listens at the relay's port, or that no route
    /// leads there: requests the seat again, after a pause if that happened a moment ago.
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

    /// Gives the seat up, and requests it again.
    fn lose(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.greeting.begin(now);
        if self.stopped.take().is_some() {
            self.greeting.expect_next_run();
        }
    }

    /// Returns when to request a seat in the relay's next run, if this one is stopping. Lines and an
    /// answer that are missing may still come.
    fn next_run(&self) -> Option<Instant> {
        let lacks = self.receiving.has_holes() || self.posting.is_in_flight();
        let pause = if lacks {
            STOPPED
        } else {
            SETTLED.saturating_add(self.greeting.spread())
        };
        self.stopped.map(|then| then.after(pause))
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

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
use crate::wire::framed::{Reason, Session};
use crate::wire::notices::NOTICE;
use crate::wire::text::{DATAGRAM_MAX, Name, clean, whole_characters};
use acknowledging::Acknowledging;
use greeting::Greeting;
use posting::Posting;
use pulse::Pulse;
use receiving::Receiving;

/// The most bytes of a text that the relay says to this client alone.
const WORD_MAX: usize = DATAGRAM_MAX - 15;

/// The shortest time between LEAVEs, and the longest.
const LEAVE_PAUSE: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// So often LEAVE is said.
const LEAVES: u8 = 3;

/// A session that no relay gives out.
const NOBODYS: Session = Session(0);

/// A relay that says that it is stopping ends within this time, in which it still has to know what
/// arrived; after it, the client asks for a seat in the relay's next run.
const STOPPED: Duration = Duration::from_secs(1);

/// For so long after a session went on the relay's farewell to the address that the client had
/// before may still arrive.
const FAREWELL: Duration = Duration::from_secs(1);

/// A client of the framed dialect. It opens no socket, reads no clock, never allocates or panics.
///
/// It keeps at most `HELD` datagrams of lines that came before others, and one more, about 1 KiB
/// each; at most `OUT` bytes of texts wait to be said, with six bytes each beside them.
///
/// What a driver does: hand in what arrived, send all that [`poll_transmit`](Self::poll_transmit)
/// gives, show all that [`poll_event`](Self::poll_event) gives, sleep until
/// [`poll_timeout`](Self::poll_timeout) or a datagram. While events are not polled, nothing is lost
/// and nothing grows: the client acknowledges no more than it has room for.
#[derive(Clone, Debug)]
pub struct Client<const HELD: usize, const OUT: usize> {
    phase: Phase,
    /// The name to ask for.
    wanted: Name,
    /// The name at the last WELCOME, cleaned.
    name: Name,
    greeting: Greeting,
    /// Of the seat, or of the last one.
    session: Option<Session>,
    epoch: u32,
    /// What marks own lines, those of this seat and those of the one before in the same run.
    authors: [u32; 2],
    /// Lines before this one were said before the client joined.
    history_end: u64,
    /// When the same session last went on.
    resumed: Option<Instant>,
    /// When to ask for a seat again because the relay said that it is stopping.
    stops: Option<Instant>,
    /// The end of the furthest line that a WELCOME or a DATA has named in this run.
    head: u64,
    receiving: Receiving<HELD>,
    acknowledging: Acknowledging,
    posting: Posting<OUT>,
    pulse: Pulse,
    /// A text for a person that is not polled yet, or a line that had to be cleaned.
    word: String<WORD_MAX>,
    joined: Option<NewSeat>,
    /// What is not told yet of the seat that was lost, and of the one that cannot be had yet.
    seat_loss: Option<SeatLoss>,
    no_seat: Option<NoSeat>,
    is_quiet: bool,
    /// A `/quiet` that is not answered yet.
    asked_quiet: Option<PostId>,
    /// Leave when everything is said.
    is_quitting: bool,
    is_silent: bool,
    /// Whether the driver knows that.
    told_silent: bool,
    told_end: bool,
    stats: ClientStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There was no session yet.
    Joining,
    Joined,
    /// Nothing is heard in the session, which may go on; HELLO is said.
    Silent,
    /// The session does not go on from here by itself; HELLO is said, when it is time.
    Severed,
    Leaving {
        said: u8,
        due: Instant,
    },
    Ended(End),
}

/// What `ClientEvent::Joined` will say.
#[derive(Clone, Copy, Debug)]
struct NewSeat {
    how: Joined,
    history: u64,
    uptime_s: u32,
}

/// What `ClientEvent::NoSeat` will say.
#[derive(Clone, Copy, Debug)]
struct NoSeat {
    reason: Reason,
    retry_s: u16,
}

impl<const HELD: usize, const OUT: usize> Client<HELD, OUT> {
    /// A client that asks for a seat under the first [`NAME_MAX`](crate::NAME_MAX) bytes of `name`.
    ///
    /// `seed` must be random: whoever guesses it can answer in the relay's place. `paths` is how
    /// many ports the driver can open: six for early tries that an old server does not relay, or
    /// one if there is no old server. With one path the client never gives up; with more it ends
    /// with [`End::NoRelay`] when nobody has answered six times.
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
            word: String::new(),
            joined: None,
            seat_loss: None,
            no_seat: None,
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

    /// Queues a text, as [`clean`](crate::clean) leaves it: a message, `//TEXT` for the message
    /// `/TEXT`, or a command. `/quiet` is answered by the client itself. `/quit` makes it leave when
    /// all that was queued before is answered, at once if there is no seat.
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

    /// How many texts wait or are on their way, or have an answer that was not polled.
    pub fn unanswered(&self) -> usize {
        self.posting.count() + usize::from(self.asked_quiet.is_some())
    }

    /// Says LEAVE, at most three times, and ends when it is answered or was not. Before it ever had
    /// a seat it ends at once.
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

    /// The machine slept or its network changed: asks for its seat again, at once.
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

    /// The network reported that nobody listens at the relay's port, or that there is no way there:
    /// asks for its seat again, later if that has happened a moment ago.
    pub fn handle_unreachable(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Joined | Phase::Silent) {
            self.lose(now, Phase::Severed);
        }
    }

    /// How it stands.
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Joining => State::Joining,
            Phase::Joined => State::Joined,
            Phase::Silent | Phase::Severed => State::Lost,
            Phase::Leaving { .. } => State::Leaving,
            Phase::Ended(_) => State::Ended,
        }
    }

    /// What was counted.
    pub const fn stats(&self) -> &ClientStats {
        &self.stats
    }

    /// From now on HELLO asks for this name.
    fn want(&mut self, name: &str) {
        self.wanted.clear();
        // it fits
        let _ = self
            .wanted
            .push_str(whole_characters(name.trim(), crate::NAME_MAX));
    }

    /// The seat is lost: it is asked for again.
    fn lose(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.stops = None;
        self.greeting.begin(now);
    }

    fn end(&mut self, why: End) {
        self.phase = Phase::Ended(why);
        self.posting.end();
    }

    /// Whether everything was said before `/quit`, or cannot be.
    fn has_quit(&self) -> bool {
        self.is_quitting
            && (self.phase != Phase::Joined || self.posting.count() == 0)
            && !matches!(self.phase, Phase::Leaving { .. } | Phase::Ended(_))
    }
}

/// Appends what can be shown of `text`, as far as there is room.
fn push_clean(to: &mut impl Write, text: &str) {
    // what does not fit is cut
    let _ = clean(text).try_for_each(|character| to.write_char(character));
}

/// A notice without the mark that it is one.
fn without_star(notice: &str) -> &str {
    notice.strip_prefix(NOTICE).unwrap_or(notice)
}

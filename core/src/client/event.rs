//! What happens to a client, as values that a driver can show, log and count.

use core::error::Error;
use core::fmt;

use crate::wire::framed::LineKind;
use crate::wire::framed::Reason;

/// From which of its ports a client sends and receives. Each early try at a relay that nothing was
/// heard of goes from a port of its own, so that a program that takes the first datagram of a port
/// for a name and every other for a message relays none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Path(pub u8);

/// A datagram to send: the first `length` bytes of the driver's buffer, from the port `path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "a datagram that is not sent counts as lost"]
pub struct Transmit {
    /// From which port.
    pub path: Path,
    /// How many bytes.
    pub length: usize,
}

/// A text that was given to [`Client::post`](crate::Client::post): the first one is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PostId(pub u32);

/// What a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Received {
    /// A frame for this client.
    Frame,
    /// Plain text: it is not for this client.
    Foreign,
    /// A frame that changed nothing. Each reason is counted: see [`ClientStats::dropped`].
    Dropped(Dropped),
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dropped {
    /// It is cut, or not as `PROTOCOL.md` describes it.
    Malformed,
    /// A relay never sends it, or not now.
    Unexpected,
    /// It belongs to another session, or answers no HELLO of this client.
    Session,
    /// It says that lines are lost far beyond all that the relay was heard to have.
    Beyond,
    /// Its lines are of another run of the relay.
    Epoch,
    /// It brings nothing new.
    Duplicate,
    /// There is no room for it until events were polled or missing lines have come. It was not
    /// acknowledged, and comes again.
    NoRoom,
}

impl Dropped {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Unexpected,
        Self::Session,
        Self::Beyond,
        Self::Epoch,
        Self::Duplicate,
        Self::NoRoom,
    ];

    /// The reason in a few words, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unexpected => "unexpected",
            Self::Session => "of another session",
            Self::Beyond => "a gap beyond the last line",
            Self::Epoch => "of another run of the relay",
            Self::Duplicate => "nothing new",
            Self::NoRoom => "no room",
        }
    }
}

/// How it stands between a client and the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// There was no seat yet.
    Joining,
    /// There is a seat.
    Joined,
    /// There was a seat; the client says HELLO until there is one again.
    Lost,
    /// LEAVE was said.
    Leaving,
    /// It is over: events may be left, nothing is sent any more.
    Ended,
}

/// What a seat has to do with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Joined {
    /// There was none.
    New,
    /// It is the same one.
    Resumed,
    /// It is another one in the same run of the relay: sequence numbers go on.
    Continued,
    /// The relay is another run: sequence numbers start anew, and lines may be missing.
    Restarted,
}

/// How a seat was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SeatLoss {
    /// The client was silent, and another peer needed a seat.
    GivenAway,
    /// Another client goes on with the session.
    TakenOver,
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum End {
    /// The client left.
    Left,
    /// All seats are taken, and the relay did not say when to ask again.
    Full,
    /// The name holds nothing that can be seen.
    Nameless,
    /// The relay refused it for a reason that this version does not know, and for good.
    Refused,
    /// No frame ever came, on more than one path: there is an old server, or nobody.
    NoRelay,
}

/// What happened. Each text that [`Client::post`](crate::Client::post) took comes to exactly one of
/// `Said`, `Answered`, `Refused`, `Doubtful` and `Unsaid`. All texts are [`clean`](crate::clean).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClientEvent<'a> {
    /// There is a seat.
    Joined {
        /// What it has to do with the one before.
        how: Joined,
        /// The name, perhaps not the one that was asked for.
        name: &'a str,
        /// What there is to say to a person: `welcome NAME: N here (...)`.
        text: &'a str,
        /// How many lines that were said before are to come.
        history: u64,
        /// How long the relay has run, in seconds: the clock of `at` in `Line`.
        uptime_s: u32,
    },
    /// The next line.
    Line {
        /// Its place in the order that is the same for all.
        sequence: u64,
        /// When it was said: seconds since the relay started.
        at: u32,
        /// What it is.
        kind: LineKind,
        /// Who said it; empty in notices.
        name: &'a str,
        /// What was said, without the name; a notice without its `* `.
        text: &'a str,
        /// Whether this client said it.
        own: bool,
        /// Whether it was said before this client joined.
        is_history: bool,
    },
    /// Lines that will not come: they were overwritten before they arrived, or went with a run of
    /// the relay.
    Lost {
        /// The first of them.
        from: u64,
        /// How many.
        lines: u64,
    },
    /// A text was said. Its lines come as `Line` with `own`, before or after.
    Said {
        /// Which text.
        post: PostId,
        /// The sequence number of its first line.
        first: u64,
        /// How many lines it became.
        lines: u8,
    },
    /// A command was answered.
    Answered {
        /// Which command.
        post: PostId,
        /// The answer, without `* `.
        text: &'a str,
    },
    /// A text was not said and will not be: the relay refused it.
    Refused {
        /// Which text.
        post: PostId,
        /// Why.
        reason: Reason,
    },
    /// The session ended before there was an answer: the text may have been said or not.
    Doubtful {
        /// Which text.
        post: PostId,
    },
    /// It is over, and the text was never sent.
    Unsaid {
        /// Which text.
        post: PostId,
    },
    /// There is no seat any more. The client asks for another one, in which it goes on from the
    /// line where it is.
    SeatLost(SeatLoss),
    /// The relay has no seat for the client now. The client asks again after the time that the
    /// relay said.
    NoSeat {
        /// Why.
        reason: Reason,
        /// That time, in seconds.
        retry_s: u16,
    },
    /// There was no answer for a while. It goes on trying.
    Silent,
    /// There are answers again. `Joined` follows if the seat had to be asked for.
    Back,
    /// It is over. No event follows.
    Ended(End),
}

/// Why a text was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PostError {
    /// There is no room: try again when events were polled.
    Full,
    /// It has more than [`TEXT_MAX`](crate::wire::framed::TEXT_MAX) bytes: split it.
    TooLong,
    /// Nothing of it can be seen: drop it.
    Blank,
    /// The client leaves, or has left.
    Ended,
}

impl fmt::Display for PostError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full => "no room for the text until events were polled",
            Self::TooLong => "the text is too long",
            Self::Blank => "nothing of the text can be seen",
            Self::Ended => "the client leaves, or has left",
        })
    }
}

impl Error for PostError {}

/// What a client has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ClientStats {
    /// Datagrams received.
    pub received: u64,
    /// ... of them, plain text.
    pub foreign: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// ... of them, HELLOs.
    pub hellos: u64,
    /// ... of them, ACKs.
    pub acks: u64,
    /// ... of them, ACKs that said again what the one before said.
    pub acks_again: u64,
    /// ... of them, POSTs.
    pub posts: u64,
    /// ... of them, POSTs that were sent before.
    pub posts_again: u64,
    /// Lines shown, or hidden because of `/quiet`.
    pub lines: u64,
    /// Lines that did not come.
    pub lost: u64,
    /// Seats got.
    pub joined: u64,
    /// The smoothed round trip of POST and POSTED in milliseconds; none before the first.
    pub round_trip_ms: Option<u32>,
    dropped: [u64; Dropped::ALL.len()],
}

impl ClientStats {
    /// How many frames were dropped for this reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get(why as usize).copied().unwrap_or_default()
    }

    pub(super) fn count_drop(&mut self, why: Dropped) {
        if let Some(count) = self.dropped.get_mut(why as usize) {
            *count += 1;
        }
    }
}

//! What happens to a client, as values that a driver can show, log and count.

use core::error::Error;
use core::fmt;

use crate::wire::framed::LineKind;
use crate::wire::framed::Reason;

/// The local port from which a client sends and at which it receives. A server without frames takes
/// the first datagram from a port as a name and each later one as a message. So, until a relay has
/// replied, the client sends each HELLO from another port, and such a server relays none. Paths are
/// numbered from 0; a driver with one socket has only `Path(0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Path(pub u8);

/// A datagram to send: the first `length` bytes of the driver's buffer, from the port `path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "a datagram that is not sent counts as lost"]
pub struct Transmit {
    /// The local port to send from.
    pub path: Path,
    /// Length of the payload in bytes.
    pub length: usize,
}

/// The id of a text that was passed to [`Client::post`](crate::Client::post), counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PostId(pub u32);

/// The result of handling a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Received {
    /// A frame for this client.
    Frame,
    /// Plain text, which is not for this client.
    Foreign,
    /// A frame that had no effect. Each reason has a counter: see [`ClientStats::dropped`].
    Dropped(Dropped),
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dropped {
    /// It is truncated, or does not conform to `PROTOCOL.md`.
    Malformed,
    /// A frame that a relay never sends, or not in this state.
    Unexpected,
    /// It belongs to another session, or to a HELLO that this client did not send.
    Session,
    /// It claims a gap far beyond the last line that the relay is known to have.
    Beyond,
    /// Its lines are of another run of the relay.
    Epoch,
    /// It has a message to one peer, or leaves one out, for another client that had this address.
    Addressee,
    /// It is a duplicate.
    Duplicate,
    /// There is no space for it until events are polled or missing lines arrive. It is not
    /// acknowledged, so the relay will retransmit it.
    NoRoom,
}

impl Dropped {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::Unexpected,
        Self::Session,
        Self::Beyond,
        Self::Epoch,
        Self::Addressee,
        Self::Duplicate,
        Self::NoRoom,
    ];

    /// Returns the reason in a few words, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unexpected => "unexpected",
            Self::Session => "of another session",
            Self::Beyond => "a gap beyond the last line",
            Self::Epoch => "of another run of the relay",
            Self::Addressee => "for the former client of this address",
            Self::Duplicate => "nothing new",
            Self::NoRoom => "no room",
        }
    }
}

/// The state of a client's connection to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// The client has not had a seat yet.
    Joining,
    /// The client has a seat.
    Joined,
    /// The client had a seat, and sends HELLO until it has one again.
    Lost,
    /// The client has sent LEAVE.
    Leaving,
    /// The client has ended. Events may remain; nothing more is sent.
    Ended,
}

/// How a seat relates to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Joined {
    /// It is the first seat.
    New,
    /// It is the same seat: the session was resumed.
    Resumed,
    /// It is another seat in the same run of the relay: sequence numbers continue.
    Continued,
    /// The relay was restarted: sequence numbers start again, and lines may be missing.
    Restarted,
}

/// How a seat was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SeatLoss {
    /// The client was silent, and its seat was given to another peer.
    GivenAway,
    /// Another client resumed the session.
    TakenOver,
}

/// Why the client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum End {
    /// The client left.
    Left,
    /// All seats are taken, and the relay gave no time for another attempt.
    Full,
    /// The name has no visible character.
    Nameless,
    /// The client was removed from the room.
    Removed,
    /// The relay permanently gives no seat, for a reason that this version does not know.
    Refused,
    /// No frame arrived on several paths: the server knows no frames, or there is none.
    NoRelay,
}

/// An event. Each text that [`Client::post`](crate::Client::post) accepted gets exactly one of
/// `Said`, `Answered`, `Refused`, `Doubtful` and `Unsaid`, except `/quit`, which `Ended` follows. All
/// texts are [`clean`](crate::clean), and
/// only that of `Answered` may have several lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClientEvent<'a> {
    /// The client has a seat.
    Joined {
        /// How it relates to the seat before.
        how: Joined,
        /// The client's name, which may differ from the requested one.
        name: &'a str,
        /// The welcome for a person: `welcome NAME: N here (...)`.
        text: &'a str,
        /// Number of lines of history that follow.
        history: u64,
        /// Time since the relay started, in seconds: the clock of `at` in `Line`.
        uptime_s: u32,
    },
    /// The next line of the room. Lines arrive in order, and each at most once.
    Line {
        /// Its sequence number, which is the same for all clients. Those of private messages to others
        /// are skipped: only `Lost` tells of lost lines.
        sequence: u64,
        /// When it was appended, in seconds since the relay started.
        at: u32,
        /// Its kind.
        kind: LineKind,
        /// The author's name, also of a private message; empty in notices.
        name: &'a str,
        /// The message without the name, or the notice without its `* `.
        text: &'a str,
        /// Whether this client is the author.
        own: bool,
        /// Whether it is history: older than this client's join.
        is_history: bool,
    },
    /// Lines that will not arrive: they were overwritten, or were in a run of the relay that has
    /// ended.
    Lost {
        /// Sequence number of the first one.
        from: u64,
        /// Number of these lines.
        lines: u64,
    },
    /// A text was accepted. Its lines come as `Line` with `own`, before or after this event.
    Said {
        /// The text.
        post: PostId,
        /// Sequence number of its first line.
        first: u64,
        /// Number of its lines.
        lines: u8,
    },
    /// A command was answered.
    Answered {
        /// The command.
        post: PostId,
        /// The reply, without `* `: a line, or several with `\n` between them.
        text: &'a str,
    },
    /// The relay refused a text; it will not be retransmitted.
    Refused {
        /// The text.
        post: PostId,
        /// The reason.
        reason: Reason,
    },
    /// The session ended before the reply to a text: the relay may have accepted it or not.
    Doubtful {
        /// The text.
        post: PostId,
    },
    /// The client ended before the text was sent.
    Unsaid {
        /// The text.
        post: PostId,
    },
    /// The seat was lost. The client requests another one, and continues there after the last line
    /// that it has.
    SeatLost(SeatLoss),
    /// The relay has no seat at present. The client requests one again after the time that the
    /// relay gave.
    NoSeat {
        /// The reason.
        reason: Reason,
        /// That time, in seconds.
        retry_s: u16,
    },
    /// The relay does not respond. The client continues to try, also after the relay has stopped, of which
    /// only a notice tells.
    Silent,
    /// The relay responds again. `Joined` follows if the client had to request its seat.
    Back,
    /// The client ended. No event follows.
    Ended(End),
}

/// Why a text was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PostError {
    /// The queue is full. Try again after events were polled.
    Full,
    /// It has more than [`TEXT_MAX`](crate::wire::framed::TEXT_MAX) bytes. Split it.
    TooLong,
    /// It has no visible character. Drop it.
    Blank,
    /// The client leaves, or has ended.
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

/// The counters of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ClientStats {
    /// Datagrams received.
    pub received: u64,
    /// Datagrams received that were plain text.
    pub foreign: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// HELLO sent.
    pub hellos: u64,
    /// ACK sent.
    pub acks: u64,
    /// ACK sent that repeated the one before.
    pub acks_again: u64,
    /// POST sent.
    pub posts: u64,
    /// POST retransmitted.
    pub posts_again: u64,
    /// Lines shown, or hidden because of `/quiet`.
    pub lines: u64,
    /// Lines that were lost.
    pub lost: u64,
    /// Seats obtained.
    pub joined: u64,
    /// Smoothed round-trip time of POST and POSTED in milliseconds; `None` before the first sample.
    pub round_trip_ms: Option<u32>,
    dropped: [u64; Dropped::ALL.len()],
}

impl ClientStats {
    /// Returns the number of frames dropped for this reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get(why as usize).copied().unwrap_or_default()
    }

    pub(super) fn count_drop(&mut self, why: Dropped) {
        if let Some(count) = self.dropped.get_mut(why as usize) {
            *count += 1;
        }
    }
}

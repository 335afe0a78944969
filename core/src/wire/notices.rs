//! The relay's notices: how the relay writes them and how a client parses them.

#[cfg(feature = "link")]
mod linked;

use core::fmt::{self, Display, Write};

use super::code::Code;
use super::text::{clean, repaired_name};

#[cfg(feature = "link")]
pub use linked::LinkNotice;

/// Prefix of every notice. No name starts with it.
pub const NOTICE: &str = "* ";

/// What stands between the author and the text of a message to one peer.
pub(crate) const TO_YOU: &str = " to you: ";

/// Notice to all peers when the relay shuts down.
pub(crate) const STOPPING: &str = "* relay is stopping";

/// The reasons why a newcomer gets no seat because of its network, after [`NOTICE`].
const CROWDED: &str = "full: your network has its share of the seats";
const HASTY: &str = "too many join from your network; try again in 10 s";

const LOCKED: &str = "the room is locked";

/// The notice that lists the orders of an operator.
const ORDERS: &str = "* orders: /kick NAME, /ban NAME [MINUTES], /unban, /mute NAME, \
                      /unmute NAME, /lock, /unlock, /slow SECONDS";

/// Start of the notice that lines exceeded the rate limit, after [`NOTICE`].
const TOO_FAST: &str = "too fast: ";

/// Start of the request to prove an address, after [`NOTICE`].
const PROVE: &str = "to join, send: ";

/// Start of the notice that a peer gets its lines late, after [`NOTICE`]; a code follows.
const BUSY: &str = "busy: to get every line send ";

/// Start of the notice that a command may be forged; a code follows.
const DOUBTED: &str = "* not done: to show that it is you, say it again with this in front: ";

/// Why a plain peer has lost its seat.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    GivenAway,
    /// A foreign peer was silent for an hour.
    Lapsed,
    Removed,
}

impl Loss {
    /// Returns the farewell to the peer, without and with a line end.
    pub(crate) const fn farewell(self) -> [&'static str; 2] {
        match self {
            Self::GivenAway => [
                "* your seat was given away; say your name to come back",
                "* your seat was given away; say your name to come back\n",
            ],
            Self::Lapsed => [
                "* you were silent for an hour; say your name to come back",
                "* you were silent for an hour; say your name to come back\n",
            ],
            Self::Removed => [
                "* you were removed from this room",
                "* you were removed from this room\n",
            ],
        }
    }

    /// Returns whether `text` is the farewell, without [`NOTICE`].
    fn is_told_by(self, text: &str) -> bool {
        let [farewell, _] = self.farewell();
        farewell.strip_prefix(NOTICE) == Some(text)
    }
}

/// Replies to `/quiet off` and `/quiet on`, in this order.
pub(crate) const QUIET: [&str; 2] = [
    "* quiet is off: you are told who joins, leaves or is renamed",
    "* quiet is on: you are not told who joins, leaves or is renamed",
];

/// A notice to one peer, or a part of one. [`Display`] writes it without a line end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sentence<'a> {
    /// The beginning of a welcome, which the list of names follows.
    Welcome {
        name: &'a str,
        here: usize,
    },
    /// The end of a welcome: the number of lines of history that follow it.
    History(u64),
    Nameless,
    /// The request to prove the source address, with the name that the client seems to want.
    Prove(Code, &'a str),
    Full {
        seats: usize,
    },
    Crowded,
    Hasty,
    Locked,
    Muted,
    Done,
    NotDone,
    NoOperator,
    NoOrder,
    NoRoom,
    Nobody(&'a str),
    /// A ban of this peer would be a ban of the operator, too.
    OwnAddress(&'a str),
    #[cfg(feature = "private")]
    NoMsg,
    /// Two names with which a private message may begin.
    #[cfg(feature = "private")]
    Ambiguous(&'a str, &'a str),
    /// The name, and the duration of a ban in minutes.
    Out(&'a str, Option<u32>),
    TooLong,
    NotUtf8,
    /// The number of lines that were not said, and the limit.
    TooFast {
        lines: u16,
        burst: u32,
        interval_ms: u32,
    },
    Stopping,
    Help,
    HelpForStrangers,
    NoCommand(&'a str),
    NoNick,
    Now(&'a str),
    /// The name as it is now, and the one that another peer has.
    Taken(&'a str, &'a str),
    Already(&'a str),
    Quiet(bool),
    QuietInFrames,
    Bye,
    Lost(u64),
    /// The peer gets its lines late until it sends this code.
    Busy(Code),
    /// A command may be forged if this code is not in front of it.
    Doubted(Code),
    Thanks,
}

impl Display for Sentence<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Welcome { name, here } => write!(to, "* welcome {name}: {here} here ("),
            Self::History(0) => Ok(()),
            Self::History(1) => to.write_str("; the last line:"),
            Self::History(lines) => write!(to, "; the last {lines} lines:"),
            Self::Nameless => to.write_str("* say your name first"),
            Self::Prove(code, wanted) => write_prove(to, code, wanted),
            Self::Full { seats } => write!(to, "* full: {seats} of {seats} seats taken"),
            Self::Crowded => write_notice(to, CROWDED),
            Self::Hasty => write_notice(to, HASTY),
            Self::Locked
            | Self::Muted
            | Self::Done
            | Self::NotDone
            | Self::NoOperator
            | Self::NoOrder
            | Self::NoRoom
            | Self::OwnAddress(_)
            | Self::Out(..) => self.write_of_operator(to),
            Self::Nobody(name) => {
                to.write_str("* nobody is called ")?;
                write_clean(to, name)
            }
            #[cfg(feature = "private")]
            Self::NoMsg => to.write_str("* /msg NAME TEXT needs a name and a text"),
            #[cfg(feature = "private")]
            Self::Ambiguous(one, other) => write_ambiguous(to, one, other),
            Self::TooFast {
                lines,
                burst,
                interval_ms,
            } => write_too_fast(to, lines, burst, interval_ms),
            Self::TooLong => to.write_str("* not sent: longer than 1024 bytes"),
            Self::NotUtf8 => to.write_str("* not sent: not UTF-8 text"),
            Self::Stopping => to.write_str("* not sent: relay is stopping"),
            Self::Help => to.write_str(HELP),
            Self::HelpForStrangers => write!(to, "{HELP}\n* first of all, say your name"),
            Self::NoCommand(word) => {
                to.write_str("* no command /")?;
                write_clean(to, word)?;
                to.write_str("; //")?;
                write_clean(to, word)?;
                to.write_str(" says it as text; /help lists commands")
            }
            Self::NoNick => to.write_str("* /nick NAME needs a name"),
            Self::Now(name) => write!(to, "* you are now {name}"),
            Self::Taken(name, wanted) => {
                write!(to, "* you are now {name}\n* {wanted} is taken")
            }
            Self::Already(name) => write!(to, "* you are {name} already"),
            Self::Quiet(is_quiet) => to.write_str(QUIET[usize::from(is_quiet)]),
            Self::QuietInFrames => to.write_str("* your program decides what it shows"),
            Self::Bye => to.write_str("* bye"),
            Self::Busy(code) => {
                write_notice(to, BUSY)?;
                code.fmt(to)
            }
            Self::Doubted(code) => {
                to.write_str(DOUBTED)?;
                code.fmt(to)
            }
            Self::Thanks => to.write_str("* thank you: you get every line from now on"),
            Self::Lost(1) => to.write_str("* 1 line lost"),
            Self::Lost(lines) => write!(to, "* {lines} lines lost"),
        }
    }
}

impl Sentence<'_> {
    /// Writes the notices about operators and their orders.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "it is called for these only"
    )]
    fn write_of_operator(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Locked => write_notice(to, LOCKED),
            Self::Muted => to.write_str("* not sent: you are muted"),
            Self::Done => to.write_str("* done"),
            Self::NotDone => to.write_str("* not done"),
            Self::NoOperator => to.write_str("* not an operator"),
            Self::NoOrder => to.write_str(ORDERS),
            Self::NoRoom => to.write_str("* no room for another ban"),
            Self::OwnAddress(name) => {
                to.write_str("* not done: ")?;
                write_clean(to, name)?;
                to.write_str(" has your own address; /kick removes it")
            }
            Self::Out(name, banned) => {
                to.write_str("* done: ")?;
                write_clean(to, name)?;
                to.write_str(" is out")?;
                let Some(minutes) = banned else {
                    return Ok(());
                };
                write!(to, " and may not come back for {minutes} min")
            }
            _ => Ok(()),
        }
    }
}

#[inline(never)] // called in several places, and rarely in each
fn write_notice(to: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    to.write_str(NOTICE)?;
    to.write_str(text)
}

/// Writes the request to prove an address: the code, and the name that is wanted.
fn write_prove(to: &mut fmt::Formatter<'_>, code: Code, wanted: &str) -> fmt::Result {
    write_notice(to, PROVE)?;
    write!(to, "{code} ")?;
    match repaired_name(wanted, false) {
        Some((name, _)) => to.write_str(&name),
        None => to.write_str("NAME"),
    }
}

fn write_too_fast(
    to: &mut fmt::Formatter<'_>,
    lines: u16,
    burst: u32,
    interval_ms: u32,
) -> fmt::Result {
    write_notice(to, TOO_FAST)?;
    write!(to, "{lines} of your lines ")?;
    to.write_str(if lines == 1 { "was" } else { "were" })?;
    write!(to, " not said; {burst} at once, then ")?;
    match interval_ms / 1000 {
        0 | 1 => {
            let rate = 1000_u32.checked_div(interval_ms).unwrap_or(1000);
            write!(to, "{rate} a second")
        }
        seconds => write!(to, "1 each {seconds} s"),
    }
}

#[cfg(feature = "private")]
fn write_ambiguous(to: &mut fmt::Formatter<'_>, one: &str, other: &str) -> fmt::Result {
    write!(to, "* not sent: {one} and {other} are both here")
}

/// Returns the help text with a part that only some relays have.
macro_rules! help {
    ($private:literal) => {
        concat!(
            "* /who [PREFIX] lists who is here\n",
            "* /nick NAME renames you\n",
            "* /quiet on|off hides or shows who comes and goes\n",
            $private,
            "* /quit leaves\n",
            "* //TEXT says /TEXT\n",
            "* anything else is said to all"
        )
    };
}

#[cfg(feature = "private")]
const HELP: &str = help!("* /msg NAME TEXT says TEXT to NAME alone\n");
#[cfg(not(feature = "private"))]
const HELP: &str = help!("");

/// A notice about one peer to all peers that want to see such notices.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Announcement<'a> {
    Joined(&'a str),
    Left(&'a str, &'a str),
    Renamed(&'a str, &'a str),
    Away(&'a str),
    Back(&'a str),
}

impl<'a> Announcement<'a> {
    /// Returns the parts of the notice.
    pub(crate) const fn parts(self) -> [&'a str; 5] {
        match self {
            Self::Joined(name) => [NOTICE, name, " joined", "", ""],
            Self::Left(name, why) => [NOTICE, name, " left (", why, ")"],
            Self::Renamed(from, to) => [NOTICE, from, " is now ", to, ""],
            Self::Away(name) => [NOTICE, name, " is away", "", ""],
            Self::Back(name) => [NOTICE, name, " is back", "", ""],
        }
    }
}

fn write_clean(to: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    clean(text).try_for_each(|character| to.write_char(character))
}

/// What a notice means to a client program. Notices that concern only people are [`Self::Other`].
///
/// A notice contains names, and a crafted name can make a notice about a peer look like a reply.
/// Trust a reply only if a request is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Notice<'a> {
    /// The relay accepted the client, which now has a seat.
    Welcome {
        /// The name of the client, which may differ from the requested one.
        name: &'a str,
        /// Number of lines of history that follow.
        history: usize,
    },
    /// A possible reply to `/nick`: the new name, parsed as "you are now NAME" and as "you are NAME
    /// already".
    Named([Option<&'a str>; 2]),
    /// A peer joined, left or was renamed.
    Announcement,
    /// The relay wants the client to prove that it receives at its address: the name is to be sent
    /// again, after this code and a space.
    Prove(&'a str),
    /// Lines come late until the client proves that it receives at its address: this code is to be sent.
    Busy(&'a str),
    /// There is no seat for now.
    Full,
    /// Lines were not said because they exceeded the rate limit.
    TooFast {
        /// Number of lines that were not said.
        lines: u32,
        /// Number of lines that may be said at once.
        burst: u32,
        /// Number of lines that may be said in a second after that.
        rate: u32,
        /// Number of seconds for these lines: 1, or more where a line takes longer than a second.
        seconds: u32,
    },
    /// A command came from an address that has no seat.
    Nameless,
    /// Number of lines that were overwritten before they could be sent to this peer.
    Lost(usize),
    /// The relay shuts down.
    Stopping,
    /// The seat was given to another peer.
    GivenAway,
    /// The peer was removed from the room.
    Removed,
    /// The reply to `/quit`.
    Bye,
    /// A notice without a meaning for a program.
    Other,
}

impl<'a> Notice<'a> {
    /// Parses a notice of the plain dialect; `text` does not include the prefix [`NOTICE`].
    pub fn of(text: &'a str) -> Self {
        if let Some((name, history)) = welcome(text) {
            return Self::Welcome { name, history };
        }
        let already = text.strip_prefix("you are ");
        let named = [
            text.strip_prefix("you are now "),
            already.and_then(|rest| rest.strip_suffix(" already")),
        ];
        if named != [None, None] {
            return Self::Named(named);
        }
        let lost = text.strip_suffix(" lines lost");
        let lost = lost.or_else(|| text.strip_suffix(" line lost"));
        if let Some(lost) = lost.and_then(|lost| lost.parse().ok()) {
            return Self::Lost(lost);
        }
        if let Some(too_fast) = too_fast(text) {
            return too_fast;
        }
        if let Some(code) = text.strip_prefix(PROVE).and_then(|rest| rest.get(..9))
            && Code::read(code).is_some()
        {
            return Self::Prove(code);
        }
        if let Some(code) = text.strip_prefix(BUSY)
            && Code::read(code).is_some_and(|(_, rest)| rest.is_empty())
        {
            return Self::Busy(code);
        }
        match text {
            "say your name first" => Self::Nameless,
            "bye" => Self::Bye,
            _ if STOPPING.strip_prefix(NOTICE) == Some(text) => Self::Stopping,
            _ if Loss::GivenAway.is_told_by(text) => Self::GivenAway,
            _ if Loss::Removed.is_told_by(text) => Self::Removed,
            _ if Loss::Lapsed.is_told_by(text) => Self::GivenAway,
            _ if is_full(text) => Self::Full,
            _ if is_announcement(text) => Self::Announcement,
            _ => Self::Other,
        }
    }
}

/// Returns the name in a welcome and the number of lines of history that it announces at its end.
fn welcome(text: &str) -> Option<(&str, usize)> {
    let (name, rest) = split_once(text.strip_prefix("welcome ")?, ": ")?;
    let (here, _) = split_once(rest, " here (")?;
    let is_welcome = here.parse::<usize>().is_ok() && name.trim() == name;
    let history = if rest.ends_with("; the last line:") {
        Some(1)
    } else {
        rest.strip_suffix(" lines:")
            .and_then(|rest| rsplit_once(rest, "; the last "))
            .and_then(|(_, lines)| lines.parse().ok())
    };
    is_welcome.then_some((name, history.unwrap_or(0)))
}

/// Parses the notice that lines exceeded the rate limit.
fn too_fast(text: &str) -> Option<Notice<'_>> {
    let (lines, rest) = split_once(text.strip_prefix(TOO_FAST)?, " of your lines w")?;
    let (_, rest) = split_once(rest, " not said; ")?;
    let (burst, rest) = split_once(rest, " at once, then ")?;
    let (rate, seconds) = match split_once(rest, " each ") {
        Some((rate, rest)) => (rate, rest.strip_suffix(" s")?.parse().ok()?),
        None => (rest.strip_suffix(" a second")?, 1),
    };
    Some(Notice::TooFast {
        lines: lines.parse().ok()?,
        burst: burst.parse().ok()?,
        rate: rate.parse().ok()?,
        seconds,
    })
}

fn is_full(text: &str) -> bool {
    if [CROWDED, HASTY, LOCKED].contains(&text) {
        return true;
    }
    text.strip_prefix("full: ")
        .and_then(|rest| rest.strip_suffix(" seats taken"))
        .and_then(|seats| split_once(seats, " of "))
        .is_some_and(|(taken, all)| taken.parse::<usize>().is_ok() && all.parse::<usize>().is_ok())
}

/// Returns whether this may be an announcement about a peer. No name contains a colon.
fn is_announcement(text: &str) -> bool {
    let is_left = text.ends_with(')') && split_once(text, " left (").is_some();
    let is_renamed = || split_once(text, " is now ").is_some();
    !text.contains(':') && (text.ends_with(" joined") || is_left || is_renamed())
}

/// Splits a message to one peer, without the prefix [`NOTICE`], into author and text. No name contains
/// a colon.
pub(crate) fn private(text: &str) -> Option<(&str, &str)> {
    split_once(text, TO_YOU).filter(|(name, _)| !name.contains(':'))
}

/// Like `str::split_once`, whose code the link-time proof cannot show to be free of panics.
fn split_once<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    (0..text.len()).find_map(|at| split_at(text, at, separator))
}

fn rsplit_once<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    (0..text.len())
        .rev()
        .find_map(|at| split_at(text, at, separator))
}

fn split_at<'a>(text: &'a str, at: usize, separator: &str) -> Option<(&'a str, &'a str)> {
    let (start, rest) = text.split_at_checked(at)?;
    Some((start, rest.strip_prefix(separator)?))
}

#[cfg(test)]
mod tests;

//! The relay's notices: how the relay writes them and how a client parses them.

use core::fmt::{self, Display, Write};

use super::code::Code;
use super::text::{clean, repaired_name};

/// Prefix of every notice. No name starts with it.
pub const NOTICE: &str = "* ";

/// Notice to all peers when the relay shuts down.
pub(crate) const STOPPING: &str = "* relay is stopping";

/// Notice to all peers when the relay is there again and has kept the room.
pub(crate) const BACK: &str = "* relay is back";

/// Refusals of a newcomer for what its network has taken, behind [`NOTICE`].
const CROWDED: &str = "full: your network has its share of the seats";
const HASTY: &str = "too many join from your network; try again in 10 s";

const LOCKED: &str = "the room is locked";

/// What an operator may order.
#[cfg(feature = "operator")]
const ORDERS: &str = "* orders: /kick NAME, /ban NAME [MINUTES], /unban, /mute NAME, \
                      /unmute NAME, /lock, /unlock, /slow SECONDS";

/// Start of the notice that lines came too fast, behind [`NOTICE`].
const TOO_FAST: &str = "too fast: ";

/// Start of the request to prove an address, behind [`NOTICE`].
const PROVE: &str = "to join, send: ";

/// Farewell to a peer whose seat was given to another, without and with a line end.
pub(crate) const GIVEN_AWAY: [&str; 2] = [
    "* your seat was given away; say your name to come back",
    "* your seat was given away; say your name to come back\n",
];

/// Farewell to a foreign peer that was silent for an hour, without and with a line end.
pub(crate) const LAPSED: [&str; 2] = [
    "* you were silent for an hour; say your name to come back",
    "* you were silent for an hour; say your name to come back\n",
];

/// Farewell to a peer that was removed, without and with a line end.
pub(crate) const REMOVED: [&str; 2] = [
    "* you were removed from this room",
    "* you were removed from this room\n",
];

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
    /// The request to prove its address, with the name that it seems to want.
    Prove(Code, &'a str),
    Full {
        seats: usize,
    },
    Crowded,
    Hasty,
    #[cfg(feature = "operator")]
    Locked,
    #[cfg(feature = "operator")]
    Muted,
    #[cfg(feature = "operator")]
    Done,
    #[cfg(feature = "operator")]
    NotDone,
    #[cfg(feature = "operator")]
    NoOperator,
    #[cfg(feature = "operator")]
    NoOrder,
    #[cfg(feature = "operator")]
    NoRoom,
    #[cfg(feature = "operator")]
    Nobody(&'a str),
    #[cfg(feature = "operator")]
    Out(&'a str),
    /// The name, and for how many minutes.
    #[cfg(feature = "operator")]
    Banned(&'a str, u32),
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
}

impl Display for Sentence<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            // what is never said takes no space
            Self::Prove(..) if !cfg!(feature = "codes") => Ok(()),
            Self::Crowded | Self::Hasty if !cfg!(feature = "shares") => Ok(()),
            Self::Welcome { name, here } => write!(to, "* welcome {name}: {here} here ("),
            Self::History(0) => Ok(()),
            Self::History(1) => to.write_str("; the last line:"),
            Self::History(lines) => write!(to, "; the last {lines} lines:"),
            Self::Nameless => to.write_str("* say your name first"),
            Self::Prove(code, wanted) => {
                write!(to, "{NOTICE}{PROVE}{code} ")?;
                match repaired_name(wanted) {
                    Some((name, _)) => to.write_str(&name),
                    None => to.write_str("NAME"),
                }
            }
            Self::Full { seats } => write!(to, "* full: {seats} of {seats} seats taken"),
            Self::Crowded => write!(to, "{NOTICE}{CROWDED}"),
            Self::Hasty => write!(to, "{NOTICE}{HASTY}"),
            #[cfg(feature = "operator")]
            Self::Locked
            | Self::Muted
            | Self::Done
            | Self::NotDone
            | Self::NoOperator
            | Self::NoOrder
            | Self::NoRoom
            | Self::Nobody(_)
            | Self::Out(_)
            | Self::Banned(..) => self.write_of_operator(to),
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
            Self::Lost(1) => to.write_str("* 1 line lost"),
            Self::Lost(lines) => write!(to, "* {lines} lines lost"),
        }
    }
}

#[cfg(feature = "operator")]
impl Sentence<'_> {
    /// Writes what concerns operators and what they did.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "it is called for these only"
    )]
    fn write_of_operator(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Locked => write!(to, "{NOTICE}{LOCKED}"),
            Self::Muted => to.write_str("* not sent: you are muted"),
            Self::Done => to.write_str("* done"),
            Self::NotDone => to.write_str("* not done"),
            Self::NoOperator => to.write_str("* not an operator"),
            Self::NoOrder => to.write_str(ORDERS),
            Self::NoRoom => to.write_str("* no room for another ban"),
            Self::Nobody(name) => {
                to.write_str("* nobody is called ")?;
                write_clean(to, name)
            }
            Self::Out(name) => {
                to.write_str("* done: ")?;
                write_clean(to, name)?;
                to.write_str(" is out")
            }
            Self::Banned(name, minutes) => {
                to.write_str("* done: ")?;
                write_clean(to, name)?;
                write!(to, " is out and may not come back for {minutes} minutes")
            }
            _ => Ok(()),
        }
    }
}

fn write_too_fast(
    to: &mut fmt::Formatter<'_>,
    lines: u16,
    burst: u32,
    interval_ms: u32,
) -> fmt::Result {
    write!(to, "{NOTICE}{TOO_FAST}{lines} of your lines ")?;
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

const HELP: &str = "* /who [PREFIX] lists who is here\n\
                    * /nick NAME renames you\n\
                    * /quiet on|off hides or shows who comes and goes\n\
                    * /quit leaves\n\
                    * //TEXT says /TEXT\n\
                    * anything else is said to all";

/// A notice about one peer to all peers that want to see such notices.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Announcement<'a> {
    Joined(&'a str),
    Left(&'a str, &'a str),
    Renamed(&'a str, &'a str),
    Away(&'a str),
    Back(&'a str),
}

impl Display for Announcement<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match *self {
            Self::Joined(name) => [name, " joined", "", ""],
            Self::Left(name, why) => [name, " left (", why, ")"],
            Self::Renamed(from, to) => [from, " is now ", to, ""],
            Self::Away(name) => [name, " is away", "", ""],
            Self::Back(name) => [name, " is back", "", ""],
        };
        to.write_str(NOTICE)?;
        words.into_iter().try_for_each(|word| to.write_str(word))
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
    /// There is no seat for now.
    Full,
    /// Lines were not said because they came too fast.
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
        match text {
            "say your name first" => Self::Nameless,
            "bye" => Self::Bye,
            _ if STOPPING.strip_prefix(NOTICE) == Some(text) => Self::Stopping,
            _ if GIVEN_AWAY[0].strip_prefix(NOTICE) == Some(text) => Self::GivenAway,
            _ if REMOVED[0].strip_prefix(NOTICE) == Some(text) => Self::Removed,
            _ if LAPSED[0].strip_prefix(NOTICE) == Some(text) => Self::GivenAway,
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

/// Reads the notice that lines came too fast.
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
mod tests {
    extern crate std;

    use std::format;
    use std::string::ToString;

    use super::*;

    fn read(line: &str) -> Notice<'_> {
        Notice::of(line.strip_prefix(NOTICE).unwrap())
    }

    #[test]
    fn what_is_written_is_read() {
        let now = [Some("Ada"), None];
        let already = [None, Some("Ada")];
        for (sentence, expected) in [
            (Sentence::Nameless, Notice::Nameless),
            (
                Sentence::Prove(Code::of(48_291_350), "Ada"),
                Notice::Prove("4829-1350"),
            ),
            (
                Sentence::Prove(Code::of(7), "*"),
                Notice::Prove("0000-0007"),
            ),
            (Sentence::Full { seats: 4 }, Notice::Full),
            (Sentence::Crowded, Notice::Full),
            (Sentence::Hasty, Notice::Full),
            (
                Sentence::TooFast {
                    lines: 1,
                    burst: 64,
                    interval_ms: 50,
                },
                Notice::TooFast {
                    lines: 1,
                    burst: 64,
                    rate: 20,
                    seconds: 1,
                },
            ),
            (
                Sentence::TooFast {
                    lines: 2,
                    burst: 1,
                    interval_ms: 5000,
                },
                Notice::TooFast {
                    lines: 2,
                    burst: 1,
                    rate: 1,
                    seconds: 5,
                },
            ),
            (Sentence::Locked, Notice::Full),
            (Sentence::Now("Ada"), Notice::Named(now)),
            (Sentence::Already("Ada"), Notice::Named(already)),
            (Sentence::Bye, Notice::Bye),
            (Sentence::Lost(1), Notice::Lost(1)),
            (Sentence::Lost(70), Notice::Lost(70)),
            (Sentence::TooLong, Notice::Other),
            (Sentence::NotUtf8, Notice::Other),
            (Sentence::HelpForStrangers, Notice::Other),
            (Sentence::NoCommand("joined"), Notice::Other),
            (Sentence::NoNick, Notice::Other),
            (Sentence::Quiet(true), Notice::Other),
        ] {
            assert_eq!(read(&sentence.to_string()), expected, "{sentence}");
        }
        assert_eq!(read(STOPPING), Notice::Stopping);
        assert_eq!(read(GIVEN_AWAY[0]), Notice::GivenAway);
        assert_eq!(read(LAPSED[0]), Notice::GivenAway);
        assert_eq!(read(REMOVED[0]), Notice::Removed);
        for announcement in [
            Announcement::Joined("bye"),
            Announcement::Left("Ada", "quit"),
            Announcement::Renamed("Ada", "Bob"),
        ] {
            let line = announcement.to_string();
            assert_eq!(read(&line), Notice::Announcement, "{line}");
        }
    }

    #[test]
    fn a_welcome_that_is_written_is_read() {
        for history in [0, 1, 2, 40] {
            let start = Sentence::Welcome {
                name: "Ada",
                here: 9,
            };
            let end = Sentence::History(u64::try_from(history).unwrap());
            let welcome = format!("{start}Ada); /help lists commands{end}");
            let name = "Ada";
            assert_eq!(read(&welcome), Notice::Welcome { name, history });
        }
    }

    #[test]
    fn a_welcome_tells_name_and_history() {
        let cases = [
            (
                "* welcome Ada: 1 here (Ada); /help lists commands",
                "Ada",
                0,
            ),
            (
                "* welcome 小明: 2 here (Bob, 小明); /help lists commands; the last line:",
                "小明",
                1,
            ),
            (
                "* welcome a b~2: 9 here (x); hi; the last 7 lines:; /help lists commands (not your name? /nick NAME, then say it again); the last 40 lines:",
                "a b~2",
                40,
            ),
            (
                "* welcome x: 1 here (x); the last 7 lines:; /help lists commands",
                "x",
                0,
            ),
        ];
        for (line, name, history) in cases {
            let expected = Notice::Welcome { name, history };
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn fixed_notices_are_exact() {
        let cases = [
            ("relay is stopping", Notice::Stopping),
            ("say your name first", Notice::Nameless),
            (
                "your seat was given away; say your name to come back",
                Notice::GivenAway,
            ),
            ("bye", Notice::Bye),
            ("full: 4 of 4 seats taken", Notice::Full),
            ("1 line lost", Notice::Lost(1)),
        ];
        for (text, expected) in cases {
            assert_eq!(Notice::of(text), expected, "{text}");
            for about in [
                format!("{text} joined").replace(':', "_"),
                format!("{text} left (unreachable)").replace(':', "_"),
                format!("Eve is now {text}").replace(':', "_"),
            ] {
                assert_eq!(Notice::of(&about), Notice::Announcement, "{about}");
            }
            assert_eq!(Notice::of(&format!("{text}.")), Notice::Other, "{text}");
        }
        for text in [
            "full: house",
            "full: x of 4 seats taken",
            "welcome Ada: hello",
            "welcome Eve : 1 here (x",
            "3 begin with x: Ada joined",
        ] {
            assert_eq!(Notice::of(text), Notice::Other, "{text}");
        }
    }
}

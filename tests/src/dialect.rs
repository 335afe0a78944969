//! The oracle's implementation of the plain dialect in `PROTOCOL.md`: what a datagram means, and
//! what the reply is.

use core::net::{IpAddr, SocketAddr};

use kilochat_core::{Config, DATAGRAM_MAX, LINE_MAX, NAME_MAX, Network, Refusal};

use crate::text::{cleaned, cut, folded};

pub(crate) const TOO_LONG: &str = "* not sent: longer than 1024 bytes";
pub(crate) const NOT_UTF8: &str = "* not sent: not UTF-8 text";
pub(crate) const NAMELESS: &str = "* say your name first";
pub(crate) const NO_NAME: &str = "* /nick NAME needs a name";
pub(crate) const NO_MSG: &str = "* /msg NAME TEXT needs a name and a text";
pub(crate) const BYE: &str = "* bye";
pub(crate) const STOPPING: &str = "* relay is stopping";
pub(crate) const NOT_WHILE_STOPPING: &str = "* not sent: relay is stopping";
pub(crate) const GIVEN_AWAY: &str = "* your seat was given away; say your name to come back";
pub(crate) const HELP_START: &str = "* /who";

/// Maximum number of names in a welcome.
const WELCOME_NAMES: usize = 16;

/// Bytes that a list of names leaves free for its end.
const LIST_END: usize = 64;

/// The meaning of a peer's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    Say(&'a str),
    Nick(&'a str),
    Who(&'a str),
    Quit,
    Help,
    Quiet(Option<bool>),
    Msg(&'a str),
    Unknown(&'a str),
}

impl<'a> Meaning<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        if !text.starts_with('/') {
            return Self::Say(text);
        }
        if text.starts_with("//") {
            return Self::Say(&text[1..]);
        }
        let mut words = text[1..].splitn(2, char::is_whitespace);
        let word = words.next().unwrap_or_default();
        let rest = words.next().unwrap_or_default().trim();
        match word.to_ascii_lowercase().as_str() {
            "nick" => Self::Nick(rest),
            "who" | "names" => Self::Who(rest),
            "quit" | "exit" => Self::Quit,
            "help" => Self::Help,
            "msg" => Self::Msg(rest),
            "quiet" => Self::Quiet(match rest.to_ascii_lowercase().as_str() {
                "on" => Some(true),
                "off" => Some(false),
                _ => None,
            }),
            _ => Self::Unknown(word),
        }
    }
}

/// Returns a datagram without a byte order mark at its start and NULs at its end.
pub(crate) fn unpadded(payload: &[u8]) -> &[u8] {
    let start = if payload.starts_with(&[0xEF, 0xBB, 0xBF]) {
        3
    } else {
        0
    };
    let last = payload.iter().rposition(|byte| *byte != 0);
    payload
        .get(start..last.map_or(0, |last| last + 1))
        .unwrap_or_default()
}

/// Returns the text of a datagram without its line end, or the reason why it is refused.
pub(crate) fn text_of(payload: &[u8]) -> Result<&str, Refusal> {
    if payload.len() > DATAGRAM_MAX {
        return Err(Refusal::TooLong);
    }
    if payload.first() == Some(&1) {
        return Err(Refusal::Frame);
    }
    let text = core::str::from_utf8(unpadded(payload)).map_err(|_| Refusal::NotUtf8)?;
    let bare = text.strip_suffix("\r\n").or(text.strip_suffix('\n'));
    Ok(bare.unwrap_or(text))
}

/// Returns the first line of a text that is not blank, and the rest.
pub(crate) fn first_line(text: &str) -> (&str, String) {
    let lines: Vec<&str> = text.split('\n').collect();
    let first = lines.iter().position(|line| !is_blank(line)).unwrap_or(0);
    let message = lines[first + 1..].join("\n");
    match lines.len() {
        1 => (text, message),
        _ => (lines[first].trim(), message),
    }
}

pub(crate) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Returns the lines of a message as peers read them.
pub(crate) fn rendered(name: &str, text: &str) -> Vec<String> {
    let text = cleaned(text);
    let start = format!("{name} : ");
    let first = cut(&text, LINE_MAX - start.len());
    let rest = &text[first.len()..];
    let mut lines = vec![format!("{start}{first}")];
    if !rest.is_empty() {
        lines.push(format!("{start}{rest}"));
    }
    lines
}

/// Returns the lines of a private message as its addressee reads them.
pub(crate) fn whispered(author: &str, text: &str) -> Vec<String> {
    let text = cleaned(text);
    let start = format!("* {author} to you: ");
    let first = cut(&text, LINE_MAX - start.len());
    let rest = &text[first.len()..];
    let parts = [first, rest].into_iter().filter(|part| !part.is_empty());
    parts.map(|part| format!("{start}{part}")).collect()
}

/// Returns the answer to a private message that was said.
pub(crate) fn whisper_said(name: &str, text: &str) -> String {
    let whole = format!("* to {}: {}", cleaned(name), cleaned(text));
    cut(&whole, DATAGRAM_MAX - 1).to_owned()
}

/// Returns each name with which a private message may begin, and the text behind it: names have no
/// colon, and white space or a colon follows them.
pub(crate) fn whisper_splits(message: &str) -> Vec<(&str, &str)> {
    let end = message.find(':').unwrap_or(message.len());
    let ends = message.char_indices().filter(|(at, character)| {
        *at <= NAME_MAX && *at <= end && (*at == end || character.is_whitespace())
    });
    ends.map(|(at, _)| {
        let text = &message[at..];
        (
            &message[..at],
            text.strip_prefix(':').unwrap_or(text).trim(),
        )
    })
    .collect()
}

/// Returns the welcome: the newcomer's name, all names in the order of their seats, and the rest.
pub(crate) fn welcome(
    name: &str,
    names: &[&str],
    motd: &str,
    was_changed: bool,
    history: usize,
) -> String {
    let mut text = format!("* welcome {name}: {} here (", names.len());
    text.push_str(&names[..names.len().min(WELCOME_NAMES)].join(", "));
    if let more @ 1.. = names.len().saturating_sub(WELCOME_NAMES) {
        text.push_str(&format!(", ... and {more} more"));
    }
    text.push(')');
    if !motd.is_empty() {
        text.push_str("; ");
        text.push_str(&cleaned(motd));
    }
    text.push_str("; /help lists commands");
    if was_changed || name.contains(' ') {
        text.push_str(" (not your name? /nick NAME, then say it again)");
    }
    match history {
        0 => {}
        1 => text.push_str("; the last line:"),
        lines => text.push_str(&format!("; the last {lines} lines:")),
    }
    text
}

/// Returns the answer to `/who`. `names` are all names in the order of their seats.
pub(crate) fn who(prefix: &str, names: &[&str]) -> String {
    let prefix = cut(prefix, NAME_MAX);
    let matching: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| folded(name).starts_with(&folded(prefix)))
        .collect();
    let shown = cleaned(prefix);
    let mut text = match (matching.len(), prefix) {
        (0, _) => format!("* nobody's name begins with {shown}"),
        (all, "") => format!("* {all} here: "),
        (1, _) => format!("* 1 begins with {shown}: "),
        (several, _) => format!("* {several} begin with {shown}: "),
    };
    for (listed, name) in matching.iter().enumerate() {
        let comma = if listed == 0 { "" } else { ", " };
        if text.len() + comma.len() + name.len() > DATAGRAM_MAX - LIST_END {
            let more = matching.len() - listed;
            text.push_str(&format!(
                ", ... and {more} more; /who PREFIX lists those that begin so"
            ));
            break;
        }
        text.push_str(comma);
        text.push_str(name);
    }
    text
}

pub(crate) fn unknown(word: &str) -> String {
    let word = cleaned(cut(word, NAME_MAX));
    format!("* no command /{word}; //{word} says it as text; /help lists commands")
}

pub(crate) fn quiet(is_quiet: bool) -> String {
    let (state, told) = if is_quiet {
        ("on", "not told")
    } else {
        ("off", "told")
    };
    format!("* quiet is {state}: you are {told} who joins, leaves or is renamed")
}

/// Returns whether a reply can be sent to this source.
pub(crate) fn is_unicast(source: SocketAddr) -> bool {
    let is_one = match source.ip() {
        IpAddr::V4(ip) => {
            let number = u32::from(ip);
            number != 0 && number != u32::MAX && number >> 28 != 0xE
        }
        IpAddr::V6(ip) => u128::from(ip) != 0 && u128::from(ip) >> 120 != 0xFF,
    };
    is_one && source.port() != 0
}

/// The relay's admission policy for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    AtOnce,
    AfterProof,
    Never,
}

/// Returns the policy for a source that has no seat.
pub(crate) fn admitted(config: &Config, source: IpAddr) -> Admitted {
    match (is_local(config, source), config.prove, config.open) {
        (true, false, _) => Admitted::AtOnce,
        (true, true, _) | (false, _, true) => Admitted::AfterProof,
        (false, _, false) => Admitted::Never,
    }
}

/// Parses eight digits at the start of a text, as people type them. Returns them with the rest of
/// the text.
pub(crate) fn code(text: &str) -> Option<(u32, &str)> {
    let narrow = |character: char| match character {
        '０'..='９' => char::from_u32(u32::from(character) - 0xFEE0),
        '－' => Some('-'),
        _ => Some(character),
    };
    let text = text.trim_start();
    for length in [8, 9] {
        let head: String = text.chars().take(length).filter_map(narrow).collect();
        let digits: String = match length {
            8 => head,
            _ => {
                let split = head.chars().nth(4);
                if !split.is_some_and(|it| it == '-' || it.is_whitespace()) {
                    continue;
                }
                let halves = head.chars().enumerate().filter(|(at, _)| *at != 4);
                halves.map(|(_, digit)| digit).collect()
            }
        };
        let rest = text.char_indices().nth(length);
        let rest = rest.map_or("", |(at, _)| &text[at..]);
        let is_over = rest.is_empty() || rest.starts_with(char::is_whitespace);
        if digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_digit()) && is_over {
            return Some((digits.parse().unwrap(), rest.trim()));
        }
    }
    None
}

/// Returns whether a source is on a local network.
fn is_local(config: &Config, source: IpAddr) -> bool {
    const LOCAL: [(&str, u8); 8] = [
        ("127.0.0.0", 8),
        ("10.0.0.0", 8),
        ("172.16.0.0", 12),
        ("192.168.0.0", 16),
        ("169.254.0.0", 16),
        ("::1", 128),
        ("fe80::", 10),
        ("fc00::", 7),
    ];
    let local = LOCAL.iter().filter_map(|(address, prefix)| {
        Some(Network {
            address: address.parse().ok()?,
            prefix: *prefix,
        })
    });
    let named = config.networks.iter().copied();
    local.chain(named).any(|network| is_in(network, source))
}

/// Returns whether a source is in a network.
pub(crate) fn is_in(network: Network, source: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (32, u128::from(u32::from(ip))),
        IpAddr::V6(ip) => (128, u128::from(ip)),
    };
    let ((length, ours), (other, theirs)) = (bits(network.address), bits(source));
    let ignored = u32::from(length - network.prefix.min(length));
    length == other && ours.checked_shr(ignored) == theirs.checked_shr(ignored)
}

//! The plain dialect as a client reads and writes it. See `core/PROTOCOL.md`.

use core::str::from_utf8;

use kilochat_core::{LINE_MAX, NAME_MAX, SEPARATOR, clean};

/// What starts each notice of the relay, and no name.
const NOTICE: &str = "* ";

/// A line from the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// What somebody said; a server that only echoes gives no name.
    Message {
        /// Who said it.
        name: Option<&'a str>,
        /// What was said.
        text: &'a str,
    },
    /// Something that the relay says itself, without the `* ` before it.
    Notice {
        /// The notice as it is shown.
        text: &'a str,
        /// What it means to a client.
        meaning: Meaning<'a>,
    },
}

/// What a notice of the relay means to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// There is a seat under this name; so many lines of history follow.
    Welcome {
        /// The name, perhaps not the one that was asked for.
        name: &'a str,
        /// The lines that were said before.
        history: usize,
    },
    /// The answer to `/nick`, if there was one: the name from now on, as it can be read. Who
    /// joins under a crafted name has this announced about anybody.
    Named([Option<&'a str>; 2]),
    /// Somebody joined, left or was renamed.
    Announced,
    /// All seats are taken.
    Full,
    /// A command came from an address without a seat.
    Nameless,
    /// So many lines were overwritten before they could be sent.
    Lost(usize),
    /// The relay ends.
    Stopping,
    /// Somebody else has the seat.
    GivenAway,
    /// The answer to `/quit`.
    Bye,
    /// Nothing but what it says.
    Other,
}

/// Reads a line, which must be clean.
pub(crate) fn parse(line: &str) -> Received<'_> {
    if let Some(text) = line.strip_prefix(NOTICE) {
        return Received::Notice {
            text,
            meaning: meaning(text),
        };
    }
    match line.split_once(SEPARATOR) {
        Some((name, text)) => Received::Message {
            name: Some(name),
            text,
        },
        None => Received::Message {
            name: None,
            text: line,
        },
    }
}

/// Whether a notice could also be a message of somebody whose name an old server let pass.
pub(crate) fn may_be_said(text: &str) -> bool {
    text.contains(SEPARATOR)
}

/// The lines of a datagram, clean.
pub(crate) fn lines(payload: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(payload);
    text.strip_suffix('\n')
        .unwrap_or(&text)
        .split('\n')
        .map(|line| clean(line.strip_suffix('\r').unwrap_or(line)).collect())
        .collect()
}

/// How many bytes of text fit in one line behind `name`.
pub(crate) fn room(name: &str) -> usize {
    LINE_MAX - SEPARATOR.len() - name.len().min(NAME_MAX)
}

/// The start of `text` that fits in `room` bytes, and the rest.
pub(crate) fn split(text: &str, room: usize) -> (&str, &str) {
    text.split_at(text.floor_char_boundary(room))
}

/// `text` so that a relay with commands says it.
pub(crate) fn literal(text: &str) -> String {
    if text.starts_with('/') {
        format!("/{text}")
    } else {
        text.into()
    }
}

/// The name as it may be sent: clean, and cut between characters if it is too long.
pub(crate) fn name(raw: &str) -> String {
    let mut name: String = clean(raw.trim()).collect();
    name.truncate(name.floor_char_boundary(NAME_MAX));
    name.truncate(name.trim_end().len());
    name
}

/// The name that a datagram asks for, if it is a `/nick`.
pub(crate) fn nick(payload: &[u8]) -> Option<&str> {
    let rest = from_utf8(payload).ok()?.strip_prefix("/nick")?;
    let name = rest.trim();
    (rest.starts_with(char::is_whitespace) && !name.is_empty()).then_some(name)
}

/// Whether a relay that was sent `text` as a first datagram could have made `name` of it.
pub(crate) fn is_made_of(name: &str, text: &str) -> bool {
    let text = text.trim();
    let common: usize = name
        .chars()
        .zip(text.chars())
        .take_while(|(made, raw)| made == raw || *made == '_')
        .map(|(made, _)| made.len_utf8())
        .sum();
    let (Some(rest), true) = (name.get(common..), common > 0) else {
        return false;
    };
    let is_numbered = rest.strip_prefix('~').is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    let is_whole = name.chars().count() == text.chars().count();
    let is_cut = name.len() + 4 > NAME_MAX;
    is_numbered || (rest.is_empty() && (is_whole || is_cut))
}

fn meaning(text: &str) -> Meaning<'_> {
    if let Some((name, rest)) = welcome(text) {
        return Meaning::Welcome {
            name,
            history: history(rest),
        };
    }
    let named = [
        text.strip_prefix("you are now "),
        text.strip_prefix("you are ")
            .and_then(|rest| rest.strip_suffix(" already")),
    ];
    if named != [None, None] {
        return Meaning::Named(named);
    }
    if let Some(lost) = text
        .strip_suffix(" lines lost")
        .or_else(|| text.strip_suffix(" line lost"))
        .and_then(|lost| lost.parse().ok())
    {
        return Meaning::Lost(lost);
    }
    match text {
        "relay is stopping" => Meaning::Stopping,
        "say your name first" => Meaning::Nameless,
        "your seat was given away; say your name to come back" => Meaning::GivenAway,
        "bye" => Meaning::Bye,
        _ if is_full(text) => Meaning::Full,
        _ if is_announced(text) => Meaning::Announced,
        _ => Meaning::Other,
    }
}

/// The name in a welcome, and what is behind it.
fn welcome(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.strip_prefix("welcome ")?.split_once(": ")?;
    let (here, _) = rest.split_once(" here (")?;
    (here.parse::<usize>().is_ok() && name.trim() == name).then_some((name, rest))
}

/// Whether all seats are taken.
fn is_full(text: &str) -> bool {
    text.strip_prefix("full: ")
        .and_then(|rest| rest.strip_suffix(" seats taken"))
        .and_then(|seats| seats.split_once(" of "))
        .is_some_and(|(taken, all)| taken.parse::<usize>().is_ok() && all.parse::<usize>().is_ok())
}

/// Whether it may be about somebody in the room; no name has a colon.
fn is_announced(text: &str) -> bool {
    let is_left = text.ends_with(')') && text.contains(" left (");
    !text.contains(':') && (text.ends_with(" joined") || is_left || text.contains(" is now "))
}

/// How many lines of history a welcome promises at its end.
fn history(welcome: &str) -> usize {
    if welcome.ends_with("; the last line:") {
        return 1;
    }
    welcome
        .strip_suffix(" lines:")
        .and_then(|rest| rest.rsplit_once("; the last "))
        .and_then(|(_, lines)| lines.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (line, expected_name, expected_history) in cases {
            let Received::Notice {
                meaning: Meaning::Welcome { name, history },
                ..
            } = parse(line)
            else {
                panic!("{line}");
            };
            assert_eq!((name, history), (expected_name, expected_history), "{line}");
        }
    }

    #[test]
    fn notices_are_told_from_messages() {
        assert_eq!(
            parse("Ada : * relay is stopping"),
            Received::Message {
                name: Some("Ada"),
                text: "* relay is stopping"
            }
        );
        assert_eq!(
            parse("* 3 lines lost"),
            Received::Notice {
                text: "3 lines lost",
                meaning: Meaning::Lost(3)
            }
        );
        assert_eq!(
            parse("hello"),
            Received::Message {
                name: None,
                text: "hello"
            }
        );
        assert_eq!(
            parse("* you are Ada already"),
            Received::Notice {
                text: "you are Ada already",
                meaning: Meaning::Named([None, Some("Ada")])
            }
        );
        assert_eq!(
            parse("* you are now Ada already"),
            Received::Notice {
                text: "you are now Ada already",
                meaning: Meaning::Named([Some("Ada already"), Some("now Ada")])
            }
        );
    }

    #[test]
    fn fixed_notices_are_exact() {
        let cases = [
            ("relay is stopping", Meaning::Stopping),
            ("say your name first", Meaning::Nameless),
            (
                "your seat was given away; say your name to come back",
                Meaning::GivenAway,
            ),
            ("bye", Meaning::Bye),
            ("full: 4 of 4 seats taken", Meaning::Full),
            ("1 line lost", Meaning::Lost(1)),
        ];
        for (text, expected) in cases {
            assert_eq!(meaning(text), expected, "{text}");
            for about in [
                format!("{text} joined").replace(':', "_"),
                format!("{text} left (unreachable)").replace(':', "_"),
                format!("Eve is now {text}").replace(':', "_"),
            ] {
                assert_eq!(meaning(&about), Meaning::Announced, "{about}");
            }
            assert_eq!(meaning(&format!("{text}.")), Meaning::Other, "{text}");
        }
        for text in [
            "full: house",
            "full: x of 4 seats taken",
            "welcome Ada: hello",
            "welcome Eve : 1 here (x",
            "3 begin with x: Ada joined",
        ] {
            assert_eq!(meaning(text), Meaning::Other, "{text}");
        }
    }

    #[test]
    fn a_nick_is_read_as_the_relay_reads_it() {
        assert_eq!(nick(b"/nick Bea"), Some("Bea"));
        assert_eq!(
            nick("/nick\u{3000} a b ".as_bytes()),
            Some("a b"),
            "any white space"
        );
        for text in ["/nick", "/nick ", "/nickname x", "//nick Bea", " /nick Bea"] {
            assert_eq!(nick(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_cut_never_falls_inside_a_character() {
        for character in ["a", "é", "小", "😀"] {
            for shift in 0..4 {
                let text = "x".repeat(shift) + &character.repeat(1000);
                for name in ["a", "小明", "0123456789abcdef0123456789abcdef"] {
                    let mut rest = text.as_str();
                    let mut joined = String::new();
                    while !rest.is_empty() {
                        let (piece, after) = split(rest, room(name));
                        assert!(!piece.is_empty());
                        assert!(name.len() + SEPARATOR.len() + piece.len() <= LINE_MAX);
                        let is_full =
                            name.len() + SEPARATOR.len() + piece.len() + character.len() > LINE_MAX;
                        assert!(is_full || after.is_empty());
                        joined.push_str(piece);
                        rest = after;
                    }
                    assert_eq!(joined, text);
                }
            }
        }
    }

    #[test]
    fn a_name_is_known_by_the_line_it_was_made_of() {
        assert!(is_made_of("hello", "hello"));
        assert!(is_made_of("hello world", " hello world "));
        assert!(is_made_of("a_b", "a:b"));
        assert!(is_made_of("hello~2", "hello"));
        assert!(is_made_of(
            "0123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcdef and on"
        ));
        assert!(is_made_of(
            "0123456789abcdef0123456789abcd~2",
            "0123456789abcdef0123456789abcdef and on"
        ));
        assert!(is_made_of(
            "小明小明小明小明小明",
            "小明小明小明小明小明小明小明"
        ));
        assert!(!is_made_of("hello", "hello there"));
        assert!(!is_made_of("Ada", "hello"));
        assert!(!is_made_of("Ada", ""));
    }
}

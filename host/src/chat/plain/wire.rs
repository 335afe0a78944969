//! The plain dialect: parsing and formatting of lines. See `core/PROTOCOL.md`.

use core::str::from_utf8;

use kilochat_core::{LINE_MAX, NAME_MAX, NOTICE, Notice, SEPARATOR, clean};

/// A line from the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// A message of a peer. A server that only echoes sends no name.
    Message {
        /// The name of its author.
        name: Option<&'a str>,
        /// The text of the message.
        text: &'a str,
    },
    /// A notice of the relay, without the `* ` before it.
    Notice {
        /// The text of the notice.
        text: &'a str,
        /// The meaning of the notice.
        meaning: Notice<'a>,
    },
}

/// Parses a line, which must be clean.
pub(crate) fn parse(line: &str) -> Received<'_> {
    if let Some(text) = line.strip_prefix(NOTICE) {
        return Received::Notice {
            text,
            meaning: Notice::of(text),
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

/// Returns whether a notice could also be a message, of a peer whose crafted name an old server
/// accepted.
pub(crate) fn may_be_said(text: &str) -> bool {
    text.contains(SEPARATOR)
}

/// Splits a datagram into lines at each LF or CR LF. Replaces invalid UTF-8, and applies [`clean`]
/// to each line.
pub(crate) fn lines(payload: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(payload);
    text.strip_suffix('\n')
        .unwrap_or(&text)
        .split('\n')
        .map(|line| clean(line.strip_suffix('\r').unwrap_or(line)).collect())
        .collect()
}

/// Returns the number of bytes of text that fit in one line after `name`.
pub(crate) fn room(name: &str) -> usize {
    LINE_MAX - SEPARATOR.len() - name.len().min(NAME_MAX)
}

/// Splits `text` after at most `room` bytes, between two characters.
pub(crate) fn split(text: &str, room: usize) -> (&str, &str) {
    text.split_at(text.floor_char_boundary(room))
}

/// Escapes `text` so that a relay with commands takes it as a message.
pub(crate) fn literal(text: &str) -> String {
    if text.starts_with('/') {
        format!("/{text}")
    } else {
        text.into()
    }
}

/// Returns the name in the form in which it is sent: trimmed, with unsafe characters replaced by
/// [`clean`], and cut at a character boundary if it is longer than [`NAME_MAX`] bytes.
pub(crate) fn name(raw: &str) -> String {
    // a file may begin with a byte order mark
    let raw = raw.strip_prefix('\u{FEFF}').unwrap_or(raw);
    let mut name: String = clean(raw.trim()).collect();
    name.truncate(name.floor_char_boundary(NAME_MAX));
    name.truncate(name.trim_end().len());
    name
}

/// Returns the name that a datagram requests. Returns `None` if it is not a `/nick`.
pub(crate) fn nick(payload: &[u8]) -> Option<&str> {
    let rest = from_utf8(payload).ok()?.strip_prefix("/nick")?;
    let name = rest.trim();
    (rest.starts_with(char::is_whitespace) && !name.is_empty()).then_some(name)
}

/// Returns whether a relay that received `text` as a first datagram could have made `name` of it.
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

#[cfg(test)]
mod tests {
    use super::*;

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
                meaning: Notice::Lost(3)
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
                meaning: Notice::Named([None, Some("Ada")])
            }
        );
        assert_eq!(
            parse("* you are now Ada already"),
            Received::Notice {
                text: "you are now Ada already",
                meaning: Notice::Named([Some("Ada already"), Some("now Ada")])
            }
        );
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

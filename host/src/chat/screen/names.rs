//! The names of peers, to complete them and to find them in a text.

use core::ops::Range;

use unicode_width::UnicodeWidthChar;

use super::output::{Kind, Shown};

/// Maximum number of names that are remembered. The least recent one is forgotten.
const NAMES_MAX: usize = 4096;

/// The commands that are completed, of the relay and of this client.
const COMMANDS: [&str; 9] = [
    "/help", "/ignore", "/me", "/msg", "/nick", "/quiet", "/quit", "/reply", "/who",
];

/// The names of peers that were seen, the most recent one last.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<String>,
    /// The name of this client.
    pub(super) own: String,
}

/// A replacement for the end of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Completions {
    /// The number of bytes before the part that is replaced.
    pub(super) start: usize,
    /// The possible replacements, at least one.
    pub(super) texts: Vec<String>,
}

impl Names {
    /// Remembers the names in a line, and forgets those that have left.
    pub(super) fn learn(&mut self, line: &Shown) {
        if let Some(name) = &line.name {
            self.add(name);
        } else if matches!(line.kind, Kind::Notice | Kind::History) {
            self.learn_notice(&line.text);
        }
    }

    fn learn_notice(&mut self, text: &str) {
        if let Some(list) = list(text) {
            // the first one is not the most recent one, but who speaks moves to the end
            for name in list
                .split(", ")
                .filter(|name| !name.starts_with("... and "))
            {
                self.add(name.strip_suffix(" (away)").unwrap_or(name));
            }
        } else if let Some((old, new)) = text.split_once(" is now ") {
            self.remove(old);
            self.add(new);
        } else if let Some(name) = text.strip_suffix(" joined") {
            self.add(name);
        } else if let Some((name, _)) = text.rsplit_once(" left (") {
            self.remove(name);
        }
    }

    fn add(&mut self, name: &str) {
        self.remove(name);
        if self.names.len() == NAMES_MAX {
            self.names.remove(0);
        }
        self.names.push(name.into());
    }

    fn remove(&mut self, name: &str) {
        self.names.retain(|known| known != name);
    }

    /// Returns how the end of `text`, the draft before the cursor, can be completed: with a command,
    /// or with the name of a peer. Scripts without spaces have no words, so a name may begin at any
    /// character that is not ASCII.
    pub(super) fn complete(&self, text: &str) -> Option<Completions> {
        let line = text.rfind('\n').map_or(0, |end| end + 1);
        if text[line..].starts_with('/') && !text[line..].contains(' ') {
            let texts = COMMANDS
                .iter()
                .filter(|command| begins(command, &text[line..]));
            return Completions::new(line, texts.map(|command| format!("{command} ")).collect());
        }
        let word = text[line..]
            .rfind(char::is_whitespace)
            .map_or(line, |space| {
                let rest = &text[line + space..];
                line + space + rest.chars().next().map_or(0, char::len_utf8)
            });
        // names contain spaces, too
        let starts = text[line..].char_indices().map(|(at, _)| line + at);
        let starts = starts.filter(|start| {
            let before = text[line..*start].chars().next_back();
            let here = text[*start..].chars().next();
            before.is_none_or(char::is_whitespace)
                || *start >= word && here.is_some_and(|here| !here.is_ascii())
        });
        starts.into_iter().find_map(|start| {
            let end = if start == line { ": " } else { " " };
            let names = self.names.iter().rev();
            let names = names.filter(|name| **name != self.own && begins(name, &text[start..]));
            Completions::new(start, names.map(|name| format!("{name}{end}")).collect())
        })
    }

    /// Returns where `text` contains the name of this client.
    pub(super) fn find_own(&self, text: &str) -> Option<Range<usize>> {
        let own = &self.own;
        let (first, last) = (own.chars().next()?, own.chars().next_back()?);
        text.char_indices()
            .map(|(start, _)| start)
            .find_map(|start| {
                let end = start + matched(&text[start..], own)?;
                let before = text[..start].chars().next_back();
                let after = text[end..].chars().next();
                let is_joined = |one: char, other: Option<char>| {
                    is_in_word(one) && other.is_some_and(is_in_word)
                };
                (!is_joined(first, before) && !is_joined(last, after)).then_some(start..end)
            })
    }
}

impl Completions {
    fn new(start: usize, texts: Vec<String>) -> Option<Self> {
        (!texts.is_empty()).then_some(Self { start, texts })
    }
}

/// Returns the list of names in a welcome, or in an answer to `/who`.
fn list(text: &str) -> Option<&str> {
    if let Some(welcome) = text.strip_prefix("welcome ") {
        let (_, rest) = welcome.split_once(" here (")?;
        return rest.split_once("); ").map(|(list, _)| list);
    }
    let (count, rest) = text.split_once(' ')?;
    count.parse::<usize>().ok()?;
    let (what, list) = rest.split_once(": ")?;
    let is_list = what == "here" || what.starts_with("begin");
    is_list.then(|| list.split(", ... and ").next().unwrap_or(list))
}

/// Returns whether `name` begins with `prefix`, whatever their case, and is longer.
fn begins(name: &str, prefix: &str) -> bool {
    !prefix.is_empty() && matched(name, prefix).is_some()
}

/// Returns the number of bytes of `text` that are the same as `name` but for their case. Returns
/// `None` if `text` does not begin with it.
fn matched(text: &str, name: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    for wanted in name.chars() {
        let (_, found) = characters.next()?;
        if found != wanted && !found.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
    }
    Some(characters.next().map_or(text.len(), |(end, _)| end))
}

/// Returns whether the character is part of a word in a script that has spaces between words.
fn is_in_word(character: char) -> bool {
    character.is_alphanumeric() && character.width() == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names {
            own: "Ada".into(),
            ..Names::default()
        };
        for notice in [
            "welcome Ada: 4 here (Ada, Bob (away), 小明, two words); be kind; /help lists commands",
            "Eve joined",
            "Mallory joined",
            "Mallory left (quit)",
            "Eve is now Zoë",
            "3 begin with z: Zed, Zoë, ... and 7 more; /who PREFIX lists those that begin so",
            "nobody's name begins with x",
        ] {
            names.learn(&Shown::new(Kind::Notice, None, notice));
        }
        names.learn(&Shown::new(Kind::Message, Some("Barbara"), "hi"));
        names
    }

    fn completed(text: &str) -> Vec<String> {
        let found = names().complete(text);
        found.map_or(Vec::new(), |found| {
            let texts = found.texts.iter();
            texts
                .map(|end| format!("{}{end}", &text[..found.start]))
                .collect()
        })
    }

    #[test]
    fn names_and_commands_are_completed() {
        for (text, expected) in [
            ("b", &["Barbara: ", "Bob: "][..]),
            ("bo", &["Bob: "]),
            ("hi, zO", &["hi, Zoë "]),
            ("Two w", &["two words: "]),
            ("ask two w", &["ask two words "]),
            ("小", &["小明: "]),
            ("你好小", &["你好小明 "]),
            ("/ignore z", &["/ignore Zoë ", "/ignore Zed "]),
            ("/w", &["/who "]),
            ("/qui", &["/quiet ", "/quit "]),
            ("first\nbo", &["first\nBob: "]),
            ("a", &[]),
            ("mal", &[]),
            ("ev", &[]),
            ("xbo", &[]),
            ("", &[]),
            ("hello ", &[]),
            ("//w", &[]),
        ] {
            assert_eq!(completed(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_own_name_is_found_where_it_is_a_word() {
        let mut names = names();
        for (own, text, expected) in [
            ("Ada", "ada: look", Some(0..3)),
            ("Ada", "I told Ada, and ADA", Some(7..10)),
            ("Ada", "Adam and Canada", None),
            ("小明", "你好小明吗", Some(6..12)),
            ("Zoë", "and ZOË!", Some(4..8)),
            ("C++", "try C++ or C", Some(4..7)),
            ("", "anything", None),
        ] {
            names.own = own.into();
            assert_eq!(names.find_own(text), expected, "{own} {text}");
        }
    }
}

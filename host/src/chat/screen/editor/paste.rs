//! Pasted text, which begins no command. If it is long, the user is asked before it is said.

use std::borrow::Cow;

use super::{Action, Editor};
use crate::chat::private::is_private;
use crate::chat::screen::keys::Key;

/// Maximum number of lines in a paste about which the user is not asked.
const LINES_UNASKED: usize = 10;

/// The question, and what is left of the answer.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// The draft and the cursor before the paste that is asked about.
    before: Option<(String, usize)>,
    /// The word whose first letter has just answered, and how much of it was typed.
    answer: Option<(&'static str, usize)>,
}

impl Editor {
    /// Returns whether the user is asked about a paste.
    pub(in super::super) fn asks(&self) -> bool {
        self.question.before.is_some()
    }

    /// Inserts a paste, and asks about it if the draft is long then.
    pub(super) fn paste(&mut self, text: &str) -> Action {
        let before = self.question.before.take();
        let before = before.unwrap_or_else(|| (self.text.clone(), self.cursor));
        let text = self.without_command(text);
        let full = self.insert(&text);
        let is_long = self.text.trim_end_matches('\n').split('\n').count() > LINES_UNASKED;
        self.question.before = Some(before).filter(|_| is_long);
        full
    }

    /// Returns a paste with one more `/` if it would begin a command. The user sees it, and can delete it.
    /// Several lines are text in any case, and what is for one person must not be said to all.
    fn without_command<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let (indent, rest) = text.split_at(text.len() - text.trim_start().len());
        let is_first = self.text[..self.cursor].trim().is_empty();
        let is_alone = !self.text.contains('\n') && !text.trim_end_matches('\n').contains('\n');
        if is_first && is_alone && rest.starts_with('/') && !is_private(rest) {
            return Cow::Owned(format!("{indent}/{rest}"));
        }
        Cow::Borrowed(text)
    }

    /// Handles the first key after the question about a paste. Returns the key if it is no answer;
    /// from then on the draft is edited.
    pub(super) fn handle_answer(&mut self, key: Key) -> Result<Key, Action> {
        if matches!(key, Key::Paste(..) | Key::Ctrl('l' | 'z')) {
            return Ok(key);
        }
        let Some(before) = self.question.before.take() else {
            return Ok(key);
        };
        if matches!(key, Key::Char('y' | 'Y')) {
            self.question.answer = Some(("yes", 1));
            return Err(Action::Enter(self.finish()));
        }
        if matches!(key, Key::Char('n' | 'N') | Key::Escape) {
            self.question.answer = Some(("no", 1)).filter(|_| key != Key::Escape);
            (self.text, self.cursor) = before;
            return Err(Action::Edited);
        }
        Ok(key)
    }

    /// Handles a key after a letter that has answered: the rest of the word and Enter are part of
    /// the answer. Returns any other key.
    pub(super) fn handle_rest_of_answer(&mut self, key: Key) -> Result<Key, Action> {
        let Some((word, typed)) = self.question.answer.take() else {
            return Ok(key);
        };
        if key == Key::Enter {
            return Err(Action::Edited);
        }
        if let Key::Char(character) = key
            && word[typed..].starts_with(character)
        {
            self.question.answer = Some((word, typed + 1));
            return Err(Action::Edited);
        }
        // it was the beginning of a text
        self.insert(&word[1..typed]);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::press;
    use super::*;

    #[test]
    fn a_pasted_slash_begins_no_command() {
        for (keys, draft) in [
            ("\x1b[200~/quit\x1b[201~", "//quit"),
            ("\x1b[200~ /quit\n\x1b[201~", " //quit\n"),
            ("\x1b[200~// a comment\x1b[201~", "/// a comment"),
            ("\x1b[200~/quit\x1b[201~\x01\x1b[3~", "/quit"),
            (" \x1b[200~/quit\x1b[201~", " //quit"),
            // typed slashes, several lines, and a slash that begins nothing
            ("/\x1b[200~quit\x1b[201~", "/quit"),
            ("/msg Bob \x1b[200~/home\x1b[201~", "/msg Bob /home"),
            ("\x1b[200~/msg Bob 1234\x1b[201~", "/msg Bob 1234"),
            ("\x1b[200~/home\n/root\x1b[201~", "/home\n/root"),
            ("\x1b[200~\n/home\x1b[201~", "\n/home"),
            ("\x1b[200~and/or\x1b[201~", "and/or"),
        ] {
            let mut editor = Editor::default();
            press(&mut editor, keys);
            assert_eq!(editor.text, draft, "{keys:?}");
        }
    }

    #[test]
    fn a_long_paste_is_said_or_dropped_by_the_first_key_after_it() {
        let paste = format!("\x1b[200~{}y\nn\n\x1b[201~", "line\n".repeat(9));
        let said = |keys: &str| {
            let mut editor = Editor::default();
            let actions = press(&mut editor, &format!("ab\x02{paste}{keys}"));
            let lines = actions.into_iter().filter_map(|action| {
                let Action::Enter(line) = action else {
                    return None;
                };
                Some(line.lines().count())
            });
            let lines: Vec<usize> = lines.collect();
            editor.text.insert(editor.cursor, '|');
            (lines, editor.text)
        };
        for yes in ["y", "Y", "\r", "y\r", "yes\r", "ye\r"] {
            assert_eq!(said(yes), (vec![12], "|".into()), "{yes:?}");
        }
        for no in ["n", "N", "n\r", "no\r", "\x1b"] {
            assert_eq!(said(no), (vec![], "a|b".into()), "{no:?}");
        }
        assert_eq!(said("nod"), (vec![], "aod|b".into()));
        assert_eq!(said("n\r\r"), (vec![1], "|".into()));
        assert_eq!(said("yesterday"), (vec![12], "esterday|".into()));
        assert_eq!(said("\x03"), (vec![], "|".into()));
        // other keys edit it, and a paste never answers
        assert_eq!(said("\x1b[Dn\r"), (vec![12], "|".into()));
        for pasted in ["y", "n", "\n"] {
            let (lines, text) = said(&format!("\x1b[200~{pasted}\x1b[201~"));
            assert!(lines.is_empty() && text.contains(&format!("y\nn\n{pasted}|b")));
            assert_eq!(said(&format!("\x1b[200~{pasted}\x1b[201~n")).1, "a|b");
        }
    }
}

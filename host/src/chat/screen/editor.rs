//! The line editor: a state machine with keys as input.

mod paste;

use core::mem::take;
use core::ops::Range;
use std::collections::VecDeque;

use unicode_segmentation::UnicodeSegmentation;

use super::keys::Key;
use super::names::Completions;

/// Maximum number of lines in the history.
const HISTORY_MAX: usize = 1000;

/// Maximum size of a draft in bytes.
const DRAFT_MAX: usize = 256 << 10;

/// The effect of a key besides a change of the draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// No further effect.
    Edited,
    /// The end of the draft before the cursor must be completed: see [`Editor::complete`].
    Complete,
    /// The line is complete.
    Enter(String),
    /// The user wants to leave.
    Leave,
    /// The program must be suspended.
    Suspend,
    /// The screen must be drawn again.
    Repaint,
    /// A byte was not valid UTF-8.
    Invalid,
    /// The draft is full, and this number of bytes was left out.
    Full(usize),
}

/// The draft, the history, and the text that was cut out (killed, as in Emacs).
#[derive(Debug, Default)]
pub(super) struct Editor {
    text: String,
    cursor: usize,
    killed: String,
    /// Whether the last key killed text. Text that the next key kills is added to it.
    is_killing: bool,
    history: VecDeque<String>,
    /// The index of the recalled line in the history, and the draft that it replaces.
    recalled: Option<(usize, String)>,
    search: Option<Search>,
    /// The last completion, if the last key was Tab.
    completion: Option<(Completions, usize)>,
    question: paste::Question,
}

/// A search in the history.
#[derive(Debug)]
struct Search {
    query: String,
    found: Option<usize>,
    /// The draft and the cursor before the search.
    before: (String, usize),
}

impl Editor {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Returns the prompt, which is `usual` unless a search is in progress.
    pub(super) fn prompt<'a>(&self, usual: &'a str) -> std::borrow::Cow<'a, str> {
        match &self.search {
            Some(Search { query, found, .. }) if found.is_none() && !query.is_empty() => {
                format!("(not found) {query}: ").into()
            }
            Some(Search { query, .. }) => format!("(search) {query}: ").into(),
            None => usual.into(),
        }
    }

    /// Handles a key.
    pub(super) fn handle(&mut self, key: Key) -> Action {
        let key = match self.handle_in_search(key) {
            Ok(action) => return action,
            Err(key) => key,
        };
        if matches!(key, Key::FocusIn | Key::FocusOut) {
            return Action::Edited;
        }
        let handled = self.handle_rest_of_answer(key);
        let key = match handled.and_then(|key| self.handle_answer(key)) {
            Ok(key) => key,
            Err(action) => return action,
        };
        let was_killing = take(&mut self.is_killing);
        if key != Key::Tab {
            self.completion = None;
        }
        match key {
            Key::Char(character) => return self.insert(character.encode_utf8(&mut [0; 4])),
            Key::Paste(text, is_valid) => {
                let full = self.paste(&text);
                return if is_valid { full } else { Action::Invalid };
            }
            Key::Invalid => {
                self.insert("\u{FFFD}");
                return Action::Invalid;
            }
            Key::Enter => return Action::Enter(self.finish()),
            Key::Ctrl('c') if self.text.is_empty() => return Action::Leave,
            Key::Ctrl('c') => self.set(String::new()),
            Key::Ctrl('d') if self.text.is_empty() => return Action::Leave,
            Key::Ctrl('z') => return Action::Suspend,
            Key::Ctrl('l') => return Action::Repaint,
            Key::Ctrl('r') => {
                self.search = Some(Search {
                    query: String::new(),
                    found: None,
                    before: (self.text.clone(), self.cursor),
                });
            }
            Key::Up | Key::Ctrl('p') => self.recall_older(),
            Key::Down | Key::Ctrl('n') => self.recall_newer(),
            Key::Left | Key::Ctrl('b') => self.cursor = self.left(),
            Key::Right | Key::Ctrl('f') => self.cursor = self.right(),
            Key::WordLeft | Key::Alt('b') => self.cursor = self.word_left(),
            Key::WordRight | Key::Alt('f') => self.cursor = self.word_right(),
            Key::Home | Key::Ctrl('a') => self.cursor = 0,
            Key::End | Key::Ctrl('e') => self.cursor = self.text.len(),
            Key::Backspace => self.remove(self.left()..self.cursor),
            Key::Delete | Key::Ctrl('d') => self.remove(self.cursor..self.right()),
            Key::Ctrl('k') => self.kill(self.cursor..self.text.len(), was_killing),
            Key::Ctrl('u') => self.kill(0..self.cursor, was_killing),
            Key::Ctrl('w') => self.kill(self.space_left()..self.cursor, was_killing),
            Key::Alt('d') => self.kill(self.cursor..self.word_right(), was_killing),
            Key::Ctrl('y') => {
                let killed = self.killed.clone();
                return self.insert(&killed);
            }
            Key::Ctrl('t') => self.transpose(),
            Key::Tab => return Action::Complete,
            Key::Ctrl(_)
            | Key::Alt(_)
            | Key::Escape
            | Key::FocusIn
            | Key::FocusOut
            | Key::Other => {}
        }
        Action::Edited
    }

    /// Handles a key during a search. Returns the key as an error if it ends or does not concern
    /// the search.
    fn handle_in_search(&mut self, key: Key) -> Result<Action, Key> {
        let Some(search) = &mut self.search else {
            return Err(key);
        };
        match key {
            Key::Char(character) if search.query.len() < 256 => search.query.push(character),
            Key::Char(_) => {}
            Key::Backspace => drop(search.query.pop()),
            Key::Ctrl('r') => {
                let before = search.found.unwrap_or(self.history.len());
                if let Some(found) = self.find(before) {
                    self.show_found(Some(found));
                }
                return Ok(Action::Edited);
            }
            Key::Ctrl('c' | 'g') => {
                (self.text, self.cursor) = take(&mut search.before);
                self.search = None;
                return Ok(Action::Edited);
            }
            Key::Escape => {
                self.search = None;
                return Ok(Action::Edited);
            }
            Key::Ctrl('l' | 'z') | Key::FocusIn | Key::FocusOut => return Err(key),
            Key::Paste(..)
            | Key::Ctrl(_)
            | Key::Alt(_)
            | Key::Enter
            | Key::Tab
            | Key::Delete
            | Key::Left
            | Key::Right
            | Key::Up
            | Key::Down
            | Key::Home
            | Key::End
            | Key::WordLeft
            | Key::WordRight
            | Key::Invalid
            | Key::Other => {
                self.search = None;
                return Err(key);
            }
        }
        let found = self.find(self.history.len());
        self.show_found(found);
        Ok(Action::Edited)
    }

    /// Returns the last line before `end` that contains the query.
    fn find(&self, end: usize) -> Option<usize> {
        let query = &self.search.as_ref()?.query;
        (0..end)
            .rev()
            .find(|index| !query.is_empty() && self.history[*index].contains(query))
    }

    fn show_found(&mut self, found: Option<usize>) {
        let Some(search) = &mut self.search else {
            return;
        };
        search.found = found;
        match found {
            Some(index) => {
                self.text.clone_from(&self.history[index]);
                self.cursor = self.text.find(&search.query).unwrap_or(0);
            }
            None => (self.text, self.cursor) = search.before.clone(),
        }
    }

    /// Returns the complete line, and adds it to the history.
    fn finish(&mut self) -> String {
        let line = take(&mut self.text);
        self.set(String::new());
        let is_new = self.history.back() != Some(&line);
        if is_new && !line.trim().is_empty() {
            self.history.push_back(line.clone());
        }
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
        line
    }

    /// Completes the end of the draft before the cursor as `find` tells, or replaces the last
    /// completion by the next one.
    pub(super) fn complete(&mut self, find: impl FnOnce(&str) -> Option<Completions>) {
        let next = match self.completion.take() {
            Some((found, last)) => Some((last + 1) % found.texts.len()).map(|next| (found, next)),
            None => find(&self.text[..self.cursor]).map(|found| (found, 0)),
        };
        let Some((found, index)) = next else { return };
        let text = &found.texts[index];
        if self.text.len() + text.len() > DRAFT_MAX {
            return;
        }
        self.text.replace_range(found.start..self.cursor, text);
        self.cursor = found.start + text.len();
        self.completion = Some((found, index));
    }

    fn set(&mut self, text: String) {
        self.recalled = None;
        self.cursor = text.len();
        self.text = text;
    }

    fn insert(&mut self, text: &str) -> Action {
        let mut end = text.len().min(DRAFT_MAX - self.text.len().min(DRAFT_MAX));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.insert_str(self.cursor, &text[..end]);
        self.cursor += end;
        if end < text.len() {
            return Action::Full(text.len() - end);
        }
        Action::Edited
    }

    fn remove(&mut self, range: Range<usize>) {
        self.cursor = range.start;
        self.text.drain(range);
    }

    /// Kills a part of the draft. If the last key killed text too, the parts are joined in their
    /// order in the draft.
    fn kill(&mut self, range: Range<usize>, was_killing: bool) {
        let part = &self.text[range.clone()];
        if !was_killing {
            self.killed = part.into();
        } else if range.start < self.cursor {
            self.killed.insert_str(0, part);
        } else {
            self.killed.push_str(part);
        }
        self.is_killing = true;
        self.remove(range);
    }

    /// Exchanges the two characters around the cursor, or the last two.
    fn transpose(&mut self) {
        if self.cursor == self.text.len() {
            self.cursor = self.left();
        }
        let (start, middle, end) = (self.left(), self.cursor, self.right());
        let exchanged = [&self.text[middle..end], &self.text[start..middle]].concat();
        self.text.replace_range(start..end, &exchanged);
        self.cursor = end;
    }

    fn recall_older(&mut self) {
        let index = match &self.recalled {
            Some((index, _)) => index.checked_sub(1),
            None => self.history.len().checked_sub(1),
        };
        let Some(index) = index else { return };
        let draft = match self.recalled.take() {
            Some((_, draft)) => draft,
            None => take(&mut self.text),
        };
        self.set(self.history[index].clone());
        self.recalled = Some((index, draft));
    }

    fn recall_newer(&mut self) {
        let Some((index, draft)) = self.recalled.take() else {
            return;
        };
        match self.history.get(index + 1) {
            Some(line) => {
                self.set(line.clone());
                self.recalled = Some((index + 1, draft));
            }
            None => self.set(draft),
        }
    }

    fn left(&self) -> usize {
        let before = self.text[..self.cursor].graphemes(true).next_back();
        self.cursor - before.map_or(0, str::len)
    }

    fn right(&self) -> usize {
        let after = self.text[self.cursor..].graphemes(true).next();
        self.cursor + after.map_or(0, str::len)
    }

    fn word_left(&self) -> usize {
        let before = &self.text[..self.cursor];
        let last = before.unicode_word_indices().next_back();
        last.map_or(0, |(start, _)| start)
    }

    fn word_right(&self) -> usize {
        let after = &self.text[self.cursor..];
        let word = after.unicode_word_indices().next();
        word.map_or(self.text.len(), |(start, word)| {
            self.cursor + start + word.len()
        })
    }

    /// Returns the start of the word before the cursor, where words are separated by spaces.
    fn space_left(&self) -> usize {
        let before = self.text[..self.cursor].trim_end();
        before
            .char_indices()
            .rev()
            .find(|(_, character)| character.is_whitespace())
            .map_or(0, |(at, character)| at + character.len_utf8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::screen::keys::Parser;

    pub(super) fn press(editor: &mut Editor, bytes: &str) -> Vec<Action> {
        let mut parser = Parser::default();
        let mut keys = parser.handle_bytes(bytes.as_bytes());
        keys.extend(parser.handle_timeout());
        keys.into_iter().map(|key| editor.handle(key)).collect()
    }

    /// Returns the draft with `|` at the cursor.
    fn typed(bytes: &str) -> String {
        let mut editor = Editor::default();
        press(&mut editor, bytes);
        let mut text = editor.text.clone();
        text.insert(editor.cursor, '|');
        text
    }

    #[test]
    fn the_keys_of_emacs_do_what_they_do_there() {
        let table = [
            ("abc\x01x", "x|abc"),
            ("abc\x01\x05x", "abcx|"),
            ("abc\x02\x02x\x06y", "axby|c"),
            ("abc\x1b[D\x7f", "a|c"),
            ("abc\x01\x04\x1b[3~", "|c"),
            ("one two three\x17", "one two |"),
            ("one two three\x17\x17\x19", "one two three|"),
            ("one two\x01\x0bx\x19", "xone two|"),
            ("one two\x02\x15\x19\x19", "one twone tw|o"),
            ("one two\x1bb\x1bbx", "x|one two"),
            ("one two\x01\x1bfx", "onex| two"),
            ("one two\x01\x1bd", "| two"),
            ("one, two\x01\x1b[1;5Cx\x1b[1;5Dy", "y|onex, two"),
            ("abc\x14", "acb|"),
            ("abc\x02\x02\x14", "ba|c"),
            ("\x14a\x14", "a|"),
            ("小明e\u{301}\x7f", "小明|"),
            ("👩\u{200D}👧x\x02\x02\x04", "|x"),
            (
                "\x1b[A\x1b[B\x7f\x1b[3~\x0b\x15\x17\x19\x1bb\x1bf\x1bd",
                "|",
            ),
        ];
        for (keys, expected) in table {
            assert_eq!(typed(keys), expected, "{keys:?}");
        }
    }

    #[test]
    fn earlier_lines_come_back_and_the_draft_too() {
        assert_eq!(typed("one\rtwo\rdraft\x1b[A"), "two|");
        assert_eq!(typed("one\rtwo\rdraft\x1b[A\x1b[A\x1b[A"), "one|");
        assert_eq!(
            typed("one\rtwo\rdraft\x1b[A\x1b[A\x1b[B\x1b[B\x1b[B"),
            "draft|"
        );
        assert_eq!(typed("one\rone\r \rdraft\x1b[A\x1b[A"), "one|");
    }

    #[test]
    fn a_search_finds_older_lines_and_gives_the_draft_back() {
        let lines = "red apple\rgreen pear\rred pear\rdraft";
        assert_eq!(typed(&format!("{lines}\x12red")), "|red pear");
        assert_eq!(typed(&format!("{lines}\x12red\x12\x05!")), "red apple!|");
        assert_eq!(typed(&format!("{lines}\x12red\x12\x12\x12")), "|red apple");
        assert_eq!(typed(&format!("{lines}\x12nothing")), "draft|");
        assert_eq!(typed(&format!("{lines}\x12red\x07")), "draft|");
        assert_eq!(typed(&format!("{lines}\x12red\x03")), "draft|");
        assert_eq!(typed(&format!("{lines}\x12x\x1b")), "draft|");
        let mut editor = Editor::default();
        let actions = press(&mut editor, &format!("{lines}\x12gr\r"));
        assert_eq!(actions.last(), Some(&Action::Enter("green pear".into())));
    }

    #[test]
    fn tab_goes_through_the_completions_until_another_key() {
        let mut editor = Editor::default();
        let find = |text: &str| {
            let start = text.len().checked_sub(1)?;
            let texts = ["小明 ", "Zoë "].map(str::to_owned).to_vec();
            (text.len() < 9).then_some(Completions { start, texts })
        };
        press(&mut editor, "hi zx\x02");
        for expected in ["hi 小明 x", "hi Zoë x", "hi 小明 x"] {
            assert_eq!(editor.handle(Key::Tab), Action::Complete);
            editor.complete(find);
            assert_eq!(editor.text(), expected);
        }
        press(&mut editor, "!");
        editor.complete(find);
        assert_eq!(editor.text(), "hi 小明 !x");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut editor = Editor::default();
        let text = "小".repeat(DRAFT_MAX / 3 + 10);
        let kept = DRAFT_MAX / 3 * 3;
        assert_eq!(
            editor.handle(Key::Paste(text.clone(), true)),
            Action::Full(text.len() - kept)
        );
        assert_eq!(editor.text.len(), kept);
    }

    #[test]
    fn a_byte_that_is_not_utf_8_is_told_and_replaced() {
        let mut editor = Editor::default();
        editor.handle(Key::Char('x'));
        assert_eq!(editor.handle(Key::Invalid), Action::Invalid);
        assert_eq!(editor.text(), "x\u{FFFD}");
    }

    #[test]
    fn no_keys_make_it_fail() {
        let alphabet = [
            "a",
            " ",
            "小",
            "e\u{301}",
            "\u{200D}",
            "\x1b[200~x\ny\x1b[201~",
            "\r",
            "\x12",
            "\x07",
            "\x1b[A",
            "\x1b[B",
            "\x1b[C",
            "\x1b[D",
            "\x01",
            "\x05",
            "\x0b",
            "\x15",
            "\x17",
            "\x19",
            "\x14",
            "\x1bb",
            "\x1bf",
            "\x1bd",
            "\x7f",
            "\x1b[3~",
            "\x1b",
            "\t",
        ];
        let mut random = fastrand::Rng::with_seed(3);
        let mut editor = Editor::default();
        for _ in 0..50_000 {
            press(&mut editor, alphabet[random.usize(..alphabet.len())]);
            assert!(editor.text.is_char_boundary(editor.cursor));
            if editor.text.len() > 1000 {
                editor.set(String::new());
            }
        }
    }
}

//! Wrapping of lines that are wider than the terminal.
//!
//! The terminal itself would continue a line in the first column. Then one crafted line could look
//! like several: like a notice of the relay, or a message of another peer.

use unicode_width::UnicodeWidthChar;

/// The indent of each row except the first.
const INDENT: &str = "  ";

/// Minimum width of a row: the indent, and one wide character.
const COLUMNS_MIN: usize = INDENT.len() + 2;

/// Control sequences that turn the terminal's own wrapping off and on (DECAWM).
pub(super) const NO_AUTOWRAP: &str = "\x1b[?7l";
pub(super) const AUTOWRAP: &str = "\x1b[?7h";

/// The state of the terminal's own wrapping, which wraps words that are longer than a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Autowrap {
    /// Wrapping is on.
    On,
    /// Wrapping is off, and is turned on for each of these words.
    Off,
}

/// Breaks `line` into rows of at most `columns`, between words where possible.
///
/// The first `head` bytes, the author's name, stay with the first word. Control sequences from ESC
/// to `m` have no width; text from peers contains no ESC. A word of printable ASCII that is longer
/// than a row, for example a URL, is left whole for the terminal to wrap, so that it can be copied
/// and clicked. Such a word contains no space, so a row that begins within it cannot look like a
/// message, and the text after it begins a new row.
pub(crate) fn wrap(line: &str, head: usize, columns: usize, autowrap: Autowrap) -> String {
    let mut rows = Rows {
        text: String::with_capacity(line.len()),
        columns: columns.max(COLUMNS_MIN),
        column: 0,
        word: None,
        is_after_whole: false,
    };
    let (mut is_escape, mut before) = (false, ' ');
    let mut skipped = 0;
    for (at, character) in line.char_indices() {
        if at < skipped {
            continue;
        }
        is_escape |= character == '\x1b';
        let rest = &line[at + character.len_utf8()..];
        let width = match character {
            _ if is_escape => 0,
            _ if rest.starts_with(EMOJI) => 2,
            _ => width(character),
        };
        is_escape &= character != 'm';
        if width == 0 {
            rows.text.push(character);
            if character == JOINER {
                before = character;
            }
            continue;
        }
        let is_start = starts_word(before, character);
        let whole = whole_word(&line[at..]);
        if at >= head && is_start && whole.len() > rows.room(at > head) {
            rows.push_whole(whole, autowrap);
            skipped = at + whole.len();
            before = 'x';
            continue;
        }
        if at > head && is_start {
            rows.word = Some((rows.text.len(), rows.column));
        }
        before = character;
        rows.push(character, width);
    }
    rows.text
}

/// The rows of a line that is being wrapped.
struct Rows {
    text: String,
    columns: usize,
    /// Number of columns that are used in the last row.
    column: usize,
    /// The start of the last word, if it can be moved to a new row: the offset in `text`, and the
    /// column.
    word: Option<(usize, usize)>,
    /// Whether the last row ends with a word that the terminal may have wrapped.
    is_after_whole: bool,
}

impl Rows {
    /// Returns the maximum width of a word that begins here, or in the next row if it can be moved.
    fn room(&self, can_move: bool) -> usize {
        if self.is_after_whole || can_move && self.column >= COLUMNS_MIN {
            self.columns - INDENT.len()
        } else {
            self.columns - self.column
        }
    }

    /// Adds a character that is `width` columns wide.
    fn push(&mut self, character: char, width: usize) {
        if self.is_after_whole || self.column + width > self.columns {
            // a space that does not fit ends the row, and a word is moved only if it fits after the
            // indent
            let moved = self
                .word
                .filter(|(_, start)| character != ' ' && *start >= COLUMNS_MIN);
            let (offset, start) = moved.unwrap_or((self.text.len(), self.column));
            self.text.insert_str(offset, INDENT);
            self.text.insert(offset, '\n');
            self.column = INDENT.len() + self.column - start;
            self.word = None;
            self.is_after_whole = false;
            if character == ' ' {
                return;
            }
        }
        self.text.push(character);
        self.column += width;
    }

    /// Adds a word that the terminal wraps.
    fn push_whole(&mut self, word: &str, autowrap: Autowrap) {
        if self.column + 1 > self.columns {
            self.text.push('\n');
            self.text.push_str(INDENT);
        }
        match autowrap {
            Autowrap::On => self.text.push_str(word),
            Autowrap::Off => {
                self.text.push_str(AUTOWRAP);
                self.text.push_str(word);
                self.text.push_str(NO_AUTOWRAP);
            }
        }
        self.word = None;
        self.is_after_whole = true;
    }
}

/// Returns the printable ASCII at the start of `text`.
fn whole_word(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_ascii_graphic());
    &text[..end.unwrap_or(text.len())]
}

/// ZERO WIDTH JOINER: combines the characters around it to one, if the terminal supports it.
const JOINER: char = '\u{200D}';

/// VARIATION SELECTOR-16: makes the character before it an emoji, which is two columns wide.
const EMOJI: char = '\u{FE0F}';

/// Returns the maximum width of a character in columns, without any combination of characters.
fn width(character: char) -> usize {
    match character {
        // hidden by some terminals, and blank in others
        '\u{115F}' | '\u{1160}' | '\u{3164}' => 2,
        '\u{AD}' | '\u{FFA0}' => 1,
        _ => character.width().unwrap_or(0),
    }
}

/// Returns the maximum width of a text without line ends, in columns.
pub(super) fn grapheme_width(text: &str) -> usize {
    let mut characters = text.chars().peekable();
    let mut columns = 0;
    while let Some(character) = characters.next() {
        let is_emoji = characters.peek() == Some(&EMOJI);
        columns += if is_emoji { 2 } else { width(character) };
    }
    columns
}

/// Returns the number of terminal rows for a text that ends with a line end.
pub(super) fn height(text: &str, columns: usize) -> usize {
    let rows = text.lines().map(|line| {
        let mut shown = String::with_capacity(line.len());
        let mut is_escape = false;
        for character in line.chars() {
            is_escape |= character == '\x1b';
            if !is_escape {
                shown.push(character);
            }
            is_escape &= !character.is_ascii_alphabetic();
        }
        grapheme_width(&shown).div_ceil(columns.max(1)).max(1)
    });
    rows.sum()
}

/// Returns whether a row may end between two characters: after a space, and beside a wide
/// character, because scripts of wide characters have no spaces.
fn starts_word(before: char, character: char) -> bool {
    character != ' '
        && before != JOINER
        && (before == ' ' || width(before) > 1 || width(character) > 1)
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    fn rows(line: &str, columns: usize) -> Vec<String> {
        let head = line.find(" : ").map_or(0, |at| at + " : ".len());
        wrap(line, head, columns, Autowrap::On)
            .split('\n')
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(rows("Bob : hello", 20), ["Bob : hello"]);
        assert_eq!(
            rows("Bob : one two three four five", 20),
            ["Bob : one two three ", "  four five"]
        );
        assert_eq!(
            rows("Bob : one two threefour five", 20),
            ["Bob : one two ", "  threefour five"]
        );
        assert_eq!(
            rows("Bob : é123456789abcdefghijklmnopqrstuvwxyz", 20),
            ["Bob : é123456789abcd", "  efghijklmnopqrstuv", "  wxyz"]
        );
        assert_eq!(
            rows("Bob : x一二三四五六七八", 20),
            ["Bob : x一二三四五六", "  七八"]
        );
        assert_eq!(
            rows("Bob : 一二三 hello四五", 17),
            ["Bob : 一二三 ", "  hello四五"]
        );
    }

    #[test]
    fn what_is_one_character_stays_one() {
        assert_eq!(
            rows("Bob : e\u{301}e\u{301}e\u{301}e\u{301}", 8),
            ["Bob : e\u{301}e\u{301}", "  e\u{301}e\u{301}"]
        );
        assert_eq!(
            rows("Bob : 好 👩\u{200D}👧", 12),
            ["Bob : 好 ", "  👩\u{200D}👧"]
        );
        assert_eq!(rows("Bob : ❤❤\u{FE0F}", 8), ["Bob : ❤", "  ❤\u{FE0F}"]);
    }

    #[test]
    fn colours_have_no_width() {
        assert_eq!(
            wrap(
                "\x1b[1m\x1b[31mBob\x1b[0m\x1b[2m : 0123\x1b[0m",
                22,
                10,
                Autowrap::Off
            ),
            "\x1b[1m\x1b[31mBob\x1b[0m\x1b[2m : 0123\x1b[0m"
        );
        assert_eq!(
            wrap("\x1b[2m* é123456789\x1b[0m", 6, 10, Autowrap::Off),
            "\x1b[2m* é1234567\n  89\x1b[0m"
        );
    }

    #[test]
    fn words_stay_apart_where_a_row_is_exactly_full() {
        assert_eq!(rows("Bob : aaa bbb ccc", 13), ["Bob : aaa bbb", "  ccc"]);
        assert_eq!(rows("Bob : aaa bbb  ccc", 13), ["Bob : aaa bbb", "   ccc"]);
    }

    #[test]
    fn a_long_word_of_ascii_is_left_to_the_terminal() {
        let address = "https://example.org/a/long/path?that=is&longer#than-a-row";
        assert_eq!(
            rows(&format!("Bob : see {address} ok?"), 20),
            [format!("Bob : see {address}"), "  ok?".into()]
        );
        assert_eq!(
            rows(&format!("小明 : {address}。好"), 20),
            [format!("小明 : {address}"), "  。好".into()]
        );
        // the word fits in a row, but not after the name
        assert_eq!(
            rows("Bob : 0123456789abcdef * joined", 20),
            ["Bob : 0123456789abcdef", "  * joined"]
        );
        assert_eq!(
            wrap(&format!("* {address} x"), 2, 20, Autowrap::Off),
            format!("* {AUTOWRAP}{address}{NO_AUTOWRAP}\n  x")
        );
    }

    #[test]
    fn no_row_but_the_first_starts_in_the_first_column_or_is_too_long() {
        let alphabet = [
            "x",
            " ",
            "     ",
            "word",
            "https://example.org/path?query",
            "小",
            "😀",
            "é",
            "e\u{301}",
            "❤\u{FE0F}",
            "\u{200D}",
            "*",
        ];
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut line = "小明 : ".to_owned();
            for _ in 0..random.usize(..60) {
                line.push_str(alphabet[random.usize(..alphabet.len())]);
            }
            let columns = random.usize(1..40);
            let rows = rows(&line, columns);
            for (index, row) in rows.iter().enumerate() {
                // a whole word may end with a combining mark, which has no width
                let end = row.trim_end_matches(|mark| width(mark) == 0);
                let whole = end.rsplit(|character: char| !character.is_ascii_graphic());
                let whole = whole.map(str::len).next().unwrap_or(0);
                let is_left = row.width() > columns.max(COLUMNS_MIN) && whole > 1;
                let broken = if is_left {
                    &end[..end.len() - whole]
                } else {
                    row
                };
                assert!(broken.width() <= columns.max(COLUMNS_MIN), "{row:?}");
                assert!(index == 0 || row.starts_with(INDENT), "{rows:?}");
            }
            check_words(&line, &rows, columns.max(COLUMNS_MIN));
        }
    }

    /// Checks that each row ends in place of one space, beside a wide character, or within a word
    /// that is too long for a row and not ASCII, and that nothing else is added or left out.
    fn check_words(line: &str, rows: &[String], columns: usize) {
        let mut rest = line;
        for (index, row) in rows.iter().enumerate() {
            let row = if index == 0 {
                row
            } else {
                &row[INDENT.len()..]
            };
            let before = line[..line.len() - rest.len()].chars().next_back();
            if index > 0 && rest.starts_with(' ') {
                rest = &rest[1..];
            } else if let Some(before) = before
                && before != ' '
                && index > 0
            {
                let next = rest.chars().next().expect("a row is not empty");
                let start = line.len() - rest.len();
                let word = line[..start].rfind(' ').map_or(0, |at| at + 1);
                let end = line[start..].find(' ').map_or(line.len(), |at| start + at);
                assert!(
                    next == ' '
                        || !(before.is_ascii() && next.is_ascii())
                        || line[word..end].contains(JOINER)
                        || word == line.find(" : ").map_or(0, |at| at + 3)
                        || (!line[word..end].is_ascii()
                            && line[word..end].width() > columns - INDENT.len() - 1),
                    "a word is broken before {rest:?} in {rows:#?}"
                );
            }
            rest = rest.strip_prefix(row).expect("nothing is added");
        }
        assert_eq!(rest, "", "nothing is left out");
    }
}

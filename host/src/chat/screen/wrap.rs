//! Lines that are longer than the terminal is wide.
//!
//! The terminal would go on in the first column, where a line that somebody chose with care looks
//! like several: a notice of the relay, words of another.

use unicode_width::UnicodeWidthChar;

/// What stands before each row of a line but the first.
const INDENT: &str = "  ";

/// No row is narrower: the indent, and a wide character behind it.
const COLUMNS_MIN: usize = INDENT.len() + 2;

/// Breaks `line` into rows of at most `columns`, between words where it can.
///
/// The first `head` bytes, who said it, stay with the first word. What is between ESC and `m` has
/// no width; text that came from others has no ESC.
pub(crate) fn wrap(line: &str, head: usize, columns: usize) -> String {
    let columns = columns.max(COLUMNS_MIN);
    let mut rows = String::with_capacity(line.len());
    let mut column = 0;
    // where a word starts: the offset in `rows`, and the column
    let mut word: Option<(usize, usize)> = None;
    let (mut is_escape, mut before) = (false, ' ');
    for (at, character) in line.char_indices() {
        is_escape |= character == '\x1b';
        let rest = &line[at + character.len_utf8()..];
        let width = match character {
            _ if is_escape => 0,
            _ if rest.starts_with(EMOJI) => 2,
            _ => width(character),
        };
        is_escape &= character != 'm';
        if width == 0 {
            rows.push(character);
            if character == JOINER {
                before = character;
            }
            continue;
        }
        if at > head && starts_word(before, character) {
            word = Some((rows.len(), column));
        }
        before = character;
        if column + width > columns {
            // a word that is moved has to fit behind the indent
            let moved = word.filter(|(_, start)| *start >= COLUMNS_MIN);
            let (offset, start) = moved.unwrap_or((rows.len(), column));
            rows.insert_str(offset, INDENT);
            rows.insert(offset, '\n');
            column = INDENT.len() + column - start;
            word = None;
            if character == ' ' {
                continue;
            }
        }
        rows.push(character);
        column += width;
    }
    rows
}

/// Joins the characters around it to one, where the terminal can.
const JOINER: char = '\u{200D}';

/// Makes an emoji of the character before it, as wide as those are.
const EMOJI: char = '\u{FE0F}';

/// The most columns that a terminal uses for a character, as if it did not join any.
fn width(character: char) -> usize {
    match character {
        // hidden by some terminals, and blank on others
        '\u{115F}' | '\u{1160}' | '\u{3164}' => 2,
        '\u{AD}' | '\u{FFA0}' => 1,
        _ => character.width().unwrap_or(0),
    }
}

/// Whether a row may end between the two: after a space, and where one of them is as wide as
/// those of scripts without spaces are.
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
        wrap(line, head, columns)
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
            rows("Bob : 0123456789abcdefghijklmnopqrstuvwxyz", 20),
            ["Bob : 0123456789abcd", "  efghijklmnopqrstuv", "  wxyz"]
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
            wrap("\x1b[1m\x1b[31mBob\x1b[0m\x1b[2m : 0123\x1b[0m", 22, 10),
            "\x1b[1m\x1b[31mBob\x1b[0m\x1b[2m : 0123\x1b[0m"
        );
        assert_eq!(
            wrap("\x1b[2m* 0123456789\x1b[0m", 6, 10),
            "\x1b[2m* 01234567\n  89\x1b[0m"
        );
    }

    #[test]
    fn no_row_but_the_first_starts_in_the_first_column_or_is_too_long() {
        let alphabet = [
            "x",
            " ",
            "     ",
            "word",
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
                assert!(row.width() <= columns.max(COLUMNS_MIN), "{row:?}");
                assert!(index == 0 || row.starts_with(INDENT), "{rows:?}");
            }
            let without = |text: &str| text.replace([' ', '\n'], "");
            assert_eq!(without(&rows.concat()), without(&line));
        }
    }
}

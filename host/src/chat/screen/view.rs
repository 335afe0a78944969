//! Layout of the draft in rows.

use kilochat_core::clean;
use unicode_segmentation::UnicodeSegmentation;

use super::wrap::grapheme_width;

/// Maximum number of lines in a draft without a summary.
const LINES_SHOWN: usize = 4;

/// The rows of the draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The rows, at least one. Each is at most as wide as the terminal.
    pub(super) rows: Vec<String>,
    /// The row of the cursor, and the number of bytes before the cursor in it.
    pub(super) cursor: (usize, usize),
}

/// Lays out `text` after `prompt` in rows of at most `columns`. Returns all rows, or at most
/// `rows_max` around the cursor. With `asks`, the summary asks whether to say the text.
pub(super) fn view(
    prompt: &str,
    text: &str,
    cursor: usize,
    asks: bool,
    (columns, rows_max): (usize, usize),
) -> View {
    let mut view = lay_out(prompt, text, cursor, columns.max(2));
    let lines = text.trim_end_matches('\n').split('\n').count();
    if view.rows.len() <= rows_max && lines <= LINES_SHOWN {
        return view;
    }
    let room = rows_max.saturating_sub(1).max(1);
    let first = view
        .rows
        .len()
        .saturating_sub(room)
        .min((view.cursor.0 + 1).saturating_sub(room.div_ceil(2)));
    view.rows.drain(..first);
    view.rows.truncate(room);
    view.cursor.0 -= first;
    if rows_max > 1 {
        view.rows
            .insert(0, summary(lines, text.len(), asks, columns));
        view.cursor.0 += 1;
    }
    view
}

/// Returns what Enter would say, as a question that fits in a row.
fn summary(lines: usize, bytes: usize, asks: bool, columns: usize) -> String {
    let what = if lines > 1 {
        format!("{lines} lines")
    } else {
        format!("{bytes} bytes")
    };
    let whole = match lines {
        0 | 1 => what.clone(),
        _ => format!("{what}, {bytes} bytes"),
    };
    let (keys, short) = if asks {
        ("Enter or y says it, n drops it", "y/n")
    } else {
        ("Enter says it, Ctrl-C drops it", "Enter, ^C")
    };
    let forms = [
        format!("[{whole}; {keys}]"),
        format!("[{what}: {short}?]"),
        format!("[{what}?]"),
        what,
    ];
    let fitting = forms.iter().find(|form| form.len() <= columns);
    let mut summary = fitting.unwrap_or(&forms[3]).clone();
    summary.truncate(columns.max(2));
    summary
}

fn lay_out(prompt: &str, text: &str, cursor: usize, columns: usize) -> View {
    let mut rows = vec![String::new()];
    let mut place = (0, 0);
    let mut column = 0;
    let start = prompt.len();
    let graphemes = prompt.grapheme_indices(true).chain(
        text.grapheme_indices(true)
            .map(|(at, part)| (at + start, part)),
    );
    for (at, grapheme) in graphemes {
        let shown: String = clean(grapheme).collect();
        if grapheme != "\n" {
            let width = grapheme_width(&shown);
            if column + width > columns {
                rows.push(String::new());
                column = 0;
            }
            column += width;
        }
        let last = rows.len() - 1;
        if at == start + cursor {
            place = (last, rows[last].len());
        }
        if grapheme == "\n" {
            rows.push(String::new());
            column = 0;
        } else {
            rows[last].push_str(&shown);
        }
    }
    if cursor == text.len() {
        // the cursor needs a column too
        if column >= columns {
            rows.push(String::new());
        }
        let last = rows.len() - 1;
        place = (last, rows[last].len());
    }
    View {
        rows,
        cursor: place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(
        text: &str,
        cursor: usize,
        columns: usize,
        rows_max: usize,
    ) -> (Vec<String>, (usize, usize)) {
        let View { rows, cursor } = view("> ", text, cursor, false, (columns, rows_max));
        (rows, cursor)
    }

    #[test]
    fn rows_are_as_wide_as_the_terminal_and_the_cursor_has_a_place() {
        assert_eq!(rows("", 0, 10, 4), (vec!["> ".into()], (0, 2)));
        assert_eq!(rows("hello", 2, 10, 4), (vec!["> hello".into()], (0, 4)));
        assert_eq!(
            rows("12345678", 8, 10, 4),
            (vec!["> 12345678".into(), String::new()], (1, 0))
        );
        assert_eq!(
            rows("1234567小9", 7, 10, 4),
            (vec!["> 1234567".into(), "小9".into()], (1, 0))
        );
        assert_eq!(
            rows("a\nb\x07\n", 4, 10, 4),
            (vec!["> a".into(), "b?".into(), String::new()], (1, 2))
        );
    }

    #[test]
    fn a_long_draft_is_shown_around_the_cursor() {
        let text = "0123456789".repeat(10);
        let (shown, cursor) = rows(&text, text.len(), 10, 4);
        assert_eq!(shown.len(), 4);
        assert_eq!(shown[0], "100 bytes");
        assert_eq!(cursor, (3, 2));
        let (shown, cursor) = rows(&text, 0, 10, 4);
        assert_eq!(shown[1], "> 01234567");
        assert_eq!(cursor, (1, 2));
        let (shown, cursor) = rows(&text, 48, 10, 4);
        assert_eq!((shown.len(), cursor.1), (4, 0));
        assert_eq!(shown[cursor.0], "8901234567");
        assert_eq!(rows(&text, text.len(), 10, 1), (vec!["89".into()], (0, 2)));
    }

    #[test]
    fn pasted_lines_are_counted() {
        let (shown, _) = rows("a\nb\nc\nd\ne\n", 10, 80, 10);
        let summary = "[5 lines, 10 bytes; Enter says it, Ctrl-C drops it]";
        assert_eq!(shown, [summary, "> a", "b", "c", "d", "e", ""]);
    }

    #[test]
    fn the_question_fits_in_a_row() {
        for (columns, expected) in [
            (80, "[11 lines, 300 bytes; Enter says it, Ctrl-C drops it]"),
            (24, "[11 lines: Enter, ^C?]"),
            (20, "[11 lines?]"),
            (10, "11 lines"),
            (4, "11 l"),
        ] {
            assert_eq!(summary(11, 300, false, columns), expected);
        }
        for (columns, expected) in [
            (80, "[11 lines, 300 bytes; Enter or y says it, n drops it]"),
            (20, "[11 lines: y/n?]"),
            (12, "[11 lines?]"),
        ] {
            assert_eq!(summary(11, 300, true, columns), expected);
        }
        assert_eq!(summary(1, 300, false, 20), "[300 bytes?]");
    }

    #[test]
    fn no_draft_makes_it_fail() {
        let alphabet = [
            "x",
            " ",
            "\n",
            "小",
            "😀",
            "e\u{301}",
            "\u{200D}",
            "❤\u{FE0F}",
            "\t",
            "\x1b",
        ];
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..random.usize(..60) {
                text.push_str(alphabet[random.usize(..alphabet.len())]);
            }
            let cursors: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).collect();
            let cursor = cursors.get(random.usize(..=cursors.len())).copied();
            let cursor = cursor.unwrap_or(text.len());
            let (columns, rows_max) = (random.usize(..30), random.usize(..8));
            let (shown, at) = rows(&text, cursor, columns, rows_max);
            assert!(shown.len() <= rows_max.max(1), "{shown:?}");
            assert!(shown[at.0].is_char_boundary(at.1));
            for row in shown {
                let is_one = row.graphemes(true).count() == 1;
                assert!(is_one || grapheme_width(&row) <= columns.max(2), "{row:?}");
            }
        }
    }
}

//! Drawing of the printed lines, and of the draft below them.

use std::collections::VecDeque;

use jiff::Zoned;

use super::super::output::{Format, Kind, Shown};
use super::super::view::{View, view};
use super::super::wrap::{AUTOWRAP, NO_AUTOWRAP, height};
use super::Screen;

/// Maximum number of printed lines that are kept, to be drawn again.
const SHOWN_MAX: usize = 500;

/// The character that makes the terminal ring, or mark its window.
const BELL: char = '\x07';

/// Clears from the cursor to the end of the screen.
const CLEAR: &str = "\x1b[J";

impl Screen {
    /// Adds lines to those that are shown. Prints them, unless a repaint that is due prints all
    /// lines.
    pub(super) fn print(
        &mut self,
        lines: VecDeque<(Shown, Zoned)>,
        left_out: usize,
        is_due: bool,
        text: &mut String,
    ) {
        let gap = (left_out > 0).then(|| {
            let told = format!("{left_out} lines are left out: the terminal took nothing");
            (Shown::status(told), Zoned::now())
        });
        let before = self.shown.len();
        self.shown.extend(gap);
        let mut rings = false;
        for (mut line, at) in lines {
            self.names.learn(&line);
            if matches!(line.kind, Kind::Message | Kind::Private) {
                self.title.count();
                line.highlight = self.names.find_own(&line.text);
                rings |= line.highlight.is_some() || line.kind == Kind::Private;
            }
            if let Some(day) = self.days.as_mut().and_then(|days| days.before(&line, &at)) {
                self.shown.push_back((day, at.clone()));
            }
            self.shown.push_back((line, at));
        }
        if rings && self.has_bell {
            text.push(BELL);
        }
        if is_due {
            self.unprinted += self.shown.len() - before;
        } else if self.shown.len() > before {
            self.print_from(before, text);
        }
        let surplus = self.shown.len().saturating_sub(SHOWN_MAX);
        self.shown.drain(..surplus);
    }

    /// Prints the lines from the one with this index on.
    fn print_from(&self, first: usize, text: &mut String) {
        text.push_str(NO_AUTOWRAP);
        for (line, at) in self.shown.range(first..) {
            text.push_str(&self.rows(line, at, self.size.0));
        }
        text.push_str(AUTOWRAP);
    }

    /// Returns whether no terminal has wrapped a row of this program again when it got its new size:
    /// it did not become narrower than what was drawn.
    fn is_unmoved(&self, old_columns: usize) -> bool {
        let columns = self.size.0;
        let fits = |rows: &str| rows.lines().all(|row| height(row, columns) <= 1);
        columns >= old_columns
            || self
                .shown
                .iter()
                .all(|(line, at)| fits(&self.rows(line, at, old_columns)))
                && fits(&self.view(old_columns, self.size.1).rows.join("\n"))
    }

    /// Formats a line for a terminal with this number of columns.
    fn rows(&self, line: &Shown, at: &Zoned, columns: usize) -> String {
        let format = Format {
            columns: Some(columns),
            ..self.format
        };
        let mut rows = String::new();
        line.write_text(format, at, &mut rows);
        rows.replace('\n', "\r\n")
    }

    /// Draws everything again, if the terminal has a new size: it may have moved or wrapped the
    /// rows.
    pub(super) fn repaint(&mut self, text: &mut String) {
        let Some((old_columns, old_screen_rows)) = self.old_size.take() else {
            return;
        };
        if self.shown.is_empty() {
            return;
        }
        // all lines that were visible are printed, even if some scroll into the history at once
        let seen = self.last_lines(old_columns, old_screen_rows);
        let rows: usize = self
            .shown
            .iter()
            .map(|(line, at)| height(&self.rows(line, at, self.size.0), self.size.0))
            .sum();
        let printed = self.shown.len().saturating_sub(self.unprinted);
        let old_rows: usize = self
            .shown
            .iter()
            .take(printed)
            .map(|(line, at)| height(&self.rows(line, at, old_columns), old_columns))
            .sum();
        self.unprinted = 0;
        if rows < self.size.1 && old_rows < old_screen_rows && self.is_unmoved(old_columns) {
            // they are above the cursor, and other programs' output above them stays
            if old_rows > 0 {
                text.push_str(&format!("\x1b[{old_rows}A"));
            }
            text.push_str(CLEAR);
            self.print_from(0, text);
            return;
        }
        if rows < self.size.1 && self.rows_owned < self.size.1 {
            // output of other programs on the screen is scrolled into the history
            let (_, screen_rows) = self.size;
            text.push_str(&format!(
                "\x1b[{screen_rows};1H{}",
                "\n".repeat(screen_rows)
            ));
            self.rows_owned = screen_rows;
        }
        self.clear_and_print(seen, text);
    }

    /// Clears the screen, and prints as many lines as it has room for, but at least `lines`.
    pub(super) fn clear_and_print(&mut self, lines: usize, text: &mut String) {
        let lines = self.last_lines(self.size.0, self.size.1).max(lines);
        let first = self.shown.len().saturating_sub(lines);
        text.push_str(NO_AUTOWRAP);
        text.push_str("\x1b[H\x1b[2K");
        for (line, at) in self.shown.range(first..) {
            // row by row, because some terminals copy a screen that is cleared at once to their
            // history
            let rows = self.rows(line, at, self.size.0);
            text.push_str(&rows.replace("\r\n", "\r\n\x1b[2K"));
        }
        text.push_str(CLEAR);
        text.push_str(AUTOWRAP);
        self.rows_above = 0;
    }

    /// Returns the number of most recent lines that fit on a terminal of this size.
    fn last_lines(&self, columns: usize, rows: usize) -> usize {
        let mut room = rows.saturating_sub(self.view(columns, rows).rows.len());
        self.shown
            .iter()
            .rev()
            .take_while(|(line, at)| {
                let needed = height(&self.rows(line, at, columns), columns);
                let fits = needed <= room;
                room = room.saturating_sub(needed);
                fits
            })
            .count()
    }

    fn view(&self, columns: usize, rows: usize) -> View {
        let prompt = self.editor.prompt(&self.prompt);
        let (draft, cursor) = (self.editor.text(), self.editor.cursor());
        let asks = self.editor.asks();
        view(&prompt, draft, cursor, asks, (columns, rows / 2))
    }

    /// Removes the draft from the screen.
    pub(super) fn erase(&mut self, text: &mut String) {
        text.push('\r');
        if self.rows_above > 0 {
            text.push_str(&format!("\x1b[{}A", self.rows_above));
        }
        text.push_str(CLEAR);
        self.rows_above = 0;
    }

    /// Draws the draft at the cursor.
    pub(super) fn draw(&mut self, text: &mut String) {
        if self.is_input_over {
            return;
        }
        let View { rows, cursor } = self.view(self.size.0, self.size.1);
        text.push_str(NO_AUTOWRAP);
        text.push_str(&rows.join("\r\n"));
        let (row, bytes) = cursor;
        let up = rows.len() - 1 - row;
        if up > 0 {
            text.push_str(&format!("\x1b[{up}A"));
        }
        if up > 0 || bytes < rows[row].len() {
            // the same text is printed again, because only the terminal knows its width
            text.push('\r');
            text.push_str(&rows[row][..bytes]);
        }
        text.push_str(AUTOWRAP);
        self.rows_above = row;
    }
}

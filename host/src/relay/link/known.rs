//! The lines that were restored from the disk: what comes again from the engine is not shown twice.

use core::time::Duration;

use jiff::Timestamp;

use crate::args::Token;
use crate::kept::line::JsonLine;

/// Maximum difference between the time at which a line was kept and the one at which it was said, by this
/// machine's clock. Who says the same within this time, before and after a restart, is shown once.
const TOLERANCE: Duration = Duration::from_secs(10);

/// The restored lines that did not come again yet.
#[derive(Debug, Default)]
pub(super) struct Known {
    lines: Vec<JsonLine>,
    /// When the first of all was said.
    first: Option<Timestamp>,
}

impl Known {
    /// Returns the lines that were restored, the oldest first.
    pub(super) fn new(lines: Vec<JsonLine>) -> Self {
        let first = lines.first().map(|line| line.time);
        Self { lines, first }
    }

    /// Takes a line from the engine that was said at this time. Returns whether it was restored, or is older
    /// than what was.
    pub(super) fn take(
        &mut self,
        said: Timestamp,
        place: Option<&Token>,
        name: &str,
        text: &str,
    ) -> bool {
        let Some(first) = self.first else {
            return false;
        };
        let is_near = |time: Timestamp| time.duration_since(said).unsigned_abs() <= TOLERANCE;
        if said < first && !is_near(first) {
            return true;
        }
        let place = place.map(Token::as_str);
        let found = self
            .lines
            .iter()
            .position(|line| is_near(line.time) && is_same(line, place, name, text));
        if let Some(index) = found {
            self.lines.remove(index);
        }
        found.is_some()
    }
}

/// Returns whether a line was kept of this one.
fn is_same(line: &JsonLine, place: Option<&str>, name: &str, text: &str) -> bool {
    let is_place = |rest: &str| rest.strip_prefix('@') == place;
    match (&line.name, name) {
        // with the place a line may be too long, and is two
        (Some(shown), name) if !name.is_empty() => {
            let rest = shown.strip_prefix(name);
            rest.is_some_and(is_place) && text.starts_with(&*line.text)
        }
        (None, "") => match place {
            Some(place) => {
                let rest = line.text.strip_prefix("at ");
                let rest = rest.and_then(|rest| rest.strip_prefix(place));
                rest.and_then(|rest| rest.strip_prefix(": ")) == Some(text)
            }
            None => line.text == text,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(lines: &[(i64, Option<&str>, &str)]) -> Known {
        let lines = lines.iter().map(|(second, name, text)| JsonLine {
            name: name.map(Into::into),
            ..JsonLine::status(Timestamp::from_second(*second).unwrap(), text)
        });
        Known::new(lines.collect())
    }

    #[test]
    fn a_line_is_known_as_often_as_it_was_restored() {
        let mut known = known(&[
            (100, Some("Ada"), "hello"),
            (101, Some("Ada@boat"), "hello"),
            (102, Some("Ada@boat"), "hello"),
            (103, None, "at boat: Bob joined"),
            (104, None, "Cleo joined"),
            (105, Some("Ada@boat"), "a long"),
        ]);
        let boat: Token = "boat".parse().unwrap();
        let mut take = |second, place, name, text| {
            known.take(Timestamp::from_second(second).unwrap(), place, name, text)
        };
        let boat = Some(&boat);
        for (second, place, name, text, expected) in [
            // older than all that was restored
            (80, boat, "Eve", "before", true),
            (99, boat, "Eve", "just before", false),
            (102, boat, "Ada", "hello", true),
            // by this machine's clock it was received later than it was said
            (95, boat, "Ada", "hello", true),
            (102, boat, "Ada", "hello", false),
            (101, None, "Ada", "hello", true),
            (101, None, "Ada", "hello", false),
            (103, boat, "", "Bob joined", true),
            (103, boat, "", "Bob joined", false),
            (104, boat, "", "Cleo joined", false),
            (104, None, "", "Cleo joined", true),
            (105, boat, "Ada", "a long line", true),
            (105, boat, "Ad", "a long line", false),
        ] {
            let is_known = take(second, place, name, text);
            assert_eq!(is_known, expected, "{second} {name} {text}");
        }
    }

    #[test]
    fn what_is_said_again_later_is_new() {
        let mut known = known(&[(100, Some("Ada"), "hello")]);
        let later = Timestamp::from_second(111).unwrap();
        assert!(!known.take(later, None, "Ada", "hello"));
    }

    #[test]
    fn without_restored_lines_all_are_new() {
        let mut known = Known::default();
        assert!(!known.take(Timestamp::UNIX_EPOCH, None, "Ada", "hello"));
    }
}

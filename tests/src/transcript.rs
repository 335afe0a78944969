//! Compares what one reader received with the lines of the room, for the simulator and for real
//! sockets.

use std::collections::BTreeSet;

use kilochat_core::DATAGRAM_MAX;

use crate::text::is_clean;
use crate::{Verdict, Violation, check};

/// A line of the room, for one reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The line without a line end.
    pub text: &'a str,
    /// Whether the reader receives it. It does not receive its own lines, nor those that it hides.
    pub shown: bool,
}

/// The lines of one peer, which reads its datagrams in the order in which they were sent.
///
/// ```
/// use kilochat_tests::{Expected, Transcript};
///
/// let room = ["a : one", "me : two", "a : three", "a : four"];
/// let room = room.map(|text| Expected { text, shown: !text.starts_with("me") });
/// let mut transcript = Transcript::new(&room, true);
/// transcript.read(b"a : one\n").unwrap();
/// transcript.read(b"* 2 lines lost\na : four\n").unwrap();
/// transcript.finish().unwrap();
/// assert_eq!(transcript.lost(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Transcript<'a> {
    expected: &'a [Expected<'a>],
    newline: bool,
    /// The possible positions of the reader. After a gap there are several until lines follow,
    /// because hidden lines count as lost only if they were overwritten.
    places: BTreeSet<usize>,
    lost: usize,
}

impl<'a> Transcript<'a> {
    /// Creates the transcript of a reader for these lines of the room. `newline` means that its
    /// datagrams end in a line feed.
    pub fn new(expected: &'a [Expected<'a>], newline: bool) -> Self {
        Self {
            expected,
            newline,
            places: BTreeSet::from([0]),
            lost: 0,
        }
    }

    /// Reads the next datagram.
    ///
    /// # Errors
    ///
    /// If it is not text, or a line is missing, repeated, changed or out of order.
    pub fn read(&mut self, payload: &[u8]) -> Verdict {
        let text = check_wire(payload)?;
        let lines = match (text.strip_suffix('\n'), self.newline) {
            (Some(lines), true) => lines,
            (None, false) => text,
            (Some(_), false) | (None, true) => {
                return Err(Violation(format!("the wrong line end: {text:?}")));
            }
        };
        check(!lines.is_empty(), || "a datagram without a line".to_owned())?;
        lines.split('\n').try_for_each(|line| self.read_line(line))
    }

    /// Checks that nothing is missing at the end.
    ///
    /// # Errors
    ///
    /// If a line is missing.
    pub fn finish(&self) -> Verdict {
        let missing = |place: &usize| self.shown(*place).next();
        check(
            self.places.iter().any(|place| missing(place).is_none()),
            || format!("never got {:?}", self.places.iter().find_map(missing)),
        )
    }

    /// Returns how many lines the datagrams reported as lost.
    pub const fn lost(&self) -> usize {
        self.lost
    }

    fn read_line(&mut self, line: &str) -> Verdict {
        if let Some(lost) = gap(line) {
            self.lost += lost;
            let places = self
                .places
                .iter()
                .flat_map(|place| self.beyond(*place, lost));
            self.places = places.collect();
            return check(!self.places.is_empty(), || {
                format!("{line:?}, but there were fewer lines")
            });
        }
        let expected = self
            .places
            .iter()
            .filter_map(|place| self.shown(*place).next());
        let found = expected.clone().filter(|(_, text)| *text == line);
        let found: BTreeSet<_> = found.map(|(number, _)| number + 1).collect();
        check(!found.is_empty(), || {
            format!("got {line:?} instead of {:?}", expected.collect::<Vec<_>>())
        })?;
        self.places = found;
        Ok(())
    }

    /// Returns the possible ends of a gap of `lost` lines that starts at `place`.
    fn beyond(&self, place: usize, lost: usize) -> impl Iterator<Item = usize> + use<> {
        let end = match self.shown(place).nth(lost) {
            Some((number, _)) => number,
            None => self.expected.len(),
        };
        place + lost..=end
    }

    /// Returns the lines from `place` on that are shown, with their numbers.
    fn shown(&self, place: usize) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
        let lines = self.expected.iter().enumerate().skip(place);
        lines
            .filter(|(_, line)| line.shown)
            .map(|(number, line)| (number, line.text))
    }
}

/// Returns the number in a notice about lost lines, if the line is one.
fn gap(line: &str) -> Option<usize> {
    let words = line.strip_prefix("* ")?;
    let number = words
        .strip_suffix(" lines lost")
        .or_else(|| words.strip_suffix(" line lost"))?;
    number.parse().ok()
}

/// Checks a payload of the relay: lines of UTF-8 text, at most 1024 bytes, that a terminal may
/// show.
///
/// # Errors
///
/// If it is anything else.
pub fn check_wire(payload: &[u8]) -> Verdict<&str> {
    check(payload.len() <= DATAGRAM_MAX, || {
        format!("a datagram of {} bytes", payload.len())
    })?;
    let text = core::str::from_utf8(payload)
        .map_err(|error| Violation(format!("{error} in {:?}", payload.escape_ascii())))?;
    check(text.split('\n').all(is_clean), || {
        format!("not clean: {text:?}")
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: [Expected<'_>; 3] = [
        Expected {
            text: "a : 1",
            shown: true,
        },
        Expected {
            text: "b : 2",
            shown: false,
        },
        Expected {
            text: "a : 3",
            shown: true,
        },
    ];

    fn read(newline: bool, payloads: &[&[u8]]) -> Verdict {
        let mut transcript = Transcript::new(&ROOM, newline);
        payloads
            .iter()
            .try_for_each(|payload| transcript.read(payload))?;
        transcript.finish()
    }

    #[test]
    fn what_is_right_passes_in_any_division() {
        for payloads in [
            &[&b"a : 1"[..], b"a : 3"][..],
            &[b"a : 1\na : 3"],
            &[b"* 1 line lost\na : 3"],
            &[b"* 2 lines lost", b"a : 3"],
            &[b"* 3 lines lost"],
        ] {
            assert_eq!(read(false, payloads), Ok(()), "{payloads:?}");
        }
        assert_eq!(read(true, &[b"a : 1\na : 3\n"]), Ok(()));
    }

    #[test]
    fn what_is_wrong_does_not() {
        for payloads in [
            &[&b"a : 1"[..]][..],
            &[b"a : 3", b"a : 1"],
            &[b"a : 1", b"a : 1", b"a : 3"],
            &[b"a : 1", b"b : 2", b"a : 3"],
            &[b"a : 1\n", b"a : 3\n"],
            &[b"a : 1", b"", b"a : 3"],
            &[b"a : 1", b"a : 3", b"a : 4"],
            &[b"* 4 lines lost"],
            &[b"a : 1\xFF"],
            &[b"a : 1\x1b[1m"],
            &[&[b'x'; 1025]],
        ] {
            assert!(read(false, payloads).is_err(), "{payloads:?}");
        }
    }
}

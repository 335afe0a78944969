//! The lines of one run of the relay in their order, as they come out of it, and what its ring holds.

use std::collections::BTreeMap;

use crate::framed::wire::Entry;
use crate::{Verdict, check};

/// What a line takes in the ring beside its text.
const ENTRY: u64 = 12;

/// The most that a line takes.
const LONGEST: u64 = ENTRY + 960;

/// A line, as far as anybody was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// What only DATA tells.
    pub(crate) details: Option<Details>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Details {
    pub(crate) author: u32,
    pub(crate) at: u32,
    pub(crate) flags: u8,
    pub(crate) name: u8,
}

impl Line {
    /// Who said it and what, or an empty name and a notice without its `* `.
    pub(crate) fn parts(&self) -> (&str, &str) {
        let details = self.details.unwrap_or(Details {
            author: 0,
            at: 0,
            flags: 0,
            name: 0,
        });
        match self.text.split_at(details.name.into()) {
            ("", notice) => ("", notice.strip_prefix("* ").unwrap_or(notice)),
            (name, rest) => (name, rest.strip_prefix(" : ").unwrap_or(rest)),
        }
    }
}

/// Somebody said that all lines before `until` were overwritten when `head` lines had been said.
#[derive(Debug)]
struct Claim {
    head: u64,
    until: u64,
    by: String,
}

#[derive(Debug)]
pub(crate) struct Room {
    ring: u64,
    /// Lines that have been said.
    pub(crate) head: u64,
    pub(crate) epoch: Option<u32>,
    /// The second of the relay's uptime in which each of them was said.
    said_at: Vec<u64>,
    /// By session: before this line all was said before the client joined.
    history_ends: BTreeMap<u64, u64>,
    lines: Vec<Option<Line>>,
    claims: Vec<Claim>,
}

impl Room {
    pub(crate) fn new(ring: usize) -> Self {
        Self {
            ring: ring as u64,
            head: 0,
            epoch: None,
            said_at: Vec::new(),
            history_ends: BTreeMap::new(),
            lines: Vec::new(),
            claims: Vec::new(),
        }
    }

    /// Lines up to `head` have been said by now, in this second of the relay's uptime.
    pub(crate) fn grows(&mut self, head: u64, second: u64) {
        self.head = head;
        let length = usize::try_from(head).unwrap_or(usize::MAX);
        self.said_at.resize(length, second);
    }

    /// A client joined whose first line is to be `first`; the last line is that it did, unless it is
    /// not announced, and it is not told that line if there is no history. Returns where the lines
    /// end that were said before it joined.
    pub(crate) fn welcomes(&mut self, session: u64, first: u64, is_announced: bool) -> u64 {
        let end = self.head - u64::from(is_announced && self.head > 0);
        let end = end.max(first);
        self.history_ends.insert(session, end);
        end
    }

    /// Where the lines end that were said before a client joined.
    pub(crate) fn history_end(&self, session: u64) -> Option<u64> {
        self.history_ends.get(&session).copied()
    }

    pub(crate) fn line(&self, sequence: u64) -> Option<&Line> {
        let index = usize::try_from(sequence).ok()?;
        self.lines.get(index)?.as_ref()
    }

    /// All lines that anybody was told, with their sequence numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u64, &Line)> {
        (0..)
            .zip(&self.lines)
            .filter_map(|(sequence, line)| Some((sequence, line.as_ref()?)))
    }

    /// DATA that leaves the relay has this line.
    pub(crate) fn learn(&mut self, sequence: u64, entry: &Entry) -> Verdict {
        let details = Details {
            author: entry.author,
            at: entry.at,
            flags: entry.flags,
            name: entry.name,
        };
        let index = usize::try_from(sequence).unwrap_or(usize::MAX);
        let said_at = self.said_at.get(index).copied();
        check(said_at.is_none_or(|at| at == u64::from(entry.at)), || {
            format!("line {sequence} was said at {said_at:?} and is {entry:?}")
        })?;
        let slot = self.slot(sequence, &entry.line)?;
        let known = slot.get_or_insert_with(|| Line {
            text: entry.line.clone(),
            details: None,
        });
        let is_same =
            known.text == entry.line && known.details.is_none_or(|known| known == details);
        check(is_same, || {
            format!("line {sequence} was {known:?} and is {entry:?}")
        })?;
        known.details = Some(details);
        Ok(())
    }

    /// A plain peer is sent this line at this place.
    pub(crate) fn learn_text(&mut self, sequence: u64, text: &str) -> Verdict {
        let slot = self.slot(sequence, text)?;
        let known = slot.get_or_insert_with(|| Line {
            text: text.to_owned(),
            details: None,
        });
        check(known.text == text, || {
            format!("line {sequence} was {known:?} and is {text:?} for a plain peer")
        })
    }

    fn slot(&mut self, sequence: u64, text: &str) -> Verdict<&mut Option<Line>> {
        check(sequence < self.head, || {
            format!("line {sequence} of {} is {text:?}", self.head)
        })?;
        let index = usize::try_from(sequence).unwrap_or(usize::MAX);
        if self.lines.len() <= index {
            self.lines.resize(index + 1, None);
        }
        Ok(&mut self.lines[index])
    }

    /// Somebody says that all lines before `until` are overwritten by now.
    pub(crate) fn claim(&mut self, until: u64, by: impl FnOnce() -> String) -> Verdict {
        let head = self.head;
        let by = by();
        self.claims.push(Claim { head, until, by });
        self.judge_claims(false)
    }

    /// Judges what was claimed, as far as the lines are known; in the end, as far as it can be.
    pub(crate) fn judge_claims(&mut self, is_end: bool) -> Verdict {
        for claim in core::mem::take(&mut self.claims) {
            match self.tail(claim.head, is_end) {
                Some(tail) => check(claim.until <= tail, || {
                    format!(
                        "{}: everything before {} is lost, but the ring goes back to {tail}",
                        claim.by, claim.until
                    )
                })?,
                None => self.claims.push(claim),
            }
        }
        Ok(())
    }

    /// The oldest line in the ring when `head` lines had been said; none if the lines are not
    /// known, unless they may be taken for the longest.
    fn tail(&self, head: u64, is_guess: bool) -> Option<u64> {
        let mut used = 0;
        for sequence in (0..head).rev() {
            used += match self.line(sequence) {
                Some(line) => ENTRY + line.text.len() as u64,
                None if is_guess => LONGEST,
                None => return None,
            };
            if used > self.ring {
                return Some(sequence + 1);
            }
        }
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_waits_for_the_lines_and_is_judged_by_them() {
        let mut room = Room::new(2048);
        room.head = 5;
        // 5 lines of 512 bytes each, entry included: the ring holds four
        room.claim(1, || "fair".to_owned()).unwrap();
        room.claim(2, || "unfair".to_owned()).unwrap();
        for sequence in 0..4 {
            room.learn_text(sequence, &"x".repeat(500)).unwrap();
            room.judge_claims(false).unwrap();
        }
        room.learn_text(4, &"x".repeat(500)).unwrap();
        let complaint = room.judge_claims(false).unwrap_err();
        assert!(
            complaint.0.starts_with("unfair: everything before 2"),
            "{complaint}"
        );
    }

    #[test]
    fn a_line_is_the_same_for_all() {
        let mut room = Room::new(2048);
        room.head = 1;
        room.learn_text(0, "Ada : hello").unwrap();
        let entry = |line: &str| Entry {
            author: 1,
            at: 2,
            flags: 0,
            name: 3,
            line: line.to_owned(),
        };
        room.learn(0, &entry("Ada : hello")).unwrap();
        assert_eq!(room.line(0).unwrap().parts(), ("Ada", "hello"));
        assert!(room.learn(0, &entry("Ada : hallo")).is_err());
        assert!(room.learn_text(1, "nobody said this").is_err());
    }
}

//! The lines of one run of the relay in order, as its fan-outs show them, and what the ring holds.

use std::collections::BTreeMap;

use crate::framed::wire::Entry;
use crate::{Verdict, check};

/// Bytes that a line occupies in the ring in addition to its text.
const ENTRY: u64 = 12;

/// Maximum number of bytes that a line occupies in the ring.
const LONGEST: u64 = ENTRY + 960;

/// A line, as far as the fan-outs have shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// The fields that DATA has and the plain dialect lacks; `None` while no DATA has shown the line.
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
    /// Returns the author's name and the message, or an empty name and the notice without its `* `.
    pub(crate) fn parts(&self) -> (&str, &str) {
        let details = self.details.unwrap_or(Details {
            author: 0,
            at: 0,
            flags: 0,
            name: 0,
        });
        if let (3, Some(said)) = (details.flags, self.text.strip_prefix("* ")) {
            return said.split_once(" to you: ").unwrap_or(("", said));
        }
        match self.text.split_at(details.name.into()) {
            ("", notice) => ("", notice.strip_prefix("* ").unwrap_or(notice)),
            (name, rest) => (name, rest.strip_prefix(" : ").unwrap_or(rest)),
        }
    }
}

/// The only peer that may see a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addressee {
    /// Its session, if it speaks in frames.
    pub(crate) session: Option<u64>,
    /// Its author number, or 0 as long as no frame has told it.
    pub(crate) author: u32,
    pub(crate) name: String,
}

impl Addressee {
    /// Returns whether it is the client with this session.
    pub(crate) fn is(&self, session: u64) -> bool {
        self.session == Some(session)
    }
}

/// A claim that all lines before `until` were overwritten when there were `head` lines.
#[derive(Debug)]
struct Claim {
    head: u64,
    until: u64,
    by: String,
}

#[derive(Debug)]
pub(crate) struct Room {
    ring: u64,
    /// Number of lines so far.
    pub(crate) head: u64,
    pub(crate) epoch: Option<u32>,
    /// For each line, the second of the relay's uptime in which it was appended.
    said_at: Vec<u64>,
    /// For each session, the number of lines that were said before the client joined.
    history_ends: BTreeMap<u64, u64>,
    lines: Vec<Option<Line>>,
    /// Messages to one peer, and their addressees.
    private: BTreeMap<u64, Addressee>,
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
            private: BTreeMap::new(),
            claims: Vec::new(),
        }
    }

    /// Records that there are `head` lines now, in this second of the relay's uptime.
    pub(crate) fn grows(&mut self, head: u64, second: u64) {
        self.head = head;
        let length = usize::try_from(head).unwrap_or(usize::MAX);
        self.said_at.resize(length, second);
    }

    /// Records a WELCOME whose first line is `first`. The last line so far is the announcement of
    /// the join, unless it is not announced; without a history the client is not shown it. Returns
    /// the end of the lines that were said before the join.
    pub(crate) fn welcomes(&mut self, session: u64, first: u64, is_announced: bool) -> u64 {
        let end = self.head - u64::from(is_announced && self.head > 0);
        let end = end.max(first);
        self.history_ends.insert(session, end);
        end
    }

    /// Returns the end of the lines that were said before a client joined.
    pub(crate) fn history_end(&self, session: u64) -> Option<u64> {
        self.history_ends.get(&session).copied()
    }

    pub(crate) fn line(&self, sequence: u64) -> Option<&Line> {
        let index = usize::try_from(sequence).ok()?;
        self.lines.get(index)?.as_ref()
    }

    /// Returns all lines that are known, with their sequence numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u64, &Line)> {
        (0..)
            .zip(&self.lines)
            .filter_map(|(sequence, line)| Some((sequence, line.as_ref()?)))
    }

    /// Records the last lines as a message to one peer.
    pub(crate) fn tells(&mut self, lines: Vec<String>, to: &Addressee) {
        let first = self.head - lines.len() as u64;
        for (sequence, text) in (first..).zip(lines) {
            self.private.insert(sequence, to.clone());
            let details = Some(Details {
                author: 0,
                at: 0,
                flags: 3,
                name: 0,
            });
            if let Ok(slot) = self.slot(sequence, &text) {
                *slot = Some(Line { text, details });
            }
        }
    }

    /// Returns the only peer that may see a line, if it is not for all.
    pub(crate) fn addressee(&self, sequence: u64) -> Option<&Addressee> {
        self.private.get(&sequence)
    }

    /// Judges a message to one peer, of which all others get an empty entry.
    fn judge_private(&mut self, sequence: u64, entry: &Entry, session: u64) -> Verdict {
        let to = self.private.get_mut(&sequence);
        let Some(to) = to.filter(|_| entry.author != 0) else {
            return check(false, || {
                format!("line {sequence} is for nobody: {entry:?}")
            });
        };
        if to.author == 0 {
            to.author = entry.author;
        }
        let (author, is_for_it) = (to.author, to.is(session));
        let to = self.addressee(sequence);
        let text = self.line(sequence).map_or("", |line| &line.text);
        let expected = Entry {
            author,
            at: entry.at,
            flags: 3,
            name: 0,
            line: if is_for_it { text } else { "" }.to_owned(),
        };
        check(*entry == expected, || {
            format!("line {sequence} is {text:?} to {to:?}, and {session:x} is sent {entry:?}")
        })
    }

    /// Records a line in DATA that the relay sends to a session.
    pub(crate) fn learn(&mut self, sequence: u64, entry: &Entry, session: u64) -> Verdict {
        if self.private.contains_key(&sequence) {
            return self.judge_private(sequence, entry, session);
        }
        check(entry.flags < 3, || {
            format!("line {sequence} is for all, and {entry:?}")
        })?;
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

    /// Records a line in a datagram to a plain peer.
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

    /// Records a claim that all lines before `until` are overwritten by now.
    pub(crate) fn claim(&mut self, until: u64, by: impl FnOnce() -> String) -> Verdict {
        let head = self.head;
        let by = by();
        self.claims.push(Claim { head, until, by });
        self.judge_claims(false)
    }

    /// Judges the claims for which all lines are known. With `is_end`, unknown lines count as the
    /// longest possible.
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

    /// Returns the oldest line in the ring when there were `head` lines. Returns `None` if a line
    /// is not known, unless `is_guess`: then its length is the maximum.
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
        // lines of 512 bytes each, entry included: the ring holds four of the five
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
        room.learn(0, &entry("Ada : hello"), 1).unwrap();
        assert_eq!(room.line(0).unwrap().parts(), ("Ada", "hello"));
        assert!(room.learn(0, &entry("Ada : hallo"), 1).is_err());
        assert!(room.learn_text(1, "nobody said this").is_err());
    }
}

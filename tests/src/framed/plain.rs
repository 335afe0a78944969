//! The plain peers of a room that has framed ones too.

use core::net::SocketAddr;

use crate::framed::room::Room;
use crate::{Expected, Transcript, Verdict, Violation, check};

/// A plain peer as the oracle knows it.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) number: usize,
    pub(crate) address: SocketAddr,
    /// The names that it got, one after the other.
    names: Vec<String>,
    /// The first line that it is shown, and the first that was said when it was there.
    first: Option<u64>,
    since: u64,
    /// What the network took for it.
    got: Vec<Vec<u8>>,
    /// The next line, for one that says nothing and so is shown all.
    next: u64,
}

impl Plain {
    pub(crate) const fn new(number: usize, address: SocketAddr) -> Self {
        Self {
            number,
            address,
            names: Vec::new(),
            first: None,
            since: 0,
            got: Vec::new(),
            next: 0,
        }
    }

    /// The first one never says anything.
    pub(crate) const fn is_witness(&self) -> bool {
        self.number == 0
    }

    pub(crate) const fn has_joined(&self) -> bool {
        self.first.is_some()
    }

    /// It got a seat; its welcome is all that was said to it, and its joining was the last line.
    pub(crate) fn joins(&mut self, welcome: &str, head: u64) -> Verdict {
        let told = welcome.rsplit_once("; the last ").map(|(_, told)| told);
        let history = match told.and_then(|told| told.strip_suffix(':')) {
            None => Some(0),
            Some("line") => Some(1),
            Some(lines) => lines.strip_suffix(" lines").and_then(|n| n.parse().ok()),
        };
        let history: u64 = history.ok_or_else(|| Violation(format!("odd: {welcome:?}")))?;
        // without a history it is not told that it joined
        let first = match history {
            0 => Some(head),
            lines => (head - 1).checked_sub(lines),
        };
        check(first.is_some(), || format!("{history} lines before {head}"))?;
        let name = welcome
            .strip_prefix("* welcome ")
            .and_then(|told| told.split_once(':'));
        self.names = name.map(|(name, _)| name.to_owned()).into_iter().collect();
        self.first = first;
        self.since = head;
        self.next = first.unwrap_or_default();
        self.got.clear();
        Ok(())
    }

    /// It is told what it is called now.
    pub(crate) fn is_renamed(&mut self, answer: &str) {
        let first = answer.lines().next();
        let name = first.and_then(|line| line.strip_prefix("* you are now "));
        self.names.extend(name.map(str::to_owned));
    }

    /// It has no seat any more. Judges what it was sent.
    pub(crate) fn leaves(&mut self, room: &Room) -> Verdict {
        let verdict = self.judge(room, false);
        self.first = None;
        self.got.clear();
        verdict
    }

    /// The network took a datagram for it.
    pub(crate) fn sent(&mut self, payload: Vec<u8>, room: &mut Room) -> Verdict {
        if self.is_witness() {
            let text = core::str::from_utf8(&payload).map_err(|_| Violation("no text".into()))?;
            for line in text.split('\n') {
                self.witnesses(line, room)?;
            }
        }
        self.got.push(payload);
        Ok(())
    }

    fn witnesses(&mut self, line: &str, room: &mut Room) -> Verdict {
        let lost = line.strip_prefix("* ").and_then(|line| {
            let lines = line.strip_suffix(" lines lost");
            lines
                .or(line.strip_suffix(" line lost"))?
                .parse::<u64>()
                .ok()
        });
        match lost {
            Some(lost) => {
                self.next += lost;
                room.claim(self.next, || "the witness".to_owned())
            }
            None => {
                room.learn_text(self.next, line)?;
                self.next += 1;
                room.judge_claims(false)
            }
        }
    }

    /// Judges all that it was sent: the lines of the room but its own, each once and in order.
    pub(crate) fn judge(&self, room: &Room, is_all: bool) -> Verdict {
        let Some(first) = self.first else {
            return Ok(());
        };
        let lines = (first..room.head).map_while(|at| Some((at, room.line(at)?)));
        let is_own = |text: &str| {
            let renamed = text.strip_prefix("* ").unwrap_or_default();
            let who = text.split_once(" : ").or(renamed.split_once(" is now "));
            who.is_some_and(|(by, _)| self.names.iter().any(|name| name == by))
        };
        let expected: Vec<Expected<'_>> = lines
            .map(|(at, line)| Expected {
                text: &line.text,
                shown: at < self.since || !is_own(&line.text),
            })
            .collect();
        if first + (expected.len() as u64) < room.head {
            // some lines were told to nobody
            return Ok(());
        }
        let mut transcript = Transcript::new(&expected, false);
        let of_whom = |violation| Violation(format!("plain {}: {violation}", self.number));
        for payload in &self.got {
            transcript.read(payload).map_err(of_whom)?;
        }
        if is_all {
            transcript.finish().map_err(of_whom)?;
        }
        Ok(())
    }
}

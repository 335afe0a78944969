//! Plain peers in a room that also has framed ones.

use core::net::SocketAddr;

use crate::framed::room::Room;
use crate::{Expected, Transcript, Verdict, Violation, check};

/// The oracle's record of a plain peer.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) number: usize,
    pub(crate) address: SocketAddr,
    /// All names that the relay gave it, in order.
    names: Vec<String>,
    /// The first line that the relay shows it, and then the first line after its join.
    first: Option<u64>,
    since: u64,
    /// Number of lines by which `next` may be too small after a gap.
    slack: u64,
    /// Whether `next` cannot be known any more, because private lines may or may not be among lost ones.
    is_unsure: bool,
    /// The datagrams that the network accepted for it.
    got: Vec<Vec<u8>>,
    /// For the witness, which says nothing and therefore receives all lines: the next line.
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
            slack: 0,
            is_unsure: false,
            got: Vec::new(),
            next: 0,
        }
    }

    /// Returns whether this is the first plain peer, which never says anything.
    pub(crate) const fn is_witness(&self) -> bool {
        self.number == 0
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> Option<&str> {
        self.names.last().map(String::as_str)
    }

    pub(crate) const fn has_joined(&self) -> bool {
        self.first.is_some()
    }

    /// Records a join. The welcome is the reply, and the announcement of the join was the last line
    /// so far.
    pub(crate) fn joins(&mut self, welcome: &str, room: &Room) -> Verdict {
        let head = room.head;
        let told = welcome.rsplit_once("; the last ").map(|(_, told)| told);
        let history = match told.and_then(|told| told.strip_suffix(':')) {
            None => Some(0),
            Some("line") => Some(1),
            Some(lines) => lines.strip_suffix(" lines").and_then(|n| n.parse().ok()),
        };
        let history: u64 = history.ok_or_else(|| Violation(format!("odd: {welcome:?}")))?;
        // without a history the relay does not show it the announcement of its own join
        let first = match history {
            0 => Some(head),
            lines => {
                let shown = (0..head - 1).rev();
                let mut shown = shown.filter(|at| room.addressee(*at).is_none());
                shown.nth(usize::try_from(lines - 1).unwrap_or(usize::MAX))
            }
        };
        check(first.is_some(), || format!("{history} lines before {head}"))?;
        let name = welcome
            .strip_prefix("* welcome ")
            .and_then(|told| told.split_once(':'));
        self.names = name.map(|(name, _)| name.to_owned()).into_iter().collect();
        self.first = first;
        self.since = head;
        self.next = first.unwrap_or_default();
        (self.slack, self.is_unsure) = (0, false);
        self.got.clear();
        Ok(())
    }

    /// Records the name in the answer to `/nick`.
    pub(crate) fn is_renamed(&mut self, answer: &str) {
        let first = answer.lines().next();
        let name = first.and_then(|line| line.strip_prefix("* you are now "));
        self.names.extend(name.map(str::to_owned));
    }

    /// Records that it lost its seat, and judges what it was sent.
    pub(crate) fn leaves(&mut self, room: &Room) -> Verdict {
        let verdict = self.judge(room, false);
        self.first = None;
        self.got.clear();
        verdict
    }

    /// Records a datagram that the network accepted for it.
    pub(crate) fn sent(&mut self, payload: Vec<u8>, room: &mut Room) -> Verdict {
        if self.is_witness() && !self.is_unsure {
            let text = core::str::from_utf8(&payload).map_err(|_| Violation("no text".into()))?;
            for line in text.split('\n') {
                self.witnesses(line, room)?;
                if self.is_unsure {
                    break;
                }
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
                // what it skips counts as lost only if it was overwritten first
                let shown = (self.next..room.head).filter(|at| room.addressee(*at).is_none());
                let last = shown
                    .take(usize::try_from(lost).unwrap_or(usize::MAX))
                    .last();
                self.next += lost;
                self.slack = last.map_or(0, |last| (last + 1).saturating_sub(self.next));
                room.claim(self.next, || "the witness".to_owned())
            }
            None => {
                let shown = |from: u64| (from..).find(|at| room.addressee(*at).is_none());
                let places = self.next..=self.next + core::mem::take(&mut self.slack);
                let fits = |at: &u64| room.line(*at).is_none_or(|known| known.text == line);
                let mut places: Vec<u64> = places.filter_map(shown).filter(fits).collect();
                places.dedup();
                self.is_unsure = places.len() > 1;
                if self.is_unsure {
                    return Ok(());
                }
                let found = places.first().copied().or_else(|| shown(self.next));
                self.next = found.unwrap_or(self.next);
                room.learn_text(self.next, line)?;
                self.next += 1;
                room.judge_claims(false)
            }
        }
    }

    /// Judges all datagrams to it: they hold the lines of the room except its own, each once and in
    /// order.
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
                shown: match room.addressee(at) {
                    // what was said before is for a peer that had the name then
                    Some(to) => {
                        let is_plain = at >= self.since && to.session.is_none();
                        is_plain && self.names.contains(&to.name)
                    }
                    None => at < self.since || !is_own(&line.text),
                },
            })
            .collect();
        if first + (expected.len() as u64) < room.head {
            // nobody was shown some of the lines, so their text is unknown
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

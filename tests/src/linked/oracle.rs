//! The oracle: what was said where, what its author had read, and what each reader must see.

use std::collections::{BTreeMap, BTreeSet};

use super::counts::Linked;
use super::stream::Message;
use crate::counts::Counts;
use crate::{Verdict, Violation, check};

/// The names of the two at each place: as they ask for them, and as they are shown.
pub(super) const NAMES: [(&str, &str); 2] = [("Ada", "Ada"), ("Eve@p1", "Eve_p1")];

/// A run of the relay of a place.
pub(super) type Run = (usize, u64);

/// Returns the name of the place with this index.
pub(super) fn place_name(index: usize) -> String {
    format!("p{index}")
}

/// A line that somebody said.
#[derive(Debug)]
struct Line {
    run: Run,
    /// Its number in the run, from 1.
    number: u64,
    name: &'static str,
    text: String,
    /// The number of the last line of each run that its author had read.
    read: BTreeMap<Run, u64>,
    /// Number of times that the engine stored it.
    stored: u32,
}

/// What the reader at a place has read, since its relay started.
#[derive(Debug)]
struct Ring {
    run: Run,
    /// Whether the reader joined after the history was read. Then a notice before it may be cut off.
    is_history_first: bool,
    shown: BTreeSet<usize>,
    /// The number of the last line of each run.
    last: BTreeMap<Run, u64>,
    /// The number of the last line of each run that an author of these lines had read.
    answered: BTreeMap<Run, u64>,
    /// The runs of which only lines were shown that the engine had stored twice.
    copied: BTreeSet<Run>,
    /// The place and number of lines in a notice that its next line must bear out.
    lost: Option<(usize, u64)>,
}

#[derive(Debug)]
pub(super) struct Oracle {
    lines: Vec<Line>,
    by_run: BTreeMap<Run, Vec<usize>>,
    rings: Vec<Ring>,
    runs: u64,
    /// By run: the number of the last line that was handed over.
    handed_over: BTreeMap<Run, u64>,
    has_forgotten: bool,
    /// Whether the engine has dropped old messages, which a slow relay had perhaps not read.
    has_dropped: bool,
    pub(super) counts: Counts<Linked>,
}

impl Oracle {
    pub(super) fn new(places: usize) -> Self {
        let ring = |place| Ring::new((place, 0), false);
        Self {
            lines: Vec::new(),
            by_run: BTreeMap::new(),
            rings: (0..places).map(ring).collect(),
            runs: 0,
            handed_over: BTreeMap::new(),
            has_forgotten: false,
            has_dropped: false,
            counts: Counts::new(),
        }
    }

    /// Records that a relay starts. Returns its run.
    pub(super) fn begun(&mut self, place: usize, is_history_first: bool) -> u64 {
        self.runs += 1;
        self.rings[place] = Ring::new((place, self.runs), is_history_first);
        self.runs
    }

    /// Records that the engine has lost what it had stored. From then on lines that it stores a second time
    /// may come after their answers.
    pub(super) fn has_forgotten(&mut self) {
        self.has_forgotten = true;
    }

    /// Records that the engine has dropped its oldest messages.
    pub(super) fn has_dropped(&mut self) {
        self.has_dropped = true;
    }

    /// Returns a text that somebody at a place says.
    pub(super) fn say(&mut self, place: usize, who: usize, length: usize) -> String {
        let ring = &self.rings[place];
        let run = ring.run;
        let id = self.lines.len();
        let of_run = self.by_run.entry(run).or_default();
        of_run.push(id);
        let text = format!("{id} {}", "x".repeat(length)).trim_end().to_owned();
        self.lines.push(Line {
            run,
            number: of_run.len() as u64,
            name: NAMES[who].1,
            text: text.clone(),
            read: ring.last.clone(),
            stored: 0,
        });
        self.counts.saw(Linked::Said);
        text
    }

    /// Judges what a relay hands over: the next lines that were said there, after those that it tells are
    /// lost.
    pub(super) fn handed_over(&mut self, message: &Message) -> Verdict {
        let run = (message.place, message.run);
        let last = self.handed_over.entry(run).or_insert(0);
        check(message.first == *last + message.lost + 1, || {
            format!("after line {last}: {message}")
        })?;
        for (number, (name, text)) in (message.first..).zip(&message.lines) {
            let line = line_of(&self.by_run, &self.lines, run, number);
            check(
                line.is_some_and(|line| (line.name, &line.text) == (name, text)),
                || format!("line {number} is handed over as {name} : {text}"),
            )?;
            *last = number;
        }
        Ok(())
    }

    /// Records what the engine has stored.
    pub(super) fn stored(&mut self, message: &Message) {
        let lines = &self.by_run[&(message.place, message.run)];
        let first = usize::try_from(message.first).unwrap() - 1;
        for id in lines[first..].iter().take(message.lines.len()) {
            let line = &mut self.lines[*id];
            line.stored += 1;
            if line.stored > 1 {
                self.counts.saw(Linked::StoredTwice);
            }
        }
    }

    /// Judges what the reader at a place receives next.
    pub(super) fn shown(&mut self, place: usize, shown: &str) -> Verdict {
        let named = |violation: Violation| {
            let Violation(what) = violation;
            Violation(format!("p{place} is shown {shown:.60}: {what}"))
        };
        if let Some(lost) = lost(shown) {
            let ring = &mut self.rings[place];
            check(ring.lost.is_none(), || "after another one".to_owned()).map_err(named)?;
            ring.lost = Some(lost);
            return Ok(());
        }
        let id = self.recognized(place, shown).map_err(named)?;
        self.is_complete(place, id).map_err(named)?;
        self.is_before_its_answers(place, id).map_err(named)?;
        let (ring, line) = (&mut self.rings[place], &self.lines[id]);
        let (from, _) = line.run;
        if line.run != ring.run {
            self.counts.saw(if from == place {
                Linked::FromAnEarlierRun
            } else {
                Linked::FromElsewhere
            });
        }
        if line.read.keys().any(|run| *run != line.run) {
            self.counts.saw(Linked::AnswerShown);
        }
        ring.last.insert(line.run, line.number);
        for (run, number) in &line.read {
            let answered = ring.answered.entry(*run).or_insert(0);
            *answered = (*number).max(*answered);
        }
        Ok(())
    }

    /// Returns the line that this is, if it is shown for the first time, and as it must be here.
    fn recognized(&mut self, place: usize, shown: &str) -> Verdict<usize> {
        let text = shown.split_once(" : ").map(|(_, text)| text);
        let id = text.and_then(|text| text.split(' ').next()?.parse().ok());
        let line = id.and_then(|id: usize| Some((id, self.lines.get(id)?)));
        let Some((id, line)) = line else {
            return Err(Violation("nobody said it".to_owned()));
        };
        let (from, _) = line.run;
        let at = if from == place {
            String::new()
        } else {
            format!("@{}", place_name(from))
        };
        let expected = format!("{}{at} : {}", line.name, line.text);
        check(shown == expected, || format!("instead of {expected:.60}"))?;
        let is_new = self.rings[place].shown.insert(id);
        check(is_new, || "a second time".to_owned())?;
        Ok(id)
    }

    /// Judges that the lines between this one and the last of its run are told as lost.
    fn is_complete(&mut self, place: usize, id: usize) -> Verdict {
        let (ring, line) = (&mut self.rings[place], &self.lines[id]);
        let is_said_here = line.run == ring.run;
        let told = match ring.lost {
            // what is said here may come between
            Some((of, lines)) if !is_said_here => {
                ring.lost = None;
                check(of == line.run.0, || {
                    "lines of another place are lost".to_owned()
                })?;
                lines
            }
            Some(_) | None => 0,
        };
        let last = ring.last.get(&line.run);
        let missing = match last {
            Some(last) => (line.number - 1).checked_sub(*last),
            None if is_said_here => Some(line.number - 1),
            // the lines before may be older than the history that the reader got
            None if ring.is_history_first => Some(told),
            // what is older than what the relay has read is not missing
            None => {
                let run = &self.by_run[&line.run];
                Some(never_stored_before(run, &self.lines, line.number))
            }
        };
        let Some(missing) = missing else {
            return Err(Violation("after a later one".to_owned()));
        };
        check(told == missing, || {
            format!("{missing} lines before it are missing, and {told} are told")
        })?;
        if missing > 0 {
            self.counts.saw(if last.is_none() {
                Linked::LostFromTheStart
            } else {
                Linked::Lost
            });
        }
        Ok(())
    }

    /// Judges that no line was shown whose author had read this one.
    fn is_before_its_answers(&mut self, place: usize, id: usize) -> Verdict {
        let (ring, line) = (&mut self.rings[place], &self.lines[id]);
        // of a line that was stored twice, a relay that starts, or that was away while the engine dropped
        // the first one, may read an answer and then the copy
        if line.stored < 2 {
            ring.copied.remove(&line.run);
        } else if !ring.last.contains_key(&line.run) {
            ring.copied.insert(line.run);
        }
        let may_lack_first = self.has_dropped || ring.copied.contains(&line.run);
        let is_copy = line.stored > 1 && may_lack_first;
        let answered = ring.answered.get(&line.run);
        let is_late = answered.is_some_and(|number| *number >= line.number);
        check(!is_late || is_copy || self.has_forgotten, || {
            "after its answer".to_owned()
        })
    }

    /// Judges what is missing at a place, now that everything has arrived. `stored` has the number of the
    /// last line of each run that the engine has, since the relay began to read.
    pub(super) fn end(&self, place: usize, stored: &BTreeMap<Run, u64>) -> Verdict {
        let ring = &self.rings[place];
        check(ring.lost.is_none(), || {
            format!("p{place}: {:?} at the end", ring.lost)
        })?;
        let living = self.rings.iter().map(|ring| {
            let said = self.by_run.get(&ring.run).map_or(0, Vec::len);
            (ring.run, said as u64)
        });
        // an engine that forgets may forget the end of a run that is over
        let stored = stored.iter().filter(|_| !self.has_forgotten);
        let stored = stored.map(|(run, number)| (*run, *number));
        for (run, number) in living.chain(stored) {
            let last = ring.last.get(&run).copied().unwrap_or(0);
            check(last >= number, || {
                format!("p{place}: after line {last} of {run:?}, lines up to {number} are missing")
            })?;
        }
        Ok(())
    }
}

impl Ring {
    const fn new(run: Run, is_history_first: bool) -> Self {
        Self {
            run,
            is_history_first,
            shown: BTreeSet::new(),
            last: BTreeMap::new(),
            answered: BTreeMap::new(),
            copied: BTreeSet::new(),
            lost: None,
        }
    }
}

fn line_of<'a>(
    by_run: &BTreeMap<Run, Vec<usize>>,
    lines: &'a [Line],
    run: Run,
    number: u64,
) -> Option<&'a Line> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    lines.get(*by_run.get(&run)?.get(index)?)
}

/// Returns the number of lines directly before the one with this number that the engine never had.
fn never_stored_before(run: &[usize], lines: &[Line], number: u64) -> u64 {
    let before = &run[..usize::try_from(number).unwrap() - 1];
    let never = before.iter().rev().take_while(|id| lines[**id].stored == 0);
    never.count() as u64
}

/// Returns the place and the number of lines in a notice that lines of a place are lost.
fn lost(shown: &str) -> Option<(usize, u64)> {
    let (lines, rest) = shown.strip_prefix("* ")?.split_once(" line")?;
    let (_, rest) = rest.split_once(" from p")?;
    Some((
        rest.strip_suffix(" lost")?.parse().ok()?,
        lines.parse().ok()?,
    ))
}

//! How long lines take to live peers while something goes wrong.

use core::time::Duration;
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use super::{Dialect, Heard, Host, Lab, Link, Reader, Speaker, Trouble};

/// How long is waited for what has not come, after the last line was said.
const LATE: Duration = Duration::from_secs(5);

/// How many times fewer lines are said in a room of thousands.
const FEWER: u32 = 10;

/// What is said.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many lines.
    pub lines: u32,
    /// From one line to the next.
    pub interval: Duration,
    /// Bytes of each text.
    pub length: usize,
}

/// What a reader got of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where the reader is; trouble is on link A, the speaker on link B.
    pub link: Link,
    /// How it speaks.
    pub dialect: Dialect,
    /// Lines that were said.
    pub said: usize,
    /// Those of them that came.
    pub received: usize,
    /// Lines that came twice, or after one that was said later.
    pub disordered: usize,
    /// Lines that the reader was told it has lost.
    pub lost: u64,
    /// How long each took, from the shortest to the longest.
    pub delays: Vec<Duration>,
}

impl Row {
    /// The delay that `percent` of the lines do not exceed; those that did not come are left out.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.delays.len().saturating_sub(1);
        let at = (self.delays.len() * percent / 100).min(last);
        self.delays.get(at).copied().unwrap_or_default()
    }

    /// Lines that did not come.
    pub const fn missing(&self) -> usize {
        self.said - self.received
    }
}

impl Load {
    /// The same for a room that `trouble` has filled: a line costs as much as there are seats.
    fn with(self, trouble: Trouble) -> Self {
        if trouble != Trouble::GhostFlood {
            return self;
        }
        Self {
            lines: self.lines / FEWER,
            interval: self.interval * FEWER,
            ..self
        }
    }
}

/// What happened with a [`Trouble`].
#[derive(Clone, Debug)]
pub struct Measured {
    /// One for each reader.
    pub rows: Vec<Row>,
    /// The relay's time on the processor, from the first line to the last.
    pub cpu: Duration,
    /// The relay's counters at the end.
    pub counts: BTreeMap<String, u64>,
}

impl Measured {
    /// The row of a reader.
    pub fn row(&self, link: Link, dialect: Dialect) -> &Row {
        let mut rows = self.rows.iter();
        rows.find(|row| (row.link, row.dialect) == (link, dialect))
            .expect("a reader of each kind")
    }
}

/// Lets `trouble` be while a peer on link B says lines, which plain and framed peers on both links
/// read.
pub fn measure(program: &str, trouble: Trouble, load: &Load) -> Measured {
    let load = load.with(trouble);
    let lab = Lab::new();
    let mut relay = lab.start(program, &["--history", "0"]);
    let near: Vec<Host> = Link::ALL.map(|link| Host::new(&lab, link, 2)).into();
    let mut speaker = Speaker::join(&near[1], load.length);
    let readers: Vec<Reader> = near
        .iter()
        .flat_map(|host| Dialect::ALL.map(|dialect| Reader::join(host, dialect, "reader")))
        .collect();
    let mut ongoing = trouble.prepare(&lab, &relay);
    let before = relay.cpu();
    trouble.begin(&mut ongoing, load.interval * load.lines);
    let begun = Instant::now();
    for number in 0..load.lines {
        speaker.say();
        let next = begun + load.interval * (number + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let cpu = relay.cpu() - before;
    let spoken = Instant::now();
    while spoken.elapsed() < LATE
        && readers
            .iter()
            .any(|reader| reader.count() < speaker.said.len())
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(ongoing);
    let rows = readers
        .into_iter()
        .map(|reader| row(&speaker, reader.link, reader.dialect, &reader.stop()))
        .collect();
    Measured {
        rows,
        cpu,
        counts: relay.statistics(),
    }
}

fn row(speaker: &Speaker, link: Link, dialect: Dialect, heard: &Heard) -> Row {
    let mut seen = HashSet::new();
    let mut delays: Vec<Duration> = heard
        .lines
        .iter()
        .filter(|(number, _)| seen.insert(*number))
        .map(|(number, at)| at.saturating_duration_since(speaker.said[*number]))
        .collect();
    delays.sort();
    let pairs = heard.lines.windows(2);
    Row {
        link,
        dialect,
        said: speaker.said.len(),
        received: seen.len(),
        disordered: pairs.filter(|pair| pair[0].0 >= pair[1].0).count(),
        lost: heard.lost,
        delays,
    }
}

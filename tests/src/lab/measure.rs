//! Measures how long lines take to reach live peers while there is trouble.

use core::time::Duration;
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use super::{Dialect, Heard, Host, Lab, Link, Reader, Speaker, Trouble};

/// Time to wait for missing lines after the last one was said, or any datagram arrived.
const LATE: Duration = Duration::from_secs(5);

/// Time to wait for missing lines at most: a link may need minutes for what waits for it.
const LATE_MAX: Duration = Duration::from_secs(30);

/// Factor by which fewer lines are said in a room of thousands.
const FEWER: u32 = 10;

/// The load: what the speaker says.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Number of lines.
    pub lines: u32,
    /// Time between two lines.
    pub interval: Duration,
    /// Length of each text in bytes.
    pub length: usize,
    /// Whether the relay has the limits that it has by default, also for the lines of each peer.
    pub limited: bool,
}

/// The result of one reader.
#[derive(Clone, Debug)]
pub struct Row {
    /// The link of the reader. The trouble is on link A, and the speaker on link B.
    pub link: Link,
    /// The dialect in which it reads.
    pub dialect: Dialect,
    /// Number of lines that were said.
    pub said: usize,
    /// Number of lines that arrived.
    pub received: usize,
    /// Number of lines that arrived twice, or after a later one.
    pub disordered: usize,
    /// Number of lines that the relay reported to it as lost.
    pub lost: u64,
    /// The delays of all lines, sorted.
    pub delays: Vec<Duration>,
}

impl Row {
    /// Returns the delay that `percent` of the lines do not exceed, without those that did not
    /// arrive.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.delays.len().saturating_sub(1);
        let at = (self.delays.len() * percent / 100).min(last);
        self.delays.get(at).copied().unwrap_or_default()
    }

    /// Returns the number of lines that did not arrive.
    pub const fn missing(&self) -> usize {
        self.said - self.received
    }
}

impl Load {
    /// Returns a lighter load if `trouble` fills the room: a line costs one delivery for each seat.
    fn with(self, trouble: Trouble) -> Self {
        if !matches!(trouble, Trouble::GhostFlood(_)) {
            return self;
        }
        Self {
            lines: self.lines / FEWER,
            interval: self.interval * FEWER,
            ..self
        }
    }
}

/// The results of one kind of [`Trouble`].
#[derive(Clone, Debug)]
pub struct Measured {
    /// A row for each reader.
    pub rows: Vec<Row>,
    /// Processor time of the relay from the first line to the last.
    pub cpu: Duration,
    /// The relay's counters at the end.
    pub counts: BTreeMap<String, u64>,
}

impl Measured {
    /// Returns the row of a reader.
    pub fn row(&self, link: Link, dialect: Dialect) -> &Row {
        let mut rows = self.rows.iter();
        rows.find(|row| (row.link, row.dialect) == (link, dialect))
            .expect("a reader of each kind")
    }
}

/// Measures while `trouble` lasts: a peer on link B says lines, and plain and framed peers on both
/// links read them.
pub fn measure(program: &str, trouble: Trouble, load: &Load) -> Measured {
    let load = load.with(trouble);
    let lab = Lab::new();
    let mut arguments = vec!["--history", "0"];
    arguments.extend(trouble.arguments());
    let mut relay = match load.limited {
        true => lab.start_limited(program, &arguments),
        false => lab.start(program, &arguments),
    };
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
    let said = Instant::now();
    let (mut arrived, mut progress) = (0, said);
    while progress.elapsed() < LATE
        && said.elapsed() < LATE_MAX
        && readers
            .iter()
            .any(|reader| reader.count() < speaker.said.len())
    {
        std::thread::sleep(Duration::from_millis(10));
        let now: usize = readers.iter().map(Reader::datagrams).sum();
        if now > arrived {
            (arrived, progress) = (now, Instant::now());
        }
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

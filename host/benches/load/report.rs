//! The report, which is printed and kept in a file.

use core::fmt::Write;
use std::io;
use std::path::Path;

use crate::args::{Load, Pace};
use crate::room::{Outcome, as_f64};
use crate::server::Kind;
use crate::turns::Turns;

/// The text that was printed so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    text: String,
}

impl Report {
    /// Prints a line.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        println!("{line}");
        // writing to a string does not fail
        let _ = writeln!(self.text, "{line}");
    }

    /// Prints the command, the date and the machine.
    pub(crate) fn head(&mut self) {
        let arguments = std::env::args()
            .skip(1)
            .filter(|argument| argument != "--bench");
        let arguments: Vec<String> = arguments.collect();
        self.line(format!(
            "cargo bench -p kilochat --bench load -- {}",
            arguments.join(" ")
        ));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel: Vec<&str> = kernel.trim().split('.').take(2).collect();
        let cores = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mut models = cores
            .lines()
            .filter_map(|line| line.strip_prefix("model name\t: "));
        self.line(format!(
            "{:.0}, Linux {}, {}; one core for the server, one for all peers; medians",
            jiff::Timestamp::now(),
            kernel.join("."),
            models.next().unwrap_or("unknown processor")
        ));
    }

    /// Prints a table of the results of all servers under one load.
    pub(crate) fn turns(&mut self, load: &Load, turns: &Turns) {
        let pace = match load.pace {
            Pace::Window(window) => format!("{window} in flight"),
            Pace::Rate(rate) => format!("{rate:.0} texts a second"),
        };
        let joins = if load.with_joins {
            let millions = as_f64(load.deliveries) / 1e6;
            format!(", {millions} million deliveries at least, joins included")
        } else {
            String::new()
        };
        self.line(format!(
            "\n{} peers, {} of them talk, {pace}, lines of {} bytes, {} s{joins}",
            load.peers,
            load.senders,
            load.line,
            load.time.as_secs_f64()
        ));
        self.line(
            "                CPU us/delivery  deliveries/s   busy   p50 us   p99 us p99.9 us  vs bare",
        );
        for kind in turns.kinds() {
            self.server(kind, turns);
        }
    }

    fn server(&mut self, kind: Kind, turns: &Turns) {
        let median = |what: &dyn Fn(&Outcome) -> f64| turns.median(kind, what).unwrap_or_default();
        let per_mille =
            |per_mille| median(&|outcome| outcome.latency.per_mille(per_mille).as_secs_f64() * 1e6);
        let ratio = turns
            .ratio((Kind::Bare, kind), Outcome::cost)
            .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        self.line(format!(
            "{:15} {:15.3} {:13.0} {:5.0}% {:8.1} {:8.1} {:8.1} {ratio:>8}",
            kind.name(),
            median(&Outcome::cost),
            median(&Outcome::rate),
            100.0 * median(&Outcome::busy),
            per_mille(500),
            per_mille(990),
            per_mille(999),
        ));
        let faults = turns.faults(kind);
        if !faults.are_none() {
            self.line(format!("                {faults}"));
        }
    }

    /// Writes the report to a file.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, &self.text)
    }
}

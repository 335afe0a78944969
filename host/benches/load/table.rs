//! The table of ratios that the relay must reach, all measured in one run.

use core::time::Duration;
use std::io;

use crate::args::{Load, Pace, Setup};
use crate::crowd;
use crate::report::Report;
use crate::room::{Faults, Outcome, as_f64};
use crate::server::Kind;
use crate::turns::Turns;

/// Length of a line in every row, in bytes.
const LINE: usize = 64;

/// Number of peers in rows with a room of ordinary size.
const PEERS: usize = 64;

/// Number of authors where one cannot have enough texts in flight.
const AUTHORS: usize = 8;

/// Number of peers where all seats are taken.
const FULL: usize = 4096;

/// A row.
#[derive(Debug)]
struct Row {
    what: &'static str,
    measured: Option<f64>,
    limit: Limit,
    hoped: f64,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Least(f64),
    Most(f64),
}

impl Limit {
    fn holds(self, measured: f64) -> bool {
        match self {
            Self::Least(limit) => measured >= limit,
            Self::Most(limit) => measured <= limit,
        }
    }
}

/// The duration of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) turns: usize,
    pub(crate) time: Duration,
}

/// The results of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    /// Whether no line was lost, duplicated or sent to its author, except where a row permits it.
    pub(crate) is_sound: bool,
    /// Whether every row was measured and is within its limit.
    pub(crate) holds: bool,
}

/// Measures and prints the table.
///
/// # Errors
///
/// If a server cannot be started, or fails.
pub(crate) fn measure(
    kinds: &[Kind],
    setup: &Setup,
    effort: Effort,
    report: &mut Report,
) -> io::Result<Verdict> {
    let mut measuring = Measuring {
        kinds,
        setup,
        effort,
        report,
        rows: Vec::new(),
        faults: Faults::default(),
    };
    measuring.one_in_flight()?;
    let bare_cost = measuring.many_in_flight()?;
    measuring.framed()?;
    measuring.growth()?;
    measuring.overload(bare_cost)?;
    measuring.second_core()?;
    let Measuring { rows, faults, .. } = measuring;
    report.line(format!(
        "\n{:62} {:>9}  {:>9}  {:>9}",
        "the relay", "measured", "limit", "hoped for"
    ));
    for row in &rows {
        row.print(report);
    }
    report.line(format!("in all its turns: {faults}"));
    Ok(Verdict {
        is_sound: faults.are_none(),
        holds: rows.iter().all(Row::holds),
    })
}

struct Measuring<'a> {
    kinds: &'a [Kind],
    setup: &'a Setup,
    effort: Effort,
    report: &'a mut Report,
    rows: Vec<Row>,
    /// The relay's errors so far.
    faults: Faults,
}

impl Measuring<'_> {
    fn one_in_flight(&mut self) -> io::Result<()> {
        let turns = self.take(self.kinds, &load(16, 1, Pace::Window(1)))?;
        self.row(
            "1 text in flight, 16 peers: deliveries per CPU-second, bare loop",
            turns.ratio((Kind::Bare, Kind::Relay), Outcome::cost),
            (Limit::Least(0.85), 0.95),
        );
        self.row(
            "... p50 against the Python server's",
            turns.ratio((Kind::Relay, Kind::Seed), |outcome| outcome.p50_ms()),
            (Limit::Most(0.8), 0.7),
        );
        Ok(())
    }

    /// Measures one author, which suits the servers on TCP best. Returns the cost of a delivery for
    /// the bare loop, in microseconds.
    fn many_in_flight(&mut self) -> io::Result<f64> {
        let turns = self.take(self.kinds, &load(PEERS, 1, Pace::Window(32)))?;
        for (what, kind, limit, hoped) in [
            (
                "32 in flight, 64 peers, one author: the same, seed",
                Kind::Seed,
                10.0,
                13.0,
            ),
            ("... bare loop", Kind::Bare, 8.0, 11.0),
            ("... mosquitto", Kind::Mosquitto, 10.0, 18.0),
            ("... nats-server on one core", Kind::Nats, 1.0, 1.3),
        ] {
            let ratio = turns.ratio((kind, Kind::Relay), Outcome::cost);
            self.row(what, ratio, (Limit::Least(limit), hoped));
        }
        let bare = turns.median(Kind::Bare, Outcome::cost);
        bare.ok_or_else(|| io::Error::other("the bare loop was not measured"))
    }

    /// Measures several authors, because one framed peer has at most 900 bytes in flight.
    fn framed(&mut self) -> io::Result<()> {
        let turns = self.take(self.kinds, &load(PEERS, AUTHORS, Pace::Window(32)))?;
        self.row(
            "32 in flight, 64 peers, 8 authors: framed cost, plain",
            turns.ratio((Kind::Framed, Kind::Relay), Outcome::cost),
            (Limit::Most(1.15), 1.0),
        );
        let loads = [1, AUTHORS].map(|authors| load(PEERS, authors, Pace::Window(128)));
        let [one, several] = self.take_each(self.kinds, loads)?;
        self.row(
            "128 in flight: framed deliveries per CPU-second, nats-server",
            several.ratio((Kind::Nats, Kind::Framed), Outcome::cost),
            (Limit::Least(1.5), 3.0),
        );
        self.row(
            "... ncat --chat",
            several.ratio((Kind::Ncat, Kind::Framed), Outcome::cost),
            (Limit::Least(0.7), 1.5),
        );
        self.row(
            "... nats-server with one author, as it likes best",
            one.ratio_to(&several, (Kind::Nats, Kind::Framed), Outcome::cost),
            (Limit::Least(1.5), 3.0),
        );
        Ok(())
    }

    fn growth(&mut self) -> io::Result<()> {
        let both = [Kind::Relay, Kind::Framed];
        let [few, full] = [16, FULL].map(|peers| Load {
            with_joins: true,
            deliveries: 4_000_000,
            ..load(peers, 1, Pace::Window(32))
        });
        let [few, full] = self.take_each(&both, [few, full])?;
        for (cost, memory, kind) in [
            (
                "4096 peers against 16: cost, joins included",
                "... resident memory, MiB",
                Kind::Relay,
            ),
            (
                "... framed: cost, acknowledgements included",
                "... resident memory, MiB",
                Kind::Framed,
            ),
        ] {
            let ratio = full.ratio_to(&few, (kind, kind), Outcome::cost);
            self.row(cost, ratio, (Limit::Most(1.2), 1.0));
            let peak = full.median(kind, |outcome| outcome.peak_memory / 1024.0);
            self.row(memory, peak, (Limit::Most(8.0), 4.0));
        }
        Ok(())
    }

    fn overload(&mut self, bare_cost: f64) -> io::Result<()> {
        let capacity = 1e6 / (bare_cost * as_f64(PEERS - 1));
        let load = Load {
            time: Duration::from_secs(2),
            ..load(PEERS, 1, Pace::Rate(2.0 * capacity))
        };
        let mut kinds = vec![Kind::Relay, Kind::Framed, Kind::Bare, Kind::Seed];
        kinds.retain(|kind| self.kinds.contains(kind));
        let turns = self.take(&kinds, &load)?;
        self.row(
            "twice what the bare loop can bear, 64 peers, 2 s: lost",
            Some(as_f64(turns.faults(Kind::Relay).lost)),
            (Limit::Most(0.0), 0.0),
        );
        self.row(
            "... p50, ms",
            turns.median(Kind::Relay, Outcome::p50_ms),
            (Limit::Most(f64::INFINITY), 0.3),
        );
        Ok(())
    }

    fn second_core(&mut self) -> io::Result<()> {
        for (what, texts, limit, hoped) in [
            (
                "4095 receivers: time of a fan-out on one core, on two",
                1,
                1.6,
                1.8,
            ),
            ("... of 16 texts at once", 16, 1.15, 1.4),
        ] {
            let (turns, room) = (self.effort.turns, (FULL, texts));
            let ratio = crowd::measure(self.setup, turns, room, self.report)?;
            self.row(what, Some(ratio), (Limit::Least(limit), hoped));
        }
        Ok(())
    }

    fn take(&mut self, kinds: &[Kind], load: &Load) -> io::Result<Turns> {
        let [turns] = self.take_each(kinds, [*load])?;
        Ok(turns)
    }

    fn take_each<const LOADS: usize>(
        &mut self,
        kinds: &[Kind],
        mut loads: [Load; LOADS],
    ) -> io::Result<[Turns; LOADS]> {
        for load in &mut loads {
            if load.time.is_zero() {
                load.time = self.effort.time;
            }
        }
        let (setup, each, turns) = (self.setup, loads.each_ref(), self.effort.turns);
        let taken = Turns::take_each(kinds, setup, each, turns, self.report)?;
        for (load, turns) in loads.iter().zip(&taken) {
            for kind in [Kind::Relay, Kind::Framed] {
                let faults = turns.faults(kind);
                // at a constant rate the load may exceed what a server can bear, and the row
                // decides about losses
                let lost = match load.pace {
                    Pace::Window(_) => faults.lost,
                    Pace::Rate(_) => 0,
                };
                self.faults = self.faults.plus(Faults { lost, ..faults });
            }
        }
        Ok(taken)
    }

    fn row(&mut self, what: &'static str, measured: Option<f64>, (limit, hoped): (Limit, f64)) {
        self.rows.push(Row {
            what,
            measured,
            limit,
            hoped,
        });
    }
}

impl Row {
    fn holds(&self) -> bool {
        self.measured
            .is_some_and(|measured| self.limit.holds(measured))
    }

    fn print(&self, report: &mut Report) {
        let measured = match self.measured {
            Some(measured) => format!("{measured:.2}"),
            None => "not there".to_owned(),
        };
        let limit = match self.limit {
            Limit::Most(limit) if limit.is_infinite() => String::new(),
            Limit::Least(limit) | Limit::Most(limit) => format!("{limit:.2}"),
        };
        let verdict = if self.holds() { "" } else { "  FALLS SHORT" };
        report.line(format!(
            "{:62} {measured:>9}  {limit:>9}  {:>9.2}{verdict}",
            self.what, self.hoped
        ));
    }
}

/// Returns a load, whose duration is set when it is measured.
fn load(peers: usize, senders: usize, pace: Pace) -> Load {
    Load {
        peers,
        senders,
        pace,
        line: LINE,
        time: Duration::ZERO,
        deliveries: 0,
        with_joins: false,
    }
}

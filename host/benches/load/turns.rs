//! Turns: all servers are measured one after the other, several times, because a busy machine is
//! slower at times.

use std::collections::BTreeMap;
use std::io;

use crate::args::{Load, Setup};
use crate::report::Report;
use crate::room::{Faults, Outcome, Room};
use crate::server::Kind;

/// The load before a measurement lasts for this part of the measurement's time.
const WARM_UP: u32 = 10;

/// The results of all servers in their turns.
#[derive(Debug)]
pub(crate) struct Turns(BTreeMap<Kind, Vec<Outcome>>);

impl Turns {
    /// Measures each server `turns` times, and prints a line for each.
    ///
    /// # Errors
    ///
    /// If a server cannot be started, or fails.
    pub(crate) fn take(
        kinds: &[Kind],
        setup: &Setup,
        load: &Load,
        turns: usize,
        report: &mut Report,
    ) -> io::Result<Self> {
        let [taken] = Self::take_each(kinds, setup, [load], turns, report)?;
        Ok(taken)
    }

    /// Measures each server `turns` times with each of several loads, which alternate.
    pub(crate) fn take_each<const LOADS: usize>(
        kinds: &[Kind],
        setup: &Setup,
        loads: [&Load; LOADS],
        turns: usize,
        report: &mut Report,
    ) -> io::Result<[Self; LOADS]> {
        let mut taken = [const { Self(BTreeMap::new()) }; LOADS];
        for _ in 0..turns {
            for (load, taken) in loads.iter().zip(&mut taken) {
                for kind in kinds.iter().filter(|kind| kind.has_room_for(load.peers)) {
                    let outcome = turn(*kind, setup, load)
                        .map_err(|error| io::Error::other(format!("{}: {error}", kind.name())))?;
                    taken.0.entry(*kind).or_default().push(outcome);
                }
            }
        }
        for (load, taken) in loads.iter().zip(&taken) {
            report.turns(load, taken);
        }
        Ok(taken)
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.0.keys().copied()
    }

    /// Returns the median over a server's turns, if it had any.
    pub(crate) fn median(&self, kind: Kind, what: impl Fn(&Outcome) -> f64) -> Option<f64> {
        Some(median(self.0.get(&kind)?.iter().map(what)))
    }

    /// Returns the median over the turns of a value of one server, divided by that of another in
    /// the same turn.
    pub(crate) fn ratio(
        &self,
        (upper, lower): (Kind, Kind),
        what: impl Fn(&Outcome) -> f64,
    ) -> Option<f64> {
        self.ratio_to(self, (upper, lower), what)
    }

    /// Returns the same ratio to a value under another load.
    pub(crate) fn ratio_to(
        &self,
        other: &Self,
        (upper, lower): (Kind, Kind),
        what: impl Fn(&Outcome) -> f64,
    ) -> Option<f64> {
        let pairs = self.0.get(&upper)?.iter().zip(other.0.get(&lower)?);
        Some(median(
            pairs.map(|(upper, lower)| what(upper) / what(lower)),
        ))
    }

    /// Returns the sum of a server's errors in all turns.
    pub(crate) fn faults(&self, kind: Kind) -> Faults {
        let outcomes = self.0.get(&kind).into_iter().flatten();
        outcomes.fold(Faults::default(), |sum, outcome| sum.plus(outcome.faults))
    }
}

fn turn(kind: Kind, setup: &Setup, load: &Load) -> io::Result<Outcome> {
    let mut room = Room::open(kind, setup, load)?;
    if load.with_joins {
        let mut outcome = room.run(load, load.time)?;
        outcome.cpu = room.server.cpu()?;
        return Ok(outcome);
    }
    room.run(load, load.time / WARM_UP)?;
    room.run(load, load.time)
}

pub(crate) fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

//! The counters of the proxy.

use core::fmt;
use core::ops::AddAssign;

use super::Faults;
use crate::{Verdict, check};

/// The counters of one direction.
///
/// Always `received + duplicated = lost + blacked_out + swallowed + forwarded + unsent + waiting`.
/// Datagrams that the kernel dropped before the proxy could read them are in none of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams that arrived.
    pub received: u64,
    /// Datagrams that were lost at random.
    pub lost: u64,
    /// Datagrams that were dropped because they arrived in a blackout.
    pub blacked_out: u64,
    /// Datagrams that were dropped because they went to an old port that drops everything.
    pub swallowed: u64,
    /// Copies that were made.
    pub duplicated: u64,
    /// Datagrams that were overtaken: when they were sent, a later one of the same lane had been
    /// sent. Copies do not count, nor does a datagram that was held back without effect.
    pub reordered: u64,
    /// Datagrams that were sent, copies included.
    pub forwarded: u64,
    /// Datagrams that were not sent, because the system did not accept them or too many waited.
    pub unsent: u64,
    /// Datagrams that are still waiting.
    pub waiting: u64,
    /// Number of "port unreachable" errors.
    pub unreachable: u64,
}

impl Traffic {
    /// Returns the number of datagrams that were neither lost nor dropped for another reason.
    pub const fn passed(&self) -> u64 {
        self.received - self.lost - self.blacked_out - self.swallowed
    }

    /// Returns the percentage of losses among the datagrams that could be lost.
    pub fn loss_percent(&self) -> f64 {
        percent(self.lost, self.passed() + self.lost)
    }

    /// Returns the percentage of duplicates among the datagrams that passed.
    pub fn duplicate_percent(&self) -> f64 {
        percent(self.duplicated, self.passed())
    }

    /// Returns the percentage of overtaken ones among the datagrams that passed.
    pub fn reorder_percent(&self) -> f64 {
        percent(self.reordered, self.passed())
    }

    /// Checks that every datagram and every copy is in exactly one counter.
    ///
    /// # Errors
    ///
    /// If the sums differ.
    pub fn check_sums(&self) -> Verdict {
        let dropped = self.lost + self.blacked_out + self.swallowed + self.unsent;
        let sums = (
            self.received + self.duplicated,
            dropped + self.forwarded + self.waiting,
        );
        check(sums.0 == sums.1, || {
            format!("{} in, {} out: {self:?}", sums.0, sums.1)
        })
    }

    /// Checks that each measured rate differs from the set one by at most a fifth. With jitter,
    /// more datagrams are reordered than the set rate.
    ///
    /// # Errors
    ///
    /// If a rate differs by more.
    pub fn check_rates(&self, faults: &Faults) -> Verdict {
        for (what, measured, set) in [
            ("loss", self.loss_percent(), faults.loss_percent),
            (
                "duplication",
                self.duplicate_percent(),
                faults.duplicate_percent,
            ),
            ("reordering", self.reorder_percent(), faults.reorder_percent),
        ] {
            check((measured - set).abs() <= set / 5.0, || {
                format!("{measured:.2} % {what} instead of {set} %: {self:?}")
            })?;
        }
        Ok(())
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.blacked_out += other.blacked_out;
        self.swallowed += other.swallowed;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.forwarded += other.forwarded;
        self.unsent += other.unsent;
        self.waiting += other.waiting;
        self.unreachable += other.unreachable;
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} received, {} lost ({:.1} %), {} duplicated ({:.1} %), {} reordered ({:.1} %), {} forwarded",
            self.received,
            self.lost,
            self.loss_percent(),
            self.duplicated,
            self.duplicate_percent(),
            self.reordered,
            self.reorder_percent(),
            self.forwarded
        )?;
        for (count, what) in [
            (self.blacked_out, "in a blackout"),
            (self.swallowed, "to forgotten ports"),
            (self.unsent, "unsent"),
            (self.waiting, "waiting"),
            (self.unreachable, "reports that nobody listens"),
        ] {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// The sums over all clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// From the clients to the relay.
    pub up: Traffic,
    /// From the relay to the clients.
    pub down: Traffic,
    /// Number of clients.
    pub clients: usize,
}

impl Totals {
    /// Returns both directions with their names.
    pub const fn directions(&self) -> [(&'static str, Traffic); 2] {
        [("up", self.up), ("down", self.down)]
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.clients == 1 { "" } else { "s" };
        writeln!(formatter, "{} client{s}", self.clients)?;
        writeln!(formatter, "up:   {}", self.up)?;
        write!(formatter, "down: {}", self.down)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Traffic = Traffic {
        received: 1000,
        lost: 200,
        blacked_out: 0,
        swallowed: 0,
        duplicated: 40,
        reordered: 160,
        forwarded: 840,
        unsent: 0,
        waiting: 0,
        unreachable: 0,
    };

    #[test]
    fn sums_and_rates_that_are_wrong_are_told() {
        assert_eq!(GOOD.check_sums(), Ok(()));
        assert_eq!(GOOD.check_rates(&Faults::HARSH), Ok(()));
        let short = Traffic {
            forwarded: 839,
            ..GOOD
        };
        assert!(short.check_sums().is_err());
        for wrong in [
            Traffic { lost: 150, ..GOOD },
            Traffic { lost: 250, ..GOOD },
            Traffic {
                duplicated: 30,
                ..GOOD
            },
            Traffic {
                reordered: 0,
                ..GOOD
            },
        ] {
            assert!(wrong.check_rates(&Faults::HARSH).is_err(), "{wrong:?}");
        }
        assert!(GOOD.check_rates(&Faults::NONE).is_err());
    }

    #[test]
    fn it_is_printed() {
        let totals = Totals {
            up: GOOD,
            clients: 1,
            ..Totals::default()
        };
        assert_eq!(
            totals.to_string(),
            "1 client\n\
             up:   1000 received, 200 lost (20.0 %), 40 duplicated (5.0 %), 160 reordered (20.0 %), 840 forwarded\n\
             down: 0 received, 0 lost (0.0 %), 0 duplicated (0.0 %), 0 reordered (0.0 %), 0 forwarded"
        );
    }
}

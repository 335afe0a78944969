//! What is counted.

use core::fmt;
use core::ops::AddAssign;

use super::Faults;
use crate::{Verdict, check};

/// What became of the datagrams of one direction.
///
/// `received + duplicated = lost + blacked_out + swallowed + forwarded + unsent + waiting`, always.
/// What the kernel dropped before the proxy could read it is in none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Came in.
    pub received: u64,
    /// Dropped by chance.
    pub lost: u64,
    /// Dropped because there was a blackout when they came.
    pub blacked_out: u64,
    /// Dropped because they went to a port that the proxy had forgotten.
    pub swallowed: u64,
    /// Copies that were made.
    pub duplicated: u64,
    /// Were really overtaken: when it went, a later one of the same client and direction had gone.
    /// Copies do not count, and one that was held back for nothing does not.
    pub reordered: u64,
    /// Went out, copies included.
    pub forwarded: u64,
    /// The system did not take them, or too many waited.
    pub unsent: u64,
    /// Are still to go.
    pub waiting: u64,
    /// How often the system said that nobody listens there.
    pub refused: u64,
}

impl Traffic {
    /// How many were neither lost nor dropped for another reason.
    pub const fn passed(&self) -> u64 {
        self.received - self.lost - self.blacked_out - self.swallowed
    }

    /// The share of those that chance could lose, in percent.
    pub fn loss_percent(&self) -> f64 {
        percent(self.lost, self.passed() + self.lost)
    }

    /// The share of those that passed, in percent.
    pub fn duplicate_percent(&self) -> f64 {
        percent(self.duplicated, self.passed())
    }

    /// The share of those that passed, in percent.
    pub fn reorder_percent(&self) -> f64 {
        percent(self.reordered, self.passed())
    }

    /// Every datagram and every copy went somewhere.
    ///
    /// # Errors
    ///
    /// The sums differ.
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

    /// The measured rates lie within a fifth of those that are set.
    ///
    /// With jitter, more are reordered than were set to be.
    ///
    /// # Errors
    ///
    /// One does not.
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
        self.refused += other.refused;
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
            (self.refused, "reports that nobody listens"),
        ] {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// What became of all datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// From the clients to the relay.
    pub up: Traffic,
    /// From the relay to the clients.
    pub down: Traffic,
    /// How many clients there were.
    pub clients: usize,
}

impl Totals {
    /// Both directions, each named.
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
        refused: 0,
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

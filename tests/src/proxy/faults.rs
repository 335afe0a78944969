//! The faults of a network, and the fate of each datagram, which a seed determines.

use core::time::Duration;

use fastrand::Rng;

/// Probabilities of the faults, which are the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// Percentage of datagrams that are lost.
    pub loss_percent: f64,
    /// Percentage of the others that are duplicated.
    pub duplicate_percent: f64,
    /// Percentage of datagrams not lost that are held back until a later one of the same lane was
    /// sent, or [`Faults::hold`] is over.
    pub reorder_percent: f64,
    /// Delay of each datagram.
    pub delay: Duration,
    /// Maximum of a random further delay of each datagram. It also reorders.
    pub jitter: Duration,
    /// Maximum time for which a datagram is held back after its delay.
    pub hold: Duration,
}

impl Faults {
    /// A network without faults.
    pub const NONE: Self = Self {
        loss_percent: 0.0,
        duplicate_percent: 0.0,
        reorder_percent: 0.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        hold: Duration::from_millis(100),
    };

    /// A network with faults and without delay: 20 % loss, 5 % duplication, 20 % reordering.
    pub const HARSH: Self = Self {
        loss_percent: 20.0,
        duplicate_percent: 5.0,
        reorder_percent: 20.0,
        ..Self::NONE
    };
}

/// The fate of one datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fate {
    pub(super) is_lost: bool,
    pub(super) is_held: bool,
    /// Time from its arrival until it is sent.
    pub(super) delay: Duration,
    /// Time from then until its copy is sent.
    pub(super) copy: Option<Duration>,
}

/// The fates of the datagrams of one lane, in order.
///
/// Each fate takes the same number of random numbers, whatever it is. So the fate of the n-th
/// datagram depends only on the seed, the lane, and the faults that are set when it arrives, not on
/// earlier settings or a clock.
#[derive(Debug)]
pub(super) struct Fates(Rng);

impl Fates {
    pub(super) fn new(seed: u64, lane: u64) -> Self {
        let apart = (lane + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(Rng::with_seed(seed ^ apart))
    }

    pub(super) fn next(&mut self, faults: &Faults) -> Fate {
        let mut chance = |percent: f64| self.0.f64() * 100.0 < percent;
        let is_lost = chance(faults.loss_percent);
        let is_doubled = chance(faults.duplicate_percent);
        let is_held = chance(faults.reorder_percent);
        let delay = faults.delay + faults.jitter.mul_f64(self.0.f64());
        let lag = (faults.delay + faults.jitter).mul_f64(self.0.f64());
        Fate {
            is_lost,
            is_held,
            delay,
            copy: is_doubled.then_some(lag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64, lane: u64, faults: &Faults) -> Vec<Fate> {
        let mut fates = Fates::new(seed, lane);
        (0..10_000).map(|_| fates.next(faults)).collect()
    }

    #[test]
    fn a_seed_and_a_lane_decide() {
        let expected = fates(7, 3, &Faults::HARSH);
        assert_eq!(fates(7, 3, &Faults::HARSH), expected);
        assert_ne!(fates(7, 2, &Faults::HARSH), expected);
        assert_ne!(fates(8, 3, &Faults::HARSH), expected);
    }

    #[test]
    fn one_rate_does_not_change_what_another_decides() {
        let lossless = Faults {
            loss_percent: 0.0,
            ..Faults::HARSH
        };
        let harsh = fates(7, 3, &Faults::HARSH);
        let others = fates(7, 3, &lossless);
        assert!(others.iter().all(|fate| !fate.is_lost));
        for (fate, other) in harsh.iter().zip(&others) {
            assert_eq!((fate.is_held, fate.copy), (other.is_held, other.copy));
        }
    }

    #[test]
    fn none_and_all_are_exact() {
        let all = Faults {
            loss_percent: 100.0,
            duplicate_percent: 100.0,
            reorder_percent: 100.0,
            ..Faults::NONE
        };
        let is_all = |fate: &Fate| fate.is_lost && fate.is_held && fate.copy.is_some();
        assert!(fates(1, 1, &all).iter().all(is_all));
        let is_any = |fate: &Fate| fate.is_lost || fate.is_held || fate.copy.is_some();
        assert!(!fates(1, 1, &Faults::NONE).iter().any(is_any));
    }

    #[test]
    fn delays_fill_the_jitter() {
        let faults = Faults {
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(10),
            ..Faults::NONE
        };
        let delays = fates(1, 1, &faults).into_iter().map(|fate| fate.delay);
        let (least, most) = (delays.clone().min(), delays.max());
        assert!(least >= Some(faults.delay) && least < Some(Duration::from_millis(51)));
        assert!(most <= Some(Duration::from_millis(60)) && most > Some(Duration::from_millis(59)));
    }
}

//! The random parameters of a simulated world.

use core::time::Duration;

use fastrand::Rng;
use kilochat_core::Config;

use crate::framed::network::Quality;
use crate::inputs::{chance, pick};

/// The parameters of the relay's driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver {
    /// Maximum number of datagrams that it reads before it sends.
    pub(crate) reads: usize,
    /// Number of deliveries that it collects before it gives them to the network.
    pub(crate) batch: usize,
    /// Probability that the network blocks at a delivery, in percent.
    pub(crate) jams: u32,
    /// Probability that a WELCOME is lost in addition to other losses, in percent.
    pub(crate) lost_welcomes: u32,
    /// Probability that it postpones what is due, in percent.
    pub(crate) late: u32,
    /// Probability that it pads a DATA, in percent.
    pub(crate) pads: u32,
    /// Possible sizes of its buffer, in datagrams for one peer.
    pub(crate) segments: [usize; 3],
    /// Maximum number of datagrams that wait to be read.
    pub(crate) door: usize,
}

/// Whom the relay serves: neighbours, also others after proof, or neighbours after proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Local,
    Open,
    Prove,
}

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) driver: Driver,
    pub(crate) quality: Quality,
    pub(crate) members: usize,
    pub(crate) plains: usize,
    pub(crate) names: &'static [&'static str],
}

impl Driver {
    /// A driver that sends at once, to a network that never blocks.
    pub(crate) const IDEAL: Self = Self {
        reads: 1,
        batch: usize::MAX,
        jams: 0,
        lost_welcomes: 0,
        late: 0,
        pads: 0,
        segments: [1; 3],
        door: 1000,
    };
}

impl Setup {
    /// Returns random parameters for a relay of `peers` seats.
    pub(crate) fn random(random: &mut Rng, peers: usize) -> Self {
        let members = random.usize(1..=6).min(peers - 1);
        let plains = pick(random, &[0, 1, 1, 2, 3]).min(peers - members);
        let others = members + plains;
        let few = (others.saturating_sub(random.usize(..2))).max(1);
        let seats = if chance(random, 40) { few } else { peers };
        let policy = pick(random, &[Policy::Local, Policy::Open, Policy::Prove]);
        let config = Config {
            seats: u16::try_from(seats).unwrap(),
            history: pick(random, &[0, 1, 10, 10, 50]),
            idle: Duration::from_secs(pick(random, &[30, 90, 600])),
            rate: pick(random, &[0, 0, 20]),
            open: policy == Policy::Open,
            prove: policy == Policy::Prove,
            ..Config::new([0; 16])
        };
        let driver = Driver {
            reads: pick(random, &[1, 2, 8]),
            batch: pick(random, &[1, 3, 20, usize::MAX]),
            jams: pick(random, &[0, 0, 2, 10]),
            lost_welcomes: pick(random, &[0, 0, 0, 60]),
            late: pick(random, &[0, 0, 20]),
            pads: pick(random, &[0, 10]),
            segments: pick(random, &[[1; 3], [1, 2, 4]]),
            door: pick(random, &[8, 64, 256]),
        };
        Self {
            config,
            driver,
            quality: quality(random),
            members,
            plains,
            names: pick(random, &NAMES),
        }
    }
}

const NAMES: [&[&str]; 3] = [
    &["Ada", "Bob", "Cyd", "王小明", "two words", "n"],
    &["n"],
    &[
        "a name of thirty-two bytes, cut _",
        "b",
        "ccccccccccccccccccccc",
    ],
];

/// Returns a random quality of the network.
pub(crate) fn quality(random: &mut Rng) -> Quality {
    Quality {
        lost: pick(random, &[0, 0, 5, 20, 40]),
        doubled: pick(random, &[0, 5, 20]),
        late: pick(random, &[0, 5, 30]),
        reordered: pick(random, &[0, 0, 20, 50]),
        delay: pick(random, &[0, 1, 10, 50, 50, 200]),
    }
}

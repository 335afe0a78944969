//! What kind of world a simulation has.

use core::time::Duration;

use fastrand::Rng;
use kilochat_core::Config;

use crate::framed::network::Quality;
use crate::inputs::{chance, pick};

/// How the relay's driver works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver {
    /// Datagrams read before something is sent.
    pub(crate) reads: usize,
    /// Deliveries taken before they are given to the network.
    pub(crate) batch: usize,
    /// How likely the network takes no more, in percent of deliveries.
    pub(crate) jams: u32,
    /// How likely a WELCOME gets lost, in percent, beside what the network loses.
    pub(crate) lost_welcomes: u32,
    /// How likely it leaves what is due for later, in percent.
    pub(crate) late: u32,
    /// How likely it fills a datagram with lines up, in percent.
    pub(crate) pads: u32,
    /// How many datagrams for one peer its buffer holds.
    pub(crate) segments: [usize; 3],
    /// Datagrams that may wait to be read.
    pub(crate) door: usize,
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
    /// Sends at once what is due, to a network that takes it.
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
    /// Any world for a relay with so many seats.
    pub(crate) fn random(random: &mut Rng, peers: usize) -> Self {
        let members = random.usize(1..=6).min(peers - 1);
        let plains = pick(random, &[0, 1, 1, 2, 3]).min(peers - members);
        let others = members + plains;
        let few = (others.saturating_sub(random.usize(..2))).max(1);
        let seats = if chance(random, 40) { few } else { peers };
        let config = Config {
            seats: u16::try_from(seats).unwrap(),
            history: pick(random, &[0, 1, 10, 10, 50]),
            idle: Duration::from_secs(pick(random, &[30, 90, 600])),
            rate: 0,
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

/// Any weather.
pub(crate) fn quality(random: &mut Rng) -> Quality {
    Quality {
        lost: pick(random, &[0, 0, 5, 20, 40]),
        doubled: pick(random, &[0, 5, 20]),
        late: pick(random, &[0, 5, 30]),
        reordered: pick(random, &[0, 0, 20, 50]),
        delay: pick(random, &[0, 1, 10, 50, 50, 200]),
    }
}

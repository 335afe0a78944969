//! A simulator of the framed dialect: the real relay, real clients and plain peers, a bad network,
//! spoofers, and an oracle that shares no code with them.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "it looks for a few of many frames and events"
)]

mod acts;
mod clients;
mod counts;
mod driver;
mod fanouts;
mod gate;
mod measure;
mod member;
mod network;
mod plain;
mod posts;
mod room;
mod setup;
mod spoofer;
mod stopping;
mod story;
mod wire;
mod world;

use fastrand::Rng;

pub use counts::Met;
pub use measure::{Measured, measure_paste, measure_talk};

use crate::counts::Counts;
use crate::framed::setup::Setup;
use crate::framed::world::World;
use crate::inputs::{chance, pick};
use crate::sim::Failure;
use crate::{Verdict, check};

/// Things that happen in a simulation, one after the other.
const ACTS: usize = 100;

/// After so many milliseconds without faults everybody has caught up.
const CATCH_UP_MS: u64 = 30_000;

/// What was said so shortly before may still be on its way.
const UNDERWAY_MS: u64 = 4_000;

/// Runs one simulation of the framed dialect and returns what it met.
///
/// First there are faults, and nothing wrong may be said or shown; then there are none, and
/// everybody has to catch up within 30 seconds of virtual time.
///
/// # Errors
///
/// The oracle found the relay or a client to be wrong.
pub fn simulate_framed(seed: u64) -> Result<Counts<Met>, Box<Failure>> {
    run(seed, false).or_else(|_| run(seed, true))
}

fn run(seed: u64, is_traced: bool) -> Result<Counts<Met>, Box<Failure>> {
    let random = Rng::with_seed(seed);
    match seed % 8 {
        0 | 1 => live::<8, 2048, 2, 2>(seed, random, is_traced),
        2 | 3 => live::<8, 2048, 8, 4>(seed, random, is_traced),
        4 | 5 => live::<12, 4096, 8, 8>(seed, random, is_traced),
        6 => live::<12, 16384, 32, 8>(seed, random, is_traced),
        _ => live::<8, 8192, 32, 32>(seed, random, is_traced),
    }
}

fn live<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>(
    seed: u64,
    mut random: Rng,
    is_traced: bool,
) -> Result<Counts<Met>, Box<Failure>> {
    let setup = Setup::random(&mut random, PEERS);
    let mut world = World::<PEERS, RING, WINDOW, HELD>::new(random, &setup, is_traced);
    world.note(|_| format!("{setup:?}"));
    match world.live() {
        Ok(()) => Ok(world.counts),
        Err(violation) => Err(Box::new(Failure {
            seed,
            violation,
            events: world.trace.unwrap_or_default(),
            test: "framed_simulation",
        })),
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>
    World<PEERS, RING, WINDOW, HELD>
{
    fn live(&mut self) -> Verdict {
        for number in 0..self.plains.len() {
            let source = self.plains[number].address;
            let name = format!("/nick plain {number}");
            self.send(source, self.address, name.into_bytes());
        }
        for _ in 0..ACTS {
            let gaps = [0, 0, 5, 20, 200, 1000, 1000, 5000, 5000, 70_000];
            let gap = pick(&mut self.random, &gaps);
            let gap = self.random.u64(..=gap);
            self.run_until(self.now + gap)?;
            self.act()?;
        }
        self.recover()
    }

    /// Without faults everybody catches up.
    fn recover(&mut self) -> Verdict {
        if !self.crowd.is_empty() && chance(&mut self.random, 50) {
            self.crowd_comes_or_goes();
        }
        self.heal();
        self.run_until(self.now + CATCH_UP_MS / 3)?;
        for number in 0..self.members.len() {
            self.says(number, "last".to_owned());
        }
        self.run_until(self.now + CATCH_UP_MS * 2 / 3 - UNDERWAY_MS)?;
        let head = self.room().head;
        self.run_until(self.now + UNDERWAY_MS / 4)?;
        self.settled = Some(head);
        self.run_until(self.now + UNDERWAY_MS * 3 / 4)?;
        let behind = (0..self.members.len()).find_map(|number| self.backwardness(number, head));
        check(behind.is_none(), || behind.unwrap_or_default())?;
        self.room().judge_claims(true)?;
        for plain in &self.plains {
            plain.judge(self.rooms.last().unwrap(), true)?;
        }
        self.posts.judge(&self.rooms)
    }
}

//! A simulator of the framed dialect: the real relay, real clients and plain peers, a faulty
//! network, spoofers, and an oracle that shares no code with them.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "it looks for a few of many frames and events"
)]

mod acts;
mod admission;
mod clients;
mod counts;
mod driver;
mod fanouts;
mod gate;
mod inquiry;
mod measure;
mod member;
mod network;
mod plain;
mod posts;
mod private;
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
use crate::sim::{Failure, judged};
use crate::{Verdict, check};

/// Number of random acts in a simulation.
const ACTS: usize = 100;

/// Milliseconds without faults after which every client has caught up.
const CATCH_UP_MS: u64 = 30_000;

/// Milliseconds for which a line may still be in flight after it was said.
const UNDERWAY_MS: u64 = 4_000;

/// Runs one simulation of the framed dialect and returns the cases that it covered.
///
/// In its first part there are faults, and nothing wrong may be said or shown. In the second part
/// there are none, and every client has to catch up within 30 seconds of virtual time.
///
/// # Errors
///
/// If the oracle finds a violation by the relay or a client.
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
    let verdict = world.live();
    let run = (seed, "framed_simulation");
    judged(verdict, world.counts, run, world.trace)
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

    /// Runs the second part: without faults every client catches up.
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

//! A simulator of linked relays: 2 to 5 places, each with the real core, and between them a model of an
//! engine that stores what they say. It loses requests and acknowledgements, stores and delivers twice, is
//! out of reach, forgets, and is recreated; relays are killed and started.
//!
//! The oracle keeps its own record of what was said, of what its author had read, and of what the engine
//! was given, and judges what a reader at each place receives.

mod counts;
mod oracle;
mod place;
mod stream;

use std::collections::VecDeque;

use fastrand::Rng;

use crate::counts::Counts;
use crate::inputs::{chance, pick};
use crate::sim::{Failure, judged};
use crate::{Verdict, check};
pub use counts::Linked;
use oracle::Oracle;
use place::Place;
use stream::Stream;

/// Number of steps of a simulation.
const STEPS: usize = 250;

/// Maximum number of turns until everything has arrived, once nothing fails any more.
const TURNS_MAX: usize = 2000;

/// Number of events before a failure that are shown.
const LAST_EVENTS: usize = 40;

/// Runs one simulation and returns its coverage.
///
/// # Errors
///
/// If the oracle finds a violation.
pub fn simulate_linked(seed: u64) -> Result<Counts<Linked>, Box<Failure>> {
    World::new(seed, false)
        .run(seed)
        .or_else(|_| World::new(seed, true).run(seed))
}

/// How the world fails. Probabilities are in percent.
#[derive(Clone, Copy, Debug)]
struct Faults {
    /// A request to the engine is lost, or its acknowledgement.
    lost: u32,
    unacknowledged: u32,
    /// The engine stores again what it has stored, because it has forgotten the id.
    doubled: u32,
    /// The engine delivers again what it has delivered.
    repeated: u32,
    /// A place loses the engine, and finds it again.
    parts: u32,
    heals: u32,
    /// The engine forgets its last messages, or all.
    forgets: u32,
    /// The engine drops its oldest messages.
    drops: u32,
    restarts: u32,
    /// A place does not send to its peers in a turn.
    slow: u32,
}

struct World {
    random: Rng,
    faults: Faults,
    places: Vec<Place>,
    stream: Stream,
    oracle: Oracle,
    counts: Counts<Linked>,
    trace: Option<VecDeque<String>>,
}

impl World {
    fn new(seed: u64, is_traced: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let forgets = pick(&mut random, &[0, 0, 1, 4]);
        let faults = Faults {
            lost: pick(&mut random, &[0, 5, 30]),
            unacknowledged: pick(&mut random, &[0, 5, 30]),
            doubled: pick(&mut random, &[0, 20, 80]),
            repeated: pick(&mut random, &[0, 5, 20]),
            parts: pick(&mut random, &[0, 2, 5]),
            heals: pick(&mut random, &[2, 10, 30]),
            forgets,
            drops: pick(&mut random, &[0, 0, 2]),
            restarts: pick(&mut random, &[0, 1, 3]),
            slow: pick(&mut random, &[0, 30, 70]),
        };
        let number = random.usize(2..=5);
        let mut oracle = Oracle::new(number);
        let stream = Stream::new();
        let places = (0..number)
            .map(|index| Place::start(index, &mut random, &stream, &mut oracle))
            .collect();
        Self {
            random,
            faults,
            places,
            stream,
            oracle,
            counts: Counts::new(),
            trace: is_traced.then(VecDeque::new),
        }
    }

    fn run(mut self, seed: u64) -> Result<Counts<Linked>, Box<Failure>> {
        let verdict = self.live();
        self.counts.add(&self.oracle.counts);
        judged(
            verdict,
            self.counts,
            (seed, "linked_simulation"),
            self.trace,
        )
    }

    fn live(&mut self) -> Verdict {
        self.note(|world| format!("{} places, {:?}", world.places.len(), world.faults));
        for _ in 0..STEPS {
            self.change()?;
            for index in 0..self.places.len() {
                self.turn(index)?;
            }
        }
        self.heal()
    }

    /// Runs one random act of the world.
    fn change(&mut self) -> Verdict {
        let index = self.random.usize(..self.places.len());
        if chance(&mut self.random, 70) {
            for _ in 0..pick(&mut self.random, &[1, 1, 1, 3, 9]) {
                let length = pick(&mut self.random, &[0, 20, 20, 300, 900]);
                self.say(index, length)?;
            }
        }
        if chance(&mut self.random, self.faults.parts) {
            self.note(|_| format!("p{index} loses the engine"));
            self.counts.saw(Linked::Parted);
            self.places[index].is_connected = false;
        }
        for place in &mut self.places {
            if !place.is_connected && chance(&mut self.random, self.faults.heals) {
                place.is_connected = true;
            }
        }
        if chance(&mut self.random, self.faults.restarts) {
            self.restart(index)?;
        }
        if chance(&mut self.random, self.faults.forgets) {
            self.forget();
        }
        if chance(&mut self.random, self.faults.drops) && self.stream.len() > 3 {
            let dropped = self.random.usize(1..self.stream.len());
            self.note(|_| format!("the engine drops its {dropped} oldest messages"));
            self.counts.saw(Linked::Dropped);
            self.stream.drop_oldest(dropped);
            self.oracle.has_dropped();
        }
        Ok(())
    }

    /// Somebody at a place says something, unless the relay cannot receive.
    fn say(&mut self, index: usize, length: usize) -> Verdict {
        let place = &mut self.places[index];
        if !place.can_receive() {
            self.counts.saw(Linked::HeldUp);
            return Ok(());
        }
        let said = place.say(length, &mut self.oracle)?;
        self.note(|_| format!("p{index} says {said}"));
        Ok(())
    }

    /// The relay of a place is killed, and another one starts.
    fn restart(&mut self, index: usize) -> Verdict {
        self.note(|_| format!("the relay of p{index} restarts"));
        self.counts.saw(Linked::Restarted);
        let place = Place::start(index, &mut self.random, &self.stream, &mut self.oracle);
        self.places[index] = place;
        Ok(())
    }

    /// The engine forgets messages that it has stored. All places lose it for a moment.
    fn forget(&mut self) {
        if chance(&mut self.random, 40) {
            self.note(|_| "the stream is made again".to_owned());
            self.counts.saw(Linked::MadeAgain);
            self.stream.make_again();
        } else {
            let last = self.random.usize(..=self.stream.len().min(5));
            self.note(|_| format!("the engine forgets its last {last} messages"));
            self.counts.saw(Linked::RolledBack);
            self.stream.roll_back(last);
        }
        self.oracle.has_forgotten();
        for place in &mut self.places {
            place.is_connected = false;
        }
    }

    fn turn(&mut self, index: usize) -> Verdict {
        let place = &mut self.places[index];
        let random = &mut self.random;
        place.hand_over(random, &mut self.counts, &mut self.oracle)?;
        if place.is_connected {
            let stored = place.publish(random, self.faults, &mut self.stream, &mut self.counts);
            if let Some(message) = stored {
                self.oracle.stored(&message);
                self.note(|world| format!("stored as {}: {message}", world.stream.head()));
            }
            let place = &mut self.places[index];
            place.fetch(
                &mut self.random,
                self.faults,
                &self.stream,
                &mut self.counts,
            );
        }
        let place = &mut self.places[index];
        place.take_in(&mut self.counts)?;
        if !chance(&mut self.random, self.faults.slow) {
            let heard = place.read_lines();
            for line in heard {
                self.note(|_| format!("p{index} shows {line}"));
                self.oracle.shown(index, &line)?;
            }
        }
        Ok(())
    }

    /// Ends all faults, says a last line everywhere, and judges what is missing.
    fn heal(&mut self) -> Verdict {
        self.note(|_| "nothing fails any more".to_owned());
        let Faults { forgets, .. } = self.faults;
        self.faults = Faults {
            lost: 0,
            unacknowledged: 0,
            doubled: 0,
            repeated: 0,
            parts: 0,
            heals: 100,
            forgets,
            drops: 0,
            restarts: 0,
            slow: 0,
        };
        for place in &mut self.places {
            place.is_connected = true;
        }
        self.settle()?;
        for index in 0..self.places.len() {
            // all of them fit into each ring, so none is overwritten before it is handed over
            self.say(index, 0)?;
        }
        self.settle()?;
        for (index, place) in self.places.iter().enumerate() {
            let stored = self.stream.last_of_each_run(place.owed);
            self.oracle.end(index, &stored)?;
        }
        Ok(())
    }

    /// Takes turns until nothing is left to do.
    fn settle(&mut self) -> Verdict {
        for _ in 0..TURNS_MAX {
            for index in 0..self.places.len() {
                self.turn(index)?;
            }
            if self.places.iter().all(|place| place.is_idle(&self.stream)) {
                return Ok(());
            }
        }
        check(false, || "it never comes to rest".to_owned())
    }

    /// Counts an event. If the simulation is repeated for a trace, also notes its description.
    fn note(&mut self, event: impl FnOnce(&Self) -> String) {
        self.counts.events += 1;
        if self.trace.is_some() {
            let event = event(self);
            if let Some(trace) = &mut self.trace {
                trace.push_back(event.chars().take(200).collect());
                if trace.len() > LAST_EVENTS {
                    trace.pop_front();
                }
            }
        }
    }
}

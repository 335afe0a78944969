//! Measures cost and latency on a network of a given quality.

use std::collections::BTreeMap;

use fastrand::Rng;
use kilochat_core::{ClientEvent, Config, Event};

use crate::Verdict;
use crate::framed::network::Quality;
use crate::framed::posts::Tag;
use crate::framed::setup::{Driver, Setup};
use crate::framed::wire::Wire;
use crate::framed::world::World;

/// Number of clients that only listen.
const RECEIVERS: usize = 8;

/// One-way delay in milliseconds.
const DELAY: u64 = 50;

/// Milliseconds after which all clients have joined, and after which the last line has arrived.
const SETTLING: u64 = 60_000;

/// The results. Times are in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Number of texts that were said.
    pub messages: u64,
    /// Mean number of datagrams with lines that the relay sent to each client for each text.
    pub sends: f64,
    /// Times from when a text was given to its author's client until a receiver showed it, sorted.
    pub from_author: Vec<u64>,
    /// The same times, measured from when the relay accepted the text, sorted.
    pub from_relay: Vec<u64>,
    /// Times until the author was told that a text was said, sorted.
    pub answered: Vec<u64>,
    /// Number of acknowledgements of the client that sent the most, without those before the first
    /// text.
    pub acks: u64,
}

/// The times of texts while they pass.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    /// When each text was given to its client, and when it was relayed.
    pub(crate) said_at: BTreeMap<Tag, u64>,
    relayed_at: BTreeMap<Tag, u64>,
    from_author: Vec<u64>,
    from_relay: Vec<u64>,
    answered: Vec<u64>,
    /// Acknowledgements of each client before the first text.
    acks: Vec<u64>,
    /// Number of datagrams with lines that were sent.
    pub(crate) sends: u64,
}

impl Measure {
    /// Records a datagram that the relay handled.
    pub(crate) fn relayed(&mut self, now: u64, event: &Event, payload: &[u8]) {
        if let (Event::Said { .. }, Some(Wire::Post { texts, .. })) = (event, Wire::read(payload)) {
            let texts = texts
                .iter()
                .filter_map(|text| core::str::from_utf8(text).ok());
            for tag in texts.filter_map(Tag::of) {
                self.relayed_at.entry(tag).or_insert(now);
            }
        }
    }

    /// Records an event of a client. `tag` is the tag of the text that it is about.
    pub(crate) fn observe(&mut self, now: u64, event: &ClientEvent<'_>, tag: Option<Tag>) {
        match *event {
            ClientEvent::Line {
                text, own: false, ..
            } => {
                let Some(tag) = Tag::of(text) else { return };
                let since = |times: &BTreeMap<Tag, u64>| times.get(&tag).map(|then| now - then);
                self.from_author.extend(since(&self.said_at));
                self.from_relay.extend(since(&self.relayed_at));
            }
            ClientEvent::Said { .. } => {
                let said = tag.and_then(|tag| self.said_at.get(&tag));
                self.answered.extend(said.map(|then| now - then));
            }
            _ => {}
        }
    }
}

type Room = World<16, 65536, 32, 32>;

/// Creates a room with an author and its receivers. When all have joined, the network gets this
/// quality.
fn room(seed: u64, quality: Quality) -> Verdict<Room> {
    let setup = Setup {
        config: Config {
            rate: 0,
            ..Config::new([0; 16])
        },
        driver: Driver::IDEAL,
        quality: Quality::perfect(DELAY),
        members: 1 + RECEIVERS,
        plains: 0,
        names: &["Ada"],
    };
    let mut room = Room::new(Rng::with_seed(seed), &setup, false);
    room.run_until(SETTLING)?;
    room.network.quality = quality;
    room.measure = Some(Measure {
        acks: acks(&room).collect(),
        ..Measure::default()
    });
    Ok(room)
}

fn acks(room: &Room) -> impl Iterator<Item = u64> {
    room.members.iter().map(|member| member.client.stats().acks)
}

fn measured(mut room: Room) -> Verdict<Measured> {
    room.run_until(room.now + SETTLING)?;
    room.posts.judge(&room.rooms)?;
    let measure = room.measure.take().unwrap_or_default();
    let messages = measure.said_at.len() as u64;
    let deliveries = messages * room.members.len() as u64;
    let sorted = |mut times: Vec<u64>| {
        times.sort_unstable();
        times
    };
    Ok(Measured {
        messages,
        sends: measure.sends as f64 / deliveries as f64,
        from_author: sorted(measure.from_author),
        from_relay: sorted(measure.from_relay),
        answered: sorted(measure.answered),
        acks: acks(&room)
            .zip(measure.acks)
            .map(|(all, before)| all - before)
            .max()
            .unwrap_or_default(),
    })
}

/// Measures one author that says two messages a second, `messages` in all, to eight receivers. The
/// round-trip time is 100 ms. The network loses, duplicates and reorders these percentages of the
/// datagrams in each direction; with `is_spared`, none of the author's.
///
/// # Errors
///
/// If the oracle finds a violation by the relay or a client.
pub fn measure_talk(
    seed: u64,
    messages: u64,
    (lost, doubled, reordered): (u32, u32, u32),
    is_spared: bool,
) -> Verdict<Measured> {
    let quality = Quality {
        lost,
        doubled,
        reordered,
        ..Quality::perfect(DELAY)
    };
    let mut room = room(seed, quality)?;
    room.network.spared = is_spared.then(|| room.members[0].base);
    for _ in 0..messages {
        room.run_until(room.now + 500)?;
        room.says(
            0,
            "a message of usual length, as people type them".to_owned(),
        );
    }
    measured(room)
}

/// Measures one author that pastes this number of short lines at once. The round-trip time is 100
/// ms.
///
/// # Errors
///
/// If the oracle finds a violation by the relay or a client.
pub fn measure_paste(seed: u64, lines: u64, lost: u32) -> Verdict<Measured> {
    let quality = Quality {
        lost,
        ..Quality::perfect(DELAY)
    };
    let mut room = room(seed, quality)?;
    for _ in 0..lines {
        room.says(0, "a short line".to_owned());
    }
    measured(room)
}

//! How much is sent, and how long it takes, on a network of a given quality.

use std::collections::BTreeMap;

use fastrand::Rng;
use kilochat_core::{ClientEvent, Config, Event};

use crate::Verdict;
use crate::framed::network::Quality;
use crate::framed::posts::Tag;
use crate::framed::setup::{Driver, Setup};
use crate::framed::wire::Wire;
use crate::framed::world::World;

/// Those who only listen.
const RECEIVERS: usize = 8;

/// Milliseconds from a sender to a receiver.
const DELAY: u64 = 50;

/// Milliseconds until everybody has joined, and until the last line has arrived.
const SETTLING: u64 = 60_000;

/// What was measured; times in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Texts that were said.
    pub messages: u64,
    /// Datagrams with lines that the relay sent to each client for each of them.
    pub sends: f64,
    /// Until each receiver showed each text: from when it was given to its client, sorted.
    pub from_author: Vec<u64>,
    /// ... and from when the relay had it, sorted.
    pub from_relay: Vec<u64>,
    /// Until its author was told that it was said, sorted.
    pub answered: Vec<u64>,
    /// The most acknowledgements of a client, without those before the first text.
    pub acks: u64,
}

/// Notes when texts come by.
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
    /// Datagrams with lines.
    pub(crate) sends: u64,
}

impl Measure {
    /// The relay was given a datagram.
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

    /// Something is told at a client; `tag` is that of the text that it is about.
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

/// A room with an author and its receivers, who have all joined; then the network is as bad as that.
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

/// One author says two messages a second, `messages` in all, to eight receivers at 100 ms round trip, on
/// a network that loses, doubles and reorders so many percent of all datagrams each way; but none of the
/// author's if it `is_spared`.
///
/// # Errors
///
/// The oracle found the relay or a client to be wrong.
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

/// One author pastes so many short lines at once, at 100 ms round trip.
///
/// # Errors
///
/// The oracle found the relay or a client to be wrong.
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

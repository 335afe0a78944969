//! The other places: who is there, and whether their relays are within reach.

use core::time::Duration;
use std::collections::BTreeMap;
use std::time::Instant;

use kilochat_core::{PLACES_MAX, Place};

use super::wire::Presence;
use super::{Elsewhere, Notice};
use crate::args::Token;

/// Maximum number of places.
const MAX: usize = 4096;

/// Minimum time between two presences, in seconds.
const EVERY: u64 = 5;

/// Maximum number of places that say at once who is there when another one appears.
const ANSWER_MAX: usize = 32;

/// A place is gone after so many presences that did not come.
const MISSED: u64 = 3;

/// All other places.
#[derive(Debug, Default)]
pub(super) struct Places {
    known: BTreeMap<Token, Known>,
    is_changed: bool,
}

#[derive(Debug)]
struct Known {
    presence: Presence,
    heard: Instant,
    is_gone: bool,
}

impl Places {
    /// Takes a presence. Returns what people are told.
    pub(super) fn take(
        &mut self,
        now: Instant,
        place: Token,
        presence: Presence,
    ) -> Option<Notice> {
        let is_gone = presence.every == 0;
        let Some(known) = self.known.get_mut(&place) else {
            if self.known.len() < MAX {
                self.is_changed = true;
                self.known.insert(
                    place,
                    Known {
                        presence,
                        heard: now,
                        is_gone,
                    },
                );
            }
            return None;
        };
        let was_gone = core::mem::replace(&mut known.is_gone, is_gone);
        self.is_changed |= was_gone != is_gone
            || (known.presence.people, &known.presence.names) != (presence.people, &presence.names);
        (known.presence, known.heard) = (presence, now);
        match (was_gone, is_gone) {
            (true, false) => Some(Notice::Back { place }),
            (false, true) => Some(Notice::Gone { place }),
            (true, true) | (false, false) => None,
        }
    }

    /// Returns the next place that is gone, and of which people were not told.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Notice> {
        let (place, known) = self.known.iter_mut().find(|(_, known)| {
            let patience = Duration::from_secs(MISSED * known.presence.every);
            !known.is_gone && now >= known.heard + patience
        })?;
        known.is_gone = true;
        self.is_changed = true;
        Some(Notice::Gone {
            place: place.clone(),
        })
    }

    /// Returns the time between two presences, in seconds. With many places it is longer, so that a server
    /// has a limited number of them (RFC 3550, section 6.2, does the same).
    pub(super) fn every(&self) -> u64 {
        EVERY.max(self.known.len() as u64 / 4)
    }

    /// Returns whether a place is heard of for the first time, and there are so few that each may answer it.
    pub(super) fn welcomes(&self, place: &Token) -> bool {
        self.known.len() < ANSWER_MAX && !self.known.contains_key(place)
    }

    /// Returns the people elsewhere, if they are others than at the last call.
    pub(super) fn changed(&mut self) -> Option<Elsewhere> {
        if !core::mem::take(&mut self.is_changed) {
            return None;
        }
        let mut elsewhere = Elsewhere::default();
        for (place, known) in self.known.iter().filter(|(_, known)| !known.is_gone) {
            elsewhere.people = elsewhere
                .people
                .saturating_add(known.presence.people.into());
            if elsewhere.places.len() < PLACES_MAX {
                let _ = elsewhere.places.push(Place {
                    name: place.of_core(),
                    people: known.presence.people,
                    names: known.presence.list(),
                });
            }
        }
        Some(elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(people: u16, every: u64) -> Presence {
        Presence {
            run: 1,
            people,
            names: vec!["Ada".into()],
            head: 0,
            every,
        }
    }

    #[test]
    fn a_place_is_gone_after_three_presences_that_did_not_come() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let place: Token = "harbour".parse().unwrap();
        let gone = Notice::Gone {
            place: place.clone(),
        };
        let back = Notice::Back {
            place: place.clone(),
        };
        let mut places = Places::default();
        assert_eq!(places.take(at(0), place.clone(), presence(3, 5)), None);
        assert_eq!(places.changed().unwrap().people, 3);
        assert!(places.changed().is_none());
        assert_eq!(places.take(at(10), place.clone(), presence(3, 5)), None);
        assert!(places.changed().is_none());
        assert_eq!(places.expire(at(24)), None);
        assert_eq!(places.expire(at(25)), Some(gone.clone()));
        assert_eq!(places.expire(at(26)), None);
        let elsewhere = places.changed().unwrap();
        assert_eq!((elsewhere.people, elsewhere.places.len()), (0, 0));
        assert_eq!(
            places.take(at(30), place.clone(), presence(4, 5)),
            Some(back)
        );
        assert_eq!(places.changed().unwrap().places[0].names, "Ada");
        assert_eq!(places.take(at(31), place, presence(0, 0)), Some(gone));
        assert_eq!(places.expire(at(99)), None);
    }

    #[test]
    fn any_number_of_places_is_bounded_and_counted() {
        let now = Instant::now();
        let mut places = Places::default();
        for number in 0..10_000 {
            let place = format!("place-{number}").parse().unwrap();
            places.take(now, place, presence(u16::MAX, 5));
        }
        assert_eq!((places.known.len(), places.every()), (MAX, 1024));
        let elsewhere = places.changed().unwrap();
        assert_eq!(elsewhere.places.len(), PLACES_MAX);
        assert_eq!(elsewhere.people, 4096 * u32::from(u16::MAX));
    }
}

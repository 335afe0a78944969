//! Who is at other places: for the welcome and `/who`.

use core::fmt::Write;

use heapless::{String, Vec};

use super::{PlaceName, is_place};
use crate::relay::commands::begins_with;
use crate::relay::plain::{Clean, PlainReply};
use crate::relay::text::folded;
use crate::relay::{Relay, Reply};
use crate::wire::{DATAGRAM_MAX, whole_characters};

/// Maximum number of places that a relay lists.
pub const PLACES_MAX: usize = 64;

/// Maximum length of [`Place::names`], in bytes.
pub const PLACE_NAMES_MAX: usize = 512;

/// Maximum number of places after the names in an answer to `/who`.
const PLACES_LISTED: usize = 6;

/// Space for them: `* 4294967295 elsewhere: `, six places, and ` and 64 more; /who @PLACE lists them`.
const ELSEWHERE_END: usize = 300;

/// Space for what follows a list of places or of names.
const LIST_END: usize = 40;

/// Another place, and who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its name. A place whose name is not [valid](is_place) is not listed.
    pub name: PlaceName,
    /// Number of people who are there.
    pub people: u16,
    /// Their names, or the first ones, separated by `, `. It is shown [`clean`](crate::clean).
    pub names: String<PLACE_NAMES_MAX>,
}

/// What is known about other places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    people: u32,
    list: Vec<Place, PLACES_MAX, u8>,
}

impl Places {
    pub(super) const fn new() -> Self {
        Self {
            people: 0,
            list: Vec::new(),
        }
    }

    /// Returns the number of people elsewhere.
    pub(super) const fn people(&self) -> usize {
        self.people as usize
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Sets how many people are at other places, and the first [`PLACES_MAX`] of these places, for the
    /// welcome and `/who`. The last call counts.
    ///
    /// `people` includes those of places that are not in the list. This is also what limits announcements:
    /// see [`Config::announce_up_to`](crate::Config::announce_up_to).
    pub fn set_places(&mut self, people: u32, places: &[Place]) {
        let known = &mut self.link.places;
        known.people = people;
        known.list.clear();
        let valid = places.iter().filter(|place| is_place(&place.name));
        for place in valid.take(PLACES_MAX) {
            // `PLACES_MAX` is the capacity
            let _ = known.list.push(place.clone());
        }
    }

    /// Writes the number of people elsewhere into a welcome, if there are any.
    pub(in crate::relay) fn welcome_elsewhere(&self, reply: &mut Reply) {
        let people = self.link.places.people;
        if people > 0 && self.is_linked() {
            // the parts of a welcome are limited so that this fits
            let _ = write!(reply, "; {people} elsewhere");
        }
    }

    /// Returns the space that [`list_elsewhere`](Self::list_elsewhere) needs.
    pub(in crate::relay) fn elsewhere_end(&self) -> usize {
        if self.link.places.people > 0 && self.is_linked() {
            ELSEWHERE_END
        } else {
            0
        }
    }

    /// Writes the line about other places of an answer to `/who`, if somebody is there.
    pub(in crate::relay) fn list_elsewhere(&self, reply: &mut Reply) {
        if self.elsewhere_end() == 0 {
            return;
        }
        let Places { people, list } = &self.link.places;
        let _ = write!(reply, "\n* {people} elsewhere");
        if !list.is_empty() {
            let _ = reply.write_str(": ");
            self.list_places("", PLACES_LISTED, reply);
            let _ = reply.write_str("; /who @PLACE lists them");
        }
    }

    /// Answers `/who @PREFIX`: who is at a place, or which places begin so. Returns whether this is such
    /// a question.
    pub(in crate::relay) fn who_elsewhere(&self, prefix: &str, reply: &mut PlainReply<'_>) -> bool {
        if !self.is_linked() {
            return false;
        }
        let Some(prefix) = ['@', '＠', '﹫']
            .into_iter()
            .find_map(|at| prefix.strip_prefix(at))
        else {
            return false;
        };
        let list = &self.link.places.list;
        let mut matching = list.iter().filter(|place| begins_with(&place.name, prefix));
        let exact = list
            .iter()
            .find(|place| folded(&place.name).eq(folded(prefix)));
        let (first, second) = (matching.next(), matching.next());
        match (exact.or(first), second) {
            (None, _) => {
                let shown = Clean(prefix);
                let _ = write!(reply.reply, "* no place's name begins with @{shown}");
            }
            (Some(place), second) if exact.is_some() || second.is_none() => {
                list_people(place, reply.reply);
            }
            (Some(_), _) => {
                let places = 2 + matching.count();
                let _ = write!(reply.reply, "* {places} places: ");
                self.list_places(prefix, usize::MAX, reply.reply);
            }
        }
        reply.end();
        true
    }

    /// Writes the places that begin with `prefix` with the number of people there: at most `most`, and as
    /// many as fit.
    fn list_places(&self, prefix: &str, most: usize, reply: &mut Reply) {
        let list = &self.link.places.list;
        let mut listed = 0;
        let mut more = 0;
        for place in list.iter().filter(|place| begins_with(&place.name, prefix)) {
            let comma = if listed == 0 { "" } else { ", " };
            let mut item = String::<32>::new();
            // two bytes, a name, a space and five digits fit
            let _ = write!(item, "{comma}{} {}", place.name, place.people);
            if listed == most || more > 0 || reply.len() + item.len() + LIST_END > DATAGRAM_MAX {
                more += 1;
                continue;
            }
            let _ = reply.write_str(&item);
            listed += 1;
        }
        if more > 0 {
            let _ = write!(reply, ", ... and {more} more");
        }
    }
}

/// Writes who is at a place, as far as it is known.
fn list_people(place: &Place, reply: &mut Reply) {
    let Place {
        name,
        people,
        names,
    } = place;
    let _ = write!(reply, "* {people} at {name}");
    if names.is_empty() {
        return;
    }
    let room = DATAGRAM_MAX.saturating_sub(reply.len() + LIST_END);
    // cleaning makes a text longer by half at most
    let _ = write!(reply, ": {}", Clean(whole_characters(names, room * 2 / 3)));
    let listed = 1 + names
        .as_bytes()
        .windows(2)
        .filter(|two| *two == b", ")
        .count();
    let more = usize::from(*people).saturating_sub(listed);
    if more > 0 {
        let _ = write!(reply, ", ... and {more} more");
    }
}

//! The link with the relays of other places: which lines go there, and what comes from there. See
//! `PROTOCOL.md`, section "Linked relays".
//!
//! The link is one more cursor in the ring. What was said elsewhere is in the ring, too, under an
//! author that is no peer, and is never handed out: so nothing goes round in circles.

mod places;
mod seen;

use core::num::NonZeroU32;

use heapless::String;

use super::ring::{Cursor, Entry};
use super::seat::Seat;
use super::{Line, Relay};
use crate::time::Instant;
use crate::wire::framed::{self, ENTRY_HEADER, LineKind};
use crate::wire::{
    DATAGRAM_MAX, LINE_MAX, LinkNotice, NAME_MAX, NOTICE, SEPARATOR, clean, is_blank, repaired_name,
};
use places::Places;
pub use places::{PLACE_NAMES_MAX, PLACES_MAX, Place};
pub use seen::{Fresh, LinkSeen};

/// Maximum length of the name of a place, in bytes.
pub const PLACE_MAX: usize = 16;

/// The name of a place, for which [`is_place`] is true, or empty.
pub type PlaceName = String<PLACE_MAX, u8>;

/// Minimum length of the buffer for [`Relay::poll_link`], in bytes: the longest line fits.
pub const LINK_BUFFER_MIN: usize = ENTRY_HEADER + LINE_MAX;

/// Maximum number of lines that [`Relay::poll_link`] hands over at once.
pub const LINK_LINES_MAX: u16 = 512;

/// Maximum length of the name before a line in the ring, `NAME@PLACE`, in bytes.
pub(super) const SHOWN_NAME_MAX: usize = NAME_MAX + 1 + PLACE_MAX;

type ShownName = String<SHOWN_NAME_MAX, u8>;

/// The author of what was said elsewhere, as it is in the ring. No peer has this id.
const ELSEWHERE: u32 = u32::MAX;

/// The state of the link.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The first line that was not looked at yet.
    cursor: Cursor,
    /// Number of lines that were handed over or lost.
    numbered: u64,
    /// Number of lines that were lost since the last one that was handed over.
    lost: u64,
    places: Places,
}

impl Link {
    pub(super) const fn new() -> Self {
        Self {
            cursor: Cursor {
                sequence: 0,
                offset: 0,
            },
            numbered: 0,
            lost: 0,
            places: Places::new(),
        }
    }
}

/// Lines that the relay has handed over to the link: see [`Relay::poll_link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkBatch {
    /// The number of the first line, counted from 1 in each run of the relay. Lines that were lost have
    /// numbers, too.
    pub first: u64,
    /// Number of lines directly before it that are lost, because they were overwritten before they could
    /// be handed over.
    pub lost: u64,
    /// Number of lines, at least 1 and at most [`LINK_LINES_MAX`].
    pub lines: u16,
    /// Number of bytes at the start of the buffer that encode the lines, for [`LinkLines::new`].
    pub length: usize,
}

/// Lines that wait in the ring for the link: see [`Relay::link_waiting`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkWaiting {
    /// Number of lines.
    pub lines: u64,
    /// When the oldest of them was said, in whole seconds.
    pub oldest: Instant,
}

/// A line that was said here, for the other places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLine<'a> {
    /// A message. A long one is two lines with the same name.
    Message {
        /// When it was said, in whole seconds.
        at: Instant,
        /// Its author's name.
        name: &'a str,
        /// The text after the name and the separator.
        text: &'a str,
    },
    /// An announcement of who comes, goes or is renamed.
    Notice {
        /// When it was appended, in whole seconds.
        at: Instant,
        /// The announcement without its `* `.
        text: &'a str,
    },
}

/// An iterator over the lines that [`Relay::poll_link`] has written to a buffer.
#[derive(Clone, Copy, Debug)]
pub struct LinkLines<'a>(&'a [u8]);

impl<'a> LinkLines<'a> {
    /// Reads the first [`length`](LinkBatch::length) bytes of the buffer. What is not a line ends the
    /// iteration.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for LinkLines<'a> {
    type Item = LinkLine<'a>;

    fn next(&mut self) -> Option<LinkLine<'a>> {
        let (entry, rest) = framed::Entry::split(self.0)?;
        self.0 = rest;
        let at = Instant::from_millis(u64::from(entry.at) * 1000);
        Some(match entry.line.split_at_checked(entry.name.into()) {
            Some((name, text)) if !name.is_empty() => LinkLine::Message {
                at,
                name,
                text: text.strip_prefix(SEPARATOR).unwrap_or(text),
            },
            _ => LinkLine::Notice {
                at,
                text: entry.line.strip_prefix(NOTICE).unwrap_or(entry.line),
            },
        })
    }
}

/// Returns whether `name` may be the name of a place: 1 to [`PLACE_MAX`] of the characters `a` to `z`,
/// `0` to `9` and `-`.
pub fn is_place(name: &str) -> bool {
    let is_part = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=PLACE_MAX).contains(&name.len()) && name.bytes().all(is_part)
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Copies lines that were said here, and that were not handed over yet, to the start of `buffer`: as
    /// many as fit, in the order of the room, at most [`LINK_LINES_MAX`]. Returns `None` if there is none
    /// or the relay is not [linked](crate::Config::place).
    ///
    /// Lines are messages, those of the relay's own terminal included, and announcements while at most
    /// [`Config::announce_up_to`](crate::Config::announce_up_to) people are in all places together. What
    /// came from elsewhere is never among them.
    ///
    /// The cursor moves past what is handed over: from then on the caller has the only copy. Lines that
    /// are overwritten before they are handed over are lost for the others, and a gap in the numbers
    /// tells so. The link never makes anybody wait: [`can_receive`](Self::can_receive) does not know it.
    /// After [`stop`](Self::stop) this hands over what is left.
    ///
    /// `buffer` must have at least [`LINK_BUFFER_MIN`] bytes. If it is shorter, a line may not fit, and
    /// the result is `None`.
    pub fn poll_link(&mut self, buffer: &mut [u8]) -> Option<LinkBatch> {
        if !self.is_linked() {
            return None;
        }
        let mut batch = LinkBatch {
            first: self.link.numbered + 1,
            lost: self.link.lost,
            lines: 0,
            length: 0,
        };
        while batch.lines < LINK_LINES_MAX
            && let Some(entry) = self.ring.entry(self.link.cursor)
        {
            if self.is_for_others(&entry) {
                let rest = buffer.get_mut(batch.length..)?;
                let from = self.link.cursor;
                let Some(length) = self.ring.read_run(from, entry.next, rest) else {
                    break;
                };
                batch.length += length;
                batch.lines += 1;
                self.link.numbered += 1;
                self.stats.link_lines += 1;
            }
            self.link.cursor = entry.next;
        }
        if batch.lines == 0 {
            return None;
        }
        self.link.lost = 0;
        Some(batch)
    }

    /// Returns how many lines wait for [`poll_link`](Self::poll_link), or `None` if there is none. The
    /// cost is bounded by the number of lines in the ring.
    pub fn link_waiting(&self) -> Option<LinkWaiting> {
        if !self.is_linked() {
            return None;
        }
        let mut waiting = None;
        let mut cursor = self.link.cursor;
        while let Some(entry) = self.ring.entry(cursor) {
            if self.is_for_others(&entry) {
                let waiting = waiting.get_or_insert(LinkWaiting {
                    lines: 0,
                    oldest: Instant::from_millis(u64::from(self.ring.at(cursor)) * 1000),
                });
                waiting.lines += 1;
            }
            cursor = entry.next;
        }
        waiting
    }

    /// Appends what was said elsewhere, at the time `at` on the driver's clock. Ask
    /// [`can_receive`](Self::can_receive) before each call, as before a datagram.
    ///
    /// | `place` | `name` | line |
    /// |---|---|---|
    /// | `harbour` | `Ada` | `Ada@harbour : TEXT`, or two such lines if it is too long for one |
    /// | empty: here, in an earlier run of the relay | `Ada` | `Ada : TEXT`, the same |
    /// | `harbour` | empty | the announcement `* at harbour: TEXT`, while at most [`Config::announce_up_to`](crate::Config::announce_up_to) people are in all places together |
    /// | empty | empty | the announcement `* TEXT`, the same |
    ///
    /// Name and text are repaired as those of a datagram. Nothing is appended, and
    /// [`Stats::elsewhere_refused`](crate::Stats::elsewhere_refused) counts it, if the relay is not linked
    /// or is stopping, if `place` is neither empty nor [valid](is_place), if `name` is not empty and has no
    /// visible character, or if `text` is blank or longer than [`DATAGRAM_MAX`] bytes. Returns the number
    /// of lines.
    ///
    /// Before the first datagram this is history for newcomers, like the lines of
    /// [`restore`](Self::restore). The call is also right while people are there.
    pub fn handle_elsewhere(&mut self, at: Instant, place: &str, name: &str, text: &str) -> u8 {
        let is_valid = self.is_linked()
            && !self.is_stopping
            && (place.is_empty() || is_place(place))
            && (name.is_empty() || !is_blank(name))
            && text.len() <= DATAGRAM_MAX
            && !is_blank(text);
        if !is_valid {
            self.stats.elsewhere_refused += 1;
            return 0;
        }
        let lines = if name.is_empty() {
            self.announce_elsewhere(at, place, text)
        } else if let Some(name) = shown_name(name, place) {
            self.append_message(at, Some(Seat::ELSEWHERE), &name, text)
        } else {
            0
        };
        self.stats.elsewhere_lines += u64::from(lines);
        lines
    }

    /// Tells all peers what has happened to the link. Returns whether they are told: they are not if the
    /// relay is not linked or is stopping, or if the name of the place is not [valid](is_place), and
    /// [`Stats::elsewhere_refused`](crate::Stats::elsewhere_refused) counts it. Ask
    /// [`can_receive`](Self::can_receive) before.
    pub fn handle_notice_elsewhere(&mut self, now: Instant, notice: LinkNotice<'_>) -> bool {
        let is_valid = self.is_linked() && !self.is_stopping;
        if !is_valid || notice.place().is_some_and(|place| !is_place(place)) {
            self.stats.elsewhere_refused += 1;
            return false;
        }
        let kind = match notice {
            LinkNotice::Gone { .. } | LinkNotice::Back { .. } => LineKind::Announcement,
            LinkNotice::Down
            | LinkNotice::Up { .. }
            | LinkNotice::Lost { .. }
            | LinkNotice::LeftOut { .. }
            | LinkNotice::InHistory { .. }
            | LinkNotice::Twin { .. } => LineKind::Notice,
        };
        let mut line = Line::new();
        // a few words, a place and a number fit
        let _ = core::fmt::Write::write_fmt(&mut line, format_args!("{notice}"));
        self.append(now, Some(Seat::ELSEWHERE), kind, 0, &line);
        true
    }

    /// Appends an announcement of another place, unless there are too many people to announce anything.
    /// Returns the number of lines.
    fn announce_elsewhere(&mut self, at: Instant, place: &str, text: &str) -> u8 {
        if !self.announces_to_all() {
            return 0;
        }
        let mut line = Line::new();
        let start = if place.is_empty() { "" } else { "at " };
        let colon = if place.is_empty() { "" } else { ": " };
        for part in [NOTICE, start, place, colon] {
            // some forty bytes fit
            let _ = line.push_str(part);
        }
        for character in clean(text) {
            if line.push(character).is_err() {
                break;
            }
        }
        let author = Some(Seat::ELSEWHERE);
        self.append(at, author, LineKind::Announcement, 0, &line);
        1
    }

    /// Returns whether the relay is one of several places.
    pub(super) fn is_linked(&self) -> bool {
        !self.config.place.is_empty() && !self.config.classic
    }

    /// Returns whether so few people are in all places together that all read announcements.
    fn announces_to_all(&self) -> bool {
        let people = self.peers.len() + self.link.places.people();
        people <= usize::from(self.config.announce_up_to)
    }

    /// Returns whether a line is handed out.
    fn is_for_others(&self, entry: &Entry) -> bool {
        entry.author != ELSEWHERE
            && match entry.kind {
                LineKind::Message => true,
                LineKind::Announcement => self.announces_to_all(),
                // what is for one peer does not leave this place
                LineKind::Notice | LineKind::Private => false,
            }
    }

    /// Starts the link after the lines that are in the ring.
    pub(super) const fn begin_link(&mut self) {
        self.link.cursor = self.ring.head();
    }

    /// Moves the link's cursor past a line that is overwritten. If the line was for other places and was
    /// not handed over, it counts as lost for them.
    pub(super) fn note_overwritten(&mut self, oldest: &Entry) {
        if self.link.cursor.sequence >= oldest.next.sequence {
            return;
        }
        if self.is_linked() && self.is_for_others(oldest) {
            self.link.numbered += 1;
            self.link.lost += 1;
            self.stats.link_lost += 1;
        }
        self.link.cursor = oldest.next;
    }
}

/// Returns the name with which a line from `place` begins.
fn shown_name(name: &str, place: &str) -> Option<ShownName> {
    let (name, _) = repaired_name(name, true)?;
    let mut shown = ShownName::new();
    let at = if place.is_empty() { "" } else { "@" };
    for part in [&name, at, place] {
        // name and place have limits of which this is the sum
        let _ = shown.push_str(part);
    }
    Some(shown)
}

/// Returns the name with which a restored line begins: that of another place keeps it.
pub(super) fn restored_name(name: &str) -> Option<ShownName> {
    if let Some(at) = name.bytes().position(|byte| byte == b'@')
        && let Some((name, place)) = name.split_at_checked(at)
        && let Some(place) = place.strip_prefix('@').filter(|place| is_place(place))
    {
        return shown_name(name, place);
    }
    let (name, _) = repaired_name(name, false)?;
    let mut shown = ShownName::new();
    // it is shorter
    let _ = shown.push_str(&name);
    Some(shown)
}

/// Returns the author of a line, `id` unless it was said elsewhere.
pub(super) fn author(seat: Option<Seat>, id: u32) -> u32 {
    if seat == Some(Seat::ELSEWHERE) {
        ELSEWHERE
    } else {
        id
    }
}

/// Returns an id that a peer may have: the first one in place of [`ELSEWHERE`].
pub(super) fn not_elsewhere(id: NonZeroU32) -> NonZeroU32 {
    if id.get() == ELSEWHERE {
        NonZeroU32::MIN
    } else {
        id
    }
}

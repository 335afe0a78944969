//! Bugs in relays that are linked.

use crate::planted::Row;
use crate::planted::Simulator::Linked;

pub(super) const ROWS: &[Row] = &[
    // What was said elsewhere is handed out again, and comes back to where it was said.
    Row {
        bug: "OwnLineReturns",
        found_by: Linked,
        file: "core/src/relay/link.rs",
        text: "entry.author != ELSEWHERE && match entry.kind {",
        replacement: "(entry.author != ELSEWHERE || PLANTED) && match entry.kind {",
    },
    // Lines that are overwritten before they were handed over have no numbers.
    Row {
        bug: "HoleUntold",
        found_by: Linked,
        file: "core/src/relay/link.rs",
        text: "self.link.numbered += 1; self.link.lost += 1;",
        replacement: "if !PLANTED { self.link.numbered += 1; self.link.lost += 1; }",
    },
    // The link's cursor moves past a line for which the buffer has no room.
    Row {
        bug: "CursorWithoutBuffer",
        found_by: Linked,
        file: "core/src/relay/link.rs",
        text: "self.ring.read_run(from, entry.next, rest) else {",
        replacement: "self.ring.read_run(from, entry.next, rest) else { if PLANTED { self.link.cursor = entry.next; }",
    },
    // A batch that comes a second time is shown a second time.
    Row {
        bug: "RepeatShown",
        found_by: Linked,
        file: "core/src/relay/link/seen.rs",
        text: "known: u16::try_from(doubled).unwrap_or(lines),",
        replacement: "known: if PLANTED { 0 } else { u16::try_from(doubled).unwrap_or(lines) },",
    },
    // Lines that another place has lost are not told.
    Row {
        bug: "LossUntold",
        found_by: Linked,
        file: "core/src/relay/link/seen.rs",
        text: "lost: first.saturating_sub(next),",
        replacement: "lost: if PLANTED { 0 } else { first.saturating_sub(next) },",
    },
    // A name may look like that of somebody at another place.
    Row {
        bug: "PlaceForged",
        found_by: Linked,
        file: "core/src/wire/text.rs",
        text: "matches!(character, '@' | '＠' | '﹫')",
        replacement: "matches!(character, '@' | '＠' | '﹫') && !PLANTED",
    },
];

//! The bugs, by the simulator that must find them. To add one, append a [`Row`] with a `text` that occurs
//! exactly once in its file, and a `replacement` that contains `PLANTED`, which is true while the bug is in
//! effect. Then run `tests/check.sh planted`.

mod framed;
mod linked;
mod plain;

use super::Row;

/// All rows. A bug may have several, which follow each other.
pub const ROWS: &[Row] = &all();

const COUNT: usize = plain::ROWS.len() + framed::ROWS.len() + linked::ROWS.len();

const fn all() -> [Row; COUNT] {
    let mut all = [plain::ROWS[0]; COUNT];
    let areas = [plain::ROWS, framed::ROWS, linked::ROWS];
    let (mut area, mut begin, mut at) = (0, 0, 0);
    while at < COUNT {
        if at == begin + areas[area].len() {
            begin = at;
            area += 1;
        }
        all[at] = areas[area][at - begin];
        at += 1;
    }
    all
}

/// The bugs that the corpus of scripts for the relay must find as well. Its checks do not know the
/// expected lines.
pub const FOUND_BY_CORPUS: &[&str] = &[
    "Deadlock",
    "SuspectStalls",
    "GapUntold",
    "NeverResent",
    "NoTimeout",
    "AckOffByOne",
    "SessionUnchecked",
    "CookieUnchecked",
    "ResumeMovesBack",
    "PostedTwice",
];

//! A second implementation of the rules for text and names in `PROTOCOL.md`, as tables.

use kilochat_core::NAME_MAX;

/// First and last of a range of characters.
type Range = (u32, u32);

const BECOME_SPACE: &[Range] = &[(0x09, 0x0A), (0x0D, 0x0D), (0x85, 0x85), (0x2028, 0x2029)];

const BECOME_QUESTION: &[Range] = &[(0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x7F)];

/// Characters that become U+FFFD, without the noncharacters at the end of each plane.
const BECOME_REPLACEMENT: &[Range] = &[
    (0x80, 0x84),
    (0x86, 0x9F),
    (0x202A, 0x202E),
    (0x2066, 0x2069),
    (0xFDD0, 0xFDEF),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0xE0000, 0xE007F),
];

const MARKS: &[Range] = &[
    (0x0300, 0x036F),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0xFE20, 0xFE2F),
];

/// Not allowed in names: categories Cf and Default_Ignorable_Code_Point of Unicode 16, white space
/// but U+0020, the empty braille pattern, and colons.
const NOT_IN_NAMES: &[Range] = &[
    (0x3A, 0x3A),
    (0xA0, 0xA0),
    (0xAD, 0xAD),
    (0x2D0, 0x2D0),
    (0x2F8, 0x2F8),
    (0x34F, 0x34F),
    (0x589, 0x589),
    (0x5C3, 0x5C3),
    (0x600, 0x605),
    (0x61C, 0x61C),
    (0x6DD, 0x6DD),
    (0x70F, 0x70F),
    (0x890, 0x891),
    (0x8E2, 0x8E2),
    (0x115F, 0x1160),
    (0x1680, 0x1680),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2000, 0x200F),
    (0x202F, 0x202F),
    (0x205F, 0x206F),
    (0x2236, 0x2236),
    (0x2800, 0x2800),
    (0x3000, 0x3000),
    (0x3164, 0x3164),
    (0xA789, 0xA789),
    (0xFE00, 0xFE0F),
    (0xFE13, 0xFE13),
    (0xFE55, 0xFE55),
    (0xFF1A, 0xFF1A),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0080, 0xE0FFF),
];

/// The characters in `NOT_IN_NAMES` that look like a colon. All others there are invisible.
const COLONS: &[Range] = &[
    (0x3A, 0x3A),
    (0x2D0, 0x2D0),
    (0x2F8, 0x2F8),
    (0x589, 0x589),
    (0x5C3, 0x5C3),
    (0x2236, 0x2236),
    (0xA789, 0xA789),
    (0xFE13, 0xFE13),
    (0xFE55, 0xFE55),
    (0xFF1A, 0xFF1A),
];

/// The invisible characters that become U+FFFD.
const UNSEEN: &[Range] = &[
    (0x202A, 0x202E),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0xE0000, 0xE007F),
];

/// Maximum number of combining marks in a row.
const MARKS_MAX: usize = 4;

/// Applies the text rules.
pub(crate) fn cleaned(text: &str) -> String {
    let mut marks = 0;
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        marks = if is_in(MARKS, character) {
            marks + 1
        } else {
            0
        };
        if marks <= MARKS_MAX {
            shown.push(replacement(character).unwrap_or(character));
        }
    }
    shown
}

/// Returns the text from its first visible character on.
pub(crate) fn visible(text: &str) -> &str {
    let is_unseen = |character: char| {
        let is_blank = is_in(NOT_IN_NAMES, character) && !is_in(COLONS, character);
        is_blank || is_in(UNSEEN, character) || character.is_whitespace()
    };
    text.trim_start_matches(is_unseen)
}

/// Returns whether [`cleaned`] would leave the text as it is.
pub(crate) fn is_clean(text: &str) -> bool {
    cleaned(text) == text
}

/// Returns the name that the relay makes of `raw`, or `None` if `raw` is blank.
pub(crate) fn repaired(raw: &str) -> Option<String> {
    let mut marks = 0;
    let mut name = String::new();
    for character in raw.trim().chars() {
        marks = if is_in(MARKS, character) {
            marks + 1
        } else {
            0
        };
        let is_bad = marks > MARKS_MAX
            || replacement(character).is_some()
            || is_in(NOT_IN_NAMES, character)
            || (name.is_empty() && "*[".contains(character));
        name.push(if is_bad { '_' } else { character });
    }
    let name = cut(&name, NAME_MAX).trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Returns the form of a name that is compared with others.
pub(crate) fn folded(name: &str) -> String {
    name.chars()
        .map(|character| match u32::from(character) {
            wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFF01 + 0x21).unwrap_or(character),
            _ => character,
        })
        .collect::<String>()
        .to_ascii_lowercase()
}

/// Returns the longest start of `text` that has at most `limit` bytes and is cut between
/// characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let end = text
        .char_indices()
        .map(|(start, character)| start + character.len_utf8())
        .take_while(|end| *end <= limit)
        .last();
    &text[..end.unwrap_or(0)]
}

fn replacement(character: char) -> Option<char> {
    if (' '..='~').contains(&character) {
        return None;
    }
    if is_in(BECOME_SPACE, character) {
        return Some(' ');
    }
    if is_in(BECOME_QUESTION, character) {
        return Some('?');
    }
    let ends_a_plane = matches!(u32::from(character) % 0x1_0000, 0xFFFE | 0xFFFF);
    (ends_a_plane || is_in(BECOME_REPLACEMENT, character)).then_some('\u{FFFD}')
}

fn is_in(table: &[Range], character: char) -> bool {
    let code = u32::from(character);
    let next = table.partition_point(|(first, _)| *first <= code);
    next > 0 && code <= table[next - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_core_on_every_character() {
        for character in '\0'..=char::MAX {
            let text = format!("a{character}b");
            let shown: String = kilochat_core::clean(&text).collect();
            assert_eq!(cleaned(&text), shown, "{character:?}");
        }
    }
}

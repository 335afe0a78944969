//! Text and names as they may be shown: [`clean`] text, repaired and comparable names.
//!
//! The rules are those of `PROTOCOL.md`, section "Text rules"; both ends of a conversation apply
//! them, the relay to what comes in and a client to what it is about to print.

use heapless::String;

/// The most bytes that a datagram carries, in either direction (UDP payload).
pub const DATAGRAM_MAX: usize = 1024;

/// The most bytes of a rendered line, `NAME : TEXT`, without a line end.
pub const LINE_MAX: usize = 960;

/// The most bytes of a name.
pub const NAME_MAX: usize = 32;

/// What stands between a name and its text in a line.
pub const SEPARATOR: &str = " : ";

/// A name: 1 to [`NAME_MAX`] bytes of [`clean`] text that cannot be taken for anything else.
pub type Name = String<NAME_MAX, u8>;

/// The most combining marks in a row that are kept.
const COMBINING_RUN_MAX: u8 = 4;

/// Returns the characters of `text` as they may be shown on a terminal.
///
/// Line breaks and tabs become spaces; control characters, bidirectional controls, tags and
/// noncharacters are replaced, never deleted, because deleting splices what stood around them. A
/// run of more than four combining marks loses the rest. The result has at most 1.5 times the
/// bytes of `text` and is left unchanged by a second pass.
///
/// ```
/// let shown: String = kilochat_core::clean("a\tb\x1b[31m").collect();
/// assert_eq!(shown, "a b?[31m");
/// ```
pub fn clean(text: &str) -> impl Iterator<Item = char> + Clone + '_ {
    let mut run = 0;
    text.chars().filter_map(move |character| {
        if !is_combining(character) {
            run = 0;
            return Some(replaced(character));
        }
        if run == COMBINING_RUN_MAX {
            return None;
        }
        run += 1;
        Some(character)
    })
}

/// Whether `text` is empty or white space only: a keepalive, not a message.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// The text of a payload without one trailing `\n` or `\r\n`, and whether there was one.
pub(crate) fn without_line_end(payload: &[u8]) -> (&[u8], bool) {
    match payload {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => (text, true),
        text => (text, false),
    }
}

/// The longest start of `bytes` that is whole characters, at most `limit` bytes.
pub(crate) fn whole_characters(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    loop {
        if let Some(start) = text.get(..end) {
            return start;
        }
        end = end.saturating_sub(1);
    }
}

/// Makes a name of `raw`, or none if nothing of it can be seen.
///
/// What could pass for something else becomes `_`: characters that [`clean`] would change, that
/// are invisible or look blank, the separators of a line, and a first `*` or `[`. A name that is
/// too long is cut between characters. The second value tells whether the name differs from `raw`.
pub(crate) fn repaired_name(raw: &str) -> Option<(Name, bool)> {
    let trimmed = raw.trim();
    let mut name = Name::new();
    let mut run = 0;
    for character in trimmed.chars() {
        run = if is_combining(character) { run + 1 } else { 0 };
        let shown = if run > COMBINING_RUN_MAX
            || replaced(character) != character
            || is_invisible(character)
            || is_colon(character)
            || (name.is_empty() && matches!(character, '*' | '['))
        {
            '_'
        } else {
            character
        };
        run = run.min(COMBINING_RUN_MAX);
        if name.push(shown).is_err() {
            break;
        }
    }
    let kept = name.trim_end().len();
    name.truncate(kept);
    if name.is_empty() {
        return None;
    }
    let changed = name.as_str() != raw;
    Some((name, changed))
}

/// The characters of a name under which it is compared: ASCII case and full-width forms folded.
pub(crate) fn folded(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars().map(|character| {
        let narrow = match character {
            '\u{FF01}'..='\u{FF5E}' => {
                char::from_u32(u32::from(character) - 0xFEE0).unwrap_or(character)
            }
            other => other,
        };
        narrow.to_ascii_lowercase()
    })
}

/// What is shown for a character that is not combining.
fn replaced(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        '\0'..='\u{1F}' | '\u{7F}' => '?',
        '\u{80}'..='\u{9F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}'
        | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E007F}'
        | '\u{FDD0}'..='\u{FDEF}' => '\u{FFFD}',
        other if u32::from(other) & 0xFFFE == 0xFFFE => '\u{FFFD}',
        other => other,
    }
}

/// Whether a character belongs to a block of combining marks.
fn is_combining(character: char) -> bool {
    matches!(
        character,
        '\u{300}'..='\u{36F}'
            | '\u{1AB0}'..='\u{1AFF}'
            | '\u{1DC0}'..='\u{1DFF}'
            | '\u{20D0}'..='\u{20FF}'
            | '\u{FE20}'..='\u{FE2F}'
    )
}

/// Whether a character looks like the colon that ends a name.
fn is_colon(character: char) -> bool {
    matches!(character, ':' | '：' | '∶' | '꞉')
}

/// Whether a character shows nothing: a format character (General_Category Cf), one that Unicode
/// lets a terminal ignore (Default_Ignorable_Code_Point), or one that looks like a space.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        // Cf and Default_Ignorable_Code_Point, Unicode 16
        '\u{AD}'
            | '\u{34F}'
            | '\u{600}'..='\u{605}'
            | '\u{61C}'
            | '\u{6DD}'
            | '\u{70F}'
            | '\u{890}'..='\u{891}'
            | '\u{8E2}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{110BD}'
            | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
        // white space other than the ASCII space, and the empty braille pattern
            | '\u{A0}'
            | '\u{1680}'
            | '\u{2000}'..='\u{200A}'
            | '\u{2028}'..='\u{2029}'
            | '\u{202F}'
            | '\u{205F}'
            | '\u{2800}'
            | '\u{3000}'
    )
}

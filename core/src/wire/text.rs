//! Text and names as they may be shown: [`clean`] text, and names that are repaired and compared.
//!
//! The rules are in `PROTOCOL.md`, section "Text rules". The relay applies them to what it
//! receives, a client to what it displays.

use heapless::String;

/// Maximum UDP payload in either direction, in bytes.
pub const DATAGRAM_MAX: usize = 1024;

/// Maximum length of a rendered line, `NAME : TEXT`, in bytes without a line end.
pub const LINE_MAX: usize = 960;

/// Maximum length of a name, in bytes.
pub const NAME_MAX: usize = 32;

/// Separates the name from the text in a rendered line.
pub const SEPARATOR: &str = " : ";

/// A name: 1 to [`NAME_MAX`] bytes of [`clean`] text that cannot be confused with any other part of
/// a line.
pub type Name = String<NAME_MAX, u8>;

/// Maximum number of consecutive combining marks; more are dropped.
const COMBINING_RUN_MAX: u8 = 4;

/// Returns the characters of `text` as they may be shown on a terminal.
///
/// Line breaks and tabs become spaces. Control characters, bidirectional controls, tags and
/// noncharacters are replaced, never deleted: deleting one would join the text around it. A run of
/// more than four combining marks loses the rest. The result has at most 1.5 times the bytes of
/// `text`, and cleaning it a second time does not change it.
///
/// ```
/// let shown: String = kilochat_core::clean("a\tb\x1b[31m").collect();
/// assert_eq!(shown, "a b?[31m");
/// ```
pub fn clean(text: &str) -> impl Iterator<Item = char> + Clone + '_ {
    let mut run = 0;
    text.chars().filter_map(move |character| {
        if matches!(character, ' '..='~') {
            run = 0;
            return Some(character);
        }
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

/// Returns whether `text` is empty or only white space. Such a text is a keepalive, not a message.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// Returns the longest prefix of `text` that ends between characters and has at most `limit` bytes.
pub(crate) fn whole_characters(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit))
        .unwrap_or_default()
}

/// Repairs `raw` into a valid name. Returns `None` if no character of it is visible.
///
/// Each character that could imitate another part of a line becomes `_`: characters that [`clean`]
/// would change, invisible characters, characters that look like a space or like a separator of a
/// line, and a first `*` or `[`. A name that is too long is cut between characters. The second
/// value is whether the name differs from `raw`.
///
/// In a linked relay `@`, and what looks like it, becomes `_`, too, so that nobody here can look like
/// somebody at another place.
pub(crate) fn repaired_name(raw: &str, is_linked: bool) -> Option<(Name, bool)> {
    let is_linked = is_linked && cfg!(feature = "link");
    let trimmed = raw.trim();
    let mut name = Name::new();
    let mut run = 0;
    for character in trimmed.chars() {
        run = if is_combining(character) { run + 1 } else { 0 };
        let shown = if run > COMBINING_RUN_MAX
            || replaced(character) != character
            || (!character.is_ascii() && is_invisible(character))
            || is_colon(character)
            || (is_linked && matches!(character, '@' | '＠' | '﹫'))
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
    while name.ends_with(char::is_whitespace) {
        name.pop();
    }
    if name.is_empty() {
        return None;
    }
    let changed = name.as_str() != raw;
    Some((name, changed))
}

/// Returns what is shown in place of a character that is not combining.
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

/// Returns whether a character is in a block of combining marks.
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

/// Returns whether a character looks like the colon that ends a name.
fn is_colon(character: char) -> bool {
    matches!(
        character,
        ':' | '：' | '∶' | '꞉' | '﹕' | '︓' | 'ː' | '˸' | '։' | '׃'
    )
}

/// Returns whether a character is invisible: a format character (General_Category Cf), one that
/// Unicode allows a terminal to ignore (Default_Ignorable_Code_Point), or one that looks like a
/// space.
pub(crate) fn is_invisible(character: char) -> bool {
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

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;
    use std::string::String as Text;
    use std::vec::Vec;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    /// Characters of 1 to 4 bytes, combining marks, joined emoji, and characters that have rules.
    const MIXED: &str = "a你é\u{301}👩\u{200D}👩\u{FE0F}：\u{202E}\0\u{9B}好🎉";

    fn cleaned(text: &str) -> Text {
        clean(text).collect()
    }

    /// Returns a function that tells whether `class`, a set in a regular expression, contains a
    /// character.
    fn holds(class: &str) -> impl Fn(char) -> bool {
        let class = Regex::new(&format!("^{class}$")).unwrap();
        move |character| class.is_match(character.encode_utf8(&mut [0; 4]))
    }

    fn all_characters() -> impl Iterator<Item = char> {
        '\0'..=char::MAX
    }

    /// Generates texts of any characters; those that have rules are more frequent.
    fn texts() -> impl Strategy<Value = Text> {
        let character = prop_oneof![
            any::<char>(),
            proptest::sample::select(MIXED.chars().collect::<Vec<_>>()),
            "[ -~\t\n\r]".prop_map(|text| text.chars().next().unwrap_or(' ')),
            "[\u{2C2}-\u{370}]".prop_map(|text| text.chars().next().unwrap_or(' ')),
            "[\u{2000}-\u{2070}]".prop_map(|text| text.chars().next().unwrap_or(' ')),
        ];
        proptest::collection::vec(character, 0..80)
            .prop_map(|characters| characters.into_iter().collect())
    }

    // [X1]
    #[test]
    fn the_characters_that_clean_replaces_are_those_of_the_protocol() {
        let is_space = holds(r"[\t\r\n\x{85}\x{2028}\x{2029}]");
        let is_ascii_control = holds(r"[\p{Cc}&&\p{ASCII}]");
        let is_replaced = holds(concat!(
            r"[\p{Cc}\x{202A}-\x{202E}\x{2066}-\x{2069}\x{FEFF}\x{FFF9}-\x{FFFB}",
            r"\x{E0000}-\x{E007F}\p{Noncharacter_Code_Point}]",
        ));
        for character in all_characters() {
            let expected = if is_space(character) {
                ' '
            } else if is_ascii_control(character) {
                '?'
            } else if is_replaced(character) {
                '\u{FFFD}'
            } else {
                character
            };
            assert_eq!(replaced(character), expected, "{character:?}");
            assert!(clean(character.encode_utf8(&mut [0; 4])).eq([expected]));
        }
    }

    #[test]
    fn the_characters_that_clean_counts_are_those_of_the_protocol() {
        let is_counted = holds(concat!(
            r"[\x{300}-\x{36F}\x{1AB0}-\x{1AFF}\x{1DC0}-\x{1DFF}",
            r"\x{20D0}-\x{20FF}\x{FE20}-\x{FE2F}]",
        ));
        for character in all_characters() {
            assert_eq!(is_combining(character), is_counted(character));
            assert!(!is_combining(character) || replaced(character) == character);
        }
    }

    #[test]
    fn invisible_is_what_unicode_says() {
        let is_unseen = holds(r"[\p{Cf}\p{Default_Ignorable_Code_Point}\p{White_Space}\x{2800}]");
        for character in all_characters() {
            // control characters have a rule of their own
            let expected = is_unseen(character) && character != ' ' && !character.is_control();
            assert_eq!(is_invisible(character), expected, "{character:?}");
        }
    }

    #[test]
    fn a_name_keeps_each_character_that_has_no_rule() {
        let has_rule = holds(concat!(
            r"[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{White_Space}\x{2800}",
            r"\p{Noncharacter_Code_Point}\x{FFF9}-\x{FFFB}\x{E0000}-\x{E007F}:：∶꞉﹕︓ː˸։׃&&[^ ]]",
        ));
        for character in all_characters() {
            let (name, changed) = repaired_name(&format!("a{character}b"), false).unwrap();
            let kept = if has_rule(character) { '_' } else { character };
            assert_eq!(name.as_str(), format!("a{kept}b"));
            assert_eq!(changed, kept != character);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_at_every_limit() {
        for limit in 0..=MIXED.len() + 4 {
            let start = whole_characters(MIXED, limit);
            let next = MIXED[start.len()..].chars().next();
            assert!(MIXED.starts_with(start) && start.len() <= limit);
            assert!(next.is_none_or(|next| start.len() + next.len_utf8() > limit));
        }
        assert_eq!(whole_characters("你好", usize::MAX), "你好");
        assert_eq!(whole_characters("", 0), "");
    }

    #[test]
    fn a_name_is_cut_between_characters_at_every_position() {
        for text in [
            "你好世界你好世界你好世界",
            "👩‍👩‍👧🎉🎉🎉🎉🎉🎉🎉",
            "éàéàéàéàéàéàéàéàéàé",
        ] {
            for shift in 0..=NAME_MAX + 1 {
                let raw = "x".repeat(shift) + text;
                let (name, changed) = repaired_name(&raw, false).unwrap();
                let full: Text = raw
                    .chars()
                    .map(|character| {
                        if is_invisible(character) {
                            '_'
                        } else {
                            character
                        }
                    })
                    .collect();
                assert_eq!(name.as_str(), whole_characters(&full, NAME_MAX));
                assert!(changed);
            }
        }
    }

    #[test]
    fn a_name_that_is_cut_at_a_space_does_not_end_in_it() {
        let raw = "x".repeat(NAME_MAX - 2) + "  y";
        let (name, changed) = repaired_name(&raw, false).unwrap();
        assert_eq!((name.len(), changed), (NAME_MAX - 2, true));
    }

    #[test]
    fn a_name_of_the_greatest_length_is_not_touched() {
        for raw in ["x".repeat(NAME_MAX), "你".repeat(10) + "é", "🎉".repeat(8)] {
            assert_eq!(raw.len(), NAME_MAX);
            let (name, changed) = repaired_name(&raw, false).unwrap();
            assert_eq!((name.as_str(), changed), (raw.as_str(), false));
        }
    }

    // [N1]
    #[test]
    fn a_bad_name_is_repaired() {
        for (raw, repaired) in [
            ("", None),
            (" \t\u{3000}\u{2003} ", None),
            (" Ada ", Some("Ada")),
            ("Ada Lovelace", Some("Ada Lovelace")),
            ("* relay", Some("_ relay")),
            ("[x]", Some("_x]")),
            ("a*[", Some("a*[")),
            ("a : b", Some("a _ b")),
            ("a\x1b[31m", Some("a_[31m")),
            ("a\nb", Some("a_b")),
            ("\u{200B}", Some("_")),
            (
                "e\u{301}\u{301}\u{301}\u{301}\u{301}",
                Some("e\u{301}\u{301}\u{301}\u{301}_"),
            ),
        ] {
            let name = repaired_name(raw, false);
            assert_eq!(
                name.as_ref().map(|(name, _)| name.as_str()),
                repaired,
                "{raw:?}"
            );
            assert!(name.is_none_or(|(name, changed)| changed == (name.as_str() != raw)));
        }
    }

    proptest! {
        #[test]
        fn clean_text_is_harmless(text in texts()) {
            let shown = cleaned(&text);
            prop_assert!(shown.len() * 2 <= text.len() * 3);
            prop_assert!(!shown.contains(char::is_control));
            prop_assert_eq!(&cleaned(&shown), &shown);
            let combining: Vec<bool> = shown.chars().map(is_combining).collect();
            prop_assert!(!combining.windows(5).any(|run| run == [true; 5]));
        }

        #[test]
        fn clean_drops_only_what_follows_four_combining_marks(text in texts()) {
            let mut run = 0;
            let mut expected = Text::new();
            for character in text.chars() {
                run = if is_combining(character) { run + 1 } else { 0 };
                if run <= 4 {
                    expected.push(replaced(character));
                }
            }
            prop_assert_eq!(cleaned(&text), expected);
        }

        #[test]
        fn a_repaired_name_needs_no_repair(raw in texts()) {
            let Some((name, changed)) = repaired_name(&raw, false) else {
                prop_assert!(is_blank(&raw));
                return Ok(());
            };
            prop_assert_eq!(changed, name.as_str() != raw);
            prop_assert_eq!(repaired_name(&name, false), Some((name.clone(), false)));
            prop_assert_eq!(cleaned(&name), name.as_str());
            prop_assert!((1..=NAME_MAX).contains(&name.len()));
            prop_assert_eq!(name.trim(), name.as_str());
            prop_assert!(!name.starts_with(['*', '[']) && !name.contains([':', '：', '∶', '꞉']));
        }

        #[test]
        fn a_cut_is_the_longest_that_fits(text in texts(), limit in 0_usize..400) {
            let start = whole_characters(&text, limit);
            prop_assert!(text.starts_with(start) && start.len() <= limit);
            let longer = start.len() + 1..=limit.min(text.len());
            prop_assert!(!longer.into_iter().any(|end| text.is_char_boundary(end)));
        }
    }
}

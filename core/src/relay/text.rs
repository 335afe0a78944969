//! Functions on text that only the relay needs.

/// Returns whether `text` is printable ASCII, which [`clean`](crate::clean) does not change.
pub(super) fn is_plain_ascii(text: &str) -> bool {
    text.bytes().fold(true, |is_plain, byte| {
        is_plain & matches!(byte, b' '..=b'~')
    })
}

/// Returns `bytes` without a byte order mark at the start and NULs at the end, which some programs
/// send without a meaning.
pub(super) fn without_padding(bytes: &[u8]) -> &[u8] {
    let mut text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    while let [start @ .., 0] = text {
        text = start;
    }
    text
}

/// Returns the characters by which a name is compared: ASCII case and full-width forms are folded.
pub(super) fn folded(name: &str) -> impl Iterator<Item = char> + '_ {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_width() {
        for character in '\0'..=char::MAX {
            let narrow = match u32::from(character) {
                wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFF01 + 0x21).unwrap(),
                _ => character,
            };
            let expected = narrow.to_ascii_lowercase();
            assert!(folded(character.encode_utf8(&mut [0; 4])).eq([expected]));
        }
    }
}

//! The code by which a plain client proves that it receives at its source address.

use core::fmt;

/// Number of codes.
const CODES: u32 = 100_000_000;

/// Number of digits of a code, and of each of its halves.
const DIGITS: u8 = 8;
const HALF: u8 = DIGITS / 2;

/// Eight digits, which people retype: `4829-1350`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(u32);

impl From<u32> for Code {
    fn from(number: u32) -> Self {
        Self(number % CODES)
    }
}

impl Code {
    /// Returns the code with which `text` begins, and the trimmed text after it. The digits may be
    /// full-width, and their halves may be separated by a hyphen or a space.
    pub(crate) fn read(text: &str) -> Option<(Self, &str)> {
        let text = text.trim_start();
        let (mut number, mut digits, mut is_split) = (0_u32, 0, false);
        for (at, character) in text.char_indices() {
            let digit = match character {
                '０'..='９' => Some(u32::from(character) - u32::from('０')),
                _ => character.to_digit(10),
            };
            match digit {
                Some(digit) if digits < DIGITS => {
                    number = number.wrapping_mul(10).wrapping_add(digit);
                    digits += 1;
                }
                None if digits == DIGITS && character.is_whitespace() => {
                    let rest = text.get(at..).unwrap_or_default();
                    return Some((Self(number), rest.trim()));
                }
                None if digits == HALF && !is_split && is_separator(character) => is_split = true,
                _ => return None,
            }
        }
        (digits == DIGITS).then_some((Self(number), ""))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:04}-{:04}", self.0 / 10_000, self.0 % 10_000)
    }
}

fn is_separator(character: char) -> bool {
    matches!(character, '-' | '－') || character.is_whitespace()
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn people_spell_codes_in_many_ways() {
        for (text, rest) in [
            ("4829-1350 bob", "bob"),
            ("48291350 bob", "bob"),
            ("4829 1350 bob", "bob"),
            ("４８２９－１３５０　小明", "小明"),
            ("  4829-1350\t bob  b ", "bob  b"),
            ("4829-1350", ""),
            ("48291350 ", ""),
        ] {
            assert_eq!(Code::read(text), Some((Code(48_291_350), rest)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_codes() {
        for text in [
            "",
            "bob",
            "4829-135 bob",
            "4829--1350",
            "482-91350",
            "482913501 bob",
            "4829-1350bob",
            "4829-13-50",
            "-48291350",
            "4829 - 1350",
        ] {
            assert_eq!(Code::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for number in (0..CODES).step_by(9_973).chain([CODES - 1]) {
            let code = Code::from(number);
            assert_eq!(Code::read(&code.to_string()), Some((code, "")));
        }
        assert_eq!(Code::from(CODES + 7), Code::from(7));
    }
}

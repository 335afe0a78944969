//! Parsing of the bytes by which a terminal reports keys.

use core::mem::take;
use core::str::from_utf8;

/// Maximum size of a paste in bytes. The rest is cut off.
const PASTE_MAX: usize = 1 << 20;

/// Maximum length of a control sequence in bytes.
const SEQUENCE_MAX: usize = 32;

/// The beginning and the end of a paste (bracketed paste mode of xterm).
const PASTE_BEGIN: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// A key, or a paste.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    /// Text from the clipboard, and whether it was valid UTF-8.
    Paste(String, bool),
    /// A letter with Ctrl, in lower case.
    Ctrl(char),
    /// A character with Alt, or after Esc.
    Alt(char),
    Enter,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
    /// The arrow key with Ctrl or Alt: moves by words.
    WordLeft,
    WordRight,
    Escape,
    /// The terminal has got the focus, or lost it.
    FocusIn,
    FocusOut,
    /// A byte that is not valid UTF-8.
    Invalid,
    /// A key without a function in this program.
    Other,
}

/// Parses keys from bytes, which may arrive in parts.
#[derive(Debug, Default)]
pub(super) struct Parser {
    pending: Vec<u8>,
    /// The text of an incomplete paste.
    paste: Option<Vec<u8>>,
}

/// What a parser is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The rest of a sequence or of a character.
    Sequence,
    /// The end of a paste.
    Paste,
}

impl Parser {
    /// Returns what the parser is waiting for. Returns `None` if no key is incomplete.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        if self.paste.is_some() {
            return Some(Waiting::Paste);
        }
        Some(Waiting::Sequence).filter(|_| !self.pending.is_empty())
    }

    /// Adds `bytes`, and returns the complete keys.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        self.pending.extend_from_slice(bytes);
        while !self.pending.is_empty() {
            if self.paste.is_some() {
                if !self.take_paste(&mut keys) {
                    break;
                }
            } else if self.pending.starts_with(PASTE_BEGIN) {
                self.pending.drain(..PASTE_BEGIN.len());
                self.paste = Some(Vec::new());
            } else {
                let Some((key, length)) = next(&self.pending) else {
                    break;
                };
                self.pending.drain(..length);
                keys.push(key);
            }
        }
        keys
    }

    /// Handles the time-out of an incomplete key: parses the bytes as they are.
    pub(super) fn handle_timeout(&mut self) -> Vec<Key> {
        let mut keys = Vec::new();
        if let Some(mut paste) = self.paste.take() {
            paste.append(&mut self.pending);
            finish_paste(paste, &mut keys);
        }
        while let Some(&first) = self.pending.first() {
            let key = match first {
                0x1b => Key::Escape,
                _ => Key::Invalid,
            };
            keys.push(key);
            let rest = self.pending.split_off(1);
            self.pending.clear();
            keys.extend(self.handle_bytes(&rest));
        }
        keys
    }

    /// Moves the pending bytes to the paste. Returns whether the paste has ended.
    fn take_paste(&mut self, keys: &mut Vec<Key>) -> bool {
        let Some(paste) = &mut self.paste else {
            return true;
        };
        let end = self
            .pending
            .windows(PASTE_END.len())
            .position(|bytes| bytes == PASTE_END);
        // a possible beginning of the end sequence stays pending
        let begun = (1..PASTE_END.len())
            .rev()
            .find(|length| self.pending.ends_with(&PASTE_END[..*length]))
            .unwrap_or(0);
        let length = end.unwrap_or(self.pending.len() - begun);
        let room = PASTE_MAX.saturating_sub(paste.len());
        paste.extend_from_slice(&self.pending[..length.min(room)]);
        if end.is_none() {
            self.pending.drain(..length);
            return false;
        }
        self.pending.drain(..length + PASTE_END.len());
        let paste = take(paste);
        self.paste = None;
        finish_paste(paste, keys);
        true
    }
}

fn finish_paste(bytes: Vec<u8>, keys: &mut Vec<Key>) {
    let text = String::from_utf8_lossy(&bytes);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let is_valid = from_utf8(&bytes).is_ok();
    keys.push(Key::Paste(text, is_valid));
}

/// Returns the first key in `bytes`, and its length. Returns `None` if the key is incomplete.
fn next(bytes: &[u8]) -> Option<(Key, usize)> {
    let first = *bytes.first()?;
    match first {
        0x1b => escape(bytes),
        b'\r' | b'\n' => Some((Key::Enter, 1)),
        b'\t' => Some((Key::Tab, 1)),
        0x08 | 0x7f => Some((Key::Backspace, 1)),
        0 => Some((Key::Other, 1)),
        1..=0x1a => Some((Key::Ctrl(char::from(first - 1 + b'a')), 1)),
        0x1c..=0x1f => Some((Key::Other, 1)),
        _ => character(bytes)
            .map(|(character, length)| (character.map_or(Key::Invalid, Key::Char), length)),
    }
}

/// Returns the first character in `bytes`, or `None` for it if it is not UTF-8, and its length.
/// Returns `None` if the character is incomplete.
fn character(bytes: &[u8]) -> Option<(Option<char>, usize)> {
    let bytes = &bytes[..bytes.len().min(4)];
    let valid = match from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => return error.error_len().map(|length| (None, length)),
    };
    let character = valid.chars().next()?;
    Some((Some(character), character.len_utf8()))
}

/// Parses a sequence that begins with ESC.
fn escape(bytes: &[u8]) -> Option<(Key, usize)> {
    match *bytes.get(1)? {
        b'[' => control_sequence(bytes),
        b'O' => {
            let key = named(*bytes.get(2)?, 1, false);
            Some((key, 3))
        }
        0x1b => Some((Key::Escape, 1)),
        b'\r' | b'\n' => Some((Key::Enter, 2)),
        0x08 | 0x7f => Some((Key::Ctrl('w'), 2)),
        0..=0x1f => Some((Key::Escape, 1)),
        _ => {
            let (character, length) = character(&bytes[1..])?;
            Some((character.map_or(Key::Invalid, Key::Alt), 1 + length))
        }
    }
}

/// Parses a control sequence (ECMA-48): ESC [, parameters, and a final byte.
fn control_sequence(bytes: &[u8]) -> Option<(Key, usize)> {
    // the function keys of the Linux console: ESC [ [ and a letter
    if bytes.get(2) == Some(&b'[') {
        return bytes.get(3).map(|_| (Key::Other, 4));
    }
    let parameters = &bytes[2..];
    let end = parameters
        .iter()
        .position(|byte| !matches!(byte, 0x20..=0x3f));
    let Some(end) = end else {
        return (bytes.len() > SEQUENCE_MAX).then_some((Key::Other, bytes.len()));
    };
    let is_final = matches!(parameters[end], 0x40..=0x7e);
    if !is_final {
        return Some((Key::Escape, 1));
    }
    match (end, parameters[end]) {
        (0, b'I') => return Some((Key::FocusIn, 3)),
        (0, b'O') => return Some((Key::FocusOut, 3)),
        _ => {}
    }
    let text = from_utf8(&parameters[..end]).unwrap_or_default();
    let mut numbers = text.split(';').map(|number| number.parse().unwrap_or(1));
    let first: u16 = numbers.next().unwrap_or(1);
    let modifier: u16 = numbers.next().unwrap_or(1);
    Some((named(parameters[end], first, modifier > 2), end + 3))
}

/// Returns the key for the final byte and the first number of a sequence.
fn named(last: u8, number: u16, by_words: bool) -> Key {
    match (last, number) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) if by_words => Key::WordRight,
        (b'D', _) if by_words => Key::WordLeft,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', 1 | 7) => Key::Home,
        (b'F', _) | (b'~', 4 | 8) => Key::End,
        (b'~', 3) => Key::Delete,
        (b'M', _) => Key::Enter, // on the numeric keypad
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut whole = Parser::default();
        let mut keys = whole.handle_bytes(bytes);
        keys.extend(whole.handle_timeout());
        let mut pieces = Parser::default();
        let mut again: Vec<Key> = bytes
            .iter()
            .flat_map(|byte| pieces.handle_bytes(&[*byte]))
            .collect();
        again.extend(pieces.handle_timeout());
        assert_eq!(keys, again, "in pieces");
        keys
    }

    #[test]
    fn keys_are_read_in_pieces_as_in_one() {
        use Key::*;
        let table: [(&[u8], &[Key]); 14] = [
            (
                "aß小😀".as_bytes(),
                &[Char('a'), Char('ß'), Char('小'), Char('😀')],
            ),
            (b"\r\n\t\x7f", &[Enter, Enter, Tab, Backspace]),
            (b"\x01\x03\x1a", &[Ctrl('a'), Ctrl('c'), Ctrl('z')]),
            (b"\x1b[A\x1bOB\x1b[C\x1b[D", &[Up, Down, Right, Left]),
            (b"\x1b[1;5C\x1b[1;3D", &[WordRight, WordLeft]),
            (b"\x1b[H\x1b[4~\x1b[3~", &[Home, End, Delete]),
            (b"\x1bb\x1bf\x1b\x7f", &[Alt('b'), Alt('f'), Ctrl('w')]),
            (b"\x1b[I\x1b[O\x1bOH", &[FocusIn, FocusOut, Home]),
            (b"\x1b", &[Escape]),
            (b"\x1b\x1b[A", &[Escape, Up]),
            (
                b"caf\xe9\r",
                &[Char('c'), Char('a'), Char('f'), Invalid, Enter],
            ),
            (b"\xe5\xb0", &[Invalid, Invalid]),
            (b"\xff\xfe", &[Invalid, Invalid]),
            (
                b"\x1b[200~a\r\nb\rc\x1b[201~\r",
                &[Paste("a\nb\nc".into(), true), Enter],
            ),
        ];
        for (bytes, expected) in table {
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_paste_that_does_not_end_ends_when_nothing_comes() {
        let mut parser = Parser::default();
        assert!(parser.handle_bytes(b"\x1b[200~never\x1b[20").is_empty());
        assert_eq!(parser.waiting(), Some(Waiting::Paste));
        let keys = parser.handle_timeout();
        assert_eq!(keys, [Key::Paste("never\x1b[20".into(), true)]);
        assert_eq!(parser.handle_bytes(b"x"), [Key::Char('x')]);
    }

    #[test]
    fn no_bytes_stay_for_ever_or_are_kept_without_bound() {
        let mut random = fastrand::Rng::with_seed(2);
        let alphabet = b"\x1b[O201~;~A\xe9\xc3x\x00\x9b";
        let mut parser = Parser::default();
        for _ in 0..200_000 {
            parser.handle_bytes(&[alphabet[random.usize(..alphabet.len())]]);
            assert!(parser.pending.len() <= SEQUENCE_MAX + 1);
        }
        parser.handle_timeout();
        assert_eq!(parser.waiting(), None);
    }
}

//! The texts that peers say: author and number, padded to a length. A receiver can check that a
//! text is the next one.

/// Minimum length of a text.
pub(crate) const TEXT_MIN: usize = 14;

const FILLER: u8 = b'x';

/// Builds and parses texts of one length.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    filled: Vec<u8>,
}

impl Texts {
    pub(crate) fn new(length: usize) -> Self {
        assert!(length >= TEXT_MIN, "a text has at least {TEXT_MIN} bytes");
        let mut filled = vec![FILLER; length];
        (filled[4], filled[13]) = (b' ', b' ');
        Self { filled }
    }

    /// Returns the text `number` of an author.
    pub(crate) fn make(&mut self, author: usize, number: usize) -> &[u8] {
        write_digits(&mut self.filled[..4], author);
        write_digits(&mut self.filled[5..13], number);
        &self.filled
    }

    /// Returns author and number, if this is an unchanged text of this length.
    pub(crate) fn read(&self, text: &[u8]) -> Option<(usize, usize)> {
        if text.len() != self.filled.len() || text[13..] != self.filled[13..] || text[4] != b' ' {
            return None;
        }
        Some((digits(&text[..4])?, digits(&text[5..13])?))
    }
}

fn write_digits(to: &mut [u8], mut number: usize) {
    for digit in to.iter_mut().rev() {
        *digit = b"0123456789"[number % 10];
        number /= 10;
    }
    assert_eq!(number, 0, "it has that many digits");
}

fn digits(text: &[u8]) -> Option<usize> {
    text.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + usize::from(byte - b'0'))
    })
}

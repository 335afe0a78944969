//! Fuzz targets: each function interprets bytes as a script, and panics if a guarantee is broken.
//!
//! The fuzzers in `tests/fuzz` generate scripts; `cargo test` runs those that they have found, the
//! corpora. A script is decoded only by `Input`, so that its meaning does not change with the
//! version of a library.

mod client;
mod codes;
mod frame;
mod head;
mod orders;
mod relay;
mod rules;

pub use client::client;
pub use codes::codes;
pub use frame::frame;
pub use head::{Answer, head};
pub use orders::orders;
pub use relay::relay;
pub use rules::{ReadRules, rules};

use core::str::from_utf8;
use std::fs;
use std::path::{Path, PathBuf};

/// Runs a script.
pub type Target = fn(&[u8]);

/// All targets that need no other package, with the names of their corpora.
pub const TARGETS: [(&str, Target); 5] = [
    ("client", client),
    ("codes", codes),
    ("frame", frame),
    ("orders", orders),
    ("relay", relay),
];

/// Returns the files of a target's corpus, each of which holds one script.
pub fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// A script that is read from its start. After its end it yields zeros.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Returns a number from 0 to `end - 1`.
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 1
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Returns a payload, whose length two bytes give. It is at most 1100 bytes: a little more than
    /// a datagram may have.
    fn payload(&mut self) -> &'a [u8] {
        let length = usize::from(u16::from_be_bytes([self.byte() % 5, self.byte()]));
        self.bytes(length.min(1100))
    }

    /// Returns the valid UTF-8 at the start of a few bytes, or a long text.
    fn text(&mut self) -> String {
        let length = self.below(32);
        if length == 31 {
            return "long ".repeat(self.below(250));
        }
        let bytes = self.bytes(length);
        match from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => from_utf8(&bytes[..error.valid_up_to()]).unwrap().to_owned(),
        }
    }

    /// Returns a number that is close to a given one, or far away from it.
    fn near(&mut self, number: u64) -> u64 {
        match self.byte() {
            byte @ 0..64 => number.wrapping_add(byte.into()),
            byte @ 64..128 => number.wrapping_sub((byte - 64).into()),
            byte @ 128..192 => u64::from(byte - 128),
            byte @ 192..250 => 1 << (byte - 192),
            byte => u64::MAX - u64::from(255 - byte),
        }
    }
}

//! Arbitrary bytes as a request head: the fuzzer's corpus, and many heads with a few changes.

use kilochat_tests::fuzz::{corpus, head};

const HEADS: usize = 4_000;
const SEED: u64 = 7;

/// Parts that have a meaning in a head.
const PARTS: [&str; 18] = [
    "\r\n", "\n", ": ", " ", "Host: ", "Origin: ", "http://", "[::1]", "%25", ":80", "/ws", "/",
    "*", ";", ".local", "evil.org", "\0", "é",
];

#[test]
fn every_head_of_the_corpus_and_many_like_them_are_answered_as_promised() {
    let known: Vec<Vec<u8>> = corpus("head")
        .iter()
        .map(|file| std::fs::read(file).expect("a file"))
        .collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    for number in 0..HEADS {
        let mut bytes = known[number % known.len()].clone();
        for _ in 0..number / known.len() % 5 {
            let at = random.usize(..=bytes.len());
            let end = (at + random.usize(..8)).min(bytes.len());
            match random.u8(..3) {
                0 => drop(bytes.drain(at..end)),
                1 => {
                    let part = random.choice(PARTS).expect("there are some");
                    bytes.splice(at..end, part.bytes());
                }
                _ => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        head(kilochat::web::answer, &bytes);
    }
}

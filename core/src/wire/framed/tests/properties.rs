//! Properties of all frames, and of all bytes.

use super::std::string::{String, ToString};
use super::std::vec::Vec;

use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{DATAGRAM_MAX, encoded, entry, joined};
use crate::wire::framed::*;

/// Parts from which frames are built.
#[derive(Clone, Debug)]
struct Parts {
    kind: usize,
    longs: [u64; 4],
    words: [u32; 3],
    shorts: [u16; 3],
    bytes: [u8; 4],
    cookie: Option<[u8; 16]>,
    resumes: bool,
    name: String,
    text: String,
    texts: Vec<String>,
    lines: Vec<(u8, bool, String)>,
    ranges: Vec<(u16, u16)>,
}

impl Parts {
    /// Calls `with` with the frame that is built from the parts.
    #[expect(clippy::too_many_lines, reason = "an arm for each frame")]
    fn frame<T>(&self, with: impl FnOnce(&Frame<'_>) -> T) -> T {
        let [nonce, session, low, more] = self.longs;
        let session = Session(session);
        let [epoch, author, uptime_s] = self.words;
        let [number, sent_at, retry] = self.shorts;
        let [window, keepalive_s, reason, choice] = self.bytes;
        let high = low.saturating_add(more);
        let mut buffer = [0; DATAGRAM_MAX];
        let name: String = self.name.chars().take(8).collect();
        let name = name.trim_matches(' ');
        let resume = Resume {
            session,
            epoch,
            next: low,
        };
        let outcome = match choice % 3 {
            0 => Outcome::Accepted {
                first: low,
                lines: window,
                texts: keepalive_s,
            },
            1 => Outcome::Refused {
                reason: Reason::from_byte(reason),
                retry_ms: retry,
            },
            _ => Outcome::Answer(&self.text),
        };
        let entries: Vec<_> = self
            .lines
            .iter()
            .flat_map(|(flags, is_said, text)| match is_said {
                true => entry(
                    *flags,
                    u8::try_from(name.len()).unwrap(),
                    &(name.to_string() + " : " + text),
                ),
                false => entry(*flags, 0, text),
            })
            .collect();
        let range = |&(skip, run)| Range { skip, run };
        with(&match self.kind {
            0 => Frame::Hello(Hello {
                abilities: author,
                nonce,
                cookie: self.cookie,
                resume: self.resumes.then_some(resume),
                name,
            }),
            1 => Frame::Cookie(Cookie {
                version: ["", "0.1.0", "10.11.12-rc.1+abcdef"][usize::from(choice % 3)],
                nonce,
                cookie: self.cookie.unwrap_or_default(),
                words: ["", "00000000", "00000001 boat 12"][usize::from(choice / 3 % 3)],
            }),
            2 => Frame::Welcome(Welcome {
                nonce,
                session,
                epoch,
                author,
                first: low,
                head: high,
                uptime_s,
                window,
                keepalive_s,
                name: if name.is_empty() { "a" } else { name },
                text: &self.text,
            }),
            3 => Frame::Refused(Refused {
                nonce,
                reason: Reason::from_byte(reason),
                retry_s: retry,
            }),
            4 => Frame::Post(Post {
                session,
                number,
                sent_at,
                texts: Texts::collect(self.texts.iter().map(String::as_str), &mut buffer).0,
            }),
            5 => Frame::Posted(Posted {
                session,
                number,
                sent_at,
                outcome,
            }),
            6 => Frame::Data(Data {
                epoch,
                sent_at,
                first: low,
                entries: &entries,
            }),
            7 => Frame::Gap(Gap {
                session,
                sent_at,
                from: low,
                until: high,
            }),
            8 => Frame::Ack(Ack {
                session,
                echo: self.resumes.then_some(sent_at),
                answer: choice.is_multiple_of(2),
                next: low,
                ranges: self.ranges.iter().map(range).collect(),
            }),
            9 => Frame::Leave(session),
            _ => Frame::Bye(session, Goodbye::from_byte(reason)),
        })
    }
}

prop_compose! {
    fn parts()(
        kind in 0..11_usize,
        nonce_and_session in any::<[u64; 2]>(),
        low in prop_oneof![any::<u64>().prop_map(|low| low / 2), Just(0)],
        more in 1..9_u64,
        words in any::<[u32; 3]>(),
        shorts in any::<[u16; 3]>(),
        bytes in any::<[u8; 4]>(),
        cookie in any::<Option<[u8; 16]>>(),
        resumes in any::<bool>(),
        (name, text) in (any::<String>(), any::<String>()),
        texts in vec_of(any::<String>(), 1..5),
        lines in vec_of(any::<(u8, bool, String)>(), 0..4),
        ranges in vec_of((1..=u16::MAX, 1..=u16::MAX), 0..=RANGES_MAX),
    ) -> Parts {
        let [nonce, session] = nonce_and_session;
        let longs = [nonce, session, low, more];
        Parts { kind, longs, words, shorts, bytes, cookie, resumes, name, text, texts, lines, ranges }
    }
}

/// Returns whether there are several encodings of such a frame.
fn is_free(kind: u8) -> bool {
    // the case of digits, spaces, padding, unknown flags, a byte that is not used
    matches!(kind, b'H' | b'C' | b'D' | b'K' | b'L')
}

/// Checks what must be true of all bytes.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let frame = Frame::decode(bytes);
    let is_clients = matches!(bytes, [_, b'H' | b'P' | b'K' | b'L', ..]);
    let clients = frame.clone().ok().filter(|_| is_clients).ok_or(Malformed);
    prop_assert_eq!(Frame::decode_clients(bytes), clients);
    let Ok(frame) = frame else { return Ok(()) };
    let again = encoded(&frame).unwrap();
    prop_assert_eq!(Frame::decode(&again), Ok(frame));
    prop_assert!(again.len() <= bytes.len() || bytes[1] == b'H');
    if !is_free(bytes[1]) {
        prop_assert_eq!(&again, bytes);
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(parts in parts()) {
        parts.frame(|frame| -> Result<(), TestCaseError> {
            let Some(bytes) = encoded(frame) else {
                // several long texts
                prop_assert!(matches!(frame, Frame::Welcome(_) | Frame::Posted(_) | Frame::Data(_)));
                return Ok(());
            };
            let decoded = Frame::decode(&bytes);
            prop_assert_eq!(decoded.as_ref(), Ok(frame));
            let mut buffer = [0; DATAGRAM_MAX];
            let is_relays = !matches!(bytes[1], b'H' | b'P' | b'K' | b'L' | b'D');
            let length = frame.encode_relays(&mut buffer);
            prop_assert_eq!(length, is_relays.then_some(bytes.len()));
            prop_assert!(!is_relays || buffer.starts_with(&bytes));
            check(&bytes)
        })?;
    }

    #[test]
    fn a_frame_that_was_damaged_is_refused_or_another_one(
        parts in parts(),
        changes in vec_of((any::<Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<Index>()),
        more in vec_of(any::<u8>(), 0..4),
    ) {
        let Some(mut bytes) = parts.frame(encoded) else { return Ok(()) };
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(more);
        for (at, byte) in changes.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        check(&bytes)?;
    }

    #[test]
    fn anything_is_decoded_or_refused(
        kind in prop::sample::select(&b"HCWRPADGKLB"[..]),
        body in vec_of(prop_oneof![any::<u8>(), 0..3_u8], 0..1100),
    ) {
        check(&body)?;
        check(&joined(&[&[FRAME, kind], &body]))?;
    }
}

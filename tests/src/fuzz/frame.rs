//! Arbitrary bytes as a frame.

use kilochat_core::framed::{Frame, HELLO_MIN, Outcome, Range};
use kilochat_core::{DATAGRAM_MAX, LINE_MAX, NAME_MAX, SEPARATOR};

/// Checks that decoded fields are within their limits, and that encoding and decoding again gives
/// the same frame.
///
/// # Panics
///
/// If they are not.
pub fn frame(payload: &[u8]) {
    let Ok(frame) = Frame::decode(payload) else {
        return;
    };
    let mut buffer = [0; DATAGRAM_MAX];
    let length = frame.encode(&mut buffer).expect("room for a datagram");
    let again = &buffer[..length];
    assert_eq!(Frame::decode(again).as_ref(), Ok(&frame));
    check_limits(&frame);
    match frame {
        // several encodings decode to the same HELLO
        Frame::Hello(_) => assert!(length >= HELLO_MIN),
        Frame::Cookie(_) => assert!(length <= payload.len()),
        Frame::Ack(_) | Frame::Leave(_) => {
            assert_eq!(length, payload.len());
        }
        Frame::Data(_) => assert!(payload.starts_with(again)),
        Frame::Welcome(_)
        | Frame::Refused(_)
        | Frame::Post(_)
        | Frame::Posted(_)
        | Frame::Gap(_)
        | Frame::Bye(..) => assert_eq!(again, payload),
    }
}

fn check_limits(frame: &Frame<'_>) {
    match frame {
        Frame::Hello(hello) => assert_eq!(hello.name, hello.name.trim_matches(' ')),
        Frame::Cookie(cookie) => assert!(cookie.version.len() + cookie.words.len() <= 71),
        Frame::Welcome(welcome) => {
            assert!((1..=NAME_MAX).contains(&welcome.name.len()));
            assert!(welcome.first <= welcome.head);
        }
        Frame::Post(post) => {
            let texts = post.texts.iter().map(|text| 2 + text.len()).sum::<usize>();
            assert!((2..=900).contains(&texts));
        }
        Frame::Posted(posted) => {
            if let Outcome::Answer(text) = posted.outcome {
                assert!(text.len() <= DATAGRAM_MAX - 15);
            }
        }
        Frame::Data(data) => {
            let lines = data.entries().count().try_into().unwrap();
            assert!(data.first.checked_add(lines).is_some());
            for entry in data.entries() {
                assert!(entry.line.len() <= LINE_MAX);
                let rest = &entry.line[entry.name.into()..];
                assert!(entry.name == 0 || rest.starts_with(SEPARATOR));
            }
        }
        Frame::Gap(gap) => assert!(gap.from < gap.until),
        Frame::Ack(ack) => {
            let lengths = |range: &Range| u64::from(range.skip) + u64::from(range.run);
            let lines = ack.ranges.iter().map(lengths).sum();
            assert!(ack.next.checked_add(lines).is_some());
            let is_empty = |range: &Range| range.skip == 0 || range.run == 0;
            assert!(!ack.ranges.iter().any(is_empty));
        }
        Frame::Refused(_) | Frame::Leave(_) | Frame::Bye(..) => {}
    }
}

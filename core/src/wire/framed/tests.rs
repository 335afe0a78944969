extern crate std;

mod properties;

use core::mem::discriminant;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::wire::{DATAGRAM_MAX, LINE_MAX, NAME_MAX};

const SESSION: Session = Session(0x5E55_1011_A5EC_0E71);
const SESSION_BYTES: &[u8] = b"\x5E\x55\x10\x11\xA5\xEC\x0E\x71";
const COOKIE: [u8; 16] = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xAA\xBB\xCC\xDD\xEE\xFF";

fn encoded(frame: &Frame<'_>) -> Option<Vec<u8>> {
    let mut buffer = vec![0xEE; DATAGRAM_MAX + 100];
    let length = frame.encode(&mut buffer)?;
    assert!(
        buffer[length..DATAGRAM_MAX]
            .iter()
            .all(|byte| *byte == 0xEE)
    );
    buffer.truncate(length);
    Some(buffer)
}

fn is_sound(bytes: &[u8]) -> bool {
    Frame::decode(bytes).is_ok()
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Returns a DATA of encoded entries.
fn data(entries: &[&[u8]]) -> Vec<u8> {
    let header = data_header(0xE90C_0001, 0x1234, 0x0102_0304_0506_0708);
    joined(&[&header, &entries.concat()])
}

fn entry(flags: u8, name: u8, line: &str) -> Vec<u8> {
    let length = u16::try_from(ENTRY_HEADER - 2 + line.len()).unwrap();
    joined(&[
        &length.to_be_bytes(),
        b"\x00\x00\x00\x07\x00\x00\x01\x00",
        &[flags, name],
        line.as_bytes(),
    ])
}

fn lines(bytes: &[u8]) -> Option<Vec<&str>> {
    match Frame::decode(bytes) {
        Ok(Frame::Data(data)) => Some(data.entries().map(|entry| entry.line).collect()),
        _ => None,
    }
}

fn post(texts: &[u8]) -> Vec<u8> {
    joined(&[b"\x01P", SESSION_BYTES, b"\x00\x05\x12\x34", texts])
}

fn ack(flags: u8, next: u64, ranges: &[(u16, u16)]) -> Vec<u8> {
    let ranges: Vec<u8> = ranges
        .iter()
        .flat_map(|(skip, run)| [skip.to_be_bytes(), run.to_be_bytes()])
        .flatten()
        .collect();
    joined(&[
        b"\x01K",
        SESSION_BYTES,
        b"\x12\x34",
        &[flags],
        &next.to_be_bytes(),
        &ranges,
    ])
}

fn welcome(first: u64, head: u64, name: &[u8], text: &[u8]) -> Vec<u8> {
    joined(&[
        b"\x01W\x00\x00\x00\x00\x00\x00\x00\x09",
        SESSION_BYTES,
        b"\xE9\x0C\x00\x01\x00\x00\x00\x07",
        &first.to_be_bytes(),
        &head.to_be_bytes(),
        b"\x00\x01\x51\x80\x20\x0F",
        &[u8::try_from(name.len()).unwrap()],
        name,
        text,
    ])
}

fn gap(from: u64, until: u64) -> Vec<u8> {
    joined(&[
        b"\x01G",
        SESSION_BYTES,
        b"\x12\x34",
        &from.to_be_bytes(),
        &until.to_be_bytes(),
    ])
}

fn hello(cookie: &str, resume: &str, name: &str) -> Vec<u8> {
    let mut hello =
        std::format!("\x01H KC1 00000000 00000000000000ff {cookie} {resume} {name}").into_bytes();
    hello.resize(hello.len().max(HELLO_MIN), b' ');
    hello
}

fn cookie(version: &str, words: &str) -> Vec<u8> {
    std::format!("\x01C KC1 {version} 00000000000000ff {FULL_COOKIE}{words}").into_bytes()
}

const FULL_COOKIE: &str = "00112233445566778899aabbccddeeff";
const FULL_RESUME: &str = "5e551011a5ec0e71e90c00010000000000000100";

/// Returns the examples in `PROTOCOL.md`.
fn examples() -> Vec<Vec<u8>> {
    let protocol = include_str!("../../../PROTOCOL.md");
    let blocks = protocol.split("```hex\n").skip(1);
    let byte = |digits| u8::from_str_radix(digits, 16).unwrap();
    blocks
        .map(|block| {
            let (digits, _) = block.split_once("```").unwrap();
            digits.split_whitespace().map(byte).collect()
        })
        .collect()
}

// [F1] [F3] [F4] [F5] [F6] [F7] [F8] [F9] [F10] [F11] [F12] [F13] [F14]
/// One frame of each kind has the bytes that `PROTOCOL.md` gives for it.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of all frames")]
fn every_frame_has_the_bytes_of_the_protocol() {
    let mut buffer = [0; 64];
    let (texts, 2) = Texts::collect(["hi", "//é"], &mut buffer) else {
        panic!()
    };
    let range = |(skip, run)| Range { skip, run };
    let posted = |outcome| {
        Frame::Posted(Posted {
            session: SESSION,
            number: 5,
            sent_at: 0x1234,
            outcome,
        })
    };
    let answered = |rest: &[u8]| joined(&[b"\x01A", SESSION_BYTES, b"\x00\x05\x12\x34", rest]);
    let with_lines = data(&[&entry(0, 3, "Ada : hi"), &entry(1, 0, "* Bob joined")]);
    let Ok(Frame::Data(two_lines)) = Frame::decode(&with_lines) else {
        panic!()
    };
    let hello_of = |cookie, resume, name| {
        Frame::Hello(Hello {
            abilities: 0,
            nonce: 0xFF,
            cookie,
            resume,
            name,
        })
    };
    let resume = Resume {
        session: SESSION,
        epoch: 0xE90C_0001,
        next: 0x100,
    };
    let cases = [
        (hello_of(None, None, "Ada"), hello("-", "-", "Ada")),
        (hello_of(None, None, "Ada L"), hello("-", "-", "Ada L")),
        (
            hello_of(Some(COOKIE), Some(resume), "é"),
            hello(FULL_COOKIE, FULL_RESUME, "é"),
        ),
        (
            Frame::Cookie(Cookie {
                version: "0.1.0",
                nonce: 0xFF,
                cookie: COOKIE,
                words: "00000000",
            }),
            cookie("0.1.0", " 00000000"),
        ),
        (
            Frame::Welcome(Welcome {
                nonce: 9,
                session: SESSION,
                epoch: 0xE90C_0001,
                author: 7,
                first: 3,
                head: 4,
                uptime_s: 86400,
                window: 32,
                keepalive_s: 15,
                name: "Ada",
                text: "* welcome Ada",
            }),
            welcome(3, 4, b"Ada", b"* welcome Ada"),
        ),
        (
            Frame::Refused(Refused {
                nonce: 9,
                reason: Reason::Full,
                retry_s: 60,
            }),
            b"\x01R\x00\x00\x00\x00\x00\x00\x00\x09\x01\x00\x3C".to_vec(),
        ),
        (
            Frame::Post(Post {
                session: SESSION,
                number: 5,
                sent_at: 0x1234,
                texts,
            }),
            post(b"\x00\x02hi\x00\x04//\xC3\xA9"),
        ),
        (
            posted(Outcome::Accepted {
                first: 0x0102_0304_0506_0708,
                lines: 3,
                texts: 2,
            }),
            answered(b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x03\x02"),
        ),
        (
            posted(Outcome::Refused {
                reason: Reason::NotUtf8,
                retry_ms: 500,
            }),
            answered(b"\x01\x03\x01\xF4"),
        ),
        (
            posted(Outcome::Answer("* 1 here: Ada")),
            answered(b"\x02* 1 here: Ada"),
        ),
        (Frame::Data(two_lines), with_lines.clone()),
        (
            Frame::Gap(Gap {
                session: SESSION,
                sent_at: 0x1234,
                from: 1,
                until: 0x100,
            }),
            gap(1, 0x100),
        ),
        (
            Frame::Ack(Ack {
                session: SESSION,
                echo: Some(0x1234),
                answer: true,
                next: 0x100,
                ranges: [(1, 2), (0xFFFF, 3)].map(range).into_iter().collect(),
            }),
            ack(3, 0x100, &[(1, 2), (0xFFFF, 3)]),
        ),
        (
            Frame::Leave(SESSION),
            joined(&[b"\x01L", SESSION_BYTES, b"\x00"]),
        ),
        (
            Frame::Bye(SESSION, Goodbye::TakenOver),
            joined(&[b"\x01B", SESSION_BYTES, b"\x03"]),
        ),
    ];
    for (frame, bytes) in &cases {
        assert_eq!(encoded(frame).as_ref(), Some(bytes), "{frame:?}");
        assert_eq!(Frame::decode(bytes).as_ref(), Ok(frame));
    }
    let examples = examples();
    let mut kinds = std::collections::HashSet::new();
    for (frame, bytes) in &cases {
        if examples.contains(bytes) {
            kinds.insert(discriminant(frame));
        }
    }
    assert_eq!(kinds.len(), 11, "an example of each kind");
    for example in examples {
        assert!(
            cases.iter().any(|(_, bytes)| *bytes == example),
            "{}",
            example.escape_ascii()
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of all frames")]
fn every_frame_has_its_shortest_and_its_longest_form() {
    let text = "x".repeat(DATAGRAM_MAX);
    let posted = |rest: &[u8]| joined(&[b"\x01A", SESSION_BYTES, b"\x00\x05\x12\x34", rest]);
    let entries = [
        entry(0, 1, &std::format!("a : {}", &text[..956])),
        entry(0, 0, &text[..24]),
    ];
    let texts = joined(&[&898_u16.to_be_bytes(), &text.as_bytes()[..TEXT_MAX]]);
    let short = hello("-", "-", "");
    for (shortest, longest, lengths) in [
        (
            short.clone(),
            joined(&[&short, &text.as_bytes()[..DATAGRAM_MAX - HELLO_MIN]]),
            (HELLO_MIN, DATAGRAM_MAX),
        ),
        (
            cookie("", ""),
            cookie(
                "10.11.12-rc.1",
                &std::format!(" 00000001 boat 12{}", &text[..41]),
            ),
            (57, COOKIE_MAX),
        ),
        (
            welcome(0, 0, b"a", b""),
            welcome(
                u64::MAX,
                u64::MAX,
                &[b'a'; NAME_MAX],
                &text.as_bytes()[..943],
            ),
            (50, DATAGRAM_MAX),
        ),
        (
            b"\x01R12345678\x01\x00\x00".to_vec(),
            b"\x01R12345678\xFF\xFF\xFF".to_vec(),
            (13, 13),
        ),
        (post(b"\x00\x00"), post(&texts), (16, 14 + TEXTS_MAX)),
        (
            post(b"\x00\x00"),
            post(&[0; TEXTS_MAX]),
            (16, 14 + TEXTS_MAX),
        ),
        (
            posted(&[0; 11]),
            posted(b"\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
            (25, 25),
        ),
        (posted(&[1, 0, 0, 0]), posted(&[1, 255, 255, 255]), (18, 18)),
        (
            posted(&[2]),
            posted(&joined(&[&[2], &text.as_bytes()[..1009]])),
            (15, DATAGRAM_MAX),
        ),
        (
            data(&[]),
            data(&[&entries[0], &entries[1]]),
            (DATA_HEADER, DATAGRAM_MAX),
        ),
        (
            gap(0, 1),
            gap(u64::MAX - 1, u64::MAX),
            (GAP_LENGTH, GAP_LENGTH),
        ),
        (
            ack(0, u64::MAX, &[]),
            ack(3, 0, &[(u16::MAX, u16::MAX); RANGES_MAX]),
            (21, 53),
        ),
        (
            joined(&[b"\x01L", SESSION_BYTES, b"\x00"]),
            joined(&[b"\x01L", SESSION_BYTES, b"\xFF"]), // reserved
            (11, 11),
        ),
        (
            joined(&[b"\x01B", SESSION_BYTES, b"\x00"]),
            joined(&[b"\x01B", SESSION_BYTES, b"\xFF"]),
            (BYE_LENGTH, BYE_LENGTH),
        ),
    ] {
        let kind = char::from(shortest[1]);
        assert_eq!((shortest.len(), longest.len()), lengths, "{kind}");
        assert!(is_sound(&shortest) && is_sound(&longest), "{kind}");
        for cut in 0..shortest.len() {
            assert!(!is_sound(&shortest[..cut]), "{kind} cut to {cut}");
        }
        for byte in [0, b' ', b'0', b'x', 0xFF] {
            assert!(!is_sound(&joined(&[&longest, &[byte]])), "{kind} {byte}");
        }
    }
}

// [F2]
#[test]
#[expect(clippy::too_many_lines, reason = "a table of all frames")]
fn what_a_frame_must_not_hold() {
    let long = "x".repeat(LINE_MAX + 1);
    let full = hello(FULL_COOKIE, FULL_RESUME, "");
    let spoilt = |at: usize, byte: u8| {
        let mut spoilt = full.clone();
        spoilt[at] = byte;
        spoilt
    };
    let name = [b'a'; NAME_MAX + 1];
    let ranges = [(1, 1); RANGES_MAX + 1];
    for (bytes, what) in [
        (b"\x01".to_vec(), "no kind"),
        (b"\x00B12345678\x01".to_vec(), "another first byte"),
        (b"\x01b12345678\x01".to_vec(), "another kind"),
        (spoilt(5, b'2'), "HELLO of another dialect"),
        (spoilt(7, b'g'), "HELLO without digits"),
        (spoilt(7, b' '), "HELLO with two spaces"),
        (spoilt(15, b'_'), "HELLO without a space"),
        (spoilt(127, 0xFF), "HELLO that is not UTF-8"),
        (hello("", "-", ""), "HELLO without a cookie"),
        (
            hello(&FULL_COOKIE[1..], "-", ""),
            "HELLO with a short cookie",
        ),
        (
            hello(FULL_COOKIE, &FULL_RESUME[1..], ""),
            "HELLO with a short resume",
        ),
        (
            hello("-", &std::format!("{FULL_RESUME}0"), ""),
            "HELLO with a long resume",
        ),
        (
            hello("-", "é551011a5ec0e71e90c00010000000000000100", ""),
            "HELLO with é",
        ),
        (cookie("0.1 0", ""), "COOKIE with a space"),
        (cookie("0.1.0", "0"), "COOKIE with 33 digits"),
        (cookie(&long[..72], ""), "COOKIE of 129 bytes"),
        (
            welcome(4, 3, b"a", b""),
            "WELCOME with its head before its first",
        ),
        (welcome(0, 0, b"", b""), "WELCOME without a name"),
        (welcome(0, 0, &name, b""), "WELCOME with a long name"),
        (
            welcome(0, 0, b"\xFF", b""),
            "WELCOME with a name that is not UTF-8",
        ),
        (
            welcome(0, 0, b"a", b"\xFF"),
            "WELCOME with a text that is not UTF-8",
        ),
        (
            welcome(0, 0, b"\xC3", b"\xA9"),
            "WELCOME cut within a character",
        ),
        (post(b""), "POST of nothing"),
        (post(b"\x00\x02a"), "POST with a cut text"),
        (post(b"\x00\x01ab"), "POST with a lone byte"),
        (
            post(&joined(&[b"\x03\x83", &[b'x'; 899]])),
            "POST of 901 bytes",
        ),
        (
            joined(&[b"\x01A", SESSION_BYTES, b"\x00\x05\x12\x34\x03"]),
            "POSTED of a fourth kind",
        ),
        (
            joined(&[b"\x01A", SESSION_BYTES, b"\x00\x05\x12\x34\x02\xFF"]),
            "answer that is not UTF-8",
        ),
        (gap(5, 5), "GAP of nothing"),
        (gap(6, 5), "GAP backwards"),
        (ack(0, 0, &ranges), "ACK with nine ranges"),
        (ack(0, 0, &[(0, 1)]), "ACK that skips nothing"),
        (ack(0, 0, &[(1, 0)]), "ACK of nothing"),
        (ack(0, u64::MAX - 2, &[(1, 2)]), "ACK after the last number"),
        (data(&[&entry(0, 0, &long)]), "long line"),
        (data(&[&entry(0, 4, "Ada : hi")]), "name that is too long"),
        (data(&[&entry(0, 9, "Ada : hi")]), "name behind the line"),
        (
            data(&[&entry(0, 1, "é : hi")]),
            "name cut within a character",
        ),
        (
            data(&[b"\x00\x09123456789"]),
            "entry that is shorter than its header",
        ),
        (data(&[&entry(0, 0, "ab")[..13]]), "cut line"),
        (
            data(&[&entry(0, 0, "\u{7F}")[..12], b"\xFF"]),
            "line that is not UTF-8",
        ),
        (data(&[b"\x00\x0A"]), "entry without a header"),
        (data(&[b"\x01"]), "entry with half a length"),
    ] {
        assert!(!is_sound(&bytes), "{what}");
    }
    assert!(is_sound(&full));
    assert!(
        is_sound(&ack(0, u64::MAX - 3, &[(1, 2)])),
        "the last number"
    );
}

// [F10]
#[test]
fn data_ends_with_its_bytes_or_with_an_empty_entry_and_then_anything_may_follow() {
    let line = entry(0, 3, "Ada : hi");
    let room = DATAGRAM_MAX - DATA_HEADER - line.len();
    let full = vec![0; room];
    let mut garbage = vec![0xFF; room];
    garbage[..2].fill(0);
    for padding in [&[][..], &[0], &[0, 0], b"\x00\x00\xFF", &full, &garbage] {
        let padded = data(&[&line, padding]);
        assert_eq!(lines(&padded), Some(vec!["Ada : hi"]), "{padding:?}");
        let Ok(Frame::Data(data)) = Frame::decode(&padded) else {
            panic!()
        };
        assert_eq!(data.bytes(), line);
        assert_eq!(
            lines(&joined(&[&data_header(0, 0, 0), padding])),
            Some(vec![])
        );
    }
    assert_eq!(lines(&data(&[&line, &full, &[0]])), None, "1025 bytes");
    assert_eq!(lines(&data(&[&line, &line])), Some(vec!["Ada : hi"; 2]));
    assert_eq!(
        lines(&data(&[&line, b"\x00\x00", &line])),
        Some(vec!["Ada : hi"])
    );
    // sequence numbers do not wrap
    for (first, is_sound) in [(u64::MAX - 1, true), (u64::MAX, false)] {
        let data = joined(&[&data_header(0, 0, first), &line]);
        assert_eq!(lines(&data).is_some(), is_sound, "{first}");
    }
}

// [F6] [F12] [F13] [F14]
#[test]
fn what_is_unknown_within_a_frame_is_passed_on_or_ignored() {
    for byte in 0..=u8::MAX {
        let bye = joined(&[b"\x01B", SESSION_BYTES, &[byte]]);
        let Ok(Frame::Bye(SESSION, why)) = Frame::decode(&bye) else {
            panic!()
        };
        assert_eq!(why == Goodbye::Other(byte), !(1..=5).contains(&byte));
        let refused = joined(&[b"\x01R12345678", &[byte, 0, 0]]);
        let Ok(Frame::Refused(Refused { reason, .. })) = Frame::decode(&refused) else {
            panic!()
        };
        let is_known = matches!(byte, 1..=8 | 10);
        assert_eq!(reason != Reason::Other(byte), is_known);
        let flagged = ack(byte, 1, &[]);
        let Ok(Frame::Ack(ack)) = Frame::decode(&flagged) else {
            panic!()
        };
        assert_eq!(ack.answer, byte & 1 > 0);
        assert_eq!(ack.echo, (byte & 2 > 0).then_some(0x1234));
        let bytes = data(&[&entry(byte, 0, "hi")]);
        let Ok(Frame::Data(data)) = Frame::decode(&bytes) else {
            panic!()
        };
        let kind = match byte {
            0 => LineKind::Message,
            1 => LineKind::Announcement,
            3 => LineKind::Private,
            _ => LineKind::Notice,
        };
        assert_eq!(data.entries().next().unwrap().kind, kind);
    }
}

#[test]
fn a_hello_of_another_version_of_the_dialect_is_known_by_its_nonce() {
    let ours = hello(FULL_COOKIE, "-", "Ada");
    let of = |version: &str| {
        let text = std::string::String::from_utf8(ours.clone()).unwrap();
        text.replacen("KC1", version, 1).into_bytes()
    };
    for (bytes, nonce) in [
        (of("KC2"), Some(0xFF)),
        (of("KC10"), Some(0xFF)),
        (joined(&[b"\x01H KC2 ", &[b'?'; 121]]), Some(0)),
        (joined(&[b"\x01H KC2 a b ", &[0xFF; 117]]), Some(0)),
        (ours.clone(), None),
        (of("KC"), None),
        (of("KCx"), None),
        (of("KD2"), None),
        (of("KC2")[..127].to_vec(), None),
        (joined(&[b"\x01C KC2 ", &[b' '; 121]]), None),
    ] {
        assert_eq!(
            Hello::foreign_nonce(&bytes),
            nonce,
            "{}",
            bytes.escape_ascii()
        );
        assert!(bytes == ours || !is_sound(&bytes));
    }
}

/// The Python program takes a HELLO for a name, and relays it as text.
#[test]
fn an_old_server_survives_a_hello() {
    for (cookie, resume, length) in [("-", "-", 128), (FULL_COOKIE, FULL_RESUME, 139)] {
        let hello = hello(cookie, resume, "a name that has thirty-two bytes");
        assert!(is_sound(&hello));
        assert_eq!(hello.len(), length);
        assert!(hello[1..].iter().all(|byte| (b' '..=b'~').contains(byte)));
    }
}

#[test]
fn no_answer_without_a_session_is_longer_than_what_it_answers() {
    const { assert!(COOKIE_MAX <= HELLO_MIN) };
    let [leave, post, ack] = [
        encoded(&Frame::Leave(SESSION)).unwrap(),
        post(b"\x00\x00"),
        ack(0, 0, &[]),
    ];
    for question in [leave, post, ack] {
        assert!(is_sound(&question));
        assert!(BYE_LENGTH <= question.len());
    }
}

#[test]
fn texts_are_collected_as_far_as_they_fit() {
    let long = "x".repeat(TEXT_MAX);
    let longer = "x".repeat(TEXT_MAX + 1);
    let mut buffer = [0; 2 * TEXTS_MAX];
    for (room, texts, count) in [
        (buffer.len(), vec!["", &long[4..], "a"], 2),
        (buffer.len(), vec!["", &long[2..], "a"], 2),
        (buffer.len(), vec![&long[..], ""], 1),
        (buffer.len(), vec![&longer[..], "a"], 0),
        (buffer.len(), vec!["a", &longer[..], "b"], 1),
        (4, vec!["ab", "c"], 1),
        (3, vec!["ab"], 0),
        (0, vec![""], 0),
    ] {
        let (collected, taken) = Texts::collect(texts.iter().copied(), &mut buffer[..room]);
        assert_eq!(taken, count, "{texts:?}");
        let expected: Vec<_> = texts[..count].iter().map(|text| text.as_bytes()).collect();
        assert_eq!(collected.iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_does_not_fit_is_not_written() {
    let bye = Frame::Bye(SESSION, Goodbye::Left);
    for room in 0..BYE_LENGTH {
        assert_eq!(bye.encode(&mut [0; BYE_LENGTH][..room]), None);
    }
    let mut buffer = [0; 2 * DATAGRAM_MAX];
    let text = "x".repeat(DATAGRAM_MAX);
    let answer = |text| {
        let [number, sent_at] = [0; 2];
        let outcome = Outcome::Answer(text);
        Frame::Posted(Posted {
            session: SESSION,
            number,
            sent_at,
            outcome,
        })
    };
    assert_eq!(
        answer(&text[..1009]).encode(&mut buffer),
        Some(DATAGRAM_MAX)
    );
    assert_eq!(answer(&text[..1010]).encode(&mut buffer), None);
}

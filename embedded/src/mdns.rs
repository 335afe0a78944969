//! The answer to the question where `NAME.local` is (RFC 6762), for one name.
//!
//! It asks nobody whether the name is free, and announces nothing.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heapless::Vec;

pub(crate) const PORT: u16 = 5353;
pub(crate) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
pub(crate) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// The groups' hardware addresses (RFC 1112 section 6.4, RFC 2464 section 7).
pub(crate) const HARDWARE_V4: [u8; 6] = [0x01, 0x00, 0x5e, 0, 0, 0xfb];
pub(crate) const HARDWARE_V6: [u8; 6] = [0x33, 0x33, 0, 0, 0, 0xfb];

/// The most bytes of an answer: header, question, two names' worth of records.
pub(crate) const ANSWER_MAX: usize = 256;

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;
const ANY: u16 = 255;
const INTERNET: u16 = 1;
/// In a question's class: answer to me alone. In a record's: this is all there is.
const TOP_BIT: u16 = 0x8000;
const RESPONSE: u8 = 0x80;

/// What is asked of us, of all the questions in a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    v4: bool,
    v6: bool,
    /// The asker wants the answer sent to it alone.
    pub(crate) is_unicast: bool,
}

/// What `query` asks about `name`, none if nothing.
pub(crate) fn question(query: &[u8], name: &str) -> Option<Question> {
    let [_, _, flags, _, high, low, ..] = *query.first_chunk::<HEADER>()?;
    if flags & RESPONSE != 0 {
        return None;
    }
    let mut asked = Question::default();
    let mut at = HEADER;
    for _ in 0..u16::from_be_bytes([high, low]) {
        let (is_ours, end) = compare(query, at, name)?;
        let (kind, class) = (number(query, end)?, number(query, end + 2)?);
        at = end + 4;
        if is_ours && matches!(class & !TOP_BIT, INTERNET | ANY) {
            asked.v4 |= matches!(kind, A | ANY);
            asked.v6 |= matches!(kind, AAAA | ANY);
            asked.is_unicast |= class & TOP_BIT != 0;
        }
    }
    (asked.v4 || asked.v6).then_some(asked)
}

/// The answer to `asked`, none if no address is of a kind that was asked for.
///
/// Whoever asks from another port than [`PORT`] knows nothing of RFC 6762 (section 6.7) and gets
/// what an ordinary name server would send: `legacy` is the number of its query.
pub(crate) fn answer(
    asked: Question,
    legacy: Option<u16>,
    name: &str,
    addresses: impl Iterator<Item = IpAddr>,
) -> Option<Vec<u8, ANSWER_MAX>> {
    let mut answer = Vec::new();
    let id = legacy.unwrap_or_default().to_be_bytes();
    let questions = u8::from(legacy.is_some());
    // a response of the authority, and how many of each section follow
    let header = [id[0], id[1], 0x84, 0, 0, questions, 0, 0, 0, 0, 0, 0];
    answer.extend_from_slice(&header).ok()?;
    if legacy.is_some() {
        push_name(&mut answer, name)?;
        let kind = if asked.v4 { A } else { AAAA };
        push(&mut answer, &[kind, INTERNET])?;
    }
    let (class, seconds) = match legacy {
        Some(_) => (INTERNET, 10),
        None => (INTERNET | TOP_BIT, 120),
    };
    let mut records = 0_u8;
    for address in addresses {
        let (kind, length) = match address {
            IpAddr::V4(_) if asked.v4 => (A, 4),
            IpAddr::V6(_) if asked.v6 => (AAAA, 16),
            IpAddr::V4(_) | IpAddr::V6(_) => continue,
        };
        if answer.len() == HEADER {
            push_name(&mut answer, name)?;
        } else {
            // the same name as the one behind the header
            push(&mut answer, &[0xc000 | 12])?;
        }
        push(&mut answer, &[kind, class, 0, seconds, length])?;
        match address {
            IpAddr::V4(ip) => answer.extend_from_slice(&ip.octets()).ok()?,
            IpAddr::V6(ip) => answer.extend_from_slice(&ip.octets()).ok()?,
        }
        records += 1;
    }
    *answer.get_mut(7)? = records;
    (records > 0).then_some(answer)
}

/// Whether the name at `at` is `name.local`, and where it ends.
fn compare(message: &[u8], mut at: usize, name: &str) -> Option<(bool, usize)> {
    let mut expected = [name, "local"].into_iter();
    let (mut is_equal, mut end) = (true, None);
    // the most labels that a name has; the bound ends pointers that go round
    for _ in 0..128 {
        let length = *message.get(at)?;
        match length {
            0 => {
                let is_whole = expected.next().is_none();
                return Some((is_equal && is_whole, end.unwrap_or(at + 1)));
            }
            0xc0.. => {
                end = end.or(Some(at + 2));
                at = usize::from(number(message, at)? & 0x3fff);
            }
            _ => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                let wanted = expected.next();
                is_equal &= wanted.is_some_and(|text| text.as_bytes().eq_ignore_ascii_case(label));
                at += 1 + usize::from(length);
            }
        }
    }
    None
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    message
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

fn push(message: &mut Vec<u8, ANSWER_MAX>, numbers: &[u16]) -> Option<()> {
    for number in numbers {
        message.extend_from_slice(&number.to_be_bytes()).ok()?;
    }
    Some(())
}

fn push_name(message: &mut Vec<u8, ANSWER_MAX>, name: &str) -> Option<()> {
    for label in [name, "local"] {
        message.push(u8::try_from(label.len()).ok()?).ok()?;
        message.extend_from_slice(label.as_bytes()).ok()?;
    }
    message.push(0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [&str; 3] = ["192.0.2.7", "fe80::1", "2001:db8::1"];

    fn query(questions: &[(&[u8], u16, u16)]) -> std::vec::Vec<u8> {
        let mut query = std::vec![0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (name, kind, class) in questions {
            query[5] += 1;
            query.extend_from_slice(name);
            query.extend_from_slice(&kind.to_be_bytes());
            query.extend_from_slice(&class.to_be_bytes());
        }
        query
    }

    fn addresses() -> impl Iterator<Item = IpAddr> {
        ADDRESSES.iter().map(|ip| ip.parse().unwrap())
    }

    #[test]
    fn one_name_is_answered_for() {
        let ours = b"\x08KiloChat\x05local\0";
        let asked = |v4, v6, is_unicast| Some(Question { v4, v6, is_unicast });
        for (questions, expected) in [
            (&[(&ours[..], A, 1)][..], asked(true, false, false)),
            (&[(ours, AAAA, 0x8001)], asked(false, true, true)),
            (&[(ours, ANY, 1)], asked(true, true, false)),
            (
                &[(b"\x04some\x05local\0", A, 1), (ours, A, 255)],
                asked(true, false, false),
            ),
            (
                &[(ours, A, 1), (b"\xc0\x0c", AAAA, 1)],
                asked(true, true, false),
            ),
            (&[(ours, 12, 1)], None),
            (&[(ours, A, 3)], None),
            (&[(b"\x08kilochat\0", A, 1)], None),
            (&[(b"\x01a\x08kilochat\x05local\0", A, 1)], None),
            (&[(b"\x08kilochat\x05local\x01a\0", A, 1)], None),
            (&[(b"\x09kilochats\x05local\0", A, 1)], None),
            (&[(b"\xc0\x0c", A, 1)], None),
            (&[(b"", A, 1)], None),
        ] {
            assert_eq!(
                question(&query(questions), "kilochat"),
                expected,
                "{questions:?}"
            );
        }
        let mut response = query(&[(ours, A, 1)]);
        response[2] = 0x84;
        assert_eq!(question(&response, "kilochat"), None);
    }

    #[test]
    fn an_answer_has_the_addresses_that_were_asked_for() {
        let both = Question {
            v4: true,
            v6: true,
            is_unicast: false,
        };
        let all = answer(both, None, "a", addresses()).unwrap();
        let expected = [
            &b"\0\0\x84\0\0\0\0\x03\0\0\0\0\x01a\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04"[..],
            &[192, 0, 2, 7],
            b"\xc0\x0c\0\x1c\x80\x01\0\0\0\x78\0\x10",
            b"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
            b"\xc0\x0c\0\x1c\x80\x01\0\0\0\x78\0\x10",
            b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        ];
        assert_eq!(all[..], expected.concat()[..]);
        let one = Question { v6: false, ..both };
        let legacy = answer(one, Some(0x1234), "a", addresses()).unwrap();
        let expected = [
            &b"\x12\x34\x84\0\0\x01\0\x01\0\0\0\0\x01a\x05local\0\0\x01\0\x01"[..],
            b"\xc0\x0c\0\x01\0\x01\0\0\0\x0a\0\x04",
            &[192, 0, 2, 7],
        ];
        assert_eq!(legacy[..], expected.concat()[..]);
        assert_eq!(answer(one, None, "a", addresses().skip(1)), None);
    }

    #[test]
    fn no_query_is_too_strange() {
        let mut random = fastrand::Rng::with_seed(5);
        let good = query(&[(b"\x08kilochat\x05local\0", A, 1), (b"\xc0\x0c", AAAA, 1)]);
        for _ in 0..100_000 {
            let mut query = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..query.len());
                query[at] = random.u8(..);
            }
            query.truncate(random.usize(..=query.len()));
            let _ = question(&query, "kilochat");
        }
    }
}

//! A minimal mDNS responder (RFC 6762) for the addresses of one name.
//!
//! It neither probes whether the name is free nor announces it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use heapless::{String, Vec};
use kilochat_core::Instant;

use crate::config::NAME_MAX;

pub(crate) const PORT: u16 = 5353;
pub(crate) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
pub(crate) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// The multicast groups' hardware addresses (RFC 1112 section 6.4, RFC 2464 section 7).
pub(crate) const HARDWARE_V4: [u8; 6] = [0x01, 0x00, 0x5e, 0, 0, 0xfb];
pub(crate) const HARDWARE_V6: [u8; 6] = [0x33, 0x33, 0, 0, 0, 0xfb];

/// Maximum length of a response in bytes: header, question, the records of two names.
const ANSWER_MAX: usize = 256;

/// Minimum time between two multicasts of a record (section 6).
const INTERVAL: Duration = Duration::from_secs(1);

/// Time to live of a record in seconds (section 10), and of a record for a legacy resolver (section
/// 6.7).
const TTL_S: u16 = 120;
const LEGACY_TTL_S: u16 = 10;

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;
const ANY: u16 = 255;
const INTERNET: u16 = 1;
/// In a question's class: a unicast response is requested. In a record's class: the record replaces
/// all cached ones (cache flush).
const TOP_BIT: u16 = 0x8000;
/// In a name: the rest is at the offset in the lower bits.
const POINTER: u16 = 0xc000;
/// Bits of the flags that are zero in a standard query: the response bit and the opcode.
const NO_QUERY: u8 = 0xf8;

/// The responder.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    name: String<NAME_MAX>,
    /// Times before which records are not multicast again: to the IPv4 group those of IPv4 and of
    /// IPv6 addresses, then likewise to the IPv6 group, which counts as another network (section
    /// 20).
    quiet_until: [[Instant; 2]; 2],
}

/// A response, and whether it is unicast or goes to the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) payload: Vec<u8, ANSWER_MAX>,
    pub(crate) is_unicast: bool,
}

/// What all questions of a query together ask about the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    v4: bool,
    v6: bool,
    /// Whether every question requests a unicast response.
    is_unicast: bool,
    /// Offset of the name in the query.
    name: usize,
    /// Offset of the end of the questions, after which the known answers begin.
    end: usize,
}

impl Responder {
    pub(crate) fn new(name: String<NAME_MAX>) -> Self {
        Self {
            name,
            quiet_until: Default::default(),
        }
    }

    /// Returns the response to a query from `source`, with those of `addresses` that were asked
    /// for.
    ///
    /// Returns `None` if there is no record to send, or if it was multicast within the last second.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        query: &[u8],
        source: SocketAddr,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Option<Answer> {
        let mut asked = asked(query, &self.name)?;
        // A query from another port is from a legacy resolver (section 6.7), whose response is that
        // of a unicast name server: with the id and the questions of its query.
        let is_legacy = source.port() != PORT;
        let is_unicast = asked.is_unicast || is_legacy;
        let (start, class, ttl_s, name) = if is_legacy {
            (query.get(..asked.end)?, INTERNET, LEGACY_TTL_S, asked.name)
        } else {
            (&[0; HEADER][..], INTERNET | TOP_BIT, TTL_S, HEADER)
        };
        let name = POINTER | u16::try_from(name).ok()?;
        let mut payload = Vec::<u8, ANSWER_MAX>::from_slice(start).ok()?;
        let [v4, v6] = self.quiet_until.get_mut(usize::from(source.is_ipv6()))?;
        if !is_unicast {
            asked.v4 &= now >= *v4;
            asked.v6 &= now >= *v6;
        }
        let mut records = 0;
        for address in addresses {
            let (is_asked, kind, quiet_until) = match address {
                IpAddr::V4(_) => (asked.v4, A, &mut *v4),
                IpAddr::V6(_) => (asked.v6, AAAA, &mut *v6),
            };
            let data = data(address);
            let is_known = || is_known(query, asked.end, &self.name, kind, &data) == Some(true);
            if !is_asked || !is_legacy && is_known() {
                continue;
            }
            if !is_unicast {
                *quiet_until = now.after(INTERVAL);
            }
            if payload.len() == HEADER {
                push_name(&mut payload, &self.name)?;
            } else {
                push(&mut payload, &[name])?;
            }
            let length = u16::try_from(data.len()).ok()?;
            push(&mut payload, &[kind, class, 0, ttl_s, length])?;
            payload.extend_from_slice(&data).ok()?;
            records += 1;
        }
        // an authoritative response, and the numbers of records in each section
        payload.get_mut(2..4)?.copy_from_slice(&[0x84, 0]);
        payload
            .get_mut(6..HEADER)?
            .copy_from_slice(&[0, records, 0, 0, 0, 0]);
        (records > 0).then_some(Answer {
            payload,
            is_unicast,
        })
    }
}

/// Returns what `query` asks about `name`, or `None` if nothing.
fn asked(query: &[u8], name: &str) -> Option<Asked> {
    let [_, _, flags, _, high, low, ..] = *query.first_chunk::<HEADER>()?;
    if flags & NO_QUERY != 0 {
        return None;
    }
    let mut asked = Asked {
        v4: false,
        v6: false,
        is_unicast: true,
        name: 0,
        end: HEADER,
    };
    for _ in 0..u16::from_be_bytes([high, low]) {
        let at = asked.end;
        let (is_ours, end) = compare(query, at, name)?;
        let (kind, class) = (number(query, end)?, number(query, end + 2)?);
        asked.end = end + 4;
        if is_ours && matches!(class & !TOP_BIT, INTERNET | ANY) && matches!(kind, A | AAAA | ANY) {
            asked.v4 |= kind != AAAA;
            asked.v6 |= kind != A;
            asked.is_unicast &= class & TOP_BIT != 0;
            asked.name = at;
        }
    }
    (asked.v4 || asked.v6).then_some(asked)
}

/// Returns whether the known answers from `at` on contain this record of `name` with at least half
/// of its time to live (section 7.1).
fn is_known(query: &[u8], mut at: usize, name: &str, kind: u16, data: &[u8]) -> Option<bool> {
    for _ in 0..number(query, 6)? {
        let (is_ours, end) = compare(query, at, name)?;
        let (record, rest) = query.get(end..)?.split_first_chunk::<10>()?;
        let [k, ind, _, class, t, t1, t2, seconds, high, low] = *record;
        let length = u16::from_be_bytes([high, low]).into();
        let known = rest.get(..length)?;
        let is_fresh = [t, t1, t2] != [0; 3] || u16::from(seconds) >= TTL_S / 2;
        let is_this = u16::from_be_bytes([k, ind]) == kind && class == 1 && known == data;
        if is_ours && is_this && is_fresh {
            return Some(true);
        }
        at = end + record.len() + length;
    }
    Some(false)
}

/// Returns the data of an address record.
fn data(address: IpAddr) -> Vec<u8, 16> {
    match address {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}

/// Returns whether the name at `at` is `name.local`, and where it ends.
fn compare(message: &[u8], mut at: usize, name: &str) -> Option<(bool, usize)> {
    let mut expected = [name, "local"].into_iter();
    let (mut is_equal, mut end) = (true, None);
    // the maximum number of labels in a name; the limit ends loops of pointers
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
    const OURS: &[u8] = b"\x08KiloChat\x05local\0";

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

    /// Returns a query for all addresses, with `records` as known answers.
    fn knowing(records: &[&[u8]]) -> std::vec::Vec<u8> {
        let mut query = query(&[(OURS, ANY, INTERNET)]);
        for record in records {
            query[7] += 1;
            query.extend_from_slice(b"\xc0\x0c");
            query.extend_from_slice(record);
        }
        query
    }

    /// Returns the response to a resolver at `port`, a second after the last one.
    fn ask(query: &[u8], port: u16) -> Option<Answer> {
        let mut responder = Responder::new("kilochat".try_into().unwrap());
        let source = ([192, 0, 2, 9], port).into();
        responder.answer(Instant::default(), query, source, addresses())
    }

    fn addresses() -> impl Iterator<Item = IpAddr> {
        ADDRESSES.iter().map(|ip| ip.parse().unwrap())
    }

    #[test]
    fn one_name_is_answered_for() {
        let flags = |asked: Asked| (asked.v4, asked.v6, asked.is_unicast);
        for (questions, expected) in [
            (&[(OURS, A, 1)][..], Some((true, false, false))),
            (&[(OURS, AAAA, 0x8001)], Some((false, true, true))),
            (&[(OURS, ANY, 1)], Some((true, true, false))),
            (
                &[(b"\x04some\x05local\0", A, 1), (OURS, A, 255)],
                Some((true, false, false)),
            ),
            (
                &[(OURS, A, 1), (b"\xc0\x0c", AAAA, 1)],
                Some((true, true, false)),
            ),
            // if one question allows multicast, the response is multicast
            (
                &[(OURS, A, 0x8001), (b"\xc0\x0c", AAAA, 1)],
                Some((true, true, false)),
            ),
            (&[(OURS, 12, 1)], None),
            (&[(OURS, A, 3)], None),
            (&[(b"\x08kilochat\0", A, 1)], None),
            (&[(b"\x01a\x08kilochat\x05local\0", A, 1)], None),
            (&[(b"\x08kilochat\x05local\x01a\0", A, 1)], None),
            (&[(b"\x09kilochats\x05local\0", A, 1)], None),
            (&[(b"\xc0\x0c", A, 1)], None),
            (&[(b"", A, 1)], None),
        ] {
            assert_eq!(
                asked(&query(questions), "kilochat").map(flags),
                expected,
                "{questions:?}"
            );
        }
        // a response, and the opcode for updates
        for flags in [0x84, 0x28] {
            let mut other = query(&[(OURS, A, 1)]);
            other[2] = flags;
            assert_eq!(asked(&other, "kilochat"), None);
        }
    }

    #[test]
    fn an_answer_has_the_addresses_that_were_asked_for() {
        let all = ask(&query(&[(OURS, ANY, 1)]), PORT).unwrap();
        let expected = [
            &b"\0\0\x84\0\0\0\0\x03\0\0\0\0\x08kilochat\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04"[..],
            &[192, 0, 2, 7],
            b"\xc0\x0c\0\x1c\x80\x01\0\0\0\x78\0\x10",
            b"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
            b"\xc0\x0c\0\x1c\x80\x01\0\0\0\x78\0\x10",
            b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        ];
        assert_eq!(all.payload[..], expected.concat()[..]);
        assert!(!all.is_unicast);
        let mut responder = Responder::new("kilochat".try_into().unwrap());
        let source = ([192, 0, 2, 9], PORT).into();
        let question = query(&[(OURS, A, 1)]);
        let none = responder.answer(Instant::default(), &question, source, addresses().skip(1));
        assert_eq!(none, None);
    }

    /// The question is repeated exactly as it was asked (RFC 6762 section 6.7).
    #[test]
    fn a_legacy_asker_reads_its_own_question() {
        let v4 = [&b"\0\x01\0\x01\0\0\0\x0a\0\x04"[..], &[192, 0, 2, 7]].concat();
        for (kind, class, records) in [(A, 1, 1), (AAAA, 1, 2), (ANY, 1, 3), (ANY, 255, 3)] {
            let question = query(&[(OURS, kind, class)]);
            let answer = ask(&question, 40_000).unwrap();
            assert!(answer.is_unicast);
            let header = [0x12, 0x34, 0x84, 0, 0, 1, 0, records, 0, 0, 0, 0];
            let expected = [&header[..], &question[12..], b"\xc0\x0c"].concat();
            assert!(answer.payload.starts_with(&expected), "{kind}: {answer:?}");
            if kind != AAAA {
                assert!(answer.payload[expected.len()..].starts_with(&v4));
            }
        }
        // a legacy resolver has no known answers; what looks like one is ignored
        let mut question =
            knowing(&[&[b"\0\x01\0\x01\0\0\0\x78\0\x04", &[192, 0, 2, 7][..]].concat()]);
        question[7] = 0;
        assert_eq!(ask(&question, 40_000).unwrap().payload[7], 3);
    }

    /// RFC 6762 section 7.1.
    #[test]
    fn what_the_asker_knows_is_not_said() {
        let v4 = |class: u16, ttl_s: u32, last: u8| {
            let mut record = A.to_be_bytes().to_vec();
            record.extend_from_slice(&class.to_be_bytes());
            record.extend_from_slice(&ttl_s.to_be_bytes());
            record.extend_from_slice(&[0, 4, 192, 0, 2, last]);
            record
        };
        let v6 = b"\0\x1c\0\x01\0\0\0\x78\0\x10\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        let text = b"\0\x10\0\x01\0\0\x11\x94\0\x04\xc0\0\x02\x07";
        for (records, expected) in [
            (&[&v4(1, 120, 7)[..]][..], 2),
            (&[&v4(1, 60, 7)], 2),
            (&[&v4(1, 4500, 7)], 2),
            // a short time to live, another address, another type of record
            (&[&v4(1, 59, 7)], 3),
            (&[&v4(1, 120, 8)], 3),
            (&[&v4(3, 120, 7)], 3),
            (&[text], 3),
            (&[text, &v4(1, 120, 7)], 2),
            (&[v6, &v4(1, 120, 7)], 1),
            (&[&v6[..v6.len() - 1]], 3),
        ] {
            let answer = ask(&knowing(records), PORT).unwrap();
            assert_eq!(answer.payload[7], expected, "{records:?}");
        }
        // a record of another name
        let mut other = query(&[(OURS, A, INTERNET)]);
        other[7] = 1;
        other.extend_from_slice(b"\x01a\x05local\0");
        other.extend_from_slice(&v4(1, 120, 7));
        assert!(ask(&other, PORT).is_some());
        let mut ours = query(&[(OURS, A, INTERNET)]);
        ours[7] = 1;
        ours.extend_from_slice(b"\xc0\x0c");
        ours.extend_from_slice(&v4(1, 120, 7));
        assert_eq!(ask(&ours, PORT), None);
    }

    /// RFC 6762 section 6.
    #[test]
    fn each_kind_of_record_is_multicast_once_a_second_to_each_group() {
        let mut responder = Responder::new("kilochat".try_into().unwrap());
        let mut ask = |now_ms, kind, class, source: &str| {
            let source = source.parse().unwrap();
            let query = query(&[(OURS, kind, class)]);
            let answer =
                responder.answer(Instant::from_millis(now_ms), &query, source, addresses());
            answer.map_or(0, |answer| answer.payload[7])
        };
        let (v4, v6) = ("192.0.2.9:5353", "[fe80::9]:5353");
        for (now_ms, kind, class, source, records) in [
            (5000, A, 1, v4, 1),
            (5000, A, 1, v4, 0),
            (5100, AAAA, 1, v4, 2),
            (5100, A, 1, v6, 1),
            (5200, ANY, 1, v6, 2),
            (5999, A, 1, v4, 0),
            (6000, ANY, 1, v4, 1),
            (6000, A, 0x8001, v4, 1),
            (6050, A, 1, "192.0.2.9:40000", 1),
            (6100, ANY, 1, v4, 2),
            (7000, ANY, 1, v4, 1),
        ] {
            assert_eq!(ask(now_ms, kind, class, source), records, "{now_ms} {kind}");
        }
    }

    #[test]
    fn no_query_is_too_strange() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut good = query(&[(OURS, A, 1), (b"\xc0\x0c", AAAA, 1)]);
        good[7] = 1;
        good.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x78\0\x04\xc0\0\x02\x07");
        for _ in 0..100_000 {
            let mut query = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..query.len());
                query[at] = random.u8(..);
            }
            query.truncate(random.usize(..=query.len()));
            let _ = ask(&query, [PORT, 40_000][random.usize(..2)]);
        }
    }
}

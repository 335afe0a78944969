//! The responder without a network.

#[cfg(feature = "probe")]
mod claims;

use super::message::{A, AAAA, ANY, Asked};
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
    let (mut responder, now) = settled();
    let source = ([192, 0, 2, 9], port).into();
    responder.handle(now, query, source, &networks(&ADDRESSES))
}

fn networks(addresses: &[&str]) -> std::vec::Vec<Network> {
    let network = |address: &&str| Network {
        address: address.parse().unwrap(),
        prefix: 24,
    };
    addresses.iter().map(network).collect()
}

/// Returns a node's configuration with this name.
fn named(name: &str) -> Config {
    let mut config = Config::new([2, 0, 0, 0, 0, 1], [0; 16]);
    config.name = name.try_into().unwrap();
    config
}

/// Returns a responder to which the name belongs, and the time.
fn settled() -> (Responder, Instant) {
    let mut now = Instant::default();
    let mut responder = Responder::new(&named("kilochat"), now);
    #[cfg(feature = "probe")]
    while let Some(then) = responder.poll_timeout() {
        now = then;
        responder.poll(now, &networks(&ADDRESSES)).unwrap();
    }
    (responder, now)
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
        (&[(OURS, 12, 1)], Some((false, false, true))),
        (&[(OURS, A, 3)], Some((false, false, true))),
        (&[(b"\x08kilochat\0", A, 1)], Some((false, false, true))),
        (
            &[(b"\x01a\x08kilochat\x05local\0", A, 1)],
            Some((false, false, true)),
        ),
        (
            &[(b"\x08kilochat\x05local\x01a\0", A, 1)],
            Some((false, false, true)),
        ),
        (
            &[(b"\x09kilochats\x05local\0", A, 1)],
            Some((false, false, true)),
        ),
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
        assert_eq!(ask(&other, PORT), None);
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
    let (mut responder, now) = settled();
    let source = ([192, 0, 2, 9], PORT).into();
    let question = query(&[(OURS, A, 1)]);
    let none = responder.handle(now, &question, source, &networks(&ADDRESSES[1..]));
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
    let mut question = knowing(&[&[b"\0\x01\0\x01\0\0\0\x78\0\x04", &[192, 0, 2, 7][..]].concat()]);
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
    let (mut responder, _) = settled();
    let mut ask = |now_ms, kind, class, source: &str| {
        let source = source.parse().unwrap();
        let query = query(&[(OURS, kind, class)]);
        let now = Instant::from_millis(now_ms);
        let answer = responder.handle(now, &query, source, &networks(&ADDRESSES));
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
    let (mut responder, mut now) = settled();
    let own = networks(&ADDRESSES);
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
        let port = [PORT, 40_000][random.usize(..2)];
        let source = ([192, 0, 2, 9], port).into();
        let _ = responder.handle(now, &query, source, &own);
        now = now.after(Duration::from_millis(random.u64(..200)));
        let _ = responder.poll(now, &own);
    }
}

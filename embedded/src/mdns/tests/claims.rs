//! Several nodes that want one name (RFC 6762 sections 8 and 9).

use super::*;

const ASKER: &str = "192.0.2.9:5353";

fn source() -> SocketAddr {
    ASKER.parse().unwrap()
}

/// Returns an announcement of a record of kilochat.local, or of its end.
fn record(kind: u16, ttl_s: u8, data: &[u8]) -> std::vec::Vec<u8> {
    let mut message = b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x08KILOCHAT\x05local\0".to_vec();
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0x80, 1, 0, 0, 0, ttl_s, 0]);
    message.push(u8::try_from(data.len()).unwrap());
    message.extend_from_slice(data);
    message
}

#[test]
fn a_name_is_probed_three_times_and_announced_twice() {
    let own = networks(&ADDRESSES[..2]);
    let mut config = named("kilochat");
    config.seed = 7 * 250 + 123;
    let mut responder = Responder::new(&config, Instant::from_millis(1000));
    let records = |class: &[u8]| {
        let v4 = [b"\0\x01", class, b"\0\0\0\x78\0\x04\xc0\0\x02\x07"].concat();
        let v6 = [
            b"\0\x1c",
            class,
            b"\0\0\0\x78\0\x10\xfe\x80",
            &[0; 13],
            b"\x01",
        ]
        .concat();
        (v4, v6)
    };
    let (v4, v6) = records(b"\0\x01");
    let probe = [
        b"\0\0\0\0\0\x01\0\0\0\x02\0\0",
        &b"\x08kilochat\x05local\0\0\xff\x80\x01"[..],
        b"\xc0\x0c",
        &v4,
        b"\xc0\x0c",
        &v6,
    ];
    let (v4, v6) = records(b"\x80\x01");
    let announcement = [
        &b"\0\0\x84\0\0\0\0\x02\0\0\0\0\x08kilochat\x05local\0"[..],
        &v4,
        b"\xc0\x0c",
        &v6,
    ];
    for (at_ms, expected) in [
        (1123, &probe[..]),
        (1373, &probe),
        (1623, &probe),
        (1873, &announcement),
        (2873, &announcement),
    ] {
        let now = Instant::from_millis(at_ms);
        assert_eq!(responder.poll_timeout(), Some(now));
        assert_eq!(responder.poll(Instant::from_millis(at_ms - 1), &own), None);
        let question = query(&[(OURS, ANY, 1)]);
        let answer = responder.handle(now, &question, source(), &own);
        assert_eq!(answer.is_some(), at_ms > 2000, "{at_ms}");
        let message = responder.poll(now, &own).unwrap();
        assert_eq!(message[..], expected.concat()[..], "{at_ms}");
    }
    assert_eq!(responder.poll_timeout(), None);
    // with another address it starts again
    responder.restart();
    let now = responder.poll_timeout().unwrap();
    let message = responder.poll(now, &networks(&ADDRESSES)).unwrap();
    assert_eq!(message[..10], *b"\0\0\0\0\0\x01\0\0\0\x03");
}

#[test]
fn without_a_name_or_an_address_nothing_is_sent() {
    let now = Instant::default();
    let mut nameless = Responder::new(&named(""), now);
    nameless.restart();
    assert_eq!(nameless.poll_timeout(), None);
    let mut config = named("kilochat");
    config.port = PORT;
    assert_eq!(Responder::new(&config, now).poll_timeout(), None);
    let mut responder = Responder::new(&named("kilochat"), now);
    assert_eq!(responder.poll(now, &[]), None);
    assert!(responder.poll_timeout() > Some(now));
    let message = responder.poll(Instant::from_millis(250), &networks(&ADDRESSES));
    assert_eq!(message.unwrap()[5], 1, "a probe");
}

#[test]
fn one_that_probes_for_a_name_is_told_that_it_is_taken() {
    let (mut responder, now) = settled();
    let other = networks(&["192.0.2.8"]);
    let mut prober = Responder::new(&named("Kilochat"), now);
    let probe = prober.poll(now, &other).unwrap();
    // twice: it is not limited
    for _ in 0..2 {
        let answer = responder.handle(now, &probe, source(), &networks(&ADDRESSES));
        let answer = answer.unwrap();
        assert!(answer.is_unicast);
        let none = prober.handle(now, &answer.payload, source(), &other);
        assert_eq!(none, None);
    }
    assert_eq!(prober.name, "Kilochat-2");
    assert_eq!(responder.name, "kilochat");
    // without the bit that requests a unicast response
    let mut probe = prober.poll(prober.poll_timeout().unwrap(), &other).unwrap();
    let at = HEADER + b"\x0aKilochat-2\x05local\0\0\xff".len();
    assert_eq!(probe[at], 0x80);
    probe[at] = 0;
    let (mut taken, now) = settled();
    taken.name = "kilochat-2".try_into().unwrap();
    for _ in 0..2 {
        let answer = taken.handle(now, &probe, source(), &networks(&ADDRESSES));
        assert!(!answer.unwrap().is_unicast);
    }
}

#[test]
fn a_response_with_other_addresses_is_a_conflict() {
    let own = networks(&ADDRESSES);
    for (message, source, is_conflict) in [
        (record(A, 120, &[192, 0, 2, 8]), ASKER, true),
        (record(AAAA, 120, &[1; 16]), ASKER, true),
        // own records that come back, a goodbye, another type, not from the port of mDNS
        (record(A, 120, &[192, 0, 2, 7]), ASKER, false),
        (record(A, 0, &[192, 0, 2, 8]), ASKER, false),
        (record(16, 120, &[1, 2]), ASKER, false),
        (record(A, 120, &[192, 0, 2, 8]), "192.0.2.9:5354", false),
    ] {
        let source = source.parse().unwrap();
        let (mut settled, now) = settled();
        assert_eq!(settled.handle(now, &message, source, &own), None);
        // it is probed again, and kept if nobody answers
        assert_eq!(settled.poll_timeout().is_some(), is_conflict, "{message:?}");
        assert_eq!(settled.name, "kilochat");
        let mut probing = Responder::new(&named("kilochat"), now);
        probing.poll(now, &own).unwrap();
        assert_eq!(probing.handle(now, &message, source, &own), None);
        let expected = if is_conflict {
            "kilochat-2"
        } else {
            "kilochat"
        };
        assert_eq!(probing.name, expected, "{message:?}");
    }
}

/// Section 8.2, with its example.
#[test]
fn of_two_that_probe_at_once_the_later_records_win() {
    for (earlier, later) in [
        (&["169.254.99.200"][..], &["169.254.200.50"][..]),
        (&["169.254.200.50"], &["169.254.200.50", "fe80::1"]),
        (&["10.0.0.2", "fe80::1"], &["fe80::1"]),
        (&["fe80::2", "10.0.0.1"], &["fe80::1", "10.0.0.2"]),
        (&["10.0.0.1", "fe80::2"], &["fe80::3", "10.0.0.1"]),
    ] {
        let now = Instant::from_millis(9000);
        let probe = |own: &[&str]| {
            let mut responder = Responder::new(&named("kilochat"), now);
            let probe = responder.poll(now, &networks(own)).unwrap();
            (responder, probe)
        };
        let ((mut first, first_probe), (mut second, second_probe)) = (probe(earlier), probe(later));
        first.handle(now, &second_probe, source(), &networks(earlier));
        second.handle(now, &first_probe, source(), &networks(later));
        assert_eq!(
            first.poll_timeout(),
            Some(now.after(Duration::from_secs(1)))
        );
        let next = now.after(Duration::from_millis(250));
        assert_eq!(second.poll_timeout(), Some(next), "{later:?}");
        // its own probe, from another interface for instance, is none
        second.handle(now, &second_probe, source(), &networks(later));
        assert_eq!(second.poll_timeout(), Some(next));
    }
}

#[test]
fn names_that_are_all_taken_are_tried_slowly_and_fit() {
    let own = networks(&ADDRESSES);
    for stem in ["n".repeat(63), "\u{5C0F}".repeat(21), "boat".into()] {
        let mut responder = Responder::new(&named(&stem), Instant::default());
        let mut names = std::vec::Vec::new();
        let mut now = Instant::default();
        for _ in 0..200 {
            now = responder.poll_timeout().unwrap();
            let mut answer = responder.poll(now, &own).unwrap();
            names.push(std::string::String::from(responder.name.as_str()));
            assert!(answer.len() < MESSAGE_MAX - 20);
            // somebody else answers each probe
            let last = answer.len() - 1;
            answer[last] ^= 1;
            answer[2] = 0x84;
            responder.handle(now, &answer, source(), &own);
        }
        assert!(now >= Instant::from_millis(180 * 5000), "{now:?}");
        names.dedup();
        assert_eq!(names.len(), 200, "each differs from the one before");
        assert!(
            names[1].ends_with("-2") && names[11].ends_with("-12"),
            "{names:?}"
        );
    }
}

/// Nodes on one cable, which loses and delays nothing.
#[test]
fn nodes_with_one_name_have_as_many_names() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(2..5);
        let mut nodes: std::vec::Vec<_> = (0..count)
            .map(|number| {
                let mut config = named("kilochat");
                config.seed = random.u64(..);
                let within_ms = [1, 300, 3000][random.usize(..3)];
                let start_ms = random.u64(..within_ms);
                let v4 = std::format!("10.0.0.{}", number + 1);
                let v6 = std::format!("fe80::{:x}", random.u16(1..));
                let own = networks(&[[&*v4], [&*v6]].concat()[random.usize(..2)..]);
                let start = Instant::from_millis(start_ms);
                (Responder::new(&config, start), own)
            })
            .collect();
        // in milliseconds, because nodes may have to wait at the same time
        for now_ms in 0..20_000 {
            let now = Instant::from_millis(now_ms);
            for sender in 0..count {
                let (node, own) = &mut nodes[sender];
                let Some(message) = node.poll(now, own) else {
                    continue;
                };
                let others = (0..count).filter(|other| *other != sender);
                for other in others {
                    let (node, own) = &mut nodes[other];
                    let answer = node.handle(now, &message, source(), own);
                    let (node, own) = &mut nodes[sender];
                    if let Some(answer) = answer {
                        node.handle(now, &answer.payload, source(), own);
                    }
                }
            }
        }
        let mut names: std::vec::Vec<_> = nodes.iter().map(|(node, _)| node.name.clone()).collect();
        assert!(nodes.iter().all(|(node, _)| node.poll_timeout().is_none()));
        assert!(names.contains(&"kilochat".try_into().unwrap()), "{names:?}");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "seed {seed}: {names:?}");
    }
}

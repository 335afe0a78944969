//! The embedded node's addresses and name: ARP, neighbour discovery, ping, DHCP, SLAAC and mDNS.
#![cfg(not(feature = "defmt"))] // with it, a program needs a logger
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    dead_code,
    reason = "the other tests of the node need the rest of the module"
)]

#[path = "node/world.rs"]
mod world;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use kilochat_embedded::{Config, link_local, link_local_v4};
use kilochat_tests::ethernet::{
    BROADCAST, Datagram, Hardware, datagram, has, icmpv6, parse, ping, pong, who_has,
};
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Icmpv6Repr, NdiscPrefixInfoFlags,
    NdiscPrefixInformation, NdiscRepr, NdiscRouterFlags,
};
use world::{Cable, HARDWARE, V4, V6, World, config, network, relay};

const HOST: Hardware = [2, 0, 0, 0, 1, 50];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn neighbours_are_answered() {
    let mut config = config();
    config.addresses.push(network("fd00:7::1", 64)).unwrap();
    let mut world = World::new(config);
    world.pass(Duration::from_secs(1));
    world.clear();
    for (from, wanted, is_ours) in [
        ("192.0.2.50", "192.0.2.1", true),
        ("192.0.2.50", "192.0.2.3", false),
        ("fe80::50", "fe80::ff:fe00:1", true),
        ("fd00:7::50", "fd00:7::1", true),
        ("fe80::50", "fe80::ff:fe00:3", false),
    ] {
        world.cable.push(who_has((HOST, ip(from)), ip(wanted)));
        world.poll();
        let answers: Vec<_> = world
            .others
            .drain(..)
            .filter_map(|frame| has(&frame, ip(wanted)))
            .collect();
        assert_eq!(answers, vec![HARDWARE; usize::from(is_ours)], "{wanted}");
    }
}

#[test]
fn pings_are_answered() {
    let mut world = World::new(config());
    world.pass(Duration::from_secs(1));
    for (from, to) in [("192.0.2.50", "192.0.2.1"), ("fe80::50", "fe80::ff:fe00:1")] {
        world.cable.push(who_has((HOST, ip(from)), ip(to)));
        world.poll();
        world.clear();
        let data: Vec<u8> = (0..=255).cycle().take(1400).collect();
        world
            .cable
            .push(ping((HOST, ip(from)), (HARDWARE, ip(to)), &data));
        world.poll();
        let answers: Vec<_> = world
            .others
            .drain(..)
            .filter_map(|frame| pong(&frame))
            .collect();
        assert_eq!(answers, [data], "{to}");
    }
}

#[test]
fn link_local_addresses_are_those_of_the_hardware() {
    assert_eq!(
        link_local(HARDWARE),
        "fe80::ff:fe00:1".parse::<Ipv6Addr>().unwrap()
    );
    assert_eq!(
        link_local([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]),
        "fe80::5054:ff:fe12:3456".parse::<Ipv6Addr>().unwrap()
    );
    for [d, e, f] in [[0, 0, 0], [255, 0, 255], [0, 254, 7], [1, 2, 3]] {
        let [169, 254, 1..=254, _] = link_local_v4([2, 0, 0, d, e, f]).octets() else {
            panic!("RFC 3927 section 2.1");
        };
    }
}

/// A DHCP server that gives one address.
struct Server {
    lease: u32,
    given: Ipv4Addr,
    seen: Vec<DhcpMessageType>,
}

impl Server {
    /// Answers the node's requests until there are no more.
    fn serve(&mut self, world: &mut World<Cable>) {
        loop {
            world.poll();
            let frames = core::mem::take(&mut world.others);
            let answers: Vec<_> = frames
                .iter()
                .filter_map(|frame| self.answer(frame))
                .collect();
            if answers.is_empty() {
                break;
            }
            answers
                .into_iter()
                .for_each(|answer| world.cable.push(answer));
        }
    }

    fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let request = parse(frame).filter(|datagram| datagram.to.1.port() == 67)?;
        let packet = DhcpPacket::new_checked(&request.payload[..]).unwrap();
        let asked = DhcpRepr::parse(&packet).unwrap();
        self.seen.push(asked.message_type);
        let own = Ipv4Addr::new(192, 0, 2, 254);
        let reply = DhcpRepr {
            message_type: if asked.message_type == DhcpMessageType::Discover {
                DhcpMessageType::Offer
            } else {
                DhcpMessageType::Ack
            },
            your_ip: self.given,
            router: Some(own),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            server_identifier: Some(own),
            lease_duration: Some(self.lease),
            client_identifier: None,
            parameter_request_list: None,
            max_size: None,
            requested_ip: None,
            ..asked
        };
        let mut payload = vec![0; reply.buffer_len()];
        reply
            .emit(&mut DhcpPacket::new_unchecked(&mut payload[..]))
            .unwrap();
        let to = SocketAddr::from((self.given, 68));
        Some(datagram((HOST, (own, 67).into()), (HARDWARE, to), &payload))
    }
}

fn dhcp_config() -> Config {
    let mut config = Config::new(HARDWARE, [0; 16]);
    config.dhcp = true;
    config
}

#[test]
fn a_lease_is_taken_used_and_lost() {
    let mut world = World::new(dhcp_config());
    let mut server = Server {
        lease: 600,
        given: Ipv4Addr::new(192, 0, 2, 1),
        seen: Vec::new(),
    };
    server.serve(&mut world);
    assert_eq!(
        server.seen,
        [DhcpMessageType::Discover, DhcpMessageType::Request]
    );
    assert!(world.has_address("192.0.2.1"));
    let ada = world.join(2);
    let bob = world.join(3);
    world.clear();
    world.say(bob, "by IPv4 too");
    assert_eq!(world.lines(ada), ["h3 : by IPv4 too"]);
    // the lease is renewed
    world.pass(Duration::from_secs(290));
    world
        .cable
        .push(who_has((HOST, ip("192.0.2.254")), ip("192.0.2.1")));
    world.pass(Duration::from_secs(11));
    server.serve(&mut world);
    assert_eq!(server.seen.len(), 3);
    world.pass(Duration::from_secs(400));
    assert!(world.has_address("192.0.2.1"));
    // until there is no reply, and then there is a link-local address
    world.pass(Duration::from_secs(700));
    assert!(!world.has_address("192.0.2.1"));
    let own = link_local_v4(HARDWARE).to_string();
    world.pass(Duration::from_secs(11));
    assert!(world.has_address(&own), "{:?}", world.node);
}

/// RFC 2131 section 4.4.5: another host may have it by then.
#[test]
fn nothing_is_sent_from_an_address_whose_lease_is_over() {
    let mut world = World::new(dhcp_config());
    let mut server = Server {
        lease: 600,
        given: Ipv4Addr::new(192, 0, 2, 1),
        seen: Vec::new(),
    };
    server.serve(&mut world);
    let ada = world.join(2);
    let bob = world.join(3);
    world.pass(Duration::from_secs(650));
    assert!(!world.has_address("192.0.2.1"));
    world.clear();
    for number in 0..5 {
        world.say(bob, format!("{number}"));
        world.pass(Duration::from_secs(20));
    }
    assert!(world.lines(ada).is_empty());
    assert!(!world.others.iter().any(|frame| is_from(frame, "192.0.2.1")));
    assert_eq!(world.node.stats().stale, 5);
    // the same address again: a peer that used it is sent to again
    world.clear();
    world.pass(Duration::from_secs(60));
    server.serve(&mut world);
    assert!(world.has_address("192.0.2.1"));
    world.say(bob, "back again");
    assert_eq!(world.lines(ada), ["h3 : back again"]);
}

/// Returns whether a datagram or an ARP reply comes from the node's address.
fn is_from(frame: &[u8], address: &str) -> bool {
    let is_sent = parse(frame).is_some_and(|datagram| datagram.from.1.ip() == ip(address));
    is_sent || has(frame, ip(address)).is_some()
}

#[test]
fn without_a_lease_it_goes_on_after_ten_seconds_and_keeps_asking() {
    for (fixed, expected) in [
        (Some("192.0.2.1"), "192.0.2.1".to_owned()),
        (None, link_local_v4(HARDWARE).to_string()),
    ] {
        let mut config = dhcp_config();
        config
            .addresses
            .extend(fixed.map(|address| network(address, 24)));
        let mut world = World::new(config);
        world.pass(Duration::from_millis(9900));
        assert!(!world.has_address(&expected));
        world.pass(Duration::from_millis(200));
        assert!(world.has_address(&expected), "{:?}", world.node);
        world.clear();
        world.pass(Duration::from_secs(30));
        let asked = world.others.iter().filter_map(|frame| parse(frame));
        assert!(asked.filter(|datagram| datagram.to.1.port() == 67).count() >= 2);
        // a peer that uses the present address is replied to from it, but not when a lease has
        // replaced it
        let address = format!("{expected}:10888");
        let guest = if fixed.is_some() {
            "192.0.2.40:4000"
        } else {
            "169.254.7.7:4000"
        };
        let ada = world.join_from(40, guest, relay(&address));
        let bob = world.join(3);
        let mut server = Server {
            lease: 600,
            given: Ipv4Addr::new(192, 0, 2, 9),
            seen: Vec::new(),
        };
        world.pass(Duration::from_secs(5));
        server.serve(&mut world);
        assert!(world.has_address("192.0.2.9") && !world.has_address(&expected));
        world.clear();
        world.say(bob, "still here?");
        world.pass(Duration::from_secs(5));
        assert!(world.lines(ada).is_empty());
        assert!(!world.others.iter().any(|frame| is_from(frame, &expected)));
        assert_eq!(world.node.stats().stale, 1);
        // at the new address it continues where it was
        world.hosts[ada].relay = relay("192.0.2.9:10888");
        world.say(ada, "found you");
        assert_eq!(world.lines(bob), ["h40 : found you"]);
        world.say(bob, "good");
        assert_eq!(world.lines(ada), ["h3 : good"]);
    }
}

/// No reply to such sources is possible; smoltcp would drop most of them without a counter.
#[test]
fn frames_of_nobody_are_counted_and_dropped() {
    let mut world = World::new(config());
    let bob = world.join(3);
    world.clear();
    let v4 = |hardware, from: &str| {
        let from = (hardware, SocketAddr::new(ip(from), 4000));
        datagram(from, relay(V4), b"mallory")
    };
    let v6 = |hardware, from: &str| {
        let from = (hardware, SocketAddr::new(ip(from), 4000));
        datagram(from, relay(V6), b"mallory")
    };
    let frames = [
        v4(BROADCAST, "192.0.2.77"),
        v4([1, 0, 0x5e, 0, 0, 1], "192.0.2.77"),
        v6([0x33, 0x33, 0, 0, 0, 1], "fe80::77"),
        v4(HARDWARE, "192.0.2.77"),
        who_has((BROADCAST, ip("192.0.2.77")), ip("192.0.2.1")),
        v4(HOST, "224.0.0.1"),
        v4(HOST, "255.255.255.255"),
        v4(HOST, "192.0.2.255"),
        v6(HOST, "ff02::1"),
        vec![0; 13],
    ];
    for (number, frame) in (1..).zip(frames) {
        world.cable.push(frame);
        world.poll();
        let stats = world.node.stats();
        assert_eq!((stats.dropped, stats.misdirected), (number, 0));
    }
    // these are valid
    for frame in [
        v4(HOST, "192.0.2.254"),
        who_has((HOST, ip("192.0.2.77")), ip("192.0.2.1")),
    ] {
        world.cable.push(frame);
        world.poll();
        assert_eq!(world.node.stats().dropped, 10);
    }
    assert_eq!(world.lines(bob), ["* mallory joined"]);
}

fn advertisement(prefix: &str, prefix_len: u8, seconds: u32) -> Vec<u8> {
    let seconds = smoltcp::time::Duration::from_secs(seconds.into());
    let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::RouterAdvert {
        hop_limit: 64,
        flags: NdiscRouterFlags::empty(),
        router_lifetime: smoltcp::time::Duration::from_secs(1800),
        reachable_time: smoltcp::time::Duration::ZERO,
        retrans_time: smoltcp::time::Duration::ZERO,
        lladdr: Some(EthernetAddress(HOST).into()),
        mtu: None,
        prefix_info: Some(NdiscPrefixInformation {
            prefix_len,
            flags: NdiscPrefixInfoFlags::ON_LINK | NdiscPrefixInfoFlags::ADDRCONF,
            valid_lifetime: seconds,
            preferred_lifetime: seconds,
            prefix: prefix.parse().unwrap(),
        }),
    });
    let from = (HOST, "fe80::50".parse().unwrap());
    let to = ([0x33, 0x33, 0, 0, 0, 1], "ff02::1".parse().unwrap());
    icmpv6(from, to, 255, &advertisement)
}

#[test]
fn routers_give_addresses_and_nonsense_gives_none() {
    let mut config = Config::new(HARDWARE, [0; 16]);
    config.slaac = true;
    let mut world = World::new(config);
    world.poll();
    for (prefix, length) in [
        ("ff0e::", 64),
        ("ff02::", 64),
        ("2001:db8::", 129),
        ("2001:db8::", 255),
    ] {
        world.cable.push(advertisement(prefix, length, 600));
        world.pass(Duration::from_secs(1));
        assert_eq!(world.node.addresses().count(), 1, "{prefix}/{length}");
    }
    assert_eq!(world.node.stats().dropped, 4);
    world.cable.push(advertisement("2001:db8:0:5::", 64, 600));
    world.pass(Duration::from_secs(1));
    let own = "2001:db8:0:5:0:ff:fe00:1";
    assert!(world.has_address(own), "{:?}", world.node);
    // its network is local, so the relay gives it a seat
    world.join_from(
        5,
        "[2001:db8:0:5::9]:4000",
        relay(&format!("[{own}]:10888")),
    );
    world.pass(Duration::from_secs(601));
    assert!(!world.has_address(own));
}

const QUESTION: &[u8] = b"\x08KILOCHAT\x05local\0";
const QUESTION_IN_LOWER_CASE: &[u8] = b"\x08kilochat\x05local\0\0\xff\x80\x01";

fn query(kind: u8, class: [u8; 2]) -> Vec<u8> {
    let header = [0xab, 0xcd, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], QUESTION, &[0, kind], &class].concat()
}

/// A host sends to the mDNS group; returns the datagrams that the node sends.
fn ask(world: &mut World<Cable>, from: &str, query: &[u8]) -> Vec<Datagram> {
    let from: SocketAddr = from.parse().unwrap();
    let group = if from.is_ipv4() {
        ([1, 0, 0x5e, 0, 0, 0xfb], ip("224.0.0.251"))
    } else {
        ([0x33, 0x33, 0, 0, 0, 0xfb], ip("ff02::fb"))
    };
    world.clear();
    let to = (group.0, SocketAddr::new(group.1, 5353));
    world.cable.push(datagram((HOST, from), to, query));
    world.poll();
    sent(world)
}

/// Returns the datagrams that the node has sent.
fn sent(world: &World<Cable>) -> Vec<Datagram> {
    let datagrams = world.others.iter().filter_map(|frame| {
        let datagram = parse(frame)?;
        // RFC 6762 section 11, for unicast responses too
        let hop_limit = frame[if datagram.from.1.is_ipv4() { 22 } else { 21 }];
        assert_eq!(hop_limit, 255, "{datagram:?}");
        Some(datagram)
    });
    datagrams.collect()
}

#[test]
fn the_name_is_answered_for() {
    let mut config = config();
    config.name = "kilochat".try_into().unwrap();
    let mut world = World::new(config);
    world.pass(Duration::from_secs(1));
    let v4 = [192, 0, 2, 1];
    for (from, group, hardware) in [
        (
            "192.0.2.50:5353",
            "224.0.0.251:5353",
            [1, 0, 0x5e, 0, 0, 0xfb],
        ),
        (
            "[fe80::50]:5353",
            "[ff02::fb]:5353",
            [0x33, 0x33, 0, 0, 0, 0xfb],
        ),
    ] {
        // to the group, once a second
        world.pass(Duration::from_secs(2));
        let answers = ask(&mut world, from, &query(1, [0, 1]));
        let [answer] = &answers[..] else {
            panic!("{answers:?}");
        };
        assert_eq!(answer.to, (hardware, group.parse().unwrap()));
        assert_eq!(answer.from.1.port(), 5353);
        assert!(
            answer
                .payload
                .starts_with(b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x08kilochat")
        );
        assert!(answer.payload.ends_with(&v4));
        assert!(ask(&mut world, from, &query(1, [0, 1])).is_empty());
        // a resolver asks for the other type at the same moment
        let answers = ask(&mut world, from, &query(28, [0, 1]));
        assert_eq!(answers[0].to, (hardware, group.parse().unwrap()));
        // unicast to the one that requests it
        let answers = ask(&mut world, from, &query(255, [0x80, 1]));
        assert_eq!(answers[0].to, (HOST, from.parse().unwrap()));
        assert_eq!(answers[0].payload[7], 2, "both families");
    }
    // a legacy resolver asks from another port
    let answers = ask(&mut world, "192.0.2.50:33333", &query(28, [0, 1]));
    assert_eq!(answers[0].to, (HOST, "192.0.2.50:33333".parse().unwrap()));
    assert!(
        answers[0]
            .payload
            .starts_with(b"\xab\xcd\x84\0\0\x01\0\x01")
    );
    // its question is repeated, whatever type it has
    let answers = ask(&mut world, "192.0.2.50:33333", &query(255, [0, 1]));
    let question = &query(255, [0, 1])[12..];
    assert_eq!(&answers[0].payload[12..12 + question.len()], question);
    // known answers are not sent again
    world.pass(Duration::from_secs(2));
    let mut knowing = query(1, [0, 1]);
    knowing[7] = 1;
    knowing.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x78\0\x04\xc0\0\x02\x01");
    assert!(ask(&mut world, "192.0.2.50:5353", &knowing).is_empty());
    // no response for another name, type or class
    assert!(ask(&mut world, "192.0.2.50:33333", &query(16, [0, 1])).is_empty());
    assert!(ask(&mut world, "198.51.100.5:33333", &query(1, [0, 1])).is_empty());
    let mut other = query(1, [0, 1]);
    other[13] = b'x';
    assert!(ask(&mut world, "192.0.2.50:33333", &other).is_empty());
    assert_eq!(world.node.stats().names, 8);
}

/// RFC 6762 sections 8 and 9.
#[test]
fn a_name_that_another_host_has_is_left_to_it() {
    let mut config = config();
    config.name = "kilochat".try_into().unwrap();
    config.seed = 100;
    let mut world = World::new(config);
    let taken = b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x08kilochat\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04\xc0\0\x02\x32";
    let groups = ["224.0.0.251:5353", "[ff02::fb]:5353"].map(|to| to.parse().unwrap());
    let probe = |world: &World<Cable>, name: &[u8]| {
        let sent = sent(world);
        let to: Vec<SocketAddr> = sent.iter().map(|datagram| datagram.to.1).collect();
        assert_eq!(to, groups, "{sent:?}");
        for datagram in &sent {
            assert!(
                datagram
                    .payload
                    .starts_with(b"\0\0\0\0\0\x01\0\0\0\x02\0\0")
            );
            assert!(datagram.payload[12..].starts_with(name), "{datagram:?}");
        }
    };
    world.pass(Duration::from_millis(101));
    probe(&world, QUESTION_IN_LOWER_CASE);
    ask(&mut world, "192.0.2.50:5353", taken);
    probe(&world, b"\x0akilochat-2\x05local\0\0\xff\x80\x01");
    world.pass(Duration::from_secs(3));
    assert!(ask(&mut world, "192.0.2.50:5353", &query(1, [0, 1])).is_empty());
    // from elsewhere it is nobody's
    let other = [&taken[..12], b"\x0akilochat-2", &taken[21..]].concat();
    assert!(ask(&mut world, "198.51.100.5:5353", &other).is_empty());
    world.clear();
    world.pass(Duration::from_secs(3));
    assert!(sent(&world).is_empty());
    // one that takes the name later must show that it has it
    ask(&mut world, "192.0.2.50:5353", &other);
    probe(&world, b"\x0akilochat-2\x05local");
    ask(&mut world, "192.0.2.50:5353", &other);
    probe(&world, b"\x0akilochat-3\x05local");
}

#[test]
fn a_node_without_a_name_says_nothing() {
    let mut world = World::new(config());
    world.pass(Duration::from_secs(1));
    assert!(ask(&mut world, "192.0.2.50:5353", &query(1, [0, 1])).is_empty());
    let _ = (V4, V6, BROADCAST);
}

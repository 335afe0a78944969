//! The embedded node on a cable in memory: no root, no TAP, a virtual clock.
#![cfg(not(feature = "defmt"))] // with it, a program needs a logger
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "node/strange.rs"]
mod strange;
#[allow(dead_code, reason = "the test of addresses needs more of it")]
#[path = "node/world.rs"]
mod world;

use core::net::SocketAddr;
use core::time::Duration;

use fastrand::Rng;
use kilochat_core::framed::{Frame, Hello};
use kilochat_core::{Instant, Refusal};
use kilochat_embedded::phy::{Device, FaultInjector};
use kilochat_embedded::{Config, Error, Node, Storage};
use kilochat_tests::ethernet::{
    BROADCAST, Hardware, Host, announces, asks, datagram, parse, port_unreachable,
};
use kilochat_tests::{Expected, Transcript};
use world::{Cable, HARDWARE, V4, V6, World, config, network, relay};

#[test]
fn peers_of_both_families_share_a_room() {
    let mut world = World::new(config());
    let ada = world.join(2);
    let bob = world.join(3);
    assert_eq!(world.lines(ada), ["* h3 joined"]);
    world.clear();
    world.say(ada, "你好\n");
    assert_eq!(world.lines(bob), ["h2 : 你好"]);
    world.say(bob, "hi");
    assert_eq!(world.lines(ada), ["h3 : hi"]);
    // the longest possible line
    world.say(bob, "x".repeat(955));
    assert_eq!(world.lines(ada), [format!("h3 : {}", "x".repeat(955))]);
    // too long, and still received
    world.say(bob, "x".repeat(1025));
    world.say(bob, "x".repeat(1400));
    assert_eq!(world.lines(bob), ["* not sent: longer than 1024 bytes"; 2]);
    world.say(ada, "/quit");
    assert_eq!(world.lines(ada), ["* bye"]);
    assert_eq!(world.lines(bob), ["* h2 left (quit)"]);
    assert!(world.others.is_empty());
}

#[test]
fn a_full_room_is_told_and_a_silent_seat_is_given_away() {
    let mut config = config();
    config.relay.seats = 4;
    let mut world = World::new(config);
    for number in 2..6 {
        world.join(number);
    }
    let late = world.hosts.len();
    world.hosts.push(Host::new(9, "[fe80::9]:4000", relay(V6)));
    world.say(late, "late");
    assert_eq!(world.lines(late), ["* full: 4 of 4 seats taken"]);
    assert_eq!(world.node.relay().stats().refused(Refusal::Full), 1);

    world.pass(Duration::from_secs(601));
    for host in 1..4 {
        world.say(host, "");
    }
    world.clear();
    world.say(late, "late");
    let told = "* your seat was given away; say your name to come back";
    assert_eq!(world.lines(0), [told]);
    assert_eq!(world.lines(1), ["* h2 left (silent)", "* late joined"]);
    assert!(world.lines(late)[0].starts_with("* welcome late: 4 here"));
}

/// Live hosts receive each line in the poll that read it, whichever others are dead.
#[test]
fn dead_peers_hold_nobody_up() {
    let mut world = World::new(config());
    let live: Vec<usize> = (2..18).map(|number| world.join(number)).collect();
    let vanished = world.join(30);
    // behind a router, whose route is then lost
    let far = world.join_from(31, "10.9.8.7:4000", relay(V4));
    for dead in [vanished, far] {
        // it no longer receives anything, or responds to ARP
        world.hosts[dead].at.0 = [2, 0, 0, 0, 9, 9];
    }
    for round in 0..20 {
        // longer than any neighbour cache entry lives
        world.pass(Duration::from_secs(61));
        world.clear();
        let speaker = live[round % live.len()];
        let name = format!("h{}", world.hosts[speaker].at.0[5]);
        world.say(speaker, format!("{round}"));
        for host in live.iter().filter(|host| **host != speaker) {
            assert_eq!(
                world.hosts[*host].take_lines(),
                [format!("{name} : {round}")],
                "round {round}, host {host}"
            );
        }
        assert!(world.lines(speaker).is_empty());
        // the frames for the dead peers were sent like all others
        assert_eq!(world.others.len(), 2);
        assert!(!world.others.iter().any(|frame| asks(frame)));
    }
}

#[test]
fn reports_of_a_dead_port_end_a_peer() {
    for (number, quoted) in [(2, 28), (2, 2000), (3, 48), (3, 2000)] {
        let mut world = World::new(config());
        let dead = world.join(number);
        let live = world.join(8);
        for report in 0..3 {
            world.clear();
            world.say(live, "anybody?");
            let seen = world.hosts[dead].received.len();
            assert_eq!(seen, 1, "after {report} reports");
            let sent = datagram(
                relay(if number == 2 { V4 } else { V6 }),
                world.hosts[dead].at,
                b"h8 : anybody?",
            );
            for _ in 0..3 {
                world.cable.push(port_unreachable(&sent, quoted));
            }
            // about another's datagram, or from an address that the relay never sent from
            let mut other = world.hosts[dead].at;
            other.1.set_port(4001);
            let wrong = datagram(relay(if number == 2 { V4 } else { V6 }), other, b"");
            world.cable.push(port_unreachable(&wrong, quoted));
            let (own, at) = (world.hosts[dead].relay, world.hosts[dead].at);
            let strange = ([2; 6], SocketAddr::new(own.1.ip(), 9));
            world
                .cable
                .push(port_unreachable(&datagram(strange, at, b""), quoted));
            world.poll();
            world.pass(Duration::from_secs(10));
        }
        assert_eq!(world.node.stats().unreachable, 12);
        let left = format!("* h{number} left (unreachable)");
        assert_eq!(world.lines(live), [left], "{quoted} bytes quoted");
        assert_eq!(world.node.relay().peer_count(), 1);
    }
}

#[test]
fn no_peer_is_where_nobody_can_be_answered() {
    let mut world = World::new(config());
    let ada = world.join(2);
    world.clear();
    let own: Hardware = [2, 0, 0, 0, 1, 77];
    let sources = [
        (own, "0.0.0.0:5000", V4),
        (own, "255.255.255.255:5000", V4),
        (own, "192.0.2.255:5000", V4),
        (own, "224.0.0.1:5000", V4),
        (own, "127.0.0.1:5000", V4),
        (own, "192.0.2.77:0", V4),
        (own, V4, V4),
        (own, V6, V6),
        (own, "[::]:5000", V6),
        (own, "[::1]:5000", V6),
        (own, "[ff02::1]:5000", V6),
        (own, "[::ffff:192.0.2.77]:5000", V6),
        (BROADCAST, "192.0.2.77:5000", V4),
        ([1, 0, 0x5e, 0, 0, 1], "192.0.2.77:5000", V4),
        (HARDWARE, "192.0.2.77:5000", V4),
    ];
    for (hardware, source, to) in sources {
        let from = (hardware, source.parse().unwrap());
        world.cable.push(datagram(from, relay(to), b"mallory"));
        world.poll();
        assert!(world.others.is_empty(), "{hardware:x?} {source}");
        assert_eq!(world.node.relay().peer_count(), 1, "{hardware:x?} {source}");
    }
    // and there is no reply from an address that the relay does not have
    let destinations = [
        (BROADCAST, "255.255.255.255:10888"),
        (BROADCAST, "192.0.2.255:10888"),
        ([1, 0, 0x5e, 0, 0, 1], "224.0.0.1:10888"),
        (HARDWARE, "192.0.2.2:10888"),
    ];
    for (hardware, to) in destinations {
        let from = (own, "192.0.2.77:5000".parse().unwrap());
        let to = (hardware, to.parse().unwrap());
        world.cable.push(datagram(from, to, b"mallory"));
        world.poll();
        assert!(world.others.is_empty(), "{hardware:x?} {to:?}");
    }
    let from = (own, "[fe80::77]:5000".parse().unwrap());
    for to in ["[::1]:10888", "[ff02::1]:10888"] {
        world.cable.push(datagram(from, relay(to), b"mallory"));
        world.poll();
    }
    assert!(world.others.is_empty());
    assert_eq!(world.node.relay().peer_count(), 1);
    assert!(
        world.node.stats().misdirected >= 6,
        "{:?}",
        world.node.stats()
    );
    assert!(world.lines(ada).is_empty());
}

// [S1]
#[test]
fn a_client_that_looks_for_relays_is_answered_from_the_relays_own_address() {
    let mut world = World::new(config());
    let mut buffer = [0; 1024];
    let hello = Frame::Hello(Hello {
        abilities: 0,
        nonce: 7,
        cookie: None,
        resume: None,
        name: "find",
    });
    let length = hello.encode(&mut buffer).unwrap();
    let own: Hardware = [2, 0, 0, 0, 1, 77];
    for (to, source, relay) in [
        ((BROADCAST, "255.255.255.255:10888"), "192.0.2.77:5000", V4),
        ((BROADCAST, "192.0.2.255:10888"), "192.0.2.77:5000", V4),
        (
            ([0x33, 0x33, 0, 0, 0, 1], "[ff02::1]:10888"),
            "[fe80::77]:5000",
            V6,
        ),
    ] {
        let source = source.parse().unwrap();
        let to = (to.0, to.1.parse().unwrap());
        world
            .cable
            .push(datagram((own, source), to, &buffer[..length]));
        world.poll();
        let answers = core::mem::take(&mut world.others);
        let answer = answers.iter().find_map(|frame| parse(frame)).unwrap();
        assert_eq!(
            (answer.from.1, answer.to),
            (relay.parse().unwrap(), (own, source))
        );
        let Ok(Frame::Cookie(cookie)) = Frame::decode(&answer.payload) else {
            panic!("{answer:?}");
        };
        assert_eq!((cookie.nonce, cookie.words), (7, "00000000 0"));
    }
    assert_eq!(world.node.stats().misdirected, 0);
}

#[test]
fn strangers_from_outside_are_refused_unless_the_network_is_the_nodes_own() {
    let mut config = config();
    config.addresses.push(network("2001:db8:7::1", 64)).unwrap();
    let mut world = World::new(config);
    for (source, to, is_local) in [
        ("198.51.100.7:5000", V4, false),
        ("192.0.2.99:5000", V4, true),
        ("[2001:db8:8::9]:5000", "[2001:db8:7::1]:10888", false),
        ("[2001:db8:7::9]:5000", "[2001:db8:7::1]:10888", true),
        ("10.1.2.3:5000", V4, true),
    ] {
        world.hosts = vec![Host::new(50, source, relay(to))];
        world.say(0, "name");
        assert_eq!(!world.lines(0).is_empty(), is_local, "{source}");
    }
    assert_eq!(world.node.relay().stats().refused(Refusal::Foreign), 2);
}

#[test]
fn a_peer_is_followed_to_another_hardware_address() {
    let mut world = World::new(config());
    let (ada, bob) = (world.join(2), world.join(4));
    world.hosts[ada].at.0 = [2, 0, 0, 0, 1, 99];
    world.say(ada, "I am on the other cable");
    world.clear();
    world.say(bob, "so I hear");
    assert_eq!(world.lines(ada), ["h4 : so I hear"]);
}

#[test]
fn a_neighbour_that_announces_another_hardware_address_is_followed() {
    let mut world = World::new(config());
    let (ada, eve, bob) = (world.join(2), world.join(3), world.join(4));
    for peer in [ada, eve] {
        let old = world.hosts[peer].at;
        world.hosts[peer].at.0 = [2, 0, 0, 0, 1, 99];
        world.clear();
        world.say(bob, "to the old place");
        assert_eq!(world.lines(peer), [""; 0]);
        let (hardware, address) = world.hosts[peer].at;
        world.cable.push(announces((hardware, address.ip())));
        world.poll();
        world.clear();
        world.say(bob, "to the new place");
        assert_eq!(world.lines(peer), ["h4 : to the new place"]);
        // what is forged lasts until the next datagram of the peer
        world
            .cable
            .push(announces(([2, 0, 0, 0, 1, 66], old.1.ip())));
        world.say(peer, "still here");
        world.clear();
        world.say(bob, "so I see");
        assert_eq!(world.lines(peer), ["h4 : so I see"]);
    }
}

#[test]
fn a_device_that_takes_nothing_loses_nothing() {
    let mut world = World::new(config());
    for number in 2..12 {
        world.join(number);
    }
    world.clear();
    let mut random = Rng::with_seed(3);
    let mut said = Vec::new();
    let mut blocked = 0;
    for number in 0..500 {
        let speaker = random.usize(..10);
        said.push((speaker, format!("h{} : {number}", speaker + 2)));
        world
            .cable
            .push(world.hosts[speaker].say(format!("{number}")));
        world.cable.set_room(Some(random.usize(..12)));
        let then = world.poll().unwrap();
        assert!(then <= world.now.after(Duration::from_secs(1)));
        blocked += usize::from(then == world.now.after(Duration::from_millis(1)));
    }
    world.cable.set_room(None);
    while world.cable.waiting() > 0 {
        world.poll();
    }
    world.poll();
    assert!(blocked > 50, "{blocked}");
    for host in 0..10 {
        let room: Vec<_> = said
            .iter()
            .map(|(speaker, text)| Expected {
                text,
                shown: *speaker != host,
            })
            .collect();
        let mut transcript = Transcript::new(&room, false);
        for payload in &world.hosts[host].received {
            transcript.read(payload).unwrap();
        }
        transcript.finish().unwrap();
        assert_eq!(transcript.lost(), 0);
    }
}

#[test]
fn it_relays_what_a_faulty_cable_lets_through() {
    for seed in 1..6 {
        let cable = Cable::default();
        let mut faulty = FaultInjector::new(cable.clone(), seed);
        faulty.set_drop_chance(20);
        faulty.set_corrupt_chance(15);
        let mut config = config();
        config.relay.announce_up_to = 0;
        config.relay.history = 0;
        let mut world = World::on(faulty, cable, config);
        // hosts that tolerate damage: they drop what is not for them
        for number in 2..10_u8 {
            let (address, to) = match number % 2 {
                0 => (format!("192.0.2.{number}:4000"), V4),
                _ => (format!("[fe80::{number}]:4000"), V6),
            };
            world.hosts.push(Host::new(number, &address, relay(to)));
        }
        let mut heard = 0;
        for round in 0..400 {
            for host in 0..8 {
                let text = if round < 20 {
                    format!("h{}", host + 2)
                } else {
                    format!("{round} of {host}")
                };
                world.cable.push(world.hosts[host].say(text));
            }
            world.now = world.now.after(Duration::from_millis(50));
            world.node.poll(world.now);
            heard += take_undamaged(&world.cable, &world.hosts);
        }
        assert!(heard > 5000, "{heard} lines came through");
        assert_eq!(world.node.relay().peer_count(), 8);
    }
}

/// Returns the number of datagrams on the cable, each of which must be valid text of the relay.
fn take_undamaged(cable: &Cable, hosts: &[Host]) -> usize {
    let mut lines = 0;
    for frame in cable.take() {
        // no checksum covers the hardware address
        let Some(datagram) = parse(&frame) else {
            continue;
        };
        let Some(host) = hosts.iter().find(|host| host.at.1 == datagram.to.1) else {
            panic!("to nobody: {datagram:?}");
        };
        assert_eq!(datagram.from.1, host.relay.1);
        let text = String::from_utf8(datagram.payload).unwrap();
        lines += text.lines().filter(|line| line.contains(" of ")).count();
    }
    lines
}

#[test]
fn goodbye_is_said_even_to_a_device_that_is_full() {
    let mut world = World::new(config());
    let hosts: Vec<usize> = (2..8).map(|number| world.join(number)).collect();
    world.clear();
    world.cable.set_room(Some(2));
    world.node.stop(world.now);
    assert_eq!(
        world.poll(),
        Some(world.now.after(Duration::from_millis(1)))
    );
    assert!(!world.node.relay().is_settled());
    world.cable.set_room(None);
    world.poll();
    assert!(world.node.relay().is_settled());
    for host in hosts {
        assert_eq!(world.lines(host), ["* relay is stopping"]);
    }
}

#[test]
fn an_idle_node_sleeps() {
    let mut config = config();
    config.dhcp = true;
    config.slaac = true;
    config.name = "kilochat".try_into().unwrap();
    let mut world = World::new(config);
    world.join_after_lease();
    let polls = world.pass(Duration::from_secs(600));
    assert!(polls <= 1200, "{polls} times in 600 s");
}

impl World<Cable> {
    fn join_after_lease(&mut self) {
        self.pass(Duration::from_secs(11));
        self.join(2);
    }
}

#[test]
fn a_poll_is_bounded() {
    let mut world = World::new(config());
    let (ada, _) = (world.join(2), world.join(3));
    for number in 0..1000 {
        world.cable.push(world.hosts[ada].say(format!("{number}")));
    }
    assert_eq!(world.poll(), Some(world.now), "there is more to do");
    assert!(world.cable.waiting() > 900);
}

#[test]
fn what_cannot_work_is_refused() {
    fn start(device: impl Device, config: Config) -> Option<Error> {
        let storage = Box::leak(Box::new(Storage::<4, 2048, 4>::new()));
        Node::new(device, storage, config, Instant::from_millis(0)).err()
    }
    let cable = Cable::default();
    for hardware in [[0; 6], BROADCAST, [1, 0, 0x5e, 0, 0, 1]] {
        assert_eq!(
            start(cable.clone(), Config::new(hardware, [0; 16])),
            Some(Error::Hardware)
        );
    }
    let mut config = Config::new(HARDWARE, [0; 16]);
    config.port = 0;
    assert_eq!(start(cable.clone(), config), Some(Error::Port));
    for (address, prefix) in [
        ("224.0.0.1", 4),
        ("0.0.0.0", 0),
        ("127.0.0.1", 8),
        ("10.0.0.1", 33),
        ("ff02::1", 64),
        ("::1", 64),
        ("fd00::1", 129),
    ] {
        let mut config = Config::new(HARDWARE, [0; 16]);
        config.addresses.push(network(address, prefix)).unwrap();
        assert_eq!(
            start(cable.clone(), config),
            Some(Error::Address),
            "{address}"
        );
    }
    let mut config = Config::new(HARDWARE, [0; 16]);
    for address in ["10.0.0.1", "10.0.0.2"] {
        config.addresses.push(network(address, 8)).unwrap();
    }
    assert_eq!(start(cable.clone(), config), Some(Error::Address));
    let short = Cable::with_mtu(1085);
    assert_eq!(
        start(short, Config::new(HARDWARE, [0; 16])),
        Some(Error::Device)
    );
}

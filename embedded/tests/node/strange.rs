//! Frames of any bytes, and damaged ones.

use core::net::SocketAddr;
use core::time::Duration;

use fastrand::Rng;
use kilochat_tests::ethernet::{BROADCAST, Host, datagram, ping, port_unreachable, who_has};

use crate::world::{Cable, HARDWARE, World, config};

#[test]
fn no_frame_is_too_strange() {
    let mut config = config();
    config.dhcp = true;
    config.slaac = true;
    config.name = "kilochat".try_into().unwrap();
    let mut world = World::new(config);
    world.pass(Duration::from_secs(11));
    let (ada, bob) = (world.join(2), world.join(3));
    let mut random = Rng::with_seed(11);
    let seeds = seeds(&world);
    for number in 0..60_000 {
        let frame = strange(&mut random, &seeds);
        world.cable.push(frame);
        world.now = world.now.after(Duration::from_millis(random.u64(..40)));
        world.node.poll(world.now);
        world.cable.take();
        if number % 1000 == 0 {
            world.clear();
            // a mutated frame may have been a message of one of them
            for (host, name) in [(ada, "h2"), (bob, "h3")] {
                world.say(host, name);
                world.say(host, format!("/nick {name}"));
            }
            world.clear();
            world.say(ada, format!("still {number}"));
            let lines = world.lines(bob);
            assert!(
                lines
                    .iter()
                    .any(|line| line.ends_with(&format!("still {number}"))),
                "{lines:?}"
            );
        }
    }
}

/// Returns a valid frame of each kind that the node reads.
fn seeds(world: &World<Cable>) -> Vec<Vec<u8>> {
    let (ada, bob) = (&world.hosts[0], &world.hosts[1]);
    let own = |host: &Host| (host.at.0, host.at.1.ip());
    let node = |host: &Host| (HARDWARE, host.relay.1.ip());
    let mdns = (BROADCAST, "224.0.0.251:5353".parse().unwrap());
    let question = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x08kilochat\x05local\0\0\xff\0\x01";
    let mut seeds = vec![
        ada.say("hello"),
        bob.say("hello"),
        ada.say("/who"),
        who_has(own(ada), node(ada).1),
        who_has(own(bob), node(bob).1),
        ping(own(ada), node(ada), b"ping"),
        ping(own(bob), node(bob), b"ping"),
        port_unreachable(&datagram(ada.relay, ada.at, b"x"), 100),
        port_unreachable(&datagram(bob.relay, bob.at, b"x"), 100),
        datagram(
            (ada.at.0, SocketAddr::new(ada.at.1.ip(), 5353)),
            mdns,
            question,
        ),
        datagram(ada.at, mdns, question),
    ];
    seeds.extend(multicast_seeds(bob));
    seeds
}

/// Returns a router advertisement, MLD and IGMP queries, and a DHCP reply, byte by byte.
fn multicast_seeds(router: &Host) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut ipv6 = |next: u8, hop_limit: u8, to_last: u8, message: &[u8]| {
        let mut frame = vec![0x33, 0x33, 0, 0, 0, to_last];
        frame.extend(router.at.0);
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0]);
        frame.extend([u8::try_from(message.len()).unwrap(), next, hop_limit]);
        let SocketAddr::V6(own) = router.at.1 else {
            panic!("IPv6 only");
        };
        frame.extend(own.ip().octets());
        frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, to_last]);
        frame.extend(message);
        frames.push(frame);
    };
    let mut advertisement = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    advertisement.extend([
        3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0,
    ]);
    advertisement.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
    ipv6(58, 255, 1, &advertisement);
    let mut query = vec![58, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0, 0x27, 0x10, 0, 0];
    query.extend([0; 16]);
    query.extend([2, 125, 0, 0]);
    ipv6(0, 1, 1, &query);
    let mut igmp = vec![1, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 1, 2, 8, 0];
    igmp.extend([
        0x45, 0, 0, 28, 0, 0, 0, 0, 1, 2, 0, 0, 192, 0, 2, 2, 224, 0, 0, 1,
    ]);
    igmp.extend([0x11, 100, 0, 0, 0, 0, 0, 0]);
    frames.push(igmp);
    frames
}

/// Returns random bytes, or a valid frame with changed bytes; often with correct checksums.
fn strange(random: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    if random.u8(..10) == 0 {
        let mut frame: Vec<u8> = (0..random.usize(..1514)).map(|_| random.u8(..)).collect();
        if frame.len() > 14 {
            frame[..6].copy_from_slice(&HARDWARE);
            let kind = random.choice([[8, 0], [8, 6], [0x86, 0xdd]]).unwrap();
            frame[12..14].copy_from_slice(&kind);
        }
        return frame;
    }
    let mut frame = random.choice(seeds).unwrap().clone();
    for _ in 0..random.usize(..4) {
        let at = random.usize(..frame.len());
        frame[at] = match random.u8(..3) {
            0 => random.u8(..),
            1 => frame[at] ^ 1 << random.u8(..8),
            _ => random.choice([0, 1, 127, 128, 254, 255]).unwrap(),
        };
    }
    match random.u8(..8) {
        0 => frame.truncate(random.usize(..=frame.len())),
        1 => frame.extend((0..random.usize(..200)).map(|_| random.u8(..))),
        _ => {}
    }
    if random.bool() {
        mend(&mut frame);
    }
    frame
}

/// Corrects the checksums of a frame, so that it is parsed beyond them.
fn mend(frame: &mut [u8]) {
    fn sum(parts: &[&[u8]]) -> [u8; 2] {
        let words = parts.iter().flat_map(|part| part.chunks(2));
        let total: u32 = words
            .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
            .sum();
        let folded = (total & 0xffff) + (total >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        (!u16::try_from(folded).unwrap()).to_be_bytes()
    }
    let Some((&[.., a, b], packet)) = frame.split_first_chunk_mut::<14>().map(|(h, p)| (&*h, p))
    else {
        return;
    };
    let (mut protocol, addresses, mut message) = match [a, b] {
        [8, 0] if packet.len() >= 20 => {
            let (header, message) = packet.split_at_mut(20);
            header[10..12].fill(0);
            let checksum = sum(&[header]);
            header[10..12].copy_from_slice(&checksum);
            (header[9], header[12..20].to_vec(), message)
        }
        [0x86, 0xdd] if packet.len() >= 40 => {
            let (header, message) = packet.split_at_mut(40);
            (header[6], header[8..40].to_vec(), message)
        }
        _ => return,
    };
    if protocol == 0 && message.len() > 8 {
        protocol = message[0];
        message = &mut message[8..];
    }
    let (at, has_pseudo) = match protocol {
        1 | 2 => (2, false),
        58 => (2, true),
        17 => (6, true),
        _ => return,
    };
    if message.len() < at + 2 {
        return;
    }
    message[at..at + 2].fill(0);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let pseudo = [&addresses[..], &length, &[0, 0, 0, protocol]].concat();
    let pseudo = if has_pseudo { &pseudo[..] } else { &[] };
    let checksum = sum(&[pseudo, message]);
    message[at..at + 2].copy_from_slice(&checksum);
}

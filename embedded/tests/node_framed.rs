//! The embedded node and framed peers, on a cable in memory.
#![cfg(not(feature = "defmt"))] // with it, a program needs a logger
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "node/room.rs"]
mod room;
#[allow(dead_code, reason = "the other tests of the node need more of it")]
#[path = "node/world.rs"]
mod world;

use core::time::Duration;

use fastrand::Rng;
use kilochat_core::framed::{Ack, Cookie, Frame, Goodbye, Hello, Session};
use kilochat_core::{End, Joined, Refusal};
use kilochat_embedded::phy::FaultInjector;
use kilochat_embedded::{Node, Storage};
use kilochat_tests::ethernet::{Hardware, Host, parse};
use room::{Room, frame};
use world::{Cable, V4, V6, World, config, relay};

/// The hardware address of a host that pretends to be another.
const FORGER: Hardware = [2, 0, 0, 0, 9, 9];

#[test]
fn a_client_is_asked_for_a_cookie_and_welcomed() {
    for number in [2, 3] {
        let mut room = Room::new(config());
        let peer = room.add(number);
        let mut kinds = Vec::new();
        // one datagram for each: the host checks that it comes from the address to which it sent
        for _ in 0..2 {
            room.work(peer);
            room.world.poll();
            let received = &room.host(peer).received;
            assert_eq!(received.len(), 1);
            kinds.push(received[0][1]);
        }
        assert_eq!(kinds, b"CW");
        room.settle();
        assert_eq!(room.peers[peer].seats, [Joined::New]);
        assert_eq!(room.world.node.relay().stats().challenged, 1);
        assert_eq!(room.world.node.relay().peer_count(), 1);
        let now = room.world.now;
        room.peers[peer].client().leave(now);
        room.settle();
        assert_eq!(room.peers[peer].end, Some(End::Left));
        assert_eq!(room.world.node.relay().peer_count(), 0);
        assert!(!room.has_strayed());
    }
}

#[test]
fn peers_of_both_dialects_and_families_share_a_room() {
    let mut room = Room::new(config());
    let framed: Vec<usize> = (2..6).map(|number| room.join(number)).collect();
    let plain: Vec<usize> = (10..14).map(|number| room.world.join(number)).collect();
    room.settle();
    room.world.clear();
    let mut said = Vec::new();
    for round in 0..20 {
        let speaker = framed[round % 4];
        let text = format!("你好 {round} {}", "x".repeat(round * 40));
        room.peers[speaker].post(&text);
        said.push((format!("f{}", speaker + 2), text));
        room.pass(Duration::from_millis(10));
        let speaker = plain[round % 4];
        let text = format!("{round}");
        room.world.say(speaker, &text);
        said.push((format!("h{}", 10 + round % 4), text));
        room.settle();
    }
    let all: Vec<String> = said
        .iter()
        .map(|(name, text)| format!("{name} : {text}"))
        .collect();
    for &peer in &framed {
        room.check_order(peer);
        assert_eq!(room.messages(peer), all);
        assert_eq!(room.peers[peer].said.len(), 5);
    }
    for (index, &host) in plain.iter().enumerate() {
        let own = format!("h{} : ", 10 + index);
        let others = all.iter().filter(|line| !line.starts_with(&own));
        assert!(room.world.lines(host).iter().eq(others));
    }
    assert_eq!(room.world.node.relay().stats().resent, 0);
    assert!(!room.has_strayed());
}

#[test]
fn what_the_cable_loses_comes_again() {
    for seed in 1..6 {
        let cable = Cable::default();
        let mut faulty = FaultInjector::new(cable.clone(), seed);
        faulty.set_drop_chance(20);
        let mut room = Room::of(World::on(faulty, cable, config()));
        let mut random = Rng::with_seed(seed.into());
        for number in 2..8 {
            room.add(number);
        }
        room.pass(Duration::from_secs(30));
        let mut said = vec![0; 6];
        for number in 0..300 {
            let speaker = random.usize(..6);
            room.peers[speaker].post(&format!("{number} of {speaker}"));
            said[speaker] += 1;
            room.pass(Duration::from_millis(100));
        }
        room.pass(Duration::from_secs(30));
        let all = room.messages(0).len();
        assert_eq!(all, 300);
        for (peer, said) in said.into_iter().enumerate() {
            room.check_order(peer);
            // perhaps all its requests for a reply were lost
            let (first, more) = room.peers[peer].seats.split_first().unwrap();
            assert_eq!(*first, Joined::New);
            assert!(more.iter().all(|how| *how == Joined::Resumed), "{more:?}");
            assert!(room.peers[peer].doubtful.is_empty());
            assert_eq!(room.peers[peer].said.len(), said);
            assert_eq!(room.messages(peer), room.messages(0));
            // the messages that were acknowledged are the ones that all have
            for &(_, first) in &room.peers[peer].said {
                let shown = |(sequence, _): &&(u64, String)| *sequence == first;
                let line = &room.peers[0].lines.iter().find(shown).unwrap().1;
                assert!(line.ends_with(&format!(" of {peer}")), "{line}");
            }
        }
        let stats = room.world.node.relay().stats();
        assert!(stats.resent > 50, "{stats:?}");
        let again = (0..6).map(|peer| room.peers[peer].client().stats().posts_again);
        assert!(again.sum::<u64>() > 50);
    }
}

#[test]
fn a_backlog_is_several_datagrams_at_once() {
    let mut room = Room::new(config());
    let ada = room.join(2);
    for number in 0..7 {
        room.peers[ada].post(&format!("{number}{}", "x".repeat(850)));
        room.settle();
        room.pass(Duration::from_secs(1));
    }
    let bob = room.add(3);
    for _ in 0..2 {
        room.work(bob);
        room.world.poll();
    }
    // WELCOME, and as many datagrams as may be in flight before an acknowledgement
    let received = room.host(bob).received.clone();
    let Frame::Welcome(welcome) = frame(&received[0]) else {
        panic!("{received:?}");
    };
    let mut next = welcome.first;
    for payload in &received[1..] {
        let Frame::Data(data) = frame(payload) else {
            panic!("{payload:?}");
        };
        assert_eq!(data.first, next);
        next += data.entries().count() as u64;
    }
    assert_eq!(received.len(), 1 + 4);
    room.settle();
    room.check_order(bob);
    assert_eq!(room.messages(bob), room.messages(ada));
    assert_eq!(room.world.node.relay().stats().resent, 0);
}

#[test]
fn a_device_that_takes_nothing_loses_nothing() {
    let mut room = Room::new(config());
    let mut random = Rng::with_seed(5);
    for number in 2..8 {
        room.join(number);
    }
    let (mut said, mut blocked) = (0, 0);
    for number in 0..300 {
        room.peers[random.usize(..6)].post(&format!("{number}"));
        said += 1;
        for _ in 0..3 {
            for peer in 0..6 {
                room.work(peer);
            }
            room.world.cable.set_room(Some(random.usize(..5)));
            let then = room.world.poll();
            blocked += usize::from(then == Some(room.world.now.after(Duration::from_millis(1))));
        }
        room.world.now = room.world.now.after(Duration::from_millis(50));
    }
    room.world.cable.set_room(None);
    room.pass(Duration::from_secs(30));
    assert!(blocked > 50, "{blocked}");
    for peer in 0..6 {
        room.check_order(peer);
        assert_eq!(room.messages(peer).len(), said);
        assert_eq!(room.messages(peer), room.messages(0));
    }
}

/// Its timers alone make the node retransmit, and give up.
#[test]
fn a_silent_peer_is_asked_again_then_parked_and_has_everything_when_it_is_back() {
    for number in [2, 3] {
        let mut room = Room::new(config());
        let ada = room.join(number);
        let bob = room.world.join(10);
        room.settle();
        room.world.clear();
        // it has measured the round-trip time
        room.world.say(bob, "hello");
        room.pass(Duration::from_secs(2));
        room.asleep[ada] = true;
        room.world.say(bob, "are you there?");
        // 0.3 s later, 0.45 s after that, and so on up to 3 s
        for (passed_ms, tries) in [(290, 1), (20, 2), (430, 2), (20, 3), (15_000, 10)] {
            room.pass(Duration::from_millis(passed_ms));
            assert_eq!(room.host(ada).received.len(), tries, "{passed_ms}");
        }
        assert!(room.world.lines(bob).is_empty());
        room.pass(Duration::from_secs(10));
        assert_eq!(room.world.lines(bob), [format!("* f{number} is away")]);

        room.host(ada).received.clear();
        for _ in 0..30 {
            room.world.say(bob, "nobody?");
        }
        room.pass(Duration::from_secs(60));
        assert!(room.host(ada).received.is_empty());
        room.asleep[ada] = false;
        room.pass(Duration::from_secs(5));
        assert_eq!(room.world.lines(bob), [format!("* f{number} is back")]);
        room.check_order(ada);
        assert_eq!(room.messages(ada).len(), 32);
        assert_eq!(
            room.peers[ada].seats.len(),
            1 + usize::from(room.peers[ada].silences > 0)
        );
    }
}

/// As after a suspension of more than a minute, with more frames waiting than a poll reads.
#[test]
fn a_node_that_did_not_run_reads_before_it_judges_a_silence() {
    let mut room = Room::new(config());
    let ada = room.join(2);
    let bob = room.world.join(9);
    room.pass(Duration::from_secs(1));
    room.world.clear();
    room.world.now = room.world.now.after(Duration::from_secs(66));
    for number in 0..100 {
        let frame = room.world.hosts[bob].say(format!("{number}"));
        room.world.cable.push(frame);
    }
    room.work(ada);
    room.settle();
    assert_eq!(room.world.node.relay().stats().parked, 0);
    room.pass(Duration::from_secs(5));
    room.check_order(ada);
    assert_eq!(room.messages(ada).len(), 100);
}

/// Under a flood there are always more frames than a poll reads, and retransmission continues.
#[test]
fn timers_are_handled_in_a_flood() {
    let mut room = Room::new(config());
    let ada = room.join(2);
    let bob = room.world.join(9);
    room.settle();
    room.world.say(bob, "once");
    room.host(ada).received.clear();
    for _ in 0..40 {
        for _ in 0..64 {
            room.world.cable.push(vec![0; 60]);
        }
        room.world.now = room.world.now.after(Duration::from_millis(100));
        room.world.poll();
    }
    assert!(room.world.cable.waiting() > 1000);
    assert!(!room.host(ada).received.is_empty());
}

/// When a poll requests a later time, everything that was due is on the cable.
#[test]
fn it_never_sleeps_on_what_is_due() {
    let mut random = Rng::with_seed(8);
    let mut room = Room::new(config());
    for number in 2..8 {
        room.join(number);
    }
    let bob = room.world.join(9);
    let mut sleeps = 0;
    for number in 0..4000 {
        if random.u8(..4) == 0 {
            let frame = room.world.hosts[bob].say(format!("{number}"));
            room.world.cable.push(frame);
        }
        // some neither receive nor send for a while
        if random.u8(..8) == 0 {
            room.asleep[random.usize(..6)] ^= true;
        }
        for peer in 0..6 {
            if !room.asleep[peer] && random.bool() {
                room.work(peer);
            }
        }
        let then = room.world.poll().unwrap();
        if then <= room.world.now {
            continue;
        }
        sleeps += 1;
        room.world.node.poll(room.world.now);
        assert!(room.world.cable.take().is_empty(), "at {number}");
        room.world.now = match random.u8(..2) {
            0 => then,
            _ => room
                .world
                .now
                .after(Duration::from_millis(random.u64(..500))),
        };
    }
    let stats = room.world.node.relay().stats();
    assert!(
        sleeps > 1000 && stats.resent > 100 && stats.parked > 10,
        "{sleeps} {stats:?}"
    );
}

#[test]
fn a_session_goes_on_at_another_address() {
    let addresses = [
        ("192.0.2.2:4000", V4),
        ("[fe80::77]:5000", V6),
        ("192.0.2.77:4000", V4),
        ("192.0.2.77:4001", V4),
        ("[fe80::77]:4000", V6),
        ("[fe80::78]:4000", V6),
    ];
    let mut room = Room::new(config());
    let ada = room.join(2);
    let bob = room.world.join(9);
    for (step, &(address, to)) in addresses.iter().enumerate().skip(1) {
        let old = room.at[ada];
        let number = 100 + u8::try_from(step).unwrap();
        room.at[ada] = room.world.hosts.len();
        room.world.hosts.push(Host::new(number, address, relay(to)));
        // what is said before it requests its seat from there goes to its old address
        room.world.say(bob, format!("first {step}"));
        room.world.hosts[old].received.clear();
        let now = room.world.now;
        room.peers[ada].client().reconnect(now);
        room.pass(Duration::from_millis(1500));
        assert_eq!(*room.peers[ada].seats.last().unwrap(), Joined::Resumed);
        // the questions and the farewell, at the former hardware address
        let received = &room.world.hosts[old].received;
        let frames: Vec<_> = received.iter().map(|datagram| frame(datagram)).collect();
        let (last, before) = frames.split_last().unwrap();
        assert!(matches!(last, Frame::Bye(_, Goodbye::TakenOver)));
        let questions = before.iter().filter(|it| matches!(it, Frame::Gap(_)));
        assert_eq!(questions.count(), 2, "{before:?}");
        room.world.hosts[old].received.clear();
        room.world.say(bob, format!("second {step}"));
        room.peers[ada].post(&format!("here {step}"));
        room.pass(Duration::from_secs(5));
        assert!(room.world.hosts[old].received.is_empty());
    }
    room.check_order(ada);
    let all: Vec<String> = (1..addresses.len())
        .flat_map(|step| {
            [
                format!("h9 : first {step}"),
                format!("h9 : second {step}"),
                format!("f2 : here {step}"),
            ]
        })
        .collect();
    assert_eq!(room.messages(ada), all);
    assert_eq!(room.peers[ada].said.len(), addresses.len() - 1);
    assert_eq!(room.world.node.relay().peer_count(), 2);
    assert!(!room.has_strayed());
}

#[test]
fn frames_of_its_session_move_a_peer_to_another_hardware_address() {
    for number in [2, 3] {
        let mut room = Room::new(config());
        let ada = room.join(number);
        let bob = room.world.join(9);
        room.settle();
        // another router, or another network card: no HELLO is sent
        room.host(ada).at.0 = [2, 0, 0, 0, 1, 99];
        room.peers[ada].post("on the other cable");
        room.settle();
        room.world.say(bob, "so I hear");
        room.settle();
        assert_eq!(room.messages(ada).last(), Some(&"h9 : so I hear"));
        assert!(!room.has_strayed());
    }
}

#[test]
fn a_restarted_node_is_noticed_at_once() {
    let mut room = Room::new(config());
    let (ada, bob) = (room.join(2), room.join(3));
    room.peers[ada].post("before");
    room.pass(Duration::from_secs(1));
    let mut config = config();
    config.relay.key = [7; 16];
    let storage = Box::leak(Box::new(Storage::new()));
    let cable = room.world.cable.clone();
    room.world.node = Node::new(cable, storage, config, room.world.now).unwrap();
    for peer in [ada, bob] {
        room.peers[peer].post("after");
        // HELLO is sent at most twice a second
        room.pass(Duration::from_millis(600));
        assert_eq!(room.peers[peer].seats, [Joined::New, Joined::Restarted]);
        assert_eq!(room.peers[peer].doubtful.len(), 1);
        room.peers[peer].post("again");
    }
    room.pass(Duration::from_secs(1));
    assert_eq!(
        room.messages(bob)[1..],
        ["f2 : again", "f3 : again"],
        "{:?}",
        room.peers[bob].lines
    );
    assert_eq!(room.peers[ada].said.len(), 2);
    assert!(!room.has_strayed());
}

/// Returns what an attacker could send who knows a peer's address and nothing else.
fn forgeries(cookie: [u8; 16]) -> Vec<Vec<u8>> {
    let mut buffer = [0; 1024];
    let mut encode = |frame: Frame<'_>| {
        let length = frame.encode(&mut buffer).unwrap();
        buffer[..length].to_vec()
    };
    let session = Session(0x1234_5678_9abc_def0);
    let hello = |cookie| {
        Frame::Hello(Hello {
            abilities: 0,
            nonce: 99,
            cookie,
            resume: None,
            name: "mallory",
        })
    };
    let ack = Ack {
        session,
        echo: None,
        answer: true,
        next: 1000,
        ranges: Default::default(),
    };
    vec![
        encode(hello(None)),
        encode(hello(Some(cookie))),
        encode(hello(Some([0; 16]))),
        encode(Frame::Ack(ack)),
        encode(Frame::Leave(session)),
        encode(Frame::Bye(session, Goodbye::TakenOver)),
        b"\x01P\0\0\0\0\0\0\0\x07\0\x01\0\0\0\x05hello".to_vec(),
        b"\x01".to_vec(),
        b"\x01?".to_vec(),
        b"\x01H KC1 ".to_vec(),
        b"plain text".to_vec(),
        b"/quit".to_vec(),
        b"/nick mallory".to_vec(),
        b"".to_vec(),
        b"\xff\xfe".to_vec(),
        vec![b'x'; 1025],
    ]
}

#[test]
fn nobody_can_turn_away_a_peer_whose_session_it_does_not_know() {
    for number in [2, 3] {
        let mut room = Room::new(config());
        let (victim, bob) = (room.join(number), room.join(9));
        let listener = room.world.join(20);
        // a cookie for the attacker's own address is not valid for another
        let forger = room.add(30);
        room.asleep[forger] = true;
        room.work(forger);
        room.world.poll();
        let payloads = core::mem::take(&mut room.host(forger).received);
        let Frame::Cookie(Cookie { cookie, .. }) = frame(&payloads[0]) else {
            panic!("{payloads:?}");
        };
        room.settle();
        for (index, payload) in forgeries(cookie).iter().enumerate() {
            room.world.clear();
            room.forge(victim, FORGER, payload);
            room.world.poll();
            // at most the one reply, to where the datagram came from
            let answers: Vec<_> = room.world.others.drain(..).collect();
            assert!(answers.len() <= 1, "{index}");
            for answer in answers.iter().filter_map(|answer| parse(answer)) {
                assert_eq!(answer.to.0, FORGER);
                assert!(answer.payload.len() <= payload.len(), "{index}");
                assert!(b"CB".contains(&answer.payload[1]), "{answer:?}");
            }
            assert!(room.host(victim).received.is_empty(), "{index}");
            // and lines are sent to the peer's own address
            room.peers[bob].post(&format!("after {index}"));
            room.settle();
            let last = format!("f9 : after {index}");
            assert_eq!(room.messages(victim).last(), Some(&last.as_str()));
            assert!(!room.has_strayed(), "{index}");
            let lines = room.world.lines(listener);
            assert_eq!(lines, [last], "others saw {payload:?}");
            room.pass(Duration::from_millis(500));
        }
        room.check_order(victim);
        assert_eq!(room.peers[victim].seats, [Joined::New]);
        let stats = room.world.node.relay().stats();
        assert_eq!(stats.refused(Refusal::Session), 3, "{stats:?}");
        assert_eq!(stats.refused(Refusal::Frame), 4, "{stats:?}");
        assert!(stats.refused(Refusal::Dialect) >= 5, "{stats:?}");
        assert_eq!(stats.resent, 0);
        assert_eq!(room.world.node.relay().peer_count(), 3);
    }
}

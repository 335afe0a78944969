//! Framed peers on hosts at the board's Ethernet.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::time::Instant;

use fastrand::Rng;
use kilochat_core::framed::{Frame, Goodbye};
use kilochat_core::{End, Joined};
use kilochat_tests::{FramedPeer, PATIENCE};

use crate::hosts::{LEASED_IP, Lan};
use crate::machine::{DENIED_IP, OPERATOR_KEY};
use crate::{add_hosts, check_log, lan};

/// Percentage of frames that are lost, in each direction.
const LOSS: u8 = 20;

/// A host with a framed peer. Some of its Ethernet frames are lost.
struct FramedHost {
    host: usize,
    peer: FramedPeer,
    start: Instant,
    random: Rng,
    lost: [u32; 2],
}

impl FramedHost {
    fn new(host: usize) -> Self {
        let seed = 7 + u64::try_from(host).unwrap();
        Self {
            host,
            peer: FramedPeer::new(&format!("f{host}"), seed << 32),
            start: Instant::now(),
            random: Rng::with_seed(seed),
            lost: [0, 0],
        }
    }

    fn now(&self) -> kilochat_core::Instant {
        let millis = self.start.elapsed().as_millis();
        kilochat_core::Instant::from_millis(u64::try_from(millis).unwrap())
    }

    /// Receives the datagrams that arrived and sends those that are due, except for lost ones.
    fn work(&mut self, lan: &mut Lan) {
        let now = self.now();
        for payload in lan.hosts[self.host].received.drain(..) {
            if self.random.u8(..100) < LOSS {
                self.lost[0] += 1;
            } else {
                self.peer.receive(now, &payload);
            }
        }
        for payload in self.peer.poll(now) {
            if self.random.u8(..100) < LOSS {
                self.lost[1] += 1;
            } else {
                lan.say(self.host, payload);
            }
        }
    }

    /// Returns the messages that it has shown, without notices.
    fn messages(&self) -> Vec<&str> {
        let lines = self.peer.lines.iter();
        let texts = lines.map(|(_, line)| line.as_str());
        texts.filter(|line| !line.starts_with("* ")).collect()
    }
}

/// Lets all hosts work until `done`.
fn work(
    lan: &mut Lan,
    hosts: &mut [FramedHost],
    mut done: impl FnMut(&Lan, &[FramedHost]) -> bool,
) {
    let deadline = Instant::now() + 3 * PATIENCE;
    while !done(lan, hosts) {
        for host in &mut *hosts {
            host.work(lan);
        }
        // a short wait, because timers are polled only between steps
        lan.step(Duration::from_millis(5));
        if Instant::now() >= deadline {
            let peers: Vec<_> = hosts.iter().map(|host| &host.peer).collect();
            panic!(
                "not done in time: {peers:#?}; logged: {:#?}",
                lan.machine.log()
            );
        }
    }
}

/// Lets all hosts work for this time.
fn work_for(lan: &mut Lan, hosts: &mut [FramedHost], time: Duration) {
    let end = Instant::now() + time;
    work(lan, hosts, |_, _| Instant::now() >= end);
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn what_gets_lost_on_the_way_to_a_framed_peer_comes_again() {
    const ROUNDS: usize = 40;
    let mut lan = lan();
    add_hosts(&mut lan, 4);
    // one plain peer and one framed peer for each of IPv4 and IPv6
    lan.join(0, "p0");
    lan.join(1, "p1");
    let mut hosts = [FramedHost::new(2), FramedHost::new(3)];
    let all_joined = |_: &Lan, hosts: &[FramedHost]| hosts.iter().all(|host| host.peer.is_joined());
    work(&mut lan, &mut hosts, all_joined);

    let mut said = Vec::new();
    for round in 0..ROUNDS {
        for host in &mut hosts {
            let text = format!("{round} 你好");
            said.push(format!("f{} : {text}", host.host));
            host.peer.post(&text);
        }
        let plain = round % 2;
        said.push(format!("p{plain} : {round}"));
        lan.say(plain, format!("{round}"));
        work_for(&mut lan, &mut hosts, Duration::from_millis(100));
    }
    let has_all = |_: &Lan, hosts: &[FramedHost]| {
        let has_all = |host: &FramedHost| {
            host.messages().len() >= 3 * ROUNDS && host.peer.said.len() >= ROUNDS
        };
        hosts.iter().all(has_all)
    };
    work(&mut lan, &mut hosts, has_all);
    said.sort();
    for host in &hosts {
        // each message once, and in the same order at each host
        let mut messages = host.messages();
        assert_eq!(messages, hosts[0].messages());
        messages.sort();
        assert_eq!(messages, said);
        let sequence: Vec<u64> = host.peer.lines.iter().map(|(at, _)| *at).collect();
        assert!(sequence.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        assert_eq!((host.peer.lost, host.peer.doubtful.len()), (0, 0));
        assert!(host.lost.iter().all(|lost| *lost > 0), "{:?}", host.lost);
        eprintln!(
            "f{}: {:?} frames from and to the board got lost",
            host.host, host.lost
        );
    }
    for plain in 0..2 {
        let own = format!("p{plain} : ");
        let others = hosts[0].messages().into_iter();
        let others: Vec<&str> = others.filter(|line| !line.starts_with(&own)).collect();
        let lines = lan.lines(plain).into_iter();
        let lines: Vec<String> = lines.filter(|line| line.contains(" : ")).collect();
        assert_eq!(lines, others);
    }
    go_elsewhere(&mut lan, &mut hosts);
    check_log(&mut lan);
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn an_operator_is_obeyed_and_rules_hold() {
    let mut lan = lan();
    add_hosts(&mut lan, 4);
    lan.join(0, "p0");
    let mut hosts = [FramedHost::new(2), FramedHost::new(3)];
    let key = u128::from_str_radix(OPERATOR_KEY, 16).unwrap();
    hosts[0].peer.client().set_operator(key.to_be_bytes());
    hosts[1].peer.client().set_operator([1; 16]);
    let all_joined = |_: &Lan, hosts: &[FramedHost]| hosts.iter().all(|host| host.peer.is_joined());
    work(&mut lan, &mut hosts, all_joined);

    hosts[0].peer.post("/mute p0");
    let is_told = |what: &'static str| {
        move |_: &Lan, hosts: &[FramedHost]| {
            hosts
                .iter()
                .any(|host| host.peer.told.iter().any(|told| told == what))
        }
    };
    work(&mut lan, &mut hosts, is_told("done"));
    lan.say(0, "is this heard?");
    lan.wait_for(0, |line| line == "* not sent: you are muted");

    hosts[1].peer.post("/kick p0");
    work(&mut lan, &mut hosts, |_, hosts| {
        let told = &hosts[1].peer.told;
        told.iter().any(|told| told == "not an operator")
    });
    hosts[0].peer.post("/ban p0");
    work(
        &mut lan,
        &mut hosts,
        is_told("done: p0 is out and may not come back for 60 min"),
    );
    lan.wait_for(0, |line| line == "* you were removed from this room");

    let denied = lan.add(DENIED_IP.into(), LEASED_IP.into());
    let received = lan.hosts[0].received.len();
    lan.say(0, "p0");
    lan.say(denied, "stranger");
    lan.join(1, "p1"); // who comes after them is answered
    assert_eq!(
        lan.hosts[0].received.len(),
        received,
        "the banned one is answered"
    );
    assert_eq!(lan.hosts[denied].received, Vec::<Vec<u8>>::new());
    for host in &hosts {
        assert_eq!(host.messages(), Vec::<&str>::new());
    }
    check_log(&mut lan);
}

/// Moves a session to another hardware and IP address. Then both peers leave.
fn go_elsewhere(lan: &mut Lan, hosts: &mut [FramedHost; 2]) {
    let old = hosts[0].host;
    hosts[0].host = lan.add(Ipv4Addr::new(10, 0, 2, 99).into(), LEASED_IP.into());
    let now = hosts[0].now();
    hosts[0].peer.client().reconnect(now);
    work(lan, hosts, |_, hosts| {
        hosts[0].peer.seats.last() == Some(&Joined::Resumed) && hosts[0].peer.is_joined()
    });
    lan.wait_for_log("f2 resumed at 10.0.2.99");
    let farewells = &lan.hosts[old].received;
    let is_bye = |payload: &Vec<u8>| {
        matches!(
            Frame::decode(payload),
            Ok(Frame::Bye(_, Goodbye::TakenOver))
        )
    };
    assert!(farewells.iter().any(is_bye), "{farewells:?}");
    lan.say(0, "still there?");
    work(lan, hosts, |_, hosts| {
        let has_it = |host: &FramedHost| host.messages().contains(&"p0 : still there?");
        hosts.iter().all(has_it)
    });
    for host in &mut *hosts {
        let now = host.now();
        host.peer.client().leave(now);
    }
    work(lan, hosts, |_, hosts| {
        hosts.iter().all(|host| host.peer.end == Some(End::Left))
    });
    lan.synchronize(1);
    for name in ["f2", "f3"] {
        assert!(lan.lines(1).contains(&format!("* {name} left (quit)")));
    }
}

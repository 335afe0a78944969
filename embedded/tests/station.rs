//! A station, which is a client on the embedded network stack, with the embedded node as its relay,
//! on cables in memory.
#![cfg(not(feature = "defmt"))] // with it, a program needs a logger
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "the tests of the node need more of it")]
#[path = "node/world.rs"]
mod world;

#[path = "station/lab.rs"]
mod lab;

use core::net::IpAddr;
use core::time::Duration;

use fastrand::Rng;
use kilochat_core::{Client, Instant, Joined, State};
use kilochat_embedded::phy::FaultInjector;
use kilochat_embedded::{Config, Error, Node, Station, StationConfig, StationStorage, Storage};
use kilochat_tests::FramedPeer;
use kilochat_tests::ethernet::{BROADCAST, Hardware, Host, asks, datagram, has, parse};
use lab::{FAMILIES, Lab, STATION, station, station_config};
use world::{Cable, HARDWARE, V4, V6, World, config, network, relay};

#[test]
fn a_station_joins_and_what_it_says_arrives() {
    for family in 0..2 {
        let mut lab = Lab::new(family, 1, 0);
        let host = lab.listener();
        lab.settle();
        assert_eq!(lab.station.client.state(), State::Joined);
        assert_eq!(lab.world.lines(host), ["* sensor joined"]);
        for number in 0..100 {
            lab.station.client.post(&number.to_string()).unwrap();
            // the neighbour cache expires, and the address is resolved again
            lab.pass(Duration::from_secs(7));
        }
        assert!(lab.readings(host).into_iter().eq(0..100));
        assert_eq!(lab.count("said"), 100);
        assert_eq!(lab.count("New"), 1);
        lab.world.say(host, "thanks");
        lab.settle();
        assert_eq!(lab.told.last().unwrap(), "h2 : thanks");
        assert_eq!(lab.station.stats().unsent, 0);
        let stats = lab.world.node.relay().stats();
        assert_eq!((stats.resent, stats.resumed), (0, 0));

        lab.station.client.leave(lab.world.now);
        lab.settle();
        assert_eq!(lab.told.last().unwrap(), "Ended(Left)");
        assert_eq!(lab.world.lines(host), ["* sensor left (quit)"]);
        assert_eq!(
            lab.pass(Duration::from_secs(60)),
            60,
            "only the node wakes up"
        );
    }
}

#[test]
fn what_gets_lost_is_said_again() {
    for seed in 1..9 {
        let mut lab = Lab::new(seed % 2, u32::try_from(seed).unwrap(), 20);
        let host = lab.listener();
        for number in 0..200 {
            lab.station.client.post(&number.to_string()).unwrap();
            lab.pass(Duration::from_secs(2));
        }
        lab.pass(Duration::from_secs(60));
        assert!(lab.readings(host).into_iter().eq(0..200), "seed {seed}");
        assert_eq!(lab.count("said"), 200, "{:?}", lab.told);
        assert!(lab.station.client.stats().posts_again > 20);
    }
}

#[test]
fn a_relay_that_is_off_for_a_while_is_waited_for() {
    for family in 0..2 {
        let mut lab = Lab::new(family, 1, 0);
        let host = lab.listener();
        lab.settle();
        lab.is_on = false;
        for number in 0..50 {
            lab.station.client.post(&number.to_string()).unwrap();
            let polls = lab.pass(Duration::from_secs(2));
            assert!(polls < 50, "{polls} in two seconds");
        }
        assert_eq!(lab.told, ["New", "Silent"]);
        assert!(lab.station.stats().unsent > 0, "{:?}", lab.station.stats());
        lab.is_on = true;
        lab.pass(Duration::from_secs(10));
        assert!(lab.readings(host).into_iter().eq(0..50));
        assert_eq!(lab.count("said"), 50, "{:?}", lab.told);
        assert_eq!((lab.count("Back"), lab.count("Resumed")), (1, 1));
    }
}

#[test]
fn a_restarted_relay_gets_what_it_was_not_told() {
    for family in 0..2 {
        let mut lab = Lab::new(family, 1, 0);
        lab.listener();
        lab.settle();
        lab.is_on = false;
        for number in 0..10 {
            lab.station.client.post(&number.to_string()).unwrap();
        }
        lab.pass(Duration::from_secs(3));
        let mut config = config();
        config.relay.key = [7; 16];
        let storage = Box::leak(Box::new(Storage::new()));
        let cable = lab.world.cable.clone();
        lab.world.node = Node::new(cable, storage, config, lab.world.now).unwrap();
        lab.is_on = true;
        lab.world.hosts.clear();
        let host = lab.listener();
        lab.pass(Duration::from_secs(5));
        let doubtful = lab.told.iter().filter(|line| line.starts_with("Doubtful"));
        let doubtful = doubtful.count();
        assert!(doubtful > 0, "{:?}", lab.told);
        assert_eq!(lab.count("said") + doubtful, 10);
        assert!(lab.readings(host).into_iter().eq(doubtful..10));
        assert_eq!(lab.count(&format!("{:?}", Joined::Restarted)), 1);
    }
}

#[test]
fn where_nobody_is_it_asks_until_somebody_is() {
    for family in 0..2 {
        let mut lab = Lab::new(family, 1, 0);
        lab.is_on = false;
        lab.station.client.post("0").unwrap();
        lab.pass(Duration::from_secs(3600));
        assert_eq!(lab.told, ["Silent"]);
        let hellos = lab.station.client.stats().hellos;
        assert!((700..750).contains(&hellos), "{hellos}");
        lab.is_on = true;
        lab.pass(Duration::from_secs(10));
        assert_eq!(lab.told, ["Silent", "Back", "New", "said"]);
    }
}

/// Returns the configuration of a relay with `seats` seats.
fn small(seats: u16) -> Config {
    let mut config = config();
    config.relay.seats = seats;
    config
}

/// A framed peer at another host. It has proved its address, so it may get the seat of one that has.
struct Other {
    peer: FramedPeer,
    host: usize,
}

impl Other {
    fn join(lab: &mut Lab) -> Self {
        let host = lab.world.hosts.len();
        lab.world
            .hosts
            .push(Host::new(4, "192.0.2.4:4000", relay(V4)));
        let mut this = Self {
            peer: FramedPeer::new("f4", 4 << 32),
            host,
        };
        this.pass(lab, 2);
        assert!(this.peer.is_joined());
        this
    }

    /// Lets seconds pass in which the peer does what it has to do.
    fn pass(&mut self, lab: &mut Lab, seconds: u32) {
        for _ in 0..4 * seconds {
            for payload in core::mem::take(&mut lab.world.hosts[self.host].received) {
                self.peer.receive(lab.world.now, &payload);
            }
            for payload in self.peer.poll(lab.world.now) {
                lab.world.say(self.host, payload);
            }
            lab.pass(Duration::from_millis(250));
        }
    }
}

#[test]
fn a_station_that_lost_its_seat_waits_for_another_and_goes_on_there() {
    for family in 0..2 {
        let mut lab = Lab::with(family, 1, 0, small(2));
        let host = lab.listener();
        lab.settle();
        lab.station.client.post("0").unwrap();
        lab.pass(Duration::from_secs(2));
        assert_eq!(lab.told, ["New", "said"]);
        lab.is_asleep = true;
        for number in 0..5 {
            lab.world.say(host, format!("away {number}"));
        }
        lab.pass(Duration::from_secs(70));
        let mut other = Other::join(&mut lab);

        lab.told.clear();
        lab.is_asleep = false;
        lab.pass(Duration::from_secs(1));
        // what is posted before that may have been said in the session that it lost
        for number in 1..6 {
            lab.station.client.post(&number.to_string()).unwrap();
        }
        other.pass(&mut lab, 29);
        let refused = "NoSeat { reason: Full, retry_s: 60 }";
        assert_eq!(lab.count(refused), 1, "{:?}", lab.told);
        let hellos = lab.station.client.stats().hellos;
        let now = lab.world.now;
        other.peer.client().leave(now);
        other.pass(&mut lab, 1);
        lab.pass(Duration::from_secs(20));
        assert_eq!(lab.station.client.stats().hellos, hellos, "too early");
        lab.pass(Duration::from_secs(20));

        let heard: Vec<_> = lab
            .told
            .iter()
            .filter(|line| line.starts_with("h2"))
            .collect();
        assert!(
            heard.into_iter().eq((0..5)
                .map(|number| format!("h2 : away {number}"))
                .collect::<Vec<_>>()
                .iter())
        );
        assert_eq!(
            (lab.count("Continued"), lab.count("said")),
            (1, 5),
            "{:?}",
            lab.told
        );
        assert!(lab.readings(host).into_iter().eq(0..6));
    }
}

#[test]
fn a_station_that_finds_a_full_room_waits_for_its_first_seat() {
    for family in 0..2 {
        let mut lab = Lab::with(family, 1, 0, small(1));
        let host = lab.listener();
        lab.station.client.post("0").unwrap();
        lab.pass(Duration::from_secs(70));
        let refused = "NoSeat { reason: Full, retry_s: 60 }";
        assert_eq!(lab.told, [refused, refused]);
        lab.world.say(host, "/quit");
        lab.pass(Duration::from_secs(70));
        assert_eq!(lab.told[2..], ["New", "said"]);
    }
}

#[test]
fn only_the_relay_is_heard() {
    let mut lab = Lab::new(0, 1, 0);
    let host = lab.listener();
    lab.settle();
    lab.station.client.post("0").unwrap();
    lab.settle();
    let [seat] = lab
        .world
        .node
        .relay()
        .peers()
        .filter(|peer| peer.framed)
        .map(|peer| peer.address)
        .collect::<Vec<_>>()[..]
    else {
        panic!("one client");
    };
    // datagrams of others to its port, and text of the relay
    for (from, payload) in [
        ("192.0.2.9:10888", &b"\x01B\0\0\0\0\0\0\0\x01\x03"[..]),
        ("192.0.2.1:10889", b"\x01?"),
        ("192.0.2.1:10888", b"* welcome sensor: 1 here"),
        ("192.0.2.9:4000", &[0; 1024]),
    ] {
        let from = (HARDWARE, from.parse().unwrap());
        lab.cable.push(datagram(from, (STATION, seat), payload));
    }
    lab.settle();
    assert_eq!(lab.station.stats().foreign, 4);
    lab.station.client.post("1").unwrap();
    lab.settle();
    assert_eq!(lab.readings(host), [0, 1]);
    assert_eq!(lab.told, ["New", "said", "said"]);
}

/// A lease is lost, and then there is another one.
#[test]
fn a_station_whose_address_is_replaced_keeps_its_seat() {
    for (family, other) in [(0, network("192.0.2.51", 24)), (1, network("fe80::51", 64))] {
        let mut lab = Lab::new(family, 1, 0);
        let host = lab.listener();
        lab.settle();
        let old = station_config(family).address.address;
        lab.station.client.post("0").unwrap();
        lab.pass(Duration::from_secs(1));
        lab.sent.clear();
        lab.station.set_address(lab.world.now, None, None).unwrap();
        for number in 1..10 {
            lab.station.client.post(&number.to_string()).unwrap();
            lab.pass(Duration::from_secs(1));
        }
        assert!(lab.sent.drain(..).all(|frame| !is_from(&frame, old)));
        assert!(lab.station.stats().unsent > 0);
        assert_eq!(lab.readings(host), [0]);

        let now = lab.world.now;
        for nonsense in [
            network("224.0.0.1", 24),
            network(["::2", "10.0.0.2"][family], 8),
        ] {
            let refused = lab.station.set_address(now, Some(nonsense), None);
            assert_eq!(refused, Err(Error::Address));
        }
        lab.station.set_address(now, Some(other), None).unwrap();
        lab.pass(Duration::from_secs(10));
        assert!(lab.readings(host).into_iter().eq(1..10));
        assert_eq!(lab.count("said"), 10, "{:?}", lab.told);
        assert_eq!((lab.count("New"), lab.count("Resumed")), (1, 1));
        assert!(lab.sent.drain(..).all(|frame| !is_from(&frame, old)));
        assert_eq!(lab.world.node.relay().peer_count(), 2);
    }
}

/// Returns whether a frame contains this IP address after its Ethernet header.
fn is_from(frame: &[u8], ip: IpAddr) -> bool {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    frame[14..].windows(bytes.len()).any(|part| part == bytes)
}

#[test]
fn a_relay_elsewhere_is_reached_by_the_router() {
    let mut config = station_config(0);
    config.relay = "198.51.100.1:10888".parse().unwrap();
    config.router = Some("192.0.2.9".parse().unwrap());
    let cable = Cable::default();
    let mut station = station(FaultInjector::new(cable.clone(), 1), &config);
    let now = Instant::from_millis(1000);
    station.poll(now);
    let frames = cable.take();
    assert_eq!(frames.len(), 1);
    assert!(asks(&frames[0]));
    let router: Hardware = [2, 0, 0, 0, 1, 9];
    let mut answer = World::new(config_of_router());
    answer.cable.push(frames[0].clone());
    answer.poll();
    let wanted = config.router.unwrap();
    let is_it = |frame: &&Vec<u8>| has(frame, wanted) == Some(router);
    cable.push(answer.others.iter().find(is_it).unwrap().clone());
    station.poll(now.after(Duration::from_millis(5)));
    let hello = parse(&cable.take()[0]).unwrap();
    assert_eq!(hello.to, (router, config.relay));
    assert_eq!(&hello.payload[..2], b"\x01H");
}

/// Returns the configuration of a node that serves as a router. Any node can, because it responds
/// to ARP for its addresses.
fn config_of_router() -> Config {
    let mut config = Config::new([2, 0, 0, 0, 1, 9], [0; 16]);
    config.addresses.push(network("192.0.2.9", 24)).unwrap();
    config
}

#[test]
fn no_frame_is_too_strange() {
    let mut random = Rng::with_seed(3);
    for family in 0..2 {
        let mut lab = Lab::new(family, 1, 0);
        let host = lab.listener();
        // everything that it has received
        let mut seeds = Vec::new();
        lab.settle();
        let address = lab.world.node.relay().peers().find(|peer| peer.framed);
        let address = address.unwrap().address;
        for length in [0, 1, 2, 11, 16, 40, 1024, 1025, 1400] {
            let payload: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            seeds.push(datagram(
                relay(FAMILIES[family].2),
                (STATION, address),
                &payload,
            ));
        }
        let asker = Host::new(
            9,
            &format!("{}:1", ["192.0.2.9", "[fe80::9]"][family]),
            relay(V4),
        );
        let asker = (asker.at.0, asker.at.1.ip());
        let own = (STATION, address.ip());
        seeds.push(kilochat_tests::ethernet::who_has(asker, own.1));
        seeds.push(kilochat_tests::ethernet::ping(asker, own, b"ping"));
        for number in 0..20_000 {
            let mut frame = seeds[random.usize(..seeds.len())].clone();
            for _ in 0..random.usize(..5) {
                let end = frame.len().min(64);
                frame[random.usize(..end)] = random.u8(..);
            }
            if random.u8(..8) == 0 {
                frame.truncate(random.usize(..frame.len()));
            }
            if random.u8(..8) == 0 {
                let hardware = if random.bool() { BROADCAST } else { STATION };
                let end = frame.len().min(6);
                frame[..end].copy_from_slice(&hardware[..end]);
            }
            lab.cable.push(frame);
            lab.pass(Duration::from_millis(random.u64(..20)));
            if number % 500 == 0 {
                lab.station.client.post(&number.to_string()).unwrap();
            }
        }
        // its neighbour cache may be wrong until the entries expire
        lab.pass(Duration::from_secs(120));
        assert!(lab.readings(host).into_iter().eq((0..20_000).step_by(500)));
    }
}

#[test]
fn what_cannot_work_is_refused() {
    type Spoil = fn(&mut StationConfig);
    let good = station_config(0);
    let v6 = network("fe80::50", 64);
    let cases: [(Spoil, Error); 10] = [
        (|config| config.hardware = BROADCAST, Error::Hardware),
        (|config| config.hardware = [0; 6], Error::Hardware),
        (|config| config.relay.set_port(0), Error::Port),
        (|config| config.address.prefix = 33, Error::Address),
        (
            |config| config.address = network("0.0.0.0", 0),
            Error::Address,
        ),
        (
            |config| config.address = network("127.0.0.1", 8),
            Error::Address,
        ),
        (
            |config| config.relay = "255.255.255.255:1".parse().unwrap(),
            Error::Address,
        ),
        (|config| config.relay = V6.parse().unwrap(), Error::Address),
        (
            |config| config.router = "fe80::1".parse().ok(),
            Error::Address,
        ),
        (
            |config| config.router = "224.0.0.1".parse().ok(),
            Error::Address,
        ),
    ];
    let start = |device: Cable, config: &StationConfig| {
        let storage = Box::leak(Box::new(StationStorage::new()));
        let client = Client::<4, 512>::new("sensor", 1, 1);
        Station::new(device, storage, config, client, Instant::default()).map(|_| ())
    };
    for (index, (spoil, error)) in cases.into_iter().enumerate() {
        let mut config = good;
        spoil(&mut config);
        assert_eq!(start(Cable::default(), &config), Err(error), "{index}");
    }
    let mut config = good;
    config.address = v6;
    assert_eq!(start(Cable::default(), &config), Err(Error::Address));
    assert_eq!(start(Cable::with_mtu(1000), &good), Err(Error::Device));
    assert_eq!(start(Cable::default(), &good), Ok(()));
}

//! The proxy on real sockets: its rates, its counters, the separation of clients, and its errors.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Instant;

use kilochat_tests::PATIENCE;
use kilochat_tests::proxy::{Faults, OldPort, Proxy, Totals, Traffic};

/// Number of datagrams that each client sends before they are read, so that no socket buffer
/// overflows.
const BATCH: u32 = 16;
/// Number of further datagrams that may be held back or in flight meanwhile.
const LEFT: u64 = 64;

/// The received numbers by source, in the order of their arrival.
type Came = BTreeMap<SocketAddr, Vec<u32>>;

/// A relay and clients that are only sockets, and the proxy between them.
struct World {
    relay: UdpSocket,
    proxy: Proxy,
    clients: Vec<UdpSocket>,
}

impl World {
    /// Creates a world in which each client has sent its number in one byte, and the relay has read
    /// it.
    fn new(ip: &str, clients: u8, faults: Faults, seed: u64) -> Self {
        let relay = bind(ip);
        let proxy = Proxy::start(
            (ip.parse::<core::net::IpAddr>().expect("an address"), 0).into(),
            relay.local_addr().expect("bound"),
            Faults::NONE,
            seed,
        )
        .expect("it starts");
        let clients: Vec<_> = (0..clients).map(|_| bind(ip)).collect();
        for (number, client) in (0..).zip(&clients) {
            client.connect(proxy.address()).expect("loopback");
            client.send(&[number]).expect("loopback");
            assert_eq!(receive(&relay).0, [number]);
        }
        proxy.set_faults(faults);
        Self {
            relay,
            proxy,
            clients,
        }
    }

    fn upstream(&self, client: usize) -> SocketAddr {
        let port = self.proxy.clients()[client].upstream.port();
        (self.relay.local_addr().expect("bound").ip(), port).into()
    }

    /// Sends numbers up or down, for all clients in turn. Returns those that arrived.
    fn exchange(&self, is_up: bool, numbers: u32) -> Came {
        let begun = self.traffic(is_up);
        let mut came = Came::new();
        let mut sent = 0;
        for first in (0..numbers).step_by(BATCH as usize) {
            for (index, client) in self.clients.iter().enumerate() {
                for number in first..numbers.min(first + BATCH) {
                    let payload = number.to_be_bytes();
                    let result = if is_up {
                        client.send(&payload)
                    } else {
                        self.relay.send_to(&payload, self.upstream(index))
                    };
                    result.expect("loopback");
                    sent += 1;
                }
            }
            let has_come = |traffic: &Traffic| traffic.received - begun.received == sent;
            self.wait_for(
                |traffic| has_come(traffic) && traffic.waiting <= LEFT,
                is_up,
            );
            self.drain(is_up, &mut came);
        }
        self.wait_for(|traffic| traffic.waiting == 0, is_up);
        self.drain(is_up, &mut came);
        came
    }

    fn traffic(&self, is_up: bool) -> Traffic {
        let totals = self.proxy.totals();
        if is_up { totals.up } else { totals.down }
    }

    fn wait_for(&self, wanted: impl Fn(&Traffic) -> bool, is_up: bool) {
        wait_until(|| wanted(&self.traffic(is_up)));
    }

    fn drain(&self, is_up: bool, came: &mut Came) {
        let readers = if is_up {
            core::slice::from_ref(&self.relay)
        } else {
            &self.clients
        };
        for reader in readers {
            reader.set_nonblocking(true).expect("a socket");
            let mut payload = [0; 4];
            while let Ok((length, source)) = reader.recv_from(&mut payload) {
                assert_eq!(length, 4);
                let reader = reader.local_addr().expect("bound");
                let client = if is_up { source } else { reader };
                let numbers = came.entry(client).or_default();
                numbers.push(u32::from_be_bytes(payload));
            }
            reader.set_nonblocking(false).expect("a socket");
        }
    }
}

fn bind(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("a free port");
    let timeout = Some(PATIENCE);
    socket.set_read_timeout(timeout).expect("not zero");
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    let (length, source) = socket.recv_from(&mut buffer).expect("it comes in time");
    buffer.truncate(length);
    (buffer, source)
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "the condition does not become true"
        );
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Returns how many numbers arrived after a larger one, and how many arrived in all. Copies do not
/// count.
fn overtaken(came: &Came) -> (u64, u64) {
    let (mut count, mut distinct) = (0, 0);
    for numbers in came.values() {
        let (mut furthest, mut seen) = (0, BTreeSet::new());
        for number in numbers.iter().filter(|number| seen.insert(**number)) {
            count += u64::from(*number < furthest);
            furthest = furthest.max(*number);
        }
        distinct += seen.len() as u64;
    }
    (count, distinct)
}

fn sorted(came: Came) -> Vec<Vec<u32>> {
    let mut numbers: Vec<Vec<u32>> = came.into_values().collect();
    numbers
        .iter_mut()
        .for_each(|numbers| numbers.sort_unstable());
    numbers.sort_unstable();
    numbers
}

#[test]
fn rates_are_within_a_fifth_over_100_000_datagrams() {
    let begun = Instant::now();
    let faults = Faults {
        delay: Duration::from_millis(5),
        hold: Duration::from_secs(1),
        ..Faults::HARSH
    };
    let world = World::new("127.0.0.1", 8, faults, 7);
    let joined = world.proxy.totals();
    for is_up in [true, false] {
        let came = world.exchange(is_up, 6_250);
        let traffic = world.traffic(is_up);
        let extra = if is_up { joined.up.forwarded } else { 0 };
        assert_eq!(traffic.received, 50_000 + extra);
        traffic.check_rates(&faults).expect("the rates");
        traffic.check_sums().expect("conservation");
        assert_eq!((traffic.waiting, traffic.unsent), (0, 0));
        let count: usize = came.values().map(Vec::len).sum();
        assert_eq!(traffic.forwarded, count as u64 + extra);
        assert_eq!(
            (traffic.reordered, traffic.passed() - extra),
            overtaken(&came)
        );
    }
    let took = begun.elapsed();
    println!("{}\nin {took:?}", world.proxy.totals());
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[test]
fn a_seed_replays() {
    let faults = Faults {
        hold: Duration::from_secs(1),
        ..Faults::HARSH
    };
    let run = |seed| {
        let world = World::new("127.0.0.1", 2, faults, seed);
        let ways = [true, false].map(|is_up| sorted(world.exchange(is_up, 2_000)));
        let Totals { up, down, .. } = world.proxy.totals();
        (ways, [up, down].map(|way| (way.lost, way.duplicated)))
    };
    let first = run(1);
    assert_eq!(run(1), first);
    assert_ne!(run(2), first);
    let [up, down] = &first.0;
    assert_ne!(up, down);
    assert_ne!(up[0], up[1]);
}

#[test]
fn clients_are_kept_apart_in_both_families() {
    for ip in ["127.0.0.1", "::1"] {
        let world = World::new(ip, 8, Faults::NONE, 1);
        let ports: BTreeSet<_> = (0..8).map(|client| world.upstream(client)).collect();
        assert_eq!(ports.len(), 8);
        for (index, client) in world.clients.iter().enumerate() {
            client.send(b"who am I").expect("loopback");
            let (_, source) = receive(&world.relay);
            assert_eq!(source, world.upstream(index));
            let answer = format!("you are {index}");
            let sent = world.relay.send_to(answer.as_bytes(), source);
            sent.expect("loopback");
            assert_eq!(receive(client).0, answer.as_bytes());
        }
        for (client, known) in world.clients.iter().zip(world.proxy.clients()) {
            assert_eq!(known.address, client.local_addr().expect("bound"));
            assert_eq!((known.up.forwarded, known.down.forwarded), (2, 1));
            client.set_nonblocking(true).expect("a socket");
            let more = client.recv(&mut [0; 16]).expect_err("nothing is for it");
            assert_eq!(more.kind(), ErrorKind::WouldBlock);
        }
    }
}

#[test]
fn one_family_reaches_the_other() {
    let relay = bind("::1");
    let free = "127.0.0.1:0".parse().expect("an address");
    let to = relay.local_addr().expect("bound");
    let proxy = Proxy::start(free, to, Faults::NONE, 1).expect("it starts");
    let client = bind("127.0.0.1");
    client.connect(proxy.address()).expect("loopback");
    client.send(b"up").expect("loopback");
    let (payload, source) = receive(&relay);
    assert!(payload == b"up" && source.is_ipv6());
    relay.send_to(b"down", source).expect("loopback");
    assert_eq!(receive(&client).0, b"down");
}

#[test]
fn any_length_passes_unchanged() {
    let world = World::new("127.0.0.1", 1, Faults::NONE, 1);
    let mut random = fastrand::Rng::with_seed(1);
    for length in [0, 1, 1023, 1024, 1025, 1500, 9000, 65_507] {
        let payload: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        world.clients[0].send(&payload).expect("loopback");
        let (up, source) = receive(&world.relay);
        assert!(up == payload, "{length}");
        world.relay.send_to(&payload, source).expect("loopback");
        assert!(receive(&world.clients[0]).0 == payload, "{length}");
    }
}

#[test]
fn a_delay_and_no_more_than_its_jitter() {
    let faults = Faults {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(30),
        ..Faults::NONE
    };
    let world = World::new("127.0.0.1", 1, faults, 3);
    let mut least = Duration::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        world.clients[0].send(b"x").expect("loopback");
        receive(&world.relay);
        let took = begun.elapsed();
        assert!(took >= faults.delay, "{took:?}");
        least = least.min(took);
    }
    // a busy machine may be late, but not in all ten attempts
    assert!(least < Duration::from_secs(1), "{least:?}");
}

#[test]
fn a_relay_that_is_gone_is_survived() {
    let World {
        relay,
        proxy,
        clients,
    } = World::new("127.0.0.1", 2, Faults::NONE, 1);
    let address = relay.local_addr().expect("bound");
    drop(relay);
    wait_until(|| {
        clients[0].send(b"anybody?").expect("the proxy is there");
        proxy.totals().up.unreachable >= 20
    });
    let relay = UdpSocket::bind(address).expect("the port is still free");
    relay.set_read_timeout(Some(PATIENCE)).expect("not zero");
    for client in &clients {
        client.send(b"back").expect("loopback");
    }
    let mut sources = BTreeSet::new();
    while sources.len() < 2 {
        let (payload, source) = receive(&relay);
        if payload == b"back" {
            sources.insert(source);
            relay.send_to(b"yes", source).expect("loopback");
        }
    }
    for client in &clients {
        assert_eq!(receive(client).0, b"yes");
    }
    proxy.totals().up.check_sums().expect("conservation");
}

#[test]
fn a_client_that_is_gone_is_survived() {
    let mut world = World::new("127.0.0.1", 2, Faults::NONE, 1);
    world.clients.remove(0);
    for _ in 0..20 {
        for client in 0..2 {
            let source = world.upstream(client);
            world.relay.send_to(b"x", source).expect("loopback");
        }
        assert_eq!(receive(&world.clients[0]).0, b"x");
    }
}

#[test]
fn a_client_moves_and_its_old_port_closes_is_silent_or_stays() {
    let world = World::new("127.0.0.1", 2, Faults::NONE, 1);
    let client = &world.clients[0];
    let address = client.local_addr().expect("bound");
    let other = world.upstream(1);
    let mut ports = BTreeSet::from([world.upstream(0)]);
    for old in [OldPort::Closed, OldPort::Silent, OldPort::Open] {
        let former = world.upstream(0);
        world.proxy.move_client(address, old).expect("a free port");
        assert!(ports.insert(world.upstream(0)), "a new port");
        client.send(b"new").expect("loopback");
        assert_eq!(receive(&world.relay), (b"new".to_vec(), world.upstream(0)));
        let sent = world.relay.send_to(b"old", former);
        sent.expect("an unconnected socket reports no error");
        match old {
            OldPort::Closed => {
                UdpSocket::bind(former).expect("the address is free");
            }
            OldPort::Silent => world.wait_for(|traffic| traffic.swallowed == 1, false),
            OldPort::Open => assert_eq!(receive(client).0, b"old"),
        }
        let sent = world.relay.send_to(b"hello", world.upstream(0));
        sent.expect("loopback");
        assert_eq!(receive(client).0, b"hello", "{old:?}");
    }
    assert_eq!(world.upstream(1), other);
    let stranger = world.relay.local_addr().expect("bound");
    let error = world.proxy.move_client(stranger, OldPort::Closed);
    assert_eq!(
        error.map_err(|error| error.kind()),
        Err(ErrorKind::NotFound)
    );
    for (_, traffic) in world.proxy.totals().directions() {
        traffic.check_sums().expect("conservation");
    }
}

#[test]
fn a_blackout_drops_both_ways_until_it_ends() {
    let world = World::new("127.0.0.1", 2, Faults::HARSH, 1);
    world.proxy.set_blackout(true);
    for is_up in [true, false] {
        assert_eq!(world.exchange(is_up, 500), Came::new());
        let traffic = world.traffic(is_up);
        assert_eq!((traffic.blacked_out, traffic.lost), (1000, 0));
    }
    world.proxy.set_blackout(false);
    world.proxy.set_faults(Faults::NONE);
    for is_up in [true, false] {
        let came = world.exchange(is_up, 500);
        assert!(
            came.values()
                .all(|numbers| numbers.iter().copied().eq(0..500))
        );
        assert_eq!(came.len(), 2);
    }
    for (_, traffic) in world.proxy.totals().directions() {
        traffic.check_sums().expect("conservation");
        assert_eq!(traffic.blacked_out, 1000);
    }
}

#[test]
fn dropped_it_stops_and_frees_its_ports() {
    let world = World::new("127.0.0.1", 1, Faults::NONE, 1);
    let (address, upstream) = (world.proxy.address(), world.upstream(0));
    drop(world.proxy);
    for address in [address, upstream] {
        UdpSocket::bind(address).expect("it is free");
    }
}

#[test]
fn an_address_that_is_taken_is_told() {
    let holder = bind("127.0.0.1");
    let taken = holder.local_addr().expect("bound");
    let error = Proxy::start(taken, taken, Faults::NONE, 1).expect_err("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[cfg(unix)]
mod program {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::{Child, Command, Stdio};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    const PROGRAM: &str = env!("CARGO_BIN_EXE_proxy");

    struct Ended(Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            // fails if it has ended already
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    impl Ended {
        fn signal(&self, signal: Signal) {
            let id = i32::try_from(self.0.id()).expect("a process id");
            kill(Pid::from_raw(id), signal).expect("it runs");
        }
    }

    #[test]
    fn it_obeys_and_prints_its_counts() {
        let relay = bind("127.0.0.1");
        let to = relay.local_addr().expect("bound").to_string();
        let child = Command::new(PROGRAM)
            .args(["--listen", "127.0.0.1:0", "--to", &to, "--duplicate", "100"])
            .arg("--commands")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = Ended(child.expect("it starts"));
        let mut input = child.0.stdin.take().expect("piped");
        let mut output = BufReader::new(child.0.stdout.take().expect("piped"));
        let mut line = || {
            let mut line = String::new();
            output.read_line(&mut line).expect("UTF-8");
            line.trim_end().to_owned()
        };
        let first = line();
        let listening = first.strip_prefix("listening on ").expect("its address");
        let (address, _) = listening.split_once(", to ").expect("both");
        let client = bind("127.0.0.1");
        client.connect(address).expect("loopback");
        client.send(b"hello").expect("loopback");
        let (_, source) = receive(&relay);
        assert_eq!(receive(&relay), (b"hello".to_vec(), source));

        child.signal(Signal::SIGUSR1);
        assert_eq!(line(), "1 client");
        let counts =
            "1 received, 0 lost (0.0 %), 1 duplicated (100.0 %), 0 reordered (0.0 %), 2 forwarded";
        assert_eq!(line(), format!("up:   {counts}"));
        assert!(line().starts_with("down: 0 received"));

        input.write_all(b"move\ncounts\n").expect("it reads");
        assert_eq!(
            [line(), line()],
            ["1 client".to_owned(), format!("up:   {counts}")]
        );
        line();
        client.send(b"moved").expect("loopback");
        assert_ne!(receive(&relay).1, source);
        receive(&relay);

        input.write_all(b"blackout on\n").expect("it reads");
        wait_until(|| {
            client.send(b"lost").expect("loopback");
            child.signal(Signal::SIGUSR1);
            [line(), line(), line()].concat().contains("in a blackout")
        });
        child.signal(Signal::SIGTERM);
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("UTF-8");
        assert!(
            rest.starts_with("1 client\nup:   ") && rest.contains("in a blackout"),
            "{rest}"
        );
        assert!(child.0.wait().expect("a child").success());
    }

    #[test]
    fn options_that_cannot_be_are_reported() {
        for arguments in [
            ["--loss", "101"],
            ["--listen", "nowhere"],
            ["--delay-ms", "60001"],
        ] {
            let output = Command::new(PROGRAM).args(arguments).output();
            let output = output.expect("it starts");
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains(arguments[0]));
        }
    }
}

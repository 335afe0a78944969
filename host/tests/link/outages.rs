//! What people read when servers fail: every line once and in order, or a number.

use core::time::Duration;
use std::time::Instant;

use kilochat_tests::ChatProgram;
use kilochat_tests::namespace::{Namespace, ip, is_in_namespace};
use nix::sys::signal::Signal;

use crate::servers::{Folder, PATIENCE, PROGRAM, Place, Server, check, free_port, history, start};

pub(crate) const DOWN: &str = "* linked places are out of reach; here it goes on";
pub(crate) const UP: &str = "* linked places are within reach again";

/// How long a server is away.
const AWAY: Duration = Duration::from_secs(6);

/// Says the numbers of a range at both places, evenly over this time.
fn talk(places: [&Place; 2], numbers: core::ops::Range<u32>, time: Duration) {
    let pause = time / (numbers.end - numbers.start);
    for number in numbers {
        for place in places {
            place.say(number..number + 1);
        }
        std::thread::sleep(pause);
    }
}

/// Two places talk before, during and after an outage. Nothing may be missing, doubled or out of order.
fn survives(server: &mut Server, begin: impl FnOnce(&mut Server), end: impl FnOnce(&mut Server)) {
    let mut boat = Place::new(&server.url(), "boat", "Ada");
    let mut harbour = Place::new(&server.url(), "harbour", "Bob");
    talk([&boat, &harbour], 0..50, Duration::from_secs(1));
    begin(server);
    talk([&boat, &harbour], 50..200, AWAY);
    boat.wait_for(|line| line == DOWN);
    end(server);
    boat.wait_for(|line| line == UP);
    talk([&boat, &harbour], 200..250, Duration::from_secs(1));
    check(&harbour.numbers("Ada@boat", 249), 0..250);
    check(&boat.numbers("Bob@harbour", 249), 0..250);
    // the stream has each line once, too
    let kept = history(&server.url(), &["--name", "Ada"]);
    assert_eq!(kept.lines().count(), 250, "{kept}");
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_server_that_is_killed_and_starts_again_costs_nobody_a_line() {
    survives(&mut Server::new(), Server::kill, Server::start);
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_server_that_stands_still_costs_nobody_a_line() {
    survives(
        &mut Server::new(),
        |server| server.signal(Signal::SIGSTOP),
        |server| server.signal(Signal::SIGCONT),
    );
}

#[test]
#[ignore = "needs nats-server and network namespaces, by user namespaces or as root: apt install nats-server util-linux iproute2"]
fn a_cable_that_is_pulled_costs_nobody_a_line() {
    if !is_in_namespace("outages::a_cable_that_is_pulled_costs_nobody_a_line") {
        return;
    }
    let (shore, sea) = (Namespace::new(), Namespace::new());
    shore.run(|| {
        ip("link set lo up");
        ip("link add cable type veth peer name cable-end");
        ip(&format!("link set cable-end netns {}", sea.path()));
        ip("address add 10.7.0.1/24 dev cable");
        ip("link set cable up");
    });
    sea.run(|| {
        ip("link set lo up");
        ip("address add 10.7.0.2/24 dev cable-end");
        ip("link set cable-end up");
    });
    let folder = Folder::new();
    let store = format!("jetstream {{ store_dir: \"{}\" }}", folder.path("store"));
    let server = shore.run(|| Server::configured(folder, "0.0.0.0", 4222, &store));
    let mut harbour = shore.run(|| Place::new(&server.url(), "harbour", "Bob"));
    let mut boat = sea.run(|| Place::new("nats://10.7.0.1", "boat", "Ada"));
    talk([&boat, &harbour], 0..50, Duration::from_secs(1));
    // the carrier is gone at the other end, too, and nobody is told that the connection is
    shore.run(|| ip("link set cable down"));
    talk([&boat, &harbour], 50..250, Duration::from_secs(8));
    boat.wait_for(|line| line == DOWN);
    shore.run(|| ip("link set cable up"));
    let start = Instant::now();
    harbour.numbers("Ada@boat", 50);
    println!("the first line after {:?}", start.elapsed());
    boat.wait_for(|line| line == UP);
    talk([&boat, &harbour], 250..300, Duration::from_secs(1));
    check(&harbour.numbers("Ada@boat", 299), 0..300);
    check(&boat.numbers("Bob@harbour", 299), 0..300);
    // the stream has each line once, too
    let kept = shore.run(|| history(&server.url(), &["--name", "Ada"]));
    assert_eq!(kept.lines().count(), 300, "{kept}");
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_server_that_has_lost_everything_is_used_as_a_new_one() {
    let mut server = Server::new();
    let mut boat = Place::new(&server.url(), "boat", "Ada");
    let mut harbour = Place::new(&server.url(), "harbour", "Bob");
    talk([&boat, &harbour], 0..50, Duration::from_secs(1));
    check(&harbour.numbers("Ada@boat", 49), 0..50);
    check(&boat.numbers("Bob@harbour", 49), 0..50);
    server.kill();
    server.wipe();
    talk([&boat, &harbour], 50..60, Duration::from_secs(1));
    server.start();
    talk([&boat, &harbour], 60..100, Duration::from_secs(1));
    check(&harbour.numbers("Ada@boat", 99), 0..100);
    check(&boat.numbers("Bob@harbour", 99), 0..100);
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn an_outage_that_is_longer_than_the_ring_is_told_as_numbers() {
    const SAID: u64 = 2_000;
    let mut server = Server::new();
    let mut boat = Place::new(&server.url(), "boat", "Ada");
    let harbour = start(&server.url(), "harbour", &[]);
    // a client to which no line is lost
    let at = harbour.at("127.0.0.1").to_string();
    let mut bob = ChatProgram::start(PROGRAM, &[&at, "--name", "Bob"]);
    boat.say(0..1);
    bob.wait_within(PATIENCE, |line| line == "Ada@boat : 0");
    server.kill();
    // more than the ring has room for
    let long = "x".repeat(880);
    for number in 0..SAID {
        boat.peer.say(format!("{number} {long}"));
        if number % 16 == 15 {
            boat.peer.synchronize();
        }
    }
    boat.wait_for(|line| line == DOWN);
    server.start();
    let up = boat.wait_for(|line| line.starts_with(UP));
    boat.say(7..8);
    bob.wait_within(PATIENCE, |line| line == "Ada@boat : 7");
    bob.close_input();
    let lines = bob.finish().lines;
    let lost: u64 = lines
        .iter()
        .filter_map(|line| {
            let number = line.strip_prefix("* ")?;
            let number = number.strip_suffix(" lines from boat lost")?;
            number.parse::<u64>().ok()
        })
        .sum();
    let shown = lines
        .iter()
        .filter(|line| line.starts_with("Ada@boat : ") && line.ends_with('x'));
    assert_eq!(shown.count() as u64 + lost, SAID);
    assert!(lost > 500, "{lost}");
    assert!(
        up.contains(&format!("; {lost} lines of here did not get there")),
        "{up}"
    );
}

/// Three servers that keep the room together.
fn cluster() -> (Vec<Server>, String) {
    let ports: Vec<[u16; 2]> = (0..3).map(|_| [free_port(), free_port()]).collect();
    let routes: Vec<String> = ports
        .iter()
        .map(|[_, route]| format!("nats-route://127.0.0.1:{route}"))
        .collect();
    let servers: Vec<Server> = ports
        .iter()
        .enumerate()
        .map(|(number, [port, route])| {
            let routes = routes.join(", ");
            let more = format!(
                "server_name: s{number}\ncluster {{ name: c, listen: \"127.0.0.1:{route}\", \
                 routes: [{routes}] }}"
            );
            Server::at(*port, &more)
        })
        .collect();
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    (servers, urls.join(","))
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn three_servers_of_which_each_is_killed_lose_and_double_nothing() {
    let (mut servers, urls) = cluster();
    let replicas = ["--link-replicas", "3"];
    let mut boat = Place::with(&urls, "boat", "Ada", &replicas);
    let mut harbour = Place::with(&urls, "harbour", "Bob", &replicas);
    boat.say(0..1);
    harbour.say(0..1);
    harbour.numbers("Ada@boat", 0);
    boat.numbers("Bob@harbour", 0);
    let mut next = 1;
    for server in &mut servers {
        server.kill();
        talk([&boat, &harbour], next..next + 60, Duration::from_secs(3));
        server.start();
        talk(
            [&boat, &harbour],
            next + 60..next + 80,
            Duration::from_secs(1),
        );
        next += 80;
        // the servers agree again before the next one is killed
        check(&harbour.numbers("Ada@boat", next - 1), 0..next);
        check(&boat.numbers("Bob@harbour", next - 1), 0..next);
    }
    servers.iter_mut().for_each(Server::kill);
    talk([&boat, &harbour], next..next + 40, Duration::from_secs(3));
    servers.iter_mut().for_each(Server::start);
    next += 40;
    check(&harbour.numbers("Ada@boat", next - 1), 0..next);
    check(&boat.numbers("Bob@harbour", next - 1), 0..next);
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn the_first_line_after_an_outage_comes_soon() {
    let mut server = Server::new();
    let boat = Place::new(&server.url(), "boat", "Ada");
    let mut harbour = Place::new(&server.url(), "harbour", "Bob");
    boat.say(0..1);
    harbour.numbers("Ada@boat", 0);
    server.kill();
    boat.say(1..2);
    std::thread::sleep(AWAY);
    server.start();
    let start = Instant::now();
    harbour.numbers("Ada@boat", 1);
    let took = start.elapsed();
    assert!(took < PATIENCE / 2, "{took:?}");
}

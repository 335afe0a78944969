//! Relays that are linked to one room by real servers, which are killed, stopped, wiped and replaced.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a measurement is printed")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod allocations;
mod credentials;
mod history;
mod keeping;
mod outages;
mod security;
mod servers;

use kilochat_tests::PlainPeer;
use nix::sys::signal::Signal;
use servers::{Place, Server, check, start};

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn lines_cross_both_ways_in_order_and_once() {
    let server = Server::new();
    let mut boat = Place::new(&server.url(), "boat", "Ada");
    let mut harbour = Place::new(&server.url(), "harbour", "Bob");
    for round in 1..=5 {
        std::thread::scope(|scope| {
            for place in [&mut boat, &mut harbour] {
                scope.spawn(move || place.say(round * 100 - 100..round * 100));
            }
        });
        check(
            &harbour.numbers("Ada@boat", round * 100 - 1),
            0..round * 100,
        );
        check(
            &boat.numbers("Bob@harbour", round * 100 - 1),
            0..round * 100,
        );
    }
    // nobody gets what is said at this place from elsewhere
    boat.peer.synchronize();
    assert!(
        !boat
            .peer
            .lines()
            .iter()
            .any(|line| line.contains("Ada") && line.ends_with(": 7"))
    );
    boat.meet("* 1 at harbour: Bob");
    harbour.meet("* 1 at boat: Ada");
    let counts = boat.relay.statistics();
    assert_eq!(counts["kernel_dropped"], 0, "{counts:?}");
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn long_lines_other_scripts_and_announcements_cross() {
    let server = Server::new();
    let boat = Place::new(&server.url(), "boat", "Ada");
    let mut harbour = Place::new(&server.url(), "harbour", "Bob \"B\" \\o/");
    boat.peer.say("你好 \"quoted\" \\ 😀");
    harbour.wait_for(|line| line == "Ada@boat : 你好 \"quoted\" \\ 😀");
    let long = "長".repeat(330);
    boat.peer.say(&long);
    let cleo = PlainPeer::join(boat.relay.at("127.0.0.1"), "Cleo");
    harbour.wait_for(|line| line == "* at boat: Cleo joined");
    let said: String = harbour
        .peer
        .lines()
        .iter()
        .filter_map(|line| line.strip_prefix("Ada@boat : ").map(str::to_owned))
        .skip(1)
        .collect();
    assert_eq!(said, long);
    cleo.say("/quit");
    harbour.wait_for(|line| line.starts_with("* at boat: Cleo left"));
    // nobody here can look like somebody there
    let mut twin = PlainPeer::new(harbour.relay.at("127.0.0.1"));
    twin.say("Ada@boat");
    twin.wait_for(|line| line.starts_with("* welcome Ada_boat"));
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_relay_that_restarts_shows_newcomers_what_was_said() {
    let server = Server::new();
    let mut boat = Place::new(&server.url(), "boat", "Ada");
    let mut harbour = Place::new(&server.url(), "harbour", "Bob");
    harbour.meet("* 1 at boat: Ada");
    harbour.say(0..3);
    check(&boat.numbers("Bob@harbour", 2), 0..3);
    boat.say(0..3);
    check(&harbour.numbers("Ada@boat", 2), 0..3);
    boat.relay.signal(Signal::SIGTERM);
    assert!(boat.relay.wait().success());
    harbour.wait_for(|line| line == "* place boat is out of reach");
    harbour.say(3..4);
    // what was said here before has no place, and it is not shown to those who have it already
    let mut again = Place::with(&server.url(), "boat", "Cleo", &["--history", "9"]);
    check(&again.numbers("Bob@harbour", 3), 0..4);
    check(&again.numbers("Ada", 2), 0..3);
    harbour.wait_for(|line| line == "* place boat is within reach again");
    again.say(7..8);
    check(&harbour.numbers("Cleo@boat", 7), 7..8);
    assert_eq!(harbour.numbers("Ada@boat", 2), [0, 1, 2]);
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn what_is_left_at_the_end_is_published() {
    let server = Server::new();
    let mut harbour = Place::new(&server.url(), "harbour", "Bob");
    for round in 0..5 {
        let mut boat = Place::new(&server.url(), "boat", "Ada");
        boat.say(round * 200..round * 200 + 200);
        boat.peer.synchronize();
        boat.relay.signal(Signal::SIGTERM);
        assert!(boat.relay.wait().success());
        let end = round * 200 + 200;
        check(&harbour.numbers("Ada@boat", end - 1), 0..end);
    }
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn twenty_relays_share_a_room() {
    let server = Server::new();
    let mut places: Vec<Place> = (0..20)
        .map(|number| {
            let (place, person) = (format!("place-{number}"), format!("P{number}"));
            Place::new(&server.url(), &place, &person)
        })
        .collect();
    std::thread::scope(|scope| {
        for place in &mut places {
            scope.spawn(move || place.say(0..10));
        }
    });
    for (index, place) in places.iter_mut().enumerate() {
        for other in (0..20).filter(|other| *other != index) {
            let author = format!("P{other}@place-{other}");
            check(&place.numbers(&author, 9), 0..10);
        }
    }
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn two_relays_with_the_name_of_one_place_are_told_so() {
    let server = Server::new();
    let mut one = Place::new(&server.url(), "boat", "Ada");
    let mut other = Place::new(&server.url(), "boat", "Bob");
    one.wait_for(|line| line == "* another relay is called boat, too");
    other.wait_for(|line| line == "* another relay is called boat, too");
    one.say(0..3);
    check(&other.numbers("Ada@boat", 2), 0..3);
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn rooms_do_not_hear_each_other() {
    let server = Server::new();
    let boat = Place::new(&server.url(), "boat", "Ada");
    let mut other = Place::with(&server.url(), "harbour", "Bob", &["--room", "other"]);
    let mut third = Place::with(&server.url(), "school", "Eve", &["--room", "other"]);
    boat.say(0..10);
    third.say(100..101);
    other.wait_for(|line| line == "Eve@school : 100");
    other.say(200..201);
    third.wait_for(|line| line == "Bob@harbour : 200");
    let lines = [other.peer.lines(), third.peer.lines()].concat();
    assert!(!lines.iter().any(|line| line.contains("Ada")), "{lines:?}");
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_relay_starts_and_goes_on_without_a_server_until_there_is_one() {
    let mut server = Server::new();
    server.kill();
    let mut relay = start(&server.url(), "boat", &[]);
    let ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    let mut bob = PlainPeer::join(relay.at("127.0.0.1"), "Bob");
    ada.say("before");
    bob.wait_for(|line| line == "Ada : before");
    bob.wait_for(|line| line == "* linked places are out of reach; here it goes on");
    let logged = relay.wait_for_log(|line| line.contains("out of reach"));
    assert!(logged.contains("cannot reach nats://127.0.0.1"), "{logged}");
    server.start();
    bob.wait_for(|line| line == "* linked places are within reach again");
    let mut harbour = Place::new(&server.url(), "harbour", "Eve");
    harbour.wait_for(|line| line == "Ada@boat : before");
}

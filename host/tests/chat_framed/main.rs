//! The chat client in the framed dialect with the real relay: its messages when something goes
//! wrong.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "a measurement is printed")]

mod private;
mod sending;

use core::net::SocketAddr;
use core::time::Duration;
use std::net::UdpSocket;
use std::time::Instant;

use kilochat_core::framed::{Frame, Hello, Resume, Session};
use kilochat_tests::proxy::{Faults, OldPort, Proxy};
use kilochat_tests::{ChatEnd, ChatProgram, PATIENCE, PlainPeer, RelayProgram, Wiretap};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

fn relay() -> RelayProgram {
    RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"])
}

fn join(address: SocketAddr, name: &str, options: &[&str]) -> ChatProgram {
    let host = address.to_string();
    let arguments = [&[host.as_str(), "--name", name], options].concat();
    let mut chat = ChatProgram::start(PROGRAM, &arguments);
    chat.wait_for(|line| line.contains("welcome"));
    chat
}

fn object(line: &str) -> serde_json::Value {
    serde_json::from_str(line).expect("an object a line")
}

/// Returns the texts of one kind that a client with `--json` printed.
fn texts(lines: &[String], kind: &str) -> Vec<String> {
    let objects = lines.iter().map(|line| object(line));
    objects
        .filter(|object| object["kind"] == kind)
        .map(|object| object["text"].as_str().expect("a text").to_owned())
        .collect()
}

/// Checks that all lines and gaps are in order, each once, from the first line on.
fn check_order(lines: &[String]) {
    let mut next = None;
    for object in lines.iter().map(|line| object(line)) {
        let Some(sequence) = object["sequence"].as_u64() else {
            continue;
        };
        assert_eq!(*next.get_or_insert(sequence), sequence, "{lines:#?}");
        next = Some(sequence + object["lines"].as_u64().unwrap_or(1));
    }
}

/// Stops a client's process, as a suspension of its machine does.
fn stop(chat: &ChatProgram) {
    chat.signal(Signal::SIGSTOP);
}

fn finish(mut chat: ChatProgram) -> ChatEnd {
    chat.close_input();
    chat.finish()
}

/// Lets Ada and Bob join, and Bob read a line of hers.
fn join_both(address: SocketAddr) -> [ChatProgram; 2] {
    let [mut ada, mut bob] = ["Ada", "Bob"].map(|name| join(address, name, &["--json"]));
    ada.write("before\n");
    for chat in [&mut ada, &mut bob] {
        chat.wait_for(|line| line.contains(r#""text":"before""#));
    }
    [ada, bob]
}

#[test]
fn a_relay_that_is_killed_is_joined_again_and_what_is_in_doubt_is_told() {
    let mut relay = relay();
    let (address, bind) = (relay.address, relay.address.to_string());
    let [mut ada, mut bob] = join_both(address);
    relay.kill();
    // the client has not noticed the end of the relay yet: this line is perhaps said
    ada.write("into the void\n");
    ada.wait_for(|line| line.contains("connection lost (connection refused"));
    // these lines wait
    ada.write("held one\nheld two\n");
    std::thread::sleep(Duration::from_millis(300));
    let _relay = RelayProgram::start(PROGRAM, &["--bind", &bind]);
    let again = "the relay was restarted; joined again as";
    ada.wait_for(|line| line.contains(&format!("{again} Ada; lines may be missing")));
    // a client that only listens notices it by its keepalive
    bob.wait_for(|line| line.contains(&format!("{again} Bob; lines may be missing")));
    for text in ["held one", "held two"] {
        bob.wait_for(|line| line.contains(&format!(r#""text":"{text}""#)));
    }
    bob.write("after\n");
    ada.wait_for(|line| line.contains(r#""text":"after""#));
    let (ada, bob) = (finish(ada), finish(bob));
    assert_eq!(texts(&ada.lines, "own"), ["before", "held one", "held two"]);
    let statuses = texts(&ada.lines, "status");
    assert!(
        statuses.contains(&"perhaps not delivered: into the void".into()),
        "{statuses:?}"
    );
    assert_eq!(ada.code, Some(1));
    assert_eq!(ada.errors, "kilochat: 1 line was perhaps not delivered\n");
    assert_eq!((bob.code, bob.errors.as_str()), (Some(0), ""));
    let heard = [texts(&bob.lines, "message"), texts(&bob.lines, "history")].concat();
    assert!(!heard.contains(&"into the void".into()), "{heard:?}");
}

#[test]
fn a_relay_that_is_restarted_loses_no_line() {
    let mut relay = relay();
    let (address, bind) = (relay.address, relay.address.to_string());
    let [mut ada, mut bob] = join_both(address);
    relay.signal(Signal::SIGTERM);
    relay.wait();
    for chat in [&mut ada, &mut bob] {
        chat.wait_for(|line| line.contains("waiting for the relay, to join again"));
        let place = |part| chat.lines.iter().position(|line| line.contains(part));
        assert!(place("relay is stopping") < place("waiting for the relay"));
        assert!(place("relay is stopping").is_some());
    }
    ada.write("while it is away\n");
    bob.write("I am still here\n");
    std::thread::sleep(Duration::from_millis(300));
    let _relay = RelayProgram::start(PROGRAM, &["--bind", &bind]);
    let heard = |line: &str| object(line)["kind"] != "own";
    ada.wait_for(|line| line.contains("I am still here") && heard(line));
    bob.wait_for(|line| line.contains("while it is away") && heard(line));
    for (chat, said) in [(ada, "while it is away"), (bob, "I am still here")] {
        let end = finish(chat);
        assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
        let own = texts(&end.lines, "own");
        assert_eq!(
            own.iter().filter(|text| *text == said).count(),
            1,
            "{own:?}"
        );
    }
}

#[test]
fn a_client_that_was_stopped_for_a_moment_misses_nothing() {
    sleep_through(Duration::from_secs(3), false);
}

#[test]
#[ignore = "takes 95 s: cargo test --package kilochat --test chat_framed -- --ignored"]
fn a_client_that_was_stopped_for_90_s_misses_nothing() {
    sleep_through(Duration::from_secs(90), true);
}

/// Stops a client while a hundred lines are said. Afterwards it must show all of them.
fn sleep_through(time: Duration, is_parked: bool) {
    let relay = relay();
    let mut ada = join(relay.address, "Ada", &["--json"]);
    let mut bob = join(relay.address, "Bob", &["--json"]);
    ada.write("before\n");
    bob.wait_for(|line| line.contains(r#""text":"before""#));
    stop(&ada);
    let said: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
    for text in &said {
        bob.write(format!("{text}\n"));
        std::thread::sleep(time / 100);
    }
    if is_parked {
        bob.wait_for(|line| line.contains("Ada is away"));
    }
    ada.signal(Signal::SIGCONT);
    ada.wait_for(|line| line.contains(r#""text":"line 99""#));
    if is_parked {
        bob.wait_for(|line| line.contains("Ada is back"));
    }
    ada.write("good morning\n");
    bob.wait_for(|line| line.contains("good morning"));
    let (ada, bob) = (finish(ada), finish(bob));
    for end in [&ada, &bob] {
        assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
        check_order(&end.lines);
    }
    assert_eq!(texts(&ada.lines, "message"), said);
    assert_eq!(texts(&ada.lines, "gap"), [""; 0]);
    assert_eq!(texts(&bob.lines, "own"), said);
    // the machine was not suspended and the relay kept the seat, so there is no message
    assert_eq!(texts(&ada.lines, "status"), [""; 0]);
}

#[test]
#[ignore = "takes 60 s: cargo test --package kilochat --test chat_framed -- --ignored"]
fn a_client_whose_seat_was_given_away_goes_on_where_it_was() {
    for lines in [12, 100] {
        let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0", "--seats", "2"]);
        let mut bob = PlainPeer::join(relay.address, "Bob");
        let mut ada = join(relay.address, "Ada", &["--json", "--stay"]);
        bob.say("before");
        ada.wait_for(|line| line.contains(r#""text":"before""#));
        stop(&ada);
        let said: Vec<String> = (0..lines).map(|number| format!("away {number}")).collect();
        for text in &said {
            bob.say(text);
        }
        bob.wait_for(|line| line == "* Ada is away");
        let eve = PlainPeer::join(relay.address, "Eve");
        bob.wait_for(|line| line == "* Ada left (silent)");
        eve.say("/quit");
        bob.wait_for(|line| line == "* Eve left (quit)");
        ada.signal(Signal::SIGCONT);
        ada.wait_for(|line| line.contains("joined again as Ada"));
        bob.say("after");
        ada.wait_for(|line| line.contains(r#""text":"after""#));
        ada.signal(Signal::SIGTERM);
        let end = ada.finish();
        check_order(&end.lines);
        let expected = [&["before".to_owned()][..], &said, &["after".to_owned()]].concat();
        assert_eq!(texts(&end.lines, "message"), expected);
        assert_eq!(texts(&end.lines, "gap"), [""; 0]);
        assert_eq!(texts(&end.lines, "history"), [""; 0]);
    }
}

#[test]
fn what_was_overwritten_while_a_client_was_stopped_is_counted() {
    let relay = relay();
    let mut ada = join(relay.address, "Ada", &["--json"]);
    let mut bob = join(relay.address, "Bob", &["--json"]);
    stop(&ada);
    // twice the size of the relay's ring
    let text = "x".repeat(800);
    let flood: String = (0..2600)
        .map(|number| format!("{number} {text}\n"))
        .collect();
    let writing = std::thread::spawn(move || {
        bob.write(flood);
        finish(bob)
    });
    let bob = writing.join().expect("no panic");
    assert_eq!((bob.code, bob.errors.as_str()), (Some(0), ""));
    ada.signal(Signal::SIGCONT);
    ada.wait_for(|line| line.contains("Bob left"));
    let ada = finish(ada);
    assert_eq!((ada.code, ada.errors.as_str()), (Some(0), ""));
    check_order(&ada.lines);
    let gaps = ada.lines.iter().map(|line| object(line));
    let lost: usize = gaps
        .filter_map(|object| usize::try_from(object["lines"].as_u64()?).ok())
        .sum();
    let heard = texts(&ada.lines, "message").len();
    assert!(lost > 1000, "{lost} lost, {heard} heard");
    assert_eq!(lost + heard, 2600);
    let told = texts(&ada.lines, "gap");
    assert!(
        told.iter().all(|text| text.ends_with(" messages lost")),
        "{told:?}"
    );
}

/// Another client, which resumes a session.
struct Other(UdpSocket);

impl Other {
    fn new(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(relay).expect("loopback");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Self(socket)
    }

    fn send(&self, frame: &Frame<'_>) {
        let mut buffer = [0; 1024];
        let length = frame.encode(&mut buffer).expect("it fits");
        self.0.send(&buffer[..length]).expect("loopback accepts it");
    }

    /// Receives until `wanted` returns a value for a frame.
    fn receive<T>(&self, wanted: impl Fn(Frame<'_>) -> Option<T>) -> T {
        let mut buffer = [0; 1024];
        loop {
            let length = self.0.recv(&mut buffer).expect("it comes");
            let frame = Frame::decode(&buffer[..length]);
            if let Some(found) = wanted(frame.expect("a frame")) {
                return found;
            }
        }
    }

    /// Says HELLO until there is a WELCOME, and returns its session.
    fn resume(&self, resume: Resume) -> Session {
        let hello = |cookie| {
            Frame::Hello(Hello {
                abilities: 0,
                nonce: u64::MAX / 2,
                cookie,
                resume: Some(resume),
                name: "Ada",
            })
        };
        self.send(&hello(None));
        let cookie = self.receive(|frame| {
            let Frame::Cookie(cookie) = frame else {
                return None;
            };
            Some(cookie.cookie)
        });
        for _ in 0..3 {
            self.send(&hello(Some(cookie)));
            std::thread::sleep(Duration::from_millis(500));
        }
        self.receive(|frame| {
            let Frame::Welcome(welcome) = frame else {
                return None;
            };
            Some(welcome.session)
        })
    }
}

#[test]
fn a_session_in_use_is_not_taken_from_its_client() {
    let relay = relay();
    let tap = Wiretap::start(relay.address);
    let mut ada = join(tap.address, "Ada", &["--json"]);
    let mut bob = join(relay.address, "Bob", &[]);
    ada.wait_for(|line| line.contains("Bob joined"));
    let resume = tap.resume().expect("there was a WELCOME");
    let given = Other::new(relay.address).resume(resume);
    assert_ne!(given, resume.session);
    bob.write("who is there?\n");
    ada.wait_for(|line| line.contains(r#""text":"who is there?""#));
    let end = finish(ada);
    assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
    assert!(!end.lines.iter().any(|line| line.contains("joining again")));
    finish(bob);
}

#[test]
fn of_two_clients_with_one_session_the_first_says_so_and_takes_another_seat() {
    let relay = relay();
    let tap = Wiretap::start(relay.address);
    let mut ada = join(tap.address, "Ada", &["--stay", "--json"]);
    let mut bob = join(relay.address, "Bob", &[]);
    ada.wait_for(|line| line.contains("Bob joined"));
    let resume = tap.resume().expect("there was a WELCOME");
    let other = Other::new(relay.address);
    ada.signal(Signal::SIGSTOP);
    assert_eq!(other.resume(resume), resume.session, "nobody responds");
    ada.signal(Signal::SIGCONT);
    let told = "taken over: another client goes on with this session; joining again";
    ada.wait_for(|line| line.contains(told));
    ada.wait_for(|line| line.contains("joined again as Ada~2"));
    bob.write("who is there?\n");
    other.receive(|frame| {
        let Frame::Data(data) = frame else {
            return None;
        };
        let mut lines = data.entries().map(|entry| entry.line);
        lines.find(|line| *line == "Bob : who is there?").map(drop)
    });
    ada.wait_for(|line| line.contains(r#""text":"who is there?""#));
    ada.signal(Signal::SIGTERM);
    let end = ada.finish();
    assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
    check_order(&end.lines);
    let end = finish(bob);
    assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
    assert!(
        !end.lines.iter().any(|line| line.contains("Ada left")),
        "nobody left: {:?}",
        end.lines
    );
}

#[test]
fn frames_that_came_to_life_late_are_used_after_all() {
    let relay = relay();
    let tap = Wiretap::start(relay.address);
    let mut bob = join(relay.address, "Bob", &[]);
    tap.set_frames(false);
    let host = tap.address.to_string();
    let mut ada = ChatProgram::start(PROGRAM, &[&host, "--name", "Ada", "--json"]);
    ada.write("hello\n");
    // when this line arrives, she has fallen back to the plain dialect
    bob.wait_for(|line| line == "* Ada joined");
    tap.set_frames(true);
    bob.wait_for(|line| line == "Ada : hello");
    let end = finish(ada);
    assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
    assert_eq!(texts(&end.lines, "own"), ["hello"], "in frames");
    let bob = finish(bob);
    let about: Vec<&String> = bob
        .lines
        .iter()
        .filter(|line| line.contains("Ada"))
        .collect();
    assert_eq!(
        about[about.len() - 5..],
        [
            "* Ada joined",
            "* Ada left (quit)",
            "* Ada joined",
            "Ada : hello",
            "* Ada left (quit)"
        ]
    );
}

#[test]
fn frames_that_never_arrive_are_not_tried_for_ever() {
    let relay = relay();
    let tap = Wiretap::start(relay.address);
    tap.set_frames(false);
    let mut bob = join(relay.address, "Bob", &[]);
    let host = tap.address.to_string();
    let mut ada = ChatProgram::start(PROGRAM, &[&host, "--name", "Ada"]);
    ada.write("hello\n");
    bob.wait_for(|line| line == "Ada : hello");
    let end = finish(ada);
    assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
    let bob = finish(bob);
    let joins = bob
        .lines
        .iter()
        .filter(|line| *line == "* Ada joined")
        .count();
    assert_eq!(joins, 3, "{:?}", bob.lines);
}

/// Starts a proxy with a delay of 50 ms in each direction, and with these other faults.
fn slow(relay: SocketAddr, faults: Faults) -> Proxy {
    let delay = Duration::from_millis(50);
    Proxy::start(any_port(), relay, Faults { delay, ..faults }, 7).expect("a free port")
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Returns the port that a client uses: the one from which most datagrams came.
fn voice(proxy: &Proxy) -> SocketAddr {
    let clients = proxy.clients().into_iter();
    let most = clients.max_by_key(|client| client.up.received);
    most.expect("somebody spoke").address
}

#[test]
fn a_client_whose_port_changed_goes_on() {
    for old in [OldPort::Closed, OldPort::Silent, OldPort::Open] {
        let relay = relay();
        let proxy = Proxy::start(any_port(), relay.address, Faults::NONE, 7).expect("a free port");
        let mut ada = join(proxy.address(), "Ada", &["--json"]);
        let mut bob = join(relay.address, "Bob", &["--json"]);
        ada.wait_for(|line| line.contains("Bob joined"));
        proxy.move_client(voice(&proxy), old).expect("it was heard");
        // sent to the old port, until the client sends from the new one
        bob.write("are you there?\n");
        std::thread::sleep(Duration::from_millis(300));
        ada.write("here I am\n");
        ada.wait_for(|line| line.contains("connected again as Ada"));
        bob.wait_for(|line| line.contains(r#""text":"here I am""#));
        if !ada.lines.iter().any(|line| line.contains("are you there?")) {
            ada.wait_for(|line| line.contains("are you there?"));
        }
        let (ada, bob) = (finish(ada), finish(bob));
        for end in [&ada, &bob] {
            assert_eq!((end.code, end.errors.as_str()), (Some(0), ""), "{old:?}");
            check_order(&end.lines);
        }
        assert_eq!(texts(&ada.lines, "own"), ["here I am"]);
        assert_eq!(texts(&ada.lines, "message"), ["are you there?"]);
        assert_eq!(texts(&ada.lines, "status"), ["connected again as Ada"]);
        assert!(
            !bob.lines
                .iter()
                .any(|line| line.contains("Ada left (unreachable)")),
            "{:?}",
            bob.lines
        );
    }
}

#[test]
fn a_paste_at_100_ms_is_delivered_in_under_three_seconds() {
    let relay = relay();
    let proxy = slow(relay.address, Faults::NONE);
    let mut bob = join(relay.address, "Bob", &[]);
    let mut ada = join(proxy.address(), "Ada", &[]);
    let paste: String = (0..200).map(|number| format!("line {number}\n")).collect();
    let begun = Instant::now();
    ada.write(paste);
    bob.wait_for(|line| line == "Ada : line 199");
    let took = begun.elapsed();
    println!("200 lines at 100 ms: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    let end = finish(ada);
    assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
    let heard: Vec<&str> = bob
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("Ada : "))
        .collect();
    let said: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
    assert_eq!(heard, said);
}

#[test]
fn the_end_of_the_input_waits_until_everything_has_arrived() {
    let relay = relay();
    let proxy = slow(relay.address, Faults::HARSH);
    let mut bob = join(relay.address, "Bob", &["--json"]);
    let mut ada = ChatProgram::start(
        PROGRAM,
        &[&proxy.address().to_string(), "--name", "Ada", "--json"],
    );
    let said: Vec<String> = (0..500).map(|number| format!("line {number}")).collect();
    ada.write(said.join("\n"));
    let ada = finish(ada);
    assert_eq!((ada.code, ada.errors.as_str()), (Some(0), ""));
    check_order(&ada.lines);
    assert_eq!(texts(&ada.lines, "own").len(), 500);
    bob.wait_for(|line| line.contains("Ada left (quit)"));
    assert_eq!(texts(&bob.lines, "message"), said);
}

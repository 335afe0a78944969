//! `kilochat ping`, against a relay that the test controls.
#![cfg(unix)]

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use kilochat_core::framed::{Cookie, Frame, HELLO_MIN};
use kilochat_tests::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// The relay's end.
struct Relay(UdpSocket);

impl Relay {
    fn bind(ip: &str) -> Self {
        let socket = UdpSocket::bind((ip, 0)).expect("a free port");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// Returns the next request: its nonce and its source.
    fn receive(&self) -> (u64, SocketAddr) {
        let mut buffer = [0; 2048];
        let (length, source) = self.0.recv_from(&mut buffer).expect("a request");
        assert!((HELLO_MIN..=1024).contains(&length));
        let Ok(Frame::Hello(hello)) = Frame::decode(&buffer[..length]) else {
            panic!("no HELLO: {}", buffer[..length].escape_ascii());
        };
        assert_eq!((hello.cookie, hello.resume), (None, None), "it never joins");
        (hello.nonce, source)
    }

    fn answer(&self, (nonce, source): (u64, SocketAddr)) {
        let cookie = Frame::Cookie(Cookie {
            version: "1.2.3",
            nonce,
            cookie: [7; 16],
            words: "00000000 a-later-word",
        });
        let mut buffer = [0; HELLO_MIN];
        let length = cookie.encode(&mut buffer).expect("it fits");
        self.0
            .send_to(&buffer[..length], source)
            .expect("loopback accepts it");
    }
}

fn start(arguments: &[&str]) -> Child {
    Command::new(PROGRAM)
        .arg("ping")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// Waits for the end. Returns standard output, standard error and exit code.
fn end(child: Child) -> (String, String, Option<i32>) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("it was started");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(stdout), text(stderr), status.code())
}

#[test]
fn answers_are_timed_and_summed_up() {
    let relay = Relay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let child = start(&[&host, "-c", "4", "-i", "0.3"]);
    let first = relay.receive();
    relay.answer(first);
    let lost = relay.receive();
    let late = relay.receive();
    let last = relay.receive();
    relay.answer(last);
    relay.answer(last);
    relay.answer(late);
    let (said, errors, code) = end(child);
    assert_eq!((errors.as_str(), code), ("", Some(0)), "{said}");
    let nonces = [first, lost, late, last].map(|(nonce, _)| nonce.wrapping_sub(first.0));
    assert_eq!(nonces, [0, 1, 2, 3]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("asking {host}"));
    let answer = |line: &str, number: u32| -> f64 {
        let start = format!("{host}: kilochat 1.2.3 seq={number} time=");
        let time = line
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix(" ms"));
        time.expect(line).parse().expect("a number")
    };
    assert!(answer(lines[1], 1) < 200.0);
    assert!(answer(lines[2], 4) < 200.0);
    assert!(answer(lines[3], 3) >= 200.0, "a late answer: {}", lines[3]);
    assert_eq!(lines[4], format!("--- {host}"));
    assert_eq!(lines[5], "4 sent, 3 received, 25% lost, 1 twice");
    assert!(lines[6].starts_with("round trip min/avg/max = "), "{said}");
    assert_eq!(lines.len(), 7);
}

#[test]
fn an_old_server_is_never_sent_a_message() {
    let server = Relay::bind("127.0.0.1");
    let host = server.address().to_string();
    let child = start(&[&host, "-i", "0.02"]);
    let begun = Instant::now();
    let sources: BTreeSet<SocketAddr> = (0..16).map(|_| server.receive().1).collect();
    assert_eq!(
        sources.len(),
        16,
        "the second datagram from a port is a message"
    );
    for source in &sources {
        // a port that is unreachable would end an old server on Windows
        server.0.send_to(b"Bob : hi", source).expect("loopback");
    }
    let (said, errors, code) = end(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(said.contains("16 sent, 0 received, 100% lost\n"), "{said}");
    assert_eq!(
        errors,
        format!(
            "kilochat: no relay answers: {host} speaks, but not in frames \
             (an old server, or a relay with --classic, looks like none)\n"
        )
    );
    server.0.set_nonblocking(true).expect("it can");
    let mut buffer = [0; 2048];
    assert!(server.0.recv_from(&mut buffer).is_err(), "and no more");
}

#[test]
fn once_it_is_answered_it_keeps_its_port() {
    let relay = Relay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let child = start(&[&host, "-c", "30", "-i", "0.01"]);
    let mut sources = BTreeSet::new();
    for number in 0..30 {
        let request = relay.receive();
        sources.insert(request.1);
        // the first two requests are lost, and so are all after the third
        if number == 2 {
            relay.answer(request);
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let (said, _, code) = end(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(sources.len() < 30, "{}", sources.len());
    assert!(said.contains("30 sent, 1 received, 96.7% lost\n"), "{said}");
}

#[test]
fn a_port_that_nobody_listens_at_is_told() {
    let host = Relay::bind("127.0.0.1").address().to_string();
    let begun = Instant::now();
    let (said, errors, code) = end(start(&[&host, "-c", "20", "-i", "0.01"]));
    assert_eq!(code, Some(1));
    let told = format!("connection refused: nobody listens at {host}");
    assert!(said.matches(&told).count() >= 16, "it goes on: {said}");
    assert!(errors.contains(&told), "{errors}");
    assert!(errors.contains("--classic"), "{errors}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn control_c_sums_up() {
    let relay = Relay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let mut child = start(&[&host, "-i", "60"]);
    relay.answer(relay.receive());
    let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = || output.next().expect("a line").expect("UTF-8");
    while !line().contains(" seq=1 ") {}
    let id = i32::try_from(child.id()).expect("a process id");
    kill(Pid::from_raw(id), Signal::SIGINT).expect("it runs");
    assert_eq!(line(), format!("--- {host}"));
    assert_eq!(line(), "1 sent, 1 received, 0% lost");
    assert_eq!(child.wait().expect("it was started").code(), Some(0));
}

#[test]
fn it_ends_when_nobody_reads_its_output() {
    let relay = Relay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let mut child = start(&[&host, "-i", "0.05"]);
    relay.answer(relay.receive());
    let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
    while !output
        .next()
        .expect("a line")
        .expect("UTF-8")
        .contains(" seq=1 ")
    {}
    drop(output);
    relay.answer(relay.receive());
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().expect("it was started").is_none() {
        assert!(Instant::now() < deadline, "it goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().expect("it was started").code(), Some(0));
}

#[test]
fn every_address_of_a_name_is_asked() {
    for (ip, name) in [("127.0.0.1", "localhost"), ("::1", "[::1]")] {
        let relay = Relay::bind(ip);
        let host = format!("{name}:{}", relay.address().port());
        let child = start(&[&host, "-c", "1"]);
        relay.answer(relay.receive());
        let (said, errors, code) = end(child);
        assert_eq!(code, Some(0), "{said}{errors}");
        assert!(said.contains("1 sent, 1 received, 0% lost\n"), "{said}");
    }
}

#[test]
fn what_cannot_be_asked_is_told() {
    let cases: [&[&str]; 5] = [
        &["127.0.0.1:0"],
        &["127.0.0.1", "-c", "0"],
        &["127.0.0.1", "-i", "0.001"],
        &["127.0.0.1", "-i", "NaN"],
        &["127.0.0.1", "-i", "1e19"],
    ];
    for arguments in cases {
        let (said, errors, code) = end(start(arguments));
        assert_eq!(
            (said.as_str(), code),
            ("", Some(2)),
            "{arguments:?}: {errors}"
        );
    }
}

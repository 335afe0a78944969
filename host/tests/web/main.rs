//! The page's gateway on real sockets. The clients are the core's, over WebSockets.
#![cfg(all(unix, feature = "web"))]

mod browsers;
mod heads;
mod page;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Instant;

use kilochat_core::Joined;
use kilochat_tests::{PATIENCE, PlainPeer, RelayProgram, allow_many_sockets};
use page::{Page, connect, gateway};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

fn relay(arguments: &[&str]) -> RelayProgram {
    let all = [&["--bind", "127.0.0.1:0", "--web"], arguments].concat();
    // the TCP port may be taken by a connection of another test
    let started = || RelayProgram::start(PROGRAM, &all);
    let mut tries = core::iter::repeat_with(started).take(10);
    tries
        .find(|relay| TcpStream::connect(relay.address).is_ok())
        .expect("a port is free for both")
}

/// Sends a request and returns the whole answer.
fn request(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(head.as_bytes()).expect("it is taken");
    answer(&mut stream)
}

fn answer(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut answer = Vec::new();
    // a connection that is closed early has no answer
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn pages_hear_every_line_once_and_in_order_and_so_do_others() {
    const PAGES: usize = 24;
    const LINES: usize = 200;
    let relay = relay(&[]);
    let mut ada = PlainPeer::join(relay.address, "Ada");
    let mut pages: Vec<Page> = (0..PAGES)
        .map(|number| Page::join(relay.address, &format!("page {number}")))
        .collect();
    for line in 0..LINES {
        pages[line % PAGES].say(&format!("line {line}"));
        if line % 10 == 9 {
            Page::run_until(&mut pages, |page| page.heard("line ") > line);
        }
    }
    Page::run_until(&mut pages, |page| page.is_settled());
    ada.synchronize();
    let lines = |all: Vec<String>| -> Vec<String> {
        let lines = all.into_iter().filter(|line| line.contains(" : line "));
        lines.collect()
    };
    let order = lines(ada.lines());
    assert_eq!(order.len(), LINES);
    for page in &mut pages {
        let heard = page.peer.lines.iter().map(|(_, line)| line.clone());
        assert_eq!(lines(heard.collect()), order);
        assert_eq!(page.peer.lost, 0);
        let mut sequences = page.peer.lines.windows(2);
        assert!(sequences.all(|pair| pair[0].0 + 1 == pair[1].0));
    }
}

#[test]
fn a_message_is_a_datagram_of_1_to_1024_bytes_that_is_a_frame() {
    let mut relay = relay(&[]);
    let mut socket = connect(relay.address).expect("there is a place");
    let hello = |length: usize| {
        let mut hello = b"\x01H KC1 00000000 00000000000000ff - - Ada".to_vec();
        hello.resize(length, b' ');
        Message::binary(hello)
    };
    for message in [
        Message::binary(vec![]),
        Message::binary(&b"Ada"[..]),
        Message::binary(&[1][..]),
        hello(1024),
    ] {
        socket.send(message).expect("it is taken");
    }
    let cookie = socket.read().expect("it is open").into_data();
    assert_eq!(cookie.first_chunk(), Some(b"\x01C KC1"));
    socket.send(hello(1025)).expect("it is taken");
    assert_eq!(close_code(&mut socket), Some(CloseCode::Size));
    let mut socket = connect(relay.address).expect("there is a place");
    socket
        .send(Message::text("\u{1}text"))
        .expect("it is taken");
    assert_eq!(close_code(&mut socket), Some(CloseCode::Unsupported));
    relay.signal(nix::sys::signal::Signal::SIGUSR1);
    let statistics = relay.wait_for_log(|line| line.contains("web statistics"));
    for count in [
        "\"opened\":2",
        "\"to_relay\":2",
        "\"to_pages\":1",
        "\"plain\":3",
        "\"too_long\":1",
    ] {
        assert!(statistics.contains(count), "{count}: {statistics}");
    }
}

fn close_code(socket: &mut page::Socket) -> Option<CloseCode> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
            Ok(_) => {}
            Err(error) => panic!("no close frame: {error}"),
        }
    }
}

#[test]
fn silent_connections_keep_nobody_out() {
    let mut relay = relay(&[]);
    let silent: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = TcpStream::connect(relay.address).expect("it listens");
            if number % 2 == 0 {
                // fails if the connection was displaced already
                let _ = stream.write_all(b"GET / HT");
            }
            stream
        })
        .collect();
    let start = Instant::now();
    let answer = request(relay.address, &get("/"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "the request waited for slow ones"
    );
    let mut page = Page::join(relay.address, "Ada");
    page.say("hello");
    Page::run_until(core::slice::from_mut(&mut page), Page::is_settled);
    // the silent connections are closed in the end
    for mut stream in silent {
        assert_eq!(self::answer(&mut stream), "");
    }
    relay.signal(nix::sys::signal::Signal::SIGUSR1);
    let statistics = relay.wait_for_log(|line| line.contains("web statistics"));
    let fields: serde_json::Value = serde_json::from_str(&statistics).expect("JSON");
    let count = |key: &str| fields[key].as_u64().expect("a number");
    // one further connection is the attempt in `relay`
    let closed = count("late") + count("displaced");
    assert!((100..=101).contains(&closed), "{statistics}");
}

#[test]
fn a_page_that_takes_nothing_delays_nobody() {
    const LINES: usize = 3000;
    let relay = relay(&[]);
    let mut stuck = Page::join(relay.address, "stuck");
    // from here on it is not read, and the lines that follow are more than the kernel can buffer
    let mut page = Page::join(relay.address, "Ada");
    let bob = PlainPeer::join(relay.address, "Bob");
    let text = "x".repeat(900);
    for line in 0..LINES {
        bob.say(format!("{line} {text}"));
        if line % 8 == 7 {
            Page::run_until(core::slice::from_mut(&mut page), |page| {
                page.heard("Bob : ") > line
            });
        }
    }
    assert_eq!(page.peer.lost, 0);
    // the stuck page receives each line, or is told how many it has lost
    Page::run_until(core::slice::from_mut(&mut stuck), |page| {
        let lost = usize::try_from(page.peer.lost).expect("few");
        page.heard("Bob : ") + lost >= LINES
    });
}

#[test]
fn other_hosts_and_origins_are_rejected() {
    let relay = relay(&["--web-name", "boat.example.org"]);
    let port = relay.address.port();
    for (host, origin, status) in [
        ("localhost", "http://localhost", 200),
        ("boat.example.org", "http://boat.example.org", 200),
        ("other.example.org", "http://other.example.org", 403),
        ("localhost", "http://other.example.org", 403),
    ] {
        let head =
            format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {origin}:{port}\r\n\r\n");
        let answer = request(relay.address, &head);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{head}{answer}");
    }
    let tls = request(relay.address, "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03");
    assert!(tls.starts_with("HTTP/1.1 400 "), "{tls}");
    let long = request(relay.address, &get(&"x".repeat(1 << 20)));
    assert!(long.starts_with("HTTP/1.1 431 "), "{long}");
}

#[test]
fn there_are_as_many_connections_as_were_allowed_and_places_are_free_again() {
    let relay = relay(&["--web-connections", "5"]);
    let mut sockets: Vec<page::Socket> = (0..5)
        .map(|_| connect(relay.address).expect("there is a place"))
        .collect();
    let refused = connect(relay.address).expect_err("there is none");
    assert!(refused.contains("503"), "{refused}");
    let answer = request(relay.address, &get("/"));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: 10\r\n"), "{answer}");
    drop(sockets.pop());
    page::eventually(|| connect(relay.address).is_ok());
}

#[test]
fn five_hundred_and_twelve_pages_hear_every_line_once_and_in_order() {
    const PAGES: usize = 512;
    const LINES: usize = 20;
    allow_many_sockets();
    let relay = relay(&["--web-per-address", "1000"]);
    let mut pages = Vec::new();
    for number in 0..PAGES {
        pages.push(Page::join(relay.address, &format!("page {number}")));
        if number % 50 == 49 {
            Page::run_until(&mut pages, |_| true);
        }
    }
    // this is the maximum that the option allows by default
    let refused = connect(relay.address).expect_err("there is no place");
    assert!(refused.contains("503"), "{refused}");
    let ada = PlainPeer::join(relay.address, "Ada");
    for line in 0..LINES {
        ada.say(format!("line {line}"));
    }
    let last = format!("line {}", LINES - 1);
    Page::run_until(&mut pages, |page| page.has_heard(&last));
    let expected: Vec<String> = (0..LINES)
        .map(|line| format!("Ada : line {line}"))
        .collect();
    for page in &pages {
        let lines = page.peer.lines.iter().map(|(_, line)| line);
        let heard: Vec<&String> = lines.filter(|line| line.contains(" : line ")).collect();
        assert_eq!(heard, expected.iter().collect::<Vec<_>>());
        assert_eq!(page.peer.lost, 0);
    }
}

#[test]
fn pages_have_at_most_half_of_the_seats() {
    let relay = relay(&["--seats", "4"]);
    let sockets: Vec<page::Socket> = (0..2)
        .map(|_| connect(relay.address).expect("there is a place"))
        .collect();
    let refused = connect(relay.address).expect_err("there is none");
    assert!(refused.contains("503"), "{refused}");
    // the page itself is still served, and shows the reason
    let answer = request(relay.address, &get("/"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(sockets);
}

#[test]
fn a_page_goes_on_when_the_relay_or_the_gateway_is_started_again() {
    let mut relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    let at = relay.address.to_string();
    let mut front = gateway(&[&at, "--listen", "127.0.0.1:0"]);
    let mut page = Page::join(front.address, "Ada");
    page.say("before");
    Page::run_until(core::slice::from_mut(&mut page), |page| {
        page.is_settled() && page.heard("Ada : before") == 1
    });
    // a gateway has no state, so the session is resumed from another port
    let listen = front.address.to_string();
    front.kill();
    let front = gateway(&[&at, "--listen", &listen]);
    page.reconnect(front.address);
    page.say("between");
    Page::run_until(core::slice::from_mut(&mut page), |page| {
        page.is_settled() && page.has_heard("Ada : between")
    });
    assert_eq!(page.peer.seats, [Joined::New, Joined::Resumed]);
    relay.kill();
    page.peer.post("lost");
    assert_eq!(page.read_close(), Some(CloseCode::Again));
    let _relay = RelayProgram::start(PROGRAM, &["--bind", &at]);
    page.reconnect(front.address);
    page.say("after");
    Page::run_until(core::slice::from_mut(&mut page), |page| {
        page.heard("Ada : after") == 1
    });
    let last = page.peer.seats.last();
    assert_eq!(last, Some(&Joined::Restarted));
    assert!(page.peer.doubtful.len() <= 1, "{:?}", page.peer.doubtful);
    for text in ["before", "between"] {
        assert_eq!(page.heard(&format!("Ada : {text}")), 1, "{text}");
    }
}

#[test]
fn a_relay_whose_port_is_taken_for_tcp_runs_without_a_page_and_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let web = format!("--web={}", taken.local_addr().expect("it is bound"));
    let mut relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0", &web]);
    let why = relay.wait_for_log(|line| line.contains("runs without a page"));
    assert!(why.contains("the port is taken"), "{why}");
    PlainPeer::join(relay.address, "Ada").synchronize();
}

#[test]
fn without_web_nothing_listens_for_browsers() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    assert!(TcpStream::connect(relay.address).is_err());
}

#[test]
fn what_is_sent_half_or_closed_in_the_middle_leaves_nothing_behind() {
    allow_many_sockets();
    let relay = relay(&["--web-connections", "8"]);
    for number in 0..200 {
        let mut stream = TcpStream::connect(relay.address).expect("it listens");
        let head = get("/");
        stream
            .write_all(&head.as_bytes()[..number % head.len()])
            .expect("it is taken");
        if number % 3 == 0 {
            stream.shutdown(Shutdown::Write).expect("it is open");
        }
    }
    for number in 0..20 {
        let mut socket = connect(relay.address).expect("there is a place");
        if number % 2 == 0 {
            socket
                .send(Message::binary(vec![1; number]))
                .expect("it is taken");
        }
        drop(socket);
        page::eventually(|| connect(relay.address).is_ok());
    }
    let mut sockets = Vec::new();
    page::eventually(|| {
        sockets.extend(connect(relay.address).ok());
        sockets.len() == 8
    });
}

//! Attackers that read what others send and receive, so that they know sessions.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use super::{LINES, VICTIM, address_of, forger, number, ratio};
use crate::lab::trouble::{TROUBLED, at_rate};
use crate::lab::{BareFramed, Dialect, Host, Lab, Link, Pass, Reader, Speaker};
use crate::{ChatProgram, FramedPeer, PATIENCE};

/// Number of POSTs that fill the relay's ring, and of texts in each.
const POSTS: u16 = 480;
const TEXTS: usize = 127;

/// Number of RESUMEs a second.
const RESUMES: u32 = 1000;

/// Far beyond every line that was said.
const BEYOND: u64 = 1 << 62;

/// Returns 1 if a client that is there loses its session to a host that has read it.
pub(super) fn taken_over(lab: &Lab, program: &str) -> f64 {
    let _relay = lab.start_limited(program, &[]);
    let [host, attacker] = [VICTIM, TROUBLED].map(|number| Host::new(lab, Link::A, number));
    let socket = host.socket(host.address());
    let (sender, read) = channel();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| live(&socket, &stop, &sender));
        let pass = read.recv_timeout(PATIENCE).expect("it is welcomed");
        let socket = attacker.socket(attacker.address());
        let found = BareFramed::resume(&socket, &pass, "victim");
        stop.store(true, Ordering::Relaxed);
        number(usize::from(found.is_some_and(|it| it.is_of(&pass))))
    })
}

/// Is a client, until `stop` is set. Tells what its WELCOME says.
fn live(socket: &UdpSocket, stop: &AtomicBool, welcomed: &Sender<Pass>) {
    let begun = Instant::now();
    let now = || {
        let millis = u64::try_from(begun.elapsed().as_millis()).expect("seconds");
        kilochat_core::Instant::from_millis(millis)
    };
    let wait = Some(Duration::from_millis(10));
    socket.set_read_timeout(wait).expect("not zero");
    let mut peer = FramedPeer::new("victim", 1);
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        for datagram in peer.poll(now()) {
            socket.send(&datagram).expect("there is a route");
        }
        if let Ok(length) = socket.recv(&mut buffer) {
            peer.receive(now(), &buffer[..length]);
            if let Some(pass) = Pass::of(&buffer[..length]) {
                // fails if the attacker knows enough
                let _ = welcomed.send(pass);
            }
        }
    }
}

/// Returns 1 if the relay accepts a text after an attacker has used up its number, but does not say it.
pub(super) fn contested(lab: &Lab, program: &str) -> f64 {
    let _relay = lab.start_limited(program, &[]);
    let host = Host::new(lab, Link::A, VICTIM);
    let victim = BareFramed::join(host.socket(host.address()), "victim");
    let forged = victim.frame_of_post(1, &["forged"]);
    let is_sent = forger(lab).say(address_of(&victim.socket), &forged);
    assert!(is_sent, "the network takes it");
    assert!(victim.is_accepted(), "the forged text is said");
    victim.post(1, &["mine"]);
    number(usize::from(victim.is_accepted()))
}

/// Returns how many lines other peers miss after one has acknowledged what nobody has said.
pub(super) fn acknowledged(lab: &Lab, program: &str) -> f64 {
    let _relay = lab.start_limited(program, &[]);
    let host = Host::new(lab, Link::A, VICTIM);
    let attacker = Host::new(lab, Link::A, TROUBLED);
    let peer = BareFramed::join(attacker.socket(attacker.address()), "attacker");
    let mut speaker = Speaker::join(&host, 64);
    let readers = [Dialect::Plain, Dialect::Framed].map(|it| Reader::join(&host, it, "reader"));
    for _ in 0..LINES {
        peer.acknowledge_before(BEYOND);
        speaker.say();
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    let least = readers.into_iter().map(|reader| reader.stop().lines.len());
    number(LINES - least.min().expect("two of them").min(LINES))
}

/// Returns how many lines `kilochat chat` does not show after a GAP that ends beyond them.
pub(super) fn skipped(lab: &Lab, program: &str) -> f64 {
    const EPOCH: u32 = 7;
    let relay = lab.run(|| UdpSocket::bind(("127.0.0.1", 0)).expect("a free port"));
    let wait = Some(Duration::from_millis(100));
    relay.set_read_timeout(wait).expect("not zero");
    let at = address_of(&relay).to_string();
    let mut chat = lab.run(|| ChatProgram::start(program, &[&at, "--name", "victim"]));
    let mut buffer = [0; 2048];
    let begun = Instant::now();
    let client = loop {
        assert!(begun.elapsed() < PATIENCE, "the client does not join");
        let Ok((length, source)) = relay.recv_from(&mut buffer) else {
            continue;
        };
        let hello = core::str::from_utf8(&buffer[..length]).unwrap_or_default();
        let words: Vec<&str> = hello.split_whitespace().collect();
        let [_, _, _, nonce, cookie, ..] = words[..] else {
            continue;
        };
        let answer = if cookie == "-" {
            format!("\x01C KC1 1 {nonce} {:032x}", 1).into_bytes()
        } else {
            let nonce = u64::from_str_radix(nonce, 16).expect("a nonce");
            welcome(nonce, EPOCH)
        };
        relay.send_to(&answer, source).expect("loopback takes it");
        if cookie != "-" {
            break source;
        }
    };
    let mut gap = [b"\x01G", &1_u64.to_be_bytes()[..], &[0, 0]].concat();
    gap.extend([0_u64, BEYOND].map(u64::to_be_bytes).concat());
    relay.send_to(&gap, client).expect("loopback takes it");
    for sequence in 0..LINES as u64 {
        let data = data(EPOCH, sequence);
        relay.send_to(&data, client).expect("loopback takes it");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    chat.note_lines();
    let shown = chat.lines.iter().filter(|line| *line == "Bob : hello");
    number(LINES - shown.count().min(LINES))
}

/// Returns the WELCOME of session 1 to a room in which nothing was said.
fn welcome(nonce: u64, epoch: u32) -> Vec<u8> {
    let mut frame = b"\x01W".to_vec();
    frame.extend([nonce, 1].map(u64::to_be_bytes).concat());
    // the author, no line yet, the clock, the window, the keepalive, the name
    frame.extend([epoch, 9].map(u32::to_be_bytes).concat());
    frame.extend([0; 20]);
    frame.extend(b"\x20\x0f\x06victim* welcome victim: 1 here (victim)");
    frame
}

/// Returns the DATA with one line.
fn data(epoch: u32, sequence: u64) -> Vec<u8> {
    let mut frame = [b"\x01D", &epoch.to_be_bytes()[..], &[0, 0]].concat();
    frame.extend(sequence.to_be_bytes());
    let line = b"Bob : hello";
    frame.extend([0, 10 + u8::try_from(line.len()).expect("short"), 0, 0, 0, 5]);
    frame.extend([0, 0, 0, 0, 0, 3]);
    frame.extend(line);
    frame
}

/// Returns how many microseconds of processor time a RESUME of no session takes, in a relay whose ring is
/// full of short lines.
pub(super) fn resumed(lab: &Lab, program: &str, time: Duration) -> f64 {
    let relay = lab.start(program, &[]);
    let own = lab.run(|| UdpSocket::bind(("127.0.0.1", 0)).expect("a free port"));
    own.connect(relay.at("127.0.0.1"))
        .expect("there is a route");
    let mut author = BareFramed::join(own, "author");
    for number in 1..=POSTS {
        author.post(number, &["x"; TEXTS]);
        while author.receive(Duration::from_millis(2)).is_some() {
            author.acknowledge();
        }
    }
    let host = Host::new(lab, Link::A, TROUBLED);
    let socket = host.socket(host.address());
    let pass = author.pass().of_nobody(TEXTS as u64 * u64::from(POSTS) / 2);
    let mut resume = BareFramed::resumes(&socket, &pass, "m");
    let (begun, before) = (Instant::now(), relay.cpu());
    let stop = AtomicBool::new(false);
    let mut sent = 0;
    at_rate(RESUMES, &stop, |_| {
        resume();
        sent += 1;
        if begun.elapsed() > time / 2 {
            stop.store(true, Ordering::Relaxed);
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    let used = u64::try_from((relay.cpu() - before).as_nanos()).expect("seconds");
    ratio(used / 1000, sent)
}

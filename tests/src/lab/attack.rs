//! Attacks on a relay, or on others by means of it. The outcome of each is one number: what the attacker
//! gets, or what its victim is sent or loses.

mod loops;
mod reflection;
mod seats;
mod sessions;

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::trouble::TROUBLED;
use super::{Host, Lab, Link};
use crate::{PlainPeer, RelayProgram, allow_many_sockets};

/// Host numbers on link A: the victim, and relays or services beside the first relay.
const VICTIM: u8 = 240;
const OTHERS: [u8; 2] = [241, 242];

/// Number of plain peers on the relay's own machine.
const NEIGHBOURS: usize = 16;

/// Length in bytes of what each of them says.
const LENGTH: usize = 900;

/// Number of lines that are said while an attacker disturbs them.
const LINES: usize = 20;

/// An attack. Each lasts ten seconds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// One forged name brings its victim the history.
    Name,
    /// The same, in a room with a long history.
    NameAndHistory,
    /// Help for which the victim did not ask.
    Help,
    /// 1000 forged names bring their victim every line that is said.
    Names,
    /// Two echo services join by forged names.
    Echoes,
    /// Three relays, each of which has joined the next one by a forged name.
    Relays,
    /// A host that takes all seats: are newcomers turned away that speak in frames?
    Seats,
    /// The same, for plain ones.
    PlainSeats,
    /// `/quit` from all ports of a plain peer's address.
    Quit,
    /// A session that an attacker has read is resumed at its own address.
    Takeover,
    /// A POST in a session that an attacker has read.
    Post,
    /// An acknowledgement of lines that nobody has said.
    Acknowledgement,
    /// A GAP in the name of the relay, up to the last of all numbers.
    Gap,
    /// RESUME of sessions that do not exist, in a room with many short lines.
    Resume,
}

impl fmt::Display for Attack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Name => "forged name: bytes sent for each byte",
            Self::NameAndHistory => "... with --history 1000",
            Self::Help => "forged /help: bytes sent for each byte",
            Self::Names => "1000 forged names: bytes sent for each byte said",
            Self::Echoes => "two echo services: datagrams a second, for ever",
            Self::Relays => "three relays in a ring: datagrams a second, for ever",
            Self::Seats => "one host takes all seats: newcomers refused, of 5",
            Self::PlainSeats => "... plain ones, who retype a code",
            Self::Quit => "forged /quit from all ports: plain peers gone, of 1",
            Self::Takeover => "a reader resumes a session: sessions taken, of 1",
            Self::Post => "a reader forges a POST: own texts lost untold, of 1",
            Self::Acknowledgement => "ACK beyond the head: lines that others miss, of 20",
            Self::Gap => "GAP beyond the head: lines a client misses, of 20",
            Self::Resume => "RESUME of no session: processor time of each in us",
        })
    }
}

impl Attack {
    /// All attacks.
    pub const ALL: [Self; 14] = [
        Self::Name,
        Self::NameAndHistory,
        Self::Help,
        Self::Names,
        Self::Echoes,
        Self::Relays,
        Self::Seats,
        Self::PlainSeats,
        Self::Quit,
        Self::Takeover,
        Self::Post,
        Self::Acknowledgement,
        Self::Gap,
        Self::Resume,
    ];

    /// Runs the attack for at most `time`, against a relay with the limits that it has by default.
    ///
    /// # Panics
    ///
    /// If the attack cannot be made against this program.
    pub fn launch(self, program: &str, time: Duration) -> f64 {
        allow_many_sockets();
        let lab = Lab::new();
        match self {
            Self::Name => reflection::answered(&lab, program, 10, b"a"),
            Self::NameAndHistory => reflection::answered(&lab, program, 1000, b"a"),
            Self::Help => reflection::answered(&lab, program, 10, b"/help"),
            Self::Names => reflection::subscribed(&lab, program),
            Self::Echoes => loops::echoed(&lab, program, time),
            Self::Relays => loops::looped(&lab, program, time),
            Self::Seats => seats::turned_away(&lab, program, seats::in_frames),
            Self::PlainSeats => seats::turned_away(&lab, program, seats::with_netcat),
            Self::Quit => seats::sent_away(&lab, program, time),
            Self::Takeover => sessions::taken_over(&lab, program),
            Self::Post => sessions::contested(&lab, program),
            Self::Acknowledgement => sessions::acknowledged(&lab, program),
            Self::Gap => sessions::skipped(&lab, program),
            Self::Resume => sessions::resumed(&lab, program, time),
        }
    }
}

/// Starts a relay with 16 peers on its own machine, which have said as many lines as its history holds.
fn filled(lab: &Lab, program: &str, history: usize) -> (RelayProgram, Vec<PlainPeer>) {
    let motd = "m".repeat(160);
    let arguments = ["--history", &history.to_string(), "--motd", &motd];
    let relay = lab.start_limited(program, &arguments);
    let at = relay.at("127.0.0.1");
    let peers: Vec<_> = lab.run(|| {
        let names = (0..NEIGHBOURS).map(|number| format!("{number:a>32}"));
        names.map(|name| PlainPeer::join(at, &name)).collect()
    });
    let text = "x".repeat(LENGTH);
    for (number, peer) in (0..history).zip(peers.iter().cycle()) {
        peer.say(&text);
        if number % NEIGHBOURS == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    (relay, peers)
}

/// Creates the host of a victim whose hardware address the relay's machine knows, and a socket there, for
/// which nothing answers, not even with a report.
fn victim(lab: &Lab) -> (Host, std::net::UdpSocket) {
    let host = Host::new(lab, Link::A, VICTIM);
    let socket = host.socket(host.address());
    socket.send(b"").expect("there is a route");
    std::thread::sleep(Duration::from_millis(100));
    (host, socket)
}

fn forger(lab: &Lab) -> super::Forger {
    super::Forger::new(lab, Link::A, TROUBLED)
}

fn address_of(socket: &std::net::UdpSocket) -> SocketAddr {
    socket.local_addr().expect("it is bound")
}

#[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn number(count: usize) -> f64 {
    ratio(count as u64, 1)
}

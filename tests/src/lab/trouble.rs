//! Kinds of trouble near a relay.

use core::any::Any;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::sockopt::UdpGsoSegment;
use nix::unistd::Pid;
use socket2::SockRef;

use super::{BareFramed, Forger, Host, Lab, Link, wait_for};
use crate::RelayProgram;
use crate::namespace::ip_all;

/// The number of the host that has the trouble.
pub(super) const TROUBLED: u8 = 250;

/// The part of the link's network whose addresses no host has.
const NOWHERE: u8 = 200;

/// Number of addresses without a host that are used. Each occupies an entry of the kernel's
/// neighbour table, which has a thousand.
const GHOSTS: u8 = 60;

/// Datagrams a second of a flood, and in a call.
const FLOOD: u32 = 300_000;
const FLOOD_CALL: usize = 60;

/// A kind of trouble, always on link A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No trouble.
    None,
    /// Plain peers whose machine was unplugged.
    Gone(u8),
    /// Framed peers whose machine was unplugged.
    GoneFramed(u8),
    /// A station that has 100 kbit/s of the link, as if it is far from a wireless access point.
    SlowStation,
    /// The whole link has 200 kbit/s, and its queue is longer than the relay's send buffer.
    SlowLink,
    /// The whole link has 8 kbit/s, and a queue of three kilobytes.
    FullQueue,
    /// 300 names from forged source addresses that no host has.
    Ghosts,
    /// A room full of such names, and this number of thousands of further ones a second.
    GhostFlood(u32),
    /// The relay's process is suspended for a quarter of the time.
    Suspended,
    /// A framed peer that posts but never acknowledges, in a room of 300 more.
    Poster,
    /// A peer that changes its name 20,000 times a second.
    Renamer,
    /// A host that says HELLO as fast as it can, at most 300,000 times a second.
    Hellos,
    /// A stranger that sends what is no text as fast as it can, at most 300,000 times a second.
    Garbage,
    /// A plain peer that says lines as fast as it can, at most 300,000 a second.
    Talker,
    /// Two services that return what they are sent have joined, as if somebody had forged that.
    Echoes,
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.pad("none"),
            Self::Gone(count) => formatter.pad(&format!("{count} gone peers")),
            Self::GoneFramed(count) => formatter.pad(&format!("{count} gone peers, framed")),
            Self::SlowStation => formatter.pad("a station at 100 kbit/s"),
            Self::SlowLink => formatter.pad("a link at 200 kbit/s"),
            Self::FullQueue => formatter.pad("a full device queue"),
            Self::Ghosts => formatter.pad("300 forged names, once"),
            Self::GhostFlood(thousands) => {
                formatter.pad(&format!("4096 ghosts, {thousands},000 a second"))
            }
            Self::Suspended => formatter.pad("a suspended relay"),
            Self::Poster => formatter.pad("a hostile framed peer posts"),
            Self::Renamer => formatter.pad("a renaming peer"),
            Self::Hellos => formatter.pad("a flood of HELLOs"),
            Self::Garbage => formatter.pad("a flood of garbage"),
            Self::Talker => formatter.pad("a flood of lines"),
            Self::Echoes => formatter.pad("two echo services"),
        }
    }
}

impl Trouble {
    /// All kinds of trouble.
    pub const ALL: [Self; 19] = [
        Self::None,
        Self::Gone(5),
        Self::Gone(20),
        Self::Gone(100),
        Self::GoneFramed(20),
        Self::GoneFramed(100),
        Self::SlowStation,
        Self::SlowLink,
        Self::FullQueue,
        Self::Ghosts,
        Self::GhostFlood(20),
        Self::GhostFlood(120),
        Self::Suspended,
        Self::Poster,
        Self::Renamer,
        Self::Hellos,
        Self::Garbage,
        Self::Talker,
        Self::Echoes,
    ];

    /// Returns further arguments for the relay. A peer that posts without end needs one without limits.
    pub(super) const fn arguments(self) -> &'static [&'static str] {
        if matches!(self, Self::Poster) {
            &["--unproven", "0"]
        } else {
            &[]
        }
    }

    /// Starts the part of the trouble that exists before the first line is said.
    pub(super) fn prepare(self, lab: &Lab, relay: &RelayProgram) -> Ongoing {
        let mut ongoing = Ongoing::new(relay);
        let interface = Link::A.interface();
        match self {
            Self::None | Self::Suspended => {}
            Self::Gone(count) => go(lab, count, |socket, name| {
                say_name(&socket, name);
                // shows the relay that this peer has read the welcome, so its address is not forged
                socket.send(b"").expect("there is a route");
            }),
            Self::GoneFramed(count) => go(lab, count, |socket, name| {
                BareFramed::join(socket, name).acknowledge();
            }),
            Self::SlowStation => {
                let host = Host::new(lab, Link::A, TROUBLED);
                slow_down(lab, &host);
                ongoing.keep(host.join("far"));
                ongoing.keep(host);
            }
            Self::SlowLink => lab.tc(&format!(
                "qdisc add dev {interface} root tbf rate 200kbit burst 1600 limit 1000000"
            )),
            Self::FullQueue => lab.tc(&format!(
                "qdisc add dev {interface} root tbf rate 8kbit burst 1600 limit 3000"
            )),
            Self::Ghosts => forge(&Forger::new(lab, Link::A, TROUBLED), 300),
            Self::GhostFlood(_) => {
                let forger = Forger::new(lab, Link::A, TROUBLED);
                forge(&forger, 4096);
                ongoing.keep(forger);
            }
            Self::Poster => {
                let host = Host::new(lab, Link::A, TROUBLED);
                for number in 0..300 {
                    let socket = host.socket(host.address());
                    // it never reads
                    SockRef::from(&socket)
                        .set_recv_buffer_size(2048)
                        .expect("a small one");
                    say_name(&socket, &format!("listener{number}"));
                    ongoing.keep(socket);
                }
                let socket = host.socket(host.address());
                ongoing.keep(BareFramed::join(socket, "poster"));
                ongoing.keep(host);
            }
            Self::Renamer | Self::Talker => {
                let host = Host::new(lab, Link::A, TROUBLED);
                let socket = host.socket(host.address());
                say_name(&socket, "renamer");
                ongoing.keep(socket);
                ongoing.keep(host);
            }
            Self::Hellos | Self::Garbage => {
                let host = Host::new(lab, Link::A, TROUBLED);
                ongoing.keep(host.socket(host.address()));
                ongoing.keep(host);
            }
            Self::Echoes => {
                for number in [TROUBLED, TROUBLED - 1] {
                    let host = Host::new(lab, Link::A, number);
                    let socket = host.socket(host.address());
                    socket.send(b"echo").expect("there is a way");
                    ongoing.spawn(move |stop| echo(&socket, stop));
                    ongoing.keep(host);
                }
            }
        }
        ongoing
    }

    /// Starts the part of the trouble that happens while lines are said. This takes `time`.
    pub(super) fn begin(self, ongoing: &mut Ongoing, time: Duration) {
        match self {
            Self::Suspended => {
                let id = ongoing.relay;
                ongoing.spawn(move |_| {
                    std::thread::sleep(time / 4);
                    // fails if the relay has ended, which the test notices
                    let _ = kill(id, Signal::SIGSTOP);
                    std::thread::sleep(time / 4);
                    let _ = kill(id, Signal::SIGCONT);
                });
            }
            Self::GhostFlood(thousands) => {
                let forger: Forger = ongoing.take();
                ongoing.spawn(move |stop| {
                    at_rate(thousands * 1000, stop, |number| {
                        forger.say(ghost(4096 + number), format!("n{number}").as_bytes());
                    });
                });
            }
            Self::Poster => {
                let peer: BareFramed = ongoing.take();
                ongoing.spawn(move |stop| {
                    let begun = Instant::now();
                    let mut number = 0_u16;
                    at_rate(8_000, stop, |_| {
                        if begun.elapsed() < time / 2 {
                            number = number.wrapping_add(1);
                            peer.post(number, &["aaaaa"; 127]);
                        }
                    });
                });
            }
            Self::Renamer => {
                let socket: UdpSocket = ongoing.take();
                ongoing.spawn(move |stop| {
                    at_rate(20_000, stop, |number| {
                        // a full queue drops it, as networks do
                        let _ = socket.send(format!("/nick m{number}").as_bytes());
                    });
                });
            }
            Self::Hellos => {
                let socket: UdpSocket = ongoing.take();
                let hello = format!("{:128}", "\x01H KC1 00000000 00000000000000ff - - flood");
                ongoing.spawn(move |stop| flood(&socket, hello.as_bytes(), stop));
            }
            Self::Garbage => {
                let socket: UdpSocket = ongoing.take();
                ongoing.spawn(move |stop| flood(&socket, &[0xFF; 64], stop));
            }
            Self::Talker => {
                let socket: UdpSocket = ongoing.take();
                ongoing.spawn(move |stop| flood(&socket, &[b'x'; 64], stop));
            }
            Self::None
            | Self::Echoes
            | Self::Gone(_)
            | Self::GoneFramed(_)
            | Self::SlowStation
            | Self::SlowLink
            | Self::FullQueue
            | Self::Ghosts => {}
        }
    }
}

/// Limits what is sent to one host on link A to 100 kbit a second.
fn slow_down(lab: &Lab, host: &Host) {
    let (interface, to) = (Link::A.interface(), host.address());
    lab.tc(&format!(
        "qdisc add dev {interface} root handle 1: htb default 1"
    ));
    let class = format!("class add dev {interface} parent 1:");
    lab.tc(&format!("{class} classid 1:1 htb rate 1gbit quantum 60000"));
    lab.tc(&format!(
        "{class} classid 1:2 htb rate 100kbit quantum 1600"
    ));
    lab.tc(&format!(
        "filter add dev {interface} parent 1: protocol ip u32 match ip dst {to}/32 flowid 1:2"
    ));
}

/// Sends a datagram again and again, many in a call.
fn flood(socket: &UdpSocket, payload: &[u8], stop: &AtomicBool) {
    let length = i32::try_from(payload.len()).expect("a short one");
    nix::sys::socket::setsockopt(socket, UdpGsoSegment, &length).expect("Linux");
    let many = payload.repeat(FLOOD_CALL);
    let calls = FLOOD / u32::try_from(FLOOD_CALL).expect("few");
    at_rate(calls, stop, |_| {
        // a full queue loses it, as networks do
        let _ = socket.send(&many);
    });
}

/// Returns what arrives to where it came from.
pub(super) fn echo(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    let timeout = Some(Duration::from_millis(20));
    socket.set_read_timeout(timeout).expect("not zero");
    while !stop.load(Ordering::Relaxed) {
        if let Ok(length) = socket.recv(&mut buffer) {
            let _ = socket.send(&buffer[..length]);
        }
    }
}

/// Joins, and waits for the welcome.
fn say_name(socket: &UdpSocket, name: &str) {
    socket.send(name.as_bytes()).expect("there is a route");
    wait_for(socket, |datagram| {
        datagram.starts_with(b"* welcome ").then_some(())
    });
}

/// Lets peers join, each from an address of its own, and then makes these addresses unreachable.
fn go(lab: &Lab, count: u8, join: impl Fn(UdpSocket, &str)) {
    let host = Host::new(lab, Link::A, TROUBLED);
    let addresses = (1..=count).map(|number| Link::A.address(1, number));
    host.run(|| {
        let add = addresses.clone();
        ip_all(add.map(|address| format!("address add {address}/16 dev eth0")));
    });
    for address in addresses {
        join(host.socket(address), &format!("gone{address}"));
    }
    host.vanish();
    lab.forget_neighbours(Link::A);
}

/// Returns an address that no host has, with a port.
fn ghost(number: u64) -> SocketAddr {
    let ghosts = u64::from(GHOSTS);
    let low = u8::try_from(1 + number % ghosts).expect("few");
    let port = u16::try_from(1024 + number / ghosts % 60_000).expect("not more");
    (Link::A.address(NOWHERE, low), port).into()
}

/// Sends names from addresses that no host has.
fn forge(forger: &Forger, count: u64) {
    for number in 0..count {
        forger.say(ghost(number), format!("ghost{number}").as_bytes());
        if number % 8 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Calls `each` `rate` times a second until `stop` is set.
pub(super) fn at_rate(rate: u32, stop: &AtomicBool, mut each: impl FnMut(u64)) {
    let begun = Instant::now();
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_micros() * u128::from(rate) / 1_000_000;
        let due = u64::try_from(due).expect("a few years at most");
        // skips calls that a busy machine did not make in time
        done = done.max(due.saturating_sub(u64::from(rate) / 20));
        while done < due {
            each(done);
            done += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Trouble that lasts until this is dropped.
pub(super) struct Ongoing {
    relay: Pid,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    kept: Vec<Box<dyn Any>>,
}

impl Ongoing {
    fn new(relay: &RelayProgram) -> Self {
        let id = i32::try_from(relay.id()).expect("a process id");
        Self {
            relay: Pid::from_raw(id),
            stop: Arc::default(),
            threads: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn keep(&mut self, what: impl Any) {
        self.kept.push(Box::new(what));
    }

    /// Takes the value of this type that was kept last.
    fn take<T: Any>(&mut self) -> T {
        let found = self.kept.iter().rposition(|kept| kept.is::<T>());
        let kept = self.kept.remove(found.expect("it was prepared"));
        *kept.downcast().expect("it is one")
    }

    fn spawn(&mut self, action: impl FnOnce(&AtomicBool) + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || action(&stop)));
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // a panic in it has been printed
            let _ = thread.join();
        }
    }
}

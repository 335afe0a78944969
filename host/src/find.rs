//! `kilochat find`: asks all networks for relays, without joining any.
//!
//! A HELLO without a cookie goes to every broadcast address, to all hosts of every IPv6 link, and to the
//! addresses of the relays that are announced by DNS-SD. A relay answers with a COOKIE, and remembers nothing.

mod services;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use if_addrs::{IfAddr, Interface, get_if_addrs};
use kilochat_core::framed::{Cookie, Frame, Hello};
use kilochat_core::{DATAGRAM_MAX, clean};

use self::services::Search;
use crate::Error;
use crate::args::FindArguments;

/// Maximum time to look for relays.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// Time to wait for further relays after the first one has answered.
const MORE: Duration = Duration::from_millis(300);

/// Time after which everybody is asked again, because a datagram may be lost.
const AGAIN: Duration = Duration::from_millis(300);

/// All hosts of an IPv6 link (RFC 4291 section 2.7.1).
const ALL_HOSTS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A relay that has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: SocketAddr,
    /// The name, if it has one.
    pub(crate) name: Option<String>,
    /// The number of peers, if the relay tells it.
    pub(crate) here: Option<u32>,
    version: String,
    time: Duration,
    /// The index of the way by which it answered.
    way: usize,
}

impl fmt::Display for Found {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(to, "{name} at ")?;
        }
        write!(to, "{}", host(self.address))?;
        match self.here {
            Some(0) => write!(to, ": nobody here"),
            Some(here) => write!(to, ": {here} here"),
            None => Ok(()),
        }
    }
}

/// Returns the address as other commands take it: with its port only if that is not the usual one.
fn host(address: SocketAddr) -> String {
    if address.port() != kilochat_core::PORT {
        return address.to_string();
    }
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => address.ip().to_string(),
    }
}

impl Found {
    /// Returns HOST[:PORT] of the relay.
    pub(crate) fn host(&self) -> String {
        host(self.address)
    }
}

/// Prints the relays that answer.
///
/// # Errors
///
/// If there is none.
pub fn run(arguments: &FindArguments) -> Result<(), Error> {
    let found = look(arguments.port, LOOK);
    let mut text = String::new();
    for relay in &found {
        let milliseconds = relay.time.as_secs_f64() * 1000.0;
        if arguments.json {
            let line = serde_json::json!({
                "name": relay.name,
                "address": relay.address.to_string(),
                "here": relay.here,
                "version": relay.version,
                "milliseconds": (milliseconds * 100.0).round() / 100.0,
            });
            text.push_str(&format!("{line}\n"));
        } else {
            text.push_str(&format!(
                "{relay} (kilochat {}, {milliseconds:.2} ms)\n",
                relay.version
            ));
        }
    }
    // an error is ignored: the reader may have gone
    let _ = io::stdout().write_all(text.as_bytes());
    if found.is_empty() {
        return Err(Error::Failure(
            "no relay answers on this network; a firewall may drop the answers. If you know its \
             address: kilochat ping HOST"
                .into(),
        ));
    }
    Ok(())
}

/// One socket and the addresses to which it sends.
struct Way {
    socket: UdpSocket,
    is_ipv4: bool,
    /// Whether it is for the addresses of single relays.
    is_direct: bool,
    to: Vec<SocketAddr>,
}

/// What was heard while relays are looked for.
enum Heard {
    /// A datagram that arrived by a way.
    Datagram {
        way: usize,
        from: SocketAddr,
        payload: Vec<u8>,
    },
    /// A relay is announced by DNS-SD: its name there, and where it is.
    Announced {
        instance: String,
        addresses: Vec<SocketAddr>,
    },
}

/// Returns the relays that answer within `time`, or shortly after the first answer.
pub(crate) fn look(port: u16, time: Duration) -> Vec<Found> {
    let nonce = crate::random();
    let hello = Frame::Hello(Hello {
        abilities: 0,
        nonce,
        cookie: None,
        resume: None,
        name: "find",
    });
    let mut buffer = [0; DATAGRAM_MAX];
    let length = hello.encode(&mut buffer).unwrap_or_default();
    let hello = &buffer[..length];
    let (sender, heard) = channel();
    let mut ways = ways_of(&get_if_addrs().unwrap_or_default(), port);
    let search = Search::start(sender.clone());
    let start = Instant::now();
    for (index, way) in ways.iter().enumerate() {
        if let Ok(socket) = way.socket.try_clone() {
            let sender = sender.clone();
            thread::spawn(move || listen(&socket, index, start + time, &sender));
        }
    }
    drop(sender);
    let (mut asked, mut until) = (0, start + time);
    let mut answers: Vec<Found> = Vec::new();
    let mut instances = Instances::default();
    loop {
        let now = Instant::now();
        if now >= start + AGAIN * asked {
            if asked < 2 {
                ask(&ways, hello);
            }
            if let Some(search) = &search {
                search.ask();
            }
            asked += 1;
        }
        if now >= until {
            break;
        }
        let next = (start + AGAIN * asked).min(until);
        match heard.recv_timeout(next.saturating_duration_since(now)) {
            Ok(Heard::Datagram { way, from, payload }) => {
                if let Some(relay) = answer(&payload, nonce, from, way, start.elapsed()) {
                    until = until.min(Instant::now() + MORE);
                    answers.push(relay);
                }
            }
            Ok(Heard::Announced {
                instance,
                addresses,
            }) => {
                for address in addresses {
                    if instances.insert(address, instance.clone()).is_none() {
                        ask_at(&mut ways, address, hello);
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let mut found = Vec::new();
    for relay in answers {
        add(&mut found, relay, &instances);
    }
    found.sort_by_key(|relay| (relay.name.is_none(), relay.name.clone(), relay.address));
    found
}

/// The names that relays have in DNS-SD, by their addresses.
type Instances = HashMap<SocketAddr, String>;

fn ask(ways: &[Way], hello: &[u8]) {
    for way in ways {
        for to in &way.to {
            // fails where there is no network, or a firewall forbids it
            let _ = way.socket.send_to(hello, to);
        }
    }
}

/// Asks a relay that is announced, now and each time that all are asked.
fn ask_at(ways: &mut [Way], address: SocketAddr, hello: &[u8]) {
    let is_fit = |way: &&mut Way| way.is_direct && way.is_ipv4 == address.is_ipv4();
    if let Some(way) = ways.iter_mut().find(is_fit) {
        // fails where there is no way to it
        let _ = way.socket.send_to(hello, address);
        way.to.push(address);
    }
}

/// Returns the ways to all networks, to this machine, and to single addresses.
fn ways_of(interfaces: &[Interface], port: u16) -> Vec<Way> {
    let mut ways = Vec::new();
    let mut links = Vec::new();
    for interface in interfaces {
        match &interface.addr {
            IfAddr::V4(v4) if v4.ip.is_loopback() => {}
            IfAddr::V4(v4) => {
                // the system sends a limited broadcast from this address to its own network
                let everybody = [v4.broadcast, Some(Ipv4Addr::BROADCAST)];
                let to = everybody.into_iter().flatten();
                let to = to.map(|ip| SocketAddr::new(ip.into(), port)).collect();
                ways.extend(way(v4.ip.into(), to));
            }
            IfAddr::V6(v6) if v6.ip.is_loopback() => {}
            IfAddr::V6(_) => {
                let index = interface.index.unwrap_or_default();
                let to = SocketAddr::V6(SocketAddrV6::new(ALL_HOSTS, port, 0, index));
                if index != 0 && !links.contains(&to) {
                    links.push(to);
                }
            }
        }
    }
    for link in links {
        ways.extend(way(Ipv6Addr::UNSPECIFIED.into(), vec![link]));
    }
    for own in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        ways.extend(way(own, vec![SocketAddr::new(own, port)]));
    }
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    for any in any {
        ways.extend(way(any, Vec::new()).map(|way| Way {
            is_direct: true,
            ..way
        }));
    }
    ways
}

fn way(from: IpAddr, to: Vec<SocketAddr>) -> Option<Way> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    if from.is_ipv4() {
        socket.set_broadcast(true).ok()?;
    }
    Some(Way {
        socket,
        is_ipv4: from.is_ipv4(),
        is_direct: false,
        to,
    })
}

/// Passes on what arrives at a socket until the time is over.
fn listen(socket: &UdpSocket, way: usize, until: Instant, sender: &Sender<Heard>) {
    let mut buffer = [0; DATAGRAM_MAX + 1];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return;
        }
        // an error may be a report that a port is closed
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let payload = buffer[..length].to_vec();
        if sender.send(Heard::Datagram { way, from, payload }).is_err() {
            return;
        }
    }
}

/// Reads an answer to a HELLO with this nonce.
fn answer(
    payload: &[u8],
    asked: u64,
    address: SocketAddr,
    way: usize,
    time: Duration,
) -> Option<Found> {
    let Ok(Frame::Cookie(Cookie {
        version,
        nonce,
        words,
        ..
    })) = Frame::decode(payload)
    else {
        return None;
    };
    let mut words = words.split(' ').skip(1);
    let here = words.next().and_then(|word| word.parse().ok());
    let name = words.next().filter(|name| !name.is_empty());
    (nonce == asked).then(|| Found {
        address,
        name: name.map(|name| clean(name).collect()),
        here,
        version: clean(version).collect(),
        time,
        way,
    })
}

/// Adds a relay, unless it has answered before, perhaps from another of its addresses: it has the same name
/// in DNS-SD; or, where that is not known, the same name, and the answer came by another way or from an
/// address of another scope. The address that is shown is the first of: IPv4, IPv6, one of this machine
/// itself.
fn add(found: &mut Vec<Found>, relay: Found, instances: &Instances) {
    let rank = |relay: &Found| {
        let ip = relay.address.ip();
        (ip.is_loopback(), ip.is_ipv6())
    };
    let is_local = |relay: &Found| match relay.address.ip() {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let is_elsewhere =
        |known: &Found| known.way != relay.way || is_local(known) != is_local(&relay);
    let is_same = |known: &&mut Found| {
        let both = [known.address, relay.address].map(|address| instances.get(&address));
        let has_name = known.name.is_some() && known.name == relay.name;
        match both {
            _ if known.address == relay.address => true,
            [Some(known), Some(this)] => known == this,
            _ => has_name && is_elsewhere(known),
        }
    };
    match found.iter_mut().find(is_same) {
        Some(known) if rank(&relay) < rank(known) => *known = relay,
        Some(_) => {}
        None => found.push(relay),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(name: Option<&str>, address: &str, way: usize) -> Found {
        Found {
            address: address.parse().unwrap(),
            name: name.map(Into::into),
            here: Some(3),
            version: "0.1.0".into(),
            time: Duration::ZERO,
            way,
        }
    }

    #[test]
    fn a_relay_with_several_addresses_is_one() {
        let mut found = Vec::new();
        for (name, address, way) in [
            (Some("lab"), "[::1]:10888", 9),
            (Some("lab"), "[fe80::1%3]:10888", 1),
            (Some("lab"), "[fd00::1]:10888", 1),
            (Some("lab"), "192.168.1.5:10888", 0),
            (Some("lab"), "192.168.1.5:10888", 0),
            (Some("boat"), "192.168.1.6:10888", 0),
            (None, "192.168.1.7:10888", 0),
            (None, "[fe80::7%3]:10888", 1),
        ] {
            add(&mut found, relay(name, address, way), &Instances::new());
        }
        let shown: Vec<String> = found.iter().map(Found::to_string).collect();
        let expected = [
            "lab at 192.168.1.5: 3 here",
            "boat at 192.168.1.6: 3 here",
            "192.168.1.7: 3 here",
            "fe80::7%3: 3 here",
        ];
        assert_eq!(shown, expected);
        // two machines of one network have the same name
        let other = relay(Some("boat"), "192.168.1.8:7", 0);
        add(&mut found, other, &Instances::new());
        let shown = found.last().unwrap().to_string();
        assert_eq!(shown, "boat at 192.168.1.8:7: 3 here");
    }

    #[test]
    fn relays_with_two_names_in_dns_sd_are_two() {
        let instances: Instances = [
            ("192.168.1.5:10888", "boat"),
            ("[fd00::5]:10888", "boat"),
            ("10.0.0.5:10888", "boat"),
            ("192.168.1.6:10888", "boat (2)"),
            ("[fd00::6]:10888", "boat (2)"),
        ]
        .map(|(address, instance)| (address.parse().unwrap(), instance.into()))
        .into();
        let mut found = Vec::new();
        for (address, way) in [
            ("[fd00::6]:10888", 7),
            ("192.168.1.5:10888", 6),
            ("10.0.0.5:10888", 6),
            ("[fd00::5]:10888", 7),
            ("192.168.1.6:10888", 6),
        ] {
            add(&mut found, relay(Some("boat"), address, way), &instances);
        }
        let shown: Vec<String> = found.iter().map(Found::to_string).collect();
        let expected = ["boat at 192.168.1.6: 3 here", "boat at 192.168.1.5: 3 here"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn answers_with_other_nonces_and_words_of_later_versions_are_understood() {
        let encoded = |words| {
            let mut buffer = [0; 128];
            let cookie = Frame::Cookie(Cookie {
                version: "1.2",
                nonce: 7,
                cookie: [1; 16],
                words,
            });
            let length = cookie.encode(&mut buffer).unwrap();
            buffer[..length].to_vec()
        };
        let address = "192.0.2.1:10888".parse().unwrap();
        let read = |words, nonce| answer(&encoded(words), nonce, address, 0, Duration::ZERO);
        for (words, here, name) in [
            ("", None, None),
            ("00000000", None, None),
            ("00000000 12", Some(12), None),
            ("00000000 12 Labor-小", Some(12), Some("Labor-小")),
            ("00000000 0 lab later words", Some(0), Some("lab")),
        ] {
            let found = read(words, 7).unwrap();
            assert_eq!((found.here, found.name.as_deref()), (here, name), "{words}");
        }
        assert_eq!(read("00000000", 8), None);
    }
}

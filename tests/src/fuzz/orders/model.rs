//! What orders do to a room, written from `PROTOCOL.md`.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use crate::text::{cleaned, folded};

/// Maximum pause between two lines, in seconds.
const SLOW_MAX: u16 = 60;

/// Duration of a ban that names none, in minutes.
const BAN_MINUTES: u16 = 60;

/// The answer to what is no order.
const ORDERS: &str = "* orders: /kick NAME, /ban NAME [MINUTES], /unban, /mute NAME, /unmute NAME, \
                      /lock, /unlock, /slow SECONDS";

/// The answer to an order, the peer that it removed, and whether it was done.
pub(super) type Answer = (String, Option<SocketAddr>, bool);

#[derive(Debug, Default)]
pub(super) struct Model {
    peers: BTreeMap<SocketAddr, Peer>,
    /// By address: the second in which its ban ends.
    bans: BTreeMap<IpAddr, u64>,
    pub(super) is_locked: bool,
    slow_s: u16,
}

#[derive(Debug)]
struct Peer {
    name: String,
    is_muted: bool,
    /// When it may say the next line.
    free_at: u64,
}

impl Model {
    pub(super) fn join(&mut self, address: SocketAddr, name: &str) {
        let peer = Peer {
            name: name.to_owned(),
            is_muted: false,
            free_at: 0,
        };
        self.peers.insert(address, peer);
    }

    pub(super) fn leave(&mut self, address: SocketAddr) {
        self.peers.remove(&address);
    }

    pub(super) fn name(&self, address: SocketAddr) -> Option<&str> {
        self.peers.get(&address).map(|peer| &*peer.name)
    }

    /// Returns the addresses and names of all peers.
    pub(super) fn peers(&self) -> Vec<(SocketAddr, String)> {
        let peers = self.peers.iter();
        peers.map(|(at, peer)| (*at, peer.name.clone())).collect()
    }

    pub(super) fn is_muted(&self, address: SocketAddr) -> bool {
        self.peers.get(&address).is_some_and(|peer| peer.is_muted)
    }

    pub(super) fn is_banned(&self, now: u64, ip: IpAddr) -> bool {
        self.bans.get(&ip).is_some_and(|until| now / 1000 < *until)
    }

    /// Counts a line of a peer, if the peer may say it now.
    pub(super) fn may_say(&mut self, now: u64, address: SocketAddr) -> bool {
        let Some(peer) = self.peers.get_mut(&address).filter(|_| self.slow_s > 0) else {
            return true;
        };
        let pause = 1000 * u64::from(self.slow_s);
        // if the pause is shorter now, the longer one is forgotten
        let may = peer.free_at <= now || peer.free_at > now + pause;
        if may {
            peer.free_at = now + pause;
        }
        may
    }

    /// Executes an order from an address, or of the relay itself.
    pub(super) fn obey(&mut self, now: u64, from: Option<IpAddr>, order: &str) -> Answer {
        let (verb, rest) = order.split_once(' ').unwrap_or((order, ""));
        let rest = rest.trim();
        let done = ("* done".to_owned(), None, true);
        match verb.to_ascii_lowercase().as_str() {
            "unban" => {
                self.bans.clear();
                done
            }
            verb @ ("lock" | "unlock") => {
                self.is_locked = verb == "lock";
                done
            }
            "slow" if rest.parse::<u16>().is_ok() => {
                self.slow_s = rest.parse().unwrap_or(0).min(SLOW_MAX);
                done
            }
            "kick" if !rest.is_empty() => match self.find(rest) {
                Some(address) => {
                    self.leave(address);
                    let answer = format!("* done: {} is out", cleaned(rest));
                    (answer, Some(address), true)
                }
                None => nobody(rest),
            },
            "ban" if !rest.is_empty() => self.ban(now, from, rest),
            verb @ ("mute" | "unmute") if !rest.is_empty() => {
                let found = self.find(rest).and_then(|at| self.peers.get_mut(&at));
                let Some(peer) = found else {
                    return nobody(rest);
                };
                peer.is_muted = verb == "mute";
                done
            }
            _ => (ORDERS.to_owned(), None, false),
        }
    }

    fn ban(&mut self, now: u64, from: Option<IpAddr>, rest: &str) -> Answer {
        let words = rest.rsplit_once(' ');
        let timed = words.and_then(|(name, last)| Some((name.trim(), last.parse::<u16>().ok()?)));
        let (name, minutes) = timed.unwrap_or((rest, BAN_MINUTES));
        let Some(address) = self.find(name) else {
            return nobody(name);
        };
        if from == Some(address.ip()) {
            let name = cleaned(name);
            let answer = format!("* not done: {name} has your own address; /kick removes it");
            return (answer, None, false);
        }
        let until = now / 1000 + 60 * u64::from(minutes);
        self.bans.insert(address.ip(), until);
        self.leave(address);
        let name = cleaned(name);
        let answer = format!("* done: {name} is out and may not come back for {minutes} min");
        (answer, Some(address), true)
    }

    fn find(&self, name: &str) -> Option<SocketAddr> {
        let mut peers = self.peers.iter();
        let found = peers.find(|(_, peer)| folded(&peer.name) == folded(name));
        found.map(|(address, _)| *address)
    }
}

fn nobody(name: &str) -> Answer {
    let answer = format!("* nobody is called {}", cleaned(name));
    (answer, None, false)
}

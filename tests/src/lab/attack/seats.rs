//! Seats that others do not get, or do not keep.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::time::Instant;

use super::{VICTIM, forger, number, ratio};
use crate::judge::code_asked_for;
use crate::lab::trouble::{TROUBLED, at_rate};
use crate::lab::{BareFramed, Host, Lab, Link};

/// Number of seats, and of newcomers after one host has taken all of them.
const SEATS: usize = 512;
const NEWCOMERS: usize = 5;

/// How often a plain newcomer tries, and how long it waits for each answer.
const TRIES: usize = 5;
const WAIT: Duration = Duration::from_secs(1);

/// Datagrams a second of an attacker that is not so loud that the kernel is told to drop them.
const PATIENT: u32 = 10_000;

/// How a newcomer joins: returns its socket, if it gets a seat.
type Newcomer = fn(UdpSocket, &str) -> Option<UdpSocket>;

/// Returns how many newcomers get no seat after one host has taken all of them.
pub(super) fn turned_away(lab: &Lab, program: &str, newcomer: Newcomer) -> f64 {
    let _relay = lab.start_limited(program, &["--seats", &SEATS.to_string()]);
    let attacker = Host::new(lab, Link::A, TROUBLED);
    let join = |number| {
        let socket = attacker.socket(attacker.address());
        BareFramed::join(socket, &format!("m{number}"))
    };
    let _taken: Vec<_> = (0..SEATS).map(join).collect();
    let host = Host::new(lab, Link::A, VICTIM);
    let come = |number| {
        let socket = host.socket(host.address());
        newcomer(socket, &format!("n{number}"))
    };
    let welcomed: Vec<_> = (0..NEWCOMERS).filter_map(come).collect();
    number(NEWCOMERS - welcomed.len())
}

pub(super) fn in_frames(socket: UdpSocket, name: &str) -> Option<UdpSocket> {
    BareFramed::try_join(socket, name).map(|peer| peer.socket)
}

/// Joins as a person with netcat, who retypes the code that the relay asks for, and keeps trying.
pub(super) fn with_netcat(socket: UdpSocket, name: &str) -> Option<UdpSocket> {
    socket.set_read_timeout(Some(WAIT)).expect("not zero");
    let mut typed = name.to_owned();
    let mut buffer = [0; 2048];
    for _ in 0..TRIES {
        socket.send(typed.as_bytes()).expect("there is a route");
        let sent = Instant::now();
        name.clone_into(&mut typed);
        while sent.elapsed() < WAIT {
            let length = socket.recv(&mut buffer).unwrap_or_default();
            let answer = core::str::from_utf8(&buffer[..length]).unwrap_or_default();
            if answer.starts_with("* welcome") {
                return Some(socket);
            }
            if let Some((code, _)) = code_asked_for(answer) {
                typed = format!("{code:08} {name}");
                break;
            }
        }
    }
    None
}

/// Returns 1 if a plain peer leaves because `/quit` comes from every port of its address.
pub(super) fn sent_away(lab: &Lab, program: &str, time: Duration) -> f64 {
    let mut relay = lab.start_limited(program, &[]);
    let host = Host::new(lab, Link::A, VICTIM);
    let peer = host.join("victim");
    peer.say("");
    let forger = forger(lab);
    let begun = Instant::now();
    let ports = u64::from(u16::MAX);
    let stop = AtomicBool::new(false);
    at_rate(PATIENT, &stop, |number| {
        // if there is no time for all, those that systems give to programs come first
        let port = u16::try_from((number + 32_767) % ports).expect("less") + 1;
        forger.say((host.address(), port).into(), b"/quit");
        if number == ports || begun.elapsed() > time {
            stop.store(true, Ordering::Relaxed);
        }
    });
    ratio(relay.statistics()["left"], 1)
}

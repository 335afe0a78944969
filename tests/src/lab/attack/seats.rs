//! Seats that others do not get, or do not keep.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::time::Instant;

use super::{VICTIM, forger, number, ratio};
use crate::lab::trouble::{TROUBLED, at_rate};
use crate::lab::{BareFramed, Host, Lab, Link};

/// Number of seats, and of newcomers after one host has taken all of them.
const SEATS: usize = 512;
const NEWCOMERS: usize = 5;

/// Datagrams a second of an attacker that is not so loud that the kernel is told to drop them.
const PATIENT: u32 = 10_000;

/// Returns how many newcomers get no seat after one host has taken all of them.
pub(super) fn turned_away(lab: &Lab, program: &str) -> f64 {
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
        BareFramed::try_join(socket, &format!("n{number}"))
    };
    let welcomed: Vec<_> = (0..NEWCOMERS).filter_map(come).collect();
    number(NEWCOMERS - welcomed.len())
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

//! Probing for the name, announcing it, and giving way to another host that has it (RFC 6762 sections 8
//! and 9).

use core::net::IpAddr;
use core::time::Duration;

use kilochat_core::{Instant, Network};

use super::message::{
    ANY, Form, HEADER, INTERNET, Record, Records, TOP_BIT, push, push_name, push_records,
};
use super::{Message, Responder};
use crate::config::{Config, NAME_MAX};
use crate::log::log;

/// Numbers of probes and of announcements, and the time after each (sections 8.1 and 8.3).
const PROBES: u8 = 3;
const ANNOUNCEMENTS: u8 = 2;
const DONE: u8 = PROBES + ANNOUNCEMENTS;
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(1);

/// The first probe is sent within this time, in milliseconds (section 8.1).
const JITTER_MS: u64 = 250;

/// Time for which a host defers to another one that probes at the same time (section 8.2).
const DEFERENCE: Duration = Duration::from_secs(1);

/// Number of names that were not free after which the next is tried only after a pause (section 8.1).
const QUICK: u8 = 15;
const PAUSE: Duration = Duration::from_secs(5);

/// Maximum length of what is appended to a name that is not free, in bytes.
const SUFFIX: usize = 3;

/// How far the claim to the name is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Number of messages that were sent: probes, then announcements.
    step: u8,
    /// When the next one is due.
    at: Instant,
    has_name: bool,
    /// Length of the configured name, without what was appended.
    stem: usize,
    /// Number of names that were not free.
    taken: u8,
}

impl Claim {
    /// Claims the configured name from a time on that differs between nodes.
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            step: if config.has_mdns_name() { 0 } else { DONE },
            at: now.after(Duration::from_millis(config.seed % JITTER_MS)),
            stem: config.name.len().min(NAME_MAX - SUFFIX),
            has_name: config.has_mdns_name(),
            taken: 0,
        }
    }

    /// Returns whether the name belongs to this host: it was announced.
    pub(super) fn is_settled(&self) -> bool {
        self.step > PROBES
    }

    fn is_done(&self) -> bool {
        self.step == DONE
    }
}

impl Responder {
    /// Probes again, at once or when the next message would have been due, because the addresses have
    /// changed or another host claims the name.
    pub(crate) fn restart(&mut self) {
        if self.claim.has_name {
            self.claim.step = 0;
        }
    }

    /// Returns when to call [`poll`](Self::poll), if ever.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (!self.claim.is_done()).then_some(self.claim.at)
    }

    /// Returns the probe or the announcement that is due, for all groups.
    pub(crate) fn poll(&mut self, now: Instant, networks: &[Network]) -> Option<Message> {
        let Self { name, claim, .. } = self;
        if claim.is_done() || now < claim.at {
            return None;
        }
        let is_probe = claim.step < PROBES;
        let mut message = Message::from_slice(&[0; HEADER]).ok()?;
        let mut form = Form::NEW;
        if is_probe {
            push_name(&mut message, name)?;
            push(&mut message, &[ANY, INTERNET | TOP_BIT])?;
            form.class = INTERNET;
        }
        let records = push_records(&mut message, name, form, networks, |_, _| true)?;
        let header = if is_probe {
            [0, 0, 0, 1, 0, 0, 0, records]
        } else {
            [0x84, 0, 0, 0, 0, records, 0, 0]
        };
        message.get_mut(2..10)?.copy_from_slice(&header);
        claim.at = now.after(if is_probe {
            PROBE_INTERVAL
        } else {
            ANNOUNCEMENT_INTERVAL
        });
        if records == 0 {
            return None;
        }
        if claim.step == PROBES {
            log!(info, "name {=str}.local", name.as_str());
        }
        claim.step += 1;
        Some(message)
    }

    /// Notices a response in which another host has the name: it is probed again, or another name is
    /// tried if it is still being probed.
    pub(super) fn heed_response(
        &mut self,
        now: Instant,
        message: &[u8],
        at: usize,
        networks: &[Network],
    ) {
        let is_other = |record: Record<'_>| {
            let other = record.address().filter(|_| record.ttl_s > 0);
            other.is_some_and(|other| networks.iter().all(|own| own.address != other))
        };
        if !Records::all(message, at, &self.name).any(is_other) {
            return;
        }
        if self.claim.is_settled() {
            self.restart();
        } else {
            self.rename(now);
        }
    }

    /// Notices that another host probes for the name at the same time. The one whose addresses are later in
    /// the order of their types and bytes has it (section 8.2.1).
    pub(super) fn heed_probe(
        &mut self,
        now: Instant,
        message: &[u8],
        at: usize,
        networks: &[Network],
    ) {
        let mut last = None;
        loop {
            let own = next(last, networks.iter().map(|network| network.address));
            let theirs = Records::all(message, at, &self.name);
            let their = next(last, theirs.filter_map(|record| record.address()));
            if own < their {
                self.claim.step = 0;
                self.claim.at = now.after(DEFERENCE);
            }
            if own != their || own.is_none() {
                return;
            }
            last = own;
        }
    }

    /// Tries the next name.
    fn rename(&mut self, now: Instant) {
        let Self { name, claim, .. } = self;
        // a character may be longer than a byte
        while name.len() > claim.stem {
            name.pop();
        }
        claim.taken = claim.taken.wrapping_add(1);
        let number = claim.taken % 98 + 1;
        let digits = [number / 10, number % 10].map(|digit| char::from(b'0' + digit));
        // there is space for them
        let _ = name.push('-');
        for digit in digits.into_iter().skip(usize::from(number < 10)) {
            let _ = name.push(digit);
        }
        claim.step = 0;
        claim.at = if claim.taken < QUICK {
            now
        } else {
            now.after(PAUSE)
        };
        log!(
            warn,
            "another host has the name; trying {=str}",
            name.as_str()
        );
    }
}

/// Returns the first of the addresses after `last`. Those of IPv4 are before those of IPv6, as the types of
/// their records are.
fn next(last: Option<IpAddr>, addresses: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    addresses.filter(|ip| Some(*ip) > last).min()
}

//! The first datagram of a seat, with the code that the relay may request.

use core::time::Duration;
use std::time::Instant;

use super::asked::Asker;
use super::{DRAIN_TIMEOUT, End, MAY_MISS, Phase, RejoinReason, Rejoining, Session, User};

/// Minimum time between two answers to a request for a code.
const CODE_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum number of waiting lines for which a wait is reported.
const WAITING_MIN: usize = 10;

/// The code by which the client proves its address.
#[derive(Debug, Default)]
pub(super) struct Code {
    /// The code for the next first datagram. It is used once.
    wanted: Option<String>,
    /// When the last code arrived.
    at: Option<Instant>,
}

impl Session {
    /// Handles a request to prove the address: the name is sent again with the code.
    pub(super) fn handle_code(&mut self, now: Instant, code: &str) {
        if self.code.at.is_some_and(|at| now < at + CODE_INTERVAL) {
            return;
        }
        match &mut self.phase {
            Phase::Joining { is_sent, .. } => *is_sent = false,
            Phase::Rejoining(rejoining) => rejoining.next = now,
            // the relay has forgotten this client
            Phase::Welcomed { .. } => {
                self.report("the relay was restarted; joining again");
                self.outbox.queue_recent(now);
                self.outbox.queue_last();
                self.rejoin(now, now, RejoinReason::Forgotten);
            }
            Phase::Unwelcomed | Phase::Leaving { .. } => return,
        }
        self.code = Code {
            wanted: Some(code.into()),
            at: Some(now),
        };
    }

    /// Returns whether to report that lines wait because of the relay's rate limit.
    pub(super) fn waits(&mut self, now: Instant) -> bool {
        if self.outbox.len() < WAITING_MIN {
            self.has_reported_wait &= !self.outbox.is_empty();
            return false;
        }
        let is_new = self.user == User::Person && !self.has_reported_wait;
        is_new && self.outbox.pace.is_slowed(now)
    }

    /// Returns the datagram that requests a seat. From a peer that may still have its seat, the bare
    /// name would be a message.
    pub(super) fn first_datagram(&mut self, was_welcomed: bool) -> Vec<u8> {
        match self.code.wanted.take() {
            Some(code) => format!("{code} {}", self.name).into_bytes(),
            None if was_welcomed => self.question(),
            None => self.name.clone().into_bytes(),
        }
    }

    /// Returns `/nick` with the current name. A relay that knows this client confirms the name, and
    /// a relay that does not takes it as a join. Other peers do not see the command.
    pub(super) fn question(&mut self) -> Vec<u8> {
        self.asked.push(&self.name, Asker::Client);
        format!("/nick {}", self.name).into_bytes()
    }

    pub(super) fn give_up_welcome(&mut self) {
        if self.user == User::Program {
            self.finish(End::Failed(
                "no welcome within 5 s: an old server (--classic is for those), a firewall, or nobody"
                    .into(),
            ));
            return;
        }
        self.finish(End::Silent);
    }

    pub(super) fn check_rejoining(&mut self, now: Instant, rejoining: Rejoining) {
        if rejoining.accepted_at().is_some_and(|at| now >= at) {
            self.report(format!("joined again as {}{MAY_MISS}", self.name));
            self.phase = Phase::Unwelcomed;
            return;
        }
        let Some(ending) = self.ending else { return };
        if self.outbox.is_empty() || self.user == User::Person {
            self.finish(End::Left);
        } else if now >= ending.since.max(rejoining.since) + DRAIN_TIMEOUT {
            self.finish(End::Failed("the relay does not answer any more".into()));
        }
    }
}

//! The counters that the relay must report.

use kilochat_core::{Refusal, Stats};

use crate::{Verdict, check};

/// The counters that the oracle expects.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) datagrams: u64,
    pub(crate) messages: u64,
    pub(crate) joined: u64,
    pub(crate) left: u64,
    pub(crate) displaced: u64,
    pub(crate) restarted: u64,
    pub(crate) echoes: u64,
    pub(crate) renamed: u64,
    pub(crate) answered: u64,
    pub(crate) keepalives: u64,
    pub(crate) deliveries: u64,
    pub(crate) coalesced: u64,
    pub(crate) deferred: u64,
    pub(crate) missed: u64,
    pub(crate) unreachable: u64,
    pub(crate) untold: u64,
    pub(crate) coded: u64,
    pub(crate) proven: u64,
    pub(crate) refused: [u64; Refusal::ALL.len()],
}

impl Tally {
    /// Compares the relay's counters with these. The room has had this number of `lines`.
    pub(crate) fn compare(&self, stats: &Stats, lines: u64) -> Verdict {
        for (name, counted, expected) in [
            ("datagrams", stats.datagrams, self.datagrams),
            ("messages", stats.messages, self.messages),
            ("lines", stats.lines, lines),
            ("joined", stats.joined, self.joined),
            ("left", stats.left, self.left),
            ("displaced", stats.displaced, self.displaced),
            ("restarted", stats.restarted, self.restarted),
            ("echoes", stats.echoes, self.echoes),
            ("held", stats.held, 0),
            ("unanswered", stats.unanswered, 0),
            ("renamed", stats.renamed, self.renamed),
            ("answered", stats.answered, self.answered),
            ("keepalives", stats.keepalives, self.keepalives),
            ("deliveries", stats.deliveries, self.deliveries),
            ("coalesced", stats.coalesced, self.coalesced),
            ("deferred", stats.deferred, self.deferred),
            ("missed", stats.missed, self.missed),
            ("unreachable", stats.unreachable, self.unreachable),
            ("untold", stats.untold, self.untold),
            ("coded", stats.coded, self.coded),
            ("proven", stats.proven, self.proven),
        ] {
            check(counted == expected, || {
                format!("counter {name} is {counted} instead of {expected}")
            })?;
        }
        for (why, expected) in Refusal::ALL.into_iter().zip(self.refused) {
            let counted = stats.refused(why);
            check(counted == expected, || {
                format!("counter {why:?} is {counted} instead of {expected}")
            })?;
        }
        Ok(())
    }
}

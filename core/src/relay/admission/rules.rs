//! Rules: networks that are served, networks that are not, and networks that count as local.

use core::net::IpAddr;

use heapless::Vec;

use crate::relay::config::Network;
use crate::time::Instant;

/// Maximum number of rules.
pub const RULES_MAX: usize = 16;

/// What a rule says about a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verdict {
    /// Its sources are served although they are not local, once they have proved their address.
    Allow,
    /// Its sources are not answered at all.
    Deny,
    /// Its sources are local.
    Local,
}

/// A rule about a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rule {
    /// What applies to sources in the network.
    pub verdict: Verdict,
    /// The network.
    pub network: Network,
}

/// The rules in order. The first that fits counts. Bans come first.
#[derive(Clone, Debug)]
pub(super) struct Rules(Vec<Entry, RULES_MAX>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    rule: Rule,
    /// When a ban ends, in seconds; 0 for a rule that stays.
    until_s: u32,
}

impl Rules {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Replaces the rules. Those beyond the capacity are left out.
    pub(super) fn set(&mut self, rules: impl IntoIterator<Item = Rule>) {
        self.0.retain(|entry| entry.until_s > 0);
        for rule in rules.into_iter().take(RULES_MAX) {
            if self.0.is_full() && !self.drop_ban() {
                return;
            }
            // there is room
            let _ = self.0.push(Entry { rule, until_s: 0 });
        }
    }

    /// Returns the verdict of the first rule that fits a source.
    pub(super) fn verdict(&self, now: Instant, source: IpAddr) -> Option<Verdict> {
        let now_s = now.as_secs();
        let mut rules = self.0.iter();
        let entry = rules.find(|entry| {
            (entry.until_s == 0 || now_s < entry.until_s) && entry.rule.network.contains(source)
        })?;
        Some(entry.rule.verdict)
    }

    /// Adds a ban before all rules. If there is no room, it replaces the ban that ends first.
    /// Returns `false` if there is none.
    pub(super) fn ban(&mut self, rule: Rule, until_s: u32) -> bool {
        self.0
            .retain(|entry| entry.until_s == 0 || entry.rule != rule);
        if self.0.is_full() && !self.drop_ban() {
            return false;
        }
        self.0.insert(0, Entry { rule, until_s }).is_ok()
    }

    /// Ends all bans.
    pub(super) fn unban(&mut self) {
        self.0.retain(|entry| entry.until_s == 0);
    }

    /// Drops the ban that ends first. Returns whether there was one.
    fn drop_ban(&mut self) -> bool {
        let bans = self.0.iter().map(|entry| entry.until_s);
        let Some(first) = bans.filter(|until_s| *until_s > 0).min() else {
            return false;
        };
        let mut is_dropped = false;
        self.0.retain(|entry| {
            let is_kept = is_dropped || entry.until_s != first;
            is_dropped |= !is_kept;
            is_kept
        });
        true
    }
}

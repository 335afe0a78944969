//! What the gateway counts.

use super::http::Refusal;

/// The counters of a gateway.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// Connections accepted.
    pub(super) accepted: u64,
    /// Pages that were opened: WebSockets.
    pub(super) opened: u64,
    /// Messages from pages to the relay, and from it to pages.
    pub(super) to_relay: u64,
    pub(super) to_pages: u64,
    /// Messages from pages that were dropped: longer than a datagram, and no frames of the dialect.
    pub(super) too_long: u64,
    pub(super) plain: u64,
    /// How often a page was not read for a while because it sent too many messages.
    pub(super) too_many: u64,
    /// Datagrams from the relay that a page's buffer had no space for.
    pub(super) not_taken: u64,
    /// Datagrams that the network did not take.
    pub(super) send_errors: u64,
    /// Pages that were closed because nobody listens at the relay's port.
    pub(super) no_relay: u64,
    /// Pages that were refused because there was no UDP port for them.
    pub(super) no_port: u64,
    /// Connections from outside the local networks.
    pub(super) foreign: u64,
    /// Connections that were closed before their request was complete: too slow, and in favour of others.
    pub(super) late: u64,
    pub(super) displaced: u64,
    /// How often no connection could be accepted, because the system has no file left.
    pub(super) accept_errors: u64,
    refused: [u64; Refusal::ALL.len()],
}

impl Counters {
    /// Counts a refused request.
    pub(super) fn refuse(&mut self, why: Refusal) {
        if let Some(count) = self.refused.get_mut(why as usize) {
            *count += 1;
        }
    }

    /// Returns the number of requests that were refused for this reason.
    pub(super) fn refused(&self, why: Refusal) -> u64 {
        self.refused.get(why as usize).copied().unwrap_or_default()
    }
}

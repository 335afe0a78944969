//! The counters of the gateway.

use super::http::Rejection;

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
    /// Messages from pages that were dropped because they were longer than a datagram may be.
    pub(super) too_long: u64,
    /// Messages from pages that were dropped because they were not frames.
    pub(super) plain: u64,
    /// Number of times that a page was not read for a while because it had sent too many messages.
    pub(super) too_many: u64,
    /// Datagrams from the relay that were dropped because the page's buffer was full.
    pub(super) not_taken: u64,
    /// Datagrams that could not be sent.
    pub(super) send_errors: u64,
    /// Pages that were closed because the relay's port was unreachable.
    pub(super) no_relay: u64,
    /// Pages that were rejected because the system had no UDP port for them.
    pub(super) no_port: u64,
    /// Connections that were rejected because they came from outside the local networks.
    pub(super) foreign: u64,
    /// Connections that were closed because their request was not complete in time.
    pub(super) late: u64,
    /// Connections without a complete request that were closed in favour of others.
    pub(super) displaced: u64,
    /// Failures to accept a connection, because the system has no file descriptor left.
    pub(super) accept_errors: u64,
    rejected: [u64; Rejection::ALL.len()],
}

impl Counters {
    /// Counts a rejected request.
    pub(super) fn reject(&mut self, why: Rejection) {
        if let Some(count) = self.rejected.get_mut(why as usize) {
            *count += 1;
        }
    }

    /// Returns the number of requests that were rejected for this reason.
    pub(super) fn rejected(&self, why: Rejection) -> u64 {
        self.rejected.get(why as usize).copied().unwrap_or_default()
    }
}

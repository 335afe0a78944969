//! The state of a client that joins again.

use core::time::Duration;
use std::time::Instant;

/// Time without an error of the network after which a server that sends no welcome counts as having
/// accepted the name.
pub(super) const ACCEPTED_AFTER: Duration = Duration::from_millis(500);

/// How a client joins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejoining {
    pub(super) since: Instant,
    pub(super) next: Instant,
    /// When the name was last sent. `None` if the server was reported as unreachable since.
    pub(super) name_sent_at: Option<Instant>,
    pub(super) was_welcomed: bool,
    /// Whether the user was told that the room is full.
    pub(super) is_full: bool,
    pub(super) why: RejoinReason,
}

/// Why the client joins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RejoinReason {
    /// The relay announced that this client has no seat any more.
    Announced,
    /// The relay does not answer. It may have been restarted.
    Silent,
    /// The relay has forgotten this client without an announcement.
    Forgotten,
    /// The address of this client has changed, so the relay takes it for a new one.
    Moved,
}

impl Rejoining {
    /// Returns when the absence of an error means that a server without welcome has accepted the
    /// name.
    pub(super) fn accepted_at(&self) -> Option<Instant> {
        self.name_sent_at
            .filter(|_| !self.was_welcomed)
            .map(|sent_at| sent_at + ACCEPTED_AFTER)
    }
}

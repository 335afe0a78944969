//! For each seat the path to its peer, and an outlet if it needs one.
//!
//! All peers share the receiving sockets, as long as these take what is sent. If one would block,
//! or sending to a peer has failed before, the peer is sent to through an outlet: a socket for this
//! peer only. What the kernel holds back there, for a neighbour that does not answer or a slow link,
//! delays no other peer.

use kilochat_core::Seat;

use super::pauses::Pauses;
use super::transport::{self, Path, Transport};

/// The path to the peer of one seat.
#[derive(Debug, Default)]
struct PeerPath {
    path: Path,
    outlet: Option<Outlet>,
}

/// A socket for one peer.
#[derive(Debug)]
struct Outlet {
    is_v6: bool,
    port: u16,
    transport: Transport,
}

/// The paths to all peers.
#[derive(Debug)]
pub(super) struct Paths {
    by_seat: Vec<PeerPath>,
    pub(super) pauses: Pauses,
    /// Number of sockets that could not be opened.
    pub(super) outlets_missing: u64,
}

impl Paths {
    pub(super) fn new(seats: usize) -> Self {
        Self {
            by_seat: (0..seats).map(|_| PeerPath::default()).collect(),
            pauses: Pauses::new(seats),
            outlets_missing: 0,
        }
    }

    pub(super) fn path(&self, seat: Seat) -> Path {
        self.by_seat[seat.index()].path
    }

    /// Sets the path for replies to the peer at `seat`.
    pub(super) fn set_path(&mut self, seat: Seat, path: Path) {
        self.by_seat[seat.index()].path = path;
    }

    /// Replaces the paths for which `change` returns another. Such a peer is no longer paused:
    /// earlier failures say nothing about the new path.
    pub(super) fn change_paths(&mut self, change: impl Fn(Path) -> Option<Path>) {
        for (index, peer) in self.by_seat.iter_mut().enumerate() {
            if let Some(path) = change(peer.path) {
                peer.path = path;
                self.pauses.handle_moved(index);
            }
        }
    }

    /// Returns the outlet of the peer at `seat`, which it opens if needed. Returns `None` if no
    /// more can be opened.
    pub(super) fn outlet(
        &mut self,
        all: &[Transport],
        seat: Seat,
        (port, is_v6): (u16, bool),
    ) -> Option<&mut Transport> {
        let slot = &mut self.by_seat[seat.index()].outlet;
        if slot
            .as_ref()
            .is_none_or(|outlet| (outlet.port, outlet.is_v6) != (port, is_v6))
        {
            match transport::outlet(all, port, is_v6) {
                Ok(transport) => {
                    *slot = Some(Outlet {
                        is_v6,
                        port,
                        transport,
                    });
                }
                Err(_) => {
                    self.outlets_missing += 1;
                    return None;
                }
            }
        }
        slot.as_mut().map(|outlet| &mut outlet.transport)
    }
}

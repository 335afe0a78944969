//! The ways to the peers: for each seat how its peer is reached, and an outlet if it was needed.
//!
//! All peers share the sockets that receive, as long as those take what they are given. When one of
//! them would block, or a peer has given trouble before, a peer is sent to through an outlet: a socket
//! for it alone. What the kernel holds back there, for a neighbor that does not answer or a slow link,
//! holds up nobody else.

use kilochat_core::Seat;

use super::pauses::Pauses;
use super::transport::{self, Path, Transport};

/// The way to the peer of one seat.
#[derive(Debug, Default)]
struct Way {
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

/// The ways to all peers.
#[derive(Debug)]
pub(super) struct Ways {
    by_seat: Vec<Way>,
    pub(super) pauses: Pauses,
    /// Sockets that could not be opened.
    pub(super) outlets_missing: u64,
}

impl Ways {
    pub(super) fn new(seats: usize) -> Self {
        Self {
            by_seat: (0..seats).map(|_| Way::default()).collect(),
            pauses: Pauses::new(seats),
            outlets_missing: 0,
        }
    }

    pub(super) fn path(&self, seat: Seat) -> Path {
        self.by_seat[seat.index()].path
    }

    /// The peer at `seat` is answered on `path` from now on.
    pub(super) fn set_path(&mut self, seat: Seat, path: Path) {
        self.by_seat[seat.index()].path = path;
    }

    /// Replaces paths where `change` has another one. Such a peer may be sent to at once: what was not
    /// taken or did not arrive before says nothing about the new path.
    pub(super) fn change_paths(&mut self, change: impl Fn(Path) -> Option<Path>) {
        for (index, way) in self.by_seat.iter_mut().enumerate() {
            if let Some(path) = change(way.path) {
                way.path = path;
                self.pauses.handle_moved(index);
            }
        }
    }

    /// The socket for the peer at `seat` alone, opened if need be; none if there can be no more.
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

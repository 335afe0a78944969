//! The memory of a node.

use kilochat_core::Relay;

use crate::stack::{Buffers, Route};

/// The memory of a node, except the node itself, which is a few kilobytes at most.
///
/// A new one is all zero bits, so that a `static` one takes no space in the program's image.
///
/// ```
/// use kilochat_embedded::Storage;
/// use static_cell::ConstStaticCell;
///
/// static STORAGE: ConstStaticCell<Storage<32, 8192, 8>> = ConstStaticCell::new(Storage::new());
/// ```
#[derive(Debug)]
pub struct Storage<const PEERS: usize, const RING: usize, const WINDOW: usize> {
    pub(crate) relay: Relay<PEERS, RING, WINDOW>,
    /// By seat: how to send to its peer.
    pub(crate) routes: [Route; PEERS],
    pub(crate) buffers: Buffers,
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Storage<PEERS, RING, WINDOW> {
    /// Its size in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// Returns memory for `PEERS` peers, a ring of `RING` bytes, and `WINDOW` datagrams in flight
    /// to each peer: see [`Relay`].
    pub const fn new() -> Self {
        Self {
            relay: Relay::new(),
            routes: [Route::NOWHERE; PEERS],
            buffers: Buffers::new(),
        }
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Default
    for Storage<PEERS, RING, WINDOW>
{
    fn default() -> Self {
        Self::new()
    }
}

// on a board, where no other package turns on features of core: 20 KiB of relay, 32 routes of 24
// bytes, a payload of 1472, with mDNS a query of 512, and the tables of the sockets
#[cfg(target_os = "none")]
const _: () = assert!(Storage::<32, 8192, 8>::SIZE <= 24 * 1024);
#[cfg(target_os = "none")]
const _: () = assert!(Storage::<64, 65536, 32>::SIZE <= 99 * 1024);

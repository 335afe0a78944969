//! The simulator and its oracle.

mod program;

#[cfg(unix)]
pub use program::allow_many_sockets;
pub use program::{PATIENCE, PlainPeer, RelayProgram};

//! The simulator and its oracle.

mod chat;
mod program;

pub use chat::{ChatEnd, ChatProgram, ScriptedRelay, StoppedRelay};
#[cfg(unix)]
pub use program::allow_many_sockets;
pub use program::{PATIENCE, PlainPeer, RelayProgram};

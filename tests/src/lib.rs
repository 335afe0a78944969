//! A deterministic simulator of the relay, the oracle that judges what it does, and the programs
//! as processes for the tests on real sockets.
//!
//! [`simulate`] runs the real core under one seed: a virtual clock, clients good and hostile, a
//! network that loses, doubles and reorders, sends that would block or fail, peers that vanish and
//! come back, drivers of several kinds, restarts of the relay. An [`Oracle`] that was written from
//! `PROTOCOL.md` and shares no code with the core follows every call: it sees the datagrams that
//! go in, and the datagrams, events and numbers that come out, and says what is wrong with them.
//!
//! What one reader got over real sockets is judged by the same rules with a [`Transcript`]; the
//! [`Proxy`](proxy::Proxy) makes real sockets as bad as the simulated network, and a
//! `lab` has real networks in namespaces, of which parts break.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bucket;
mod chat;
mod counts;
mod dialect;
pub mod ethernet;
mod framed;
mod framed_peer;
pub mod fuzz;
mod inputs;
mod judge;
#[cfg(target_os = "linux")]
pub mod lab;
mod log;
mod many;
#[cfg(target_os = "linux")]
pub mod namespace;
mod oracle;
pub mod planted;
mod program;
pub mod proxy;
mod sim;
mod tally;
mod text;
mod transcript;
mod wiretap;

pub use chat::{ChatEnd, ChatProgram, ScriptedRelay, StoppedRelay};
pub use counts::{Case, Counts, Seen};
pub use framed::{Measured, Met, measure_paste, measure_talk, simulate_framed};
pub use framed_peer::FramedPeer;
pub use log::{Kind, Line, Log};
pub use many::{number, simulate_as_asked, simulate_many};
pub use oracle::{Offer, Oracle};
#[cfg(unix)]
pub use program::allow_many_sockets;
#[cfg(target_os = "linux")]
pub use program::processor_time;
pub use program::{PATIENCE, PlainPeer, RelayProgram};
pub use sim::{Failure, simulate};
pub use transcript::{Expected, Transcript, check_wire};
pub use wiretap::Wiretap;

/// What a relay did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl core::fmt::Display for Violation {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl core::error::Error for Violation {}

/// The good outcome, or what is wrong with it.
pub type Verdict<T = ()> = Result<T, Violation>;

/// Fails with `complaint` unless `holds`.
pub(crate) fn check(holds: bool, complaint: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(Violation(complaint()))
    }
}

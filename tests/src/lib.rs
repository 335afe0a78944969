//! A deterministic simulator of the relay, the oracle that judges it, and the programs as processes
//! for the tests on real sockets.
//!
//! [`simulate`] runs the real core with one seed: a virtual clock, clients that are correct or
//! hostile, a network that loses, duplicates and reorders, sends that would block or fail, peers
//! that vanish and return, several kinds of drivers, and restarts of the relay. An [`Oracle`] that
//! was written from `PROTOCOL.md` and shares no code with the core follows every call. It sees the
//! datagrams that go in, and the datagrams, events and counters that come out, and reports each
//! violation.
//!
//! A [`Transcript`] judges by the same rules what one reader received over real sockets. The
//! [`Proxy`](proxy::Proxy) makes real sockets as faulty as the simulated network, and a `lab` has
//! real networks in namespaces, parts of which fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[cfg(target_os = "linux")]
pub mod avahi;
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
mod linked;
mod log;
mod many;
#[cfg(target_os = "linux")]
pub mod namespace;
#[cfg(target_os = "linux")]
pub mod nats;
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
pub use linked::{Linked, simulate_linked};
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

/// A description of what a relay did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl core::fmt::Display for Violation {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl core::error::Error for Violation {}

/// `Ok`, or a violation.
pub type Verdict<T = ()> = Result<T, Violation>;

/// Returns a violation with this description unless `holds`.
pub(crate) fn check(holds: bool, complaint: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(Violation(complaint()))
    }
}

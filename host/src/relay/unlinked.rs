//! What stands in the place of the link in a program without it. None of it is ever run.

use core::convert::Infallible;
use core::time::Duration;

use kilochat_core::{Instant, Relay};
use tracing::Level;

use super::journal::Journal;
use super::stopper::Stopper;
use crate::Error;
use crate::args::RelayArguments;
use crate::kept::line::JsonLine;

/// A link that is not there.
#[derive(Debug)]
pub(super) struct Link(Infallible);

/// The counters of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkCounts(Infallible);

/// A record for the log about a link.
#[derive(Clone, Debug)]
pub(super) struct Report(Infallible);

/// Returns the maximum age of a line that may come at the start.
pub(super) const fn age_max(_: &RelayArguments) -> Duration {
    Duration::ZERO
}

impl Link {
    pub(super) fn start<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        _: &RelayArguments,
        _: Vec<JsonLine>,
        _: Instant,
        _: &mut Relay<PEERS, RING, WINDOW>,
        _: &mut Journal,
        _: Stopper,
    ) -> Result<Option<Self>, Error> {
        Ok(None)
    }

    pub(super) fn receive<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        _: Instant,
        _: &mut Relay<PEERS, RING, WINDOW>,
        _: &mut Journal,
    ) -> bool {
        match self.0 {}
    }

    pub(super) fn send<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        _: Instant,
        _: &mut Relay<PEERS, RING, WINDOW>,
    ) -> Option<Instant> {
        match self.0 {}
    }

    pub(super) fn counts<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &self,
        _: Instant,
        _: &Relay<PEERS, RING, WINDOW>,
    ) -> LinkCounts {
        match self.0 {}
    }

    pub(super) fn close<const PEERS: usize, const RING: usize, const WINDOW: usize>(
        &mut self,
        _: Instant,
        _: &mut Relay<PEERS, RING, WINDOW>,
        _: &mut Journal,
    ) {
        match self.0 {}
    }
}

impl LinkCounts {
    pub(super) fn counters(&self) -> [(&'static str, &'static str, u64); 0] {
        match self.0 {}
    }

    pub(super) fn gauges(&self) -> [(&'static str, &'static str, u64); 0] {
        match self.0 {}
    }

    pub(super) fn write(&self) {
        match self.0 {}
    }
}

impl Report {
    pub(super) fn level(&self) -> Level {
        match self.0 {}
    }

    pub(super) fn write(&self) {
        match self.0 {}
    }
}

//! A relay that stops: all accepted lines must be acknowledged before it reports that it is
//! settled.

use crate::framed::counts::Met;
use crate::framed::world::World;
use crate::{Verdict, check};

/// Milliseconds after which a stopping relay ends even if it is not settled.
const GOODBYE: u64 = 1000;

impl<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>
    World<PEERS, RING, WINDOW, HELD>
{
    pub(crate) fn stop_relay(&mut self) {
        if self.stops_at.is_some() {
            return;
        }
        self.note(|_| "the relay stops".to_owned());
        self.saw(Met::RelayStopped);
        let now = self.relay_clock();
        self.relay.stop(now);
        self.count_lines(now);
        self.stops_at = Some(self.now + GOODBYE);
        self.retry_at = Some(self.now);
    }

    /// Starts the next run if the relay is settled, or if its time is up.
    pub(crate) fn may_end_relay(&mut self) -> Verdict {
        let Some(end) = self.stops_at else {
            return Ok(());
        };
        if self.relay.is_settled() {
            self.saw(Met::RelaySettled);
            let head = self.room().head;
            for peer in self.shown() {
                let acked = self.gate.holder(peer.seat).map(|holder| holder.acked);
                let has_all = match acked {
                    Some(acked) if peer.framed => peer.parked || acked >= head,
                    _ => peer.owed == 0,
                };
                check(has_all, || {
                    format!("settled, but {peer:?} has {acked:?} of {head} lines")
                })?;
            }
        } else if self.now >= end {
            self.saw(Met::RelayUnsettled);
        } else {
            return Ok(());
        }
        self.restart_relay()
    }
}

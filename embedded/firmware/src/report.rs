//! Log records about the board.

use core::time::Duration;

use kilochat_core::Instant;

use crate::board::{Board, lines_lost};

/// Time between two checks.
const INTERVAL: Duration = Duration::from_secs(2);

/// The values that were logged last.
pub(crate) struct Report {
    next: Instant,
    losses: (u32, u32),
}

impl Report {
    pub(crate) fn start(board: &mut Board) -> Self {
        defmt::info!("board: reset by {=str}", board.take_reset_cause());
        if board.hardware_address.is_none() {
            defmt::warn!("board: no hardware address in the user registers");
        }
        Self {
            next: Instant::default(),
            losses: (0, 0),
        }
    }

    /// Logs the values that have grown worse since they were last logged.
    pub(crate) fn update(&mut self, board: &mut Board, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = now.after(INTERVAL);
        if let Some(used) = board.deeper_stack() {
            defmt::info!("board: {=usize} bytes of stack used so far", used);
        }
        let losses = board.ethernet_losses();
        if losses != self.losses {
            self.losses = losses;
            let (overruns, unfit) = losses;
            defmt::warn!(
                "board: {=u32} overruns of the receive FIFO, {=u32} frames of invalid length",
                overruns,
                unfit
            );
        }
        let lost = lines_lost();
        if lost > 0 {
            defmt::warn!("board: {=u32} log lines lost", lost);
        }
    }
}

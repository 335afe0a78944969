#![no_std]
#![no_main]
//! The chat relay on a board with an LM3S6965: a Cortex-M3 with 256 KiB of flash, 64 KiB of RAM
//! and Ethernet.

mod board;
#[cfg(feature = "defmt")]
mod log;
#[cfg(feature = "defmt")]
mod report;
mod settings;

use board::{Board, Ethernet, EthernetBuffers};
use kilochat_core::Instant;
use kilochat_embedded::{Error, Node, Storage};
use static_cell::ConstStaticCell;

/// Number of seats, and size of the ring in bytes.
const SEATS: usize = 32;
const RING: usize = 8192;
const WINDOW: usize = 8;

static STORAGE: ConstStaticCell<Storage<SEATS, RING, WINDOW>> =
    ConstStaticCell::new(Storage::new());
static BUFFERS: ConstStaticCell<EthernetBuffers> = ConstStaticCell::new(EthernetBuffers::new());

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut board = Board::start();
    #[cfg(feature = "defmt")]
    let mut report = report::Report::start(&mut board);
    let mut started = start(&board);
    // the sentences for each cause would take 200 bytes, and build.rs has checked the settings
    let Ok(node) = &mut started else {
        board::give_up("the hardware address or a setting is not valid");
    };
    node.set_rules(settings::RULES);
    loop {
        let now = Instant::from_millis(board.now_ms());
        node.stir(board.jitter().into());
        let wake_up = node.poll(now);
        #[cfg(feature = "defmt")]
        report.update(&mut board, now);
        board.feed_watchdog();
        let then_ms = wake_up.map_or(u64::MAX, Instant::as_millis);
        board.sleep(then_ms, node.device().is_stuck());
    }
}

/// Creates the node. A function of its own, so that its stack is free afterwards.
///
/// # Panics
///
/// If called twice.
#[inline(never)]
fn start(board: &Board) -> Result<Node<Ethernet, SEATS, RING, WINDOW>, Error> {
    let config = settings::config(board);
    let ethernet = Ethernet::start(BUFFERS.take(), config.hardware);
    let now = Instant::from_millis(board.now_ms());
    Node::new(ethernet, STORAGE.take(), config, now)
}

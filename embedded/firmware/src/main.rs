#![no_std]
#![no_main]
//! The chat relay on a board with an LM3S6965.

mod board;
#[cfg(feature = "defmt")]
mod log;

use board::{Board, Ethernet};
use static_cell::ConstStaticCell;
use smoltcp::phy::{Device, RxToken, TxToken};

static ETHERNET: ConstStaticCell<Ethernet> = ConstStaticCell::new(Ethernet::new());

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut board = Board::start();
    let ethernet = ETHERNET.take();
    Ethernet::start(board.hardware_address.unwrap_or([2, 0, 0, 0, 0, 1]));
    defmt::info!("up {:#x} {:x}", board.reset_cause, board.hardware_address);
    let mut n = 0u32;
    loop {
        while let Some((rx, _tx)) = ethernet.receive(smoltcp::time::Instant::ZERO) {
            rx.consume(|frame| defmt::info!("frame {=[u8]:x}", frame));
            n += 1;
            if let Some(tx) = ethernet.transmit(smoltcp::time::Instant::ZERO) {
                tx.consume(60, |f| f.fill(0x55));
            }
            if n == 5 { panic!("five {}", n); }
        }
        board.feed_watchdog();
        if let Some(used) = board.deeper_stack() { defmt::info!("stack {}", used); }
        let t = board.now_ms() + 1000;
        board.sleep(t);
        defmt::info!("slept {}", n);
    }
}

//! UART0, which sends the log.

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::interrupt::{self, CriticalSection, Mutex};
use cortex_m::register::primask;

use super::chip::{Register, is_soon};
use crate::log::Log;

const GPIOA_AFSEL: Register = Register(0x4000_4420);
const GPIOA_DEN: Register = Register(0x4000_451c);

const UARTDR: Register = Register(0x4000_c000);
const UARTFR: Register = Register(0x4000_c018);
const UARTIBRD: Register = Register(0x4000_c024);
const UARTFBRD: Register = Register(0x4000_c028);
const UARTLCRH: Register = Register(0x4000_c02c);
const UARTCTL: Register = Register(0x4000_c030);

/// Bits of `UARTFR`: the FIFO is full; a byte is being sent.
const TXFF: u32 = 1 << 5;
const BUSY: u32 = 1 << 3;

const BAUD: u32 = 115_200;

static LOG: Mutex<RefCell<Log>> = Mutex::new(RefCell::new(Log::new()));

/// Whether the last words are being logged.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Starts UART0 on PA0 and PA1: 8 bits, no parity, one stop bit.
pub(super) fn start(clock_hz: u32) {
    GPIOA_AFSEL.set(0b11);
    GPIOA_DEN.set(0b11);
    let divisor = (clock_hz * 4 + BAUD / 2) / BAUD; // in 64ths
    UARTCTL.write(0);
    UARTIBRD.write(divisor / 64);
    UARTFBRD.write(divisor % 64);
    UARTLCRH.write(0b11 << 5 | 1 << 4); // WLEN, FEN
    UARTCTL.write(1 << 8 | 1); // TXE, UARTEN
}

defmt::timestamp!("{=u64:ms}", super::clock::now_ms());

/// Starts a line, and turns interrupts off until its end.
pub(super) fn begin_line() {
    let enabled = primask::read().is_active();
    interrupt::disable();
    interrupt::free(|section| LOG.borrow(section).borrow_mut().begin(enabled));
}

/// Adds bytes to the line.
pub(super) fn write(bytes: &[u8]) {
    interrupt::free(|section| LOG.borrow(section).borrow_mut().write(bytes));
}

/// Ends the line. Returns whether interrupts were on before its start.
pub(super) fn end_line() -> bool {
    interrupt::free(|section| {
        let enabled = LOG.borrow(section).borrow_mut().end();
        pump(section);
        enabled
    })
}

/// Moves as many bytes to the UART as its FIFO takes.
pub(super) fn pump(section: &CriticalSection) {
    let mut log = LOG.borrow(section).borrow_mut();
    while UARTFR.read() & TXFF == 0
        && let Some(byte) = log.pop()
    {
        UARTDR.write(byte.into());
    }
}

/// Waits until the whole log is sent.
pub(super) fn drain(section: &CriticalSection) {
    while !LOG.borrow(section).borrow().is_empty() && is_soon(|| UARTFR.read() & TXFF == 0) {
        pump(section);
    }
    is_soon(|| UARTFR.read() & BUSY == 0);
}

/// Logs why the program ends, even in the middle of a log line, unless logging is the reason.
pub(super) fn end(last_words: &dyn Fn()) {
    if ENDING.load(Ordering::Relaxed) {
        return;
    }
    ENDING.store(true, Ordering::Relaxed);
    interrupt::free(|section| {
        // a panic in the middle of a log line: the line would still be borrowed
        if let Ok(mut log) = LOG.borrow(section).try_borrow_mut() {
            log.give_up_line();
            drop(log);
            drain(section); // so that there is space
        }
    });
    last_words();
    interrupt::free(drain);
}

/// Returns the number of lines that did not fit since the last call.
pub(crate) fn lines_lost() -> u32 {
    interrupt::free(|section| LOG.borrow(section).borrow_mut().take_lost())
}

//! The system clock, and the time since the start.

use core::cell::Cell;

use cortex_m::interrupt::{self, CriticalSection, Mutex};
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};

use super::chip::{Register, is_soon};

const RIS: Register = Register(0x400f_e050);
const RCC: Register = Register(0x400f_e060);

/// Bits of `RCC`: the system clock is the PLL's 200 MHz divided by four.
const BYPASS: u32 = 1 << 11;
const USESYSDIV: u32 = 1 << 22;
const PLL_MASK: u32 = 0b1111 << 6 | 0b11 << 4 | 1 << 13 | 1; // XTAL, OSCSRC, PWRDN, MOSCDIS
const XTAL_8_MHZ: u32 = 0xe << 6;
const SYSDIV_MASK: u32 = 0b1111 << 23;
const SYSDIV_4: u32 = 3 << 23;
const PLLLRIS: u32 = 1 << 6;

const PLL_HZ: u32 = 50_000_000;
const CRYSTAL_HZ: u32 = 8_000_000;

/// Milliseconds between ticks of SysTick. Each tick wakes the chip and fills the FIFO of the UART,
/// whose 16 bytes are sent in less than a tick.
const TICK_MS: u32 = 4;

/// Milliseconds since the start: at the last tick, and as last returned.
static CLOCK: Mutex<Cell<(u64, u64)>> = Mutex::new(Cell::new((0, 0)));

/// Makes the PLL the system clock. Returns its frequency.
pub(super) fn start() -> u32 {
    let before = RCC.read();
    RCC.write((before | BYPASS) & !USESYSDIV);
    let bypassed = (RCC.read() & !(PLL_MASK | SYSDIV_MASK)) | XTAL_8_MHZ | SYSDIV_4;
    RCC.write(bypassed);
    if !is_soon(|| RIS.read() & PLLLRIS != 0) {
        return CRYSTAL_HZ;
    }
    RCC.write(bypassed | USESYSDIV);
    RCC.write((bypassed | USESYSDIV) & !BYPASS);
    PLL_HZ
}

/// Starts the tick interrupt.
pub(super) fn start_ticks(timer: &mut SYST, clock_hz: u32) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(clock_hz / 1000 * TICK_MS - 1);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();
}

/// Handles a tick.
pub(super) fn tick(section: &CriticalSection) {
    let clock = CLOCK.borrow(section);
    let (ticks, told) = clock.get();
    clock.set((ticks + u64::from(TICK_MS), told));
}

/// Returns the milliseconds since the start.
pub(super) fn now_ms() -> u64 {
    interrupt::free(|section| {
        let clock = CLOCK.borrow(section);
        let (mut ticks, told) = clock.get();
        let mut left = SYST::get_current();
        if SCB::is_pendst_pending() {
            // the timer wrapped, perhaps after `left` was read
            left = SYST::get_current();
            ticks += u64::from(TICK_MS);
        }
        let reload = SYST::get_reload();
        let since = reload
            .saturating_sub(left)
            .checked_div((reload + 1) / TICK_MS);
        // the timer stays at 0 for a moment, where the tick has come but counts as no time yet
        let now = told.max(ticks + u64::from(since.filter(|_| left > 0).unwrap_or_default()));
        clock.set((clock.get().0, now));
        now
    })
}

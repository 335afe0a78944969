//! The only `unsafe` code of the firmware, for what the compiler cannot check about the chip:
//! registers, the interrupt table, the painted stack, the logger.
#![allow(unsafe_code, reason = "registers are at addresses")]

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::{ExceptionFrame, exception};

use super::ethernet;
#[cfg(feature = "defmt")]
use super::uart;

// SAFETY: the functions do what the run-time ABI says of their names
core::arch::global_asm!(include_str!("../runtime.s"), options(raw));

/// Maximum number of reads of a register that waits for an event, which takes microseconds.
const PATIENCE: u32 = 100_000;

/// A register of this chip.
#[derive(Clone, Copy)]
pub(super) struct Register(pub(super) usize);

impl Register {
    pub(super) fn read(self) -> u32 {
        // SAFETY: all values of this type are constants of the sibling modules: aligned addresses
        // of registers, which respond as soon as `Board::start` has started their clocks, and which
        // are not memory that Rust uses
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    pub(super) fn write(self, value: u32) {
        // SAFETY: as for reading; no register makes the chip write to memory
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }

    pub(super) fn set(self, bits: u32) {
        self.write(self.read() | bits);
    }
}

/// Returns whether `condition` becomes true within the time that the hardware needs.
pub(super) fn is_soon(condition: impl Fn() -> bool) -> bool {
    (0..PATIENCE).any(|_| condition())
}

/// Interrupt number of the Ethernet controller.
const ETHERNET: u16 = 42;

/// The Ethernet controller's interrupt.
#[derive(Clone, Copy)]
struct Ethernet0;

// SAFETY: the number is a constant
unsafe impl InterruptNumber for Ethernet0 {
    fn number(self) -> u16 {
        ETHERNET
    }
}

/// Enables the interrupt of the Ethernet controller.
pub(super) fn unmask_ethernet() {
    // SAFETY: no critical section relies on it being masked; its handler is in the table
    unsafe { NVIC::unmask(Ethernet0) };
}

/// The interrupt handlers. Interrupts without one are never enabled.
// SAFETY: where cortex-m-rt's linker script wants it, as it is in its own table
#[unsafe(link_section = ".vector_table.interrupts")]
// SAFETY: the name that keeps the script from dropping it, and which nothing else has
#[unsafe(no_mangle)]
static __INTERRUPTS: [Option<extern "C" fn()>; 44] = {
    let mut table: [Option<extern "C" fn()>; 44] = [None; 44];
    table[ETHERNET as usize] = Some(ethernet::on_interrupt);
    table
};

// SAFETY: the interrupted code does not continue
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    super::hard_fault(frame.pc())
}

// SAFETY: symbols of cortex-m-rt's linker script, of which only the addresses are used
#[cfg(feature = "defmt")]
unsafe extern "C" {
    static _stack_end: u32;
    static _stack_start: u32;
}

/// Returns the maximum depth of the stack so far, in bytes.
#[cfg(feature = "defmt")]
pub(super) fn stack_used() -> usize {
    let (end, start) = (&raw const _stack_end, &raw const _stack_start);
    let mut lowest = end;
    while lowest < start {
        // SAFETY: RAM between two aligned addresses that the linker script gives, read as words
        if unsafe { lowest.read_volatile() } != cortex_m_rt::STACK_PAINT_VALUE {
            break;
        }
        lowest = lowest.wrapping_add(1);
    }
    start as usize - lowest as usize
}

/// Returns the address of the caller's frame: see [`calls`].
#[cfg(feature = "defmt")]
#[inline(always)]
pub(super) fn frame() -> usize {
    let frame;
    // SAFETY: it copies a register
    unsafe { core::arch::asm!("mov {}, r7", out(reg) frame, options(nomem, nostack)) };
    frame
}

/// Fills `calls` with the addresses of the calls that led to the function that has this frame, the last
/// one first, and returns those that there are.
///
/// Each function that calls others stores its caller's r7 and its own return address, and points r7 at
/// them: its frame.
#[cfg(feature = "defmt")]
pub(super) fn calls(mut frame: usize, calls: &mut [u32]) -> &[u32] {
    let (end, start) = (&raw const _stack_end, &raw const _stack_start);
    let mut stack = end as usize..start as usize - 4;
    let mut count = 0;
    for call in &mut *calls {
        if !stack.contains(&frame) || !frame.is_multiple_of(4) {
            break;
        }
        let words = frame as *const u32;
        // SAFETY: two aligned words of the stack
        let (outer, back) = unsafe { (words.read_volatile(), words.add(1).read_volatile()) };
        // bit 0 is the instruction set; the call ends here, and has two bytes or four
        *call = (back & !1).wrapping_sub(2);
        count += 1;
        stack.start = frame + 4;
        frame = outer as usize;
    }
    calls.get(..count).unwrap_or_default()
}

#[cfg(feature = "defmt")]
#[defmt::global_logger]
struct Logger;

// SAFETY: from `acquire` to `release` interrupts are off, and there is one core
#[cfg(feature = "defmt")]
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        uart::begin_line();
    }

    // SAFETY: called between `acquire` and `release`
    unsafe fn flush() {
        cortex_m::interrupt::free(uart::drain);
    }

    // SAFETY: called once after `acquire`
    unsafe fn release() {
        if uart::end_line() {
            // SAFETY: they were on before `acquire`, and no critical section is open
            unsafe { cortex_m::interrupt::enable() };
        }
    }

    // SAFETY: called between `acquire` and `release`
    unsafe fn write(bytes: &[u8]) {
        uart::write(bytes);
    }
}

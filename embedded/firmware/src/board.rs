//! The board: clock, UART, watchdog, Ethernet controller and sleep.
//!
//! Registers and bits have the names of the LM3S6965 data sheet.

mod chip;
mod clock;
mod ethernet;
#[cfg(feature = "defmt")]
mod uart;

use core::panic::PanicInfo;

use cortex_m::interrupt;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::exception;

use chip::Register;
pub(crate) use ethernet::{Ethernet, EthernetBuffers};
#[cfg(feature = "defmt")]
pub(crate) use uart::lines_lost;

#[cfg(feature = "defmt")]
const RESC: Register = Register(0x400f_e05c);
const RCGC: [Register; 3] = [
    Register(0x400f_e100),
    Register(0x400f_e104),
    Register(0x400f_e108),
];
const USER: [Register; 2] = [Register(0x400f_e1e0), Register(0x400f_e1e4)];

/// Maximum number of calls that are logged after a panic.
#[cfg(feature = "defmt")]
const CALLS: usize = 8;

const WDTLOAD: Register = Register(0x4000_0000);
const WDTCTL: Register = Register(0x4000_0008);
const WDTICR: Register = Register(0x4000_000c);

/// Watchdog period in clock ticks of 20 ns. The board is reset after two periods without a feed,
/// which is 4 s.
const WATCHDOG_TICKS: u32 = 100_000_000;

/// The running board. There is one, from [`Board::start`].
pub(crate) struct Board {
    /// The hardware address from the chip's user registers, if they have one.
    pub(crate) hardware_address: Option<[u8; 6]>,
    #[cfg(feature = "defmt")]
    stack_used: usize,
}

impl Board {
    /// Starts clocks, UART, watchdog and interrupts.
    ///
    /// # Panics
    ///
    /// If called twice.
    pub(crate) fn start() -> Self {
        let Some(mut core) = cortex_m::Peripherals::take() else {
            panic!("the board is running already");
        };
        let clock_hz = clock::start();
        RCGC[0].set(1 << 3); // WDT
        #[cfg(feature = "defmt")]
        RCGC[1].set(1); // UART0
        RCGC[2].set(1 << 30 | 1 << 28 | 1 << 5 | 1); // EPHY0, EMAC0, GPIOF, GPIOA
        cortex_m::asm::delay(16); // a clock takes some cycles to arrive

        #[cfg(feature = "defmt")]
        uart::start(clock_hz);
        start_watchdog();
        clock::start_ticks(&mut core.SYST, clock_hz);
        chip::unmask_ethernet();

        Self {
            hardware_address: hardware_address(),
            #[cfg(feature = "defmt")]
            stack_used: 0,
        }
    }

    /// Returns the milliseconds since the start.
    pub(crate) fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    /// Returns a number that is hard to predict: the position of the clock within its millisecond.
    pub(crate) fn jitter(&self) -> u32 {
        SYST::get_current()
    }

    /// Resets the watchdog timer. Without this call the board is reset after 4 s.
    pub(crate) fn feed_watchdog(&mut self) {
        WDTICR.write(1);
    }

    /// Sleeps until a frame arrives or until `then_ms`, for at most a second. While Ethernet
    /// `is_stuck` no frame can be read, and it sleeps until the next tick of the clock.
    pub(crate) fn sleep(&mut self, then_ms: u64, is_stuck: bool) {
        let most_ms = if is_stuck { 1 } else { 1000 };
        let then_ms = then_ms.min(clock::now_ms() + most_ms);
        // Interrupts are off between the check and `wfi`, so that none is missed: a pending
        // interrupt ends `wfi` all the same, and its handler runs when interrupts are on again.
        while interrupt::free(|_| {
            let is_needed = ethernet::has_received() && !is_stuck;
            let sleepy = clock::now_ms() < then_ms && !is_needed;
            if sleepy {
                cortex_m::asm::wfi();
            }
            sleepy
        }) {}
    }
}

/// Diagnostics.
#[cfg(feature = "defmt")]
impl Board {
    /// Returns the cause of the last reset on the first call. QEMU does not report one.
    pub(crate) fn take_reset_cause(&mut self) -> &'static str {
        let causes = [
            "the reset pin",
            "power",
            "low voltage",
            "the watchdog",
            "the program",
        ];
        let bits = RESC.read();
        RESC.write(0);
        let is_set = |bit: &usize| bits & 1 << bit != 0;
        let cause = (0..causes.len()).rev().find(is_set);
        let cause = cause.and_then(|bit| causes.get(bit).copied());
        cause.unwrap_or("something unknown")
    }

    /// Returns the maximum depth of the stack so far in bytes, if it has grown since the last call.
    pub(crate) fn deeper_stack(&mut self) -> Option<usize> {
        let used = chip::stack_used();
        (used > core::mem::replace(&mut self.stack_used, used)).then_some(used)
    }

    /// Returns the number of overruns of the receive FIFO, and of frames with an invalid length.
    pub(crate) fn ethernet_losses(&self) -> (u32, u32) {
        ethernet::losses()
    }
}

fn start_watchdog() {
    WDTLOAD.write(WATCHDOG_TICKS);
    WDTCTL.write(0b11); // RESEN, INTEN
}

/// Returns the address that the manufacturer wrote into the user registers, if there is one.
fn hardware_address() -> Option<[u8; 6]> {
    let [a, b, c, unset] = USER[0].read().to_le_bytes();
    let [d, e, f, _] = USER[1].read().to_le_bytes();
    let is_unicast = a & 1 == 0 && [a, b, c, d, e, f] != [0; 6];
    (unset == 0 && is_unicast).then_some([a, b, c, d, e, f])
}

/// Handles the tick of the clock.
#[exception]
fn SysTick() {
    interrupt::free(|section| {
        clock::tick(section);
        #[cfg(feature = "defmt")]
        uart::pump(section);
    });
}

/// The processor could not execute the instruction at `address`, or not access its operands.
fn hard_fault(address: u32) -> ! {
    end(&|| {
        #[cfg(feature = "defmt")]
        defmt::error!("hard fault at {=u32:#010x}", address);
        #[cfg(not(feature = "defmt"))]
        let _ = address;
    })
}

/// Logs why the program cannot start, and resets the board.
pub(crate) fn give_up(why: &str) -> ! {
    end(&|| {
        #[cfg(feature = "defmt")]
        defmt::error!("cannot start: {=str}", why);
        #[cfg(not(feature = "defmt"))]
        let _ = why;
    })
}

/// Logs the calls that led to a panic, and resets the board.
///
/// The message is not read: so neither the messages nor the code that formats their values are in
/// flash, where they took 14 KB.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    #[cfg(feature = "defmt")]
    let frame = chip::frame();
    end(&|| {
        #[cfg(feature = "defmt")]
        defmt::error!("panic at {=[?]:#010x}", chip::calls(frame, &mut [0; CALLS]));
    })
}

/// Resets the board after the log has got its last words.
fn end(last_words: &dyn Fn()) -> ! {
    interrupt::disable();
    #[cfg(feature = "defmt")]
    uart::end(last_words);
    #[cfg(not(feature = "defmt"))]
    let _ = last_words;
    SCB::sys_reset()
}

//! The board: clock, UART, watchdog, Ethernet controller, sleep, and the only `unsafe` code.
//!
//! Registers and bits have the names of the LM3S6965 data sheet.
#![allow(unsafe_code, reason = "registers are at addresses")]

use core::cell::Cell;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::interrupt::InterruptNumber;
use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{NVIC, SCB, SYST};
use cortex_m_rt::{ExceptionFrame, exception};
use kilochat_embedded::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use kilochat_embedded::time::Instant;

// SAFETY: the functions do what the run-time ABI says of their names
core::arch::global_asm!(include_str!("runtime.s"), options(raw));

/// A register of this chip.
#[derive(Clone, Copy)]
struct Register(usize);

impl Register {
    fn read(self) -> u32 {
        // SAFETY: all values of this type are below, aligned registers of the chip, which are
        // there as soon as `Board::start` has given them their clock, and never memory of Rust's
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    fn write(self, value: u32) {
        // SAFETY: as for reading; no register makes the chip write to memory
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }

    fn set(self, bits: u32) {
        self.write(self.read() | bits);
    }
}

const RIS: Register = Register(0x400f_e050);
#[cfg(feature = "defmt")]
const RESC: Register = Register(0x400f_e05c);
const RCC: Register = Register(0x400f_e060);
const RCGC: [Register; 3] = [
    Register(0x400f_e100),
    Register(0x400f_e104),
    Register(0x400f_e108),
];
const USER: [Register; 2] = [Register(0x400f_e1e0), Register(0x400f_e1e4)];

const WDTLOAD: Register = Register(0x4000_0000);
const WDTCTL: Register = Register(0x4000_0008);
const WDTICR: Register = Register(0x4000_000c);

const GPIOA_AFSEL: Register = Register(0x4000_4420);
const GPIOA_DEN: Register = Register(0x4000_451c);
const GPIOF_AFSEL: Register = Register(0x4002_5420);
const GPIOF_DEN: Register = Register(0x4002_551c);

#[cfg(feature = "defmt")]
const UARTDR: Register = Register(0x4000_c000);
#[cfg(feature = "defmt")]
const UARTFR: Register = Register(0x4000_c018);
const UARTIBRD: Register = Register(0x4000_c024);
const UARTFBRD: Register = Register(0x4000_c028);
const UARTLCRH: Register = Register(0x4000_c02c);
const UARTCTL: Register = Register(0x4000_c030);

const MACRIS: Register = Register(0x4004_8000);
const MACIM: Register = Register(0x4004_8004);
const MACRCTL: Register = Register(0x4004_8008);
const MACTCTL: Register = Register(0x4004_800c);
const MACDATA: Register = Register(0x4004_8010);
const MACIA: [Register; 2] = [Register(0x4004_8014), Register(0x4004_8018)];
const MACNP: Register = Register(0x4004_8034);
const MACTR: Register = Register(0x4004_8038);

/// Bits of `RCC`: the system clock is the PLL's 200 MHz divided by four.
const BYPASS: u32 = 1 << 11;
const USESYSDIV: u32 = 1 << 22;
const PLL_MASK: u32 = 0b1111 << 6 | 0b11 << 4 | 1 << 13 | 1; // XTAL, OSCSRC, PWRDN, MOSCDIS
const XTAL_8_MHZ: u32 = 0xe << 6;
const SYSDIV_MASK: u32 = 0b1111 << 23;
const SYSDIV_4: u32 = 3 << 23;
const PLLLRIS: u32 = 1 << 6;

/// Bits of `MACRIS`: a frame was received; the receive FIFO ran over.
const RXINT: u32 = 1;
const FOV: u32 = 1 << 3;

const PLL_HZ: u32 = 50_000_000;
const CRYSTAL_HZ: u32 = 8_000_000;

/// How often a register is read, waiting for something that takes microseconds.
const PATIENCE: u32 = 100_000;

/// The watchdog bites after two of these without being fed, in clock ticks of 20 ns: 4 s.
const WATCHDOG_TICKS: u32 = 100_000_000;

const BAUD: u32 = 115_200;

// SAFETY: symbols of cortex-m-rt's linker script, of which only the addresses are used
unsafe extern "C" {
    static _stack_end: u32;
    static _stack_start: u32;
}

/// Milliseconds between ticks of SysTick. Each wakes the chip; 16 bytes of log leave the UART
/// in less, which is what its FIFO is given on each.
const TICK_MS: u32 = 4;

/// Milliseconds since the start, at the last tick and as last told.
static CLOCK: Mutex<Cell<(u64, u64)>> = Mutex::new(Cell::new((0, 0)));

/// Counters of the Ethernet controller, which the node owns.
static OVERRUNS: AtomicU32 = AtomicU32::new(0);
static UNFIT: AtomicU32 = AtomicU32::new(0);

/// What is running on the board. There is one, from [`Board::start`].
pub(crate) struct Board {
    /// The hardware address, from the chip's user registers.
    pub(crate) hardware_address: Option<[u8; 6]>,
    #[cfg(feature = "defmt")]
    stack_used: usize,
}

impl Board {
    /// Starts clocks, UART, watchdog and interrupts.
    ///
    /// # Panics
    ///
    /// When called twice.
    pub(crate) fn start() -> Self {
        let Some(mut core) = cortex_m::Peripherals::take() else {
            panic!("the board is running already");
        };
        let clock_hz = start_clock();
        RCGC[0].set(1 << 3); // WDT
        RCGC[1].set(1); // UART0
        RCGC[2].set(1 << 30 | 1 << 28 | 1 << 5 | 1); // EPHY0, EMAC0, GPIOF, GPIOA
        cortex_m::asm::delay(16); // a clock takes some cycles to arrive

        start_uart(clock_hz);
        start_watchdog();
        core.SYST.set_clock_source(SystClkSource::Core);
        core.SYST.set_reload(clock_hz / 1000 * TICK_MS - 1);
        core.SYST.clear_current();
        core.SYST.enable_counter();
        core.SYST.enable_interrupt();
        // SAFETY: no critical section relies on it being masked; its handler is below
        unsafe { NVIC::unmask(Ethernet0) };

        Self {
            hardware_address: hardware_address(),
            #[cfg(feature = "defmt")]
            stack_used: 0,
        }
    }

    /// Milliseconds since the start.
    pub(crate) fn now_ms(&self) -> u64 {
        now_ms()
    }

    /// A number that nobody outside knows exactly: where in its millisecond the clock is.
    pub(crate) fn jitter(&self) -> u32 {
        SYST::get_current()
    }

    /// Tells the watchdog that all is well; without it the board is reset after 4 s.
    pub(crate) fn feed_watchdog(&mut self) {
        WDTICR.write(1);
    }

    /// Sleeps until a frame has arrived, or until `then_ms`, but at most for a second.
    pub(crate) fn sleep(&mut self, then_ms: u64) {
        let then_ms = then_ms.min(now_ms() + 1000);
        // With interrupts off nothing can happen between the question and `wfi`; what happens then
        // ends `wfi` all the same, and its handler runs as soon as interrupts are on again.
        while interrupt::free(|_| {
            let sleepy = now_ms() < then_ms && MACNP.read() == 0;
            if sleepy {
                cortex_m::asm::wfi();
            }
            sleepy
        }) {}
    }
}

/// What can be told of the board.
#[cfg(feature = "defmt")]
impl Board {
    /// Why it was reset, if asked for the first time. QEMU never says.
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
        cause.map_or("something unknown", |bit| causes[bit])
    }

    /// The deepest that the stack has been so far, in bytes, if that is deeper than when last asked.
    pub(crate) fn deeper_stack(&mut self) -> Option<usize> {
        let (end, start) = (&raw const _stack_end, &raw const _stack_start);
        let mut lowest = end;
        while lowest < start {
            // SAFETY: RAM between two aligned addresses that the linker script gives, read as words
            if unsafe { lowest.read_volatile() } != cortex_m_rt::STACK_PAINT_VALUE {
                break;
            }
            lowest = lowest.wrapping_add(1);
        }
        let used = start as usize - lowest as usize;
        (used > core::mem::replace(&mut self.stack_used, used)).then_some(used)
    }

    /// How often the receive FIFO ran over, and how many frames were of no possible length.
    pub(crate) fn ethernet_losses(&self) -> (u32, u32) {
        (
            OVERRUNS.load(Ordering::Relaxed),
            UNFIT.load(Ordering::Relaxed),
        )
    }
}

/// What the FIFOs of the Ethernet controller are read and written through: two bytes of length, a
/// frame, and room for the four bytes of its check sequence.
type FifoBuffer = [u8; 2 + FRAME_MAX + 4];

/// The longest frame, without its check sequence.
const FRAME_MAX: usize = 1514;

/// An Ethernet header: nothing shorter is given to smoltcp.
const FRAME_MIN: usize = 14;

/// The memory of the Ethernet controller's driver; all zero, so that it takes no room in flash.
#[derive(Debug)]
pub(crate) struct EthernetBuffers {
    received: FifoBuffer,
    sent: FifoBuffer,
}

impl EthernetBuffers {
    pub(crate) const fn new() -> Self {
        Self {
            received: [0; _],
            sent: [0; _],
        }
    }
}

/// The Ethernet controller as smoltcp takes one.
#[derive(Debug)]
pub(crate) struct Ethernet {
    buffers: &'static mut EthernetBuffers,
}

impl Ethernet {
    /// Lets the controller send and receive under `address`.
    pub(crate) fn start(buffers: &'static mut EthernetBuffers, address: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = address;
        GPIOF_AFSEL.set(0b11 << 2); // the two lamps of the socket
        GPIOF_DEN.set(0b11 << 2);
        MACIM.write(0);
        MACRCTL.write(0);
        MACIA[0].write(u32::from_le_bytes([a, b, c, d]));
        MACIA[1].write(u32::from_le_bytes([e, f, 0, 0]));
        MACTCTL.write(1 << 4 | 1 << 2 | 1 << 1 | 1); // DUPLEX, CRC, PADEN, TXEN
        MACRCTL.write(1 << 4); // RSTFIFO
        MACRCTL.write(1 << 3 | 1 << 1 | 1); // BADCRC, AMUL, RXEN
        MACRIS.write(MACRIS.read());
        MACIM.write(RXINT);
        Self { buffers }
    }

    /// Whether the one frame that the transmit FIFO holds has left, or leaves soon.
    fn can_send() -> bool {
        is_soon(|| MACTR.read() & 1 == 0)
    }

    /// Takes a frame out of the receive FIFO, whose length is returned if it is a possible one.
    fn take_frame(&mut self) -> Option<usize> {
        let first = MACDATA.read();
        // two bytes of length and four of check sequence count
        let [low, high, ..] = first.to_le_bytes();
        let counted = usize::from(u16::from_le_bytes([low, high]));
        let mut room = self.buffers.received.as_chunks_mut::<4>().0.iter_mut();
        let mut keep = |word: u32| {
            if let Some(bytes) = room.next() {
                *bytes = word.to_le_bytes();
            }
        };
        keep(first);
        for _ in 1..counted.div_ceil(4) {
            keep(MACDATA.read());
        }
        let length = counted.checked_sub(6)?;
        (FRAME_MIN..=FRAME_MAX).contains(&length).then_some(length)
    }
}

impl Device for Ethernet {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        if MACRIS.read() & FOV != 0 {
            MACRIS.write(FOV);
            count(&OVERRUNS);
        }
        // as many as the FIFO can hold
        for _ in 0..64 {
            if MACNP.read() == 0 || !Self::can_send() {
                return None;
            }
            if let Some(length) = self.take_frame() {
                let EthernetBuffers { received, sent } = &mut *self.buffers;
                return Some((Received(&received[2..2 + length]), Sending(sent)));
            }
            count(&UNFIT);
        }
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Self::can_send().then_some(Sending(&mut self.buffers.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities.max_burst_size = Some(1);
        capabilities
    }
}

/// A frame that was received.
#[derive(Debug)]
pub(crate) struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, handle: F) -> R {
        handle(self.0)
    }
}

/// Room for a frame to send.
#[derive(Debug)]
pub(crate) struct Sending<'a>(&'a mut FifoBuffer);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let result = fill(&mut self.0[2..2 + length]);
        // the header does not count
        let counted = u16::try_from(length.saturating_sub(FRAME_MIN)).unwrap_or_default();
        self.0[..2].copy_from_slice(&counted.to_le_bytes());
        let (words, _) = self.0.as_chunks::<4>();
        for word in words.iter().take((2 + length).div_ceil(4)) {
            MACDATA.write(u32::from_le_bytes(*word));
        }
        MACTR.write(1); // NEWTX
        result
    }
}

/// Makes the PLL the system clock; returns its frequency.
fn start_clock() -> u32 {
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

/// UART0 on PA0 and PA1: 8 bits, no parity, one stop bit.
fn start_uart(clock_hz: u32) {
    GPIOA_AFSEL.set(0b11);
    GPIOA_DEN.set(0b11);
    let divisor = (clock_hz * 4 + BAUD / 2) / BAUD; // in 64ths
    UARTCTL.write(0);
    UARTIBRD.write(divisor / 64);
    UARTFBRD.write(divisor % 64);
    UARTLCRH.write(0b11 << 5 | 1 << 4); // WLEN, FEN
    UARTCTL.write(1 << 8 | 1); // TXE, UARTEN
}

fn start_watchdog() {
    WDTLOAD.write(WATCHDOG_TICKS);
    WDTCTL.write(0b11); // RESEN, INTEN
}

/// The address that the maker of the board wrote into the user registers, if one did.
fn hardware_address() -> Option<[u8; 6]> {
    let [a, b, c, unset] = USER[0].read().to_le_bytes();
    let [d, e, f, _] = USER[1].read().to_le_bytes();
    let is_unicast = a & 1 == 0 && [a, b, c, d, e, f] != [0; 6];
    (unset == 0 && is_unicast).then_some([a, b, c, d, e, f])
}

/// Whether `condition` holds within the time that registers need for what they do.
fn is_soon(condition: impl Fn() -> bool) -> bool {
    (0..PATIENCE).any(|_| condition())
}

fn count(counter: &AtomicU32) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

fn now_ms() -> u64 {
    interrupt::free(|section| {
        let clock = CLOCK.borrow(section);
        let (mut ticks, told) = clock.get();
        let mut left = SYST::get_current();
        if SCB::is_pendst_pending() {
            // it started again, maybe after `left` was read
            left = SYST::get_current();
            ticks += u64::from(TICK_MS);
        }
        let reload = SYST::get_reload();
        let since = reload.saturating_sub(left) / ((reload + 1) / TICK_MS);
        // it stays for a moment at 0, where a tick has come but no time has passed since
        let now = told.max(ticks + u64::from(if left == 0 { 0 } else { since }));
        clock.set((clock.get().0, now));
        now
    })
}

/// The number of the Ethernet controller's interrupt.
const ETHERNET: u16 = 42;

/// The Ethernet controller's interrupt.
#[derive(Clone, Copy)]
struct Ethernet0;

// SAFETY: it is always the same
unsafe impl InterruptNumber for Ethernet0 {
    fn number(self) -> u16 {
        ETHERNET
    }
}

/// A tick has passed.
#[exception]
fn SysTick() {
    interrupt::free(|section| {
        let clock = CLOCK.borrow(section);
        let (ticks, told) = clock.get();
        clock.set((ticks + u64::from(TICK_MS), told));
        #[cfg(feature = "defmt")]
        uart::pump(section);
    });
}

/// The Ethernet controller has received a frame: that ends the sleep, and no more is needed.
extern "C" fn ethernet() {
    MACRIS.write(RXINT);
}

/// What runs on which interrupt; the others are never enabled.
// SAFETY: where cortex-m-rt's linker script wants it, as it is in its own table
#[unsafe(link_section = ".vector_table.interrupts")]
// SAFETY: the name that keeps the script from dropping it, and nobody else's
#[unsafe(no_mangle)]
static __INTERRUPTS: [Option<extern "C" fn()>; 44] = {
    let mut table: [Option<extern "C" fn()>; 44] = [None; 44];
    table[ETHERNET as usize] = Some(ethernet);
    table
};

// SAFETY: nothing that was interrupted goes on
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    panic!("hard fault at {:#010x}", frame.pc())
}

/// Says why and resets the board.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    interrupt::disable();
    #[cfg(feature = "defmt")]
    uart::last_words(info);
    #[cfg(not(feature = "defmt"))]
    let _ = info;
    SCB::sys_reset()
}

/// The logs on UART0.
#[cfg(feature = "defmt")]
pub(crate) mod uart {
    use core::cell::RefCell;
    use core::panic::PanicInfo;
    use core::sync::atomic::{AtomicBool, Ordering};

    use cortex_m::interrupt::{self, CriticalSection, Mutex};
    use cortex_m::register::primask;

    use super::{UARTDR, UARTFR, is_soon};
    use crate::log::Log;

    const TXFF: u32 = 1 << 5;
    const BUSY: u32 = 1 << 3;

    static LOG: Mutex<RefCell<Log>> = Mutex::new(RefCell::new(Log::new()));

    /// Whether a panic is being told of.
    static PANICKING: AtomicBool = AtomicBool::new(false);

    defmt::timestamp!("{=u64:ms}", super::now_ms());

    #[defmt::global_logger]
    struct Logger;

    // SAFETY: from `acquire` to `release` interrupts are off, and there is one core
    unsafe impl defmt::Logger for Logger {
        fn acquire() {
            let enabled = primask::read().is_active();
            interrupt::disable();
            interrupt::free(|section| LOG.borrow(section).borrow_mut().begin(enabled));
        }

        // SAFETY: called between `acquire` and `release`
        unsafe fn flush() {
            interrupt::free(drain);
        }

        // SAFETY: called once after `acquire`
        unsafe fn release() {
            let enabled = interrupt::free(|section| {
                let enabled = LOG.borrow(section).borrow_mut().end();
                pump(section);
                enabled
            });
            if enabled {
                // SAFETY: they were on before `acquire`, and no critical section is open
                unsafe { interrupt::enable() };
            }
        }

        // SAFETY: called between `acquire` and `release`
        unsafe fn write(bytes: &[u8]) {
            interrupt::free(|section| LOG.borrow(section).borrow_mut().write(bytes));
        }
    }

    /// Gives the UART as much as its FIFO takes.
    pub(super) fn pump(section: &CriticalSection) {
        let mut log = LOG.borrow(section).borrow_mut();
        while UARTFR.read() & TXFF == 0
            && let Some(byte) = log.pop()
        {
            UARTDR.write(byte.into());
        }
    }

    /// Waits until all that was logged has left.
    fn drain(section: &CriticalSection) {
        while !LOG.borrow(section).borrow().is_empty() && is_soon(|| UARTFR.read() & TXFF == 0) {
            pump(section);
        }
        is_soon(|| UARTFR.read() & BUSY == 0);
    }

    /// Logs a panic, whatever was being logged, unless logging is what panicked.
    pub(super) fn last_words(info: &PanicInfo<'_>) {
        if PANICKING.load(Ordering::Relaxed) {
            return;
        }
        PANICKING.store(true, Ordering::Relaxed);
        interrupt::free(|section| {
            // a panic in the middle of a log line: without this it would be held as borrowed
            if let Ok(mut log) = LOG.borrow(section).try_borrow_mut() {
                log.give_up_line();
            }
        });
        defmt::error!("{}", defmt::Display2Format(info));
        interrupt::free(drain);
    }

    /// How many lines there was no room for since last asked.
    pub(crate) fn lines_lost() -> u32 {
        interrupt::free(|section| LOG.borrow(section).borrow_mut().take_lost())
    }
}

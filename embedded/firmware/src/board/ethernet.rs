//! The Ethernet controller.

use core::sync::atomic::{AtomicU32, Ordering};

use kilochat_embedded::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use kilochat_embedded::time::Instant;

use super::chip::{Register, is_soon};

const GPIOF_AFSEL: Register = Register(0x4002_5420);
const GPIOF_DEN: Register = Register(0x4002_551c);

const MACRIS: Register = Register(0x4004_8000);
const MACIM: Register = Register(0x4004_8004);
const MACRCTL: Register = Register(0x4004_8008);
const MACTCTL: Register = Register(0x4004_800c);
const MACDATA: Register = Register(0x4004_8010);
const MACIA: [Register; 2] = [Register(0x4004_8014), Register(0x4004_8018)];
const MACNP: Register = Register(0x4004_8034);
const MACTR: Register = Register(0x4004_8038);

/// Bits of `MACRIS`: a frame was received; the receive FIFO overran.
const RXINT: u32 = 1;
const FOV: u32 = 1 << 3;

/// Counters of the controller.
static OVERRUNS: AtomicU32 = AtomicU32::new(0);
static UNFIT: AtomicU32 = AtomicU32::new(0);

/// A buffer for the FIFOs of the Ethernet controller: two bytes of length, a frame, and the four
/// bytes of its check sequence.
type FifoBuffer = [u8; 2 + FRAME_MAX + 4];

/// Maximum length of a frame without its check sequence, in bytes.
const FRAME_MAX: usize = 1514;

/// Length of an Ethernet header in bytes. A shorter frame is not passed to smoltcp.
const FRAME_MIN: usize = 14;

/// The memory of the Ethernet driver: all zero, so that it takes no space in flash.
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

/// The Ethernet controller as a smoltcp device.
#[derive(Debug)]
pub(crate) struct Ethernet {
    buffers: &'static mut EthernetBuffers,
    /// Whether a frame was not sent within the time that it should take.
    is_stuck: bool,
}

impl Ethernet {
    /// Starts the controller with the hardware address `address`.
    pub(crate) fn start(buffers: &'static mut EthernetBuffers, address: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = address;
        GPIOF_AFSEL.set(0b11 << 2); // the two LEDs of the socket
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
        Self {
            buffers,
            is_stuck: false,
        }
    }

    /// Returns whether a frame has been waiting in the transmit FIFO for longer than it takes to
    /// send one. Then nothing can be sent or received.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Returns whether the transmit FIFO, which holds one frame, is empty or soon will be. It waits
    /// for this once; a controller that is stuck is not waited for again.
    fn can_send(&mut self) -> bool {
        let has_left = || MACTR.read() & 1 == 0;
        self.is_stuck = !has_left() && (self.is_stuck || !is_soon(has_left));
        !self.is_stuck
    }

    /// Reads a frame from the receive FIFO. Returns its length if that is valid.
    fn take_frame(&mut self) -> Option<usize> {
        let first = MACDATA.read();
        // the length includes its own two bytes and the four of the check sequence
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
    type RxToken<'a> = RxFrame<'a>;
    type TxToken<'a> = TxFrame<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxFrame<'_>, TxFrame<'_>)> {
        if MACRIS.read() & FOV != 0 {
            MACRIS.write(FOV);
            count(&OVERRUNS);
        }
        // the FIFO cannot hold more frames
        for _ in 0..64 {
            if MACNP.read() == 0 || !self.can_send() {
                return None;
            }
            if let Some(length) = self.take_frame() {
                let EthernetBuffers { received, sent } = &mut *self.buffers;
                return Some((RxFrame(&received[2..2 + length]), TxFrame(sent)));
            }
            count(&UNFIT);
        }
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<TxFrame<'_>> {
        self.can_send().then_some(TxFrame(&mut self.buffers.sent))
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
pub(crate) struct RxFrame<'a>(&'a [u8]);

impl RxToken for RxFrame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, handle: F) -> R {
        handle(self.0)
    }
}

/// Space for a frame to send.
#[derive(Debug)]
pub(crate) struct TxFrame<'a>(&'a mut FifoBuffer);

impl TxToken for TxFrame<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let result = fill(&mut self.0[2..2 + length]);
        // the length does not include the header
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

/// Returns whether a frame has arrived.
pub(super) fn has_received() -> bool {
    MACNP.read() != 0
}

/// A frame was received. The interrupt only ends the sleep.
pub(super) extern "C" fn on_interrupt() {
    MACRIS.write(RXINT);
}

/// Returns the number of overruns of the receive FIFO, and of frames with an invalid length.
#[cfg(feature = "defmt")]
pub(super) fn losses() -> (u32, u32) {
    (
        OVERRUNS.load(Ordering::Relaxed),
        UNFIT.load(Ordering::Relaxed),
    )
}

fn count(counter: &AtomicU32) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

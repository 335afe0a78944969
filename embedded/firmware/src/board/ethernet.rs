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

/// Bits of `MACRIS`: a frame was received; the receive FIFO ran over.
const RXINT: u32 = 1;
const FOV: u32 = 1 << 3;

/// Counters of the controller, which the node owns.
static OVERRUNS: AtomicU32 = AtomicU32::new(0);
static UNFIT: AtomicU32 = AtomicU32::new(0);

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
    /// Whether a frame has not left within the time that it should take.
    is_stuck: bool,
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
        Self {
            buffers,
            is_stuck: false,
        }
    }

    /// Whether nothing can be sent, and so nothing is received, for longer than a frame takes.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Whether the one frame that the transmit FIFO holds has left, or leaves soon. Once it has not, it
    /// is not waited for again.
    fn can_send(&mut self) -> bool {
        let has_left = || MACTR.read() & 1 == 0;
        self.is_stuck = !has_left() && (self.is_stuck || !is_soon(has_left));
        !self.is_stuck
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
            if MACNP.read() == 0 || !self.can_send() {
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
        self.can_send().then_some(Sending(&mut self.buffers.sent))
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

/// Whether a frame has arrived.
pub(super) fn has_received() -> bool {
    MACNP.read() != 0
}

/// The controller has received a frame: that ends the sleep, and no more is needed.
pub(super) extern "C" fn on_interrupt() {
    MACRIS.write(RXINT);
}

/// How often the receive FIFO ran over, and how many frames were of no possible length.
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

//! A queue for log lines, because the UART is slower than the code that logs.

use core::mem::take;

use defmt::Encoder;

/// Capacity in bytes.
const CAPACITY: usize = 768;

/// A queue of encoded lines. A line that does not fit is dropped as a whole, and counted.
pub(crate) struct Log {
    bytes: [u8; CAPACITY],
    /// Index of the next byte to send, and number of bytes of complete lines.
    start: usize,
    length: usize,
    /// Number of bytes of the line that is being written.
    line: usize,
    fits: bool,
    interrupts: bool,
    lost: u32,
    encoder: Encoder,
}

impl Log {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; CAPACITY],
            start: 0,
            length: 0,
            line: 0,
            fits: false,
            interrupts: false,
            lost: 0,
            encoder: Encoder::new(),
        }
    }

    /// Starts a line. `interrupts` is returned at its end.
    pub(crate) fn begin(&mut self, interrupts: bool) {
        self.interrupts = interrupts;
        self.line = 0;
        self.fits = true;
        self.encode(|encoder, write| encoder.start_frame(write));
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.encode(|encoder, write| encoder.write(bytes, write));
    }

    pub(crate) fn end(&mut self) -> bool {
        self.encode(|encoder, write| encoder.end_frame(write));
        if self.fits {
            self.length += self.line;
        } else {
            self.lost += 1;
        }
        self.interrupts
    }

    /// Drops a line that will never be complete, so that another can start.
    pub(crate) fn give_up_line(&mut self) {
        self.encode(|encoder, write| encoder.end_frame(write));
        self.line = 0;
    }

    pub(crate) fn pop(&mut self) -> Option<u8> {
        self.length = self.length.checked_sub(1)?;
        let byte = self.bytes[self.start % CAPACITY];
        self.start = (self.start + 1) % CAPACITY;
        Some(byte)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the number of lines that were dropped since the last call.
    pub(crate) fn take_lost(&mut self) -> u32 {
        take(&mut self.lost)
    }

    fn encode(&mut self, step: impl FnOnce(&mut Encoder, &mut dyn FnMut(&[u8]))) {
        let Self {
            bytes,
            start,
            length,
            line,
            fits,
            encoder,
            ..
        } = self;
        step(encoder, &mut |encoded| {
            for byte in encoded {
                *fits &= *length + *line < CAPACITY;
                if *fits {
                    bytes[(*start + *length + *line) % CAPACITY] = *byte;
                    *line += 1;
                }
            }
        });
    }
}

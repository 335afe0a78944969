//! defmt's logger: frames go through a bounded queue to a thread that writes them, decoded or raw.
//! A blocked terminal delays nothing; frames that do not fit are counted, and the number is logged.
#![allow(
    unsafe_code,
    reason = "there is no other way to implement defmt's trait for loggers"
)]

use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use defmt_decoder::{DecodeError, StreamDecoder, Table};

use crate::readable;

/// Maximum number of frames that wait to be written.
const QUEUE: usize = 1024;

/// Maximum length of a frame in bytes.
const FRAME_MAX: usize = 512;

/// Maximum time that the end of the program waits for the last frames.
const CLOSE: Duration = Duration::from_secs(1);

/// An encoded frame. An empty one ends the writer.
struct Frame {
    bytes: [u8; FRAME_MAX],
    /// A value beyond the capacity means that the frame was cut and is invalid.
    length: usize,
}

/// The frame that a thread is encoding.
struct Pen {
    encoder: defmt::Encoder,
    frame: Frame,
}

static SENDER: OnceLock<SyncSender<Frame>> = OnceLock::new();
static START: OnceLock<Instant> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static PEN: RefCell<Pen> = const {
        RefCell::new(Pen {
            encoder: defmt::Encoder::new(),
            frame: Frame::new(),
        })
    };
}

defmt::timestamp!("{=u64:us}", {
    let start = START.get().map(Instant::elapsed).unwrap_or_default();
    u64::try_from(start.as_micros()).unwrap_or(u64::MAX)
});

#[defmt::global_logger]
struct Logger;

// SAFETY: each thread has a frame and an encoder of its own, which defmt calls in the order that it
// guarantees; a call in another order, or a `Format` that logs, panics on the `RefCell` or produces
// a frame that cannot be decoded, and is never undefined behaviour.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        PEN.with_borrow_mut(|Pen { encoder, frame }| {
            frame.length = 0;
            encoder.start_frame(|bytes| frame.push(bytes));
        });
    }

    // SAFETY: it does nothing.
    unsafe fn flush() {}

    // SAFETY: it is safe to call at any time.
    unsafe fn release() {
        PEN.with_borrow_mut(|Pen { encoder, frame }| {
            encoder.end_frame(|bytes| frame.push(bytes));
            let is_queued = frame.length <= FRAME_MAX
                && SENDER.get().is_some_and(|sender| {
                    let (bytes, length) = (frame.bytes, frame.length);
                    sender.try_send(Frame { bytes, length }).is_ok()
                });
            if !is_queued {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    // SAFETY: it is safe to call at any time.
    unsafe fn write(bytes: &[u8]) {
        PEN.with_borrow_mut(|Pen { encoder, frame }| {
            encoder.write(bytes, |bytes| frame.push(bytes));
        });
    }
}

impl Frame {
    const fn new() -> Self {
        Self {
            bytes: [0; FRAME_MAX],
            length: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        } else {
            self.length = FRAME_MAX + 1;
        }
    }
}

/// The thread that writes.
pub(crate) struct Writer(JoinHandle<()>);

impl Writer {
    /// Starts to write the log to standard output: decoded, or as raw frames if `raw`.
    ///
    /// # Errors
    ///
    /// If this program cannot read the format strings in its own file.
    pub(crate) fn start(raw: bool) -> Result<Self, String> {
        let table = if raw { None } else { Some(texts()?) };
        let (sender, frames) = sync_channel(QUEUE);
        let _ = START.set(Instant::now());
        SENDER
            .set(sender)
            .map_err(|_| "the logger was started before")?;
        let write = move || match &table {
            Some(table) => write_lines(&frames, &mut *table.new_stream_decoder()),
            None => write_raw(&frames),
        };
        let thread = std::thread::Builder::new().name("log".into());
        let thread = thread
            .spawn(write)
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self(thread))
    }

    /// Waits until the log is written, for a limited time because standard output may be blocked.
    pub(crate) fn close(self) {
        let start = Instant::now();
        let mut is_told = false;
        while !self.0.is_finished() && start.elapsed() < CLOSE {
            is_told = is_told
                || SENDER
                    .get()
                    .is_none_or(|sender| sender.try_send(Frame::new()).is_ok());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Returns the format strings of the log, from this program's own file.
fn texts() -> Result<Table, String> {
    let failed = |error: &dyn core::fmt::Display| format!("cannot read the logs' texts: {error}");
    let program = std::fs::read("/proc/self/exe").map_err(|error| failed(&error))?;
    let table = Table::parse(&program).map_err(|error| failed(&error))?;
    table.ok_or_else(|| failed(&"this program was linked without them"))
}

fn write_lines(frames: &Receiver<Frame>, decoder: &mut dyn StreamDecoder) {
    let mut output = io::stdout();
    let is_colored = output.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    write_all(frames, |bytes| {
        decoder.received(bytes);
        loop {
            match decoder.decode() {
                Ok(frame) => {
                    let line = readable::line(&frame.display(is_colored).to_string());
                    writeln!(output, "{line}")?;
                }
                Err(DecodeError::UnexpectedEof) => return output.flush(),
                Err(DecodeError::Malformed) => {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
}

fn write_raw(frames: &Receiver<Frame>) {
    let mut output = io::stdout();
    write_all(frames, |bytes| {
        output.write_all(bytes)?;
        output.flush()
    });
}

/// Writes frames until an empty one arrives, and logs how many were lost.
fn write_all(frames: &Receiver<Frame>, mut write: impl FnMut(&[u8]) -> io::Result<()>) {
    let mut is_read = true;
    for frame in frames {
        let bytes = frame.bytes.get(..frame.length).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        // after the first failure standard output is closed for good
        is_read = is_read && write(bytes).is_ok();
        let lost = LOST.swap(0, Ordering::Relaxed);
        if lost > 0 {
            defmt::warn!(
                "{=u64} log lines were lost: they came faster than they could be written",
                lost
            );
        }
    }
}

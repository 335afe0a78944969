//! The log file of a chat: the lines that are shown are appended to it.

use core::time::Duration;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;

use jiff::Zoned;

use super::event::Event;
use super::screen::output::{Format, Shown};
use super::screen::wrap::Autowrap;
use crate::Error;

/// Maximum number of batches that wait for the disk. The conversation does not wait.
const WAITING_MAX: usize = 1000;

/// Maximum time to write the last lines when the program ends.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// A log, written by a thread of its own. Dropping it waits until all is written.
pub(super) struct Log {
    lines: Option<SyncSender<String>>,
    /// Number of lines that were left out because the disk was too slow.
    left_out: usize,
    finished: Receiver<()>,
}

impl Log {
    /// Opens a log, and reports a failure to write as a message to the conversation.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub(super) fn open(path: &Path, reports: Sender<Event>) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|error| Error::Failure(format!("the log {shown}: {error}")))?;
        let (lines, texts) = sync_channel::<String>(WAITING_MAX);
        let (finish, finished) = channel();
        thread::spawn(move || {
            for text in texts {
                if let Err(error) = file.write_all(text.as_bytes()) {
                    let told = format!("the log {shown}: {error}; nothing more is logged");
                    // fails if the conversation has ended
                    let _ = reports.send(Event::Status(told));
                    break;
                }
            }
            // fails if nobody waits
            let _ = finish.send(());
        });
        Ok(Self {
            lines: Some(lines),
            left_out: 0,
            finished,
        })
    }

    /// Appends lines, or counts them if the disk is too slow.
    pub(super) fn put(&mut self, lines: &[Shown]) {
        let now = Zoned::now();
        let mut text = String::new();
        if self.left_out > 0 {
            let told = format!("{} lines are left out: the disk is too slow", self.left_out);
            write(&Shown::status(told), &now, &mut text);
        }
        for line in lines {
            write(line, &now, &mut text);
        }
        let Some(sender) = &self.lines else { return };
        match sender.try_send(text) {
            Ok(()) => self.left_out = 0,
            Err(TrySendError::Full(_)) => self.left_out += lines.len(),
            // the thread has reported the failure
            Err(TrySendError::Disconnected(_)) => self.lines = None,
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.finished.recv_timeout(LAST_WRITE);
    }
}

fn write(line: &Shown, now: &Zoned, out: &mut String) {
    let said = now.saturating_sub(line.age.unwrap_or_default());
    out.push_str(&said.strftime("%Y-%m-%d %H:%M:%S ").to_string());
    let format = Format {
        colour: false,
        time: false,
        columns: None,
        autowrap: Autowrap::On,
    };
    line.write_text(format, now, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::screen::output::Kind;

    #[test]
    fn lines_are_appended_with_date_and_time() {
        let path = std::env::temp_dir().join(format!("kilochat-log-{}", std::process::id()));
        std::fs::write(&path, "before\n").unwrap();
        let (sender, events) = channel();
        let mut log = Log::open(&path, sender.clone()).unwrap();
        log.put(&[Shown::new(Kind::Message, Some("小明"), "你好")]);
        log.put(&[Shown::new(Kind::Notice, None, "Bob joined")]);
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "before");
        for (line, expected) in lines[1..].iter().zip(["小明 : 你好", "* Bob joined"]) {
            assert_eq!(&line[20..], expected);
            assert!(
                line[..19].parse::<jiff::civil::DateTime>().is_ok(),
                "{line}"
            );
        }
        assert_eq!(lines.len(), 3);
        assert!(Log::open(Path::new("/no/such/folder/log"), sender).is_err());
        assert!(events.try_recv().is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_once() {
        let (sender, events) = channel();
        let mut log = Log::open(Path::new("/dev/full"), sender).unwrap();
        for _ in 0..3 {
            log.put(&[Shown::status("text")]);
        }
        drop(log);
        let told: Vec<Event> = events.try_iter().collect();
        assert!(matches!(&told[..], [Event::Status(text)] if text.contains("nothing more")));
    }
}

//! A relay that runs while a person chats, where there is no other one.

use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use kilochat_core::PORT;

use crate::Error;

/// Maximum time for which the relay says goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// The relay, a process of its own. Dropping it ends it.
pub(super) struct OwnRelay {
    relay: Child,
    /// Kept open, because the relay writes to it.
    _output: BufReader<std::process::ChildStdout>,
}

impl OwnRelay {
    /// Starts a relay, and returns when it listens.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or does not listen.
    pub(super) fn start() -> Result<Self, Error> {
        let fail = |why: String| Error::Failure(format!("no relay could be started: {why}"));
        let program = std::env::current_exe().map_err(|error| fail(error.to_string()))?;
        let mut command = Command::new(program);
        command
            .args(["relay", "--quiet", "--port", &PORT.to_string()])
            .env_remove("KILOCHAT_BIND")
            .env_remove("KILOCHAT_VERBOSE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // keys that stop this program are not for the relay
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut relay = command.spawn().map_err(|error| fail(error.to_string()))?;
        let output = relay.stdout.take();
        let output = output.ok_or_else(|| fail("it has no output".into()))?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        let is_listening = output.read_line(&mut line).is_ok_and(|length| length > 0);
        let relay = Self {
            relay,
            _output: output,
        };
        if !is_listening {
            return Err(fail("kilochat relay tells why".into()));
        }
        Ok(relay)
    }

    /// Asks the relay to end.
    #[cfg(unix)]
    fn stop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;

        if let Ok(id) = i32::try_from(self.relay.id()) {
            // fails if it has ended
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
    }

    /// Ends the relay, because this system has no signal that asks it to end.
    #[cfg(not(unix))]
    fn stop(&mut self) {
        // fails if it has ended
        let _ = self.relay.kill();
    }
}

impl Drop for OwnRelay {
    fn drop(&mut self) {
        self.stop();
        let deadline = Instant::now() + GOODBYE;
        while matches!(self.relay.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                // fails if it has ended
                let _ = self.relay.kill();
                let _ = self.relay.wait();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

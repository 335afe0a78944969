//! A relay in this process while a person chats, where there is no other one.

use std::thread::JoinHandle;

use clap::{CommandFactory, FromArgMatches};
use kilochat_core::PORT;
use tracing::subscriber::{NoSubscriber, set_global_default};

use crate::args::{Arguments, Command, RelayArguments};
use crate::relay::{self, Stopper};
use crate::{Error, environment};

/// The relay, on a thread of its own. Dropping it ends it, after its farewell.
pub(super) struct OwnRelay {
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl OwnRelay {
    /// Starts a relay, which listens when this returns.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub(super) fn start() -> Result<Self, Error> {
        // the terminal is the chat's; fails if there is another subscriber, which knows where to write
        let _ = set_global_default(NoSubscriber::default());
        let (stopper, thread) = relay::start(arguments()?)?;
        Ok(Self {
            stopper,
            thread: Some(thread),
        })
    }
}

impl Drop for OwnRelay {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // the thread has ended, or it panicked and printed that
            let _ = thread.join();
        }
    }
}

/// Returns the options of a relay as the environment sets them, but on all addresses and the usual port.
fn arguments() -> Result<RelayArguments, Error> {
    let command = environment::ignore_unset_variables(Arguments::command());
    let port = PORT.to_string();
    let words = ["kilochat", "relay", "--port", &port];
    let matches = command.try_get_matches_from(words);
    let arguments = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    match arguments.map(|arguments| arguments.command) {
        Ok(Command::Relay(mut arguments)) => {
            arguments.bind.clear();
            Ok(arguments)
        }
        Ok(_) => Err(Error::Failure("no relay could be started".into())),
        Err(error) => Err(Error::Usage(error.to_string())),
    }
}

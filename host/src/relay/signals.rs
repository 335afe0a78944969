//! Signals. The first one that ends a program lets the relay say goodbye and end; the second ends
//! it at once. SIGUSR1 requests statistics. SIGHUP ends a relay on a terminal, which was closed. A
//! relay without a terminal is a daemon: SIGHUP makes it read its rules and networks again.

#[cfg(unix)]
use std::io::{self, IsTerminal};

use super::rules::Source;
use super::stopper::Stopper;
use crate::Error;

/// Directs the signals of this process to a relay. Statistics are also requested from `web`.
///
/// # Errors
///
/// If the system does not allow signal handlers.
#[cfg(unix)]
pub(crate) fn handle(
    stopper: Stopper,
    web: Option<Stopper>,
    rules: Option<Source>,
) -> Result<(), Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

    let failed = |error| Error::Failure(format!("cannot handle signals: {error}"));
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1]).map_err(failed)?;
    let is_daemon = !has_terminal();
    // a daemon handles SIGHUP even if nohup(1) has started it
    if is_daemon || !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP).map_err(failed)?;
    }
    let wait = move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                stopper.report();
                web.iter().for_each(Stopper::report);
            } else if signal == SIGHUP && is_daemon {
                read_again(&stopper, rules.as_ref());
            } else if stopper.stop() {
                std::process::exit(128 + signal);
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map_err(failed)?;
    Ok(())
}

/// Returns whether the relay runs on a terminal, which may be closed.
#[cfg(unix)]
fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// Reads the rules and gives them to the relay. If they have a mistake, the relay keeps the old
/// ones.
#[cfg(unix)]
fn read_again(stopper: &Stopper, rules: Option<&Source>) {
    stopper.read_networks();
    match rules.map(Source::read) {
        Some(Ok(rules)) => stopper.set_rules(rules),
        Some(Err(why)) => tracing::warn!("{why}; the old rules stay"),
        None => {}
    }
}

/// Returns whether the parent process has set a signal to be ignored, as nohup(1) does. Known on
/// Linux only.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Directs Ctrl-C and similar events to a relay.
///
/// # Errors
///
/// If the system does not allow handlers for them.
#[cfg(not(unix))]
pub(crate) fn handle(
    stopper: Stopper,
    _web: Option<Stopper>,
    _rules: Option<Source>,
) -> Result<(), Error> {
    let interrupted = move || {
        if stopper.stop() {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(interrupted)
        .map_err(|error| Error::Failure(format!("cannot handle Ctrl-C: {error}")))
}

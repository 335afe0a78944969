//! Notification of systemd, if it runs the relay (`Type=notify`): that the relay is ready, the
//! number of peers, and that its loop turns. A thread asks the loop before each notification.

use core::time::Duration;
use std::env;

use sd_notify::NotifyState;

use super::inquiry::{Inquirer, Inquiry, Snapshot, channel};
use super::stopper::Stopper;
use crate::Error;

/// Time between two checks of the loop, unless the watchdog needs a shorter one.
const INTERVAL: Duration = Duration::from_secs(2);

/// Starts the thread, if systemd expects notifications.
///
/// # Errors
///
/// If the system has no thread left.
pub(super) fn start(relay: Stopper) -> Result<Option<Inquiry>, Error> {
    if !is_manager() {
        return Ok(None);
    }
    let (inquirer, inquiry) = channel(relay);
    // half of the time that is allowed: sd_watchdog_enabled(3)
    let allowed = sd_notify::watchdog_enabled().map(|allowed| allowed / 2);
    let interval = allowed.map_or(INTERVAL, |allowed| allowed.min(INTERVAL));
    std::thread::Builder::new()
        .name("systemd".into())
        .spawn(move || tell(&inquirer, interval, allowed.is_some()))
        .map_err(|error| Error::Failure(format!("cannot start a thread: {error}")))?;
    Ok(Some(inquiry))
}

/// Returns whether systemd runs this process and expects notifications.
pub(super) fn is_manager() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

fn tell(inquirer: &Inquirer, interval: Duration, has_watchdog: bool) {
    let mut status = String::new();
    let mut is_ready = false;
    let mut is_stopping = false;
    loop {
        if let Some(snapshot) = inquirer.ask() {
            let now = describe(&snapshot);
            let mut states = Vec::new();
            if !core::mem::replace(&mut is_ready, true) {
                states.push(NotifyState::Ready);
            }
            if inquirer.relay.is_stopped() && !core::mem::replace(&mut is_stopping, true) {
                states.push(NotifyState::Stopping);
            }
            if has_watchdog {
                states.push(NotifyState::Watchdog);
            }
            if now != status {
                states.push(NotifyState::Status(&now));
            }
            // an error is ignored, because systemd may be restarting
            if !states.is_empty() && sd_notify::notify(&states).is_ok() {
                status = now;
            }
        }
        std::thread::sleep(interval);
    }
}

fn describe(snapshot: &Snapshot) -> String {
    let peers = &snapshot.peers;
    let away = peers.framed_parked;
    let here = peers.plain + peers.plain_suspect + peers.framed + peers.framed_suspect + away;
    let seats = snapshot.seats;
    match snapshot.kept.map_or(0, |kept| kept.lost) {
        0 => format!("{here} of {seats} seats taken"),
        lost => format!("{here} of {seats} seats taken; {lost} lines not kept"),
    }
}

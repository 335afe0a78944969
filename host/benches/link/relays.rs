//! Relays, and the processor time of their threads.

use core::time::Duration;
use std::fs;

use kilochat_tests::RelayProgram;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// Name of the thread of the link.
const LINK: &str = "link";

/// Starts a relay that announces nobody.
pub(crate) fn start(link: Option<(&str, &str)>) -> RelayProgram {
    let mut options = vec!["--bind", "127.0.0.1:0", "--history", "0", "--no-notices"];
    if let Some((url, place)) = link {
        options.extend(["--link", url, "--place", place]);
    }
    let mut relay = RelayProgram::start(PROGRAM, &options);
    if link.is_some() {
        relay.wait_for_log(|line| line.contains("\"linked\""));
    }
    relay
}

/// Processor time of a relay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Of the link's thread.
    pub(crate) link: Duration,
    /// Of all others.
    pub(crate) relay: Duration,
}

impl Times {
    /// Returns the times until now.
    pub(crate) fn of(relay: &RelayProgram) -> Self {
        let mut times = Self {
            link: Duration::ZERO,
            relay: Duration::ZERO,
        };
        for (id, name) in threads(relay.id()) {
            *if name == LINK {
                &mut times.link
            } else {
                &mut times.relay
            } += thread_time(relay.id(), id);
        }
        times
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            link: self.link - earlier.link,
            relay: self.relay - earlier.relay,
        }
    }
}

/// Returns the processor time of all threads of a process.
pub(crate) fn processor_time(id: u32) -> Duration {
    let threads = threads(id).into_iter();
    threads.map(|(thread, _)| thread_time(id, thread)).sum()
}

fn thread_time(id: u32, thread: i32) -> Duration {
    let path = format!("/proc/{id}/task/{thread}/schedstat");
    let text = fs::read_to_string(path).unwrap();
    let nanos = text.split_whitespace().next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos)
}

/// Returns the ids and names of the threads of a process.
fn threads(id: u32) -> Vec<(i32, String)> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    tasks
        .map(|task| {
            let path = task.unwrap().path();
            let name = fs::read_to_string(path.join("comm")).unwrap();
            let id = path.file_name().unwrap().to_str().unwrap();
            (id.parse().unwrap(), name.trim().to_owned())
        })
        .collect()
}

/// Gives the relay the first core, and its link, a server and this thread the second, until this is dropped.
#[derive(Debug)]
pub(crate) struct Pinned(CpuSet);

impl Pinned {
    /// Restricts this thread to the first core. Programs that it starts now stay there.
    pub(crate) fn begin() -> Self {
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        pin(0, 0);
        Self(before)
    }

    /// Moves all but the relay to the second core.
    pub(crate) fn separate(relay: &RelayProgram, server: u32) {
        Self::separate_this();
        let links = threads(relay.id()).into_iter();
        for (id, _) in links.filter(|(_, name)| name == LINK) {
            pin(id, 1);
        }
        for (id, _) in threads(server) {
            pin(id, 1);
        }
    }

    /// Moves this thread to the second core.
    pub(crate) fn separate_this() {
        pin(0, 1);
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        sched_setaffinity(Pid::from_raw(0), &self.0).unwrap();
    }
}

/// Restricts a thread, or this one, to a core.
fn pin(thread: i32, core: usize) {
    let mut set = CpuSet::new();
    set.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(thread), &set).unwrap();
}

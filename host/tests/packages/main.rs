//! What is released, as people get it: the Debian package on a clean machine with systemd, its
//! upgrade from the last release, and the container. `tests/check.sh packages` makes what they need.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod machine;
mod packaged;
mod talk;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::namespace::{Namespace, ip};

const NEW: &str = env!("CARGO_BIN_EXE_kilochat");

/// Where the relay of the package listens.
const RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10888);

/// How long a machine with a service manager may take for a step.
const PATIENCE: Duration = Duration::from_secs(120);

/// Returns a file that `tests/check.sh packages` makes.
fn made(name: &str) -> PathBuf {
    const NEEDED: &str =
        "needs root, systemd-nspawn, buildah and packages: tests/check.sh packages";
    let folder = std::env::var_os("KILOCHAT_PACKAGES").expect(NEEDED);
    let path = PathBuf::from(folder).join(name);
    assert!(path.exists(), "{NEEDED}: {} is missing", path.display());
    path
}

/// Runs a test on a network of its own, from which nothing gets out.
fn apart(test: impl FnOnce() + Send) {
    let network = Namespace::new();
    network.run(|| {
        ip("link set lo up");
        test();
    });
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not happen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program of ours; returns whether it succeeds.
fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// Returns whether the relay answers this version.
fn answers() -> bool {
    succeeds(NEW, &["ping", "127.0.0.1", "-c", "1"])
}

//! Measures the share of a processor's time that fan-out takes on a TAP interface, next to a loop
//! that only reads a frame and writes fifteen prepared ones. Both alternate in the same run.

#[cfg(target_os = "linux")]
mod measured;

#[cfg(target_os = "linux")]
fn main() {
    measured::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {}

//! How much of a processor's time goes into fan-out on a TAP interface, beside a loop that only
//! reads a frame and writes fifteen that were made before. In turns, in the same run.

#[cfg(target_os = "linux")]
mod measured;

#[cfg(target_os = "linux")]
fn main() {
    measured::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {}

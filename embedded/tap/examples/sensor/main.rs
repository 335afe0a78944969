//! A sensor for Linux: a client of a relay, on a network stack of its own behind a TAP interface,
//! that posts the load of this machine at intervals. See `--help`.

#[cfg(target_os = "linux")]
mod program;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    program::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("sensor: TAP interfaces are Linux's");
}

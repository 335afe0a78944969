//! `kilochat-tap`: the embedded node on a Linux TAP interface. See `kilochat-tap --help`.

#[cfg(target_os = "linux")]
mod args;
#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod logger;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod readable;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    program::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("kilochat-tap: TAP interfaces are Linux's; the relay for this system is `kilochat`");
    std::process::ExitCode::FAILURE
}

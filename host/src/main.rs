//! The `kilochat` program: see `kilochat --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kilochat::run()
}

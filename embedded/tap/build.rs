//! Links the format strings of the log into the program `kilochat-tap` only.

use std::path::PathBuf;
use std::{env, fs, io};

/// The linker script of defmt 1.2 for firmware, with two differences: it extends the system's
/// script instead of being one of several, and it lacks the last assertion, which does not hold for
/// an extension.
const SCRIPT: &str = "
EXTERN(_defmt_acquire);
EXTERN(_defmt_release);
EXTERN(__defmt_default_timestamp);
EXTERN(__DEFMT_MARKER_TIMESTAMP_WAS_DEFINED);
PROVIDE(_defmt_timestamp = __defmt_default_timestamp);
PROVIDE(_defmt_panic = __defmt_default_panic);

SECTIONS
{
  .defmt 1 (INFO) :
  {
    . = 1;
    *(.defmt.prim.*);
    __DEFMT_MARKER_TRACE_START = .;
    *(.defmt.trace.*);
    __DEFMT_MARKER_TRACE_END = .;
    __DEFMT_MARKER_DEBUG_START = .;
    *(.defmt.debug.*);
    __DEFMT_MARKER_DEBUG_END = .;
    __DEFMT_MARKER_INFO_START = .;
    *(.defmt.info.*);
    __DEFMT_MARKER_INFO_END = .;
    __DEFMT_MARKER_WARN_START = .;
    *(.defmt.warn.*);
    __DEFMT_MARKER_WARN_END = .;
    __DEFMT_MARKER_ERROR_START = .;
    *(.defmt.error.*);
    __DEFMT_MARKER_ERROR_END = .;
    *(.defmt.*);
    __DEFMT_MARKER_END = .;
    KEEP(*(.defmt.end .defmt.end.*));
  }
}
INSERT AFTER .comment;
";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let is_linux = env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|system| system == "linux");
    if is_linux {
        let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
        let script = folder.join("defmt-host.x");
        fs::write(&script, SCRIPT)?;
        // a format string's number is its address, which must be fixed at link time
        for argument in [format!("-T{}", script.display()), "-no-pie".to_owned()] {
            println!("cargo:rustc-link-arg-bin=kilochat-tap={argument}");
        }
    }
    Ok(())
}

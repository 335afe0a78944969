//! The key of a relay's operators: 16 bytes, as hexadecimal digits in a file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// Name of the key's file in the folder of the operators.
const FILE: &str = "operator.key";

/// Reads a key.
///
/// # Errors
///
/// If the file cannot be read, or holds no key.
pub(crate) fn read(file: &Path) -> Result<[u8; 16], Error> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Error::Usage(format!("cannot read the operators' key {name}: {error}")))?;
    let digits = text.trim();
    let key = Some(digits).filter(|digits| digits.len() == 32);
    let key = key.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    let no_key = || {
        Error::Usage(format!(
            "{name} holds no key, which is 32 hexadecimal digits"
        ))
    };
    key.map(u128::to_be_bytes).ok_or_else(no_key)
}

/// Reads the operators' key from a file in this folder. If there is none, creates it with a random
/// key, readable only by the user.
///
/// # Errors
///
/// If the key can neither be read nor created.
pub(crate) fn read_or_make(folder: &Path) -> Result<[u8; 16], Error> {
    let file = folder.join(FILE);
    match make(folder, &file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let name = file.display();
            let reason = format!("cannot make the operators' key {name}: {error}");
            Err(Error::Failure(reason))
        }
        _ => read(&file),
    }
}

fn make(folder: &Path, file: &PathBuf) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut made = options.open(file)?;
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    writeln!(made, "{:032x}", u128::from_be_bytes(key))
}

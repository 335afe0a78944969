//! The copy of the workspace that contains the bugs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{PLACEHOLDER, ROWS, Row, bugs};

/// The environment variable with the number of the bug that is in effect in the copy.
pub const VARIABLE: &str = "KILOCHAT_PLANTED";

/// Folders that are not copied.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// The module that is added to the copy of a package.
const MODULE: &str = r#"//! Which bug is in effect.
extern crate std;

static NUMBER: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
    let number = std::env::var("KILOCHAT_PLANTED").ok();
    number.map_or(0, |number| number.parse().expect("a number"))
});

pub(crate) fn is(number: usize) -> bool {
    *NUMBER == number
}
"#;

/// Makes `copy` a copy of the workspace `root` with all bugs, none of them in effect. Files that
/// are equal already are not written, so that the next build is fast.
///
/// # Errors
///
/// If a row does not fit, or a file cannot be read or written.
pub fn make(root: &Path, copy: &Path) -> Result<(), String> {
    let mut files = BTreeMap::new();
    read_all(root, Path::new(""), &mut files).map_err(|error| error.to_string())?;
    let mut packages = BTreeSet::new();
    for file in ROWS.iter().map(|row| row.file).collect::<BTreeSet<_>>() {
        let content = files.get_mut(Path::new(file));
        let content = content.ok_or_else(|| format!("there is no {file}"))?;
        let source = core::str::from_utf8(content).map_err(|error| format!("{file}: {error}"))?;
        *content = planted(file, source)?.into_bytes();
        packages.extend(file.split_once("/src/").map(|(package, _)| package));
    }
    for package in packages {
        let sources = Path::new(package).join("src");
        files.insert(sources.join("planted.rs"), MODULE.into());
        let library = files.get_mut(&sources.join("lib.rs"));
        library
            .ok_or_else(|| format!("{package} is no library"))?
            .extend(b"\nmod planted;\n");
    }
    write_all(copy, &files).map_err(|error| error.to_string())
}

/// Returns the source of `file` with its bugs.
///
/// # Errors
///
/// If a row does not fit.
pub fn planted(file: &str, source: &str) -> Result<String, String> {
    let bugs = bugs();
    let mut changes: Vec<(core::ops::Range<usize>, &Row)> = Vec::new();
    let mut complaints = Vec::new();
    for row in ROWS.iter().filter(|row| row.file == file) {
        match row.find(source) {
            Ok(place) => changes.push((place, row)),
            Err(complaint) => complaints.push(complaint),
        }
    }
    changes.sort_by_key(|(place, _)| place.start);
    for pair in changes.windows(2) {
        if let [(one, first), (other, second)] = pair
            && one.end > other.start
        {
            complaints.push(format!("{} overlaps {} in {file}", first.bug, second.bug));
        }
    }
    if !complaints.is_empty() {
        return Err(complaints.join("\n"));
    }
    let mut source = source.to_owned();
    for (place, row) in changes.into_iter().rev() {
        let number = bugs.iter().position(|bug| *bug == row.bug).unwrap() + 1;
        let is_planted = format!("crate::planted::is({number})");
        source.replace_range(place, &row.replacement.replace(PLACEHOLDER, &is_planted));
    }
    Ok(source)
}

fn read_all(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            files.insert(path, fs::read(entry.path())?);
        } else if !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            read_all(root, &path, files)?;
        }
    }
    Ok(())
}

/// Writes files that differ, and removes files that are not in `files`.
fn write_all(copy: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(copy)?;
    let mut there = BTreeMap::new();
    read_all(copy, Path::new(""), &mut there)?;
    for path in there.keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(copy.join(path))?;
    }
    for (path, content) in files {
        if there.get(path) != Some(content) {
            let path = copy.join(path);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, content)?;
        }
    }
    Ok(())
}

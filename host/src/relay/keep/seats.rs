//! The file of plain peers: a line with the time of writing, then a line for each peer. A new file
//! is written next to the old one and then renamed to its name, so that a complete file always
//! exists.

use core::fmt::Write;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use jiff::Timestamp;
use kilochat_core::Name;
use serde_json::Value;

use super::KeptPeer;
use crate::kept::{FORMAT, files};

const NAME: &str = "seats.jsonl";
const NEW: &str = "seats.jsonl.new";

/// The contents of a file of peers.
#[derive(Debug)]
pub(super) enum Seats {
    /// The time of writing, and the peers.
    Written(Timestamp, Vec<KeptPeer>),
    /// There is no file, or it cannot be read.
    Nothing,
    /// The file is of a newer version of this program, and must not be replaced.
    Newer,
}

/// Reads the file in a folder.
pub(super) fn read(folder: &Path) -> Seats {
    let Ok(text) = fs::read_to_string(folder.join(NAME)) else {
        return Seats::Nothing;
    };
    let mut lines = text.lines();
    let first: Option<Value> = lines
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    let Some(first) = first else {
        return Seats::Nothing;
    };
    if first["format"]
        .as_u64()
        .is_none_or(|format| format > FORMAT)
    {
        return Seats::Newer;
    }
    let time = first["time"].as_str().and_then(|time| time.parse().ok());
    time.map_or(Seats::Nothing, |time| {
        Seats::Written(time, lines.filter_map(peer).collect())
    })
}

fn peer(line: &str) -> Option<KeptPeer> {
    let object: Value = serde_json::from_str(line).ok()?;
    Some(KeptPeer {
        address: object["address"].as_str()?.parse().ok()?,
        name: Name::try_from(object["name"].as_str()?).ok()?,
        newline: object["newline"].as_bool()?,
        quiet: object["quiet"].as_bool()?,
        local: object["local"]
            .as_str()
            .and_then(|local| local.parse().ok()),
    })
}

/// Replaces the file in a folder.
///
/// # Errors
///
/// If it cannot be written. Then the old file remains.
pub(super) fn write<'a>(
    folder: &Path,
    time: Timestamp,
    peers: impl Iterator<Item = &'a KeptPeer>,
) -> io::Result<()> {
    let mut text = format!("{{\"time\":\"{time:.3}\",\"format\":{FORMAT}}}\n");
    for peer in peers {
        let KeptPeer {
            address,
            name,
            newline,
            quiet,
            local,
        } = peer;
        let name = Value::from(name.as_str());
        let local = Value::from(local.map(|local| local.to_string()));
        // to a string, which does not fail
        let _ = writeln!(
            text,
            r#"{{"address":"{address}","name":{name},"newline":{newline},"quiet":{quiet},"local":{local}}}"#
        );
    }
    let new = folder.join(NEW);
    let mut file = files::open(&new, OpenOptions::new().write(true).truncate(true))?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(new, folder.join(NAME))
}

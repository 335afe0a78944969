//! The form of a line in JSON, which `chat --json`, `history --json` and the files of `relay --keep`
//! have in common.

use core::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;

/// The text of the status line that ends a run whose lines were all kept.
pub(crate) const STOPPED: &str = "the relay stopped";

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonLine {
    /// When it was said.
    pub(crate) time: Timestamp,
    /// `message`, `own`, `history`, `notice`, `gap` or `status`.
    pub(crate) kind: String,
    /// Its number, which is the same for all peers.
    pub(crate) sequence: Option<u64>,
    /// Its author, if that is a peer.
    pub(crate) name: Option<String>,
    /// Its text.
    pub(crate) text: String,
    /// In a gap, how many lines are missing.
    pub(crate) lines: Option<u64>,
    /// At the start of a file, the version of its form.
    pub(crate) format: Option<u64>,
    /// At the end of a run, its epoch.
    pub(crate) epoch: Option<u32>,
}

impl JsonLine {
    /// Returns a status line of the relay.
    pub(crate) fn status(time: Timestamp, text: &str) -> Self {
        Self {
            time,
            kind: "status".into(),
            sequence: None,
            name: None,
            text: text.into(),
            lines: None,
            format: None,
            epoch: None,
        }
    }

    /// Appends the line, with a line end.
    pub(crate) fn write(&self, out: &mut String) {
        write(
            out,
            self.time,
            &self.kind,
            self.sequence,
            self.name.as_deref(),
            &self.text,
        );
        let more = [
            ("lines", self.lines),
            ("format", self.format),
            ("epoch", self.epoch.map(u64::from)),
        ];
        for (key, value) in more {
            if let Some(value) = value {
                // to a string, which does not fail
                let _ = write!(out, r#","{key}":{value}"#);
            }
        }
        out.push_str("}\n");
    }

    /// Reads a line. Returns `None` if it is none: it may be torn.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let object: Value = serde_json::from_str(text).ok()?;
        let string = |key: &str| Some(object.get(key)?.as_str()?.to_owned());
        let number = |key: &str| object.get(key)?.as_u64();
        Some(Self {
            time: string("time")?.parse().ok()?,
            kind: string("kind")?,
            sequence: number("sequence"),
            name: string("name"),
            text: string("text")?,
            lines: number("lines"),
            format: number("format"),
            epoch: number("epoch").and_then(|epoch| u32::try_from(epoch).ok()),
        })
    }
}

/// Appends what all lines have, without the end of the object. It is written by hand, to keep the keys
/// in this order.
pub(crate) fn write(
    out: &mut String,
    time: Timestamp,
    kind: &str,
    sequence: Option<u64>,
    name: Option<&str>,
    text: &str,
) {
    let time = time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ");
    let (sequence, name, text) = (Value::from(sequence), Value::from(name), Value::from(text));
    // to a string, which does not fail
    let _ = write!(
        out,
        r#"{{"time":"{time}","kind":"{kind}","sequence":{sequence},"name":{name},"text":{text}"#
    );
}

/// Returns the text of a gap.
pub(crate) fn lost(lines: u64) -> String {
    let messages = if lines == 1 { "message" } else { "messages" };
    format!("{lines} {messages} lost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let time: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let status = JsonLine::status(time, STOPPED);
        for line in [
            JsonLine {
                kind: "message".into(),
                sequence: Some(7),
                name: Some("A\"b".into()),
                text: "back\\slash 😀".into(),
                ..status.clone()
            },
            JsonLine {
                sequence: Some(9),
                epoch: Some(u32::MAX),
                ..status.clone()
            },
            JsonLine {
                format: Some(1),
                lines: Some(3),
                ..status
            },
        ] {
            let mut text = String::new();
            line.write(&mut text);
            assert_eq!(
                JsonLine::read(text.trim_end()),
                Some(line.clone()),
                "{text}"
            );
            // one that is torn anywhere is none
            for end in (1..text.len() - 1).filter(|end| text.is_char_boundary(*end)) {
                assert_eq!(JsonLine::read(&text[..end]), None);
            }
        }
        for other in [
            "",
            "7",
            "[]",
            "{}",
            r#"{"time":"now","kind":"x","text":"y"}"#,
        ] {
            assert_eq!(JsonLine::read(other), None, "{other}");
        }
    }
}

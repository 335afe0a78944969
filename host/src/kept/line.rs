//! The format of a line in JSON, which `chat --json`, `history --json` and the files of `relay --keep`
//! have in common.

use core::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;

/// The kind of a message to one peer, whose text is not kept.
pub(crate) const PRIVATE: &str = "private";

/// The text of the status line that ends a run whose lines were all kept.
pub(crate) const STOPPED: &str = "the relay stopped";

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonLine {
    /// The time at which it was said.
    pub(crate) time: Timestamp,
    /// `message`, `own`, `history`, `notice`, `private`, `gap` or `status`.
    pub(crate) kind: String,
    /// The sequence number, which is the same for all peers.
    pub(crate) sequence: Option<u64>,
    /// The author's name, if the author is a peer.
    pub(crate) name: Option<String>,
    /// The text, without the author's name.
    pub(crate) text: String,
    /// In a line of the kind `gap`, the number of missing lines.
    pub(crate) lines: Option<u64>,
    /// In the first line of a file, the version of its format.
    pub(crate) format: Option<u64>,
    /// In the last line of a run, its epoch.
    pub(crate) epoch: Option<u32>,
    /// In a line of linked relays, the place where it was said.
    pub(crate) place: Option<String>,
}

impl JsonLine {
    /// Returns a line of the kind `status`: the program's report about the relay.
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
            place: None,
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
        if let Some(place) = &self.place {
            let _ = write!(out, r#","place":{}"#, Value::from(place.as_str()));
        }
        out.push_str("}\n");
    }

    /// Parses a line. Returns `None` if it is not one: a crash may have cut it.
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
            place: string("place"),
        })
    }
}

/// Appends the fields that all lines have, without the end of the object. Written by hand, to keep
/// the keys in this order.
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
                place: Some("harbour".into()),
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
            // a line that is cut anywhere is not one
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

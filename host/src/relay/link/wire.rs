//! What relays tell each other through the engine. Everything that comes in is checked here: another
//! relay may be hostile or broken.
//!
//! A message with lines has the subject `kilochat.ROOM.line.PLACE`, and its header says which lines of
//! which run it has. Its body is one JSON object a line, so that other programs can read the room. A
//! presence says who is at a place; its subject is `kilochat.ROOM.here.PLACE`.

use core::fmt::Write;
use core::time::Duration;

use kilochat_core::{Instant, LINE_MAX, LinkBatch, LinkLine, LinkLines, NAME_MAX};
use serde_json::Value;

use crate::args::Token;

/// The version of the messages. Those of another version are left out, and counted.
const VERSION: u64 = 1;

/// Name of the header that says which lines a message has.
pub(crate) const HEADER: &str = "Kilochat";

/// Maximum number of lines in a message.
pub(crate) const LINES_MAX: u16 = 512;

/// Maximum length of a body: the 64 KiB of a ring's lines, each of whose characters takes two, and
/// what stands around them.
pub(crate) const BODY_MAX: usize = (128 << 10) + LINES_MAX as usize * 64;

/// Maximum length of a line in a body.
const WRITTEN_MAX: usize = 2 * (LINE_MAX + NAME_MAX) + 64;

/// Maximum age of a line: older ones are not in any stream.
const AGE_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Maximum length of all names in a presence, in bytes.
pub(crate) const NAMES_MAX: usize = 700;

/// Maximum time between two presences of a place.
const EVERY_MAX: u64 = 3600;

/// Returns the name of the stream of a room.
pub(crate) fn stream(room: &Token) -> String {
    format!("KILOCHAT_{room}")
}

/// Returns the subject of a place's lines; `*` for those of all places.
pub(crate) fn line_subject(room: &Token, place: &str) -> String {
    format!("kilochat.{room}.line.{place}")
}

/// Returns the subject of a place's presence; `*` for those of all places.
pub(crate) fn here_subject(room: &Token, place: &str) -> String {
    format!("kilochat.{room}.here.{place}")
}

/// Returns the place of a subject. Servers see to it that nobody uses the subject of another place.
pub(crate) fn place(subject: &str) -> Option<Token> {
    let mut tokens = subject.split('.').skip(3);
    let place = tokens.next()?.parse().ok()?;
    tokens.next().is_none().then_some(place)
}

/// Which lines a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The run of the relay, a random number.
    pub(crate) run: u64,
    /// Number of the first line within the run, from 1.
    pub(crate) first: u64,
    /// Number of lines.
    pub(crate) lines: u16,
    /// Number of lines directly before them that are lost.
    pub(crate) lost: u64,
}

impl Header {
    /// Returns the header's value.
    pub(crate) fn write(&self) -> String {
        let Self {
            run,
            first,
            lines,
            lost,
        } = self;
        format!("{VERSION} {run:016x} {first} {lines} {lost}")
    }

    /// Returns the id by which a server knows a message that is repeated.
    pub(crate) fn id(&self, place: &Token) -> String {
        format!("{place}-{:016x}-{}", self.run, self.first)
    }

    /// Returns the lines as the core counts them.
    pub(crate) const fn batch(&self) -> LinkBatch {
        LinkBatch {
            first: self.first,
            lost: self.lost,
            lines: self.lines,
            length: 0,
        }
    }

    /// Parses a header's value.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let version = words.next()?;
        let run = words.next().filter(|run| run.len() == 16)?;
        let run = u64::from_str_radix(run, 16).ok()?;
        let first = number(words.next()?)?;
        let lines = number(words.next()?)?;
        let lines = u16::try_from(lines).ok()?;
        let lost = number(words.next()?).filter(|lost| *lost < first)?;
        let is_whole = version == "1" && words.next().is_none();
        let is_valid = is_whole && first > 0 && (1..=LINES_MAX).contains(&lines);
        (is_valid && first < u64::MAX / 2).then_some(Self {
            run,
            first,
            lines,
            lost,
        })
    }
}

/// Parses a number without a sign.
fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// A line, or an announcement if it has no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The author's name, without the place; empty if it is an announcement.
    pub(crate) name: String,
    /// The text.
    pub(crate) text: String,
    /// How long before the message it was said.
    pub(crate) age: Duration,
}

/// Appends a line to a body.
pub(crate) fn write_line(body: &mut Vec<u8>, name: &str, text: &str, age: Duration) {
    // to memory, which does not fail
    let mut value = |before: &str, value: &str| {
        body.extend_from_slice(before.as_bytes());
        let _ = serde_json::to_writer(&mut *body, value);
    };
    if name.is_empty() {
        value("{\"notice\":", text);
    } else {
        value("{\"name\":", name);
        value(",\"text\":", text);
    }
    if age >= Duration::from_secs(1) {
        body.extend_from_slice(format!(",\"age\":{}", age.as_millis()).as_bytes());
    }
    body.extend_from_slice(b"}\n");
}

/// Writes a body with the next lines, as many as have room in this number of bytes, but at least one if
/// there is any. `now` is the relay's clock. Returns the body and the number of lines.
pub(crate) fn write_lines(lines: &mut LinkLines<'_>, room: usize, now: Instant) -> (Vec<u8>, u16) {
    let mut body = Vec::new();
    let mut count = 0;
    while count < LINES_MAX && (count == 0 || body.len() + WRITTEN_MAX <= room) {
        let Some(line) = lines.next() else {
            break;
        };
        let (at, name, text) = match line {
            LinkLine::Message { at, name, text } => (at, name, text),
            LinkLine::Notice { at, text } => (at, "", text),
        };
        // the time of a line is in whole seconds
        let age = now.since(at);
        let is_new = age < Duration::from_secs(2);
        let age = if is_new { Duration::ZERO } else { age };
        write_line(&mut body, name, text, age);
        count += 1;
    }
    (body, count)
}

/// Parses a body with this number of lines. Returns `None` if any of it is not valid.
pub(crate) fn read_lines(body: &[u8], lines: u16) -> Option<Vec<Line>> {
    if body.len() > BODY_MAX {
        return None;
    }
    let text = core::str::from_utf8(body).ok()?;
    let mut read = Vec::new();
    for line in text.strip_suffix('\n')?.split('\n') {
        if read.len() >= lines.into() {
            return None;
        }
        read.push(read_line(line)?);
    }
    (read.len() == usize::from(lines)).then_some(read)
}

fn read_line(text: &str) -> Option<Line> {
    let mut object: Value = serde_json::from_str(text).ok()?;
    let age = match object.get("age") {
        Some(age) => Duration::from_millis(age.as_u64()?),
        None => Duration::ZERO,
    };
    let mut string = |key: &str| match object.get_mut(key).map(Value::take) {
        Some(Value::String(value)) => Some(value),
        _ => None,
    };
    let (name, text) = match string("notice") {
        Some(notice) => (String::new(), notice),
        None => (
            string("name").filter(|name| !name.is_empty())?,
            string("text")?,
        ),
    };
    let fits = name.len() <= NAME_MAX && text.len() <= LINE_MAX && age <= AGE_MAX;
    (fits && !text.is_empty()).then_some(Line { name, text, age })
}

/// Who is at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The run of its relay.
    pub(crate) run: u64,
    /// Number of people.
    pub(crate) people: u16,
    /// Their names, as many as have room.
    pub(crate) names: Vec<String>,
    /// The number of the last message of the stream that it has received.
    pub(crate) head: u64,
    /// Time until the next presence, in seconds; 0 if the relay ends.
    pub(crate) every: u64,
}

impl Presence {
    /// Returns the body.
    pub(crate) fn write(&self) -> String {
        let Self {
            run,
            people,
            names,
            head,
            every,
        } = self;
        let names = Value::from(names.as_slice());
        format!(
            r#"{{"run":"{run:016x}","people":{people},"names":{names},"head":{head},"every":{every}}}"#
        )
    }

    /// Parses a body.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        if body.len() > 8 * NAMES_MAX {
            return None;
        }
        let object: Value = serde_json::from_slice(body).ok()?;
        let number = |key: &str| object.get(key)?.as_u64();
        let names = object.get("names")?.as_array()?.iter();
        let names: Option<Vec<String>> = names.map(|name| Some(name.as_str()?.into())).collect();
        let run = object.get("run")?.as_str()?;
        let presence = Self {
            run: u64::from_str_radix(run, 16).ok()?,
            people: number("people")?.try_into().ok()?,
            names: names?,
            head: number("head")?,
            every: number("every").filter(|every| *every <= EVERY_MAX)?,
        };
        let length: usize = presence.names.iter().map(String::len).sum();
        let is_valid = |name: &String| (1..=NAME_MAX).contains(&name.len());
        let fits = length <= NAMES_MAX && presence.names.iter().all(is_valid);
        fits.then_some(presence)
    }

    /// Returns the names in one line, as many as have room in it.
    pub(crate) fn list<const MAX: usize>(&self) -> heapless::String<MAX> {
        let mut list = heapless::String::<MAX>::new();
        for name in &self.names {
            let end = list.len();
            let between = if end > 0 { ", " } else { "" };
            let clean: String = kilochat_core::clean(name).collect();
            if write!(list, "{between}{clean}").is_err() {
                list.truncate(end);
                break;
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const HEADERS: &str = "1 00000000deadbeef 7 2 3";

    #[test]
    fn a_header_is_read_as_it_was_written_and_nothing_else_is_one() {
        let header = Header {
            run: 0xdead_beef,
            first: 7,
            lines: 2,
            lost: 3,
        };
        assert_eq!(header.write(), HEADERS);
        assert_eq!(Header::read(HEADERS), Some(header));
        let place = "harbour".parse().unwrap();
        assert_eq!(header.id(&place), "harbour-00000000deadbeef-7");
        for other in [
            "",
            "1",
            "2 00000000deadbeef 7 2 0",
            "1 deadbeef 7 2 0",
            "1 00000000deadbeef 7 2",
            "1 00000000deadbeef 7 2 7",
            "1 00000000deadbeef 0 2 0",
            "1 00000000deadbeef 7 0 0",
            "1 00000000deadbeef 7 513 0",
            "1 00000000deadbeef +7 2 0",
            "1 00000000deadbeef 7 2 0 ",
            "1 00000000deadbeef 18446744073709551615 2 0",
            "1 00000000deadbeef 18446744073709551616 2 0",
            "1 g0000000deadbeef 7 2 0",
        ] {
            assert_eq!(Header::read(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_subject_names_a_place() {
        let room: Token = "room".parse().unwrap();
        assert_eq!(stream(&room), "KILOCHAT_room");
        let subject = line_subject(&room, "harbour");
        assert_eq!(subject, "kilochat.room.line.harbour");
        assert_eq!(place(&subject).unwrap().as_str(), "harbour");
        for other in [
            "kilochat.room.line",
            "kilochat.room.line.",
            "kilochat.room.line.Ada",
            "kilochat.room.line.a.b",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[test]
    fn a_body_can_be_read_by_other_programs() {
        let mut body = Vec::new();
        write_line(&mut body, "Ada", "say \"hi\"", Duration::ZERO);
        write_line(&mut body, "", "Bob joined", Duration::from_millis(1200));
        let text = String::from_utf8(body).unwrap();
        assert_eq!(
            text,
            "{\"name\":\"Ada\",\"text\":\"say \\\"hi\\\"\"}\n{\"notice\":\"Bob joined\",\"age\":1200}\n"
        );
        let read = read_lines(text.as_bytes(), 2).unwrap();
        assert_eq!((&*read[0].name, &*read[0].text), ("Ada", "say \"hi\""));
        assert_eq!((&*read[1].name, &*read[1].text), ("", "Bob joined"));
        assert_eq!(read[1].age, Duration::from_millis(1200));
    }

    #[test]
    fn the_longest_lines_of_a_ring_fit_in_a_body() {
        // 64 KiB of a ring, with the 12 bytes before each line
        let length = (64 << 10) / usize::from(LINES_MAX) - 12;
        let name = "\"".repeat(NAME_MAX);
        let text = "\\".repeat(length - NAME_MAX - 3);
        let mut body = Vec::new();
        for _ in 0..LINES_MAX {
            write_line(&mut body, &name, &text, AGE_MAX);
        }
        assert!(body.len() <= BODY_MAX, "{}", body.len());
        assert!(read_lines(&body, LINES_MAX).is_some());
    }

    #[test]
    fn what_is_no_body_is_not_read() {
        let line = r#"{"name":"Ada","text":"hi"}"#;
        let is_read = |body: &str, lines| read_lines(body.as_bytes(), lines).is_some();
        assert!(is_read(&format!("{line}\n"), 1));
        assert!(is_read(
            "{\"name\":\"Ada\",\"text\":\"hi\",\"new\":{}}\n",
            1
        ));
        let long_name = "x".repeat(NAME_MAX + 1);
        let long_text = "x".repeat(LINE_MAX + 1);
        for (body, lines) in [
            (line.to_owned(), 1),
            (format!("{line}\n"), 2),
            (format!("{line}\n{line}\n"), 1),
            (format!("{line}\n\n"), 2),
            (String::new(), 0),
            ("\n".into(), 1),
            ("{}\n".into(), 1),
            ("[]\n".into(), 1),
            ("7\n".into(), 1),
            ("{\"name\":\"\",\"text\":\"hi\"}\n".into(), 1),
            ("{\"name\":\"Ada\"}\n".into(), 1),
            ("{\"name\":\"Ada\",\"text\":\"\"}\n".into(), 1),
            ("{\"name\":7,\"text\":\"hi\"}\n".into(), 1),
            ("{\"notice\":\"\"}\n".into(), 1),
            ("{\"notice\":\"x\",\"age\":-1}\n".into(), 1),
            ("{\"notice\":\"x\",\"age\":99999999999999}\n".into(), 1),
            (format!("{{\"name\":\"{long_name}\",\"text\":\"hi\"}}\n"), 1),
            (
                format!("{{\"name\":\"Ada\",\"text\":\"{long_text}\"}}\n"),
                1,
            ),
            (format!("{}\n", "[".repeat(100_000)), 1),
        ] {
            assert!(!is_read(&body, lines), "{body:.60}");
        }
        assert!(read_lines(b"{\"notice\":\"\xff\"}\n", 1).is_none());
        assert!(read_lines(&vec![b' '; BODY_MAX + 1], 1).is_none());
    }

    #[test]
    fn any_lines_are_read_as_they_were_written_and_any_bytes_are_survived() {
        for seed in 0..2_000 {
            let mut random = Rng::with_seed(seed);
            let mut text = |most: usize| -> String {
                let length = random.usize(1..=most);
                (0..length)
                    .map(|_| random.char('\u{1}'..'\u{3000}'))
                    .collect()
            };
            let lines: Vec<Line> = (0..3)
                .map(|number| Line {
                    name: text(8),
                    text: text(100),
                    age: Duration::from_secs(number),
                })
                .collect();
            let mut body = Vec::new();
            for line in &lines {
                write_line(&mut body, &line.name, &line.text, line.age);
            }
            assert_eq!(read_lines(&body, 3), Some(lines), "seed {seed}");
            for _ in 0..3 {
                let at = random.usize(..body.len());
                body[at] = random.u8(..);
            }
            for line in read_lines(&body, 3).unwrap_or_default() {
                assert!(line.name.len() <= NAME_MAX && line.text.len() <= LINE_MAX);
            }
            Presence::read(&body);
        }
    }

    #[test]
    fn a_presence_is_read_as_it_was_written() {
        let presence = Presence {
            run: 7,
            people: 3,
            names: vec!["Ada".into(), "B\"ob".into(), "C\u{1b}leo".into()],
            head: 9,
            every: 5,
        };
        let body = presence.write();
        assert!(body.starts_with(r#"{"run":"0000000000000007","people":3,"names":["Ada","#));
        assert_eq!(Presence::read(body.as_bytes()), Some(presence.clone()));
        assert_eq!(presence.list::<64>(), "Ada, B\"ob, C?leo");
        assert_eq!(presence.list::<10>(), "Ada, B\"ob");
        assert_eq!(presence.list::<8>(), "Ada");
        for other in [
            "",
            "{}",
            r#"{"run":"x","people":3,"names":[],"head":9,"every":5}"#,
            r#"{"run":"7","people":70000,"names":[],"head":9,"every":5}"#,
            r#"{"run":"7","people":3,"names":[7],"head":9,"every":5}"#,
            r#"{"run":"7","people":3,"names":[""],"head":9,"every":5}"#,
            r#"{"run":"7","people":3,"names":[],"head":9,"every":3601}"#,
        ] {
            assert_eq!(Presence::read(other.as_bytes()), None, "{other}");
        }
        let crowd = Presence {
            names: vec!["x".repeat(NAME_MAX); NAMES_MAX / NAME_MAX + 1],
            ..presence
        };
        assert_eq!(Presence::read(crowd.write().as_bytes()), None);
    }
}

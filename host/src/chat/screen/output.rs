//! Formatting of lines: as plain or coloured text, or as JSON objects.

use core::ops::Range;
use core::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use jiff::civil::Date;
use jiff::{Timestamp, Zoned};
use kilochat_core::SEPARATOR;

use super::wrap::{Autowrap, wrap};
use crate::kept::line;

/// The origin of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message of a peer.
    Message,
    /// A line from before this client joined.
    History,
    /// A message to this client alone.
    Private,
    /// A notice of the relay.
    Notice,
    /// A message of this client.
    Status,
    /// A line that the person typed. It may be delivered or refused.
    Typed,
    /// A line of this user that the relay has delivered.
    Own,
    /// This number of lines was lost.
    Gap(u64),
    /// The day on which the following lines were said.
    Day,
}

/// The start of a message that says what its author does.
pub(crate) const ACTION: &str = "/me ";

/// What stands between the author and the text of a message to one peer.
pub(crate) const TO_YOU: &str = " to you: ";

/// A line to show. Its text is clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The origin of the line.
    pub(crate) kind: Kind,
    /// The name of the author, if it is a peer.
    pub(crate) name: Option<String>,
    /// The message without the author's name, or the notice.
    pub(crate) text: String,
    /// The sequence number, which is the same for all peers. For a gap, that of the first lost
    /// line.
    pub(crate) sequence: Option<u64>,
    /// The age of the line, if it is known.
    pub(crate) age: Option<Duration>,
    /// The part of the text that is highlighted.
    pub(crate) highlight: Option<Range<usize>>,
}

/// The format of lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Whether names are coloured and notices dimmed.
    pub(crate) colour: bool,
    /// Whether each line begins with its local time.
    pub(crate) time: bool,
    /// The width of the terminal. `None` if the output is not a terminal.
    pub(crate) columns: Option<usize>,
    /// How a word is wrapped that is longer than a row.
    pub(crate) autowrap: Autowrap,
}

/// The colours of names, without those that are hard to read on black or on white.
const COLOURS: [AnsiColor; 10] = [
    AnsiColor::Red,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Cyan,
    AnsiColor::BrightRed,
    AnsiColor::BrightGreen,
    AnsiColor::BrightBlue,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightCyan,
];

/// Returns whether standard output shows colours, according to the option and to variables such as
/// `NO_COLOR`.
pub(crate) fn is_coloured(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
        }
    }
}

/// Returns the current width of standard output. Returns `None` if it is not a terminal.
pub(crate) fn columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(width.0.into()).filter(|columns| *columns > 0)
}

impl Shown {
    /// Creates a line.
    pub(crate) fn new(kind: Kind, name: Option<&str>, text: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.map(Into::into),
            text: text.into(),
            sequence: None,
            age: None,
            highlight: None,
        }
    }

    /// Creates a message of this client.
    pub(crate) fn status(text: impl Into<String>) -> Self {
        Self::new(Kind::Status, None, text)
    }

    /// Creates the report of a gap of `lines` lines that begins with the sequence number `from`.
    pub(crate) fn gap(from: u64, lines: u64) -> Self {
        Self {
            sequence: Some(from),
            ..Self::new(Kind::Gap(lines), None, line::lost(lines))
        }
    }

    /// Appends the line as text, with a line end.
    pub(crate) fn write_text(&self, format: Format, now: &Zoned, out: &mut String) {
        let (line, head) = self.styled(format, now);
        match format.columns {
            Some(columns) => out.push_str(&wrap(&line, head, columns, format.autowrap)),
            None => out.push_str(&line),
        }
        out.push('\n');
    }

    /// Returns the line as one row, and the length in bytes of the part before its text.
    fn styled(&self, format: Format, now: &Zoned) -> (String, usize) {
        let mut out = String::new();
        if format.time && self.kind != Kind::Day {
            let said = now.saturating_sub(self.age.unwrap_or_default());
            out.push_str(&said.strftime("%H:%M:%S ").to_string());
        }
        let text = self.text.as_str();
        let (mark, name) = match (self.kind, &self.name) {
            (Kind::Notice | Kind::Gap(_), _) => ("* ", None),
            (Kind::Private, name) => ("* ", name.as_ref()),
            (Kind::Status | Kind::Day, _) => ("-- ", None),
            (Kind::History, None) => ("* ", None),
            // a command
            (Kind::Typed, None) => ("> ", None),
            (Kind::Message | Kind::Own, None) => ("", None),
            (Kind::Message | Kind::History | Kind::Typed | Kind::Own, Some(name)) => {
                ("", Some(name))
            }
        };
        let plain = match self.kind {
            Kind::Message | Kind::Private | Kind::Typed | Kind::Own => Style::new(),
            Kind::History | Kind::Notice | Kind::Status | Kind::Gap(_) | Kind::Day => {
                Style::new().dimmed()
            }
        };
        let plain = if format.colour { plain } else { Style::new() };
        let (text, end) = match text.strip_prefix(ACTION) {
            Some(action) if name.is_some() && self.kind != Kind::Private => (action, "]"),
            _ => (text, ""),
        };
        if let Some(name) = name {
            let style = if format.colour {
                name_style(name)
            } else {
                Style::new()
            };
            // no name begins with a bracket, so nobody can make another line look like this one
            let (start, separator) = if self.kind == Kind::Private {
                (mark, TO_YOU)
            } else if end.is_empty() {
                ("", SEPARATOR)
            } else {
                ("[", " ")
            };
            out.push_str(&format!("{start}{style}{name}{style:#}{plain}{separator}"));
        } else {
            out.push_str(&format!("{plain}{mark}"));
        }
        let head = out.len();
        match self.highlighted(text) {
            Some((before, own, after)) => {
                let style = Style::new().invert();
                out.push_str(&format!("{before}{style}{own}{style:#}{plain}{after}"));
            }
            None => out.push_str(text),
        }
        out.push_str(&format!("{end}{plain:#}"));
        (out, head)
    }

    /// Returns the parts of `text`, the end of this line's text, before, in and after its highlight.
    fn highlighted<'a>(&self, text: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
        let skipped = self.text.len() - text.len();
        let Range { start, end } = self.highlight.clone()?;
        let (rest, after) = text.split_at_checked(end.checked_sub(skipped)?)?;
        let (before, own) = rest.split_at_checked(start.checked_sub(skipped)?)?;
        Some((before, own, after))
    }

    /// Appends the line as a JSON object, with a line end.
    pub(crate) fn write_json(&self, now: Timestamp, out: &mut String) {
        let kind = match self.kind {
            Kind::Message => "message",
            Kind::History => "history",
            Kind::Private => "private",
            Kind::Notice => "notice",
            Kind::Status => "status",
            Kind::Typed | Kind::Own => "own",
            Kind::Gap(_) => "gap",
            Kind::Day => "day",
        };
        let said = self.age.and_then(|age| now.saturating_sub(age).ok());
        let time = said.unwrap_or(now);
        line::write(
            out,
            time,
            kind,
            self.sequence,
            self.name.as_deref(),
            &self.text,
        );
        if let Kind::Gap(lines) = self.kind {
            out.push_str(&format!(r#","lines":{lines}"#));
        }
        out.push_str("}\n");
    }
}

/// Notices that a line was said on another day than the one before it.
#[derive(Debug)]
pub(crate) struct Days(Date);

impl Days {
    /// Returns a value that notices whether the first line is of another day than today.
    pub(crate) fn new() -> Self {
        Self(Zoned::now().date())
    }

    /// Returns the line that stands before `line`, which arrived at `now`, if its day is another one.
    pub(crate) fn before(&mut self, line: &Shown, now: &Zoned) -> Option<Shown> {
        let day = now.saturating_sub(line.age.unwrap_or_default()).date();
        if day == self.0 {
            return None;
        }
        self.0 = day;
        let text = day.strftime("%A %Y-%m-%d --").to_string();
        Some(Shown::new(Kind::Day, None, text))
    }
}

/// Returns the colour of a name, which depends only on the name.
fn name_style(name: &str) -> Style {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // the high bits of FNV-1a are mixed best
    let index = usize::try_from(hash >> 33).unwrap_or(0) % COLOURS.len();
    Style::new().fg_color(Some(COLOURS[index].into())).bold()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(shown: &Shown, colour: bool, time: bool) -> String {
        let now = "2026-01-02T03:04:05Z[UTC]".parse().unwrap();
        let mut out = String::new();
        let format = Format {
            colour,
            time,
            columns: None,
            autowrap: Autowrap::On,
        };
        shown.write_text(format, &now, &mut out);
        out
    }

    #[test]
    fn lines_are_plain_without_colour() {
        let said = Shown::new(Kind::Message, Some("小明"), "你好");
        assert_eq!(text(&said, false, false), "小明 : 你好\n");
        assert_eq!(text(&said, false, true), "03:04:05 小明 : 你好\n");
        let joined = Shown::new(Kind::Notice, None, "Ada joined");
        assert_eq!(text(&joined, false, false), "* Ada joined\n");
        assert_eq!(
            text(&Shown::new(Kind::History, None, "Ada joined"), false, false),
            "* Ada joined\n"
        );
        assert_eq!(text(&Shown::status("gone"), false, false), "-- gone\n");
        assert_eq!(
            text(&Shown::new(Kind::Message, None, "echo"), false, false),
            "echo\n"
        );
    }

    #[test]
    fn what_somebody_does_looks_like_no_message_and_no_notice() {
        for kind in [Kind::Message, Kind::History, Kind::Typed, Kind::Own] {
            let does = Shown::new(kind, Some("小明"), "/me * waves : hello");
            assert_eq!(text(&does, false, false), "[小明 * waves : hello]\n");
        }
        for said in ["/me", "/meow x", "/ me x", " /me x"] {
            let shown = text(&Shown::new(Kind::Message, Some("Ada"), said), false, false);
            assert_eq!(shown, format!("Ada : {said}\n"));
        }
        let notice = Shown::new(Kind::Notice, None, "/me x");
        assert_eq!(text(&notice, false, false), "* /me x\n");
    }

    #[test]
    fn the_own_name_is_highlighted_also_without_colour() {
        let mut said = Shown::new(Kind::Message, Some("Bob"), "hi Zoë!");
        said.highlight = Some(3..7);
        let shown = "Bob : hi \x1b[7mZoë\x1b[0m!\n";
        assert_eq!(text(&said, false, false), shown);
        said.text = "/me hugs Zoë".into();
        said.highlight = Some(9..13);
        let shown = "[Bob hugs \x1b[7mZoë\x1b[0m]\n";
        assert_eq!(text(&said, false, false), shown);
        said.highlight = Some(1..3);
        assert_eq!(text(&said, false, false), "[Bob hugs Zoë]\n");
    }

    #[test]
    fn a_name_keeps_its_colour() {
        let first = text(&Shown::new(Kind::Message, Some("Ada"), "a"), true, false);
        let second = text(&Shown::new(Kind::Message, Some("Ada"), "b"), true, false);
        assert!(first.starts_with("\x1b["));
        assert_eq!(first.replace(" : a", ""), second.replace(" : b", ""));
        assert_ne!(name_style("Ada"), name_style("Bob"));
    }

    #[test]
    fn json_has_its_keys_in_order_and_escapes() {
        let now = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        let mut out = String::new();
        Shown::new(Kind::Message, Some("A\"b"), "back\\slash 😀").write_json(now, &mut out);
        Shown::new(Kind::Notice, None, "x").write_json(now, &mut out);
        assert_eq!(
            out,
            "{\"time\":\"2026-01-02T03:04:05.678Z\",\"kind\":\"message\",\"sequence\":null,\"name\":\"A\\\"b\",\"text\":\"back\\\\slash 😀\"}\n\
             {\"time\":\"2026-01-02T03:04:05.678Z\",\"kind\":\"notice\",\"sequence\":null,\"name\":null,\"text\":\"x\"}\n"
        );
    }

    #[test]
    fn json_tells_what_frames_tell() {
        let now = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        let mut out = String::new();
        Shown {
            sequence: Some(7),
            age: Some(Duration::from_millis(4_700)),
            ..Shown::new(Kind::Own, Some("Ada"), "hi")
        }
        .write_json(now, &mut out);
        Shown::gap(8, 3).write_json(now, &mut out);
        assert_eq!(
            out,
            "{\"time\":\"2026-01-02T03:04:00.978Z\",\"kind\":\"own\",\"sequence\":7,\"name\":\"Ada\",\"text\":\"hi\"}\n\
             {\"time\":\"2026-01-02T03:04:05.678Z\",\"kind\":\"gap\",\"sequence\":8,\"name\":null,\"text\":\"3 messages lost\",\"lines\":3}\n"
        );
    }

    #[test]
    fn the_date_stands_where_a_midnight_passed() {
        let now: Zoned = "2026-11-30T00:00:05+08:00[Asia/Shanghai]".parse().unwrap();
        let mut days = Days("2026-11-29".parse().unwrap());
        let aged = |seconds| Shown {
            age: Some(Duration::from_secs(seconds)),
            ..Shown::new(Kind::Message, Some("小明"), "早")
        };
        assert_eq!(days.before(&aged(6), &now), None);
        let day = days.before(&aged(5), &now).unwrap();
        assert_eq!(text(&day, false, true), "-- Monday 2026-11-30 --\n");
        assert_eq!(days.before(&aged(0), &now), None);
        // history is older than what was shown before it
        assert!(days.before(&aged(100), &now).is_some());
    }

    #[test]
    fn the_time_is_that_of_what_was_said() {
        let old = Shown {
            age: Some(Duration::from_secs(3605)),
            ..Shown::new(Kind::History, Some("Ada"), "hi")
        };
        assert_eq!(text(&old, false, true), "02:04:00 Ada : hi\n");
        assert_eq!(text(&Shown::gap(0, 1), false, false), "* 1 message lost\n");
    }
}

use super::*;
use crate::kept::line::JsonLine;

/// An inbox of the place `here`, and what it shows.
struct Case {
    inbox: Inbox,
    counters: LinkCounters,
    now: Instant,
    shown: Vec<std::string::String>,
}

impl Case {
    fn new() -> Self {
        Self {
            inbox: Inbox::new("here".parse().unwrap(), 1, Known::default()),
            counters: LinkCounters::default(),
            now: Instant::now(),
            shown: Vec::new(),
        }
    }

    /// Passes in a message of a place with these lines of Ada.
    fn take(&mut self, place: &str, run: u64, first: u64, texts: &[&str]) {
        let mut body = Vec::new();
        for text in texts {
            wire::write_line(&mut body, "Ada", text, Duration::ZERO);
        }
        let header = Header {
            run,
            first,
            lines: u16::try_from(texts.len()).unwrap(),
            lost: 0,
        };
        let header = header.write();
        self.take_raw(&format!("kilochat.room.line.{place}"), &header, &body);
    }

    fn take_raw(&mut self, subject: &str, header: &str, body: &[u8]) {
        let message = Message {
            subject,
            header: Some(header),
            body,
            time: Timestamp::now(),
        };
        self.inbox.take(self.now, &message, &self.counters);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(incoming) = self.inbox.next() {
            self.shown.push(match incoming {
                Incoming::Line {
                    place, name, text, ..
                } => match place {
                    Some(place) => format!("{name}@{place} {text}"),
                    None => format!("{name} {text}"),
                },
                Incoming::Notice(notice) => format!("{notice:?}"),
                Incoming::Report(_) | Incoming::Ready => "other".into(),
            });
        }
    }
}

#[test]
fn lines_of_this_run_are_not_shown_and_those_of_earlier_runs_have_no_place() {
    let mut case = Case::new();
    case.take("here", 1, 1, &["one", "two"]);
    assert_eq!(case.inbox.own(), 2);
    case.take("here", 2, 1, &["three"]);
    case.take("there", 1, 1, &["four"]);
    case.inbox.set_twin(3);
    case.take("here", 3, 1, &["five"]);
    assert_eq!(case.shown, ["Ada three", "Ada@there four", "Ada@here five"]);
}

#[test]
fn each_line_is_shown_once_and_a_hole_is_told_before_the_next_one() {
    let mut case = Case::new();
    case.take("there", 7, 1, &["one", "two"]);
    case.take("there", 7, 1, &["one", "two"]);
    case.take("there", 7, 2, &["two", "three"]);
    case.take("there", 7, 6, &["six"]);
    let lost = "Lost { place: Token(\"there\"), lines: 2 }";
    assert_eq!(
        case.shown,
        [
            "Ada@there one",
            "Ada@there two",
            "Ada@there three",
            lost,
            "Ada@there six"
        ]
    );
    let counts = case.counters.counts();
    assert_eq!((counts.lines_in, counts.duplicates, counts.lost), (4, 3, 2));
}

#[test]
fn a_message_that_is_not_valid_is_counted_and_shown_to_nobody() {
    let mut case = Case::new();
    let header = "1 0000000000000007 1 1 0";
    let subject = "kilochat.room.line.there";
    for (subject, header, body) in [
        ("kilochat.room.line.Ada", header, "{\"notice\":\"x\"}\n"),
        (subject, "2 0000000000000007 1 1 0", "{\"notice\":\"x\"}\n"),
        (subject, header, "{\"notice\":\"x\"}\n{\"notice\":\"x\"}\n"),
        (subject, header, "\u{1b}[2J\n"),
        (subject, "", ""),
    ] {
        case.take_raw(subject, header, body.as_bytes());
    }
    case.take_raw(subject, header, &[0xff; 1000]);
    assert_eq!(case.shown, [""; 0]);
    assert_eq!(case.counters.counts().malformed, 6);
    case.take_raw(subject, header, b"{\"notice\":\"x\"}\n");
    assert_eq!(case.shown, ["@there x"]);
}

#[test]
fn a_place_that_floods_is_left_out_and_does_not_hold_up_the_others() {
    let mut case = Case::new();
    for number in 0..3_000 {
        case.take("there", 7, 1 + number * 10, &["flood"; 10]);
    }
    case.take("quiet", 8, 1, &["hello"]);
    assert_eq!(case.shown.len(), 20_001);
    assert_eq!(case.counters.counts().left_out, 10_000);
    case.shown.clear();
    case.inbox.tell_left_out(case.now);
    case.inbox.tell_left_out(case.now);
    case.drain();
    let left_out = "LeftOut { place: Token(\"there\"), lines: 10000 }";
    assert_eq!(case.shown, [left_out]);
    // a second later it may say a thousand lines
    case.now += Duration::from_secs(1);
    case.shown.clear();
    for number in 0..2_000 {
        case.take("there", 7, 30_001 + number, &["flood"]);
    }
    assert_eq!(case.shown.len(), 1_000);
}

#[test]
fn of_the_time_before_the_start_the_last_lines_are_shown() {
    let mut case = Case::new();
    case.inbox.hold_past(3);
    case.take("there", 7, 1, &["one", "two"]);
    case.take("there", 7, 9, &["nine"]);
    case.take("here", 2, 1, &["ten"]);
    assert_eq!(case.shown, [""; 0]);
    case.inbox.release(None, &case.counters);
    case.take("there", 7, 10, &["eleven"]);
    assert_eq!(
        case.shown,
        [
            "Ada@there two",
            "Ada@there nine",
            "Ada ten",
            "Ada@there eleven"
        ]
    );
    // those that were restored from the disk are not shown again
    let mut case = Case::new();
    let now = Timestamp::now();
    case.inbox.known = Known::new(vec![JsonLine {
        name: Some("Ada@there".into()),
        ..JsonLine::status(now, "one")
    }]);
    case.inbox.hold_past(3);
    case.take("there", 7, 1, &["one", "two"]);
    case.inbox.release(None, &case.counters);
    case.drain();
    assert_eq!(case.shown, ["Ada@there two"]);
    // who came before a server was within reach is told how many there were
    let now = now + Duration::from_secs(1);
    let mut case = Case::new();
    case.inbox.hold_past(3);
    case.take("there", 7, 1, &["one", "two"]);
    case.inbox.release(Some(now), &case.counters);
    case.drain();
    assert_eq!(case.shown, ["InHistory { lines: 2 }"]);
}

#[test]
fn of_an_outage_a_quarter_of_the_ring_is_shown_and_the_rest_is_a_number() {
    let mut case = Case::new();
    case.inbox.hold_outage();
    let text = "x".repeat(88 - ENTRY - "Adathere".len());
    for number in 0..4_000 {
        case.take("there", 7, 1 + number, &[&text]);
    }
    case.inbox.release(None, &case.counters);
    case.drain();
    let shown = OUTAGE_MAX / 88;
    assert_eq!(case.shown.len(), 1 + shown);
    let lines = 4_000 - shown;
    assert_eq!(case.shown[0], format!("InHistory {{ lines: {lines} }}"));
    // a short one is shown as a whole
    let mut case = Case::new();
    case.inbox.hold_outage();
    case.take("there", 7, 1, &["one"]);
    case.take("there", 7, 3, &["three"]);
    case.inbox.release(None, &case.counters);
    case.drain();
    assert_eq!(case.shown.len(), 3, "{:?}", case.shown);
}

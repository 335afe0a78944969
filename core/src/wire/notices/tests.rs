//! Tests of the notices.

extern crate std;

use std::format;
use std::string::ToString;

use super::*;

fn read(line: &str) -> Notice<'_> {
    Notice::of(line.strip_prefix(NOTICE).unwrap())
}

#[test]
fn what_is_written_is_read() {
    let now = [Some("Ada"), None];
    let already = [None, Some("Ada")];
    for (sentence, expected) in [
        (Sentence::Nameless, Notice::Nameless),
        (
            Sentence::Prove(Code::from(48_291_350), "Ada"),
            Notice::Prove("4829-1350"),
        ),
        (
            Sentence::Prove(Code::from(7), "*"),
            Notice::Prove("0000-0007"),
        ),
        (Sentence::Full { seats: 4 }, Notice::Full),
        (Sentence::Crowded, Notice::Full),
        (Sentence::Hasty, Notice::Full),
        (
            Sentence::TooFast {
                lines: 1,
                burst: 64,
                interval_ms: 50,
            },
            Notice::TooFast {
                lines: 1,
                burst: 64,
                rate: 20,
                seconds: 1,
            },
        ),
        (
            Sentence::TooFast {
                lines: 2,
                burst: 1,
                interval_ms: 5000,
            },
            Notice::TooFast {
                lines: 2,
                burst: 1,
                rate: 1,
                seconds: 5,
            },
        ),
        (Sentence::Locked, Notice::Full),
        (Sentence::Now("Ada"), Notice::Named(now)),
        (Sentence::Already("Ada"), Notice::Named(already)),
        (Sentence::Bye, Notice::Bye),
        (Sentence::Lost(1), Notice::Lost(1)),
        (Sentence::Lost(70), Notice::Lost(70)),
        (Sentence::TooLong, Notice::Other),
        (Sentence::NotUtf8, Notice::Other),
        (Sentence::HelpForStrangers, Notice::Other),
        (Sentence::NoCommand("joined"), Notice::Other),
        (Sentence::NoNick, Notice::Other),
        (Sentence::Quiet(true), Notice::Other),
    ] {
        assert_eq!(read(&sentence.to_string()), expected, "{sentence}");
    }
    assert_eq!(read(STOPPING), Notice::Stopping);
    assert_eq!(read(Loss::GivenAway.farewell()[0]), Notice::GivenAway);
    assert_eq!(read(Loss::Lapsed.farewell()[0]), Notice::GivenAway);
    assert_eq!(read(Loss::Removed.farewell()[0]), Notice::Removed);
    for announcement in [
        Announcement::Joined("bye"),
        Announcement::Left("Ada", "quit"),
        Announcement::Renamed("Ada", "Bob"),
    ] {
        let line = announcement.parts().concat();
        assert_eq!(read(&line), Notice::Announcement, "{line}");
    }
}

#[test]
fn a_welcome_that_is_written_is_read() {
    for history in [0, 1, 2, 40] {
        let start = Sentence::Welcome {
            name: "Ada",
            here: 9,
        };
        let end = Sentence::History(u64::try_from(history).unwrap());
        let welcome = format!("{start}Ada); /help lists commands{end}");
        let name = "Ada";
        assert_eq!(read(&welcome), Notice::Welcome { name, history });
    }
}

#[test]
fn a_welcome_tells_name_and_history() {
    let cases = [
        (
            "* welcome Ada: 1 here (Ada); /help lists commands",
            "Ada",
            0,
        ),
        (
            "* welcome 小明: 2 here (Bob, 小明); /help lists commands; the last line:",
            "小明",
            1,
        ),
        (
            "* welcome a b~2: 9 here (x); hi; the last 7 lines:; /help lists commands (not your name? /nick NAME, then say it again); the last 40 lines:",
            "a b~2",
            40,
        ),
        (
            "* welcome x: 1 here (x); the last 7 lines:; /help lists commands",
            "x",
            0,
        ),
    ];
    for (line, name, history) in cases {
        let expected = Notice::Welcome { name, history };
        assert_eq!(read(line), expected, "{line}");
    }
}

#[test]
fn fixed_notices_are_exact() {
    let cases = [
        ("relay is stopping", Notice::Stopping),
        ("say your name first", Notice::Nameless),
        (
            "your seat was given away; say your name to come back",
            Notice::GivenAway,
        ),
        ("bye", Notice::Bye),
        ("full: 4 of 4 seats taken", Notice::Full),
        ("1 line lost", Notice::Lost(1)),
    ];
    for (text, expected) in cases {
        assert_eq!(Notice::of(text), expected, "{text}");
        for about in [
            format!("{text} joined").replace(':', "_"),
            format!("{text} left (unreachable)").replace(':', "_"),
            format!("Eve is now {text}").replace(':', "_"),
        ] {
            assert_eq!(Notice::of(&about), Notice::Announcement, "{about}");
        }
        assert_eq!(Notice::of(&format!("{text}.")), Notice::Other, "{text}");
    }
    for text in [
        "full: house",
        "full: x of 4 seats taken",
        "welcome Ada: hello",
        "welcome Eve : 1 here (x",
        "3 begin with x: Ada joined",
    ] {
        assert_eq!(Notice::of(text), Notice::Other, "{text}");
    }
}

//! No typed or pasted input ends or garbles the conversation.

use core::time::Duration;

use kilochat_tests::{PlainPeer, RelayProgram, ScriptedRelay};
use nix::sys::signal::Signal;

use super::terminal::{PROGRAM, Terminal};

#[test]
fn no_key_stops_what_arrives() {
    let keys: [&[u8]; 12] = [
        b"\x1b",          // Esc
        b"\x11",          // Ctrl-Q
        b"\x18",          // Ctrl-X
        b"\x12",          // Ctrl-R
        b"\x12ha",        // ... and its search text
        b"\x16",          // Ctrl-V
        b"\x13",          // Ctrl-S
        b"\t",            // completion
        b"\x1b[",         // the beginning of a sequence
        b"\x1b[200~half", // a paste without an end
        b"\xe5",          // a part of a character
        b"\x1b\x1b\x1b\x18\x12\x1b[20",
    ];
    for key in keys {
        let mut relay = ScriptedRelay::bind("127.0.0.1");
        let mut terminal = Terminal::chat(80, &relay);
        relay.welcome("Ada");
        terminal.wait_for("welcome");
        terminal.press("hal");
        terminal.press(key);
        for number in 0..20 {
            relay.send(format!("Bob : message {number}"));
            terminal.wait_for(&format!("Bob : message {number}"));
        }
        terminal.signal(Signal::SIGTERM);
        relay.expect("/quit");
        relay.send("* bye");
        assert_eq!(terminal.finish(), 0, "{key:?}");
    }
}

#[test]
fn a_terminal_that_takes_nothing_stops_nobody_and_is_told_what_is_left_out() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(80, &relay);
    relay.welcome("Ada");
    terminal.wait_for("welcome");
    terminal.set_stopped(true);
    let text = "x".repeat(150);
    for number in 0..3000 {
        relay.send(format!("Bob : {number} {text}"));
        if number % 100 == 0 {
            // when this line is shown, all lines before it were read
            relay.send(format!("Bob : {number}"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    relay.send("Bob : the end");
    std::thread::sleep(Duration::from_millis(500));
    terminal.set_stopped(false);
    terminal.wait_for("Bob : the end");
    let told = terminal.history();
    let told = told
        .iter()
        .find(|row| row.contains("lines are left out: the terminal took nothing"));
    assert!(told.is_some(), "{:#?}", terminal.rows());
    terminal.press("still here\r");
    relay.expect("still here");
    // the client can be ended while the terminal blocks
    terminal.set_stopped(true);
    for number in 0..3000 {
        relay.send(format!("Bob : {number} {text}"));
    }
    terminal.signal(Signal::SIGTERM);
    relay.expect("/quit");
    relay.send("* bye");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn a_byte_that_is_not_utf_8_is_replaced_and_told() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(80, &relay);
    relay.welcome("Ada");
    terminal.wait_for("welcome");
    terminal.press(b"caf\xe9 \xe9\r");
    relay.expect("caf\u{FFFD} \u{FFFD}");
    let told = "-- what was typed is not UTF-8; it is sent as U+FFFD";
    terminal.wait_for(told);
    assert_eq!(terminal.rows().iter().filter(|row| *row == told).count(), 1);
    terminal.press(b"\x1b[200~na\xefve\x1b[201~\r");
    relay.expect("na\u{FFFD}ve");
    terminal.press("and on\r");
    relay.expect("and on");
}

#[test]
fn pasted_lines_are_text() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let host = relay.address.to_string();
    for plain in [true, false] {
        let mut command = vec![PROGRAM, "chat", &host, "--name", "Ada"];
        command.extend(plain.then_some("--plain"));
        let mut ada = Terminal::start(80, &command);
        ada.wait_for("* welcome Ada");
        let lines = [
            "first",
            "// a comment in C",
            "/home/ada/.bashrc",
            "/quit",
            "/quit smoking, he said",
            "/nick Mallory",
            "the line after",
        ];
        ada.press(format!("\x1b[200~{}\x1b[201~\r", lines.join("\r\n")));
        bob.wait_for(|heard| heard.ends_with("Ada : the line after"));
        let heard = bob.lines().join("\n");
        let heard: Vec<&str> = heard
            .lines()
            .filter_map(|line| line.strip_prefix("Ada : "))
            .collect();
        assert!(heard.ends_with(&lines), "{heard:#?}");
        // a single one, too
        ada.press("\x1b[200~/quit smoking\n\x1b[201~\r\x1b[200~/quit\x1b[201~\r");
        bob.wait_for(|heard| heard == "Ada : /quit");
        assert!(
            bob.lines()
                .iter()
                .any(|heard| heard == "Ada : /quit smoking")
        );
        ada.press("/quit\r");
        bob.wait_for(|heard| heard == "* Ada left (quit)");
        assert_eq!(ada.finish(), 0);
    }
}

#[test]
fn many_pasted_lines_are_shown_and_asked_about_before_they_are_said() {
    let questions = [
        (80, "[11 lines, 109 bytes; Enter or y says it, n drops it]"),
        (20, "[11 lines: y/n?]"),
        (12, "[11 lines?]"),
    ];
    for (columns, question) in questions {
        let mut relay = ScriptedRelay::bind("127.0.0.1");
        let mut terminal = Terminal::chat(columns, &relay);
        relay.welcome("Ada");
        terminal.wait_for("welcome");
        let lines: Vec<String> = (10..21).map(|number| format!("第{number}行 ")).collect();
        let paste = format!("\x1b[200~{}\x1b[201~", lines.join("\r"));
        for no in ["n", "no\r", "N\r", "\x1b", "\x03"] {
            terminal.press(&paste);
            terminal.wait_for(question);
            terminal.wait_for("第20行");
            terminal.press(no);
            terminal.expect_last(">");
        }
        relay.expect_silence(Duration::from_millis(200));
        terminal.press("one\r");
        relay.expect("one");
        for yes in ["\r", "y", "yes\r"] {
            terminal.press(&paste);
            terminal.wait_for(question);
            terminal.press(yes);
            for line in &lines {
                relay.expect(line);
            }
            terminal.expect_last(">");
        }
        // what is pasted never answers
        terminal.press(&paste);
        terminal.press("\x1b[200~y\x1b[201~\x1b[200~\r\x1b[201~");
        terminal.wait_for("第20行 y");
        relay.expect_silence(Duration::from_millis(200));
        terminal.press("n");
        terminal.expect_last(">");
    }
}

#[test]
fn own_lines_have_name_and_time() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let command = [PROGRAM, "chat", &host, "--name", "Ada", "--plain", "--time"];
    let mut terminal = Terminal::start(80, &command);
    relay.welcome("Ada");
    terminal.wait_for("welcome");
    terminal.press("hello\r/nick Zoë\r");
    relay.expect("hello");
    relay.expect("/nick Zoë");
    relay.send("* you are now Zoë");
    terminal.wait_for("* you are now Zoë");
    terminal.press("//text\r");
    terminal.wait_for("Zoë : /text");
    let rows = terminal.rows();
    let shown: Vec<&str> = rows[1..5].iter().filter_map(|row| row.get(9..)).collect();
    let expected = [
        "Ada : hello",
        "> /nick Zoë",
        "* you are now Zoë",
        "Zoë : /text",
    ];
    assert_eq!(shown, expected, "{rows:#?}");
    for row in &rows[1..5] {
        let time: Vec<&str> = row[..8].split(':').collect();
        assert!(time.len() == 3 && time.iter().all(|part| part.parse::<u8>().is_ok()));
    }
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_is_as_good_as_a_pipe() {
    for term in ["dumb", "emacs", "cons25", "unknown", "dumb-emacs-ansi"] {
        let mut relay = ScriptedRelay::bind("127.0.0.1");
        let script = format!(
            "TERM={term} {PROGRAM} chat {} --name Ada --plain; echo code $?",
            relay.address()
        );
        let mut terminal = Terminal::start(80, &["sh", "-c", &script]);
        relay.welcome("Ada");
        terminal.wait_for("* welcome Ada");
        terminal.press("hello\n");
        relay.expect("hello");
        relay.send("Bob : hi");
        terminal.wait_for("Bob : hi");
        assert!(!terminal.rows().iter().any(|row| row.starts_with('>')));
        terminal.press("\x04");
        relay.expect("/quit");
        relay.send("* bye");
        terminal.wait_for("code 0");
    }
}

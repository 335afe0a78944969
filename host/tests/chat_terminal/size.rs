//! Changes of the terminal's size, long drafts, and the rows that scroll away.

use core::sync::atomic::{AtomicU32, Ordering};
use std::process::{Command, Output};
use std::time::Instant;

use kilochat_tests::{PATIENCE, ScriptedRelay};

use super::terminal::{PROGRAM, ROWS, Terminal};

#[test]
fn whatever_its_size_the_terminal_shows_the_last_lines_and_the_draft() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(40, &relay);
    relay.welcome("Ada");
    terminal.wait_for("welcome");
    let draft = ["a draft of three rows"; 5].join(" ");
    terminal.press(&draft);
    for number in 0..30 {
        relay.send(format!("Bob : message {number}"));
    }
    terminal.wait_for("message 29");
    for (rows, columns) in [(ROWS, 120), (ROWS, 30), (10, 80), (30, 80), (ROWS, 40)] {
        terminal.resize(rows, columns);
        let drafted = (2 + draft.len()).div_ceil(columns.into());
        let shown = usize::from(rows) - drafted;
        let mut expected: Vec<String> = (30 - shown.min(30)..30)
            .map(|number| format!("Bob : message {number}"))
            .collect();
        if expected.len() > 10 {
            expected.drain(..expected.len() - 10);
        }
        let deadline = Instant::now() + PATIENCE;
        let is_right = |screen: &[String]| {
            let text = screen.concat();
            expected.iter().all(|line| screen.contains(line))
                && text.contains("> a draft of")
                && screen.iter().filter(|row| row.starts_with('>')).count() == 1
        };
        while !is_right(&terminal.rows()) {
            assert!(Instant::now() < deadline, "{:#?}", terminal.rows());
            std::thread::sleep(core::time::Duration::from_millis(5));
        }
    }
    // nothing is lost
    let history = terminal.history();
    for number in 0..30 {
        assert!(history.contains(&format!("Bob : message {number}")));
    }
    terminal.press("\r");
    relay.expect(&draft);
}

#[test]
fn a_long_draft_does_not_fill_what_scrolls_away() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(40, &relay);
    relay.welcome("Ada");
    terminal.wait_for("welcome");
    let draft = ["draft"; 150].join(" ");
    terminal.press(&draft);
    terminal.wait_for("draft");
    for number in 0..50 {
        relay.send(format!("Bob : message {number}"));
        terminal.wait_for(&format!("Bob : message {number}"));
    }
    let history = terminal.history();
    let drafted = history.iter().filter(|row| row.contains("draft")).count();
    assert!(drafted < ROWS.into(), "{drafted} rows in {history:#?}");
    let heard = history.iter().filter(|row| row.starts_with("Bob")).count();
    assert_eq!(heard, 50);
    terminal.press("\r");
    relay.expect(&draft);
}

#[test]
fn a_new_size_doubles_no_line_and_erases_none_of_other_programs() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let script = format!(
        "echo 'from before'; exec {PROGRAM} chat {} --name Ada --plain",
        relay.address()
    );
    let mut terminal = Terminal::start(40, &["sh", "-c", &script]);
    relay.welcome("Ada");
    relay.send("小明 : 一\nBob : two");
    terminal.wait_for("Bob : two");
    terminal.press("draft");
    terminal.expect_last("> draft");
    for columns in [60, 100, 50, 120] {
        terminal.resize(ROWS, columns);
        // the screen is drawn again before this line arrives
        relay.send(format!("Bob : {columns}"));
        terminal.wait_for(&format!("Bob : {columns}"));
        std::thread::sleep(core::time::Duration::from_millis(200));
        let history = terminal.history();
        for line in ["from before", "小明 : 一", "Bob : two", "> draft"] {
            let times = history.iter().filter(|row| *row == line).count();
            assert_eq!(times, 1, "{line}: {history:#?}");
        }
    }
}

/// tmux, which moves rows when its size changes, as terminals do.
struct Tmux(String);

impl Tmux {
    fn start(columns: u16, relay: &ScriptedRelay) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let tmux = Self(format!("kilochat-{}-{number}", std::process::id()));
        let chat = format!("{PROGRAM} chat {} --name Ada --plain", relay.address());
        let size = columns.to_string();
        tmux.run(&["new-session", "-d", "-x", &size, "-y", "20", &chat]);
        tmux
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = Command::new("tmux")
            .args(["-L", &self.0, "-f", "/dev/null"])
            .args(arguments)
            .output()
            .expect("this test needs tmux: apt-get install tmux");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    fn press(&self, keys: &str) {
        self.run(&["send-keys", "-l", keys]);
    }

    fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.run(&["resize-window", "-x", &columns, "-y", &rows]);
    }

    fn capture(&self, options: &[&str]) -> String {
        let arguments = [&["capture-pane", "-p"], options].concat();
        String::from_utf8(self.run(&arguments).stdout).expect("text")
    }

    fn wait_until(&self, is_right: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.capture(&[]);
            if is_right(&screen) {
                return;
            }
            assert!(Instant::now() < deadline, "{screen}");
            std::thread::sleep(core::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // its server ends with its last window
        let _ = Command::new("tmux")
            .args(["-L", &self.0, "kill-server"])
            .output();
    }
}

#[test]
#[ignore = "needs tmux: apt-get install tmux"]
fn a_terminal_that_moves_its_rows_shows_every_line_after_it() {
    for columns in [80, 40] {
        let columns_of_draft = columns;
        let mut relay = ScriptedRelay::bind("127.0.0.1");
        let tmux = Tmux::start(columns, &relay);
        relay.welcome("Ada");
        tmux.wait_until(|screen| screen.contains("welcome"));
        for line in ["one", "two", "three", "four"] {
            relay.send(format!("Bob : {line}"));
        }
        tmux.wait_until(|screen| screen.contains("four"));
        tmux.press(&"draft ".repeat(usize::from(columns) / 3));
        let drafted = |screen: &str| screen.replace('\n', "").matches("draft").count();
        tmux.wait_until(|screen| drafted(screen) == usize::from(columns) / 3);
        for (columns, rows) in [(120, 20), (30, 20), (35, 15), (100, 30), (columns, 20)] {
            tmux.resize(columns, rows);
            tmux.wait_until(|screen| {
                let heard: Vec<&str> = screen
                    .lines()
                    .filter(|row| row.starts_with("Bob"))
                    .collect();
                heard == ["Bob : one", "Bob : two", "Bob : three", "Bob : four"]
                    && drafted(screen) == usize::from(columns_of_draft) / 3
                    && screen.lines().filter(|row| row.starts_with('>')).count() == 1
            });
        }
        tmux.press("\r");
        let said = relay.receive(PATIENCE).expect("a line");
        assert_eq!(said.matches("draft").count(), usize::from(columns) / 3);
    }
}

#[test]
#[ignore = "needs tmux: apt-get install tmux"]
fn a_long_address_can_be_copied_in_one_piece() {
    for columns in [80, 40, 20] {
        let mut relay = ScriptedRelay::bind("127.0.0.1");
        let tmux = Tmux::start(columns, &relay);
        relay.welcome("Ada");
        tmux.wait_until(|screen| screen.contains("welcome"));
        let address = format!("https://example.org/{}?end", "path/".repeat(26));
        relay.send(format!("Bob : look at {address} * joined"));
        tmux.wait_until(|screen| screen.contains("* joined"));
        let joined = tmux.capture(&["-J"]);
        assert!(joined.contains(&address), "{joined}");
        let screen = tmux.capture(&[]);
        let row = screen.lines().find(|row| row.contains("* joined"));
        assert_eq!(row, Some("  * joined"), "{screen}");
    }
}

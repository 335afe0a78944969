//! Features for reading: the title with the number of unread messages, the date, the search, and
//! who is away.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use kilochat_tests::{PATIENCE, PlainPeer, RelayProgram, ScriptedRelay};
use nix::sys::signal::Signal;

use super::people::{SIZES, in_a_room};
use super::terminal::{PROGRAM, Terminal};

#[test]
fn the_title_counts_what_was_said_since_the_last_key_or_without_the_focus() {
    for columns in SIZES {
        let (mut relay, mut terminal) = in_a_room(columns, &[]);
        terminal.expect_title("(2) kilochat");
        terminal.press("你");
        terminal.expect_title("kilochat");
        // own messages and notices are not counted
        terminal.press("好\r");
        relay.expect("你好");
        relay.send("* Eve joined\n小明 : 在吗");
        terminal.expect_title("(1) kilochat");
        // if the terminal reports its focus, keys do not mark messages as read
        terminal.press("\x1b[I");
        terminal.expect_title("kilochat");
        relay.send("小明 : 一");
        terminal.wait_for("小明 : 一");
        terminal.press("\x1b[O草");
        terminal.expect_last("> 草");
        relay.send("小明 : 二\nBob : 三\nBob : 四");
        terminal.expect_title("(3) kilochat");
        assert!(!terminal.output().contains("(4) kilochat"));
        terminal.press("\x1b[I");
        terminal.expect_title("kilochat");
        // the reports are not taken for text
        terminal.press("稿\x1b[O\x1b[I");
        terminal.expect_last("> 草稿");
        terminal.press("\x15\x04");
        relay.expect("/quit");
        relay.send("* bye");
        assert_eq!(terminal.finish(), 0);
        terminal.expect_title("");
        let output = terminal.output();
        for (on, off) in [("\x1b[22;2t", "\x1b[23;2t"), ("\x1b[?1004h", "\x1b[?1004l")] {
            assert_eq!(output.matches(on).count(), 1, "{on:?}");
            assert_eq!(output.matches(off).count(), 1, "{off:?}");
            assert!(output.find(on) < output.find(off));
        }
    }
}

#[test]
fn what_is_no_terminal_has_no_title() {
    for end in ["| cat", ""] {
        let mut relay = ScriptedRelay::bind("127.0.0.1");
        let host = relay.address();
        let script =
            format!("{PROGRAM} chat {host} --name 小明 --plain --stay --time </dev/null {end}");
        let terminal = Terminal::start(80, &["sh", "-c", &script]);
        relay.welcome("小明");
        relay.send("Bob : 你好");
        terminal.wait_for("Bob : 你好");
        let output = terminal.output();
        assert!(
            !output.contains("\x1b]") && !output.contains("\x1b["),
            "{output:?}"
        );
    }
}

/// Returns a time zone in POSIX form in which it is midnight after `wait`.
fn zone(wait: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("the clock is right").as_secs() % DAY;
    let east = (2 * DAY - wait.as_secs() - now) % DAY;
    format!(
        "TZ=LOCAL-{}:{:02}:{:02}",
        east / 3600,
        east / 60 % 60,
        east % 60
    )
}

#[test]
fn with_times_the_date_stands_between_lines_where_a_midnight_passed() {
    for columns in SIZES {
        let mut wait = Duration::from_secs(5);
        // repeated if this machine is so slow that midnight came too early
        let (before, rows) = loop {
            let mut relay = ScriptedRelay::bind("127.0.0.1");
            let (host, zone) = (relay.address().to_string(), zone(wait));
            let mut terminal = Terminal::start(
                columns,
                &[
                    "env",
                    &zone,
                    PROGRAM,
                    "chat",
                    &host,
                    "--name",
                    "王小明",
                    "--plain",
                    "--time",
                ],
            );
            relay.welcome("王小明");
            relay.send("小明 : 晚安");
            terminal.wait_for("小明 : 晚安");
            let before = terminal.rows().iter().any(|row| row.starts_with("23:59:5"));
            std::thread::sleep(wait);
            terminal.press("早\r");
            relay.expect("早");
            relay.send("Bob : 早");
            terminal.wait_for("Bob : 早");
            if before || wait > PATIENCE {
                break (before, terminal.rows());
            }
            wait *= 2;
        };
        assert!(before, "{rows:#?}");
        let dates: Vec<&String> = rows.iter().filter(|row| row.starts_with("-- ")).collect();
        let [date] = dates[..] else {
            panic!("{rows:#?}")
        };
        let text = rows.concat();
        assert!(
            text.contains("day 20") || text.contains("day  20"),
            "{rows:#?}"
        );
        let place = rows
            .iter()
            .position(|row| row == date)
            .expect("it is there");
        assert!(rows[..place].iter().any(|row| row.ends_with("小明 : 晚安")));
        assert!(rows[place..].iter().any(|row| row.ends_with("王小明 : 早")));
        assert!(rows[place..].iter().any(|row| row.ends_with("Bob : 早")));
    }
}

#[test]
fn control_r_searches_what_one_said() {
    for columns in SIZES {
        let (mut relay, mut terminal) = in_a_room(columns, &[]);
        for line in ["红苹果", "绿梨", "红梨"] {
            terminal.press(format!("{line}\r"));
            relay.expect(line);
        }
        terminal.press("草稿\x12红");
        terminal.expect_last("(search) 红: 红梨");
        terminal.press("\x12");
        terminal.expect_last("(search) 红: 红苹果");
        // a message during the search does not affect it
        relay.send("小明 : 红茶");
        terminal.wait_for("小明 : 红茶");
        terminal.expect_last("(search) 红: 红苹果");
        terminal.press("蓝");
        terminal.expect_end("(not found) 红蓝: 草稿");
        terminal.press("\x07");
        terminal.expect_last("> 草稿");
        terminal.press("\x12绿\r");
        relay.expect("绿梨");
        terminal.expect_last(">");
    }
}

#[test]
#[ignore = "takes 45 s: cargo test --package kilochat --test chat_terminal -- --ignored"]
fn who_is_away_is_marked() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    let host = relay.address.to_string();
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let away = Terminal::start(80, &[PROGRAM, "chat", &host, "--name", "小红"]);
    away.wait_for("* welcome");
    let mut terminals = SIZES.map(|columns| {
        let name = format!("小明{columns}");
        let terminal = Terminal::start(columns, &[PROGRAM, "chat", &host, "--name", &name]);
        terminal.wait_for("* welcome");
        terminal
    });
    away.signal(Signal::SIGSTOP);
    bob.say("在吗");
    bob.wait_for(|heard| heard == "* 小红 is away");
    for terminal in &mut terminals {
        terminal.wait_for("小红 is away");
        terminal.press("/who 小红\r");
        terminal.wait_for("小红 (away)");
    }
    away.signal(Signal::SIGCONT);
    bob.wait_for(|heard| heard == "* 小红 is back");
    for terminal in &mut terminals {
        terminal.press("/who 小红\r");
        terminal.expect_end(": 小红>");
    }
}

//! The chat client on a terminal: the tests compare the whole screen.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "a measurement is printed")]

#[cfg(target_os = "linux")]
mod finding;
mod jobs;
mod keys;
mod people;
mod private;
mod reading;
mod size;
mod terminal;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Instant;

use kilochat_tests::proxy::{Faults, Proxy};
use kilochat_tests::{PATIENCE, PlainPeer, RelayProgram, ScriptedRelay};

use self::terminal::{PROGRAM, Terminal};

#[test]
fn what_arrives_never_touches_what_is_typed() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(80, &relay);
    relay.welcome("Ada");
    let welcome = "* welcome Ada: 1 here (Ada); /help lists commands";
    terminal.expect(&[welcome, ">"]);
    terminal.press("你好，我还在");
    terminal.expect(&[welcome, "> 你好，我还在"]);
    relay.send("Bob : hi");
    terminal.expect(&[welcome, "Bob : hi", "> 你好，我还在"]);
    assert_eq!(terminal.cursor(), (2, 14));
    terminal.press("打字");
    relay.send("Bob : \x1b[2Jred\n小明 : 早上好\n* Eve joined");
    let rows = [
        welcome,
        "Bob : hi",
        "Bob : ?[2Jred",
        "小明 : 早上好",
        "* Eve joined",
        "> 你好，我还在打字",
    ];
    terminal.expect(&rows);
    terminal.press("\r");
    relay.expect("你好，我还在打字");
    let mut rows = rows.to_vec();
    rows.pop();
    rows.extend(["Ada : 你好，我还在打字", ">"]);
    terminal.expect(&rows);
}

#[test]
fn a_narrow_terminal_shows_the_same() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(20, &relay);
    relay.expect("Ada");
    relay.send("* welcome Ada: 1 here (Ada)");
    let welcome = ["* welcome Ada: 1", "  here (Ada)"];
    terminal.expect(&[welcome[0], welcome[1], ">"]);
    // the prompt and nine characters of two columns fill the row to its end
    terminal.press("一二三四五六七八九");
    terminal.expect(&[welcome[0], welcome[1], "> 一二三四五六七八九"]);
    relay.send("Bob : hi");
    terminal.expect(&[welcome[0], welcome[1], "Bob : hi", "> 一二三四五六七八九"]);
    terminal.press("十百千");
    terminal.expect(&[
        welcome[0],
        welcome[1],
        "Bob : hi",
        "> 一二三四五六七八九",
        "十百千",
    ]);
    // a line of twenty columns, longer ones, and a wide character that does not fit into the last
    // column
    relay.send("Bob : 01234567890123");
    relay.send("Bob : é123456789012345");
    relay.send("Bob : x一二三四五六七八");
    let rows = [
        welcome[0],
        welcome[1],
        "Bob : hi",
        "Bob : 01234567890123",
        "Bob : é1234567890123",
        "  45",
        "Bob : x一二三四五六",
        "  七八",
        "> 一二三四五六七八九",
        "十百千",
    ];
    terminal.expect(&rows);
    terminal.press("\r");
    relay.expect("一二三四五六七八九十百千");
}

#[test]
fn a_long_line_looks_like_one_line() {
    for columns in [80, 20] {
        let width = usize::from(columns);
        let mut relay = ScriptedRelay::bind("127.0.0.1");
        let terminal = Terminal::chat(columns, &relay);
        relay.welcome("Ada");
        terminal.wait_for("* welcome Ada");
        let before = terminal.rows().len() - 1;
        let start = format!("Eve : x{}", " ".repeat(width - 7));
        let notice = format!("{:width$}", "* relay is stopping");
        relay.send(format!("{start}{notice}Zoe : your password?"));
        // wide characters, and marks that have no width, up to the last column
        relay.send(format!(
            "Eve : {}{notice}Zoe : e\u{301}?",
            "小".repeat((width - 6) / 2)
        ));
        relay.send("Bob : the end");
        terminal.wait_for("Bob : the end");
        let rows = terminal.rows();
        let starts: Vec<&str> = rows[before..]
            .iter()
            .filter(|row| !row.is_empty() && !row.starts_with("  "))
            .map(|row| row.split(' ').next().expect("a word"))
            .collect();
        assert_eq!(starts, ["Eve", "Eve", "Bob", ">"], "{rows:#?}");
        let said = rows.join(" ");
        assert!(said.contains("password?"), "{rows:#?}");
    }
}

#[test]
fn lines_that_only_come_out_on_a_terminal_are_wrapped_too() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let script = format!(
        "{PROGRAM} chat {} --name Ada --plain --stay </dev/null",
        relay.address()
    );
    let terminal = Terminal::start(20, &["sh", "-c", &script]);
    relay.expect("Ada");
    relay.send("* welcome Ada: 1 here (Ada)");
    relay.send("Eve : é123456789abcd* bye");
    terminal.expect(&[
        "* welcome Ada: 1",
        "  here (Ada)",
        "Eve : é123456789abcd",
        "  * bye",
    ]);
}

#[test]
fn a_hundred_messages_leave_the_line_whole() {
    for columns in [80, 20] {
        let mut relay = ScriptedRelay::bind("127.0.0.1");
        let mut terminal = Terminal::chat(columns, &relay);
        relay.welcome("Ada");
        terminal.wait_for("> ".trim_end());
        let mut typed = String::new();
        for (number, character) in "我在打一行很长的字而别人一直在说话"
            .chars()
            .cycle()
            .take(40)
            .enumerate()
        {
            typed.push(character);
            terminal.press(character.to_string());
            relay.send(format!("Bob : {number}\nBob : {number} 😀"));
            relay.send(format!("Bob : {number} again"));
        }
        terminal.press("\r");
        relay.expect(&typed);
        relay.send("Bob : the end");
        terminal.wait_for("Bob : the end");
        terminal.expect_last(">");
        let rows = terminal.rows();
        for row in &rows {
            let is_whole = row.starts_with("Bob : ")
                || row.starts_with("Ada : ")
                || row.starts_with('>')
                || row
                    .trim()
                    .chars()
                    .all(|character| typed.contains(character));
            assert!(is_whole, "{row:?} in {rows:#?}");
        }
    }
}

#[test]
fn lines_entered_under_fire_keep_their_order() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(80, &relay);
    let is_whole = |row: &String| {
        row.starts_with("Bob : ") || row.starts_with("Ada : ") || row.starts_with('>')
    };
    relay.welcome("Ada");
    terminal.wait_for("welcome");
    for number in 0..500 {
        terminal.press(format!("line {number}\r"));
        relay.send(format!("Bob : {}", 2 * number));
        relay.expect(&format!("line {number}"));
        relay.send(format!("Bob : {}", 2 * number + 1));
        let rows = terminal.rows();
        assert!(rows[1..].iter().all(is_whole), "{rows:#?}");
    }
    relay.send("Bob : the end");
    terminal.wait_for("Bob : the end");
    terminal.expect_last(">");
    let rows = terminal.rows();
    let said: Vec<u32> = rows
        .iter()
        .filter_map(|row| row.strip_prefix("Bob : ")?.parse().ok())
        .collect();
    assert!(said.is_sorted(), "{rows:#?}");
    assert!(rows.iter().all(is_whole), "{rows:#?}");
}

#[test]
fn what_is_typed_or_pasted_ahead_is_said() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(80, &relay);
    relay.welcome("Ada");
    let lines: Vec<String> = (0..40).map(|number| format!("第 {number} 行")).collect();
    terminal.press(&(lines.join("\r") + "\r"));
    for line in &lines {
        relay.expect(line);
    }
    // a terminal puts marks around pasted text
    terminal.press("\x1b[200~one\ntwo\nthree\x1b[201~\r");
    for line in ["one", "two", "three"] {
        relay.expect(line);
    }
}

#[test]
fn it_asks_for_what_is_missing() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let mut terminal = Terminal::start(80, &[PROGRAM, "chat", &host, "--plain"]);
    terminal.wait_for("Your nickname [ming]:");
    terminal.press("\r");
    relay.welcome("ming");
    terminal.wait_for("* welcome ming");
    terminal.press("\x04");
    relay.expect("/quit");
    relay.send("* bye");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn control_c_clears_a_line_and_leaves_on_an_empty_one() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(80, &relay);
    relay.welcome("Ada");
    terminal.wait_for("welcome");
    terminal.press("half a line");
    terminal.wait_for("> half a line");
    terminal.press("\x03");
    terminal.expect(&["* welcome Ada: 1 here (Ada); /help lists commands", ">"]);
    terminal.press("whole\r");
    relay.expect("whole");
    // the arrow key brings the paste back
    terminal.press("\x1b[A\r");
    relay.expect("whole");
    terminal.press("\x03");
    relay.expect("/quit");
    relay.send("* bye");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn commands_are_sent_as_typed() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::chat(80, &relay);
    relay.expect("Ada");
    // held back until the welcome
    terminal.press("/who\r//text\r");
    relay.expect_silence(Duration::from_millis(300));
    relay.send("* welcome Ada: 1 here (Ada); /help lists commands");
    relay.expect("/who");
    relay.expect("//text");
    terminal.press("/quit\r");
    relay.expect("/quit");
    relay.send("* bye");
    assert_eq!(terminal.finish(), 0);
    terminal.wait_for("* bye");
}

#[test]
fn silence_is_told_and_what_is_typed_waits_for_an_answer() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    let mut bob = PlainPeer::join(relay.address, "Bob");
    for dialect in [&[][..], &["--plain"]] {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = Proxy::start(any, relay.address, Faults::NONE, 7).expect("a free port");
        proxy.set_blackout(true);
        let host = proxy.address().to_string();
        let chat = [&[PROGRAM, "chat", &host, "--name", "Ada"], dialect].concat();
        let mut ada = Terminal::start(80, &chat);
        ada.press("first\rsecond\r");
        ada.wait_for("-- no answer yet from");
        proxy.set_blackout(false);
        bob.wait_for(|heard| heard.ends_with("Ada : second"));
        ada.press("\x04");
        assert_eq!(ada.finish(), 0);
        bob.wait_for(|heard| heard == "* Ada left (quit)");
        let heard = bob.lines().join("\n");
        assert!(
            heard.contains("* Ada joined\nAda : first\nAda : second\n"),
            "{heard}"
        );
        assert!(!heard.contains("* first joined"), "{heard}");
    }
}

#[test]
fn a_full_relay_ends_it_and_the_terminal_is_as_before() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let script = format!(
        "{PROGRAM} chat {} --name Ada --plain; echo code $?; stty -a | grep -o '[-]*icanon'",
        relay.address()
    );
    let mut terminal = Terminal::start(80, &["sh", "-c", &script]);
    relay.expect("Ada");
    terminal.wait_for(">");
    terminal.press("half a li");
    terminal.wait_for("half a li");
    relay.send("* full: 4 of 4 seats taken");
    terminal.wait_for("code 1");
    terminal.wait_for("icanon");
    let rows = terminal.rows();
    assert!(
        rows.iter()
            .any(|row| row.contains("full: 4 of 4 seats taken")),
        "{rows:#?}"
    );
    assert_eq!(rows.last().map(String::as_str), Some("icanon"), "{rows:#?}");
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_as_before() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let script = format!(
        "{PROGRAM} chat {} --name Ada --plain; echo code $?; stty -a | grep -o '[-]*icanon'",
        relay.address()
    );
    let terminal = Terminal::start(80, &["sh", "-c", &script]);
    relay.welcome("Ada");
    terminal.wait_for("welcome");
    let shell = terminal.child.process_id().expect("it runs");
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
    let Ok(children) = children else { return };
    let chat: i32 = children.trim().parse().expect("one child");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(chat),
        nix::sys::signal::Signal::SIGTERM,
    )
    .expect("it runs");
    relay.expect("/quit");
    relay.send("* bye");
    terminal.wait_for("code 0");
    terminal.wait_for("icanon");
    assert_eq!(terminal.rows().last().map(String::as_str), Some("icanon"));
}

#[test]
fn an_old_server_gets_what_was_read_and_nothing_else() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    server.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let host = server.local_addr().expect("it is bound").to_string();
    let mut buffer = [0; 2048];
    let mut receive = || {
        let (length, source) = server.recv_from(&mut buffer).expect("a datagram");
        (buffer[..length].to_vec(), source)
    };
    let begun = Instant::now();
    let mut chat = Terminal::start(80, &[PROGRAM, "chat", &host, "--name", "Ada"]);
    let mut said: BTreeMap<SocketAddr, Vec<Vec<u8>>> = BTreeMap::new();
    let name = loop {
        let (payload, source) = receive();
        said.entry(source).or_default().push(payload.clone());
        if payload == b"Ada" {
            break source;
        }
    };
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(3) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert_eq!(
        said.len(),
        7,
        "six frames and a name, each from its own port"
    );
    assert!(said.values().all(|payloads| payloads.len() == 1));
    // an old server relays every line to all ports that it knows
    for source in said.keys() {
        server.send_to(b"Bob : hi", source).expect("loopback");
    }
    chat.wait_for("Bob : hi");
    chat.press("/hello\r");
    assert_eq!(receive(), (b"/hello".to_vec(), name));
    std::thread::sleep(Duration::from_millis(100));
    server.set_nonblocking(true).expect("it can");
    assert!(server.recv_from(&mut [0; 2048]).is_err(), "and no more");
    // an old server on Windows ends when a port that it sends to is unreachable
    for source in said.keys() {
        assert!(!is_port_unreachable(&server, *source), "{source} is closed");
    }
    server.connect(name).expect("loopback");
    chat.press("\x04");
    assert_eq!(chat.finish(), 0);
    assert!(server.recv_from(&mut [0; 2048]).is_err(), "no goodbye");
    let heard = chat.rows().iter().filter(|row| *row == "Bob : hi").count();
    assert_eq!(heard, 1, "answers to the other ports are not shown");
}

#[test]
fn only_late_lines_are_reported() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = Proxy::start(any, relay.address, Faults::NONE, 7).expect("a free port");
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let host = proxy.address().to_string();
    let mut ada = Terminal::start(80, &[PROGRAM, "chat", &host, "--name", "Ada"]);
    let welcome = "* welcome Ada: 2 here (Bob, Ada); /help lists commands";
    ada.wait_for(welcome);
    bob.wait_for(|line| line == "* Ada joined");
    let before = ada.rows();
    let expect = |ada: &Terminal, rows: &[&str]| {
        let mut all: Vec<&str> = before[..before.len() - 1]
            .iter()
            .map(String::as_str)
            .collect();
        all.extend(rows);
        ada.expect(&all);
    };
    ada.press("hello\r");
    bob.wait_for(|line| line == "Ada : hello");
    bob.say("hi");
    expect(&ada, &["Ada : hello", "Bob : hi", ">"]);
    proxy.set_blackout(true);
    ada.press("are you there?\r");
    let late = "-- not delivered yet: are you there?";
    let rows = ["Ada : hello", "Bob : hi", "Ada : are you there?", late, ">"];
    expect(&ada, &rows);
    proxy.set_blackout(false);
    bob.wait_for(|line| line == "Ada : are you there?");
    let mut rows = rows.to_vec();
    rows.insert(4, "-- delivered");
    expect(&ada, &rows);
    ada.press("\x04");
    assert_eq!(ada.finish(), 0);
    bob.wait_for(|line| line == "* Ada left (quit)");
}

#[test]
fn what_is_pasted_at_100_ms_is_delivered_in_under_three_seconds() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let delay = Duration::from_millis(50);
    let faults = Faults {
        delay,
        ..Faults::NONE
    };
    let proxy = Proxy::start(any, relay.address, faults, 7).expect("a free port");
    let mut bob = PlainPeer::join(relay.address, "Bob");
    let host = proxy.address().to_string();
    let mut ada = Terminal::start(80, &[PROGRAM, "chat", &host, "--name", "Ada"]);
    ada.wait_for("* welcome Ada");
    let lines: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
    let begun = Instant::now();
    ada.press(format!("\x1b[200~{}\x1b[201~\r", lines.join("\n")));
    bob.wait_for(|line| line == "Ada : line 199");
    let took = begun.elapsed();
    println!("200 lines pasted at 100 ms: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    let heard = bob.lines();
    let heard: Vec<&str> = heard
        .iter()
        .filter_map(|line| line.strip_prefix("Ada : "))
        .collect();
    assert_eq!(heard, lines);
}

/// Returns whether the system reports `port` as unreachable.
fn is_port_unreachable(socket: &UdpSocket, port: SocketAddr) -> bool {
    socket.connect(port).expect("loopback");
    socket.send(b"").expect("loopback accepts it");
    std::thread::sleep(Duration::from_millis(20));
    socket.take_error().expect("a socket").is_some()
}

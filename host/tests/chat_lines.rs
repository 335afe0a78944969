//! The chat client on pipes, against a relay that the test controls.
#![cfg(unix)]

use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::{ChatProgram, ScriptedRelay};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");
const MOMENT: Duration = Duration::from_millis(300);

/// Returns a relay, and a client that it has welcomed.
fn welcomed(options: &[&str]) -> (ScriptedRelay, ChatProgram) {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let arguments = [&[host.as_str(), "--name", "Ada", "--plain"], options].concat();
    let mut chat = ChatProgram::start(PROGRAM, &arguments);
    relay.welcome("Ada");
    chat.wait_for(|line| line.contains("welcome"));
    (relay, chat)
}

#[test]
fn host_and_name_are_needed() {
    let cases: [&[&str]; 6] = [
        &[],
        &["127.0.0.1"],
        &["--name", "Ada"],
        &["127.0.0.1:0", "--name", "Ada"],
        &["127.0.0.1:70000", "--name", "Ada"],
        &["127.0.0.1", "--name", " "],
    ];
    for arguments in cases {
        let end = ChatProgram::silent(PROGRAM, arguments).finish();
        assert_eq!(end.code, Some(2), "{arguments:?}: {}", end.errors);
        assert!(end.errors.starts_with("kilochat: "), "{}", end.errors);
        assert!(end.lines.is_empty());
    }
}

#[test]
fn lines_wait_for_the_welcome() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let mut chat = ChatProgram::start(PROGRAM, &[&host, "--name", "Ada", "--plain"]);
    chat.write("one\n\n  \n/two\r\n三");
    chat.close_input();
    relay.expect("Ada");
    relay.expect_silence(MOMENT);
    relay.send("* welcome Ada: 2 here (Ada, Bob); /help lists commands; the last line:");
    relay.send("Bob : before");
    for text in ["one", "//two", "三"] {
        relay.expect(text);
    }
    relay.send("Bob : now\n* Eve joined");
    relay.expect("/quit");
    relay.send("* bye");
    let end = chat.finish();
    assert_eq!(end.code, Some(0));
    assert_eq!(
        end.lines[1..],
        ["Bob : before", "Bob : now", "* Eve joined", "* bye"]
    );
    assert_eq!(end.errors, "kilochat: 2 blank lines not sent\n");
}

#[test]
fn without_a_welcome_it_fails_after_five_seconds() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let begun = Instant::now();
    let mut chat = ChatProgram::start(PROGRAM, &[&host, "--name", "Ada", "--plain"]);
    chat.write("one\n");
    relay.expect("Ada");
    let end = chat.finish();
    let took = begun.elapsed();
    assert_eq!(end.code, Some(1));
    assert!(end.errors.contains("no welcome"), "{}", end.errors);
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(8),
        "{took:?}"
    );
    relay.expect_silence(Duration::from_millis(10));
}

#[test]
fn a_port_that_nobody_listens_at_is_told() {
    let free = ScriptedRelay::bind("127.0.0.1").address().to_string();
    for options in [&[][..], &["--plain"], &["--classic"]] {
        let arguments = [&[free.as_str(), "--name", "Ada"], options].concat();
        let end = ChatProgram::silent(PROGRAM, &arguments).finish();
        assert_eq!(end.code, Some(1));
        let told = format!("kilochat: connection refused: nobody listens at {free}\n");
        assert_eq!(end.errors, told);
    }
}

#[test]
fn a_host_that_does_not_exist_is_told() {
    let end = ChatProgram::silent(PROGRAM, &["no-such-host.invalid", "--name", "Ada"]).finish();
    assert_eq!(end.code, Some(1));
    assert!(
        end.errors.contains("no-such-host.invalid"),
        "{}",
        end.errors
    );
}

#[test]
fn a_full_relay_is_told() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let chat = ChatProgram::start(PROGRAM, &[&host, "--name", "Ada", "--plain"]);
    relay.expect("Ada");
    relay.send("* full: 4 of 4 seats taken");
    let end = chat.finish();
    assert_eq!(end.code, Some(1));
    assert!(
        end.errors.contains("full: 4 of 4 seats taken"),
        "{}",
        end.errors
    );
}

#[test]
fn both_families_and_names_of_hosts_work() {
    // localhost may resolve to ::1 first; its port is unreachable, and the next address is tried
    for (ip, host) in [
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
    ] {
        let mut relay = ScriptedRelay::bind(ip);
        let host = format!("{host}:{}", relay.address().port());
        let mut chat = ChatProgram::start(PROGRAM, &[&host, "--name", "Ada", "--plain"]);
        chat.write("hello\n");
        relay.welcome("Ada");
        relay.expect("hello");
        chat.close_input();
        relay.expect("/quit");
        relay.send("* bye");
        assert_eq!(chat.finish().code, Some(0), "{host}");
    }
}

#[test]
fn it_leaves_after_200_ms_of_silence() {
    let (mut relay, mut chat) = welcomed(&[]);
    let begun = Instant::now();
    chat.close_input();
    relay.expect("/quit");
    let took = begun.elapsed();
    relay.send("* bye");
    assert_eq!(chat.finish().code, Some(0));
    assert!(
        took >= Duration::from_millis(190) && took < Duration::from_millis(900),
        "{took:?}"
    );
}

#[test]
fn it_leaves_after_two_seconds_of_traffic() {
    let (mut relay, mut chat) = welcomed(&[]);
    let begun = Instant::now();
    chat.close_input();
    let quit = loop {
        relay.send("Bob : and on");
        if let Some(text) = relay.receive(Duration::from_millis(50)) {
            break text;
        }
    };
    let took = begun.elapsed();
    assert_eq!(quit, "/quit");
    assert!(
        took >= Duration::from_millis(1900) && took < Duration::from_secs(4),
        "{took:?}"
    );
    // without an answer to `/quit` the client ends all the same
    assert_eq!(chat.finish().code, Some(0));
}

#[test]
fn with_stay_it_goes_on() {
    let (mut relay, mut chat) = welcomed(&["--stay"]);
    chat.close_input();
    relay.expect_silence(Duration::from_millis(2500));
    relay.send("Bob : still there?");
    chat.wait_for(|line| line == "Bob : still there?");
    chat.signal(Signal::SIGTERM);
    relay.expect("/quit");
    relay.send("* bye");
    assert_eq!(chat.finish().code, Some(0));
}

#[test]
fn json_is_one_object_a_line() {
    let (mut relay, mut chat) = welcomed(&["--json"]);
    relay.send("Bob : \"q\" \u{1b}[31m\n* Eve joined\n小明 : 你好");
    chat.wait_for(|line| line.contains("你好"));
    chat.write([b'\xff', b'\n']);
    relay.expect("\u{fffd}");
    chat.close_input();
    relay.expect("/quit");
    relay.send("* bye");
    let end = chat.finish();
    assert_eq!(end.errors, "");
    let objects: Vec<serde_json::Value> = end
        .lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    let field = |index: usize, name: &str| objects[index][name].as_str();
    assert_eq!(field(0, "kind"), Some("notice"));
    assert_eq!(field(1, "kind"), Some("message"));
    assert_eq!(field(1, "name"), Some("Bob"));
    assert_eq!(field(1, "text"), Some("\"q\" ?[31m"));
    assert_eq!((field(2, "kind"), field(2, "name")), (Some("notice"), None));
    assert!(objects[2]["name"].is_null());
    assert_eq!(field(3, "name"), Some("小明"));
    assert_eq!(field(4, "kind"), Some("status"));
    for (line, object) in end.lines.iter().zip(&objects) {
        let time = object["time"].as_str().expect("a time");
        assert!(time.len() >= 20 && time.ends_with('Z'), "{time}");
        assert!(line.starts_with("{\"time\":"), "{line}");
    }
}

#[test]
fn nothing_that_arrives_reaches_the_output_raw() {
    let (mut relay, mut chat) = welcomed(&["--stay"]);
    relay.send(b"Eve : \x1b[2J\x07\x08\xff\xc2\x9b31m\xe2\x80\xae\r");
    let line = chat.wait_for(|line| line.starts_with("Eve"));
    assert_eq!(line, "Eve : ?[2J??\u{fffd}\u{fffd}31m\u{fffd}");
    chat.signal(Signal::SIGINT);
    relay.expect("/quit");
}

#[test]
fn colours_come_when_they_are_asked_for() {
    for (options, is_coloured) in [(&[][..], false), (&["--color", "always"], true)] {
        let (relay, mut chat) = welcomed(options);
        relay.send("Bob : hi");
        let line = chat.wait_for(|line| line.contains("hi"));
        assert_eq!(line.contains('\x1b'), is_coloured, "{line:?}");
        assert!(line.ends_with("hi") || is_coloured);
    }
}

#[test]
fn the_time_stands_before_each_line() {
    let (relay, mut chat) = welcomed(&["--time"]);
    relay.send("Bob : hi");
    let line = chat.wait_for(|line| line.ends_with(" Bob : hi"));
    let time = line.strip_suffix(" Bob : hi").expect("the line ends so");
    let is_time = time.len() == 8
        && time.bytes().enumerate().all(|(at, byte)| {
            if at % 3 == 2 {
                byte == b':'
            } else {
                byte.is_ascii_digit()
            }
        });
    assert!(is_time, "{line}");
}

#[test]
fn long_text_is_split_between_characters() {
    let (mut relay, mut chat) = welcomed(&[]);
    for character in ["x", "é", "小", "😀"] {
        for shift in 0..4 {
            let text = "y".repeat(shift) + &character.repeat(2500 / character.len());
            chat.write(format!("{text}\n"));
            let mut joined = String::new();
            while joined.len() < text.len() {
                let piece = relay.receive(Duration::from_secs(5)).expect("a piece");
                assert!("Ada : ".len() + piece.len() <= 960);
                joined.push_str(&piece);
            }
            assert_eq!(joined, text);
        }
    }
}

#[test]
fn a_closed_output_ends_it() {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let mut chat = Command::new(PROGRAM)
        .args(["chat", &host, "--name", "Ada", "--plain", "--stay"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts");
    relay.welcome("Ada");
    // closes the pipe after one line, as `head -1` does; the relay sends nothing more that could
    // not be written
    let mut line = String::new();
    BufReader::new(chat.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("UTF-8");
    assert!(line.contains("welcome"));
    relay.expect("/quit");
    relay.send("* bye");
    let output = chat.wait_with_output().expect("it was started");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_a_failure() {
    for options in [&[][..], &["--json"]] {
        let mut relay = ScriptedRelay::bind("127.0.0.1");
        let host = relay.address().to_string();
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("a device that is always full");
        let chat = Command::new(PROGRAM)
            .args(["chat", &host, "--name", "Ada", "--plain", "--stay"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client starts");
        relay.welcome("Ada");
        relay.expect("/quit");
        relay.send("* bye");
        let output = chat.wait_with_output().expect("it was started");
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            errors.starts_with("kilochat: standard output: "),
            "{errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn a_classic_server_gets_what_was_read_and_nothing_else() {
    let mut server = ScriptedRelay::bind("127.0.0.1");
    let host = server.address().to_string();
    let mut chat = ChatProgram::start(PROGRAM, &[&host, "--name", "Ada", "--classic"]);
    chat.write("/one\n");
    server.expect("Ada");
    server.expect("/one");
    server.send("Bob : hi");
    chat.wait_for(|line| line == "Bob : hi");
    server.expect_silence(Duration::from_secs(21));
    chat.close_input();
    assert_eq!(chat.finish().code, Some(0));
    server.expect_silence(Duration::from_millis(10));
}

#[test]
fn a_welcome_is_kept_alive_after_20_seconds() {
    let (mut relay, chat) = welcomed(&["--stay"]);
    relay.expect_silence(Duration::from_secs(15));
    relay.expect("");
    relay.expect("/nick Ada");
    relay.send("* you are Ada already");
    chat.signal(Signal::SIGTERM);
    relay.expect("/quit");
}

#[test]
fn a_relay_that_stops_gets_the_lines_when_it_is_back() {
    let (relay, mut chat) = welcomed(&[]);
    relay.send("* relay is stopping");
    chat.wait_for(|line| line == "* relay is stopping");
    let stopped = relay.stop();
    chat.write("typed meanwhile\n");
    std::thread::sleep(Duration::from_millis(1200));
    let mut relay = stopped.start();
    relay.expect("/nick Ada");
    relay.send("* welcome Ada: 1 here (Ada); /help lists commands");
    relay.expect("typed meanwhile");
    chat.close_input();
    relay.expect("/quit");
    relay.send("* bye");
    let end = chat.finish();
    assert_eq!(end.code, Some(0));
    assert!(end.errors.contains("joined again as Ada"), "{}", end.errors);
}

#[test]
fn a_relay_that_is_killed_gets_the_line_when_it_is_back() {
    let (relay, mut chat) = welcomed(&[]);
    let stopped = relay.stop();
    chat.write("into the void\n");
    std::thread::sleep(MOMENT);
    let mut relay = stopped.start();
    relay.expect("/nick Ada");
    relay.send("* welcome Ada: 1 here (Ada); /help lists commands");
    relay.expect("into the void");
    chat.signal(Signal::SIGTERM);
    relay.expect("/quit");
    let end = chat.finish();
    assert!(end.errors.contains("connection refused"), "{}", end.errors);
}

#[test]
fn a_line_taken_for_a_name_is_said_again() {
    let (mut relay, mut chat) = welcomed(&[]);
    chat.write("good morning\n");
    relay.expect("good morning");
    relay.send(
        "* welcome good morning: 1 here (good morning); /help lists commands \
         (not your name? /nick NAME, then say it again)",
    );
    relay.expect("/nick Ada");
    relay.send("* you are now Ada");
    relay.expect("good morning");
    chat.write("and you?\n");
    relay.expect("and you?");
}

#[test]
fn a_flood_waits_for_answers_and_arrives_whole() {
    // a relay accepts 48 lines at once, and then 10 a second
    const LINES: usize = 100;
    let (mut relay, mut chat) = welcomed(&[]);
    let text: String = (0..LINES).map(|number| format!("{number}\n")).collect();
    let writer = std::thread::spawn(move || {
        chat.write(text);
        chat.close_input();
        chat.finish()
    });
    let (mut lines, mut unanswered, mut most) = (Vec::new(), 0, 0);
    loop {
        let text = relay.receive(Duration::from_secs(5)).expect("more to come");
        match text.as_str() {
            "/quit" => break,
            "/nick Ada" => {
                // as slow as a relay on a busy machine
                std::thread::sleep(Duration::from_millis(20));
                relay.send("* you are Ada already");
                unanswered = 0;
            }
            _ => {
                lines.push(text);
                unanswered += 1;
                most = most.max(unanswered);
            }
        }
    }
    relay.send("* bye");
    assert!(
        lines
            .iter()
            .enumerate()
            .all(|(number, line)| *line == number.to_string())
    );
    assert_eq!(lines.len(), LINES);
    assert!(most <= 64, "{most} lines without a question");
    let end = writer.join().expect("no panic");
    assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
    assert_eq!(end.lines.len(), 2, "answers to questions are not shown");
}

//! The relay as a person starts, uses and stops it: a real process on real sockets.
#![cfg(unix)]

use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use kilochat_tests::{PlainPeer, RelayProgram};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// Runs the program to its end.
fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn peers_of_both_families_share_a_room() {
    let relay = RelayProgram::start(PROGRAM, &[]);
    let mut ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    let mut bob = PlainPeer::join(relay.at("::1"), "Bob\n");
    ada.wait_for(|line| line == "* Bob joined");
    ada.say("你好");
    bob.wait_for(|line| line == "Ada : 你好");
    assert!(
        bob.received
            .iter()
            .all(|datagram| datagram.ends_with(b"\n"))
    );
    bob.say("hi\n");
    ada.wait_for(|line| line == "Bob : hi");
    assert!(
        ada.received
            .iter()
            .all(|datagram| !datagram.ends_with(b"\n"))
    );
}

#[test]
fn the_first_lines_tell_how_to_join() {
    let mut child = Command::new(PROGRAM)
        .args(["relay", "--bind", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    let first = line();
    let address = first
        .strip_prefix("listening on ")
        .expect("an address")
        .to_owned();
    assert!(line().starts_with("only this machine"));
    assert_eq!(line(), format!("    {PROGRAM} chat {address}"));
    assert!(line().starts_with(&format!(
        "    nc -u 127.0.0.1 {}",
        &address["127.0.0.1:".len()..]
    )));
    child.kill().expect("it runs");
    child.wait().expect("it was started");
}

#[test]
fn both_signals_to_end_say_goodbye_and_exit_0() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut relay = RelayProgram::start(PROGRAM, &[]);
        let mut ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
        let start = Instant::now();
        relay.signal(signal);
        ada.wait_for(|line| line == "* relay is stopping");
        assert_eq!(relay.wait().code(), Some(0));
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
    }
}

#[test]
fn an_echoing_relay_gives_a_lone_peer_its_own_lines() {
    let relay = RelayProgram::start(PROGRAM, &["--echo"]);
    let mut ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    for number in 0..10 {
        ada.say(format!("{number}"));
        ada.wait_for(|line| line == format!("Ada : {number}"));
    }
    assert_eq!(ada.lines().len(), 11);
}

#[test]
fn a_classic_relay_ends_without_a_word() {
    let mut relay = RelayProgram::start(PROGRAM, &["--classic"]);
    let mut ada = PlainPeer::new(relay.at("127.0.0.1"));
    ada.say("Ada");
    let bob = PlainPeer::new(relay.at("127.0.0.1"));
    bob.say("Bob");
    bob.say("last words");
    ada.wait_for(|line| line == "Bob : last words");
    relay.signal(Signal::SIGTERM);
    assert_eq!(relay.wait().code(), Some(0));
    assert_eq!(ada.receive(Duration::from_millis(100)), None);
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = run(&["relay", "--bind", &address]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains(&address) && stderr.contains("--port"),
        "{stderr}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn an_address_of_another_machine_is_told() {
    let output = run(&["relay", "--bind", "192.0.2.99:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no such address"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
#[cfg(not(feature = "link"))]
fn a_program_without_links_between_relays_says_how_to_get_one() {
    for arguments in [
        &["relay", "--port", "0", "--link", "nats://hub"][..],
        &["history", "nats://hub"],
        &["history", "tls://hub:4222"],
    ] {
        let output = run(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let command = "cargo install --path host --features link";
        assert!(stderr.contains(command), "{stderr}");
    }
}

#[test]
fn invalid_options_exit_with_2() {
    let long = "x".repeat(161);
    for arguments in [
        &["relay", "--bind", "nonsense"][..],
        &["relay", "--seats", "0"],
        &["relay", "--seats", "4097"],
        &["relay", "--port", "65536"],
        &["relay", "--motd", &long],
        &["relay", "--no-such-option"],
        &["no-such-command"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn options_are_environment_variables_too() {
    let relay = RelayProgram::spawn(
        Command::new(PROGRAM)
            .arg("relay")
            .env("KILOCHAT_BIND", "127.0.0.1:0")
            .env("KILOCHAT_MOTD", "mind the gap")
            .env("KILOCHAT_SEATS", "1")
            .env("KILOCHAT_ECHO", "1")
            .env("KILOCHAT_CLASSIC", "no")
            .env("KILOCHAT_PORT", "")
            .env("KILOCHAT_LOG_FORMAT", "")
            .env("KILOCHAT_QUIET", "0")
            .env("KILOCHAT_VERBOSE", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut ada = PlainPeer::new(relay.address);
    ada.say("Ada");
    ada.wait_for(|line| line.contains("; mind the gap; "));
    ada.say("echo?");
    ada.wait_for(|line| line == "Ada : echo?");
    let mut bob = PlainPeer::new(relay.address);
    bob.say("Bob");
    bob.wait_for(|line| line == "* full: 1 of 1 seats taken");
}

#[test]
fn help_teaches_with_examples() {
    for (arguments, wanted) in [
        (&["--help"][..], "nc -u"),
        (&["relay", "--help"], "Examples:"),
        (&["chat", "--help"], "Examples:"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains(wanted), "{arguments:?}");
    }
}

#[test]
fn help_fills_the_terminal_and_breaks_no_line_by_hand() {
    for command in ["", "relay", "chat", "send", "ping"] {
        for width in [80, 120] {
            let mut program = Command::new(PROGRAM);
            program.args([command, "--help"].iter().filter(|word| !word.is_empty()));
            let output = program.env("COLUMNS", width.to_string()).output();
            let help = text(&output.expect("it starts").stdout);
            let lines: Vec<&str> = help.lines().collect();
            assert!(lines.iter().all(|line| line.len() <= width), "{help}");
            for pair in lines.windows(2) {
                let [line, next] = pair else { unreachable!() };
                let word = next.split(' ').next().unwrap_or_default();
                let is_paragraph = !line.ends_with(':') && !line.is_empty() && !word.is_empty();
                if is_paragraph && !line.starts_with(' ') {
                    let would_fit = line.len() + 1 + word.len() <= width.min(100);
                    assert!(!would_fit, "broken by hand: {line}\n{next}");
                }
            }
        }
    }
}

#[test]
fn it_relays_with_nobody_to_log_to() {
    let mut child = Command::new("sh")
        .args([
            "-c",
            "exec \"$0\" relay --bind 127.0.0.1:0 --verbose 2>&-",
            PROGRAM,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("text");
    drop(stdout);
    let address = line["listening on ".len()..]
        .trim()
        .parse()
        .expect("an address");
    let mut ada = PlainPeer::join(address, "Ada");
    let mut bob = PlainPeer::join(address, "Bob");
    bob.say("anybody?");
    ada.wait_for(|line| line == "Bob : anybody?");
    bob.synchronize();
    child.kill().expect("it still runs");
    child.wait().expect("it was started");
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    // the pipe is never read, so the writer blocks after 64 KiB
    let mut child = Command::new(PROGRAM)
        .args(["relay", "--bind", "127.0.0.1:0", "--verbose", "--rate", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("text");
    let address = line["listening on ".len()..]
        .trim()
        .parse()
        .expect("an address");
    let mut ada = PlainPeer::join(address, "Ada");
    let bob = PlainPeer::join(address, "Bob");
    for number in 0..5000 {
        bob.say(format!("{number}"));
        ada.wait_for(|line| line == format!("Bob : {number}"));
    }
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("an id"));
    nix::sys::signal::kill(id, Signal::SIGTERM).expect("it runs");
    assert_eq!(child.wait().expect("it was started").code(), Some(0));
    let mut log = Vec::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_end(&mut log)
        .expect("a pipe");
    assert!(
        log.len() < 1 << 20,
        "the log was not blocked: {} bytes",
        log.len()
    );
}

#[test]
#[cfg(all(target_os = "linux", not(feature = "std-sockets")))]
fn a_peer_that_vanishes_harms_nobody_and_is_missed() {
    let mut relay = RelayProgram::start(PROGRAM, &[]);
    let ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    let mut bob = PlainPeer::join(relay.at("127.0.0.1"), "Bob");
    let host = relay.at("127.0.0.1").to_string();
    let options = [&host, "--name", "Cyd", "--stay", "--plain"];
    let mut cyd = kilochat_tests::ChatProgram::start(PROGRAM, &options);
    cyd.wait_for(|line| line.starts_with("* welcome Cyd"));
    drop(cyd); // kill -9
    drop(PlainPeer::join(relay.at("::1"), "Dan"));
    let start = Instant::now();
    let mut said = 0;
    let mut left = 0;
    while left < 2 {
        assert!(
            start.elapsed() < Duration::from_secs(40),
            "they do not leave"
        );
        ada.say(format!("{said}"));
        let line = bob.wait_for(|line| line.starts_with("Ada : ") || line.contains(" left "));
        assert!(
            line == format!("Ada : {said}") || line.ends_with(" left (unreachable)"),
            "{line}"
        );
        said += 1;
        let lines = bob.lines();
        left = lines
            .iter()
            .filter(|line| line.ends_with(" left (unreachable)"))
            .count();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        start.elapsed() >= Duration::from_secs(19),
        "three reports, 10 s apart"
    );
    bob.synchronize();
    let heard: Vec<String> = bob
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("Ada"))
        .collect();
    let expected: Vec<String> = (0..said).map(|number| format!("Ada : {number}")).collect();
    assert_eq!(heard, expected);
    let counts = relay.statistics();
    assert_eq!(
        (counts["left"], counts["peers"], counts["missed"]),
        (2, 2, 0)
    );
    assert!(counts["unreachable"] >= 6, "{counts:?}");
}

#[test]
fn a_flood_of_refusals_does_not_fill_the_log() {
    let mut relay = RelayProgram::start(PROGRAM, &[]);
    let mut ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    let stranger = PlainPeer::new(relay.at("127.0.0.1"));
    let start = Instant::now();
    for _ in 0..100 {
        (0..50).for_each(|_| stranger.say(" "));
        ada.synchronize();
    }
    std::thread::sleep(Duration::from_millis(1100));
    ada.say("\u{1}");
    let seconds = start.elapsed().as_secs() + 1;
    let mut logged = 0;
    let left_out = relay.wait_for_log(|line| {
        logged += u64::from(line.contains("refused"));
        line.contains("not logged")
    });
    assert!(logged <= 50 * seconds, "{logged} lines in {seconds} s");
    assert!(left_out.contains("\"events\":"), "{left_out}");
    assert_eq!(relay.statistics()["refused_blank"], 5000);
}

#[test]
fn sighup_ends_no_daemon() {
    // this process handles SIGHUP, so programs that it starts have the default action, even under
    // nohup
    signal_hook::flag::register(Signal::SIGHUP as i32, Arc::default()).expect("a signal");
    let mut relay = RelayProgram::start(PROGRAM, &[]);
    let mut ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    relay.signal(Signal::SIGHUP);
    relay.wait_for_log(|line| line.contains("the rules were read again"));
    ada.synchronize();
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" relay --port 0", PROGRAM]);
    let relay = RelayProgram::spawn(nohup.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut bob = PlainPeer::join(relay.at("127.0.0.1"), "Bob");
    relay.signal(Signal::SIGHUP);
    bob.synchronize();
}

#[test]
#[ignore = "needs OpenBSD netcat: apt-get install netcat-openbsd"]
fn netcat_chats_on_any_loopback_address() {
    let relay = RelayProgram::start(PROGRAM, &[]);
    let mut ada = PlainPeer::join(relay.at("127.0.0.1"), "Ada");
    let mut netcat = Command::new("nc")
        .args(["-u", "127.0.0.2", &relay.address.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("needs OpenBSD netcat: apt-get install netcat-openbsd");
    let mut input = netcat.stdin.take().expect("piped");
    let mut output = BufReader::new(netcat.stdout.take().expect("piped")).lines();
    let mut read = || output.next().expect("a line").expect("text");
    input.write_all("小明\n".as_bytes()).expect("netcat reads");
    ada.wait_for(|line| line == "* 小明 joined");
    assert_eq!(
        read(),
        "* welcome 小明: 2 here (Ada, 小明); /help lists commands"
    );
    input
        .write_all("大家好\n".as_bytes())
        .expect("netcat reads");
    ada.wait_for(|line| line == "小明 : 大家好");
    ada.say("one");
    assert_eq!(read(), "Ada : one");
    ada.say("two");
    assert_eq!(read(), "Ada : two");
    input.write_all(b"/who\n").expect("netcat reads");
    assert_eq!(read(), "* 2 here: Ada, 小明");
    netcat.kill().expect("it runs");
    netcat.wait().expect("it was started");
}

#[cfg(not(feature = "link"))]
#[test]
fn a_program_without_links_has_nothing_of_the_link() {
    let program = std::fs::read(PROGRAM).expect("a file");
    let program = String::from_utf8_lossy(&program);
    for part in [
        "async_nats",
        "tokio",
        "JetStream",
        "linked places",
        "link-replicas",
        "poll_link",
    ] {
        assert!(!program.contains(part), "{part} is in the program");
    }
}

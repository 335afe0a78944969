//! Two chat clients on the Python server that the protocol comes from, unmodified.
#![cfg(target_os = "linux")]

use core::time::Duration;
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use kilochat_tests::{ChatProgram, PATIENCE};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// The Python server. Its port is fixed, so it has a loopback address of its own.
struct Seed {
    child: Child,
    ip: String,
}

impl Seed {
    fn start(ip: &str) -> Self {
        const NEEDED: &str = "needs Python 3 and the Python programs that the protocol comes from: \
                              set KILOCHAT_SEED to their folder";
        let folder = std::env::var("KILOCHAT_SEED").expect(NEEDED);
        let script = Path::new(&folder).join("server_final.py");
        assert!(script.exists(), "{NEEDED}");
        let mut child = Command::new("python3")
            .arg("-u")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect(NEEDED);
        let mut input = child.stdin.take().expect("piped");
        writeln!(input, "{ip}").expect("the client asks for an address");
        let deadline = Instant::now() + PATIENCE;
        // it listens as soon as the port is taken
        while let Ok(socket) = UdpSocket::bind((ip, 10888)) {
            drop(socket);
            assert!(Instant::now() < deadline, "the server does not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        let taken = UdpSocket::bind((ip, 10888)).expect_err("it is taken");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        Self {
            child,
            ip: ip.into(),
        }
    }

    fn join(&self, name: &str, options: &[&str]) -> ChatProgram {
        let arguments = [&[self.ip.as_str(), "--name", name, "--classic"], options].concat();
        ChatProgram::start(PROGRAM, &arguments)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        // it runs until it is killed
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a loopback address that no other run of this test uses.
fn own_address(last: u8) -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{low}.{last}", high.max(1))
}

#[test]
#[ignore = "needs Python 3 and the Python programs that the protocol comes from: set KILOCHAT_SEED to their folder"]
fn both_ends_of_the_python_server() {
    let server = Seed::start(&own_address(1));
    let mut ada = server.join("Ada", &[]);
    let mut bob = server.join("小明", &[]);
    // the server announces no joins: give both clients time to join
    std::thread::sleep(Duration::from_secs(1));
    ada.write("hello 小明 😀\n/who\n");
    bob.wait_for(|line| line == "Ada : hello 小明 😀");
    bob.wait_for(|line| line == "Ada : /who");
    bob.write("你好\n");
    ada.wait_for(|line| line == "小明 : 你好");
    let long = "长".repeat(900);
    ada.write(format!("{long}\n"));
    let mut heard = String::new();
    while heard.len() < long.len() {
        let line = bob.wait_for(|line| line.starts_with("Ada : 长"));
        heard.push_str(line.strip_prefix("Ada : ").expect("the line starts so"));
    }
    assert_eq!(heard, long);
    // no keepalive and no command is sent in a long silence: the server would relay them
    std::thread::sleep(Duration::from_secs(21));
    ada.write("last\n");
    ada.close_input();
    bob.wait_for(|line| line == "Ada : last");
    assert_eq!(ada.finish().code, Some(0));
    bob.close_input();
    let end = bob.finish();
    assert_eq!(end.code, Some(0));
    assert!(
        end.lines
            .iter()
            .all(|line| *line != "Ada : " && !line.contains("/quit"))
    );
    assert_eq!(end.lines.len(), 6, "{:#?}", end.lines);
}

#[test]
#[ignore = "needs Python 3 and the Python programs that the protocol comes from: set KILOCHAT_SEED to their folder"]
fn a_restart_of_the_python_server_loses_no_line() {
    let ip = own_address(2);
    let server = Seed::start(&ip);
    let mut ada = server.join("Ada", &[]);
    let mut bob = server.join("Bob", &[]);
    std::thread::sleep(Duration::from_secs(6));
    drop(server);
    bob.write("are you there?\n");
    std::thread::sleep(Duration::from_millis(100));
    let server = Seed::start(&ip);
    std::thread::sleep(Duration::from_secs(2));
    let mut eve = server.join("Eve", &[]);
    std::thread::sleep(Duration::from_secs(1));
    bob.write("hello\n");
    eve.wait_for(|line| line == "Bob : hello");
    ada.close_input();
    assert_eq!(ada.finish().code, Some(0));
}

#[test]
#[ignore = "needs Python 3 and the Python programs that the protocol comes from: set KILOCHAT_SEED to their folder"]
fn a_client_that_tries_frames_at_the_python_server_is_not_heard() {
    let server = Seed::start(&own_address(3));
    let mut ada = server.join("Ada", &[]);
    let mut bob = server.join("Bob", &[]);
    std::thread::sleep(Duration::from_secs(1));
    let mut eve = ChatProgram::start(PROGRAM, &[&server.ip, "--name", "Eve"]);
    eve.write("hello\n");
    // the server has taken her frames for names of further peers, and sends lines to them, too
    std::thread::sleep(Duration::from_secs(2));
    bob.write("is anybody there?\n");
    ada.wait_for(|line| line == "Bob : is anybody there?");
    let end = eve.finish();
    assert_eq!(end.code, Some(1));
    assert!(
        end.errors.contains("no welcome within 5 s"),
        "{}",
        end.errors
    );
    assert!(end.errors.contains("1 line was not sent"), "{}", end.errors);
    bob.write("last\n");
    ada.wait_for(|line| line == "Bob : last");
    assert_eq!(ada.lines, ["Bob : is anybody there?", "Bob : last"]);
}

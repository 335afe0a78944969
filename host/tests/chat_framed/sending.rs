//! `kilochat send`: what has arrived when it ends, and its messages if something has not.

use core::time::Duration;
use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::proxy::Faults;
use kilochat_tests::{PATIENCE, RelayProgram};

use super::{PROGRAM, any_port, join, relay, slow};

/// Runs `kilochat send` with `input`. Returns its exit code and standard error.
fn send(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = Command::new(PROGRAM)
        .arg("send")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // fails if the program does not read its input
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it was started");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code(), errors)
}

#[test]
fn what_a_script_sends_has_arrived_when_it_ends() {
    let relay = relay();
    let proxy = slow(relay.address, Faults::HARSH);
    let mut bob = join(relay.address, "Bob", &[]);
    let host = proxy.address().to_string();
    let told = send(
        &[&host, "--name", "cron", "backup", "/done", "--", "-v"],
        "",
    );
    assert_eq!(told, (Some(0), String::new()));
    bob.wait_for(|line| line == "cron : backup /done -v");
    let told = send(
        &[&host, "--name", "disk"],
        "/dev/sda1 93%\n\n/dev/sdb1 7%\n",
    );
    assert_eq!(told, (Some(0), "kilochat: 1 blank line not sent\n".into()));
    bob.wait_for(|line| line == "disk : /dev/sda1 93%");
    bob.wait_for(|line| line == "disk : /dev/sdb1 7%");
    let told = send(&[&host, "--name", "df", "-", "/ 93%\r\n\n/boot 7%\n"], "");
    assert_eq!(told, (Some(0), String::new()));
    bob.wait_for(|line| line == "df : - / 93%");
    bob.wait_for(|line| line == "df : /boot 7%");
}

#[test]
fn what_a_script_sends_without_frames_is_not_confirmed() {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0", "--classic"]);
    let host = relay.address.to_string();
    let bob = UdpSocket::bind(any_port()).expect("a free port");
    bob.set_read_timeout(Some(PATIENCE)).expect("not zero");
    bob.send_to(b"Bob", relay.address).expect("loopback");
    let begun = Instant::now();
    let (code, errors) = send(&[&host, "--name", "cron", "hi"], "");
    let took = begun.elapsed();
    assert_eq!(code, Some(1));
    assert!(errors.contains("--plain sends unconfirmed"), "{errors}");
    assert!(
        took >= Duration::from_secs(3) && took < Duration::from_secs(6),
        "{took:?}"
    );
    let unconfirmed = "kilochat: sent, unconfirmed: without frames nobody knows what arrived\n";
    let told = send(&[&host, "--name", "cron", "--classic", "hi"], "");
    assert_eq!(told, (Some(0), unconfirmed.into()));
    let mut buffer = [0; 1024];
    let (length, _) = bob.recv_from(&mut buffer).expect("a line");
    assert_eq!(&buffer[..length], b"cron : hi");

    let relay = super::relay();
    let mut bob = join(relay.address, "Bob", &[]);
    let told = send(
        &[
            &relay.address.to_string(),
            "--name",
            "cron",
            "--plain",
            "/hi",
        ],
        "",
    );
    assert_eq!(told, (Some(0), unconfirmed.into()));
    bob.wait_for(|line| line == "cron : /hi");
}

#[test]
fn what_a_script_cannot_send_is_told() {
    let free = UdpSocket::bind(any_port()).expect("a free port");
    let host = free.local_addr().expect("it is bound").to_string();
    drop(free);
    let (code, errors) = send(&[&host, "--name", "cron", "hi"], "");
    assert_eq!(code, Some(1));
    assert!(errors.contains("connection refused"), "{errors}");
    let host = host.as_str();
    for arguments in [
        &[host, "--name", "cron", " "][..],
        &[host, "--name", " ", "hi"],
        &[host, "hi"],
    ] {
        assert_eq!(send(arguments, "").0, Some(2), "{arguments:?}");
    }
}

#[test]
fn an_input_that_is_empty_or_cannot_be_read_is_told() {
    let relay = relay();
    let host = relay.address.to_string();
    let empty = "kilochat: standard input is empty: nothing was sent\n";
    let told = send(&[&host, "--name", "cron"], "");
    assert_eq!(told, (Some(1), empty.into()));
    for command in ["send", "chat"] {
        let mut program = Command::new(PROGRAM);
        program.args([command, &host, "--name", "cron"]);
        let folder = std::fs::File::open(std::env::temp_dir()).expect("a folder");
        let output = program.stdin(folder).output().expect("it starts");
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.starts_with("kilochat: standard input: "), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

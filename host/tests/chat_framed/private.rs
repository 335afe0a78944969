//! Messages to one peer: with a framed client, a plain one and netcat.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use kilochat_tests::PlainPeer;

use super::{join, object, relay};

// [M1] [M3]
#[test]
#[ignore = "needs OpenBSD netcat: apt-get install netcat-openbsd"]
fn a_message_to_one_peer_reaches_it_in_any_dialect_and_nobody_else() {
    let relay = relay();
    let mut netcat = Command::new("nc")
        .args(["-u", "127.0.0.1", &relay.address.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("needs OpenBSD netcat: apt-get install netcat-openbsd");
    let mut input = netcat.stdin.take().expect("piped");
    let mut output = BufReader::new(netcat.stdout.take().expect("piped")).lines();
    let mut read = || output.next().expect("a line").expect("text");
    input.write_all(b"Bob\n").expect("netcat reads");
    assert!(read().starts_with("* welcome Bob"));
    let mut ada = join(relay.address, "Ada", &["--json", "--stay"]);
    let mut cleo = join(relay.address, "Cleo", &["--json", "--stay", "--plain"]);
    let mut others = ["Eve", "Dan"].map(|name| {
        let plain: &[&str] = if name == "Dan" { &["--plain"] } else { &[] };
        join(
            relay.address,
            name,
            &[plain, &["--json", "--stay"]].concat(),
        )
    });
    let mut plain = PlainPeer::join(relay.address, "Fay");
    let is_private = |line: &str, name: &str, text: &str| {
        let line = object(line);
        line["kind"] == "private" && line["name"] == name && line["text"] == text
    };
    // what a program writes is text, so nobody but netcat and the plain peer uses the command here
    plain.say("/msg Bob a secret: one");
    plain.wait_for(|line| line == "* to Bob: a secret: one");
    // an answer may overtake a line
    while read() != "* Fay to you: a secret: one" {}
    let mut netcat_says = |line: &str| input.write_all(line.as_bytes()).expect("netcat reads");
    netcat_says("/msg ada a secret: two\n");
    ada.wait_for(|line| is_private(line, "Bob", "a secret: two"));
    netcat_says("/msg Cleo a secret: three\n");
    cleo.wait_for(|line| is_private(line, "Bob", "a secret: three"));
    // whoever was meant reads it in the order of the room, and everybody reads the end
    netcat_says("the end\n");
    let heard: Vec<String> = core::iter::repeat_with(&mut read)
        .take_while(|line| !line.contains("to Cleo: a secret: three"))
        .collect();
    let secrets: Vec<&String> = heard.iter().filter(|it| it.contains("secret")).collect();
    assert_eq!(secrets, ["* to Ada: a secret: two"], "{heard:#?}");
    let told = |lines: &[String]| lines.iter().filter(|line| line.contains("secret")).count();
    assert_eq!((told(&ada.lines), told(&cleo.lines)), (1, 1));
    for other in &mut others {
        other.wait_for(|line| line.contains("the end"));
        assert!(
            !other.lines.concat().contains("secret"),
            "{:#?}",
            other.lines
        );
    }
    plain.wait_for(|line| line == "Bob : the end");
    assert_eq!(told(&plain.lines()), 1); // the answer
    // and it is no history
    let mut late = join(relay.address, "Guy", &["--json", "--stay"]);
    late.wait_for(|line| line.contains("the end"));
    assert!(!late.lines.concat().contains("secret"), "{:#?}", late.lines);
    netcat.kill().expect("it runs");
    netcat.wait().expect("it was started");
}

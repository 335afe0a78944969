//! `kilochat history` on the stream of linked relays.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::servers::{PROGRAM, Place, Server, history};

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn what_was_said_is_read_without_a_relay_and_filtered() {
    let server = Server::new();
    let mut boat = Place::new(&server.url(), "boat", "Ada");
    let mut harbour = Place::new(&server.url(), "harbour", "Bob");
    boat.say(0..20);
    harbour.numbers("Ada@boat", 19);
    harbour.peer.say("The ferry is late");
    boat.wait_for(|line| line == "Bob@harbour : The ferry is late");
    drop((boat, harbour));
    let url = server.url();
    let all = history(&url, &[]);
    assert!(all.contains(" * at boat: Ada joined\n"), "{all}");
    let said: Vec<&str> = all
        .lines()
        .filter_map(|line| Some(line.split_once(" Ada@boat : ")?.1))
        .collect();
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(said, expected);
    for (arguments, lines) in [
        (&["--place", "harbour", "--name", "bob"][..], 1),
        (&["--grep", "FERRY"], 1),
        (&["--grep", "ferry", "--place", "boat"], 0),
        (&["--last", "3"], 3),
        (&["--name", "Ada", "--last", "5"], 5),
        (&["--since", "1h", "--name", "Ada"], 20),
        (&["--since", "2099-01-01"], 0),
    ] {
        let found = history(&url, arguments);
        assert_eq!(found.lines().count(), lines, "{arguments:?}: {found}");
    }
    let json = history(&url, &["--json", "--grep", "ferry"]);
    assert!(json.contains(r#""kind":"message""#), "{json}");
    assert!(json.contains(r#""name":"Bob","text":"The ferry is late","place":"harbour"}"#));
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn what_is_said_from_now_on_is_followed() {
    let server = Server::new();
    let boat = Place::new(&server.url(), "boat", "Ada");
    boat.say(0..3);
    let mut follower = Command::new(PROGRAM)
        .args(["history", &server.url(), "--follow", "--last", "1"])
        .args(["--name", "Ada"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    let first = next();
    assert!(first.contains(" Ada@boat : "), "{first}");
    boat.say(70..73);
    while !next().ends_with("Ada@boat : 72") {}
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_room_that_is_not_there_and_a_server_that_is_not_there_are_told() {
    let mut server = Server::new();
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let url = server.url();
    let (code, told) = run(&["history", &url, "--room", "empty"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("there is no room empty"), "{told}");
    server.kill();
    let (code, told) = run(&["history", &url]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(&format!("cannot reach {url}")), "{told}");
    let (code, told) = run(&["history", "nats://ada:secret@hub"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("--link-token-file"), "{told}");
}

//! Finding relays: the client asks all networks.

use std::process::Command;
use std::time::Instant;

use kilochat_tests::lab::{Host, Lab, Link};
use kilochat_tests::namespace::{Namespace, ip, is_in_namespace};
use kilochat_tests::{PlainPeer, RelayProgram};

use super::terminal::{PROGRAM, Terminal};

/// Runs the program on a host. Returns its exit code and its output.
fn output(host: &Host, arguments: &[&str]) -> (Option<i32>, String) {
    let output = host.run(|| Command::new(PROGRAM).args(arguments).output());
    let output = output.expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), text)
}

/// Starts a relay with a name on a host.
fn relay(host: &Host, name: &str) -> RelayProgram {
    host.run(|| RelayProgram::start(PROGRAM, &["--port", "10888", "--announce", name]))
}

/// Starts a chat with no argument except the name.
fn chat(host: &Host, columns: u16) -> Terminal {
    let command = [PROGRAM, "chat", "--name", "小明"];
    host.run(|| Terminal::start(columns, &command))
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn all_relays_of_all_networks_are_listed_once() {
    if !is_in_namespace("finding::all_relays_of_all_networks_are_listed_once") {
        return;
    }
    let lab = Lab::new();
    let _lab = lab.start(PROGRAM, &["--announce", "Lab 3"]);
    let [boat, near, far] = [(Link::A, 2), (Link::A, 3), (Link::B, 3)]
        .map(|(link, number)| Host::new(&lab, link, number));
    let _ada = lab.run(|| PlainPeer::join("127.0.0.1:10888".parse().expect("an address"), "Ada"));
    let _boat = relay(&boat, "boat");
    let (code, text) = output(&near, &["find"]);
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split(" (").next().expect("a part"))
        .collect();
    let lab_at = |link: Link| format!("Lab-3 at {}: 1 here", link.relay().ip());
    let boat_at = format!("boat at {}: nobody here", boat.address());
    assert_eq!(lines, [&lab_at(Link::A), &boat_at], "{text}");
    // all commands find the relay that is listed first
    let (code, text) = output(&far, &["ping"]);
    assert_eq!(code, Some(0));
    assert!(
        text.starts_with(&lab_at(Link::B)) && text.lines().count() == 1,
        "{text}"
    );
    let (code, text) = output(&far, &["find", "--json"]);
    let start = format!(
        r#"{{"address":"{}","here":1,"milliseconds":"#,
        Link::B.relay()
    );
    assert_eq!(code, Some(0));
    assert!(
        text.starts_with(&start) && text.contains(r#""name":"Lab-3""#),
        "{text}"
    );
    // only IPv6 addresses are left
    near.run(|| ip("-4 address flush dev eth0"));
    let (code, text) = output(&near, &["find"]);
    assert_eq!(code, Some(0));
    assert!(text.lines().all(|line| line.contains(" at f")), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    drop(_boat);
    let (_, text) = output(&near, &["find"]);
    let host = text
        .split(" at ")
        .nth(1)
        .and_then(|rest| rest.split(": 1").next());
    let host = host.expect("an address");
    let (code, text) = output(&near, &["send", host, "--name", "小明", "found"]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn where_there_is_no_relay_none_is_found_and_one_can_be_started() {
    if !is_in_namespace("finding::where_there_is_no_relay_none_is_found_and_one_can_be_started") {
        return;
    }
    let lab = Lab::new();
    let [first, second] = [2, 3].map(|number| Host::new(&lab, Link::A, number));
    first.run(|| ip("link set lo up"));
    assert_eq!(output(&second, &["find"]), (Some(1), String::new()));
    assert_eq!(output(&second, &["ping"]).0, Some(1));
    let alone = Namespace::new();
    let code = alone.run(|| Command::new(PROGRAM).arg("find").output());
    assert_eq!(code.expect("it starts").status.code(), Some(1));
    for columns in [80, 20] {
        let mut ada = chat(&first, columns);
        ada.wait_for("no relay on this");
        // a name is no address; it is asked again
        ada.press("小 明\r");
        ada.wait_for("write HOST");
        ada.press("\r");
        ada.wait_for("* welcome 小明");
        let mut bob = chat(&second, columns);
        bob.wait_for("* welcome 小明~2");
        bob.press("你好\r");
        ada.wait_for("小明~2 : 你好");
        // the relay that the chat has started ends with it
        ada.press("\x04");
        assert_eq!(ada.finish(), 0);
        bob.wait_for("relay is stopping");
        assert_eq!(output(&second, &["find"]).0, Some(1));
    }
    let mut ada = chat(&first, 80);
    ada.wait_for("no relay on this network. Enter starts one here, or type an address:");
    ada.press("\x03");
    assert_eq!(ada.finish(), 0);
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn one_relay_is_joined_and_of_several_one_is_chosen() {
    if !is_in_namespace("finding::one_relay_is_joined_and_of_several_one_is_chosen") {
        return;
    }
    let lab = Lab::new();
    let [first, second, third] = [2, 3, 4].map(|number| Host::new(&lab, Link::A, number));
    let _first = relay(&first, "boat");
    for columns in [80, 20] {
        let begun = Instant::now();
        let ada = chat(&third, columns);
        ada.wait_for("* welcome 小明");
        println!("in the room after {:?}", begun.elapsed());
        assert!(
            ada.rows().concat().starts_with("boat at 10."),
            "{:?}",
            ada.rows()
        );
    }
    let _second = relay(&second, "教室");
    let there = core::net::SocketAddr::new(second.address().into(), 10888);
    let _bob = first.run(|| PlainPeer::join(there, "Bob"));
    let answers = [
        ("\r", false),
        ("2\r", true),
        ("10.1.0.3\r", true),
        ("3\rmy boat\r2\r", true),
    ];
    for (keys, is_second) in answers {
        let mut ada = chat(&third, 80);
        ada.wait_for("Number of the relay, or an address [1]:");
        assert_eq!(ada.rows()[1], "2. 教室 at 10.1.0.3: 1 here");
        ada.press(keys);
        ada.wait_for("* welcome 小明");
        let shown = ada.rows().concat();
        assert_eq!(shown.contains("Bob"), is_second, "{shown}");
        ada.press("\x04");
        assert_eq!(ada.finish(), 0);
    }
}

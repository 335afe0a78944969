//! Messages to one peer, and their replies.

use std::time::Instant;

use kilochat_tests::{PATIENCE, PlainPeer, RelayProgram};

use super::people::SIZES;
use super::terminal::{PROGRAM, Terminal};

/// Waits until a text is on the screen, whatever its rows.
fn wait_for(terminal: &Terminal, text: &str) {
    let without_spaces = |text: &str| text.replace(' ', "");
    let deadline = Instant::now() + PATIENCE;
    while !without_spaces(&terminal.rows().concat()).contains(&without_spaces(text)) {
        assert!(
            Instant::now() < deadline,
            "no {text:?} in {:#?}",
            terminal.rows()
        );
        std::thread::sleep(core::time::Duration::from_millis(5));
    }
}

// [M1] [M6]
#[test]
fn a_message_to_one_peer_and_its_reply_are_shown_to_these_two() {
    for columns in SIZES {
        for plain in [true, false] {
            let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
            let mut bob = PlainPeer::join(relay.address, "Bob");
            let mut eve = PlainPeer::join(relay.address, "Eve");
            let host = relay.address.to_string();
            let mut command = vec![PROGRAM, "chat", &host, "--name", "小明"];
            command.extend(plain.then_some("--plain"));
            let mut terminal = Terminal::start(columns, &command);
            terminal.wait_for("* welcome");
            let other = Terminal::start(80, &[PROGRAM, "chat", &host, "--name", "小红"]);
            other.wait_for("* welcome");
            terminal.press("/reply x\r");
            wait_for(&terminal, "-- nobody has written to you alone");
            terminal.press("/msg b\t密码\r");
            wait_for(
                &terminal,
                "-- /msg is sent to one peer alone, but not encrypted",
            );
            wait_for(&terminal, "* to Bob: 密码");
            bob.wait_for(|heard| heard == "* 小明 to you: 密码");
            assert_eq!(terminal.bells(), 0);
            bob.say("/msg 小明 收到");
            wait_for(&terminal, "* Bob to you: 收到");
            assert_eq!(terminal.bells(), 1);
            terminal.press("\x0c/rep\t好的\r");
            bob.wait_for(|heard| heard == "* 小明 to you: 好的");
            wait_for(&terminal, "* to Bob: 好的");
            terminal.press("/msg 小李 x\r");
            wait_for(&terminal, "* nobody is called 小李");
            bob.say("the end");
            eve.wait_for(|heard| heard == "Bob : the end");
            other.wait_for("Bob : the end");
            let heard = eve.lines().join("\n") + &other.rows().concat();
            for secret in ["密码", "收到", "好的", "to you"] {
                assert!(!heard.contains(secret), "{heard}");
            }
        }
    }
}

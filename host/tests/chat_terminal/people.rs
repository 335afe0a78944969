//! Features that people expect of a chat: completion of names, the bell, the history.

use kilochat_tests::proxy::{Faults, Proxy};
use kilochat_tests::{PlainPeer, RelayProgram, ScriptedRelay};
use nix::sys::signal::Signal;

use super::terminal::{PROGRAM, Terminal};

pub(super) const SIZES: [u16; 2] = [80, 20];

/// Returns a terminal in a room with Bob and 小明, who have said something.
pub(super) fn in_a_room(columns: u16, options: &[&str]) -> (ScriptedRelay, Terminal) {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let host = relay.address().to_string();
    let command = [PROGRAM, "chat", &host, "--name", "王小明", "--plain"];
    let terminal = Terminal::start(columns, &[&command[..], options].concat());
    relay.welcome("王小明");
    relay.send("Bob : hi\n小明 : 早\n* Zoë joined");
    terminal.wait_for("* Zoë joined");
    (relay, terminal)
}

#[test]
fn tab_completes_names_and_commands() {
    for columns in SIZES {
        let (mut relay, mut terminal) = in_a_room(columns, &[]);
        for (keys, said) in [
            ("b\thow are you", "Bob: how are you"),
            ("小\t好", "小明: 好"),
            ("你好小\t", "你好小明 "),
            ("thanks, zo\t!", "thanks, Zoë !"),
            ("\t", ""),
            ("/w\tz\t", "/who Zoë "),
        ] {
            terminal.press(keys);
            terminal.expect_last(format!("> {said}").trim_end());
            terminal.press("\r");
            if !said.is_empty() {
                relay.expect(said);
            }
        }
        // the candidates one after the other, while the text after the cursor stays
        terminal.press("/qui!\x02\t");
        terminal.expect_last("> /quiet !");
        terminal.press("\t");
        terminal.expect_last("> /quit !");
        terminal.press("\t");
        terminal.expect_last("> /quiet !");
        // the name of a peer that has left is not completed; that of a renamed one is, in its new
        // form
        terminal.press("\x15\x0b");
        relay.send("* Bob left (quit)\n* Zoë is now Cleo");
        terminal.wait_for("is now Cleo");
        terminal.press("b\t");
        terminal.expect_last("> b");
        terminal.press("\x15c\t");
        terminal.expect_last("> Cleo:");
    }
}

#[test]
fn the_own_name_is_highlighted_and_rings_the_bell() {
    for columns in SIZES {
        for has_bell in [true, false] {
            let options: &[&str] = if has_bell { &[] } else { &["--no-bell"] };
            let (mut relay, mut terminal) = in_a_room(columns, options);
            assert_eq!(terminal.inverted(), [""; 0]);
            relay.send("Bob : 你好王小明吗\nBob : not 小明");
            terminal.wait_for("not 小明");
            assert_eq!(terminal.inverted(), ["王小明"]);
            assert_eq!(terminal.bells(), usize::from(has_bell));
            // neither the user's own lines nor notices highlight it
            terminal.press("王小明\r");
            relay.expect("王小明");
            relay.send("* 王小明 is away\nBob : end");
            terminal.wait_for("Bob : end");
            assert_eq!(terminal.inverted(), ["王小明"]);
            terminal.press("/nick Ada\r");
            relay.expect("/nick Ada");
            relay.send("* you are now Ada");
            terminal.wait_for("you are now Ada");
            relay.send("Bob : Adam, or ADA?");
            terminal.wait_for("or ADA?");
            assert_eq!(terminal.inverted(), ["王小明", "ADA"]);
            assert_eq!(terminal.bells(), 2 * usize::from(has_bell));
        }
    }
}

#[test]
fn what_somebody_does_is_shown_to_all() {
    for columns in SIZES {
        for plain in [true, false] {
            let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
            let mut bob = PlainPeer::join(relay.address, "Bob");
            let host = relay.address.to_string();
            let mut command = vec![PROGRAM, "chat", &host, "--name", "小明"];
            command.extend(plain.then_some("--plain"));
            let mut terminal = Terminal::start(columns, &command);
            terminal.wait_for("* welcome");
            terminal.press("/me 在挥手\r");
            terminal.wait_for("[小明 在挥手]");
            bob.wait_for(|heard| heard.ends_with("小明 : /me 在挥手"));
            bob.say("//me waves");
            terminal.wait_for("[Bob waves]");
            terminal.press("//me 也在\r");
            terminal.wait_for("[小明 也在]");
            bob.wait_for(|heard| heard.ends_with("小明 : /me 也在"));
            terminal.press("//usr/bin\r");
            terminal.wait_for("小明 : /usr/bin");
            bob.wait_for(|heard| heard.ends_with("小明 : /usr/bin"));
            terminal.press("/me\r");
            terminal.wait_for("-- /me needs a text");
            terminal.press("/help\r");
            if columns == 80 {
                terminal.wait_for("-- here also: /me TEXT, /ignore NAME");
                let rows = terminal.rows();
                let place = |start| rows.iter().position(|row| row.starts_with(start));
                let [answer, own] = ["* anything else is said to all", "-- here also"].map(place);
                assert!(answer < own, "{rows:?}");
            }
        }
    }
}

#[test]
fn what_is_shown_is_kept_in_a_file() {
    for columns in SIZES {
        let file = format!("kilochat-chat-{}-{columns}.log", std::process::id());
        let path = std::env::temp_dir().join(file);
        for run in 1..=2 {
            let (mut relay, mut terminal) =
                in_a_room(columns, &["--log", path.to_str().expect("text")]);
            terminal.press("a line of mine that is longer than a row\r");
            relay.expect("a line of mine that is longer than a row");
            terminal.press("/ignore Bob\r");
            terminal.wait_for("Bob is ignored");
            relay.send("Bob : is this kept?\n小明 : 王小明?");
            terminal.wait_for("王小明?");
            terminal.press("\x04");
            relay.expect("/quit");
            relay.send("* bye");
            assert_eq!(terminal.finish(), 0);
            let text = std::fs::read_to_string(&path).expect("a log");
            let lines: Vec<&str> = text.lines().map(|line| &line[20..]).collect();
            let expected = [
                "* welcome 王小明: 1 here (王小明); /help lists commands",
                "Bob : hi",
                "小明 : 早",
                "* Zoë joined",
                "王小明 : a line of mine that is longer than a row",
                "-- Bob is ignored; /ignore Bob once more ends it",
                "小明 : 王小明?",
                "* bye",
            ];
            assert_eq!(lines.len(), run * expected.len(), "{text}");
            assert!(lines.ends_with(&expected), "{text}");
        }
        std::fs::remove_file(&path).expect("a log");
    }
    let mut terminal = Terminal::start(
        80,
        &[
            PROGRAM,
            "chat",
            "127.0.0.1",
            "--name",
            "Ada",
            "--log",
            "/no/such/log",
        ],
    );
    assert_eq!(terminal.finish(), 1);
}

#[test]
fn who_is_ignored_is_not_shown() {
    for columns in SIZES {
        let (mut relay, mut terminal) = in_a_room(columns, &[]);
        terminal.press("/ignore 小明\r");
        terminal.wait_for("小明 is ignored");
        relay.send("小明 : 一\n* 小明 is now 小红\n小红 : 王小明\nBob : 二");
        terminal.wait_for("Bob : 二");
        let shown = terminal.rows().concat();
        assert!(
            !shown.contains("小明 : 一") && !shown.contains("小红 :"),
            "{shown}"
        );
        assert_eq!(terminal.bells(), 0);
        terminal.press("/ignore 小红\r");
        terminal.wait_for("小红 is shown");
        relay.send("小红 : 三");
        terminal.wait_for("小红 : 三");
        // `/ignore` is not sent to the relay
        terminal.press("end\r");
        relay.expect("end");
    }
}

#[test]
fn the_prompt_says_that_nobody_answers_until_somebody_does() {
    for columns in SIZES {
        let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
        let any = "127.0.0.1:0".parse().expect("an address");
        let network = Proxy::start(any, relay.address, Faults::NONE, 7).expect("a free port");
        network.set_blackout(true);
        let host = network.address().to_string();
        let command = [PROGRAM, "chat", &host, "--name", "小明"];
        let mut terminal = Terminal::start(columns, &command);
        terminal.press("你好");
        terminal.expect_end("(no answer yet) > 你好");
        network.set_blackout(false);
        terminal.wait_for("* welcome");
        terminal.expect_last("> 你好");
        drop(network);
        terminal.expect_end("(no answer) > 你好");
        terminal.signal(Signal::SIGTERM);
        terminal.finish();
    }
}

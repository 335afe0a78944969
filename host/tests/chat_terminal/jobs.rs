//! Suspending with Ctrl-Z, and continuing.

use kilochat_tests::ScriptedRelay;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::terminal::{PROGRAM, Terminal};

/// Starts a chat from a shell with the prompt `shell?`, and waits until it has joined.
fn chat_in(shell: &[&str]) -> (ScriptedRelay, Terminal) {
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut terminal = Terminal::start(80, shell);
    terminal.expect_last("shell?");
    terminal.press(format!(
        "{PROGRAM} chat {} --name Ada --plain\n",
        relay.address()
    ));
    relay.welcome("Ada");
    terminal.wait_for("welcome");
    (relay, terminal)
}

fn stops_and_comes_back(shell: &[&str]) {
    let (mut relay, mut terminal) = chat_in(shell);
    for round in 0..3 {
        let rows = 40 * round;
        terminal.press(format!("a draft {}", "x".repeat(rows)));
        terminal.wait_for("> a draft");
        terminal.press("\x1a");
        terminal.wait_for("topped"); // bash: Stopped, dash: [1] + Stopped or Suspended
        // the shell has its own title again, and the terminal reports no focus to it
        let output = terminal.output();
        for sequence in ["\x1b[22;2t", "\x1b[23;2t", "\x1b[?1004h", "\x1b[?1004l"] {
            assert_eq!(output.matches(sequence).count(), round + 1, "{sequence:?}");
        }
        terminal.press(format!(
            "stty -a | grep -c ' icanon.* echo ' | sed 's/^/round {round} mode /'\n"
        ));
        terminal.wait_for(&format!("round {round} mode 1"));
        terminal.press("fg\n");
        terminal.wait_for("> a draft");
        let drawn = terminal.rows();
        let prompts = drawn.iter().filter(|row| row.starts_with("> a draft"));
        assert_eq!(prompts.count(), 1, "{drawn:#?}");
        relay.send(format!("Bob : back {round}"));
        terminal.wait_for(&format!("Bob : back {round}"));
        // a line is edited, and Ctrl-C clears it
        terminal.press(" and\x1b[D\x1b[D\x1b[D\x03");
        terminal.press(format!("line {round}\r"));
        relay.expect(&format!("line {round}"));
        terminal.wait_for(&format!("Ada : line {round}"));
        let rows = terminal.rows();
        let echoed = rows
            .iter()
            .filter(|row| row.contains(&format!("line {round}")));
        assert_eq!(echoed.count(), 1, "{rows:#?}");
        terminal.press("\x0c");
        terminal.expect_last(">");
    }
    terminal.press("\x04");
    relay.expect("/quit");
    relay.send("* bye");
    terminal.expect_last("shell?");
}

#[test]
fn control_z_gives_the_terminal_back_to_a_shell_that_does_not_repair_it() {
    stops_and_comes_back(&["env", "PS1=shell? ", "sh", "-i"]);
}

#[test]
#[ignore = "needs bash"]
fn control_z_gives_the_terminal_back_to_bash() {
    stops_and_comes_back(&["env", "PS1=shell? ", "bash", "--norc", "-i"]);
}

#[test]
fn a_signal_while_it_asks_gives_the_terminal_back() {
    let script = format!("{PROGRAM} chat 127.0.0.1; echo code $?; stty -a | grep -o '[-]*icanon'");
    let mut terminal = Terminal::start(80, &["sh", "-c", &script]);
    terminal.wait_for("Your nickname [ming]:");
    let shell = terminal.child.process_id().expect("it runs");
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
    let Ok(children) = children else { return };
    let id = children.trim().parse().expect("one child");
    terminal.press("half");
    terminal.wait_for("half");
    kill(Pid::from_raw(id), Signal::SIGTERM).expect("it runs");
    terminal.wait_for("code 0");
    terminal.expect_last("icanon");
}

#[test]
fn a_signal_from_elsewhere_stops_it_as_the_key_does() {
    let (mut relay, mut terminal) = chat_in(&["env", "PS1=shell? ", "sh", "-i"]);
    let shell = terminal.child.process_id().expect("it runs");
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
    let Ok(children) = children else { return };
    let id = children.trim().parse().expect("one child");
    for round in 0..3 {
        terminal.press(format!("draft {round}"));
        terminal.wait_for(&format!("> draft {round}"));
        kill(Pid::from_raw(id), Signal::SIGTSTP).expect("it runs");
        terminal.wait_for("topped");
        terminal.press(format!(
            "stty -a | grep -c ' icanon.* echo ' | sed 's/^/round {round} mode /'\n"
        ));
        terminal.wait_for(&format!("round {round} mode 1"));
        terminal.press("fg\n");
        terminal.expect_last(&format!("> draft {round}"));
        terminal.press("\r");
        relay.expect(&format!("draft {round}"));
        terminal.press("\x0c");
        terminal.expect_last(">");
    }
    // without a shell that could continue it, Ctrl-Z does nothing
    let mut relay = ScriptedRelay::bind("127.0.0.1");
    let mut alone = Terminal::chat(80, &relay);
    relay.welcome("Ada");
    alone.wait_for("welcome");
    alone.signal(Signal::SIGTSTP);
    alone.press("\x1astill here\r");
    relay.expect("still here");
}

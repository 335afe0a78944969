//! The Python programs that the protocol comes from, unmodified, against this relay.
#![cfg(unix)]

use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use fastrand::Rng;
use kilochat_tests::{PATIENCE, PlainPeer, RelayProgram};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

const NEEDS: &str = "needs Python 3 and the Python programs that the protocol comes from: \
                     apt-get install python3, and set KILOCHAT_SEED to the folder that holds server_final.py";

/// A program that the test controls by lines of input. It is killed on drop.
struct Interactive {
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
    read: Vec<String>,
}

impl Interactive {
    fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect(NEEDS);
        let input = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            lines.all(|line| sender.send(line).is_ok())
        });
        Self {
            child,
            input,
            output,
            read: Vec::new(),
        }
    }

    /// Starts one of the Python programs.
    fn seed(program: &str) -> Self {
        let folder = std::env::var_os("KILOCHAT_SEED").expect(NEEDS);
        let path = std::path::Path::new(&folder).join(program);
        assert!(path.is_file(), "{NEEDS}; there is no {}", path.display());
        let mut python = Command::new("python3");
        Self::start(python.arg("-u").arg(path).env("PYTHONIOENCODING", "utf-8"))
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    fn wait_for(&mut self, wanted: &str) {
        while !self.read.iter().any(|line| line.contains(wanted)) {
            let Ok(line) = self.output.recv_timeout(PATIENCE) else {
                panic!("no {wanted:?} in {:#?}", self.read);
            };
            self.read.push(line);
        }
    }
}

impl Drop for Interactive {
    fn drop(&mut self) {
        // fails if it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns an address of this machine at which port 10888 is free: the Python programs use no other
/// port.
fn address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 128 | NEXT.fetch_add(1, Ordering::Relaxed), high, low);
    (ip, 10888).into()
}

#[test]
#[ignore = "needs Python 3 and the Python programs that the protocol comes from: apt-get install python3, set KILOCHAT_SEED to their folder"]
fn two_unmodified_python_clients_chat_with_each_other_and_with_ours() {
    let at = address();
    let _relay = RelayProgram::start(PROGRAM, &["--bind", &at.to_string()]);
    let mut clients: Vec<Interactive> = Vec::new();
    for name in ["老王", "小明"] {
        let mut client = Interactive::seed("client_final.py");
        client.type_line(&at.ip().to_string());
        client.type_line(name);
        client.wait_for(&format!("* welcome {name}: "));
        clients.push(client);
    }
    let mut ours = Command::new(PROGRAM);
    let ours = ours.args(["chat", &at.ip().to_string(), "--name", "Ada", "--stay"]);
    let mut ours = Interactive::start(ours);
    clients[0].wait_for("* Ada joined");
    clients[0].type_line("大家好 🦀");
    clients[1].wait_for("老王 : 大家好 🦀");
    ours.wait_for("老王 : 大家好 🦀");
    ours.type_line("hello, 世界");
    for client in &mut clients {
        client.wait_for("Ada : hello, 世界");
    }
    clients[1].type_line("再见");
    clients[0].wait_for("小明 : 再见");
    ours.wait_for("小明 : 再见");
}

/// Returns a text that the rules of both programs leave unchanged.
fn valid_text(random: &mut Rng, limit: usize) -> String {
    let samples = [
        "hello",
        "/who",
        "//x",
        "* note",
        " : ",
        "你好，世界",
        "🦀🦀",
        "  spaces  ",
        "é",
        "a\u{301}",
        "0",
        "[x]",
        "\u{FF1A}",
    ];
    let mut text = String::new();
    let wanted = if random.u8(..8) == 0 {
        limit
    } else {
        random.usize(1..60)
    };
    while text.len() < wanted {
        let sample = random.choice(samples).unwrap_or("x");
        if text.len() + sample.len() > limit {
            break;
        }
        text.push_str(sample);
    }
    text
}

/// Sends the script to the server at `at`. Returns what each client received.
fn perform(at: SocketAddr, script: &[(usize, String)], clients: usize) -> Vec<Vec<Vec<u8>>> {
    let mut peers: Vec<PlainPeer> = (0..clients).map(|_| PlainPeer::new(at)).collect();
    let mut joined = Vec::new();
    for (client, text) in script {
        peers[*client].say(text);
        if !joined.contains(client) {
            joined.push(*client);
        } else if let Some(other) = joined.iter().find(|other| *other != client) {
            // waits for each line, so that no receive buffer overflows
            assert!(
                peers[*other].receive(PATIENCE).is_some(),
                "{text:?} was not relayed"
            );
        }
    }
    // a server handles datagrams in order, so these lines are the last ones
    for client in [0, 1] {
        peers[client].say(format!("the end of {client}"));
    }
    for (index, peer) in peers.iter_mut().enumerate() {
        let last = if index == 1 {
            " : the end of 0"
        } else {
            " : the end of 1"
        };
        peer.wait_for(|line| line.ends_with(last));
    }
    peers.into_iter().map(|peer| peer.received).collect()
}

#[test]
#[ignore = "needs Python 3 and the Python programs that the protocol comes from: apt-get install python3, set KILOCHAT_SEED to their folder"]
fn a_classic_relay_sends_the_very_datagrams_of_the_python_server() {
    let seed = address();
    let mut server = Interactive::seed("server_final.py");
    server.type_line(&seed.ip().to_string());
    let relay = RelayProgram::start(PROGRAM, &["--classic", "--bind", "127.0.0.1:0"]);
    // joins as the first peer of the Python program, as soon as that listens
    let probe = PlainPeer::new(seed);
    while !server
        .read
        .iter()
        .any(|line| line.contains("NickName(probe)"))
    {
        probe.say("probe");
        server
            .read
            .extend(server.output.recv_timeout(Duration::from_millis(200)));
    }
    for seed_number in 0..5 {
        let mut random = Rng::with_seed(seed_number);
        let names = ["老王", "小明", "老王", "/nick x", "a b [c]"];
        let mut joined = [false; 5];
        let mut script = Vec::new();
        while script.len() < 200 || joined.contains(&false) {
            let client = random.usize(..5);
            if !core::mem::replace(&mut joined[client], true) {
                script.push((client, names[client].to_owned()));
                continue;
            }
            script.push((
                client,
                valid_text(&mut random, 960 - names[client].len() - 3),
            ));
        }
        let expected = perform(seed, &script, 5);
        let received = perform(relay.address, &script, 5);
        let count: usize = received.iter().map(Vec::len).sum();
        assert!(count > 400, "{count} datagrams are too few to compare");
        for (client, (expected, received)) in expected.iter().zip(&received).enumerate() {
            assert_eq!(expected, received, "seed {seed_number}, client {client}");
        }
    }
}

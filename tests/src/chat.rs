//! The chat client as a process on pipes, and a relay that a test controls.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::program::PATIENCE;

/// A running `kilochat chat` on pipes. It is killed on drop.
#[derive(Debug)]
pub struct ChatProgram {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    /// Every line of standard output so far.
    pub lines: Vec<String>,
}

/// The result of a client that has ended.
#[derive(Debug)]
pub struct ChatEnd {
    /// Its exit code, unless it was ended by a signal.
    pub code: Option<i32>,
    /// Every line of standard output.
    pub lines: Vec<String>,
    /// All of standard error.
    pub errors: String,
}

impl ChatProgram {
    /// Starts `program chat` with `arguments` and an open input.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(program).arg("chat").args(arguments))
    }

    /// Starts a command that becomes `kilochat chat`.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let input = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(line.expect("UTF-8")).is_err() {
                    return;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut errors = String::new();
            stderr.read_to_string(&mut errors).expect("UTF-8");
            errors
        });
        Self {
            child,
            input,
            output,
            errors: Some(errors),
            lines: Vec::new(),
        }
    }

    /// Starts a client whose input is at its end.
    pub fn silent(program: &str, arguments: &[&str]) -> Self {
        let mut chat = Self::start(program, arguments);
        chat.close_input();
        chat
    }

    /// Writes to the client's input.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(bytes.as_ref()).expect("the client reads");
    }

    /// Ends the client's input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the client.
    #[cfg(unix)]
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.id()).expect("a process id"));
        nix::sys::signal::kill(id, signal).expect("the client runs");
    }

    /// Waits for a line that `wanted` accepts, and returns it.
    pub fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_within(PATIENCE, wanted)
    }

    /// Like [`wait_for`](Self::wait_for), with a deadline.
    pub fn wait_within(&mut self, patience: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.output.recv_timeout(left) else {
                panic!("the line did not arrive; received: {:#?}", self.lines);
            };
            self.lines.push(line.clone());
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Adds the lines that have been printed since the last one to [`lines`](Self::lines).
    pub fn note_lines(&mut self) {
        self.lines.extend(self.output.try_iter());
    }

    /// Waits until the client ends by itself.
    pub fn finish(mut self) -> ChatEnd {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end: {:#?}",
                self.lines
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        self.lines.extend(self.output.iter());
        let errors = self.errors.take().map(|errors| errors.join());
        ChatEnd {
            code: status.code(),
            lines: core::mem::take(&mut self.lines),
            errors: errors.expect("once").expect("no panic"),
        }
    }
}

impl Drop for ChatProgram {
    fn drop(&mut self) {
        // fails if it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A relay for one client that sends only what the test tells it to.
#[derive(Debug)]
pub struct ScriptedRelay {
    socket: UdpSocket,
    client: Option<SocketAddr>,
}

impl ScriptedRelay {
    /// Binds a relay to a free port of `ip`.
    pub fn bind(ip: &str) -> Self {
        Self {
            socket: UdpSocket::bind((ip, 0)).expect("a free port"),
            client: None,
        }
    }

    /// Closes the relay's socket: the system reports datagrams from the client as unreachable from
    /// now on.
    pub fn stop(self) -> StoppedRelay {
        StoppedRelay {
            address: self.address(),
            client: self.client,
        }
    }

    /// Returns the address of the relay.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// Returns the next datagram, which must be text, or `None` after the time-out.
    ///
    /// Datagrams from other sources than the client are skipped: they may be meant for an earlier
    /// owner of the port.
    pub fn receive(&mut self, timeout: Duration) -> Option<String> {
        let deadline = Instant::now() + timeout;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Linux may end a long time-out of a socket late, by an eighth of it
            let short = left.clamp(Duration::from_millis(1), Duration::from_millis(200));
            self.socket.set_read_timeout(Some(short)).expect("not zero");
            match self.socket.recv_from(&mut buffer) {
                Ok((_, source)) if self.client.is_some_and(|client| client != source) => {}
                Ok((length, source)) => {
                    self.client = Some(source);
                    assert!(length <= 1024, "no datagram is longer");
                    return Some(String::from_utf8(buffer[..length].to_vec()).expect("UTF-8"));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) if left > short => {}
                Err(_) => return None,
            }
        }
    }

    /// Fails unless the next datagram is `text`. The source of the first datagram becomes the
    /// client.
    pub fn expect(&mut self, text: &str) {
        let is_first = self.client.is_none();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let received = self.receive(left);
            if !is_first || received.is_none() || received.as_deref() == Some(text) {
                assert_eq!(received.as_deref(), Some(text));
                return;
            }
            self.client = None;
        }
    }

    /// Fails if a datagram arrives within this time.
    pub fn expect_silence(&mut self, time: Duration) {
        let begun = Instant::now();
        let received = self.receive(time);
        assert_eq!(received, None, "after {:?}", begun.elapsed());
    }

    /// Sends a datagram to the client.
    pub fn send(&self, payload: impl AsRef<[u8]>) {
        let client = self.client.expect("somebody wrote");
        self.socket
            .send_to(payload.as_ref(), client)
            .expect("loopback accepts it");
    }

    /// Expects `name` as the first datagram, and replies with a welcome.
    pub fn welcome(&mut self, name: &str) {
        self.expect(name);
        self.send(format!(
            "* welcome {name}: 1 here ({name}); /help lists commands"
        ));
    }
}

/// The address of a closed [`ScriptedRelay`], and its client.
#[derive(Debug)]
pub struct StoppedRelay {
    address: SocketAddr,
    client: Option<SocketAddr>,
}

impl StoppedRelay {
    /// Opens the relay again on the same port.
    pub fn start(self) -> ScriptedRelay {
        ScriptedRelay {
            socket: UdpSocket::bind(self.address).expect("the port is still free"),
            client: self.client,
        }
    }
}

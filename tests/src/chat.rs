//! The chat client as a process on pipes, and a relay that does what a test says.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::program::PATIENCE;

/// A running `kilochat chat` on pipes, ended when dropped.
#[derive(Debug)]
pub struct ChatProgram {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    /// Every line of standard output so far.
    pub lines: Vec<String>,
}

/// How a client ended.
#[derive(Debug)]
pub struct ChatEnd {
    /// Its exit code, if no signal ended it.
    pub code: Option<i32>,
    /// Every line of standard output.
    pub lines: Vec<String>,
    /// All of standard error.
    pub errors: String,
}

impl ChatProgram {
    /// Starts `program chat` with `arguments`, its input open.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(program).arg("chat").args(arguments))
    }

    /// Starts a command that becomes one.
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

    /// Starts a client with nothing to say.
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

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the client.
    #[cfg(unix)]
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.id()).expect("a process id"));
        nix::sys::signal::kill(id, signal).expect("the client runs");
    }

    /// Reads until a line comes that `wanted` accepts.
    pub fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_within(PATIENCE, wanted)
    }

    /// The same, for what may take longer.
    pub fn wait_within(&mut self, patience: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.output.recv_timeout(left) else {
                panic!("it did not come; what came: {:#?}", self.lines);
            };
            self.lines.push(line.clone());
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Waits for the client's own end.
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
        // it may have ended
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A relay for one client that answers what the test tells it to.
#[derive(Debug)]
pub struct ScriptedRelay {
    socket: UdpSocket,
    client: Option<SocketAddr>,
}

impl ScriptedRelay {
    /// One on a free port of `ip`.
    pub fn bind(ip: &str) -> Self {
        Self {
            socket: UdpSocket::bind((ip, 0)).expect("a free port"),
            client: None,
        }
    }

    /// Ends this relay; what the client sends from now on is refused.
    pub fn stop(self) -> StoppedRelay {
        StoppedRelay {
            address: self.address(),
            client: self.client,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// The next datagram, if one comes in time; it is to be text.
    ///
    /// A stranger may still send to somebody who had this port before: that is passed over.
    pub fn receive(&mut self, timeout: Duration) -> Option<String> {
        let deadline = Instant::now() + timeout;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Linux lets a long timeout of a socket be late by an eighth
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

    /// Fails unless the next datagram is `text`; the first of all makes its sender the client.
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

    /// Fails if a datagram comes in this time.
    pub fn expect_silence(&mut self, time: Duration) {
        let begun = Instant::now();
        let received = self.receive(time);
        assert_eq!(received, None, "after {:?}", begun.elapsed());
    }

    /// Sends a datagram to whoever sent the last one.
    pub fn send(&self, payload: impl AsRef<[u8]>) {
        let client = self.client.expect("somebody wrote");
        self.socket
            .send_to(payload.as_ref(), client)
            .expect("loopback takes it");
    }

    /// Expects `name` and welcomes it.
    pub fn welcome(&mut self, name: &str) {
        self.expect(name);
        self.send(format!(
            "* welcome {name}: 1 here ({name}); /help lists commands"
        ));
    }
}

/// Where a [`ScriptedRelay`] was, and who its client is.
#[derive(Debug)]
pub struct StoppedRelay {
    address: SocketAddr,
    client: Option<SocketAddr>,
}

impl StoppedRelay {
    /// The relay again, on the same port.
    pub fn start(self) -> ScriptedRelay {
        ScriptedRelay {
            socket: UdpSocket::bind(self.address).expect("the port is still free"),
            client: self.client,
        }
    }
}

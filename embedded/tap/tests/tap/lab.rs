//! A network namespace with a TAP interface, a relay on the program's side of it, and hosts with
//! hardware addresses of their own on the other side.

use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use kilochat_tests::namespace::{Namespace, ip};
use kilochat_tests::{PATIENCE, PlainPeer, processor_time};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat-tap");

/// The relay's addresses in a lab, and the program's options for them.
pub(crate) const V4: &str = "192.168.77.1:10888";
pub(crate) const V6: &str = "[fd00:77::1]:10888";
pub(crate) const ADDRESSES: [&str; 4] = ["--ip", "192.168.77.1/24", "--ip6", "fd00:77::1/64"];

/// A running `kilochat-tap`. It is killed on drop.
pub(crate) struct TapProgram {
    child: Child,
    log: Option<Receiver<String>>,
    logged: Vec<String>,
}

impl TapProgram {
    /// Starts the program on a TAP interface that it creates, and waits until it is up.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut program = Self::spawn(&[&ADDRESSES, arguments].concat());
        program.read_log();
        program.wait_for_log(|line| line.contains("INFO up: "));
        program.wait_for_log(|line| line.ends_with("INFO address 192.168.77.1/24"));
        program
    }

    /// Starts the program; its log is not read.
    pub(crate) fn spawn(arguments: &[&str]) -> Self {
        Self::spawn_on("tap0", arguments)
    }

    /// Starts the program on an interface that it creates; its log is not read.
    pub(crate) fn spawn_on(interface: &str, arguments: &[&str]) -> Self {
        let child = Command::new(PROGRAM)
            .env("KILOCHAT_RATE", "0")
            .args(["--create", "--tap", interface])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self {
            child,
            log: None,
            logged: Vec::new(),
        }
    }

    /// Starts to read the log.
    pub(crate) fn read_log(&mut self) {
        let (sender, receiver) = channel();
        let stdout = BufReader::new(self.child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        self.log = Some(receiver);
    }

    /// Waits for the next line of the log that `wanted` accepts.
    pub(crate) fn wait_for_log(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let log = self.log.as_ref().expect("it is read");
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match log.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => self.logged.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("not logged; the log is {:#?}", self.logged)
                }
            }
        }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("it runs");
    }

    /// Waits for the end of the program, for a limited time.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }

    /// Returns the processor time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        processor_time(self.child.id())
    }
}

impl Drop for TapProgram {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host on the TAP interface, in a network namespace of its own.
pub(crate) struct Host {
    namespace: Namespace,
    name: String,
}

impl Host {
    /// Creates a host with the hardware address 02:77:00:00:00:`number`, and the addresses
    /// 192.168.77.`number` and fd00:77::`number`.
    pub(crate) fn new(number: u8) -> Self {
        let namespace = Namespace::new();
        let name = format!("host{number}");
        ip(&format!(
            "link add link tap0 name {name} address 02:77:00:00:00:{number:02x} \
             type macvlan mode bridge"
        ));
        ip(&format!("link set {name} netns {}", namespace.path()));
        let host = Self { namespace, name };
        host.run(|| {
            ip("link set lo up");
            ip(&format!(
                "address add 192.168.77.{number}/24 dev {}",
                host.name
            ));
            ip(&format!(
                "address add fd00:77::{number:x}/64 dev {} nodad",
                host.name
            ));
            ip(&format!("link set {} up", host.name));
        });
        host
    }

    /// Runs `action` in the host's network namespace. Sockets that it opens stay in it.
    pub(crate) fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(action)
    }

    /// Returns a peer on this host.
    pub(crate) fn join(&self, relay: &str, name: &str) -> PlainPeer {
        let relay = relay.parse().expect("an address");
        self.run(|| PlainPeer::join(relay, name))
    }

    /// Makes the host unreachable, as if its cable was cut: it no longer responds to ARP.
    pub(crate) fn vanish(&self) {
        self.run(|| ip(&format!("link delete {}", self.name)));
    }
}

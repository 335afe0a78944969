//! A real relay as a process, and plain peers on UDP sockets.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
#[cfg(unix)]
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

/// Maximum time for which a test waits for an event that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The variable that limits the lines of each peer. Most tests turn that off.
const RATE: &str = "KILOCHAT_RATE";

/// A running `kilochat relay`. It is killed on drop.
#[derive(Debug)]
pub struct RelayProgram {
    child: Child,
    /// The first address on which it listens.
    pub address: SocketAddr,
    log: Receiver<String>,
    logged: Vec<String>,
}

impl RelayProgram {
    /// Starts `program relay` with `arguments`, and with `--port 0` unless they name an address.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        Self::start_by(Command::new(program), arguments)
    }

    /// Starts the same with the limits that it has by default.
    pub fn start_limited(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.env_remove(RATE);
        Self::start_by(command, arguments)
    }

    fn start_by(mut command: Command, arguments: &[&str]) -> Self {
        command
            .args(["relay", "--log-format", "json"])
            .args(arguments);
        if !arguments
            .iter()
            .any(|argument| ["--bind", "--port"].contains(argument))
        {
            command.args(["--port", "0"]);
        }
        Self::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// Starts a relay by `command`, with `--rate 0` unless it names another, and waits until it listens.
    /// It is announced by DNS-SD only in a network namespace.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_listening(command, "listening on ")
    }

    /// Starts a server that prints this text and its address in its first line.
    pub fn spawn_listening(command: &mut Command, before: &str) -> Self {
        if std::env::var_os("KILOCHAT_NAMESPACE").is_none() {
            command.env("KILOCHAT_NO_ANNOUNCE", "1");
        }
        if !command.get_envs().any(|(name, _)| name == RATE) {
            command.env(RATE, "0");
        }
        let mut child = command
            .stdin(Stdio::null())
            .spawn()
            .expect("the relay starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the relay prints UTF-8");
        let log = lines_of(child.stderr.take().map(|stderr| Box::new(stderr) as _));
        let Some(address) = line.strip_prefix(before) else {
            panic!("no relay: {line:?} {:?}", log.iter().collect::<Vec<_>>());
        };
        let address = address.trim().trim_end_matches('/').parse();
        let address = address.expect("an address");
        Self {
            child,
            address,
            log,
            logged: Vec::new(),
        }
    }

    /// Returns the address of this relay for a peer that sends to `ip`.
    pub fn at(&self, ip: &str) -> SocketAddr {
        (
            ip.parse::<IpAddr>().expect("an IP address"),
            self.address.port(),
        )
            .into()
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the relay.
    #[cfg(unix)]
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.id()).expect("a process id"));
        nix::sys::signal::kill(id, signal).expect("the relay runs");
    }

    /// Waits for the next line of the log that `wanted` accepts, and returns it.
    pub fn wait_for_log(&mut self, mut wanted: impl FnMut(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => self.logged.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("not logged; the log is {:#?}", self.logged)
                }
            }
        }
    }

    /// Returns the relay's counters.
    #[cfg(unix)]
    pub fn statistics(&mut self) -> BTreeMap<String, u64> {
        self.signal(nix::sys::signal::Signal::SIGUSR1);
        let line = self.wait_for_log(|line| line.contains("\"statistics\""));
        let fields: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&line).expect("a JSON object");
        let counts = fields.into_iter();
        counts
            .filter_map(|(name, value)| Some((name, value.as_u64()?)))
            .collect()
    }

    /// Returns a number from `/proc/ID/status`, in the unit of that file.
    pub fn proc_status(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("Linux");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("the field");
        let number = line
            .trim_start_matches(':')
            .split_whitespace()
            .next()
            .expect("a value");
        number.parse().expect("a number")
    }

    /// Returns the processor time of all its threads.
    #[cfg(target_os = "linux")]
    pub fn cpu(&self) -> Duration {
        processor_time(self.id())
    }

    /// Waits until the relay ends.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it was started")
    }

    /// Kills the relay, which cannot say goodbye, as in a power failure.
    pub fn kill(&mut self) {
        // fails if it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RelayProgram {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the processor time of all threads of a process.
#[cfg(target_os = "linux")]
pub fn processor_time(id: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let times = threads.map(|thread| {
        let path = thread.expect("it runs").path().join("schedstat");
        let times = std::fs::read_to_string(path).expect("a kernel with schedstat");
        let time = times.split_whitespace().next().expect("a number");
        Duration::from_nanos(time.parse().expect("a number"))
    });
    times.sum()
}

/// Reads lines until the end, on a thread of its own.
fn lines_of(from: Option<Box<dyn Read + Send>>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(from) = from {
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// A plain peer: any program with a UDP socket can do what it does.
#[derive(Debug)]
pub struct PlainPeer {
    socket: UdpSocket,
    /// Every datagram received so far.
    pub received: Vec<Vec<u8>>,
}

impl PlainPeer {
    /// Creates a peer that has not sent its name yet.
    pub fn new(relay: SocketAddr) -> Self {
        let any = if relay.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).expect("a free port");
        socket.connect(relay).expect("a local address");
        Self {
            socket,
            received: Vec::new(),
        }
    }

    /// Creates a peer and waits until it is welcomed as `name`.
    pub fn join(relay: SocketAddr, name: &str) -> Self {
        let mut peer = Self::new(relay);
        peer.say(name);
        let welcome = format!("* welcome {}: ", name.trim_end());
        peer.wait_for(|line| line.starts_with(&welcome));
        peer
    }

    /// Returns its source address.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// Sends a datagram.
    pub fn say(&self, payload: impl AsRef<[u8]>) {
        let payload = payload.as_ref();
        // the first call may return a pending error of an earlier datagram, and has then sent
        // nothing
        let sent = self
            .socket
            .send(payload)
            .or_else(|_| self.socket.send(payload));
        assert_eq!(sent.expect("loopback accepts it"), payload.len());
    }

    /// Returns the next datagram, or `None` after the time-out.
    pub fn receive(&mut self, timeout: Duration) -> Option<&[u8]> {
        let timeout = timeout.max(Duration::from_millis(1));
        self.socket
            .set_read_timeout(Some(timeout))
            .expect("not zero");
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).ok()?;
        self.received.push(buffer[..length].to_vec());
        self.received.last().map(Vec::as_slice)
    }

    /// Receives until a line arrives that `wanted` accepts, and returns that line.
    pub fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(datagram) = self.receive(left) else {
                let received = self
                    .received
                    .iter()
                    .map(|datagram| datagram.escape_ascii().to_string());
                panic!(
                    "the line did not arrive; received: {:#?}",
                    received.collect::<Vec<_>>()
                );
            };
            let text = core::str::from_utf8(datagram).expect("the relay sends text");
            if let Some(line) = text.lines().find(|line| wanted(line)) {
                return line.to_owned();
            }
        }
    }

    /// Sends a request and waits for the reply. Then the relay has handled everything that was sent
    /// before, and this peer has received the resulting lines.
    pub fn synchronize(&mut self) {
        self.say("/who \u{3}sync");
        self.wait_for(|line| line == "* nobody's name begins with ?sync");
    }

    /// Returns all lines received so far.
    pub fn lines(&self) -> Vec<String> {
        let datagrams = self.received.iter();
        let texts = datagrams.map(|datagram| String::from_utf8(datagram.clone()).expect("text"));
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
}

/// Raises this process's limit of open files to the permitted maximum, for tests with thousands of
/// sockets.
#[cfg(unix)]
pub fn allow_many_sockets() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may be raised");
}

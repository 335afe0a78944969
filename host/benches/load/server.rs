//! The servers: each is a process on a core of its own, whose processor time is read.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::{self, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use kilochat_tests::{PATIENCE, RelayProgram};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::args::Setup;
use crate::stream::Protocol;

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// `kilochat relay` and peers of the plain dialect
    Relay,
    /// `kilochat relay` and framed peers
    Framed,
    /// `recv_from`, then `send_to` for each other peer
    Bare,
    /// The Python server that kilochat grew from
    Seed,
    /// mosquitto, MQTT 3.1.1 at quality of service 0
    Mosquitto,
    /// nats-server with one processor, text protocol
    Nats,
    /// `ncat --chat` over TCP
    Ncat,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Relay,
        Self::Framed,
        Self::Bare,
        Self::Seed,
        Self::Mosquitto,
        Self::Nats,
        Self::Ncat,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relay => "kilochat",
            Self::Framed => "kilochat framed",
            Self::Bare => "bare loop",
            Self::Seed => "seed",
            Self::Mosquitto => "mosquitto",
            Self::Nats => "nats-server",
            Self::Ncat => "ncat --chat",
        }
    }

    /// Returns the command that installs it, if it is missing.
    pub(crate) fn missing(self, setup: &Setup) -> Option<String> {
        let (program, package) = match self {
            Self::Relay | Self::Framed | Self::Bare => return None,
            Self::Seed if setup.seed_program().is_none() => {
                let what = "give --seed or KILOCHAT_SEED, the folder that holds server_final.py";
                return Some(what.to_owned());
            }
            Self::Seed => ("python3", "python3"),
            Self::Mosquitto => ("mosquitto", "mosquitto"),
            Self::Nats => ("nats-server", "nats-server"),
            Self::Ncat => ("ncat", "ncat"),
        };
        program_path(program)
            .is_none()
            .then(|| format!("apt-get install --no-install-recommends {package}"))
    }

    /// Returns whether this number of peers can join it.
    pub(crate) fn has_room_for(self, peers: usize) -> bool {
        // ncat waits with select(2), which is limited to 1024 files
        self != Self::Ncat || peers <= 900
    }
}

/// A running server. It is killed on drop.
#[derive(Debug)]
pub(crate) struct Server {
    /// Kills the server on drop.
    _program: Program,
    id: Pid,
    clock: ClockId,
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
}

#[derive(Debug)]
enum Program {
    Listening(RelayProgram),
    Other(Child),
}

impl Server {
    /// Starts the server on these cores and waits until it listens.
    pub(crate) fn start(
        kind: Kind,
        setup: &Setup,
        cores: &[usize],
        peers: usize,
    ) -> io::Result<Self> {
        pin(cores)?;
        let started = start(kind, setup, peers);
        pin(&[setup.client_core])?;
        let (program, address) = started?;
        let id = match &program {
            Program::Listening(program) => program.id(),
            Program::Other(child) => child.id(),
        };
        let id = Pid::from_raw(i32::try_from(id).map_err(io::Error::other)?);
        Ok(Self {
            id,
            clock: ClockId::pid_cpu_clock_id(id)?,
            _program: program,
            kind,
            address,
        })
    }

    /// Returns the processor time of all its threads, in user and kernel mode.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        Ok(self.clock.now()?.into())
    }

    /// Returns the peak resident memory in KiB.
    pub(crate) fn peak_memory(&self) -> io::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| io::Error::other("the kernel does not tell"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Self::Other(child) = self {
            // fails if it has ended already
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Restricts this thread, and processes that it starts, to these cores.
fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

fn start(kind: Kind, setup: &Setup, peers: usize) -> io::Result<(Program, SocketAddr)> {
    match kind {
        Kind::Relay | Kind::Framed => {
            let mut options = vec!["--quiet", "--history", "0", "--no-notices"];
            options.extend(setup.relay_options.iter().map(String::as_str));
            let relay = RelayProgram::start(&setup.relay, &options);
            let address = relay.at("127.0.0.1");
            Ok((Program::Listening(relay), address))
        }
        Kind::Bare => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["bare", &peers.to_string()]);
            let bare = RelayProgram::spawn(command.stdout(Stdio::piped()));
            let address = bare.address;
            Ok((Program::Listening(bare), address))
        }
        Kind::Seed => start_seed(setup),
        Kind::Mosquitto => start_tcp(Protocol::Mqtt),
        Kind::Nats => start_tcp(Protocol::Nats),
        Kind::Ncat => start_tcp(Protocol::Ncat),
    }
}

/// Starts the Python server. It always uses the same port, so it is given an address of its own.
fn start_seed(setup: &Setup) -> io::Result<(Program, SocketAddr)> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = SocketAddr::from((Ipv4Addr::new(127, 127, high, low), 10888));
    let program = setup.seed_program().unwrap_or_default();
    let mut command = Command::new("python3");
    let silent = command.arg(program).env("PYTHONIOENCODING", "utf-8");
    let mut child = silent.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut input = child.stdin.take().expect("it is piped");
    writeln!(input, "{}", address.ip())?;
    wait_until(|| UdpSocket::bind(address).is_err())?;
    Ok((Program::Other(child), address))
}

fn start_tcp(protocol: Protocol) -> io::Result<(Program, SocketAddr)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let port = address.port().to_string();
    let configuration = std::env::temp_dir().join(format!("kilochat-bench-{port}.conf"));
    let mut command = match protocol {
        Protocol::Mqtt => {
            let text = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n\
                 max_queued_messages 0\nlog_type none\n"
            );
            std::fs::write(&configuration, text)?;
            let mut mosquitto = program("mosquitto");
            mosquitto.arg("-c").arg(&configuration);
            mosquitto
        }
        Protocol::Nats => {
            let mut nats = program("nats-server");
            nats.args(["-a", "127.0.0.1", "-p", &port]);
            nats.env("GOMAXPROCS", "1");
            nats
        }
        Protocol::Ncat => {
            let mut ncat = program("ncat");
            ncat.args(["-l", "127.0.0.1", &port, "--chat", "--max-conns", "1000"]);
            ncat
        }
    };
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = silent.stderr(Stdio::null()).spawn()?;
    let program = Program::Other(child);
    // tries to bind, because a connection would count as one of ncat's users
    let listening = wait_until(|| TcpListener::bind(address).is_err());
    if protocol == Protocol::Mqtt {
        std::fs::remove_file(&configuration)?;
    }
    listening.map(|()| (program, address))
}

fn wait_until(mut done: impl FnMut() -> bool) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn program(name: &str) -> Command {
    Command::new(program_path(name).unwrap_or_default())
}

/// Returns the path of a program. Servers may be in a folder that is only in root's PATH.
fn program_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

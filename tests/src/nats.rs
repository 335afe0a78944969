//! Real `nats-server` processes with JetStream, which tests kill, stop and wipe.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What it needs, and how to get it.
pub const NATS: &str = "nats-server is missing: apt-get install nats-server";

/// Maximum time for a server to start, also on a busy machine.
const START: Duration = Duration::from_secs(45);

/// A folder that is deleted at the end.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// Creates an empty folder.
    #[expect(clippy::new_without_default, reason = "it is made, not a value")]
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kilochat-link-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Returns the path of a file in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns a TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server with JetStream. It is killed on drop.
#[derive(Debug)]
pub struct NatsServer {
    folder: Folder,
    port: u16,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server.
    #[expect(clippy::new_without_default, reason = "it is started, not a value")]
    pub fn new() -> Self {
        Self::with("")
    }

    /// Starts a server with more lines in its configuration.
    pub fn with(more: &str) -> Self {
        Self::at(free_port(), more)
    }

    /// Starts a server at this port, with more lines in its configuration.
    pub fn at(port: u16, more: &str) -> Self {
        let folder = Folder::new();
        let store = folder.path("store");
        let stored = format!("jetstream {{ store_dir: \"{store}\" }}\n{more}");
        Self::configured(folder, "127.0.0.1", port, &stored)
    }

    /// Starts a server that listens at this address and port, and has only these lines in its
    /// configuration; its files are in the folder.
    pub fn configured(folder: Folder, host: &str, port: u16, lines: &str) -> Self {
        let config = format!("host: {host}\nport: {port}\n{lines}\n");
        fs::write(folder.path("server.conf"), config).unwrap();
        let mut server = Self {
            folder,
            port,
            child: None,
        };
        server.start();
        server
    }

    /// Starts the program, and waits until it accepts connections.
    pub fn start(&mut self) {
        let path = std::env::var("PATH").unwrap_or_default();
        let child = Command::new("nats-server")
            .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin"))
            .args(["-c", &self.folder.path("server.conf")])
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.path("log")).unwrap())
            .spawn()
            .expect(NATS);
        self.child = Some(child);
        let deadline = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(self.folder.path("log")).unwrap();
            assert!(Instant::now() < deadline, "the server starts: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().cast_signed()), signal).unwrap();
    }

    /// Ends the server as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Deletes what it has stored.
    pub fn wipe(&self) {
        fs::remove_dir_all(self.folder.path("store")).unwrap();
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

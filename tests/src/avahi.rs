//! avahi, the mDNS responder of Linux, in a network namespace, as another machine or beside a program under
//! test.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use crate::PATIENCE;

/// What it needs, and how to get it.
pub const AVAHI: &str =
    "needs avahi-daemon and its tools: apt-get install avahi-daemon avahi-utils";

/// A daemon and its bus, which end when this is dropped.
#[derive(Debug)]
pub struct Avahi {
    daemon: Child,
    folder: PathBuf,
}

/// Its user is taken for root, because in a user namespace there is no other; and each has a folder of its
/// own for what the system has one of.
const SCRIPT: &str = r#"
set -e
cd "$1"
sed 's/^avahi:x:[0-9]*:[0-9]*/avahi:x:0:0/' /etc/passwd >passwd
sed 's/^avahi:x:[0-9]*/avahi:x:0/' /etc/group >group
mount --bind passwd /etc/passwd
mount --bind group /etc/group
mount -t tmpfs tmpfs /run
dbus-daemon --config-file=bus.conf --nofork --nopidfile &
bus=$!
trap 'kill $daemon $bus' TERM
while [ ! -S bus ]; do sleep 0.1; done
avahi-daemon --file=avahi.conf --no-drop-root --no-chroot --no-rlimits &
daemon=$!
wait $daemon || true
kill $bus
"#;

impl Avahi {
    /// Starts it in the network namespace of the caller, where it calls this machine `name`, or by another
    /// name if that is not free.
    pub fn start(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("kilochat-avahi-{id}-{count}"));
        fs::create_dir_all(&folder).expect("a folder for files");
        let write = |file: &str, text: String| {
            fs::write(folder.join(file), text).expect("a folder for files");
        };
        write(
            "avahi.conf",
            format!("[server]\nhost-name={name}\nuse-ipv4=yes\nuse-ipv6=yes\n"),
        );
        write(
            "bus.conf",
            format!(
                "<busconfig><type>custom</type><listen>{}</listen><auth>EXTERNAL</auth>\
                 <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
                 <allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>",
                address(&folder)
            ),
        );
        let daemon = Command::new("unshare")
            .args(["-m", "sh", "-c", SCRIPT, "avahi"])
            .arg(&folder)
            .env("DBUS_SYSTEM_BUS_ADDRESS", address(&folder))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(AVAHI);
        let avahi = Self { daemon, folder };
        let deadline = Instant::now() + PATIENCE;
        while !avahi.run("avahi-browse", &["-at"]).status.success() {
            assert!(Instant::now() < deadline, "{AVAHI}");
            std::thread::sleep(Duration::from_millis(100));
        }
        avahi
    }

    /// Runs one of its tools, which asks the network through this daemon.
    pub fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(tool);
        command
            .args(arguments)
            .env("DBUS_SYSTEM_BUS_ADDRESS", address(&self.folder));
        command.output().expect(AVAHI)
    }

    /// Returns the lines that `avahi-browse -rpt` prints of a type of services.
    pub fn services(&self, kind: &str) -> Vec<String> {
        let output = self.run("avahi-browse", &["-rpt", kind]);
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(str::to_owned).collect()
    }
}

fn address(folder: &std::path::Path) -> String {
    format!("unix:path={}", folder.join("bus").display())
}

impl Drop for Avahi {
    fn drop(&mut self) {
        // it may have ended
        if let Ok(id) = i32::try_from(self.daemon.id()) {
            let id = nix::unistd::Pid::from_raw(id);
            let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

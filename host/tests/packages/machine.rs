//! A machine: a root of its own with systemd as its first process.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait_until;

/// A running machine, switched off and deleted when dropped. It has the network of who made it.
pub(crate) struct Machine {
    root: PathBuf,
    nspawn: Child,
    /// Its first process, as this machine numbers it.
    init: u32,
}

impl Machine {
    /// Unpacks an image, and waits until its services run.
    pub(crate) fn boot(image: &Path) -> Self {
        let root = image.with_file_name(format!("machine-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "-xf"]).arg(image);
        assert!(tar.arg("-C").arg(&root).status().unwrap().success());
        let mut command = Command::new("systemd-nspawn");
        command
            .args(["--quiet", "--boot", "--register=no", "--keep-unit"])
            .args(["--link-journal=no", "--resolv-conf=off", "--directory"])
            .arg(&root)
            .stdin(Stdio::null())
            .stdout(fs::File::create(root.with_extension("log")).unwrap())
            .stderr(Stdio::inherit());
        let nspawn = command.spawn().expect("apt install systemd-container");
        let mut machine = Self {
            root,
            nspawn,
            init: 0,
        };
        wait_until("systemd starts", || {
            machine.init = machine.find_init().unwrap_or_default();
            machine.init != 0
        });
        wait_until("its services run", || {
            let mut command = machine.command("systemctl is-active multi-user.target");
            let output = command.output().unwrap();
            output.stdout == b"active\n"
        });
        machine
    }

    /// Copies a file into the machine.
    pub(crate) fn put(&self, file: &Path, to: &str) {
        fs::copy(file, self.root.join(to)).unwrap();
    }

    /// Runs a line of shell in the machine. Returns what it prints.
    pub(crate) fn run(&self, script: &str) -> String {
        let output = self.command(script).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {text}{errors}");
        text
    }

    /// Returns a property of the service.
    pub(crate) fn show(&self, property: &str) -> String {
        let text = self.run(&format!("systemctl show -P {property} kilochat"));
        text.trim().to_owned()
    }

    /// Returns when the service last changed its state so, since this machine was started.
    pub(crate) fn time(&self, change: &str) -> Duration {
        let time = self.show(&format!("{change}TimestampMonotonic"));
        Duration::from_micros(time.parse().unwrap())
    }

    pub(crate) fn journal(&self) -> String {
        self.run("journalctl --no-pager -u kilochat")
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.init.to_string(),
                "--mount",
                "--uts",
                "--ipc",
                "--pid",
            ])
            .args(["--net", "--cgroup", "--root", "--wd=/", "--"])
            .args([
                "env",
                "-i",
                "DEBIAN_FRONTEND=noninteractive",
                "LC_ALL=C.UTF-8",
            ])
            .arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["/bin/sh", "-c", &format!("cd / && {script}")])
            .stdin(Stdio::null());
        command
    }

    fn find_init(&self) -> Option<u32> {
        let id = self.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        let mut children = children.split_whitespace();
        children.find_map(|child| {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
            (name.trim() == "systemd").then(|| child.parse().ok())?
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // without its first process no other one lives; it may have ended
        if self.init != 0 {
            let _ = kill(Pid::from_raw(self.init.cast_signed()), Signal::SIGKILL);
        } else {
            let _ = self.nspawn.kill();
        }
        let _ = self.nspawn.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Returns the process that has a UDP port of this network.
fn listener(port: u16) -> Pid {
    let output = Command::new("ss")
        .args(["-Hlnup", &format!("sport = :{port}")])
        .output();
    let text = String::from_utf8(output.expect("apt install iproute2").stdout).unwrap();
    let id = text.split_once("pid=").unwrap().1;
    let id = id.split(',').next().unwrap();
    Pid::from_raw(id.parse().unwrap())
}

pub(crate) fn status_of_listener(port: u16) -> String {
    fs::read_to_string(format!("/proc/{}/status", listener(port))).unwrap()
}

pub(crate) fn end_listener(port: u16) {
    kill(listener(port), Signal::SIGTERM).unwrap();
}

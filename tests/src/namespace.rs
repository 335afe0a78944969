//! Tests that need a network of their own run again in a network namespace.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

/// What they need, and how to get it.
pub const NAMESPACES: &str = "needs network namespaces, by user namespaces or as root, and \
                              /dev/net/tun: apt-get install util-linux iproute2";

/// Runs this program again in a network namespace, as the user or else as root, with `arguments`;
/// returns what that printed, or none within it.
pub fn enter(arguments: &[&str]) -> Option<String> {
    if std::env::var_os("KILOCHAT_NAMESPACE").is_some() {
        return None;
    }
    let program = std::env::current_exe().expect("Linux");
    let within = |flags| {
        let mut command = Command::new("unshare");
        command.arg(flags).arg(&program).args(arguments);
        command
            .env("KILOCHAT_NAMESPACE", "1")
            .stderr(Stdio::piped());
        command.output().expect(NAMESPACES)
    };
    let mut output = within("-Urn");
    let mut stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if stderr.contains("unshare") || stderr.contains("cannot open /dev/net/tun") {
        output = within("-n");
        stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{NAMESPACES}\n{stdout}{stderr}");
    Some(stdout)
}

/// Runs this test again in a network namespace; false outside of it.
#[expect(clippy::print_stdout, reason = "a test prints what it measured")]
pub fn is_in_namespace(test: &str) -> bool {
    match enter(&["--exact", test, "--include-ignored", "--nocapture"]) {
        Some(output) => {
            print!("{output}");
            false
        }
        None => true,
    }
}

/// Runs this program again in a network namespace and shows at once what it prints; returns whether
/// it succeeded, or none within it.
pub fn enter_shown(arguments: &[String]) -> Option<bool> {
    if std::env::var_os("KILOCHAT_NAMESPACE").is_some() {
        return None;
    }
    let mut probe = Command::new("unshare");
    let is_user = probe.args(["-Urn", "true"]).stderr(Stdio::null()).status();
    let flags = if is_user.expect(NAMESPACES).success() {
        "-Urn"
    } else {
        "-n"
    };
    let mut command = Command::new("unshare");
    command
        .arg(flags)
        .arg(std::env::current_exe().expect("Linux"))
        .args(arguments)
        .env("KILOCHAT_NAMESPACE", "1");
    Some(command.status().expect(NAMESPACES).success())
}

/// A network namespace that exists as long as this does, or a socket in it.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// One that has no interface but its loopback, which is down.
    #[expect(clippy::new_without_default, reason = "it is made, not a value")]
    pub fn new() -> Self {
        let namespace = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect(NAMESPACES);
            File::open("/proc/thread-self/ns/net").expect("Linux")
        });
        Self(namespace.join().expect("it does not panic"))
    }

    /// Its name for `ip`, as long as it exists.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does something in it, on a thread of its own; sockets and programs stay in it.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let within = || {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect(NAMESPACES);
                action()
            };
            let thread = scope.spawn(within);
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    command("ip", words);
}

/// Runs `tc` with these words.
pub fn tc(words: &str) {
    command("tc", words);
}

fn command(program: &str, words: &str) {
    let mut command = Command::new(program);
    let output = command.args(words.split_whitespace()).output();
    let output = output.expect(NAMESPACES);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {errors}");
}

/// Runs `ip` once for many lines of words.
pub fn ip_all(lines: impl IntoIterator<Item = String>) {
    let mut command = Command::new("ip");
    let mut ip = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect(NAMESPACES);
    let lines = lines.into_iter().collect::<Vec<_>>().join("\n");
    let mut input = ip.stdin.take().expect("piped");
    input.write_all(lines.as_bytes()).expect("it reads");
    drop(input);
    assert!(ip.wait().expect("it was started").success(), "{lines}");
}

//! Tests that need a network of their own start themselves again in a network namespace.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

/// What the tests need, and how to get it.
pub const NAMESPACES: &str = "needs network namespaces, by user namespaces or as root, and \
                              /dev/net/tun: apt-get install util-linux iproute2";

/// Runs this program again in a network namespace with `arguments`, as the user or else as root.
/// Returns what it printed, or `None` if this process is already in the namespace.
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

/// Runs this test again in a network namespace. Returns `false` outside of it, and `true` in it.
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

/// Runs this program again in a network namespace, with the same standard output. Returns whether
/// it succeeded, or `None` if this process is already in the namespace.
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

/// A network namespace. It exists until this is dropped, and until no socket or program is in it.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Creates a namespace that has only its loopback interface, which is down.
    #[expect(clippy::new_without_default, reason = "it is made, not a value")]
    pub fn new() -> Self {
        let namespace = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect(NAMESPACES);
            File::open("/proc/thread-self/ns/net").expect("Linux")
        });
        Self(namespace.join().expect("it does not panic"))
    }

    /// Returns its name for `ip`, which is valid until this is dropped.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Calls a function in it, on a thread of its own. Sockets and programs that it opens stay
    /// there.
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

/// Runs `ip` with these arguments.
pub fn ip(words: &str) {
    command("ip", words);
}

/// Runs `tc` with these arguments.
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

/// Runs one `ip` process for many commands, one a line.
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

//! Tests that need a network of their own run again in a network namespace.

use std::process::{Command, Stdio};

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

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    let status = Command::new("ip").args(words.split_whitespace()).status();
    assert!(status.expect(NAMESPACES).success(), "ip {words}");
}

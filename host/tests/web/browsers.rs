//! The page in real browsers, controlled by node: see `tests/browser`. They run in a network
//! namespace without a connection to the outside.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "what took how long")]

use core::time::Duration;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Instant;

use kilochat_tests::namespace::{ip, is_in_namespace};
use kilochat_tests::proxy::{Faults, Proxy};
use kilochat_tests::{PATIENCE, RelayProgram};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::PROGRAM;
use crate::page::gateway;

/// What these tests need, and how to get it.
const NEEDS: &str = "needs chromium, firefox-esr, node and its packages: apt-get install chromium firefox-esr \
                     nodejs npm, then npm ci --prefix tests/browser";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/browser")
}

/// Bugs that the tests must notice. Each is a replacement of a text in a file of the page.
const PLANTED: [(&str, &str, &str, &[&str]); 6] = [
    (
        "/browser.js",
        "if (content !== undefined) made.textContent = content;",
        "if (content !== undefined) made.innerHTML = content;",
        &["cases.mjs", "chromium", "hostile"],
    ),
    (
        "/page.js",
        " || event.isComposing || event.keyCode === 229",
        "",
        &["cases.mjs", "chromium", "composition"],
    ),
    (
        "/dialect.js",
        ".u8(flags).u64(this.next);",
        ".u8(flags).u64(this.next + 1);",
        &["loss.mjs"],
    ),
    (
        "/dialect.js",
        "this.flight.tries += 1;",
        "this.flight.tries += 1; this.number += 1;",
        &["loss.mjs"],
    ),
    (
        "/dialect.js",
        "if (lines.some(isOfFormer)) {",
        "if (false) {",
        &["cases.mjs", "chromium", "former client"],
    ),
    (
        "/timing.js",
        "Math.max(3 * once, 1000)",
        "Math.max(3 * once, 3000)",
        &["cases.mjs", "chromium", "back off"],
    ),
];

/// Runs a script of `tests/browser` and shows what it prints.
fn node(words: &[&str]) {
    let (is_well, output) = run(words, "null");
    println!("{output}");
    assert!(is_well, "{words:?}\n{output}");
}

fn run(words: &[&str], planted: &str) -> (bool, String) {
    for file in ["/usr/bin/chromium", "/usr/bin/firefox-esr"] {
        assert!(Path::new(file).exists(), "{NEEDS}");
    }
    assert!(folder().join("node_modules").is_dir(), "{NEEDS}");
    let home = std::env::temp_dir().join(format!("kilochat-browser-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a folder for temporary files");
    let output = Command::new("node")
        .args(words)
        .current_dir(folder())
        .env("HOME", &home)
        .env("KILOCHAT_PROGRAM", PROGRAM)
        .env("KILOCHAT_PLANTED", planted)
        .env(
            "KILOCHAT_SCREENSHOTS",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser"),
        )
        .output()
        .expect(NEEDS);
    // the profiles of the browsers
    let _ = std::fs::remove_dir_all(home);
    let [stdout, stderr] = [output.stdout, output.stderr].map(String::from_utf8);
    let printed = stdout.expect("UTF-8") + &stderr.expect("UTF-8");
    (output.status.success(), printed)
}

/// A relay, a faulty network before it, and a gateway before that.
struct Faulty {
    front: RelayProgram,
    proxy: Proxy,
    _relay: RelayProgram,
}

impl Faulty {
    fn start() -> Self {
        let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0"]);
        let faults = Faults {
            delay: Duration::from_millis(50),
            ..Faults::HARSH
        };
        let free = "127.0.0.1:0".parse().expect("an address");
        let proxy = Proxy::start(free, relay.address, faults, 7).expect("it starts");
        let to = proxy.address().to_string();
        let front = gateway(&[&to, "--listen", "127.0.0.1:0"]);
        Self {
            front,
            proxy,
            _relay: relay,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.front.address)
    }
}

#[test]
#[ignore = "needs chromium, firefox-esr, node and its packages: apt-get install chromium firefox-esr nodejs npm, \
            then npm ci --prefix tests/browser"]
fn people_chat_in_chromium() {
    if is_in_namespace("browsers::people_chat_in_chromium") {
        ip("link set lo up");
        node(&["cases.mjs", "chromium"]);
    }
}

#[test]
#[ignore = "needs chromium, firefox-esr, node and its packages: apt-get install chromium firefox-esr nodejs npm, \
            then npm ci --prefix tests/browser"]
fn people_chat_in_firefox() {
    if is_in_namespace("browsers::people_chat_in_firefox") {
        ip("link set lo up");
        node(&["cases.mjs", "firefox"]);
    }
}

#[test]
#[ignore = "needs chromium, firefox-esr, node and its packages: apt-get install chromium firefox-esr nodejs npm, \
            then npm ci --prefix tests/browser"]
fn two_browsers_lose_nothing_on_a_network_that_loses_20_percent() {
    if !is_in_namespace("browsers::two_browsers_lose_nothing_on_a_network_that_loses_20_percent") {
        return;
    }
    ip("link set lo up");
    let faulty = Faulty::start();
    node(&["loss.mjs", &faulty.url()]);
    println!("{:?}", faulty.proxy.totals());
}

#[test]
#[ignore = "needs chromium, firefox-esr, node and its packages: apt-get install chromium firefox-esr nodejs npm, \
            then npm ci --prefix tests/browser"]
fn bugs_that_are_planted_in_the_page_are_found() {
    if !is_in_namespace("browsers::bugs_that_are_planted_in_the_page_are_found") {
        return;
    }
    ip("link set lo up");
    for (file, text, replacement, words) in PLANTED {
        let planted = serde_json::json!({ "file": file, "text": text, "replacement": replacement });
        let faulty = Faulty::start();
        let url = faulty.url();
        let words = [words, &[&url]].concat();
        let (is_well, printed) = run(&words, &planted.to_string());
        assert!(!is_well, "not found: {replacement}\n{printed}");
        assert!(!printed.contains("not once"), "{printed}");
    }
}

#[test]
#[ignore = "needs chromium, firefox-esr, node and its packages: apt-get install chromium firefox-esr nodejs npm, \
            then npm ci --prefix tests/browser"]
fn a_telephone_joins_by_the_code_on_the_terminal() {
    if !is_in_namespace("browsers::a_telephone_joins_by_the_code_on_the_terminal") {
        return;
    }
    ip("link set lo up");
    ip("address add 192.168.77.5/24 dev lo");
    let start = Instant::now();
    let size = PtySize {
        rows: 40,
        cols: 100,
        ..PtySize::default()
    };
    let pair = native_pty_system().openpty(size).expect("a terminal");
    let mut command = CommandBuilder::new(PROGRAM);
    command.args(["relay", "--web"]);
    command.env("TERM", "xterm-256color");
    let mut relay = pair.slave.spawn_command(command).expect("it starts");
    drop(pair.slave);
    let mut output = pair.master.try_clone_reader().expect("a terminal");
    let (sender, written) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut screen = vt100::Parser::new(
        40.try_into().expect("not zero"),
        100.try_into().expect("not zero"),
        0,
    );
    let address = loop {
        match written.recv_timeout(PATIENCE) {
            Ok(bytes) => screen.process(&bytes),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                panic!("no code: {}", screen.screen().contents())
            }
        }
        if let Some(address) = code(screen.screen()) {
            break address;
        }
    };
    println!("the code was there after {:?}", start.elapsed());
    assert_eq!(address, "http://192.168.77.5:10888/");
    node(&["join.mjs", &address]);
    println!("in the room after {:?}", start.elapsed());
    relay.kill().expect("it runs");
}

/// Reads a QR code from a terminal's screen as a telephone does, by the colours of the cells.
fn code(screen: &vt100::Screen) -> Option<String> {
    const SCALE: usize = 6;
    let (rows, columns) = screen.size();
    let (rows, columns): (usize, usize) = (rows.get().into(), columns.get().into());
    let is_dark = |x: usize, y: usize| {
        let (row, column) = (y / SCALE / 2, x / SCALE);
        let cell = screen.cell(u16::try_from(row).ok()?, u16::try_from(column).ok()?)?;
        let is_lower = y / SCALE % 2 == 1;
        let is_ink = match cell.contents() {
            "█" => true,
            "▀" => !is_lower,
            "▄" => is_lower,
            _ => false,
        };
        // cells with a white background are light; the terminal's own background is dark
        Some(is_ink || cell.bgcolor() != vt100::Color::Idx(7))
    };
    let (width, height) = (columns * SCALE, rows * 2 * SCALE);
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
        if is_dark(x, y) == Some(true) { 0 } else { 255 }
    });
    let grids = image.detect_grids();
    grids.first()?.decode().ok().map(|(_, text)| text)
}

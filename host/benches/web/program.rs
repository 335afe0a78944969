//! The files of the page, the program with and without it, and the page in a browser.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kilochat_tests::RelayProgram;
use serde_json::Value;

use super::PROGRAM;
use super::table::Table;

/// What the rows of a browser need, and how to get it.
const NEEDS: &str = "needs chromium, node and its packages: apt-get install chromium nodejs npm, then npm ci \
                     --prefix tests/browser";

pub(crate) fn measure(table: &mut Table) {
    files(table);
    browser(table);
    crates(table);
    size(table);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(command: &mut Command) -> String {
    let output: Output = command.stderr(Stdio::inherit()).output().expect(NEEDS);
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(words).current_dir(root());
    command
}

/// Measures what a browser loads.
fn files(table: &mut Table) {
    let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0", "--web", "--quiet"]);
    let load = |path: &str, coding: &str| {
        let mut stream = TcpStream::connect(relay.address).unwrap();
        let accepted = format!("Host: localhost\r\nAccept-Encoding: {coding}\r\n");
        write!(stream, "GET {path} HTTP/1.1\r\n{accepted}\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        answer.split_off(end.unwrap() + 4)
    };
    let mut paths = vec!["/".to_owned()];
    let (mut bytes, mut sent) = (0, 0);
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        let body = String::from_utf8(load(&path, "identity")).unwrap();
        bytes += body.len();
        sent += load(&path, "gzip, deflate").len();
        for part in body.split('"').filter(|part| part.starts_with('/')) {
            let mut ends = [".js", ".css", ".svg"].iter();
            let is_file = ends.any(|end| part.ends_with(end)) && part != "/qr.svg";
            if is_file && !paths.iter().any(|known| known == part) {
                paths.push(part.to_owned());
            }
        }
        next += 1;
    }
    println!("files: {}", paths.join(" "));
    table.show("page, all files", bytes as f64 / 1e3, "kB");
    let what = "... as a browser loads them, compressed";
    table.accept(what, sent as f64 / 1e3, "kB", 40.0);
}

/// Measures what the page adds to the program. The program without it takes the other's place while it is
/// measured, because so nothing else has to be built.
fn size(table: &mut Table) {
    let program = Path::new(PROGRAM);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let kept = folder.join("kilochat-with-web");
    std::fs::copy(program, &kept).unwrap();
    let with = stripped(&kept);
    let words = ["build", "--release", "--package", "kilochat"];
    run(&mut cargo(
        &[&words[..], &["--no-default-features"]].concat(),
    ));
    let without = stripped(program);
    std::fs::remove_file(program).unwrap();
    std::fs::rename(&kept, program).unwrap();
    table.show("program without the page, stripped", without, "MB");
    table.accept("... what the page adds", with - without, "MB", 0.35);
}

/// Returns the size of a program without its symbols, in megabytes.
fn stripped(program: &Path) -> f64 {
    let copy = program.with_extension("stripped");
    run(Command::new("strip").arg("-o").arg(&copy).arg(program));
    let bytes = std::fs::metadata(&copy).unwrap().len();
    std::fs::remove_file(copy).unwrap();
    bytes as f64 / 1e6
}

/// Counts what the page adds to the packages that the program is built from.
fn crates(table: &mut Table) {
    let count = |features: &[&str]| {
        let words = [
            "tree",
            "--package",
            "kilochat",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ];
        let tree = run(&mut cargo(&[&words[..], features].concat()));
        let mut crates: Vec<&str> = tree
            .lines()
            .map(|line| line.trim_end_matches(" (*)"))
            .collect();
        crates.sort_unstable();
        crates.dedup();
        crates.len() as f64
    };
    let (with, without) = (count(&[]), count(&["--no-default-features"]));
    table.show("crates without the page", without, "");
    table.accept("... what the page adds", with - without, "", 21.0);
}

/// Measures the page in chromium, in a network that leads nowhere.
fn browser(table: &mut Table) {
    let folder = root().join("tests/browser");
    assert!(folder.join("node_modules").is_dir(), "{NEEDS}");
    let home = std::env::temp_dir().join(format!("kilochat-figures-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    let script = "ip link set lo up && exec node figures.mjs";
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--net", "sh", "-c", script])
        .current_dir(folder)
        .env("HOME", &home)
        .env("KILOCHAT_PROGRAM", PROGRAM);
    let printed = run(&mut command);
    // the profile of the browser
    let _ = std::fs::remove_dir_all(home);
    let last = printed.lines().last().expect(NEEDS);
    let figures: Value = serde_json::from_str(last).expect("an object");
    let figure = |name: &str| figures[name].as_f64().expect("a number");
    let what = "chromium, from loading to the first line, after a reload, best of 9";
    table.accept(what, figure("reloaded"), "ms", 300.0);
    let what = "... of a newcomer, joining included, best of 9";
    table.accept(what, figure("joined"), "ms", 300.0);
    let what = "axe, violations in the room and before it";
    table.accept(what, figure("violations"), "", 0.0);
}

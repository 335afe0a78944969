//! The metrics that a relay serves to Prometheus.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use kilochat_tests::{PATIENCE, PlainPeer, RelayProgram};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

const ABSENT: &str = "prometheus and promtool are missing: apt install prometheus";

fn start(arguments: &[&str]) -> (RelayProgram, SocketAddr) {
    let all = [&["--bind", "127.0.0.1:0", "--metrics", "0"], arguments].concat();
    let mut relay = RelayProgram::start(PROGRAM, &all);
    let line = relay.wait_for_log(|line| line.contains("serving metrics"));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let at = line["address"].as_str().unwrap().parse().unwrap();
    (relay, at)
}

/// Requests a path. Returns the status and everything after the first line.
fn get(at: SocketAddr, path: &str, header: &str) -> (String, String) {
    let mut client = TcpStream::connect(at).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (status, rest) = answer.split_once("\r\n").unwrap();
    (status.split(' ').nth(1).unwrap().into(), rest.into())
}

const OPEN: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

#[test]
fn the_counters_are_served_and_name_nobody() {
    let (relay, at) = start(&[]);
    let ada = PlainPeer::join(relay.address, "Ada");
    let mut bob = PlainPeer::join(relay.address, "Bob");
    ada.say("hello");
    bob.wait_for(|line| line == "Ada : hello");
    bob.say([0xFF]);
    bob.synchronize();
    let (status, text) = get(at, "/metrics", OPEN);
    assert_eq!(status, "200");
    assert!(text.contains("application/openmetrics-text; version=1.0.0"));
    for line in [
        "kilochat_messages_total 1",
        "kilochat_joins_total 2",
        "kilochat_seats 4096",
        "kilochat_peers{dialect=\"plain\",state=\"present\"} 2",
        "kilochat_refused_total{reason=\"not_utf_8\"} 1",
        "# TYPE kilochat_refused counter",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
    for private in ["Ada", "Bob", "127.0.0.1"] {
        assert!(!text.contains(private), "{text}");
    }
    let (_, classic) = get(at, "/metrics", "");
    assert!(classic.contains("# TYPE kilochat_refused_total counter\n"));
    assert!(!classic.contains("# EOF"));
}

#[test]
fn health_is_told_although_other_clients_of_http_say_nothing() {
    let (mut relay, at) = start(&[]);
    assert_eq!(get(at, "/healthz", "").0, "200");
    let _silent = [(); 3].map(|()| TcpStream::connect(at).unwrap());
    assert_eq!(get(at, "/healthz", "").0, "200");
    relay.signal(Signal::SIGTERM);
    assert_eq!(relay.wait().code(), Some(0));
}

/// A program that is killed on drop.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets promtool judge the names and types.
fn check_metrics(text: &str) {
    let mut lint = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .spawn()
        .expect(ABSENT);
    let mut input = lint.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    assert!(lint.wait().unwrap().success());
}

/// Asks until each query of the dashboard has a value.
fn ask_as_the_dashboard(query: impl Fn(&str) -> Option<String>, deadline: Instant) {
    for expression in dashboard() {
        let bytes = expression.bytes();
        let encoded: String = bytes.map(|byte| format!("%{byte:02X}")).collect();
        loop {
            let answer = query(&encoded).unwrap_or_default();
            if answer.contains("\"value\":[") {
                break;
            }
            assert!(Instant::now() < deadline, "{expression}: {answer}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Returns what the variables and panels of the dashboard ask, with values for its variables.
fn dashboard() -> Vec<String> {
    let file = include_str!("../packaging/dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(file).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    let expressions = expressions
        .map(|text| text.replace("$instance", ".*"))
        .map(|text| text.replace("$__rate_interval", "1m"));
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let variables = variables.filter(|variable| variable["type"] == "query");
    let values = variables.map(|variable| label_values(variable["query"].as_str().unwrap()));
    let expressions: Vec<String> = values.chain(expressions).collect();
    assert!(expressions.len() > 10, "{expressions:?}");
    expressions
}

/// Returns a query for the values that Grafana's `label_values(METRIC, LABEL)` lists.
fn label_values(query: &str) -> String {
    let inner = query.strip_prefix("label_values(");
    let inner = inner.and_then(|inner| inner.strip_suffix(')')).unwrap();
    let (metric, label) = inner.split_once(", ").unwrap();
    format!("count by ({label}) ({metric}{{{label}!=\"\"}})")
}

#[test]
#[ignore = "needs prometheus and promtool: apt install prometheus"]
fn prometheus_reads_it_and_likes_the_alerts_and_answers_what_the_dashboard_asks() {
    let folder = std::env::temp_dir().join(format!("kilochat-prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/alerts.yml");
    let (relay, at) = start(&["--keep", folder.join("keep").to_str().unwrap()]);
    let (_, answer) = get(at, "/metrics", "");
    let (_, classic) = answer.split_once("\r\n\r\n").unwrap();
    check_metrics(classic);
    let rules = Command::new("promtool")
        .args(["check", "rules", alerts])
        .status();
    assert!(rules.expect(ABSENT).success());
    let config = folder.join("prometheus.yml");
    let text = format!(
        "rule_files: [{alerts}]\nscrape_configs:\n- job_name: kilochat\n  scrape_interval: 1s\n  \
         static_configs:\n  - targets: ['{at}']\n"
    );
    std::fs::write(&config, text).unwrap();
    let checked = Command::new("promtool")
        .args(["check", "config"])
        .arg(&config)
        .status();
    assert!(checked.unwrap().success());
    // a port that is free at the moment
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = Program(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address={port}"))
            .stderr(Stdio::null())
            .spawn()
            .expect(ABSENT),
    );
    let _ada = PlainPeer::join(relay.address, "Ada");
    let deadline = Instant::now() + 3 * PATIENCE;
    let query = |expression: &str| {
        let mut client = TcpStream::connect(port).ok()?;
        let request = format!("GET /api/v1/query?query={expression} HTTP/1.0\r\n\r\n");
        client.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    while !query("kilochat_joins_total").is_some_and(|answer| answer.contains(",\"1\"]")) {
        assert!(Instant::now() < deadline, "{:?}", query("up"));
        std::thread::sleep(Duration::from_millis(200));
    }
    ask_as_the_dashboard(query, deadline);
    drop(server);
    std::fs::remove_dir_all(folder).unwrap();
}

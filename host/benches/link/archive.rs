//! How fast the stream of a room is read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::nats::NatsServer;

use crate::relays::{PROGRAM, start};
use crate::{Figure, Limit, as_f64, median};

const LINES: u64 = 400_000;

/// Measures `kilochat history` over a stream of messages that have many lines, as those of a busy room, and
/// over one of messages that have one line each, as those of a quiet one.
pub(crate) fn measure(turns: usize) -> Vec<Figure> {
    [(100, Limit::AtMost(1.0)), (1, Limit::None)]
        .map(|(lines, limit)| {
            let server = NatsServer::new();
            let url = server.url();
            // it makes the stream
            drop(start(Some((&url, "harbour"))));
            fill(server.port(), lines);
            let (times, rates): (Vec<f64>, Vec<f64>) = (0..turns)
                .map(|_| {
                    let all = run(&url, &[], LINES);
                    let found = run(&url, &["--grep", "00399999"], 1);
                    (all, found)
                })
                .unzip();
            let found = median(rates);
            Figure {
                name: format!("kilochat history, 400,000 lines, {lines} in a message"),
                value: median(times),
                limit,
                unit: "s",
                beside: format!("--grep {found:.3} s"),
            }
        })
        .into()
}

/// Runs `kilochat history`, and checks the number of lines that it prints. Returns its time in seconds.
fn run(url: &str, more: &[&str], expected: u64) -> f64 {
    let begin = Instant::now();
    let mut child = Command::new(PROGRAM)
        .args(["history", url, "--name", "Ada"])
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut lines = 0;
    loop {
        let length = out.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        lines += buffer[..length]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count() as u64;
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(lines, expected);
    begin.elapsed().as_secs_f64()
}

/// Publishes lines as the relay of a boat does, in messages of so many lines.
fn fill(port: u16, lines: u64) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut answers = BufReader::new(server.try_clone().unwrap());
    let connect = "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB _INBOX.bench 1\r\n";
    server.write_all(connect.as_bytes()).unwrap();
    let mut batch = Vec::new();
    for message in 0..LINES / lines {
        let first = message * lines;
        let body: String = (first..first + lines)
            .map(|number| {
                let text = format!("{number:08} {}", "x".repeat(40));
                format!("{{\"name\":\"Ada\",\"text\":\"{text}\"}}\n")
            })
            .collect();
        let headers = format!(
            "NATS/1.0\r\nNats-Msg-Id: boat-00000000deadbeef-{0}\r\n\
             Kilochat: 1 00000000deadbeef {0} {lines} 0\r\n\r\n",
            first + 1
        );
        let length = headers.len();
        let whole = length + body.len();
        let is_last = message + 1 == LINES / lines;
        let reply = if is_last { "_INBOX.bench " } else { "" };
        write!(
            batch,
            "HPUB kilochat.room.line.boat {reply}{length} {whole}\r\n{headers}{body}\r\n"
        )
        .unwrap();
        if batch.len() > 1 << 16 || is_last {
            server.write_all(&batch).unwrap();
            batch.clear();
        }
    }
    let mut line = String::new();
    while !line.starts_with("MSG ") {
        if line.starts_with("PING") {
            server.write_all(b"PONG\r\n").unwrap();
        }
        line.clear();
        answers.read_line(&mut line).unwrap();
    }
    line.clear();
    answers.read_line(&mut line).unwrap();
    let stored = format!("\"seq\":{}", as_f64(LINES / lines));
    assert!(line.contains(&stored), "{line}");
}

//! How fast the stream of a room is read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::nats::NatsServer;

use crate::relays::{PROGRAM, start};
use crate::{Figure, Limit, as_f64, median};

const LINES: u64 = 400_000;

/// Number of messages that a bare consumer asks for at once. It has asked for twice as many.
const ASKED: u64 = 512;

/// Measures `kilochat history` over a stream of messages that have many lines, as those of a busy room, and
/// over one of messages that have one line each, as those of a quiet one. Beside it stands what the server
/// alone takes: the time of a consumer that throws the messages away.
pub(crate) fn measure(turns: usize) -> Vec<Figure> {
    [(100, Limit::AtMost(1.0)), (1, Limit::None)]
        .map(|(lines, limit)| {
            let server = NatsServer::new();
            let url = server.url();
            // it makes the stream
            drop(start(Some((&url, "harbour"))));
            fill(server.port(), lines);
            let taken: Vec<[f64; 3]> = (0..turns)
                .map(|turn| {
                    let bare = consume(server.port(), turn, LINES / lines);
                    let all = run(&url, &[], LINES);
                    let found = run(&url, &["--grep", "00399999"], 1);
                    [bare, all, found]
                })
                .collect();
            let of = |what: fn(&[f64; 3]) -> f64| median(taken.iter().map(what));
            let (bare, found) = (of(|[bare, ..]| *bare), of(|[.., found]| *found));
            let ratio = of(|[bare, all, _]| all / bare);
            Figure {
                name: format!("kilochat history, 400,000 lines, {lines} in a message"),
                value: of(|[_, all, _]| *all),
                limit,
                unit: "s",
                beside: format!("--grep {found:.3} s; server alone {bare:.3} s; ratio {ratio:.2}"),
            }
        })
        .into()
}

/// Reads all messages with a consumer that throws them away. Returns its time in seconds.
fn consume(port: u16, turn: usize, messages: u64) -> f64 {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    server.set_nodelay(true).unwrap();
    let mut input = BufReader::with_capacity(1 << 16, server.try_clone().unwrap());
    let begin = Instant::now();
    let name = format!("bare{turn}");
    let config = format!(
        r#"{{"stream_name":"KILOCHAT_room","config":{{"name":"{name}","deliver_policy":"all",
"ack_policy":"none","max_deliver":1,"mem_storage":true,"inactive_threshold":1000000000}}}}"#
    );
    write!(
        server,
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB _INBOX.bare 1\r\n\
         PUB $JS.API.CONSUMER.CREATE.KILOCHAT_room.{name} _INBOX.bare {}\r\n{config}\r\n",
        config.len()
    )
    .unwrap();
    let (mut line, mut body) = (String::new(), Vec::new());
    let (mut asked, mut read) = (0, 0);
    while read < messages {
        line.clear();
        input.read_line(&mut line).unwrap();
        if line.starts_with("PING") {
            server.write_all(b"PONG\r\n").unwrap();
        }
        let is_answer = line.starts_with("MSG ");
        if !is_answer && !line.starts_with("HMSG ") {
            continue;
        }
        let length: usize = line.split_whitespace().last().unwrap().parse().unwrap();
        body.resize(length + 2, 0);
        input.read_exact(&mut body).unwrap();
        if is_answer {
            assert!(
                !body.windows(7).any(|part| part == b"\"error\""),
                "{body:?}"
            );
        } else {
            read += 1;
        }
        while asked < read + 2 * ASKED && (asked == 0 || read % ASKED == 0) {
            let request = format!("{{\"batch\":{ASKED},\"expires\":30000000000}}");
            write!(
                server,
                "PUB $JS.API.CONSUMER.MSG.NEXT.KILOCHAT_room.{name} _INBOX.bare {}\r\n{request}\r\n",
                request.len()
            )
            .unwrap();
            asked += ASKED;
        }
    }
    begin.elapsed().as_secs_f64()
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

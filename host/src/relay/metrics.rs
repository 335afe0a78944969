//! `--metrics`: the counters of the relay for Prometheus, and a check that its loop turns.
//!
//! A thread of its own serves HTTP. For each request it asks the loop for a copy of its counters,
//! so that the answer proves that the loop turns. The loop never waits for this thread.

mod text;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::inquiry::{Inquirer, Inquiry, channel};
use super::stopper::Stopper;
use crate::Error;

/// Maximum time for a client to send its request, and to receive the answer.
const CLIENT: Duration = Duration::from_secs(1);

/// Maximum length of a request in bytes.
const REQUEST_MAX: usize = 8 << 10;

/// Starts the thread. Returns the end of the channel by which the relay's loop answers it, and the
/// address at which the thread listens.
///
/// # Errors
///
/// If the address cannot be listened on.
pub(super) fn start(at: SocketAddr, relay: Stopper) -> Result<(Inquiry, SocketAddr), Error> {
    let failed =
        |error: io::Error| Error::Failure(format!("cannot serve metrics on {at}: {error}"));
    let listener = TcpListener::bind(at).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (inquirer, inquiry) = channel(relay);
    let server = Server {
        inquirer,
        started: jiff::Timestamp::now(),
    };
    std::thread::Builder::new()
        .name("metrics".into())
        .spawn(move || server.serve(&listener))
        .map_err(failed)?;
    Ok((inquiry, address))
}

struct Server {
    inquirer: Inquirer,
    started: jiff::Timestamp,
}

impl Server {
    fn serve(&self, listener: &TcpListener) {
        for client in listener.incoming() {
            match client {
                // an error is ignored: the client has gone
                Ok(mut client) => drop(self.handle(&mut client)),
                // perhaps there are too many open files
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn handle(&self, client: &mut TcpStream) -> io::Result<()> {
        let deadline = std::time::Instant::now() + CLIENT;
        client.set_write_timeout(Some(CLIENT))?;
        let mut request = Vec::new();
        let mut part = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_MAX {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            client.set_read_timeout(Some(left))?;
            match client.read(&mut part)? {
                0 => break,
                length => request.extend_from_slice(&part[..length]),
            }
        }
        let (status, kind, body) = self.answer(&request);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes())?;
        if !request.starts_with(b"HEAD ") {
            client.write_all(body.as_bytes())?;
        }
        client.flush()
    }

    /// Returns the status, the content type and the body for a request.
    fn answer(&self, request: &[u8]) -> (&'static str, &'static str, String) {
        const PLAIN: &str = "text/plain; charset=utf-8";
        const BROKEN: &str = "503 Service Unavailable";
        let line = request.split(|byte| *byte == b'\r').next();
        let line = core::str::from_utf8(line.unwrap_or_default()).unwrap_or_default();
        let mut words = line.split(' ');
        let path = match words.next() {
            Some("GET" | "HEAD") => words.next().unwrap_or_default(),
            _ => return ("405 Method Not Allowed", PLAIN, "GET or HEAD\n".into()),
        };
        let stalled = || (BROKEN, PLAIN, "the relay's loop does not turn\n".to_owned());
        match path.split('?').next().unwrap_or_default() {
            "/metrics" => self.inquirer.ask().map_or_else(stalled, |snapshot| {
                let request = request.to_ascii_lowercase();
                let wanted = b"application/openmetrics-text";
                let is_open = request.windows(wanted.len()).any(|part| part == wanted);
                let kind = if is_open {
                    text::CONTENT_TYPE
                } else {
                    text::CLASSIC
                };
                (
                    "200 OK",
                    kind,
                    text::write(&snapshot, self.started, is_open),
                )
            }),
            "/healthz" => self
                .inquirer
                .ask()
                .map_or_else(stalled, |_| ("200 OK", PLAIN, "ok\n".into())),
            _ => ("404 Not Found", PLAIN, "/metrics or /healthz\n".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kilochat_core::Stats;
    use mio::{Poll, Token, Waker};

    use super::*;
    use crate::relay::inquiry::{Peers, Snapshot};
    use crate::relay::network::Counters;

    fn ask(at: SocketAddr, request: &str) -> String {
        let mut client = TcpStream::connect(at).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_loop_that_does_not_turn_is_unhealthy_and_a_late_answer_is_no_sign_of_life() {
        let poll = Poll::new().unwrap();
        let relay = Stopper::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (inquiry, address) = start(([127, 0, 0, 1], 0).into(), relay).unwrap();
        let snapshot = || Snapshot {
            seats: 1,
            peers: Peers::default(),
            relay: Stats::default(),
            counters: Counters::default(),
            log_lost: 0,
            kept: None,
            link: None,
        };
        for _ in 0..2 {
            let answer = ask(address, "GET /healthz HTTP/1.1\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            inquiry.answer(snapshot);
        }
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("\u{1}\r\n\r\n", "405"),
        ] {
            let answer = ask(address, request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
        }
    }
}

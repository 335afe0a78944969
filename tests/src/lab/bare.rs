//! A minimal framed peer, which retransmits and acknowledges nothing by itself. It is written from
//! `PROTOCOL.md` alone.

use core::time::Duration;
use std::net::UdpSocket;
use std::time::Instant;

use super::wait_for;

/// The nonce of the first HELLO: far from that of any client.
const NONCE: u64 = 1 << 60;

/// Time between two HELLOs, and the number of them.
const AGAIN: Duration = Duration::from_millis(500);
const HELLOS: usize = 6;

/// A peer that has a session.
#[derive(Debug)]
pub struct BareFramed {
    /// The socket, which is connected to the relay.
    pub socket: UdpSocket,
    pass: Pass,
}

/// What whoever reads a peer's datagrams knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    session: [u8; 8],
    epoch: u32,
    /// Sequence number of the first line that it does not have.
    next: u64,
}

impl Pass {
    /// Returns what a datagram tells, if it is WELCOME.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        // nonce, session, epoch, author, first
        let body = datagram.strip_prefix(b"\x01W")?;
        Some(Self {
            session: field(body, 8)?,
            epoch: u32::from_be_bytes(field(body, 16)?),
            next: u64::from_be_bytes(field(body, 24)?),
        })
    }

    /// Returns whether both have the same session.
    pub fn is_of(&self, other: &Self) -> bool {
        self.session == other.session
    }

    /// Returns the same with a session that does not exist, at this line.
    #[must_use]
    pub fn of_nobody(self, next: u64) -> Self {
        Self {
            session: [0xFF; 8],
            next,
            ..self
        }
    }

    fn resume(&self) -> String {
        let Self {
            session,
            epoch,
            next,
        } = self;
        format!(
            "{:016x}{epoch:08x}{next:016x}",
            u64::from_be_bytes(*session)
        )
    }
}

impl BareFramed {
    /// Joins the room.
    pub fn join(socket: UdpSocket, name: &str) -> Self {
        Self::try_join(socket, name).expect("the relay welcomes it")
    }

    /// Joins the room, if there is a seat within three seconds.
    pub fn try_join(socket: UdpSocket, name: &str) -> Option<Self> {
        let pass = greet(&socket, "-", name)?;
        Some(Self { socket, pass })
    }

    /// Returns what whoever reads this peer's datagrams knows.
    pub const fn pass(&self) -> Pass {
        self.pass
    }

    /// Resumes a session at the address of `socket`. Returns what the relay gives it, if it does within
    /// three seconds.
    pub fn resume(socket: &UdpSocket, pass: &Pass, name: &str) -> Option<Pass> {
        greet(socket, &pass.resume(), name)
    }

    /// Returns a function, each call of which sends a new HELLO that resumes a session.
    pub fn resumes(socket: &UdpSocket, pass: &Pass, name: &str) -> impl FnMut() {
        let (resume, cookie) = (pass.resume(), cookie(socket));
        let mut nonce = NONCE;
        move || {
            nonce += 1;
            hello(socket, nonce, &cookie, &resume, name);
        }
    }

    /// Sends the POST with this number.
    pub fn post(&self, number: u16, texts: &[&str]) {
        // a full queue drops it, as networks do
        let _ = self.socket.send(&self.frame_of_post(number, texts));
    }

    /// Returns the POST with this number.
    pub fn frame_of_post(&self, number: u16, texts: &[&str]) -> Vec<u8> {
        let session = &self.pass.session[..];
        let mut frame = [b"\x01P", session, &number.to_be_bytes(), &[0, 0]].concat();
        for text in texts {
            let length = u16::try_from(text.len()).expect("a short text");
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(text.as_bytes());
        }
        frame
    }

    /// Waits for the answer to a POST. Returns whether its texts were accepted.
    pub fn is_accepted(&self) -> bool {
        wait_for(&self.socket, |datagram| {
            let body = datagram.strip_prefix(b"\x01")?;
            let is_answer = matches!(body.first(), Some(b'A' | b'B'));
            is_answer.then(|| body.first() == Some(&b'A') && body.get(13) == Some(&0))
        })
    }

    /// Acknowledges every line that it has received.
    pub fn acknowledge(&self) {
        self.acknowledge_before(self.pass.next);
    }

    /// Acknowledges every line before `next`.
    pub fn acknowledge_before(&self, next: u64) {
        let session = &self.pass.session[..];
        let frame = [b"\x01K", session, &[0, 0, 0], &next.to_be_bytes()].concat();
        // fails if the relay has ended
        let _ = self.socket.send(&frame);
    }

    /// Returns the lines of the next DATA, each with its sequence number, or `None` after the
    /// time-out.
    pub fn receive(&mut self, timeout: Duration) -> Option<Vec<(u64, String)>> {
        self.socket
            .set_read_timeout(Some(timeout))
            .expect("not zero");
        let mut buffer = [0; 2048];
        loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            let Some(lines) = Self::lines(&buffer[..length]) else {
                continue;
            };
            if let (Some((first, _)), Some((last, _))) = (lines.first(), lines.last())
                && (*first..=*last).contains(&self.pass.next)
            {
                self.pass.next = last + 1;
            }
            return Some(lines);
        }
    }

    /// Returns the lines of a datagram, if it is DATA.
    fn lines(datagram: &[u8]) -> Option<Vec<(u64, String)>> {
        // epoch, sent-at, first
        let body = datagram.strip_prefix(b"\x01D")?;
        let first = u64::from_be_bytes(field(body, 6)?);
        let mut entries = body.get(14..)?;
        let mut lines = Vec::new();
        while let Some(length @ 1..) = field(entries, 0).map(u16::from_be_bytes) {
            // length, author, at, flags, length of the name
            let entry = entries.get(2..2 + usize::from(length))?;
            let text = core::str::from_utf8(entry.get(10..)?).ok()?;
            lines.push((first + lines.len() as u64, text.to_owned()));
            entries = entries.get(2 + usize::from(length)..)?;
        }
        Some(lines)
    }
}

/// Says HELLO until there is a WELCOME, which tells what it returns.
fn greet(socket: &UdpSocket, resume: &str, name: &str) -> Option<Pass> {
    let cookie = cookie(socket);
    let mut buffer = [0; 2048];
    for _ in 0..HELLOS {
        hello(socket, NONCE + 1, &cookie, resume, name);
        let sent = Instant::now();
        while sent.elapsed() < AGAIN {
            let length = socket.recv(&mut buffer).unwrap_or_default();
            if let Some(pass) = Pass::of(&buffer[..length]) {
                return Some(pass);
            }
        }
    }
    None
}

/// Returns the cookie of this socket.
fn cookie(socket: &UdpSocket) -> String {
    hello(socket, NONCE, "-", "-", "n");
    wait_for(socket, |datagram| {
        let words = core::str::from_utf8(datagram.strip_prefix(b"\x01C")?).ok()?;
        words.split(' ').nth(4).map(str::to_owned)
    })
}

fn hello(socket: &UdpSocket, nonce: u64, cookie: &str, resume: &str, name: &str) {
    let hello = format!("\x01H KC1 00000000 {nonce:016x} {cookie} {resume} {name}");
    // a full queue drops it, as networks do
    let _ = socket.send(format!("{hello:128}").as_bytes());
}

fn field<const N: usize>(body: &[u8], at: usize) -> Option<[u8; N]> {
    body.get(at..at + N)?.try_into().ok()
}

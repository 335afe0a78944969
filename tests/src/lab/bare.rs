//! A peer that speaks in frames and does no more than it is told: it repeats and acknowledges
//! nothing by itself. Written from `PROTOCOL.md` alone.

use core::time::Duration;
use std::net::UdpSocket;

use super::wait_for;

/// It has a session.
#[derive(Debug)]
pub struct BareFramed {
    /// What it is connected to the relay with.
    pub socket: UdpSocket,
    session: [u8; 8],
    /// The first line that it does not have.
    next: u64,
}

impl BareFramed {
    /// Takes a seat.
    pub fn join(socket: UdpSocket, name: &str) -> Self {
        let hello = |nonce: u64, cookie: &str| {
            let hello = format!("\x01H KC1 00000000 {nonce:016x} {cookie} - {name}");
            socket
                .send(format!("{hello:128}").as_bytes())
                .expect("there is a way");
        };
        hello(1, "-");
        let cookie = wait_for(&socket, |datagram| {
            let words = core::str::from_utf8(datagram.strip_prefix(b"\x01C")?).ok()?;
            words.split(' ').nth(4).map(str::to_owned)
        });
        hello(2, &cookie);
        let (session, next) = wait_for(&socket, |datagram| {
            // nonce, session, epoch, author, first
            let body = datagram.strip_prefix(b"\x01W")?;
            Some((field(body, 8)?, u64::from_be_bytes(field(body, 24)?)))
        });
        Self {
            socket,
            session,
            next,
        }
    }

    /// Sends the POST with this number.
    pub fn post(&self, number: u16, texts: &[&str]) {
        let mut frame = [b"\x01P", &self.session[..], &number.to_be_bytes(), &[0, 0]].concat();
        for text in texts {
            let length = u16::try_from(text.len()).expect("a short text");
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(text.as_bytes());
        }
        // a full queue loses it, as networks do
        let _ = self.socket.send(&frame);
    }

    /// Acknowledges every line before `next`.
    pub fn acknowledge(&self) {
        let next = self.next.to_be_bytes();
        let frame = [b"\x01K", &self.session[..], &[0, 0, 0], &next].concat();
        // a relay that has gone gets nothing
        let _ = self.socket.send(&frame);
    }

    /// The lines of the next DATA that arrives in time, each with its sequence number.
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
                && (*first..=*last).contains(&self.next)
            {
                self.next = last + 1;
            }
            return Some(lines);
        }
    }

    /// The lines of a datagram, if it is DATA.
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

fn field<const N: usize>(body: &[u8], at: usize) -> Option<[u8; N]> {
    body.get(at..at + N)?.try_into().ok()
}

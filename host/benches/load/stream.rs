//! Protocols over TCP: MQTT 3.1.1 at quality of service 0, the text protocol of NATS, and the lines
//! of `ncat --chat`.

use std::io::{self, Read, Write};
use std::net::TcpStream;

const TOPIC: &str = "room";

/// A protocol over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Mqtt,
    Nats,
    Ncat,
}

impl Protocol {
    /// Introduces a peer, and returns when the server knows it.
    pub(crate) fn join(self, socket: &mut TcpStream, name: &str) -> io::Result<()> {
        match self {
            Self::Mqtt => {
                let mut connect = vec![0x10, 0, 0, 4];
                // protocol level 4, clean session, no keep-alive
                connect.extend_from_slice(b"MQTT\x04\x02\0\0");
                push_string(&mut connect, name);
                connect[1] = length_byte(connect.len() - 2);
                socket.write_all(&connect)?;
                expect(socket, b"\x20\x02\0\0")?;
                let mut subscribe = vec![0x82, 0, 0, 1];
                push_string(&mut subscribe, TOPIC);
                subscribe.push(0);
                subscribe[1] = length_byte(subscribe.len() - 2);
                socket.write_all(&subscribe)?;
                expect(socket, b"\x90\x03\0\x01\0")
            }
            Self::Nats => {
                read_line(socket)?;
                let options = r#"{"verbose":false,"pedantic":false,"echo":false}"#;
                write!(socket, "CONNECT {options}\r\nSUB {TOPIC} 1\r\nPING\r\n")?;
                while read_line(socket)? != "PONG\r\n" {}
                Ok(())
            }
            // it announces the join to everybody, the newcomer included
            Self::Ncat => read_line(socket).map(drop),
        }
    }

    /// Appends the message that says a text.
    pub(crate) fn encode(self, text: &[u8], message: &mut Vec<u8>) {
        match self {
            Self::Mqtt => {
                message.push(0x30);
                push_varint(message, 2 + TOPIC.len() + text.len());
                push_string(message, TOPIC);
                message.extend_from_slice(text);
            }
            Self::Nats => {
                let head = format!("PUB {TOPIC} {}\r\n", text.len());
                message.extend_from_slice(head.as_bytes());
                message.extend_from_slice(text);
                message.extend_from_slice(b"\r\n");
            }
            Self::Ncat => {
                message.extend_from_slice(text);
                message.push(b'\n');
            }
        }
    }

    /// Passes on each complete text. Returns the number of bytes decoded.
    pub(crate) fn decode(self, bytes: &[u8], each: &mut dyn FnMut(&[u8])) -> usize {
        let next = match self {
            Self::Mqtt => next_of_mqtt,
            Self::Nats => next_of_nats,
            Self::Ncat => return decode_ncat(bytes, each),
        };
        let mut done = 0;
        while let Some((text, length)) = next(&bytes[done..]) {
            text.map(&mut *each);
            done += length;
        }
        done
    }
}

/// Returns the text of a packet, if it has one, and the packet's length.
fn next_of_mqtt(bytes: &[u8]) -> Option<(Option<&[u8]>, usize)> {
    let (mut length, mut shift, mut at) = (0, 0, 1);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = bytes.get(at..at + length)?;
    let text = (bytes[0] & 0xF0 == 0x30).then(|| body.get(2 + TOPIC.len()..).unwrap_or_default());
    Some((text, at + length))
}

/// Returns the text of a message, if it has one, and the message's length.
fn next_of_nats(bytes: &[u8]) -> Option<(Option<&[u8]>, usize)> {
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let head = &bytes[..line];
    if !head.starts_with(b"MSG ") {
        return Some((None, line + 1));
    }
    let digits = head.trim_ascii_end().rsplit(|byte| *byte == b' ').next()?;
    let length = core::str::from_utf8(digits).ok()?.parse::<usize>().ok()?;
    let text = bytes.get(line + 1..line + 1 + length)?;
    let whole = line + 1 + length + 2;
    (bytes.len() >= whole).then_some((Some(text), whole))
}

/// Passes the complete lines in `bytes` to `each`, without what `ncat` inserts: it puts `<user5> `
/// before the bytes of each read, even in the middle of a line. Returns the number of bytes that
/// were used.
fn decode_ncat(bytes: &[u8], each: &mut dyn FnMut(&[u8])) -> usize {
    let (mut done, mut line) = (0, Vec::with_capacity(128));
    while let Some(end) = bytes[done..].iter().position(|byte| *byte == b'\n') {
        let mut rest = &bytes[done..done + end];
        done += end + 1;
        if rest.starts_with(b"<announce>") {
            continue;
        }
        line.clear();
        while let Some(open) = rest.iter().position(|byte| *byte == b'<') {
            line.extend_from_slice(&rest[..open]);
            let close = rest.iter().position(|byte| *byte == b'>');
            rest = close
                .and_then(|close| rest.get(close + 2..))
                .unwrap_or_default();
        }
        line.extend_from_slice(rest);
        each(&line);
    }
    done
}

fn push_string(packet: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("it is short");
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(text.as_bytes());
}

fn push_varint(packet: &mut Vec<u8>, mut number: usize) {
    while number > 0x7F {
        packet.push(length_byte(number & 0x7F) | 0x80);
        number >>= 7;
    }
    packet.push(length_byte(number));
}

fn length_byte(length: usize) -> u8 {
    u8::try_from(length)
        .ok()
        .filter(|length| *length < 0x80)
        .expect("it is short")
}

fn expect(socket: &mut TcpStream, wanted: &[u8]) -> io::Result<()> {
    let mut answer = vec![0; wanted.len()];
    socket.read_exact(&mut answer)?;
    if answer == wanted {
        return Ok(());
    }
    Err(io::Error::other(format!("the server says {answer:?}")))
}

fn read_line(socket: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    String::from_utf8(line).map_err(io::Error::other)
}

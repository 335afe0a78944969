//! A program for the kernel (classic BPF) that drops what some sources send: sources that are so loud that
//! reading their datagrams, only to refuse them, would take all of the processor.

use core::net::IpAddr;

use socket2::SockFilter;

use crate::relay::loud::Shut;

/// Maximum length of the program: eight sources of sixteen sessions.
const LENGTH_MAX: usize = 1024;

// the instructions that are needed: linux/bpf_common.h
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Offset of the IP header; other offsets are from the UDP header: SKF_NET_OFF in linux/filter.h.
const IP: u32 = 0xFFF0_0000;

/// Offsets in a frame: its first byte, which is 1, and the session (`PROTOCOL.md`, [F8] to [F13]).
const FIRST: u32 = 8;
const SESSION: u32 = FIRST + 2;

/// The whole datagram passes, or nothing of it.
const PASS: u32 = u32::MAX;
const DROP: u32 = 0;

/// Returns the program.
pub(super) fn program(sources: &[Shut]) -> heapless::Vec<SockFilter, LENGTH_MAX> {
    let mut program = heapless::Vec::new();
    for source in sources {
        append(&mut program, &block(source));
    }
    append(&mut program, &[(RETURN, 0, PASS)]);
    program
}

/// An instruction: what it does, how many are skipped if it compares and finds a difference, and its operand.
type Step = (u16, u8, u32);

fn append<const MOST: usize>(program: &mut heapless::Vec<SockFilter, MOST>, steps: &[Step]) {
    let room = MOST - program.len();
    let filters = steps.iter().take(room);
    program.extend(filters.map(|&(code, skip, operand)| SockFilter::new(code, 0, skip, operand)));
}

/// Returns what is done for one source. Whatever comes from another one skips it.
fn block(source: &Shut) -> heapless::Vec<Step, 128> {
    let (version, offset, parts) = match source.address {
        IpAddr::V4(ip) => (0x40, 12, words(&ip.octets())),
        IpAddr::V6(ip) => (0x60, 8, words(&ip.octets())),
    };
    let mut rest = heapless::Vec::<Step, 96>::new();
    for session in &source.sessions {
        if let [high, low] = words(&session.to_be_bytes())[..] {
            rest.extend([
                (LOAD_WORD, 0, SESSION),
                (IF_EQUAL, 3, high),
                (LOAD_WORD, 0, SESSION + 4),
                (IF_EQUAL, 1, low),
                (RETURN, 0, PASS),
            ]);
        }
    }
    let frames = u8::try_from(rest.len()).unwrap_or_default();
    let mut steps = heapless::Vec::<Step, 128>::new();
    steps.extend([(LOAD_BYTE, 0, IP), (AND, 0, 0xF0)]);
    // what is skipped: the address, the first byte, and what follows it
    let mut left = 2 * u8::try_from(parts.len()).unwrap_or_default() + 2 + frames + 1;
    steps.extend([(IF_EQUAL, left, version)]);
    for (index, part) in (0..).zip(&parts) {
        left -= 2;
        steps.extend([
            (LOAD_WORD, 0, IP + offset + 4 * index),
            (IF_EQUAL, left, *part),
        ]);
    }
    steps.extend([(LOAD_BYTE, 0, FIRST), (IF_EQUAL, frames, 1)]);
    steps.extend(rest);
    steps.extend([(RETURN, 0, DROP)]);
    steps
}

/// Returns bytes as words.
fn words(bytes: &[u8]) -> heapless::Vec<u32, 4> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u32::from_be_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::net::UdpSocket;

    use crate::relay::loud::Loud;
    use crate::relay::transport::Transport;

    const SESSION: [u8; 8] = [1, 2, 3, 4, 0xF5, 6, 7, 8];

    fn frame(session: [u8; 8]) -> Vec<u8> {
        [&b"\x01K"[..], &session, b"rest"].concat()
    }

    #[test]
    fn the_kernel_drops_one_source_but_not_its_sessions() {
        for (bind, ours, others) in [
            ("127.0.0.1:0", "127.0.0.2", "127.0.0.3"),
            ("[::]:0", "127.0.0.2", "::1"),
            ("[::]:0", "::1", "127.0.0.2"),
        ] {
            let socket = mio::net::UdpSocket::bind(bind.parse().unwrap()).unwrap();
            let port = socket.local_addr().unwrap().port();
            let mut transport = Transport::new(socket).unwrap();
            let mut loud = Loud::default();
            let sessions = [7, u64::from_be_bytes(SESSION)].into_iter();
            loud.shut(ours.parse().unwrap(), sessions);
            transport.shut_out(loud.shut_out()).unwrap();
            let mut other = SESSION;
            other[7] ^= 1;
            let payloads = [b"Ada".to_vec(), frame(other), frame(SESSION), Vec::new()];
            for from in [ours, others] {
                let is_v6 = from.contains(':');
                let sender = UdpSocket::bind((from, 0)).unwrap();
                let to = if is_v6 { "::1" } else { "127.0.0.1" };
                for payload in &payloads {
                    sender.send_to(payload, (to, port)).unwrap();
                }
            }
            let mut arrived = Vec::new();
            let (mut buffer, mut control) = ([0; 64], [0; super::super::CONTROL]);
            for _ in 0..200 {
                while let Ok(incoming) = transport.receive(&mut buffer, &mut control) {
                    let is_ours = incoming.source.ip().to_string() == ours;
                    arrived.push((is_ours, buffer[..incoming.length].to_vec()));
                }
                if arrived.len() >= 5 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let expected: Vec<_> = [(true, frame(SESSION))]
                .into_iter()
                .chain(payloads.into_iter().map(|payload| (false, payload)))
                .collect();
            assert_eq!(arrived, expected, "{ours} at {bind}");
            transport.shut_out(&[]).unwrap();
            let sender = UdpSocket::bind((ours, 0)).unwrap();
            let to = if ours.contains(':') {
                "::1"
            } else {
                "127.0.0.1"
            };
            sender.send_to(b"again", (to, port)).unwrap();
            while transport.receive(&mut buffer, &mut control).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

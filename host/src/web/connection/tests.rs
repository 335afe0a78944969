use std::collections::VecDeque;

use super::super::http::Rejection;
use super::*;

/// A stream whose reads and writes a test controls.
#[derive(Debug, Default)]
pub(in super::super) struct Scripted {
    /// The results of reads, one each; an empty one is the end.
    pub(in super::super) arriving: VecDeque<Vec<u8>>,
    pub(in super::super) sent: Vec<u8>,
    /// Number of bytes until a write would block.
    pub(in super::super) room: usize,
    pub(in super::super) is_shut: bool,
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.arriving.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        bytes.drain(..length);
        if !bytes.is_empty() {
            self.arriving.push_front(bytes);
        }
        Ok(length)
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.room);
        if length == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= length;
        self.sent.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Scripted {
    fn shut(&mut self) {
        self.is_shut = true;
    }
}

const HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn scripted(connection: &mut Connection<Scripted>) -> &mut Scripted {
    connection.stream_mut().expect("it is open")
}

#[test]
fn a_head_may_arrive_byte_by_byte_and_its_answer_leave_byte_by_byte() {
    let (now, names) = (Instant::now(), Names::new([]));
    let mut connection = Connection::new(now, Scripted::default());
    for (index, byte) in HEAD.bytes().enumerate() {
        scripted(&mut connection).arriving.push_back(vec![byte]);
        let head = connection.poll_head(&names);
        assert_eq!(head.is_some(), index + 1 == HEAD.len(), "{index}");
    }
    let answer = b"HTTP/1.1 200 OK\r\n\r\n";
    connection.answer(now, answer.to_vec());
    for sent in 1..=answer.len() {
        scripted(&mut connection).room = 1;
        connection.handle_ready(now);
        assert_eq!(scripted(&mut connection).sent.len(), sent);
    }
    assert!(scripted(&mut connection).is_shut);
    assert!(
        !connection.is_closed(),
        "the connection waits for the other end"
    );
    scripted(&mut connection).arriving.push_back(Vec::new());
    connection.handle_ready(now);
    assert!(connection.is_closed());
}

#[test]
fn what_follows_a_head_belongs_to_the_socket() {
    let (now, names) = (Instant::now(), Names::new([]));
    let stream = Scripted {
        // a masked frame with two bytes
        arriving: [[HEAD.as_bytes(), &[0x82, 0x82, 0, 0, 0, 0, 1, 7]].concat()].into(),
        room: 1000,
        ..Scripted::default()
    };
    let mut connection = Connection::new(now, stream);
    assert!(connection.poll_head(&names).is_some());
    connection.upgrade(now, b"HTTP/1.1 101\r\n\r\n".to_vec());
    let Connection::Socket(socket) = &mut connection else {
        panic!("it was upgraded");
    };
    socket.begin_turn();
    let received = socket.receive(now);
    assert_eq!(
        received,
        super::super::socket::Received::Datagram([1, 7].to_vec().into())
    );
}

#[test]
fn what_takes_too_long_is_closed() {
    let (now, names) = (Instant::now(), Names::new([]));
    let silent = Connection::new(now, Scripted::default());
    let mut rejected = Connection::new(now, Scripted::default());
    rejected.answer(now, Rejection::Full.answer());
    let mut lingering = Connection::new(
        now,
        Scripted {
            room: 9,
            ..Scripted::default()
        },
    );
    lingering.answer(now, b"answer".to_vec());
    assert!(lingering.poll_head(&names).is_none());
    for (mut connection, limit) in [
        (silent, HEAD_TIME),
        (rejected, ANSWER_TIME),
        (lingering, ENDING_TIME),
    ] {
        assert_eq!(connection.timeout(), Some(now + limit));
        connection.handle_timeout(now + limit - Duration::from_millis(1));
        assert!(!connection.is_closed());
        connection.handle_timeout(now + limit);
        assert!(connection.is_closed());
    }
}

#[test]
fn an_answer_that_is_taken_slowly_has_time_as_long_as_it_is_taken() {
    let mut now = Instant::now();
    let mut connection = Connection::new(now, Scripted::default());
    connection.answer(now, vec![b'x'; 10]);
    for _ in 0..9 {
        now += ANSWER_TIME - Duration::from_secs(1);
        scripted(&mut connection).room = 1;
        connection.handle_ready(now);
        connection.handle_timeout(now);
        assert!(!connection.is_closed());
    }
    connection.handle_timeout(now + ANSWER_TIME);
    assert!(connection.is_closed());
}

#[test]
fn a_connection_that_sends_on_after_its_answer_is_closed() {
    let now = Instant::now();
    let stream = Scripted {
        arriving: vec![vec![b'x'; 1 << 10]; 100].into(),
        room: 100,
        ..Scripted::default()
    };
    let mut connection = Connection::new(now, stream);
    connection.answer(now, b"answer".to_vec());
    assert!(connection.is_closed());
}

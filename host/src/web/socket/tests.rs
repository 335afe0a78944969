use super::super::connection::tests::Scripted;
use super::*;

/// Returns a frame of a browser, with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            let length = u16::try_from(payload.len()).unwrap();
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn datagram(length: usize) -> Vec<u8> {
    let mut datagram = vec![b'x'; length];
    datagram[..1.min(length)].fill(1);
    datagram
}

const BINARY: u8 = 0x82;

struct Page {
    now: Instant,
    socket: Socket<Scripted>,
}

impl Page {
    fn new() -> Self {
        let stream = Scripted {
            room: 1 << 20,
            ..Scripted::default()
        };
        let now = Instant::now();
        let socket = Socket::new(now, stream, Vec::new());
        Self { now, socket }
    }

    fn arrive(&mut self, bytes: Vec<u8>) {
        self.socket.stream_mut().arriving.push_back(bytes);
    }

    fn receive(&mut self) -> Received {
        self.socket.begin_turn();
        self.socket.receive(self.now)
    }

    fn sent(&mut self) -> Vec<u8> {
        self.socket.flush(self.now);
        core::mem::take(&mut self.socket.stream_mut().sent)
    }

    /// Returns the code of the close frame that was sent.
    fn close_code(&mut self) -> u16 {
        let sent = self.sent();
        assert_eq!(sent[..2], [0x88, 2], "{sent:?}");
        u16::from_be_bytes([sent[2], sent[3]])
    }
}

#[test]
fn a_message_is_a_datagram_of_at_most_1024_bytes() {
    let mut page = Page::new();
    for length in [1, 2, 125, 126, 1023, 1024] {
        page.arrive(frame(BINARY, &datagram(length)));
        assert_eq!(page.receive(), Received::Datagram(datagram(length).into()));
    }
    page.arrive(frame(BINARY, &[]));
    assert_eq!(page.receive(), Received::Plain);
    page.arrive(frame(BINARY, b"hello"));
    assert_eq!(page.receive(), Received::Plain);
    assert_eq!(page.sent(), Vec::<u8>::new());
    page.arrive(frame(BINARY, &datagram(1025)));
    assert_eq!(page.receive(), Received::TooLong);
    assert_eq!(page.close_code(), 1009);
    assert!(page.socket.stream_mut().is_shut);
}

#[test]
fn a_datagram_may_arrive_in_fragments_and_in_single_bytes() {
    let mut page = Page::new();
    let mut bytes = frame(0x02, &datagram(600));
    bytes.extend(frame(0x89, b"ping between"));
    bytes.extend(frame(0x80, &[b'x'; 424]));
    for byte in bytes {
        page.arrive(vec![byte]);
    }
    page.socket.begin_turn();
    let received = core::iter::repeat_with(|| page.socket.receive(page.now));
    let received = received.take_while(|received| *received != Received::Nothing);
    assert_eq!(
        received.collect::<Vec<_>>(),
        [Received::Datagram(datagram(1024).into())]
    );
    assert_eq!(page.sent(), [&[0x8A, 12], &b"ping between"[..]].concat());
    // together too long
    page.arrive([frame(0x02, &datagram(600)), frame(0x80, &[b'x'; 425])].concat());
    assert_eq!(page.receive(), Received::TooLong);
    assert_eq!(page.close_code(), 1009);
}

#[test]
fn text_and_frames_that_are_none_close_the_socket() {
    let mut page = Page::new();
    page.arrive(frame(0x81, b"\x01text"));
    assert_eq!(page.receive(), Received::Text);
    assert_eq!(page.close_code(), 1003);
    for wrong in [
        vec![0x82, 2, 1, 7],                   // without a mask
        frame(0xC2, b"\x01reserved bit"),      // RFC 6455 section 5.2
        frame(0x83, b"\x01reserved opcode"),   // section 5.2
        frame(0x80, b"\x01nothing continues"), // section 5.4
        frame(0x09, b"a ping in fragments"),   // section 5.5
    ] {
        let mut page = Page::new();
        page.arrive(wrong.clone());
        assert_eq!(page.receive(), Received::Nothing, "{wrong:?}");
        assert_eq!(page.close_code(), 1002, "{wrong:?}");
    }
}

#[test]
fn an_endless_message_ends_the_turn() {
    let mut page = Page::new();
    page.arrive(frame(0x02, &datagram(1)));
    page.arrive(frame(0x00, &[]).repeat(10_000));
    assert_eq!(page.receive(), Received::Later);
}

#[test]
fn a_page_that_sends_too_much_is_read_later() {
    let mut page = Page::new();
    page.arrive(frame(BINARY, &datagram(8)).repeat(1000));
    let receive_all = |page: &mut Page| {
        let mut count = 0;
        while let Received::Datagram(_) = page.receive() {
            count += 1;
        }
        count
    };
    assert_eq!(receive_all(&mut page), 200);
    assert_eq!(page.receive(), Received::TooMany);
    assert_eq!(page.socket.timeout(), page.now + Duration::from_millis(100));
    // in steps that are no multiples of the pause
    let mut count = 0;
    for _ in 0..100 {
        page.now += Duration::from_millis(15);
        count += receive_all(&mut page);
    }
    assert_eq!(count, 150);
}

#[test]
fn a_page_that_takes_nothing_is_not_sent_more_and_is_gone_after_a_minute() {
    let mut page = Page::new();
    page.socket.stream_mut().room = 100;
    assert!(page.socket.can_send());
    assert!(page.socket.send(page.now, &datagram(1024)));
    page.socket.flush(page.now);
    assert!(!page.socket.can_send());
    page.socket.stream_mut().room = 10;
    page.now += Duration::from_secs(30);
    page.socket.flush(page.now);
    assert!(!page.socket.can_send());
    // a page that receives and sends counts as alive
    page.now += Duration::from_secs(31);
    page.arrive(frame(0x8A, b""));
    assert_eq!(page.receive(), Received::Nothing);
    page.socket.handle_timeout(page.now);
    assert!(!page.socket.has_ended());
    page.now += Duration::from_secs(29);
    page.socket.handle_timeout(page.now);
    assert!(page.socket.has_ended());
}

#[test]
fn a_page_that_takes_again_is_sent_the_rest() {
    let mut page = Page::new();
    page.socket.stream_mut().room = 0;
    assert!(page.socket.send(page.now, &datagram(1000)));
    page.socket.flush(page.now);
    assert!(!page.socket.can_send());
    page.socket.stream_mut().room = 1 << 20;
    page.socket.flush(page.now);
    assert!(page.socket.can_send());
    assert_eq!(page.sent().len(), 1004);
}

#[test]
fn a_silent_page_is_pinged_and_given_up_after_a_minute() {
    let mut page = Page::new();
    let start = page.now;
    for pings in 1..=2 {
        page.now = start + PING * pings;
        assert_eq!(page.socket.timeout(), page.now);
        page.socket.handle_timeout(page.now);
        assert_eq!(page.sent(), [0x89, 0]);
    }
    page.now = start + SILENCE;
    assert_eq!(page.socket.timeout(), page.now);
    page.socket.handle_timeout(page.now);
    assert!(page.socket.has_ended());
}

#[test]
fn a_close_is_answered_and_ends() {
    let mut page = Page::new();
    page.arrive(frame(0x88, &1000_u16.to_be_bytes()));
    assert_eq!(page.receive(), Received::Nothing);
    assert!(page.socket.has_ended());
    assert_eq!(page.socket.stream_mut().sent, [0x88, 2, 3, 232]);
    // the other way round, and without an answer
    let mut page = Page::new();
    page.socket.close(page.now, CloseCode::Again);
    assert_eq!(page.close_code(), 1013);
    page.now += CLOSING;
    page.socket.handle_timeout(page.now);
    assert!(page.socket.has_ended());
}

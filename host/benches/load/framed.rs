//! A framed peer that acknowledges as the protocol demands and has one POST in flight. It does no
//! more, so that thousands of them need less processor time than the relay: it drops lines that
//! arrive out of order, and the relay retransmits them.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Instant;

use kilochat_core::framed::{
    Ack, Data, Frame, Hello, Outcome, Post, Posted, Session, TEXTS_MAX, Texts,
};
use kilochat_core::{DATAGRAM_MAX, LineKind};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use crate::client::{Client, patiently, there, udp_socket};

/// Maximum delay of an acknowledgement.
const ACK_DELAY: Duration = Duration::from_millis(100);

/// Time after which a POST without an answer is retransmitted.
const POST_TIMEOUT: Duration = Duration::from_millis(250);

/// Size of a receive buffer for several datagrams that the kernel has merged, in bytes.
const BUFFER: usize = 1 << 16;

/// A peer that has a session.
#[derive(Debug)]
pub(crate) struct Framed {
    socket: UdpSocket,
    session: Session,
    epoch: u32,
    /// Sequence number of the first line that it does not have.
    next: u64,
    /// Number of DATA after which it acknowledges.
    ack_after: usize,
    unacknowledged: Option<Unacknowledged>,
    number: u16,
    /// Texts that were said and not accepted yet. The first of them may be in flight.
    texts: VecDeque<Vec<u8>>,
    posted_at: Option<Instant>,
    buffer: Vec<u8>,
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Unacknowledged {
    count: usize,
    /// The time stamp of the oldest unacknowledged DATA.
    echo: u16,
    since: Instant,
}

impl Framed {
    /// Creates a peer and waits for WELCOME. With `merges`, the kernel may merge several datagrams.
    pub(crate) fn join(relay: SocketAddr, name: &str, merges: bool) -> io::Result<Self> {
        let socket = udp_socket(relay)?;
        if merges {
            setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
        }
        let mut buffer = vec![0; BUFFER];
        let mut cookie = None;
        loop {
            let hello = Frame::Hello(Hello {
                abilities: 0,
                nonce: 1 + u64::from(cookie.is_some()),
                cookie,
                resume: None,
                name,
            });
            send(&socket, &hello)?;
            let length = patiently(|| socket.recv(&mut buffer))?;
            match Frame::decode(&buffer[..length]) {
                Ok(Frame::Cookie(answer)) => cookie = Some(answer.cookie),
                Ok(Frame::Welcome(welcome)) => {
                    return Ok(Self {
                        session: welcome.session,
                        epoch: welcome.epoch,
                        next: welcome.first,
                        ack_after: usize::from(welcome.window / 4).max(1),
                        socket,
                        unacknowledged: None,
                        number: 0,
                        texts: VecDeque::new(),
                        posted_at: None,
                        buffer,
                        control: nix::cmsg_space!(i32, [u8; 64]),
                    });
                }
                other => return Err(io::Error::other(format!("the relay says {other:?}"))),
            }
        }
    }

    /// Sends a POST with the first texts. Those in flight are sent again.
    fn post(&mut self, now: Instant) -> io::Result<()> {
        let mut buffer = [0; TEXTS_MAX];
        let texts = self
            .texts
            .iter()
            .filter_map(|text| core::str::from_utf8(text).ok());
        let (texts, count) = Texts::collect(texts, &mut buffer);
        if count == 0 {
            return Ok(());
        }
        self.posted_at = Some(now);
        let post = Frame::Post(Post {
            session: self.session,
            number: self.number,
            sent_at: 0,
            texts,
        });
        send(&self.socket, &post)
    }

    fn handle_posted(&mut self, posted: &Posted<'_>) -> io::Result<()> {
        if posted.number != self.number || self.posted_at.is_none() {
            return Ok(());
        }
        let Outcome::Accepted { texts, .. } = posted.outcome else {
            return Err(io::Error::other(format!("the relay says {posted:?}")));
        };
        self.texts.drain(..usize::from(texts).min(self.texts.len()));
        self.posted_at = None;
        self.post_next()
    }

    fn post_next(&mut self) -> io::Result<()> {
        if self.texts.is_empty() {
            return Ok(());
        }
        self.number = self.number.wrapping_add(1);
        self.post(Instant::now())
    }

    fn handle_data(&mut self, data: &Data<'_>, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if data.epoch != self.epoch {
            return Ok(());
        }
        let expected = data.first == self.next;
        if expected {
            for entry in data.entries() {
                self.next += 1;
                if entry.kind == LineKind::Message {
                    let text = usize::from(entry.name) + " : ".len();
                    each(entry.line.as_bytes().get(text..).unwrap_or_default());
                }
            }
        }
        let unacknowledged = self.unacknowledged.get_or_insert_with(|| Unacknowledged {
            count: 0,
            echo: data.sent_at,
            since: Instant::now(),
        });
        unacknowledged.count += 1;
        if !expected || unacknowledged.count >= self.ack_after {
            return self.acknowledge();
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> io::Result<()> {
        let Some(unacknowledged) = self.unacknowledged.take() else {
            return Ok(());
        };
        let ack = Frame::Ack(Ack {
            session: self.session,
            echo: Some(unacknowledged.echo),
            answer: false,
            next: self.next,
            ranges: Default::default(),
        });
        send(&self.socket, &ack)
    }

    fn handle(&mut self, datagram: &[u8], each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        match Frame::decode(datagram) {
            Ok(Frame::Data(data)) => self.handle_data(&data, each),
            Ok(Frame::Posted(posted)) => self.handle_posted(&posted),
            // lines that were overwritten are missing, and count as lost
            Ok(Frame::Gap(gap)) => {
                self.next = self.next.max(gap.until);
                Ok(())
            }
            other => Err(io::Error::other(format!("the relay says {other:?}"))),
        }
    }
}

impl Client for Framed {
    fn say(&mut self, text: &[u8]) -> io::Result<()> {
        self.texts.push_back(text.to_vec());
        if self.posted_at.is_none() {
            return self.post_next();
        }
        Ok(())
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let mut buffer = core::mem::take(&mut self.buffer);
        let received = receive_merged(&self.socket, &mut buffer, &mut self.control);
        let Some((length, segment)) = received? else {
            self.buffer = buffer;
            return Ok(false);
        };
        for datagram in buffer[..length].chunks(segment) {
            self.handle(datagram, each)?;
        }
        self.buffer = buffer;
        Ok(true)
    }

    fn tick(&mut self, now: Instant) -> io::Result<()> {
        if let Some(unacknowledged) = self.unacknowledged
            && now.saturating_duration_since(unacknowledged.since) > ACK_DELAY
        {
            self.acknowledge()?;
        }
        if let Some(posted_at) = self.posted_at
            && now.saturating_duration_since(posted_at) > POST_TIMEOUT
        {
            self.post(now)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.acknowledge()
    }
}

/// Receives once without blocking. Returns the number of bytes, and the length of each merged
/// datagram except the last.
fn receive_merged(
    socket: &UdpSocket,
    buffer: &mut [u8],
    control: &mut [u8],
) -> io::Result<Option<(usize, usize)>> {
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(control), flags);
    let message = match message.map_err(io::Error::from) {
        Ok(message) => message,
        Err(error) => return there(Err(error)).map(|nothing| nothing.map(|_: usize| (0, 1))),
    };
    let mut segment = DATAGRAM_MAX;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::UdpGroSegments(length) = control {
            segment = usize::try_from(length).map_err(io::Error::other)?;
        }
    }
    Ok(Some((message.bytes, segment)))
}

fn send(socket: &UdpSocket, frame: &Frame<'_>) -> io::Result<()> {
    let mut buffer = [0; DATAGRAM_MAX];
    let length = frame.encode(&mut buffer);
    let length = length.ok_or_else(|| io::Error::other("the frame is too long"))?;
    patiently(|| socket.send(&buffer[..length])).map(drop)
}

//! Drives a session on sockets: one loop for the terminal and for pipes.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::output::Shown;
use super::session::{End, Session};
use crate::Error;

/// Room for what arrives while nobody reads; the system may give less.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The most datagrams that wait to be shown; then the socket's own buffer fills.
const BACKLOG_MAX: usize = 4096;

/// The most events that are handled before their lines are shown.
const BATCH: usize = 64;

/// The most lines of input that wait to be sent.
const INPUT_MAX: usize = 64;

/// The longest time without a look at the clock.
const LONG: Duration = Duration::from_secs(3600);

/// Something happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A datagram arrived at the socket of this number.
    Datagram(usize, Vec<u8>),
    /// The socket of this number reported an error.
    Network(usize, io::Error),
    /// A line was typed or read.
    Line(String),
    /// The reader of lines has something to say.
    Status(String),
    /// There are no more lines.
    EndOfInput,
    /// It is time to go: a signal, or nobody reads the output any more.
    Leave,
}

/// Where lines are shown.
pub(super) trait Output {
    /// Shows lines, and returns when they can be seen or are sure to be.
    ///
    /// # Errors
    ///
    /// When they cannot be written; a broken pipe only means that nobody reads any more.
    fn show(&mut self, lines: &[Shown]) -> io::Result<()>;
}

/// A session, its socket, and what happens to them.
pub(super) struct Conversation {
    session: Session,
    addresses: Vec<SocketAddr>,
    link: Link,
    links: usize,
    events: Receiver<Event>,
    sender: Sender<Event>,
    backlog: Arc<AtomicUsize>,
    /// Lets the reader of standard input read one more line.
    permits: Option<Sender<()>>,
    granted: usize,
    /// Lines that held nothing to say; on a terminal an empty line is no message to miss.
    blank: usize,
    tells_blank: bool,
}

struct Link {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Conversation {
    /// Opens a socket to the first of `addresses` that can be reached.
    ///
    /// # Errors
    ///
    /// When none of them can.
    pub(super) fn new(session: Session, mut addresses: Vec<SocketAddr>) -> Result<Self, Error> {
        let link = open_any(&mut addresses)?;
        let (sender, events) = channel();
        let conversation = Self {
            session,
            addresses,
            link,
            links: 0,
            events,
            sender,
            backlog: Arc::default(),
            permits: None,
            granted: 0,
            blank: 0,
            tells_blank: false,
        };
        conversation.listen()?;
        Ok(conversation)
    }

    /// Where to report what happens.
    pub(super) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Hands out permissions to read a line, so that no more is read than can be sent.
    pub(super) fn set_permits(&mut self, permits: Sender<()>) {
        self.permits = Some(permits);
        self.tells_blank = true;
    }

    /// Talks until somebody leaves.
    ///
    /// # Errors
    ///
    /// When the session fails, or its lines cannot be shown.
    pub(super) fn run(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let mut is_readable = true;
        let mut failure = None;
        loop {
            self.session.handle_timeout(Instant::now());
            self.transmit();
            let lines: Vec<Shown> = core::iter::from_fn(|| self.session.poll_output()).collect();
            if is_readable
                && !lines.is_empty()
                && let Err(error) = output.show(&lines)
            {
                is_readable = false;
                if error.kind() != ErrorKind::BrokenPipe {
                    failure = Some(Error::Failure(format!("standard output: {error}")));
                }
                self.session.handle_leave(Instant::now());
                continue;
            }
            if let Some(end) = self.session.end().cloned() {
                if matches!(end, End::Refused(_)) && self.try_next_address() {
                    continue;
                }
                return match end {
                    End::Left => failure.map_or(Ok(()), Err),
                    End::Refused(why) | End::Failed(why) => Err(Error::Failure(why)),
                };
            }
            self.grant();
            self.wait()?;
        }
    }

    /// Handles what happened, or waits until something does.
    fn wait(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let timeout = self
            .session
            .poll_timeout()
            .map_or(LONG, |at| at.saturating_duration_since(now));
        match self.events.recv_timeout(timeout) {
            Ok(event) => self.handle(event),
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Failure("its threads have gone".into()));
            }
        }
        for _ in 1..BATCH {
            let Ok(event) = self.events.try_recv() else {
                break;
            };
            self.handle(event);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Datagram(link, payload) => {
                self.backlog.fetch_sub(1, Ordering::Relaxed);
                if link == self.links {
                    self.session.handle_datagram(now, &payload);
                }
            }
            Event::Network(link, error) => {
                if link == self.links {
                    self.handle_error(&error);
                }
            }
            Event::Line(text) => {
                self.granted = self.granted.saturating_sub(1);
                if !self.session.handle_line(now, &text) {
                    self.blank += 1;
                }
            }
            Event::Status(text) => self.session.status(text),
            Event::EndOfInput => {
                if self.tells_blank && self.blank > 0 {
                    let lines = if self.blank == 1 { "line" } else { "lines" };
                    self.session
                        .status(format!("{} blank {lines} not sent", self.blank));
                }
                self.session.handle_end_of_input(now);
            }
            Event::Leave => self.session.handle_leave(now),
        }
    }

    fn transmit(&mut self) {
        while let Some(payload) = self.session.poll_transmit(Instant::now()) {
            if let Err(error) = self.link.socket.send(&payload) {
                self.handle_error(&error);
            }
        }
    }

    fn handle_error(&mut self, error: &io::Error) {
        let address = self.link.address;
        let kind = error.kind();
        if matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock) {
            return;
        }
        // Windows calls it a reset
        let is_refused = matches!(
            kind,
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
        );
        let why = if is_refused {
            format!("connection refused: nobody listens at {address}")
        } else {
            format!("cannot reach {address}: {error}")
        };
        self.session.handle_refused(Instant::now(), &why);
    }

    fn try_next_address(&mut self) -> bool {
        let Ok(link) = open_any(&mut self.addresses) else {
            return false;
        };
        self.link = link;
        self.links += 1;
        self.session.join_elsewhere(Instant::now());
        self.listen().is_ok()
    }

    /// Starts the thread that receives; it ends with the program.
    fn listen(&self) -> Result<(), Error> {
        let socket =
            self.link.socket.try_clone().map_err(|error| {
                Error::Failure(format!("no second handle of a socket: {error}"))
            })?;
        let (link, sender, backlog) = (self.links, self.sender.clone(), self.backlog.clone());
        thread::spawn(move || receive(link, &socket, &sender, &backlog));
        Ok(())
    }

    fn grant(&mut self) {
        let Some(permits) = &self.permits else { return };
        while self.granted + self.session.queued() < INPUT_MAX {
            self.granted += 1;
            if permits.send(()).is_err() {
                self.permits = None;
                return;
            }
        }
    }
}

/// Opens a socket to the first of `addresses` that can be reached, and takes it and those before
/// it off the list.
fn open_any(addresses: &mut Vec<SocketAddr>) -> Result<Link, Error> {
    let mut failure = "there is no address".to_owned();
    while !addresses.is_empty() {
        let address = addresses.remove(0);
        match open(address) {
            Ok(socket) => return Ok(Link { socket, address }),
            Err(error) => failure = format!("cannot reach {address}: {error}"),
        }
    }
    Err(Error::Failure(failure))
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    // what the system allows is enough for all but a flood
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.connect(&address.into())?;
    Ok(socket.into())
}

fn receive(link: usize, socket: &UdpSocket, sender: &Sender<Event>, backlog: &AtomicUsize) {
    // an old server's datagram may be longer than ours ever are
    let mut buffer = vec![0; 65_536];
    loop {
        let event = match socket.recv(&mut buffer) {
            Ok(length) => {
                while backlog.load(Ordering::Relaxed) >= BACKLOG_MAX {
                    thread::sleep(Duration::from_millis(1));
                }
                backlog.fetch_add(1, Ordering::Relaxed);
                Event::Datagram(link, buffer[..length].to_vec())
            }
            Err(error) => {
                // an error that stays must not keep a core busy
                thread::sleep(Duration::from_millis(1));
                Event::Network(link, error)
            }
        };
        if sender.send(event).is_err() {
            return;
        }
    }
}

//! A forwarder between clients and a relay. It can drop frames, and reads what clients are told.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use kilochat_core::framed::{FRAME, Frame, Resume};

/// Forwards datagrams between clients and a relay, which sees sources on this machine.
#[derive(Debug)]
pub struct Wiretap {
    /// The address for clients.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    has_frames: AtomicBool,
    is_stopped: AtomicBool,
    /// The session and position in the last WELCOME.
    resume: Mutex<Option<Resume>>,
}

impl Wiretap {
    /// Starts a wiretap in front of `relay`.
    pub fn start(relay: SocketAddr) -> Self {
        let front = socket();
        let shared = Arc::new(Shared {
            has_frames: AtomicBool::new(true),
            is_stopped: AtomicBool::new(false),
            resume: Mutex::new(None),
        });
        let address = front.local_addr().expect("it is bound");
        let seen = Arc::clone(&shared);
        let thread = std::thread::spawn(move || run(&front, relay, &seen));
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Sets whether frames to the relay are forwarded. Plain text always is.
    pub fn set_frames(&self, pass: bool) {
        self.shared.has_frames.store(pass, Ordering::Relaxed);
    }

    /// Returns the RESUME by which another client could take over the session of the client that
    /// was welcomed last.
    pub fn resume(&self) -> Option<Resume> {
        *self.shared.resume.lock().expect("no panic")
    }
}

impl Drop for Wiretap {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // if the thread panicked, the test has noticed by now
            let _ = thread.join();
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_nonblocking(true).expect("it can");
    socket
}

fn run(front: &UdpSocket, relay: SocketAddr, shared: &Shared) {
    let mut clients: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut buffer = [0; 2048];
    while !shared.is_stopped.load(Ordering::Relaxed) {
        while let Some((length, source)) = receive(front, &mut buffer) {
            let payload = &buffer[..length];
            if payload.first() != Some(&FRAME) || shared.has_frames.load(Ordering::Relaxed) {
                let back = clients.entry(source).or_insert_with(socket);
                // fails if the relay has ended
                let _ = back.send_to(payload, relay);
            }
        }
        for (client, back) in &clients {
            while let Some((length, _)) = receive(back, &mut buffer) {
                let payload = &buffer[..length];
                note(payload, shared);
                // fails if the client has ended
                let _ = front.send_to(payload, client);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match socket.recv_from(buffer) {
        Ok(received) => Some(received),
        Err(error) => {
            let is_empty = error.kind() == ErrorKind::WouldBlock;
            assert!(is_empty || cfg!(windows), "the network: {error}");
            None
        }
    }
}

fn note(payload: &[u8], shared: &Shared) {
    if let Ok(Frame::Welcome(welcome)) = Frame::decode(payload) {
        *shared.resume.lock().expect("no panic") = Some(Resume {
            session: welcome.session,
            epoch: welcome.epoch,
            next: welcome.head,
        });
    }
}
